//! Against a made-up runtime, which does with the path that it is given what a test says.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread::JoinHandle;

use super::*;
use crate::dotnet::fake::{Fake, HEAD, UNKNOWN, hex, next_message};

static NEVER: AtomicBool = AtomicBool::new(false);

const OK: &str = "1800 ff 00 0000 00000000";
const FAILED: &str = "1800 ff ff 0000 05400080";

fn limits() -> Limits<'static> {
    Limits {
        deadline: Instant::now() + Duration::from_secs(30),
        max_bytes: 1 << 30,
        cancelled: &NEVER,
    }
}

fn say(text: &str) -> Vec<u8> {
    hex(&format!("{HEAD}{text}"))
}

/// As `GenerateCoreDump3` says why.
fn say_why(text: &str) -> Vec<u8> {
    let units: Vec<u16> = text.encode_utf16().chain([0]).collect();
    let mut reply = say(FAILED);
    reply.extend(u32::try_from(units.len()).expect("short").to_le_bytes());
    reply.extend(units.iter().flat_map(|unit| unit.to_le_bytes()));
    let size = u16::try_from(reply.len()).expect("short");
    reply[14..16].copy_from_slice(&size.to_le_bytes());
    reply
}

/// For each request: what becomes of the path, of which the place on our side is given, and the answer.
type Deed = Box<dyn FnOnce(PathBuf) -> Vec<u8> + Send>;

/// Gives back the number of each command.
fn serve(fake: &Fake, deeds: Vec<Deed>) -> JoinHandle<Vec<u8>> {
    let listener: UnixListener = fake.listener.try_clone().expect("clone");
    let root = fake.inside("");
    std::thread::spawn(move || {
        deeds
            .into_iter()
            .map(|deed| {
                let (mut stream, message) = next_message(&listener);
                let count = u32::from_le_bytes(message[20..24].try_into().expect("four"));
                let units = message[24..].chunks(2).take(count as usize - 1);
                let path: Vec<u16> = units
                    .map(|unit| u16::from_le_bytes([unit[0], unit[1]]))
                    .collect();
                let path = String::from_utf16(&path).expect("UTF-16");
                let answer = deed(root.join(path.trim_start_matches('/')));
                // Whoever asked may be gone.
                stream.write_all(&answer).ok();
                message[17]
            })
            .collect()
    })
}

/// Writes this to the path, as createdump opens it.
fn write(bytes: &'static [u8]) -> impl FnOnce(PathBuf) -> std::io::Result<()> {
    move |path| {
        let mut file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .open(path)?;
        file.write_all(bytes)
    }
}

fn deed(deed: impl FnOnce(PathBuf) -> Vec<u8> + Send + 'static) -> Deed {
    Box::new(deed)
}

fn ours_in(fake: &Fake) -> Vec<PathBuf> {
    let entries = fs::read_dir(fake.inside("tmp")).expect("read");
    let paths = entries.map(|entry| entry.expect("entry").path());
    paths
        .filter(|path| path.to_string_lossy().contains(".salvage-"))
        .collect()
}

fn run(fake: &Fake, sink: &mut dyn Sink) -> (Result<Dumped, Error>, Vec<Leftover>) {
    let mut recorded = Vec::new();
    let mut record = |leftover: &Leftover| {
        recorded.push(leftover.clone());
        Ok(())
    };
    let dumped = dump(&fake.target(), DumpType::Heap, &limits(), sink, &mut record);
    (dumped, recorded)
}

