use proptest::prelude::*;

use super::*;

const GIB: u64 = 1 << 30;

const SECOND: Duration = Duration::from_secs(1);

/// A service of 1 GiB with the probe that Kubernetes makes of defaults, and room for everything.
fn service(subject: Subject) -> Request {
    Request {
        subject,
        process: Process {
            rss: GIB + 64 * MIB,
            rss_anon: GIB,
            vm_size: 260 * GIB,
            threads: 40,
        },
        dump_speed: Speed::DUMP,
        heap_walk_speed: Speed::HEAP_WALK,
        probe: Some(Probe {
            period: 10 * SECOND,
            timeout: SECOND,
            failure_threshold: 3,
        }),
        memory_used: Some(GIB + 64 * MIB),
        memory_limit: Some(4 * GIB),
        buffer_mb: 256,
        room: 100 * GIB,
        max_bytes: 100 * GIB,
        force: false,
    }
}

const DUMP: fn(DumpType) -> Subject = Subject::Dump;

fn reasons(verdict: &Verdict) -> Vec<&'static str> {
    let concerns = verdict.concerns().iter();
    concerns.map(|concern| concern.trouble().reason()).collect()
}

#[test]
fn estimates_cover_what_was_measured() {
    // RssAnon, RssFile, threads; mini, heap, full: bytes and milliseconds, as in the table of the module.
    let measured = [
        (
            2_712u64,
            20_460u64,
            8,
            [5_832_704u64, 71_122_944, 109_338_624],
            [454u64, 660, 748],
        ),
        (
            317_984,
            21_228,
            9,
            [5_898_240, 421_105_664, 459_276_288],
            [472, 3_300, 1_614],
        ),
    ];
    for (anon, file, threads, bytes, millis) in measured {
        let types = [DumpType::Mini, DumpType::Heap, DumpType::Full];
        for ((kind, bytes), millis) in types.into_iter().zip(bytes).zip(millis) {
            let mut request = service(DUMP(kind));
            request.process = Process {
                rss: (anon + file) << 10,
                rss_anon: anon << 10,
                vm_size: 273_505_468 << 10,
                threads,
            };
            let estimate = estimate(&request);
            assert!(
                estimate.bytes >= bytes && estimate.bytes < bytes * 2,
                "{kind}: {bytes} bytes, not {estimate:?}"
            );
            let pause = u64::try_from(estimate.pause.as_millis()).expect("a short time");
            assert!(
                pause >= millis * 9 / 10 && pause < millis * 3,
                "{kind}: {millis} ms, not {estimate:?}"
            );
        }
    }
    let mut request = service(Subject::Gcdump);
    request.process.rss_anon = 160_428 << 10;
    let estimate = estimate(&request);
    assert!(
        (176_276_998..200_000_000).contains(&estimate.bytes),
        "{estimate:?}"
    );
    assert!(
        (204_588 << 10..250 << 20).contains(&estimate.memory),
        "{estimate:?}"
    );
}

#[test]
fn a_probe_allows_the_time_to_its_last_failure() {
    let probe = |period, timeout, failure_threshold| Probe {
        period: SECOND * period,
        timeout: SECOND * timeout,
        failure_threshold,
    };
    for (probe, allowed) in [
        (probe(10, 1, 3), 21),
        (probe(10, 1, 1), 1),
        (probe(5, 5, 6), 30),
        // No such probe exists; it must not be a panic.
        (probe(10, 1, 0), 1),
    ] {
        assert_eq!(probe.allowed(), SECOND * allowed, "{probe:?}");
        let pause = SECOND * 100;
        let threshold = probe.threshold_for(pause);
        let raised = Probe {
            failure_threshold: u32::try_from(threshold).expect("small"),
            ..probe
        };
        assert!(raised.allowed() > pause, "{threshold}");
    }
}

/// A change of the service, and the reasons against a capture of it.
type Row = (
    &'static str,
    Subject,
    fn(&mut Request),
    &'static [&'static str],
    bool,
);

