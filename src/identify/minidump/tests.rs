//! What minidumps say that are made in code, whole and cut: see `synth`. Real ones are in `tests/it/formats/minidump.rs`.

use super::super::strange::{every_beginning, facts};
use super::synth::*;
use super::*;
use crate::model::{Completeness, Module, SignalInfo};

pub(super) fn of(dump: &Synth) -> Facts {
    facts(&dump.build())
}

pub(super) fn process(facts: &Facts) -> Process {
    facts.process.clone().unwrap_or_default()
}

pub(super) fn put(bytes: &mut [u8], at: u32, value: u32) {
    let at = at as usize;
    bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
}

pub(super) const COMPLETE: Completeness = Completeness::Complete;

#[test]
fn a_dump_of_linux_tells_everything() {
    let library = |name: &str, id: &str, debug_id: &str| Module {
        name: name.to_owned(),
        build_id: Some(id.to_owned()),
        debug_id: Some(debug_id.to_owned()),
    };
    let expected = Facts {
        completeness: COMPLETE,
        producer: Some("minidump-writer".to_owned()),
        signal: Some(SignalInfo {
            number: 11,
            name: "SIGSEGV".to_owned(),
            code: Some(1),
            address: Some("0x1f0".to_owned()),
        }),
        process: Some(Process {
            pid: Some(1),
            crashing_tid: Some(4713),
            exe: Some("/usr/bin/checkout".to_owned()),
            comm: Some("checkout".to_owned()),
            uid: Some(12345),
            threads: Some(2),
            build_id: Some("11".repeat(20)),
            modules: vec![
                library(
                    "/usr/lib/libc.so.6",
                    &"22".repeat(20),
                    "222222222222222222222222222222220",
                ),
                library(
                    "/usr/lib/x/ld-linux-x86-64.so.2",
                    &"33".repeat(8),
                    "333333333333333300000000000000000",
                ),
            ],
        }),
        runtime: Some(Runtime {
            arch: Some("x86_64".to_owned()),
            libc: Some("glibc".to_owned()),
            ..Runtime::default()
        }),
        host_name: Some("checkout-7d9f6c5b8-x2x9z".to_owned()),
        written: Some("2025-11-21T01:52:31Z".parse().expect("a time")),
        ..Facts::of(Format::Minidump)
    };
    assert_eq!(of(&Synth::linux()), expected);
}

#[test]
fn a_dump_of_windows_tells_exception_and_debug_ids() {
    let found = of(&Synth::windows());
    assert_eq!(found.completeness, COMPLETE);
    assert_eq!(found.unread, Vec::<String>::new());
    assert_eq!(found.signal, None);
    assert_eq!(found.producer, None);
    let exception = found.exception.clone().expect("it has one");
    assert_eq!(
        exception.kind.as_deref(),
        Some("EXCEPTION_ACCESS_VIOLATION_WRITE")
    );
    let process = process(&found);
    assert_eq!((process.pid, process.crashing_tid), (Some(4711), Some(8)));
    assert_eq!(process.exe.as_deref(), Some(r"C:\\app\\checkout.exe"));
    // Time stamp and size of the file, as symbol servers for Windows know it.
    assert_eq!(process.build_id.as_deref(), Some("654321001000"));
    assert_eq!(
        process.modules[0].debug_id.as_deref(),
        Some("0102030405060708090A0B0C0D0E0F102a")
    );
}

#[test]
fn each_system_has_its_own_kind_of_exception() {
    let dump = |platform, code, flags| {
        let mut dump = Synth::new(2);
        dump.stream(SYSTEM, &system(AMD64, platform));
        dump.stream(EXCEPTION, &exception(8, code, flags, 0x10, (0, 0)));
        of(&dump)
    };
    let kind = |facts: &Facts| facts.exception.clone().and_then(|e| e.kind);
    let number = |facts: &Facts| facts.signal.clone().map(|s| s.number);

    for platform in [LINUX, ANDROID] {
        // `abort()`: sent by the process to itself, so the address means nothing.
        let abort = dump(platform, 6, (-6i32).cast_unsigned());
        let signal = abort.signal.clone().expect("it has one");
        assert_eq!((signal.code, signal.address), (Some(-6), None));
        assert_eq!(process(&abort).crashing_tid, Some(8));
        assert_eq!(kind(&abort), None);

        let asked = dump(platform, DUMP_REQUESTED, 0);
        assert_eq!((number(&asked), kind(&asked)), (None, None));
        assert_eq!(process(&asked).crashing_tid, None);

        assert_eq!(number(&dump(platform, 9_999, 0)), None);
    }
    let mac = dump(MAC, 1, 1);
    assert_eq!(number(&mac), None);
    assert_eq!(
        kind(&mac).as_deref(),
        Some("EXC_BAD_ACCESS / KERN_INVALID_ADDRESS")
    );
    // A system that nobody knows says who crashed and no more.
    let other = dump(77, 11, 1);
    assert_eq!((number(&other), kind(&other)), (None, None));
    assert_eq!(process(&other).crashing_tid, Some(8));
}

