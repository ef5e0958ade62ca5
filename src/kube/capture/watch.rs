//! Hears of every `Capture` of the cluster: they are few, and nobody but the agent on the pod's node can tell whose they are.

use std::time::Duration;

use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};
use kube::api::{ApiResource, DynamicObject};
use kube::runtime::watcher::{self, Event};
use kube::{Api, Client, ResourceExt};
use tokio::sync::mpsc::Sender;

use super::Capture;
use crate::kube::Metrics;
use crate::telemetry::{Part, chain};

/// How soon it is listed again after a failure, about: at first and at last.
const LIST_AGAIN: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));

/// How it is watched.
#[derive(Clone, Debug)]
pub struct Config {
    /// Before the first list it is waited for a part of this at random: 10,000 agents start at once.
    pub jitter: Duration,
}

/// What was heard.
#[derive(Clone, Debug)]
pub enum Heard {
    /// A `Capture` as it is now.
    Is(Box<Capture>),
    /// It is deleted; this is its UID.
    Gone(String),
    /// A list begins: what it does not name is gone.
    ListBegins,
    /// The list has ended.
    ListEnds,
}

/// Watches until nobody listens any more.
pub async fn hear(
    client: Client,
    config: Config,
    heard: Sender<Heard>,
    metrics: Metrics,
    part: Part,
) {
    tokio::time::sleep(config.jitter.mul_f64(fastrand::f64())).await;
    // Untyped: one object that is not as it should be must not end a list.
    let resource = ApiResource::erase::<Capture>(&());
    let captures: Api<DynamicObject> = Api::all_with(client, &resource);
    let mut way = Way::Stream;
    let mut events = events(&captures, way);
    let mut wait = LIST_AGAIN.0;
    loop {
        let said = match events.try_next().await {
            Ok(Some(Event::Init)) => Some(Heard::ListBegins),
            Ok(Some(Event::InitDone)) => {
                part.ready();
                wait = LIST_AGAIN.0;
                Some(Heard::ListEnds)
            }
            Ok(Some(Event::InitApply(object) | Event::Apply(object))) => read(object),
            Ok(Some(Event::Delete(object))) => object.uid().map(Heard::Gone),
            Ok(None) => return,
            Err(error) => {
                metrics.watch_error();
                let why = why(&error);
                tracing::warn!(why, "captures cannot be watched now; it is tried again");
                part.not_ready(why);
                // From a list on: the library would go on from where it was, also where the server has forgotten that, and would not say that all is well again.
                tokio::time::sleep(wait.mul_f64(0.5 + fastrand::f64())).await;
                wait = (wait * 2).min(LIST_AGAIN.1);
                if way == Way::Stream && is_unknown(&error) {
                    way = Way::List;
                }
                events = self::events(&captures, way);
                None
            }
        };
        if let Some(said) = said
            && heard.send(said).await.is_err()
        {
            return;
        }
    }
}

/// How what there is already is heard of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// One after the other: whoever may make thousands of large objects does not fill our memory. Servers know it since 1.32.
    Stream,
    /// All at once, from the server's cache. Not in pages: with them the library would have the server ask its database.
    List,
}

/// Whether the server does not know what it was asked for.
fn is_unknown(error: &watcher::Error) -> bool {
    matches!(error, watcher::Error::WatchStartFailed(kube::Error::Api(status)) if matches!(status.code, 400 | 422))
}

/// From what there is on.
fn events(
    captures: &Api<DynamicObject>,
    way: Way,
) -> BoxStream<'static, watcher::Result<Event<DynamicObject>>> {
    let config = match way {
        Way::Stream => watcher::Config::default().streaming_lists(),
        Way::List => watcher::Config {
            page_size: None,
            ..watcher::Config::default().any_semantic()
        },
    };
    watcher::watcher(captures.clone(), config).boxed()
}

fn read(object: DynamicObject) -> Option<Heard> {
    let (namespace, name) = (object.namespace(), object.name_any());
    let capture = serde_json::to_value(object).and_then(serde_json::from_value::<Capture>);
    match capture {
        Ok(capture) => Some(Heard::Is(Box::new(capture))),
        Err(error) => {
            tracing::warn!(namespace, name, %error, "a Capture cannot be read and is left alone: is its CustomResourceDefinition of this version?");
            None
        }
    }
}

fn why(error: &watcher::Error) -> String {
    let status = match error {
        watcher::Error::InitialListFailed(kube::Error::Api(status))
        | watcher::Error::WatchStartFailed(kube::Error::Api(status)) => Some(status.code),
        watcher::Error::WatchError(status) => Some(status.code),
        _ => None,
    };
    match status {
        Some(404) => "the cluster has no captures.salvage.dev: install the chart with captures.enabled, or switch captures off".to_owned(),
        Some(403) => "the service account may not list and watch captures.salvage.dev: the chart's captures.enabled gives it the right".to_owned(),
        _ => chain(error),
    }
}
