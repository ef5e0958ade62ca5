//! The kinds of file a crash leaves, by content.

use serde::{Deserialize, Serialize};

use super::key::Role;

/// What a file is, found by its content and never by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Format {
    /// ELF core file, by the kernel or by .NET's `createdump`.
    ElfCore,
    /// Breakpad/Windows minidump.
    Minidump,
    /// Java heap dump (`HotSpot` binary format).
    Hprof,
    /// .NET's `*.crashreport.json`.
    DotnetCrashReport,
    /// The JVM's fatal error log, `hs_err_pid*.log`.
    HsErr,
    /// Node.js diagnostic report.
    NodeReport,
    /// V8 heap snapshot.
    HeapSnapshot,
    /// .NET `EventPipe` stream: trace, counters or heap snapshot events.
    Nettrace,
    /// The file `dotnet-gcdump` writes.
    Gcdump,
    /// Lines of a container's output, each with its time, as `kubectl logs --timestamps` shows them.
    ContainerLog,
    /// Samples of a program's counters, one JSON object to a line.
    Counters,
    /// None of the above; kept all the same.
    #[serde(other)]
    Unknown,
}

impl Format {
    /// Every format, for metrics that show zero and for tables.
    pub const ALL: [Self; 12] = [
        Self::ElfCore,
        Self::Minidump,
        Self::Hprof,
        Self::DotnetCrashReport,
        Self::HsErr,
        Self::NodeReport,
        Self::HeapSnapshot,
        Self::Nettrace,
        Self::Gcdump,
        Self::ContainerLog,
        Self::Counters,
        Self::Unknown,
    ];

    /// The name in manifests and metric labels.
    pub fn name(self) -> &'static str {
        match self {
            Self::ElfCore => "elf-core",
            Self::Minidump => "minidump",
            Self::Hprof => "hprof",
            Self::DotnetCrashReport => "dotnet-crash-report",
            Self::HsErr => "hs-err",
            Self::NodeReport => "node-report",
            Self::HeapSnapshot => "heap-snapshot",
            Self::Nettrace => "nettrace",
            Self::Gcdump => "gcdump",
            Self::ContainerLog => "container-log",
            Self::Counters => "counters",
            Self::Unknown => "unknown",
        }
    }

    /// The file name extension that people's tools expect.
    pub fn extension(self) -> &'static str {
        match self {
            Self::ElfCore => "core",
            Self::Minidump => "dmp",
            Self::Hprof => "hprof",
            Self::DotnetCrashReport | Self::NodeReport => "json",
            Self::HsErr | Self::ContainerLog => "txt",
            Self::HeapSnapshot => "heapsnapshot",
            Self::Nettrace => "nettrace",
            Self::Gcdump => "gcdump",
            Self::Counters => "jsonl",
            Self::Unknown => "bin",
        }
    }

    /// What part the file plays in a crash.
    pub fn role(self) -> Role {
        match self {
            Self::DotnetCrashReport | Self::HsErr | Self::NodeReport => Role::Report,
            Self::ContainerLog => Role::Log,
            Self::Counters => Role::Trace,
            _ => Role::Dump,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_in_a_manifest_is_the_name_in_a_metric() {
        for format in Format::ALL {
            assert_eq!(
                serde_json::to_string(&format).expect("serialises"),
                format!("{:?}", format.name())
            );
        }
        let later: Format = serde_json::from_str("\"a-format-of-2030\"")
            .expect("a later format is unknown, not an error");
        assert_eq!(later, Format::Unknown);
    }
}
