use super::*;

const UID: &str = "0d8b6a5e_3d2f_4c57_9a51_6f1f0a5a8b11";

/// What Linux 6.18 has in such a file, without most of its lines.
const STAT: &str = "anon 471859200
file 62914560
kernel 5242880
shmem 0
inactive_anon 0
active_anon 471859200
inactive_file 41943040
active_file 20971520
unevictable 0
";

/// The same of version 1.
const STAT_V1: &str = "cache 62914560
inactive_file 4096
total_cache 62914560
total_inactive_file 41943040
";

/// A node as `/proc` and its tree show it, of files.
struct Node(tempfile::TempDir);

impl Node {
    /// With what the processes 1 and the agent are said to be in.
    fn new(first: &str, own: &str) -> Self {
        let node = Self(tempfile::tempdir().expect("temp dir"));
        node.put("1/cgroup", first);
        node.put("self/cgroup", own);
        node
    }

    fn put(&self, path: &str, text: &str) {
        let path = self.0.path().join(path);
        std::fs::create_dir_all(path.parent().expect("a parent")).expect("directories");
        std::fs::write(path, text).expect("a file");
    }

    /// A group of version 2: its processes, usage and limit.
    fn v2(&self, group: &str, procs: &str, current: u64, max: &str) {
        let file = |name: &str| format!("1/root/sys/fs/cgroup{group}/{name}");
        self.put(&file("cgroup.procs"), procs);
        self.put(&file("memory.current"), &format!("{current}\n"));
        self.put(&file("memory.max"), &format!("{max}\n"));
        self.put(&file("memory.stat"), STAT);
    }

    /// A group of version 1.
    fn v1(&self, group: &str, usage: u64, limit: u64) {
        let file = |name: &str| format!("1/root/sys/fs/cgroup/memory{group}/{name}");
        self.put(&file("memory.usage_in_bytes"), &format!("{usage}\n"));
        self.put(&file("memory.limit_in_bytes"), &format!("{limit}\n"));
        self.put(&file("memory.stat"), STAT_V1);
    }

    fn open(&self) -> Result<CgroupTree, TreeError> {
        CgroupTree::open_as(self.0.path(), 4_711)
    }
}

const CLASS: &str = "/kubepods.slice/kubepods-burstable.slice";

/// A node with version 2 and systemd, where the agent has a namespace of its own.
fn systemd() -> Node {
    let node = Node::new("0::/../../../../init.scope\n", "0::/\n");
    node.v2("/init.scope", "1\n", 0, "max");
    node.v2("/kubepods.slice", "", 9 << 30, "8000000000");
    node.v2(CLASS, "", 0, "max");
    let agent = format!("{CLASS}/kubepods-burstable-pod{}.slice", "f".repeat(32));
    node.v2(&agent, "", 0, "max");
    let container = format!("{agent}/cri-containerd-{}.scope", "a".repeat(64));
    node.v2(&container, "4711\n", 0, "max");
    node
}

fn pod() -> String {
    format!("{CLASS}/kubepods-burstable-pod{UID}.slice")
}

#[test]
fn a_container_is_found_from_a_namespace_of_ones_own() {
    let node = systemd();
    let scope = format!("cri-containerd-{}.scope", "b".repeat(64));
    let container = format!("{}/{scope}", pod());
    node.v2(&pod(), "", 600 << 20, "1073741824");
    node.v2(&container, "4712\n", 524_288_000, "536870912");
    let tree = node.open().expect("a tree");
    let told = format!("0::/../../kubepods-burstable-pod{UID}.slice/{scope}\n");
    let group = tree.place(4_712, &told).expect("a place");
    let expected = Memory {
        usage: 524_288_000,
        working_set: 524_288_000 - 41_943_040,
        limit: Some(536_870_912),
    };
    assert_eq!(tree.read(&group).expect("read"), expected);
    // Its container is removed.
    let dir = format!("1/root/sys/fs/cgroup{container}");
    std::fs::remove_dir_all(node.0.path().join(dir)).expect("removed");
    assert!(matches!(tree.read(&group), Err(TreeError::Gone(_))));
}

