//! `salvage ls`, `show` and `get`: the real binary on a `file://` store.

use std::fs;
use std::io::Read;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::bucket::{Bucket, Crash, File, Stored, core};
use crate::support::stored::stored_frames;

/// The binary, with nothing of this process's environment that would change what it does.
fn salvage(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_salvage"));
    command.args(arguments).stdin(Stdio::null());
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy().into_owned();
        if name.starts_with("SALVAGE_") || name.starts_with("AWS_") {
            command.env_remove(name);
        }
    }
    command
}

/// What a command did.
struct Ran {
    what: String,
    code: Option<i32>,
    out: String,
    err: String,
}

impl Ran {
    fn of(mut command: Command) -> Self {
        let output = command.output().expect("the binary runs");
        Self::from(format!("{command:?}"), output)
    }

    fn from(what: String, output: Output) -> Self {
        Self {
            what,
            code: output.status.code(),
            out: String::from_utf8(output.stdout).expect("text"),
            err: String::from_utf8(output.stderr).expect("text"),
        }
    }

    #[track_caller]
    fn ends(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "{self}");
        self
    }

    #[track_caller]
    fn says(self, words: &[&str]) -> Self {
        for word in words {
            assert!(
                self.err.contains(word),
                "no {word:?} in the errors of {self}"
            );
        }
        self
    }
}

impl std::fmt::Display for Ran {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            what,
            code,
            out,
            err,
        } = self;
        write!(f, "{what}\nended {code:?}\n--- out\n{out}\n--- err\n{err}")
    }
}

impl Bucket {
    /// Runs the binary on this store.
    fn run(&self, arguments: &[&str]) -> Ran {
        Ran::of(self.command(arguments))
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = salvage(arguments);
        command.env("SALVAGE_STORE", self.url());
        command
    }
}

fn names(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).expect("a directory");
    let name = |entry: std::io::Result<fs::DirEntry>| {
        entry
            .expect("readable")
            .file_name()
            .to_string_lossy()
            .into_owned()
    };
    let mut names: Vec<_> = entries.map(name).collect();
    names.sort();
    names
}

/// Three crashes in two namespaces on two days.
fn three() -> (Bucket, [Stored; 3]) {
    let bucket = Bucket::new();
    let stored = [
        Crash::default(),
        Crash {
            time: "2026-11-22T11:30:00Z",
            pod: "cart-1",
            reason: "OOMKilled",
            ..Crash::default()
        },
        Crash {
            time: "2026-11-21T09:00:00Z",
            namespace: "_unknown",
            pod: "-",
            container: "-",
            artifacts: vec![core(vec![1; 3_000])],
            ..Crash::default()
        },
    ];
    let stored = stored.map(|crash| bucket.store(crash));
    (bucket, stored)
}

#[test]
fn ls_shows_people_a_table_newest_first() {
    let (bucket, [first, second, third]) = three();
    let ran = bucket.run(&["ls"]).ends(0);
    let lines: Vec<Vec<&str>> = ran
        .out
        .lines()
        .map(|line| line.split_whitespace().collect())
        .collect();
    let size: Vec<&str> = lines[3][6..8].to_vec();
    assert_eq!(
        lines[0],
        [
            "TIME",
            "NAMESPACE",
            "POD",
            "CONTAINER",
            "REASON",
            "SIZE",
            "ID"
        ]
    );
    assert_eq!(
        lines[1],
        [
            "2026-11-22",
            "11:30:00Z",
            "shop",
            "cart-1",
            "app",
            "OOMKilled",
            "0",
            "B",
            &second.id
        ]
    );
    assert_eq!(
        lines[2],
        [
            "2026-11-21",
            "10:00:00Z",
            "shop",
            "cart-0",
            "app",
            "SIGSEGV",
            "0",
            "B",
            &first.id
        ]
    );
    assert_eq!(
        lines[3],
        [
            "2026-11-21",
            "09:00:00Z",
            "_unknown",
            "-",
            "-",
            "SIGSEGV",
            size[0],
            size[1],
            &third.id
        ]
    );
    assert_eq!(lines.len(), 4, "{ran}");
    assert_eq!(ran.err, "");
}

