//! Node.js diagnostic reports (`process.report`), versions 1 to 5 and what follows them.
//!
//! Form: nodejs/node, `src/node_report.cc` and `doc/api/report.md`. A report holds the command line, every environment variable and the
//! exception's message, all in plain text; of those nothing is taken. The message hides in three places:
//!
//! - `header.event`, on Node 12 to 18, for an uncaught exception;
//! - `javascriptStack.message`, after the class: `TypeError: …`;
//! - `javascriptStack.stack`, where a message of several lines goes on, and where the line of source that threw stands first. So
//!   only lines that have a frame's form are frames.

use jiff::Timestamp;

use super::super::host_name::dns_name;
use super::super::read_at::Source;
use super::json::{self, List, Object, Slot};
use super::stack::Stack;
use super::v8::{class_of, frame};
use super::{id, machine, version};
use crate::model::{Exception, Facts, Format, Occasion, Process, Reason, Runtime};

/// The texts that Node itself gives `event`. Every other is the message of an exception or of a native add-on's fatal error.
const EVENTS: [&str; 5] = [
    "JavaScript API",
    "Exception",
    "exception",
    "Allocation failed - JavaScript heap out of memory",
    "Allocation failed - process out of memory",
];

/// Reads the facts of a diagnostic report.
pub(in super::super) fn read(source: &Source<'_>) -> Facts {
    let mut report = Report::default();
    let ending = json::read(source, &mut report);
    let mut facts = Facts::of(Format::NodeReport);
    ending.tell(&mut facts);
    report.tell(&mut facts);
    facts
}

#[derive(Default)]
struct Report {
    header: Header,
    stack: JavaScriptStack,
}

impl Object for Report {
    fn member(&mut self, name: &str) -> Slot<'_> {
        match name {
            "header" => Slot::Object(&mut self.header),
            "javascriptStack" => Slot::Object(&mut self.stack),
            _ => Slot::Skip,
        }
    }
}

/// `threadId` is left out: it numbers Node's workers and is no thread of the kernel's. So is `dumpEventTime`, which is local time
/// that calls itself UTC.
#[derive(Default)]
struct Header {
    report_version: Option<String>,
    event: Option<String>,
    trigger: Option<String>,
    written: Option<String>,
    pid: Option<String>,
    node_version: Option<String>,
    glibc: Option<String>,
    arch: Option<String>,
    host: Option<String>,
}

impl Object for Header {
    fn member(&mut self, name: &str) -> Slot<'_> {
        Slot::Text(match name {
            "reportVersion" => &mut self.report_version,
            "event" => &mut self.event,
            "trigger" => &mut self.trigger,
            "dumpEventTimeStamp" => &mut self.written,
            "processId" => &mut self.pid,
            "nodejsVersion" => &mut self.node_version,
            "glibcVersionRuntime" => &mut self.glibc,
            "arch" => &mut self.arch,
            "host" => &mut self.host,
            _ => return Slot::Skip,
        })
    }
}

#[derive(Default)]
struct JavaScriptStack {
    message: Option<String>,
    lines: Lines,
}

impl Object for JavaScriptStack {
    fn member(&mut self, name: &str) -> Slot<'_> {
        match name {
            "message" => Slot::Text(&mut self.message),
            "stack" => {
                self.lines = Lines {
                    begun: true,
                    ..Lines::default()
                };
                Slot::List(&mut self.lines)
            }
            _ => Slot::Skip,
        }
    }
}

impl JavaScriptStack {
    /// The class of what was thrown. Node puts the place and the line of source before the stack of most uncaught exceptions:
    ///
    /// ```text
    /// message  /app/order.js:7
    /// stack    throw new TypeError('order 4711 was lost')
    ///          ^
    ///
    ///          TypeError: order 4711 was lost
    ///          at lose (/app/order.js:7:9)
    /// ```
    ///
    /// What is no `Error` has no stack, and its message is the thrown value itself.
    fn class(&self) -> Option<String> {
        if !self.lines.begun {
            return None;
        }
        class_of(self.message.as_deref()?)
            .map(str::to_owned)
            .or_else(|| self.lines.class.clone())
    }
}

/// The lines of the stack, of which the frames stay.
#[derive(Default)]
struct Lines {
    /// There is a stack.
    begun: bool,
    current: Option<String>,
    seen: u64,
    /// The last line was the mark under a line of source, or an empty one after it.
    marked: bool,
    class: Option<String>,
    frames: Stack,
}

impl Lines {
    fn settle(&mut self) {
        let Some(line) = self.current.take() else {
            return;
        };
        self.seen = self.seen.saturating_add(1);
        if let Some(frame) = frame(&line) {
            self.frames.push(&frame);
            self.marked = false;
        } else if self.seen == 2 && !line.is_empty() && line.bytes().all(|b| b == b'^') {
            self.marked = true;
        } else if self.marked && !line.is_empty() {
            self.class = class_of(&line).map(str::to_owned);
            self.marked = false;
        }
    }
}

