//! Connections, the token, the log of requests, and which answer a request gets.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::Body;
use bytes::Bytes;
use futures::stream;
use hyper::body::Incoming;
use hyper::header::HeaderValue;
use hyper::service::service_fn;
use hyper::{HeaderMap, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::watch;
use url::form_urlencoded;

use super::captures::GROUP;
use super::faults::{self, Call, Fault, status};
use super::users::{User, Wanted};
use super::{State, custom, events, kept, lock, others, pods};

/// Between two bytes of a body that never ends.
const TRICKLE: Duration = Duration::from_millis(20);
/// Largest body a real server takes.
const MAX_BODY: usize = 3 << 20;

/// One request and what became of it.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) call: Call,
    /// Who asked, as the server names them; nothing where it does not know them.
    pub(crate) user: String,
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) query: BTreeMap<String, String>,
    pub(crate) headers: HeaderMap,
    /// What was sent, if it is JSON.
    pub(crate) body: Option<Value>,
    pub(crate) when: Instant,
    /// Status of the answer; absent where there was none.
    pub(crate) status: Option<u16>,
}

impl Request {
    /// A parameter of the query.
    pub(crate) fn parameter(&self, name: &str) -> Option<&str> {
        self.query.get(name).map(String::as_str)
    }

    /// A header, if it is text.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    fn segments(&self) -> Vec<&str> {
        self.path.trim_matches('/').split('/').collect()
    }
}

/// Ends a connection without an answer.
fn dropped() -> io::Error {
    io::Error::other("connection dropped")
}

/// Answers connections until its runtime ends, at one address, with breaks.
pub(super) async fn serve(listener: TcpListener, address: SocketAddr, state: Arc<State>) {
    let mut wanted = state.wanted.subscribe();
    let mut listener = listener;
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let Ok((stream, _)) = accepted else { continue };
                // Events are small: Nagle would hold them for the peer's delayed acknowledgement.
                let _ = stream.set_nodelay(true);
                tokio::spawn(connection(stream, Arc::clone(&state)));
            }
            () = becomes(&mut wanted, false) => {
                drop(listener);
                // A bound socket that does not listen refuses, and keeps the port from everybody else.
                let socket = bound(address).await;
                state.listening.send_replace(false);
                becomes(&mut wanted, true).await;
                listener = socket.listen(1024).expect("the port is ours");
                state.listening.send_replace(true);
            }
        }
    }
}

async fn bound(address: SocketAddr) -> TcpSocket {
    loop {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.set_reuseaddr(true).expect("an option");
        match socket.bind(address) {
            Ok(()) => return socket,
            // The old listener is on its way out.
            Err(_) => tokio::time::sleep(Duration::from_millis(1)).await,
        }
    }
}

async fn connection(stream: TcpStream, state: Arc<State>) {
    let mut wanted = state.wanted.subscribe();
    let answer = service_fn(move |request| {
        let state = Arc::clone(&state);
        async move { answer(&state, request).await }
    });
    let served =
        hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), answer);
    tokio::select! {
        // Broken connections are what some tests are about.
        _ = served => {}
        () = becomes(&mut wanted, false) => {}
    }
}

async fn becomes(wanted: &mut watch::Receiver<bool>, up: bool) {
    let _ = wanted.wait_for(|wanted| *wanted == up).await;
}

