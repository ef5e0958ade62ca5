//! Who asks, and what RBAC lets them do with captures: the agent by its role, people by theirs.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::captures::GROUP;
use super::faults::status;
use super::{TOKEN, USER};

/// Those who have a token.
#[derive(Default)]
pub(super) struct Users {
    /// By name; each may do what a person may, in one namespace or in all.
    people: BTreeMap<String, Option<String>>,
}

/// One of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum User {
    Agent,
    Person {
        name: String,
        namespace: Option<String>,
    },
}

/// What a request needs a right for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wanted<'a> {
    pub(super) verb: &'a str,
    pub(super) group: &'a str,
    pub(super) resource: &'a str,
    pub(super) part: Option<&'a str>,
    pub(super) namespace: Option<&'a str>,
    pub(super) name: Option<&'a str>,
}

/// What the agent's role lets it do with captures, whatever namespace: resource and part, verbs.
const AGENT: [(&str, &[&str]); 2] = [
    ("captures", &["get", "list", "watch", "delete"]),
    ("captures/status", &["get", "update", "patch"]),
];

/// What a person's role lets them do: group, resource and part, verbs.
const PERSON: [(&str, &str, &[&str]); 2] = [
    (
        GROUP,
        "captures",
        &["create", "get", "list", "watch", "delete"],
    ),
    ("", "pods", &["get", "list"]),
];

impl Users {
    /// A person from now on; gives their token.
    pub(super) fn admit(&mut self, name: &str, namespace: Option<&str>) -> String {
        let namespace = namespace.map(str::to_owned);
        self.people.insert(name.to_owned(), namespace);
        token_of(name)
    }

    /// Whose header this is.
    pub(super) fn find(&self, authorization: Option<&str>) -> Option<User> {
        let token = authorization?.strip_prefix("Bearer ")?;
        if token == TOKEN {
            return Some(User::Agent);
        }
        let mut people = self.people.iter();
        let (name, namespace) = people.find(|(name, _)| token_of(name) == token)?;
        Some(User::Person {
            name: name.clone(),
            namespace: namespace.clone(),
        })
    }
}

fn token_of(name: &str) -> String {
    format!("token-of-{name}")
}

impl User {
    /// As the server names them.
    pub(super) fn name(&self) -> &str {
        match self {
            Self::Agent => USER,
            Self::Person { name, .. } => name,
        }
    }

    /// Whether a role lets them. Of the agent's role only what it says of captures is known here.
    pub(super) fn may(&self, wanted: &Wanted<'_>) -> bool {
        let resource = wanted.qualified();
        match self {
            Self::Agent => AGENT
                .iter()
                .any(|(name, verbs)| *name == resource && verbs.contains(&wanted.verb)),
            Self::Person { namespace, .. } => {
                let is_there = namespace
                    .as_deref()
                    .is_none_or(|own| wanted.namespace == Some(own));
                is_there
                    && PERSON.iter().any(|(group, name, verbs)| {
                        *group == wanted.group && *name == resource && verbs.contains(&wanted.verb)
                    })
            }
        }
    }
}

impl<'a> Wanted<'a> {
    /// What a path stands for; nothing where it names no resource, as that of the version does.
    pub(super) fn of(method: &str, path: &[&'a str], is_watch: bool) -> Option<Self> {
        let (group, rest) = match path {
            ["api", _, rest @ ..] => ("", rest),
            ["apis", group, _, rest @ ..] => (*group, rest),
            _ => return None,
        };
        let (namespace, rest) = match rest {
            ["namespaces", namespace, rest @ ..] if !rest.is_empty() => (Some(*namespace), rest),
            rest => (None, rest),
        };
        let (resource, name, part) = match rest {
            [resource] => (*resource, None, None),
            [resource, name] => (*resource, Some(*name), None),
            [resource, name, part] => (*resource, Some(*name), Some(*part)),
            _ => return None,
        };
        let verb = match (method, name) {
            ("GET", None) if is_watch => "watch",
            ("GET", None) => "list",
            ("GET", Some(_)) => "get",
            ("POST", _) => "create",
            ("PUT", _) => "update",
            ("PATCH", _) => "patch",
            ("DELETE", Some(_)) => "delete",
            _ => "deletecollection",
        };
        Some(Self {
            verb,
            group,
            resource,
            part,
            namespace,
            name,
        })
    }

    fn qualified(&self) -> String {
        match self.part {
            Some(part) => format!("{}/{part}", self.resource),
            None => self.resource.to_owned(),
        }
    }

    /// The answer to whom RBAC gave no right.
    pub(super) fn refused_to(&self, user: &str) -> Value {
        let Self {
            verb,
            group,
            resource,
            ..
        } = self;
        let scope = match self.namespace {
            Some(namespace) => format!("in the namespace \"{namespace}\""),
            None => "at the cluster scope".to_owned(),
        };
        let object = match *group {
            "" => (*resource).to_owned(),
            group => format!("{resource}.{group}"),
        };
        let named = self.name.map(|name| format!(" \"{name}\""));
        let named = named.unwrap_or_default();
        let qualified = self.qualified();
        let mut refusal = status(
            403,
            &format!(
                "{object}{named} is forbidden: User \"{user}\" cannot {verb} resource \"{qualified}\" in API group \"{group}\" {scope}"
            ),
        );
        refusal["details"] = json!({"kind": resource});
        if let Some(name) = self.name {
            refusal["details"]["name"] = json!(name);
        }
        if !group.is_empty() {
            refusal["details"]["group"] = json!(group);
        }
        refusal
    }
}
