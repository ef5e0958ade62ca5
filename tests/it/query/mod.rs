//! `docs/query.md` held to what it says: its tables name exactly the fields of a manifest, and a real DuckDB answers its questions over manifests that an agent
//! has stored.

mod answers;
mod full;
mod stored;
mod table;

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use jiff::Timestamp;
use serde_json::{Value, json};

use table::Fields;

/// What stands in the documentation for the reader's bucket.
const BUCKET: &str = "s3://my-crashes/prod";

/// The columns that come from the key.
const PARTITIONS: [&str; 3] = ["cluster", "namespace", "date"];

/// A block of SQL in the documentation, below its headings.
struct Block {
    section: String,
    heading: String,
    sql: String,
}

fn blocks() -> Result<Vec<Block>> {
    let text = include_str!("../../../docs/query.md");
    let (mut section, mut heading) = (String::new(), String::new());
    let mut blocks = Vec::new();
    let mut open: Option<String> = None;
    for line in text.lines() {
        match (&mut open, line) {
            (None, "```sql") => open = Some(String::new()),
            (None, _) => {
                ensure!(!line.starts_with("```"), "{line} is no SQL");
                if let Some(name) = line.strip_prefix("## ") {
                    section = name.to_owned();
                } else if let Some(name) = line.strip_prefix("### ") {
                    heading = name.to_owned();
                }
            }
            (Some(sql), "```") => {
                blocks.push(Block {
                    section: section.clone(),
                    heading: heading.clone(),
                    sql: std::mem::take(sql),
                });
                open = None;
            }
            (Some(sql), _) => *sql = format!("{sql}{line}\n"),
        }
    }
    Ok(blocks)
}

/// The blocks of one section.
fn section(name: &str) -> Result<Vec<Block>> {
    let mut all = blocks()?;
    all.retain(|block| block.section == name);
    ensure!(!all.is_empty(), "no section {name} with SQL");
    Ok(all)
}

/// A manifest's fields, from one that has them all. `cluster` comes from the key.
fn fields() -> Result<Fields> {
    let manifest = full::manifest(Timestamp::now())?;
    let mut fields = table::of_manifest(&serde_json::to_value(&manifest)?)?;
    fields.retain(|(name, _)| name != "cluster");
    Ok(fields)
}

/// A table whose last columns are the partitions.
fn ensure_table(mut columns: Fields, what: &str) -> Result<()> {
    let partitions = columns.split_off(columns.len().saturating_sub(PARTITIONS.len()));
    let names: BTreeSet<&str> = partitions.iter().map(|(name, _)| name.as_str()).collect();
    // DuckDB sorts them.
    ensure!(
        names == BTreeSet::from(PARTITIONS),
        "{what} is partitioned by {names:?}"
    );
    let text = partitions
        .iter()
        .all(|(_, kind)| *kind == table::Type::Text);
    ensure!(text, "{what}: {partitions:?}");
    table::ensure_holds(&columns, &fields()?, "").context(what.to_owned())
}

#[test]
fn the_tables_of_athena_and_trino_have_exactly_a_manifests_fields() -> Result<()> {
    for name in ["Athena", "Trino"] {
        let blocks = section(name)?;
        let creates = |block: &&Block| block.sql.contains(" TABLE ");
        let sql = &blocks.iter().find(creates).context("a table")?.sql;
        let (mut columns, partitions) = table::of_ddl(sql).context(name)?;
        columns.extend(partitions);
        ensure_table(columns, name)?;
    }
    Ok(())
}

/// `UNNEST` of rows needs every name, in the order of the table.
#[test]
fn the_views_of_trino_name_the_fields_of_what_they_unnest_in_order() -> Result<()> {
    let blocks = section("Trino")?;
    let (columns, _) = table::of_ddl(&blocks[0].sql)?;
    let views = &blocks.last().context("views")?.sql;
    for (list, alias) in [("artifacts", "f"), ("missing", "g")] {
        let (_, kind) = columns
            .iter()
            .find(|(name, _)| name == list)
            .context(list)?;
        let table::Type::List(item) = kind else {
            anyhow::bail!("{list} is {kind:?}")
        };
        let table::Type::Struct(fields) = item.as_ref() else {
            anyhow::bail!("{list} has {item:?}")
        };
        let fields: Vec<&str> = fields.iter().map(|(name, _)| name.as_str()).collect();
        let named = table::names_after(views, &format!("UNNEST({list}) AS {alias} "))?;
        ensure!(named == fields, "{list}: {named:?} are not {fields:?}");
    }
    Ok(())
}

