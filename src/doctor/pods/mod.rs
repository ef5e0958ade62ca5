//! Pods: would each container's process leave a dump where it is looked for?
//!
//! ```text
//! object ── kube: KnownPod (what the agent believes of mounts) ─┐
//!    └───── facts: variables, limits, kinds of volumes ─────────┴─► judge (rules as data) ─► Judged ─► by reason, or in detail
//! ```
//!
//! What stands in an image, in a ConfigMap or in a Secret is not seen: where nothing in the pod's object makes a runtime write a dump, that is a doubt and no
//! failure. No value of a variable leaves `facts` and `runtimes`.

mod facts;
mod judge;
mod quantity;
mod runtimes;

pub(super) use facts::SeenPod;
pub use judge::{Answer, Judged, Reason, summary};
pub(super) use judge::{Judge, Namespaces};

/// A pod's name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodName {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

/// Which pods are judged.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Scope {
    /// All that can be seen.
    #[default]
    All,
    /// Those of one namespace.
    Namespace(String),
    /// One, in detail: that it would leave no dump is a failure then, whether it was asked to or not.
    Pod(PodName),
}

impl Scope {
    /// Whether a pod is among them.
    pub(super) fn has(&self, namespace: &str, name: &str) -> bool {
        match self {
            Self::All => true,
            Self::Namespace(only) => only == namespace,
            Self::Pod(pod) => pod.namespace == namespace && pod.name == name,
        }
    }
}
