//! Memory does not grow with the dump. Whoever has no 20 GB to spare is left out by `tests/run`.

use std::time::{Duration, Instant};

use sha2::{Digest, Sha256};

use super::*;

const MEMORY: u64 = 96 << 20;

/// For 8 GB on a machine that does other things as well: it took 100 s beside other tests on two cores.
const PATIENCE: Duration = Duration::from_secs(900);

const MIB: u64 = 1 << 20;

/// Writes `mebibytes` of which every `noise_every`th is noise and the others are zeros, all of them written and none a hole.
fn write_large(path: &Path, mebibytes: u64, noise_every: u64) -> Result<Original> {
    let mut random = fastrand::Rng::with_seed(mebibytes);
    let (mut noise, zeros) = (vec![0; 1 << 20], vec![0; 1 << 20]);
    let (mut file, mut digest) = (File::create(path)?, Sha256::new());
    for number in 0..mebibytes {
        let piece = if number % noise_every == 0 {
            random.fill(&mut noise);
            &noise
        } else {
            &zeros
        };
        file.write_all(piece)?;
        digest.update(piece);
    }
    file.sync_all()?;
    Ok(Original {
        sha256: hex::encode(digest.finalize()),
        bytes: mebibytes * MIB,
        blocks: file.metadata()?.blocks(),
    })
}

fn ensure_small_memory(mebibytes: u64, noise_every: u64) -> Result<()> {
    let node = Node::new()?;
    let aside = node.path("aside");
    let original = write_large(&aside, mebibytes, noise_every)?;
    ensure!(original.blocks * 512 >= original.bytes, "there are holes");
    let agent = node.start()?.ready()?;
    let began = Instant::now();
    fs::rename(&aside, node.crash().join("core"))?;
    let crashes = node.wait_long_for_crashes(&agent, 1, PATIENCE)?;
    let (took, peak) = (began.elapsed(), agent.peak_memory()?);
    println!(
        "{mebibytes} MiB, {} of them noise: stored in {took:?}, peak memory of the agent {} KiB",
        mebibytes / noise_every,
        peak >> 10
    );
    assert!(peak < MEMORY, "{peak} bytes");
    let stored = find(&node, &crashes, &original)?;
    // Frames are of a MiB, as the pieces that were written.
    assert_eq!(
        stored.artifact()["data_bytes"],
        mebibytes / noise_every * MIB
    );
    // Written zeros need no room once they are fetched.
    let fetched = fs::metadata(&stored.file)?.blocks() * 512;
    assert!(fetched < (mebibytes / noise_every + 1) * MIB * 11 / 10);
    ensure_nothing_left(&node, &agent, &[&node.crash()])?;
    agent.stop()
}

#[test]
#[ignore = "writes some hundred MB; tests/run runs it"]
fn dump_of_200_mb_is_stored_in_96_mib_of_memory() -> Result<()> {
    ensure_small_memory(200, 2)
}

#[test]
#[ignore = "writes 12 GB and takes minutes; tests/run runs it where there is room"]
fn dump_of_8_gb_is_stored_in_96_mib_of_memory() -> Result<()> {
    ensure_small_memory(8 << 10, 4)
}
