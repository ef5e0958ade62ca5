//! From a URL to a store.
//!
//! Owns what may be written as a store's URL and the settings that go with it, and refuses the rest with the remedy. Opening sends
//! nothing: a store without credentials, bucket or directory opens, and its first call says what is missing, so that an agent can
//! wait for it and say so.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use url::Url;

use super::file::FileStore;
use super::s3::S3Store;
use super::{Credentials, Store};
use crate::model::ObjectKey;
use crate::model::text::stored_as_text;

/// Longest prefix: S3 allows keys of 1,024 bytes, and the longest of ours have about 500.
const PREFIX_MAX: usize = 512;

/// Where the store is: `s3://BUCKET[/PREFIX]` or `file:///ABSOLUTE/DIRECTORY`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum StoreUrl {
    /// A bucket of an S3-compatible store.
    S3 {
        /// Name of the bucket.
        bucket: String,
        /// What every key begins with: empty, or without a `/` at either end.
        prefix: String,
    },
    /// A directory.
    File(PathBuf),
}

/// A store's URL or setting that is refused. Says nothing of what was written, for it may hold a secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what} is refused: {why}")]
pub struct InvalidStore {
    what: &'static str,
    why: String,
}

impl InvalidStore {
    pub(super) fn new(what: &'static str, why: impl Into<String>) -> Self {
        Self {
            what,
            why: why.into(),
        }
    }
}

/// Where a store is and how to talk to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreConfig {
    /// Where it is.
    pub url: StoreUrl,
    /// Address of the S3 service; absent for AWS itself (or what `AWS_ENDPOINT_URL_S3` and `AWS_ENDPOINT_URL` say). Plain HTTP is used
    /// only if `http://` is what it begins with.
    pub endpoint: Option<Url>,
    /// Region of the bucket; absent for what the environment, the profile or the node's instance says, else `us-east-1`.
    pub region: Option<String>,
    /// Whether the bucket is named in the path (`host/bucket/key`) instead of the host (`bucket.host/key`). Absent: in the path exactly
    /// where an endpoint is set, for few stores other than AWS have a host name for each bucket.
    pub path_style: Option<bool>,
}

impl StoreConfig {
    /// Checks what the types do not.
    ///
    /// # Errors
    /// Names the setting and the remedy.
    pub fn check(&self) -> Result<(), InvalidStore> {
        let settings = [
            ("store.endpoint", self.endpoint.is_some()),
            ("store.region", self.region.is_some()),
            ("store.path_style", self.path_style.is_some()),
        ];
        if let StoreUrl::File(_) = self.url {
            return match settings.into_iter().find(|(_, set)| *set) {
                Some((name, _)) => Err(InvalidStore::new(
                    name,
                    "it means nothing for a file:// store; remove it",
                )),
                None => Ok(()),
            };
        }
        if let Some(endpoint) = &self.endpoint {
            check_endpoint(endpoint)?;
        }
        match &self.region {
            Some(region) if !is_region(region) => Err(InvalidStore::new(
                "store.region",
                "a region is letters, digits and hyphens, for example eu-central-1",
            )),
            _ => Ok(()),
        }
    }
}

/// Opens the store. Nothing is sent, and credentials are looked for when they are first needed.
///
/// # Errors
/// A setting that cannot be used; see [`StoreConfig::check`].
pub async fn open(config: &StoreConfig) -> Result<Arc<dyn Store>, InvalidStore> {
    open_as(config, None).await
}

/// As [`open`], with credentials that the caller holds instead of those of the environment.
///
/// # Errors
/// As [`open`].
pub async fn open_with(
    config: &StoreConfig,
    credentials: Credentials,
) -> Result<Arc<dyn Store>, InvalidStore> {
    open_as(config, Some(credentials)).await
}

async fn open_as(
    config: &StoreConfig,
    credentials: Option<Credentials>,
) -> Result<Arc<dyn Store>, InvalidStore> {
    config.check()?;
    Ok(match &config.url {
        StoreUrl::S3 { bucket, prefix } => {
            Arc::new(S3Store::new(bucket, prefix, config, credentials)?)
        }
        StoreUrl::File(root) => Arc::new(FileStore::new(root.clone(), config.url.to_string())),
    })
}

fn check_endpoint(endpoint: &Url) -> Result<(), InvalidStore> {
    let refused = |why: &str| Err(InvalidStore::new("store.endpoint", why));
    if !matches!(endpoint.scheme(), "http" | "https") {
        return refused("write https://HOST[:PORT], or http://HOST[:PORT] for a store without TLS");
    }
    if !endpoint.username().is_empty() || endpoint.password().is_some() {
        return refused(CREDENTIALS_ELSEWHERE);
    }
    if endpoint.query().is_some() || endpoint.fragment().is_some() {
        return refused("remove what follows the ? or #; it is not part of an address");
    }
    Ok(())
}