#[test]
fn ls_gives_machines_one_object_a_line() {
    let (bucket, [_, _, third]) = three();
    let ran = bucket.run(&["ls", "-A", "-o", "json"]).ends(0);
    let lines: Vec<Value> = ran
        .out
        .lines()
        .map(|line| serde_json::from_str(line).expect("json"))
        .collect();
    assert_eq!(lines.len(), 3);
    let stored_bytes = fs::metadata(bucket.path(&third.artifacts[0]))
        .expect("there")
        .len();
    assert_eq!(
        lines[2],
        json!({
            "id": third.id, "time": "2026-11-21T09:00:00Z", "cluster": "prod", "namespace": "_unknown", "pod": "-", "container": "-",
            "reason": "SIGSEGV", "stored_bytes": stored_bytes, "key": third.key,
        })
    );
}

#[test]
fn ls_shows_what_is_asked_for() {
    let (bucket, [first, second, third]) = three();
    for (arguments, expected) in [
        (&["-n", "shop"][..], vec![&second, &first]),
        (&["--pod", "cart-*"], vec![&second, &first]),
        (&["--pod=-"], vec![&third]),
        (&["--pod", "-"], vec![&third]),
        (&["--container", "app", "--reason", "sigsegv"], vec![&first]),
        (
            &["--since", "2026-11-21", "--until", "2026-11-21"],
            vec![&first, &third],
        ),
        (&["--since", "2026-11-21T09:00:01Z"], vec![&second, &first]),
        (&["--limit", "1"], vec![&second]),
        (&["--limit", "0"], vec![&second, &first, &third]),
    ] {
        let ran = bucket
            .run(&[&["ls", "-o", "json"], arguments].concat())
            .ends(0);
        let ids = ran.out.lines().map(|line| {
            let line: Value = serde_json::from_str(line).expect("json");
            line["id"].as_str().expect("an id").to_owned()
        });
        let expected: Vec<_> = expected.iter().map(|stored| stored.id.clone()).collect();
        assert_eq!(ids.collect::<Vec<_>>(), expected, "{ran}");
        assert_eq!(
            ran.err.contains("--limit 0"),
            arguments == ["--limit", "1"],
            "{ran}"
        );
    }
}

#[test]
fn ls_of_nothing_ends_with_1() {
    let bucket = Bucket::new();
    let ran = bucket.run(&["ls"]).ends(1).says(&["no such crash"]);
    assert_eq!(ran.out, "");
    let (bucket, _) = three();
    bucket.run(&["ls", "-n", "nowhere"]).ends(1);
    // Relative to now: of a crash that stays where it is in time while now goes on.
    let long_ago = Bucket::new();
    long_ago.store(Crash {
        time: "2020-02-02T02:02:02Z",
        ..Crash::default()
    });
    long_ago
        .run(&["ls", "--until", "1h", "--since", "2h"])
        .ends(1);
    long_ago.run(&["ls", "--until", "1h"]).ends(0);
}

#[test]
fn ls_leaves_foreign_names_out_and_says_so() {
    let (bucket, _) = three();
    bucket.put("crashes/cluster=prod/notes.txt", b"");
    let ran = bucket
        .run(&["ls", "-o", "json"])
        .ends(0)
        .says(&["not salvage's", ": 1"]);
    assert_eq!(ran.out.lines().count(), 3);
}

#[test]
fn wrong_usage_ends_with_2_and_a_remedy() {
    let bucket = Bucket::new();
    for (arguments, words) in [
        (
            &["ls", "-n", "shop", "-A"][..],
            &["cannot be used with"][..],
        ),
        (
            &["ls", "--since", "yesterday"],
            &["--since", "2026-11-21T10:00:00Z"],
        ),
        (
            &["ls", "--since", "1h", "--until", "2h"],
            &["no time lies between"],
        ),
        (&["ls", "--reason", "bad luck"], &["--reason", "SIGSEGV"]),
        (&["ls", "--pod", "a*b"], &["--pod", "cart-*"]),
        (&["ls", "--limit", "few"], &["--limit"]),
        (&["ls", "-o", "xml"], &["json"]),
        (&["show"], &["<ID>"]),
        (&["show", "../../etc"], &["not a crash id"]),
        (&["get", "0", "--only", "all"], &["report"]),
        (&["nonsense"], &["nonsense"]),
    ] {
        let ran = bucket.run(arguments).ends(2).says(words);
        assert_eq!(ran.out, "", "{ran}");
    }
}

