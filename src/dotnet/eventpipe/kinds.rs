//! What the stream says of each kind of event before the first of them: whose it is, what it is called, which fields it has.
//!
//! Version 4 describes fields without arrays; tags behind them may describe them again with arrays, and then that counts. Numbers of
//! events differ between versions of the runtime, which is why readers go by the names of fields.
//!
//! Invariant: each type that is kept takes at least a byte of a payload. A structure without fields takes none, so as a field it is left out, and an
//! array of such is refused: 65,535 of them would be work for two bytes.

use std::collections::HashMap;

use super::events::rows;
use super::reader::Reader;

/// Most bytes of descriptions that are kept: their own, what a kind takes besides, and what a field or the type of an array's elements takes besides its name, which has
/// as few as 6 in the stream. A runtime and its libraries have some hundreds of kinds.
const MAX_BYTES: usize = 1 << 20;
const KIND_BYTES: usize = 256;
const FIELD_BYTES: usize = 64;

/// Most fields of a kind, those of structures in it and the elements of arrays included.
const MAX_FIELDS: usize = 512;

/// Deepest structure in a structure.
const MAX_DEPTH: usize = 8;

/// Longest name kept, in characters.
const MAX_NAME: usize = 256;

/// A kind of event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kind {
    /// Who sends it.
    pub provider: Box<str>,
    /// Its number among the provider's.
    pub id: u32,
    /// Its name; the runtime's own events have none.
    pub name: Box<str>,
    /// The version of its fields.
    pub version: u32,
    /// Its fields in order; none are told of the runtime's own events.
    pub fields: Vec<Field>,
}

/// A field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field {
    /// Its name.
    pub name: Box<str>,
    /// What is in it.
    pub of: Type,
}

/// The type of a field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Type {
    /// Four bytes, zero or not.
    Bool,
    /// A number without sign of so many bytes.
    Unsigned(u8),
    /// A number with sign of so many bytes.
    Signed(u8),
    /// A floating-point number of four bytes.
    Single,
    /// A floating-point number of eight bytes.
    Double,
    /// So many bytes of something else.
    Bytes(u8),
    /// UTF-16 up to a zero.
    Text,
    /// Fields.
    Struct(Vec<Field>),
    /// A count of 16 bits and so many of these.
    Array(Box<Type>),
}

impl Type {
    fn is_nothing(&self) -> bool {
        matches!(self, Self::Struct(fields) if fields.is_empty())
    }
}

/// The kinds of a stream by their numbers in it.
#[derive(Debug, Default)]
pub(super) struct Kinds {
    kinds: HashMap<u32, Kind>,
    bytes: usize,
}

impl Kinds {
    pub(super) fn get(&self, metadata: u32) -> Option<&Kind> {
        self.kinds.get(&metadata)
    }

    /// Reads a block of descriptions. One that cannot be read does not keep those behind it from being.
    pub(super) fn block(&mut self, block: &[u8]) -> Result<(), &'static str> {
        let mut first = Ok(());
        rows(block, &mut |row| {
            let described = self.describe(row.payload);
            if first.is_ok() {
                first = described;
            }
            Ok(())
        })?;
        first
    }

    fn describe(&mut self, payload: &[u8]) -> Result<(), &'static str> {
        let (metadata, kind, field_count) =
            read(payload).ok_or("a kind of events is not described as it must be")?;
        let bytes = self.bytes + payload.len() + KIND_BYTES + field_count * FIELD_BYTES;
        if bytes > MAX_BYTES {
            return Err("more kinds of events are described than are kept");
        }
        self.bytes = bytes;
        self.kinds.insert(metadata, kind);
        Ok(())
    }
}

