//! A runtime that is a thread of the test: it answers as a runtime does, and sends what the case says. Real ones are in the live tests.

use std::fs::OpenOptions;
use std::io::Write;
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize};
use std::thread::JoinHandle;

use super::super::eventpipe::build::{Row, Stream, kind};
use super::super::eventpipe::{Event, Trace};
use super::super::fake::Fake;
use super::super::ipc::{Place, Provider};
use super::*;
use crate::sys::{Dir, Peer, Root};

/// What the runtime does besides answering.
#[derive(Clone)]
struct Script {
    /// Sent at once.
    first: Vec<u8>,
    /// Closes the session itself then.
    hangs_up: bool,
    /// Sent when told to stop.
    last: Vec<u8>,
    /// Whether it takes the message that stops a session.
    stops: bool,
}

impl Script {
    fn new() -> Self {
        Self {
            first: stream().bytes(),
            hangs_up: false,
            last: stream()
                .events(&[row(3)])
                .end()
                .split_off(stream().bytes().len()),
            stops: true,
        }
    }
}

fn row(number: u32) -> Row {
    Row::new(1, number, vec![0; 100])
}

fn stream() -> Stream {
    Stream::new()
        .kinds(&[kind(1, "P", 5, "", &0u32.to_le_bytes())])
        .events(&[row(1), row(2)])
}

/// The runtime, and how often it was told to stop.
struct Runtime {
    target: Target,
    server: JoinHandle<usize>,
    _directory: tempfile::TempDir,
}

fn reply(stream: &mut UnixStream, ok: bool, payload: &[u8]) {
    let mut message = b"DOTNET_IPC_V1\0".to_vec();
    message.extend((20 + payload.len() as u16).to_le_bytes());
    message.extend([0xff, if ok { 0 } else { 0xff }, 0, 0]);
    message.extend(payload);
    // Whoever asked may have gone.
    let _ = stream.write_all(&message);
}

/// Reads a command: its set and number.
fn command(stream: &mut UnixStream) -> [u8; 2] {
    let mut head = [0; 20];
    stream.read_exact(&mut head).expect("a head");
    let length = u16::from_le_bytes([head[14], head[15]]);
    let mut payload = vec![0; usize::from(length) - 20];
    stream.read_exact(&mut payload).expect("a payload");
    [head[16], head[17]]
}

impl Runtime {
    fn start(script: Script) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("socket");
        let listener = UnixListener::bind(&path).expect("a socket");
        let server = thread::spawn(move || serve(&listener, script));
        Self {
            target: target(&path),
            server,
            _directory: directory,
        }
    }

    fn run(
        &self,
        limits: &Limits<'_>,
        sink: &mut dyn Sink,
        watcher: &mut dyn Watcher,
    ) -> Result<Ended, Error> {
        let provider = Provider::new("P", 0, 4, "").expect("valid");
        let config = SessionConfig::new(1, false, vec![provider]).expect("valid");
        run(&self.target, &config, limits, sink, watcher)
    }

    /// How often it was told to stop.
    fn stops(self) -> usize {
        drop(self.target);
        self.server.join().expect("no panic")
    }
}

/// One session, until it is over on both sides.
fn serve(listener: &UnixListener, script: Script) -> usize {
    let (mut session, _) = listener.accept().expect("a connection");
    assert_eq!(command(&mut session), [2, 3]);
    reply(&mut session, true, &77u64.to_le_bytes());
    session.write_all(&script.first).expect("it is read");
    if script.hangs_up {
        return 0;
    }
    let (mut other, _) = listener.accept().expect("a connection");
    assert_eq!(command(&mut other), [2, 1]);
    if script.stops {
        // Fails when the other end has had enough.
        let _ = session.write_all(&script.last);
        drop(session);
        reply(&mut other, true, &77u64.to_le_bytes());
    } else {
        reply(&mut other, false, &0x8000_4005u32.to_le_bytes());
        // Goes on until the stream is closed.
        let mut byte = [0];
        assert_eq!(session.read(&mut byte).expect("an end"), 0);
    }
    1
}

