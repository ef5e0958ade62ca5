//! The agent is killed right before and right after each step of a dump's way, on its first run and again on the run after it, and in the end every dump is
//! stored once, byte for byte, with no upload open and nothing held.
//!
//! The steps come from the code ([`Step::ALL`]); a new one fails here until a scene meets it, since [`scene_of`] must name one. Each point is met [`ROUNDS`] times in
//! each of the two runs; the table of what was met is printed.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Context, Result, ensure};
use salvage::model::Step;

use crate::place::Place;
use crate::support::agent::{Agent, Node, has_no_files, wait};
use crate::support::disk::SmallDisk;
use crate::support::kube::{Ended, KubeServer, Mount, Now, PodBuilder, container_id};

const ROUNDS: usize = 5;

/// Agents that run side by side: most of their time they wait for the disk.
const AT_ONCE: usize = 6;

const WHEN: [&str; 2] = ["before", "after"];

/// What has to be there for a step to be met.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Scene {
    /// Dumps that go up in one request.
    Small,
    /// Dumps that go up in parts.
    Large,
    /// Dumps that go up in parts, in a store that refuses one of each first upload.
    Refused,
    /// Dumps on another mount, where they cannot be renamed.
    Copied,
    /// Reports and the dumps they belong to.
    Joined,
    /// Dumps that become two objects of two parts each, where other scenes have one object.
    Several,
    /// Containers that ended, one with a dump and one without.
    Ended,
}

/// None of a capture's own: `captures::fault_points` meets those.
fn scene_of(step: Step) -> Option<Scene> {
    Some(match step {
        Step::NoteCapture | Step::NameCapture => return None,
        Step::Intend
        | Step::Take
        | Step::NoteHeld
        | Step::NoteChoice
        | Step::PutArtifact
        | Step::VerifyArtifact
        | Step::NoteObject
        | Step::NoteManifest
        | Step::PutManifest
        | Step::VerifyManifest
        | Step::NoteStored
        | Step::RemoveDump
        | Step::RemoveEntry => Scene::Small,
        Step::NoteBeginning
        | Step::Begin
        | Step::BeginJournal
        | Step::NoteBegun
        | Step::SendPart
        | Step::JournalPart
        | Step::JournalWhole
        | Step::Complete
        | Step::RemoveJournal => Scene::Large,
        Step::Abort | Step::NoteAborted => Scene::Refused,
        Step::Copy
        | Step::NameCopy
        | Step::NoteCopied
        | Step::RemoveOriginal
        | Step::NoteOriginalGone => Scene::Copied,
        Step::NoteFacts | Step::Join | Step::ForgetJoined => Scene::Joined,
        Step::NoteDeath | Step::NameLog | Step::NoteTold => Scene::Ended,
    })
}

/// Steps that a dump of several objects takes for each of them.
const OF_EACH_OBJECT: [Step; 11] = [
    Step::NoteBeginning,
    Step::Begin,
    Step::BeginJournal,
    Step::NoteBegun,
    Step::SendPart,
    Step::JournalPart,
    Step::JournalWhole,
    Step::Complete,
    Step::VerifyArtifact,
    Step::NoteObject,
    Step::RemoveJournal,
];

/// Steps by which a dump meets its death.
const OF_A_MEETING: [Step; 5] = [
    Step::NoteFacts,
    Step::Join,
    Step::ForgetJoined,
    Step::NoteChoice,
    Step::RemoveEntry,
];

/// One point of a scene, met in the `round`-th set.
#[derive(Clone, Copy, Debug)]
struct Case {
    scene: Scene,
    step: Step,
    when: &'static str,
    round: usize,
}

/// A node, its store, and what was put into its source.
struct Stage {
    scene: Scene,
    place: Place,
    node: Node,
    source: PathBuf,
    seed: u64,
    /// Every file that must be stored, by its name.
    files: BTreeMap<String, Vec<u8>>,
    crashes: usize,
    server: Option<KubeServer>,
    _disk: Option<SmallDisk>,
}

