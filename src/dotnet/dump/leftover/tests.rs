use std::os::unix::fs::symlink;

use super::*;

/// A process numbered 41, started at 4711, with this directory as its `/tmp`.
fn process_with_temp_dir() -> (tempfile::TempDir, std::path::PathBuf) {
    let temp = tempfile::tempdir().expect("temp dir");
    let process = temp.path().join("proc/41");
    let inside = temp.path().join("root/tmp");
    std::fs::create_dir_all(&process).expect("proc");
    std::fs::create_dir_all(&inside).expect("root");
    symlink(temp.path().join("root"), process.join("root")).expect("root");
    std::fs::write(
        process.join("stat"),
        format!("41 (it) S {}4711 0", "0 ".repeat(18)),
    )
    .expect("stat");
    std::fs::write(process.join("status"), "Name:\tit\n").expect("status");
    (temp, inside)
}

fn leftover(name: &str) -> Leftover {
    Leftover {
        pid: 41,
        start_time: 4711,
        dir: "/tmp".to_owned(),
        name: name.to_owned(),
    }
}

#[test]
fn a_fifo_and_a_file_of_ours_are_removed_and_nothing_else() {
    let (temp, inside) = process_with_temp_dir();
    let proc = temp.path().join("proc");
    let fifo = inside.join(".salvage-1");
    rustix::fs::mkfifoat(rustix::fs::CWD, &fifo, rustix::fs::Mode::RUSR).expect("fifo");
    std::fs::write(inside.join(".salvage-2"), "dump").expect("file");
    std::fs::write(temp.path().join("other"), "").expect("file");
    symlink(temp.path().join("other"), inside.join(".salvage-3")).expect("link");
    std::fs::create_dir(inside.join(".salvage-4")).expect("dir");
    std::fs::write(inside.join("app.db"), "").expect("file");
    for name in [".salvage-1", ".salvage-2", ".salvage-gone"] {
        remove_leftover(&proc, &leftover(name)).expect(name);
        assert!(!inside.join(name).exists(), "{name}");
    }
    for name in [
        ".salvage-3",
        ".salvage-4",
        "app.db",
        "",
        ".",
        ".salvage-/../app.db",
        "../other",
    ] {
        assert!(remove_leftover(&proc, &leftover(name)).is_err(), "{name:?}");
    }
    for there in [".salvage-3", ".salvage-4", "app.db"] {
        assert!(inside.join(there).exists(), "{there}");
    }
}

#[test]
fn another_process_s_files_are_left_alone() {
    let (temp, inside) = process_with_temp_dir();
    std::fs::write(inside.join(".salvage-1"), "").expect("file");
    let proc = temp.path().join("proc");
    for other in [
        Leftover {
            start_time: 4712,
            ..leftover(".salvage-1")
        },
        Leftover {
            pid: 42,
            ..leftover(".salvage-1")
        },
        Leftover {
            dir: "/none".to_owned(),
            ..leftover(".salvage-1")
        },
    ] {
        remove_leftover(&proc, &other).expect("nothing to do");
    }
    assert!(inside.join(".salvage-1").exists());
}

#[test]
fn who_waits_to_write_is_let_go() {
    let (temp, inside) = process_with_temp_dir();
    let fifo = inside.join(".salvage-1");
    rustix::fs::mkfifoat(
        rustix::fs::CWD,
        &fifo,
        rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR,
    )
    .expect("fifo");
    let writer = std::thread::spawn(move || std::fs::OpenOptions::new().write(true).open(fifo));
    // Until it does wait there: then a reader that comes and goes lets it go.
    while !writer.is_finished() {
        remove_leftover(&temp.path().join("proc"), &leftover(".salvage-1"))
            .expect("removed or gone");
        if !inside.join(".salvage-1").exists() {
            break;
        }
        std::thread::yield_now();
    }
    // It may have come too late even for the name.
    if let Err(error) = writer.join().expect("no panic") {
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
    }
}

#[test]
fn a_record_survives_being_stored() {
    let stored = serde_json::to_string(&leftover(".salvage-1")).expect("stored");
    assert_eq!(
        serde_json::from_str::<Leftover>(&stored).expect("read"),
        leftover(".salvage-1")
    );
}
