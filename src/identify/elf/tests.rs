//! Cores made in code, whole, cut and forged: see `synth`. Real ones are in `tests/it/identify.rs`.

use std::time::Instant;

use proptest::prelude::*;

use super::super::identify_from;
use super::super::strange::{BadFrom, Endless, PATIENCE};
use super::synth::{FILES, Load, SECRET, Stack, Synth};
use super::*;

const NT_PRSTATUS: u32 = 1;
const NT_PRPSINFO: u32 = 3;
const NT_AUXV: u32 = 6;
const NT_SIGINFO: u32 = 0x5349_4749;
const NT_FILE: u32 = 0x4649_4c45;

fn facts(bytes: &[u8]) -> Facts {
    identify_from(&bytes, bytes.len() as u64)
}

fn of(core: &Synth) -> Facts {
    facts(&core.build())
}

fn process(facts: &Facts) -> Process {
    facts.process.clone().unwrap_or_default()
}

fn module(name: &str, build_id: &str) -> Module {
    Module {
        name: name.to_owned(),
        build_id: Some(build_id.to_owned()),
        debug_id: None,
    }
}

fn put(bytes: &mut [u8], at: usize, value: &[u8]) {
    bytes[at..at + value.len()].copy_from_slice(value);
}

/// Offset of field `field` of program header `n` in a 64-bit core.
fn phdr(n: usize, field: usize) -> usize {
    64 + 56 * n + field
}

const P_TYPE: usize = 0;
const P_OFFSET: usize = 8;
const P_VADDR: usize = 16;
const P_FILESZ: usize = 32;

#[test]
fn a_kernel_core_tells_everything() {
    let found = facts(&Synth::kernel().build());
    assert!(found.image.is_some());
    let expected = Facts {
        completeness: Completeness::Complete,
        producer: Some("kernel".to_owned()),
        signal: Some(SignalInfo {
            number: 11,
            name: "SIGSEGV".to_owned(),
            code: Some(1),
            address: Some("0x1f0".to_owned()),
        }),
        process: Some(Process {
            pid: Some(40),
            crashing_tid: Some(42),
            exe: Some("/srv/app/server".to_owned()),
            comm: Some("server".to_owned()),
            uid: Some(1000),
            threads: Some(3),
            build_id: Some("e1".repeat(20)),
            modules: vec![
                module("/usr/lib/libc.so.6", &"c1".repeat(20)),
                module("/usr/lib/libm.so.6", &"c2".repeat(16)),
            ],
        }),
        runtime: Some(Runtime {
            name: None,
            version: None,
            arch: Some("x86_64".to_owned()),
            libc: Some("glibc".to_owned()),
        }),
        // Any digest: it only has to be another for another process.
        image: found.image.clone(),
        host_name: Some("my-app-7d9f6c5b8-x2x9z".to_owned()),
        ..Facts::of(Format::ElfCore)
    };
    assert_eq!(found, expected);
}

#[test]
fn other_64_bit_machines_of_both_byte_orders_are_read_alike() {
    let reference = of(&Synth::kernel());
    for (big, machine, arch) in [
        (false, 183, "aarch64"),
        (false, 243, "riscv64"),
        (false, 21, "ppc64le"),
        (true, 21, "ppc64"),
        (true, 22, "s390x"),
        (false, 258, "loongarch64"),
    ] {
        let mut found = of(&Synth::kernel_in(big, machine));
        let runtime = found.runtime.as_mut().expect("the machine is known");
        assert_eq!(runtime.arch.as_deref(), Some(arch));
        runtime.arch = Some("x86_64".to_owned());
        assert_eq!(found, reference, "{arch}");
    }
}

#[test]
fn of_32_bits_and_foreign_machines_the_headers_are_read_and_the_rest_is_said_to_be_unread() {
    for (wide, big, machine, arch) in [
        (false, false, 3, Some("i686")),
        (false, true, 20, Some("ppc")),
        (false, false, 40, Some("arm")),
        (false, false, 243, Some("riscv32")),
        (false, true, 22, Some("s390")),
        (false, false, 62, Some("x86_64")),
        (true, true, 8, Some("mips")),
        (true, true, 43, None),
    ] {
        let mut core = Synth::kernel_in(big, machine);
        core.wide = wide;
        let bytes = core.build();
        let found = facts(&bytes);
        assert_eq!(found.completeness, Completeness::Complete, "{arch:?}");
        assert_eq!(found.runtime.and_then(|r| r.arch).as_deref(), arch);
        assert_eq!(
            (found.process, found.signal, found.host_name),
            (None, None, None)
        );
        assert_eq!(found.unread.len(), 1, "{:?}", found.unread);
        let cut = facts(&bytes[..bytes.len() - 4096]);
        let expected = Some(core.promised());
        assert_eq!(cut.completeness, Completeness::Truncated { expected });
    }
}

