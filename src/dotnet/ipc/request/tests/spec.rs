//! The other end of a message, written from the specification and from what real runtimes do; it shares no code with the encoder, and the fuzzer uses it too.

/// A message as the runtime takes it apart.
#[derive(Debug, PartialEq)]
pub(super) enum Read {
    Nothing,
    Dump {
        name: String,
        kind: u32,
        flags: u32,
    },
    Session {
        megabytes: u32,
        format: u32,
        rundown: u8,
        providers: Vec<(u64, u32, String, Option<String>)>,
    },
    Stop(u64),
}

/// Takes `count` bytes off the front.
fn cut<'a>(bytes: &mut &'a [u8], count: usize) -> &'a [u8] {
    assert!(
        count <= bytes.len(),
        "cut short: {count} of {}",
        bytes.len()
    );
    let (front, rest) = bytes.split_at(count);
    *bytes = rest;
    front
}

fn number(bytes: &mut &[u8], width: usize) -> u64 {
    cut(bytes, width)
        .iter()
        .rev()
        .fold(0, |number, byte| number << 8 | u64::from(*byte))
}

/// `string = u32 count of UTF-16 units including NUL, then the units; count 0 = null`.
fn text(bytes: &mut &[u8]) -> Option<String> {
    let count = number(bytes, 4);
    if count == 0 {
        return None;
    }
    let units: Vec<u16> = (0..count).map(|_| number(bytes, 2) as u16).collect();
    let (nul, units) = units.split_last().expect("at least the NUL");
    assert_eq!(*nul, 0, "a text ends in a NUL");
    assert!(!units.contains(&0), "and has none before");
    Some(String::from_utf16(units).expect("UTF-16"))
}

/// Takes a whole message apart: set and id, and the rest. What is not well-formed is a panic.
pub(super) fn read(message: &[u8]) -> ((u8, u8), Read) {
    let mut bytes = message;
    assert_eq!(cut(&mut bytes, 14), b"DOTNET_IPC_V1\0");
    assert_eq!(
        number(&mut bytes, 2),
        message.len() as u64,
        "the size is that of the whole"
    );
    let command = (number(&mut bytes, 1) as u8, number(&mut bytes, 1) as u8);
    assert_eq!(number(&mut bytes, 2), 0, "reserved");
    let read = match command {
        (4, 0 | 4 | 8) => Read::Nothing,
        (1, 1..=3) => Read::Dump {
            name: text(&mut bytes).expect("a dump without a name ends the runtime"),
            kind: number(&mut bytes, 4) as u32,
            flags: number(&mut bytes, 4) as u32,
        },
        (2, 3) => Read::Session {
            megabytes: number(&mut bytes, 4) as u32,
            format: number(&mut bytes, 4) as u32,
            rundown: number(&mut bytes, 1) as u8,
            providers: (0..number(&mut bytes, 4))
                .map(|_| {
                    let (keywords, level) = (number(&mut bytes, 8), number(&mut bytes, 4) as u32);
                    let name = text(&mut bytes).expect("a provider without a name is refused");
                    (keywords, level, name, text(&mut bytes))
                })
                .collect(),
        },
        (2, 1) => Read::Stop(number(&mut bytes, 8)),
        other => panic!("no command of ours: {other:?}"),
    };
    assert!(bytes.is_empty(), "{} bytes behind the end", bytes.len());
    (command, read)
}

/// What ends a runtime, or makes it refuse, may not be said.
pub(super) fn check(message: &[u8]) {
    assert!(
        (20..=65_535).contains(&message.len()),
        "{} bytes",
        message.len()
    );
    match read(message).1 {
        Read::Nothing | Read::Stop(_) => {}
        Read::Dump { name, kind, flags } => {
            assert!(
                name.starts_with('/') && name.len() > 1 && name.len() <= 4_095,
                "{name:?}"
            );
            assert_eq!(
                name.replace("%%", "").find('%'),
                None,
                "{name:?} is a template"
            );
            assert!(
                (1..=4).contains(&kind) && flags == 0,
                "type {kind}, flags {flags}"
            );
        }
        Read::Session {
            megabytes,
            format,
            rundown,
            providers,
        } => {
            assert!((1..=256).contains(&megabytes) && format == 1 && rundown <= 1);
            assert!(!providers.is_empty());
            for (_, level, name, arguments) in providers {
                assert!(level <= 5 && !name.is_empty(), "{level} {name:?}");
                assert_ne!(arguments.as_deref(), Some(""), "nothing is said as a null");
            }
        }
    }
}
