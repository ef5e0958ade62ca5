//! The list of objects: where each begins and ends, without what is in it.
//!
//! ```text
//! "Nettrace" 20 "!FastSerialization.1"
//! 5 │ 5 1 i32 version, i32 least reader, i32 length, name, 6 │ payload │ 6         an object, its type first
//! 1                                                                              the end
//! ```
//!
//! The first object is the trace itself, of 48 bytes; the others are blocks: `i32` size, zeros up to a multiple of 4 in the stream, that many bytes.
//!
//! A machine that always knows how many bytes it wants next. They are gathered in `buffer`, which grows by what arrives, never by what
//! is promised. Blocks of stacks and of sequence points are stepped over without being gathered.

use super::trace;

const MAGIC: &[u8; 32] = b"Nettrace\x14\0\0\0!FastSerialization.1";

const NULL: u8 = 1;
const BEGIN: u8 = 5;
const END: u8 = 6;

/// An object's head behind its first byte and before its type's name.
const HEAD: usize = 14;

/// Longest name of a type.
const MAX_NAME: usize = 64;

/// Longest block that is gathered. The runtime makes them of 100 KiB, and an event has at most 64 KiB.
const MAX_BLOCK: usize = 512 << 10;

/// Room that is kept from one block to the next.
const USUAL_BLOCK: usize = 128 << 10;

