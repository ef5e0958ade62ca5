//! The part of an API server that a node's agent sees, in the test's own process: one node's pods, watches and Events over plain HTTP, and
//! captures with the people who ask for them.
//!
//! ```text
//! front    connections, the token, the log of requests, which answer a request gets
//! pods     list, get and watch; refuses what 10,000 agents must not ask for
//! captures what tests do with custom resources and those who ask for them
//! custom   which request for them gets which answer
//! writes   those that there are: made, changed, deleted
//! refusals how a refusal of such a request is worded
//! schema   what is let in of a custom resource
//! users    who asks, and what they may do with captures
//! stream   one watch connection: order, bookmarks, cuts
//! selected what a list or a watch shows
//! events   the Events that are posted and patched
//! kept     objects, resource versions and the window of past changes
//! others   what people ask for besides
//! faults   what it does wrong, for which requests and until when
//! builder  pods as a kubelet reports them
//! recorded what a real API server said, moved in time
//! ```
//!
//! It is as strict as the real one where that has bitten somebody: Events are validated, versions outside the window are gone, and a list
//! must name its node and be content with the server's cache (`resourceVersion=0`). What it refused for such a reason it remembers in
//! [`KubeServer::offences`].

mod builder;
mod captures;
mod custom;
mod events;
mod faults;
mod front;
mod kept;
mod others;
mod pods;
mod recorded;
mod refusals;
mod schema;
mod selected;
mod stream;
mod users;
mod writes;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use serde_json::{Value, json};
use tokio::runtime::Runtime;
use tokio::sync::watch;

use self::events::Events;
use self::faults::Faults;
use self::kept::{Kept, Said, Sort, Versions};
use self::others::{Other, Others};
use self::users::Users;
use self::writes::Captures;

pub(crate) use self::builder::{Ended, Mount, Now, PodBuilder, container_id};
pub(crate) use self::faults::{Call, Cut, Fault, Order};
pub(crate) use self::front::Request;
pub(crate) use self::recorded::Recorded;

/// The one token it knows.
const TOKEN: &str = "test-token";
/// Who the token's owner is to it.
const USER: &str = "system:serviceaccount:salvage:salvage";
/// Longest wait of a test for a state that must come.
const DEADLINE: Duration = Duration::from_secs(60);
/// How often a state that nothing announces is looked at.
const LOOK: Duration = Duration::from_millis(5);

/// A running API server. Ends when dropped.
pub(crate) struct KubeServer {
    address: SocketAddr,
    state: Arc<State>,
    // Its own, so that tests with and without a runtime can use it.
    runtime: Option<Runtime>,
}

/// What the requests share.
struct State {
    kept: Mutex<Kept>,
    /// Nodes without pods.
    neighbours: Mutex<BTreeSet<String>>,
    captures: Mutex<Captures>,
    users: Mutex<Users>,
    events: Mutex<Events>,
    faults: Mutex<Faults>,
    others: Mutex<Others>,
    log: Mutex<Vec<Request>>,
    offences: Mutex<Vec<String>>,
    /// Open watches, and the number of the next entry each has to send.
    open: Mutex<BTreeMap<(Sort, u64), u64>>,
    /// Wakes the watches when something was said.
    news: watch::Sender<()>,
    /// Whether it is to be up, and whether it is.
    wanted: watch::Sender<bool>,
    listening: watch::Sender<bool>,
}