#[test]
fn a_store_that_cannot_be_read_ends_with_2_and_a_remedy() {
    let missing = "file:///nonexistent/salvage";
    for command in [&["ls"][..], &["show", "0"], &["get", "0"]] {
        Ran::of(salvage(command))
            .ends(2)
            .says(&["--store", "SALVAGE_STORE"]);
        let ran = Ran::of(salvage(&[command, &["--store", missing]].concat())).ends(2);
        let ran = ran.says(&["/nonexistent/salvage", "does not exist"]);
        assert_eq!(ran.err.lines().count(), 1, "{ran}");
    }
    let secret = "s3://key:hunter2@bucket";
    let ran = Ran::of(salvage(&["ls", "--store", secret])).ends(2);
    assert!(!ran.err.contains("hunter2"), "{ran}");
    Ran::of(salvage(&["ls", "--store", "bucket"]))
        .ends(2)
        .says(&["s3://BUCKET"]);
    Ran::of(salvage(&[
        "ls",
        "--store",
        "s3://bucket",
        "--endpoint",
        "minio",
    ]))
    .ends(2)
    .says(&["--endpoint"]);
}

#[test]
fn help_documents_the_exit_codes() {
    for arguments in [
        &["--help"][..],
        &["ls", "--help"],
        &["show", "--help"],
        &["get", "--help"],
    ] {
        let ran = Ran::of(salvage(arguments)).ends(0);
        assert!(ran.out.contains("Exit codes:"), "{ran}");
    }
}

#[test]
fn a_reader_that_has_seen_enough_is_no_error() {
    let (bucket, [_, _, third]) = three();
    let out = tempfile::tempdir().expect("a directory");
    let out = out.path().to_str().expect("text");
    for arguments in [
        &["ls"][..],
        &["ls", "--limit", "0"],
        &["ls", "-o", "json"],
        &["show", &third.id],
        &["get", &third.id, "--out", out],
    ] {
        let (reader, writer) = std::io::pipe().expect("a pipe");
        drop(reader);
        let mut command = bucket.command(arguments);
        let output = command.stdout(writer).stderr(Stdio::piped()).spawn();
        let output = output.expect("starts").wait_with_output().expect("ends");
        Ran::from(format!("{command:?}"), output).ends(0);
    }
}

#[test]
fn output_that_cannot_be_written_is_an_error() {
    let (bucket, _) = three();
    let full = fs::OpenOptions::new()
        .write(true)
        .open("/dev/full")
        .expect("Linux has it");
    let mut command = bucket.command(&["ls"]);
    let output = command.stdout(full).stderr(Stdio::piped()).spawn();
    let output = output.expect("starts").wait_with_output().expect("ends");
    Ran::from(format!("{command:?}"), output)
        .ends(2)
        .says(&["standard output"]);
}

#[test]
fn show_tells_people_what_is_known() {
    let bucket = Bucket::new();
    let stored = bucket.store(Crash {
        artifacts: vec![core(vec![1; 5_000]), core(vec![2; 5_000])],
        fields: json!({
            "signal": {"number": 11, "name": "SIGSEGV", "code": 1},
            "missing": [{"role": "log", "why": "the node\n had none"}],
        }),
        ..Crash::default()
    });
    fs::remove_file(bucket.path(&stored.artifacts[1])).expect("removed");
    let ran = bucket
        .run(&["show", &stored.id[..14].to_uppercase()])
        .ends(0);
    for words in [
        format!("crash        {}", stored.id),
        "signal       11 SIGSEGV, code 1".to_owned(),
        "dump-0.core\nstored       yes".to_owned(),
        "dump-1.core\nstored       expired".to_owned(),
        r"log          the node\n had none".to_owned(),
        format!("salvage get {}", stored.id),
    ] {
        assert!(ran.out.contains(&words), "no {words:?} in {ran}");
    }
}

#[test]
fn show_gives_machines_the_manifest_as_it_is() {
    let bucket = Bucket::new();
    let stored = bucket.store(Crash {
        fields: json!({"schema": 1, "a_later_field": [1, 2]}),
        ..Crash::default()
    });
    let ran = bucket.run(&["show", &stored.id, "-o", "json"]).ends(0);
    let manifest = fs::read_to_string(bucket.path(&stored.key)).expect("there");
    assert_eq!(ran.out, format!("{manifest}\n"));
}

