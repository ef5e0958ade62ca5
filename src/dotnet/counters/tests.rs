//! Events made in code as runtimes send them; real ones are read by the live tests.

use proptest::prelude::*;

use super::super::eventpipe::Decoder;
use super::super::eventpipe::build::{Row as Sent, Stream, fields, kind, structure, text};
use super::*;

const TEXT: u32 = 18;
const DOUBLE: u32 = 14;
const SINGLE: u32 = 13;
const INT: u32 = 9;

/// The two forms of an `EventCounter`, which have the same name and other numbers in each version.
fn counters() -> Vec<Vec<u8>> {
    let mean = [
        (TEXT, "Name"),
        (TEXT, "DisplayName"),
        (DOUBLE, "Mean"),
        (DOUBLE, "StandardDeviation"),
        (INT, "Count"),
        (DOUBLE, "Min"),
        (DOUBLE, "Max"),
        (SINGLE, "IntervalSec"),
        (TEXT, "Series"),
        (TEXT, "CounterType"),
        (TEXT, "Metadata"),
        (TEXT, "DisplayUnits"),
    ];
    let sum = [
        (TEXT, "Name"),
        (TEXT, "DisplayName"),
        (TEXT, "DisplayRateTimeScale"),
        (DOUBLE, "Increment"),
        (SINGLE, "IntervalSec"),
        (TEXT, "Metadata"),
        (TEXT, "Series"),
        (TEXT, "CounterType"),
        (TEXT, "DisplayUnits"),
    ];
    vec![
        kind(
            1,
            "System.Runtime",
            4,
            "EventCounters",
            &structure("Payload", &mean),
        ),
        kind(
            2,
            "System.Runtime",
            5,
            "EventCounters",
            &structure("Payload", &sum),
        ),
    ]
}

fn mean(name: &str, value: f64) -> Vec<u8> {
    let mut payload = [text(name), text("CPU Usage")].concat();
    for number in [value, 0.0] {
        payload.extend(number.to_le_bytes());
    }
    payload.extend(1u32.to_le_bytes());
    payload.extend([0; 16]);
    payload.extend(0.999f32.to_le_bytes());
    payload.extend([text("Interval=1000"), text("Mean"), text(""), text("%")].concat());
    payload
}

fn sum(name: &str, value: f64, seconds: f32) -> Vec<u8> {
    let mut payload = [text(name), text("Gen 0"), text("00:00:01")].concat();
    payload.extend(value.to_le_bytes());
    payload.extend(seconds.to_le_bytes());
    payload.extend([text(""), text("Interval=1000"), text("Sum"), text("")].concat());
    payload
}