#[test]
fn createdump_marks_its_crashing_thread_wherever_it_stands() {
    let found = of(&Synth::createdump());
    assert_eq!(found.producer.as_deref(), Some("createdump"));
    assert_eq!(found.completeness, Completeness::Complete);
    let process = process(&found);
    assert_eq!(process.crashing_tid, Some(44));
    assert_eq!(process.threads, Some(3));
    assert_eq!(process.pid, Some(1));
    assert_eq!(process.uid, None, "createdump always writes 0");
    assert_eq!(process.exe.as_deref(), Some("/srv/app/server"));
    let signal = found
        .signal
        .expect("an unhandled exception ends in SIGABRT");
    assert_eq!(
        (signal.number, signal.code, signal.address),
        (6, Some(0), None)
    );
    assert_eq!(found.runtime.and_then(|r| r.name).as_deref(), Some(".NET"));
    assert_eq!(found.host_name.as_deref(), Some("my-app-7d9f6c5b8-x2x9z"));
    assert!(found.unread.is_empty(), "{:?}", found.unread);
}

#[test]
fn a_dump_on_demand_has_no_signal_and_no_crashing_thread() {
    let mut core = Synth::createdump().without(NT_SIGINFO);
    for note in core.notes.iter_mut().filter(|n| n.kind == NT_PRSTATUS) {
        note.data[12] = 0;
    }
    let found = of(&core);
    assert_eq!(found.signal, None);
    assert_eq!(process(&found).crashing_tid, None);
    assert_eq!(process(&found).threads, Some(3));
}

#[test]
fn the_signal_that_dotnet_3_1_gives_to_every_thread_is_not_believed() {
    let mut core = Synth::createdump().without(NT_SIGINFO);
    for note in core.notes.iter_mut().filter(|n| n.kind == NT_PRSTATUS) {
        note.data[12] = 6;
    }
    let found = of(&core);
    assert_eq!(found.signal, None);
    assert_eq!(process(&found).crashing_tid, None);

    // With one thread only, nothing stands out either.
    let threads = core.notes.iter().filter(|n| n.kind == NT_PRSTATUS).count();
    let mut left = threads;
    core.notes.retain(|n| {
        left -= usize::from(n.kind == NT_PRSTATUS);
        n.kind != NT_PRSTATUS || left == 0
    });
    let found = of(&core);
    assert_eq!(process(&found).threads, Some(1));
    assert_eq!(found.signal, None);
}

#[test]
fn without_siginfo_the_crashing_thread_gives_the_number() {
    let found = of(&Synth::kernel().without(NT_SIGINFO));
    let signal = found.signal.expect("the first thread has it");
    assert_eq!(
        (signal.number, signal.code, signal.address),
        (11, None, None)
    );

    let found = of(&Synth::createdump().without(NT_SIGINFO));
    assert_eq!(process(&found).crashing_tid, Some(44));
    assert_eq!(found.signal.map(|s| s.number), Some(6));
}

#[test]
fn a_core_by_another_tool_claims_no_producer() {
    // gcore: the process first, and the kernel's ABI byte.
    let mut core = Synth::kernel();
    core.notes.swap(0, 1);
    let found = of(&core);
    assert_eq!(found.producer, None);
    assert_eq!(process(&found).crashing_tid, Some(42));
    assert_eq!(process(&found).uid, Some(1000));
    let found = of(&core.without(NT_SIGINFO));
    assert_eq!(found.signal.map(|s| s.number), Some(11));
}

#[test]
fn a_signal_somebody_sent_has_no_address() {
    let with = |number, code, detail| {
        let mut core = Synth::kernel();
        let data = core.siginfo(number, code, detail);
        core.note_mut(NT_SIGINFO).data = data;
        of(&core).signal
    };
    let sent = with(11, 0, 0x3e8_0000_1234).expect("a signal");
    assert_eq!((sent.code, sent.address), (Some(0), None));
    let killed = with(6, -6, 0x3e8_0000_1234).expect("a signal");
    assert_eq!(
        (killed.name.as_str(), killed.code, killed.address),
        ("SIGABRT", Some(-6), None)
    );
    let first_process = with(11, 128, 0).expect("abort() as the first process of a container");
    assert_eq!(first_process.code, Some(128));
    assert_eq!(first_process.address, None, "the kernel knows none");
    let null = with(11, 1, 0).expect("a null dereference");
    assert_eq!(null.address.as_deref(), Some("0x0"));
    let real_time = with(35, 0, 0).expect("a signal");
    assert_eq!(real_time.name, "SIG35");
    for none in [0, -1, 65, i32::MAX, i32::MIN] {
        assert_eq!(with(none, 1, 0), None, "{none}");
    }
}

