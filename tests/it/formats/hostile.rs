//! What files cost that were made to cost much, measured in a process of its own: memory cannot be told apart in one that runs other tests.

use std::fs::{self, File};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use salvage::identify::identify;
use tempfile::TempDir;

/// Names the file that the process of its own is to read.
const FILE: &str = "SALVAGE_TEST_IDENTIFY";

/// Most memory a file may cost: windows, lists of 256 modules, and room for the allocator.
const MEMORY_KB: u64 = 8 << 10;

/// Most time, on a busy machine.
const TIME: Duration = Duration::from_secs(20);

#[test]
fn files_made_to_cost_much_cost_little() -> Result<()> {
    if let Some(path) = std::env::var_os(FILE) {
        return measure(Path::new(&path));
    }
    let directory = TempDir::new()?;
    let files: [(&str, Vec<u8>); 6] = [
        ("shared-name", shared(8 << 20, 60_000)),
        ("shared-path", shared(8_192, 60_000)),
        ("same-stream", same_stream(1 << 20)),
        ("all-modules", all_of(4, 108)),
        ("all-threads", all_of(3, 48)),
        ("all-names", all_of(24, 12)),
    ];
    for (name, bytes) in files {
        let path = directory.path().join(name);
        fs::write(&path, bytes)?;
        // What else is in it reads as zeros, of which the system has as many as anybody wants.
        File::options().write(true).open(&path)?.set_len(8 << 30)?;
        let (memory, time) = measured(&path)?;
        ensure!(memory < MEMORY_KB, "{name}: {memory} kB");
        ensure!(time < TIME, "{name}: {time:?}");
    }
    Ok(())
}

/// Reads the file's facts in a process of its own: memory that it took, and time.
fn measured(path: &Path) -> Result<(u64, Duration)> {
    let begun = Instant::now();
    let output = Command::new(std::env::current_exe()?)
        .args(["--exact", "--nocapture"])
        .arg("formats::hostile::files_made_to_cost_much_cost_little")
        .env(FILE, path)
        .output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    let line = text.lines().find_map(|line| line.split_once("took kB="));
    let (_, memory) = line.with_context(|| format!("{} {text}", output.status))?;
    Ok((memory.trim().parse()?, begun.elapsed()))
}

fn measure(path: &Path) -> Result<()> {
    let file = File::open(path)?;
    let len = file.metadata()?.len();
    let before = peak()?;
    let facts = identify(&file, len);
    println!("took kB={}", peak()? - before);
    ensure!(facts.unread.len() < 10, "{facts:?}");
    Ok(())
}

fn peak() -> Result<u64> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let peak = line.and_then(|line| line.strip_suffix("kB"));
    Ok(peak.context("VmHWM")?.trim().parse()?)
}

fn words(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}

/// The header of a minidump with so many streams, and its directory.
fn minidump(streams: &[[u32; 3]]) -> Vec<u8> {
    let mut bytes = b"MDMP\x93\xa7\0\0".to_vec();
    bytes.extend(words(&[streams.len() as u32, 32, 0, 1, 0, 0]));
    bytes.extend(words(streams.as_flattened()));
    bytes
}

/// Modules that all have the same long name and the same long debug record.
fn shared(name: u32, modules: u32) -> Vec<u8> {
    const AT: u32 = 32 + 12;
    let list = AT + 4 + name;
    let mut bytes = minidump(&[[4, 4 + 108 * modules, list]]);
    bytes.extend(words(&[name]));
    bytes.resize(list as usize, b'x');
    bytes.extend(words(&[modules]));
    for n in 0..modules {
        let mut module = vec![0; 108];
        module[0..4].copy_from_slice(&n.to_le_bytes());
        module[8..12].copy_from_slice(&words(&[4_096]));
        module[20..24].copy_from_slice(&words(&[AT]));
        module[76..84].copy_from_slice(&words(&[name, AT + 4]));
        bytes.extend(module);
    }
    bytes
}

/// A directory that names one stream again and again.
fn same_stream(times: usize) -> Vec<u8> {
    minidump(&vec![[4, 64 << 20, 32]; times])
}

/// One list of as many records as are ever walked, all zeros but the count.
fn all_of(kind: u32, record: u32) -> Vec<u8> {
    let count = (64 << 20) / record;
    let mut bytes = minidump(&[[kind, 4 + count * record, 44]]);
    bytes.extend(words(&[count]));
    bytes
}