/// Instruments of .NET 8 and 9 by what they publish.
fn meters() -> Vec<Vec<u8>> {
    let common = |more: &[(u32, &'static str)]| {
        let mut all: Vec<(u32, &str)> = [
            "sessionId",
            "meterName",
            "meterVersion",
            "instrumentName",
            "unit",
            "tags",
        ]
        .map(|name| (TEXT, name))
        .to_vec();
        all.extend(more);
        fields(&all)
    };
    let published = [
        (
            11,
            "CounterRateValuePublished",
            common(&[(TEXT, "rate"), (TEXT, "value")]),
        ),
        (
            12,
            "GaugeValuePublished",
            common(&[(TEXT, "lastValue"), (INT, "instrumentId")]),
        ),
        (
            13,
            "HistogramValuePublished",
            common(&[(TEXT, "quantiles"), (INT, "count"), (DOUBLE, "sum")]),
        ),
        (
            14,
            "UpDownCounterRateValuePublished",
            common(&[(TEXT, "rate"), (TEXT, "value")]),
        ),
        (15, "TimeSeriesLimitReached", fields(&[(TEXT, "sessionId")])),
        (
            16,
            "Error",
            fields(&[(TEXT, "sessionId"), (TEXT, "errorMessage")]),
        ),
    ];
    let mut kinds: Vec<_> = published
        .iter()
        .map(|(id, name, fields)| kind(*id, METERS, *id, name, fields))
        .collect();
    let conflict = [
        (TEXT, "clientId"),
        (TEXT, "expectedRefreshInterval"),
        (TEXT, "actualRefreshInterval"),
    ];
    let name = "MultipleSessionsConfiguredIncorrectlyError";
    kinds.push(kind(18, METERS, 18, name, &fields(&conflict)));
    let name = "MultipleSessionsNotSupportedError";
    kinds.push(kind(
        19,
        METERS,
        19,
        name,
        &fields(&[(TEXT, "runningSessionId")]),
    ));
    // Any program may call its own provider's events so.
    kinds.push(kind(
        17,
        "Other",
        1,
        "GaugeValuePublished",
        &common(&[(TEXT, "lastValue")]),
    ));
    kinds
}

fn texts(texts: &[&str]) -> Vec<u8> {
    texts.iter().flat_map(|written| text(written)).collect()
}

fn instrument(session: &str, meter: &str, name: &str, more: &[&str]) -> Vec<u8> {
    [
        texts(&[session, meter, "", name, "s", "k=v,l=w"]),
        texts(more),
    ]
    .concat()
}

/// The runtime's counters and the web server's, of both kinds.
fn usual(seconds: u32) -> Result<Counters, InvalidCounters> {
    let names = ["System.Runtime", "Microsoft.AspNetCore.Hosting"];
    let names = || names.map(str::to_owned).to_vec();
    Counters::new(names(), names(), seconds)
}

struct Followed {
    lines: Vec<serde_json::Value>,
    seen: usize,
    notes: Vec<String>,
    table: Table,
}

fn follow(events: &[(u32, Vec<u8>)]) -> Followed {
    let wanted = usual(1).expect("valid");
    let (mut lines, mut table, mut seen) = (Vec::new(), Table::default(), 0);
    let rows: Vec<_> = (1..)
        .zip(events)
        .map(|(number, (id, payload))| Sent::new(*id, number, payload.clone()))
        .collect();
    let mut see = |sample: &Sample| {
        seen += 1;
        table.take(sample);
    };
    let mut following = Following::new(&wanted, "us", &mut lines, &mut see, 1 << 20);
    let bytes = Stream::new()
        .kinds(&counters())
        .kinds(&meters())
        .events(&rows)
        .end();
    let mut decoder = Decoder::new();
    decoder.feed(&bytes, &mut following);
    assert_eq!(decoder.trouble(), None);
    let (notes, samples, written) = (following.notes, following.samples, following.bytes);
    assert_eq!(written, lines.len() as u64);
    let lines: Vec<_> = lines
        .split_inclusive(|byte| *byte == b'\n')
        .map(|line| serde_json::from_slice(line).expect("a line of JSON"))
        .collect();
    assert_eq!(samples, lines.len() as u64);
    Followed {
        lines,
        seen,
        notes,
        table,
    }
}

#[test]
fn event_counters_become_lines() {
    let followed = follow(&[(1, mean("cpu-usage", 12.5)), (2, sum("gen-0", 3.0, 1.0))]);
    let expected = [
        serde_json::json!({
            "time": "2025-11-21T01:52:32.359Z", "provider": "System.Runtime", "name": "cpu-usage",
            "display_name": "CPU Usage", "unit": "%", "kind": "mean", "value": 12.5,
            "interval_seconds": 0.999,
        }),
        serde_json::json!({
            "time": "2025-11-21T01:52:33.359Z", "provider": "System.Runtime", "name": "gen-0",
            "display_name": "Gen 0", "kind": "sum", "value": 3.0, "interval_seconds": 1.0,
        }),
    ];
    assert_eq!(followed.lines, expected);
}

#[test]
fn instruments_of_meters_become_lines() {
    let of = |name, more: &[&str]| instrument("SHARED", "System.Runtime", name, more);
    let mut histogram = of("h", &["0.5=0.25;0.95=1E+3;x;0.99=NaN"]);
    histogram.extend(7u32.to_le_bytes());
    histogram.extend(1.75f64.to_le_bytes());
    let mut gauge = of("g", &["-4"]);
    gauge.extend([1, 0, 0, 0]);
    let followed = follow(&[
        (11, of("c", &["2.5", "100"])),
        (12, gauge),
        (13, histogram),
        (14, of("u", &["1", "8"])),
    ]);
    let line = |second: u8, name: &str, more: serde_json::Value| {
        let mut line = serde_json::json!({
            "time": format!("2025-11-21T01:52:{second}.359Z"), "provider": "System.Runtime", "name": name,
            "unit": "s", "tags": "k=v,l=w",
        });
        if let (Some(line), serde_json::Value::Object(more)) = (line.as_object_mut(), more) {
            line.extend(more);
        }
        line
    };
    let quantiles =
        serde_json::json!([{"quantile": 0.5, "value": 0.25}, {"quantile": 0.95, "value": 1_000.0}]);
    let expected = [
        line(
            32,
            "c",
            serde_json::json!({"kind": "sum", "value": 2.5, "total": 100.0, "interval_seconds": 1.0}),
        ),
        line(33, "g", serde_json::json!({"kind": "gauge", "value": -4.0})),
        line(
            34,
            "h",
            serde_json::json!({"kind": "histogram", "value": null, "count": 7.0, "sum": 1.75, "interval_seconds": 1.0, "quantiles": quantiles}),
        ),
        line(35, "u", serde_json::json!({"kind": "gauge", "value": 8.0})),
    ];
    assert_eq!(followed.lines, expected);
}

#[test]
fn what_others_asked_for_is_not_written() {
    let gauge = |session, meter| {
        (
            12,
            [instrument(session, meter, "g", &["1"]), vec![0; 4]].concat(),
        )
    };
    let followed = follow(&[
        gauge("another", "System.Runtime"),
        gauge("SHARED", "Somebody.Elses"),
        (17, instrument("SHARED", "System.Runtime", "g", &["1"])),
        gauge("SHARED", "system.runtime"),
    ]);
    assert_eq!(followed.lines.len(), 1);
}

#[test]
fn a_number_that_is_none_becomes_null() {
    for value in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        let followed = follow(&[(1, mean("a", value)), (2, sum("b", value, f32::NAN))]);
        assert_eq!(followed.lines[0]["value"], serde_json::Value::Null);
        assert_eq!(followed.lines[1]["value"], serde_json::Value::Null);
        let values: Vec<_> = followed.table.rows().map(|row| row.value).collect();
        assert_eq!(values, ["-", "-"]);
    }
    let written = instrument("SHARED", "System.Runtime", "c", &["Infinity", ""]);
    let followed = follow(&[(11, written)]);
    assert_eq!(followed.lines[0]["value"], serde_json::Value::Null);
    assert_eq!(followed.lines[0].get("total"), None);
}