impl List for Lines {
    fn element(&mut self) -> Slot<'_> {
        self.settle();
        Slot::Text(&mut self.current)
    }

    fn end(&mut self) {
        self.settle();
    }
}

impl Report {
    fn tell(mut self, facts: &mut Facts) {
        self.stack.lines.settle();
        let class = self.stack.class();
        let header = self.header;
        let process = Process {
            pid: header.pid.and_then(|pid| id(pid.parse().ok()?)),
            ..Process::default()
        };
        facts.process = (process != Process::default()).then_some(process);
        facts.runtime = Some(Runtime {
            name: Some("Node.js".into()),
            version: header
                .node_version
                .and_then(|text| version(text.strip_prefix('v')?)),
            arch: header
                .arch
                .and_then(|name| machine(&name))
                .map(str::to_owned),
            // Node asks the C library itself, and only glibc answers.
            libc: header.glibc.map(|_| "glibc".into()),
        });
        let trigger = header.trigger.filter(|trigger| {
            trigger.len() <= 32 && trigger.bytes().all(|b| b.is_ascii_alphabetic())
        });
        // A signal or the end of memory throws nothing; a report on demand may be about an exception, or about the call itself.
        let thrown = matches!(trigger.as_deref(), Some("Exception" | "API"));
        let exception = Exception {
            kind: class.filter(|class| thrown && !class.contains("[ERR_SYNTHETIC]")),
            stack: self.stack.lines.frames.into_lines(),
        };
        facts.exception = (exception != Exception::default()).then_some(exception);
        let event = header.event.filter(|event| {
            EVENTS.contains(&event.as_str()) || matches!(event.parse(), Ok(Reason::Signal(_)))
        });
        let occasion = Occasion { event, trigger };
        facts.occasion = (occasion != Occasion::default()).then_some(occasion);
        facts.format_version = header.report_version.and_then(|text| version(&text));
        facts.host_name = header.host.and_then(|name| dns_name(name.as_bytes()));
        facts.written = header
            .written
            .and_then(|text| Timestamp::from_millisecond(text.parse().ok()?).ok());
    }
}

#[cfg(test)]
mod tests {
    use super::super::samples::NODE;
    use super::*;

    fn facts(text: &str) -> Facts {
        let bytes = text.as_bytes().to_vec();
        read(&Source::new(&bytes, bytes.len() as u64))
    }

    fn occasion(event: &str, trigger: &str) -> (Option<String>, Option<String>) {
        let text = serde_json::json!({"header": {"event": event, "trigger": trigger}});
        let occasion = facts(&text.to_string()).occasion.unwrap_or_default();
        (occasion.event, occasion.trigger)
    }

    fn exception(trigger: &str, message: &str, stack: Option<&[&str]>) -> Exception {
        let mut text = serde_json::json!({
            "header": {"event": "x", "trigger": trigger},
            "javascriptStack": {"message": message},
        });
        if let Some(stack) = stack {
            text["javascriptStack"]["stack"] = serde_json::json!(stack);
        }
        facts(&text.to_string()).exception.unwrap_or_default()
    }

    #[test]
    fn a_report_says_what_was_thrown_where_and_by_whom() {
        let facts = facts(NODE);
        let exception = facts.exception.expect("thrown");
        assert_eq!(
            exception.kind.as_deref(),
            Some("TypeError [ERR_INVALID_ARG_TYPE]")
        );
        assert_eq!(
            exception.stack,
            [
                "lose (/app/order.js:7:9)",
                "async Promise.all (index 0)",
                "Array.map (<anonymous>)",
                "f (data:...",
                "Module._compile (node:internal/modules/cjs/loader:1521:14)",
            ]
        );
        let occasion = facts.occasion.expect("known");
        assert_eq!(occasion.event.as_deref(), Some("Exception"));
        assert_eq!(occasion.trigger.as_deref(), Some("Exception"));
        let process = facts.process.expect("known");
        assert_eq!((process.pid, process.crashing_tid), (Some(17_804), None));
        let runtime = facts.runtime.expect("known");
        assert_eq!(runtime.name.as_deref(), Some("Node.js"));
        assert_eq!(runtime.version.as_deref(), Some("20.20.2"));
        assert_eq!(runtime.arch.as_deref(), Some("x86_64"));
        assert_eq!(runtime.libc.as_deref(), Some("glibc"));
        assert_eq!(facts.format_version.as_deref(), Some("4"));
        assert_eq!(facts.host_name.as_deref(), Some("cart-7d9f6c5b8-x2x9z"));
        assert_eq!(
            facts.written.map(|time| time.to_string()).as_deref(),
            Some("2026-11-21T09:38:20.936Z")
        );
        assert_eq!(facts.signal, None);
    }

