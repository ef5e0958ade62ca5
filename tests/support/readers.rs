//! What others read in a dump: binutils, gdb, zstd, coreutils. Tests compare our own reading with these, so none of our parsers is used here.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};

/// An ELF file as `readelf -hlW` and `readelf -nW` show it.
#[derive(Debug)]
pub(crate) struct Readelf {
    /// As `CORE (Core file)`.
    pub(crate) kind: String,
    pub(crate) machine: String,
    pub(crate) os_abi: String,
    pub(crate) segments: Vec<Segment>,
    pub(crate) notes: Vec<Note>,
    /// What readelf found wrong with headers and segments; empty for a good file.
    pub(crate) complaints: Vec<String>,
    /// Size of the file itself.
    pub(crate) size: u64,
}

/// One program header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Segment {
    pub(crate) kind: String,
    pub(crate) offset: u64,
    pub(crate) address: u64,
    pub(crate) file_size: u64,
    pub(crate) memory_size: u64,
}

/// One note, without its content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Note {
    pub(crate) owner: String,
    pub(crate) size: u64,
    /// As `NT_PRSTATUS`.
    pub(crate) kind: String,
}

impl Readelf {
    pub(crate) fn of(path: &Path) -> Result<Self> {
        let (headers, complaints) = readelf(&["-hlW"], path)?;
        let (notes, _) = readelf(&["-nW"], path)?;
        let field = |name: &str| {
            headers
                .lines()
                .find_map(|line| line.trim_start().strip_prefix(name)?.strip_prefix(':'))
                .map(|value| value.trim().to_owned())
                .with_context(|| format!("no {name} in what readelf says of {}", path.display()))
        };
        Ok(Self {
            kind: field("Type")?,
            machine: field("Machine")?,
            os_abi: field("OS/ABI")?,
            segments: headers.lines().filter_map(segment).collect(),
            notes: notes.lines().filter_map(note).collect(),
            complaints: complaints.lines().map(str::to_owned).collect(),
            size: std::fs::metadata(path)?.len(),
        })
    }

    /// Where the last segment's bytes end: what the size of a complete dump is.
    pub(crate) fn expected_size(&self) -> u64 {
        self.segments
            .iter()
            .map(|segment| segment.offset.saturating_add(segment.file_size))
            .max()
            .unwrap_or(0)
    }

    /// A core that has all that its headers promise, in the eyes of readelf.
    pub(crate) fn ensure_complete_core(&self) -> Result<()> {
        ensure!(
            self.kind.starts_with("CORE"),
            "not a core but {}",
            self.kind
        );
        ensure!(
            self.segments.iter().any(|segment| segment.kind == "LOAD"),
            "no LOAD segment"
        );
        ensure!(
            self.complaints.is_empty(),
            "readelf complains: {:?}",
            self.complaints
        );
        ensure!(
            self.size == self.expected_size(),
            "{} bytes, but the segments end at {}",
            self.size,
            self.expected_size()
        );
        Ok(())
    }

    /// How many notes of a kind; that of `NT_PRSTATUS` is the number of threads.
    pub(crate) fn count(&self, kind: &str) -> usize {
        self.notes.iter().filter(|note| note.kind == kind).count()
    }
}

/// The GNU build-id in an executable, by `readelf -n`.
pub(crate) fn build_id(executable: &Path) -> Result<String> {
    let (notes, _) = readelf(&["-nW"], executable)?;
    notes
        .split_whitespace()
        .skip_while(|word| *word != "ID:")
        .nth(1)
        .map(str::to_owned)
        .with_context(|| format!("no build-id in {}", executable.display()))
}

/// `  LOAD           0x002000 0x000055e129cb8000 0x0000000000000000 0x001000 0x001000 R   0x1000`
fn segment(line: &str) -> Option<Segment> {
    let mut words = line.split_whitespace();
    let kind = words.next()?;
    let mut number = || u64::from_str_radix(words.next()?.strip_prefix("0x")?, 16).ok();
    let (offset, address, _physical, file_size, memory_size) =
        (number()?, number()?, number()?, number()?, number()?);
    Some(Segment {
        kind: kind.to_owned(),
        offset,
        address,
        file_size,
        memory_size,
    })
}

