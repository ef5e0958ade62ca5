//! One capture that was asked for, from the moment it is ours until it is in the spool or has failed.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use jiff::Timestamp;
use kube::Api;
use tokio::sync::{Semaphore, watch};
use tokio::time::{Instant, sleep, sleep_until};

use super::status::Board;
use super::write::{Written, write};
use crate::capture::failure::{Failure, Reason};
use crate::capture::request::Request;
use crate::capture::take::{Capturer, Job, Progress};
use crate::capture::whom::Whom;
use crate::kube::{Capture, CaptureSpec, PodIndex};
use crate::model::{CrashId, KnownPod, Trigger};

/// How often it is said how far it has come, at first and later on: every agent hears of it.
const SAY: (Duration, Duration) = (Duration::from_secs(2), Duration::from_secs(15));

/// How soon what must be said is said again, at first and at last.
const AGAIN: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));

pub(super) struct Run {
    pub(super) captures: Api<Capture>,
    pub(super) capturer: Arc<Capturer>,
    pub(super) pods: Arc<PodIndex>,
    pub(super) at_once: Arc<Semaphore>,
    pub(super) cancelled: Arc<AtomicBool>,
    pub(super) id: CrashId,
    pub(super) uid: String,
    pub(super) name: String,
    pub(super) spec: CaptureSpec,
    pub(super) pod: KnownPod,
    pub(super) board: Board,
}

impl Run {
    /// Takes it, and says what came of it until that was heard. Gives what it said last.
    pub(super) async fn run(mut self) -> Board {
        if self.at_once.available_permits() == 0 {
            self.board.waits();
            self.show(&Progress::default()).await;
        }
        // A closed semaphore is one of an agent that has ended.
        let Ok(permit) = Arc::clone(&self.at_once).acquire_owned().await else {
            return self.board;
        };
        let (tell, mut progress) = watch::channel(Progress::default());
        let (capturer, job, cancelled) = (
            Arc::clone(&self.capturer),
            self.job(),
            Arc::clone(&self.cancelled),
        );
        let mut work = tokio::task::spawn_blocking(move || {
            let tell = |change: &mut dyn FnMut(&mut Progress)| tell.send_modify(change);
            capturer.take(job?, &cancelled, &tell)
        });
        let (mut say_after, mut pause) = (Instant::now(), SAY.0);
        let ended = loop {
            let news = async {
                sleep_until(say_after).await;
                progress.changed().await.is_ok()
            };
            // Both arms are cancel-safe: a change that was not looked at is one in the next round, and the work goes on by itself.
            tokio::select! {
                biased;
                ended = &mut work => break ended,
                is_news = news => {
                    if !is_news {
                        break work.await;
                    }
                    let now = progress.borrow_and_update().clone();
                    self.show(&now).await;
                    say_after = Instant::now() + pause;
                    pause = pause.mul_f64(1.3).min(SAY.1);
                }
            }
        };
        drop(permit);
        let now = Timestamp::now();
        let last = progress.borrow().clone();
        self.board.note(&last, now);
        match ended {
            Ok(Ok(done)) => self.board.shipping(self.id, Some(&done), now),
            Ok(Err(failure)) => {
                tracing::warn!(
                    capture = self.name,
                    namespace = self.pod.namespace,
                    reason = failure.reason.name(),
                    why = failure.message,
                    "a capture failed"
                );
                self.board.failed(&failure, now);
            }
            Err(error) => {
                tracing::error!(capture = self.name, namespace = self.pod.namespace, %error, "taking a capture panicked");
                let why = "a fault of the agent ended it; its log says where";
                self.board
                    .failed(&Failure::new(Reason::NodeError, why), now);
            }
        }
        self.say_until_heard().await;
        self.board
    }

    fn job(&self) -> Result<Job, Failure> {
        // As it is now: it may have waited, and its container have been started anew.
        let Some(pod) = self.pods.living_by_uid(&self.pod.uid) else {
            let why = format!("pod {} that it was asked of is gone", self.pod.name);
            return Err(Failure::new(Reason::NotRunning, why));
        };
        Ok(Job {
            id: self.id,
            request: Request::of(&self.spec)?,
            whom: Whom::in_pod(
                &self.pods,
                &pod,
                self.spec.container.as_deref(),
                self.spec.process,
            )?,
            trigger: Trigger::Request,
            asked_by: Some(self.name.clone()),
            memory: None,
        })
    }

    /// Says how far it is, if the API server listens.
    async fn show(&mut self, progress: &Progress) {
        self.board.note(progress, Timestamp::now());
        match write(&self.captures, &self.name, &self.uid, &self.board).await {
            // It was deleted, and so withdrawn.
            Written::Gone => self.cancelled.store(true, Ordering::Relaxed),
            Written::Done(_) | Written::Changed | Written::Not(_) => {}
        }
    }

    async fn say_until_heard(&mut self) {
        let (mut wait, longest) = AGAIN;
        loop {
            match write(&self.captures, &self.name, &self.uid, &self.board).await {
                Written::Done(_) | Written::Gone | Written::Changed => return,
                Written::Not(why) => {
                    tracing::warn!(
                        capture = self.name,
                        namespace = self.pod.namespace,
                        why,
                        "what came of a capture cannot be said now"
                    );
                }
            }
            sleep(wait.mul_f64(0.5 + fastrand::f64())).await;
            wait = (wait * 2).min(longest);
        }
    }
}
