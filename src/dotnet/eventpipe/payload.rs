//! An event's payload, taken apart by the fields of its kind.
//!
//! Fields of structures are told as if they were the event's own, which is what readers by name want: `EventCounters` has all of its
//! values in one structure. Of an array only the length is told.
//!
//! Whatever is read takes at least a byte (see `kinds`), so the payload's length bounds the work.

use super::kinds::{Field, Kind, Type};
use super::reader::{Reader, Text};

/// The value of a field.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Value<'a> {
    /// Yes or no.
    Bool(bool),
    /// A number.
    Unsigned(u64),
    /// A number.
    Signed(i64),
    /// A number, or none.
    Float(f64),
    /// A text.
    Text(Text<'a>),
    /// Something else.
    Bytes(&'a [u8]),
    /// An array of so many elements.
    Items(u16),
}

impl Value<'_> {
    /// It as a number. Texts are none.
    pub fn number(self) -> Option<f64> {
        match self {
            Self::Unsigned(number) => Some(number as f64),
            Self::Signed(number) => Some(number as f64),
            Self::Float(number) => Some(number),
            Self::Bool(_) | Self::Text(_) | Self::Bytes(_) | Self::Items(_) => None,
        }
    }
}

/// The payload is shorter than its kind's fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed;

/// The fields of an event with their names.
pub fn values<'a>(
    kind: &'a Kind,
    payload: &'a [u8],
) -> Result<Vec<(&'a str, Value<'a>)>, Malformed> {
    let mut found = Vec::new();
    let mut reader = Reader::new(payload);
    fields(&kind.fields, &mut reader, &mut found).ok_or(Malformed)?;
    Ok(found)
}

fn fields<'a>(
    fields: &'a [Field],
    reader: &mut Reader<'a>,
    found: &mut Vec<(&'a str, Value<'a>)>,
) -> Option<()> {
    for field in fields {
        match &field.of {
            Type::Struct(inner) => self::fields(inner, reader, found)?,
            of => found.push((&field.name, value(of, reader)?)),
        }
    }
    Some(())
}

fn value<'a>(of: &Type, reader: &mut Reader<'a>) -> Option<Value<'a>> {
    Some(match of {
        Type::Bool => Value::Bool(reader.u32()? != 0),
        Type::Unsigned(bytes) => Value::Unsigned(unsigned(reader, *bytes)?),
        Type::Signed(bytes) => {
            let unused = 64 - 8 * u32::from(*bytes);
            let number = unsigned(reader, *bytes)?.cast_signed();
            Value::Signed(number << unused >> unused)
        }
        Type::Single => Value::Float(f64::from(f32::from_bits(reader.u32()?))),
        Type::Double => Value::Float(f64::from_bits(reader.u64()?)),
        Type::Bytes(bytes) => Value::Bytes(reader.take(usize::from(*bytes))?),
        Type::Text => Value::Text(reader.text()?),
        Type::Array(of) => {
            let items = reader.u16()?;
            for _ in 0..items {
                skip(of, reader)?;
            }
            Value::Items(items)
        }
        Type::Struct(_) => {
            skip(of, reader)?;
            Value::Items(1)
        }
    })
}

/// A number of 1, 2, 4 or 8 bytes.
fn unsigned(reader: &mut Reader<'_>, bytes: u8) -> Option<u64> {
    let mut number = [0; 8];
    let taken = reader.take(usize::from(bytes))?;
    number.get_mut(..taken.len())?.copy_from_slice(taken);
    Some(u64::from_le_bytes(number))
}

fn skip(of: &Type, reader: &mut Reader<'_>) -> Option<()> {
    match of {
        Type::Array(of) => {
            for _ in 0..reader.u16()? {
                skip(of, reader)?;
            }
        }
        Type::Struct(fields) => {
            for field in fields {
                skip(&field.of, reader)?;
            }
        }
        simple => {
            value(simple, reader)?;
        }
    }
    Some(())
}
