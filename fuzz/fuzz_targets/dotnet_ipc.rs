//! The diagnostic protocol of .NET: any answer is read or refused, and no request that can be made ends a runtime.
#![no_main]

use salvage::dotnet::ipc::{
    DumpCommand, DumpPath, ProcessInfo, Provider, Reply, Request, SessionConfig, SessionId,
};
use salvage::model::DumpType;

#[path = "../../src/dotnet/ipc/request/tests/spec.rs"]
mod spec;

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    answer(input);
    if let [which, rest @ ..] = input {
        request(*which, rest);
    }
});

fn answer(bytes: &[u8]) {
    if let Ok(Reply::Refused { text, .. }) = Reply::decode(bytes) {
        assert!(!text.chars().any(char::is_control), "{text:?}");
        assert!(text.len() < 1 << 14, "{} bytes of text", text.len());
    }
    for read in [ProcessInfo::first, ProcessInfo::second, ProcessInfo::third] {
        let _ = read(bytes);
    }
    let _ = SessionId::decode(bytes);
}

/// The parts of a request are what lies between blank lines.
fn request(which: u8, bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    if let Ok(path) = DumpPath::new(&text) {
        for command in DumpCommand::ALL {
            let dump_type = DumpType::ALL[usize::from(which) % 4];
            spec::check(
                &Request::GenerateCoreDump {
                    command,
                    path: &path,
                    dump_type,
                }
                .encode(),
            );
        }
    }
    let parts: Vec<_> = text.split("\n\n").collect();
    let providers = parts.chunks(2).filter_map(|part| {
        let arguments = part.get(1).copied().unwrap_or("");
        Provider::new(part[0], u64::from(which) << 40, which % 8, arguments).ok()
    });
    if let Ok(config) = SessionConfig::new(u32::from(which), which < 128, providers.collect()) {
        spec::check(&Request::CollectTracing2(&config).encode());
    }
}
