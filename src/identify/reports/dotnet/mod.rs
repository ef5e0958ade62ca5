//! .NET's `*.crashreport.json`, which `createdump` writes beside a dump or, on request, instead of one.
//!
//! Form: dotnet/runtime, `src/coreclr/debug/createdump/crashreportwriter.cpp`, protocol version 1.0.0, as .NET 6 to 10 write it. Every
//! scalar is a string, numbers are hex. The writer escapes nothing, so a name with a quote breaks the document there. It has neither
//! the exception's message nor a process id.

mod frames;

use self::frames::Entries;
use super::super::read_at::Source;
use super::super::signal;
use super::json::{self, List, Object, Slot};
use super::{id, machine, shown, version};
use crate::model::{Exception, Facts, Format, Process, Runtime};

/// `ExceptionType` and the signal it stands for. The first is a managed exception: the runtime then ends itself by `abort()`, has
/// handed `createdump` the number 6, and the dump beside the report says so as well. 0 is any other signal.
const SIGNALS: [(u64, i32); 8] = [
    (0x0500_0000, 6),
    (0x3000_0000, 6),
    (0x2000_0000, 11),
    (0x5000_0000, 4),
    (0x6000_0000, 7),
    (0x7000_0000, 8),
    (0x0300_0000, 5),
    (0x0200_0000, 15),
];

/// Reads the facts of a crash report.
pub(in super::super) fn read(source: &Source<'_>) -> Facts {
    let mut report = Report::default();
    let ending = json::read(source, &mut report);
    let mut facts = Facts::of(Format::DotnetCrashReport);
    ending.tell(&mut facts);
    report.tell(&mut facts);
    facts
}

#[derive(Default)]
struct Report {
    payload: Payload,
    parameters: Parameters,
}

impl Object for Report {
    fn member(&mut self, name: &str) -> Slot<'_> {
        match name {
            "payload" => Slot::Object(&mut self.payload),
            "parameters" => Slot::Object(&mut self.parameters),
            _ => Slot::Skip,
        }
    }
}

#[derive(Default)]
struct Payload {
    protocol_version: Option<String>,
    configuration: Configuration,
    process_name: Option<String>,
    threads: Threads,
}

impl Object for Payload {
    fn member(&mut self, name: &str) -> Slot<'_> {
        match name {
            "protocol_version" => Slot::Text(&mut self.protocol_version),
            "configuration" => Slot::Object(&mut self.configuration),
            "process_name" => Slot::Text(&mut self.process_name),
            "threads" => {
                self.threads = Threads::default();
                Slot::List(&mut self.threads)
            }
            _ => Slot::Skip,
        }
    }
}

#[derive(Default)]
struct Configuration {
    architecture: Option<String>,
    version: Option<String>,
}

impl Object for Configuration {
    fn member(&mut self, name: &str) -> Slot<'_> {
        match name {
            "architecture" => Slot::Text(&mut self.architecture),
            "version" => Slot::Text(&mut self.version),
            _ => Slot::Skip,
        }
    }
}

#[derive(Default)]
struct Parameters {
    exception_type: Option<String>,
}

impl Object for Parameters {
    fn member(&mut self, name: &str) -> Slot<'_> {
        match name {
            "ExceptionType" => Slot::Text(&mut self.exception_type),
            _ => Slot::Skip,
        }
    }
}

/// All threads pass through here; the one that crashed stays.
#[derive(Default)]
struct Threads {
    count: u32,
    /// The array was read to its end: half a count would look like a whole one.
    whole: bool,
    current: Thread,
    crashed: Option<Thread>,
}

impl Threads {
    fn settle(&mut self) {
        let thread = std::mem::take(&mut self.current);
        if thread.crashed.as_deref() == Some("true") && self.crashed.is_none() {
            self.crashed = Some(thread);
        }
    }
}

impl List for Threads {
    fn element(&mut self) -> Slot<'_> {
        self.settle();
        self.count = self.count.saturating_add(1);
        Slot::Object(&mut self.current)
    }

    fn end(&mut self) {
        self.whole = true;
    }
}

#[derive(Default)]
struct Thread {
    crashed: Option<String>,
    exception: Option<String>,
    native_id: Option<String>,
    entries: Entries,
}

impl Object for Thread {
    fn member(&mut self, name: &str) -> Slot<'_> {
        match name {
            "crashed" => Slot::Text(&mut self.crashed),
            "managed_exception_type" => Slot::Text(&mut self.exception),
            "native_thread_id" => Slot::Text(&mut self.native_id),
            "stack_frames" => {
                self.entries = Entries::default();
                Slot::List(&mut self.entries)
            }
            _ => Slot::Skip,
        }
    }
}