#[test]
fn the_nearest_limit_up_to_the_pods_counts_and_none_above_it() {
    let node = systemd();
    let container = format!("{}/crio-{}.scope", pod(), "b".repeat(64));
    let inner = format!("{container}/app/worker");
    node.v2(&pod(), "", 700 << 20, "1073741824");
    node.v2(&container, "", 600 << 20, "max");
    node.v2(&format!("{container}/app"), "", 0, "max");
    node.v2(&inner, "4712\n", 500 << 20, "max");
    let tree = node.open().expect("a tree");
    let told = format!("0::/../../../..{inner}\n");
    let group = tree.place(4_712, &told).expect("a place");
    let read = || {
        let memory = tree.read(&group).expect("read");
        (memory.usage, memory.limit)
    };
    assert_eq!(read(), (700 << 20, Some(1 << 30)));
    node.v2(&container, "", 600 << 20, "734003200");
    assert_eq!(read(), (600 << 20, Some(700 << 20)));
    // The limit of all pods is near, which is nothing that this container could mend.
    node.v2(&container, "", 600 << 20, "max");
    node.v2(&pod(), "", 700 << 20, "max");
    assert_eq!(read(), (500 << 20, None));
}

#[test]
fn version_1_has_the_memory_where_it_is_mounted() {
    let pod = "/kubepods/burstable/pod0d8b6a5e-3d2f-4c57-9a51-6f1f0a5a8b11";
    let text = |group: &str| format!("5:devices:{group}\n4:memory:{group}\n1:cpu:/other\n0::/\n");
    let node = Node::new(&text("/"), &text("/kubepods/burstable/podX/agent"));
    let container = format!("{pod}/{}", "c".repeat(64));
    node.v1("", 0, u64::MAX >> 1);
    node.v1(pod, 500 << 20, 9_223_372_036_854_771_712);
    node.v1(&container, 100 << 20, 128 << 20);
    let tree = node.open().expect("a tree");
    let read = |group: &str| {
        let place = tree.place(4_712, &text(group)).expect("a place");
        tree.read(&place).expect("read")
    };
    let expected = Memory {
        usage: 100 << 20,
        working_set: 60 << 20,
        limit: Some(128 << 20),
    };
    assert_eq!(read(&container), expected);
    // The largest number that is a multiple of a page is no limit.
    assert_eq!(read(pod).limit, None);
    let other = tree
        .place(4_712, "0::/a\n")
        .expect_err("version 2")
        .to_string();
    assert!(
        other.starts_with("control group /a: is of the other"),
        "{other}"
    );
}

#[test]
fn an_agent_in_no_container_needs_the_first_process_for_nothing() {
    let node = Node::new("0::/init.scope\n", "0::/system.slice/salvage.service\n");
    let file = |group: &str, name: &str| format!("self/root/sys/fs/cgroup{group}/{name}");
    node.put(
        &file("/system.slice/salvage.service", "cgroup.procs"),
        "4711\n",
    );
    node.put(&file("/app", "memory.current"), "50000000\n");
    node.put(&file("/app", "memory.max"), "60000000\n");
    node.put(&file("/app", "memory.stat"), STAT);
    let tree = node.open().expect("a tree");
    let memory = tree.read(&tree.place(4_712, "0::/app\n").expect("a place"));
    assert_eq!(memory.expect("read").limit, Some(60_000_000));
    // What is mounted is a container's own group: the agent is not where its path leads.
    node.put(
        &file("/system.slice/salvage.service", "cgroup.procs"),
        "1\n",
    );
    assert!(matches!(node.open(), Err(TreeError::Unreachable { .. })));
}

