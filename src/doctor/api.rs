//! Asking the API server: each question within its time, and each refusal with the right that it takes.

use std::future::Future;
use std::time::Duration;

use k8s_openapi::api::authorization::v1::{
    ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec,
};
use kube::api::PostParams;
use kube::{Api, Client};
use tokio::time::timeout;

use super::{Finding, REQUEST};
use crate::model::Escaped;
use crate::telemetry::chain;

/// A right: what is done to what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Right {
    pub(super) verb: &'static str,
    /// With its group, as RBAC's rules are asked about: `events.events.k8s.io`.
    pub(super) resource: &'static str,
}

impl Right {
    pub(super) const fn new(verb: &'static str, resource: &'static str) -> Self {
        Self { verb, resource }
    }

    /// The group of the resource and its name.
    pub(super) fn parts(self) -> (&'static str, &'static str) {
        let (name, group) = self.resource.split_once('.').unwrap_or((self.resource, ""));
        (group, name)
    }
}

impl std::fmt::Display for Right {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.verb, self.resource)
    }
}

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Trouble {
    /// RBAC does not allow it.
    Denied(Right),
    /// There is no such thing.
    NotFound,
    /// Anything else, for people.
    Failed(String),
}

impl Trouble {
    /// What it means where nothing depends on the answer.
    pub(super) fn finding(&self, id: &'static str, subject: impl ToString) -> Finding {
        match self {
            Self::Denied(right) => Finding::skipped(
                id,
                subject,
                format!("you may not {right}"),
                format!("let somebody who may {right} run it"),
            ),
            Self::NotFound => Finding::fail(id, subject, "there is no such object", ""),
            Self::Failed(why) => Finding::fail(
                id,
                subject,
                format!("the API server does not tell: {why}"),
                "",
            ),
        }
    }
}

/// Asks, within `limit`.
pub(super) async fn ask_within<T>(
    limit: Duration,
    right: Right,
    question: impl Future<Output = kube::Result<T>>,
) -> Result<T, Trouble> {
    match timeout(limit, question).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(error)) => Err(trouble(right, &error)),
        Err(_) => Err(Trouble::Failed(format!(
            "no answer to {right} within {} s",
            limit.as_secs()
        ))),
    }
}

/// Asks.
pub(super) async fn ask<T>(
    right: Right,
    question: impl Future<Output = kube::Result<T>>,
) -> Result<T, Trouble> {
    ask_within(REQUEST, right, question).await
}

pub(super) fn trouble(right: Right, error: &kube::Error) -> Trouble {
    match error {
        kube::Error::Api(status) if status.code == 403 => Trouble::Denied(right),
        kube::Error::Api(status) if status.code == 404 => Trouble::NotFound,
        kube::Error::Api(status) if status.code == 401 => {
            Trouble::Failed("it does not accept the credentials; log in anew".to_owned())
        }
        // What could not be read is not said: it may be a pod, with all its secrets.
        kube::Error::SerdeError(_) => Trouble::Failed("its answer cannot be read".to_owned()),
        kube::Error::Api(status) => {
            let message = Escaped::bytes(status.message.as_bytes());
            Trouble::Failed(format!("{message} (code {})", status.code))
        }
        error => {
            let why = chain(error);
            Trouble::Failed(Escaped::bytes(why.as_bytes()).to_string())
        }
    }
}

/// Whether whoever asks has a right, everywhere.
pub(super) async fn may(client: &Client, right: Right) -> Result<bool, Trouble> {
    let (group, resource) = right.parts();
    let review = SelfSubjectAccessReview {
        spec: SelfSubjectAccessReviewSpec {
            resource_attributes: Some(ResourceAttributes {
                group: Some(group.to_owned()),
                resource: Some(resource.to_owned()),
                verb: Some(right.verb.to_owned()),
                ..ResourceAttributes::default()
            }),
            ..SelfSubjectAccessReviewSpec::default()
        },
        ..SelfSubjectAccessReview::default()
    };
    let reviews: Api<SelfSubjectAccessReview> = Api::all(client.clone());
    let create = Right::new("create", "selfsubjectaccessreviews.authorization.k8s.io");
    let params = PostParams::default();
    let answer = ask(create, reviews.create(&params, &review)).await?;
    Ok(answer.status.is_some_and(|status| status.allowed))
}
