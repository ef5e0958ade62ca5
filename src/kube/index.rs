//! The pods of this node, living and dead, and what can be said by them of a dump.
//!
//! Keyed by UID: a name is used again, by a `StatefulSet` at once. A pod outlives its deletion here, since its dumps do; so many at the most that a node of
//! short jobs cannot fill the memory.

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};

use crate::decide::{LogDir, Selection};
use crate::model::{Container, KnownContainer, KnownPod, Label, Pod, Stopping, Terminated};

/// A watch that has said nothing for so long may hang: the API server says where it is about once a minute.
const HEARD: SignedDuration = SignedDuration::from_secs(180);

/// How the index is kept.
#[derive(Clone, Debug)]
pub struct Config {
    /// The node's name.
    pub node: String,
    /// How long a pod is remembered when it is gone.
    pub keep_gone: Duration,
    /// Most pods that are gone and remembered.
    pub max_gone: usize,
    /// Namespace and name of the agent's own pod, where it runs in one.
    pub own: Option<(String, String)>,
    /// Keys of the labels that manifests show.
    pub labels: Vec<String>,
    /// Whose crashes are collected.
    pub selection: Selection,
    /// The kubelet's directory of logs.
    pub log_dir: PathBuf,
}

/// The pods of this node.
#[derive(Debug)]
pub struct PodIndex {
    pub(super) config: Config,
    state: Mutex<State>,
    /// The kubelet's log directories, as of then.
    pub(super) logs: Mutex<Option<(Instant, Arc<[LogDir]>)>>,
}

#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) pods: HashMap<String, KnownPod>,
    /// Those that a list under way has not named yet, while there is one.
    unlisted: Option<Vec<String>>,
    /// Since when all pods were seen.
    since: Option<Timestamp>,
    /// When the API server said something last; absent since the watch failed.
    heard: Option<Timestamp>,
    /// Those that the API server said are deleted, and not only left out of a list.
    deleted: HashSet<String>,
    /// Whether a pod of this node has ever opted out.
    pub(super) opted_out: bool,
    /// Whether a list was whole since the agent began.
    was_synced: bool,
}

/// How long a pod must have been gone until its directories may go: a pod that is deleted by force may still run, and a static pod's image at the API server that is deleted is made anew.
const CERTAINLY: SignedDuration = SignedDuration::from_mins(10);

impl PodIndex {
    /// An index that knows no pod yet.
    pub fn new(config: Config) -> Self {
        Self {
            config,
            state: Mutex::default(),
            logs: Mutex::default(),
        }
    }

    /// Whose crashes are collected.
    pub fn selection(&self) -> &Selection {
        &self.config.selection
    }

    /// What the manifest says of a pod.
    pub(super) fn pod_facts(&self, pod: &KnownPod) -> Pod {
        pod_facts(pod, &self.config.labels)
    }

    /// A list begins: what it does not name is gone.
    pub(super) fn begin_list(&self) {
        let mut state = self.state();
        let living = state.pods.values().filter(|pod| pod.gone.is_none());
        state.unlisted = Some(living.map(|pod| pod.uid.clone()).collect());
        state.since = None;
    }

    /// The list has ended.
    pub(super) fn end_list(&self, now: Timestamp) {
        let mut state = self.state();
        for uid in state.unlisted.take().unwrap_or_default() {
            if let Some(pod) = state.pods.get_mut(&uid) {
                pod.gone.get_or_insert(now);
            }
        }
        state.since = Some(now);
        state.heard = Some(now);
        state.was_synced = true;
        state.forget_gone(&self.config, now);
    }

    /// A pod as it is now. Gives what is known of it.
    pub(super) fn see(&self, pod: KnownPod, now: Timestamp) -> KnownPod {
        let mut state = self.state();
        if let Some(unlisted) = &mut state.unlisted {
            unlisted.retain(|uid| *uid != pod.uid);
        }
        // A watch may tell of an older state once more; one that was deleted stays so. One that a list left out may have been missing in an old cache.
        let known = state.pods.get(&pod.uid).and_then(|known| known.gone);
        let gone = known.filter(|_| state.deleted.contains(&pod.uid));
        self.keep(&mut state, KnownPod { gone, ..pod }, now)
    }

