//! What an event session asks of a runtime.
//!
//! Invariants: no part of it can be written by its user that a runtime of any version rejects by dying: see the table of deadly messages in the head of
//! `ipc`. The whole fits one message.

use super::request::{HEADER, MESSAGE_MAX, string_bytes};

/// What cannot be asked of a runtime.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Invalid(pub(super) String);

/// One event provider of a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Provider {
    name: String,
    keywords: u64,
    level: u8,
    arguments: String,
}

/// An event session: its buffer in the target, whether it ends with a rundown, and who is listened to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionConfig {
    buffer_mb: u32,
    rundown: bool,
    providers: Vec<Provider>,
}

/// Longest name of a provider in UTF-16 units; real ones have less than 64.
const NAME_MAX: usize = 256;
/// Longest arguments of a provider in UTF-16 units.
const ARGUMENTS_MAX: usize = 8 << 10;
/// It is the target's own memory, within the target's own limit.
const BUFFER_MB_MAX: u32 = 256;

impl Provider {
    /// A provider by name, with its keywords, its level (0 always to 5 verbose) and its arguments (`NAME=VALUE;NAME=VALUE`, or nothing).
    ///
    /// # Errors
    /// A name that is empty, longer than 256 UTF-16 units or holds a NUL, a level above 5, arguments above 8,192 units or with a NUL.
    pub fn new(name: &str, keywords: u64, level: u8, arguments: &str) -> Result<Self, Invalid> {
        let shown = crate::model::Escaped::bytes(name.as_bytes());
        if name.is_empty() || name.contains('\0') || name.encode_utf16().count() > NAME_MAX {
            return Err(Invalid(format!(
                "{shown:?} is no name of an event provider: it has 1 to {NAME_MAX} characters and no NUL"
            )));
        }
        if level > 5 {
            return Err(Invalid(format!(
                "provider {shown}: level {level} is none of 0 to 5"
            )));
        }
        if arguments.contains('\0') || arguments.encode_utf16().count() > ARGUMENTS_MAX {
            return Err(Invalid(format!(
                "provider {shown}: its arguments have at most {ARGUMENTS_MAX} characters and no NUL"
            )));
        }
        Ok(Self {
            name: name.to_owned(),
            keywords,
            level,
            arguments: arguments.to_owned(),
        })
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn keywords(&self) -> u64 {
        self.keywords
    }

    pub(super) fn level(&self) -> u8 {
        self.level
    }

    pub(super) fn arguments(&self) -> &str {
        &self.arguments
    }

    fn bytes(&self) -> usize {
        8 + 4 + string_bytes(&self.name) + string_bytes(&self.arguments)
    }
}

impl SessionConfig {
    /// A session with a buffer of `buffer_mb` MB in the target's memory.
    ///
    /// # Errors
    /// A buffer that is not 1 to 256 MB, no provider, or more than fit one message of 64 KiB.
    pub fn new(buffer_mb: u32, rundown: bool, providers: Vec<Provider>) -> Result<Self, Invalid> {
        if !(1..=BUFFER_MB_MAX).contains(&buffer_mb) {
            return Err(Invalid(format!(
                "a session has a buffer of 1 to {BUFFER_MB_MAX} MB, not {buffer_mb}"
            )));
        }
        if providers.is_empty() {
            return Err(Invalid(
                "a session listens to at least one event provider".to_owned(),
            ));
        }
        let payload = 4 + 4 + 1 + 4 + providers.iter().map(Provider::bytes).sum::<usize>();
        if HEADER + payload > MESSAGE_MAX {
            return Err(Invalid(format!(
                "the providers of a session take at most {MESSAGE_MAX} bytes as a message, and these {} take {}",
                providers.len(),
                HEADER + payload
            )));
        }
        Ok(Self {
            buffer_mb,
            rundown,
            providers,
        })
    }

    /// Who is listened to.
    pub fn providers(&self) -> &[Provider] {
        &self.providers
    }

    pub(super) fn buffer_mb(&self) -> u32 {
        self.buffer_mb
    }

    pub(super) fn rundown(&self) -> bool {
        self.rundown
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_runtime_would_reject_or_die_of_is_refused_with_its_reason() {
        for (name, level, arguments, why) in [
            ("", 4, "", "no name"),
            ("a\0b", 4, "", "no name"),
            (&"x".repeat(257), 4, "", "no name"),
            ("a", 6, "", "level 6"),
            ("a", 255, "", "level 255"),
            ("a", 5, "x\0", "arguments"),
            ("a", 5, &"x".repeat(8_193), "arguments"),
        ] {
            let refused = Provider::new(name, 0, level, arguments).expect_err(why);
            assert!(refused.to_string().contains(why), "{refused}");
        }
        let provider = || Provider::new("System.Runtime", 0, 4, "").expect("valid");
        let long = || Provider::new("a", 0, 4, &"x".repeat(8_192)).expect("valid");
        for (buffer, providers, why) in [
            (0, vec![provider()], "1 to 256 MB"),
            (257, vec![provider()], "1 to 256 MB"),
            (u32::MAX, vec![provider()], "1 to 256 MB"),
            (10, vec![], "at least one"),
            (
                10,
                vec![long(), long(), long(), long()],
                "at most 65535 bytes",
            ),
        ] {
            let refused = SessionConfig::new(buffer, true, providers).expect_err(why);
            assert!(refused.to_string().contains(why), "{refused}");
        }
        assert!(SessionConfig::new(256, false, vec![long(), long(), long(), provider()]).is_ok());
    }
}
