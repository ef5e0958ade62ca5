//! What the columns of a table are, whatever it is written in, and what those of the manifests have to be.

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

/// A column's type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Type {
    /// Text, or a time where a reader knows such.
    Text,
    /// A whole number of 32 bits.
    Int,
    /// A whole number of 64 bits.
    Long,
    /// True or false.
    Bool,
    /// Many of one type.
    List(Box<Self>),
    /// Named fields in their order.
    Struct(Fields),
}

pub(super) type Fields = Vec<(String, Type)>;

impl Type {
    /// By the name that one of the three has for it.
    fn named(name: &str) -> Result<Self> {
        Ok(match name.to_ascii_lowercase().as_str() {
            "string" | "varchar" | "timestamp" => Self::Text,
            "int" | "integer" => Self::Int,
            "bigint" => Self::Long,
            "boolean" => Self::Bool,
            other => bail!("{other} is no type that a manifest needs"),
        })
    }
}

/// The fields that this manifest has, with the narrowest types that hold their values. Every list in it must have something.
pub(super) fn of_manifest(manifest: &Value) -> Result<Fields> {
    let fields = manifest.as_object().context("an object")?;
    fields
        .iter()
        .map(|(name, value)| {
            let kind = of_value(value).with_context(|| name.clone())?;
            Ok((name.clone(), kind))
        })
        .collect()
}

fn of_value(value: &Value) -> Result<Type> {
    Ok(match value {
        Value::String(_) => Type::Text,
        Value::Bool(_) => Type::Bool,
        Value::Number(number) => {
            let small = number.as_i64().is_some_and(|n| i32::try_from(n).is_ok());
            if small { Type::Int } else { Type::Long }
        }
        Value::Array(items) => Type::List(Box::new(of_value(items.first().context("an item")?)?)),
        Value::Object(_) => Type::Struct(of_manifest(value)?),
        Value::Null => bail!("a manifest has no null"),
    })
}

/// The table has these fields and no other, at every depth, and each can hold what it has to.
pub(super) fn ensure_holds(table: &Fields, wanted: &Fields, at: &str) -> Result<()> {
    for (name, _) in table {
        let known = wanted.iter().any(|(other, _)| other == name);
        ensure!(known, "{at}{name} is in no manifest");
    }
    for (name, kind) in wanted {
        let at = format!("{at}{name}");
        let mut same = table.iter().filter(|(other, _)| other == name);
        let (_, column) = same.next().with_context(|| format!("{at} is missing"))?;
        ensure!(same.next().is_none(), "{at} is there twice");
        ensure_type_holds(column, kind, &at)?;
    }
    Ok(())
}

fn ensure_type_holds(column: &Type, wanted: &Type, at: &str) -> Result<()> {
    match (column, wanted) {
        (Type::List(column), Type::List(wanted)) => ensure_type_holds(column, wanted, at),
        (Type::Struct(column), Type::Struct(wanted)) => {
            ensure_holds(column, wanted, &format!("{at}."))
        }
        (Type::Long, Type::Int) => Ok(()),
        (column, wanted) if column == wanted => Ok(()),
        (column, wanted) => bail!("{at} is {column:?}, which does not hold {wanted:?}"),
    }
}

/// What DuckDB says of a table, as `tests/tools/query.py` writes it.
pub(super) fn of_duckdb(columns: &Value) -> Result<Fields> {
    let columns = columns.as_array().context("a list of columns")?;
    columns
        .iter()
        .map(|column| {
            let name = column[0].as_str().context("a name")?;
            Ok((name.to_owned(), duckdb_type(&column[1])?))
        })
        .collect()
}

fn duckdb_type(kind: &Value) -> Result<Type> {
    if let Some(name) = kind.as_str() {
        return Type::named(name);
    }
    match kind.get("list") {
        Some(item) => Ok(Type::List(Box::new(duckdb_type(item)?))),
        None => Ok(Type::Struct(of_duckdb(&kind["struct"])?)),
    }
}

/// The columns in the first parentheses of a `CREATE TABLE`, and its partition columns in `PARTITIONED BY (...)` if it has such, in Athena's words
/// (`` `a` struct<`b`:int> ``) or Trino's (`"a" row("b" integer)`).
pub(super) fn of_ddl(sql: &str) -> Result<(Fields, Fields)> {
    let mut words = Words::of(sql);
    words.skip_to("(")?;
    let columns = words.fields(")")?;
    let partitions = match words.skip_to("PARTITIONED") {
        Ok(()) => {
            words.skip_to("(")?;
            words.fields(")")?
        }
        Err(_) => Vec::new(),
    };
    Ok((columns, partitions))
}

/// The names in parentheses after this text.
pub(super) fn names_after(sql: &str, text: &str) -> Result<Vec<String>> {
    let (_, rest) = sql
        .split_once(text)
        .with_context(|| format!("no {text} in {sql}"))?;
    let mut words = Words::of(rest);
    words.expect("(")?;
    let mut names = Vec::new();
    loop {
        names.push(words.next()?);
        match words.next()?.as_str() {
            "," => {}
            ")" => return Ok(names),
            other => bail!("{other} after {names:?}"),
        }
    }
}

/// The words of a statement: names without their quotes, signs one by one.
struct Words(std::vec::IntoIter<String>);

impl Words {
    fn of(sql: &str) -> Self {
        let mut words = Vec::new();
        let mut rest = sql.trim_start();
        while let Some(first) = rest.chars().next() {
            let (word, after) = match first {
                '`' | '"' | '\'' => {
                    let (quoted, after) = rest[1..].split_once(first).unwrap_or((&rest[1..], ""));
                    (quoted, after)
                }
                c if c.is_alphanumeric() || c == '_' => {
                    let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_');
                    rest.split_at(end.unwrap_or(rest.len()))
                }
                c => rest.split_at(c.len_utf8()),
            };
            words.push(word.to_owned());
            rest = after.trim_start();
        }
        Self(words.into_iter())
    }

    fn next(&mut self) -> Result<String> {
        self.0.next().context("the statement ends early")
    }

    fn expect(&mut self, word: &str) -> Result<()> {
        let next = self.next()?;
        ensure!(next == word, "{next} where {word} should be");
        Ok(())
    }

    fn skip_to(&mut self, word: &str) -> Result<()> {
        while self.next()? != word {}
        Ok(())
    }

    fn fields(&mut self, end: &str) -> Result<Fields> {
        let mut fields = Vec::new();
        loop {
            let name = self.next()?;
            let mut kind = self.next()?;
            if kind == ":" {
                kind = self.next()?;
            }
            let kind = self.typed(&kind).with_context(|| name.clone())?;
            fields.push((name, kind));
            let next = self.next()?;
            if next == end {
                return Ok(fields);
            }
            ensure!(next == ",", "{next} after {fields:?}");
        }
    }

    fn typed(&mut self, word: &str) -> Result<Type> {
        let ends = |open: &str| if open == "<" { ">" } else { ")" };
        match word.to_ascii_lowercase().as_str() {
            "struct" | "row" => {
                let open = self.next()?;
                Ok(Type::Struct(self.fields(ends(&open))?))
            }
            "array" => {
                let open = self.next()?;
                let item = self.next()?;
                let item = self.typed(&item)?;
                self.expect(ends(&open))?;
                Ok(Type::List(Box::new(item)))
            }
            _ => Type::named(word),
        }
    }
}