const CREDENTIALS_ELSEWHERE: &str = "credentials do not belong in an address; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE, or give the pod or node a role";
const FORMS: &str = "write s3://BUCKET, s3://BUCKET/PREFIX or file:///ABSOLUTE/DIRECTORY";

impl FromStr for StoreUrl {
    type Err = InvalidStore;

    fn from_str(written: &str) -> Result<Self, InvalidStore> {
        let refused = |why: String| Err(InvalidStore::new("the store's URL", why));
        let Some((scheme, rest)) = written.split_once("://") else {
            return refused(format!("it has no scheme; {FORMS}"));
        };
        let host = rest.split('/').next().unwrap_or_default();
        if host.contains('@') {
            return refused(CREDENTIALS_ELSEWHERE.to_owned());
        }
        if rest.contains(['?', '#']) {
            return refused(format!(
                "it has a ? or #; the endpoint, the region and the path style are settings of their own (store.endpoint, store.region, store.path_style); {FORMS}"
            ));
        }
        match scheme {
            "s3" => s3_url(rest),
            "file" => file_url(written),
            "http" | "https" => refused(format!(
                "that is the address of a service; set store.endpoint to it and name the bucket: {FORMS}"
            )),
            _ => refused(format!("its scheme is not known; {FORMS}")),
        }
    }
}

fn s3_url(rest: &str) -> Result<StoreUrl, InvalidStore> {
    let refused = |why: String| Err(InvalidStore::new("the store's URL", why));
    let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
    if bucket.contains(':') {
        return refused(
            "what follows s3:// is the name of a bucket; a host and port go into store.endpoint"
                .to_owned(),
        );
    }
    if !is_bucket(bucket) {
        return refused(
            "the bucket's name must have 3 to 63 letters, digits, dots, hyphens or underscores and begin and end with a letter or digit"
                .to_owned(),
        );
    }
    // `s3://bucket/prefix/` is how other tools write it.
    let prefix = prefix.strip_suffix('/').unwrap_or(prefix);
    if prefix.len() > PREFIX_MAX {
        return refused(format!("its prefix is longer than {PREFIX_MAX} bytes"));
    }
    if !prefix.is_empty() && prefix.parse::<ObjectKey>().is_err() {
        return refused(
            "its prefix must be components of A-Z a-z 0-9 . _ - =, separated by single slashes, none of them beginning with a dot"
                .to_owned(),
        );
    }
    Ok(StoreUrl::S3 {
        bucket: bucket.to_owned(),
        prefix: prefix.to_owned(),
    })
}

fn file_url(written: &str) -> Result<StoreUrl, InvalidStore> {
    let refused = |why: &str| Err(InvalidStore::new("the store's URL", why));
    if !written.starts_with("file:///") {
        return refused("the directory must be absolute: file:///ABSOLUTE/DIRECTORY");
    }
    let path = Url::parse(written)
        .ok()
        .and_then(|url| url.to_file_path().ok());
    let Some(path) = path.filter(|path| !path.as_os_str().as_encoded_bytes().contains(&0)) else {
        return refused("it is no path; write file:///ABSOLUTE/DIRECTORY");
    };
    if path.parent().is_none() {
        return refused("the store needs a directory of its own: file:///ABSOLUTE/DIRECTORY");
    }
    // Components only: no trailing slash, so that the same directory is always written the same way.
    Ok(StoreUrl::File(path.components().collect()))
}

fn is_bucket(name: &str) -> bool {
    let bytes = name.as_bytes();
    let ends = [bytes.first(), bytes.last()];
    (3..=63).contains(&bytes.len())
        && bytes
            .iter()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_'))
        && ends
            .into_iter()
            .flatten()
            .all(|b| b.is_ascii_alphanumeric())
}

fn is_region(name: &str) -> bool {
    (1..=64).contains(&name.len())
        && name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
}

stored_as_text!(StoreUrl => InvalidStore);

