//! Files of Linux's `/proc` that Breakpad's and its heirs' minidumps have copies of.
//!
//! Taken are `status`, and of `environ` only `HOSTNAME`. The copies of `cmdline`, `environ` and `auxv` are never read otherwise:
//! arguments and environment hold secrets.

use super::super::host_name::Scan;
use super::super::read_at::{Source, Unread, Window};
use super::lists::Location;
use crate::model::Escaped;

/// Bytes of `status` read. The fields taken are all in the first few hundred.
pub(super) const MAX_STATUS: usize = 2_048;

/// Most bytes of environment read. 3,000 service variables make about 100 kB.
const MAX_ENVIRON: u64 = 2 << 20;

/// Of `status` what is taken. The file is that of the thread that crashed.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Status {
    /// Name of the process: that of its first thread, which all others may change for themselves.
    pub(super) comm: Option<String>,
    /// Process id, in the PID namespace of the `/proc` that was read.
    pub(super) pid: Option<i32>,
    /// The same in the process's own namespace.
    pub(super) innermost_pid: Option<i32>,
    /// Real user id.
    pub(super) uid: Option<u32>,
}

impl Status {
    pub(super) fn parse(bytes: &[u8]) -> Self {
        let field = |name: &str| {
            let mut lines = bytes.split(|b| *b == b'\n');
            let line = lines.find_map(|line| line.strip_prefix(name.as_bytes()))?;
            Some(line.strip_prefix(b":")?.trim_ascii())
        };
        let words = |name: &str| {
            let line = std::str::from_utf8(field(name)?).ok()?;
            Some(line.split_ascii_whitespace())
        };
        let number = |text: &str| text.parse().ok();
        let pid = words("Tgid").and_then(|mut w| w.next()).and_then(number);
        let tid = words("Pid").and_then(|mut w| w.next()).and_then(number);
        let comm = field("Name").filter(|name| !name.is_empty() && pid == tid);
        Self {
            comm: comm.map(|name| Escaped::bytes(name).to_string()),
            pid,
            innermost_pid: words("NStgid").and_then(Iterator::last).and_then(number),
            uid: words("Uid")
                .and_then(|mut w| w.next())
                .and_then(|uid| uid.parse().ok()),
        }
    }
}

/// `HOSTNAME` of the environment, if it is a DNS name.
pub(super) fn host_name(source: &Source<'_>, environ: Location) -> Result<Option<String>, Unread> {
    const STEP: u64 = 16 << 10;
    if environ.size > MAX_ENVIRON {
        return Err(Unread::Nonsense("they are longer than 2 MiB"));
    }
    let mut window = Window::new(source);
    let mut scan = Scan::default();
    let mut done = 0;
    while done < environ.size {
        let step = (environ.size - done).min(STEP);
        scan.feed(window.exact(environ.at + done, step as usize)?);
        done += step;
    }
    Ok(scan.into_found())
}
