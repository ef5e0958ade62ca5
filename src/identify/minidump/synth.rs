//! Builds minidumps, whole and broken, from Breakpad's headers. Shares no layout with the parser and none with the `minidump` crate.

/// Types of streams.
pub(super) const THREADS: u32 = 3;
pub(super) const MODULES: u32 = 4;
pub(super) const MEMORY: u32 = 5;
pub(super) const EXCEPTION: u32 = 6;
pub(super) const SYSTEM: u32 = 7;
pub(super) const MEMORY64: u32 = 9;
pub(super) const MISC: u32 = 15;
pub(super) const THREAD_NAMES: u32 = 24;
pub(super) const STATUS: u32 = 0x4767_0004;
pub(super) const CMDLINE: u32 = 0x4767_0006;
pub(super) const ENVIRON: u32 = 0x4767_0007;
pub(super) const SOFT_ERRORS: u32 = 0x4d7a_0004;

pub(super) const LINUX: u32 = 0x8201;
pub(super) const ANDROID: u32 = 0x8203;
pub(super) const WINDOWS: u32 = 2;
pub(super) const MAC: u32 = 0x8101;

pub(super) const AMD64: u16 = 9;

pub(super) const SECRET: &str = "hunter2-do-not-tell";

/// 2025-11-21T01:52:31Z.
pub(super) const WRITTEN: u32 = 1_763_689_951;

/// Where something is: offset and size.
pub(super) type Place = (u32, u32);

/// Numbers one after the other, in little endian.
#[derive(Clone, Default)]
pub(super) struct Bytes(pub(super) Vec<u8>);

impl Bytes {
    pub(super) fn u16(mut self, n: u16) -> Self {
        self.0.extend(n.to_le_bytes());
        self
    }

    pub(super) fn u32(mut self, n: u32) -> Self {
        self.0.extend(n.to_le_bytes());
        self
    }

    pub(super) fn u64(mut self, n: u64) -> Self {
        self.0.extend(n.to_le_bytes());
        self
    }

    pub(super) fn zeros(mut self, n: usize) -> Self {
        self.0.resize(self.0.len() + n, 0);
        self
    }

    pub(super) fn raw(mut self, bytes: &[u8]) -> Self {
        self.0.extend(bytes);
        self
    }

    /// Size, then offset: `MINIDUMP_LOCATION_DESCRIPTOR`.
    pub(super) fn place(self, place: Place) -> Self {
        self.u32(place.1).u32(place.0)
    }
}

/// A minidump being written from front to back.
#[derive(Clone)]
pub(super) struct Synth {
    pub(super) out: Vec<u8>,
    /// Type and place of each stream.
    pub(super) streams: Vec<(u32, Place)>,
    /// Entries of the directory.
    pub(super) room: u32,
    pub(super) time: u32,
}

impl Synth {
    /// One with room for so many streams.
    pub(super) fn new(room: u32) -> Self {
        Self {
            out: vec![0; 32 + 12 * room as usize],
            streams: Vec::new(),
            room,
            time: WRITTEN,
        }
    }

    /// Linux on x86-64: two threads, three modules, everything that is read.
    pub(super) fn linux() -> Self {
        let mut dump = Self::new(10);
        let (stack, context) = (dump.put(&[0xaa; 300]), dump.put(&[0xbb; 1_232]));
        let threads = [
            thread(4711, stack, context),
            thread(4713, stack, (context.0, 1_232)),
        ];
        dump.list(THREADS, &threads);
        let modules = [
            dump.module("/usr/bin/checkout", &elf(&[0x11; 20])),
            dump.module("/usr/lib/libc.so.6", &elf(&[0x22; 20])),
            dump.module("/usr/lib/x/ld-linux-x86-64.so.2", &elf(&[0x33; 8])),
        ];
        dump.list(MODULES, &modules);
        let memory = memory(0x7fff_0000, stack);
        dump.list(MEMORY, &[memory.clone(), memory]);
        dump.stream(EXCEPTION, &exception(4713, 11, 1, 0x1f0, context));
        dump.stream(SYSTEM, &system(AMD64, LINUX));
        dump.stream(STATUS, STATUS_TEXT);
        dump.stream(CMDLINE, format!("checkout\0--key={SECRET}\0").as_bytes());
        let environ =
            format!("PATH=/bin\0KEY={SECRET}\0HOSTNAME=checkout-7d9f6c5b8-x2x9z\0TERM=x\0");
        dump.stream(ENVIRON, environ.as_bytes());
        let names = [
            Bytes::default().u32(4711).u64(dump.text("checkout").into()),
            Bytes::default().u32(4713).u64(dump.text("worker").into()),
        ];
        dump.list(THREAD_NAMES, &names.map(|name| name.0));
        dump.stream(SOFT_ERRORS, b"[]");
        dump
    }

