//! Cores made in code, for tests: good ones and ones broken on purpose.
//!
//! Written from the ELF specification, `linux/elfcore.h` and cores seen in a hex viewer, byte by byte; nothing of the parser's layouts
//! or of the `object` crate is shared, so that an error in one cannot hide in the other.

/// Appends numbers in one byte order.
pub(super) struct Bytes {
    pub(super) out: Vec<u8>,
    big: bool,
}

impl Bytes {
    fn new(big: bool) -> Self {
        Self {
            out: Vec::new(),
            big,
        }
    }

    fn put<const N: usize>(&mut self, mut little: [u8; N]) -> &mut Self {
        if self.big {
            little.reverse();
        }
        self.out.extend(little);
        self
    }

    pub(super) fn u16(&mut self, n: u16) -> &mut Self {
        self.put(n.to_le_bytes())
    }

    pub(super) fn u32(&mut self, n: u32) -> &mut Self {
        self.put(n.to_le_bytes())
    }

    pub(super) fn u64(&mut self, n: u64) -> &mut Self {
        self.put(n.to_le_bytes())
    }

    pub(super) fn raw(&mut self, bytes: &[u8]) -> &mut Self {
        self.out.extend_from_slice(bytes);
        self
    }

    pub(super) fn zeros_to(&mut self, len: usize) -> &mut Self {
        assert!(self.out.len() <= len, "{} > {len}", self.out.len());
        self.out.resize(len, 0);
        self
    }
}

pub(super) const KERNEL_ABI: u8 = 0;
pub(super) const GNU_ABI: u8 = 3;

/// A `PT_LOAD`.
#[derive(Clone)]
pub(super) struct Load {
    pub(super) address: u64,
    pub(super) data: Vec<u8>,
    pub(super) memory: u64,
}

#[derive(Clone)]
pub(super) struct Note {
    pub(super) name: Vec<u8>,
    pub(super) kind: u32,
    pub(super) data: Vec<u8>,
}

/// A core to be.
#[derive(Clone)]
pub(super) struct Synth {
    pub(super) wide: bool,
    pub(super) big: bool,
    pub(super) abi: u8,
    pub(super) machine: u16,
    pub(super) note_align: u64,
    pub(super) notes: Vec<Note>,
    pub(super) loads: Vec<Load>,
    /// Say 0xffff program headers and put the number into a section header at the end.
    pub(super) extended: bool,
}

pub(super) const EXE_BASE: u64 = 0x5555_5555_4000;
pub(super) const LIBC_BASE: u64 = 0x7f00_0000_0000;
pub(super) const LIBM_BASE: u64 = 0x7f10_0000_0000;
pub(super) const DATA_BASE: u64 = 0x7f20_0000_0000;
pub(super) const STACK_BASE: u64 = 0x7ffc_0000_0000;
pub(super) const SECRET: &str = "hunter2-do-not-tell";

impl Synth {
    pub(super) fn empty() -> Self {
        Self {
            wide: true,
            big: false,
            abi: KERNEL_ABI,
            machine: 62,
            note_align: 0,
            notes: Vec::new(),
            loads: Vec::new(),
            extended: false,
        }
    }

    pub(super) fn bytes(&self) -> Bytes {
        Bytes::new(self.big)
    }

    /// What Linux writes for `/srv/app/server` with three threads: the second (tid 42) took a SIGSEGV at address 0x1f0.
    pub(super) fn kernel() -> Self {
        Self::kernel_in(false, 62)
    }

    pub(super) fn kernel_in(big: bool, machine: u16) -> Self {
        let mut core = Self::empty();
        core.big = big;
        core.machine = machine;
        let stack = core.with_memory();
        core.note(1, core.prstatus(42, 11));
        core.note(3, core.prpsinfo(1000, 40, b"server"));
        core.note(0x5349_4749, core.siginfo(11, 1, 0x1f0));
        core.note(6, core.auxv(&stack.auxv()));
        core.note(0x4649_4c45, core.nt_file(&FILES));
        core.note(2, vec![0; 512]);
        core.named(b"LINUX\0", 0x202, vec![0; 11_008]);
        for tid in [40, 43] {
            core.note(1, core.prstatus(tid, 0));
            core.note(2, vec![0; 512]);
            core.named(b"LINUX\0", 0x202, vec![0; 11_008]);
        }
        core
    }

