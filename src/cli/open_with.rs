//! How to open what was fetched: one table, from what a file is and which runtime wrote it to the tools that read it.

use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use crate::model::{Artifact, Escaped, Format, Role};

/// What to do with files of one kind; what is absent does not matter.
struct Rule {
    role: Option<Role>,
    format: Option<Format>,
    /// Name of the runtime.
    runtime: Option<&'static str>,
    /// What to run. `{path}` is the file, `{exe}` the executable it is of, `{version}` its runtime's version, `{build_id}` the executable's build-id; a
    /// line that needs a version or a build-id nobody knows is left out.
    lines: &'static [&'static str],
}

const fn rule(
    role: Option<Role>,
    format: Option<Format>,
    runtime: Option<&'static str>,
    lines: &'static [&'static str],
) -> Rule {
    Rule {
        role,
        format,
        runtime,
        lines,
    }
}

/// gdb takes any executable without a word and then shows nonsense, so its build-id is worth a line.
const SAME_EXECUTABLE: &str = "the executable must be the one that crashed, with build-id {build_id}: compare with `readelf -n {exe}`";
const DEBUGINFOD: &str = "where a debuginfod server has it: debuginfod-find executable {build_id}";

/// The first rule that fits counts.
const RULES: &[Rule] = &[
    rule(Some(Role::Log), None, None, &["less {path}"]),
    rule(
        None,
        Some(Format::Counters),
        None,
        &["jq . {path}    (a sample a line; docs/dotnet.md says what is in it)"],
    ),
    rule(
        None,
        Some(Format::ElfCore),
        Some(".NET"),
        &[
            "dotnet-dump analyze {path}",
            "lldb --core {path} {exe}    (managed frames: dotnet-sos install, once)",
            "the dump is of .NET {version}; its libraries are fetched from the symbol server, or set with `setclrpath`",
        ],
    ),
    rule(
        None,
        Some(Format::ElfCore),
        Some("JVM"),
        &[
            "jhsdb jstack --exe {exe} --core {path}    (with the same JDK)",
            "jhsdb jmap --binaryheap --dumpfile heap.hprof --exe {exe} --core {path}    (then Eclipse MAT)",
            "gdb {exe} {path}",
            "the dump is of Java {version}",
            SAME_EXECUTABLE,
        ],
    ),
    rule(
        None,
        Some(Format::ElfCore),
        Some("Python"),
        &[
            "gdb {exe} {path}    (then: py-bt, with the debug symbols of the same Python)",
            "the dump is of Python {version}",
            SAME_EXECUTABLE,
            DEBUGINFOD,
        ],
    ),
    rule(
        None,
        Some(Format::ElfCore),
        None,
        &[
            "gdb {exe} {path}",
            "lldb --core {path} {exe}",
            SAME_EXECUTABLE,
            DEBUGINFOD,
        ],
    ),
    rule(
        None,
        Some(Format::Minidump),
        None,
        &["minidump-stackwalk {path}", "lldb --core {path}"],
    ),
    rule(
        None,
        Some(Format::Hprof),
        None,
        &[
            "Eclipse MAT: File, Open Heap Dump, {path}",
            "visualvm --openfile {path}",
        ],
    ),
    rule(
        None,
        Some(Format::DotnetCrashReport),
        None,
        &["any editor, or: jq . {path}"],
    ),
    rule(
        None,
        Some(Format::HsErr),
        None,
        &["any editor, or: less {path}"],
    ),
    rule(
        None,
        Some(Format::NodeReport),
        None,
        &["any editor, or: jq . {path}"],
    ),
    rule(
        None,
        Some(Format::HeapSnapshot),
        None,
        &["Chrome DevTools: Memory, Load profile, {path}"],
    ),
    rule(
        None,
        Some(Format::Nettrace),
        None,
        &[
            "dotnet-trace report {path} topN",
            "dotnet-trace convert --format Speedscope {path}    (then https://www.speedscope.app)",
            "PerfView {path}    (Windows); heap snapshots: dotnet-gcdump convert {path}",
        ],
    ),
    rule(
        None,
        Some(Format::Gcdump),
        None,
        &[
            "dotnet-gcdump report {path}",
            "PerfView or Visual Studio (Windows): {path}",
        ],
    ),
    rule(
        None,
        None,
        None,
        &["its format is not known to salvage; try: file {path}"],
    ),
];