#[test]
fn a_manifest_of_a_later_salvage_is_read_as_far_as_it_is_known() {
    let bucket = Bucket::new();
    let known = bucket.store(Crash {
        random: 1,
        fields: json!({"schema": 2, "omens": "three ravens"}),
        ..Crash::default()
    });
    let strange = bucket.store(Crash {
        random: 2,
        fields: json!({"schema": 2, "kind": "prophecy"}),
        ..Crash::default()
    });
    bucket
        .run(&["show", &known.id])
        .ends(0)
        .says(&["schema 2", "newer salvage"]);
    bucket
        .run(&["show", &strange.id])
        .ends(2)
        .says(&["schema 2", "newer salvage", &strange.key]);
    bucket.run(&["show", &strange.id, "-o", "json"]).ends(0);
}

#[test]
fn an_id_that_means_no_crash_or_several_is_said() {
    let bucket = Bucket::new();
    let ids = [1, 2].map(|random| {
        bucket
            .store(Crash {
                random,
                ..Crash::default()
            })
            .id
    });
    for command in ["show", "get"] {
        bucket
            .run(&[command, "01arz3ndektsv4rrffq69g5fav"])
            .ends(1)
            .says(&["no crash has an id"]);
        let ran = bucket.run(&[command, &ids[0][..12]]).ends(2);
        ran.says(&["more than one", &ids[0], &ids[1]]);
    }
}

#[test]
fn a_manifest_that_is_none_is_named() {
    let bucket = Bucket::new();
    let stored = bucket.store(Crash::default());
    bucket.put(&stored.key, b"{\"schema\":1");
    bucket
        .run(&["show", &stored.id])
        .ends(2)
        .says(&[&stored.key, "not a manifest"]);
}

/// 12 MB with a hole, data and zeros.
fn dump() -> Vec<u8> {
    let mut raw = vec![0; 12_000_000];
    fastrand::Rng::with_seed(3).fill(&mut raw[1_000_000..3_000_000]);
    raw[11_000_000] = 1;
    raw
}

#[test]
fn get_brings_a_dump_back_with_its_holes_and_says_how_to_open_it() {
    let bucket = Bucket::new();
    let mut file = core(dump());
    file.fields = json!({
        "process": {"exe": "/app/cart", "build_id": "c0ffee"},
        "runtime": {"name": ".NET", "version": "8.0.15"},
    });
    let stored = bucket.store(Crash {
        artifacts: vec![file],
        ..Crash::default()
    });
    let out = tempfile::tempdir().expect("a directory");
    let out = out.path().join("made for it");
    let ran = bucket
        .run(&["get", &stored.id, "--out", out.to_str().expect("text")])
        .ends(0);
    let name = format!("cart-0-20261121T100000Z-{}.core", &stored.id[20..]);
    assert_eq!(names(&out), [name.as_str()]);
    let path = out.join(&name);
    assert!(fs::read(&path).expect("readable") == dump());
    let metadata = fs::metadata(&path).expect("there");
    assert!(
        metadata.blocks() * 512 < 3_000_000,
        "{} blocks",
        metadata.blocks()
    );
    assert_eq!(metadata.permissions().mode() & 0o7777, 0o600);
    let shown = format!("'{}'", path.display());
    assert_eq!(ran.out.lines().next(), Some(shown.as_str()), "{ran}");
    assert!(ran.out.contains("checked: stored_sha256, sha256"), "{ran}");
    assert!(
        ran.out.contains(&format!("dotnet-dump analyze {shown}")),
        "{ran}"
    );
    assert_eq!(ran.err.lines().count(), 1, "{ran}");
}

#[test]
fn get_replaces_a_file_only_on_demand() {
    let bucket = Bucket::new();
    let stored = bucket.store(Crash {
        artifacts: vec![core(dump())],
        ..Crash::default()
    });
    let out = tempfile::tempdir().expect("a directory");
    let get = [
        "get",
        &stored.id,
        "--out",
        out.path().to_str().expect("text"),
    ];
    bucket.run(&get).ends(0);
    let path = out.path().join(&names(out.path())[0]);
    fs::write(&path, "mine").expect("written");
    bucket
        .run(&get)
        .ends(2)
        .says(&["exists already", "--force"]);
    assert_eq!(fs::read(&path).expect("readable"), b"mine");
    bucket.run(&[&get[..], &["--force"]].concat()).ends(0);
    assert!(fs::read(&path).expect("readable") == dump());
}

