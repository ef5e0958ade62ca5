//! The few variables of a target that are looked at.
//!
//! The environment holds secrets. It passes through one small buffer, of which nothing is kept but where the temp directory is, and which of the variables
//! that switch diagnostics off does so.

use std::ffi::OsString;
use std::io::{self, Read};
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

/// What was looked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Looked {
    /// `TMPDIR`, where it is set and not empty.
    pub(super) temp_dir: Option<PathBuf>,
    /// The variable that switches diagnostics off.
    pub(super) disabled_by: Option<&'static str>,
}

/// Those that switch the socket off when they are 0. The `DOTNET_` ones are the newer and count more where a runtime knows both.
const SWITCHES: [&str; 4] = [
    "DOTNET_EnableDiagnostics",
    "DOTNET_EnableDiagnostics_IPC",
    "COMPlus_EnableDiagnostics",
    "COMPlus_EnableDiagnostics_IPC",
];

/// Longest variable that is looked at, name and value: a path and its name. The rest of a longer one is passed over.
const VARIABLE_MAX: usize = 4_096 + 64;
/// Most that is read. The kernel gives arguments and environment 6 MiB at most.
const ENVIRON_MAX: u64 = 8 << 20;

/// Looks through an environment, variables ended by NULs.
pub(super) fn look(environ: impl Read) -> io::Result<Looked> {
    let mut looked = Looked::default();
    let mut buffer = [0; 4_096];
    let mut variable = Vec::with_capacity(VARIABLE_MAX);
    let mut environ = environ.take(ENVIRON_MAX);
    loop {
        let read = match environ.read(&mut buffer) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            read => read?,
        };
        if read == 0 {
            looked.take(&variable);
            return Ok(looked);
        }
        for byte in &buffer[..read] {
            if *byte == 0 {
                looked.take(&variable);
                variable.clear();
            } else if variable.len() < VARIABLE_MAX {
                variable.push(*byte);
            }
        }
    }
}

impl Looked {
    fn take(&mut self, variable: &[u8]) {
        let value_of = |name: &str| variable.strip_prefix(name.as_bytes())?.strip_prefix(b"=");
        if let Some(value) = value_of("TMPDIR") {
            let is_path = !value.is_empty() && variable.len() < VARIABLE_MAX;
            // As getenv does: the first of its name.
            if is_path && self.temp_dir.is_none() {
                self.temp_dir = Some(PathBuf::from(OsString::from_vec(value.to_vec())));
            }
        }
        for name in SWITCHES {
            if self.disabled_by.is_none() && value_of(name).is_some_and(is_zero) {
                self.disabled_by = Some(name);
            }
        }
    }
}

/// The runtime reads its settings as hexadecimal numbers.
fn is_zero(value: &[u8]) -> bool {
    let text = String::from_utf8_lossy(value);
    let text = text.trim();
    let digits = text.strip_prefix("0x").unwrap_or(text);
    u32::from_str_radix(digits, 16) == Ok(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn looked(environ: &[u8]) -> (Option<String>, Option<&'static str>) {
        let looked = look(environ).expect("read");
        let temp_dir = looked
            .temp_dir
            .map(|path| path.to_string_lossy().into_owned());
        (temp_dir, looked.disabled_by)
    }

    #[test]
    fn only_the_named_variables_count() {
        let some = |text: &str| Some(text.to_owned());
        for (environ, expected) in [
            ("", (None, None)),
            ("A=1\0TMPDIR=/x/y\0B=2\0", (some("/x/y"), None)),
            ("TMPDIR=/x", (some("/x"), None)),
            ("TMPDIR=\0", (None, None)),
            ("TMPDIR=/first\0TMPDIR=/second\0", (some("/first"), None)),
            ("MYTMPDIR=/x\0TMPDIRS=/x\0", (None, None)),
            ("DOTNET_EnableDiagnostics=1\0", (None, None)),
            (
                "DOTNET_EnableDiagnostics=0\0",
                (None, Some("DOTNET_EnableDiagnostics")),
            ),
            (
                "COMPlus_EnableDiagnostics=0x0\0",
                (None, Some("COMPlus_EnableDiagnostics")),
            ),
            (
                "DOTNET_EnableDiagnostics_IPC=00\0",
                (None, Some("DOTNET_EnableDiagnostics_IPC")),
            ),
            ("DOTNET_EnableDiagnostics_Debugger=0\0", (None, None)),
            ("DOTNET_EnableDiagnostics=no\0", (None, None)),
        ] {
            assert_eq!(looked(environ.as_bytes()), expected, "{environ:?}");
        }
    }

    #[test]
    fn a_huge_environment_is_passed_through_a_small_buffer() {
        let mut environ = b"SECRET=".to_vec();
        environ.resize(3 << 20, b'x');
        environ.extend(b"\0TMPDIR=/t\0TMPDIR=");
        environ.resize(9 << 20, b'y');
        assert_eq!(looked(&environ), (Some("/t".to_owned()), None));
        let long = format!("TMPDIR=/{}\0", "x".repeat(5_000));
        assert_eq!(looked(long.as_bytes()), (None, None));
    }
}