impl Stage {
    fn new(place: Place, scene: Scene, seed: u64) -> Result<Self> {
        let mut node = place.node()?;
        let mut source = node.crash();
        let mut disk = None;
        if scene == Scene::Copied {
            let small = SmallDisk::of_mebibytes(16)?;
            source = small.path().join("source");
            fs::create_dir(&source)?;
            // Not sticky and open to all: a holding directory there could be renamed away.
            fs::set_permissions(&source, std::os::unix::fs::PermissionsExt::from_mode(0o777))?;
            node.sources = format!("[{{path: {source:?}}}]");
            disk = Some(small);
        }
        if scene == Scene::Several {
            let small_objects = ("SALVAGE_FAULT_SMALL_OBJECTS".into(), "1".into());
            node.env.push(small_objects);
        }
        let mut server = None;
        if scene == Scene::Ended {
            let kubelet = node.path("kubelet");
            fs::create_dir_all(kubelet.join("pods"))?;
            let logs = node.path("logs");
            let api = KubeServer::start("test-node");
            let kubeconfig = api.kubeconfig(&node.path(""))?;
            let kubeconfig = kubeconfig.to_string_lossy().into_owned();
            node.env.push(("KUBECONFIG".into(), kubeconfig));
            node.sources = "[{kubelet_volumes: {volume: dumps}}]".into();
            node.more = format!(
                "{}\nkubernetes: {{enabled: true, kubelet_dir: {kubelet:?}, pod_logs_dir: {logs:?}, start_jitter: 0s, join_window: 1s}}",
                node.more
            );
            source = kubelet;
            server = Some(api);
        }
        Ok(Self {
            scene,
            place,
            node,
            source,
            seed,
            files: BTreeMap::new(),
            crashes: 0,
            server,
            _disk: disk,
        })
    }

    fn noise(&mut self, len: usize) -> Vec<u8> {
        self.seed += 1;
        let mut bytes = vec![0; len];
        fastrand::Rng::with_seed(self.seed).fill(&mut bytes);
        bytes
    }

    /// What crashes between two runs.
    fn crash(&mut self) -> Result<()> {
        match self.scene {
            Scene::Small | Scene::Copied => {
                for _ in 0..3 {
                    let dump = self.noise(50_000);
                    self.put_alone("core", dump)?;
                }
            }
            Scene::Large | Scene::Refused => {
                let dump = self.noise(9 << 20);
                self.put_alone("core", dump)?;
            }
            Scene::Several => {
                // 15 MiB for the first object, the rest for the second.
                let dump = self.noise(24 << 20);
                self.put_alone("core", dump)?;
            }
            Scene::Ended => {
                let dump = self.noise(50_000);
                self.end_container(Some(dump))?;
                self.end_container(None)?;
            }
            Scene::Joined => {
                let n = self.crashes;
                let report = format!(
                    "{{\"payload\":{{\"protocol_version\":\"1.0.0\",\"process_name\":\"{n}-{}\"}}}}",
                    self.seed
                );
                let noise = self.noise(5_000);
                let dump = core_by_createdump(n as u32 + 1, &noise);
                self.put(format!("dmp.{n}.crashreport.json"), report.into_bytes())?;
                self.put(format!("dmp.{n}"), dump)?;
                self.crashes += 1;
            }
        }
        Ok(())
    }

