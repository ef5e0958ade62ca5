//! How a dump is cut into parts and objects, so that memory stays the same for 10 MB and for 100 GB.

/// What bounds the plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartLimits {
    /// Bytes of the file in each frame.
    pub frame_bytes: u64,
    /// Smallest part: stores refuse less than 5 MiB, and a request has its price.
    pub part_min: u64,
    /// Largest part that memory carries.
    pub part_max: u64,
    /// Most parts of one object. Stores allow 10,000; the bound on the stored size is one for the file as it is now, so room is left.
    pub parts: u64,
}

/// How a dump goes up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartPlan {
    /// Bytes of every part but the last.
    pub part_bytes: u64,
    /// Bytes of the file in each object but the last; a multiple of the frame size.
    pub volume_bytes: u64,
    /// Number of objects.
    pub volumes: u32,
}

/// What a frame without compressible content costs beyond its own size: zstd's bound (1/256 of it), headers, checksum and the
/// frame's line in the seek table.
const fn stored_bound(frame_bytes: u64) -> u64 {
    frame_bytes + frame_bytes / 256 + 128
}

/// Plans for a file of `bytes`, holes included. The bound takes every byte for incompressible: a hole may hide one, where the file
/// system reports extents wrongly, and running out of parts near the end of a 100 GB dump is the one thing that must not happen.
pub fn plan_parts(bytes: u64, limits: PartLimits) -> PartPlan {
    let frames = bytes.div_ceil(limits.frame_bytes).max(1);
    let bound = frames.saturating_mul(stored_bound(limits.frame_bytes));
    let wanted = bound.div_ceil(limits.parts).max(limits.part_min);
    if wanted <= limits.part_max {
        return PartPlan {
            part_bytes: wanted,
            volume_bytes: frames.saturating_mul(limits.frame_bytes),
            volumes: 1,
        };
    }
    let frames_each =
        (limits.part_max.saturating_mul(limits.parts) / stored_bound(limits.frame_bytes)).max(1);
    PartPlan {
        part_bytes: limits.part_max,
        volume_bytes: frames_each.saturating_mul(limits.frame_bytes),
        volumes: u32::try_from(frames.div_ceil(frames_each)).unwrap_or(u32::MAX),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const LIMITS: PartLimits = PartLimits {
        frame_bytes: 1 << 20,
        part_min: 8 << 20,
        part_max: 16 << 20,
        parts: 9_000,
    };

    #[test]
    fn small_dumps_take_the_smallest_parts() {
        for bytes in [0, 1, 10 << 20, 8 << 30, 60 << 30] {
            assert_eq!(plan_parts(bytes, LIMITS).part_bytes, 8 << 20, "{bytes}");
        }
    }

    #[test]
    fn parts_grow_before_a_dump_becomes_several_objects() {
        let hundred = plan_parts(100 << 30, LIMITS);
        assert!(
            hundred.part_bytes > 8 << 20 && hundred.volumes == 1,
            "{hundred:?}"
        );
        let more = plan_parts(500 << 30, LIMITS);
        assert!(more.part_bytes == 16 << 20 && more.volumes == 4, "{more:?}");
    }

    proptest! {
        #[test]
        fn no_object_needs_more_parts_than_allowed(bytes in 0u64..1 << 50) {
            let plan = plan_parts(bytes, LIMITS);
            prop_assert!(plan.part_bytes >= LIMITS.part_min && plan.part_bytes <= LIMITS.part_max);
            prop_assert!(plan.volume_bytes.is_multiple_of(LIMITS.frame_bytes));
            prop_assert!(plan.volume_bytes.saturating_mul(u64::from(plan.volumes)) >= bytes);
            let stored = plan.volume_bytes / LIMITS.frame_bytes * stored_bound(LIMITS.frame_bytes);
            prop_assert!(stored.div_ceil(plan.part_bytes) <= LIMITS.parts);
        }
    }
}