/// This process, which listens there.
fn target(path: &Path) -> Target {
    let process = Dir::open(Path::new(&format!("/proc/{}", std::process::id()))).expect("proc");
    let stat = std::fs::read_to_string("/proc/self/stat").expect("proc");
    let after_name = stat.rsplit_once(')').expect("a name").1;
    let start_time = after_name.split_whitespace().nth(19).expect("field 22");
    let socket: OwnedFd = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_PATH)
        .open(path)
        .expect("it is there")
        .into();
    let connection = UnixStream::pair().expect("a pair").0;
    let peer: Peer = crate::sys::peer_of(&connection).expect("us");
    let pid = std::process::id() as i32;
    Target::new(Place {
        pid,
        inner_pid: pid,
        start_time: start_time.parse().expect("a number"),
        root: Root::of(&process).expect("a root"),
        process,
        socket,
        temp_dir: path.parent().expect("a parent").to_owned(),
        peer,
    })
}

fn limits(seconds: u64, max_bytes: u64, cancelled: &AtomicBool) -> Limits<'_> {
    Limits {
        deadline: Instant::now() + Duration::from_secs(seconds),
        max_bytes,
        cancelled,
    }
}

static NO: AtomicBool = AtomicBool::new(false);

/// Has enough, or sets a flag, after so many events.
struct After<'a> {
    events: usize,
    enough: bool,
    flag: Option<&'a AtomicBool>,
    seen: AtomicUsize,
}

impl Visitor for After<'_> {
    fn event(&mut self, _: &Trace, _: &Event<'_>) {
        let seen = self.seen.fetch_add(1, Ordering::Relaxed) + 1;
        if let Some(flag) = self.flag.filter(|_| seen == self.events) {
            flag.store(true, Ordering::Relaxed);
        }
    }
}

impl Watcher for After<'_> {
    fn enough(&mut self) -> Result<bool, Refused> {
        Ok(self.enough && self.seen.load(Ordering::Relaxed) >= self.events)
    }
}

fn after(events: usize) -> After<'static> {
    After {
        events,
        enough: true,
        flag: None,
        seen: AtomicUsize::new(0),
    }
}

/// All that the script sends.
fn whole(script: &Script) -> Vec<u8> {
    [script.first.as_slice(), &script.last].concat()
}

#[test]
fn a_session_ends_when_the_watcher_has_enough_and_is_drained() {
    let script = Script::new();
    let runtime = Runtime::start(script.clone());
    let (mut sink, mut watcher) = (Vec::new(), after(2));
    let ended = runtime
        .run(&limits(60, 1 << 20, &NO), &mut sink, &mut watcher)
        .expect("it ends");
    assert_eq!(
        (ended.why, ended.complete, ended.counts.events),
        (Why::Enough, true, 3)
    );
    assert_eq!(sink, whole(&script));
    assert_eq!(ended.bytes, sink.len() as u64);
    assert_eq!(runtime.stops(), 1);
}

#[test]
fn a_session_ends_at_its_limits() {
    let cancelled = AtomicBool::new(false);
    let mut cancels = After {
        enough: false,
        flag: Some(&cancelled),
        ..after(2)
    };
    for (limits, why, watcher) in [
        (
            limits(1, 1 << 20, &NO),
            Why::Deadline,
            &mut () as &mut dyn Watcher,
        ),
        (limits(60, 200, &NO), Why::MaxBytes, &mut ()),
        (
            limits(60, 1 << 20, &cancelled),
            Why::Cancelled,
            &mut cancels,
        ),
    ] {
        let script = Script::new();
        let runtime = Runtime::start(script.clone());
        let mut sink = Vec::new();
        let ended = runtime.run(&limits, &mut sink, watcher).expect("it ends");
        assert_eq!((ended.why, ended.complete), (why, true));
        assert_eq!(sink, whole(&script), "{why:?}");
        assert_eq!(runtime.stops(), 1);
    }
}

#[test]
fn one_that_nobody_wants_any_more_is_not_begun() {
    static YES: AtomicBool = AtomicBool::new(true);
    let fake = Fake::new();
    let config = SessionConfig::new(
        16,
        false,
        vec![Provider::new("P", 1, 4, "").expect("a provider")],
    );
    let config = config.expect("a configuration");
    let refused = run(
        &fake.target(),
        &config,
        &limits(60, 1 << 20, &YES),
        &mut Vec::new(),
        &mut (),
    );
    // Nobody listens there: one that was asked would have been waited for.
    assert!(matches!(refused, Err(Error::Cancelled)), "{refused:?}");
}

