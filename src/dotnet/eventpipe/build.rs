//! Streams made in code, after the format's description and apart from the reader. Real ones are read in the live tests.

/// A stream under construction.
pub(crate) struct Stream(Vec<u8>);

/// Ticks of `row`s are in units of this many to the second.
pub(crate) const FREQUENCY: u64 = 1_000;

/// 2025-11-21 01:52:31.359, a Friday.
pub(crate) const BEGUN: &str = "2025-11-21T01:52:31.359Z";

impl Stream {
    /// With its trace object.
    pub(crate) fn new() -> Self {
        Self::of_version(4)
    }

    pub(crate) fn of_version(version: u32) -> Self {
        let mut bytes = b"Nettrace".to_vec();
        bytes.extend([20, 0, 0, 0]);
        bytes.extend(b"!FastSerialization.1");
        let mut this = Self(bytes);
        this.head("Trace", version);
        for number in [2025u16, 11, 5, 21, 1, 52, 31, 359] {
            this.0.extend(number.to_le_bytes());
        }
        this.0.extend(1_000_000u64.to_le_bytes());
        this.0.extend(FREQUENCY.to_le_bytes());
        for number in [8u32, 4711, 4, 0] {
            this.0.extend(number.to_le_bytes());
        }
        this.0.push(6);
        this
    }

    fn head(&mut self, name: &str, version: u32) {
        self.0.extend([5, 5, 1]);
        self.0.extend(version.to_le_bytes());
        self.0.extend(version.to_le_bytes());
        self.0.extend((name.len() as u32).to_le_bytes());
        self.0.extend(name.bytes());
        self.0.push(6);
    }

    /// A block with any body.
    pub(crate) fn block(mut self, name: &str, body: &[u8]) -> Self {
        self.head(name, 2);
        self.0.extend((body.len() as u32).to_le_bytes());
        while !self.0.len().is_multiple_of(4) {
            self.0.push(0);
        }
        self.0.extend(body);
        self.0.push(6);
        self
    }

    /// A block that only promises so many bytes.
    pub(crate) fn promise(mut self, name: &str, size: u32) -> Vec<u8> {
        self.head(name, 2);
        self.0.extend(size.to_le_bytes());
        while !self.0.len().is_multiple_of(4) {
            self.0.push(0);
        }
        self.0
    }

    /// Descriptions of kinds, in the compressed form.
    pub(crate) fn kinds(self, kinds: &[Vec<u8>]) -> Self {
        let mut body = block_head(true);
        for kind in kinds {
            // The payload's length is told each time, so it never is that of the one before.
            body.push(128);
            varint(&mut body, 0);
            varint(&mut body, kind.len() as u64);
            body.extend(kind);
        }
        self.block("MetadataBlock", &body)
    }

    /// Events in the compressed form, each with all of its head.
    pub(crate) fn events(self, rows: &[Row]) -> Self {
        let mut body = block_head(true);
        let (mut ticks, mut number) = (0u64, 0u32);
        for row in rows {
            body.push(1 | 2 | 4 | 8 | 128);
            varint(&mut body, row.metadata.into());
            // One is added to it in any case.
            varint(
                &mut body,
                row.number.wrapping_sub(number).wrapping_sub(1).into(),
            );
            varint(&mut body, row.thread);
            varint(&mut body, 0);
            varint(&mut body, row.thread);
            varint(&mut body, 0);
            varint(&mut body, row.ticks.wrapping_sub(ticks));
            varint(&mut body, row.payload.len() as u64);
            body.extend(&row.payload);
            (ticks, number) = (row.ticks, row.number);
        }
        self.block("EventBlock", &body)
    }

    /// Events in the plain form.
    pub(crate) fn plain_events(self, rows: &[Row]) -> Self {
        let mut body = block_head(false);
        for row in rows {
            body.extend((80 + row.payload.len() as u32 - 4).to_le_bytes());
            // With the mark of an event that no later one is before.
            body.extend((row.metadata | 1 << 31).to_le_bytes());
            body.extend(row.number.to_le_bytes());
            body.extend(row.thread.to_le_bytes());
            body.extend(row.thread.to_le_bytes());
            body.extend([0; 8]);
            body.extend(row.ticks.to_le_bytes());
            body.extend([0; 32]);
            body.extend((row.payload.len() as u32).to_le_bytes());
            body.extend(&row.payload);
            while !body.len().is_multiple_of(4) {
                body.push(0);
            }
        }
        self.block("EventBlock", &body)
    }

    /// As far as it is.
    pub(crate) fn bytes(self) -> Vec<u8> {
        self.0
    }

    /// With the mark of the end.
    pub(crate) fn end(mut self) -> Vec<u8> {
        self.0.push(1);
        self.0
    }
}

/// An event to be written.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    pub(crate) metadata: u32,
    pub(crate) number: u32,
    pub(crate) thread: u64,
    pub(crate) ticks: u64,
    pub(crate) payload: Vec<u8>,
}

impl Row {
    /// The `number`-th of thread 7.
    pub(crate) fn new(metadata: u32, number: u32, payload: Vec<u8>) -> Self {
        Self {
            metadata,
            number,
            thread: 7,
            ticks: 1_000_000 + u64::from(number) * FREQUENCY,
            payload,
        }
    }
}

/// Length, flags, least and greatest time.
pub(crate) fn block_head(compressed: bool) -> Vec<u8> {
    let mut head = vec![20, 0, compressed.into(), 0];
    head.extend([0; 16]);
    head
}

fn varint(bytes: &mut Vec<u8>, mut number: u64) {
    while number > 127 {
        bytes.push((number & 127) as u8 | 128);
        number >>= 7;
    }
    bytes.push(number as u8);
}

/// Units and a zero.
pub(crate) fn text(text: &str) -> Vec<u8> {
    let units = text.encode_utf16().chain([0]);
    units.flat_map(u16::to_le_bytes).collect()
}

/// The description of a kind with these fields: type codes, what structures consist of, names.
pub(crate) fn kind(metadata: u32, provider: &str, id: u32, name: &str, fields: &[u8]) -> Vec<u8> {
    let mut bytes = metadata.to_le_bytes().to_vec();
    bytes.extend(text(provider));
    bytes.extend(id.to_le_bytes());
    bytes.extend(text(name));
    bytes.extend(0u64.to_le_bytes());
    bytes.extend(1u32.to_le_bytes());
    bytes.extend(4u32.to_le_bytes());
    bytes.extend(fields);
    bytes
}

/// Fields of plain types.
pub(crate) fn fields(fields: &[(u32, &str)]) -> Vec<u8> {
    let mut bytes = (fields.len() as u32).to_le_bytes().to_vec();
    for (code, name) in fields {
        bytes.extend(code.to_le_bytes());
        bytes.extend(text(name));
    }
    bytes
}

/// One field that is a structure of others.
pub(crate) fn structure(name: &str, inner: &[(u32, &str)]) -> Vec<u8> {
    let mut bytes = 1u32.to_le_bytes().to_vec();
    bytes.extend(1u32.to_le_bytes());
    bytes.extend(fields(inner));
    bytes.extend(text(name));
    bytes
}
