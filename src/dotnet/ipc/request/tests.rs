//! What is sent, read back by a decoder made from the specification.

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::dotnet::ipc::Provider;
use spec::{Read, check, read};

mod spec;

fn hex(text: &str) -> Vec<u8> {
    hex::decode(text.replace([' ', '\n'], "")).expect("hex")
}

const HEAD: &str = "444f544e45545f4950435f563100";

#[test]
fn messages_are_those_that_were_captured() {
    let dump = |command, dump_type| {
        let path = DumpPath::new("/tmp/d").expect("valid");
        Request::GenerateCoreDump {
            command,
            path: &path,
            dump_type,
        }
        .encode()
    };
    let name = "07000000 2f0074006d0070002f0064000000";
    let session = |buffer, provider| {
        let config = SessionConfig::new(buffer, false, vec![provider]).expect("valid");
        Request::CollectTracing2(&config).encode()
    };
    let counters =
        Provider::new("System.Runtime", 0, 4, "EventCounterIntervalSec=1").expect("valid");
    let gcdump =
        Provider::new("Microsoft-Windows-DotNETRuntime", 0x198_0001, 5, "").expect("valid");
    let wide =
        |text: &str| -> String { text.bytes().map(|byte| format!("{byte:02x}00")).collect() };
    for (message, captured) in [
        (
            Request::ProcessInfo(InfoCommand::First).encode(),
            "1400 04 00 0000".to_owned(),
        ),
        (
            Request::ProcessInfo(InfoCommand::Third).encode(),
            "1400 04 08 0000".to_owned(),
        ),
        (
            dump(DumpCommand::First, DumpType::Heap),
            format!("2e00 01 01 0000 {name} 02000000 00000000"),
        ),
        (
            dump(DumpCommand::Third, DumpType::Full),
            format!("2e00 01 03 0000 {name} 04000000 00000000"),
        ),
        (
            session(10, counters),
            format!(
                "8700 02 03 0000 0a000000 01000000 00 01000000 0000000000000000 04000000 0f000000 {} 1a000000 {}",
                wide("System.Runtime\0"),
                wide("EventCounterIntervalSec=1\0")
            ),
        ),
        (
            session(64, gcdump),
            format!(
                "7500 02 03 0000 40000000 01000000 00 01000000 0100980100000000 05000000 20000000 {} 00000000",
                wide("Microsoft-Windows-DotNETRuntime\0")
            ),
        ),
        (
            Request::StopTracing(SessionId(0x7f7b_0c00_1170)).encode(),
            "1c00 02 01 0000 7011000c7b7f0000".to_owned(),
        ),
    ] {
        assert_eq!(
            hex::encode(&message),
            hex::encode(hex(&format!("{HEAD}{captured}")))
        );
        check(&message);
    }
}

#[test]
fn the_largest_messages_fit() {
    let path = DumpPath::new(&format!("/{}", "%".repeat(2_047))).expect("valid");
    let longest = Request::GenerateCoreDump {
        command: DumpCommand::Third,
        path: &path,
        dump_type: DumpType::Mini,
    };
    check(&longest.encode());
    let provider = || Provider::new("a", u64::MAX, 5, &"x".repeat(8_192)).expect("valid");
    let rest = |length| Provider::new("a", 0, 0, &"x".repeat(length)).expect("valid");
    let config = |length| {
        SessionConfig::new(
            256,
            true,
            vec![provider(), provider(), provider(), rest(length)],
        )
    };
    let fits = (1..8_192)
        .rev()
        .find_map(|length| config(length).ok())
        .expect("one fits");
    let message = Request::CollectTracing2(&fits).encode();
    assert!(message.len() > 65_533, "{}", message.len());
    check(&message);
}

fn providers() -> impl Strategy<Value = (String, u64, u8, String)> {
    (
        ".{0,300}",
        any::<u64>(),
        0..8_u8,
        prop_oneof![Just(String::new()), ".{0,40}", "(?s).{8100,8300}"],
    )
}

proptest! {
    #[test]
    fn no_dump_message_that_can_be_built_ends_a_runtime(path in "(?s)/?.{0,60}|/[a-z%/]{4000,4200}", dump_type in 0..4_usize, command in 0..3_usize) {
        let Ok(valid) = DumpPath::new(&path) else { return Ok(()) };
        let dump_type = DumpType::ALL[dump_type];
        let message = Request::GenerateCoreDump { command: DumpCommand::ALL[command], path: &valid, dump_type }.encode();
        check(&message);
        let ((set, id), Read::Dump { name, kind, .. }) = read(&message) else { panic!("no dump") };
        prop_assert_eq!((set, usize::from(id)), (1, 3 - command));
        prop_assert_eq!(name.replace("%%", "%"), path);
        let word = ["", "mini", "heap", "triage", "full"][kind as usize];
        prop_assert_eq!(word, dump_type.name());
    }

    #[test]
    fn no_session_message_that_can_be_built_ends_a_runtime(megabytes in prop_oneof![0..300_u32, any::<u32>()], rundown: bool, wanted in vec(providers(), 0..6)) {
        let valid: Vec<_> = wanted.iter().filter_map(|(name, keywords, level, arguments)| Provider::new(name, *keywords, *level, arguments).ok()).collect();
        let Ok(config) = SessionConfig::new(megabytes, rundown, valid.clone()) else { return Ok(()) };
        let message = Request::CollectTracing2(&config).encode();
        check(&message);
        let (_, Read::Session { megabytes: read_megabytes, rundown: read_rundown, providers, .. }) = read(&message) else { panic!("no session") };
        prop_assert_eq!((read_megabytes, read_rundown == 1, providers.len()), (megabytes, rundown, valid.len()));
        for ((keywords, level, name, arguments), asked) in providers.into_iter().zip(&valid) {
            prop_assert_eq!((keywords, level, &*name), (asked.keywords(), u32::from(asked.level()), asked.name()));
            prop_assert_eq!(arguments.unwrap_or_default(), asked.arguments());
        }
    }

    #[test]
    fn every_other_message_is_as_short_as_it_can_be(session: u64, command in 0..3_usize) {
        check(&Request::StopTracing(SessionId(session)).encode());
        prop_assert_eq!(read(&Request::StopTracing(SessionId(session)).encode()).1, Read::Stop(session));
        check(&Request::ProcessInfo(InfoCommand::ALL[command]).encode());
    }
}