impl Report {
    fn tell(mut self, facts: &mut Facts) {
        self.payload.threads.settle();
        let Payload {
            protocol_version,
            configuration,
            process_name,
            threads,
        } = self.payload;
        let crashed = threads.crashed.unwrap_or_default();
        let process = Process {
            crashing_tid: crashed.native_id.as_deref().and_then(number).and_then(id),
            exe: process_name.as_deref().and_then(shown),
            threads: Some(threads.count).filter(|count| threads.whole && *count > 0),
            ..Process::default()
        };
        facts.process = (process != Process::default()).then_some(process);
        facts.runtime = Some(Runtime {
            name: Some(".NET".into()),
            // `8.0.1525.16413 @Commit: 50c4cb9…`, the version of libcoreclr.so's file, of which 8.0.15 is the runtime's.
            version: configuration
                .version
                .and_then(|text| version(text.split_whitespace().next()?)),
            arch: configuration
                .architecture
                .and_then(|name| machine(&name))
                .map(str::to_owned),
            libc: None,
        });
        let exception = Exception {
            kind: crashed.exception.as_deref().and_then(shown),
            stack: crashed.entries.into_lines(),
        };
        facts.exception = (exception != Exception::default()).then_some(exception);
        let exception_type = self.parameters.exception_type.as_deref().and_then(number);
        facts.signal = SIGNALS
            .iter()
            .find(|(known, _)| Some(*known) == exception_type)
            .and_then(|(_, signal)| signal::of(*signal));
        facts.producer = Some("createdump".into());
        facts.format_version = protocol_version.and_then(|text| version(&text));
    }
}