#[test]
fn what_is_not_there_is_said_with_what_to_do() {
    let node = Node::new("0::/\n", "0::/\n");
    let error = node.open().expect_err("no tree").to_string();
    let remedy = "captures need hostPID and the capability SYS_PTRACE";
    assert!(error.contains(remedy), "{error}");
    let node = Node::new("0::/../init.scope\n", "0::/\n");
    node.v2("", "", 0, "max");
    node.v2("/init.scope", "1\n", 0, "max");
    node.v2("/agent.scope", "47110\n", 0, "max");
    assert!(
        !node.open().expect("a tree").is_whole(),
        "the agent is nowhere"
    );
    let tree = systemd().open().expect("a tree");
    let place = tree.place(4_712, "0::/../../../../../a\n");
    assert!(matches!(place, Err(TreeError::Outside { .. })), "{place:?}");
    let place = tree.place(4_712, "4:memory:/a\n");
    assert!(
        matches!(place, Err(TreeError::OtherVersion(_))),
        "{place:?}"
    );
}

#[test]
fn nothing_leads_out_of_the_tree() {
    let node = systemd();
    node.put("secret/memory.max", "1\n");
    let root = node.0.path().join("1/root/sys/fs/cgroup");
    let secret = node.0.path().join("secret");
    let link = |to: &Path, name: &str| {
        std::os::unix::fs::symlink(to, root.join(name)).expect("a link");
    };
    link(&secret, "link");
    std::fs::create_dir(root.join("strange")).expect("a directory");
    link(&secret.join("memory.max"), "strange/memory.max");
    let tree = node.open().expect("a tree");
    let read = |name: &str| {
        let told = format!("0::/../../../../{name}\n");
        tree.read(&tree.place(4_712, &told).expect("a place"))
    };
    for name in ["link", "strange"] {
        let memory = read(name);
        let refused = matches!(memory, Err(TreeError::Unreadable { .. }));
        assert!(refused, "{name}: {memory:?}");
    }
    node.v2("/words", "", 0, "many");
    assert_eq!(
        read("words").expect_err("no number").to_string(),
        "control group /words: memory.max has no number where one is expected"
    );
}

#[test]
fn files_of_a_containers_own_making_are_no_group() {
    let node = Node::new("0::/\n", "0::/\n");
    let tree = CgroupTree {
        version: Version::V2,
        reach: Reach::OfProcesses(node.0.path().to_owned()),
    };
    let read = || {
        let place = tree.place(7, "0::/../x\n").expect("a place");
        tree.read(&place).expect_err("no group")
    };
    assert!(matches!(read(), TreeError::Gone(_)));
    node.put("7/root/sys/fs/cgroup/memory.max", "1\n");
    node.put("7/root/sys/fs/cgroup/memory.current", "1\n");
    node.put("7/root/sys/fs/cgroup/memory.stat", STAT);
    assert!(matches!(read(), TreeError::NoGroup(_)));
    // A link to the agent's own.
    let place = node.0.path().join("7/root/sys/fs/cgroup");
    std::fs::remove_dir_all(&place).expect("removed");
    std::os::unix::fs::symlink("/sys/fs/cgroup", &place).expect("a link");
    assert!(matches!(read(), TreeError::Unreadable { .. }));
}

mod as_root {
    use std::process::{Command, Stdio};

    use super::*;

    /// A group of this machine that goes with the test.
    struct Group(PathBuf);

