//! JSON reports, read as a stream into places that ask for members by name.
//!
//! Owns completeness, and leaves bounds to `guarded`. What was put in its place before the text ends, breaks or is stopped stays there:
//! a report is written by a dying process and often cut. A member that comes twice counts as it comes last, as in JavaScript and
//! Python; nothing here is an error but the text itself.

use std::cell::RefCell;
use std::fmt;
use std::io::BufReader;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::error::Category;

use super::super::read_at::Source;
use super::guarded::Guarded;
use crate::model::{Completeness, Facts};

/// Most bytes kept of a text. Shown are 512 characters of 4 bytes at most, and one more tells that it goes on.
const MAX_TEXT: usize = 4 << 10;

/// An object of a report: says where each of its members goes.
pub(super) trait Object {
    fn member(&mut self, name: &str) -> Slot<'_>;
    /// The object was read to its end.
    fn end(&mut self) {}
}

/// An array of a report: says where its next element goes.
pub(super) trait List {
    fn element(&mut self) -> Slot<'_>;
    /// The array was read to its end.
    fn end(&mut self) {}
}

/// Where a value goes. One of another type than the place is for is skipped.
pub(super) enum Slot<'a> {
    Skip,
    /// A string, a number or a boolean, as text: .NET writes all three as strings, and Node some numbers.
    Text(&'a mut Option<String>),
    Object(&'a mut dyn Object),
    List(&'a mut dyn List),
}

/// How the text ended.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Ending {
    /// The document is whole, and only white space follows.
    Whole,
    /// The file ends within the document.
    Cut,
    /// The document could not be read to its end, and why.
    Broken(String),
}

impl Ending {
    /// Enters it into the facts.
    pub(super) fn tell(self, facts: &mut Facts) {
        facts.completeness = match self {
            Self::Whole => Completeness::Complete,
            Self::Cut => Completeness::Truncated { expected: None },
            Self::Broken(why) => {
                facts.unread.push(format!("JSON: {why}"));
                Completeness::Unknown
            }
        };
    }
}

/// Reads the document into `object`, as far as it can be read.
pub(super) fn read(source: &Source<'_>, object: &mut dyn Object) -> Ending {
    let stopped = RefCell::new(None);
    let input = BufReader::with_capacity(64 << 10, Guarded::new(source, &stopped));
    let mut json = serde_json::Deserializer::from_reader(input);
    let parsed = Slot::Object(object)
        .deserialize(&mut json)
        .and_then(|()| json.end());
    drop(json);
    let Err(error) = parsed else {
        return Ending::Whole;
    };
    if let Some(ending) = stopped.into_inner() {
        return ending;
    }
    match error.classify() {
        Category::Eof => Ending::Cut,
        // Not the error's own text: it could quote the document.
        _ => Ending::Broken(format!(
            "not valid at line {}, column {}",
            error.line(),
            error.column()
        )),
    }
}

impl<'de> DeserializeSeed<'de> for Slot<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        match self {
            Self::Skip => deserializer.deserialize_ignored_any(IgnoredAny).map(drop),
            slot => deserializer.deserialize_any(Filling(slot)),
        }
    }
}

struct Filling<'a>(Slot<'a>);

impl Filling<'_> {
    fn text(self, text: &str) {
        if let Slot::Text(place) = self.0 {
            *place = Some(text[..text.floor_char_boundary(MAX_TEXT)].to_owned());
        }
    }
}

impl<'de> Visitor<'de> for Filling<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("anything")
    }

    fn visit_str<E>(self, text: &str) -> Result<(), E> {
        self.text(text);
        Ok(())
    }

    fn visit_bool<E>(self, value: bool) -> Result<(), E> {
        self.text(if value { "true" } else { "false" });
        Ok(())
    }

    fn visit_u64<E>(self, number: u64) -> Result<(), E> {
        self.text(&number.to_string());
        Ok(())
    }

    fn visit_i64<E>(self, number: i64) -> Result<(), E> {
        self.text(&number.to_string());
        Ok(())
    }

    fn visit_f64<E>(self, number: f64) -> Result<(), E> {
        self.text(&number.to_string());
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        if let Slot::Text(place) = self.0 {
            *place = None;
        }
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<(), A::Error> {
        let Slot::Object(object) = self.0 else {
            while members.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
            return Ok(());
        };
        while let Some(slot) = members.next_key_seed(Name(object))? {
            members.next_value_seed(slot)?;
        }
        object.end();
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<(), A::Error> {
        let Slot::List(list) = self.0 else {
            while elements.next_element::<IgnoredAny>()?.is_some() {}
            return Ok(());
        };
        while elements.next_element_seed(Next(list))?.is_some() {}
        list.end();
        Ok(())
    }
}

/// A member's name on its way to the object, which answers with the place for the value.
struct Name<'a>(&'a mut dyn Object);