#[test]
fn the_executable_is_found_by_its_program_headers_its_entry_point_or_the_name_it_was_started_by() {
    let stack = Stack::new(b"host");
    let with = |core: &Synth, kinds: &[u64]| {
        let mut core = core.clone();
        let pairs: Vec<_> = stack
            .auxv()
            .into_iter()
            .filter(|(kind, _)| kinds.contains(kind))
            .collect();
        let data = core.auxv(&pairs);
        core.note_mut(NT_AUXV).data = data;
        process(&of(&core))
    };
    let kernel = Synth::kernel();
    let by_headers = with(&kernel, &[3]);
    assert_eq!(by_headers.exe.as_deref(), Some("/srv/app/server"));
    assert_eq!(by_headers.build_id, Some("e1".repeat(20)));
    assert_eq!(with(&kernel, &[9]).exe.as_deref(), Some("/srv/app/server"));

    // Without a note of mapped files: the name from the stack, the build-id still from memory.
    let mut bare = kernel.clone().without(NT_FILE);
    bare.loads
        .last_mut()
        .expect("the stack")
        .data
        .clone_from(&stack.memory);
    assert!(
        of(&bare).unread[0].contains("no list"),
        "{:?}",
        of(&bare).unread
    );
    let by_name = with(&bare, &[3, 25, 31]);
    assert_eq!(by_name.exe.as_deref(), Some("/srv/app/server"));
    assert_eq!(by_name.build_id, Some("e1".repeat(20)));
    assert!(by_name.modules.is_empty());

    assert_eq!(
        with(&kernel, &[]).exe,
        None,
        "the kernel lists files by address"
    );
    let first = with(&Synth::createdump(), &[]);
    assert_eq!(first.exe.as_deref(), Some("/srv/app/server"));
    assert_eq!(first.build_id, Some("e1".repeat(20)));
}

#[test]
fn a_host_name_that_is_none_is_left_out() {
    for value in [&b"UPPER"[..], b"a b", b"", &[b'a'; 300]] {
        let mut core = Synth::kernel();
        let stack = Stack::new(value);
        let data = core.auxv(&stack.auxv());
        core.note_mut(NT_AUXV).data = data;
        core.loads.last_mut().expect("the stack").data = stack.memory;
        assert_eq!(of(&core).host_name, None, "{}", value.escape_ascii());
    }
}

#[test]
fn a_stack_in_many_segments_in_any_order_gives_the_same_host_name() {
    let mut core = Synth::kernel();
    let stack = core.loads.pop().expect("the stack");
    let mut pages: Vec<Load> = stack
        .data
        .chunks(100)
        .enumerate()
        .map(|(n, part)| Load {
            address: stack.address + 100 * n as u64,
            data: part.to_vec(),
            memory: 100,
        })
        .collect();
    pages.reverse();
    core.loads.extend(pages.clone());
    assert_eq!(
        of(&core).host_name.as_deref(),
        Some("my-app-7d9f6c5b8-x2x9z")
    );

    // A page that is missing takes its strings with it, and joins nothing.
    let whole = core.loads.len();
    for gone in whole - pages.len()..whole {
        let mut core = core.clone();
        core.loads.remove(gone);
        let found = of(&core).host_name;
        assert!(
            found
                .as_deref()
                .is_none_or(|name| name == "my-app-7d9f6c5b8-x2x9z"),
            "{found:?}"
        );
    }
}

#[test]
fn names_from_the_dump_come_out_as_harmless_text() {
    let mut core = Synth::kernel();
    let mut files = FILES;
    files[0].3 = b"/tmp/\x1b[2J\n\xff";
    files[2].3 = b"/lib/\xe2\x80\xae.so";
    let data = core.nt_file(&files);
    core.note_mut(NT_FILE).data = data;
    let data = core.prpsinfo(1, 1, b"a\nb\xfe");
    core.note_mut(NT_PRPSINFO).data = data;
    let process = process(&of(&core));
    assert_eq!(process.exe.as_deref(), Some(r"/tmp/\u{1b}[2J\n\xff"));
    assert_eq!(process.comm.as_deref(), Some(r"a\nb\xfe"));
    assert_eq!(process.modules[0].name, r"/lib/\u{202e}.so");
}

