//! The JVM's fatal error log, `hs_err_pid*.log`.
//!
//! Form: openjdk/jdk, `src/hotspot/share/utilities/vmError.cpp`, `VMError::report`; compared with logs of JDK 11, 17, 21 and 25, and with
//! the source of JDK 8, which has the time at the end and no end mark. Sections follow each other:
//!
//! ```text
//! #                                what happened, process, thread, version, the frame it happened in
//! S U M M A R Y                    command line (never read), time
//! T H R E A D                      thread, its native and its Java frames, siginfo, registers, memory
//! P R O C E S S, S Y S T E M       not read; they end with END.
//! ```

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;

use super::super::read_at::{Source, Unread};
use super::super::signal;
use super::stack::Stack;
use super::{id, lines, machine, shown, version};
use crate::model::{
    Completeness, Exception, Facts, Format, Occasion, Process, Runtime, SignalInfo,
};

/// Most bytes read from the beginning. What is read of an honest log are the 10 KiB before the processes; a command line with a
/// class path of thousands of archives stands among them.
const HEAD: u64 = 1 << 20;

/// Bytes read from the end, where the mark of completeness is.
const TAIL: u64 = 1 << 10;

/// Most frames of each kind held; the JVM itself stops at 100.
const MAX_FRAMES: usize = 128;

/// Reads the facts of a fatal error log.
pub(in super::super) fn read(source: &Source<'_>) -> Facts {
    let mut facts = Facts::of(Format::HsErr);
    let mut log = Log::default();
    let head = lines::each(source, HEAD, |line| {
        log.line(&String::from_utf8_lossy(line));
        log.section != Section::After
    });
    if let Err(why) = head {
        facts.unread.push(format!("log: {why}"));
    }
    match end(source, &mut log) {
        Ok(completeness) => facts.completeness = completeness,
        Err(why) => facts.unread.push(format!("end of the log: {why}")),
    }
    log.tell(&mut facts);
    facts
}