#[test]
fn machines_are_named_as_uname_does() {
    let arch = |machine| {
        let mut dump = Synth::new(1);
        dump.stream(SYSTEM, &system(machine, LINUX));
        of(&dump).runtime.and_then(|runtime| runtime.arch)
    };
    for (machine, name) in [
        (0, "i686"),
        (5, "arm"),
        (9, "x86_64"),
        (12, "aarch64"),
        (0x8003, "aarch64"),
        (0x8005, "riscv32"),
        (0x8006, "riscv64"),
    ] {
        assert_eq!(arch(machine).as_deref(), Some(name), "{machine:#x}");
    }
    assert_eq!(arch(0x7777), None);
}

#[test]
fn the_process_id_is_the_innermost_that_is_known() {
    let pid = |status: Option<&[u8]>, misc_flags: Option<u32>| {
        let mut dump = Synth::new(3);
        dump.stream(SYSTEM, &system(AMD64, LINUX));
        if let Some(status) = status {
            dump.stream(STATUS, status);
        }
        if let Some(flags) = misc_flags {
            dump.stream(MISC, &misc(flags, 50));
        }
        process(&of(&dump)).pid
    };
    let old_kernel = b"Name:\tx\nTgid:\t4711\nPid:\t4711\n".as_slice();
    assert_eq!(pid(Some(STATUS_TEXT), Some(1)), Some(1));
    assert_eq!(pid(Some(old_kernel), Some(1)), Some(50));
    assert_eq!(pid(Some(old_kernel), Some(2)), Some(4711));
    assert_eq!(pid(None, Some(1)), Some(50));
    assert_eq!(pid(None, None), None);
}

#[test]
fn the_name_is_the_first_threads() {
    let status = |text: &[u8]| Status::parse(text).comm;
    assert_eq!(
        status(b"Name:\tcart\nTgid:\t4\nPid:\t4\n").as_deref(),
        Some("cart")
    );
    assert_eq!(status(b"Name:\tworker\nTgid:\t4\nPid:\t5\n"), None);
    assert_eq!(status(b"Name:\t\nTgid:\t4\nPid:\t4\n"), None);
    assert_eq!(
        status(b"Name:\tc\x1b\xff\nTgid:\t4\nPid:\t4\n").as_deref(),
        Some(r"c\u{1b}\xff")
    );
    for odd in [&b""[..], b"Name", b"Tgid:\tx\nPid:\t\n", b"\xff\n\n:\n"] {
        assert_eq!(Status::parse(odd), Status::default());
    }
}

#[test]
fn a_dump_cut_anywhere_is_truncated() {
    for dump in [Synth::linux(), Synth::windows()] {
        let bytes = dump.build();
        every_beginning(&bytes, Format::Minidump, |cut, found| {
            assert!(
                matches!(found.completeness, Completeness::Truncated { .. }),
                "cut to {cut}: {found:?}"
            );
            if let Completeness::Truncated {
                expected: Some(expected),
            } = found.completeness
            {
                assert_eq!(expected, bytes.len() as u64, "cut to {cut}");
            }
            let whole = facts(&bytes);
            says_nothing_else(found, &whole);
        });
    }
}

/// What a part says, the whole says too.
pub(super) fn says_nothing_else(part: &Facts, whole: &Facts) {
    let (a, b) = (process(part), process(whole));
    assert!(a.pid.is_none() || b.pid.is_some());
    for (a, b) in [
        (&a.exe, &b.exe),
        (&a.comm, &b.comm),
        (&a.build_id, &b.build_id),
        (&part.host_name, &whole.host_name),
    ] {
        assert!(a.is_none() || a == b, "{a:?} {b:?}");
    }
    assert!(a.threads.is_none() || a.threads == b.threads);
    assert!(a.uid.is_none() || a.uid == b.uid);
    assert!(a.modules.iter().all(|module| b.modules.contains(module)));
    assert!(part.signal.is_none() || part.signal == whole.signal);
}

