//! Connections, the log, and the faults that need no S3.

use std::sync::Arc;

use hyper::body::Incoming;
use hyper::header::HeaderValue;
use hyper::service::service_fn;
use hyper::{HeaderMap, Response, StatusCode};
use hyper_util::rt::TokioIo;
use s3s::service::{S3Service, S3ServiceBuilder};
use s3s::{Body, S3Result};
use tokio::net::{TcpListener, TcpStream};

use super::faults::S3Op;
use super::{ACCESS_KEY, SECRET_KEY, State, api, lock};

/// How often a request that hangs looks whether it still has to.
const HUNG_LOOK: std::time::Duration = std::time::Duration::from_millis(50);

/// Ends a connection without an answer.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Failure(String);

/// One request and what became of it.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) op: S3Op,
    /// Path and query as sent.
    pub(crate) target: String,
    pub(crate) headers: HeaderMap,
    /// Status of the answer; absent where there was none.
    pub(crate) status: Option<u16>,
}

impl Request {
    /// A header, if it is text.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// The access key it is signed with.
    pub(crate) fn signed_by(&self) -> Option<&str> {
        let (_, credential) = self.header("authorization")?.split_once("Credential=")?;
        credential.split('/').next()
    }
}

/// Answers connections until its runtime ends.
pub(super) async fn serve(listener: TcpListener, state: Arc<State>) {
    let mut builder = S3ServiceBuilder::new(api::Api(Arc::clone(&state)));
    builder.set_auth(OneKey);
    let service = builder.build();
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            continue;
        };
        // Answers are small: Nagle would hold them for the peer's delayed acknowledgement.
        let _ = stream.set_nodelay(true);
        tokio::spawn(connection(stream, Arc::clone(&state), service.clone()));
    }
}

async fn connection(stream: TcpStream, state: Arc<State>, service: S3Service) {
    let answer = service_fn(move |request| {
        let (state, service) = (Arc::clone(&state), service.clone());
        async move { answer(&state, &service, request).await }
    });
    // Broken connections are what some tests are about.
    let _ = hyper::server::conn::http1::Builder::new()
        .serve_connection(TokioIo::new(stream), answer)
        .await;
}

async fn answer(
    state: &State,
    service: &S3Service,
    request: hyper::Request<Incoming>,
) -> Result<Response<Body>, Failure> {
    let path = request.uri().path();
    let has_key = path
        .trim_start_matches('/')
        .split_once('/')
        .is_some_and(|(_, key)| !key.is_empty());
    let query = request.uri().query().unwrap_or_default().to_owned();
    let op = S3Op::of(request.method(), has_key, &query);
    let index = {
        let mut log = lock(&state.log);
        log.push(Request {
            op,
            target: request.uri().to_string(),
            headers: request.headers().clone(),
            status: None,
        });
        log.len() - 1
    };
    let faults = lock(&state.faults).clone();
    if faults.hanging.contains(&op) {
        // Whoever still waits when the store is well again is told, and need not wait for its own patience to end.
        while lock(&state.faults).hanging.contains(&op) {
            tokio::time::sleep(HUNG_LOOK).await;
        }
        return Err(Failure("connection dropped".into()));
    }
    if faults.dropped.contains(&op) {
        return Err(Failure("connection dropped".into()));
    }
    let part = part_number(&query);
    let refusal = if let Some((status, code, text)) = faults.answer {
        Some(refusal(status, &code, &text))
    } else if let Some(retry_after) = faults.throttle {
        let mut refusal = refusal(503, "SlowDown", "Please reduce your request rate.");
        if let Some(seconds) = retry_after {
            let seconds = HeaderValue::from(seconds);
            refusal.headers_mut().insert("retry-after", seconds);
        }
        Some(refusal)
    } else if faults.denied.contains(&op) {
        Some(refusal(403, "AccessDenied", "Access Denied"))
    } else {
        match faults.refused_part {
            Some((number, status)) if part == Some(number) => {
                let code = if status < 500 {
                    "InvalidRequest"
                } else {
                    "InternalError"
                };
                Some(refusal(status, code, "this part is refused"))
            }
            _ => None,
        }
    };
    let request = request.map(Body::from);
    let response = match refusal {
        Some(refusal) => {
            // Read to its end: a client that still sends when the connection closes never sees the answer.
            let mut body = request.into_body();
            body.store_all_limited(usize::MAX).await.map_err(failed)?;
            refusal
        }
        None => service.call(request).await.map_err(failed)?,
    };
    let completed = op == S3Op::Complete && response.status().is_success();
    if completed && take_lost_completion(state) {
        return Err(Failure("connection dropped after the work was done".into()));
    }
    if let Some(request) = lock(&state.log).get_mut(index) {
        request.status = Some(response.status().as_u16());
    }
    Ok(response)
}

fn failed(error: impl std::fmt::Debug) -> Failure {
    Failure(format!("{error:?}"))
}

fn take_lost_completion(state: &State) -> bool {
    let lost = &mut lock(&state.faults).lost_completions;
    let one = *lost > 0;
    *lost = lost.saturating_sub(1);
    one
}

fn part_number(query: &str) -> Option<u32> {
    let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    let mut numbers = pairs.filter(|(name, _)| *name == "partNumber");
    numbers.next()?.1.parse().ok()
}

fn refusal(status: u16, code: &str, text: &str) -> Response<Body> {
    let xml = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?><Error><Code>{code}</Code><Message>{text}</Message></Error>"
    );
    let mut response = Response::new(Body::from(xml));
    *response.status_mut() = StatusCode::from_u16(status).expect("a status");
    let kind = HeaderValue::from_static("application/xml");
    response.headers_mut().insert("content-type", kind);
    response
}

/// Knows one access key; S3 has another code for those it does not know than s3s's own list of keys.
struct OneKey;

#[async_trait::async_trait]
impl s3s::auth::S3Auth for OneKey {
    async fn get_secret_key(&self, access_key: &str) -> S3Result<s3s::auth::SecretKey> {
        if access_key == ACCESS_KEY {
            return Ok(SECRET_KEY.into());
        }
        Err(s3s::s3_error!(
            InvalidAccessKeyId,
            "The AWS Access Key Id you provided does not exist in our records."
        ))
    }
}
