//! One list and one watch of this node's pods, for as long as the agent lives.
//!
//! ```text
//! list ──version──► watch ──events, bookmarks──► watch ends: again from the last version
//!  ▲                  │
//!  └── forgotten (410), as an answer or as an event
//! ```
//!
//! The API server is shared by every node: a list asks for `resourceVersion=0`, which it answers from its cache, and the first one waits a random while, since all
//! agents of a cluster start at once when it is rolled out. Whatever fails, or ends at once, is tried again with backoff, and said once. The library's own
//! watcher is not used: it lists anew once a second for ever where lists fail, opens a watch again at once that ends at once (thousands a second), asks for a
//! forgotten version for ever where that is told as an answer, and takes several times the size of a list.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};
use futures::StreamExt;
use jiff::Timestamp;
use kube::api::WatchParams;
use kube::core::WatchEvent;
use kube::{Api, Client};
use tokio::sync::Notify;
use tokio::time::{Instant, MissedTickBehavior, timeout, timeout_at};

use super::list::{self, fields, list};
use super::watched::WatchedPod;
use super::{Census, Metrics, PodIndex};
use crate::model::KnownPod;
use crate::telemetry::{Part, chain};

/// How often pods are looked at once more whose deaths could not be written.
const AGAIN: Duration = Duration::from_secs(10);

/// How often what is remembered of pods is cleared up.
const TIDY: Duration = Duration::from_secs(600);

/// Shortest and longest wait after a failure, before jitter, which is as much again at the most.
const BACKOFF_MIN: Duration = Duration::from_millis(800);
const BACKOFF_MAX: Duration = Duration::from_secs(15);

/// A watch is asked to end after this many seconds; the API server's own default is a random time of about as long.
const WATCH_SECONDS: u32 = 290;

/// The answer to a watch begins within this.
const WATCH_BEGINS: Duration = Duration::from_secs(30);

/// A watch that says nothing for so long is dead: it should have ended.
const SILENCE: Duration = Duration::from_secs(WATCH_SECONDS as u64 + 20);

/// A watch that lasted so long was one; one that ended sooner without a word is tried again like one that failed.
const LASTED: Duration = Duration::from_secs(10);

/// What the API server answers, or says in a watch, when it has forgotten the version that is asked from.
const GONE: u16 = 410;

/// Most pods that are remembered for being looked at again; beyond it all are listed anew.
const AGAIN_MOST: usize = 1_024;

/// How the watch is begun.
#[derive(Clone, Debug)]
pub struct Config {
    /// The node whose pods are watched.
    pub node: String,
    /// The first list waits up to this long.
    pub start_jitter: Duration,
}

/// What a watch works for.
#[derive(Clone)]
pub struct Watched {
    /// Where pods are kept.
    pub index: Arc<PodIndex>,
    /// Who counts their containers' ends.
    pub census: Arc<Census>,
    /// What is counted.
    pub metrics: Metrics,
}

/// Watches until it is dropped.
///
/// `recovered` is told whenever the index is complete and was not before: crashes that were stored meanwhile may learn whose they are.
pub async fn watch(
    client: Client,
    config: Config,
    watched: Watched,
    part: Part,
    recovered: Arc<Notify>,
) {
    let jitter = config.start_jitter.mul_f64(fastrand::f64());
    tokio::time::sleep(jitter).await;
    let mut watch = Watch {
        pods: Api::all(client.clone()),
        client,
        node: config.node,
        watched,
        part,
        said: None,
        again: HashMap::new(),
        tidied: Instant::now(),
        recovered,
    };
    let mut backoff = backoff();
    let mut version = None;
    loop {
        let begun = Instant::now();
        let outcome = match version.take() {
            None => watch.list().await,
            Some(from) => watch.follow(from).await,
        };
        let lasted = begun.elapsed() >= LASTED;
        match outcome {
            Then::Watch { from, said } => {
                version = Some(from);
                if said || lasted {
                    backoff = self::backoff();
                    continue;
                }
            }
            Then::List => {}
            Then::Failed { from, why } => {
                watch.failed(why);
                version = from;
                if lasted {
                    backoff = self::backoff();
                }
            }
        }
        tokio::time::sleep(backoff.next().unwrap_or(BACKOFF_MAX)).await;
    }
}

/// What is to be done next.
enum Then {
    /// Watch from this version on.
    Watch {
        from: String,
        /// Whether anything was said.
        said: bool,
    },
    /// The version is forgotten: begin anew.
    List,
    /// It failed; go on from that version, if there is one.
    Failed { from: Option<String>, why: String },
}

