//! What a trace listens to: profiles with names, and providers as people write them.
//!
//! Owns which providers, keywords and levels a name means (here), and the syntax of providers (`syntax`), which is `dotnet-trace`'s: `NAME[:KEYWORDS[:LEVEL[:ARGUMENTS]]]`, several
//! separated by commas. As there, keywords are hexadecimal and none unless given, and the level is informational. Two mentions of a provider become one.
//!
//! Sources: dotnet/diagnostics `src/Tools/dotnet-trace/ProviderUtils.cs` and `ListProfilesCommandHandler.cs` for syntax and keywords; dotnet/runtime
//! `src/coreclr/vm/ClrEtwAll.man` for the runtime's keywords.

mod syntax;

use std::fmt;
use std::str::FromStr;

pub use syntax::providers;

use super::ipc::{Invalid, Provider, SessionConfig};
use crate::model::Escaped;

/// The runtime's own events.
pub(super) const RUNTIME: &str = "Microsoft-Windows-DotNETRuntime";

/// Buffer of a trace in the target's memory, in MB. It is allocated as needed; `dotnet-trace` takes 256, which is too much for a small container.
pub const BUFFER_MB: u32 = 64;

/// Most providers that can be asked for.
const MAX_PROVIDERS: usize = 64;

/// A set of providers with a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Profile {
    /// Stacks of all threads a thousand times a second, with exceptions, collections and contention.
    CpuSampling,
    /// Collections, exceptions, and a sample of allocations with their stacks.
    Gc,
    /// Requests that are sent and served, name resolution, connections, TLS. On .NET 5 to 8 their paths come with the query.
    Http,
    /// Waiting for monitors (`lock`), with stacks.
    Contention,
}

/// Why text names no profile or provider.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidTrace {
    /// No such profile.
    #[error(
        "{0:?} is no profile: use one of cpu-sampling, gc, http, contention, or name providers"
    )]
    Profile(String),
    /// A provider without a name.
    #[error("provider {0} of the list has no name: write NAME[:KEYWORDS[:LEVEL[:ARGUMENTS]]]")]
    NoName(usize),
    /// Keywords that are no number.
    #[error("provider {name}: keywords {written:?} are no hexadecimal number of at most 16 digits")]
    Keywords {
        /// The provider.
        name: String,
        /// What stood there.
        written: String,
    },
    /// A level that is none.
    #[error(
        "provider {name}: level {written:?} is none of 0 to 5 or logalways, critical, error, warning, informational, verbose"
    )]
    Level {
        /// The provider.
        name: String,
        /// What stood there.
        written: String,
    },
    /// Arguments that are no pairs.
    #[error("provider {name}: arguments {written:?} are not KEY=VALUE[;KEY=VALUE]")]
    Arguments {
        /// The provider.
        name: String,
        /// What stood there.
        written: String,
    },
    /// A quote that does not end.
    #[error("a quote (\") in the list of providers does not end")]
    Quote,
    /// Two sets of arguments for one provider.
    #[error("provider {0} is asked for twice with different arguments")]
    Conflict(String),
    /// Too many.
    #[error("{0} providers are more than the {MAX_PROVIDERS} that a trace listens to")]
    TooMany(usize),
    /// Nothing to listen to.
    #[error("a trace needs a profile or a provider")]
    Nothing,
    /// What no runtime may be asked.
    #[error(transparent)]
    Invalid(#[from] Invalid),
}

/// A provider as it is asked for, before it becomes a part of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    name: String,
    keywords: u64,
    level: u8,
    arguments: String,
}

const INFORMATIONAL: u8 = 4;
const VERBOSE: u8 = 5;

/// Requests that `HttpClient` sends, for runtimes older than .NET 5, whose `System.Net.Http` sends no events. Host and path, but not the query: it may hold secrets.
const HTTP_CLIENT: &str = "FilterAndPayloadSpecs=\"\
    HttpHandlerDiagnosticListener/System.Net.Http.Request@Activity2Start:-Method=Request.Method;Host=Request.RequestUri.Host;Path=Request.RequestUri.AbsolutePath\n\
    HttpHandlerDiagnosticListener/System.Net.Http.Response@Activity2Stop:-Status=Response.StatusCode\"";

impl Profile {
    /// Every profile, for messages and help.
    pub const ALL: [Self; 4] = [Self::CpuSampling, Self::Gc, Self::Http, Self::Contention];

