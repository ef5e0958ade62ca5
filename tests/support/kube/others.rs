//! What people ask for besides: objects by their path, an agent's words through the proxy, and whether they may.

use std::collections::{BTreeMap, BTreeSet};

use axum::body::Body;
use hyper::Response;
use serde_json::{Value, json};

use super::captures::GROUP;
use super::faults::status;
use super::front::{self, Request};
use super::users::{User, Wanted};
use super::{State, USER, lock};

/// Where a right is asked for.
const REVIEWS: &str = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews";

/// What is answered at a path.
#[derive(Clone)]
pub(super) enum Other {
    Object(Value),
    /// Not the API server's own words.
    Text(u16, String),
    Forbidden,
}

#[derive(Default)]
pub(super) struct Others {
    pub(super) by_path: BTreeMap<String, Other>,
    /// Verb and resource.
    pub(super) refused: BTreeSet<(String, String)>,
}

/// The answer to what an agent does not ask for; none to what it does.
pub(super) fn answer(state: &State, request: &Request, user: &User) -> Option<Response<Body>> {
    let others = lock(&state.others);
    if request.method == "POST" && request.path == REVIEWS {
        return Some(review(&others, request, user));
    }
    // A node's agent asks for its own pods at the same path.
    if request.method != "GET"
        || request.path == "/api/v1/pods" && request.parameter("fieldSelector").is_some()
    {
        return None;
    }
    let other = others.by_path.get(&request.path)?;
    Some(match other {
        Other::Object(object) => front::json_answer(200, object),
        Other::Text(code, text) => {
            front::typed(*code, "text/plain; charset=utf-8", Body::from(text.clone()))
        }
        Other::Forbidden => {
            let message = format!("{} is forbidden: User \"{USER}\" may not", request.path);
            front::json_answer(403, &status(403, &message))
        }
    })
}

fn review(others: &Others, request: &Request, user: &User) -> Response<Body> {
    let mut review = request.body.clone().unwrap_or_default();
    let asked = &review["spec"]["resourceAttributes"];
    let text = |field: &str| asked[field].as_str().unwrap_or_default().to_owned();
    let (verb, group, resource) = (text("verb"), text("group"), text("resource"));
    let has_role = match user {
        // What else it may is not known here.
        User::Agent if group != GROUP => true,
        user => {
            let (part, namespace) = (text("subresource"), text("namespace"));
            user.may(&Wanted {
                verb: &verb,
                group: &group,
                resource: &resource,
                part: Some(part.as_str()).filter(|part| !part.is_empty()),
                namespace: Some(namespace.as_str()).filter(|namespace| !namespace.is_empty()),
                name: None,
            })
        }
    };
    let allowed = has_role && !others.refused.contains(&(verb, resource));
    review["status"] = json!({"allowed": allowed});
    front::json_answer(201, &review)
}
