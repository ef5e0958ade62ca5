//! Whose dump it is, where no Kubernetes can be asked: the source's levels and the file itself are all there is.

use crate::model::{Attribution, Confidence, Container, Evidence, Names, Pod};

/// The names of a crash and how they were found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named {
    /// The pod.
    pub pod: Pod,
    /// The container.
    pub container: Container,
    /// The grounds.
    pub attribution: Attribution,
}

/// Takes the levels first and the host name that the process claimed where they name no pod. Without a pod index nothing is `exact`: whoever may
/// write the directory may have made the levels; and a name the process claimed for itself is no candidate at all.
pub fn attribute_without_kubernetes(levels: &Names, host_name: Option<&str>) -> Named {
    let mut evidence = Vec::new();
    let mut conflicts = Vec::new();
    let said = [
        ("namespace", &levels.namespace),
        ("pod", &levels.pod),
        ("container", &levels.container),
        ("uid", &levels.uid),
    ];
    for (what, name) in said {
        if let Some(name) = name {
            evidence.push(Evidence {
                source: "layout".into(),
                says: format!("{what} {name}"),
                trusted: false,
            });
        }
    }
    if let Some(host) = host_name {
        evidence.push(Evidence {
            source: "hostname".into(),
            says: format!("pod {host}"),
            trusted: false,
        });
        if let Some(pod) = levels
            .pod
            .as_ref()
            .filter(|pod| !is_host_name_of(host, pod))
        {
            conflicts.push(format!("layout says pod {pod}, hostname says {host}"));
        }
    }
    let named_by_levels = levels.pod.is_some() || levels.uid.is_some();
    let confidence = if named_by_levels && conflicts.is_empty() {
        Confidence::Probable
    } else {
        Confidence::Unknown
    };
    Named {
        pod: Pod {
            namespace: levels.namespace.clone(),
            name: levels.pod.clone().or_else(|| host_name.map(str::to_owned)),
            uid: levels.uid.clone(),
            ..Pod::default()
        },
        container: Container {
            name: levels.container.clone(),
            ..Container::default()
        },
        attribution: Attribution {
            confidence,
            evidence,
            conflicts,
            candidates: None,
        },
    }
}

/// A host name is the pod's name cut at 63 characters.
fn is_host_name_of(host: &str, pod: &str) -> bool {
    host == pod || (host.len() == 63 && pod.starts_with(host))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(pod: Option<&str>) -> Names {
        Names {
            pod: pod.map(str::to_owned),
            ..Names::default()
        }
    }

    #[test]
    fn levels_name_the_pod_and_the_host_name_only_agrees_or_not() {
        let agreed = attribute_without_kubernetes(&names(Some("cart-0")), Some("cart-0"));
        assert_eq!(agreed.attribution.confidence, Confidence::Probable);
        assert_eq!(agreed.attribution.evidence.len(), 2);
        let contradicted = attribute_without_kubernetes(&names(Some("cart-0")), Some("other"));
        assert_eq!(contradicted.pod.name.as_deref(), Some("cart-0"));
        assert_eq!(contradicted.attribution.confidence, Confidence::Unknown);
        assert_eq!(contradicted.attribution.conflicts.len(), 1);
    }

    #[test]
    fn a_claimed_name_alone_is_shown_and_not_believed() {
        let claimed = attribute_without_kubernetes(&names(None), Some("cart-0"));
        assert_eq!(claimed.pod.name.as_deref(), Some("cart-0"));
        assert_eq!(claimed.attribution.confidence, Confidence::Unknown);
        assert!(
            claimed
                .attribution
                .evidence
                .iter()
                .all(|evidence| !evidence.trusted)
        );
    }

    #[test]
    fn a_host_name_cut_at_63_characters_agrees() {
        let pod = "a".repeat(70);
        let cut = attribute_without_kubernetes(&names(Some(&pod)), Some(&pod[..63]));
        assert_eq!(cut.attribution.confidence, Confidence::Probable);
    }

    #[test]
    fn nothing_said_is_nothing_known() {
        let named = attribute_without_kubernetes(&names(None), None);
        assert_eq!(
            (named.pod, named.container),
            (Pod::default(), Container::default())
        );
        assert_eq!(named.attribution.confidence, Confidence::Unknown);
    }
}