#[test]
fn what_the_runtime_says_of_meters_is_noted_once() {
    let error = texts(&["SHARED", "no such \u{1b}[2Jmeter\n at Stack()"]);
    let followed = follow(&[
        (15, texts(&["SHARED"])),
        (15, texts(&["SHARED"])),
        (16, error),
    ]);
    assert_eq!(
        followed.notes,
        [
            "more series of meters are there than a session tells; the rest is missing",
            "the runtime says of its meters: no such \\u{1b}[2Jmeter",
        ]
    );
}

#[test]
fn a_session_of_meters_that_another_tool_began_is_said_to_those_it_concerns() {
    let value = |name| {
        (
            11,
            instrument("SHARED", "System.Runtime", name, &["2", "9"]),
        )
    };
    let others = follow(&[
        (18, texts(&["them", "1", "5"])),
        (19, texts(&["SHARED"])),
        value("c"),
    ]);
    assert_eq!(others.notes, Vec::<String>::new());
    assert_eq!(others.lines[0]["interval_seconds"], 1.0);
    let ours = follow(&[(18, texts(&["us", "5", "1"])), value("c")]);
    assert!(
        ours.notes[0].contains("they come as that tool asked"),
        "{:?}",
        ours.notes
    );
    assert_eq!(ours.lines[0]["interval_seconds"], 5.0);
    let alone = follow(&[(19, texts(&["0815"]))]);
    assert!(
        alone.notes[0].contains("no meters come"),
        "{:?}",
        alone.notes
    );
}

#[test]
fn a_second_telling_within_milliseconds_is_written_but_not_shown() {
    let followed = follow(&[(2, sum("a", 5.0, 1.0)), (2, sum("a", 0.0, 0.002))]);
    assert_eq!((followed.lines.len(), followed.seen), (2, 1));
    let values: Vec<_> = followed.table.rows().map(|row| row.value).collect();
    assert_eq!(values, ["5"]);
}

#[test]
fn the_table_has_one_line_for_each_series_in_a_steady_order() {
    let followed = follow(&[
        (2, sum("z", 1.0, 0.999)),
        (1, mean("a\u{202e}", 1_234.567_89)),
        (
            11,
            instrument("SHARED", "System.Runtime", "c", &["0.00004", "1"]),
        ),
        (1, mean("a\u{202e}", 2.0)),
    ]);
    let rows: Vec<_> = followed
        .table
        .rows()
        .map(|row| (row.name, row.tags, row.value))
        .collect();
    let row =
        |name: &str, tags: &str, value: &str| (name.to_owned(), tags.to_owned(), value.to_owned());
    let expected = [
        row("CPU Usage (%)", "", "2"),
        row("c (s / 1 sec)", "k=v,l=w", "4.000e-5"),
        row("Gen 0 (Count / 1 sec)", "", "1"),
    ];
    assert_eq!(rows, expected);
}