#[test]
fn get_brings_what_is_asked_for() {
    let bucket = Bucket::new();
    let report = File {
        role: "report",
        format: "dotnet-crash-report",
        extension: "json",
        raw: b"{}".to_vec(),
        fields: json!({}),
    };
    let stored = bucket.store(Crash {
        artifacts: vec![core(vec![1; 100]), report],
        fields: json!({"missing": [{"role": "log", "why": "the node had none"}]}),
        ..Crash::default()
    });
    let out = tempfile::tempdir().expect("a directory");
    let get = [
        "get",
        &stored.id,
        "--out",
        out.path().to_str().expect("text"),
    ];
    let ran = bucket.run(&[&get[..], &["--only", "log"]].concat()).ends(1);
    ran.says(&["has no log", "the node had none"]);
    bucket
        .run(&[&get[..], &["--only", "report"]].concat())
        .ends(0);
    assert_eq!(names(out.path()).len(), 1);
    bucket
        .run(&[&get[..], &["--only", "dump"]].concat())
        .ends(0);
    let extensions = names(out.path())
        .into_iter()
        .map(|name| name.rsplit('.').next().map(str::to_owned));
    assert_eq!(extensions.flatten().collect::<Vec<_>>(), ["core", "json"]);
}

/// The names left in a fresh directory after fetching from a changed store.
fn get_after(change: impl FnOnce(&Bucket, &Stored)) -> (Ran, TempDir) {
    let bucket = Bucket::new();
    let stored = bucket.store(Crash {
        artifacts: vec![core(dump()), core(vec![7; 10])],
        ..Crash::default()
    });
    change(&bucket, &stored);
    let out = tempfile::tempdir().expect("a directory");
    let ran = bucket.run(&[
        "get",
        &stored.id,
        "--out",
        out.path().to_str().expect("text"),
    ]);
    (ran, out)
}

fn change(path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = fs::read(path).expect("readable");
    change(&mut bytes);
    fs::write(path, bytes).expect("written");
}

#[test]
fn get_leaves_nothing_of_a_file_that_is_not_what_was_stored() {
    type Damage = fn(&mut Vec<u8>);
    let damages: [(&str, Damage); 3] = [
        ("damaged", |bytes| {
            let middle = bytes.len() / 2;
            bytes[middle] ^= 1;
        }),
        ("shorter", |bytes| bytes.truncate(1_000_000)),
        ("seek table", |bytes| {
            let end = bytes.len() - 1;
            bytes[end] ^= 1;
        }),
    ];
    for (word, damage) in damages {
        let (ran, out) =
            get_after(|bucket, stored| change(&bucket.path(&stored.artifacts[0]), damage));
        let ran = ran.ends(2).says(&[word, "dump-0.core.zst"]);
        // The other file is whole.
        assert_eq!(names(out.path()).len(), 1, "{ran}");
        assert!(names(out.path())[0].ends_with("-1.core"), "{ran}");
    }
    let (ran, out) = get_after(|bucket, stored| {
        let path = bucket.path(&stored.key);
        let manifest = fs::read_to_string(&path).expect("there");
        let digest = "\"sha256\":\"";
        let at = manifest.find(digest).expect("has one") + digest.len();
        let lying = format!(
            "{}{}{}",
            &manifest[..at],
            "0".repeat(64),
            &manifest[at + 64..]
        );
        fs::write(path, lying).expect("written");
    });
    ran.ends(2).says(&["digest", "sha256"]);
    assert_eq!(names(out.path()).len(), 1);
}

#[test]
fn get_of_what_has_expired_says_so() {
    let remove =
        |bucket: &Bucket, key: &String| fs::remove_file(bucket.path(key)).expect("removed");
    let (ran, out) = get_after(|bucket, stored| remove(bucket, &stored.artifacts[0]));
    ran.ends(2).says(&["expired", "dump-0.core.zst"]);
    assert_eq!(names(out.path()).len(), 1);
    let (ran, out) =
        get_after(|bucket, stored| stored.artifacts.iter().for_each(|key| remove(bucket, key)));
    ran.ends(1).says(&["expired"]);
    assert!(names(out.path()).is_empty());
}

#[test]
fn get_into_a_place_where_nothing_can_be_written_is_named() {
    let bucket = Bucket::new();
    let stored = bucket.store(Crash {
        artifacts: vec![core(vec![1; 10])],
        ..Crash::default()
    });
    let file = tempfile::NamedTempFile::new().expect("a file");
    let below_a_file = format!("{}/x", file.path().display());
    for out in ["/proc/self", &below_a_file] {
        bucket
            .run(&["get", &stored.id, "--out", out])
            .ends(2)
            .says(&[out]);
    }
}

