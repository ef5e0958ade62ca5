//! Whose crashes are collected at all.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::core::{Selector, SelectorExt};

use crate::model::KnownPod;

/// What is done with a dump whose pod was never seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnknownPods {
    /// It is stored like others.
    Ship,
    /// It stays on the node until its pod is known.
    Hold,
}

/// Which pods are collected from. A pod must pass all of it; its own opt-out goes before everything.
#[derive(Clone, Debug, Default)]
pub struct Selection {
    namespaces: Vec<String>,
    exclude_namespaces: Vec<String>,
    pods: Selector,
    unknown: Option<UnknownPods>,
}

impl Selection {
    /// Pods of `namespaces` (all where empty) but not of `exclude_namespaces`, whose labels match `pods`.
    ///
    /// # Errors
    /// What is wrong with the selector.
    pub fn new(
        namespaces: Vec<String>,
        exclude_namespaces: Vec<String>,
        pods: LabelSelector,
        unknown: Option<UnknownPods>,
    ) -> Result<Self, String> {
        let pods = Selector::try_from(pods).map_err(|error| error.to_string())?;
        Ok(Self {
            namespaces,
            exclude_namespaces,
            pods,
            unknown,
        })
    }

    /// Whether the pod is collected from.
    pub fn selects(&self, pod: &KnownPod) -> bool {
        !pod.opted_out && self.selects_namespace(&pod.namespace) && self.pods.matches(&pod.labels)
    }

    /// Whether pods of the namespace may be collected from.
    pub fn selects_namespace(&self, namespace: &str) -> bool {
        let among = |list: &[String]| list.iter().any(|name| name == namespace);
        (self.namespaces.is_empty() || among(&self.namespaces)) && !among(&self.exclude_namespaces)
    }

    /// Whether a dump whose pod nobody knows is held. Where nobody said, it is as soon as somebody is not collected from: by a selector, or by the opt-out of
    /// any pod that was seen. It might be theirs.
    pub fn holds_unknown(&self, some_opted_out: bool) -> bool {
        match self.unknown {
            Some(unknown) => unknown == UnknownPods::Hold,
            None => self.is_in_use() || some_opted_out,
        }
    }

    /// Whether anything is selected by.
    pub fn is_in_use(&self) -> bool {
        !self.namespaces.is_empty()
            || !self.exclude_namespaces.is_empty()
            || !self.pods.selects_all()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pod(namespace: &str, team: &str) -> KnownPod {
        KnownPod {
            namespace: namespace.into(),
            labels: [("team".to_owned(), team.to_owned())].into(),
            ..KnownPod::default()
        }
    }

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    fn selection(namespaces: &[&str], exclude: &[&str], pods: serde_json::Value) -> Selection {
        let pods = serde_json::from_value(pods).expect("a selector");
        Selection::new(names(namespaces), names(exclude), pods, None).expect("valid")
    }

    #[test]
    fn nothing_said_selects_everything_but_those_who_opted_out() {
        let all = Selection::default();
        assert!(all.selects(&pod("shop", "a")) && !all.is_in_use());
        let out = KnownPod {
            opted_out: true,
            ..pod("shop", "a")
        };
        assert!(!all.selects(&out));
    }

    #[test]
    fn a_pod_must_pass_namespaces_and_labels() {
        let some = selection(
            &["shop", "bank"],
            &["bank"],
            json!({"matchLabels": {"team": "a"}}),
        );
        assert!(some.selects(&pod("shop", "a")));
        for (namespace, team) in [("shop", "b"), ("bank", "a"), ("other", "a")] {
            assert!(!some.selects(&pod(namespace, team)), "{namespace} {team}");
        }
        let expression =
            json!({"matchExpressions": [{"key": "team", "operator": "NotIn", "values": ["b"]}]});
        let not_b = selection(&[], &[], expression);
        assert!(not_b.selects(&pod("any", "a")) && !not_b.selects(&pod("any", "b")));
        assert!(not_b.is_in_use());
    }

    #[test]
    fn a_selector_that_means_nothing_is_refused() {
        let odd = json!({"matchExpressions": [{"key": "team", "operator": "Like"}]});
        let odd = serde_json::from_value(odd).expect("its form is right");
        assert!(Selection::new(Vec::new(), Vec::new(), odd, None).is_err());
    }

    #[test]
    fn what_nobody_knows_is_held_when_it_might_be_theirs_who_are_not_collected_from() {
        assert!(!Selection::default().holds_unknown(false));
        assert!(Selection::default().holds_unknown(true));
        assert!(selection(&["shop"], &[], json!({})).holds_unknown(false));
        let ship = Selection {
            unknown: Some(UnknownPods::Ship),
            ..selection(&["shop"], &[], json!({}))
        };
        assert!(!ship.holds_unknown(true));
        let hold = Selection {
            unknown: Some(UnknownPods::Hold),
            ..Selection::default()
        };
        assert!(hold.holds_unknown(false));
    }
}
