//! The frames of one stack, of which the first are kept and the rest are counted.

use super::shown;

/// Frames kept. Enough for what a person reads; a stack overflow has tens of thousands.
const FRAMES: usize = 100;

/// Frames, innermost first.
#[derive(Debug, Default)]
pub(super) struct Stack {
    lines: Vec<String>,
    /// Frames pushed, kept or not.
    pushed: u64,
    beyond: u64,
}

impl Stack {
    /// Adds a frame after those that it was called by.
    pub(super) fn push(&mut self, frame: &str) {
        self.pushed = self.pushed.saturating_add(1);
        if self.lines.len() < FRAMES {
            self.lines.push(shown(frame).unwrap_or_else(|| "??".into()));
        } else {
            self.beyond = self.beyond.saturating_add(1);
        }
    }

    /// Adds a remark on the frames before it.
    pub(super) fn remark(&mut self, remark: String) {
        if self.lines.len() < FRAMES {
            self.lines.push(remark);
        }
    }

    /// How many frames were pushed.
    pub(super) fn pushed(&self) -> u64 {
        self.pushed
    }

    /// The frames as a manifest has them.
    pub(super) fn into_lines(self) -> Vec<String> {
        let mut lines = self.lines;
        if self.beyond > 0 {
            lines.push(format!("... {} more", self.beyond));
        }
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_beyond_the_kept_frames_is_counted() {
        let mut stack = Stack::default();
        for n in 0..250 {
            stack.push(&format!("f{n}"));
        }
        stack.remark("... repeated 5 times".into());
        assert_eq!(stack.pushed(), 250);
        let lines = stack.into_lines();
        assert_eq!(lines.len(), 101);
        assert_eq!(
            (lines[99].as_str(), lines[100].as_str()),
            ("f99", "... 150 more")
        );
    }

    #[test]
    fn a_frame_cannot_steer_a_terminal_or_grow() {
        let mut stack = Stack::default();
        stack.push("a\n\x1b[2Jb");
        stack.push(&"x".repeat(100_000));
        stack.push("");
        let lines = stack.into_lines();
        assert_eq!(lines[0], r"a\n\u{1b}[2Jb");
        assert_eq!(lines[1].len(), 515);
        assert_eq!(lines[2], "??");
    }
}