    /// What `createdump` of .NET 8 writes when thread 44, the last of three, throws.
    pub(super) fn createdump() -> Self {
        let mut core = Self::empty();
        core.abi = GNU_ABI;
        let stack = core.with_memory();
        core.note(3, core.prpsinfo(0, 1, b"server"));
        core.note(6, core.auxv(&stack.auxv()));
        core.note(0x4649_4c45, core.nt_file(&FILES));
        for tid in [1, 43] {
            core.note(1, core.prstatus(tid, 0));
            core.note(2, vec![0; 512]);
        }
        core.note(1, core.prstatus(44, 6));
        core.note(0x5349_4749, core.siginfo(6, 0, 0));
        core.note(2, vec![0; 512]);
        core
    }

    fn with_memory(&mut self) -> Stack {
        let stack = Stack::new(b"my-app-7d9f6c5b8-x2x9z");
        self.load(EXE_BASE, self.module(Some(&[0xe1; 20])));
        self.load(EXE_BASE + 0x1000, vec![0x90; 0x2000]);
        self.load(LIBC_BASE, self.module(Some(&[0xc1; 20])));
        self.load(LIBM_BASE, self.module(Some(&[0xc2; 16])));
        // Reserved memory that was never touched: promised in memory, not in the file.
        self.loads.push(Load {
            address: 0x7f50_0000_0000,
            data: Vec::new(),
            memory: 1 << 32,
        });
        self.load(DATA_BASE, b"not an ELF file".repeat(100));
        self.load(STACK_BASE, stack.memory.clone());
        stack
    }

    pub(super) fn load(&mut self, address: u64, data: Vec<u8>) {
        let memory = data.len() as u64;
        self.loads.push(Load {
            address,
            data,
            memory,
        });
    }

    pub(super) fn note(&mut self, kind: u32, data: Vec<u8>) {
        self.named(b"CORE\0", kind, data);
    }

    pub(super) fn named(&mut self, name: &[u8], kind: u32, data: Vec<u8>) {
        self.notes.push(Note {
            name: name.to_vec(),
            kind,
            data,
        });
    }

    /// Takes the notes of a type out.
    pub(super) fn without(mut self, kind: u32) -> Self {
        self.notes.retain(|note| note.kind != kind);
        self
    }

    /// The first note of a type.
    pub(super) fn note_mut(&mut self, kind: u32) -> &mut Note {
        let found = self.notes.iter_mut().find(|note| note.kind == kind);
        found.expect("the core has such a note")
    }

    pub(super) fn prstatus(&self, tid: u32, signal: u16) -> Vec<u8> {
        let mut out = self.bytes();
        out.u32(signal.into()).u32(0).u32(0); // elf_siginfo: signo, code, errno
        out.u16(signal).u16(0);
        out.u64(0).u64(0); // pending, held
        out.u32(tid).u32(1).u32(tid).u32(tid); // pid, ppid, pgrp, sid
        out.zeros_to(336).out.clone()
    }

    pub(super) fn prpsinfo(&self, uid: u32, pid: u32, comm: &[u8]) -> Vec<u8> {
        let mut out = self.bytes();
        out.raw(&[0, b'R', 0, 0, 0, 0, 0, 0]).u64(0x40_0000);
        out.u32(uid)
            .u32(uid + 1)
            .u32(pid)
            .u32(pid + 1)
            .u32(pid + 2)
            .u32(pid + 3);
        out.raw(comm).zeros_to(56);
        out.raw(b"server --password ").raw(SECRET.as_bytes());
        out.zeros_to(136).out.clone()
    }

    pub(super) fn siginfo(&self, number: i32, code: i32, detail: u64) -> Vec<u8> {
        let mut out = self.bytes();
        out.u32(number as u32)
            .u32(0)
            .u32(code as u32)
            .u32(0)
            .u64(detail);
        out.zeros_to(128).out.clone()
    }

    pub(super) fn auxv(&self, pairs: &[(u64, u64)]) -> Vec<u8> {
        let mut out = self.bytes();
        for (kind, value) in pairs {
            out.u64(*kind).u64(*value);
        }
        out.u64(0).u64(0).out.clone()
    }

