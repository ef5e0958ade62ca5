//! One watch connection: what is said on it, in which order, and how it ends.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use futures::stream;
use serde_json::json;
use tokio::sync::mpsc::{self, Sender};
use tokio::sync::watch;
use tokio::time::Instant;

use super::faults::Cut;
use super::kept::{self, Key, Said};
use super::pods::gone;
use super::{State, lock};

/// How long an event that is to change places waits for another one.
const HELD: Duration = Duration::from_millis(50);
/// What was said before a connection breaks is sent only if there was a moment for it.
const FLUSH: Duration = Duration::from_millis(20);
/// Long enough to be never.
const NEVER: Duration = Duration::from_hours(24);

/// Where it begins.
#[derive(Clone, Copy)]
pub(super) enum Start {
    /// With the addition of each pod that is there.
    All,
    /// With what is newer than a version.
    After(u64),
}

/// What was asked for.
pub(super) struct Watch {
    pub(super) start: Start,
    pub(super) bookmarks: bool,
    pub(super) timeout: Option<Duration>,
    /// Said before anything else.
    pub(super) first: Bytes,
}

impl Watch {
    /// The body of the answer, with this before anything else.
    pub(super) fn saying(self, first: Bytes, state: &Arc<State>) -> Body {
        Self { first, ..self }.open(state)
    }

    /// The body of the answer.
    pub(super) fn open(self, state: &Arc<State>) -> Body {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let id = NEXT.fetch_add(1, Ordering::Relaxed);
        // Subscribed before the state is read, so that nothing is said in between.
        let news = state.news.subscribe();
        let (start, number) = {
            let kept = lock(&state.kept);
            let number = kept.next();
            let start = match self.start {
                Start::All => Some(
                    kept.pods()
                        .map(|pod| kept::line(&json!({"type": "ADDED", "object": pod})))
                        .map(|line| (number, Said::Raw(line)))
                        .collect(),
                ),
                Start::After(version) => kept.since(version),
            };
            // Not the number of one that has all there is: the start is not sent yet.
            lock(&state.open).insert(id, u64::MAX);
            (start, number)
        };
        let (sender, mut receiver) = mpsc::channel(16);
        let mut open = Open {
            id,
            number,
            sender,
            held: None,
            bookmarks: self.bookmarks,
            end: Instant::now() + self.timeout.unwrap_or(NEVER),
            state: Arc::clone(state),
        };
        tokio::spawn(async move {
            let _ = open.run(self.first, start, news).await;
        });
        Body::from_stream(stream::poll_fn(move |context| receiver.poll_recv(context)))
    }
}

/// One that is open; closed when dropped.
struct Open {
    id: u64,
    /// The number of the next thing to say.
    number: u64,
    sender: Sender<Result<Bytes, io::Error>>,
    /// An event that waits for one of another pod.
    held: Option<(Key, Vec<Bytes>)>,
    bookmarks: bool,
    end: Instant,
    state: Arc<State>,
}

/// The connection is over.
struct Over;

impl Open {
    async fn run(
        &mut self,
        first: Bytes,
        start: Option<Vec<(u64, Said)>>,
        mut news: watch::Receiver<()>,
    ) -> Result<(), Over> {
        if !first.is_empty() {
            self.send(first).await?;
        }
        let Some(start) = start else {
            return self.send(gone()).await;
        };
        for (number, said) in start {
            self.say(number, said).await?;
        }
        loop {
            news.mark_unchanged();
            let next = lock(&self.state.kept).after(self.number);
            // Who is slower than the window is cut off; real servers do the same.
            let next = next.ok_or(Over)?;
            for (number, said) in next {
                self.say(number, said).await?;
                self.number = number + 1;
            }
            if self.held.is_none() {
                lock(&self.state.open).insert(self.id, self.number);
            }
            let held = self.held.is_some();
            let sender = self.sender.clone();
            tokio::select! {
                _ = news.changed() => {}
                () = tokio::time::sleep(HELD), if held => self.release().await?,
                () = tokio::time::sleep_until(self.end) => {
                    self.release().await?;
                    if self.bookmarks {
                        let version = lock(&self.state.kept).version();
                        self.send(kept::bookmark(version)).await?;
                    }
                    return Ok(());
                }
                () = sender.closed() => return Err(Over),
            }
        }
    }

    async fn say(&mut self, number: u64, said: Said) -> Result<(), Over> {
        match said {
            Said::Event { key, line, .. } => self.event(number, key, line).await,
            Said::Bookmark(line) if self.bookmarks => {
                self.release().await?;
                self.send(line).await
            }
            Said::Bookmark(_) => Ok(()),
            Said::Raw(line) => {
                self.release().await?;
                self.send(line).await
            }
            Said::Cut(cut) => {
                self.release().await?;
                if let Cut::MidLine = cut {
                    let line = lock(&self.state.kept).last_line();
                    self.send(line.slice(..line.len() / 2)).await?;
                }
                if !matches!(cut, Cut::Clean) {
                    tokio::time::sleep(FLUSH).await;
                    let broken = io::Error::other("connection cut");
                    let _ = self.sender.send(Err(broken)).await;
                }
                Err(Over)
            }
        }
    }

    /// Says an event, in the order that is wanted now.
    async fn event(&mut self, number: u64, key: Key, line: Bytes) -> Result<(), Over> {
        let order = lock(&self.state.faults).order;
        let mut lines = vec![line.clone()];
        if order.twice {
            lines.push(line);
        }
        if order.repeat_old {
            lines.extend(lock(&self.state.kept).before(number, &key));
        }
        match self.held.take() {
            Some((of, held)) if of != key => {
                self.send_all(lines).await?;
                self.send_all(held).await
            }
            held => {
                if let Some((_, held)) = held {
                    self.send_all(held).await?;
                }
                if order.swapped {
                    self.held = Some((key, lines));
                    return Ok(());
                }
                self.send_all(lines).await
            }
        }
    }

    /// Says what waited for another one that did not come.
    async fn release(&mut self) -> Result<(), Over> {
        match self.held.take() {
            Some((_, lines)) => self.send_all(lines).await,
            None => Ok(()),
        }
    }

    async fn send_all(&mut self, lines: Vec<Bytes>) -> Result<(), Over> {
        for line in lines {
            self.send(line).await?;
        }
        Ok(())
    }

    async fn send(&mut self, line: Bytes) -> Result<(), Over> {
        self.sender.send(Ok(line)).await.map_err(|_| Over)
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        lock(&self.state.open).remove(&self.id);
    }
}