#[test]
fn what_speaks_against_a_capture_is_found() {
    let heap = DUMP(DumpType::Heap);
    let rows: [Row; 15] = [
        ("as it is", heap, |_| {}, &[], true),
        ("no probe", heap, |r| r.probe = None, &[], true),
        (
            "half the allowed time",
            heap,
            |r| r.process.rss_anon = 2 * GIB,
            &["PauseTooLong"],
            true,
        ),
        (
            "all of it",
            heap,
            |r| r.process.rss_anon = 4 * GIB,
            &["PauseTooLong"],
            false,
        ),
        (
            "all of it, of a mini dump",
            DUMP(DumpType::Mini),
            |r| r.process.rss_anon = 4 * GIB,
            &[],
            true,
        ),
        (
            "a gcdump of very many objects",
            Subject::Gcdump,
            |r| r.probe = None,
            &["BufferTooSmall"],
            true,
        ),
        (
            "near the limit",
            heap,
            |r| r.memory_limit = Some(GIB + 80 * MIB),
            &["MemoryTooTight"],
            true,
        ),
        (
            "at the limit",
            heap,
            |r| r.memory_limit = Some(GIB + 70 * MIB),
            &["MemoryTooTight"],
            false,
        ),
        (
            "at the limit, unreadable",
            heap,
            |r| (r.memory_limit, r.memory_used) = (Some(GIB), None),
            &[],
            true,
        ),
        ("no limit", heap, |r| r.memory_limit = None, &[], true),
        (
            "a trace with too large a buffer",
            Subject::Trace(SECOND),
            |r| r.memory_limit = Some(GIB + 320 * MIB),
            &["MemoryTooTight"],
            false,
        ),
        ("no room", heap, |r| r.room = GIB, &["SpoolFull"], false),
        (
            "too large",
            heap,
            |r| r.max_bytes = GIB,
            &["TooLarge"],
            false,
        ),
        (
            "a trace is ended at its size",
            Subject::Trace(SECOND * 3_600),
            |r| r.max_bytes = GIB,
            &[],
            true,
        ),
        (
            "counters never stand in the way",
            Subject::Counters(SECOND * 60),
            |r| r.max_bytes = MIB,
            &[],
            true,
        ),
    ];
    for (name, subject, change, expected, allowed) in rows {
        let mut request = service(subject);
        change(&mut request);
        request.process.rss = request.process.rss.max(request.process.rss_anon);
        let plan = plan(&request);
        assert_eq!(reasons(&plan.verdict), expected, "{name}: {plan:?}");
        assert_eq!(plan.verdict.allows(), allowed, "{name}: {plan:?}");
    }
}

#[test]
fn force_takes_everything_but_a_full_spool() {
    let mut request = service(DUMP(DumpType::Full));
    request.process.rss_anon = 10 * GIB;
    request.process.rss = 10 * GIB;
    request.memory_limit = Some(GIB);
    request.max_bytes = GIB;
    assert!(!plan(&request).verdict.allows());
    request.force = true;
    let forced = plan(&request).verdict;
    assert!(forced.allows() && reasons(&forced).len() == 3, "{forced:?}");
    request.room = GIB;
    let Verdict::Refuse(concerns) = plan(&request).verdict else {
        panic!("there is no room");
    };
    assert_eq!(concerns[0].trouble().reason(), "SpoolFull");
    assert_eq!(
        concerns.iter().filter(|concern| concern.refuses()).count(),
        1
    );
}

#[test]
fn only_what_meets_with_no_trouble_is_taken_instead() {
    let mut request = service(DUMP(DumpType::Full));
    request.probe = None;
    request.room = GIB + 300 * MIB;
    // Mapped files make the difference.
    request.process.rss = GIB + 128 * MIB;
    let instead = |request: &Request| plan(request).verdict.concerns()[0].instead();
    assert_eq!(instead(&request), Some(DUMP(DumpType::Heap)));
    request.room = GIB + 150 * MIB;
    assert_eq!(instead(&request), Some(Subject::Gcdump));
    request.room = 200 * MIB;
    assert_eq!(instead(&request), Some(DUMP(DumpType::Mini)));
    request.room = MIB;
    assert_eq!(instead(&request), None);
}

#[test]
fn people_read_the_numbers_and_what_to_do() {
    let said = |request: &Request| plan(request).verdict.concerns()[0].to_string();
    let mut slow = service(DUMP(DumpType::Heap));
    slow.process.rss_anon = 4 * GIB;
    slow.process.rss = 4 * GIB;
    assert_eq!(
        said(&slow),
        "a heap dump makes the process stand still for about 33 s, and the kubelet kills the container after 21 s without an answer (liveness probe: period 10 s, timeout 1 s, \
         failureThreshold 3): the container would be killed, and the capture cut; take a mini dump instead, or set failureThreshold to 5 or more, or force it"
    );
    let mut tight = service(DUMP(DumpType::Mini));
    tight.memory_limit = tight.memory_used;
    assert_eq!(
        said(&tight),
        "a mini dump needs about 13.4 MiB of the container's memory, of which 1.1 GiB are in use and 1.1 GiB allowed: the kernel might kill the process; \
         raise the container's memory limit, or force it"
    );
    let mut full = service(DUMP(DumpType::Heap));
    full.room = 64 * MIB;
    assert_eq!(
        said(&full),
        "a heap dump is about 1.2 GiB, and the spool on the node has room for 64.0 MiB; take a mini dump instead, or wait until what it holds is stored, or raise spool.max_use"
    );
    let mut gcdump = service(Subject::Gcdump);
    assert_eq!(
        said(&gcdump),
        "a gcdump makes the process stand still for about 10 s, and the kubelet kills the container after 21 s without an answer (liveness probe: period 10 s, timeout 1 s, \
         failureThreshold 3): that is close; set failureThreshold to 4 or more"
    );
    gcdump.probe = None;
    assert_eq!(
        said(&gcdump),
        "a gcdump may be 1.1 GiB of events, and the runtime holds 256.0 MiB: of a heap of many small objects it drops the rest; take a heap dump to be sure"
    );
    let mut large = service(DUMP(DumpType::Heap));
    large.max_bytes = GIB;
    assert_eq!(
        said(&large),
        "a heap dump is about 1.2 GiB, and this capture may have 1.0 GiB: it would be cut; take a gcdump instead, or allow more with maxBytes, or force it"
    );
}

