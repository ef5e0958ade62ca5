//! Walks made in code; real ones are taken from real runtimes by the live tests.

use proptest::prelude::*;

use super::super::eventpipe::Decoder;
use super::super::eventpipe::build::{Row, Stream, kind, text};
use super::*;

/// The kinds that matter, numbered in the stream as the runtime numbers them.
fn described() -> Stream {
    let none = 0u32.to_le_bytes();
    let kinds = [1, 2, 15, 18, 19].map(|id| kind(id, RUNTIME, id, "", &none));
    Stream::new().kinds(&kinds)
}

fn numbers(numbers: &[u32]) -> Vec<u8> {
    numbers.iter().flat_map(|n| n.to_le_bytes()).collect()
}

fn start(count: u32) -> (u32, Vec<u8>) {
    (1, [numbers(&[count, 2, 1, 0]), vec![0; 10]].concat())
}

fn end(count: u32) -> (u32, Vec<u8>) {
    (2, [numbers(&[count, 2]), vec![0; 2]].concat())
}

fn types(types: &[(u64, &str)]) -> (u32, Vec<u8>) {
    let mut payload = numbers(&[types.len() as u32]);
    payload.extend([0, 0]);
    for (id, name) in types {
        payload.extend(id.to_le_bytes());
        payload.extend([7; 8 + 4 + 4 + 1]);
        payload.extend(text(name));
        payload.extend(numbers(&[1]));
        payload.extend([9; 8]);
    }
    (15, payload)
}

fn nodes(index: u32, nodes: &[(u64, u64)]) -> (u32, Vec<u8>) {
    let mut payload = numbers(&[index, nodes.len() as u32]);
    payload.extend([0, 0]);
    for (size, of) in nodes {
        for number in [0xdead, *size, *of, 3] {
            payload.extend(number.to_le_bytes());
        }
    }
    (18, payload)
}

fn watched(events: &[(u32, Vec<u8>)]) -> (Snapshot, Decoder) {
    let mut snapshot = Snapshot::default();
    let mut decoder = Decoder::new();
    let rows: Vec<_> = (1..)
        .zip(events)
        .map(|(number, (id, payload))| Row::new(*id, number, payload.clone()))
        .collect();
    decoder.feed(&described().events(&rows).end(), &mut snapshot);
    (snapshot, decoder)
}

fn heap(events: &[(u32, Vec<u8>)]) -> Heap {
    let (snapshot, decoder) = watched(events);
    snapshot.heap(&Ended {
        bytes: 0,
        complete: decoder.is_complete(),
        why: Why::Enough,
        counts: decoder.counts(),
        trouble: decoder.trouble().map(str::to_owned),
    })
}

fn total(name: &str, objects: u64, bytes: u64) -> TypeTotal {
    TypeTotal {
        name: name.to_owned(),
        objects,
        bytes,
    }
}

#[test]
fn a_walk_is_added_up_by_type() {
    let heap = heap(&[
        start(4),
        nodes(0, &[(24, 1), (24, 1), (100, 2)]),
        types(&[(1, "Widget"), (2, "Widget[]"), (4, "Widget")]),
        nodes(1, &[(24, 1), (8, 3), (1, 4)]),
        end(4),
    ]);
    let expected = Heap {
        whole: true,
        // Each event of these is a second after the one before.
        pause: Some(Duration::from_secs(4)),
        objects: 6,
        bytes: 181,
        unnamed: 1,
        types: vec![
            total("Widget[]", 1, 100),
            total("Widget", 4, 73),
            total("?", 1, 8),
        ],
        ..Heap::default()
    };
    assert_eq!(heap, expected);
    assert_eq!(heap.of("Widget"), Some(&total("Widget", 4, 73)));
    assert_eq!(heap.of("Gadget"), None);
}

#[test]
fn enough_is_the_end_of_the_collection_that_was_walked() {
    let ours = [start(4), nodes(0, &[(1, 1)]), end(4)];
    assert!(watched(&ours).0.is_done());
    // Events of another thread may come late.
    assert!(
        watched(&[start(4), end(4), nodes(0, &[(1, 1)])])
            .0
            .is_done()
    );
    // The program collects by itself before, and others in between.
    let busy = [start(2), end(2), start(4), nodes(0, &[(1, 1)]), end(3)];
    assert!(!watched(&busy).0.is_done());
    assert!(watched(&[&busy[..], &[end(4)]].concat()).0.is_done());
    let background = (1, numbers(&[4, 2, 1, 1]));
    let young = (1, numbers(&[4, 0, 1, 0]));
    let of_itself = (1, numbers(&[4, 2, 0, 0]));
    for other in [background, young, of_itself] {
        assert!(!watched(&[other, nodes(0, &[(1, 1)]), end(4)]).0.is_done());
    }
    for cut in 0..3 {
        assert!(!watched(&ours[..cut]).0.is_done());
    }
}