impl fmt::Display for StoreUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::S3 { bucket, prefix } if prefix.is_empty() => write!(f, "s3://{bucket}"),
            Self::S3 { bucket, prefix } => write!(f, "s3://{bucket}/{prefix}"),
            Self::File(path) => match Url::from_file_path(path) {
                Ok(url) => f.write_str(url.as_str()),
                // A relative path: `from_str` makes none.
                Err(()) => write!(f, "file://{}", path.display()),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::changes::changed;
    use proptest::prelude::*;

    #[test]
    fn urls_survive_being_written_and_read() {
        for written in [
            "s3://dumps",
            "s3://dumps/prod",
            "s3://dumps/team=a/prod-1",
            "file:///var/lib/salvage/store",
            "file:///srv/with%20space",
        ] {
            let url: StoreUrl = written.parse().expect(written);
            assert_eq!(url.to_string(), written);
            let json = serde_json::to_string(&url).expect("json");
            assert_eq!(
                serde_json::from_str::<StoreUrl>(&json).expect("read back"),
                url
            );
        }
        for (written, same) in [
            ("s3://dumps/", "s3://dumps"),
            ("s3://dumps/prod/", "s3://dumps/prod"),
            ("file:///srv/store/", "file:///srv/store"),
            ("file:///srv/x/../store", "file:///srv/store"),
        ] {
            assert_eq!(
                written.parse::<StoreUrl>().expect(written).to_string(),
                same
            );
        }
    }

    #[test]
    fn what_is_no_store_is_refused_with_the_remedy() {
        for (written, remedy) in [
            ("dumps", "s3://BUCKET"),
            ("", "s3://BUCKET"),
            ("/var/lib/store", "file:///"),
            ("./store", "file:///"),
            ("file://store", "file:///ABSOLUTE"),
            ("file://host/dir", "file:///ABSOLUTE"),
            ("file:///", "a directory of its own"),
            ("file:///%00", "no path"),
            ("gs://bucket", "not known"),
            ("S3://bucket", "not known"),
            ("https://minio:9000/bucket", "store.endpoint"),
            ("s3://minio:9000/bucket", "store.endpoint"),
            ("s3://id:hunter2@bucket", "AWS_ACCESS_KEY_ID"),
            ("https://id:hunter2@host/b", "AWS_ACCESS_KEY_ID"),
            ("s3://bucket?region=hunter2", "store.region"),
            ("s3://bucket#hunter2", "store.region"),
            ("s3://", "3 to 63"),
            ("s3://ab", "3 to 63"),
            ("s3://-bucket", "begin and end"),
            ("s3://buck et", "3 to 63"),
            ("s3://bucket//prefix", "single slashes"),
            ("s3://bucket/../x", "beginning with a dot"),
            ("s3://bucket/.staging", "beginning with a dot"),
            ("s3://bucket/pre fix", "A-Z"),
            ("s3://bucket/a//", "single slashes"),
        ] {
            let error = written.parse::<StoreUrl>().expect_err(written).to_string();
            assert!(error.contains(remedy), "{written:?}: {error}");
            assert!(!error.contains("hunter2"), "{error}");
        }
        let long = format!("s3://bucket/{}", "x".repeat(PREFIX_MAX + 1));
        assert!(long.parse::<StoreUrl>().is_err());
    }

    #[tokio::test]
    async fn settings_that_cannot_be_meant_are_refused() {
        let config = |url: &str, endpoint: Option<&str>, region: Option<&str>| StoreConfig {
            url: url.parse().expect("url"),
            endpoint: endpoint.map(|text| text.parse().expect("endpoint")),
            region: region.map(str::to_owned),
            path_style: None,
        };
        for (config, named) in [
            (
                config("s3://bucket", Some("ftp://host"), None),
                "store.endpoint",
            ),
            (
                config("s3://bucket", Some("http://id:hunter2@host"), None),
                "AWS_ACCESS_KEY_ID",
            ),
            (
                config("s3://bucket", Some("http://host/?x=hunter2"), None),
                "store.endpoint",
            ),
            (
                config("s3://bucket", None, Some("eu central")),
                "store.region",
            ),
            (
                config("file:///srv", Some("http://host"), None),
                "store.endpoint",
            ),
            (config("file:///srv", None, Some("eu")), "store.region"),
        ] {
            let error = open(&config).await.expect_err("refused").to_string();
            assert!(error.contains(named), "{error}");
            assert!(!error.contains("hunter2"), "{error}");
        }
        open(&config("s3://bucket", Some("http://host:9000"), None))
            .await
            .expect("opens without credentials");
        open(&config("file:///nowhere/at/all", None, None))
            .await
            .expect("opens without a directory");
    }

    proptest! {
        #[test]
        fn what_is_taken_for_a_url_is_written_as_the_same(
            written in prop_oneof![changed("s3://dumps/team=a/prod-1"), changed("file:///srv/with%20space/x")],
        ) {
            if let Ok(url) = written.parse::<StoreUrl>() {
                prop_assert_eq!(url.to_string().parse(), Ok(url));
            }
        }
    }
}
