//! ELF cores, by the kernel or by .NET's `createdump`.
//!
//! ```text
//! headers ── survey ──→ completeness, where the notes are
//! notes ───────────────→ threads, signal, process │ places of the auxiliary vector and of the mapped files
//! descriptors, files ──→ executable, runtime      │ addresses of modules and of the environment strings
//! memory ── 2nd pass ──→ where those addresses are in the file
//! build_id, stack ─────→ build-ids, HOSTNAME
//! ```
//!
//! Owns the order of these steps and what each fact is taken from when several places have it. A step that fails leaves a line in
//! `unread` and the next goes on with what there is: a truncated core lacks stack and libraries, and is a core all the same.
//! Only 64-bit cores of machines with Linux's generic signals have their notes read; of all others the headers are.

mod build_id;
mod descriptors;
mod files;
mod headers;
mod memory;
mod notes;
mod stack;
#[cfg(test)]
mod synth;
#[cfg(test)]
mod tests;

use object::elf::{ELFOSABI_LINUX, ELFOSABI_NONE, NT_PRPSINFO, NT_PRSTATUS, OsAbi};

use self::build_id::{PAGE, Pages};
use self::descriptors::Auxv;
use self::files::Files;
use self::headers::{Header, Kind, Layout};
use self::notes::{Marked, Notes, Span};

use super::read_at::{Source, Unread};
use super::runtime::Clues;
use super::signal;
use crate::model::{Completeness, Escaped, Facts, Format, Module, Process, Runtime, SignalInfo};

/// Most modules listed. Python with its scientific packages has about 300 mapped objects, most others fewer than 100.
const MAX_MODULES: usize = 256;

/// Who wrote a core; each has its own way of marking the thread that crashed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Producer {
    Kernel,
    Createdump,
    /// `gcore`, an emulator, a tracing library ...
    Other,
}

/// Reads the facts of a file that begins like an ELF file.
pub(super) fn read(source: &Source<'_>) -> Facts {
    match headers::read(source) {
        Ok(Kind::Core(header)) => read_core(source, &header),
        Ok(Kind::CutCore) => {
            let mut facts = Facts::of(Format::ElfCore);
            facts.completeness = Completeness::Truncated { expected: None };
            facts
                .unread
                .push("everything: the file ends within its ELF header".to_owned());
            facts
        }
        Ok(Kind::Other) => Facts::of(Format::Unknown),
        Err(why) => {
            let mut facts = Facts::of(Format::Unknown);
            facts.unread.push(format!("ELF header: {why}"));
            facts
        }
    }
}

fn read_core(source: &Source<'_>, header: &Header) -> Facts {
    let layout = header.survey(source);
    let mut facts = Facts::of(Format::ElfCore);
    facts.completeness = layout.completeness;
    facts.unread.clone_from(&layout.unread);

    let mut runtime = Runtime {
        arch: header.arch().map(str::to_owned),
        ..Runtime::default()
    };
    if header.notes_are_known() {
        read_notes(source, header, &layout, &mut facts, &mut runtime);
    } else {
        facts.unread.push(
            "notes and memory: only those of 64-bit x86, Arm, RISC-V, POWER, Z and LoongArch are read"
                .to_owned(),
        );
    }
    facts.runtime = (runtime != Runtime::default()).then_some(runtime);
    facts
}

