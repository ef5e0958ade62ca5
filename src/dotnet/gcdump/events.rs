//! The runtime's events of a heap walk, whose fields the stream does not describe.
//!
//! ```text
//! GCStart 1   u32 count, depth, reason, type
//! GCEnd 2     u32 count, depth
//! BulkType 15 u32 n, u16, n × { u64 id, u64 module, u32 name id, u32 flags, u8 element, UTF-16 name 0, u32 p, p × u64 parameter }
//! BulkNode 18 u32 index, n, u16, n × { pointer address, u64 size, u64 type, u64 edges }
//! ```
//!
//! Source: dotnet/runtime `src/coreclr/vm/ClrEtwAll.man`. Later versions add fields behind these, if at all.

use super::super::eventpipe::{Reader, Text};

/// An event of interest.
pub(super) enum HeapEvent<'a> {
    /// A collection begins.
    Start {
        /// The number of the collection.
        count: u32,
        /// Whether it is of the kind that a session induces.
        is_ours: bool,
    },
    /// A collection has ended.
    End {
        count: u32,
    },
    Types(Types<'a>),
    Nodes(Nodes<'a>),
    /// References between objects, and to them.
    Other,
}

/// Types, one after the other.
pub(super) struct Types<'a> {
    left: u32,
    reader: Reader<'a>,
}

/// A type that objects have.
pub(super) struct Type<'a> {
    pub(super) id: u64,
    pub(super) name: Text<'a>,
}

/// Objects, one after the other.
pub(super) struct Nodes<'a> {
    /// Counts the events of one walk, from 0.
    pub(super) index: u32,
    left: u32,
    pointer: usize,
    reader: Reader<'a>,
}

/// An object.
pub(super) struct Node {
    pub(super) size: u64,
    pub(super) of: u64,
}

/// Reads an event of the runtime's; none if it is no event of interest, or too short to be one.
pub(super) fn read(id: u32, payload: &[u8], pointer: u8) -> Option<HeapEvent<'_>> {
    const OLDEST: u32 = 2;
    const INDUCED: u32 = 1;
    const BLOCKING: u32 = 0;
    let mut reader = Reader::new(payload);
    match id {
        1 => {
            let count = reader.u32()?;
            let (depth, reason, how) = (reader.u32()?, reader.u32()?, reader.u32()?);
            let is_ours = (depth, reason, how) == (OLDEST, INDUCED, BLOCKING);
            Some(HeapEvent::Start { count, is_ours })
        }
        2 => Some(HeapEvent::End {
            count: reader.u32()?,
        }),
        15 => {
            let left = reader.u32()?;
            reader.u16()?;
            Some(HeapEvent::Types(Types { left, reader }))
        }
        18 => {
            let (index, left) = (reader.u32()?, reader.u32()?);
            reader.u16()?;
            Some(HeapEvent::Nodes(Nodes {
                index,
                left,
                pointer: pointer.into(),
                reader,
            }))
        }
        16 | 17 | 19 | 20 | 38 => Some(HeapEvent::Other),
        _ => None,
    }
}

impl<'a> Types<'a> {
    fn read(&mut self) -> Option<Type<'a>> {
        let reader = &mut self.reader;
        let id = reader.u64()?;
        // Module, the number of the name in it, flags, kind of element. The name has what they say.
        reader.take(8 + 4 + 4 + 1)?;
        let name = reader.text()?;
        let parameters = usize::try_from(reader.u32()?).ok()?.checked_mul(8)?;
        reader.take(parameters)?;
        Some(Type { id, name })
    }
}

impl<'a> Iterator for Types<'a> {
    type Item = Type<'a>;

    fn next(&mut self) -> Option<Type<'a>> {
        self.left = self.left.checked_sub(1)?;
        let read = self.read();
        if read.is_none() {
            self.left = 0;
        }
        read
    }
}

impl Iterator for Nodes<'_> {
    type Item = Node;

    fn next(&mut self) -> Option<Node> {
        self.left = self.left.checked_sub(1)?;
        self.reader.take(self.pointer)?;
        let (size, of) = (self.reader.u64()?, self.reader.u64()?);
        // References to others.
        self.reader.u64()?;
        Some(Node { size, of })
    }
}