    pub(super) fn nt_file(&self, files: &[(u64, u64, u64, &[u8])]) -> Vec<u8> {
        let mut out = self.bytes();
        out.u64(files.len() as u64).u64(4096);
        for (start, end, page_offset, _) in files {
            out.u64(*start).u64(*end).u64(*page_offset);
        }
        for (_, _, _, name) in files {
            out.raw(name).raw(b"\0");
        }
        out.out.clone()
    }

    /// The first page of a shared object: ELF header, two program headers, and notes of which the second is the build-id.
    pub(super) fn module(&self, build_id: Option<&[u8]>) -> Vec<u8> {
        let mut notes = self.bytes();
        notes.u32(4).u32(16).u32(5).raw(b"GNU\0").raw(&[7; 16]); // .note.gnu.property
        if let Some(id) = build_id {
            notes
                .u32(4)
                .u32(id.len() as u32)
                .u32(3)
                .raw(b"GNU\0")
                .raw(id);
        }
        let mut out = self.bytes();
        out.raw(b"\x7fELF")
            .raw(&[2, if self.big { 2 } else { 1 }, 1, 0])
            .zeros_to(16);
        out.u16(3)
            .u16(self.machine)
            .u32(1)
            .u64(0x1040)
            .u64(64)
            .u64(0);
        out.u32(0).u16(64).u16(56).u16(3).u16(64).u16(0).u16(0);
        // PT_LOAD, a PT_NOTE that lies beyond the page, and the PT_NOTE that counts.
        out.u32(1)
            .u32(5)
            .u64(0)
            .u64(0)
            .u64(0)
            .u64(0x1000)
            .u64(0x1000)
            .u64(0x1000);
        out.u32(4)
            .u32(4)
            .u64(0x8000)
            .u64(0x8000)
            .u64(0x8000)
            .u64(32)
            .u64(32)
            .u64(4);
        let size = notes.out.len() as u64;
        out.u32(4)
            .u32(4)
            .u64(0x200)
            .u64(0x200)
            .u64(0x200)
            .u64(size)
            .u64(size)
            .u64(4);
        out.zeros_to(0x200)
            .raw(&notes.out)
            .zeros_to(4096)
            .out
            .clone()
    }

    fn header_size(&self) -> usize {
        if self.wide { 64 } else { 52 }
    }

    fn segment_size(&self) -> usize {
        if self.wide { 56 } else { 32 }
    }

    fn segment(
        &self,
        out: &mut Bytes,
        kind: u32,
        (offset, size): (usize, usize),
        address: u64,
        memory: u64,
        align: u64,
    ) {
        let (offset, size) = (offset as u64, size as u64);
        if self.wide {
            out.u32(kind)
                .u32(4)
                .u64(offset)
                .u64(address)
                .u64(0)
                .u64(size)
                .u64(memory)
                .u64(align);
        } else {
            out.u32(kind).u32(offset as u32).u32(address as u32).u32(0);
            out.u32(size as u32)
                .u32(memory as u32)
                .u32(4)
                .u32(align as u32);
        }
    }

    fn note_bytes(&self) -> Vec<u8> {
        let align = if self.note_align == 8 { 8 } else { 4 };
        let mut out = self.bytes();
        for note in &self.notes {
            out.u32(note.name.len() as u32)
                .u32(note.data.len() as u32)
                .u32(note.kind);
            out.raw(&note.name);
            let len = out.out.len().next_multiple_of(align);
            out.zeros_to(len).raw(&note.data);
            let len = out.out.len().next_multiple_of(align);
            out.zeros_to(len);
        }
        out.out.clone()
    }

    /// Bytes that the program headers promise, when the last load has any.
    pub(super) fn promised(&self) -> u64 {
        let last = self.loads.last().map_or(0, |load| load.data.len());
        (self.build().len() - last.next_multiple_of(4096) + last) as u64
    }

