//! Asks the agent on the pod's node, by a `Capture`, and tells what comes of it.

use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use kube::api::PostParams;
use kube::core::ObjectMeta;
use kube::{Api, Client, ResourceExt};
use tokio::time::{sleep, timeout};

use super::live::Live;
use super::{Common, Outcome};
use crate::capture;
use crate::cli::get;
use crate::cli::output::{note, print};
use crate::cli::signals::Interrupts;
use crate::kube::{Capture, CaptureSpec, CaptureStatus, client};
use crate::model::{Escaped, IdPrefix};

/// How often it is asked how far it is.
const LOOK: Duration = Duration::from_secs(1);

/// An API server that takes longer does not answer.
const ANSWERS: Duration = Duration::from_secs(15);

/// So many times in a row it may not answer.
const PATIENCE: u32 = 20;

/// Longest part of a pod's name in the name of a request: the server adds five characters, and all are 253 at most.
const NAME_MAX: usize = 200;

pub(super) async fn run(spec: CaptureSpec, common: Common) -> anyhow::Result<Outcome> {
    // What the agent would refuse is refused before anything is created.
    capture::check(&spec)?;
    let client = client().await.map_err(|why| anyhow!("{why}"))?;
    let namespace = common.namespace.clone();
    let namespace = namespace.unwrap_or_else(|| client.default_namespace().to_owned());
    let asked = create(&client, &namespace, spec).await?;
    let captures: Api<Capture> = Api::namespaced(client, &namespace);
    let name = asked.name_any();
    note(format_args!(
        "capture {namespace}/{name}: asked the agent on the pod's node"
    ));
    if common.no_wait {
        print(&format!("{name}\n"))?;
        return Ok(Outcome::Done);
    }
    let mut interrupts = Interrupts::new()?;
    let status = tokio::select! {
        status = follow(&captures, &asked) => status?,
        () = interrupts.recv() => {
            note(format_args!("it goes on without you: kubectl -n {namespace} get capture {name} tells how far it is, and deleting it ends it"));
            return Ok(Outcome::Interrupted);
        }
    };
    let message = status.message.unwrap_or_default();
    let message = Escaped::bytes(message.as_bytes());
    let Some(id) = status
        .crash_id
        .filter(|_| status.phase.as_deref() == Some("Stored"))
    else {
        let reason = status
            .conditions
            .iter()
            .find(|condition| condition.status == "False");
        let reason = reason.map_or("Failed", |condition| condition.reason.as_str());
        bail!("{}: {message}", Escaped::bytes(reason.as_bytes()));
    };
    let id: IdPrefix = id.parse().context("the Capture's crashID")?;
    print(&format!("{}\n", id.as_str()))?;
    match common.get {
        true => get::run(get::Args::of(id, common.out, common.store)).await,
        false => Ok(Outcome::Done),
    }
}

async fn create(client: &Client, namespace: &str, spec: CaptureSpec) -> anyhow::Result<Capture> {
    let captures: Api<Capture> = Api::namespaced(client.clone(), namespace);
    let pod: String = spec.pod.chars().take(NAME_MAX).collect();
    let capture = Capture {
        metadata: ObjectMeta {
            generate_name: Some(format!("{pod}-{}-", spec.kind)),
            ..ObjectMeta::default()
        },
        spec,
        status: None,
    };
    let params = PostParams::default();
    let created = timeout(ANSWERS, captures.create(&params, &capture)).await;
    match created.context("the API server does not answer")? {
        Ok(created) => Ok(created),
        Err(kube::Error::Api(status)) if status.code == 404 => Err(kube::Error::Api(status)).with_context(|| {
            format!("the cluster knows no captures.salvage.dev, or has no namespace {namespace}: the chart's captures.enabled installs them")
        }),
        Err(kube::Error::Api(status)) if status.code == 403 => Err(kube::Error::Api(status)).with_context(|| {
            format!("you may not create captures.salvage.dev in namespace {namespace}: whoever may bind the chart's ClusterRole for captures to you")
        }),
        Err(error) => Err(error).with_context(|| format!("creating a Capture in namespace {namespace}")),
    }
}

/// Tells how far it is until it has ended.
async fn follow(captures: &Api<Capture>, asked: &Capture) -> anyhow::Result<CaptureStatus> {
    let (name, uid) = (asked.name_any(), asked.uid());
    let mut live = Live::new();
    let mut silent = 0;
    loop {
        match timeout(ANSWERS, captures.get_opt(&name)).await {
            Ok(Ok(Some(capture))) if capture.uid() == uid => {
                silent = 0;
                let status = capture.status.unwrap_or_default();
                live.show(&status);
                if matches!(status.phase.as_deref(), Some("Stored" | "Failed")) {
                    live.end();
                    return Ok(status);
                }
            }
            Ok(Ok(_)) => bail!("somebody deleted the Capture, and so withdrew it"),
            // It may be replaced just now.
            Ok(Err(_)) | Err(_) if silent < PATIENCE => silent += 1,
            Ok(Err(error)) => return Err(error).context("asking how far the capture is"),
            Err(_) => bail!("the API server does not answer; the capture goes on without it"),
        }
        sleep(LOOK).await;
    }
}
