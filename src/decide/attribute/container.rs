//! Which container of a known pod it was. The level that names one only confirms or chooses: all containers of the pod could have made it.

use super::grounds::{Grounds, Source, shown};
use super::{About, Found, Where, narrow};

/// The container, as far as it is known.
pub(super) struct Ran {
    pub(super) name: Option<String>,
    /// Whether it is the only one that may have written the dump.
    pub(super) is_trusted: bool,
}

/// Chooses among the containers that may have written the dump.
pub(super) fn choose(found: &Found<'_>, about: &About<'_>, grounds: &mut Grounds) -> Ran {
    let mut left = found.containers.clone();
    let is_trusted = left.len() == 1;
    if let (true, Some(only)) = (is_trusted, left.first()) {
        let source = match about.place {
            Where::HostDir { .. } => Source::Mounts,
            Where::KubeletVolume { .. } => Source::KubeletPath,
            Where::Cgroup { .. } => Source::Cgroup,
        };
        grounds.note(source, true, format!("container {}", shown(&only.name)));
    }
    if let Some(level) = about.level_for_container() {
        let before = left.len();
        if left.iter().any(|container| container.name == level) {
            left.retain(|container| container.name == level);
        } else if before > 0 {
            let says = format!(
                "layout says container {}, which does not write there",
                shown(level)
            );
            grounds.conflict(says, "layout says a container that does not write there");
        }
    }
    narrow::containers(&mut left, found.pod, about, grounds);
    let alone = left.len() == 1;
    let name = left.first().filter(|_| alone).map(|c| c.name.clone());
    Ran { name, is_trusted }
}
