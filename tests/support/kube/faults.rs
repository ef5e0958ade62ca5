//! What the server does wrong, for which requests and until when.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::captures::GROUP;

/// Kinds of requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Call {
    /// Whatever has no fault of its own.
    Any,
    List,
    Watch,
    Get,
    PostEvent,
    PatchEvent,
    Version,
    CaptureList,
    CaptureWatch,
    /// One of them, or its status.
    CaptureGet,
    CaptureCreate,
    /// A write of the main part.
    CaptureUpdate,
    /// A write of the status.
    CaptureStatus,
    CaptureDelete,
    Other,
}

impl Call {
    pub(super) fn of(method: &str, path: &[&str], watch: bool) -> Self {
        match (method, path) {
            ("GET", ["api", "v1", "pods"]) if watch => Self::Watch,
            ("GET", ["api", "v1", "pods"]) => Self::List,
            ("GET", ["api", "v1", "namespaces", _, "pods", _]) => Self::Get,
            ("POST", [.., "namespaces", _, "events"]) => Self::PostEvent,
            ("PATCH", [.., "namespaces", _, "events", _]) => Self::PatchEvent,
            ("GET", ["version"]) => Self::Version,
            (_, ["apis", GROUP, _, "captures"]) => Self::of_captures(method, &[], watch),
            (_, ["apis", GROUP, _, "namespaces", _, "captures", rest @ ..]) => {
                Self::of_captures(method, rest, watch)
            }
            _ => Self::Other,
        }
    }

    fn of_captures(method: &str, rest: &[&str], watch: bool) -> Self {
        match (method, rest) {
            ("GET", []) if watch => Self::CaptureWatch,
            ("GET", []) => Self::CaptureList,
            ("GET", _) => Self::CaptureGet,
            ("POST", []) => Self::CaptureCreate,
            ("DELETE", [_]) => Self::CaptureDelete,
            ("PUT" | "PATCH", [_]) => Self::CaptureUpdate,
            ("PUT" | "PATCH", [_, "status"]) => Self::CaptureStatus,
            _ => Self::Other,
        }
    }

    /// As a refusal names it: verb and resource.
    fn wants(self) -> (&'static str, &'static str) {
        match self {
            Self::Watch => ("watch", "pods"),
            Self::Get => ("get", "pods"),
            Self::PostEvent => ("create", "events"),
            Self::PatchEvent => ("patch", "events"),
            _ => ("list", "pods"),
        }
    }
}

/// What goes wrong with a request.
#[derive(Clone, Debug)]
pub(crate) enum Fault {
    /// It is never answered.
    Hang,
    /// The connection closes without an answer.
    Drop,
    /// It is answered as it should be, later.
    Delay(Duration),
    /// 401.
    Unauthorized,
    /// 403, as RBAC says it.
    Forbidden,
    /// 429 and its `Retry-After` in seconds, in plain text as a real server's priority and fairness says it.
    TooManyRequests(Option<u32>),
    /// Another status, 500 or 503 for example, with a proper body. 410 for a watch is what proxies and old servers answer.
    Status(u16),
    /// A watch: 200, an ERROR event with code 410, and the end. What real servers answer when the version is too old.
    GoneEvent,
    /// 200 and nothing: a watch that ends as soon as it begins.
    Empty,
    /// 200 and no JSON; a watch goes on after such a line.
    Garbage,
    /// 200 and half of the JSON, properly ended; a watch goes on after half an event in a line of its own.
    Truncated,
    /// 200 and half of the JSON, then the connection closes.
    Broken,
    /// 200 and a body that trickles and never ends.
    Endless,
    /// An item, or an event at the start of a watch, is of this kind.
    WrongKind(&'static str),
}

/// What watches get wrong, besides. Everything is sent; nothing of one pod changes places, but for `repeat_old`.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Order {
    /// Every event comes twice.
    pub(crate) twice: bool,
    /// Neighbouring events of different pods change places.
    pub(crate) swapped: bool,
    /// After each event comes the one before it of the same pod, with its old resource version.
    pub(crate) repeat_old: bool,
}

/// How a watch ends.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Cut {
    /// As at the end of its time.
    Clean,
    /// The connection closes.
    Broken,
    /// The connection closes in the middle of an event that is not sent again unless asked for.
    MidLine,
}

#[derive(Default)]
pub(super) struct Faults {
    active: BTreeMap<Call, Active>,
    pub(super) order: Order,
}

struct Active {
    fault: Fault,
    left: Option<usize>,
    until: Option<Instant>,
}

impl Faults {
    pub(super) fn set(
        &mut self,
        call: Call,
        fault: Fault,
        left: Option<usize>,
        until: Option<Instant>,
    ) {
        self.active.insert(call, Active { fault, left, until });
    }

    /// What goes wrong with a request that came now.
    pub(super) fn take(&mut self, call: Call) -> Option<Fault> {
        let now = Instant::now();
        self.active.retain(|_, active| {
            active.left != Some(0) && active.until.is_none_or(|until| now < until)
        });
        let own = self.active.contains_key(&call);
        let active = self.active.get_mut(if own { &call } else { &Call::Any })?;
        active.left = active.left.map(|left| left - 1);
        Some(active.fault.clone())
    }
}

/// The answer of a server to whom RBAC gave no right.
pub(super) fn forbidden(user: &str, call: Call, namespace: Option<&str>, group: &str) -> Value {
    let (verb, resource) = call.wants();
    let scope = match namespace {
        Some(namespace) => format!("in the namespace \"{namespace}\""),
        None => "at the cluster scope".to_owned(),
    };
    let qualified = match group {
        "" => resource.to_owned(),
        group => format!("{resource}.{group}"),
    };
    let mut status = status(
        403,
        &format!(
            "{qualified} is forbidden: User \"{user}\" cannot {verb} resource \"{resource}\" in API group \"{group}\" {scope}"
        ),
    );
    status["details"] = json!({"kind": resource});
    status
}

/// A `Status` of this code, as the real server words it, or with this message.
pub(super) fn status(code: u16, message: &str) -> Value {
    let (reason, usual) = match code {
        400 => ("BadRequest", "the server rejected our request"),
        401 => ("Unauthorized", "Unauthorized"),
        403 => ("Forbidden", "forbidden"),
        404 => (
            "NotFound",
            "the server could not find the requested resource",
        ),
        405 => (
            "MethodNotAllowed",
            "the server does not allow this method on the requested resource",
        ),
        409 => ("AlreadyExists", "already exists"),
        410 => ("Expired", "too old resource version"),
        415 => (
            "UnsupportedMediaType",
            "the body of the request was in an unknown format",
        ),
        422 => ("Invalid", "invalid"),
        500 => ("InternalError", "Internal error occurred: etcdserver: no"),
        503 => (
            "ServiceUnavailable",
            "the server is currently unable to handle the request",
        ),
        504 => ("Timeout", "the server was unable to return a response"),
        _ => ("", "something went wrong"),
    };
    let message = if message.is_empty() { usual } else { message };
    json!({
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": message,
        "reason": reason,
        "code": code,
    })
}
