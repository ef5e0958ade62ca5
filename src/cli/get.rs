//! `salvage get`: a crash's files, on this disk.
//!
//! First everything that can be refused is: names that are taken, objects that are gone or contradict their manifest, a disk without
//! room. Then one file after the other is fetched; one that fails does not keep the others from being fetched.

use std::io::{self, IsTerminal};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, bail};
use indicatif::{ProgressBar, ProgressStyle};
use tokio::task::spawn_blocking;

use super::open_with::{how_to_open, quoted};
use super::output::{note, print};
use super::save::{HoleWriter, Partial};
use super::show::note_newer_schema;
use super::signals::Interrupts;
use super::store::StoreArgs;
use super::{EXIT_CODES, Outcome, say};
use crate::fetch::{self, Checked, Opened, Sink};
use crate::model::{Artifact, ByteSize, CrashKey, IdPrefix, Manifest, Role};
use crate::store::Store;

/// Fetch a crash's files, check them, and say how to open them.
///
/// A file is called POD-TIME-ID.EXTENSION, after the process where no pod is known, with the end of the crash's id; a second one of the same
/// kind ends in -1 before the extension, and so on. It is written under a hidden name and gets its own when it is whole and has the
/// digests its manifest gives. Zeros become holes.
#[derive(Debug, clap::Args)]
#[command(after_help = EXIT_CODES)]
pub(super) struct Args {
    /// Id of the crash, as `salvage ls` shows it; its beginning is enough while it means only one.
    id: IdPrefix,
    /// Where the files go; made if it is not there.
    #[arg(long, value_name = "DIR", default_value = ".")]
    out: PathBuf,
    /// Only files of this role.
    #[arg(long, value_enum, value_name = "ROLE")]
    only: Option<Only>,
    /// Replace files that are there.
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    store: StoreArgs,
}

impl Args {
    /// All files of a crash, into this directory.
    pub(super) fn of(id: IdPrefix, out: PathBuf, store: StoreArgs) -> Self {
        Self {
            id,
            out,
            only: None,
            force: false,
            store,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Only {
    Dump,
    Log,
    Report,
    Trace,
}

impl Only {
    fn role(self) -> Role {
        match self {
            Self::Dump => Role::Dump,
            Self::Log => Role::Log,
            Self::Report => Role::Report,
            Self::Trace => Role::Trace,
        }
    }
}

pub(super) async fn run(args: Args) -> anyhow::Result<Outcome> {
    // Whatever is under construction removes itself when the work is dropped.
    let mut interrupted = Interrupts::new()?;
    tokio::select! {
        outcome = get(args) => outcome,
        () = interrupted.recv() => Err(fetch::Error::Interrupted.into()),
    }
}

async fn get(args: Args) -> anyhow::Result<Outcome> {
    let store = args.store.open().await?;
    let key = fetch::resolve(&*store, &args.id).await?;
    let document = fetch::document(&*store, &key).await?;
    note_newer_schema(&document);
    let manifest = document.manifest()?;
    let wanted = wanted(&key, &manifest, args.only.map(Only::role));
    if wanted.is_empty() {
        note(format_args!("{}", nothing_there(&manifest, args.only)));
        return Ok(Outcome::Nothing);
    }

    std::fs::create_dir_all(&args.out)
        .with_context(|| format!("making the directory {}", quoted(&args.out)))?;
    if !args.force {
        refuse_to_replace(&args.out, &wanted)?;
    }
    let mut expired = 0;
    let mut outcome = Outcome::Done;
    let mut files = Vec::new();
    for file in &wanted {
        match fetch::open(&*store, &key, file.artifact).await {
            Ok(opened) => files.push((file, opened)),
            Err(error) => {
                expired += usize::from(matches!(error, fetch::Error::Gone { .. }));
                outcome = Outcome::Trouble;
                say(&error.into());
            }
        }
    }
    if expired == wanted.len() {
        return Ok(Outcome::Nothing);
    }
    check_room(&args.out, files.iter().map(|(_, opened)| opened))?;

    let mut report = String::new();
    for (file, opened) in &files {
        let target = args.out.join(&file.name);
        match fetch_one(&store, opened, &target, &file.name, args.force).await {
            Ok(checked) => report.push_str(&account(file.artifact, &target, &checked)),
            Err(error) => {
                outcome = Outcome::Trouble;
                say(&error);
            }
        }
    }
    print(&report)?;
    Ok(outcome)
}

/// A file to fetch.
struct Wanted<'a> {
    artifact: &'a Artifact,
    name: String,
}

/// The artifacts of a role, or all, with their names here. A name does not depend on which of them are asked for.
fn wanted<'a>(key: &CrashKey, manifest: &'a Manifest, role: Option<Role>) -> Vec<Wanted<'a>> {
    let stem = stem(key, manifest);
    let mut taken: Vec<&str> = Vec::new();
    let mut wanted = Vec::new();
    for artifact in &manifest.artifacts {
        let extension = match artifact.role {
            Role::Log => "log",
            Role::Dump | Role::Report | Role::Trace => artifact.format.extension(),
        };
        let name = match taken.iter().filter(|other| **other == extension).count() {
            0 => format!("{stem}.{extension}"),
            number => format!("{stem}-{number}.{extension}"),
        };
        taken.push(extension);
        if role.is_none_or(|role| role == artifact.role) {
            wanted.push(Wanted { artifact, name });
        }
    }
    wanted
}