#[test]
fn an_older_command_is_tried_with_the_same_fifo() {
    let fake = Fake::new();
    let server = serve(
        &fake,
        vec![
            deed(|_| say(UNKNOWN)),
            deed(|_| say(UNKNOWN)),
            deed(|path| {
                assert!(fs::metadata(&path).expect("there").file_type().is_fifo());
                write(b"\x7fELF and more")(path).expect("written");
                say(OK)
            }),
        ],
    );
    let mut sink = Vec::new();
    let (dumped, recorded) = run(&fake, &mut sink);
    let dumped = dumped.expect("dumped");
    assert_eq!((dumped.bytes, dumped.how), (13, How::Fifo));
    assert_eq!(sink, b"\x7fELF and more");
    assert_eq!(server.join().expect("served"), [3, 2, 1]);
    assert_eq!(recorded.len(), 1);
    assert!(recorded[0].name.starts_with(".salvage-"), "{recorded:?}");
    assert!(ours_in(&fake).is_empty());
}

#[test]
fn a_runtime_that_cannot_use_the_fifo_is_given_a_file() {
    let fake = Fake::new();
    // The places are its /tmp and, in a root without it, no /dev/shm.
    let server = serve(
        &fake,
        vec![
            deed(|_| {
                say_why(
                    "[createdump] Could not create output file '/tmp/x': Permission denied (13)\n",
                )
            }),
            deed(|path| {
                write(b"in a file")(path).expect("written");
                say(OK)
            }),
        ],
    );
    let mut sink = Vec::new();
    let (dumped, recorded) = run(&fake, &mut sink);
    // A file system in memory takes no heap dump as a file.
    let is_in_memory = rustix::fs::statfs(fake.inside("tmp"))
        .expect("statfs")
        .f_type
        == 0x0102_1994;
    if is_in_memory {
        assert_eq!(dumped.expect_err("refused").reason(), "RuntimeRefused");
        return;
    }
    assert_eq!(dumped.expect("dumped").how, How::File);
    assert_eq!(sink, b"in a file");
    assert_eq!(server.join().expect("served"), [3, 3]);
    assert_eq!(recorded.len(), 2);
    assert_ne!(recorded[0].name, recorded[1].name);
    assert!(ours_in(&fake).is_empty());
}

#[test]
fn a_race_that_is_lost_is_run_again_and_not_for_ever() {
    const LOST: &str = "[createdump] ptrace(ATTACH, 17) FAILED No such process (3)\n";
    let fake = Fake::new();
    let won = deed(|path| {
        write(b"won")(path).expect("written");
        say(OK)
    });
    let server = serve(&fake, vec![deed(|_| say_why(LOST)), won]);
    assert_eq!(run(&fake, &mut Vec::new()).0.expect("dumped").bytes, 3);
    server.join().expect("served");

    let lost = || deed(|_| say_why(LOST));
    let server = serve(&fake, vec![lost(), lost(), lost()]);
    let (dumped, recorded) = run(&fake, &mut Vec::new());
    assert!(
        dumped
            .expect_err("lost")
            .to_string()
            .contains("No such process")
    );
    assert_eq!(recorded.len(), 3);
    server.join().expect("served");
    assert!(ours_in(&fake).is_empty());
}

#[test]
fn what_a_runtime_answers_decides_what_is_told() {
    for (answer, bytes, reason, text) in [
        (
            say_why("Only full dumps are supported by single file apps\n"),
            &b""[..],
            "SingleFile",
            "full dump",
        ),
        (
            say_why("[createdump] ptrace(ATTACH, 1) FAILED Operation not permitted (1)\n"),
            b"",
            "RuntimeRefused",
            "ptrace(ATTACH, 1) FAILED",
        ),
        (say(FAILED), b"begun", "RuntimeRefused", "0x80004005"),
        (say(OK), b"", "Incomplete", "nothing of it came"),
        (Vec::new(), b"begun", "Incomplete", "without an answer"),
        (
            b"no answer of the protocol".to_vec(),
            b"",
            "UntrustedSocket",
            "does not begin as one",
        ),
    ] {
        let fake = Fake::new();
        let server = serve(
            &fake,
            vec![deed(move |path| {
                if !bytes.is_empty() {
                    write(bytes)(path).expect("written");
                }
                answer
            })],
        );
        let (dumped, _) = run(&fake, &mut Vec::new());
        let error = dumped.expect_err(reason);
        assert_eq!(error.reason(), reason, "{error}");
        assert!(error.to_string().contains(text), "{error}");
        server.join().expect("served");
        assert!(ours_in(&fake).is_empty(), "{reason}");
    }
}