#[test]
fn a_sink_that_refuses_gets_no_more_and_the_session_is_stopped() {
    struct Full(usize);
    impl Sink for Full {
        fn take(&mut self, _: &[u8]) -> Result<(), Refused> {
            self.0 += 1;
            Err(Refused("the quota is full".to_owned()))
        }
    }
    let runtime = Runtime::start(Script::new());
    let mut sink = Full(0);
    let refused = runtime
        .run(&limits(60, 1 << 20, &NO), &mut sink, &mut ())
        .expect_err("refused");
    assert_eq!(refused.reason(), "Refused");
    assert!(
        refused.to_string().contains("the quota is full"),
        "{refused}"
    );
    assert_eq!((sink.0, runtime.stops()), (1, 1));
}

#[test]
fn a_watcher_that_refuses_ends_the_session_as_well() {
    struct Refuses;
    impl Visitor for Refuses {
        fn event(&mut self, _: &Trace, _: &Event<'_>) {}
    }
    impl Watcher for Refuses {
        fn enough(&mut self) -> Result<bool, Refused> {
            Err(Refused("no use".to_owned()))
        }
    }
    let runtime = Runtime::start(Script::new());
    let refused = runtime
        .run(&limits(60, 1 << 20, &NO), &mut Vec::new(), &mut Refuses)
        .expect_err("refused");
    assert_eq!((refused.reason(), runtime.stops()), ("Refused", 1));
}

#[test]
fn what_a_target_sent_before_it_ended_is_kept() {
    for (end, complete) in [(false, false), (true, true)] {
        let mut script = Script::new();
        script.hangs_up = true;
        if end {
            script.first.push(1);
        }
        let runtime = Runtime::start(script.clone());
        let mut sink = Vec::new();
        let ended = runtime
            .run(&limits(60, 1 << 20, &NO), &mut sink, &mut ())
            .expect("something came");
        assert_eq!((ended.why, ended.complete), (Why::Target, complete));
        assert_eq!(sink, script.first);
        assert_eq!(runtime.stops(), 0);
    }
}

#[test]
fn a_target_that_sends_nothing_is_an_error() {
    let script = Script {
        first: Vec::new(),
        hangs_up: true,
        ..Script::new()
    };
    let runtime = Runtime::start(script);
    let error = runtime
        .run(&limits(60, 1 << 20, &NO), &mut Vec::new(), &mut ())
        .expect_err("nothing came");
    assert_eq!(error.reason(), "Incomplete");
}

#[test]
fn a_session_that_cannot_be_stopped_is_closed() {
    let script = Script {
        stops: false,
        ..Script::new()
    };
    let runtime = Runtime::start(script.clone());
    let mut sink = Vec::new();
    let begun = Instant::now();
    let ended = runtime
        .run(&limits(60, 1 << 20, &NO), &mut sink, &mut after(2))
        .expect("something came");
    assert_eq!((ended.why, ended.complete), (Why::Enough, false));
    assert_eq!(sink, script.first);
    assert!(begun.elapsed() < Duration::from_secs(10));
    assert_eq!(runtime.stops(), 1);
}

#[test]
fn a_rundown_without_end_is_cut() {
    let script = Script {
        last: vec![9; 80 << 20],
        ..Script::new()
    };
    let runtime = Runtime::start(script);
    struct Count(u64);
    impl Sink for Count {
        fn take(&mut self, bytes: &[u8]) -> Result<(), Refused> {
            self.0 += bytes.len() as u64;
            Ok(())
        }
    }
    let mut sink = Count(0);
    let ended = runtime
        .run(&limits(60, 1_000, &NO), &mut sink, &mut after(2))
        .expect("something came");
    assert!(!ended.complete);
    assert!(ended.trouble.is_some());
    let most = 1_000 + DRAIN_BYTES + PIECE as u64;
    assert!(sink.0 > DRAIN_BYTES && sink.0 <= most, "{}", sink.0);
    assert_eq!(ended.bytes, sink.0);
    assert_eq!(runtime.stops(), 1);
}