/// What to run to look into an artifact that was fetched to `path`.
pub(super) fn how_to_open(artifact: &Artifact, path: &Path) -> Vec<String> {
    let runtime = artifact.runtime.as_ref();
    let runtime_name = runtime.and_then(|runtime| runtime.name.as_deref());
    let fits = |rule: &&Rule| {
        rule.role.is_none_or(|role| role == artifact.role)
            && rule.format.is_none_or(|format| format == artifact.format)
            && rule.runtime.is_none_or(|name| runtime_name == Some(name))
    };
    let lines = RULES.iter().find(fits).map_or(&[][..], |rule| rule.lines);
    let process = artifact.process.as_ref();
    let exe = process.and_then(|process| process.exe.as_deref());
    let exe = exe.map_or_else(|| "EXECUTABLE".to_owned(), |exe| quoted(Path::new(exe)));
    let values = [
        ("{path}", Some(quoted(path))),
        ("{exe}", Some(exe)),
        (
            "{version}",
            runtime
                .and_then(|runtime| runtime.version.as_deref())
                .map(escaped),
        ),
        (
            "{build_id}",
            process
                .and_then(|process| process.build_id.as_deref())
                .map(escaped),
        ),
    ];
    lines
        .iter()
        .filter_map(|line| filled(line, &values))
        .collect()
}

/// `line` with every placeholder replaced, or nothing if a value it needs is not known.
fn filled(line: &str, values: &[(&str, Option<String>)]) -> Option<String> {
    let mut text = String::new();
    let mut rest = line;
    while let Some(at) = rest.find('{') {
        let (before, from) = rest.split_at(at);
        let (name, value) = values.iter().find(|(name, _)| from.starts_with(name))?;
        text.push_str(before);
        text.push_str(value.as_ref()?);
        rest = &from[name.len()..];
    }
    text.push_str(rest);
    Some(text)
}

fn escaped(text: &str) -> String {
    Escaped::bytes(text.as_bytes()).to_string()
}