    /// A pod is deleted, and was this at last. Gives what is known of it.
    pub(super) fn gone(&self, pod: KnownPod, now: Timestamp) -> KnownPod {
        let mut state = self.state();
        state.deleted.insert(pod.uid.clone());
        let gone = Some(now);
        self.keep(&mut state, KnownPod { gone, ..pod }, now)
    }

    fn keep(&self, state: &mut State, pod: KnownPod, now: Timestamp) -> KnownPod {
        state.heard = Some(now);
        state.opted_out |= pod.opted_out;
        let pod = KnownPod {
            stopping: state.stopping(&pod),
            ..pod
        };
        state.pods.insert(pod.uid.clone(), pod.clone());
        state.forget_gone(&self.config, now);
        pod
    }

    /// The API server said something.
    pub(super) fn hear(&self, now: Timestamp) {
        self.state().heard = Some(now);
    }

    /// The watch failed: what happens now is not seen.
    pub(super) fn trouble(&self) {
        self.state().heard = None;
    }

    /// Whether any pod of this node has ever opted out, as far as is remembered.
    pub(super) fn has_opt_outs(&self) -> bool {
        self.state().opted_out
    }

    /// A pod of this node has opted out before this agent began.
    pub(super) fn remember_opt_outs(&self) {
        self.state().opted_out = true;
    }

    /// Whether crashes of this pod may be collected now; they may of one that is not known.
    pub fn is_collected(&self, uid: &str) -> bool {
        let state = self.state();
        let pod = state.pods.get(uid);
        pod.is_none_or(|pod| self.config.selection.selects(pod))
    }

    /// Whether the pod that the API server or the kubelet knows by this UID has certainly been gone from this node for ten minutes: all pods have been known for as
    /// long, and it is not among those that lived since. Not where no pod lives here, or not ours: then this is not the node that was asked about.
    pub fn is_gone(&self, uid: &str, now: Timestamp) -> bool {
        let state = self.state();
        let long_ago = |since: Timestamp| now.duration_since(since) >= CERTAINLY;
        let lives = |pod: &KnownPod| pod.gone.is_none();
        let own = self.config.own.as_ref();
        let is_our_node = state.pods.values().any(|pod| {
            let is_own = |(namespace, name): &(String, String)| {
                (&pod.namespace, &pod.name) == (namespace, name)
            };
            lives(pod) && own.is_none_or(is_own)
        });
        let is_it = |pod: &&KnownPod| pod.uid == uid || pod.node_uid == uid;
        is_our_node
            && state.synced_since(now).is_some_and(long_ago)
            && state
                .pods
                .values()
                .filter(is_it)
                .all(|pod| pod.gone.is_some_and(long_ago))
    }

    /// Whether all pods were known at any time since the agent began.
    pub fn was_synced(&self) -> bool {
        self.state().was_synced
    }

    /// Whether all pods are known at `now`.
    #[cfg(test)]
    fn is_synced(&self, now: Timestamp) -> bool {
        self.state().synced_since(now).is_some()
    }

