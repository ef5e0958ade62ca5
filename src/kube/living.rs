//! Pods of this node that run now, for what is asked of a living process.

use super::index::{PodIndex, container_facts, pod_facts};
use crate::model::{Attribution, Confidence, Container, Evidence, KnownContainer, KnownPod, Pod};

impl PodIndex {
    /// The living pod of this name, if it is on this node. One that is being deleted still lives.
    pub fn living(&self, namespace: &str, name: &str) -> Option<KnownPod> {
        let state = self.state();
        let mut pods = state.pods.values();
        let is_it =
            |pod: &&KnownPod| pod.gone.is_none() && pod.namespace == namespace && pod.name == name;
        pods.find(is_it).cloned()
    }

    /// The pod with this UID, if it lives.
    pub fn living_by_uid(&self, uid: &str) -> Option<KnownPod> {
        let state = self.state();
        let pod = state.pods.get(uid).filter(|pod| pod.gone.is_none());
        pod.cloned()
    }

    /// All living pods of this node that `wanted` says yes to.
    pub fn all_living(&self, wanted: impl Fn(&KnownPod) -> bool) -> Vec<KnownPod> {
        let state = self.state();
        let pods = state.pods.values().filter(|pod| pod.gone.is_none());
        pods.filter(|pod| wanted(pod)).cloned().collect()
    }

    /// What a manifest says of a pod's living container. Its process was found by the container's id, which no tenant can choose.
    pub fn facts_of_living(
        &self,
        pod: &KnownPod,
        container: &KnownContainer,
    ) -> (Pod, Container, Attribution) {
        let status = container.status.as_ref();
        let id = status.and_then(|status| status.id.clone());
        let facts = Container {
            id: id.clone(),
            start_number: status.map(|status| status.restarts),
            started_at: status.and_then(|status| status.running_since),
            ..container_facts(container, None, 0)
        };
        let attribution = Attribution {
            confidence: Confidence::Exact,
            evidence: vec![Evidence {
                source: "cgroup".to_owned(),
                says: format!(
                    "the process is in container {} of pod {}",
                    id.as_deref().unwrap_or("-"),
                    pod.uid
                ),
                trusted: true,
            }],
            conflicts: Vec::new(),
            candidates: None,
        };
        (pod_facts(pod, &self.config.labels), facts, attribution)
    }
}