/// Whether the last line is the one that the JVM writes last: `END.`, on JDK 8 and older the time that it ran.
fn end(source: &Source<'_>, log: &mut Log) -> Result<Completeness, Unread> {
    let from = source.len().saturating_sub(TAIL);
    let mut tail = vec![0; usize::try_from(source.len() - from).unwrap_or(0)];
    source.exact(from, &mut tail)?;
    let tail = String::from_utf8_lossy(&tail);
    let old = log.version.as_deref().is_some_and(|version| {
        ["8", "7", "6", "1"].contains(&version.split(['.', 'u']).next().unwrap_or_default())
    });
    let mut lines = tail.trim_end().lines().rev();
    let last = lines.next().unwrap_or_default();
    let ran = old && last.starts_with("elapsed time: ") && last.ends_with(')');
    if ran {
        log.time_at_end(lines);
    }
    Ok(if last == "END." || ran {
        Completeness::Complete
    } else {
        Completeness::Truncated { expected: None }
    })
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Section {
    /// The lines that begin with `#`.
    #[default]
    Head,
    /// The frame that the head names is on this line.
    Problem,
    Other,
    Native,
    Java,
    /// What is read is behind.
    After,
}

#[derive(Default)]
struct Log {
    section: Section,
    signal: Option<u64>,
    code: Option<i32>,
    address: Option<u64>,
    event: Option<String>,
    pid: Option<i32>,
    tid: Option<i32>,
    /// Of the current thread, which JDK 8 names rightly there alone.
    current: Option<i32>,
    version: Option<String>,
    machine: Option<&'static str>,
    problem: Option<String>,
    native: Vec<String>,
    java: Vec<String>,
    written: Option<Timestamp>,
}

impl Log {
    fn line(&mut self, line: &str) {
        match self.section {
            Section::Head | Section::Problem => match line.strip_prefix('#') {
                Some(text) => self.head(text.trim()),
                None => self.section = Section::Other,
            },
            Section::Native | Section::Java => {
                let frames = match self.section {
                    Section::Java => &mut self.java,
                    _ => &mut self.native,
                };
                if line.trim().is_empty() {
                    self.section = Section::Other;
                } else if is_frame(line) && frames.len() < MAX_FRAMES {
                    frames.push(line.to_owned());
                }
            }
            Section::Other => self.other(line),
            Section::After => {}
        }
    }

    fn head(&mut self, text: &str) {
        if self.section == Section::Problem {
            self.section = Section::Head;
            self.problem = is_frame(text).then(|| text.to_owned());
        } else if text == "Problematic frame:" {
            self.section = Section::Problem;
        } else if let Some((what, ids)) = text.split_once(", pid=") {
            self.what(what);
            self.pid = digits(ids).and_then(id);
            self.tid = ids
                .split_once(", tid=")
                .and_then(|(_, tid)| digits(tid).and_then(id));
        } else if let Some(kind) = text.strip_prefix("fatal error: OutOfMemory encountered: ") {
            // Its kinds are a handful of the JVM's own texts. Other details of an internal error may quote anything.
            self.event = shown(&format!("OutOfMemory encountered: {kind}"));
        } else if let Some(text) = text.strip_prefix("JRE version:") {
            // `OpenJDK Runtime Environment Temurin-21.0.2+13 (21.0.2+13) (build 21.0.2+13-LTS)`; early in its life the JVM has no name yet.
            self.version = text
                .split_once('(')
                .and_then(|(_, rest)| version(rest.split_once(')')?.0));
        } else if let Some(text) = text.strip_prefix("Java VM:") {
            // `OpenJDK 64-Bit Server VM (17.0.15+6, mixed mode, …, g1 gc, linux-amd64)`
            let platform = text
                .split([',', ' ', ')'])
                .find_map(|word| word.strip_prefix("linux-"));
            self.machine = platform.and_then(machine);
        }
    }

    /// `SIGSEGV (0xb) at pc=0x00007fdf57ad2f94`, `Internal Error (debug.cpp:362)`, `Out of Memory Error (os_linux.cpp:2832)`.
    fn what(&mut self, text: &str) {
        let Some((name, rest)) = text.split_once(" (") else {
            return;
        };
        let Some((place, _)) = rest.split_once(')') else {
            return;
        };
        if name.starts_with("SIG") {
            self.signal = hex(place);
        } else if matches!(name, "Internal Error" | "Out of Memory Error") {
            self.event = shown(&format!("{name} ({place})"));
        }
    }

    fn other(&mut self, line: &str) {
        if line.starts_with("Native frames:") {
            self.section = Section::Native;
        } else if line.starts_with("Java frames:") {
            self.section = Section::Java;
        } else if line.starts_with("---------------  P R O C E S S") {
            self.section = Section::After;
        } else if line.starts_with("Current thread (") {
            // The name comes before, and may be anything.
            self.current = line
                .rsplit_once("id=")
                .and_then(|(_, rest)| digits(rest).and_then(id));
        } else if let Some(info) = line.strip_prefix("siginfo:") {
            self.siginfo(info);
        } else if let Some(time) = line.strip_prefix("Time: ") {
            let time = time.split(" elapsed time").next().unwrap_or_default();
            self.written = time
                .rsplit_once(' ')
                .and_then(|(time, zone)| utc(time, zone));
        }
    }

    /// `si_signo: 11 (SIGSEGV), si_code: 1 (SEGV_MAPERR), si_addr: 0x0000000000000010`
    fn siginfo(&mut self, info: &str) {
        for field in info.split(", ") {
            let Some((name, value)) = field.trim().split_once(": ") else {
                continue;
            };
            let value = value.split(' ').next().unwrap_or_default();
            match name {
                "si_code" => self.code = value.parse().ok(),
                "si_addr" => self.address = hex(value),
                _ => {}
            }
        }
    }

    /// JDK 8: `time: Thu Jun 14 11:48:49 2018`, then from 8u60 on `timezone: UTC`; without it nobody knows whose time it is.
    fn time_at_end<'a>(&mut self, mut lines: impl Iterator<Item = &'a str>) {
        let zone = lines
            .next()
            .and_then(|line| line.strip_prefix("timezone: "));
        let time = lines.next().and_then(|line| line.strip_prefix("time: "));
        self.written = zone.zip(time).and_then(|(zone, time)| utc(time, zone));
    }

    fn tell(self, facts: &mut Facts) {
        let process = Process {
            pid: self.pid,
            crashing_tid: self.tid.or(self.current),
            ..Process::default()
        };
        facts.process = (process != Process::default()).then_some(process);
        facts.signal = self.signal();
        facts.runtime = Some(Runtime {
            name: Some("JVM".into()),
            version: self.version.clone(),
            arch: self.machine.map(str::to_owned),
            libc: None,
        });
        facts.occasion = self.event.clone().map(|event| Occasion {
            event: Some(event),
            trigger: None,
        });
        facts.written = self.written;
        let stack = self.stack();
        // Nothing was thrown: the signal stays the reason.
        facts.exception = (!stack.is_empty()).then_some(Exception { kind: None, stack });
    }

    fn signal(&self) -> Option<SignalInfo> {
        let number = i32::try_from(self.signal?).ok()?;
        match self.code {
            Some(code) => signal::with_code(number, code, self.address.unwrap_or(0)),
            None => signal::of(number),
        }
    }

    /// The frame in which it happened, then the native frames. Those have the Java frames among them where the JVM could walk over
    /// them; where it could not, the Java frames follow.
    fn stack(self) -> Vec<String> {
        let mut stack = Stack::default();
        let walked = self
            .native
            .iter()
            .any(|frame| frame.starts_with(['j', 'J', 'A']));
        let first = self.native.first();
        let problem = self.problem.as_ref().filter(|frame| first != Some(*frame));
        let java = self.java.iter().filter(|_| !walked);
        for frame in problem.into_iter().chain(&self.native).chain(java) {
            stack.push(frame);
        }
        stack.into_lines()
    }
}