/// `  CORE   0x00000150   NT_PRSTATUS (prstatus structure)`
fn note(line: &str) -> Option<Note> {
    let mut words = line.split_whitespace();
    let owner = words.next()?;
    let size = u64::from_str_radix(words.next()?.strip_prefix("0x")?, 16).ok()?;
    let kind = words
        .next()?
        .trim_end_matches(|character: char| !character.is_ascii_alphanumeric());
    Some(Note {
        owner: owner.to_owned(),
        size,
        kind: kind.to_owned(),
    })
}

/// Its stdout, and its complaints. It fails by exit code for some of them and by stderr for others.
fn readelf(flags: &[&str], path: &Path) -> Result<(String, String)> {
    let output = Command::new("readelf")
        .args(flags)
        .arg(path)
        .env("LC_ALL", "C")
        .output()
        .context("run readelf (package binutils)")?;
    Ok((
        String::from_utf8_lossy(&output.stdout).into_owned(),
        String::from_utf8_lossy(&output.stderr).into_owned(),
    ))
}

/// A core as gdb shows it.
#[derive(Debug)]
pub(crate) struct Gdb {
    pub(crate) signal: i32,
    pub(crate) si_code: i32,
    /// Of the fault; means nothing where `si_code` is not positive.
    pub(crate) address: u64,
    pub(crate) pid: u32,
    pub(crate) crashing_tid: u32,
    pub(crate) tids: BTreeSet<u32>,
    /// The files that were mapped (NT_FILE); the executable is one of them.
    pub(crate) mapped: BTreeSet<PathBuf>,
    /// The name by which the executable was started (AT_EXECFN).
    pub(crate) started_as: PathBuf,
    /// Functions of the crashing thread, the innermost first; names only for what has symbols.
    pub(crate) frames: Vec<String>,
}

/// What gdb is asked, and under which mark its answer stands.
const QUESTIONS: &[(&str, &str)] = &[
    ("signal", "output $_siginfo.si_signo"),
    ("code", "output $_siginfo.si_code"),
    ("address", "output/x $_siginfo._sifields._sigfault.si_addr"),
    ("thread", "thread"),
    ("threads", "info threads"),
    ("inferiors", "info inferiors"),
    ("mapped", "info proc mappings"),
    ("auxv", "info auxv"),
    ("frames", "backtrace 20"),
];

impl Gdb {
    /// The executable gives names to the frames. No init files, no symbol server: the answer depends on nothing but these two files.
    pub(crate) fn of(core: &Path, executable: &Path) -> Result<Self> {
        let mut gdb = Command::new("gdb");
        gdb.args([
            "-nx",
            "-batch",
            "-iex",
            "set debuginfod enabled off",
            "-iex",
            "set width 0",
            "-iex",
            "set style enabled off",
        ]);
        for (mark, command) in QUESTIONS {
            gdb.args(["-ex", &format!("echo \\n@@{mark}\\n"), "-ex", command]);
        }
        let output = gdb
            .arg(executable)
            .arg(core)
            .env("LC_ALL", "C")
            .output()
            .context("run gdb (package gdb)")?;
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        Self::parse(&said).with_context(|| {
            format!(
                "gdb of {}:\n{said}\n{}",
                core.display(),
                String::from_utf8_lossy(&output.stderr)
            )
        })
    }

    fn parse(said: &str) -> Result<Self> {
        let part = |mark: &str| -> Result<&str> {
            let (_, rest) = said
                .split_once(&format!("\n@@{mark}\n"))
                .with_context(|| format!("no {mark}"))?;
            Ok(rest.split("\n@@").next().unwrap_or(rest))
        };
        let address = part("address")?.trim();
        Ok(Self {
            signal: part("signal")?.trim().parse().context("signal")?,
            si_code: part("code")?.trim().parse().context("si_code")?,
            address: u64::from_str_radix(address.trim_start_matches("0x"), 16)
                .context("address")?,
            pid: after(part("inferiors")?, "process ")
                .next()
                .context("pid")?,
            crashing_tid: after(part("thread")?, "LWP ")
                .next()
                .context("current thread")?,
            tids: after(part("threads")?, "LWP ").collect(),
            mapped: part("mapped")?
                .lines()
                .filter_map(|line| line.find(" /").map(|at| PathBuf::from(line[at..].trim())))
                .collect(),
            started_as: part("auxv")?
                .lines()
                .find(|line| line.contains("AT_EXECFN"))
                .and_then(|line| line.split('"').nth(1))
                .context("AT_EXECFN")?
                .into(),
            frames: part("frames")?.lines().filter_map(frame).collect(),
        })
    }
}

