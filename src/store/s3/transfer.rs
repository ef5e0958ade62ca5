//! Bodies whose progress can be seen, and the watch that gives up a request on which nothing moves.
//!
//! A part of 64 MiB on a slow line takes minutes and is fine; a connection that died takes nothing and must be seen soon. So there is no
//! limit on the whole, only on the time in which nothing moves. The SDK's own protection counts a body as sent when hyper takes it,
//! which for a body in memory is at once. Here a body is handed over in small slices, so that what hyper and the kernel hold back (some
//! hundred KiB, then as much as the line carries in a few round trips) is all that is not seen moving.

use std::convert::Infallible;
use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use aws_sdk_s3::primitives::{ByteStream, SdkBody};
use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::time::Instant;

/// Bytes handed over at a time.
const SLICE: usize = 64 << 10;

/// How long nothing may move.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// While a body is on its way, and between the pieces of an answer.
    pub(super) stall: Duration,
    /// From the last byte of a body to the answer: what the kernel still holds back on a slow line, and the store's own work.
    pub(super) answer: Duration,
    /// As `answer`, for a completion: a store may copy all parts together before it answers.
    pub(super) completion: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            stall: Duration::from_secs(30),
            answer: Duration::from_secs(60),
            completion: Duration::from_secs(300),
        }
    }
}

/// How far a body has come.
#[derive(Debug)]
pub(super) struct Progress {
    total: u64,
    state: Mutex<State>,
}

#[derive(Clone, Copy, Debug)]
struct State {
    sent: u64,
    moved: Instant,
}

/// Nothing moved for too long.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Stalled {
    /// While the body was on its way.
    #[error("nothing moved for {waited:?} after {sent} of {total} bytes were sent")]
    Sending {
        sent: u64,
        total: u64,
        waited: Duration,
    },
    /// After it.
    #[error("no answer for {0:?} after the request was sent")]
    Answer(Duration),
}

impl Progress {
    pub(super) fn of(total: u64) -> Arc<Self> {
        let state = State {
            sent: 0,
            moved: Instant::now(),
        };
        Arc::new(Self {
            total,
            state: Mutex::new(state),
        })
    }

    fn state(&self) -> State {
        *self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn moved_to(&self, sent: u64) {
        let state = State {
            sent,
            moved: Instant::now(),
        };
        *self.state.lock().unwrap_or_else(PoisonError::into_inner) = state;
    }
}

/// A request body that reports to `progress`. The SDK can begin it again for another try.
pub(super) fn body(content: Bytes, progress: &Arc<Progress>) -> ByteStream {
    if content.is_empty() {
        return ByteStream::from(content);
    }
    let progress = Arc::clone(progress);
    ByteStream::new(SdkBody::retryable(move || {
        SdkBody::from_body_1_x(Sliced {
            content: content.clone(),
            next: 0,
            progress: Arc::clone(&progress),
        })
    }))
}

struct Sliced {
    content: Bytes,
    next: usize,
    progress: Arc<Progress>,
}

impl Body for Sliced {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.is_end_stream() {
            return Poll::Ready(None);
        }
        let end = self.next.saturating_add(SLICE).min(self.content.len());
        let slice = self.content.slice(self.next..end);
        self.next = end;
        self.progress.moved_to(end as u64);
        Poll::Ready(Some(Ok(Frame::data(slice))))
    }

    fn is_end_stream(&self) -> bool {
        self.next == self.content.len()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact((self.content.len() - self.next) as u64)
    }
}

/// Waits for `work` as long as it moves: its body every `stall`, its answer within `answer` after that. Dropped, it closes its connection.
pub(super) async fn watched<T>(
    progress: &Progress,
    stall: Duration,
    answer: Duration,
    work: impl Future<Output = T>,
) -> Result<T, Stalled> {
    let mut work = pin!(work);
    loop {
        let State { sent, moved } = progress.state();
        let sending = sent < progress.total;
        let waited = if sending { stall } else { answer };
        if let Ok(done) = tokio::time::timeout_at(moved + waited, &mut work).await {
            return Ok(done);
        }
        if progress.state().moved != moved {
            continue;
        }
        return Err(match sending {
            true => Stalled::Sending {
                sent,
                total: progress.total,
                waited,
            },
            false => Stalled::Answer(waited),
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STALL: Duration = Duration::from_millis(400);
    const ANSWER: Duration = Duration::from_millis(800);

    async fn watch<T>(progress: &Progress, work: impl Future<Output = T>) -> Result<T, Stalled> {
        watched(progress, STALL, ANSWER, work).await
    }

    #[tokio::test]
    async fn a_slow_body_may_take_longer_than_any_limit() {
        let progress = Progress::of(20);
        let begun = Instant::now();
        let work = async {
            for sent in 1..=20 {
                tokio::time::sleep(STALL / 5).await;
                progress.moved_to(sent);
            }
            "done"
        };
        assert_eq!(watch(&progress, work).await, Ok("done"));
        assert!(begun.elapsed() > STALL + ANSWER);
    }

    #[tokio::test]
    async fn a_body_that_stops_moving_is_given_up() {
        let progress = Progress::of(100);
        let work = async {
            progress.moved_to(40);
            std::future::pending::<()>().await;
        };
        let stalled = Stalled::Sending {
            sent: 40,
            total: 100,
            waited: STALL,
        };
        assert_eq!(watch(&progress, work).await, Err(stalled));
    }

    #[tokio::test]
    async fn an_answer_that_does_not_come_is_given_up() {
        let progress = Progress::of(100);
        let work = async {
            progress.moved_to(100);
            std::future::pending::<()>().await;
        };
        assert_eq!(watch(&progress, work).await, Err(Stalled::Answer(ANSWER)));
    }

    #[tokio::test]
    async fn a_body_comes_in_slices_of_the_right_sum_and_can_begin_again() {
        let content = Bytes::from(vec![7; SLICE * 2 + 1]);
        let progress = Progress::of(content.len() as u64);
        let body = body(content.clone(), &progress).into_inner();
        assert_eq!(body.content_length(), Some(content.len() as u64));
        for again in [body.try_clone().expect("retryable"), body] {
            let mut stream = ByteStream::new(again);
            let mut sizes = Vec::new();
            while let Some(slice) = stream.next().await {
                sizes.push(slice.expect("slice").len());
            }
            assert_eq!(sizes, [SLICE, SLICE, 1]);
            assert_eq!(progress.state().sent, content.len() as u64);
        }
    }
}
