//! Real dumps on their way through the real agent, and what the store has of them afterwards, compared by tools that are not ours.
//!
//! Owns: catching a dump that is written straight into a watched source before the agent has it stored and gone, and what holds of every stored
//! dump ([`find`], [`ensure_nothing_left`]). Leaves to its modules what kind of dump it is and what befalls it. Scenarios take a [`Node`], whatever store it has.

mod appearing;
mod claims;
mod contested;
mod dotnet;
mod joined;
mod jvm;
mod kernel_cores;
mod large;
mod many;
mod slow;
mod troubled;

use std::fs::{self, File};
use std::io::{BufWriter, Seek, SeekFrom, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use crate::support::agent::{Agent, Node, has_no_files};
use crate::support::readers;
use crate::support::victims::Crashed;

/// A dump as it was before it was stored.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Original {
    sha256: String,
    bytes: u64,
    /// Of 512 bytes each.
    blocks: u64,
}

impl Original {
    fn of(path: &Path) -> Result<Self> {
        let facts = fs::metadata(path)?;
        Ok(Self {
            sha256: readers::sha256(path)?,
            bytes: facts.size(),
            blocks: facts.blocks(),
        })
    }
}

/// A crash whose dumps were read before the agent was done with them.
struct Caught {
    crashed: Crashed,
    originals: Vec<Original>,
    /// Crashes before it that the agent had stored before they could be read.
    missed: usize,
}

impl Caught {
    /// The dump of a crash that left no more.
    fn only(&self) -> Result<&Original> {
        match self.originals.as_slice() {
            [only] => Ok(only),
            many => bail!("one dump expected: {many:?}"),
        }
    }

    /// Waits until all of it is stored.
    fn wait(&self, node: &Node, agent: &Agent) -> Result<Vec<Value>> {
        node.wait_for_crashes(agent, self.missed + self.originals.len())
    }
}

/// How often a crash is repeated because the agent was faster than the reader.
const REPEATS: usize = 5;

/// Lets something crash straight into the watched source while the agent works, stops the agent the moment a file is closed there, and reads what was left:
/// in the source, or taken away already.
fn caught(node: &Node, agent: &Agent, crash: impl Fn() -> Result<Crashed>) -> Result<Caught> {
    for missed in 0..REPEATS {
        let freezer = agent.freeze_at_close(&node.crash())?;
        let crashed = crash()?;
        let frozen = freezer.frozen()?;
        let mut originals = Vec::new();
        for directory in [node.crash(), node.state.join("dumps")] {
            for entry in fs::read_dir(directory)? {
                originals.push(Original::of(&entry?.path())?);
            }
        }
        drop(frozen);
        if !originals.is_empty() {
            return Ok(Caught {
                crashed,
                originals,
                missed,
            });
        }
    }
    bail!("the agent had every one of {REPEATS} dumps stored before it could be read")
}

/// A dump as the store has it.
struct Stored {
    /// Its line of `salvage ls -o json`.
    line: Value,
    manifest: Value,
    /// As `salvage get` gave it.
    file: PathBuf,
}

impl Stored {
    fn artifact(&self) -> &Value {
        &self.manifest["artifacts"][0]
    }
}

/// The one crash among those listed whose dump this was; everything that holds of any stored dump is checked.
fn find(node: &Node, crashes: &[Value], original: &Original) -> Result<Stored> {
    let mut found = Vec::new();
    for line in crashes {
        let manifest = node.manifest(text(&line["id"])?)?;
        if manifest["artifacts"][0]["sha256"] == original.sha256 {
            found.push((line.clone(), manifest));
        }
    }
    ensure!(
        found.len() == 1,
        "{} of {} crashes have {original:?}: {crashes:#?}",
        found.len(),
        crashes.len()
    );
    let (line, manifest) = found.remove(0);
    let file = ensure_whole(node, &line, &manifest, original)?;
    Ok(Stored {
        line,
        manifest,
        file,
    })
}