#[test]
fn modules_are_bounded_and_listed_once() {
    let mut core = Synth::kernel();
    let mut files = FILES.to_vec();
    let names: Vec<String> = (0..300).map(|n| format!("/m/{n:03}.so")).collect();
    for (n, name) in names.iter().enumerate() {
        let base = 0x7f60_0000_0000 + 0x1_0000 * n as u64;
        core.load(base, core.module(Some(&(n as u64).to_be_bytes())));
        files.push((base, base + 0x1000, 0, name.as_bytes()));
        // Mapped again elsewhere, as a second link-map namespace does.
        let again = base + 0x2000;
        core.load(again, core.module(Some(&(n as u64).to_be_bytes())));
        files.push((again + 0x1000, again + 0x2000, 0, b"/m/between"));
        files.push((again, again + 0x1000, 0, name.as_bytes()));
    }
    let data = core.nt_file(&files);
    core.note_mut(NT_FILE).data = data;
    let found = of(&core);
    let modules = process(&found).modules;
    assert_eq!(modules.len(), 256);
    assert_eq!(modules[2], module("/m/000.so", &"00".repeat(8)));
    assert_eq!(modules[255].name, "/m/253.so");
    assert!(modules.iter().all(|m| m.name != "/srv/app/server"));
    assert!(
        found.unread[0].contains("beyond the first 256"),
        "{:?}",
        found.unread
    );
}

#[test]
fn what_has_no_build_id_is_no_module() {
    let core = Synth::kernel();
    let mut huge = core.module(Some(&[1; 65]));
    let mut bad_note = core.module(Some(&[1; 20]));
    put(&mut bad_note, 0x200 + 4, &u32::MAX.to_le_bytes());
    let mut bad_count = core.module(Some(&[1; 20]));
    put(&mut bad_count, 56, &u16::MAX.to_le_bytes());
    let mut bad_offset = core.module(Some(&[1; 20]));
    put(&mut bad_offset, 32, &u64::MAX.to_le_bytes());
    huge.truncate(4096);
    for page in [
        core.module(None),
        huge,
        bad_note,
        bad_count,
        bad_offset,
        b"\x7fELF".to_vec(),
    ] {
        let mut core = core.clone();
        core.loads[2].data = page;
        let process = process(&of(&core));
        assert_eq!(
            process.modules,
            [module("/usr/lib/libm.so.6", &"c2".repeat(16))]
        );
    }
}

#[test]
fn notes_aligned_to_eight_bytes_are_read() {
    let mut core = Synth::kernel();
    core.note_align = 8;
    core.named(b"CORE", NT_PRSTATUS, core.prstatus(77, 0));
    core.named(b"OTHER\0", NT_PRSTATUS, core.prstatus(78, 0));
    let found = of(&core);
    assert_eq!(process(&found).threads, Some(4), "{:?}", found.unread);
    assert_eq!(process(&found).modules.len(), 2);
}

#[test]
fn only_a_core_is_a_core() {
    let core = Synth::kernel().build();
    for kind in [0u16, 1, 2, 3, 5, 0xffff] {
        let mut other = core.clone();
        put(&mut other, 16, &kind.to_le_bytes());
        assert_eq!(facts(&other), Facts::of(Format::Unknown));
    }
    for (at, value) in [(4, 0), (4, 3), (5, 0), (5, 3), (6, 0)] {
        let mut other = core.clone();
        other[at] = value;
        assert_eq!(
            facts(&other),
            Facts::of(Format::Unknown),
            "byte {at} = {value}"
        );
    }
}

/// Every fact of `part` is also one of `whole`, or absent.
fn says_nothing_else(part: &Facts, whole: &Facts) {
    fn same<T: PartialEq + std::fmt::Debug>(part: Option<T>, whole: Option<T>) {
        assert!(part.is_none() || part == whole, "{part:?} is not {whole:?}");
    }
    let (p, w) = (process(part), process(whole));
    same(part.producer.as_ref(), whole.producer.as_ref());
    same(
        part.signal.as_ref().map(|s| s.number),
        whole.signal.as_ref().map(|s| s.number),
    );
    same(p.pid, w.pid);
    same(p.crashing_tid, w.crashing_tid);
    same(p.exe, w.exe);
    same(p.comm, w.comm);
    same(p.uid, w.uid);
    same(p.threads, w.threads);
    same(p.build_id, w.build_id);
    assert!(p.modules.iter().all(|m| w.modules.contains(m)));
    same(part.host_name.as_ref(), whole.host_name.as_ref());
}

#[test]
fn a_core_cut_anywhere_is_truncated_and_says_nothing_false() {
    for core in [Synth::kernel(), Synth::createdump()] {
        let bytes = core.build();
        let whole = facts(&bytes);
        let promised = core.promised();
        let table_end = phdr(core.loads.len() + 1, 0);
        let steps = (0..=64).map(|n| bytes.len() * n / 64);
        let edges = [
            63,
            64,
            65,
            119,
            120,
            121,
            table_end - 1,
            table_end,
            table_end + 1,
        ];
        let every_byte_of_the_first_notes = table_end..table_end + 2_000;
        for cut in steps.chain(edges).chain(every_byte_of_the_first_notes) {
            let part = facts(&bytes[..cut]);
            let expected = match cut as u64 {
                0..18 => {
                    assert_eq!(part.format, Format::Unknown, "cut at {cut}");
                    continue;
                }
                n if n < table_end as u64 => Completeness::Truncated { expected: None },
                n if n < promised => Completeness::Truncated {
                    expected: Some(promised),
                },
                _ => Completeness::Complete,
            };
            assert_eq!(part.format, Format::ElfCore, "cut at {cut}");
            assert_eq!(part.completeness, expected, "cut at {cut}");
            assert_eq!(
                part.unread.is_empty(),
                cut as u64 >= promised,
                "cut at {cut}: {:?}",
                part.unread
            );
            says_nothing_else(&part, &whole);
        }
    }
}

