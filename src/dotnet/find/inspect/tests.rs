//! Made-up processes around a real socket: one of a proc file system's directories, whose `root` leads into a temporary directory.

use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;

use super::*;
use crate::dotnet::find;

/// A process with our number, 7 in its container, started at 4711.
struct Fake(tempfile::TempDir);

const NAME: &str = "dotnet-diagnostic-7-4711-socket";

impl Fake {
    fn new(environ: &str, maps: &str) -> Self {
        let fake = Self(tempfile::tempdir().expect("temp dir"));
        std::fs::create_dir_all(fake.process()).expect("proc");
        std::fs::create_dir_all(fake.inside("tmp")).expect("root");
        symlink(fake.inside(""), fake.process().join("root")).expect("root");
        let us = std::process::id();
        let stat = format!("{us} (it) S {}4711 0", "0 ".repeat(18));
        for (name, text) in [
            ("stat", &*stat),
            ("status", "Name:\tit\nNSpid:\t1\t7\n"),
            ("environ", environ),
            ("maps", maps),
        ] {
            std::fs::write(fake.process().join(name), text).expect("write");
        }
        fake
    }

    fn process(&self) -> PathBuf {
        self.0.path().join(format!("proc/{}", std::process::id()))
    }

    fn inside(&self, path: &str) -> PathBuf {
        self.0.path().join("root").join(path)
    }

    fn inspect(&self) -> Found {
        let proc = self.0.path().join("proc");
        let us = i32::try_from(std::process::id()).expect("a pid");
        let process = find::process(&proc, us).expect("a process");
        inspect(&proc, &process)
    }
}

const MAPPED: &str = "7f00-7f01 r-xp 00000000 00:1f 9 /app/libclrjit.so\n7f01-7f02 r-xp 00000000 00:1f 9 /app/libcoreclr.so\n";

#[test]
fn a_socket_that_the_process_listens_at_is_its_runtime() {
    let fake = Fake::new("A=1\0", "");
    let _listener = UnixListener::bind(fake.inside("tmp").join(NAME)).expect("bind");
    let Found::Runtime(target) = fake.inspect() else {
        panic!("a runtime")
    };
    assert_eq!((target.inner_pid(), target.start_time()), (7, 4711));
    assert!(target.is_alive());
}

#[test]
fn each_reason_for_there_being_no_socket_is_told() {
    for (environ, maps, make, expected) in [
        ("", "", "", "NotDotnet"),
        (
            "",
            "7f00-7f01 r-xp 00000000 00:1f 9 /app/libcoreclr.so.txt\n",
            "",
            "NotDotnet",
        ),
        ("", MAPPED, "", "NoSocket(Absent(\"/tmp\"))"),
        (
            "",
            "7f00-7f01 r-xp 0 00:1f 9 /app/libcoreclr.so (deleted)\n",
            "",
            "Absent",
        ),
        (
            "",
            MAPPED,
            "tmp/dotnet-diagnostic-7-4710-socket",
            "OthersOnly",
        ),
        ("", MAPPED, "tmp/dotnet-diagnostic-70-4710-socket", "Absent"),
        (
            "",
            MAPPED,
            "tmp/dotnet-diagnostic-7-4711-socket",
            "is no socket",
        ),
        ("TMPDIR=/none\0", MAPPED, "", "TempDirMissing(\"/none\")"),
        ("TMPDIR=some/where\0", MAPPED, "", "TempDirRelative"),
        ("TMPDIR=/file\0", MAPPED, "file", "is no directory"),
        (
            "DOTNET_EnableDiagnostics=0\0",
            MAPPED,
            "",
            "DiagnosticsDisabled(\"DOTNET_EnableDiagnostics\")",
        ),
        (
            "COMPlus_EnableDiagnostics_IPC=0\0TMPDIR=/none\0",
            MAPPED,
            "",
            "DiagnosticsDisabled",
        ),
    ] {
        let fake = Fake::new(environ, maps);
        if !make.is_empty() {
            std::fs::write(fake.inside(make), "").expect("write");
        }
        let found = fake.inspect();
        assert!(
            format!("{found:?}").contains(expected),
            "{environ:?} {make:?}: {found:?}"
        );
        let error = found.target(1).expect_err("no runtime");
        let reasons = ["NoRuntime", "DiagnosticsDisabled", "UntrustedSocket"];
        assert!(reasons.contains(&error.reason()), "{error}");
    }
}

#[test]
fn a_symlink_is_never_followed_to_a_socket() {
    for links in [
        // The name itself, absolute and relative, and the directory.
        vec![("/elsewhere/s", format!("tmp/{NAME}"))],
        vec![("../elsewhere/s", format!("tmp/{NAME}"))],
        vec![("/elsewhere", "linked".to_owned())],
    ] {
        let fake = Fake::new(
            if links[0].1 == "linked" {
                "TMPDIR=/linked\0"
            } else {
                ""
            },
            MAPPED,
        );
        std::fs::create_dir(fake.inside("elsewhere")).expect("dir");
        let _one = UnixListener::bind(fake.inside("elsewhere/s")).expect("bind");
        let _two = UnixListener::bind(fake.inside("elsewhere").join(NAME)).expect("bind");
        for (to, at) in &links {
            symlink(to, fake.inside(at)).expect("link");
        }
        let found = fake.inspect();
        assert!(
            matches!(&found, Found::Untrusted(why) if why.contains("symlink")),
            "{links:?}: {found:?}"
        );
    }
}

#[test]
fn a_socket_without_a_listener_is_stale() {
    let fake = Fake::new("", MAPPED);
    drop(UnixListener::bind(fake.inside("tmp").join(NAME)).expect("bind"));
    let found = fake.inspect();
    assert!(
        matches!(found, Found::NoSocket(NoSocket::Stale(_))),
        "{found:?}"
    );
}

#[test]
fn a_process_of_another_start_is_gone() {
    let fake = Fake::new("", MAPPED);
    let proc = fake.0.path().join("proc");
    let us = i32::try_from(std::process::id()).expect("a pid");
    let mut process = find::process(&proc, us).expect("a process");
    process.start_time += 1;
    assert!(matches!(inspect(&proc, &process), Found::Gone));
    std::fs::remove_dir_all(fake.process()).expect("remove");
    assert!(matches!(inspect(&proc, &process), Found::Gone));
}

#[test]
fn maps_are_read_with_a_bound_on_each_line() {
    let mut maps = vec![b'x'; 100_000];
    maps.extend(b"\n7f01-7f02 r-xp 00000000 00:1f 9 /app/libcoreclr.so");
    assert!(mentions_runtime(&*maps).expect("read"));
    assert!(!mentions_runtime(&b"7f01-7f02 r-xp 0 0 9 libcoreclr.so\n"[..]).expect("read"));
}