#[test]
fn another_tools_walk_is_not_added_to_ours() {
    let one = [start(1), nodes(0, &[(1, 1)]), nodes(1, &[(1, 1)])];
    let ours = [start(2), nodes(0, &[(5, 1)]), nodes(1, &[(5, 1)]), end(2)];
    let after = [
        nodes(2, &[(5, 1)]),
        start(3),
        nodes(0, &[(1, 1)]),
        nodes(1, &[(1, 1)]),
        end(3),
    ];
    let heap = heap(&[&one[..], &ours, &after].concat());
    assert_eq!((heap.objects, heap.bytes, heap.whole), (3, 15, true));
}

#[test]
fn a_walk_with_a_gap_is_not_whole() {
    let gap = heap(&[start(1), nodes(0, &[(1, 1)]), nodes(2, &[(1, 1)]), end(1)]);
    assert_eq!((gap.whole, gap.lost, gap.objects), (false, 1, 2));
    let cut = heap(&[start(1), nodes(0, &[(1, 1)])]);
    assert!(!cut.whole);
}

#[test]
fn a_walk_whose_end_was_lost_is_given_up_when_no_more_comes() {
    let (mut snapshot, _) = watched(&[start(1), nodes(0, &[(1, 1)]), (19, vec![0; 8])]);
    assert_eq!(snapshot.enough(), Ok(false));
    snapshot.last = Instant::now().checked_sub(QUIET + QUIET);
    assert_eq!(snapshot.enough(), Ok(true));
    assert!(!snapshot.is_done());
    // What comes before any walk is not waited for.
    let (mut snapshot, _) = watched(&[types(&[(1, "T")])]);
    snapshot.last = Instant::now().checked_sub(QUIET + QUIET);
    assert_eq!(snapshot.enough(), Ok(false));
}

#[test]
fn types_without_end_are_counted_together() {
    let many: Vec<_> = (0..30_010).map(|id| (2, id)).collect();
    let named: Vec<_> = (0..30_010).map(|id| (id, "T")).collect();
    // Blocks are below 512 KiB.
    let mut events: Vec<_> = named.chunks(1_000).map(types).collect();
    events.push(start(1));
    events.extend(
        (0..)
            .zip(many.chunks(1_000))
            .map(|(index, many)| nodes(index, many)),
    );
    events.push(end(1));
    let mut snapshot = Snapshot::default();
    let mut decoder = Decoder::new();
    let mut stream = described();
    for (number, (id, payload)) in (1..).zip(events) {
        stream = stream.events(&[Row::new(id, number, payload)]);
    }
    decoder.feed(&stream.end(), &mut snapshot);
    assert_eq!((decoder.trouble(), snapshot.is_done()), (None, true));
    let heap = snapshot.tally.heap(true, 0);
    assert_eq!(
        (heap.objects, heap.bytes, heap.other_objects),
        (30_010, 60_020, 10)
    );
    assert_eq!(heap.types, vec![total("T", 30_000, 60_000)]);
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(256) })]

    #[test]
    fn any_payloads_are_survived(
        events in proptest::collection::vec(
            (prop_oneof![Just(1u32), Just(2), Just(15), Just(18)], proptest::collection::vec(any::<u8>(), 0..200)),
            0..20,
        ),
    ) {
        let heap = heap(&events);
        prop_assert!(heap.types.len() as u64 <= heap.objects);
    }

    #[test]
    fn counts_beyond_their_bytes_are_survived(count in any::<u32>(), size in any::<u64>()) {
        let mut huge = nodes(0, &[(size, 1), (size, 1)]);
        huge.1[4..8].copy_from_slice(&count.to_le_bytes());
        let mut named = types(&[(1, "T")]);
        named.1[..4].copy_from_slice(&count.to_le_bytes());
        let heap = heap(&[start(1), named, huge, end(1)]);
        prop_assert_eq!(heap.objects, u64::from(count.min(2)));
    }
}
