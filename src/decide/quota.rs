//! Whether the agent may take one more dump: a node is a guest house.

use std::fmt;

/// What the operator allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Most bytes the agent may hold.
    pub max_use: u64,
    /// Bytes that must stay free on the state directory's file system.
    pub keep_free: u64,
    /// Inodes that must stay free there.
    pub keep_free_inodes: u64,
    /// Most dumps the agent may hold at once: each costs memory, a state file and a place in every pass.
    pub max_entries: usize,
}

/// What the agent holds now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Holding {
    /// Allocated bytes of all dumps.
    pub bytes: u64,
    /// Number of dumps.
    pub entries: usize,
}

/// What is free on the state directory's file system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room {
    /// Free bytes.
    pub bytes: u64,
    /// Free inodes.
    pub inodes: u64,
}

/// What one more dump would cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Demand {
    /// Its bytes that are not holes.
    pub bytes: u64,
    /// Whether it has to be copied; a renamed one takes no new room.
    pub copied: bool,
}

/// Which limit says no.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Refusal {
    /// `spool.max_use`, or the number of dumps.
    MaxUse,
    /// `spool.keep_free`.
    KeepFree,
    /// `spool.keep_free_inodes`.
    KeepFreeInodes,
}

impl Refusal {
    /// Every refusal, for metrics that show zero.
    pub const ALL: [Self; 3] = [Self::MaxUse, Self::KeepFree, Self::KeepFreeInodes];

    /// The configuration key, which is also the metric's label.
    pub fn name(self) -> &'static str {
        match self {
            Self::MaxUse => "max_use",
            Self::KeepFree => "keep_free",
            Self::KeepFreeInodes => "keep_free_inodes",
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "spool.{}", self.name())
    }
}

/// Room for the state files of a dump's life: a few kilobytes and as many inodes, staged copies included.
const STATE_BYTES: u64 = 64 << 10;
const STATE_INODES: u64 = 2;

/// Decides whether a dump may be taken.
///
/// # Errors
/// The limit that would be broken.
pub fn admit(limits: Limits, holding: Holding, room: Room, demand: Demand) -> Result<(), Refusal> {
    if holding.entries >= limits.max_entries
        || holding.bytes.saturating_add(demand.bytes) > limits.max_use
    {
        return Err(Refusal::MaxUse);
    }
    let inodes = STATE_INODES + u64::from(demand.copied);
    if room.inodes < limits.keep_free_inodes.saturating_add(inodes) {
        return Err(Refusal::KeepFreeInodes);
    }
    // A rename makes nothing worse: shipping what fills the disk is how it becomes free again. Only the state file must fit.
    let (bytes, keep) = if demand.copied {
        (demand.bytes.saturating_add(STATE_BYTES), limits.keep_free)
    } else {
        (STATE_BYTES, 0)
    };
    if room.bytes < keep.saturating_add(bytes) {
        return Err(Refusal::KeepFree);
    }
    Ok(())
}

/// The largest dump, in bytes, that may still be copied onto the node.
pub fn left(limits: Limits, holding: Holding, room: Room) -> u64 {
    let of_use = limits.max_use.saturating_sub(holding.bytes);
    let of_disk = room.bytes.saturating_sub(limits.keep_free);
    let bytes = of_use.min(of_disk.saturating_sub(STATE_BYTES));
    let copied = true;
    let demand = Demand { bytes, copied };
    match admit(limits, holding, room, demand) {
        Ok(()) => bytes,
        Err(_) => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits {
        max_use: 100 << 20,
        keep_free: 50 << 20,
        keep_free_inodes: 100,
        max_entries: 10,
    };
    const ROOM: Room = Room {
        bytes: 200 << 20,
        inodes: 1_000,
    };

    #[test]
    fn what_is_left_is_the_largest_dump_that_is_admitted() {
        let none = Holding::default();
        assert_eq!(left(LIMITS, none, ROOM), 100 << 20);
        let half = Holding {
            bytes: 60 << 20,
            ..none
        };
        assert_eq!(left(LIMITS, half, ROOM), 40 << 20);
        let tight = Room {
            bytes: 70 << 20,
            ..ROOM
        };
        assert_eq!(left(LIMITS, none, tight), (20 << 20) - STATE_BYTES);
        let many = Holding {
            entries: 10,
            ..none
        };
        let inodes = Room {
            inodes: 102,
            ..ROOM
        };
        assert_eq!(
            (left(LIMITS, many, ROOM), left(LIMITS, none, inodes)),
            (0, 0)
        );
    }
    const NONE: Holding = Holding {
        bytes: 0,
        entries: 0,
    };

    fn copied(bytes: u64) -> Demand {
        Demand {
            bytes,
            copied: true,
        }
    }

    #[test]
    fn a_dump_within_all_limits_is_taken() {
        assert_eq!(admit(LIMITS, NONE, ROOM, copied(100 << 20)), Ok(()));
    }

    #[test]
    fn each_limit_refuses_by_its_own_name() {
        assert_eq!(
            admit(LIMITS, NONE, ROOM, copied((100 << 20) + 1)),
            Err(Refusal::MaxUse)
        );
        assert_eq!(
            admit(
                LIMITS,
                Holding {
                    bytes: 1,
                    entries: 10
                },
                ROOM,
                copied(1)
            ),
            Err(Refusal::MaxUse)
        );
        assert_eq!(
            admit(
                LIMITS,
                NONE,
                Room {
                    bytes: 60 << 20,
                    ..ROOM
                },
                copied(10 << 20)
            ),
            Err(Refusal::KeepFree)
        );
        assert_eq!(
            admit(
                LIMITS,
                NONE,
                Room {
                    inodes: 102,
                    ..ROOM
                },
                copied(1)
            ),
            Err(Refusal::KeepFreeInodes)
        );
        assert_eq!(
            admit(LIMITS, NONE, ROOM, copied(u64::MAX)),
            Err(Refusal::MaxUse)
        );
    }

    #[test]
    fn a_rename_is_allowed_on_a_full_disk_that_has_room_for_its_state() {
        let renamed = Demand {
            bytes: 90 << 20,
            copied: false,
        };
        assert_eq!(
            admit(
                LIMITS,
                NONE,
                Room {
                    bytes: 1 << 20,
                    ..ROOM
                },
                renamed
            ),
            Ok(())
        );
        assert_eq!(
            admit(LIMITS, NONE, Room { bytes: 0, ..ROOM }, renamed),
            Err(Refusal::KeepFree)
        );
    }
}