fn backoff() -> ExponentialBackoff {
    ExponentialBuilder::default()
        .with_min_delay(BACKOFF_MIN)
        .with_max_delay(BACKOFF_MAX)
        .with_jitter()
        .without_max_times()
        .build()
}

struct Watch {
    client: Client,
    pods: Api<WatchedPod>,
    node: String,
    watched: Watched,
    part: Part,
    /// The last failure that was said, while it lasts.
    said: Option<String>,
    /// Pods whose deaths could not all be written, as they were seen last.
    again: HashMap<String, KnownPod>,
    /// When what is remembered was cleared up last.
    tidied: Instant,
    recovered: Arc<Notify>,
}

impl Watch {
    async fn list(&mut self) -> Then {
        let Watched { index, census, .. } = self.watched.clone();
        index.begin_list();
        let (told, again) = std::sync::mpsc::sync_channel(AGAIN_MOST);
        let taken = list(&self.client, &self.node, move |pod| {
            let now = Timestamp::now();
            let pod = index.see(pod, now);
            if let Err(why) = census.look(&pod, now) {
                say_again(&pod, &why);
                let _ = told.try_send(pod);
            }
        })
        .await;
        for pod in again.iter() {
            self.look_again(pod);
        }
        let version = match taken {
            Ok(version) => version,
            Err(list::Error::Asked(error)) => {
                return Then::Failed {
                    from: None,
                    why: explain("list", &error),
                };
            }
            Err(error) => {
                return Then::Failed {
                    from: None,
                    why: chain(&error),
                };
            }
        };
        let now = Timestamp::now();
        self.watched.index.end_list(now);
        self.tidy().await;
        tracing::info!("pod index is complete");
        self.said = None;
        self.part.ready();
        self.recovered.notify_one();
        Then::Watch {
            from: version,
            said: true,
        }
    }

    /// Follows what happens after the version `from`, until the watch ends.
    async fn follow(&mut self, mut from: String) -> Then {
        let params = WatchParams::default()
            .fields(&fields(&self.node))
            .timeout(WATCH_SECONDS);
        let pods = self.pods.clone();
        let events = match timeout(WATCH_BEGINS, pods.watch(&params, &from)).await {
            Ok(Ok(events)) => events,
            Ok(Err(kube::Error::Api(status))) if status.code == GONE => return Then::List,
            Ok(Err(error)) => {
                return Then::Failed {
                    from: Some(from),
                    why: explain("watch", &error),
                };
            }
            Err(_) => {
                return Then::Failed {
                    from: Some(from),
                    why: format!("cannot watch pods: no answer within {WATCH_BEGINS:?}"),
                };
            }
        };
        let mut events = std::pin::pin!(events);
        let mut tick = tokio::time::interval(AGAIN);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut said, mut heard) = (false, Instant::now());
        loop {
            // Both arms are cancel-safe: the stream keeps what it has not yielded, the interval its next tick.
            let event = tokio::select! {
                event = timeout_at(heard + SILENCE, events.next()) => event,
                _ = tick.tick() => {
                    if self.again.len() >= AGAIN_MOST {
                        self.again.clear();
                        return Then::List;
                    }
                    for pod in std::mem::take(&mut self.again).into_values() {
                        self.count(pod).await;
                    }
                    if self.tidied.elapsed() >= TIDY {
                        self.tidy().await;
                    }
                    continue;
                }
            };
            heard = Instant::now();
            let event = match event {
                Ok(Some(Ok(event))) => event,
                Ok(Some(Err(error))) => {
                    // What could not be read may have been the end of a container: a list tells of it, the same watch would tell what cannot be read again.
                    return Then::Failed {
                        from: Some(from).filter(|_| !is_unreadable(&error)),
                        why: explain("watch", &error),
                    };
                }
                Ok(None) => return Then::Watch { from, said },
                Err(_) => {
                    return Then::Failed {
                        from: Some(from),
                        why: format!("cannot watch pods: not a word within {SILENCE:?}"),
                    };
                }
            };
            match event {
                WatchEvent::Added(seen) | WatchEvent::Modified(seen) => {
                    from = newer(from, seen.version());
                    self.see(seen, false).await;
                }
                WatchEvent::Deleted(seen) => {
                    from = newer(from, seen.version());
                    self.see(seen, true).await;
                }
                WatchEvent::Bookmark(bookmark) => {
                    from = newer(from, Some(&bookmark.metadata.resource_version));
                }
                WatchEvent::Error(status) if status.code == GONE => return Then::List,
                WatchEvent::Error(status) => {
                    return Then::Failed {
                        from: Some(from),
                        why: explain("watch", &kube::Error::Api(status)),
                    };
                }
            }
            said = true;
            self.watched.index.hear(Timestamp::now());
            if self.said.take().is_some() {
                tracing::info!("the watch of pods goes on");
                self.part.ready();
                self.recovered.notify_one();
            }
        }
    }

    /// Clears up what is remembered of pods, on a thread that may block.
    async fn tidy(&mut self) {
        self.tidied = Instant::now();
        let census = Arc::clone(&self.watched.census);
        if let Err(error) = tokio::task::spawn_blocking(move || census.tidy(Timestamp::now())).await
        {
            tracing::error!(%error, "clearing up what was counted of gone pods failed");
        }
    }

    /// Notes a pod whose deaths could not all be written.
    fn look_again(&mut self, pod: KnownPod) {
        if self.again.len() < AGAIN_MOST || self.again.contains_key(&pod.uid) {
            self.again.insert(pod.uid.clone(), pod);
        }
    }

    async fn see(&mut self, seen: WatchedPod, is_gone: bool) {
        let Some(pod) = seen.pod else { return };
        let (index, now) = (&self.watched.index, Timestamp::now());
        let pod = match is_gone {
            true => index.gone(pod, now),
            false => index.see(pod, now),
        };
        self.count(pod).await;
    }

    /// Counts what is new of a pod, on a thread that may block.
    async fn count(&mut self, pod: KnownPod) {
        let now = Timestamp::now();
        let census = Arc::clone(&self.watched.census);
        if census.is_old(&pod, now) {
            return;
        }
        let looked = pod.clone();
        let outcome = tokio::task::spawn_blocking(move || census.look(&looked, now)).await;
        let why = match outcome {
            Ok(Ok(())) => return,
            Ok(Err(why)) => why,
            Err(error) => error.to_string(),
        };
        say_again(&pod, &why);
        self.look_again(pod);
    }

    fn failed(&mut self, why: String) {
        self.watched.metrics.watch_error();
        self.watched.index.trouble();
        if self.said.as_ref() != Some(&why) {
            tracing::warn!(
                why,
                "pods cannot be watched; dumps are stored with what the node knows, and it is tried again"
            );
            self.part.not_ready(why.clone());
            self.said = Some(why);
        }
    }
}

