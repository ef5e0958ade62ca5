use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::build::{BEGUN, Row, Stream, block_head, fields, kind, structure, text};
use super::*;

/// What is told of an event: kind's provider, its id, name, ticks, thread, payload.
type Told = (String, u32, String, u64, u64, Vec<u8>);

#[derive(Default)]
struct Listener(Vec<Told>);

impl Visitor for Listener {
    fn event(&mut self, _: &Trace, event: &Event<'_>) {
        self.0.push((
            event.kind.provider.to_string(),
            event.kind.id,
            event.kind.name.to_string(),
            event.ticks,
            event.thread,
            event.payload.to_vec(),
        ));
    }
}

fn fed<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> (Decoder, Vec<Told>) {
    let mut decoder = Decoder::new();
    let mut listener = Listener::default();
    for piece in pieces {
        decoder.feed(piece, &mut listener);
    }
    (decoder, listener.0)
}

fn rows() -> Vec<Row> {
    (1..=20)
        .map(|number| Row {
            metadata: 1 + number % 2,
            thread: 7 + u64::from(number % 3),
            number: 1 + (number - 1) / 3,
            // Back in time with each second one.
            ticks: 1_000_000 + u64::from(number ^ 1) * 250,
            payload: vec![number as u8; number as usize],
        })
        .collect()
}

fn whole(plain: bool) -> Vec<u8> {
    let stream = Stream::new()
        .block("StackBlock", &[5; 3])
        .kinds(&[
            kind(1, "Provider", 11, "First", &fields(&[(9, "A")])),
            kind(2, "Provider", 12, "", &0u32.to_le_bytes()),
        ])
        .block("SPBlock", &[0; 12]);
    let (first, second) = (&rows()[..9], &rows()[9..]);
    let stream = if plain {
        stream.plain_events(first).plain_events(second)
    } else {
        stream.events(first).events(second)
    };
    stream.end()
}

fn expected() -> Vec<Told> {
    let told = |row: Row| {
        let (id, name) = if row.metadata == 1 {
            (11, "First")
        } else {
            (12, "")
        };
        let (provider, name) = ("Provider".to_owned(), name.to_owned());
        (provider, id, name, row.ticks, row.thread, row.payload)
    };
    rows().into_iter().map(told).collect()
}

#[test]
fn events_of_both_forms_are_told_in_order() {
    for plain in [false, true] {
        let bytes = whole(plain);
        let (decoder, told) = fed([bytes.as_slice()]);
        assert_eq!(told, expected());
        assert_eq!(decoder.trouble(), None);
        assert!(decoder.is_complete());
        let trace = decoder.trace().expect("a trace");
        assert_eq!((trace.pid, trace.pointer), (4711, 8));
        assert_eq!(trace.begun.to_string(), BEGUN);
        let counts = Counts {
            bytes: bytes.len() as u64,
            events: 20,
            ..Counts::default()
        };
        assert_eq!(decoder.counts(), counts);
    }
}

#[test]
fn ticks_are_times_also_before_the_beginning() {
    let trace = *fed([Stream::new().bytes().as_slice()])
        .0
        .trace()
        .expect("a trace");
    let at = |ticks| trace.timestamp(ticks).map(|time| time.to_string());
    assert_eq!(at(1_000_000).as_deref(), Some(BEGUN));
    assert_eq!(at(1_001_500).as_deref(), Some("2025-11-21T01:52:32.859Z"));
    assert_eq!(at(999_000).as_deref(), Some("2025-11-21T01:52:30.359Z"));
    assert_eq!(at(1 << 63), None);
}

#[test]
fn a_stream_cut_anywhere_is_not_complete() {
    let bytes = whole(false);
    for cut in 0..bytes.len() {
        let (decoder, _) = fed([&bytes[..cut]]);
        assert!(!decoder.is_complete(), "{cut}");
        assert_eq!(decoder.trouble(), None, "{cut}");
    }
}

#[test]
fn bytes_behind_the_end_make_it_not_complete() {
    let mut bytes = whole(false);
    bytes.push(1);
    let (decoder, _) = fed([bytes.as_slice()]);
    assert!(!decoder.is_complete());
    assert_eq!(decoder.trouble(), Some("bytes follow the end"));
}

