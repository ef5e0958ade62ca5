//! What removes candidates: lives, users and terminations.

use super::*;

/// Two tenants' pods that share a directory without levels.
fn shared(change: impl Fn(KnownPod, KnownPod) -> [KnownPod; 2]) -> Scene {
    let pod = |namespace, name| pod(namespace, name).writes("app", ROOT, "");
    scene(change(pod("shop", "cart-0"), pod("bank", "vault-0")))
}

#[test]
fn a_pod_made_after_the_dump_is_removed() {
    shared(|a, b| [a, b.made(301)])
        .below("")
        .probable("shop", "cart-0", "app")
        .candidates(2);
}

#[test]
fn a_pod_gone_before_the_dump_is_removed() {
    shared(|a, b| [a, b.gone(-301)])
        .below("")
        .probable("shop", "cart-0", "app");
}

#[test]
fn clocks_may_differ_by_minutes() {
    shared(|a, b| [a, b.made(299)])
        .below("")
        .unknown()
        .candidates(2);
    shared(|a, b| [a, b.gone(-299)])
        .below("")
        .unknown()
        .candidates(2);
}

#[test]
fn lives_that_would_remove_all_remove_none() {
    shared(|a, b| [a.made(900), b.made(900)])
        .host("cart-0")
        .below("")
        .probable("shop", "cart-0", "app")
        .conflicts(1);
}

#[test]
fn the_file_s_owner_removes_those_that_run_as_another() {
    shared(|a, b| [a.runs_as("app", 1000), b.runs_as("app", 2000)])
        .file_uid(1000)
        .below("")
        .probable("shop", "cart-0", "app")
        .by(&["-uid"]);
}

#[test]
fn the_file_s_owner_removes_nobody_if_none_is_left() {
    shared(|a, b| [a.runs_as("app", 1000), b.runs_as("app", 2000)])
        .file_uid(3000)
        .below("")
        .unknown()
        .by(&["-uid"]);
}

#[test]
fn a_file_of_root_removes_nobody() {
    shared(|a, b| [a.runs_as("app", 0), b.runs_as("app", 2000)])
        .below("")
        .unknown()
        .not_by("uid");
}

#[test]
fn who_may_run_as_anyone_is_not_removed() {
    let others: [fn(KnownPod) -> KnownPod; 3] = [
        // Its image decides.
        |pod| pod,
        // It begins as root.
        |pod| pod.runs_as("app", 0),
        // Its users are not the node's.
        |pod| pod.runs_as("app", 2000).with(|pod| pod.host_users = false),
    ];
    for other in others {
        shared(|a, b| [a.runs_as("app", 1000), other(b)])
            .file_uid(1000)
            .below("")
            .unknown();
    }
}

#[test]
fn only_containers_that_write_there_are_compared() {
    let idle = |pod: KnownPod| {
        pod.runs_as("app", 2000)
            .runs_as("idle", 1000)
            .ended("idle", 0, 139)
    };
    shared(|a, b| [a.runs_as("app", 1000).ended("app", 0, 139), idle(b)])
        .file_uid(1000)
        .below("")
        .probable("shop", "cart-0", "app");
}

#[test]
fn a_termination_within_the_window_removes_the_others() {
    for seconds in [-30, -1, 0, 30] {
        shared(|a, b| [a.ended("app", seconds, 139), b])
            .below("")
            .probable("shop", "cart-0", "app")
            .by(&["-termination"]);
    }
}

#[test]
fn the_last_termination_counts_as_well_as_the_one_before() {
    let last = |pod: KnownPod| {
        pod.ended("app", -2, 139).container("app", |c| {
            let status = c.status.get_or_insert_default();
            status.ended = status.ended_before.take();
        })
    };
    shared(|a, b| [a, last(b)])
        .below("")
        .probable("bank", "vault-0", "app");
}

#[test]
fn a_termination_outside_the_window_says_nothing() {
    for seconds in [-31, 31] {
        shared(|a, b| [a.ended("app", seconds, 139), b])
            .below("")
            .unknown()
            .not_by("termination");
    }
}

#[test]
fn terminations_of_several_candidates_do_not_tell() {
    shared(|a, b| [a.ended("app", 0, 139), b.ended("app", 0, 1)])
        .below("")
        .unknown();
}

#[test]
fn a_container_that_ended_well_is_no_sign_of_a_crash() {
    shared(|a, b| [a.ended("app", 0, 0), b]).below("").unknown();
}

#[test]
fn when_a_pod_set_a_file_s_times_only_the_end_counts() {
    // There is no mtime to give: `About` has the end that the kernel told, and nothing else.
    shared(|a, b| [a.gone(-301), b])
        .below("")
        .probable("bank", "vault-0", "app");
}

#[test]
fn claims_choose_before_users_and_terminations_do() {
    shared(|a, b| {
        [
            a.runs_as("app", 1000),
            b.runs_as("app", 2000).ended("app", 0, 139),
        ]
    })
    .file_uid(2000)
    .host("cart-0")
    .below("")
    .probable("shop", "cart-0", "app")
    .not_by("uid");
}
