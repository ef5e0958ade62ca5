//! What a file says about the crash that left it.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::Format;
use super::manifest::{Exception, Occasion, Process, Runtime, SignalInfo};

/// Whether a file holds all that its own headers promise.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Completeness {
    /// It reaches the end its headers promise.
    Complete,
    /// It is shorter than its headers promise.
    Truncated {
        /// Length in bytes it should have; absent where the headers themselves are cut.
        expected: Option<u64>,
    },
    /// The format does not say.
    Unknown,
}

/// What a file says about itself and its crash. All of it was chosen by the crashing process: evidence, never proof.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Facts {
    /// What the file is.
    pub format: Format,
    /// Whether it is whole.
    pub completeness: Completeness,
    /// Who wrote it, where the format tells: `kernel`, `createdump` or `minidump-writer`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub producer: Option<String>,
    /// The signal that ended the process.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signal: Option<SignalInfo>,
    /// The process that ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub process: Option<Process>,
    /// The language runtime in it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runtime: Option<Runtime>,
    /// The exception that ended it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exception: Option<Exception>,
    /// What a runtime's own report was written for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub occasion: Option<Occasion>,
    /// Version of the file's format, as the file says it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub format_version: Option<String>,
    /// Size of an object id in a heap dump, in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identifier_bytes: Option<u32>,
    /// A digest of what the kernel laid out at random for this process image: two cores that have the same show the same process,
    /// two that differ do not, whatever their process ids. Never leaves the node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// The value of `HOSTNAME` in the process's first environment, or the host name that a report has, if it is a DNS name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host_name: Option<String>,
    /// When the file says it was written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub written: Option<Timestamp>,
    /// What could not be read and why, for the manifest; never a reason to stop.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unread: Vec<String>,
}

impl Facts {
    /// Facts of a file of which only the format is known.
    pub fn of(format: Format) -> Self {
        Self {
            format,
            completeness: Completeness::Unknown,
            producer: None,
            signal: None,
            process: None,
            runtime: None,
            exception: None,
            occasion: None,
            format_version: None,
            identifier_bytes: None,
            image: None,
            host_name: None,
            written: None,
            unread: Vec::new(),
        }
    }
}