#[test]
fn what_cannot_be_decoded_is_said_once_and_then_only_counted() {
    for (bytes, why) in [
        (
            b"Nettrace\0\0\0\0\x06\0\0\0\0\0\0\0 and so on for some time".to_vec(),
            "the stream is of no version that is known at byte 0",
        ),
        (
            Stream::of_version(3).end(),
            "a trace of a version that is not known at byte 47",
        ),
        (
            Stream::new().block("LaterBlock", &[0; 9]).end(),
            "an object of a type that is not known at byte 117",
        ),
        (
            Stream::new().promise("EventBlock", u32::MAX),
            "a block is longer than any can be at byte 128",
        ),
        (
            Stream::new().block("EventBlock", &[0; 3]).end(),
            "a block of events has no head",
        ),
    ] {
        let bytes = [bytes, vec![9; 1_000]].concat();
        let (decoder, told) = fed(bytes.chunks(7));
        assert_eq!(decoder.trouble(), Some(why));
        assert_eq!(told, Vec::<Told>::new());
        assert_eq!(decoder.counts().bytes, bytes.len() as u64);
        assert!(!decoder.is_complete());
    }
}

#[test]
fn a_block_that_holds_nonsense_hides_only_itself() {
    let bytes = Stream::new()
        .kinds(&[kind(1, "P", 5, "", &0u32.to_le_bytes())])
        .events(&[Row::new(1, 1, vec![1])])
        .block(
            "EventBlock",
            &[block_head(true), vec![128, 0, 99, 1]].concat(),
        )
        .block(
            "MetadataBlock",
            &[block_head(true), vec![128, 0, 2, 1, 1]].concat(),
        )
        .events(&[Row::new(1, 2, vec![2])])
        .end();
    let (decoder, told) = fed([bytes.as_slice()]);
    assert_eq!(told.len(), 2);
    assert_eq!(decoder.trouble(), Some("an event is longer than its block"));
    assert_eq!(decoder.counts().unread_blocks, 2);
    assert!(decoder.is_complete());
}

#[test]
fn a_block_above_512_kib_is_stepped_over() {
    let mut stream = Stream::new().kinds(&[kind(1, "P", 5, "", &0u32.to_le_bytes())]);
    stream = stream.block("EventBlock", &vec![0; (512 << 10) + 1]);
    let bytes = stream.events(&[Row::new(1, 1, vec![1])]).end();
    let (decoder, told) = fed(bytes.chunks(65_536));
    assert_eq!(told.len(), 1);
    assert_eq!(decoder.trouble(), Some("a block is longer than 512 KiB"));
    assert!(decoder.is_complete());
}

#[test]
fn events_that_the_runtime_had_no_room_for_are_counted() {
    let described = kind(1, "P", 5, "", &0u32.to_le_bytes());
    let number = |number| Row::new(1, number, Vec::new());
    let bytes = Stream::new()
        .kinds(&[described])
        .events(&[number(1), number(2), number(6)])
        // A new thread of the same id begins anew.
        .plain_events(&[number(1), number(2), number(4)])
        .events(&[Row::new(9, 5, Vec::new())])
        .end();
    let (decoder, _) = fed([bytes.as_slice()]);
    let counts = decoder.counts();
    assert_eq!((counts.lost, counts.events, counts.undescribed), (4, 6, 1));
}

#[test]
fn fields_are_read_by_name_through_structures() {
    let inner = [
        (18, "Name"),
        (14, "Mean"),
        (13, "Seconds"),
        (9, "Count"),
        (3, "Yes"),
        (4, "Char"),
    ];
    let described = kind(1, "P", 2, "EventCounters", &structure("Payload", &inner));
    let mut payload = text("cpu-usage");
    payload.extend(1.5f64.to_le_bytes());
    payload.extend(0.25f32.to_le_bytes());
    payload.extend((-3i32).to_le_bytes());
    payload.extend(1u32.to_le_bytes());
    payload.extend([65, 0]);
    let bytes = Stream::new()
        .kinds(&[described])
        .events(&[Row::new(1, 1, payload)])
        .end();

    #[derive(Default)]
    struct Names(Vec<(String, String)>);
    impl Visitor for Names {
        fn event(&mut self, _: &Trace, event: &Event<'_>) {
            for (name, value) in values(event.kind, event.payload).expect("whole") {
                let value = match value {
                    Value::Text(text) => text.cut(3),
                    other => format!("{other:?}"),
                };
                self.0.push((name.to_owned(), value));
            }
            let cut = &event.payload[..event.payload.len() - 1];
            assert_eq!(values(event.kind, cut), Err(Malformed));
        }
    }
    let mut names = Names::default();
    Decoder::new().feed(&bytes, &mut names);
    let expected = [
        ("Name", "cpu"),
        ("Mean", "Float(1.5)"),
        ("Seconds", "Float(0.25)"),
        ("Count", "Signed(-3)"),
        ("Yes", "Bool(true)"),
        ("Char", "Unsigned(65)"),
    ];
    assert_eq!(
        names.0,
        expected.map(|(name, value)| (name.to_owned(), value.to_owned()))
    );
}

