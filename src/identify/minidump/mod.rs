//! Minidumps: what Breakpad, Crashpad, `minidump-writer` and Windows write of a process.
//!
//! ```text
//! directory ───────────→ streams by type, when it was written
//! lists ───────────────→ threads, memory, names │ how far the file must reach (extent)
//! modules ─────────────→ executable, libraries, their ids
//! proc ────────────────→ pid, name and user; HOSTNAME        (Linux: copies of files of /proc)
//! system, misc, exception: the `minidump` crate ─→ machine, pid, signal or exception
//! ```
//!
//! Owns the order of these steps. A stream that cannot be read leaves a line in `unread`, and the next is read all the same.
//!
//! The crate decodes single records that we give it: it knows processors, systems, the names of exceptions and the forms of debug
//! ids. It is never given the file, because what it does with one has no bounds. Its `Minidump::read` logs a warning for each stream
//! that is there twice, and its module list makes a copy of a name and of a debug record for each module: 8 MiB of
//! hostile modules that all name one string of 8 MiB are 600 GB. It also wants the whole file in memory. So the directory
//! and the lists are walked here; the lists may be anywhere in a file of any length.
//!
//! Layouts are those of Microsoft's `minidumpapiset.h`, of Breakpad's `minidump_format.h` and of the crate's `format`. Little endian
//! only: big-endian minidumps were written on PowerPC Macs.

mod directory;
mod extent;
#[cfg(test)]
mod hostile;
mod lists;
mod modules;
mod proc;
#[cfg(test)]
mod synth;
#[cfg(test)]
mod tests;

use jiff::Timestamp;
use minidump::format::MINIDUMP_STREAM_TYPE as Stream;
use minidump::system_info::{Cpu, Os};
use minidump::{Endian, MinidumpException, MinidumpMiscInfo, MinidumpStream, MinidumpSystemInfo};

use self::directory::Directory;
use self::extent::Extent;
use self::lists::{Lists, Location};
use self::proc::Status;
use super::read_at::{Source, Unread};
use super::runtime::Clues;
use super::signal;
use super::walk::conclude;
use crate::model::{Escaped, Exception, Facts, Format, Process, Runtime};

/// Most bytes of a stream of numbers given to the crate. An exception has 168, all others have less.
const MAX_RECORD: usize = 168;

/// Of `MiscInfo` the part that every version of it has: sizes, flags, process id and times.
const MISC_INFO: usize = 24;

const TOO_SHORT: Unread = Unread::Nonsense("it is shorter than any can be");

/// Linux: nothing crashed, a dump was asked for.
const DUMP_REQUESTED: u32 = 0xffff_ffff;

/// Breakpad's numbers that the crate does not know.
const RISCV: u16 = 0x8005;
const RISCV64: u16 = 0x8006;

/// Reads the facts of a file that begins like a minidump.
pub(super) fn read(source: &Source<'_>) -> Facts {
    let mut facts = Facts::of(Format::Minidump);
    match directory::read(source) {
        Ok(directory) => {
            let mut reading = Reading {
                source,
                lists: Lists::new(source),
                extent: Extent::of(&directory),
                directory: &directory,
                facts,
                process: Process::default(),
                runtime: Runtime::default(),
            };
            reading.everything();
            facts = reading.finish();
        }
        Err(why) => conclude(&mut facts, "directory", Err(why)),
    }
    facts
}

/// A minidump being read.
struct Reading<'a> {
    source: &'a Source<'a>,
    directory: &'a Directory,
    lists: Lists<'a>,
    extent: Extent,
    facts: Facts,
    process: Process,
    runtime: Runtime,
}