/// The number of a kind, what is said of it, and how many fields that has.
fn read(payload: &[u8]) -> Option<(u32, Kind, usize)> {
    const V2_FIELDS: u8 = 2;
    let mut reader = Reader::new(payload);
    let metadata = reader.u32()?;
    let provider = name(&mut reader)?;
    let id = reader.u32()?;
    let called = name(&mut reader)?;
    // Keywords.
    reader.u64()?;
    let version = reader.u32()?;
    // Level.
    reader.u32()?;
    let mut budget = MAX_FIELDS;
    let mut described = fields(&mut reader, 0, &mut budget)?;
    // Tags: size, kind, so many bytes. Kinds that are not known are stepped over.
    while let Some((kind, bytes)) = tag(&mut reader) {
        if kind == V2_FIELDS {
            described = fields_with_arrays(&mut Reader::new(bytes), 0, &mut budget)?;
        }
    }
    let kind = Kind {
        provider,
        id,
        name: called,
        version,
        fields: described,
    };
    Some((metadata, kind, MAX_FIELDS - budget))
}

fn tag<'a>(reader: &mut Reader<'a>) -> Option<(u8, &'a [u8])> {
    let size = usize::try_from(reader.u32()?).ok()?;
    Some((reader.u8()?, reader.take(size)?))
}

fn name(reader: &mut Reader<'_>) -> Option<Box<str>> {
    Some(reader.text()?.cut(MAX_NAME).into())
}

/// How many fields there are, if no more than may be.
fn count(reader: &mut Reader<'_>, depth: usize, budget: &mut usize) -> Option<usize> {
    let count = usize::try_from(reader.u32()?).ok()?;
    if depth > MAX_DEPTH {
        return None;
    }
    *budget = budget.checked_sub(count)?;
    Some(count)
}

/// Type, what it consists of, name.
fn fields(reader: &mut Reader<'_>, depth: usize, budget: &mut usize) -> Option<Vec<Field>> {
    let mut fields = Vec::new();
    for _ in 0..count(reader, depth, budget)? {
        let code = reader.u32()?;
        let of = match code {
            STRUCT => Type::Struct(self::fields(reader, depth + 1, budget)?),
            code => simple(code)?,
        };
        let name = name(reader)?;
        if !of.is_nothing() {
            fields.push(Field { name, of });
        }
    }
    Some(fields)
}

/// Size of all, name, type, what it consists of.
fn fields_with_arrays(
    reader: &mut Reader<'_>,
    depth: usize,
    budget: &mut usize,
) -> Option<Vec<Field>> {
    let mut fields = Vec::new();
    for _ in 0..count(reader, depth, budget)? {
        let size = usize::try_from(reader.u32()?).ok()?;
        let mut field = Reader::new(reader.take(size.checked_sub(4)?)?);
        let name = name(&mut field)?;
        let of = of(&mut field, depth, budget)?;
        if !of.is_nothing() {
            fields.push(Field { name, of });
        }
    }
    Some(fields)
}

fn of(reader: &mut Reader<'_>, depth: usize, budget: &mut usize) -> Option<Type> {
    if depth > MAX_DEPTH {
        return None;
    }
    match reader.u32()? {
        ARRAY => {
            *budget = budget.checked_sub(1)?;
            let element = of(reader, depth + 1, budget)?;
            (!element.is_nothing()).then(|| Type::Array(Box::new(element)))
        }
        STRUCT => Some(Type::Struct(fields_with_arrays(reader, depth + 1, budget)?)),
        code => simple(code),
    }
}

const STRUCT: u32 = 1;
const ARRAY: u32 = 19;

/// `System.TypeCode`, with 17 for a GUID.
fn simple(code: u32) -> Option<Type> {
    Some(match code {
        3 => Type::Bool,
        4 | 8 => Type::Unsigned(2),
        5 => Type::Signed(1),
        6 => Type::Unsigned(1),
        7 => Type::Signed(2),
        9 => Type::Signed(4),
        10 => Type::Unsigned(4),
        11 => Type::Signed(8),
        12 => Type::Unsigned(8),
        13 => Type::Single,
        14 => Type::Double,
        15 | 17 => Type::Bytes(16),
        16 => Type::Bytes(8),
        18 => Type::Text,
        _ => return None,
    })
}
