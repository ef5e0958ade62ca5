//! V8 heap snapshots, as Node.js and Chrome write them.
//!
//! Form: v8/v8, `src/profiler/heap-snapshot-generator.cc`: one JSON object, its members each on lines of their own, the array `strings` the
//! last. It may have gigabytes and says nothing of its process, so only its end is read: whether it is there.

use super::read_at::{Source, Unread};
use crate::model::{Completeness, Facts, Format};

/// Bytes read from the end. V8 cuts strings at 1,024 characters, which are 6 KiB at most where each is an escape.
const TAIL: u64 = 64 << 10;

/// Reads the facts of a file that begins like a heap snapshot.
pub(super) fn read(source: &Source<'_>) -> Facts {
    let mut facts = Facts::of(Format::HeapSnapshot);
    match end(source) {
        Ok(completeness) => facts.completeness = completeness,
        Err(why) => facts.unread.push(format!("end of the snapshot: {why}")),
    }
    facts
}

fn end(source: &Source<'_>) -> Result<Completeness, Unread> {
    let from = source.len().saturating_sub(TAIL);
    let mut tail = vec![0; usize::try_from(source.len() - from).unwrap_or(0)];
    source.exact(from, &mut tail)?;
    Ok(end_of(&tail, from == 0))
}

/// Whether the document ends where `tail` does; `whole` if `tail` is all of it.
///
/// `"]}` alone does not tell: the quote may be escaped, or begin a string that was cut, and the description of the nodes in the first line
/// ends so too. But strings have no raw line feed in them, so the last line begins outside of one, and from there on every quote is
/// known. A line that begins with a string is within the array of strings; with a name, within the object; the first line
/// is within nothing. Of other lines, as other programs may write them, nothing is known but that a document ends with `}`.
fn end_of(tail: &[u8], whole: bool) -> Completeness {
    const CUT: Completeness = Completeness::Truncated { expected: None };
    let tail = tail.trim_ascii_end();
    match tail.last() {
        Some(b'}') => {}
        Some(_) => return CUT,
        None => return Completeness::Unknown,
    }
    let line = match tail.iter().rposition(|b| *b == b'\n') {
        Some(at) => &tail[at + 1..],
        None if whole => tail,
        None => return Completeness::Unknown,
    };
    let mut depth: Option<i64> = match line.first() {
        Some(b'{') if whole && line.len() == tail.len() => Some(0),
        Some(b'"') => Some(2),
        _ => None,
    };
    let (mut in_string, mut escaped, mut first) = (false, false, true);
    for byte in line {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            _ if in_string => {}
            // The first string is a name: the line is one of the object's.
            b':' if first && depth == Some(2) => depth = Some(1),
            b'[' | b'{' => depth = depth.map(|depth| depth + 1),
            b']' | b'}' => depth = depth.map(|depth| depth - 1),
            _ => {}
        }
        first &= in_string || *byte == b'"';
    }
    match depth {
        _ if in_string => CUT,
        Some(0) => Completeness::Complete,
        Some(1..) => CUT,
        _ => Completeness::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const CUT: Completeness = Completeness::Truncated { expected: None };

    /// The parts of a snapshot by Node.js 20.20.2, with strings that look like its end.
    const SNAPSHOT: &str = concat!(
        r#"{"snapshot":{"meta":{"node_fields":["type","name"],"node_types":[["hidden","array"],"string"],"#,
        r#""location_fields":["object_index","script_id","line","column"]},"node_count":2,"edge_count":1,"#,
        "\"trace_function_count\":0},\n\"nodes\":[9,1,1,0,3\n,9,2,3,0,20\n],\n\"edges\":[1,1,6\n],\n",
        "\"trace_function_infos\":[],\n\"trace_tree\":[],\n\"samples\":[],\n\"locations\":[6,111,91,9\n],\n",
        "\"strings\":[\"<dummy>\",\n\"\",\n\"]}\",\n\"{\\\"a\\\":[\\\"b\\\"]}\",\n\"\\\\\\\\\",\n\"x\\n\\\"]}\",\n\"function () {}\",\n\"last, \"]}"
    );

    fn completeness(bytes: &[u8]) -> Completeness {
        let bytes = bytes.to_vec();
        read(&Source::new(&bytes, bytes.len() as u64)).completeness
    }

    #[test]
    fn a_snapshot_is_complete_only_where_its_strings_end() {
        for end in ["", "\n", " \r\n"] {
            let text = format!("{SNAPSHOT}{end}");
            assert_eq!(completeness(text.as_bytes()), Completeness::Complete);
        }
        for cut in 1..SNAPSHOT.len() {
            assert_eq!(
                completeness(&SNAPSHOT.as_bytes()[..cut]),
                CUT,
                "cut at {cut}"
            );
        }
    }

    #[test]
    fn the_same_holds_where_only_the_end_is_read() {
        let nodes = format!("\"nodes\":[{}9\n", "9,1,1,0,3\n,".repeat(20_000));
        let text = SNAPSHOT
            .replace("\"nodes\":[9\n", &nodes)
            .replace("\"nodes\":[9,1,1,0,3\n", &nodes);
        assert!(text.len() as u64 > 3 * TAIL);
        assert_eq!(completeness(text.as_bytes()), Completeness::Complete);
        for cut in text.len() - 400..text.len() {
            assert_eq!(completeness(&text.as_bytes()[..cut]), CUT, "cut at {cut}");
        }
    }

    #[test]
    fn what_other_programs_write_is_known_as_far_as_it_can_be() {
        // One line, and short.
        let one_line = SNAPSHOT.replace('\n', "");
        assert_eq!(completeness(one_line.as_bytes()), Completeness::Complete);
        for cut in 1..one_line.len() {
            assert_eq!(
                completeness(&one_line.as_bytes()[..cut]),
                CUT,
                "cut at {cut}"
            );
        }
        // All strings on one line.
        let few_lines = SNAPSHOT.replace("\",\n\"", "\",\"");
        assert_eq!(completeness(few_lines.as_bytes()), Completeness::Complete);
        for cut in 1..few_lines.len() {
            assert_eq!(
                completeness(&few_lines.as_bytes()[..cut]),
                CUT,
                "cut at {cut}"
            );
        }
        // One line, and longer than what is read: any quote could be either.
        let long = one_line.replace("function", &"function".repeat(20_000));
        assert_eq!(completeness(long.as_bytes()), Completeness::Unknown);
        assert_eq!(completeness(&long.as_bytes()[..long.len() - 1]), CUT);
        // Indented.
        let indented = SNAPSHOT.replace("\"]}", "\"\n  ]\n}\n");
        assert_eq!(completeness(indented.as_bytes()), Completeness::Unknown);
    }

    #[test]
    fn ends_that_are_none_are_not_complete() {
        for end in [
            "\0",
            "\0\0\0\0",
            "\"]}\"",
            "]}",
            "}",
            "\n\"x]}",
            "\n\"x\\\"]}",
        ] {
            let text = format!("{SNAPSHOT}{end}");
            assert_ne!(
                completeness(text.as_bytes()),
                Completeness::Complete,
                "{end:?}"
            );
        }
        let blank = [SNAPSHOT.as_bytes(), &vec![b' '; 2 * TAIL as usize]].concat();
        assert_eq!(completeness(&blank), Completeness::Unknown);
    }

    #[test]
    fn a_snapshot_that_shrank_is_not_complete() {
        let bytes = SNAPSHOT.as_bytes().to_vec();
        let facts = read(&Source::new(&bytes, 1 << 40));
        assert_eq!(facts.completeness, Completeness::Unknown);
        assert_eq!(facts.unread.len(), 1, "{:?}", facts.unread);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn whatever_its_strings_say_it_is_complete_with_all_of_them_only(
            strings in prop::collection::vec("(\\PC|[\\]}\",\n\\\\]){0,12}", 1..12),
            cut in any::<prop::sample::Index>(),
        ) {
            let (head, _) = SNAPSHOT.split_once("\"strings\":[").expect("it has strings");
            // V8 writes each on a line of its own.
            let strings: Vec<_> = strings.iter().map(|text| serde_json::to_string(text).expect("serialises")).collect();
            let text = format!("{head}\"strings\":[{}]}}", strings.join(",\n"));
            prop_assert_eq!(completeness(text.as_bytes()), Completeness::Complete);
            let cut = 1 + cut.index(text.len() - 1);
            prop_assert_eq!(completeness(&text.as_bytes()[..cut]), CUT, "cut at {} of {}", cut, text);
        }
    }
}