#[test]
fn whatever_is_pointed_at_must_be_there() {
    // The last bytes of the file are, one after the other, each of the things that can be there.
    type Last = fn(&mut Synth, Place);
    let lasts: [(&str, Last); 8] = [
        ("stack", |d, p| d.list(THREADS, &[thread(1, p, (0, 0))])),
        ("registers", |d, p| d.list(THREADS, &[thread(1, (0, 0), p)])),
        ("memory", |d, p| d.list(MEMORY, &[memory(0, p)])),
        ("exception", |d, p| {
            d.stream(EXCEPTION, &exception(1, 11, 1, 8, p));
        }),
        ("full memory", |d, p| {
            let list = Bytes::default().u64(2).u64(p.0.into());
            let list = list.u64(0).u64(60).u64(0x1000).u64(40);
            d.stream(MEMORY64, &list.0);
        }),
        ("debug record", |d, p| {
            let name = d.text("/x");
            d.list(MODULES, &[module(name, p)]);
        }),
        ("misc", |d, p| {
            let name = d.text("/x");
            let mut record = module(name, (0, 0));
            put(&mut record, 84, p.1);
            put(&mut record, 88, p.0);
            d.list(MODULES, &[record]);
        }),
        ("a stream that is not read", |d, p| {
            d.streams.push((0x7777, p))
        }),
    ];
    for (what, last) in lasts {
        let mut dump = Synth::new(2);
        dump.stream(SYSTEM, &system(AMD64, WINDOWS));
        let at = dump.out.len() as u32 + 1_000;
        last(&mut dump, (at, 100));
        dump.out.resize(at as usize + 100, 7);
        let bytes = dump.build();
        assert_eq!(facts(&bytes).completeness, COMPLETE, "{what}");
        for cut in [at as usize + 99, at as usize, at as usize - 500] {
            assert_eq!(
                facts(&bytes[..cut]).completeness,
                Completeness::Truncated {
                    expected: Some(u64::from(at) + 100)
                },
                "{what} cut to {cut}"
            );
        }
    }
    for names in [THREAD_NAMES, MODULES] {
        let mut dump = Synth::new(2);
        dump.stream(SYSTEM, &system(AMD64, WINDOWS));
        let at = dump.out.len() as u32 + 200;
        let record = match names {
            MODULES => module(at, (0, 0)),
            _ => Bytes::default().u32(1).u64(at.into()).0,
        };
        dump.list(names, &[record]);
        dump.out.resize(at as usize, 0);
        dump.text("the name");
        let bytes = dump.build();
        assert_eq!(facts(&bytes).completeness, COMPLETE);
        // Where the length of the name is cut as well, nobody knows how far it goes.
        let len = bytes.len();
        for (cut, expected) in [
            (len - 1, Some(len as u64)),
            (len - 17, None),
            (len - 30, None),
        ] {
            assert_eq!(
                facts(&bytes[..cut]).completeness,
                Completeness::Truncated { expected },
            );
        }
    }
}

#[test]
fn a_directory_with_empty_places_is_doubtful_where_that_means_unfinished() {
    let mut dump = Synth::linux();
    dump.streams.pop();
    let found = of(&dump);
    assert_eq!(found.completeness, Completeness::Unknown);
    assert!(found.unread[0].contains("had died"), "{:?}", found.unread);
    assert_eq!(process(&found).threads, Some(2), "the rest is read");

    // An empty place before the last is a stream that could not be made.
    let mut dump = Synth::linux();
    dump.streams[6] = (0, (0, 0));
    assert_eq!(of(&dump).completeness, COMPLETE);

    let mut windows = Synth::windows();
    windows.streams.pop();
    assert_eq!(of(&windows).completeness, COMPLETE);

    let found = of(&Synth::new(3));
    assert_eq!(found.completeness, Completeness::Unknown);
    assert!(found.unread[0].contains("of the system"), "{found:?}");
}

#[test]
fn lists_may_be_aligned_and_must_fit() {
    let list = |head: Bytes, records: usize| {
        let mut dump = Synth::new(2);
        dump.stream(SYSTEM, &system(AMD64, WINDOWS));
        let records = thread(1, (0, 0), (0, 0)).repeat(records);
        dump.stream(THREADS, &head.raw(&records).0);
        of(&dump)
    };
    let aligned = list(Bytes::default().u32(3).u32(0), 3);
    assert_eq!(process(&aligned).threads, Some(3));
    assert_eq!(aligned.completeness, COMPLETE);
    for count in [4, 1 << 28, u32::MAX] {
        let found = list(Bytes::default().u32(count), 3);
        assert_eq!(process(&found).threads, None);
        assert_eq!(found.completeness, Completeness::Unknown);
        assert!(found.unread[0].contains("than their list"), "{found:?}");
    }
    let mut dump = Synth::new(2);
    dump.stream(SYSTEM, &system(AMD64, WINDOWS));
    for (count, first, size) in [
        (u64::MAX, 0, 0),
        (1 << 60, 0, 0),
        (1, u64::MAX, 1),
        (1, 100, u64::MAX),
        (1, 1 << 62, 1 << 62),
    ] {
        let mut dump = dump.clone();
        let list = Bytes::default().u64(count).u64(first).u64(0).u64(size);
        dump.stream(MEMORY64, &list.0);
        let found = of(&dump);
        assert_ne!(found.completeness, COMPLETE, "{count} {first} {size}");
        assert_eq!(found.unread.len(), 1, "{found:?}");
    }
}

