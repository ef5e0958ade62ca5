//! What a runtime answers: hostile bytes, read with every length checked.
//!
//! A payload has at most 65,515 bytes because the header's size has 16 bits, so an answer is bounded before it is read. Text in it is made fit to be shown
//! here and nowhere else. The command line of a process is passed over: it holds secrets.

use crate::model::Escaped;

use super::SessionId;
use super::request::{HEADER, MAGIC};

/// An answer as a whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// It was done; what came with it.
    Done(Vec<u8>),
    /// It was not.
    Refused {
        /// The number for why.
        hresult: u32,
        /// The runtime's own words, empty where it gave none.
        text: String,
    },
}

/// Bytes that are no answer of a runtime.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("its answer is none of the protocol: {0}")]
pub struct Malformed(pub(super) &'static str);

/// What a process says it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProcessInfo {
    /// Its number in its own pid namespace.
    pub pid: u64,
    /// The runtime's own mark of this start, the same in every answer.
    pub cookie: [u8; 16],
    /// `Linux`.
    pub operating_system: String,
    /// `x64`, `arm64`.
    pub architecture: String,
    /// The assembly it was started with, since .NET 6.
    pub entry_assembly: Option<String>,
    /// The runtime's version, since .NET 6.
    pub clr_version: Option<String>,
    /// `linux-x64`, `linux-musl-x64`, since .NET 8.
    pub runtime_identifier: Option<String>,
}

/// The number for a command that a runtime is too old for.
pub(super) const UNKNOWN_COMMAND: u32 = 0x8013_1385;

/// Longest text of a runtime's that is kept, in UTF-16 units.
const TEXT_MAX: usize = 512;

/// Of a header, the length of the payload behind it and whether that says "done".
pub(super) fn header(bytes: &[u8; HEADER]) -> Result<(usize, bool), Malformed> {
    let Some(rest) = bytes.strip_prefix(MAGIC.as_slice()) else {
        return Err(Malformed("it does not begin as one"));
    };
    let [low, high, set, id, ..] = rest else {
        return Err(Malformed("it is cut short"));
    };
    let size = usize::from(u16::from_le_bytes([*low, *high]));
    let Some(payload) = size.checked_sub(HEADER) else {
        return Err(Malformed("it is shorter than its own header"));
    };
    match (set, id) {
        (0xff, 0x00) => Ok((payload, true)),
        (0xff, 0xff) => Ok((payload, false)),
        _ => Err(Malformed(
            "it is a command, or an answer of a kind that there is not",
        )),
    }
}

impl Reply {
    /// Reads one from its header and the payload behind that.
    pub(super) fn of(done: bool, payload: Vec<u8>) -> Result<Self, Malformed> {
        if done {
            return Ok(Self::Done(payload));
        }
        let mut fields = Fields(&payload);
        let hresult = fields.u32()?;
        // Only some commands have words behind the number; of some versions the bytes behind it mean nothing.
        let text = fields.string().unwrap_or_default().unwrap_or_default();
        Ok(Self::Refused {
            hresult,
            text: in_own_words(&text),
        })
    }

    /// Reads one that is there as a whole.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let Some((head, rest)) = bytes.split_first_chunk() else {
            return Err(Malformed("it is cut short"));
        };
        let (payload, done) = header(head)?;
        if payload != rest.len() {
            return Err(Malformed("its size is not the one it says"));
        }
        Self::of(done, rest.to_vec())
    }
}

impl ProcessInfo {
    /// Reads the payload of the answer to `ProcessInfo`.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn first(payload: &[u8]) -> Result<Self, Malformed> {
        Self::begin(&mut Fields(payload))
    }

    /// Reads the payload of the answer to `ProcessInfo2`.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn second(payload: &[u8]) -> Result<Self, Malformed> {
        let mut fields = Fields(payload);
        Self::begin(&mut fields)?.go_on(&mut fields)
    }

    /// Reads the payload of the answer to `ProcessInfo3`.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn third(payload: &[u8]) -> Result<Self, Malformed> {
        let mut fields = Fields(payload);
        // Its version: higher ones promise to add at the end only.
        if fields.u32()? == 0 {
            return Err(Malformed("it is of version 0"));
        }
        let mut info = Self::begin(&mut fields)?.go_on(&mut fields)?;
        info.runtime_identifier = fields.shown()?;
        Ok(info)
    }

    fn begin(fields: &mut Fields<'_>) -> Result<Self, Malformed> {
        let pid = u64::from_le_bytes(fields.array()?);
        let cookie = fields.array()?;
        let _command_line = fields.units()?;
        Ok(Self {
            pid,
            cookie,
            operating_system: fields.shown()?.unwrap_or_default(),
            architecture: fields.shown()?.unwrap_or_default(),
            ..Self::default()
        })
    }

    fn go_on(self, fields: &mut Fields<'_>) -> Result<Self, Malformed> {
        Ok(Self {
            entry_assembly: fields.shown()?,
            clr_version: fields.shown()?,
            ..self
        })
    }
}

impl SessionId {
    /// Reads the payload of the answer to `CollectTracing2` or `StopTracing`.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn decode(payload: &[u8]) -> Result<Self, Malformed> {
        Ok(Self(u64::from_le_bytes(Fields(payload).array()?)))
    }
}

/// A payload, read from its beginning.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let (array, rest) = self
            .0
            .split_first_chunk()
            .ok_or(Malformed("it is cut short"))?;
        self.0 = rest;
        Ok(*array)
    }

    fn u32(&mut self) -> Result<u32, Malformed> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    /// The bytes of a string, `None` for a null.
    fn units(&mut self) -> Result<Option<&'a [u8]>, Malformed> {
        let count = usize::try_from(self.u32()?).unwrap_or(usize::MAX);
        if count == 0 {
            return Ok(None);
        }
        let length = count
            .checked_mul(2)
            .filter(|length| *length <= self.0.len());
        let (bytes, rest) = self
            .0
            .split_at(length.ok_or(Malformed("a text in it is longer than it"))?);
        self.0 = rest;
        Ok(Some(bytes))
    }

    /// A string up to its NUL, cut at what is kept.
    fn string(&mut self) -> Result<Option<String>, Malformed> {
        let Some(bytes) = self.units()? else {
            return Ok(None);
        };
        let units = bytes
            .as_chunks()
            .0
            .iter()
            .map(|unit| u16::from_le_bytes(*unit));
        let kept: Vec<u16> = units.take_while(|unit| *unit != 0).take(TEXT_MAX).collect();
        Ok(Some(String::from_utf16_lossy(&kept)))
    }

    /// A string fit to be shown.
    fn shown(&mut self) -> Result<Option<String>, Malformed> {
        Ok(self
            .string()?
            .map(|text| Escaped::bytes(text.as_bytes()).to_string()))
    }
}

/// The runtime's text of several lines as one, without the name of the program before each and without how long it took to fail.
fn in_own_words(text: &str) -> String {
    let lines = text.lines().map(|line| {
        line.trim()
            .strip_prefix("[createdump]")
            .unwrap_or(line)
            .trim()
    });
    let lines: Vec<_> = lines
        .filter(|line| !line.is_empty() && !line.starts_with("Failure took"))
        .map(|line| Escaped::bytes(line.as_bytes()).to_string())
        .collect();
    lines.join("; ")
}

#[cfg(test)]
mod tests;