/// `<pod, else comm, else crash>-<YYYYMMDDTHHMMSSZ>-<last 6 of the id>`: sorts by workload, then time, and is told apart by the id's
/// random part. Letters, digits, `.`, `_` and `-` only.
fn stem(key: &CrashKey, manifest: &Manifest) -> String {
    let comm = manifest
        .artifacts
        .iter()
        .find_map(|artifact| artifact.process.as_ref()?.comm.as_deref());
    let pod = Some(key.pod()).filter(|pod| *pod != "-");
    let fit = |name: &str| -> String {
        let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        let name: String = name
            .chars()
            .take(100)
            .map(|c| if fits(c) { c } else { '-' })
            .collect();
        // A leading dot hides a file, a leading dash makes it an option.
        name.trim_matches(['.', '-']).to_owned()
    };
    let who = [pod, comm].into_iter().flatten().map(fit);
    let who = who.into_iter().find(|name| !name.is_empty());
    let who = who.as_deref().unwrap_or("crash");
    let id = key.id().to_string();
    let time = key.time().strftime("%Y%m%dT%H%M%SZ");
    format!("{who}-{time}-{}", &id[id.len() - 6..])
}

fn nothing_there(manifest: &Manifest, only: Option<Only>) -> String {
    let role = only.map(Only::role);
    let what = role.map_or("files", Role::name);
    let mut text = format!("crash {} has no {what}", manifest.id);
    for missing in &manifest.missing {
        if role.is_none_or(|role| role == missing.role) {
            let why = crate::model::Escaped::bytes(missing.why.as_bytes());
            text.push_str(&format!("; {} missing: {why}", missing.role.name()));
        }
    }
    text
}

/// Whether something has one of the names already. Asked before anything is fetched; what appears later is not replaced either.
fn refuse_to_replace(directory: &Path, wanted: &[Wanted<'_>]) -> anyhow::Result<()> {
    for file in wanted {
        let path = directory.join(&file.name);
        if path.symlink_metadata().is_ok() {
            bail!("{} exists already; --force replaces it", quoted(&path));
        }
    }
    Ok(())
}

/// Refuses early what cannot fit; zeros need no room.
fn check_room<'a>(directory: &Path, files: impl Iterator<Item = &'a Opened>) -> anyhow::Result<()> {
    let needed = files.fold(0u64, |sum, file| sum.saturating_add(file.data_bytes()));
    let room = rustix::fs::statvfs(directory)
        .with_context(|| format!("asking for the free space of {}", quoted(directory)))?;
    // Some network file systems do not know how large they are.
    let is_known = room.f_blocks > 0 && room.f_frsize > 0;
    let free = room.f_bavail.saturating_mul(room.f_frsize);
    if is_known && needed > free {
        bail!(
            "{} has {} free and this needs {}; choose another directory with --out, or some of the files with --only",
            quoted(directory),
            ByteSize::new(free).rounded(),
            ByteSize::new(needed).rounded()
        );
    }
    Ok(())
}

async fn fetch_one(
    store: &Arc<dyn Store>,
    opened: &Opened,
    target: &Path,
    name: &str,
    replace: bool,
) -> anyhow::Result<Checked> {
    let begun = Instant::now();
    let directory = target.parent().unwrap_or(Path::new("."));
    let partial = Partial::create(directory, name)
        .with_context(|| format!("creating a file in {}", quoted(directory)))?;
    let bytes = opened.artifact().bytes;
    let bar = Bar::new(bytes, name);
    let sink = Saving {
        writer: partial.writer(),
        bar: bar.0.clone(),
    };
    let (_, checked) = opened
        .read(store, sink)
        .await
        .with_context(|| format!("fetching {}", quoted(target)))?;
    bar.0.set_message("writing to disk");
    let (finish, path) = (partial.finish(), target.to_owned());
    let kept = spawn_blocking(move || finish.keep(&path, bytes, replace)).await?;
    drop(partial);
    kept.map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => {
            anyhow::anyhow!("{} exists by now; --force replaces it", quoted(target))
        }
        _ => anyhow::Error::from(error).context(format!("finishing {}", quoted(target))),
    })?;
    drop(bar);
    note(format_args!(
        "fetched {}: {} from {} stored, in {:.1} s",
        name,
        ByteSize::new(bytes).rounded(),
        ByteSize::new(opened.artifact().stored_bytes).rounded(),
        begun.elapsed().as_secs_f64()
    ));
    Ok(checked)
}

/// The way to the disk, watched by the bar.
struct Saving {
    writer: HoleWriter,
    bar: ProgressBar,
}

