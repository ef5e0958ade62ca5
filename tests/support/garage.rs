//! The Garage server that `tests/garage` runs: where it is, and what stands in it, seen by the SDK and not by our store.

use std::env::var;

use anyhow::{Context, Result};
use aws_sdk_s3::Client;
use aws_sdk_s3::config::{
    BehaviorVersion, Credentials, Region, RequestChecksumCalculation, ResponseChecksumValidation,
};
use futures::stream::{self, StreamExt, TryStreamExt};

/// The server as the environment says.
#[derive(Clone, Debug)]
pub(crate) struct Garage {
    pub(crate) endpoint: String,
    pub(crate) region: String,
    pub(crate) bucket: String,
    pub(crate) access_key: String,
    pub(crate) secret_key: String,
}

/// A multipart upload that is open.
#[derive(Debug)]
pub(crate) struct OpenUpload {
    pub(crate) key: String,
    pub(crate) parts: usize,
}

impl Garage {
    /// Fails where `tests/garage` has not started one.
    pub(crate) fn of_environment() -> Result<Self> {
        let set = |name: &str| {
            let name = format!("SALVAGE_TEST_GARAGE_{name}");
            var(&name).with_context(|| format!("{name} is not set: run tests/garage"))
        };
        Ok(Self {
            endpoint: set("ENDPOINT")?,
            region: set("REGION")?,
            bucket: set("BUCKET")?,
            access_key: set("ACCESS_KEY")?,
            secret_key: set("SECRET_KEY")?,
        })
    }

    fn client(&self) -> Client {
        let credentials = Credentials::new(&self.access_key, &self.secret_key, None, None, "test");
        let config = aws_sdk_s3::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .endpoint_url(&self.endpoint)
            .region(Region::new(self.region.clone()))
            .credentials_provider(credentials)
            .force_path_style(true)
            .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
            .response_checksum_validation(ResponseChecksumValidation::WhenRequired)
            .build();
        Client::from_conf(config)
    }

    /// Puts objects of one content there, under any names.
    pub(crate) async fn plant(&self, names: Vec<String>, content: &'static [u8]) -> Result<()> {
        let client = self.client();
        stream::iter(names)
            .map(|name| {
                let put = client.put_object().bucket(&self.bucket).key(&name);
                let body = aws_sdk_s3::primitives::ByteStream::from_static(content);
                async move { put.body(body).send().await.with_context(|| name) }
            })
            .buffer_unordered(16)
            .try_for_each(|_| async { Ok(()) })
            .await
    }

    /// An object as it is there.
    pub(crate) async fn object(&self, name: String) -> Result<Vec<u8>> {
        let client = self.client();
        let get = client.get_object().bucket(&self.bucket).key(&name);
        let answer = get.send().await.with_context(|| name)?;
        Ok(answer.body.collect().await?.to_vec())
    }

    /// The multipart uploads that are open below a prefix.
    pub(crate) async fn open_uploads(&self, prefix: &str) -> Result<Vec<OpenUpload>> {
        let client = self.client();
        let listed = client
            .list_multipart_uploads()
            .bucket(&self.bucket)
            .prefix(prefix)
            .send()
            .await?;
        let mut open = Vec::new();
        for upload in listed.uploads() {
            let key = upload.key().context("a key")?;
            let parts = client
                .list_parts()
                .bucket(&self.bucket)
                .key(key)
                .set_upload_id(upload.upload_id().map(str::to_owned))
                .send()
                .await?;
            open.push(OpenUpload {
                key: key.to_owned(),
                parts: parts.parts().len(),
            });
        }
        Ok(open)
    }
}