    /// UIDs of the pods that are remembered, and whether each is gone.
    pub(super) fn remembered(&self) -> HashMap<String, bool> {
        let state = self.state();
        let pods = state.pods.values();
        pods.map(|pod| (pod.uid.clone(), pod.gone.is_some()))
            .collect()
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    pub(super) fn synced_since(&self, now: Timestamp) -> Option<Timestamp> {
        let lately = |at: Timestamp| now.duration_since(at) <= HEARD;
        self.since.filter(|_| self.heard.is_some_and(lately))
    }

    /// What asked the pod to end, since the earliest time that was ever told: when the kubelet lets go of a pod its grace period becomes none, and the end of it,
    /// which stands there, no longer tells when it was asked.
    fn stopping(&self, pod: &KnownPod) -> Option<Stopping> {
        let known = self.pods.get(&pod.uid);
        let before = known.and_then(|known| known.stopping.as_ref());
        // A request may be withdrawn as well, as that of an eviction is that did not come to be.
        let now = pod.stopping.as_ref()?;
        let earlier = before.filter(|before| {
            before.since.is_some() && (now.since.is_none() || before.since < now.since)
        });
        Some(earlier.unwrap_or(now).clone())
    }

    fn forget_gone(&mut self, config: &Config, now: Timestamp) {
        let keep = SignedDuration::try_from(config.keep_gone).unwrap_or(SignedDuration::MAX);
        self.pods
            .retain(|_, pod| pod.gone.is_none_or(|gone| now.duration_since(gone) <= keep));
        let mut gone: Vec<(Timestamp, String)> = self
            .pods
            .values()
            .filter_map(|pod| Some((pod.gone?, pod.uid.clone())))
            .collect();
        if let Some(more) = gone
            .len()
            .checked_sub(config.max_gone)
            .filter(|more| *more > 0)
        {
            gone.sort();
            for (_, uid) in gone.into_iter().take(more) {
                self.pods.remove(&uid);
            }
        }
        let pods = &self.pods;
        self.deleted.retain(|uid| pods.contains_key(uid));
    }
}

pub(super) fn pod_facts(pod: &KnownPod, labels: &[String]) -> Pod {
    Pod {
        namespace: Some(pod.namespace.clone()),
        name: Some(pod.name.clone()),
        uid: Some(pod.uid.clone()),
        owner: Some(pod.owner.clone()),
        labels: labels
            .iter()
            .filter_map(|key| {
                let value = pod.labels.get(key)?.clone();
                Some(Label {
                    key: key.clone(),
                    value,
                })
            })
            .collect(),
        service_account: pod.service_account.clone(),
        start_time: pod.start_time,
    }
}

/// What the manifest says of a container, and of the start of it that ended so.
pub(super) fn container_facts(
    container: &KnownContainer,
    end: Option<&Terminated>,
    number: u32,
) -> Container {
    Container {
        name: Some(container.name.clone()),
        kind: Some(container.kind),
        id: end.and_then(|end| end.id.clone()),
        image: container.image.clone(),
        image_digest: container.image_digest.clone(),
        start_number: end.map(|_| number),
        started_at: end.and_then(|end| end.started_at),
        finished_at: end.and_then(|end| end.finished_at),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn index(max_gone: usize) -> PodIndex {
        PodIndex::new(Config {
            node: "node-1".into(),
            keep_gone: Duration::from_secs(100),
            max_gone,
            own: None,
            labels: Vec::new(),
            selection: Selection::default(),
            log_dir: "/nowhere".into(),
        })
    }

    fn pod(uid: &str) -> KnownPod {
        KnownPod {
            uid: uid.into(),
            namespace: "shop".into(),
            name: uid.into(),
            ..KnownPod::default()
        }
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_795_000_000 + second).expect("in range")
    }

    fn uids(index: &PodIndex) -> Vec<String> {
        let mut uids: Vec<_> = index.remembered().into_keys().collect();
        uids.sort();
        uids
    }

    #[test]
    fn it_is_complete_from_the_end_of_a_list_until_the_watch_fails() {
        let index = index(10);
        assert!(!index.is_synced(at(0)));
        index.begin_list();
        index.see(pod("a"), at(1));
        assert!(!index.is_synced(at(1)));
        index.end_list(at(2));
        assert!(index.is_synced(at(3)));
        index.trouble();
        assert!(!index.is_synced(at(5)));
        index.see(pod("b"), at(6));
        assert!(index.is_synced(at(6)));
        index.trouble();
        assert!(!index.is_synced(at(100)));
        index.hear(at(100));
        assert!(index.is_synced(at(280)) && !index.is_synced(at(281)));
        index.begin_list();
        assert!(!index.is_synced(at(100)));
    }

    /// Ten minutes after a second.
    fn later(second: i64) -> Timestamp {
        at(second + 600)
    }

    /// Lists these pods, and gives the index a word from the server ten minutes later.
    fn listed(pods: &[KnownPod]) -> PodIndex {
        let index = index(1_000);
        index.begin_list();
        for pod in pods {
            index.see(pod.clone(), at(1));
        }
        index.end_list(at(2));
        index.hear(later(100));
        index
    }

    #[test]
    fn a_pod_is_gone_when_it_has_not_been_there_for_long() {
        let index = listed(&[pod("a"), pod("b")]);
        assert!(!index.is_gone("a", later(100)) && index.is_gone("never-seen", later(100)));
        index.gone(pod("b"), at(50));
        index.hear(later(49));
        assert!(!index.is_gone("b", later(49)), "it may still run");
        index.hear(later(50));
        assert!(index.is_gone("b", later(50)));
    }

    #[test]
    fn nobody_is_gone_as_long_as_it_is_not_sure_who_is_there() {
        let index = listed(&[pod("a")]);
        assert!(
            !index.is_gone("never-seen", later(1)),
            "known for less than ten minutes"
        );
        index.trouble();
        assert!(!index.is_gone("never-seen", at(10_000)));
        index.begin_list();
        index.end_list(at(10_001));
        assert!(!index.is_gone("never-seen", at(10_002)));
    }

    #[test]
    fn nobody_is_gone_from_a_node_that_has_no_pods_or_not_ours() {
        assert!(
            !listed(&[]).is_gone("never-seen", later(100)),
            "another node's name was asked for"
        );
        let mut config = listed(&[pod("a")]);
        config.config.own = Some(("salvage".into(), "agent-1".into()));
        assert!(!config.is_gone("never-seen", later(100)));
        config.config.own = Some(("shop".into(), "a".into()));
        assert!(config.is_gone("never-seen", later(100)));
    }

    #[test]
    fn a_static_pod_lives_by_the_uid_that_the_kubelet_knows() {
        let fixed = KnownPod {
            node_uid: "digest".into(),
            ..pod("mirror")
        };
        let index = listed(&[fixed]);
        assert!(!index.is_gone("digest", later(100)) && !index.is_gone("mirror", later(100)));
    }

    #[test]
    fn a_pod_outlives_its_deletion_for_a_time() {
        let index = index(10);
        index.see(pod("a"), at(0));
        index.gone(pod("a"), at(1));
        assert_eq!(uids(&index), ["a"]);
        // An older state of it, told late, does not bring it back to life.
        index.see(pod("a"), at(2));
        index.see(pod("b"), at(102));
        assert_eq!(uids(&index), ["b"]);
    }

    #[test]
    fn what_a_new_list_does_not_name_is_gone() {
        let index = index(10);
        index.see(pod("a"), at(0));
        index.see(pod("b"), at(0));
        index.begin_list();
        index.see(pod("b"), at(1));
        index.end_list(at(2));
        assert_eq!(index.remembered().get("a"), Some(&true));
        assert_eq!(index.remembered().get("b"), Some(&false));
    }

    #[test]
    fn one_that_an_old_list_left_out_lives_when_it_is_seen_again() {
        let index = index(10);
        index.see(pod("a"), at(0));
        index.begin_list();
        index.end_list(at(1));
        assert_eq!(index.remembered().get("a"), Some(&true));
        index.see(pod("a"), at(2));
        assert_eq!(index.remembered().get("a"), Some(&false));
    }

    #[test]
    fn a_wish_that_a_pod_ends_is_told_by_its_earliest_time_and_may_be_withdrawn() {
        let index = index(10);
        let asked = |since: Option<Timestamp>| KnownPod {
            stopping: Some(Stopping {
                why: "deleted".into(),
                since,
            }),
            ..pod("a")
        };
        let since = |pod: KnownPod| index.see(pod, at(9)).stopping.map(|it| it.since);
        assert_eq!(since(asked(Some(at(1)))), Some(Some(at(1))));
        assert_eq!(since(asked(Some(at(5)))), Some(Some(at(1))));
        assert_eq!(since(asked(None)), Some(Some(at(1))));
        assert_eq!(since(pod("a")), None);
    }

    #[test]
    fn of_too_many_that_are_gone_the_oldest_are_forgotten() {
        let index = index(2);
        for n in 0..5 {
            index.gone(pod(&format!("p{n}")), at(n));
        }
        index.see(pod("alive"), at(6));
        assert_eq!(uids(&index), ["alive", "p3", "p4"]);
    }
}
