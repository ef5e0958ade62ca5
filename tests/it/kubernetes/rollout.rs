//! A rollout ends a hundred pods, and none of them has crashed.

use anyhow::{Result, ensure};

use super::{Lab, now};
use crate::support::kube::{Ended, Now, PodBuilder, container_id};

/// How a program may take SIGTERM: it ends well, is ended by it, is killed when its grace is over, or gives an error.
const ENDS: [(i32, &str); 4] = [
    (0, "Completed"),
    (143, "Error"),
    (137, "Error"),
    (1, "Error"),
];

const PODS: usize = 100;

fn uid(n: usize) -> String {
    format!("00000000-0000-4000-8000-{n:012}")
}

fn pod(n: usize) -> PodBuilder {
    PodBuilder::new("shop", &format!("checkout-5fb6b667cc-{n:05}"), &uid(n))
        .owner("ReplicaSet", "checkout-5fb6b667cc")
        .label("pod-template-hash", "5fb6b667cc")
        .container("api", &[])
}

#[test]
fn pods_that_are_asked_to_end_do_not_crash_unless_they_do() -> Result<()> {
    let lab = Lab::new()?;
    for n in 0..PODS {
        let running = Now::running(now(), &container_id(&uid(n), "api", 0));
        lab.server
            .add(pod(n).status("api", 0, running, None).build());
    }
    let agent = lab.start()?;
    let segfault = PODS / 2;
    for n in 0..PODS {
        let id = container_id(&uid(n), "api", 0);
        let asked = now();
        let pod = || pod(n).deleted_at(asked, 30);
        lab.server.modify(
            pod()
                .status("api", 0, Now::running(asked, &id), None)
                .build(),
        );
        let (code, reason) = match n {
            _ if n == segfault => (139, "Error"),
            _ => ENDS[n % ENDS.len()],
        };
        let end = Ended::new(code, reason, now(), &id);
        lab.server
            .modify(pod().status("api", 0, Now::Terminated(end), None).build());
        let name = format!("checkout-5fb6b667cc-{n:05}");
        lab.server.delete("shop", &name);
    }
    lab.server.wait_until_watched()?;
    let crash = lab.settled(&agent, 1)?.remove(0);
    ensure!(
        crash["exit_code"] == 139 && crash["reason"] == "SIGSEGV",
        "{crash:#}"
    );
    ensure!(crash["pod"]["uid"] == uid(segfault), "{crash:#}");
    // The last of them was told before this one, and nothing of them is on its way.
    let last = PodBuilder::new("shop", "sentinel", "sentinel-uid").container("api", &[]);
    let end = Ended::new(3, "Error", now(), &container_id("sentinel-uid", "api", 0));
    lab.server
        .add(last.status("api", 0, Now::Terminated(end), None).build());
    lab.settled(&agent, 2)?;
    let total: u64 = super::counted(&agent)?.values().sum();
    ensure!(total == 2, "{total} crashes counted");
    lab.ensure_polite()
}