fn read_notes(
    source: &Source<'_>,
    header: &Header,
    layout: &Layout,
    facts: &mut Facts,
    runtime: &mut Runtime,
) {
    let notes = notes::read(source, header.endian, &layout.notes);
    let producer = producer(&notes, header.os_abi);
    facts.unread.extend(notes.unread.clone());
    if layout.notes.is_empty() && layout.unread.is_empty() {
        facts.unread.push("notes: there are none".to_owned());
    }

    let auxv = notes.auxv.map_or(Ok(Auxv::default()), |span| {
        Auxv::read(source, header.endian, span)
    });
    let auxv = auxv.unwrap_or_else(|why| {
        facts.unread.push(format!("auxiliary vector: {why}"));
        Auxv::default()
    });

    facts.image = auxv.image();

    let mut clues = Clues::default();
    let mut files = notes.files.map_or_else(Files::default, |span| {
        files::read(source, header.endian, span, &auxv, &mut clues)
    });
    facts.unread.extend(files.unread.take());
    if notes.files.is_none() && notes.whole && !layout.notes.is_empty() {
        // Linux drops the note when 64 bytes for each mapping exceed `kernel.core_file_note_size_limit` (4 MiB).
        let text = "mapped files: the core has no list of them, as Linux leaves it out above 65,535 mappings";
        facts.unread.push(text.to_owned());
    }

    let first_of_exe = first_page_of_exe(&auxv, &files, producer);
    let mut wanted: Vec<u64> = files.candidates.iter().map(|c| c.address).collect();
    wanted.extend(first_of_exe);
    wanted.extend(auxv.exec_name);
    let strings = stack::strings(&auxv);
    let mut memory = memory::find(source, header, layout.segments, wanted, &strings);
    // A table that is cut was already reported by the survey.
    facts
        .unread
        .extend(memory.unread.take().filter(|_| layout.unread.is_empty()));

    let exe = executable(&files, producer)
        .or_else(|| stack::exec_name(source, &auxv, &memory))
        .filter(|path| !path.is_empty());
    if let Some(path) = &exe {
        clues.see_exe(path);
    }
    if producer == Producer::Createdump {
        clues.see_createdump();
    }

    let mut pages = Pages::new();
    let build_id = first_of_exe
        .and_then(|address| memory.places.get(&address))
        .map(|place| pages.build_id(source, *place));
    let build_id = build_id.unwrap_or(Ok(None)).unwrap_or_else(|why| {
        facts
            .unread
            .push(format!("build-id of the executable: {why}"));
        None
    });
    let modules = modules(source, &files, &memory, exe.as_deref(), &mut pages, facts);

    match stack::host_name(source, &memory.pieces, &strings) {
        Ok(name) => facts.host_name = name,
        Err(why) => facts.unread.push(format!("environment strings: {why}")),
    }

    let process = Process {
        pid: notes.process.map(|p| p.pid),
        crashing_tid: crashing_thread(&notes, producer),
        exe: exe.map(|path| Escaped::bytes(&path).to_string()),
        comm: notes
            .process
            .map(|p| Escaped::bytes(p.comm()).to_string())
            .filter(|comm| !comm.is_empty()),
        // createdump leaves the field 0, whoever the process was.
        uid: notes
            .process
            .filter(|_| producer != Producer::Createdump)
            .map(|p| p.uid),
        // Half a count would look like a whole one.
        threads: Some(notes.threads).filter(|n| notes.whole && *n > 0),
        build_id,
        modules,
    };
    facts.process = (process != Process::default()).then_some(process);
    facts.signal = signal(&notes, producer);
    facts.producer = match producer {
        Producer::Kernel => Some("kernel".to_owned()),
        Producer::Createdump => Some("createdump".to_owned()),
        Producer::Other => None,
    };
    runtime.name = clues.name().map(str::to_owned);
    runtime.version = clues.version().map(str::to_owned);
    runtime.libc = clues.libc.map(str::to_owned);
}

/// The kernel begins with the crashing thread and leaves the ABI byte 0; `createdump` begins with the process and writes 3, on
/// every version from 3.1 to 10. gdb's `gcore` begins with the process too, and leaves the byte 0.
fn producer(notes: &Notes, os_abi: OsAbi) -> Producer {
    match (notes.first, os_abi) {
        (Some(NT_PRSTATUS), ELFOSABI_NONE) => Producer::Kernel,
        (Some(NT_PRPSINFO), ELFOSABI_LINUX) => Producer::Createdump,
        _ => Producer::Other,
    }
}