    /// A process of Windows with one module.
    pub(super) fn windows() -> Self {
        let mut dump = Self::new(5);
        dump.stream(SYSTEM, &system(AMD64, WINDOWS));
        dump.stream(MISC, &misc(1, 4711));
        let record = exception(8, 0xc000_0005, 0, 0x7ff6_0000, (0, 0));
        dump.stream(EXCEPTION, &record);
        let pdb = Bytes::default()
            .u32(u32::from_le_bytes(*b"RSDS"))
            .u32(0x0102_0304)
            .u16(0x0506)
            .u16(0x0708)
            .raw(&[9, 10, 11, 12, 13, 14, 15, 16])
            .u32(0x2a)
            .raw(b"C:\\build\\checkout.pdb\0");
        let module = dump.module("C:\\app\\checkout.exe", &pdb.0);
        let library = dump.module("C:\\app\\ledger.dll", &pdb.0);
        dump.list(MODULES, &[module, library]);
        dump
    }

    /// Writes bytes and says where they are.
    pub(super) fn put(&mut self, bytes: &[u8]) -> Place {
        let at = self.out.len() as u32;
        self.out.extend(bytes);
        (at, bytes.len() as u32)
    }

    /// Writes a text and says where.
    pub(super) fn text(&mut self, text: &str) -> u32 {
        let units: Vec<u8> = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
        let bytes = Bytes::default().u32(units.len() as u32).raw(&units);
        self.put(&bytes.0).0
    }

    pub(super) fn stream(&mut self, kind: u32, bytes: &[u8]) {
        let place = self.put(bytes);
        self.streams.push((kind, place));
    }

    pub(super) fn list(&mut self, kind: u32, records: &[Vec<u8>]) {
        let bytes = Bytes::default().u32(records.len() as u32);
        self.stream(kind, &bytes.raw(&records.concat()).0);
    }

    /// Writes what a module's record points at, and gives the record.
    pub(super) fn module(&mut self, name: &str, debug: &[u8]) -> Vec<u8> {
        let debug = self.put(debug);
        let name = self.text(name);
        module(name, debug)
    }

    /// Where the first stream of that type is.
    pub(super) fn place(&self, kind: u32) -> Place {
        let found = self.streams.iter().find(|(k, _)| *k == kind);
        found.expect("it has one").1
    }

    pub(super) fn build(&self) -> Vec<u8> {
        let header = Bytes::default()
            .raw(b"MDMP")
            .u32(0xa793)
            .u32(self.room)
            .u32(32)
            .u32(0)
            .u32(self.time)
            .u64(0);
        let directory = self.streams.iter().fold(header, |bytes, (kind, place)| {
            bytes.u32(*kind).place(*place)
        });
        let mut out = self.out.clone();
        out[..directory.0.len()].copy_from_slice(&directory.0);
        out
    }
}

/// Of thread 4713, in a container where it is 7 of process 1.
pub(super) const STATUS_TEXT: &[u8] = b"Name:\tworker\nUmask:\t0022\nState:\tt (tracing stop)\nTgid:\t4711\nNgid:\t0\nPid:\t4713\nPPid:\t1\nTracerPid:\t99\nUid:\t12345\t0\t0\t0\nGid:\t12345\t0\t0\t0\nFDSize:\t64\nGroups:\t \nNStgid:\t4711\t1\nNSpid:\t4713\t7\nThreads:\t2\n";

pub(super) fn thread(id: u32, stack: Place, context: Place) -> Vec<u8> {
    let head = Bytes::default().u32(id).u32(0).u32(0).u32(0).u64(0);
    head.u64(0x7fff_0000).place(stack).place(context).0
}

pub(super) fn module(name: u32, debug: Place) -> Vec<u8> {
    let head = Bytes::default().u64(0x5555_0000).u32(0x1000).u32(0);
    let head = head.u32(0x6543_2100).u32(name).zeros(52);
    head.place(debug).place((0, 0)).zeros(16).0
}

pub(super) fn memory(address: u64, place: Place) -> Vec<u8> {
    Bytes::default().u64(address).place(place).0
}

pub(super) fn exception(tid: u32, code: u32, flags: u32, address: u64, context: Place) -> Vec<u8> {
    let head = Bytes::default().u32(tid).u32(0).u32(code).u32(flags);
    head.u64(0)
        .u64(address)
        .u32(2)
        .u32(0)
        .u64(1)
        .u64(0x1f0)
        .zeros(8 * 13)
        .place(context)
        .0
}

pub(super) fn system(machine: u16, platform: u32) -> Vec<u8> {
    let head = Bytes::default()
        .u16(machine)
        .u16(6)
        .u16(0x0102)
        .raw(&[4, 1]);
    head.u32(6).u32(18).u32(0).u32(platform).u32(0).zeros(28).0
}

pub(super) fn misc(flags: u32, pid: u32) -> Vec<u8> {
    Bytes::default().u32(24).u32(flags).u32(pid).zeros(12).0
}

/// Breakpad's record of a build-id.
pub(super) fn elf(id: &[u8]) -> Vec<u8> {
    Bytes::default().u32(0x4270_454c).raw(id).0
}