async fn answer(
    state: &Arc<State>,
    request: hyper::Request<Incoming>,
) -> Result<Response<Body>, io::Error> {
    let (head, body) = request.into_parts();
    let body = axum::body::to_bytes(Body::new(body), MAX_BODY).await;
    let body = body.map_err(io::Error::other)?;
    let query = head.uri.query().unwrap_or_default().as_bytes();
    let mut request = Request {
        call: Call::Other,
        user: String::new(),
        method: head.method.to_string(),
        path: head.uri.path().to_owned(),
        query: form_urlencoded::parse(query).into_owned().collect(),
        headers: head.headers,
        body: serde_json::from_slice(&body).ok(),
        when: Instant::now(),
        status: None,
    };
    let user = lock(&state.users).find(request.header("authorization"));
    if let Some(user) = &user {
        user.name().clone_into(&mut request.user);
    }
    let watch = matches!(request.parameter("watch"), Some("true" | "1"));
    request.call = Call::of(&request.method, &request.segments(), watch);
    let index = {
        let mut log = lock(&state.log);
        log.push(request.clone());
        log.len() - 1
    };
    let fault = lock(&state.faults).take(request.call);
    let response = faulty(state, &request, user, fault).await?;
    // The log may have been cleared.
    let logged = |logged: &&mut Request| logged.when == request.when;
    if let Some(request) = lock(&state.log).get_mut(index).filter(logged) {
        request.status = Some(response.status().as_u16());
    }
    Ok(response)
}

async fn faulty(
    state: &Arc<State>,
    request: &Request,
    user: Option<User>,
    fault: Option<Fault>,
) -> Result<Response<Body>, io::Error> {
    match &fault {
        Some(Fault::Hang) => {
            std::future::pending::<Infallible>().await;
        }
        Some(Fault::Drop) => return Err(dropped()),
        Some(Fault::Delay(time)) => tokio::time::sleep(*time).await,
        _ => {}
    }
    let Some(user) = user else {
        return Ok(json_answer(401, &status(401, "")));
    };
    let segments = request.segments();
    let of_captures = segments.starts_with(&["apis", GROUP]);
    let namespace = match segments.as_slice() {
        [.., "namespaces", namespace, _] | [.., "namespaces", namespace, _, _] => Some(*namespace),
        _ => None,
    };
    match fault {
        Some(Fault::Unauthorized) => Ok(json_answer(401, &status(401, ""))),
        Some(Fault::Forbidden) => {
            let group = match segments.as_slice() {
                ["apis", group, ..] => group,
                _ => "",
            };
            let is_watch = request.call == Call::CaptureWatch;
            let wanted = Wanted::of(&request.method, &segments, is_watch);
            let body = match wanted.filter(|_| of_captures) {
                Some(wanted) => wanted.refused_to(user.name()),
                None => faults::forbidden(user.name(), request.call, namespace, group),
            };
            Ok(json_answer(403, &body))
        }
        Some(Fault::TooManyRequests(seconds)) => Ok(too_many(seconds)),
        Some(Fault::Status(code)) => Ok(json_answer(code, &status(code, ""))),
        fault if of_captures => Ok(custom::answer(state, request, &segments, &user, fault)),
        fault if request.call == Call::Watch && user == User::Agent => {
            Ok(pods::watch(state, request, fault))
        }
        fault => {
            if let Some(answer) = others::answer(state, request, &user) {
                return Ok(answer);
            }
            let (code, answer) = match user {
                User::Agent => route(state, request, &segments),
                User::Person { .. } => people(state, request, &segments, &user),
            };
            Ok(spoilt(code, answer, fault, lock(&state.kept).version()))
        }
    }
}

/// The proper answer to what is no watch.
fn route(state: &State, request: &Request, segments: &[&str]) -> (u16, Value) {
    match (request.method.as_str(), segments) {
        ("GET", ["version"]) => (200, version()),
        ("GET", ["api", "v1", "pods"]) => pods::list(state, request),
        ("GET", ["api", "v1", "namespaces", namespace, "pods", name]) => {
            pods::get(state, namespace, name)
        }
        (
            "GET",
            [
                "apis",
                "events.k8s.io",
                "v1",
                "namespaces",
                namespace,
                "events",
            ],
        ) => events::list(state, request, namespace),
        (
            "POST",
            [
                "apis",
                "events.k8s.io",
                "v1",
                "namespaces",
                namespace,
                "events",
            ],
        ) => events::post(state, request, namespace, events::Api::New),
        ("POST", ["api", "v1", "namespaces", namespace, "events"]) => {
            events::post(state, request, namespace, events::Api::Core)
        }
        (
            "PATCH",
            [
                "apis",
                "events.k8s.io",
                "v1",
                "namespaces",
                namespace,
                "events",
                name,
            ],
        )
        | ("PATCH", ["api", "v1", "namespaces", namespace, "events", name]) => {
            events::patch(state, request, namespace, name)
        }
        _ => {
            let Request { method, path, .. } = request;
            state.offence(format!("{method} {path}: nothing an agent needs"));
            (404, status(404, ""))
        }
    }
}

