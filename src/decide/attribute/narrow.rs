//! What removes candidates without naming one: when a pod lived, whose user owns the file, whose container ended when the dump did.

use std::collections::HashSet;

use jiff::{SignedDuration, Timestamp};

use crate::model::{KnownContainer, KnownPod};

use super::About;
use super::grounds::{Grounds, Source, count};
use super::place::Writer;

/// A pod's life is told by the API server's clock, a dump's end by the node's; minutes between them are seen. It also spares a pod that was
/// removed by force and lived on for a while.
pub(super) const LIFE_SLACK: SignedDuration = SignedDuration::from_mins(5);

/// A dump and the termination it belongs to are at most this far apart.
pub(super) const DEATH_WINDOW: SignedDuration = SignedDuration::from_secs(30);

/// Whether the pod may have lived when the dump was ended, by clocks that differ.
pub(super) fn may_have_lived(pod: &KnownPod, ended: Timestamp) -> bool {
    lived_within(pod, ended, LIFE_SLACK)
}

fn lived_within(pod: &KnownPod, ended: Timestamp, slack: SignedDuration) -> bool {
    let made = pod.created.map(|made| made.duration_since(ended));
    let gone = pod.gone.map(|gone| ended.duration_since(gone));
    made.is_none_or(|early| early <= slack) && gone.is_none_or(|late| late <= slack)
}

/// Keeps those that fit, unless none does. Returns how many did.
fn keep<T>(left: &mut Vec<T>, fits: impl Fn(&T) -> bool) -> usize {
    let fitting = left.iter().filter(|one| fits(one)).count();
    if fitting > 0 {
        left.retain(fits);
    }
    fitting
}

/// Removes pods by the file's owner and by terminations, where several are left.
pub(super) fn pods(left: &mut Vec<Writer<'_>>, about: &About<'_>, grounds: &mut Grounds) {
    let any = |writer: &Writer<'_>, fits: &dyn Fn(&KnownPod, &KnownContainer) -> bool| {
        let mut containers = writer.containers.iter();
        containers.any(|container| fits(writer.pod, container))
    };
    narrow(left, "pod", about, grounds, any);
}

/// Removes containers of one pod likewise.
pub(super) fn containers(
    left: &mut Vec<&KnownContainer>,
    pod: &KnownPod,
    about: &About<'_>,
    grounds: &mut Grounds,
) {
    let any = |container: &&KnownContainer, fits: &dyn Fn(&KnownPod, &KnownContainer) -> bool| {
        fits(pod, container)
    };
    narrow(left, "container", about, grounds, any);
}

fn narrow<T>(
    left: &mut Vec<T>,
    what: &str,
    about: &About<'_>,
    grounds: &mut Grounds,
    any: impl Fn(&T, &dyn Fn(&KnownPod, &KnownContainer) -> bool) -> bool,
) {
    // Root's files tell nothing: it is who everything runs as that nobody thought about.
    if left.len() > 1 && about.file_uid != 0 {
        let of = count(left.len(), what);
        let fits =
            |pod: &KnownPod, container: &KnownContainer| may_own(about.file_uid, pod, container);
        let fitting = keep(left, |one| any(one, &fits));
        let says = format!("user {}: {fitting} of {of} may run as it", about.file_uid);
        grounds.note(Source::Uid, false, says);
    }
    if left.len() > 1 {
        let of = count(left.len(), what);
        let fits = |_: &KnownPod, container: &KnownContainer| died_by(container, about.ended);
        let fitting = keep(left, |one| any(one, &fits));
        if fitting > 0 {
            let says = format!("{fitting} of {of} ended within 30 s of the dump");
            grounds.note(Source::Termination, false, says);
        }
    }
}

/// Whether a file of this user may be the container's. Where the image decides, where user ids are the pod's own, and where it begins as root,
/// which may become anyone, this cannot be told.
fn may_own(uid: u32, pod: &KnownPod, container: &KnownContainer) -> bool {
    !pod.host_users
        || container
            .run_as_user
            .is_none_or(|user| user == 0 || user == uid)
}

/// Whether a start of the container ended badly about then. One that ended well is no sign of a crash: a job may be done at any time.
fn died_by(container: &KnownContainer, ended: Timestamp) -> bool {
    let deaths = container.status.iter().flat_map(|status| {
        let both = [&status.ended, &status.ended_before];
        both.into_iter().flatten().filter(|end| end.exit_code != 0)
    });
    deaths
        .filter_map(|death| death.finished_at)
        .any(|at| at.duration_since(ended).abs() <= DEATH_WINDOW)
}

/// What is left in the end.
pub(super) enum Left<'a> {
    /// One pod.
    One(Writer<'a>),
    /// Pods of one name, one after the other: a StatefulSet's pod that was made anew. The name is known, the UID is not.
    OneName(Writer<'a>),
    /// None or several.
    Open,
}

/// Tells pods of one name apart by their lives as stated: they have one owner and one clock, so a mistake stays within the name.
pub(super) fn last(mut left: Vec<Writer<'_>>, ended: Timestamp) -> Left<'_> {
    let names: HashSet<(&str, &str)> = left
        .iter()
        .map(|writer| (writer.pod.namespace.as_str(), writer.pod.name.as_str()))
        .collect();
    if names.len() > 1 {
        return Left::Open;
    }
    if left.len() > 1 {
        // The API server cuts times to the second.
        keep(&mut left, |writer| {
            lived_within(writer.pod, ended, SignedDuration::from_secs(1))
        });
    }
    let alone = left.len() == 1;
    match left.pop() {
        Some(writer) if alone => Left::One(writer),
        Some(writer) => Left::OneName(writer),
        None => Left::Open,
    }
}
