//! The arrows between modules: who may use whom. Read off the `crate::` paths of the sources, tests left out.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

/// Each module and what it may use, as the house was drawn: words at the bottom, wiring at the top.
const ALLOWED: [(&str, &[&str]); 18] = [
    ("model", &[]),
    ("sys", &["model"]),
    ("telemetry", &["model"]),
    ("identify", &["model"]),
    ("decide", &["model"]),
    (
        "source",
        &["model", "sys", "telemetry", "identify", "decide"],
    ),
    (
        "spool",
        &["model", "sys", "telemetry", "identify", "decide", "source"],
    ),
    ("kube", &["model", "sys", "telemetry", "identify", "decide"]),
    ("store", &["model", "sys", "telemetry"]),
    (
        "ship",
        &[
            "model",
            "sys",
            "telemetry",
            "identify",
            "decide",
            "source",
            "kube",
            "spool",
            "store",
        ],
    ),
    ("fetch", &["model", "sys", "telemetry", "store"]),
    // Of a living process; where that goes is none of its business.
    ("dotnet", &["model", "sys", "telemetry"]),
    (
        "capture",
        &[
            "model",
            "sys",
            "telemetry",
            "decide",
            "kube",
            "spool",
            "store",
            "ship",
            "dotnet",
        ],
    ),
    (
        "config",
        &[
            "model", "decide", "source", "kube", "spool", "store", "ship", "capture",
        ],
    ),
    (
        "agent",
        &[
            "model",
            "sys",
            "telemetry",
            "decide",
            "source",
            "kube",
            "spool",
            "store",
            "ship",
            "capture",
            "config",
        ],
    ),
    (
        "doctor",
        &[
            "model",
            "sys",
            "telemetry",
            "decide",
            "source",
            "kube",
            "spool",
            "store",
            "ship",
            "config",
        ],
    ),
    (
        "cli",
        &[
            "model",
            "sys",
            "telemetry",
            "store",
            "fetch",
            "kube",
            "capture",
            "config",
            "agent",
            "doctor",
        ],
    ),
    ("lib", &[]),
];

#[test]
fn no_module_uses_one_above_it() -> Result<()> {
    let mut used: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    for file in rust_files(&src)? {
        let relative = file.strip_prefix(&src)?;
        let module = relative
            .components()
            .next()
            .context("a file in src")?
            .as_os_str()
            .to_string_lossy();
        let module = module.trim_end_matches(".rs").to_owned();
        if module == "main" {
            continue;
        }
        let text = std::fs::read_to_string(&file)?;
        used.entry(module)
            .or_default()
            .extend(modules_in(product_part(&text)));
    }
    for (module, uses) in &used {
        let (_, allowed) = ALLOWED
            .iter()
            .find(|(name, _)| name == module)
            .with_context(|| format!("src/{module} is new: say in this test what it may use"))?;
        let wrong: Vec<_> = uses
            .iter()
            .filter(|used| *used != module && !allowed.contains(&used.as_str()))
            .collect();
        ensure!(
            wrong.is_empty(),
            "src/{module} uses {wrong:?}; it may use {allowed:?}"
        );
    }
    ensure!(
        used.len() == ALLOWED.len(),
        "{:?} is not every module of {ALLOWED:?}",
        used.keys()
    );
    Ok(())
}

#[test]
fn unsafe_code_is_in_sys_only() -> Result<()> {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    for file in rust_files(&src)? {
        let text = std::fs::read_to_string(&file)?;
        let in_sys = file.starts_with(src.join("sys"));
        ensure!(
            in_sys || !product_part(&text).contains("unsafe {"),
            "{} has unsafe code",
            file.display()
        );
    }
    Ok(())
}

/// Calls that change something outside the process, as `spool` and `ship` write them.
const EFFECTS: [&str; 12] = [
    ".rename(",
    ".rename_over(",
    ".remove_file(",
    ".append(",
    "copy_sparse(",
    "write_durably(",
    "Journal::begin(",
    "store.put(",
    "store.begin(",
    "store.put_part(",
    "store.complete(",
    "store.abort(",
];

/// What changes something on a dump's way names a step, where tests can end the agent. A function that is only called within a step, or that is on no
/// dump's way, says so.
#[test]
fn whatever_changes_something_on_a_dumps_way_is_a_step() -> Result<()> {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = 0;
    for module in ["spool", "ship"] {
        for file in rust_files(&src.join(module))? {
            if file.ends_with("spool/tests.rs") {
                continue;
            }
            let text = std::fs::read_to_string(&file)?;
            for function in functions_of(product_part(&text)) {
                let effects = EFFECTS.iter().filter(|effect| function.contains(**effect));
                let named = ["step(", "step_of(", "// No step", "// Within a step"];
                for effect in effects {
                    found += 1;
                    ensure!(
                        named.iter().any(|name| function.contains(name)),
                        "{}: `{effect}` is no step in:{function}",
                        file.display()
                    );
                }
            }
        }
    }
    ensure!(
        found > 20,
        "only {found} effects were found: they are written otherwise now"
    );
    Ok(())
}

#[test]
#[cfg(not(feature = "fault-points"))]
fn a_released_program_has_no_fault_points() -> Result<()> {
    let program = std::fs::read(env!("CARGO_BIN_EXE_salvage"))?;
    for name in ["SALVAGE_FAULT", "note-original-gone"] {
        let found = program.windows(name.len()).any(|w| w == name.as_bytes());
        ensure!(!found, "{name} is in the program");
    }
    Ok(())
}

/// A file's functions with what stands before them, roughly: from one end of a function to the next.
fn functions_of(text: &str) -> impl Iterator<Item = &str> {
    text.split("\n    }\n\n")
        .flat_map(|part| part.split("\n}\n"))
}

/// Tests may use what they like.
fn product_part(text: &str) -> &str {
    text.split("#[cfg(test)]\nmod tests")
        .next()
        .unwrap_or_default()
}

/// The names after `crate::`, in comments as well: a link there is an arrow in a reader's head. `crate::{a, b}` is not written in this house.
fn modules_in(text: &str) -> impl Iterator<Item = String> {
    text.split("crate::").skip(1).map(|rest| {
        rest.chars()
            .take_while(|c| c.is_ascii_alphanumeric() || *c == '_')
            .collect()
    })
}

fn rust_files(directory: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(directory)? {
        let path = entry?.path();
        if path.is_dir() {
            files.extend(rust_files(&path)?);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    Ok(files)
}