/// Whether the line is a frame: a letter for its kind, two blanks, and what it is. `J 1234 c2 …` has one blank.
fn is_frame(line: &str) -> bool {
    let mut letters = line.chars();
    letters.next().is_some_and(|kind| "JAjVvC".contains(kind)) && letters.next() == Some(' ')
}

fn digits(text: &str) -> Option<u64> {
    let end = text.find(|c: char| !c.is_ascii_digit());
    text[..end.unwrap_or(text.len())].parse().ok()
}

fn hex(text: &str) -> Option<u64> {
    u64::from_str_radix(text.strip_prefix("0x")?, 16).ok()
}

/// `Sat Nov 21 09:43:19 2026`, if the zone says that it is UTC: the names of other zones stand for several.
fn utc(time: &str, zone: &str) -> Option<Timestamp> {
    if !matches!(zone, "UTC" | "GMT") {
        return None;
    }
    let time = DateTime::strptime("%a %b %e %H:%M:%S %Y", time).ok()?;
    Some(time.to_zoned(TimeZone::UTC).ok()?.timestamp())
}

#[cfg(test)]
mod tests {
    use super::super::samples::HS_ERR;
    use super::*;

    fn facts(text: &str) -> Facts {
        let bytes = text.as_bytes().to_vec();
        read(&Source::new(&bytes, bytes.len() as u64))
    }

    /// As the source of JDK 8 writes it; built by hand.
    const JDK_8: &str = "#\n# A fatal error has been detected by the Java Runtime Environment:\n#\n\
        #  SIGBUS (0x7) at pc=0x00007f2dd4c5cf14, pid=1, tid=0x00007f2dd5d4c700\n#\n\
        # JRE version: OpenJDK Runtime Environment (8.0_292-b10) (build 1.8.0_292-b10)\n\
        # Java VM: OpenJDK 64-Bit Server VM (25.292-b10 mixed mode linux-aarch64 compressed oops)\n\
        # Problematic frame:\n# C  [libzip.so+0x4350]  newEntry+0x340\n#\n\n\
        ---------------  T H R E A D  ---------------\n\n\
        Current thread (0x00007f2dcc00b800):  JavaThread \"main\" [_thread_in_native, id=17, stack(0x1,0x2)]\n\n\
        siginfo: si_signo: 7 (SIGBUS), si_code: 2 (BUS_ADRERR), si_addr: 0x00007f2dd5d2a000\n\n\
        Stack: [0x1,0x2],  sp=0x1,  free space=1016k\n\
        Native frames: (J=compiled Java code, j=interpreted, Vv=VM code, C=native code)\n\
        C  [libzip.so+0x4350]  newEntry+0x340\n\n\
        Java frames: (J=compiled Java code, j=interpreted, Vv=VM code)\n\
        J 243  java.util.zip.ZipFile.getEntry(J[BZ)J (0 bytes) @ 0x00007f2dbd0f8c4e [0x00007f2dbd0f8b80+0xce]\n\
        j  Main.main([Ljava/lang/String;)V+7\n\n\
        ---------------  P R O C E S S  ---------------\n\n\
        vm_info: OpenJDK 64-Bit Server VM (25.292-b10) for linux-aarch64 JRE (1.8.0_292-b10)\n\n\
        time: Thu Jun 14 11:48:49 2018\ntimezone: UTC\nelapsed time: 1 seconds (0d 0h 0m 1s)\n\n";