    /// A container ends: its dump is in its pod's volume, its log where the kubelet has it, and its status says so.
    fn end_container(&mut self, dump: Option<Vec<u8>>) -> Result<()> {
        let n = self.crashes;
        self.crashes += 1;
        let (name, uid) = (
            format!("pod-{n}"),
            format!("00000000-0000-4000-8000-{n:012}"),
        );
        let logs = self.node.path(&format!("logs/shop_{name}_{uid}/app"));
        fs::create_dir_all(&logs)?;
        let time = "2026-11-20T21:35:22.000000001Z";
        fs::write(
            logs.join("0.log"),
            format!("{time} stdout F last words of {name}\n"),
        )?;
        let said = format!("{time} last words of {name}\n");
        self.files
            .insert(format!("{name}/0.log"), said.into_bytes());
        if let Some(dump) = dump {
            let below = format!("pods/{uid}/volumes/kubernetes.io~empty-dir/dumps/app");
            let directory = self.source.join(below);
            fs::create_dir_all(&directory)?;
            fs::write(directory.join(format!("core.{n}")), &dump)?;
            self.files.insert(format!("core.{n}"), dump);
        }
        let now = jiff::Timestamp::from_second(jiff::Timestamp::now().as_second())?;
        let end = Ended::new(139, "Error", now, &container_id(&uid, "app", 0));
        let pod = PodBuilder::new("shop", &name, &uid)
            .container("app", &[Mount::new("dumps", "/dumps").sub_path("app")])
            .empty_dir("dumps")
            .status("app", 0, Now::Terminated(end), None);
        let server = self.server.as_ref().context("an API server")?;
        server.add(pod.build());
        Ok(())
    }

    fn put_alone(&mut self, name: &str, content: Vec<u8>) -> Result<()> {
        self.crashes += 1;
        self.put(format!("{name}.{}", self.crashes), content)
    }

    fn put(&mut self, name: String, content: Vec<u8>) -> Result<()> {
        fs::write(self.source.join(&name), &content)?;
        self.files.insert(name, content);
        Ok(())
    }

    /// Runs the agent until a point ends it.
    fn run_into(&self, case: Case, nth: usize) -> Result<()> {
        let fault = format!("{}:{}:{nth}", case.step.name(), case.when);
        let log = self.node.path("points");
        let _ = fs::remove_file(&log);
        let mut command = self.node.command()?;
        command
            .env("SALVAGE_FAULT", &fault)
            .env("SALVAGE_FAULT_LOG", &log);
        match Agent::start(command) {
            Ok(mut agent) => {
                let status = agent.process().wait()?;
                ensure!(status.signal() == Some(libc::SIGKILL), "{fault}: {status}");
            }
            // A start that finds something half done does so before it says anything.
            Err(error) => ensure!(
                format!("{error:#}").contains("no further line"),
                "{fault}: {error:#}"
            ),
        }
        let point = fault.rsplit_once(':').map_or("", |(point, _)| point);
        let met = fs::read_to_string(&log)?;
        let times = met.lines().filter(|line| *line == point).count();
        ensure!(times >= nth, "{fault} was met {times} times:\n{met}");
        Ok(())
    }

    /// Runs the agent to the end and looks at everything.
    fn finish(&self) -> Result<()> {
        let agent = self.node.start()?;
        let crashes = self.node.wait_for_crashes(&agent, self.crashes)?;
        let is_whole =
            || Ok::<_, anyhow::Error>(self.place.stored(&self.node, &crashes)? == self.files);
        match self.server {
            // A death that is told late comes with its log to a dump that is stored already.
            Some(_) => wait("all that was there", || Ok(is_whole()?.then_some(())))?,
            None => ensure!(is_whole()?, "what is stored is not what was there"),
        }
        if let (Place::Memory(server), Scene::Several) = (&self.place, self.scene) {
            let keys = server.lengths();
            let objects = keys.keys().filter(|key| key.contains("/artifacts/"));
            ensure!(objects.count() == 2 * self.crashes, "{keys:?}");
        }
        ensure!(has_no_files(&self.source)?, "the source is not empty");
        if self.server.is_some() {
            // Counted as no dump while its death is waited for.
            wait("the last entry to go", || {
                let entries = self.node.state.join("entries");
                Ok((fs::read_dir(entries)?.count() == 0).then_some(()))
            })?;
        }
        self.place.ensure_nothing_left(&self.node)?;
        ensure!(agent.metric("salvage_dumps_lost_total{reason=\"vanished\"}")? == 0.0);
        agent.stop()
    }
}

