//! Which store a command reads: the same flags everywhere.

use std::sync::Arc;

use anyhow::{Context, bail};
use url::Url;

use crate::store::{self, Store, StoreConfig, StoreUrl};

/// Where the crashes are.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Store")]
pub(super) struct StoreArgs {
    /// s3://BUCKET[/PREFIX] or file:///DIRECTORY. Credentials come from the AWS environment, profile or role.
    // Parsed by us: an error of clap's repeats what was written, which may hold a secret.
    #[arg(
        long,
        value_name = "URL",
        env = "SALVAGE_STORE",
        hide_env_values = true
    )]
    store: Option<String>,
    /// Address of an S3-compatible store, https:// included; AWS_ENDPOINT_URL does the same.
    #[arg(long, value_name = "URL")]
    endpoint: Option<String>,
    /// Region of the bucket; AWS_REGION does the same.
    #[arg(long)]
    region: Option<String>,
    /// Put the bucket into the path of a request and not into the host name, as some S3-compatible stores want it.
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    path_style: Option<bool>,
}

impl StoreArgs {
    /// Opens the store.
    pub(super) async fn open(self) -> anyhow::Result<Arc<dyn Store>> {
        let Some(config) = self.config()? else {
            bail!(
                "which store? Give --store s3://BUCKET/PREFIX or --store file:///DIRECTORY, or set SALVAGE_STORE"
            );
        };
        Ok(store::open(&config).await?)
    }

    /// Whether any store was named.
    pub(super) fn is_given(&self) -> bool {
        self.store.is_some()
    }

    /// Where the store is, if that was said.
    pub(super) fn config(self) -> anyhow::Result<Option<StoreConfig>> {
        let Some(url) = self.store else {
            return Ok(None);
        };
        let url = url
            .parse::<StoreUrl>()
            .context("--store or SALVAGE_STORE")?;
        let endpoint = self.endpoint.map(|written| Url::parse(&written));
        Ok(Some(StoreConfig {
            url,
            endpoint: endpoint.transpose().context("--endpoint")?,
            region: self.region,
            path_style: self.path_style,
        }))
    }
}