/// Manifest, object and fetched file are what the dump was. Gives the fetched file.
fn ensure_whole(
    node: &Node,
    line: &Value,
    manifest: &Value,
    original: &Original,
) -> Result<PathBuf> {
    let id = text(&line["id"])?;
    let artifacts = manifest["artifacts"].as_array().context("artifacts")?;
    ensure!(artifacts.len() == 1, "one artifact: {manifest:#}");
    let artifact = &artifacts[0];
    ensure!(artifact["bytes"] == original.bytes, "{artifact:#}");
    let for_people = node.salvage(&["show", id], &[0])?;
    ensure!(for_people.contains(id), "{for_people}");

    let object = node.object(text(&artifact["key"])?)?;
    ensure!(artifact["stored_bytes"] == fs::metadata(&object)?.len());
    ensure!(line["stored_bytes"] == artifact["stored_bytes"]);
    ensure!(artifact["stored_sha256"] == readers::sha256(&object)?);
    ensure!(readers::zstd_decoded_sha256(&object)? == original.sha256);

    let got = node.get(id)?;
    ensure!(got.len() == 1, "one file: {got:?}");
    let file = got[0].clone();
    let facts = fs::metadata(&file)?;
    ensure!(facts.size() == original.bytes);
    ensure!(readers::sha256(&file)? == original.sha256);
    // Nothing that was a hole has become data. A block more: an extent tree of its own.
    ensure!(
        facts.blocks() <= original.blocks + 64,
        "{} blocks became {}",
        original.blocks,
        facts.blocks()
    );

    let frames = readers::seek_table(&object)?;
    ensure!(frames.iter().map(|frame| frame.raw).sum::<u64>() == original.bytes);
    for at in [0, frames.len() / 2, frames.len().saturating_sub(1)] {
        let frame = *frames.get(at).context("a dump has frames")?;
        let alone = readers::decode_frame(&object, frame)?;
        ensure!(alone == readers::range(&file, frame.raw_at, frame.raw)?);
    }
    Ok(file)
}

/// Sources and state are as if nothing had ever happened, and nothing was lost on the way.
fn ensure_nothing_left(node: &Node, agent: &Agent, sources: &[&Path]) -> Result<()> {
    let state = [node.state.join("entries"), node.state.join("dumps")];
    for directory in sources
        .iter()
        .copied()
        .chain(state.iter().map(AsRef::as_ref))
    {
        ensure!(
            has_no_files(directory)?,
            "{}: {:?}",
            directory.display(),
            fs::read_dir(directory)?.collect::<Vec<_>>()
        );
    }
    for (name, value) in agent.metrics()? {
        let loss = ["salvage_dumps_lost_total", "salvage_dumps_gone_total"]
            .iter()
            .any(|metric| name.starts_with(metric));
        ensure!(!loss || value == 0.0, "{name} is {value}");
    }
    Ok(())
}

/// The agent as root without some of root's capabilities, as `-dac_override,-lease`.
fn start_without_capabilities(node: &Node, dropped: &str) -> Result<Agent> {
    let plain = node.command()?;
    let mut command = Command::new("setpriv");
    command
        .arg(format!("--bounding-set={dropped}"))
        .arg(plain.get_program())
        .args(plain.get_args());
    Agent::start(command)
}

fn text(value: &Value) -> Result<&str> {
    value.as_str().with_context(|| format!("no text: {value}"))
}

/// What a made file consists of, MiB by MiB.
#[derive(Clone, Copy, Debug)]
enum Content {
    /// Holes, noise and text in turn.
    Mixed,
    /// Nothing that compresses.
    Noise,
}

/// Makes a file of this length at `path`, by one open and from front to end; another seed gives other bytes.
fn make(path: &Path, content: Content, mebibytes: u64, seed: u64) -> Result<()> {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut noise = vec![0; 1 << 20];
    let mut file = BufWriter::new(File::create(path)?);
    for number in 0..mebibytes {
        match (content, number % 3) {
            (Content::Mixed, 0) => {
                file.seek(SeekFrom::Current(1 << 20))?;
            }
            (Content::Mixed, 1) => {
                let line = format!("order {number} of customer {seed}: state=shipped\n");
                let text: Vec<u8> = line.bytes().cycle().take(1 << 20).collect();
                file.write_all(&text)?;
            }
            _ => {
                random.fill(&mut noise);
                file.write_all(&noise)?;
            }
        }
    }
    let file = file.into_inner()?;
    file.set_len(mebibytes << 20)?;
    Ok(())
}