/// Waits until `directory` has an entry.
fn wait_for_a_file(directory: &Path, child: &mut Child) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while names(directory).is_empty() {
        let ended = child.try_wait().expect("a child");
        assert!(
            ended.is_none() && Instant::now() < deadline,
            "it ended early: {ended:?}"
        );
        std::thread::yield_now();
    }
}

#[test]
fn get_that_is_interrupted_leaves_nothing() {
    let bucket = Bucket::new();
    let stored = bucket.store(Crash {
        artifacts: vec![core(vec![0; 1])],
        ..Crash::default()
    });
    // 8 GiB of zeros: more than can be digested before the signal comes, and next to nothing to store.
    let (frame, frames) = (vec![0; 4 << 20], 2 << 10);
    let object = stored_frames(std::iter::repeat_n(&frame[..], frames));
    bucket.put(&stored.artifacts[0], &object);
    let path = bucket.path(&stored.key);
    let mut manifest: Value =
        serde_json::from_slice(&fs::read(&path).expect("there")).expect("json");
    manifest["artifacts"][0]["bytes"] = json!(frame.len() * frames);
    manifest["artifacts"][0]["stored_bytes"] = json!(object.len());
    fs::write(&path, manifest.to_string()).expect("written");

    for signal in [libc::SIGINT, libc::SIGTERM] {
        let out = tempfile::tempdir().expect("a directory");
        let mut command = bucket.command(&[
            "get",
            &stored.id,
            "--out",
            out.path().to_str().expect("text"),
        ]);
        // A shell ignores SIGINT for what it runs in the background, and so would our child.
        // SAFETY: between fork and exec, signal() is async-signal-safe and touches nothing else.
        unsafe {
            command.pre_exec(move || {
                libc::signal(signal, libc::SIG_DFL);
                Ok(())
            });
        }
        let mut child = command
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("starts");
        wait_for_a_file(out.path(), &mut child);
        // SAFETY: kill only sends a signal; the child has not been waited for, so its id is its own.
        let sent = unsafe { libc::kill(child.id() as i32, signal) };
        assert_eq!(sent, 0);
        let mut err = String::new();
        child
            .stderr
            .take()
            .expect("piped")
            .read_to_string(&mut err)
            .expect("text");
        assert_eq!(child.wait().expect("ends").code(), Some(130), "{err}");
        assert!(err.contains("interrupted"), "{err}");
        assert!(names(out.path()).is_empty(), "{:?}", names(out.path()));
    }
}

/// A tmpfs that is unmounted when dropped.
struct Tmpfs(TempDir);

impl Tmpfs {
    fn of(size: &str) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs"]);
        let mounted = mount.arg(directory.path()).status().expect("mount runs");
        assert!(mounted.success(), "mounting a tmpfs needs root");
        Self(directory)
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(self.0.path()).status();
    }
}

#[test]
#[ignore = "needs root to mount a small tmpfs; tests/run runs it"]
fn get_onto_a_small_disk_is_refused_or_leaves_nothing() {
    let disk = Tmpfs::of("1m");
    let out = disk.0.path().to_str().expect("text");
    let bucket = Bucket::new();
    let honest = bucket.store(Crash {
        random: 1,
        artifacts: vec![core(dump())],
        ..Crash::default()
    });
    bucket
        .run(&["get", &honest.id, "--out", out])
        .ends(2)
        .says(&[out, "1.0 MiB free", "--out"]);
    assert!(names(disk.0.path()).is_empty());

    let mut understated = core(dump());
    understated.fields = json!({"data_bytes": 1});
    let lying = bucket.store(Crash {
        random: 2,
        artifacts: vec![understated],
        ..Crash::default()
    });
    bucket
        .run(&["get", &lying.id, "--out", out])
        .ends(2)
        .says(&["No space left", ".core"]);
    assert!(names(disk.0.path()).is_empty());

    let mut zeros = vec![0; 10_000_000];
    zeros[5_000_000] = 1;
    let sparse = bucket.store(Crash {
        random: 3,
        artifacts: vec![core(zeros)],
        ..Crash::default()
    });
    bucket.run(&["get", &sparse.id, "--out", out]).ends(0);
}
