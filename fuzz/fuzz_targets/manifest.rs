//! A manifest in the bucket, which anyone may have written: it is kept as it is, and what is understood of it survives being written
//! and read again.
#![no_main]

#[allow(dead_code, reason = "written for more tests than this")]
#[path = "../../src/fetch/memory.rs"]
mod memory;

use std::cell::LazyCell;

use memory::MemoryStore;
use salvage::model::{CrashKey, Manifest};
use salvage::{fetch, model, store};
use tokio::runtime::Runtime;

thread_local! {
    static RUNTIME: LazyCell<Runtime> =
        LazyCell::new(|| tokio::runtime::Builder::new_current_thread().build().expect("a runtime"));
}

libfuzzer_sys::fuzz_target!(|text: &[u8]| {
    // The crash that the seeds are about.
    let key: CrashKey = "crashes/cluster=c/namespace=-/date=2026-11-21/20261121T100000Z_-_-_SIGSEGV_0_01m7yrrt800000000000000000.json".parse().expect("a key");
    let store = MemoryStore::default();
    store.insert(&key.to_string(), text);
    if let Ok(document) = RUNTIME.with(|runtime| runtime.block_on(fetch::document(&store, &key))) {
        assert_eq!(document.text().as_bytes(), text);
        if let Ok(manifest) = document.manifest() {
            assert_eq!(manifest.id, key.id());
            survives(&manifest);
        }
    }
    // The same without a key, for the seeds' ids differ.
    if let Ok(manifest) = serde_json::from_slice::<Manifest>(text) {
        survives(&manifest);
    }
});

fn survives(manifest: &Manifest) {
    let written = serde_json::to_string(manifest).expect("it can be written");
    assert_eq!(*manifest, serde_json::from_str(&written).expect("and read"));
}
