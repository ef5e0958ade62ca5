//! Remembers what was counted and logged, so that a file that stays counts once and not every ten seconds.

use std::collections::HashSet;

use super::metrics::Trouble;
use crate::model::FileId;

/// Files remembered. Whoever makes more only makes the log repeat itself: everything is forgotten at once then.
const REMEMBERED: usize = 8_192;

/// What was reported already.
#[derive(Debug, Default)]
pub(super) struct Reported(HashSet<(FileId, Trouble)>);

impl Reported {
    /// Whether this is news, which it is once.
    pub(super) fn is_news(&mut self, file: FileId, trouble: Trouble) -> bool {
        if self.0.len() >= REMEMBERED {
            self.0.clear();
        }
        self.0.insert((file, trouble))
    }

    /// Makes it news again.
    pub(super) fn forget(&mut self, file: FileId, trouble: Trouble) {
        self.0.remove(&(file, trouble));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_news_once_for_each_trouble() {
        let file = FileId {
            dev: 1,
            ino: 2,
            born: 3,
        };
        let mut reported = Reported::default();
        assert!(reported.is_news(file, Trouble::Symlink));
        assert!(!reported.is_news(file, Trouble::Symlink));
        assert!(reported.is_news(file, Trouble::Empty));
        reported.forget(file, Trouble::Symlink);
        assert!(reported.is_news(file, Trouble::Symlink));
    }

    #[test]
    fn memory_is_bounded() {
        let mut reported = Reported::default();
        for ino in 0..100_000 {
            reported.is_news(
                FileId {
                    dev: 1,
                    ino,
                    born: 0,
                },
                Trouble::Symlink,
            );
        }
        assert!(reported.0.len() <= REMEMBERED);
    }
}