    impl Drop for Group {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir(&self.0);
        }
    }

    impl Group {
        /// A group with a limit of 256 MiB, and which version it is of.
        fn new(name: &str) -> (Self, Version) {
            let first = std::fs::read_to_string("/proc/1/cgroup").expect("a text");
            let version = CgroupPath::parse(&first).expect("a path").version();
            let (mount, limit) = match version {
                Version::V1 => ("/sys/fs/cgroup/memory", "memory.limit_in_bytes"),
                Version::V2 => ("/sys/fs/cgroup", "memory.max"),
            };
            let name = format!("salvage-test-{name}-{}", std::process::id());
            let group = Self(Path::new(mount).join(name));
            std::fs::create_dir(&group.0).expect("a group");
            std::fs::write(group.0.join(limit), "268435456").expect("a limit");
            (group, version)
        }

        /// Runs `script` in the group until it says `ready`, looks at it, and ends it by the end of its input.
        fn look<T>(&self, script: &str, look: impl FnOnce(u32) -> T) -> T {
            let script = format!("echo $$ > \"$1/cgroup.procs\" && {script}");
            let mut child = Command::new("sh")
                .args(["-c", &script, "sh"])
                .arg(&self.0)
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .spawn()
                .expect("a process");
            let mut said = String::new();
            let out = child.stdout.take().expect("a pipe");
            io::BufRead::read_line(&mut io::BufReader::new(out), &mut said).expect("a line");
            let seen = (said == "ready\n").then(|| look(child.id()));
            drop(child.stdin.take());
            let status = child.wait().expect("an end");
            seen.unwrap_or_else(|| panic!("the process said {said:?} and ended with {status}"))
        }
    }

    /// Holds 32 MiB that nobody can take back, says so, and waits for the end of its input.
    const HOLD: &str = r#"exec perl -e '$x = "a" x (32 << 20); $| = 1; print "ready\n"; <STDIN>'"#;

    /// The same as a runtime would start it: with its group mounted as the only one.
    const CONFINED_V1: &str = r#"exec unshare --cgroup --mount sh -ec '
        mount -t tmpfs none /sys/fs/cgroup && mkdir /sys/fs/cgroup/memory
        mount -t cgroup -o memory none /sys/fs/cgroup/memory; exec sh -c "$0"'"#;
    const CONFINED_V2: &str = r#"exec unshare --cgroup --mount sh -ec '
        mount -t tmpfs none /sys/fs && mkdir /sys/fs/cgroup
        mount -t cgroup2 none /sys/fs/cgroup; exec sh -c "$0"'"#;

    fn cgroup_of(pid: u32) -> String {
        std::fs::read_to_string(format!("/proc/{pid}/cgroup")).expect("a text")
    }

    fn assert_holds(memory: &Memory) {
        assert_eq!(memory.limit, Some(256 << 20));
        let holds = (32 << 20..=memory.usage).contains(&memory.working_set);
        assert!(holds && memory.usage <= 256 << 20, "{memory:?}");
    }

    /// The kernel's own files, of a group with a limit.
    #[test]
    #[ignore = "needs root; tests/run runs it as root"]
    fn the_memory_of_a_real_group_is_read() {
        let (group, _) = Group::new("tree");
        let tree = CgroupTree::open(Path::new("/proc")).expect("a tree");
        assert!(tree.is_whole());
        let (place, memory) = group.look(HOLD, |pid| {
            let place = tree.place(pid, &cgroup_of(pid)).expect("a place");
            let memory = tree.read(&place);
            (place, memory)
        });
        assert_holds(&memory.expect("read"));
        drop(group);
        assert!(matches!(tree.read(&place), Err(TreeError::Gone(_))));
    }

    #[test]
    #[ignore = "needs root; tests/run runs it as root"]
    fn a_container_shows_the_memory_of_its_own_group() {
        let (group, version) = Group::new("own");
        let tree = CgroupTree {
            version,
            reach: Reach::OfProcesses("/proc".into()),
        };
        let confined = match version {
            Version::V1 => CONFINED_V1,
            Version::V2 => CONFINED_V2,
        };
        let script = format!("{confined} {}", quoted(HOLD));
        let (place, memory) = group.look(&script, |pid| {
            let place = tree.place(pid, &cgroup_of(pid)).expect("a place");
            let memory = tree.read(&place);
            (place, memory)
        });
        assert_holds(&memory.expect("read"));
        assert!(matches!(tree.read(&place), Err(TreeError::Gone(_))));
    }

    fn quoted(script: &str) -> String {
        format!("'{}'", script.replace('\'', r"'\''"))
    }
}