    pub(super) fn build(&self) -> Vec<u8> {
        let count = self.loads.len() + 1;
        let notes = self.note_bytes();
        let notes_at = self.header_size() + count * self.segment_size();
        let first_data = (notes_at + notes.len()).next_multiple_of(4096);
        let data_end = first_data
            + self
                .loads
                .iter()
                .map(|load| load.data.len().next_multiple_of(4096))
                .sum::<usize>();

        let mut out = self.bytes();
        out.raw(b"\x7fELF")
            .raw(&[
                if self.wide { 2 } else { 1 },
                if self.big { 2 } else { 1 },
                1,
                self.abi,
            ])
            .zeros_to(16);
        let shoff = if self.extended { data_end as u64 } else { 0 };
        let phnum = if self.extended { 0xffff } else { count as u16 };
        let (shnum, shentsize) = if self.extended {
            (1, if self.wide { 64 } else { 40 })
        } else {
            (0, 0)
        };
        out.u16(4).u16(self.machine).u32(1);
        if self.wide {
            out.u64(0).u64(64).u64(shoff);
        } else {
            out.u32(0).u32(52).u32(shoff as u32);
        }
        out.u32(0)
            .u16(self.header_size() as u16)
            .u16(self.segment_size() as u16)
            .u16(phnum);
        out.u16(shentsize).u16(shnum).u16(0);

        self.segment(&mut out, 4, (notes_at, notes.len()), 0, 0, self.note_align);
        let mut at = first_data;
        for load in &self.loads {
            self.segment(
                &mut out,
                1,
                (at, load.data.len()),
                load.address,
                load.memory,
                4096,
            );
            at += load.data.len().next_multiple_of(4096);
        }
        out.raw(&notes).zeros_to(first_data);
        for load in &self.loads {
            out.raw(&load.data);
            let len = out.out.len().next_multiple_of(4096);
            out.zeros_to(len);
        }
        if self.extended {
            out.u32(0).u32(0);
            if self.wide {
                out.u64(0)
                    .u64(0)
                    .u64(0)
                    .u64(1)
                    .u32(0)
                    .u32(count as u32)
                    .u64(0)
                    .u64(0);
            } else {
                out.u32(0)
                    .u32(0)
                    .u32(0)
                    .u32(1)
                    .u32(0)
                    .u32(count as u32)
                    .u32(0)
                    .u32(0);
            }
        }
        out.out.clone()
    }
}

/// Start, end, offset in pages and name, as `readelf -n` shows them.
pub(super) const FILES: [(u64, u64, u64, &[u8]); 6] = [
    (EXE_BASE, EXE_BASE + 0x1000, 0, b"/srv/app/server"),
    (EXE_BASE + 0x1000, EXE_BASE + 0x3000, 1, b"/srv/app/server"),
    (LIBC_BASE, LIBC_BASE + 0x1000, 0, b"/usr/lib/libc.so.6"),
    (
        LIBC_BASE + 0x1000,
        LIBC_BASE + 0x9000,
        1,
        b"/usr/lib/libc.so.6",
    ),
    (LIBM_BASE, LIBM_BASE + 0x1000, 0, b"/usr/lib/libm.so.6"),
    (DATA_BASE, DATA_BASE + 0x1000, 0, b"/var/cache/data"),
];

/// The initial stack: live frames, pointers, then the strings.
pub(super) struct Stack {
    pub(super) memory: Vec<u8>,
    random: u64,
    exec_name: u64,
}

impl Stack {
    pub(super) fn new(host_name: &[u8]) -> Self {
        // A stale copy in a live frame and one among the arguments; only the environment's counts.
        let mut memory = b"\0HOSTNAME=stale-frame\0".to_vec();
        memory.resize(0x900, 0);
        let random = STACK_BASE + memory.len() as u64;
        memory.extend([0xa5; 16]);
        memory.extend(b"x86_64\0\0\0\0");
        memory.extend(b"/srv/app/server\0--password=");
        memory.extend(SECRET.as_bytes());
        memory.extend(b"\0HOSTNAME=from-an-argument\0");
        memory.extend(b"PATH=/usr/bin\0DB_PASSWORD=");
        memory.extend(SECRET.as_bytes());
        memory.extend(b"\0HOSTNAME=");
        memory.extend(host_name);
        memory.extend(b"\0HOME=/root\0");
        let exec_name = STACK_BASE + memory.len() as u64;
        memory.extend(b"/srv/app/server\0\0\0\0\0\0\0\0\0");
        Self {
            memory,
            random,
            exec_name,
        }
    }

    pub(super) fn auxv(&self) -> [(u64, u64); 7] {
        [
            (33, 0x7fff_0000_0000),
            (3, EXE_BASE + 64),
            (5, 13),
            (9, EXE_BASE + 0x1040),
            (15, self.random + 16),
            (25, self.random),
            (31, self.exec_name),
        ]
    }
}
