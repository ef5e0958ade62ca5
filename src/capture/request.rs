//! What somebody asks for, checked: every refusal here names the field and what it may be, before anything is touched.

use std::time::Duration;

use super::failure::{Failure, Reason};
use crate::dotnet::counters::Counters;
use crate::dotnet::profiles::{self, Asked, Profile};
use crate::kube::CaptureSpec;
use crate::model::{ByteSize, CaptureKind, DumpType, Span};

/// How long traces and counters go on where nobody says.
const DURATION: Span = Span::secs(30);

/// The longest time: a session holds buffers of the process as long as it lasts.
pub(super) const DURATION_MAX: Span = Span::secs(3_600);

/// Most bytes of events where nobody says. A dump has what the process has.
const EVENTS_MAX: ByteSize = ByteSize::new(1 << 30);

/// The counters that every .NET has: as event counters, and from 9 on as a meter.
const RUNTIME_COUNTERS: &str = "System.Runtime";

/// How often counters are read where nobody says.
const INTERVAL: Span = Span::secs(1);

/// Shortest time that an object stays when it has ended: whoever waits for it has to see that.
const TTL_MIN: Span = Span::secs(10);

/// Longest time that an object stays when it has ended.
const TTL_MAX: Span = Span::secs(30 * 86_400);

/// How long it stays where nobody says.
pub(super) const TTL: Span = Span::secs(86_400);

/// What is to be taken, of a process that is known by other means.
#[derive(Clone, Debug, PartialEq)]
pub struct Request {
    /// What is taken.
    pub what: What,
    /// Most bytes that are taken.
    pub max_bytes: Option<ByteSize>,
    /// Whether the plan's refusals are warnings.
    pub force: bool,
}

/// What is to be taken, with what belongs to each kind.
#[derive(Clone, Debug, PartialEq)]
pub enum What {
    /// A dump.
    Dump(DumpType),
    /// A heap snapshot.
    Gcdump,
    /// Events.
    Trace {
        /// How long.
        duration: Duration,
        /// Where from.
        profiles: Vec<Profile>,
        /// And from where else.
        providers: Vec<Asked>,
        /// The same in the words of whoever asked.
        named: Vec<String>,
    },
    /// Values.
    Counters {
        /// How long.
        duration: Duration,
        /// Which, and how often.
        wanted: Counters,
        /// The same in the words of whoever asked.
        named: Vec<String>,
    },
}

impl Request {
    /// Its kind.
    pub fn kind(&self) -> CaptureKind {
        match self.what {
            What::Dump(_) => CaptureKind::Dump,
            What::Gcdump => CaptureKind::Gcdump,
            What::Trace { .. } => CaptureKind::Trace,
            What::Counters { .. } => CaptureKind::Counters,
        }
    }

    /// How much of the memory, of a dump.
    pub fn dump_type(&self) -> Option<DumpType> {
        match self.what {
            What::Dump(kind) => Some(kind),
            _ => None,
        }
    }

    /// Where its events come from, in the words of whoever asked.
    pub fn providers(&self) -> Vec<String> {
        match &self.what {
            What::Trace { named, .. } | What::Counters { named, .. } => named.clone(),
            What::Dump(_) | What::Gcdump => Vec::new(),
        }
    }

    /// How long it goes on by itself.
    pub fn duration(&self) -> Duration {
        match self.what {
            What::Trace { duration, .. } | What::Counters { duration, .. } => duration,
            What::Dump(_) | What::Gcdump => Duration::ZERO,
        }
    }

    /// Most bytes of it, where that is bounded.
    pub fn most_bytes(&self) -> u64 {
        let by_kind = match self.what {
            What::Dump(_) => u64::MAX,
            _ => EVENTS_MAX.bytes(),
        };
        self.max_bytes.map_or(by_kind, ByteSize::bytes)
    }