/// `0x1f5b`, as the writer has all numbers.
fn number(text: &str) -> Option<u64> {
    u64::from_str_radix(text.strip_prefix("0x")?, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::super::samples::DOTNET;
    use super::*;
    use crate::model::Completeness;

    fn facts(text: &str) -> Facts {
        let bytes = text.as_bytes().to_vec();
        read(&Source::new(&bytes, bytes.len() as u64))
    }

    /// A report with one thread that crashed and this stack.
    fn with_frames(frames: &str) -> Vec<String> {
        let text = format!(
            r#"{{"payload":{{"protocol_version":"1.0.0","threads":[{{"crashed":"true","stack_frames":[{frames}]}}]}}}}"#
        );
        let facts = facts(&text);
        assert_eq!(facts.completeness, Completeness::Complete, "{frames}");
        facts.exception.map(|e| e.stack).unwrap_or_default()
    }

    #[test]
    fn a_report_says_what_was_thrown_where_and_by_whom() {
        let facts = facts(DOTNET);
        let exception = facts.exception.expect("thrown");
        assert_eq!(
            exception.kind.as_deref(),
            Some("System.StackOverflowException")
        );
        assert_eq!(
            exception.stack,
            [
                "modes.dll!Program.Deeper(Int32)",
                "modes.dll!Program.Deeper(Int32)",
                "... repeated 8027 times",
                "0x7f88ed29ff27",
                "libcoreclr.so+0x2d7db6",
                "libc.so.6!wait4",
            ]
        );
        let process = facts.process.expect("known");
        assert_eq!(process.pid, None, "the report has none");
        assert_eq!(process.crashing_tid, Some(0x2698));
        assert_eq!(process.threads, Some(2));
        assert_eq!(process.exe.as_deref(), Some("modes.dll"));
        let runtime = facts.runtime.expect("known");
        assert_eq!(runtime.name.as_deref(), Some(".NET"));
        assert_eq!(runtime.version.as_deref(), Some("8.0.1525.16413"));
        assert_eq!(runtime.arch.as_deref(), Some("x86_64"));
        assert_eq!(facts.format_version.as_deref(), Some("1.0.0"));
        assert_eq!(facts.producer.as_deref(), Some("createdump"));
        assert_eq!(facts.signal.map(|s| s.number), Some(6));
    }

    #[test]
    fn the_type_of_the_exception_is_a_signal() {
        for (written, name) in [
            ("\"0x05000000\"", Some("SIGABRT")),
            ("\"0x30000000\"", Some("SIGABRT")),
            ("\"0x20000000\"", Some("SIGSEGV")),
            ("\"0x50000000\"", Some("SIGILL")),
            ("\"0x60000000\"", Some("SIGBUS")),
            ("\"0x70000000\"", Some("SIGFPE")),
            ("\"0x03000000\"", Some("SIGTRAP")),
            ("\"0x02000000\"", Some("SIGTERM")),
            ("\"0x00000000\"", None),
            ("\"0x12345678\"", None),
            ("\"0xffffffffffffffffff\"", None),
            ("\"5000000\"", None),
            ("536870912", None),
            ("null", None),
        ] {
            let text = format!(r#"{{"payload":{{}},"parameters":{{"ExceptionType":{written}}}}}"#);
            let found = facts(&text).signal.map(|signal| signal.name);
            assert_eq!(found.as_deref(), name, "{written}");
        }
    }

    #[test]
    fn a_frame_is_named_as_well_as_it_can_be() {
        for (frame, expected) in [
            (
                r#"{"method_name":"A.B()","filename":"a.dll"}"#,
                "a.dll!A.B()",
            ),
            (
                r#"{"method_name":"DynamicClass.lambda()"}"#,
                "DynamicClass.lambda()",
            ),
            (
                r#"{"filename":"a.dll","token":"0x6000007","native_image_offset":"0xff"}"#,
                "a.dll!0x6000007",
            ),
            (
                r#"{"native_module":"libc.so.6","unmanaged_name":"wait4","native_image_offset":"0xd3c17"}"#,
                "libc.so.6!wait4",
            ),
            (
                r#"{"native_module":"libc.so.6","native_image_offset":"0xd3c17"}"#,
                "libc.so.6+0xd3c17",
            ),
            (r#"{"native_module":"libc.so.6"}"#, "libc.so.6"),
            (r#"{"native_address":"0x7f00"}"#, "0x7f00"),
            ("{}", "??"),
            (r#"{"method_name":"A\u001b[2J"}"#, r"A\u{1b}[2J"),
        ] {
            assert_eq!(with_frames(frame), [expected], "{frame}");
        }
    }

    #[test]
    fn a_repeated_group_stands_once() {
        let group = r#"{"repeated":"0x3e8","repeated_frames":[{"method_name":"A()"},{"method_name":"B()"}]}"#;
        assert_eq!(
            with_frames(&format!(
                r#"{{"method_name":"Top()"}},{group},{{"method_name":"Main()"}}"#
            )),
            [
                "Top()",
                "A()",
                "B()",
                "... 2 frames repeated 1000 times",
                "Main()"
            ]
        );
        for (group, expected) in [
            (r#"{"repeated":"0x2","repeated_frames":[]}"#, &[][..]),
            (r#"{"repeated_frames":[{"method_name":"A()"}]}"#, &["A()"]),
            (
                r#"{"repeated":"often","repeated_frames":[{"method_name":"A()"}]}"#,
                &["A()"],
            ),
            (
                r#"{"repeated_frames":[{"method_name":"A()","repeated_frames":[{"method_name":"B()"}]}],"repeated":"0x2"}"#,
                &["A()", "... repeated 2 times"],
            ),
        ] {
            assert_eq!(with_frames(group), expected, "{group}");
        }
    }

    #[test]
    fn a_stack_and_threads_without_end_are_bounded() {
        let frames = vec![r#"{"method_name":"A()"}"#; 5_000].join(",");
        let stack = with_frames(&frames);
        assert_eq!(stack.len(), 101);
        assert_eq!(stack[100], "... 4900 more");
        let threads =
            vec![r#"{"crashed":"true","native_thread_id":"0x7","stack_frames":[{}]}"#; 20_000];
        let facts = facts(&format!(
            r#"{{"payload":{{"threads":[{}]}}}}"#,
            threads.join(",")
        ));
        let process = facts.process.expect("known");
        assert_eq!(process.threads, Some(20_000));
        assert_eq!(process.crashing_tid, Some(7));
    }

    #[test]
    fn a_name_that_breaks_the_document_costs_what_comes_after_it() {
        let text = DOTNET.replace("Program.Deeper(Int32)", "Program.\"Deeper\"(Int32)");
        let facts = facts(&text);
        assert_eq!(facts.completeness, Completeness::Unknown);
        assert_eq!(facts.unread.len(), 1, "{:?}", facts.unread);
        assert!(
            facts.unread[0].starts_with("JSON: not valid at line 54, column "),
            "{:?}",
            facts.unread
        );
        assert_eq!(
            facts.exception.expect("it came before").kind.as_deref(),
            Some("System.StackOverflowException")
        );
        let process = facts.process.expect("it came before");
        assert_eq!(
            (process.crashing_tid, process.threads),
            (Some(0x2698), None)
        );
    }

    #[test]
    fn members_of_other_types_are_no_facts() {
        let strange = r#"{"payload":{"protocol_version":["1"],"configuration":"x","process_name":{"a":1},
            "threads":{"crashed":"true"}},"parameters":[1],"payload2":{"process_name":"x"}}"#;
        let facts = facts(strange);
        assert_eq!(facts.completeness, Completeness::Complete);
        assert_eq!(
            (facts.process, facts.exception, facts.signal),
            (None, None, None)
        );
        assert_eq!(facts.format_version, None);
    }

    #[test]
    fn a_report_on_demand_has_no_thread_that_crashed() {
        let facts = facts(
            r#"{"payload":{"threads":[{"crashed":"false","native_thread_id":"0x7","stack_frames":[{}]}]},"parameters":{}}"#,
        );
        let process = facts.process.expect("it has threads");
        assert_eq!((process.threads, process.crashing_tid), (Some(1), None));
        assert_eq!((facts.exception, facts.signal), (None, None));
    }
}