/// What is handed on.
pub(super) enum Part<'a> {
    Trace(&'a [u8]),
    Metadata(&'a [u8]),
    Events(&'a [u8]),
    /// A block that was stepped over although somebody might have read it.
    TooLong,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Block {
    Metadata,
    Events,
    /// Stacks and sequence points.
    Other,
}

/// What the bytes that are wanted are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Magic,
    Tag,
    Head,
    Name {
        version: u32,
        length: usize,
    },
    Trace,
    Size(Block),
    Body(Block, usize),
    /// So many bytes, which nobody wants.
    Over(u64),
    Close,
    Ended,
    /// Not decodable from here on.
    Lost,
}

#[derive(Debug)]
pub(super) struct Container {
    state: State,
    /// Bytes that the state wants.
    want: usize,
    buffer: Vec<u8>,
    /// Bytes of the stream before those in the buffer.
    position: u64,
    /// Whether the trace object has passed.
    traced: bool,
    /// Whether bytes came behind the end.
    trailing: bool,
}

impl Container {
    pub(super) fn new() -> Self {
        Self {
            state: State::Magic,
            want: MAGIC.len(),
            buffer: Vec::new(),
            position: 0,
            traced: false,
            trailing: false,
        }
    }

    pub(super) fn is_complete(&self) -> bool {
        self.state == State::Ended && !self.trailing
    }

    /// Takes bytes and hands on the parts they complete. The error is why nothing more will be, and comes once.
    pub(super) fn feed(
        &mut self,
        mut bytes: &[u8],
        parts: &mut dyn FnMut(Part<'_>),
    ) -> Result<(), String> {
        while !bytes.is_empty() {
            match self.state {
                State::Lost => return Ok(()),
                State::Ended => {
                    if !std::mem::replace(&mut self.trailing, true) {
                        return Err("bytes follow the end".to_owned());
                    }
                    return Ok(());
                }
                State::Over(left) => {
                    let passed = left.min(bytes.len() as u64);
                    bytes = &bytes[passed as usize..];
                    self.position += passed;
                    self.step_over(left - passed);
                }
                _ => bytes = self.gather(bytes, parts)?,
            }
        }
        Ok(())
    }

    /// Takes what the state wants, from the bytes themselves where all of it is there. Returns the bytes behind it.
    fn gather<'a>(
        &mut self,
        bytes: &'a [u8],
        parts: &mut dyn FnMut(Part<'_>),
    ) -> Result<&'a [u8], String> {
        let missing = self.want - self.buffer.len();
        let Some((now, rest)) = bytes.split_at_checked(missing) else {
            self.buffer.extend_from_slice(bytes);
            return Ok(&[]);
        };
        let stepped = if self.buffer.is_empty() {
            self.step(now, parts)
        } else {
            let mut gathered = std::mem::take(&mut self.buffer);
            gathered.extend_from_slice(now);
            let stepped = self.step(&gathered, parts);
            gathered.clear();
            // What a block of unusual length has taken is not kept for those after it.
            if gathered.capacity() <= USUAL_BLOCK {
                self.buffer = gathered;
            }
            stepped
        };
        self.position += self.want as u64;
        match stepped {
            Ok(state) => {
                self.enter(state);
                Ok(rest)
            }
            Err(why) => {
                let at = self.position - self.want as u64;
                self.state = State::Lost;
                self.buffer = Vec::new();
                Err(format!("{why} at byte {at}"))
            }
        }
    }

    /// Looks at what was wanted and says what comes next.
    fn step(
        &mut self,
        bytes: &[u8],
        parts: &mut dyn FnMut(Part<'_>),
    ) -> Result<State, &'static str> {
        match self.state {
            State::Magic if bytes == MAGIC => Ok(State::Tag),
            State::Magic => Err("the stream is of no version that is known"),
            State::Tag => match bytes {
                [BEGIN] => Ok(State::Head),
                [NULL] => Ok(State::Ended),
                _ => Err("no object begins"),
            },
            State::Head => head(bytes),
            State::Name { version, .. } => self.name(bytes, version),
            State::Trace => {
                self.traced = true;
                parts(Part::Trace(bytes));
                Ok(State::Close)
            }
            State::Size(block) => size(bytes, block, parts),
            State::Body(block, _) => {
                match block {
                    Block::Metadata => parts(Part::Metadata(bytes)),
                    Block::Events => parts(Part::Events(bytes)),
                    Block::Other => {}
                }
                Ok(State::Close)
            }
            State::Close if bytes == [END] => Ok(State::Tag),
            State::Close => Err("an object does not end"),
            State::Over(_) | State::Ended | State::Lost => Ok(self.state),
        }
    }

    fn name(&self, bytes: &[u8], version: u32) -> Result<State, &'static str> {
        let Some((END, name)) = bytes.split_last().map(|(end, name)| (*end, name)) else {
            return Err("a type does not end");
        };
        match (name, version, self.traced) {
            (b"Trace", 4 | 5, false) => Ok(State::Trace),
            (b"Trace", _, false) => Err("a trace of a version that is not known"),
            (_, _, false) => Err("an object that comes before the trace's"),
            (b"MetadataBlock", 2, _) => Ok(State::Size(Block::Metadata)),
            (b"EventBlock", 2, _) => Ok(State::Size(Block::Events)),
            (b"StackBlock" | b"SPBlock", _, _) => Ok(State::Size(Block::Other)),
            _ => Err("an object of a type that is not known"),
        }
    }

    fn enter(&mut self, state: State) {
        self.state = state;
        self.want = match state {
            State::Tag | State::Close => 1,
            State::Head => HEAD,
            State::Trace => trace::LENGTH,
            State::Size(_) => 4 + padding(self.position + 4),
            State::Name { length, .. } => length + 1,
            State::Body(_, length) => length,
            State::Magic | State::Over(_) | State::Ended | State::Lost => 0,
        };
        if let State::Over(left) = state {
            self.step_over(left);
        }
    }

    fn step_over(&mut self, left: u64) {
        if left > 0 {
            self.state = State::Over(left);
        } else {
            self.enter(State::Close);
        }
    }
}

/// Zeros from a place in the stream up to the next that is a multiple of 4.
fn padding(place: u64) -> usize {
    (place.wrapping_neg() % 4) as usize
}

fn number(bytes: &[u8], at: usize) -> Option<u32> {
    let bytes = bytes.get(at..at + 4)?;
    bytes.try_into().ok().map(u32::from_le_bytes)
}

/// `5 1 version least length`: the least reader is not looked at, the version being known or not.
fn head(bytes: &[u8]) -> Result<State, &'static str> {
    let (Some(version), Some(length)) = (number(bytes, 2), number(bytes, 10)) else {
        return Err("an object has no head");
    };
    let length = usize::try_from(length).unwrap_or(usize::MAX);
    if !bytes.starts_with(&[BEGIN, NULL]) || length > MAX_NAME {
        return Err("an object has no type");
    }
    Ok(State::Name { version, length })
}

fn size(
    bytes: &[u8],
    block: Block,
    parts: &mut dyn FnMut(Part<'_>),
) -> Result<State, &'static str> {
    // The format has it signed.
    let size = number(bytes, 0).filter(|size| i32::try_from(*size).is_ok());
    let length = size.ok_or("a block is longer than any can be")? as usize;
    if block == Block::Other {
        return Ok(State::Over(length as u64));
    }
    if length > MAX_BLOCK {
        parts(Part::TooLong);
        return Ok(State::Over(length as u64));
    }
    if length == 0 {
        // An empty block has not even a head of its own.
        return Ok(State::Close);
    }
    Ok(State::Body(block, length))
}