    /// Reads what somebody wrote.
    ///
    /// # Errors
    /// [`Reason::InvalidRequest`] with the field, what is wrong with it and what it may be.
    pub fn of(spec: &CaptureSpec) -> Result<Self, Failure> {
        let kind: CaptureKind = spec.kind.parse().map_err(|error| field("kind", error))?;
        let dump_type = spec.dump_type.as_deref().map(str::parse::<DumpType>);
        let dump_type = dump_type
            .transpose()
            .map_err(|error| field("type", error))?;
        let is_trace = kind == CaptureKind::Trace;
        let is_counters = kind == CaptureKind::Counters;
        let belongs = [
            ("type", dump_type.is_some(), kind == CaptureKind::Dump),
            ("duration", spec.duration.is_some(), is_trace || is_counters),
            ("profile", spec.profile.is_some(), is_trace),
            (
                "providers",
                !spec.providers.is_empty(),
                is_trace || is_counters,
            ),
            ("meters", !spec.meters.is_empty(), is_counters),
            ("interval", spec.interval.is_some(), is_counters),
        ];
        if let Some((name, ..)) = belongs.iter().find(|(_, given, fits)| *given && !fits) {
            return Err(field(name, format!("a {kind} has none: leave it out")));
        }
        let what = match kind {
            CaptureKind::Dump => What::Dump(dump_type.unwrap_or(DumpType::Heap)),
            CaptureKind::Gcdump => What::Gcdump,
            CaptureKind::Trace => trace(spec)?,
            CaptureKind::Counters => counters(spec)?,
        };
        let max_bytes = spec.max_bytes.as_deref().map(str::parse::<ByteSize>);
        let max_bytes = max_bytes
            .transpose()
            .map_err(|error| field("maxBytes", error))?;
        if max_bytes.is_some_and(|most| most.bytes() == 0) {
            return Err(field("maxBytes", "must be more than 0"));
        }
        Ok(Self {
            what,
            max_bytes,
            force: spec.force,
        })
    }
}

/// How long an object stays when it has ended.
///
/// # Errors
/// As [`Request::of`].
pub(super) fn ttl(spec: &CaptureSpec) -> Result<Duration, Failure> {
    let Some(written) = spec.ttl.as_deref() else {
        return Ok(TTL.duration());
    };
    let ttl: Span = written.parse().map_err(|error| field("ttl", error))?;
    match (TTL_MIN..=TTL_MAX).contains(&ttl) {
        true => Ok(ttl.duration()),
        false => Err(field(
            "ttl",
            format!("{ttl} is not from {TTL_MIN} to {TTL_MAX}"),
        )),
    }
}

fn trace(spec: &CaptureSpec) -> Result<What, Failure> {
    let profile = match (spec.profile.as_deref(), &spec.providers[..]) {
        (None, []) => Some(Profile::CpuSampling),
        (None, _) => None,
        (Some(name), _) => Some(name.parse().map_err(|error| field("profile", error))?),
    };
    let mut providers = Vec::new();
    for written in &spec.providers {
        let asked = profiles::providers(written).map_err(|error| field("providers", error))?;
        providers.extend(asked);
    }
    let profiles: Vec<Profile> = profile.into_iter().collect();
    profiles::trace(&profiles, &providers).map_err(|error| field("providers", error))?;
    let named = profiles.iter().map(|profile| format!("profile {profile}"));
    Ok(What::Trace {
        duration: duration("duration", spec.duration.as_deref(), DURATION)?,
        named: named.chain(spec.providers.iter().cloned()).collect(),
        profiles,
        providers,
    })
}

fn counters(spec: &CaptureSpec) -> Result<What, Failure> {
    let interval = whole_seconds(spec.interval.as_deref())?;
    let seconds = u32::try_from(interval.as_secs()).unwrap_or(u32::MAX);
    let duration = duration("duration", spec.duration.as_deref(), DURATION)?;
    // The first values come when an interval is over, and the runtime is a little late.
    if duration < interval * 2 {
        return Err(field(
            "duration",
            "must be at least twice the interval: the first values come when one is over",
        ));
    }
    let (sources, meters) = match (&spec.providers[..], &spec.meters[..]) {
        ([], []) => {
            let usual = || vec![RUNTIME_COUNTERS.to_owned()];
            (usual(), usual())
        }
        (sources, meters) => (sources.to_vec(), meters.to_vec()),
    };
    let named = sources.iter().cloned();
    let named = named
        .chain(meters.iter().map(|meter| format!("meter {meter}")))
        .collect();
    let wanted =
        Counters::new(sources, meters, seconds).map_err(|error| field("providers", error))?;
    Ok(What::Counters {
        duration,
        wanted,
        named,
    })
}

fn duration(name: &'static str, written: Option<&str>, default: Span) -> Result<Duration, Failure> {
    let span = written.map_or(Ok(default), str::parse::<Span>);
    let span = span.map_err(|error| field(name, error))?;
    if span < Span::secs(1) || span > DURATION_MAX {
        return Err(field(
            name,
            format!("{span} is not from 1s to {DURATION_MAX}"),
        ));
    }
    Ok(span.duration())
}

/// The runtime takes whole seconds.
fn whole_seconds(written: Option<&str>) -> Result<Duration, Failure> {
    let interval = duration("interval", written, INTERVAL)?;
    match interval.subsec_nanos() {
        0 => Ok(interval),
        _ => Err(field("interval", "must be whole seconds")),
    }
}

fn field(name: &str, problem: impl std::fmt::Display) -> Failure {
    Failure::new(Reason::InvalidRequest, format!("spec.{name}: {problem}"))
}