/// A core as small as .NET's `createdump` could write one: its notes begin with the process, its ABI byte is that of Linux (`<elf.h>`, `<linux/elfcore.h>`).
fn core_by_createdump(pid: u32, memory: &[u8]) -> Vec<u8> {
    const PRPSINFO: usize = 136;
    let (notes, note) = (64 + 2 * 56, 20 + PRPSINFO);
    let mut core = vec![0; notes + note];
    let mut put = |at: usize, bytes: &[u8]| core[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, b"\x7fELF\x02\x01\x01\x03");
    put(16, &[4, 0, 62, 0, 1]);
    put(32, &[64]);
    put(52, &[64, 0, 56, 0, 2]);
    // PT_NOTE, then PT_LOAD with the memory.
    put(64, &[4, 0, 0, 0, 4]);
    put(64 + 8, &(notes as u64).to_le_bytes());
    put(64 + 32, &(note as u64).to_le_bytes());
    put(120, &[1, 0, 0, 0, 6]);
    put(120 + 8, &((notes + note) as u64).to_le_bytes());
    put(120 + 16, &0x10_0000u64.to_le_bytes());
    put(120 + 32, &(memory.len() as u64).to_le_bytes());
    put(120 + 40, &(memory.len() as u64).to_le_bytes());
    put(notes, &[5, 0, 0, 0, PRPSINFO as u8, 0, 0, 0, 3]);
    put(notes + 12, b"CORE");
    put(notes + 20 + 24, &pid.to_le_bytes());
    core.extend(memory);
    core
}

impl Case {
    /// Which meeting of the point ends the first run: a step that several dumps take is cut at another one each time.
    fn nth(self) -> usize {
        let of_a_part = self.step == Step::SendPart || self.step == Step::JournalPart;
        match self.scene {
            Scene::Small | Scene::Copied => self.round % 3 + 1,
            Scene::Several if of_a_part => self.round % 4 + 1,
            Scene::Several => self.round % 2 + 1,
            _ if of_a_part => self.round % 2 + 1,
            _ => 1,
        }
    }

    fn run(self, place: Place) -> Result<()> {
        let seed = self.round as u64 * 1_000_000 + self.step as u64 * 1_000;
        let mut stage = Stage::new(place, self.scene, seed)?;
        stage.crash()?;
        if let (Place::Memory(server), Scene::Refused) = (&stage.place, stage.scene) {
            server.refuse_part(2, 400);
        }
        stage.run_into(self, self.nth()).context("first run")?;
        stage.crash()?;
        stage.run_into(self, 1).context("second run")?;
        if let Place::Memory(server) = &stage.place {
            server.healthy();
        }
        stage.finish().context("last run")
    }
}

/// Runs all cases, several at once; what was met, by point.
fn run_all(
    cases: Vec<Case>,
    place: impl Fn() -> Result<Place> + Sync,
) -> Result<BTreeMap<(Step, &'static str), usize>> {
    let (next, met, failed) = (
        AtomicUsize::new(0),
        Mutex::new(BTreeMap::new()),
        Mutex::new(Vec::new()),
    );
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                while let Some(case) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
                    match place().and_then(|place| case.run(place)) {
                        Ok(()) => {
                            let mut met = met.lock().expect("no panic");
                            *met.entry((case.step, case.when)).or_insert(0) += 1;
                        }
                        Err(error) => {
                            failed
                                .lock()
                                .expect("no panic")
                                .push(format!("{case:?}: {error:#}"));
                        }
                    }
                }
            });
        }
    });
    let failed = failed.into_inner()?;
    ensure!(
        failed.is_empty(),
        "{} of {} cases:\n{}",
        failed.len(),
        cases.len(),
        failed.join("\n\n")
    );
    Ok(met.into_inner()?)
}