/// A path as a shell takes it. Dumps name their executables themselves, so a path may be an attack on whoever copies the line.
pub(super) fn quoted(path: &Path) -> String {
    let bytes = path.as_os_str().as_bytes();
    let is_plain = |b: &u8| b.is_ascii_alphanumeric() || b"/._-+=:@,".contains(b);
    if !bytes.is_empty() && bytes.iter().all(is_plain) && !bytes.starts_with(b"-") {
        return String::from_utf8_lossy(bytes).into_owned();
    }
    match path.to_str() {
        Some(text) if escaped(&text.replace('\\', "")).len() == text.replace('\\', "").len() => {
            format!("'{}'", text.replace('\'', r"'\''"))
        }
        _ => {
            let escapes = bytes.iter().map(|b| match b {
                b if is_plain(b) => char::from(*b).to_string(),
                b => format!("\\x{b:02x}"),
            });
            format!("$'{}'", escapes.collect::<String>())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Encoding, Process, Runtime};

    fn artifact(role: Role, format: Format, runtime: Option<&str>) -> Artifact {
        Artifact {
            role,
            key: "artifacts/x".parse().expect("key"),
            original_name: None,
            format,
            producer: None,
            complete: None,
            marks: Vec::new(),
            bytes: 0,
            data_bytes: None,
            expected_bytes: None,
            stored_bytes: 0,
            sha256: None,
            tree_sha256: None,
            stored_sha256: None,
            encoding: Encoding::ZstdSeekable,
            frame_bytes: None,
            volumes: Vec::new(),
            process: Some(Process {
                exe: Some("/app/cart".to_owned()),
                ..Process::default()
            }),
            runtime: runtime.map(|name| Runtime {
                name: Some(name.to_owned()),
                ..Runtime::default()
            }),
            exception: None,
            occasion: None,
            format_version: None,
            identifier_bytes: None,
            unread: Vec::new(),
        }
    }

    #[test]
    fn each_kind_of_file_has_its_tool() {
        for (role, format, runtime, first) in [
            (
                Role::Dump,
                Format::ElfCore,
                Some(".NET"),
                "dotnet-dump analyze F",
            ),
            (
                Role::Dump,
                Format::ElfCore,
                Some("JVM"),
                "jhsdb jstack --exe /app/cart --core F    (with the same JDK)",
            ),
            (
                Role::Dump,
                Format::ElfCore,
                Some("Python"),
                "gdb /app/cart F    (then: py-bt, with the debug symbols of the same Python)",
            ),
            (
                Role::Dump,
                Format::ElfCore,
                Some("Node.js"),
                "gdb /app/cart F",
            ),
            (Role::Dump, Format::ElfCore, None, "gdb /app/cart F"),
            (Role::Dump, Format::Minidump, None, "minidump-stackwalk F"),
            (
                Role::Dump,
                Format::Hprof,
                None,
                "Eclipse MAT: File, Open Heap Dump, F",
            ),
            (
                Role::Report,
                Format::DotnetCrashReport,
                None,
                "any editor, or: jq . F",
            ),
            (Role::Report, Format::HsErr, None, "any editor, or: less F"),
            (
                Role::Report,
                Format::NodeReport,
                None,
                "any editor, or: jq . F",
            ),
            (
                Role::Dump,
                Format::HeapSnapshot,
                None,
                "Chrome DevTools: Memory, Load profile, F",
            ),
            (
                Role::Dump,
                Format::Nettrace,
                None,
                "dotnet-trace report F topN",
            ),
            (Role::Dump, Format::Gcdump, None, "dotnet-gcdump report F"),
            (
                Role::Trace,
                Format::Counters,
                None,
                "jq . F    (a sample a line; docs/dotnet.md says what is in it)",
            ),
            (Role::Log, Format::ContainerLog, None, "less F"),
            (
                Role::Dump,
                Format::Unknown,
                None,
                "its format is not known to salvage; try: file F",
            ),
            (Role::Log, Format::Unknown, None, "less F"),
        ] {
            let lines = how_to_open(&artifact(role, format, runtime), Path::new("F"));
            assert_eq!(lines[0], first, "{format:?} {runtime:?}");
        }
    }

    #[test]
    fn every_format_has_a_rule_of_its_own() {
        for format in Format::ALL {
            let is_of =
                |rule: &Rule| rule.format == Some(format) || rule.role == Some(format.role());
            let has_rule = RULES.iter().any(is_of);
            assert!(has_rule || format == Format::Unknown, "{format:?}");
        }
    }

    #[test]
    fn lines_about_what_nobody_knows_are_left_out() {
        let mut core = artifact(Role::Dump, Format::ElfCore, None);
        assert_eq!(how_to_open(&core, Path::new("F")).len(), 2);
        core.process.as_mut().expect("has one").build_id = Some("abc123".to_owned());
        let lines = how_to_open(&core, Path::new("F"));
        assert!(
            lines[2].contains("abc123") && lines[3].ends_with("executable abc123"),
            "{lines:?}"
        );
    }

    #[test]
    fn a_path_is_safe_to_paste() {
        for (path, shown) in [
            ("/tmp/a.core", "/tmp/a.core"),
            ("/tmp/a b", "'/tmp/a b'"),
            ("/x;rm -rf ~", "'/x;rm -rf ~'"),
            ("it's", r"'it'\''s'"),
            ("-o", "'-o'"),
            ("{path}", "'{path}'"),
            ("a\nb", r"$'a\x0ab'"),
            ("a\u{202e}b", r"$'a\xe2\x80\xaeb'"),
        ] {
            assert_eq!(quoted(Path::new(path)), shown);
        }
    }
}