/// The number that follows each `word`.
fn after<'a>(text: &'a str, word: &'a str) -> impl Iterator<Item = u32> + 'a {
    text.split(word).skip(1).filter_map(|rest| {
        rest.split(|character: char| !character.is_ascii_digit())
            .next()?
            .parse()
            .ok()
    })
}

/// `#1  0x000055e129cb923d in outer (where=where@entry=0x8) at segv.c:7`, without the address for the innermost.
fn frame(line: &str) -> Option<String> {
    let rest = line.strip_prefix('#')?;
    let (before, _) = rest.split_once(" (")?;
    before.split_whitespace().last().map(str::to_owned)
}

/// What one of the readers in Python beside this file says of a dump. They are written from the formats' descriptions.
pub(crate) fn python(script: &str, dump: &Path) -> Result<serde_json::Value> {
    let support = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/support");
    let output = Command::new("python3")
        .arg(support.join(script))
        .arg(dump)
        .output()
        .context("run python3")?;
    ensure!(
        output.status.success(),
        "{script} {}: {}",
        dump.display(),
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(serde_json::from_slice(&output.stdout)?)
}

/// What `sha256sum` says of a file.
pub(crate) fn sha256(path: &Path) -> Result<String> {
    let output = Command::new("sha256sum")
        .arg("--")
        .arg(path)
        .output()
        .context("run sha256sum")?;
    ensure!(
        output.status.success(),
        "sha256sum {}: {}",
        path.display(),
        String::from_utf8_lossy(&output.stderr)
    );
    digest_of(&output.stdout)
}

/// `zstd -d` of a stored object, into a file that must not exist.
pub(crate) fn zstd_decode(stored: &Path, to: &Path) -> Result<()> {
    let output = Command::new("zstd")
        .args(["-d", "-q", "--no-progress", "-o"])
        .arg(to)
        .arg("--")
        .arg(stored)
        .output()
        .context("run zstd (package zstd)")?;
    ensure!(
        output.status.success(),
        "zstd -d {}: {}",
        stored.display(),
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(())
}

/// The digest of what `zstd -d` makes of a stored object, without a file of that size.
pub(crate) fn zstd_decoded_sha256(stored: &Path) -> Result<String> {
    let mut zstd = Command::new("zstd")
        .args(["-d", "-c", "-q", "--"])
        .arg(stored)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .context("run zstd (package zstd)")?;
    let decoded = zstd.stdout.take().context("stdout of zstd")?;
    let digest = Command::new("sha256sum")
        .stdin(decoded)
        .output()
        .context("run sha256sum")?;
    // Its few words fit into the pipe, so it cannot block on them while sha256sum waits for it.
    let ended = zstd.wait_with_output()?;
    ensure!(
        ended.status.success(),
        "zstd -d {}: {}",
        stored.display(),
        String::from_utf8_lossy(&ended.stderr)
    );
    digest_of(&digest.stdout)
}

/// A frame of a stored object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) stored_at: u64,
    pub(crate) stored: u64,
    pub(crate) raw_at: u64,
    pub(crate) raw: u64,
}

/// The frames of a stored object by the table at its end, which must account for every byte of it. Read as zstd's
/// `contrib/seekable_format/zstd_seekable_compression_format.md` describes it.
pub(crate) fn seek_table(stored: &Path) -> Result<Vec<Frame>> {
    let mut file = File::open(stored)?;
    let size = file.metadata()?.len();
    let mut footer = [0; 9];
    file.seek(SeekFrom::End(-9))?;
    file.read_exact(&mut footer)?;
    let [n0, n1, n2, n3, descriptor, magic @ ..] = footer;
    ensure!(
        magic == [0xb1, 0xea, 0x92, 0x8f],
        "{} does not end in a seek table",
        stored.display()
    );
    let count = u64::from(u32::from_le_bytes([n0, n1, n2, n3]));
    let entry = if descriptor & 0x80 == 0 { 8 } else { 12 };
    let table = 8 + count * entry + 9;
    file.seek(SeekFrom::Start(
        size.checked_sub(table)
            .context("a table longer than its object")?,
    ))?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    ensure!(
        bytes.starts_with(&[0x5e, 0x2a, 0x4d, 0x18]),
        "the table is no skippable frame"
    );
    let number = |at: usize| -> Result<u64> {
        let four = bytes.get(at..at + 4).context("within the table")?;
        Ok(u32::from_le_bytes(four.try_into()?).into())
    };
    ensure!(number(4)? == count * entry + 9, "length of the table");
    let (mut frames, mut stored_at, mut raw_at) = (Vec::new(), 0, 0);
    for each in 0..usize::try_from(count)? {
        let at = 8 + each * usize::try_from(entry)?;
        let (stored, raw) = (number(at)?, number(at + 4)?);
        frames.push(Frame {
            stored_at,
            stored,
            raw_at,
            raw,
        });
        stored_at += stored;
        raw_at += raw;
    }
    ensure!(
        stored_at + table == size,
        "the frames end at {stored_at}, and the table of {table} bytes does not begin there: {size}"
    );
    Ok(frames)
}

/// One frame alone, decoded by the reference library.
pub(crate) fn decode_frame(stored: &Path, frame: Frame) -> Result<Vec<u8>> {
    let packed = range(stored, frame.stored_at, frame.stored)?;
    let raw = zstd::bulk::decompress(&packed, usize::try_from(frame.raw)?)?;
    ensure!(raw.len() as u64 == frame.raw, "{frame:?}: {}", raw.len());
    Ok(raw)
}

/// `length` bytes of a file.
pub(crate) fn range(path: &Path, at: u64, length: u64) -> Result<Vec<u8>> {
    let mut file = File::open(path)?;
    file.seek(SeekFrom::Start(at))?;
    let mut bytes = vec![0; usize::try_from(length)?];
    file.read_exact(&mut bytes)?;
    Ok(bytes)
}

fn digest_of(output: &[u8]) -> Result<String> {
    let text = String::from_utf8_lossy(output);
    // A name with a newline or backslash is marked by a backslash before the digest.
    let digest = text
        .split_whitespace()
        .next()
        .map(|word| word.trim_start_matches('\\'))
        .unwrap_or_default();
    ensure!(digest.len() == 64, "sha256sum said {text:?}");
    Ok(digest.to_owned())
}

/// Walks the records of an hprof by their lengths: complete means that the last one is `HEAP DUMP END` and ends where the file does.
pub(crate) fn ensure_complete_hprof(path: &Path) -> Result<()> {
    const HEAP_DUMP_END: u8 = 0x2c;
    let size = std::fs::metadata(path)?.len();
    let mut file = BufReader::new(File::open(path)?);
    let mut header = [0; 31];
    file.read_exact(&mut header).context("header")?;
    ensure!(
        header.starts_with(b"JAVA PROFILE 1.0.2\0"),
        "no hprof: {header:?}"
    );
    let mut at = header.len() as u64;
    let mut last = None;
    while at < size {
        let mut record = [0; 9];
        file.read_exact(&mut record)
            .with_context(|| format!("record at {at} of {size}"))?;
        let [tag, _, _, _, _, length @ ..] = record;
        let length = u32::from_be_bytes(length);
        at += record.len() as u64 + u64::from(length);
        file.seek_relative(length.into())?;
        last = Some(tag);
    }
    if at != size || last != Some(HEAP_DUMP_END) {
        bail!(
            "{}: the records end at {at} of {size}, the last one is {last:?}",
            path.display()
        );
    }
    Ok(())
}
