//! How much of a pod is kept, in bytes.
//!
//! An object may have 1.5 MB, and the index keeps a pod for hours after its end: a thousand of them, made and deleted on one node, would be
//! gigabytes. So a text has a longest length, what a pod has many of has a number, and the texts of one sort have one room for the whole pod. An
//! ordinary pod has a tenth of it; no pod has more than about 64 KiB of text.
//!
//! A text too long is absent and never shortened: the beginning of a name is the name of something else.

use std::collections::BTreeMap;

/// Longest name, kind or word of any kind (a DNS subdomain).
pub(super) const MAX_NAME: usize = 253;
/// Longest name of a container or volume, as the API server allows it (a DNS label).
pub(super) const MAX_LABEL_NAME: usize = 63;
/// Longest UID, container id or image digest: digests of 64 bytes in hex have 128.
pub(super) const MAX_ID: usize = 256;
/// Longest image.
pub(super) const MAX_IMAGE: usize = 1_024;
/// Longest path, and longest value of a variable in one (`PATH_MAX`): a longer one starts no container.
pub(super) const MAX_PATH: usize = 4_096;
/// Most mounts of a pod's node volumes, over all its containers.
pub(super) const MAX_KEPT_MOUNTS: usize = 512;

/// Longest key of a label, as the API server allows it: a DNS subdomain, `/` and a name.
const MAX_LABEL_KEY: usize = 253 + 1 + 63;
/// Longest value of a label, as the API server allows it.
const MAX_LABEL_VALUE: usize = 63;
/// Most labels. Policies put a few on a pod and people a few dozen.
const MAX_LABELS: usize = 512;

/// For labels: 512 short ones, or 32 of the longest.
const LABELS: usize = 12 << 10;
/// For volumes and mounts.
const PLACES: usize = 20 << 10;
/// For images, which the pod's author writes: they must not take the room of what the kubelet writes.
const IMAGES: usize = 6 << 10;
/// For digests, ids and reasons, which the kubelet writes: those of 65 containers that ended twice.
const FATES: usize = 18 << 10;

/// The bytes left for the texts of one sort.
pub(super) struct Room(usize);

impl Room {
    pub(super) fn for_places() -> Self {
        Self(PLACES)
    }

    pub(super) fn for_images() -> Self {
        Self(IMAGES)
    }

    pub(super) fn for_fates() -> Self {
        Self(FATES)
    }

    /// Takes so many bytes; false, and none taken, where they are not left.
    pub(super) fn take(&mut self, bytes: usize) -> bool {
        let left = self.0.checked_sub(bytes);
        self.0 = left.unwrap_or(self.0);
        left.is_some()
    }

    /// The text, where it is no longer than it may be and there is room for it.
    pub(super) fn keep(&mut self, text: &str, longest: usize) -> Option<String> {
        (text.len() <= longest && self.take(text.len())).then(|| text.to_owned())
    }
}

/// The text, where it is no longer than it may be.
pub(super) fn within(text: Option<&str>, longest: usize) -> Option<String> {
    text.filter(|text| text.len() <= longest).map(str::to_owned)
}

/// The first labels in the order of their keys, as many as may be kept.
///
/// The API server refuses keys and values that are too long, so only their number can leave some out. A pod is then selected as if it did not have
/// those: who may give it hundreds of labels could as well have left them off.
pub(super) fn labels(all: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    let mut room = Room(LABELS);
    let valid = all
        .iter()
        .filter(|(key, value)| key.len() <= MAX_LABEL_KEY && value.len() <= MAX_LABEL_VALUE);
    let kept = valid
        .take(MAX_LABELS)
        .take_while(|(key, value)| room.take(key.len() + value.len()));
    kept.map(|(key, value)| (key.clone(), value.clone()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_takes_no_room() {
        let mut room = Room(5);
        assert_eq!(room.keep("abcdef", 10), None);
        assert_eq!(room.keep("abc", 2), None);
        assert_eq!(room.keep("abc", 3).as_deref(), Some("abc"));
        assert_eq!(room.keep("def", 3), None);
        assert_eq!(room.keep("de", 3).as_deref(), Some("de"));
        assert_eq!(room.keep("", 3).as_deref(), Some(""));
    }

    fn numbered(n: usize, key: usize, value: usize) -> BTreeMap<String, String> {
        let label = |n| (format!("{n:0>key$}"), "v".repeat(value));
        (0..n).map(label).collect()
    }

    #[test]
    fn the_first_labels_are_kept_and_none_is_shortened() {
        for (all, kept) in [
            (numbered(512, 12, 12), 512),
            (numbered(600, 12, 12), 512),
            (numbered(512, 317, 63), 32),
            (numbered(40, 318, 1), 0),
            (numbered(40, 10, 64), 0),
        ] {
            let labels = labels(&all);
            assert_eq!(labels.len(), kept);
            assert!(labels.iter().eq(all.iter().take(kept)));
        }
    }

    #[test]
    fn a_label_that_is_too_long_does_not_hide_those_behind_it() {
        let mut all = numbered(2, 3, 3);
        all.insert("!".repeat(400), "v".into());
        assert_eq!(labels(&all), numbered(2, 3, 3));
    }
}