impl Sink for Saving {
    fn write(&mut self, raw: &[u8]) -> io::Result<()> {
        self.writer.write(raw)?;
        self.bar.inc(raw.len() as u64);
        Ok(())
    }
}

/// A progress bar on a terminal, nothing elsewhere; gone when dropped.
struct Bar(ProgressBar);

impl Bar {
    fn new(bytes: u64, name: &str) -> Self {
        if !io::stderr().is_terminal() {
            return Self(ProgressBar::hidden());
        }
        let style = ProgressStyle::with_template(
            "{prefix} [{bar:30}] {bytes}/{total_bytes} {bytes_per_sec} {eta} {msg}",
        );
        let style = style.unwrap_or_else(|_| ProgressStyle::default_bar());
        let bar = ProgressBar::new(bytes).with_style(style.progress_chars("=> "));
        Self(bar.with_prefix(name.to_owned()))
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

/// What is said of a file that is there: its path alone on the first line, for scripts.
fn account(artifact: &Artifact, target: &Path, checked: &Checked) -> String {
    let mut text = format!("{}\n", quoted(target));
    match checked.digests.is_empty() {
        true => text.push_str("  no digest to compare with in the manifest\n"),
        false => text.push_str(&format!("  checked: {}\n", checked.digests.join(", "))),
    }
    for line in how_to_open(artifact, target) {
        text.push_str(&format!("  {line}\n"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{CrashId, CrashKeyParts, Reason, crash_key_of};

    fn crash(pod: Option<&str>, artifacts: serde_json::Value) -> (CrashKey, Manifest) {
        let id = CrashId::new("2026-11-21T10:00:00.5Z".parse().expect("time"), 0xabcdef);
        let key = crash_key_of(CrashKeyParts {
            cluster: "c",
            namespace: None,
            pod,
            container: None,
            reason: Reason::Unknown,
            stored_bytes: 0,
            id,
        });
        let manifest = serde_json::json!({
            "schema": 1, "id": id, "revision": 1, "kind": "crash", "cluster": "c", "node": "n",
            "time": "2026-11-21T10:00:00.5Z", "time_source": "dump_written", "reason": "Unknown", "artifacts": artifacts,
            "missing": [{"role": "log", "why": "none\nthere"}],
        });
        (key, serde_json::from_value(manifest).expect("manifest"))
    }

    fn artifact(role: &str, format: &str, comm: &str) -> serde_json::Value {
        serde_json::json!({
            "role": role, "key": "artifacts/x", "format": format, "bytes": 1, "stored_bytes": 1, "encoding": "zstd-seekable",
            "process": {"comm": comm},
        })
    }

    fn names(pod: Option<&str>, artifacts: serde_json::Value, role: Option<Role>) -> Vec<String> {
        let (key, manifest) = crash(pod, artifacts);
        wanted(&key, &manifest, role)
            .into_iter()
            .map(|file| file.name)
            .collect()
    }

    #[test]
    fn files_are_named_by_workload_time_and_id() {
        let core = || serde_json::json!([artifact("dump", "elf-core", "cart")]);
        assert_eq!(
            names(Some("cart-0"), core(), None),
            ["cart-0-20261121T100000Z-0aqkff.core"]
        );
        assert_eq!(
            names(None, core(), None),
            ["cart-20261121T100000Z-0aqkff.core"]
        );
        for (comm, stem) in [
            ("", "crash"),
            ("../../etc/x y", "etc-x-y"),
            ("-rf", "rf"),
            (".hidden", "hidden"),
            ("\u{1b}\u{202e}", "crash"),
        ] {
            let artifacts = serde_json::json!([artifact("dump", "unknown", comm)]);
            let name = format!("{stem}-20261121T100000Z-0aqkff.bin");
            assert_eq!(names(None, artifacts, None), [name], "{comm}");
        }
    }

    #[test]
    fn several_files_have_names_that_do_not_depend_on_which_are_wanted() {
        let artifacts = || {
            serde_json::json!([
                artifact("dump", "elf-core", ""),
                artifact("report", "dotnet-crash-report", ""),
                artifact("dump", "elf-core", ""),
                artifact("report", "node-report", ""),
                artifact("log", "unknown", ""),
            ])
        };
        let stem = "p-20261121T100000Z-0aqkff";
        let all = names(Some("p"), artifacts(), None);
        assert_eq!(
            all,
            [".core", ".json", "-1.core", "-1.json", ".log"].map(|end| format!("{stem}{end}"))
        );
        assert_eq!(
            names(Some("p"), artifacts(), Some(Role::Report)),
            [all[1].clone(), all[3].clone()]
        );
    }

    #[test]
    fn what_is_not_there_is_told_with_its_reason() {
        let (_, manifest) = crash(None, serde_json::json!([]));
        let text = nothing_there(&manifest, Some(Only::Log));
        assert!(
            text.ends_with(r"has no log; log missing: none\nthere"),
            "{text}"
        );
        assert!(nothing_there(&manifest, Some(Only::Dump)).ends_with("has no dump"));
    }
}