fn every_point_of(scenes: &[Scene]) -> Result<()> {
    every_point_on(|| Ok(Place::memory()), scenes)
}

fn every_point_on(place: impl Fn() -> Result<Place> + Sync, scenes: &[Scene]) -> Result<()> {
    let all = Step::ALL
        .iter()
        .filter_map(|step| Some((scene_of(*step)?, *step)));
    let met_here: Vec<_> = all.filter(|(scene, _)| scenes.contains(scene)).collect();
    each_killed(place, &met_here)
}

/// Kills an agent at each of these steps, and prints how often.
fn each_killed(place: impl Fn() -> Result<Place> + Sync, steps: &[(Scene, Step)]) -> Result<()> {
    let mut cases = Vec::new();
    for &(scene, step) in steps {
        for when in WHEN {
            cases.extend((0..ROUNDS).map(|round| Case {
                scene,
                step,
                when,
                round,
            }));
        }
    }
    let count = cases.len();
    let met = run_all(cases, place)?;
    println!(
        "step                  killed before, first run / resumed   after, first run / resumed"
    );
    for (_, step) in steps {
        let [before, after] = WHEN.map(|when| met.get(&(*step, when)).copied().unwrap_or(0));
        println!(
            "{:<22}{before:>16} / {before}{after:>28} / {after}",
            step.name()
        );
        ensure!(before >= ROUNDS && after >= ROUNDS);
    }
    println!("{count} sets of dumps, {} kills", 2 * count);
    Ok(())
}

#[test]
fn killed_at_every_step_of_small_dumps() -> Result<()> {
    every_point_of(&[Scene::Small])
}

#[test]
fn killed_at_every_step_of_an_upload() -> Result<()> {
    every_point_of(&[Scene::Large, Scene::Refused])
}

#[test]
fn killed_at_every_step_of_a_dump_in_several_objects() -> Result<()> {
    let steps = OF_EACH_OBJECT.map(|step| (Scene::Several, step));
    each_killed(|| Ok(Place::memory()), &steps)
}

#[test]
fn killed_at_every_step_of_joining() -> Result<()> {
    every_point_of(&[Scene::Joined])
}

#[test]
fn killed_at_every_step_of_an_end_of_a_container() -> Result<()> {
    every_point_of(&[Scene::Ended])?;
    let steps = OF_A_MEETING.map(|step| (Scene::Ended, step));
    each_killed(|| Ok(Place::memory()), &steps)
}

mod as_root {
    use super::*;

    #[test]
    #[ignore = "needs root; tests/run runs it as root"]
    fn killed_at_every_step_of_copying() -> Result<()> {
        every_point_of(&[Scene::Copied])
    }
}

mod garage {
    use super::*;

    #[test]
    #[ignore = "needs a real Garage: tests/garage"]
    fn killed_at_every_step_on_a_real_store() -> Result<()> {
        every_point_on(Place::garage, &[Scene::Small, Scene::Large])
    }
}

/// The points are told from outside as well: a whole way with nothing armed meets every step that its scene is for.
#[test]
fn a_way_meets_the_steps_that_are_listed() -> Result<()> {
    let mut stage = Stage::new(Place::memory(), Scene::Large, 1)?;
    let log = stage.node.path("points");
    stage
        .node
        .env
        .push(("SALVAGE_FAULT_LOG".into(), log.display().to_string()));
    stage.crash()?;
    stage.finish()?;
    let met = fs::read_to_string(&log)?;
    for step in Step::ALL {
        if scene_of(*step) == Some(Scene::Large) {
            for when in WHEN {
                let point = format!("{}:{when}", step.name());
                ensure!(met.lines().any(|line| line == point), "{point}");
            }
        }
    }
    Ok(())
}