impl Reading<'_> {
    fn everything(&mut self) {
        let seconds = Some(i64::from(self.directory.time_date_stamp)).filter(|time| *time != 0);
        self.facts.written = seconds.and_then(|time| Timestamp::from_second(time).ok());
        if self.directory.beyond > 0 {
            self.extent.doubt();
            self.facts.unread.push(format!(
                "streams: {} beyond the first {} were not looked at",
                self.directory.beyond,
                directory::MAX_STREAMS
            ));
        }
        // Only its own writer knows this type: a list, in JSON, of what it could not do.
        if self.directory.find(Stream::MozSoftErrors).is_some() {
            self.facts.producer = Some("minidump-writer".to_owned());
        }

        let system = self.system();
        if let Some(system) = &system {
            self.runtime.arch = arch(system).map(str::to_owned);
        }
        let os = system.as_ref().map_or(Os::Unknown(0), |system| system.os);
        self.unfinished(os);

        let status = self.status();
        let misc = self.misc_info();
        self.identity(&status, misc);
        self.exception(system.as_ref());
        self.threads(&status);
        self.memory();
        self.modules(system.as_ref());
        self.host_name();
    }

    fn finish(mut self) -> Facts {
        self.extent.conclude(self.source, &mut self.facts);
        self.facts.process = (self.process != Process::default()).then_some(self.process);
        self.facts.runtime = (self.runtime != Runtime::default()).then_some(self.runtime);
        self.facts
    }

    fn unread(&mut self, part: &str, why: &Unread) {
        self.facts.unread.push(format!("{part}: {why}"));
    }

    /// The beginning of a stream, at most `most` bytes of it.
    fn head_of(&mut self, kind: Stream, part: &str, most: usize) -> Option<Vec<u8>> {
        let location = self.directory.find(kind)?;
        let most = usize::try_from(location.size).map_or(most, |size| size.min(most));
        let mut bytes = vec![0; most];
        match self.source.exact(location.at, &mut bytes) {
            Ok(()) => Some(bytes),
            Err(why) => {
                self.unread(part, &why);
                None
            }
        }
    }

    /// A stream of numbers, decoded by the crate. It gets no other bytes, so what the stream points at is not there for it.
    fn record<S: for<'b> MinidumpStream<'b>>(
        &mut self,
        kind: Stream,
        part: &str,
        most: usize,
    ) -> Option<S> {
        let bytes = self.head_of(kind, part, most)?;
        let decoded = S::read(&bytes, &[], Endian::Little, None).ok();
        if decoded.is_none() {
            self.unread(part, &TOO_SHORT);
        }
        decoded
    }

    fn system(&mut self) -> Option<MinidumpSystemInfo> {
        let part = "system information";
        self.record(Stream::SystemInfoStream, part, MAX_RECORD)
    }

    fn misc_info(&mut self) -> Option<MinidumpMiscInfo> {
        let part = "process information";
        self.record(Stream::MiscInfoStream, part, MISC_INFO)
    }

    /// A directory is written first, its entries are filled in one by one: a writer that died leaves some empty, and a file that
    /// reaches as far as the others say. Windows leaves empty entries behind good ones in dumps that are whole.
    fn unfinished(&mut self, os: Os) {
        let why = if self.directory.find(Stream::SystemInfoStream).is_none() {
            "there is none of the system, without which no tool reads a minidump"
        } else if self.directory.ends_empty && matches!(os, Os::Linux | Os::Android) {
            "the last place for one is empty, as if the writer had died"
        } else {
            return;
        };
        self.extent.doubt();
        self.unread("streams", &Unread::Nonsense(why));
    }

    fn status(&mut self) -> Status {
        let part = "copy of /proc/<pid>/status";
        let bytes = self.head_of(Stream::LinuxProcStatus, part, proc::MAX_STATUS);
        bytes.map_or_else(Status::default, |bytes| Status::parse(&bytes))
    }

    /// Process id as the process saw it: the innermost of several, which only `/proc` tells.
    fn identity(&mut self, status: &Status, misc: Option<MinidumpMiscInfo>) {
        let misc = misc.and_then(|misc| misc.raw.process_id().copied());
        let misc = misc.and_then(|pid| i32::try_from(pid).ok());
        let pid = status.innermost_pid.or(misc).or(status.pid);
        self.process.pid = pid.filter(|pid| *pid > 0);
        self.process.uid = status.uid;
        self.process.comm.clone_from(&status.comm);
    }

    fn exception(&mut self, system: Option<&MinidumpSystemInfo>) {
        let Some(bytes) = self.head_of(Stream::ExceptionStream, "exception", MAX_RECORD) else {
            return;
        };
        let Ok(exception) = MinidumpException::read(&bytes, &[], Endian::Little, system) else {
            return self.unread("exception", &TOO_SHORT);
        };
        let context = exception.raw.thread_context;
        self.extent
            .reach(Location::of(context.rva, context.data_size));
        let Some(system) = system else {
            return;
        };
        let record = &exception.raw.exception_record;
        let linux = matches!(system.os, Os::Linux | Os::Android);
        if linux && record.exception_code == DUMP_REQUESTED {
            return;
        }
        let tid = i32::try_from(exception.get_crashing_thread_id()).ok();
        self.process.crashing_tid = tid.filter(|tid| *tid > 0);
        if linux {
            // As all writers for Linux fill the record: `si_signo`, `si_code`, `si_addr`.
            let number = i32::try_from(record.exception_code).unwrap_or(0);
            let code = record.exception_flags.cast_signed();
            self.facts.signal = signal::with_code(number, code, record.exception_address);
        } else if matches!(system.os, Os::Windows | Os::MacOs | Os::Ios) {
            let reason = exception.get_crash_reason(system.os, system.cpu);
            self.facts.exception = Some(Exception {
                kind: Some(reason.to_string()),
                stack: Vec::new(),
            });
        }
    }

    fn threads(&mut self, status: &Status) {
        if let Some(location) = self.directory.find(Stream::ThreadListStream) {
            let mut count = 0u32;
            let extent = &mut self.extent;
            let walked = self.lists.threads(location, |thread| {
                count = count.saturating_add(1);
                extent.reach(thread.stack);
                extent.reach(thread.context);
            });
            match walked {
                Ok(()) => self.process.threads = Some(count).filter(|count| *count > 0),
                Err(why) => self.list_failed("threads", &why),
            }
        }
        if let Some(location) = self.directory.find(Stream::ThreadNamesStream) {
            let mut names = Vec::new();
            let mut beyond = false;
            let walked = self.lists.thread_names(location, |tid, at| {
                if names.len() < lists::MAX_NAMES {
                    names.push((tid, at));
                } else {
                    beyond = true;
                }
            });
            let walked = walked.and_then(|()| self.name_threads(&names, status));
            if let Err(why) = walked {
                self.list_failed("names of threads", &why);
            }
            if beyond {
                self.extent.doubt();
            }
        }
    }

    /// The file reaches to the end of every name; one of them is the process's, if the status is that of another thread.
    fn name_threads(&mut self, names: &[(u32, u64)], status: &Status) -> Result<(), Unread> {
        for (tid, at) in names {
            let place = lists::text_place(self.source, *at)?;
            self.extent.reach(place);
            if self.process.comm.is_none() && i32::try_from(*tid).ok() == status.pid {
                let comm = lists::text(self.source, place)?;
                let comm = Escaped::bytes(comm.as_bytes()).to_string();
                self.process.comm = Some(comm).filter(|comm| !comm.is_empty());
            }
        }
        Ok(())
    }

    fn memory(&mut self) {
        let extent = &mut self.extent;
        if let Some(location) = self.directory.find(Stream::MemoryListStream) {
            let walked = self.lists.memory(location, |memory| extent.reach(memory));
            if let Err(why) = walked {
                self.list_failed("memory", &why);
            }
        }
        if let Some(location) = self.directory.find(Stream::Memory64ListStream) {
            match self.lists.memory64_end(location) {
                Ok(end) => self.extent.reach_end(end),
                Err(why) => self.list_failed("memory", &why),
            }
        }
    }

    fn modules(&mut self, system: Option<&MinidumpSystemInfo>) {
        let Some(location) = self.directory.find(Stream::ModuleListStream) else {
            return;
        };
        let found = modules::read(
            self.source,
            &mut self.lists,
            &mut self.extent,
            location,
            system,
        );
        if let Some(why) = found.cut {
            self.list_failed("modules", &why);
        }
        self.facts.unread.extend(found.unread);
        let mut clues = Clues::default();
        for module in &found.modules {
            clues.see(module.name.as_bytes());
        }
        if let Some(exe) = found.exe {
            clues.see_exe(exe.name.as_bytes());
            self.process.exe = Some(exe.name).filter(|name| !name.is_empty());
            self.process.build_id = exe.build_id;
        }
        self.process.modules = found.modules;
        self.runtime.name = clues.name().map(str::to_owned);
        self.runtime.version = clues.version().map(str::to_owned);
        self.runtime.libc = clues.libc.map(str::to_owned);
    }

    fn host_name(&mut self) {
        let Some(location) = self.directory.find(Stream::LinuxEnviron) else {
            return;
        };
        match proc::host_name(self.source, location) {
            Ok(name) => self.facts.host_name = name,
            Err(why) => self.unread("environment strings", &why),
        }
    }

    /// Without the whole list nobody knows how far the file must reach.
    fn list_failed(&mut self, part: &str, why: &Unread) {
        self.extent.list_failed(why);
        self.unread(part, why);
    }
}

/// The machine as `uname -m` names it.
fn arch(system: &MinidumpSystemInfo) -> Option<&'static str> {
    Some(match system.cpu {
        Cpu::X86_64 => "x86_64",
        Cpu::Arm64 => "aarch64",
        Cpu::X86 => "i686",
        Cpu::Arm => "arm",
        Cpu::Ppc => "ppc",
        Cpu::Ppc64 => "ppc64",
        Cpu::Mips => "mips",
        Cpu::Mips64 => "mips64",
        Cpu::Unknown(RISCV) => "riscv32",
        Cpu::Unknown(RISCV64) => "riscv64",
        _ => return None,
    })
}
