//! Telling formats apart by their first bytes.
//!
//! A table of rules over the head of the file; the first that holds wins. Names play no part: `core`, `x.dmp` and `x.json` are
//! chosen by whoever wrote the file. An ELF file is only a candidate here, its headers decide whether it is a core.

use crate::model::Format;

/// Bytes of the file that the rules see. `hs_err` files have their sentence in the second line and Node's reports their version in
/// the second field; a page is plenty.
pub(super) const HEAD: usize = 4_096;

type Rule = (Format, fn(&[u8]) -> bool);

const RULES: [Rule; 9] = [
    (Format::ElfCore, |head| head.starts_with(b"\x7fELF")),
    (Format::Minidump, is_minidump),
    (Format::Hprof, is_hprof),
    (Format::Nettrace, is_nettrace),
    (Format::Gcdump, is_gcdump),
    (Format::DotnetCrashReport, |head| {
        opens_with(
            head,
            &["{", "\"payload\"", ":", "{", "\"protocol_version\""],
        )
        .is_some()
    }),
    (Format::NodeReport, is_node_report),
    (Format::HeapSnapshot, |head| {
        opens_with(head, &["{", "\"snapshot\"", ":", "{", "\"meta\"", ":"]).is_some()
    }),
    (Format::HsErr, is_hs_err),
];

/// What a file that begins with `head` is; an ELF file counts as a core until its header is read.
pub(super) fn format_of(head: &[u8]) -> Format {
    RULES
        .iter()
        .find(|(_, holds)| holds(head))
        .map_or(Format::Unknown, |(format, _)| *format)
}

/// `MINIDUMP_HEADER`: the signature, then a version whose low half is always 0xa793; without it any text could begin so.
fn is_minidump(head: &[u8]) -> bool {
    head.starts_with(b"MDMP\x93\xa7")
}

/// `JAVA PROFILE 1.0.2` and a NUL; older and Android's profiles have other last digits.
fn is_hprof(head: &[u8]) -> bool {
    head.strip_prefix(b"JAVA PROFILE 1.0.").is_some_and(|rest| {
        let digits = rest.iter().take_while(|b| b.is_ascii_digit()).count();
        (1..=3).contains(&digits) && rest.get(digits) == Some(&0)
    })
}

/// `Nettrace`, then the length of the name of what follows: of `!FastSerialization.1` up to version 5, nothing from version 6 on.
fn is_nettrace(head: &[u8]) -> bool {
    head.strip_prefix(b"Nettrace").is_some_and(|rest| {
        let length = &rest[..rest.len().min(4)];
        b"\x14\0\0\0".starts_with(length) || b"\0\0\0\0".starts_with(length)
    })
}

/// `dotnet-gcdump` serialises one object graph with `FastSerialization`: its length-prefixed name, then the type of the first
/// object. `EventPipe` streams use the same container behind their own `Nettrace`.
fn is_gcdump(head: &[u8]) -> bool {
    const STREAM: &[u8] = b"\x14\0\0\0!FastSerialization.1";
    let type_names = &head[..head.len().min(256)];
    head.starts_with(STREAM) && contains(type_names, b"GCHeapDump")
}

/// The report's `header` is its first member and `reportVersion` one of the header's first.
fn is_node_report(head: &[u8]) -> bool {
    opens_with(head, &["{", "\"header\"", ":", "{"])
        .is_some_and(|header| contains(header, b"\"reportVersion\""))
}

/// The JVM's two sentences, in the second line: one for what is worth a bug report, one for memory that the system refused.
fn is_hs_err(head: &[u8]) -> bool {
    const SENTENCES: [&[u8]; 2] = [
        b"# A fatal error has been detected by the Java Runtime Environment:",
        b"# There is insufficient memory for the Java Runtime Environment to continue.",
    ];
    let text = head.strip_prefix(b"#").map(<[u8]>::trim_ascii_start);
    text.is_some_and(|text| SENTENCES.iter().any(|s| text.starts_with(s)))
}

/// What follows `tokens` at the start of `head`, any JSON white space between them.
fn opens_with<'a>(head: &'a [u8], tokens: &[&str]) -> Option<&'a [u8]> {
    tokens.iter().try_fold(head, |rest, token| {
        let blank = |b: &&u8| matches!(**b, b' ' | b'\t' | b'\r' | b'\n');
        let spaces = rest.iter().take_while(blank).count();
        rest[spaces..].strip_prefix(token.as_bytes())
    })
}