#[test]
fn ids_that_are_none_are_left_out() {
    let mut dump = Synth::new(2);
    dump.stream(SYSTEM, &system(AMD64, LINUX));
    let debugs: [&[u8]; 7] = [
        b"",
        b"xyz",
        b"????",
        &elf(&[]),
        &elf(&[0; 20]),
        &elf(&[1; 65]),
        &[b"RSDS".as_slice(), &[0; 20]].concat(),
    ];
    let mut modules = vec![dump.module("/bin/x", &elf(&[1; 64]))];
    for (n, debug) in debugs.iter().enumerate() {
        modules.push(dump.module(&format!("/lib/{n}"), debug));
    }
    // Breakpad's old way with ELF files: a debug-id, and no code-id.
    let pdb = [b"RSDS".as_slice(), &[1; 16], &[0; 4], b"libold.so\0"].concat();
    modules.push(dump.module("/lib/old", &pdb));
    dump.list(MODULES, &modules);
    let found = of(&dump);
    assert_eq!(found.completeness, COMPLETE);
    let process = process(&found);
    assert_eq!(process.build_id, Some("01".repeat(64)));
    assert_eq!(process.modules.len(), 1, "{:?}", process.modules);
    assert_eq!(process.modules[0].build_id, None);
    assert!(process.modules[0].debug_id.is_some());
}

#[test]
fn names_are_made_fit_for_a_terminal_and_bounded() {
    let mut dump = Synth::new(2);
    dump.stream(SYSTEM, &system(AMD64, LINUX));
    let long = "x".repeat(4_096);
    let modules = [
        dump.module("/bin/\u{1b}[2J\u{202e}x\0hidden", &elf(&[1; 20])),
        dump.module(&long, &elf(&[2; 20])),
    ];
    dump.list(MODULES, &modules);
    let found = process(&of(&dump));
    assert_eq!(found.exe.as_deref(), Some(r"/bin/\u{1b}[2J\u{202e}x"));
    assert_eq!(found.modules[0].name.len(), 515);

    let lone = dump.put(&[4, 0, 0, 0, 0x00, 0xd8, b'x', 0]).0;
    let odd = dump.put(&[3, 0, 0, 0, b'o', 0, b'?', 0]).0;
    let longer = dump.text(&"x".repeat(4_097));
    for (name, expected) in [(lone, Some("\u{fffd}x")), (odd, Some("o")), (longer, None)] {
        let mut dump = Synth {
            streams: dump.streams[..1].to_vec(),
            ..dump.clone()
        };
        dump.list(MODULES, &[module(name, (0, 0))]);
        assert_eq!(process(&of(&dump)).exe.as_deref(), expected);
    }
}

#[test]
fn secrets_do_not_get_into_the_facts() {
    let bytes = Synth::linux().build();
    for cut in 0..=bytes.len() {
        let json = serde_json::to_string(&facts(&bytes[..cut])).expect("serialises");
        assert!(!json.contains(SECRET) && !json.contains("PATH="), "{json}");
    }
}

#[test]
fn a_host_name_must_be_whole_and_of_dns() {
    for (environ, expected) in [
        (&b"A=1\0HOSTNAME=cart-1\0"[..], Some("cart-1")),
        (b"HOSTNAME=cart-1", None),
        (b"HOSTNAME=no name\0", None),
        (b"HOSTNAME=../x\0", None),
        (b"", None),
    ] {
        let mut dump = Synth::new(2);
        dump.stream(SYSTEM, &system(AMD64, LINUX));
        dump.stream(ENVIRON, environ);
        assert_eq!(of(&dump).host_name.as_deref(), expected);
    }
    let mut dump = Synth::new(2);
    dump.stream(SYSTEM, &system(AMD64, LINUX));
    let endless = b"HOSTNAME=a\0".repeat(200_000);
    dump.stream(ENVIRON, &endless);
    let found = of(&dump);
    assert_eq!(found.host_name, None);
    assert!(found.unread[0].contains("2 MiB"), "{:?}", found.unread);
}

#[test]
fn a_thousand_modules_are_listed_to_256() {
    let mut dump = Synth::new(2);
    dump.stream(SYSTEM, &system(AMD64, LINUX));
    let modules: Vec<_> = (0..1_000u32)
        .map(|n| dump.module(&format!("/lib/{n}"), &elf(&(n + 1).to_le_bytes())))
        .collect();
    dump.list(MODULES, &modules);
    let found = of(&dump);
    assert_eq!(process(&found).modules.len(), 256);
    assert_eq!(
        found.unread,
        ["modules: 743 beyond the first 257 are not listed"]
    );
    assert_eq!(found.completeness, COMPLETE);
}
