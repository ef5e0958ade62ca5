//! One watch connection: what is said on it, in which order, and how it ends.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use futures::stream;
use hyper::Response;
use serde_json::json;
use tokio::sync::mpsc::{self, Sender};
use tokio::sync::watch;
use tokio::time::Instant;

use super::faults::{Cut, Fault};
use super::front::{self, Request};
use super::kept::{self, Kept, Key, Said, Sort};
use super::pods::gone;
use super::selected::View;
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
    /// With the addition of each object that is there.
    All,
    /// The same, and a bookmark that says that this was all.
    Streamed,
    /// With what is newer than a version.
    After(u64),
}

/// What was asked for.
pub(super) struct Watch {
    of: Sort,
    view: View,
    start: Start,
    bookmarks: bool,
    timeout: Option<Duration>,
    /// Said before anything else.
    first: Bytes,
}

impl Watch {
    /// With what a request says besides.
    pub(super) fn asked(of: Sort, view: View, start: Start, request: &Request) -> Self {
        let seconds = request.parameter("timeoutSeconds");
        Self {
            of,
            view,
            start,
            bookmarks: request.parameter("allowWatchBookmarks") == Some("true"),
            // Zero is as good as nothing, to a real server too.
            timeout: seconds
                .and_then(|text| text.parse().ok())
                .filter(|seconds| *seconds > 0)
                .map(Duration::from_secs),
            first: Bytes::new(),
        }
    }

    /// The answer, as a fault leaves it.
    pub(super) fn answer(self, state: &Arc<State>, fault: Option<Fault>) -> Response<Body> {
        let half = |line: Bytes| line.slice(..line.len() / 2);
        let of = self.of;
        let last = || state.kept(of, |kept| kept.last_line());
        let body = match fault {
            Some(Fault::Empty) => Body::empty(),
            Some(Fault::GoneEvent) => Body::from(gone()),
            Some(Fault::Broken) => front::broken(half(last())),
            Some(Fault::Endless) => front::endless(half(last())),
            Some(Fault::Garbage) => self.saying("<html>please log in</html>\n".into(), state),
            Some(Fault::Truncated) => {
                let text = [half(last()).as_ref(), b"\n"].concat();
                self.saying(text.into(), state)
            }
            Some(Fault::WrongKind(kind)) => {
                let version = state.kept(of, |kept| kept.version());
                let object = kept::stranger(kind, version);
                let line = kept::line(&json!({"type": "ADDED", "object": object}));
                self.saying(line, state)
            }
            _ => self.open(state),
        };
        front::typed(200, "application/json", body)
    }

    /// The body of the answer, with this before anything else.
    fn saying(self, first: Bytes, state: &Arc<State>) -> Body {
        Self { first, ..self }.open(state)
    }

    /// The body of the answer.
    fn open(self, state: &Arc<State>) -> Body {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let id = NEXT.fetch_add(1, Ordering::Relaxed);
        // Subscribed before the state is read, so that nothing is said in between.
        let news = state.news.subscribe();
        let (start, number) = state.kept(self.of, |kept| {
            let number = kept.next();
            let there = || {
                kept.all()
                    .filter(|object| self.view.shows(object))
                    .map(|object| kept::line(&json!({"type": "ADDED", "object": object})))
            };
            let start: Option<Vec<_>> = match self.start {
                Start::All => Some(there().map(|line| (number, Said::Raw(line))).collect()),
                Start::Streamed => {
                    let lines = there().chain([kept.initial_end()]);
                    Some(lines.map(|line| (number, Said::Raw(line))).collect())
                }
                Start::After(version) => kept.since(version),
            };
            // Not the number of one that has all there is: the start is not sent yet.
            lock(&state.open).insert((self.of, id), u64::MAX);
            (start, number)
        });
        let (sender, mut receiver) = mpsc::channel(16);
        let mut open = Open {
            of: self.of,
            view: self.view,
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
    of: Sort,
    view: View,
    id: u64,
    /// The number of the next thing to say.
    number: u64,
    sender: Sender<Result<Bytes, io::Error>>,
    /// An event that waits for one of another object.
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
            let next = self.kept(|kept| kept.after(self.number));
            // Who is slower than the window is cut off; real servers do the same.
            let next = next.ok_or(Over)?;
            for (number, said) in next {
                self.say(number, said).await?;
                self.number = number + 1;
            }
            if self.held.is_none() {
                lock(&self.state.open).insert((self.of, self.id), self.number);
            }
            let held = self.held.is_some();
            let sender = self.sender.clone();
            tokio::select! {
                _ = news.changed() => {}
                () = tokio::time::sleep(HELD), if held => self.release().await?,
                () = tokio::time::sleep_until(self.end) => {
                    self.release().await?;
                    if self.bookmarks {
                        let line = self.kept(|kept| kept.bookmark_line());
                        self.send(line).await?;
                    }
                    return Ok(());
                }
                () = sender.closed() => return Err(Over),
            }
        }
    }

    async fn say(&mut self, number: u64, said: Said) -> Result<(), Over> {
        match said {
            Said::Event { key, line, was, .. } => match self.view.seen(line, was.as_deref()) {
                Some(line) => self.event(number, key, line).await,
                None => Ok(()),
            },
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
                    let line = self.kept(|kept| kept.last_line());
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
            lines.extend(self.kept(|kept| kept.before(number, &key)));
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

    fn kept<R>(&self, look: impl FnOnce(&mut Kept) -> R) -> R {
        self.state.kept(self.of, look)
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
        lock(&self.state.open).remove(&(self.of, self.id));
    }
}