#[test]
fn a_length_that_is_wrong_in_either_direction_is_not_trusted() {
    let core = Synth::kernel();
    let bytes = core.build();
    let whole = facts(&bytes);
    for len in [bytes.len() as u64 + 1, 1 << 40, i64::MAX as u64, u64::MAX] {
        assert_eq!(identify_from(&bytes, len), whole);
    }
    let expected = Some(core.promised());
    let cut = bytes[..bytes.len() - 4096].to_vec();
    let shrunk = identify_from(&cut, bytes.len() as u64);
    assert_eq!(shrunk.completeness, Completeness::Truncated { expected });
    let grown = identify_from(&bytes, cut.len() as u64);
    assert_eq!(grown, shrunk);
    assert_eq!(identify_from(&bytes, 0), Facts::of(Format::Unknown));
}

#[test]
fn more_than_65534_program_headers_are_counted_by_the_section_header_or_by_position() {
    let mut core = Synth::kernel();
    core.extended = true;
    let small = core.build();
    // The section header says fewer than the field could: the position of the notes tells.
    assert_eq!(facts(&small).unread, Vec::<String>::new());
    assert_eq!(facts(&small).completeness, Completeness::Complete);

    let stack = core.loads.pop().expect("the stack");
    for n in 0..70_000u64 {
        core.loads.push(Load {
            address: 0x10_0000_0000 + n * 0x1000,
            data: Vec::new(),
            memory: 0x1000,
        });
    }
    core.loads.push(stack);
    let bytes = core.build();
    let whole = facts(&bytes);
    assert_eq!(whole.completeness, Completeness::Complete);
    assert_eq!(whole.host_name.as_deref(), Some("my-app-7d9f6c5b8-x2x9z"));
    assert_eq!(process(&whole), process(&of(&Synth::kernel())));

    // Without the header at the end it is truncated, but everything is found all the same.
    let mut cut = facts(&bytes[..bytes.len() - 1]);
    let expected = Some(bytes.len() as u64);
    assert_eq!(cut.completeness, Completeness::Truncated { expected });
    cut.completeness = Completeness::Complete;
    assert_eq!(cut, whole);

    // No section header at all, as a writer without one would leave it.
    let mut none = bytes.clone();
    put(&mut none, 40, &0u64.to_le_bytes());
    assert_eq!(facts(&none), whole);

    // Neither says it.
    put(&mut none, phdr(0, P_TYPE), &1u32.to_le_bytes());
    let lost = facts(&none);
    assert_eq!(lost.completeness, Completeness::Unknown);
    assert_eq!(lost.unread.len(), 1, "{:?}", lost.unread);

    let mut narrow = Synth::kernel();
    narrow.wide = false;
    narrow.extended = true;
    assert_eq!(of(&narrow).completeness, Completeness::Complete);
}

#[test]
fn ends_that_no_file_can_have_are_not_believed() {
    let core = Synth::kernel().build();
    for (offset, size) in [
        (u64::MAX, u64::MAX),
        (u64::MAX - 10, 11),
        (i64::MAX as u64, 1),
        (4096, u64::MAX - 4095),
    ] {
        let mut forged = core.clone();
        put(&mut forged, phdr(2, P_OFFSET), &offset.to_le_bytes());
        put(&mut forged, phdr(2, P_FILESZ), &size.to_le_bytes());
        let found = facts(&forged);
        assert_eq!(
            found.completeness,
            Completeness::Truncated { expected: None }
        );
        assert_eq!(found.unread.len(), 1, "{:?}", found.unread);
        assert_eq!(process(&found).threads, Some(3), "the notes are still read");
    }
    // An end that a file could have is only far away.
    let mut far = core.clone();
    put(&mut far, phdr(2, P_FILESZ), &(1u64 << 60).to_le_bytes());
    assert!(matches!(
        facts(&far).completeness,
        Completeness::Truncated { expected: Some(end) } if end > 1 << 60
    ));
    // An empty segment promises nothing, wherever it claims to be.
    let mut empty = core.clone();
    put(&mut empty, phdr(5, P_OFFSET), &u64::MAX.to_le_bytes());
    put(&mut empty, phdr(5, P_FILESZ), &0u64.to_le_bytes());
    assert_eq!(facts(&empty).completeness, Completeness::Complete);
    // The notes themselves.
    let mut notes = core;
    put(&mut notes, phdr(0, P_OFFSET), &u64::MAX.to_le_bytes());
    let found = facts(&notes);
    assert_eq!(process(&found), Process::default());
    assert_eq!(found.unread.len(), 2, "{:?}", found.unread);
}

