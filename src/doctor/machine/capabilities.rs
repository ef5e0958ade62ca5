//! The four capabilities that another user's dumps take.

use super::read;
use crate::config::Config;
use crate::doctor::Finding;
use crate::source::Shape;

/// A capability, its bit (`linux/capability.h`), and what is lost without it.
struct Capability {
    name: &'static str,
    bit: u32,
    lost: &'static str,
}

const CAPABILITIES: [Capability; 4] = [
    Capability {
        name: "DAC_READ_SEARCH",
        bit: 2,
        lost: "dumps and directories of other users cannot be read",
    },
    Capability {
        name: "DAC_OVERRIDE",
        bit: 1,
        lost: "dumps cannot be taken out of directories of other users",
    },
    Capability {
        name: "FOWNER",
        bit: 3,
        lost: "dumps of other users cannot be taken out of sticky directories",
    },
    Capability {
        name: "LEASE",
        bit: 28,
        lost: "nobody tells when another user's dump is written; each waits for settle.quiet_period",
    },
];

/// Whether dumps of other users are to be expected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::doctor) enum Needed {
    /// Pods' processes have users of their own.
    Certainly,
    /// It depends on who writes into the sources.
    Perhaps,
}

impl Needed {
    pub(in crate::doctor) fn of(config: &Config) -> Self {
        let of_pods = |shape: &Shape| matches!(shape, Shape::KubeletVolume(_));
        match config.kubernetes.is_some() || config.sources.iter().any(|s| of_pods(&s.shape)) {
            true => Self::Certainly,
            false => Self::Perhaps,
        }
    }
}

/// The effective capabilities of this process.
pub(super) fn gather() -> Option<u64> {
    let status = read("/proc/self/status")?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("CapEff:"))?;
    u64::from_str_radix(line.trim(), 16).ok()
}

pub(super) fn judge(effective: Option<u64>, needed: Needed) -> Vec<Finding> {
    let Some(effective) = effective else {
        return vec![Finding::skipped(
            "capability",
            "",
            "/proc/self/status does not tell the capabilities",
            "mount /proc",
        )];
    };
    let one = |capability: &Capability| {
        let Capability { name, bit, lost } = capability;
        if effective & (1 << bit) != 0 {
            return Finding::ok("capability", name, "in force");
        }
        let cause = format!("this process lacks CAP_{name}: {lost}");
        let remedy = format!(
            "run the agent as uid 0 with it (securityContext.capabilities.add: [{name}]); added capabilities are not in force for other users"
        );
        match needed {
            Needed::Certainly => Finding::fail("capability", name, cause, remedy),
            Needed::Perhaps => Finding::warn("capability", name, cause, remedy),
        }
    };
    CAPABILITIES.iter().map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Verdict;

    #[test]
    fn each_capability_that_is_missing_is_named_with_what_is_lost() {
        let all = (1 << 1) | (1 << 2) | (1 << 3) | (1 << 28);
        assert!(
            judge(Some(all), Needed::Certainly)
                .iter()
                .all(|f| f.verdict == Verdict::Ok)
        );
        for (bit, name) in [
            (2, "DAC_READ_SEARCH"),
            (1, "DAC_OVERRIDE"),
            (3, "FOWNER"),
            (28, "LEASE"),
        ] {
            for (needed, verdict) in [
                (Needed::Certainly, Verdict::Fail),
                (Needed::Perhaps, Verdict::Warn),
            ] {
                let findings = judge(Some(all & !(1 << bit)), needed);
                let bad: Vec<_> = findings
                    .iter()
                    .filter(|f| f.verdict != Verdict::Ok)
                    .collect();
                assert_eq!(bad.len(), 1);
                assert_eq!((bad[0].subject.as_str(), bad[0].verdict), (name, verdict));
                assert!(bad[0].cause.contains(&format!("CAP_{name}")));
            }
        }
        assert_eq!(judge(None, Needed::Certainly)[0].verdict, Verdict::Skipped);
    }
}