    #[test]
    fn an_event_that_may_be_a_message_is_left_out() {
        for (event, trigger) in [
            ("JavaScript API", "API"),
            ("Exception", "Exception"),
            ("SIGUSR2", "Signal"),
            (
                "Allocation failed - JavaScript heap out of memory",
                "OOMError",
            ),
            (
                "Allocation failed - JavaScript heap out of memory",
                "FatalError",
            ),
        ] {
            assert_eq!(
                occasion(event, trigger),
                (Some(event.into()), Some(trigger.into()))
            );
        }
        // Node 12 to 18 have the exception's message there, and a native add-on's fatal error anything.
        for (event, trigger) in [
            ("password: hunter2", "Exception"),
            ("SIGUSR2 hunter2", "Signal"),
            ("Allocation failed - hunter2", "FatalError"),
            ("", "API"),
        ] {
            assert_eq!(occasion(event, trigger), (None, Some(trigger.into())));
        }
        for trigger in ["hunter2", "a b", &"a".repeat(33)] {
            assert_eq!(
                occasion("Exception", trigger),
                (Some("Exception".into()), None)
            );
        }
    }

    #[test]
    fn the_class_is_taken_and_never_the_message() {
        let at = ["at lose (/app/order.js:7:9)"];
        for (message, kind) in [
            ("TypeError: hunter2", Some("TypeError")),
            ("TypeError [ERR_X]: hunter2", Some("TypeError [ERR_X]")),
            (
                "DOMException [AbortError]: hunter2",
                Some("DOMException [AbortError]"),
            ),
            ("pg.DatabaseError: hunter2: more", Some("pg.DatabaseError")),
            (
                "UnhandledPromiseRejection: … reason \"hunter2\".",
                Some("UnhandledPromiseRejection"),
            ),
            ("TypeError", Some("TypeError")),
            ("java.lang.Exception", Some("java.lang.Exception")),
            ("hunter2", None),
            ("hunter2:", None),
            ("hunter2:12", None),
            ("2nd: hunter2", None),
            ("the order: hunter2", None),
            ("Error [hunter2", None),
            ("Error [hunter2 x]: y", None),
            ("", None),
            (": hunter2", None),
            ("Error [ERR_SYNTHETIC]: JavaScript Callstack", None),
        ] {
            for trigger in ["Exception", "API"] {
                let found = exception(trigger, message, Some(&at));
                assert_eq!(found.kind.as_deref(), kind, "{message}");
                assert_eq!(found.stack, ["lose (/app/order.js:7:9)"]);
            }
            for trigger in ["Signal", "FatalError", "OOMError", "hunter2"] {
                assert_eq!(
                    exception(trigger, message, Some(&at)).kind,
                    None,
                    "{trigger}"
                );
            }
            // What is no Error has no stack: the message is what was thrown.
            assert_eq!(
                exception("Exception", message, None).kind,
                None,
                "{message}"
            );
        }
        let long = format!("{}: hunter2", "E".repeat(200));
        assert_eq!(exception("Exception", &long, Some(&at)).kind, None);
    }

    #[test]
    fn the_class_behind_a_line_of_source_is_found() {
        for (stack, kind) in [
            (
                &[
                    "throw x",
                    "^",
                    "",
                    "RangeError: hunter2",
                    "more",
                    "at f (x.js:1:2)",
                ][..],
                Some("RangeError"),
            ),
            (
                &["", "^^^^^", "SyntaxError: hunter2", "at f (x.js:1:2)"],
                Some("SyntaxError"),
            ),
            (
                &["throw x", "^", "", "hunter2", "RangeError: hunter2"],
                None,
            ),
            (
                &["throw x", "^", "", "at f (x.js:1:2)", "RangeError: hunter2"],
                None,
            ),
            (&["throw x", "", "^", "RangeError: hunter2"], None),
            (&["throw x", "^hunter2", "RangeError: hunter2"], None),
            (&["RangeError: hunter2"], None),
        ] {
            let found = exception("Exception", "/app/order.js:7", Some(stack));
            assert_eq!(found.kind.as_deref(), kind, "{stack:?}");
        }
    }

    #[test]
    fn a_stack_without_end_is_bounded() {
        let lines = vec!["at f (/app/order.js:7:9)"; 1_000];
        let stack = exception("Exception", "RangeError: x", Some(&lines)).stack;
        assert_eq!(stack.len(), 101);
        assert_eq!(stack[100], "... 900 more");
    }

    #[test]
    fn values_that_cannot_be_are_no_facts() {
        let facts = facts(
            r#"{"header":{"reportVersion":"hunter2 1","processId":-5,"nodejsVersion":"20.1","dumpEventTimeStamp":"99999999999999999999",
            "arch":"hunter2","host":"Hunter2/..","threadId":7}}"#,
        );
        assert_eq!(
            (facts.process, facts.written, facts.host_name),
            (None, None, None)
        );
        assert_eq!(facts.format_version, None);
        let runtime = facts.runtime.expect("its name");
        assert_eq!(
            (runtime.version, runtime.arch, runtime.libc),
            (None, None, None)
        );
    }
}