#[test]
fn counts_of_program_headers_that_lie_are_survived() {
    let core = Synth::kernel().build();
    let with = |at, value: &[u8]| {
        let mut forged = core.clone();
        put(&mut forged, at, value);
        facts(&forged)
    };
    const E_PHOFF: usize = 32;
    const E_SHOFF: usize = 40;
    const E_PHENTSIZE: usize = 54;
    const E_PHNUM: usize = 56;

    let none = with(E_PHNUM, &0u16.to_le_bytes());
    assert_eq!(none.completeness, Completeness::Unknown);
    assert_eq!(none.unread, ["program headers: there are none"]);

    let many = with(E_PHNUM, &60_000u16.to_le_bytes());
    assert_eq!(
        many.completeness,
        Completeness::Truncated { expected: None }
    );
    assert_eq!(process(&many).comm.as_deref(), Some("server"));

    let fewer = with(E_PHNUM, &1u16.to_le_bytes());
    assert_eq!(fewer.completeness, Completeness::Complete);
    assert_eq!(process(&fewer).modules, []);

    for size in [0u16, 32, 55, 57, u16::MAX] {
        let found = with(E_PHENTSIZE, &size.to_le_bytes());
        assert_eq!(found.completeness, Completeness::Unknown, "{size}");
    }
    for offset in [u64::MAX, i64::MAX as u64, 1 << 62, core.len() as u64] {
        let found = with(E_PHOFF, &offset.to_le_bytes());
        assert_eq!(
            found.completeness,
            Completeness::Truncated { expected: None }
        );
    }
    // Program headers read out of the ELF header itself.
    for offset in 0..64u64 {
        let found = with(E_PHOFF, &offset.to_le_bytes());
        assert_eq!(found.format, Format::ElfCore);
    }

    let mut extended = core.clone();
    put(&mut extended, E_PHNUM, &u16::MAX.to_le_bytes());
    for section in [u64::MAX, i64::MAX as u64, 0, 8, 64, core.len() as u64 - 30] {
        put(&mut extended, E_SHOFF, &section.to_le_bytes());
        assert_eq!(facts(&extended).format, Format::ElfCore);
    }
    // More headers than are ever read.
    put(&mut extended, E_SHOFF, &0u64.to_le_bytes());
    put(
        &mut extended,
        phdr(0, P_OFFSET),
        &(1u64 << 40).to_le_bytes(),
    );
    let found = facts(&extended);
    assert_eq!(found.completeness, Completeness::Unknown);
    assert!(found.unread[0].contains("2,097,152"), "{:?}", found.unread);
}

#[test]
fn notes_whose_lengths_lie_end_the_walk_and_nothing_else() {
    let core = Synth::kernel();
    let bytes = core.build();
    let first = phdr(core.loads.len() + 1, 0);
    let second = first + 12 + 8 + 336;
    for (at, name) in [(second, true), (second + 4, false)] {
        for length in [u32::MAX, u32::MAX - 3, 1 << 31, 20_000_000] {
            let mut forged = bytes.clone();
            put(&mut forged, at, &length.to_le_bytes());
            let found = facts(&forged);
            assert_eq!(found.completeness, Completeness::Complete);
            assert_eq!(found.producer.as_deref(), Some("kernel"));
            assert_eq!(process(&found).crashing_tid, Some(42));
            assert_eq!(process(&found).threads, None, "half a count is none");
            assert_eq!(found.unread.len(), 1, "{name} {length}: {:?}", found.unread);
        }
    }
    // Descriptors too short for what they are.
    for kind in [NT_PRSTATUS, NT_PRPSINFO, NT_SIGINFO, NT_AUXV, NT_FILE] {
        for len in [0, 1, 11, 12, 15, 35] {
            let mut short = core.clone();
            short.note_mut(kind).data.truncate(len);
            assert_eq!(of(&short).completeness, Completeness::Complete);
        }
    }
    let none = of(&Synth {
        notes: Vec::new(),
        ..core
    });
    assert_eq!((none.process, none.producer), (None, None));
}