impl<'a, 'de> DeserializeSeed<'de> for Name<'a> {
    type Value = Slot<'a>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Slot<'a>, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<'a> Visitor<'_> for Name<'a> {
    type Value = Slot<'a>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name")
    }

    fn visit_str<E>(self, name: &str) -> Result<Slot<'a>, E> {
        Ok(self.0.member(name))
    }
}

/// The next element of a list; the list is asked for a place only when there is one.
struct Next<'a>(&'a mut dyn List);

impl<'de> DeserializeSeed<'de> for Next<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        self.0.element().deserialize(deserializer)
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::io;

    use super::super::super::read_at::ReadAt;
    use super::super::guarded::{MAX_BYTES, MAX_STRING};
    use super::*;

    /// An object that keeps one text and goes into itself.
    #[derive(Default)]
    struct Kept {
        text: Option<String>,
        elements: u32,
        ends: u32,
    }

    impl Object for Kept {
        fn member(&mut self, name: &str) -> Slot<'_> {
            match name {
                "text" => Slot::Text(&mut self.text),
                "list" => Slot::List(self),
                "object" => Slot::Object(self),
                _ => Slot::Skip,
            }
        }

        fn end(&mut self) {
            self.ends += 1;
        }
    }

    impl List for Kept {
        fn element(&mut self) -> Slot<'_> {
            self.elements += 1;
            Slot::List(self)
        }
    }

    fn kept(file: &dyn ReadAt, len: u64) -> (Kept, Ending) {
        let mut kept = Kept::default();
        let ending = read(&Source::new(file, len), &mut kept);
        (kept, ending)
    }

    fn parsed(text: &[u8]) -> (Option<String>, Ending) {
        let (kept, ending) = kept(&text.to_vec(), text.len() as u64);
        (kept.text, ending)
    }

    fn broken(ending: &Ending) -> &str {
        match ending {
            Ending::Broken(why) => why,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_document_is_whole_when_only_white_space_follows() {
        for end in ["", "\n", " \t\r\n\n"] {
            let text = format!(r#"{{"a":1,"text":"x"}}{end}"#);
            assert_eq!(parsed(text.as_bytes()), (Some("x".into()), Ending::Whole));
        }
        for end in ["\0", "}", "{}", "x", "\u{feff}"] {
            let (text, ending) = parsed(format!(r#"{{"text":"x"}} {end}"#).as_bytes());
            assert_eq!(text.as_deref(), Some("x"));
            assert_eq!(broken(&ending), "not valid at line 1, column 14", "{end:?}");
        }
    }

    #[test]
    fn a_document_cut_anywhere_is_cut() {
        let text = r#"{"x":[1.5e3,-2,true,null,{"a":"\u00e9\ud83d\ude00 é\\"}],"text":"\u00e9\ud83d\ude00é\\","list":[[],[0]],"object":{}}"#;
        assert_eq!(parsed(text.as_bytes()).1, Ending::Whole);
        for cut in 0..text.len() {
            let (_, ending) = parsed(&text.as_bytes()[..cut]);
            assert_eq!(ending, Ending::Cut, "at {cut}");
        }
    }

    #[test]
    fn what_was_read_before_the_text_breaks_stays_and_the_text_is_not_quoted() {
        let breaks: [&[u8]; 6] = [
            b"hunter2",
            b"\"a\" hunter2",
            b"\"\x01hunter2\"",
            b"\"hunter2\\x\"",
            b"-hunter2",
            b"1e999 hunter2",
        ];
        for wrong in breaks {
            let text = [br#"{"text":"kept","text2":"#, wrong, b"}"].concat();
            let (text, ending) = parsed(&text);
            assert_eq!(text.as_deref(), Some("kept"));
            assert!(broken(&ending).starts_with("not valid at line 1, column "));
            assert!(!broken(&ending).contains("hunter2"));
        }
        // Bytes that are no text, where text is wanted; elsewhere they are passed over.
        assert!(matches!(
            parsed(b"{\"text\":\"\xff\"}").1,
            Ending::Broken(_)
        ));
        assert_eq!(parsed(b"{\"y\":\"\xff\"}").1, Ending::Whole);
    }

    #[test]
    fn the_last_of_two_members_counts_and_another_type_is_passed_over() {
        for (text, expected) in [
            (r#"{"text":"a","text":"b"}"#, Some("b")),
            (r#"{"text":"a","text":null}"#, None),
            (r#"{"text":12}"#, Some("12")),
            (r#"{"text":-12}"#, Some("-12")),
            (r#"{"text":1.5}"#, Some("1.5")),
            (r#"{"text":true}"#, Some("true")),
            (r#"{"text":["a"]}"#, None),
            (r#"{"text":{"text":"a"}}"#, None),
            (r#"{"list":"a","object":[1],"text":"b"}"#, Some("b")),
            (r#"{"object":{"text":"a"},"list":{}}"#, Some("a")),
            (r#"["a"]"#, None),
            (r#""text""#, None),
        ] {
            let (found, ending) = parsed(text.as_bytes());
            assert_eq!(found.as_deref(), expected, "{text}");
            assert_eq!(ending, Ending::Whole, "{text}");
        }
    }

    #[test]
    fn objects_are_told_of_their_end_and_lists_of_each_element() {
        let text = br#"{"object":{"list":[[[]],[]]},"object":{"#.to_vec();
        let (kept, ending) = kept(&text, text.len() as u64);
        assert_eq!((kept.elements, kept.ends, ending), (3, 1, Ending::Cut));
    }

    #[test]
    fn a_text_is_kept_in_part_and_at_a_character() {
        let text = format!(r#"{{"text":"x{}"}}"#, "é".repeat(10_000));
        let found = parsed(text.as_bytes()).0.expect("a text");
        assert_eq!(found.len(), MAX_TEXT - 1);
        assert!(found.ends_with('é'));
    }

    /// A beginning and then the same bytes for ever; counts what was read.
    struct Endless {
        begins: &'static [u8],
        goes_on: &'static [u8],
        read: Cell<u64>,
    }

    impl ReadAt for Endless {
        fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
            for (n, byte) in buffer.iter_mut().enumerate() {
                let at = usize::try_from(offset).expect("small") + n;
                *byte = match self.begins.get(at) {
                    Some(byte) => *byte,
                    None => self.goes_on[(at - self.begins.len()) % self.goes_on.len()],
                };
            }
            self.read.set(self.read.get() + buffer.len() as u64);
            Ok(buffer.len())
        }
    }

    fn endless(begins: &'static [u8], goes_on: &'static [u8]) -> (Kept, String, u64) {
        let file = Endless {
            begins,
            goes_on,
            read: Cell::new(0),
        };
        let (kept, ending) = kept(&file, 1 << 40);
        (kept, broken(&ending).to_owned(), file.read.get())
    }

    #[test]
    fn what_would_fill_memory_is_stopped_where_it_begins_to() {
        // A name, a text that is wanted, one that is not: as long as the file goes on.
        for begins in [
            &br#"{"text":"kept",""#[..],
            br#"{"text":"kept","text":""#,
            br#"{"text":"kept","x":""#,
        ] {
            for goes_on in [&b"x"[..], b"\\\"", b"\\u0041"] {
                let (kept, why, read) = endless(begins, goes_on);
                assert_eq!(kept.text.as_deref(), Some("kept"));
                assert!(
                    why.starts_with("a string of more than 1024 KiB before byte 10485"),
                    "{why}"
                );
                assert!(read <= MAX_STRING + (128 << 10), "{read}");
            }
        }
        // Levels, of values that are passed over and of values that are wanted.
        for (begins, goes_on) in [
            (&br#"{"text":"kept","x":"#[..], &b"["[..]),
            (br#"{"text":"kept","x":"#, b"{\"x\":"),
            (br#"{"text":"kept","list":"#, b"["),
            (br#"{"text":"kept","x":1"#, b",\"object\":{\"a\":1"),
        ] {
            let (kept, why, read) = endless(begins, goes_on);
            assert_eq!(kept.text.as_deref(), Some("kept"));
            assert!(
                why.starts_with("more than 128 levels at byte ")
                    || why.starts_with("not valid at line 1, column "),
                "{why}"
            );
            assert!(read <= 128 << 10, "{read}");
        }
    }

    #[test]
    fn a_document_without_end_is_read_to_the_bound() {
        let (kept, why, read) = endless(br#"{"text":"kept","x":[0"#, b",0");
        assert_eq!(kept.text.as_deref(), Some("kept"));
        assert_eq!(why, "only the first 64 MiB are read");
        assert!(read <= MAX_BYTES + (64 << 10), "{read}");
        let (_, why, _) = endless(br#"{"text":"kept"}"#, b" ");
        assert_eq!(why, "only the first 64 MiB are read");
    }

    #[test]
    fn a_file_that_cannot_be_read_on_is_said_to_be_so() {
        struct Failing;
        impl ReadAt for Failing {
            fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
                match offset {
                    0 => {
                        buffer[..18].copy_from_slice(br#"{"text":"kept","x""#);
                        Ok(18)
                    }
                    _ => Err(io::Error::from_raw_os_error(5)),
                }
            }
        }
        let (kept, ending) = kept(&Failing, 4_096);
        assert!(
            broken(&ending).starts_with("byte 18 cannot be read"),
            "{ending:?}"
        );
        // A read that fails half-way is lost whole.
        assert_eq!(kept.text, None);
    }
}