    /// Its word.
    pub const fn name(self) -> &'static str {
        match self {
            Self::CpuSampling => "cpu-sampling",
            Self::Gc => "gc",
            Self::Http => "http",
            Self::Contention => "contention",
        }
    }

    /// Whether stacks come with its events, so that the names of methods are needed at the end.
    pub const fn has_stacks(self) -> bool {
        match self {
            Self::CpuSampling | Self::Gc | Self::Contention => true,
            Self::Http => false,
        }
    }

    fn providers(self) -> Vec<Asked> {
        /// `GC`, `GCHandle`, `Exception`, as in `dotnet-trace`'s `gc-verbose`.
        const GC: u64 = 0x8003;
        const CONTENTION: u64 = 0x4000;
        /// `dotnet-trace`'s default for the runtime: collections, the loader, the JIT, exceptions, threads, contention and more.
        const DEFAULT: u64 = 0x14_c14f_ccbd;
        /// `Messages` and `Events`.
        const DIAGNOSTIC_SOURCE: u64 = 3;
        /// `TasksFlowActivityIds`: a request's events then share an activity.
        const ACTIVITIES: u64 = 0x80;
        let quiet = |name: &str, keywords| Asked::new(name, keywords, INFORMATIONAL, "");
        match self {
            Self::CpuSampling => vec![
                quiet("Microsoft-DotNETCore-SampleProfiler", 0),
                quiet(RUNTIME, DEFAULT),
            ],
            Self::Gc => vec![Asked::new(RUNTIME, GC, VERBOSE, "")],
            Self::Contention => vec![quiet(RUNTIME, CONTENTION)],
            Self::Http => vec![
                quiet("System.Net.Http", u64::MAX),
                quiet("System.Net.NameResolution", u64::MAX),
                quiet("System.Net.Sockets", u64::MAX),
                quiet("System.Net.Security", u64::MAX),
                quiet("Microsoft.AspNetCore.Hosting", u64::MAX),
                quiet("System.Threading.Tasks.TplEventSource", ACTIVITIES),
                Asked::new(
                    "Microsoft-Diagnostics-DiagnosticSource",
                    DIAGNOSTIC_SOURCE,
                    VERBOSE,
                    HTTP_CLIENT,
                ),
            ],
        }
    }
}

impl FromStr for Profile {
    type Err = InvalidTrace;

    fn from_str(written: &str) -> Result<Self, InvalidTrace> {
        let found = Self::ALL
            .into_iter()
            .find(|profile| profile.name() == written);
        found.ok_or_else(|| InvalidTrace::Profile(shown(written)))
    }
}

impl fmt::Display for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl Asked {
    pub(super) fn new(name: &str, keywords: u64, level: u8, arguments: &str) -> Self {
        Self {
            name: name.to_owned(),
            keywords,
            level,
            arguments: arguments.to_owned(),
        }
    }

    /// Makes the two one, if they are of one provider: names are the same in either case, as for the runtime.
    fn merge(&mut self, other: &Self) -> Result<bool, InvalidTrace> {
        /// Level 0 is everything, whatever its level.
        const ALWAYS: u8 = 0;
        if !self.name.eq_ignore_ascii_case(&other.name) {
            return Ok(false);
        }
        if self.arguments.is_empty() {
            self.arguments.clone_from(&other.arguments);
        } else if !other.arguments.is_empty() && self.arguments != other.arguments {
            return Err(InvalidTrace::Conflict(shown(&self.name)));
        }
        self.keywords |= other.keywords;
        self.level = match (self.level, other.level) {
            (ALWAYS, _) | (_, ALWAYS) => ALWAYS,
            (one, another) => one.max(another),
        };
        Ok(true)
    }
}

/// What a trace of `profiles` and `providers` asks of a runtime. It ends with the names of methods unless no event has a stack.
///
/// # Errors
/// Nothing, too much or a contradiction is asked for.
pub fn trace(profiles: &[Profile], providers: &[Asked]) -> Result<SessionConfig, InvalidTrace> {
    // Events of other providers have the stacks of whoever sent them.
    let rundown = !providers.is_empty() || profiles.iter().any(|profile| profile.has_stacks());
    let mut merged: Vec<Asked> = Vec::new();
    let asked = profiles.iter().flat_map(|profile| profile.providers());
    for asked in asked.chain(providers.iter().cloned()) {
        let mut known = false;
        for earlier in &mut merged {
            known |= earlier.merge(&asked)?;
        }
        if !known {
            merged.push(asked);
        }
    }
    match merged.len() {
        0 => return Err(InvalidTrace::Nothing),
        count if count > MAX_PROVIDERS => return Err(InvalidTrace::TooMany(count)),
        _ => {}
    }
    let providers = merged
        .iter()
        .map(|asked| Provider::new(&asked.name, asked.keywords, asked.level, &asked.arguments))
        .collect::<Result<_, _>>()?;
    Ok(SessionConfig::new(BUFFER_MB, rundown, providers)?)
}

/// As an error shows it: its user may have pasted anything.
fn shown(written: &str) -> String {
    let start: String = written.chars().take(64).collect();
    Escaped::bytes(start.as_bytes()).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(name: &str, keywords: u64, level: u8, arguments: &str) -> Asked {
        Asked::new(name, keywords, level, arguments)
    }

    #[test]
    fn two_mentions_of_a_provider_become_one() {
        let mut one = asked("A", 1, 4, "");
        assert_eq!(one.merge(&asked("a", 6, 5, "k=v")), Ok(true));
        assert_eq!(one, asked("A", 7, 5, "k=v"));
        assert_eq!(one.merge(&asked("A", 0, 0, "k=v")), Ok(true));
        assert_eq!(one.level, 0);
        assert_eq!(one.merge(&asked("B", 0, 0, "")), Ok(false));
        let refused = one.merge(&asked("A", 0, 4, "k=w"));
        assert_eq!(refused, Err(InvalidTrace::Conflict("A".to_owned())));
    }

    #[test]
    fn every_profile_can_be_asked_for_alone_and_together() {
        for profile in Profile::ALL {
            assert_eq!(profile.name().parse(), Ok(profile));
            trace(&[profile], &[]).expect("valid");
        }
        let all = trace(&Profile::ALL, &[]).expect("valid");
        // The runtime is in three of them, once with its sampler, and seven are for HTTP.
        assert_eq!(all.providers().len(), 9);
        assert_eq!(trace(&[], &[]), Err(InvalidTrace::Nothing));
        let refused = "cpu".parse::<Profile>().expect_err("refused");
        assert!(refused.to_string().contains("use one of cpu-sampling"));
    }
}