/// The second description of fields, behind the first: sizes before names before types.
fn tagged(fields: &[Vec<u8>]) -> Vec<u8> {
    let mut payload = (fields.len() as u32).to_le_bytes().to_vec();
    for field in fields {
        payload.extend((field.len() as u32 + 4).to_le_bytes());
        payload.extend(field);
    }
    let mut bytes = 0u32.to_le_bytes().to_vec();
    // An opcode, a tag that nobody knows, then the fields.
    bytes.extend([1, 0, 0, 0, 1, 10]);
    bytes.extend([2, 0, 0, 0, 77, 1, 2]);
    bytes.extend((payload.len() as u32).to_le_bytes());
    bytes.push(2);
    bytes.extend(payload);
    bytes
}

#[test]
fn fields_with_arrays_are_read_from_the_tag() {
    let array = |name, of: &[u8]| [text(name), 19u32.to_le_bytes().to_vec(), of.to_vec()].concat();
    let pair = [
        &1u32.to_le_bytes()[..],
        &1u32.to_le_bytes(),
        &16u32.to_le_bytes(),
        &text("Key"),
        &18u32.to_le_bytes(),
    ]
    .concat();
    let simple = [text("Last"), 10u32.to_le_bytes().to_vec()].concat();
    let fields = tagged(&[
        array("Numbers", &8u32.to_le_bytes()),
        array("Pairs", &pair),
        simple,
    ]);
    let described = kind(3, "P", 2, "N", &fields);
    let payload = [
        &[2u8, 0, 1, 0, 2, 0][..],
        &[1, 0],
        &text("key"),
        &7u32.to_le_bytes(),
    ]
    .concat();
    let bytes = Stream::new()
        .kinds(&[described])
        .events(&[Row::new(3, 1, payload)])
        .end();
    struct Last;
    impl Visitor for Last {
        fn event(&mut self, _: &Trace, event: &Event<'_>) {
            let found = values(event.kind, event.payload).expect("whole");
            let expected = [
                ("Numbers", Value::Items(2)),
                ("Pairs", Value::Items(1)),
                ("Last", Value::Unsigned(7)),
            ];
            assert_eq!(found, expected);
        }
    }
    let mut decoder = Decoder::new();
    decoder.feed(&bytes, &mut Last);
    assert_eq!((decoder.trouble(), decoder.counts().events), (None, 1));
}

#[test]
fn descriptions_without_end_are_refused() {
    let deep = (0..100).fold(fields(&[(9, "x")]), |inner, _| {
        [
            &1u32.to_le_bytes()[..],
            &1u32.to_le_bytes(),
            &inner,
            &text("s"),
        ]
        .concat()
    });
    for fields in [
        deep,
        u32::MAX.to_le_bytes().to_vec(),
        fields(&[(2, "no type")]),
    ] {
        let bytes = Stream::new().kinds(&[kind(1, "P", 1, "", &fields)]).end();
        let (decoder, _) = fed([bytes.as_slice()]);
        assert_eq!(
            decoder.trouble(),
            Some("a kind of events is not described as it must be")
        );
    }
    let many = |count: u32, fields: &[u8]| {
        let kinds = |part: u32| (0..100).map(move |n| part * 100 + n);
        (0..count / 100).fold(Stream::new(), |stream, part| {
            let described: Vec<_> = kinds(part).map(|n| kind(n, "P", n, "", fields)).collect();
            stream.kinds(&described)
        })
    };
    let nothing = 0u32.to_le_bytes();
    let nameless = fields(&[(9, ""); 500]);
    for (stream, kept) in [
        (many(3_000, &nothing), true),
        (many(4_000, &nothing), false),
        // 35 KB each, of which the names have none.
        (many(1_000, &nameless), false),
    ] {
        let (decoder, _) = fed([stream.end().as_slice()]);
        let why = (!kept).then_some("more kinds of events are described than are kept");
        assert_eq!(decoder.trouble(), why);
    }
}