fn say_again(pod: &KnownPod, why: &str) {
    tracing::warn!(
        namespace = pod.namespace,
        pod = pod.name,
        why,
        "deaths of a pod's containers cannot be written now; tried again"
    );
}

/// The later of two versions. A watch may tell of an older state once more, and would tell all that follows it again. They are numbers wherever Kubernetes
/// is; where they are none, the last one told is gone on from.
fn newer(from: String, seen: Option<&str>) -> String {
    let Some(seen) = seen else { return from };
    match (from.parse::<u64>(), seen.parse::<u64>()) {
        (Ok(old), Ok(new)) if new <= old => from,
        _ => seen.to_owned(),
    }
}

/// Whether something was said that is none of what an API server says. The library takes an odd line of a watch for a status that says nothing.
fn is_unreadable(error: &kube::Error) -> bool {
    match error {
        kube::Error::SerdeError(_) => true,
        kube::Error::Api(status) => status.code == 0,
        _ => false,
    }
}

/// What failed, for an operator: a refusal names what must be allowed.
fn explain(verb: &str, error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) if status.code == 403 => format!(
            "the API server forbids to {verb} pods: {}; allow list and watch of pods to the agent's service account",
            status.message
        ),
        kube::Error::Api(status) if status.code == 401 => format!(
            "the API server does not accept the agent's credentials to {verb} pods: {}",
            status.message
        ),
        // What could not be read is not said: it may be a pod, with all its secrets.
        error if is_unreadable(error) => format!("cannot {verb} pods: the answer cannot be read"),
        _ => format!("cannot {verb} pods: {}", chain(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_watch_goes_on_from_the_latest_version_that_was_told() {
        let on = |from: &str, seen: Option<&str>| newer(from.to_owned(), seen);
        assert_eq!(on("7", Some("8")), "8");
        assert_eq!(on("10", Some("9")), "10");
        assert_eq!(on("7", None), "7");
        assert_eq!(on("abc", Some("abb")), "abb");
    }
}