fn any_subject() -> impl Strategy<Value = Subject> {
    let time = any::<u64>().prop_map(Duration::from_secs);
    prop_oneof![
        proptest::sample::select(&DumpType::ALL[..]).prop_map(Subject::Dump),
        Just(Subject::Gcdump),
        time.clone().prop_map(Subject::Trace),
        time.prop_map(Subject::Counters),
    ]
}

/// Numbers of all sizes.
fn number() -> impl Strategy<Value = u64> {
    (any::<u64>(), 0..64u32).prop_map(|(number, shift)| number >> shift)
}

prop_compose! {
    fn any_request()(
        subject in any_subject(),
        (rss, rss_anon, vm_size, threads) in (number(), number(), number(), any::<u32>()),
        (dump, walk) in (number(), number()),
        probe in proptest::option::of((number(), number(), any::<u32>())),
        memory_used in proptest::option::of(number()),
        memory_limit in proptest::option::of(number()),
        (buffer_mb, room, max_bytes, force) in (any::<u32>(), number(), number(), any::<bool>()),
    ) -> Request {
        Request {
            subject,
            process: Process { rss, rss_anon, vm_size, threads },
            dump_speed: Speed::assumed(dump),
            heap_walk_speed: Speed::assumed(walk),
            probe: probe.map(|(period, timeout, failure_threshold)| Probe {
                period: Duration::from_secs(period),
                timeout: Duration::from_secs(timeout),
                failure_threshold,
            }),
            memory_used,
            memory_limit,
            buffer_mb,
            room,
            max_bytes,
            force,
        }
    }
}

/// How bad a verdict is.
fn rank(verdict: &Verdict) -> u8 {
    match verdict {
        Verdict::Go => 0,
        Verdict::Warn(_) => 1,
        Verdict::Refuse(_) => 2,
    }
}

proptest! {
    #[test]
    fn more_memory_never_makes_a_verdict_milder(request in any_request(), more in number(), shared in number()) {
        let before = plan(&request);
        let mut larger = request;
        larger.process.rss_anon = larger.process.rss_anon.saturating_add(more);
        larger.process.rss = larger.process.rss.saturating_add(more).saturating_add(shared);
        larger.memory_used = larger.memory_used.map(|used| used.saturating_add(more));
        let after = plan(&larger);
        prop_assert!(rank(&after.verdict) >= rank(&before.verdict), "{before:?}, then {after:?}");
        prop_assert!(after.estimate.pause >= before.estimate.pause && after.estimate.bytes >= before.estimate.bytes);
    }

    #[test]
    fn more_room_and_more_time_never_make_it_worse(request in any_request(), more in number()) {
        let mut freer = request;
        freer.room = freer.room.saturating_add(more);
        freer.max_bytes = freer.max_bytes.saturating_add(more).max(freer.max_bytes);
        freer.memory_limit = freer.memory_limit.map(|limit| limit.saturating_add(more));
        if let Some(probe) = &mut freer.probe {
            probe.period = probe.period.saturating_add(Duration::from_secs(more));
        }
        // A trace that may be larger needs more room.
        prop_assume!(!matches!(request.subject, Subject::Trace(_) | Subject::Counters(_)) || freer.max_bytes == request.max_bytes);
        prop_assert!(rank(&plan(&freer).verdict) <= rank(&plan(&request).verdict));
    }

    #[test]
    fn what_is_forced_is_refused_for_room_alone(request in any_request()) {
        let forced = plan(&Request { force: true, ..request });
        let has_room = forced.estimate.bytes <= request.room;
        prop_assert_eq!(forced.verdict.allows(), has_room);
        let asked = plan(&Request { force: false, ..request });
        prop_assert_eq!(forced.estimate, asked.estimate);
        prop_assert_eq!(reasons(&forced.verdict).len(), reasons(&asked.verdict).len());
        prop_assert!(asked.verdict.allows() <= forced.verdict.allows());
    }

    #[test]
    fn what_is_to_be_taken_instead_may_be(request in any_request()) {
        for concern in plan(&request).verdict.concerns() {
            prop_assert!(concern.to_string().contains("; "));
            if let Some(subject) = concern.instead() {
                let instead = plan(&Request { subject, ..request });
                prop_assert!(instead.verdict.allows(), "{:?}", instead);
            }
        }
    }

    #[test]
    fn a_trace_and_counters_stop_nothing(request in any_request()) {
        if matches!(request.subject, Subject::Trace(_) | Subject::Counters(_)) {
            prop_assert_eq!(estimate(&request).pause, Duration::ZERO);
        }
    }
}
