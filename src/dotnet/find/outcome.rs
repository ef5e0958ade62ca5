//! What came of looking for a runtime in a process.

use std::io;
use std::path::PathBuf;

use crate::dotnet::{Error, ipc::Target};
use crate::model::escaped;

/// Whether a process has a runtime that can be asked, and else why not.
#[derive(Debug)]
pub enum Found {
    /// It has, and its socket is verified.
    Runtime(Target),
    /// It has no runtime in it: no socket, and no `libcoreclr.so` mapped. A single-file application with diagnostics switched off looks like this too.
    NotDotnet,
    /// It has a runtime whose diagnostics are switched off by this variable.
    DiagnosticsDisabled(&'static str),
    /// It has a runtime, but no socket to ask it by.
    NoSocket(NoSocket),
    /// What stands where its socket should be is not to be trusted; why.
    Untrusted(String),
    /// We may not look.
    Denied {
        /// What was refused.
        what: &'static str,
        /// What would allow it.
        needs: Needs,
        /// The kernel's answer.
        source: io::Error,
    },
    /// It has ended.
    Gone,
}

/// Why a runtime has no socket.
#[derive(Debug)]
pub enum NoSocket {
    /// Its `TMPDIR` does not exist; it runs without a socket then.
    TempDirMissing(PathBuf),
    /// Its `TMPDIR` is relative to where it was started, which nobody knows any more.
    TempDirRelative(PathBuf),
    /// Its temp directory is on a file system that it cannot write to.
    ReadOnly(PathBuf),
    /// Sockets of earlier processes of its number are there, and none of this one.
    OthersOnly(PathBuf),
    /// Its socket is there, but nobody listens: it was closed, or is not this process's.
    Stale(PathBuf),
    /// The directory is fine and empty of it: it has just been started, or somebody removed its socket.
    Absent(PathBuf),
    /// Looking failed.
    Failed {
        /// What was being done.
        operation: &'static str,
        /// The kernel's answer.
        source: io::Error,
    },
}

/// What a refusal of the kernel asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Needs {
    /// To look into the root and the maps of another's process.
    SysPtrace,
    /// To look into directories of other users.
    DacReadSearch,
    /// To connect to sockets of other users, and to write to their directories.
    DacOverride,
    /// To see the processes of the node.
    HostPid,
}

impl Needs {
    /// As a chart or a pod has it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::SysPtrace => "CAP_SYS_PTRACE",
            Self::DacReadSearch => "CAP_DAC_READ_SEARCH",
            Self::DacOverride => "CAP_DAC_OVERRIDE",
            Self::HostPid => "hostPID: true",
        }
    }
}

impl Found {
    /// How much this tells of there being a runtime: of several processes of a container, the one that tells most explains why none can be asked.
    pub fn closeness(&self) -> u8 {
        match self {
            Self::Gone => 0,
            Self::NotDotnet => 1,
            Self::Denied { .. } => 2,
            Self::NoSocket(_) => 3,
            Self::DiagnosticsDisabled(_) => 4,
            Self::Untrusted(_) => 5,
            Self::Runtime(_) => 6,
        }
    }

    /// The runtime, or the condition that stands for there being none in the process `pid`.
    ///
    /// # Errors
    /// Every outcome but a runtime.
    pub fn target(self, pid: i32) -> Result<Target, Error> {
        Err(match self {
            Self::Runtime(target) => return Ok(target),
            Self::NotDotnet => Error::NoRuntime(format!("process {pid} is no .NET process")),
            Self::DiagnosticsDisabled(variable) => Error::DiagnosticsDisabled { pid, variable },
            Self::NoSocket(NoSocket::Failed { operation, source }) => Error::Io {
                pid,
                operation,
                source,
            },
            Self::NoSocket(why) => Error::NoRuntime(format!(
                "process {pid} has no diagnostic socket: {}",
                why.text()
            )),
            Self::Untrusted(why) => Error::UntrustedSocket { pid, why },
            Self::Denied {
                what,
                needs,
                source,
            } => Error::PermissionDenied {
                pid,
                what,
                needs: needs.name(),
                source,
            },
            Self::Gone => Error::TargetDied {
                pid,
                during: "the search for its runtime",
            },
        })
    }
}

impl NoSocket {
    fn text(&self) -> String {
        match self {
            Self::TempDirMissing(dir) => format!(
                "its TMPDIR {} does not exist; make it (an emptyDir will do) and start the container anew",
                escaped(dir)
            ),
            Self::TempDirRelative(dir) => {
                format!("its TMPDIR {} is not absolute; make it so", escaped(dir))
            }
            Self::ReadOnly(dir) => format!(
                "{} is read-only for it; mount an emptyDir there or set TMPDIR to a directory it can write to",
                escaped(dir)
            ),
            Self::OthersOnly(dir) => format!(
                "{} holds only those of earlier starts; its own was removed or not yet made",
                escaped(dir)
            ),
            Self::Stale(path) => format!("nobody listens at {}", escaped(path)),
            Self::Absent(dir) => format!(
                "none is in {}; it was removed, or the process has just been started",
                escaped(dir)
            ),
            Self::Failed { operation, source } => format!("{operation}: {source}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_several_processes_the_one_that_tells_most_explains() {
        let denied = |needs| Found::Denied {
            what: "look into its root",
            needs,
            source: io::Error::from(io::ErrorKind::PermissionDenied),
        };
        let rising = [
            Found::Gone,
            Found::NotDotnet,
            denied(Needs::SysPtrace),
            Found::NoSocket(NoSocket::Absent("/tmp".into())),
            Found::DiagnosticsDisabled("DOTNET_EnableDiagnostics"),
            Found::Untrusted("/tmp is a symlink".to_owned()),
        ];
        assert!(rising.is_sorted_by(|less, more| less.closeness() < more.closeness()));
    }
}
