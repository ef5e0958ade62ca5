//! Programs that pass for runtimes, and send what would fill an agent's memory.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use salvage::capture;
use serde_json::json;

use super::{Cgroup, Field, NAMESPACE, any_uid, now};
use crate::support::agent::wait;
use crate::support::kube::{Now, PodBuilder, container_id};
use crate::support::process::Process;

#[path = "../../../src/dotnet/eventpipe/build.rs"]
#[expect(dead_code, reason = "unit tests need more of it")]
mod build;

use build::{Row, Stream, fields, kind, structure, text};

const RUNTIME: &str = "Microsoft-Windows-DotNETRuntime";
const DOUBLE: u32 = 14;
const TEXT: u32 = 18;

/// More kinds of events, each with as many fields as bytes allow, more counters, and a block that does not come to its end.
fn kinds_and_counters() -> Vec<u8> {
    let long = "n".repeat(256);
    let many = fields(&[(TEXT, "f"); 64]);
    let mut stream = Stream::new();
    let counter = structure(
        "Payload",
        &[(TEXT, "Name"), (TEXT, "DisplayName"), (DOUBLE, "Mean")],
    );
    stream = stream.kinds(&[kind(1, "System.Runtime", 4, "EventCounters", &counter)]);
    let values: Vec<Row> = (0..3_000_u32)
        .map(|n| {
            let name = format!("{n:0256}");
            let payload = [text(&name), text(&long), 1_f64.to_le_bytes().to_vec()].concat();
            Row::new(1, n + 1, payload)
        })
        .collect();
    for values in values.chunks(300) {
        stream = stream.events(values);
    }
    let kinds: Vec<Vec<u8>> = (2..20_000)
        .map(|n| match n % 2 {
            0 => kind(n, &long, n, &long, &many),
            _ => kind(n, "p", n, "", &0_u32.to_le_bytes()),
        })
        .collect();
    for kinds in kinds.chunks(200) {
        stream = stream.kinds(kinds);
    }
    let mut bytes = stream.promise("EventBlock", 512 << 10);
    bytes.resize(bytes.len() + (512 << 10) - 1, 0);
    bytes
}

/// A walk over more types than are told apart, the first with the longest names.
fn types_without_end() -> Vec<u8> {
    let none = 0_u32.to_le_bytes();
    let mut stream = Stream::new().kinds(&[15, 18].map(|id| kind(id, RUNTIME, id, "", &none)));
    let mut number = 0;
    for first in (0..50_000_u64).step_by(50) {
        let mut types = [50_u32.to_le_bytes().to_vec(), vec![0; 2]].concat();
        let mut nodes = [
            u32::try_from(first / 50).unwrap_or(0).to_le_bytes(),
            50_u32.to_le_bytes(),
        ]
        .concat();
        nodes.extend([0; 2]);
        for id in first..first + 50 {
            types.extend(id.to_le_bytes());
            types.extend([0; 8 + 4 + 4 + 1]);
            types.extend(text(&match first {
                0..10_000 => format!("{id:0512}"),
                _ => id.to_string(),
            }));
            types.extend(0_u32.to_le_bytes());
            for number in [id, 24, id, 0] {
                nodes.extend(number.to_le_bytes());
            }
        }
        number += 2;
        let rows = [Row::new(15, number - 1, types), Row::new(18, number, nodes)];
        stream = stream.events(&rows);
    }
    stream.bytes()
}

/// A program in a pod of its own.
struct Pretender {
    _process: Process,
    _cgroup: Cgroup,
}

impl Pretender {
    fn start(field: &Field, name: &str, stream: &Path) -> Result<Self> {
        let uid = any_uid();
        let id = container_id(&uid, "app", 0);
        let cgroup = Cgroup::of_container(&uid, &id, None)?;
        let temporary = field.lab.node.path(name);
        fs::create_dir_all(&temporary)?;
        let mut command = Command::new("sh");
        command
            .args([
                "-euc",
                "echo 0 > \"$1/cgroup.procs\"; exec python3 \"$2\" \"$3\"",
                "sh",
            ])
            .arg(&cgroup.path)
            .arg(concat!(
                env!("CARGO_MANIFEST_DIR"),
                "/tests/tools/pretender.py"
            ))
            .arg(stream)
            .env("TMPDIR", &temporary);
        let process = Process::start(command)?;
        process.line_with("ready")?;
        let pod = PodBuilder::new(NAMESPACE, name, &uid)
            .container("app", &[])
            .status("app", 0, Now::running(now(), &id), None);
        field.lab.server.add(pod.build());
        Ok(Self {
            _process: process,
            _cgroup: cgroup,
        })
    }
}

#[test]
#[ignore = "needs root and a real .NET; tests/run provisions it"]
fn what_programs_send_that_are_no_runtimes_fills_no_memory() -> Result<()> {
    let field = Field::new()?;
    let (session, walk) = (field.lab.node.path("session"), field.lab.node.path("walk"));
    fs::write(&session, kinds_and_counters())?;
    fs::write(&walk, types_without_end())?;
    let agent = field.start()?;
    let mut pretenders = Vec::new();
    let start = |name: &str, stream: &Path| Pretender::start(&field, name, stream);
    for n in 0..16 {
        pretenders.push(start(&format!("session-{n}"), &session)?);
    }
    for n in 0..2 {
        pretenders.push(start(&format!("walk-{n}"), &walk)?);
    }
    let before = agent.peak_memory()?;
    for n in 0..16 {
        let kind = ["trace", "counters"][n % 2];
        let spec = json!({"pod": format!("session-{n}"), "kind": kind, "duration": "20s"});
        field.ask(&format!("session-{n}"), &spec);
    }
    wait("all sessions at once", || {
        let is_under_way = |n: &u32| {
            let capture = field.lab.server.capture(NAMESPACE, &format!("session-{n}"));
            capture.is_some_and(|capture| capture["status"]["phase"] == "Capturing")
        };
        Ok((0..16).all(|n| is_under_way(&n)).then_some(()))
    })?;
    for n in 0..2 {
        let spec = json!({"pod": format!("walk-{n}"), "kind": "gcdump", "force": true});
        field.ask(&format!("walk-{n}"), &spec);
    }
    for name in ["walk-0", "walk-1", "session-0", "session-1", "session-15"] {
        let status = field.ended(name)?;
        ensure!(
            status["phase"] == "Stored" && status["complete"] == false,
            "{name}: {status:#}"
        );
    }
    let grown = agent.peak_memory()? - before;
    println!("{} MiB more than before", grown >> 20);
    ensure!(
        grown < capture::MEMORY,
        "{grown} bytes more instead of {} at the most",
        capture::MEMORY
    );
    let status = field.ended("session-3")?;
    let shown = status["counters"].as_array().context("counters")?.len();
    ensure!(shown > 0, "{status:#}");
    Ok(())
}