    #[test]
    fn a_log_says_which_signal_came_where_and_in_what_thread() {
        let facts = facts(HS_ERR);
        let signal = facts.signal.expect("it took one");
        assert_eq!((signal.number, signal.code), (11, Some(1)));
        assert_eq!(signal.name, "SIGSEGV");
        assert_eq!(signal.address.as_deref(), Some("0x10"));
        let process = facts.process.expect("known");
        assert_eq!(
            (process.pid, process.crashing_tid),
            (Some(9_635), Some(9_654))
        );
        let runtime = facts.runtime.expect("known");
        assert_eq!(runtime.name.as_deref(), Some("JVM"));
        assert_eq!(runtime.version.as_deref(), Some("17.0.15+6"));
        assert_eq!(runtime.arch.as_deref(), Some("x86_64"));
        let exception = facts.exception.expect("a stack");
        assert_eq!(exception.kind, None, "nothing was thrown");
        assert_eq!(
            exception.stack,
            [
                "V  [libjvm.so+0xed2f94]  Unsafe_PutLong+0x124",
                "j  jdk.internal.misc.Unsafe.putLong(Ljava/lang/Object;JJ)V+0 java.base@17.0.15",
                "j  Crash.poke(Lsun/misc/Unsafe;)V+5",
                "v  ~StubRoutines::call_stub",
                "V  [libjvm.so+0xc2c5e3]  thread_native_entry(Thread*)+0xe3",
            ]
        );
        assert_eq!(
            facts.written.map(|time| time.to_string()).as_deref(),
            Some("2026-11-21T09:43:19Z")
        );
        assert_eq!(facts.occasion, None);
    }

    #[test]
    fn a_log_of_jdk_8_has_its_thread_and_its_time_elsewhere() {
        let whole = facts(JDK_8);
        assert_eq!(whole.completeness, Completeness::Complete);
        let process = whole.process.expect("known");
        assert_eq!((process.pid, process.crashing_tid), (Some(1), Some(17)));
        let runtime = whole.runtime.expect("known");
        assert_eq!(runtime.version.as_deref(), Some("8.0_292-b10"));
        assert_eq!(runtime.arch.as_deref(), Some("aarch64"));
        let signal = whole.signal.expect("it took one");
        assert_eq!((signal.number, signal.code), (7, Some(2)));
        assert_eq!(signal.address.as_deref(), Some("0x7f2dd5d2a000"));
        let stack = whole.exception.expect("a stack").stack;
        assert_eq!(stack.len(), 3, "the Java frames follow: {stack:?}");
        assert_eq!(stack[0], "C  [libzip.so+0x4350]  newEntry+0x340");
        assert!(stack[1].starts_with("J 243  java.util.zip.ZipFile.getEntry"));
        assert_eq!(
            whole.written.map(|time| time.to_string()).as_deref(),
            Some("2018-06-14T11:48:49Z")
        );
        for cut in 0..JDK_8.trim_end().len() {
            let part = facts(&JDK_8[..cut]);
            assert_eq!(
                part.completeness,
                Completeness::Truncated { expected: None },
                "cut at {cut}"
            );
        }
        let other = facts(&JDK_8.replace("timezone: UTC", "timezone: CEST"));
        assert_eq!(
            (other.completeness, other.written),
            (Completeness::Complete, None)
        );
        let without = facts(&JDK_8.replace("timezone: UTC\n", ""));
        assert_eq!(
            (without.completeness, without.written),
            (Completeness::Complete, None)
        );
        // Later versions write another line there, and their mark after it.
        let later = facts(&JDK_8.replace("(8.0_292-b10)", "(18.0.1+10)"));
        assert_ne!(later.completeness, Completeness::Complete);
    }

