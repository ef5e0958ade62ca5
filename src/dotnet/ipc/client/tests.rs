//! Against a server that replays what runtimes answered.

use super::*;
use crate::dotnet::fake::{Answer, Fake, HEAD, UNKNOWN, hex};
use crate::dotnet::ipc::Provider;

/// Set and id of each message.
fn commands(messages: &[Vec<u8>]) -> Vec<(u8, u8)> {
    messages
        .iter()
        .map(|message| (message[16], message[17]))
        .collect()
}

#[test]
fn an_older_command_is_tried_only_for_an_unknown_one() {
    let fake = Fake::new();
    let info =
        "5a00 ff 00 0000 0700000000000000 371710a789720d43b00d7e601ca1a2ca 02000000 73000000 \
        06000000 4c0069006e00750078000000 04000000 7800360034000000 01000000 0000 01000000 0000"
            .replace("  ", "");
    let mut reply = hex(&format!("{HEAD}{info}"));
    let size = u16::try_from(reply.len()).expect("short");
    reply[14..16].copy_from_slice(&size.to_le_bytes());
    let server = fake.serve(vec![Answer::Say(UNKNOWN), Answer::Raw(reply)]);
    let info = process_info(&fake.target()).expect("answered");
    assert_eq!((info.pid, &*info.operating_system), (7, "Linux"));
    assert_eq!(commands(&server.join().expect("served")), [(4, 8), (4, 4)]);

    let server = fake.serve(vec![
        Answer::Say(UNKNOWN),
        Answer::Dribble(UNKNOWN),
        Answer::Say(UNKNOWN),
    ]);
    let old = process_info(&fake.target()).expect_err("3.1 knows none");
    assert_eq!(old.reason(), "Unsupported");
    assert_eq!(
        commands(&server.join().expect("served")),
        [(4, 8), (4, 4), (4, 0)]
    );

    let server = fake.serve(vec![Answer::Say("1800 ff ff 0000 05400080")]);
    let refused = process_info(&fake.target()).expect_err("refused");
    assert_eq!(refused.reason(), "RuntimeRefused");
    assert!(refused.to_string().contains("0x80004005"), "{refused}");
    assert_eq!(server.join().expect("served").len(), 1);
}

#[test]
fn a_session_is_begun_and_its_stream_has_what_follows_the_answer() {
    let fake = Fake::new();
    let config = SessionConfig::new(
        10,
        false,
        vec![Provider::new("System.Runtime", 0, 4, "").expect("valid")],
    );
    let config = config.expect("valid");
    let mut reply = hex(&format!("{HEAD}1c00 ff 00 0000 7011000c7b7f0000"));
    reply.extend(b"Nettrace");
    let server = fake.serve(vec![
        Answer::Raw(reply),
        Answer::Say("1c00 ff 00 0000 7011000c7b7f0000"),
    ]);
    let target = fake.target();
    let (session, mut stream) = collect_tracing(&target, &config).expect("begun");
    let mut events = Vec::new();
    stream.read_to_end(&mut events).expect("to the end");
    assert_eq!(events, b"Nettrace");
    stop_tracing(&target, session).expect("stopped");
    let messages = server.join().expect("served");
    assert_eq!(commands(&messages), [(2, 3), (2, 1)]);
    assert_eq!(messages[1][HEADER..], hex("7011000c7b7f0000"));

    let server = fake.serve(vec![Answer::Say(UNKNOWN)]);
    let old = collect_tracing(&target, &config).expect_err("too old");
    assert_eq!(old.reason(), "Unsupported");
    server.join().expect("served");
}

#[test]
fn what_is_no_answer_is_told_from_a_refusal() {
    let fake = Fake::new();
    let target = fake.target();
    for (answer, reason) in [
        (Answer::Nothing, "Incomplete"),
        (
            Answer::Raw(b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec()),
            "UntrustedSocket",
        ),
        (Answer::Say("1300 ff 00 0000"), "UntrustedSocket"),
        (Answer::Say("1800 01 01 0000 00000000"), "UntrustedSocket"),
        (Answer::Say("1900 ff 00 0000 01"), "Incomplete"),
        (Answer::Say("1800 ff 00 0000 01000000"), "UntrustedSocket"),
    ] {
        let server = fake.serve(vec![answer]);
        let error = process_info(&target).expect_err(reason);
        assert_eq!(error.reason(), reason, "{error}");
        server.join().expect("served");
    }
}

#[test]
fn nothing_is_sent_to_a_process_that_is_not_the_one_that_was_found() {
    let fake = Fake::new();
    let target = fake.target();
    fake.start_another();
    assert!(!target.is_alive());
    let error = process_info(&target).expect_err("another start");
    assert_eq!(error.reason(), "TargetDied");
    fake.listener.set_nonblocking(true).expect("nonblocking");
    while let Ok((mut stream, _)) = fake.listener.accept() {
        let mut said = Vec::new();
        stream.set_nonblocking(false).expect("blocking");
        stream.read_to_end(&mut said).expect("its end");
        assert!(said.is_empty());
    }
}

#[test]
fn a_socket_that_nobody_listens_at_any_more_is_no_runtime() {
    let fake = Fake::new();
    let target = fake.target();
    drop(fake.listener);
    let error = process_info(&target).expect_err("closed");
    assert_eq!(error.reason(), "NoRuntime");
}

#[test]
fn a_command_waits_for_the_one_before_it() {
    let fake = Fake::new();
    let (one, other) = (fake.target(), fake.target());
    let held = one.turn(Instant::now()).expect("free");
    let request = Request::StopTracing(SessionId::new(1));
    let soon = Instant::now() + Duration::from_millis(20);
    let late = ask(&other, &request, soon).expect_err("not its turn");
    assert_eq!(late.reason(), "TimedOut");
    drop(held);
    let server = fake.serve(vec![Answer::Say("1c00 ff 00 0000 0100000000000000")]);
    stop_tracing(&other, SessionId::new(1)).expect("its turn");
    server.join().expect("served");
}
