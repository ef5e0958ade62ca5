//! The renders as reviewed text in `tests/golden`: the defaults whole, every other combination by what differs from them.
//!
//! `SALVAGE_UPDATE=1 tests/run -- chart::golden` writes them anew.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use tempfile::TempDir;

use super::combinations::DEFAULTS;
use super::{Rendered, every, repository};

#[test]
#[ignore = "needs Helm; tests/run provisions it"]
fn renders_are_those_that_were_reviewed() -> Result<()> {
    let directory = repository().join("tests/golden");
    let update = std::env::var_os("SALVAGE_UPDATE").is_some();
    let every = every()?;
    let defaults = whole(every.get(DEFAULTS).context("the defaults")?);
    let mut expected_files = BTreeSet::new();
    let mut differing = String::new();
    for (name, rendered) in every {
        let (file, text) = if name == DEFAULTS {
            (format!("{name}.yaml"), defaults.clone())
        } else {
            let difference = diff(&defaults, &whole(rendered))?;
            (format!("{name}.diff"), without_line_numbers(&difference))
        };
        let path = directory.join(&file);
        if update {
            std::fs::create_dir_all(&directory)?;
            std::fs::write(&path, &text)?;
        }
        let reviewed = std::fs::read_to_string(&path).unwrap_or_default();
        if reviewed != text {
            writeln!(
                differing,
                "tests/golden/{file}:\n{}",
                diff(&reviewed, &text)?
            )?;
        }
        expected_files.insert(file);
    }
    for entry in std::fs::read_dir(&directory)? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if !expected_files.contains(&name) {
            if update {
                std::fs::remove_file(directory.join(&name))?;
            } else {
                writeln!(differing, "tests/golden/{name} is of no combination")?;
            }
        }
    }
    ensure!(
        differing.is_empty(),
        "not as reviewed (SALVAGE_UPDATE=1 tests/run -- chart::golden takes them as they are now):\n{differing}"
    );
    Ok(())
}

#[test]
#[ignore = "needs Helm; tests/run provisions it"]
fn the_linter_finds_nothing_in_any_combination() -> Result<()> {
    for (name, rendered) in every()? {
        // An icon is a matter of taste.
        let findings: Vec<_> = rendered
            .lint
            .iter()
            .filter(|finding| !finding.contains("icon is recommended"))
            .collect();
        ensure!(findings.is_empty(), "{name}: {findings:#?}");
    }
    Ok(())
}

/// All that was rendered, template by template. What is a file of the repository as it stands is left out: it has its own review, and `packaged` compares it.
fn whole(rendered: &Rendered) -> String {
    let mut all = String::new();
    for (template, text) in &rendered.texts {
        let text = match template.as_str() {
            "dashboards.yaml" => without(text, ".json: |", "    "),
            "rules.yaml" => without(text, "spec:", "  "),
            _ => text.clone(),
        };
        let text = without_checksums(&text);
        // Newlines at both ends are Helm's affair.
        let text = text.trim_matches('\n');
        all += &format!("---\n# Source: {template}\n{text}\n");
    }
    all
}

/// A checksum says nothing to a reader, and stands in every difference that has another configuration; `agrees` has what they are for.
fn without_checksums(text: &str) -> String {
    let mut kept = String::new();
    for line in text.lines() {
        match line.split_once(": ") {
            Some((key, _)) if key.contains("checksum/") => kept += &format!("{key}: ...\n"),
            _ => kept += &format!("{line}\n"),
        }
    }
    kept
}

/// The text without the lines that stand below one that ends so, indented.
fn without(text: &str, below: &str, indented: &str) -> String {
    let mut kept = String::new();
    let mut inside = false;
    for line in text.lines() {
        inside &= line.is_empty() || line.starts_with(indented);
        if !inside {
            kept += line;
            kept.push('\n');
        }
        if line.ends_with(below) {
            inside = true;
            kept += &format!("{indented}# as in dashboards\n");
        }
    }
    kept
}

/// As `diff -u` writes it, with the object in which it is.
fn diff(before: &str, after: &str) -> Result<String> {
    let directory = TempDir::new()?;
    let write = |name: &str, text: &str| std::fs::write(directory.path().join(name), text);
    write("before", before)?;
    write("after", after)?;
    let output = Command::new("diff")
        .args([
            "-U3",
            "--show-function-line=^kind:",
            "--label=before",
            "--label=after",
            "before",
            "after",
        ])
        .current_dir(directory.path())
        .output()?;
    // 1 is said of files that differ.
    ensure!(
        output.status.code() != Some(2),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(String::from_utf8(output.stdout)?)
}

/// Where a change stands in the whole would change with everything before it.
fn without_line_numbers(difference: &str) -> String {
    let mut text = String::new();
    for line in difference.lines().skip(2) {
        match line
            .strip_prefix("@@ ")
            .and_then(|rest| rest.split_once(" @@"))
        {
            Some((_, object)) => text += &format!("@@{object}\n"),
            None => text += &format!("{line}\n"),
        }
    }
    text
}