/// The same words for the same fields everywhere: a reader goes from the tables to their meaning.
#[test]
fn the_documentation_of_the_manifest_knows_every_field() -> Result<()> {
    fn ensure_named(text: &str, kind: &table::Type, at: &str) -> Result<()> {
        match kind {
            table::Type::List(item) => ensure_named(text, item, at),
            table::Type::Struct(fields) => fields.iter().try_for_each(|(name, kind)| {
                let known = [
                    format!("`{name}`"),
                    format!("`.{name}`"),
                    format!("`{name}[]`"),
                    format!("`.{name}[]`"),
                ];
                ensure!(
                    known.iter().any(|known| text.contains(known)),
                    "{at}.{name} is not in docs/manifest.md"
                );
                ensure_named(text, kind, &format!("{at}.{name}"))
            }),
            _ => Ok(()),
        }
    }
    let text = include_str!("../../../docs/manifest.md");
    ensure_named(text, &table::Type::Struct(fields()?), "")
}

/// What DuckDB says of the documented table and answers to these questions, over the bucket in this directory.
fn ask(bucket: &Path, questions: &BTreeMap<String, String>) -> Result<Value> {
    let setup: Vec<String> = section("DuckDB")?
        .iter()
        .map(|block| block.sql.replace(BUCKET, &bucket.to_string_lossy()))
        .collect();
    let python = std::env::var_os("SALVAGE_TEST_PYTHON")
        .context("SALVAGE_TEST_PYTHON is not set: run the tests by `tests/run`")?;
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/tools/query.py");
    let mut asked = Command::new(python)
        .arg(script)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    let mut stdin = asked.stdin.take().context("its stdin")?;
    stdin.write_all(
        json!({"setup": setup, "questions": questions})
            .to_string()
            .as_bytes(),
    )?;
    drop(stdin);
    let out = asked.wait_with_output()?;
    let said = String::from_utf8_lossy(&out.stderr);
    ensure!(out.status.success(), "{}: {said}", out.status);
    Ok(serde_json::from_slice(&out.stdout)?)
}

#[test]
#[ignore = "needs DuckDB; tests/run provisions it"]
fn the_table_of_duckdb_has_exactly_a_manifests_fields() -> Result<()> {
    let bucket = tempfile::TempDir::new()?;
    let manifest = full::manifest(Timestamp::now())?;
    stored::put(bucket.path(), &serde_json::to_value(&manifest)?)?;
    let said = ask(bucket.path(), &BTreeMap::new())?;
    ensure_table(table::of_duckdb(&said["columns"])?, "DuckDB")
}

#[test]
#[ignore = "needs DuckDB, Node.js and the compiled victims; tests/run provisions them"]
fn duckdb_answers_every_documented_question_as_the_manifests_do() -> Result<()> {
    let lab = stored::crashes()?;
    let now = Timestamp::now();
    stored::put(
        &lab.node.bucket(),
        &serde_json::to_value(full::manifest(now)?)?,
    )?;
    for capture in full::captures(now)? {
        stored::put(&lab.node.bucket(), &serde_json::to_value(capture)?)?;
    }
    stored::put(&lab.node.bucket(), &stored::old(now))?;
    let rows = answers::Crash::all(&lab.node.bucket())?;

    let mut questions = BTreeMap::new();
    for block in section("Questions")? {
        let twice = questions.insert(block.heading.clone(), block.sql);
        ensure!(twice.is_none(), "two queries below {}", block.heading);
    }
    let said = ask(&lab.node.bucket(), &questions)?;
    let expected = answers::to_all(&rows, now);
    let names = |all: &mut dyn Iterator<Item = &String>| all.cloned().collect::<Vec<_>>();
    ensure!(
        names(&mut questions.keys()) == names(&mut expected.keys()),
        "a question without an answer here, or the other way round: {:?}",
        questions.keys()
    );
    for (name, mut expected) in expected {
        let answer = &said["answers"][&name]["rows"];
        let mut rows: Vec<Value> = answer.as_array().context("rows")?.clone();
        ensure!(!rows.is_empty(), "{name}: nothing to answer");
        // Which of two equal ones comes first is nobody's business.
        for rows in [&mut rows, &mut expected] {
            rows.sort_by_key(Value::to_string);
        }
        ensure!(
            rows == expected,
            "{name}\n{}\nDuckDB: {rows:#?}\nthe manifests: {expected:#?}",
            said["answers"][&name]["columns"]
        );
    }
    Ok(())
}