#[test]
fn a_note_of_mapped_files_that_lies_is_survived() {
    let with = |data: Vec<u8>| {
        let mut core = Synth::kernel();
        core.note_mut(NT_FILE).data = data;
        of(&core)
    };
    let good = Synth::kernel().nt_file(&FILES);
    for count in [u64::MAX, u64::MAX / 24, 1 << 40, 1_000_000, 13] {
        let mut data = good.clone();
        put(&mut data, 0, &count.to_le_bytes());
        let found = with(data);
        assert_eq!(found.unread.len(), 1, "{count}: {:?}", found.unread);
        assert_eq!(process(&found).pid, Some(40));
    }
    // A few too many: names are taken for mappings, and then there are too few names.
    for count in [7u64, 8] {
        let mut data = good.clone();
        put(&mut data, 0, &count.to_le_bytes());
        assert_eq!(with(data).format, Format::ElfCore);
    }
    let mut unended = good.clone();
    unended.pop();
    assert!(with(unended).unread[0].contains("fewer names"));
    let mut few = good.clone();
    put(&mut few, 0, &0u64.to_le_bytes());
    assert_eq!(process(&with(few)).modules, []);
    let long = vec![b'a'; 5_000];
    let mut files = FILES;
    files[3].3 = &long;
    let found = with(Synth::kernel().nt_file(&files));
    assert!(
        found.unread[0].contains("longer than 4,096"),
        "{:?}",
        found.unread
    );
    assert_eq!(process(&found).exe.as_deref(), Some("/srv/app/server"));
    for cut in 0..good.len() {
        assert_eq!(with(good[..cut].to_vec()).format, Format::ElfCore);
    }
}

#[test]
fn parts_that_point_at_themselves_are_survived() {
    let core = Synth::kernel().build();
    for (offset, size) in [(0u64, core.len() as u64), (64, 56), (64, 4096), (0, 64)] {
        for n in 0..3 {
            let mut forged = core.clone();
            put(&mut forged, phdr(n, P_OFFSET), &offset.to_le_bytes());
            put(&mut forged, phdr(n, P_FILESZ), &size.to_le_bytes());
            assert_eq!(facts(&forged).format, Format::ElfCore);
        }
    }
    // Every segment claims all of memory.
    let mut all = core;
    for n in 1..8 {
        put(&mut all, phdr(n, P_OFFSET), &0u64.to_le_bytes());
        put(&mut all, phdr(n, P_VADDR), &0u64.to_le_bytes());
        put(
            &mut all,
            phdr(n, P_FILESZ),
            &(i64::MAX as u64).to_le_bytes(),
        );
    }
    assert_eq!(facts(&all).format, Format::ElfCore);
}

#[test]
fn addresses_at_the_end_of_memory_do_not_overflow() {
    for address in [u64::MAX, u64::MAX - 15, u64::MAX - 4096] {
        let mut core = Synth::kernel();
        let pairs = [
            (3, address),
            (9, address),
            (25, address - 64),
            (31, address),
        ];
        let data = core.auxv(&pairs);
        core.note_mut(NT_AUXV).data = data;
        core.load(address - 100, vec![b'x'; 4096]);
        let files = [(address, u64::MAX, 0, &b"/x"[..]), (u64::MAX, 0, 0, b"/y")];
        let data = core.nt_file(&files);
        core.note_mut(NT_FILE).data = data;
        assert_eq!(of(&core).format, Format::ElfCore);
    }
}

#[test]
fn no_environment_argument_or_title_gets_into_the_facts() {
    for core in [Synth::kernel(), Synth::createdump()] {
        let bytes = core.build();
        assert!(bytes.windows(SECRET.len()).any(|w| w == SECRET.as_bytes()));
        for n in 0..=64 {
            let found = facts(&bytes[..bytes.len() * n / 64]);
            let json = serde_json::to_string(&found).expect("serialises");
            assert!(!json.contains(SECRET) && !json.contains("PATH="), "{json}");
        }
    }
}

#[test]
fn an_unreadable_place_costs_only_what_is_there() {
    let core = Synth::kernel();
    let bytes = core.build();
    let whole = facts(&bytes);
    for bad in (0..core.promised()).step_by(509) {
        let found = identify_from(&BadFrom(&bytes, bad), bytes.len() as u64);
        assert!(
            found.unread.iter().any(|why| why.contains("os error 5")),
            "bad from {bad}: {:?}",
            found.unread
        );
        assert_eq!(
            found.completeness,
            Completeness::Unknown,
            "bad from {bad}: whether the end is there cannot be known"
        );
        says_nothing_else(&found, &whole);
    }
}

/// The ELF header and first program header of a file with `count` of them and endless notes.
fn endless_head(count: u64) -> Vec<u8> {
    let mut head = Synth::empty().build()[..120].to_vec();
    put(&mut head, 40, &0u64.to_le_bytes());
    put(&mut head, 56, &u16::MAX.to_le_bytes());
    put(
        &mut head,
        phdr(0, P_OFFSET),
        &(64 + 56 * count).to_le_bytes(),
    );
    put(&mut head, phdr(0, P_FILESZ), &(1u64 << 62).to_le_bytes());
    head
}