    #[test]
    fn an_internal_error_and_the_end_of_memory_are_events() {
        for (what, detail, event) in [
            (
                "Internal Error (debug.cpp:362)",
                "fatal error: OutOfMemory encountered: Java heap space",
                "OutOfMemory encountered: Java heap space",
            ),
            (
                "Internal Error (0x99)",
                "Error: ShouldNotReachHere()",
                "Internal Error (0x99)",
            ),
            (
                "Internal Error (codeCache.cpp:12)",
                "guarantee(hunter2) failed: hunter2",
                "Internal Error (codeCache.cpp:12)",
            ),
            (
                "Out of Memory Error (os_linux.cpp:2832)",
                "",
                "Out of Memory Error (os_linux.cpp:2832)",
            ),
        ] {
            let text = format!(
                "#\n# There is insufficient memory for the Java Runtime Environment to continue.\n#\n#  {what}, pid=7, tid=8\n#  {detail}\n#\n# JRE version:  (17.0.15+6) (build )\n\nNative frames: (x)\nV  [libjvm.so+0x1]\n\nEND.\n"
            );
            let facts = facts(&text);
            assert_eq!(facts.completeness, Completeness::Complete);
            assert_eq!(facts.occasion.expect("known").event.as_deref(), Some(event));
            assert_eq!(facts.signal, None);
            let process = facts.process.expect("known");
            assert_eq!((process.pid, process.crashing_tid), (Some(7), Some(8)));
            assert_eq!(
                facts.runtime.expect("known").version.as_deref(),
                Some("17.0.15+6")
            );
            assert_eq!(
                facts.exception.expect("a stack").stack,
                ["V  [libjvm.so+0x1]"]
            );
        }
    }

    #[test]
    fn a_signal_that_was_sent_has_no_address() {
        let sent = HS_ERR
            .replace(
                "pc=0x00007f9a8b4d2f94,",
                "pc=0x00007f9a8b4d2f94 (sent by kill),",
            )
            .replace(
                "si_code: 1 (SEGV_MAPERR), si_addr: 0x0000000000000010",
                "si_code: 0 (SI_USER), si_pid: 9678, si_uid: 0",
            );
        let signal = facts(&sent).signal.expect("it took one");
        assert_eq!(
            (signal.number, signal.code, signal.address),
            (11, Some(0), None)
        );
        let without = HS_ERR.replace("siginfo:", "no info:");
        let signal = facts(&without).signal.expect("the head has it");
        assert_eq!(
            (signal.number, signal.code, signal.address),
            (11, None, None)
        );
        let strange = HS_ERR.replace("SIGSEGV (0xb)", "SIGNONE (0x1000b)");
        assert_eq!(facts(&strange).signal, None);
    }

    #[test]
    fn what_a_process_may_choose_is_not_taken_for_the_log() {
        // A command line of several lines, one of which looks like the head.
        let forged = HS_ERR.replace(
            "-Dpassword=hunter2 Crash",
            "-Da=\n#  SIGBUS (0x7) at pc=0x0, pid=1, tid=1\n# Problematic frame:\n# C  hunter2\nTime: hunter2\nsiginfo: hunter2",
        );
        let whole = facts(HS_ERR);
        let found = facts(&forged);
        assert_eq!(found.process, whole.process);
        assert_eq!(found.exception, whole.exception);
        assert_eq!(found.written, whole.written);
        assert_eq!(found.signal, whole.signal);
    }

    #[test]
    fn a_log_without_end_is_bounded() {
        let frames = "V  [libjvm.so+0x1]  f\n".repeat(100_000);
        let text = HS_ERR.replace("v  ~StubRoutines::call_stub\n", &frames);
        let found = facts(&text);
        assert_eq!(found.completeness, Completeness::Complete);
        assert_eq!(found.exception.expect("a stack").stack.len(), 101);
        // The end tells of completeness, however much is between.
        let line = format!("Command Line: {}\n", "x".repeat(2 << 20));
        let found = facts(&HS_ERR.replace("Host:", &line));
        assert_eq!(found.completeness, Completeness::Complete);
        assert_eq!(found.written, None);
        assert_eq!(found.process.and_then(|p| p.pid), Some(9_635));
    }

    #[test]
    fn a_time_is_taken_only_where_its_zone_is_known() {
        for (time, known) in [
            ("Sun Nov  1 00:00:00 2026 UTC", true),
            ("Sun Nov  1 00:00:00 2026 GMT", true),
            ("Sun Nov  1 00:00:00 2026 CET", false),
            ("Sun Nov  1 00:00:00 2026", false),
            ("Sun Nov 31 00:00:00 2026 UTC", false),
            ("UTC", false),
            ("", false),
        ] {
            let text = HS_ERR.replace("Sat Nov 21 09:43:19 2026 UTC", time);
            assert_eq!(facts(&text).written.is_some(), known, "{time:?}");
        }
    }
}
