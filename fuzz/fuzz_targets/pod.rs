//! A pod as an API server may send it: whatever it says, it is read or refused, its ends are counted once, and no dump is certainly its own because of what only
//! it says.
#![no_main]

use std::path::Path;

use jiff::{SignedDuration, Timestamp};
use salvage::decide::{
    About, Claim, ClaimSource, End, Node, Selection, Where, attribute, new_ends,
};
use salvage::kube::WatchedPod;
use salvage::model::{Confidence, KnownPod, Names, NodeVolume, VolumeAt};

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    let Ok(watched) = serde_json::from_slice::<WatchedPod>(input) else {
        return;
    };
    let Some(pod) = watched.pod else { return };
    let now = Timestamp::from_second(1_795_000_000).expect("in range");
    for container in &pod.containers {
        for met in [true, false] {
            let (ends, counted) = new_ends(&pod, container, None, met, now);
            for end in &ends {
                if let End::Unseen { number, count } = end {
                    assert!(*count > 0 && u64::from(*count) <= u64::from(*number) + 1);
                }
            }
            // The same status once more is no news.
            let (again, same) = new_ends(&pod, container, Some(&counted), met, now);
            assert!(again.is_empty() && same == counted, "{ends:?} {again:?}");
        }
    }
    Selection::default().selects(&pod);
    check_forgery(&pod, now);
});

/// Beside another pod that may write the directory, nothing that this one says makes it certain.
fn check_forgery(pod: &KnownPod, now: Timestamp) {
    let victim = KnownPod {
        uid: "victim-uid".into(),
        node_uid: "victim-uid".into(),
        namespace: "victims".into(),
        name: "victim".into(),
        volumes: vec![NodeVolume {
            name: "dumps".into(),
            at: VolumeAt::HostPath("/var/crash".into()),
        }],
        ..KnownPod::default()
    };
    let pods = [pod, &victim];
    let names = Names {
        namespace: Some(pod.namespace.clone()),
        pod: Some(pod.name.clone()),
        ..Names::default()
    };
    let claims = [Claim {
        source: ClaimSource::Environment,
        host_name: &pod.name,
    }];
    let about = About {
        place: Where::HostDir {
            dir: Path::new("/var/crash/victims/victim/app"),
            root: Path::new("/var/crash"),
            names: &names,
        },
        claims: &claims,
        file_uid: 1_000,
        ended: now,
    };
    let node = Node {
        name: Some("node"),
        pods: &pods,
        synced_since: now.checked_sub(SignedDuration::from_hours(1)).ok(),
        own: None,
        log_dirs: &[],
    };
    let found = attribute(&about, &node);
    let is_certain = found.attribution.confidence == Confidence::Exact;
    // It may be, where it alone can write there: the victim mounts nothing.
    let writes = pod
        .volumes
        .iter()
        .any(|volume| matches!(volume.at, VolumeAt::HostPath(_)));
    assert!(!is_certain || writes, "{found:?}");
}