#[test]
fn millions_of_segments_that_all_hold_everything_cost_two_passes() {
    let mut tile = vec![0; 56];
    put(&mut tile, 0, &1u32.to_le_bytes());
    put(&mut tile, P_FILESZ, &(1u64 << 62).to_le_bytes());
    let tile = tile.repeat(1_024);
    let file = Endless::new(endless_head(2 << 20), tile);
    file.bounded(2 * 113 + 65 + 1, Format::ElfCore);
}

#[test]
fn endless_notes_are_walked_for_64_mebibytes() {
    let core = Synth::empty();
    for (data, megabytes) in [
        (vec![], 66),
        (core.prstatus(1, 0), 66),
        (vec![0; 60_000], 130),
    ] {
        let mut note = core.bytes();
        note.u32(5)
            .u32(data.len() as u32)
            .u32(1)
            .raw(b"CORE\0\0\0\0")
            .raw(&data);
        let file = Endless::new(endless_head(1), note.out.repeat(16));
        let found = file.bounded(megabytes, Format::ElfCore);
        assert!(found.unread[0].contains("64 MiB"), "{:?}", found.unread);
        assert_eq!(process(&found).threads, None);
    }
}

#[test]
fn an_endless_list_of_files_is_read_for_32_mebibytes_with_few_picks() {
    let core = Synth::empty();
    // A note of 31 MiB: mappings of four bytes each from address 1 on, names of two characters.
    let count = 1_200_000u64;
    let mut note = core.bytes();
    note.u64(count).u64(4096);
    for n in 0..count {
        note.u64(n * 4096).u64(n * 4096 + 4).u64(0);
    }
    for n in 0..count {
        note.raw(if n % 2 == 0 { b"a\0" } else { b"b\0" });
    }
    let mut core = Synth::kernel();
    core.note_mut(NT_FILE).data = note.out;
    // One segment that has them all, and in it one module after the other.
    core.load(0, core.module(Some(&[9; 20])).repeat(64));
    let begun = Instant::now();
    let bytes = core.build();
    let found = facts(&bytes);
    assert!(begun.elapsed() < PATIENCE, "{:?}", begun.elapsed());
    let unread = found.unread.join(" ");
    assert!(unread.contains("beyond the first 4096"), "{unread}");
    assert_eq!(process(&found).modules.len(), 2, "two names, one id");

    core.note_mut(NT_FILE).data.resize(33 << 20, 0);
    let found = of(&core);
    assert!(found.unread[0].contains("32 MiB"), "{:?}", found.unread);
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(512) })]

    #[test]
    fn any_bytes_are_survived(bytes in proptest::collection::vec(any::<u8>(), 0..4_096), len in any::<u64>()) {
        identify_from(&bytes, len);
    }

    #[test]
    fn any_bytes_behind_the_header_of_a_core_are_survived(
        tail in proptest::collection::vec(any::<u8>(), 0..8_192),
        phnum in any::<u16>(),
        big in any::<bool>(),
        wide in any::<bool>(),
    ) {
        let mut core = Synth::empty();
        (core.big, core.wide) = (big, wide);
        let mut bytes = core.build()[..if wide { 64 } else { 52 }].to_vec();
        let at = if wide { 56 } else { 44 };
        put(&mut bytes, at, &phnum.to_le_bytes());
        bytes.extend(tail);
        let found = facts(&bytes);
        prop_assert_eq!(found.format, Format::ElfCore);
    }

    #[test]
    fn a_core_with_any_bytes_changed_is_survived(
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>(), any::<bool>()), 1..64),
        createdump in any::<bool>(),
    ) {
        let core = if createdump { Synth::createdump() } else { Synth::kernel() };
        let mut bytes = core.build();
        for (index, value, near) in changes {
            // Most of a core is memory; half of the changes go where the structures are.
            let range = if near { 2_600 } else { bytes.len() };
            bytes[index.index(range)] = value;
        }
        let begun = Instant::now();
        facts(&bytes);
        prop_assert!(begun.elapsed() < PATIENCE);
    }

    #[test]
    fn numbers_of_any_size_in_the_headers_are_survived(
        changes in proptest::collection::vec((0usize..140, prop_oneof![
            any::<u64>(), Just(u64::MAX), Just(i64::MAX as u64), Just(0), 0u64..100_000,
        ]), 1..6),
    ) {
        let mut bytes = Synth::kernel().build();
        for (word, value) in changes {
            put(&mut bytes, 8 * word + 8, &value.to_le_bytes());
        }
        facts(&bytes);
    }
}
