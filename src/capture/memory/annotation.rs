//! What a pod's author asks for, by annotations of the pod.

use super::rule::{InvalidShare, InvalidTake, Share, Take};

/// The annotation that says at which share of its memory limit a container of the pod is captured: `"90%"`, or `"off"`.
pub const CAPTURE_AT_MEMORY: &str = "salvage.dev/capture-at-memory";

/// The annotation that says what is taken: `gcdump`, `mini`, `triage`, `heap` or `full`.
pub const CAPTURE_TAKE: &str = "salvage.dev/capture-take";

/// What turns a configured rule off.
const OFF: &str = "off";

/// What the annotations of a pod say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Annotated {
    /// Nothing: a configured rule is kept as it is.
    #[default]
    Nothing,
    /// No capture, whatever is configured.
    Off,
    /// A configured rule takes this. Without one nothing is taken.
    Take(Take),
    /// A capture at this share, with a configured rule or without.
    At(Share, Option<Take>),
}

/// An annotation that says nothing we know. Its pod is not captured by any rule: whoever wrote it wanted something other than what is configured, and it may have
/// been `off`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidAnnotation {
    /// The share.
    #[error(
        "annotation {CAPTURE_AT_MEMORY}: {0}; or write \"off\". No container of the pod is captured at a share of its memory until this is mended"
    )]
    AtMemory(InvalidShare),
    /// What is taken.
    #[error(
        "annotation {CAPTURE_TAKE}: {0}. No container of the pod is captured at a share of its memory until this is mended"
    )]
    Take(InvalidTake),
}

impl Annotated {
    /// Reads a pod's annotations; `of` gives each by its key.
    ///
    /// # Errors
    /// One that says nothing we know, for the log or an Event of the pod.
    pub fn read<'a>(of: impl Fn(&str) -> Option<&'a str>) -> Result<Self, InvalidAnnotation> {
        let at = of(CAPTURE_AT_MEMORY);
        if at.is_some_and(|at| at.trim() == OFF) {
            return Ok(Self::Off);
        }
        let at = at.map(str::parse::<Share>).transpose();
        let at = at.map_err(InvalidAnnotation::AtMemory)?;
        let take = of(CAPTURE_TAKE).map(str::parse::<Take>).transpose();
        let take = take.map_err(InvalidAnnotation::Take)?;
        Ok(match (at, take) {
            (Some(at), take) => Self::At(at, take),
            (None, Some(take)) => Self::Take(take),
            (None, None) => Self::Nothing,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::rule::tests::share;
    use super::*;
    use crate::model::DumpType;

    fn read(at: Option<&str>, take: Option<&str>) -> Result<Annotated, String> {
        let read = Annotated::read(|key| match key {
            CAPTURE_AT_MEMORY => at,
            CAPTURE_TAKE => take,
            other => panic!("{other} is asked for"),
        });
        read.map_err(|error| error.to_string())
    }

    #[test]
    fn annotations_say_what_is_taken_and_when() {
        let full = Take::Dump(DumpType::Full);
        for (at, take, said) in [
            (None, None, Annotated::Nothing),
            (Some("90%"), None, Annotated::At(share(90), None)),
            (
                Some(" 5 % "),
                Some("full"),
                Annotated::At(share(5), Some(full)),
            ),
            (None, Some("gcdump"), Annotated::Take(Take::Gcdump)),
            (Some("off"), Some("whatever"), Annotated::Off),
        ] {
            assert_eq!(read(at, take), Ok(said), "{at:?} {take:?}");
        }
    }

    #[test]
    fn what_is_wrong_is_said_with_the_annotation_and_the_remedy() {
        assert_eq!(
            read(Some("ninety"), None).expect_err("refused"),
            "annotation salvage.dev/capture-at-memory: \"ninety\" is no share of a memory limit: write a whole number from 1% to 99%, for example 90%; or write \"off\". \
             No container of the pod is captured at a share of its memory until this is mended"
        );
        let refused = read(Some("90%"), Some("core\n\u{1b}[2J")).expect_err("refused");
        assert!(
            refused.starts_with("annotation salvage.dev/capture-take: \"core\\n\\u{1b}[2J\" cannot be taken: use one of"),
            "{refused}"
        );
    }
}