/// The thread that crashed: the kernel's first; `createdump`'s only one with a signal, which may be any. On .NET 3.1 all threads
/// have one (and in a dump on demand none), which says nothing.
fn crashing_thread(notes: &Notes, producer: Producer) -> Option<i32> {
    match (producer, notes.marked) {
        (Producer::Kernel, _) => notes.first_thread.map(|t| t.tid),
        (_, Marked::One(thread)) => Some(thread.tid),
        _ => None,
    }
}

/// The signal: from `siginfo`, which alone has code and address; else the number from the crashing thread.
fn signal(notes: &Notes, producer: Producer) -> Option<SignalInfo> {
    if let Some(note) = &notes.signal {
        return note.info();
    }
    let thread = match (producer, notes.marked) {
        (Producer::Kernel, _) => notes.first_thread?,
        // One thread that has a signal stands out only among several: .NET 3.1 marks all of them, also in a dump on demand.
        (Producer::Createdump, Marked::One(thread)) if notes.threads > 1 => thread,
        (Producer::Other, Marked::One(thread)) => thread,
        _ => return None,
    };
    signal::of(thread.signal.into())
}

fn executable(files: &Files, producer: Producer) -> Option<Vec<u8>> {
    let first = || {
        let (_, name) = files.first.as_ref()?;
        (producer == Producer::Createdump).then(|| name.clone())
    };
    files.exe.clone().or_else(first)
}

/// Where the executable's ELF header is in memory: in the page of its program headers, which follow it directly; else where
/// `createdump`'s first mapping begins.
fn first_page_of_exe(auxv: &Auxv, files: &Files, producer: Producer) -> Option<u64> {
    let page = PAGE as u64;
    auxv.program_headers
        .map(|address| address / page * page)
        .or_else(|| {
            let (address, _) = files.first.as_ref()?;
            (producer == Producer::Createdump).then_some(*address)
        })
}

/// The mapped files that have a build-id, in order of address, the executable left out.
fn modules(
    source: &Source<'_>,
    files: &Files,
    memory: &memory::Memory,
    exe: Option<&[u8]>,
    pages: &mut Pages,
    facts: &mut Facts,
) -> Vec<Module> {
    let mut modules = Vec::new();
    let mut beyond = 0u32;
    let mut failed = None;
    for candidate in &files.candidates {
        // Not dumped: most files that are no ELF modules, and what a small `createdump` type leaves out.
        let Some(place) = memory.places.get(&candidate.address) else {
            continue;
        };
        let build_id = match pages.build_id(source, *place) {
            Ok(Some(id)) => id,
            Ok(None) => continue,
            Err(why) => {
                failed = Some(why);
                continue;
            }
        };
        let name = match name_at(source, candidate.name) {
            Ok(name) if exe == Some(name.as_slice()) => continue,
            Ok(name) => Escaped::bytes(&name).to_string(),
            Err(why) => {
                failed = Some(why);
                continue;
            }
        };
        let module = Module {
            name,
            build_id: Some(build_id),
            debug_id: None,
        };
        // A library may be loaded into several namespaces.
        if modules.contains(&module) {
            continue;
        }
        if modules.len() < MAX_MODULES {
            modules.push(module);
        } else {
            beyond += 1;
        }
    }
    if beyond > 0 {
        facts.unread.push(format!(
            "modules: {beyond} beyond the first {MAX_MODULES} are not listed"
        ));
    }
    if let Some(why) = failed {
        facts.unread.push(format!("build-ids of modules: {why}"));
    }
    modules
}

fn name_at(source: &Source<'_>, span: Span) -> Result<Vec<u8>, Unread> {
    // At most `MAX_NAME`, as the walk over the mapped files gave it.
    let mut name = vec![0; usize::try_from(span.size).unwrap_or(0)];
    source.exact(span.offset, &mut name)?;
    Ok(name)
}