/// The proper answer to people, of what is none of captures.
fn people(state: &State, request: &Request, segments: &[&str], user: &User) -> (u16, Value) {
    let is_watch = request.call == Call::Watch;
    match Wanted::of(&request.method, segments, is_watch) {
        Some(wanted) if !user.may(&wanted) => (403, wanted.refused_to(user.name())),
        Some(Wanted {
            namespace: Some(namespace),
            name: Some(name),
            ..
        }) => pods::get(state, namespace, name),
        Some(wanted) => pods::list_for_person(state, request, wanted.namespace),
        None if segments == ["version"] => (200, version()),
        None => (404, status(404, "")),
    }
}

/// The answer as a fault leaves it.
pub(super) fn spoilt(
    code: u16,
    mut answer: Value,
    fault: Option<Fault>,
    version: u64,
) -> Response<Body> {
    if let Some(Fault::WrongKind(kind)) = fault
        && let Some(items) = answer["items"].as_array_mut()
    {
        items.push(kept::stranger(kind, version));
    }
    let whole = answer.to_string();
    let half = Bytes::copy_from_slice(&whole.as_bytes()[..whole.len() / 2]);
    match fault {
        Some(Fault::Empty) => typed(code, "application/json", Body::empty()),
        Some(Fault::Garbage) => typed(
            code,
            "text/html",
            Body::from("<html><body>please log in</body></html>"),
        ),
        Some(Fault::Truncated) => typed(code, "application/json", Body::from(half)),
        Some(Fault::Broken) => typed(code, "application/json", broken(half)),
        Some(Fault::Endless) => typed(code, "application/json", endless(half)),
        _ => typed(code, "application/json", Body::from(whole)),
    }
}

fn too_many(retry_after: Option<u32>) -> Response<Body> {
    let text = "Too many requests, please try again later.\n";
    let mut response = typed(429, "text/plain; charset=utf-8", Body::from(text));
    if let Some(seconds) = retry_after {
        let seconds = HeaderValue::from(seconds);
        response.headers_mut().insert("retry-after", seconds);
    }
    response
}

fn version() -> Value {
    json!({
        "major": "1",
        "minor": "36",
        "gitVersion": "v1.36.2",
        "gitCommit": "0000000000000000000000000000000000000000",
        "gitTreeState": "clean",
        "buildDate": "2026-06-09T00:00:00Z",
        "goVersion": "go1.26.3",
        "compiler": "gc",
        "platform": "linux/amd64",
    })
}

pub(super) fn json_answer(code: u16, answer: &Value) -> Response<Body> {
    typed(code, "application/json", Body::from(answer.to_string()))
}

pub(super) fn typed(code: u16, kind: &'static str, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = StatusCode::from_u16(code).expect("a status");
    let kind = HeaderValue::from_static(kind);
    response.headers_mut().insert("content-type", kind);
    response
}

/// Sends this, then closes the connection.
pub(super) fn broken(start: Bytes) -> Body {
    let parts = stream::unfold(Some(start), |start| async move {
        match start {
            Some(start) => Some((Ok(start), None)),
            None => {
                // What was given before an error is sent only if there was a moment for it.
                tokio::time::sleep(TRICKLE).await;
                Some((Err(dropped()), None))
            }
        }
    });
    Body::from_stream(parts)
}

/// Sends this, then a space now and then, for ever.
pub(super) fn endless(start: Bytes) -> Body {
    let parts = stream::unfold(Some(start), |start| async move {
        if let Some(start) = start {
            return Some((Ok::<_, Infallible>(start), None));
        }
        tokio::time::sleep(TRICKLE).await;
        Some((Ok(Bytes::from_static(b" ")), None))
    });
    Body::from_stream(parts)
}
