//! An object in the bucket, which anyone may have written, and the length that its manifest claims, in the input's first eight bytes:
//! it is refused, or gives exactly that many bytes.
#![no_main]

#[allow(dead_code, reason = "written for more tests than this")]
#[path = "../../src/fetch/memory.rs"]
mod memory;

use std::cell::LazyCell;
use std::io;
use std::sync::Arc;

use memory::MemoryStore;
use salvage::model::{Artifact, CrashKey};
use salvage::store::Store;
use salvage::{fetch, model, store};
use serde_json::json;
use tokio::runtime::Runtime;

/// How many bytes came, and none kept.
struct Counted(u64);

impl fetch::Sink for Counted {
    fn write(&mut self, raw: &[u8]) -> io::Result<()> {
        self.0 += raw.len() as u64;
        Ok(())
    }
}

thread_local! {
    static RUNTIME: LazyCell<Runtime> =
        LazyCell::new(|| tokio::runtime::Builder::new_current_thread().build().expect("a runtime"));
}

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    let Some((claimed, object)) = input.split_first_chunk() else {
        return;
    };
    let claimed = u64::from_le_bytes(*claimed);
    let crash: CrashKey = "crashes/cluster=c/namespace=-/date=2026-11-21/20261121T100000Z_-_-_SIGSEGV_0_01m7yrrt800000000000000000.json".parse().expect("a key");
    let key = "artifacts/cluster=c/namespace=-/date=2026-11-21/01m7yrrt800000000000000000/dump-0.core.zst";
    let artifact: Artifact = serde_json::from_value(json!({
        "role": "dump", "key": key, "format": "elf-core", "bytes": claimed, "stored_bytes": object.len(), "encoding": "zstd-seekable",
    }))
    .expect("an artifact");
    let memory = MemoryStore::default();
    memory.insert(key, object);
    let store: Arc<dyn Store> = Arc::new(memory);
    let read = RUNTIME.with(|runtime| {
        runtime.block_on(async {
            let opened = fetch::open(&*store, &crash, &artifact).await?;
            opened.read(&store, Counted(0)).await
        })
    });
    if let Ok((Counted(bytes), _)) = read {
        assert_eq!(bytes, claimed);
    }
});