#[test]
fn a_place_that_cannot_be_recorded_is_not_used() {
    let fake = Fake::new();
    let mut record = |_: &Leftover| Err(Refused("the disk is full".to_owned()));
    let dumped = dump(
        &fake.target(),
        DumpType::Mini,
        &limits(),
        &mut Vec::new(),
        &mut record,
    );
    assert_eq!(
        dumped.expect_err("refused").to_string(),
        "the capture was not taken to its end: the disk is full"
    );
    assert!(ours_in(&fake).is_empty());
}

/// The FIFO stays until the target has opened it, even when nobody waits for the dump any more: closed or removed before, it would hang or fill the disk.
#[test]
fn a_fifo_that_is_not_yet_opened_is_kept_until_it_is() {
    let fake = Fake::new();
    let (go, may_go) = mpsc::channel::<()>();
    let (written, is_written) = mpsc::channel();
    let server = serve(
        &fake,
        vec![deed(move |path| {
            may_go.recv().expect("a word");
            // A reader is there: this neither waits nor makes a file. What is written then goes nowhere.
            let mut fifo = OpenOptions::new().write(true).open(&path).expect("there");
            assert!(fifo.metadata().expect("metadata").file_type().is_fifo());
            let broken = (0..)
                .find_map(|_| fifo.write_all(&[0; 1 << 16]).err())
                .expect("closed");
            written.send((path, broken.kind())).expect("heard");
            say(FAILED)
        })],
    );
    let cancelled = AtomicBool::new(false);
    let limits = Limits {
        cancelled: &cancelled,
        ..limits()
    };
    let mut record = |_: &Leftover| {
        cancelled.store(true, Ordering::Relaxed);
        Ok(())
    };
    let target = fake.target();
    let began = Instant::now();
    let dumped = dump(
        &target,
        DumpType::Mini,
        &limits,
        &mut Vec::new(),
        &mut record,
    );
    let error = dumped.expect_err("cancelled");
    assert_eq!(error.reason(), "Cancelled");
    assert!(error.leaves_something(), "{error}");
    assert!(began.elapsed() >= Duration::from_secs(5), "it waited");
    assert_eq!(ours_in(&fake).len(), 1, "and still does");
    go.send(()).expect("said");
    let (path, broken) = is_written.recv().expect("written");
    assert_eq!(broken, std::io::ErrorKind::BrokenPipe);
    server.join().expect("served");
    // The next one has its turn when the thread that kept it has ended.
    let again = serve(
        &fake,
        vec![deed(|path| {
            write(b"again")(path).expect("written");
            say(OK)
        })],
    );
    assert_eq!(run(&fake, &mut Vec::new()).0.expect("dumped").bytes, 5);
    again.join().expect("served");
    assert!(!path.exists());
}

/// Everybody in the container may open it. Whoever does and goes again is not `createdump`, which may write for a long time after that.
#[test]
fn who_opens_the_fifo_and_goes_before_the_dump_does_not_end_it() {
    const BYTES: usize = 3 << 20;
    let fake = Fake::new();
    let server = serve(
        &fake,
        vec![deed(|path| {
            drop(OpenOptions::new().write(true).open(&path).expect("there"));
            // Time for it to be seen. Were it not, this would show less, and not fail.
            std::thread::sleep(fifo::TICK * 2);
            let mut fifo = OpenOptions::new().write(true).open(&path).expect("there");
            // More than it holds at once.
            fifo.write_all(&[7; BYTES]).expect("read");
            say(OK)
        })],
    );
    let mut sink = Vec::new();
    let dumped = run(&fake, &mut sink).0.expect("dumped");
    assert_eq!((dumped.bytes, sink.len()), (BYTES as u64, BYTES));
    server.join().expect("served");
    assert!(ours_in(&fake).is_empty());
}