#[test]
fn series_without_end_are_left_out_of_the_table() {
    let mut table = Table::default();
    let events: Vec<_> = (0..1_100)
        .map(|n| (1, mean(&format!("c{n}"), 1.0)))
        .collect();
    let wanted = usual(1).expect("valid");
    let mut take = |sample: &Sample| table.take(sample);
    let mut sink = Discard;
    let mut following = Following::new(&wanted, "us", &mut sink, &mut take, u64::MAX);
    let mut stream = Stream::new().kinds(&counters());
    for (number, (id, payload)) in (1..).zip(events) {
        stream = stream.events(&[Sent::new(id, number, payload)]);
    }
    Decoder::new().feed(&stream.end(), &mut following);
    assert_eq!(following.samples, 1_100);
    assert_eq!((table.rows().count(), table.is_cut()), (1_000, true));
}

#[test]
fn long_series_are_left_out_of_the_table_before_they_are_many() {
    let mut table = Table::default();
    for n in 0..1_000 {
        table.take(&Sample {
            time: jiff::Timestamp::UNIX_EPOCH,
            provider: "p".repeat(256),
            name: "n".repeat(256),
            display_name: String::new(),
            unit: String::new(),
            tags: format!("{n:01024}"),
            kind: Kind::Gauge,
            value: Some(1.0),
            interval_seconds: None,
            total: None,
            count: None,
            sum: None,
            quantiles: Vec::new(),
        });
    }
    assert!(table.is_cut());
    assert!((100..200).contains(&table.rows().count()));
}

#[test]
fn a_sink_that_refuses_ends_the_following() {
    struct Full;
    impl Sink for Full {
        fn take(&mut self, _: &[u8]) -> Result<(), Refused> {
            Err(Refused("the quota is full".to_owned()))
        }
    }
    let wanted = usual(1).expect("valid");
    let (mut full, mut seen) = (Full, |_: &Sample| panic!("nothing was written"));
    let mut following = Following::new(&wanted, "us", &mut full, &mut seen, 100);
    assert_eq!(following.enough(), Ok(false));
    let rows = [Sent::new(1, 1, mean("a", 1.0))];
    let bytes = Stream::new().kinds(&counters()).events(&rows).end();
    Decoder::new().feed(&bytes, &mut following);
    assert_eq!(
        following.enough(),
        Err(Refused("the quota is full".to_owned()))
    );
    following.bytes = 100;
    assert_eq!(following.enough(), Ok(true));
}

#[test]
fn what_cannot_be_asked_for_is_refused() {
    let meters = |meter: &str| Counters::new(Vec::new(), vec![meter.to_owned()], 1);
    for meter in ["", "a;b", "a,b", "a\\b", "a=b", "a\"", "a\n"] {
        let refused = meters(meter).expect_err(meter);
        assert!(
            matches!(refused, InvalidCounters::Meter(_)),
            "{meter}: {refused}"
        );
    }
    assert_eq!(usual(0), Err(InvalidCounters::Interval(0)));
    assert_eq!(usual(3_601), Err(InvalidCounters::Interval(3_601)));
    let nothing = Counters::new(Vec::new(), Vec::new(), 1);
    assert!(matches!(nothing, Err(InvalidCounters::Invalid(_))));
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(256) })]

    #[test]
    fn any_payloads_are_survived(
        events in proptest::collection::vec(
            (prop_oneof![1u32..=2, 11u32..=19], proptest::collection::vec(any::<u8>(), 0..200)),
            0..20,
        ),
        texts_in in proptest::collection::vec(".{0,20}", 8),
    ) {
        let mut events = events;
        let texts_in: Vec<_> = texts_in.iter().map(|t| t.replace('\0', "")).collect();
        let hostile = instrument("SHARED", "System.Runtime", &texts_in[0], &[&texts_in[1], &texts_in[2]]);
        events.push((11, hostile.clone()));
        events.push((13, [hostile, vec![0xff; 12]].concat()));
        events.push((1, mean(&texts_in[3], f64::from_bits(0x7ff0_0000_0000_0001))));
        follow(&events);
    }
}
