//! The agent and the commands on a real Garage, which `tests/garage` starts; the store's own suite runs on it as `store::suite::garage`.

use anyhow::{Context, Result, ensure};
use salvage::store::{Credentials, StoreConfig, open_with};
use serde_json::Value;
use tokio::runtime::Runtime;

use crate::s3::{drop_in, fetched, noise};
use crate::support::agent::{Node, wait};
use crate::support::garage::{Garage, OpenUpload};
use crate::support::line::Line;
use crate::support::s3::no_credentials_env;

/// A test's place in the bucket.
pub(crate) struct Place {
    pub(crate) garage: Garage,
    prefix: String,
    runtime: Runtime,
}

impl Place {
    pub(crate) fn new() -> Result<Self> {
        Ok(Self {
            garage: Garage::of_environment()?,
            prefix: format!("agent/{:032x}", fastrand::u128(..)),
            runtime: Runtime::new()?,
        })
    }

    /// A node whose agent ships there by way of `endpoint`.
    pub(crate) fn node(&self, endpoint: &str) -> Result<Node> {
        let mut node = Node::new()?;
        let url = format!("s3://{}/{}", self.garage.bucket, self.prefix);
        let region = &self.garage.region;
        node.store = format!("{{url: {url:?}, endpoint: {endpoint:?}, region: {region:?}}}");
        node.store_url = url;
        node.env = no_credentials_env();
        node.env.extend(
            [
                ("AWS_ACCESS_KEY_ID", &*self.garage.access_key),
                ("AWS_SECRET_ACCESS_KEY", &*self.garage.secret_key),
                // The commands take these from the environment, as people give them.
                ("AWS_ENDPOINT_URL", endpoint),
                ("AWS_REGION", region),
            ]
            .map(|(name, value)| (name.to_owned(), value.to_owned())),
        );
        Ok(node)
    }

    pub(crate) fn open_uploads(&self) -> Result<Vec<OpenUpload>> {
        let open = self.garage.open_uploads(&self.prefix);
        self.runtime.block_on(open)
    }

    pub(crate) fn object(&self, key: &str) -> Result<Vec<u8>> {
        let object = self.garage.object(format!("{}/{key}", self.prefix));
        self.runtime.block_on(object)
    }

    /// Every dump came back as it was, and nothing of its way is left.
    fn ensure_shipped(&self, node: &Node, crashes: &[Value], digests: &[String]) -> Result<()> {
        ensure!(fetched(node, crashes)? == digests);
        for directory in [
            node.crash(),
            node.state.join("entries"),
            node.state.join("dumps"),
        ] {
            let left = std::fs::read_dir(&directory)?.count();
            ensure!(left == 0, "{} is not empty", directory.display());
        }
        let open = self.open_uploads()?;
        ensure!(open.is_empty(), "uploads are open: {open:?}");
        Ok(())
    }
}

#[test]
#[ignore = "needs a real Garage: tests/garage"]
fn dumps_of_every_size_are_stored_listed_and_fetched() -> Result<()> {
    let place = Place::new()?;
    let node = place.node(&place.garage.endpoint)?;
    let agent = node.start()?.ready()?;
    let mut digests = vec![
        drop_in(&node, "small", b"small")?,
        drop_in(&node, "one-part", &noise(1, 3 << 20))?,
        drop_in(&node, "many-parts", &noise(2, 40 << 20))?,
        drop_in(&node, "zeros", &vec![0; 20 << 20])?,
    ];
    digests.sort();
    let crashes = node.wait_for_crashes(&agent, 4)?;
    place.ensure_shipped(&node, &crashes, &digests)?;
    agent.stop()
}

#[test]
#[ignore = "needs a real Garage: tests/garage"]
fn an_agent_killed_in_the_middle_of_an_upload_ships_it_and_leaves_none_open() -> Result<()> {
    let place = Place::new()?;
    let server = place.garage.endpoint.strip_prefix("http://");
    let line = Line::to(server.context("an address")?.parse()?)?;
    let node = place.node(&line.endpoint())?;
    let agent = node.start()?.ready()?;
    line.hold_after(20 << 20);
    let digest = drop_in(&node, "large", &noise(3, 40 << 20))?;
    wait(
        "an upload that stands still with a part in the store",
        || {
            let open = place.open_uploads()?;
            let sent = open.first().is_some_and(|open| open.parts > 0);
            Ok((line.is_held() && sent).then_some(()))
        },
    )?;
    agent.kill()?;
    let open = place.open_uploads()?;
    ensure!(open.len() == 1, "the store remembers: {open:?}");
    ensure!(
        open[0]
            .key
            .starts_with(&format!("{}/artifacts/", place.prefix))
    );
    line.release();
    let agent = node.start()?.ready()?;
    let crashes = node.wait_for_crashes(&agent, 1)?;
    place.ensure_shipped(&node, &crashes, &[digest])?;
    agent.stop()
}

/// What is printed here is what `tests/garage` reports of the server.
#[test]
#[ignore = "needs a real Garage: tests/garage"]
fn what_it_can_do_is_seen_by_the_probe() -> Result<()> {
    let place = Place::new()?;
    let config = StoreConfig {
        url: format!("s3://{}/{}", place.garage.bucket, place.prefix).parse()?,
        endpoint: Some(place.garage.endpoint.parse()?),
        region: Some(place.garage.region.clone()),
        path_style: None,
    };
    place.runtime.block_on(async {
        let credentials = Credentials::new(&place.garage.access_key, &place.garage.secret_key);
        let store = open_with(&config, credentials).await?;
        let probe = store.probe(&"artifacts/cluster=c/probe=n".parse()?).await;
        println!("{store:?}");
        for step in &probe.steps {
            println!("{}: {:?}", step.operation.name(), step.outcome);
        }
        ensure!(probe.steps.iter().all(|step| step.outcome.is_ok()));
        Ok(())
    })
}