fn contains(text: &[u8], part: &[u8]) -> bool {
    text.windows(part.len()).any(|window| window == part)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Beginnings of real files where the tool is named, else built from the format's description.
    const HEADS: [(Format, &[u8]); 17] = [
        // Linux 6.18.
        (Format::ElfCore, b"\x7fELF\x02\x01\x01\0"),
        // breakpad's minidump_format.h.
        (Format::Minidump, b"MDMP\x93\xa7\0\0\x0f\0\0\0 \0\0\0"),
        // jcmd GC.heap_dump of OpenJDK 17.0.15.
        (
            Format::Hprof,
            b"JAVA PROFILE 1.0.2\0\0\0\0\x08\0\0\x01\xa1\xfb\xab\x98\x7c\x01\0\0\0\0",
        ),
        (Format::Hprof, b"JAVA PROFILE 1.0.1\0\0\0\0\x04"),
        // createdump of .NET 9.0.1.
        (
            Format::DotnetCrashReport,
            br#"{"payload":{"protocol_version":"1.0.0","configuration":{"architecture":"amd64","version":"9.0.124.61010 @Commit: c8acea"}"#,
        ),
        (
            Format::DotnetCrashReport,
            b"{\n  \"payload\": {\n    \"protocol_version\": \"1.0.0\",",
        ),
        // OpenJDK 17.0.15, kill -SEGV.
        (
            Format::HsErr,
            b"#\n# A fatal error has been detected by the Java Runtime Environment:\n#\n#  SIGSEGV (0xb) at pc=0x00007f2dd4c5cf14",
        ),
        // OpenJDK 11.0.13 to 25.0.2, more heap than `ulimit -d`.
        (
            Format::HsErr,
            b"#\n# There is insufficient memory for the Java Runtime Environment to continue.\n# Native memory allocation (mmap)",
        ),
        // process.report.writeReport of Node.js 20.20.2, both styles.
        (
            Format::NodeReport,
            b"\n{\n  \"header\": {\n    \"reportVersion\": 4,\n    \"event\": \"JavaScript API\",",
        ),
        (
            Format::NodeReport,
            br#"{"header":{"reportVersion":4,"event":"JavaScript API","trigger":"API","#,
        ),
        (
            Format::NodeReport,
            br#"{"header":{"event":"exception","reportVersion":6}}"#,
        ),
        // v8.writeHeapSnapshot of Node.js 20.20.2.
        (
            Format::HeapSnapshot,
            br#"{"snapshot":{"meta":{"node_fields":["type","name","id","self_size","edge_count","trace_node_id","detachedness"],"#,
        ),
        // CollectTracing2 of .NET 8.0.15.
        (
            Format::Nettrace,
            b"Nettrace\x14\0\0\0!FastSerialization.1\x05\x05\x01\x04\0\0\0\x04\0\0\0\x05\0\0\0Trace\x06",
        ),
        (Format::Nettrace, b"Nettrace"),
        // perfview's NetTraceFormat.md.
        (
            Format::Nettrace,
            b"Nettrace\0\0\0\0\x06\0\0\0\0\0\0\0\x28\0\0\x01",
        ),
        // perfview's FastSerialization.cs: a type is an object whose own type is null.
        (
            Format::Gcdump,
            b"\x14\0\0\0!FastSerialization.1\x04\x04\x01\x0a\0\0\0\x08\0\0\0\x0a\0\0\0GCHeapDump\x06",
        ),
        (Format::Unknown, b""),
    ];

    #[test]
    fn every_format_is_known_by_its_first_bytes() {
        for (format, head) in HEADS {
            assert_eq!(format_of(head), format, "{}", head.escape_ascii());
        }
        // A container's log and counters are known by where they come from.
        let told = |format: &Format| !matches!(format, Format::ContainerLog | Format::Counters);
        for format in Format::ALL.into_iter().filter(told) {
            assert!(
                HEADS.iter().any(|(f, _)| *f == format),
                "{format:?} is untested"
            );
        }
    }

    #[test]
    fn what_only_looks_like_a_format_is_unknown() {
        let likes: [&[u8]; 15] = [
            b"\x7fELG",
            b"MDMP is a signature",
            b"JAVA PROFILE 1.0.",
            b"JAVA PROFILE 1.0.2 is a string",
            b"JAVA PROFILE 1.0.\0",
            b"Nettrac",
            b"Nettrace is a format",
            b"!FastSerialization.1 GCHeapDump",
            b"\x14\0\0\0!FastSerialization.1\x05\x05\x01\0\0\0\0\0\0\0\0\x05\0\0\0Trace\x06",
            b"{\"payload\":{\"version\":1}}",
            b"{\"header\":{\"version\":1}}",
            b"{\"snapshot\":{\"nodes\":1}}",
            b"# A fatal error",
            b"The log says: # A fatal error has been detected by the Java Runtime Environment",
            b"\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0",
        ];
        for head in likes {
            assert_eq!(format_of(head), Format::Unknown, "{}", head.escape_ascii());
        }
    }

    #[test]
    fn a_beginning_cut_anywhere_is_that_format_or_unknown() {
        for (format, head) in HEADS {
            for cut in 0..head.len() {
                let found = format_of(&head[..cut]);
                assert!(
                    found == format || found == Format::Unknown,
                    "{format:?} cut at {cut} is {found:?}"
                );
            }
        }
    }
}