#[test]
fn structures_without_fields_are_left_out_and_arrays_of_them_refused() {
    let empty = |name: &str| {
        let mut bytes = 1u32.to_le_bytes().to_vec();
        bytes.extend(0u32.to_le_bytes());
        bytes.extend(text(name));
        bytes
    };
    let nested = [
        &1u32.to_le_bytes()[..],
        &1u32.to_le_bytes(),
        &empty("b"),
        &text("c"),
    ]
    .concat();
    let number = [&9u32.to_le_bytes()[..], &text("d")].concat();
    let all = [&3u32.to_le_bytes()[..], &empty("a"), &nested, &number].concat();
    struct Names;
    impl Visitor for Names {
        fn event(&mut self, _: &Trace, event: &Event<'_>) {
            let found = values(event.kind, event.payload);
            assert_eq!(found, Ok(vec![("d", Value::Signed(-1))]));
        }
    }
    let bytes = Stream::new()
        .kinds(&[kind(1, "P", 1, "", &all)])
        .events(&[Row::new(1, 1, vec![0xff; 4])])
        .end();
    let mut decoder = Decoder::new();
    decoder.feed(&bytes, &mut Names);
    assert_eq!((decoder.trouble(), decoder.counts().events), (None, 1));

    let array = [
        &text("x")[..],
        &19u32.to_le_bytes(),
        &1u32.to_le_bytes(),
        &0u32.to_le_bytes(),
    ]
    .concat();
    let bytes = Stream::new()
        .kinds(&[kind(1, "P", 1, "", &tagged(&[array]))])
        .end();
    let (decoder, _) = fed([bytes.as_slice()]);
    assert_eq!(
        decoder.trouble(),
        Some("a kind of events is not described as it must be")
    );
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(256) })]

    #[test]
    fn any_cut_into_pieces_tells_the_same(
        cuts in proptest::collection::vec(any::<prop::sample::Index>(), 0..40),
        plain in any::<bool>(),
    ) {
        let bytes = whole(plain);
        let mut places: Vec<_> = cuts.iter().map(|cut| cut.index(bytes.len())).collect();
        places.extend([0, bytes.len()]);
        places.sort_unstable();
        let pieces = places.windows(2).map(|pair| &bytes[pair[0]..pair[1]]);
        let (decoder, told) = fed(pieces);
        prop_assert_eq!(told, expected());
        prop_assert!(decoder.is_complete());
    }

    #[test]
    fn changed_streams_are_survived(
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..24),
        plain in any::<bool>(),
        piece in 1usize..300,
    ) {
        let mut bytes = whole(plain);
        for (index, value) in changes {
            let place = index.index(bytes.len());
            bytes[place] = value;
        }
        let begun = Instant::now();
        let (decoder, told) = fed(bytes.chunks(piece));
        prop_assert!(begun.elapsed() < Duration::from_secs(2));
        prop_assert_eq!(decoder.counts().events as usize, told.len());
        let (at_once, same) = fed([bytes.as_slice()]);
        prop_assert_eq!(told, same);
        prop_assert_eq!(decoder.counts(), at_once.counts());
        prop_assert_eq!(decoder.trouble(), at_once.trouble());
    }

    #[test]
    fn any_bytes_in_a_block_are_survived(
        body in proptest::collection::vec(any::<u8>(), 0..2_000),
        compressed in any::<bool>(),
        metadata in any::<bool>(),
    ) {
        let name = if metadata { "MetadataBlock" } else { "EventBlock" };
        let body = [block_head(compressed), body].concat();
        let bytes = Stream::new().kinds(&[kind(0, "P", 1, "", &0u32.to_le_bytes())]).block(name, &body).end();
        let (decoder, _) = fed([bytes.as_slice()]);
        prop_assert!(decoder.is_complete());
    }

    #[test]
    fn any_payload_of_any_fields_is_survived(
        description in proptest::collection::vec(any::<u8>(), 0..300),
        payload in proptest::collection::vec(any::<u8>(), 0..300),
    ) {
        struct Reads;
        impl Visitor for Reads {
            fn event(&mut self, _: &Trace, event: &Event<'_>) {
                let _ = values(event.kind, event.payload);
            }
        }
        let kinds = [kind(1, "P", 1, "", &description), kind(2, "P", 1, "", &tagged(&[description]))];
        let rows = [Row::new(1, 1, payload.clone()), Row::new(2, 2, payload)];
        Decoder::new().feed(&Stream::new().kinds(&kinds).events(&rows).end(), &mut Reads);
    }
}