impl KubeServer {
    /// Starts one on a port of its own that knows this node and no pods.
    pub(crate) fn start(node: &str) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .expect("a runtime");
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        listener.set_nonblocking(true).expect("nonblocking");
        let address = listener.local_addr().expect("an address");
        let versions = Versions::new();
        let state = Arc::new(State {
            kept: Mutex::new(Kept::new(Sort::Pods, node, versions.clone())),
            neighbours: Mutex::default(),
            captures: Mutex::new(Captures::new(versions)),
            users: Mutex::default(),
            events: Mutex::default(),
            faults: Mutex::default(),
            others: Mutex::default(),
            log: Mutex::default(),
            offences: Mutex::default(),
            open: Mutex::default(),
            news: watch::Sender::new(()),
            wanted: watch::Sender::new(true),
            listening: watch::Sender::new(true),
        });
        let shared = Arc::clone(&state);
        runtime.spawn(async move {
            let listener = tokio::net::TcpListener::from_std(listener).expect("a listener");
            front::serve(listener, address, shared).await;
        });
        Self {
            address,
            state,
            runtime: Some(runtime),
        }
    }

    /// Its address.
    pub(crate) fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Writes a kubeconfig with address and token into a directory and gives its path.
    pub(crate) fn kubeconfig(&self, directory: &Path) -> Result<PathBuf> {
        let path = directory.join("kubeconfig");
        self.write_kubeconfig(&path, TOKEN, "salvage")?;
        Ok(path)
    }

    fn write_kubeconfig(&self, path: &Path, token: &str, namespace: &str) -> Result<()> {
        let config = json!({
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "test", "cluster": {"server": self.endpoint()}}],
            "users": [{"name": "test", "user": {"token": token}}],
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test", "namespace": namespace}}],
            "current-context": "test",
        });
        // JSON is YAML.
        std::fs::write(path, serde_json::to_vec_pretty(&config)?)?;
        Ok(())
    }

    // State.

    /// Makes a pod and announces it. Fails on one that exists.
    pub(crate) fn add(&self, pod: Value) -> &Self {
        self.change(|kept| kept.add(pod))
    }

    /// Puts a pod in the place of its last state and announces it. Fails on one that does not exist.
    pub(crate) fn modify(&self, pod: Value) -> &Self {
        self.change(|kept| kept.modify(pod))
    }

    /// Removes a pod and announces its last state. Fails on one that does not exist.
    pub(crate) fn delete(&self, namespace: &str, name: &str) -> &Self {
        self.change(|kept| kept.delete(namespace, name))
    }

    /// Applies a recorded watch event: it becomes the server's state and is announced. Its resource version is kept where it is newer than
    /// the server's, else replaced.
    pub(crate) fn replay(&self, event: &Value) -> &Self {
        self.change(|kept| kept.replay(event))
    }

    /// Knows another node, which has no pods: its agent may ask for them.
    pub(crate) fn neighbour(&self, node: &str) -> &Self {
        lock(&self.state.neighbours).insert(node.to_owned());
        self
    }

    /// Takes over a recorded list as the state, its resource versions included, and announces nothing: as after a restart of the server.
    pub(crate) fn restore(&self, list: &Value) -> &Self {
        self.change(|kept| kept.restore(list))
    }

    /// A pod as it is now.
    pub(crate) fn pod(&self, namespace: &str, name: &str) -> Option<Value> {
        lock(&self.state.kept).get(namespace, name).cloned()
    }

    /// Every pod as it is now, by namespace and name.
    pub(crate) fn pods(&self) -> Vec<Value> {
        lock(&self.state.kept).all().cloned().collect()
    }

    /// The newest resource version.
    pub(crate) fn version(&self) -> u64 {
        lock(&self.state.kept).version()
    }

    /// Tells the watches that asked for bookmarks how far they are.
    pub(crate) fn bookmark(&self) -> &Self {
        self.change(Kept::bookmark)
    }

    /// Remembers this many changes; a watch from before them is answered that they are gone.
    pub(crate) fn window(&self, changes: usize) -> &Self {
        self.change(|kept| kept.window(changes))
    }

    /// Forgets the past: a watch from any version but the newest is answered that it is gone. Open watches go on.
    pub(crate) fn compact(&self) -> &Self {
        self.change(Kept::compact)
    }

    /// Every Event, as posts and patches have left it, oldest first.
    pub(crate) fn events(&self) -> Vec<Value> {
        lock(&self.state.events).all().cloned().collect()
    }

    /// Drops every Event, as a real server does after an hour: a patch of one is answered 404 from then on.
    pub(crate) fn forget_events(&self) -> &Self {
        lock(&self.state.events).clear();
        self
    }

    // What people ask for besides.

    /// Answers a GET of this path with an object, whatever is selected. Pods of a node by their selector stay what they are.
    pub(crate) fn serve(&self, path: &str, object: Value) -> &Self {
        self.other(path, Other::Object(object))
    }

    /// Answers a GET of this path with a text, as what an agent says comes through the proxy.
    pub(crate) fn serve_text(&self, path: &str, code: u16, text: &str) -> &Self {
        self.other(path, Other::Text(code, text.to_owned()))
    }

    /// Refuses a GET of this path.
    pub(crate) fn forbid(&self, path: &str) -> &Self {
        self.other(path, Other::Forbidden)
    }

    /// Says, when asked, that this may not be done.
    pub(crate) fn refuse_right(&self, verb: &str, resource: &str) -> &Self {
        let right = (verb.to_owned(), resource.to_owned());
        lock(&self.state.others).refused.insert(right);
        self
    }

    fn other(&self, path: &str, other: Other) -> &Self {
        let mut others = lock(&self.state.others);
        others.by_path.insert(path.to_owned(), other);
        drop(others);
        self
    }

    // Faults.

    /// Does this wrong for one kind of request from now on. One fault for each kind; [`Call::Any`] is for those that have none.
    pub(crate) fn fault(&self, call: Call, fault: Fault) -> &Self {
        lock(&self.state.faults).set(call, fault, None, None);
        self
    }

    /// The same for the next so many requests.
    pub(crate) fn fault_times(&self, times: usize, call: Call, fault: Fault) -> &Self {
        lock(&self.state.faults).set(call, fault, Some(times), None);
        self
    }

    /// The same for a time.
    pub(crate) fn fault_for(&self, time: Duration, call: Call, fault: Fault) -> &Self {
        lock(&self.state.faults).set(call, fault, None, Some(Instant::now() + time));
        self
    }

    /// Changes the order or number of the events that watches get from now on, those that are open too.
    pub(crate) fn order(&self, order: Order) -> &Self {
        lock(&self.state.faults).order = order;
        self
    }

    /// Does everything right from now on. Answers that are under way stay what they are.
    pub(crate) fn healthy(&self) -> &Self {
        *lock(&self.state.faults) = Faults::default();
        self
    }

    /// Ends all watches of pods that are open, in one way or another.
    pub(crate) fn cut(&self, cut: Cut) -> &Self {
        self.say(Said::Cut(cut))
    }

    /// Sends the open watches a line that changes nothing here: no JSON, an unknown type, whatever.
    pub(crate) fn say_line(&self, line: &str) -> &Self {
        self.say(Said::Raw(Bytes::from(format!("{line}\n"))))
    }

    /// Sends the open watches the addition of something that is no pod.
    pub(crate) fn say_wrong_kind(&self, kind: &str) -> &Self {
        let version = self.version();
        let line = json!({"type": "ADDED", "object": kept::stranger(kind, version)});
        self.say_line(&line.to_string())
    }

    /// Sends the open watches an ERROR event with this code, 410 for example. Real servers end the watch then; this one ends when told.
    pub(crate) fn say_error(&self, code: u16) -> &Self {
        let line = json!({"type": "ERROR", "object": faults::status(code, "")});
        self.say_line(&line.to_string())
    }

    /// Ends all connections and refuses new ones until [`Self::up`]. Comes back when that is so.
    pub(crate) fn down(&self) -> Result<&Self> {
        self.state.wanted.send_replace(false);
        self.wait_until("the server is down", |server| {
            !*server.state.listening.borrow()
        })
    }

    /// Accepts connections again, at the same address.
    pub(crate) fn up(&self) -> Result<&Self> {
        self.state.wanted.send_replace(true);
        self.wait_until("the server is up", |server| {
            *server.state.listening.borrow()
        })
    }

    // What was asked.

    /// Every request so far.
    pub(crate) fn requests(&self) -> Vec<Request> {
        lock(&self.state.log).clone()
    }

    /// How often a kind of request was made.
    pub(crate) fn count(&self, call: Call) -> usize {
        lock(&self.state.log)
            .iter()
            .filter(|request| call == Call::Any || request.call == call)
            .count()
    }

    /// How often a method was used on a path.
    pub(crate) fn count_of(&self, method: &str, path: &str) -> usize {
        lock(&self.state.log)
            .iter()
            .filter(|request| request.method == method && request.path == path)
            .count()
    }

    /// How often the pods were listed.
    pub(crate) fn lists(&self) -> usize {
        self.count(Call::List)
    }

    /// How often a watch was asked for.
    pub(crate) fn watches(&self) -> usize {
        self.count(Call::Watch)
    }

    /// How many watches of pods are open now.
    pub(crate) fn open_watches(&self) -> usize {
        self.open_of(Sort::Pods)
    }

    fn open_of(&self, sort: Sort) -> usize {
        let open = lock(&self.state.open);
        open.keys().filter(|(of, _)| *of == sort).count()
    }

    /// Forgets the requests so far.
    pub(crate) fn forget_requests(&self) {
        lock(&self.state.log).clear();
    }

    /// What was asked that no agent may ask: a list that is not for the node or not from the cache, an Event a server refuses, a request
    /// for something it has no right to.
    pub(crate) fn offences(&self) -> Vec<String> {
        lock(&self.state.offences).clone()
    }

    // Waiting.

    /// Waits for a state.
    pub(crate) fn wait_until(
        &self,
        what: &str,
        mut condition: impl FnMut(&Self) -> bool,
    ) -> Result<&Self> {
        let end = Instant::now() + DEADLINE;
        while !condition(self) {
            ensure!(
                Instant::now() < end,
                "{what}: not within {DEADLINE:?}; the last requests: {:#?}",
                self.requests().iter().rev().take(10).collect::<Vec<_>>()
            );
            std::thread::sleep(LOOK);
        }
        Ok(self)
    }

    /// Waits until a watch of pods is open and all that was said is on its way to it.
    pub(crate) fn wait_until_watched(&self) -> Result<&Self> {
        self.wait_until("a watch has all there is", |server| {
            server.is_watched(Sort::Pods)
        })
    }

    fn is_watched(&self, sort: Sort) -> bool {
        let next = self.state.kept(sort, |kept| kept.next());
        let open = lock(&self.state.open);
        let mut sent = open.iter().filter(|((of, _), _)| *of == sort).peekable();
        sent.peek().is_some() && sent.all(|(_, sent)| *sent == next)
    }

    /// Waits until an Event with this reason and about this pod is there, and gives it.
    pub(crate) fn wait_for_event(&self, reason: &str, pod: &str) -> Result<Value> {
        let find = |server: &Self| {
            server.events().into_iter().find(|event| {
                let regarding = [&event["regarding"], &event["involvedObject"]];
                event["reason"] == reason && regarding.iter().any(|object| object["name"] == pod)
            })
        };
        self.wait_until(&format!("an Event {reason} about {pod}"), |server| {
            find(server).is_some()
        })?;
        find(self).context("the Event was there a moment ago")
    }

    fn say(&self, said: Said) -> &Self {
        self.change(|kept| kept.say(said))
    }

    fn change(&self, change: impl FnOnce(&mut Kept)) -> &Self {
        change(&mut lock(&self.state.kept));
        self.state.news.send_replace(());
        self
    }
}

impl Drop for KubeServer {
    fn drop(&mut self) {
        // A runtime may not be awaited where another one runs.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl State {
    /// The objects of a sort.
    fn kept<R>(&self, sort: Sort, look: impl FnOnce(&mut Kept) -> R) -> R {
        match sort {
            Sort::Pods => look(&mut lock(&self.kept)),
            Sort::Captures => look(&mut lock(&self.captures).kept),
        }
    }

    fn offence(&self, what: String) {
        lock(&self.offences).push(what);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
