//! The SDK's client, made when it is first needed.
//!
//! Owns where requests go, whose credentials they carry, how often and how long the SDK tries. Endpoint, region and path style are
//! settings of the client, not of a kind of credentials, so they hold for each of them: the environment, a profile, web identity,
//! the pod identity and container endpoints, the instance's metadata. Credentials are asked for by the first request and again before
//! they expire.
//!
//! Proxies: `HTTPS_PROXY` and `NO_PROXY` are honoured for `https://` only. The SDK would send plain HTTP through `HTTP_PROXY` too, and
//! with it the tokens of the metadata and pod identity endpoints, which are plain HTTP on link-local addresses.

use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use aws_config::BehaviorVersion;
use aws_config::environment::EnvironmentVariableRegionProvider;
use aws_config::meta::region::RegionProviderChain;
use aws_config::profile::ProfileFileRegionProvider;
use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;
use aws_sdk_s3::config::{
    Credentials as SdkCredentials, IdentityCache, Region, RequestChecksumCalculation,
    ResponseChecksumValidation, RuntimeComponents, StalledStreamProtectionConfig,
};
use aws_smithy_http_client::proxy::ProxyConfig;
use aws_smithy_http_client::tls::{Provider, rustls_provider::CryptoMode};
use aws_smithy_http_client::{Connector, ConnectorBuilder};
use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnectorSettings, SharedHttpClient, SharedHttpConnector,
};
use tokio::sync::OnceCell;
use url::Url;

use crate::store::{Credentials, InvalidStore, StoreConfig};

/// A host that does not answer a connection by then is down.
const CONNECT: Duration = Duration::from_secs(5);
/// Three short tries smooth over a reset connection or a full queue; what lasts longer is the caller's, who persists its waits.
const ATTEMPTS: u32 = 3;
const FIRST_WAIT: Duration = Duration::from_millis(250);
const LONGEST_WAIT: Duration = Duration::from_secs(2);
/// Room for an instance's metadata service that needs a second try; the SDK's 5 s are too short for that.
const CREDENTIALS_WITHIN: Duration = Duration::from_secs(15);
/// Idle connections are given up before a NAT on the way forgets them silently.
const IDLE: Duration = Duration::from_secs(30);
/// The region where neither anybody nor anything names one: MinIO's default, and AWS answers with the right one.
const FALLBACK_REGION: &str = "us-east-1";

/// Makes the client once.
pub(super) struct LazyClient {
    endpoint: Option<Url>,
    region: Option<String>,
    path_style: Option<bool>,
    credentials: Option<Credentials>,
    http: SharedHttpClient,
    ready: OnceCell<Ready>,
}

/// A client and what error messages say of it.
pub(super) struct Ready {
    pub(super) sdk: aws_sdk_s3::Client,
    pub(super) region: String,
    /// Where requests go, for people.
    pub(super) address: String,
}

impl LazyClient {
    pub(super) fn new(
        config: &StoreConfig,
        credentials: Option<Credentials>,
    ) -> Result<Self, InvalidStore> {
        Ok(Self {
            endpoint: config.endpoint.clone(),
            region: config.region.clone(),
            path_style: config.path_style,
            credentials,
            http: SharedHttpClient::new(Connectors::from_environment()?),
            ready: OnceCell::new(),
        })
    }

    pub(super) async fn get(&self) -> &Ready {
        self.ready.get_or_init(|| self.make()).await
    }

    async fn make(&self) -> Ready {
        let shared = self.load().await;
        let endpoint = self
            .endpoint
            .as_ref()
            // The SDK puts the bucket right behind a path.
            .map(|url| format!("{}/", url.as_str().trim_end_matches('/')));
        let elsewhere = endpoint.is_some() || endpoint_of_environment(&shared);
        let region = match shared.region() {
            Some(region) => region.to_string(),
            None => FALLBACK_REGION.to_owned(),
        };
        let address = match &endpoint {
            Some(endpoint) => endpoint.clone(),
            None if elsewhere => "the endpoint of AWS_ENDPOINT_URL or the profile".to_owned(),
            None => format!("S3 in {region}"),
        };
        let mut builder = aws_sdk_s3::config::Builder::from(&shared)
            .region(Region::new(region.clone()))
            .force_path_style(self.path_style.unwrap_or(elsewhere))
            // The SDK's own checksums come as trailers of a chunked body, which many stores refuse. Ours are headers.
            .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
            .response_checksum_validation(ResponseChecksumValidation::WhenRequired)
            // It sees a body that is in memory as sent at once; `transfer` watches what really moves.
            .stalled_stream_protection(StalledStreamProtectionConfig::disabled());
        if let Some(endpoint) = endpoint {
            builder = builder.endpoint_url(endpoint);
        }
        Ready {
            sdk: aws_sdk_s3::Client::from_conf(builder.build()),
            region,
            address,
        }
    }

    async fn load(&self) -> aws_config::SdkConfig {
        let mut loader = aws_config::defaults(BehaviorVersion::latest())
            .http_client(self.http.clone())
            .retry_config(
                RetryConfig::standard()
                    .with_max_attempts(ATTEMPTS)
                    .with_initial_backoff(FIRST_WAIT)
                    .with_max_backoff(LONGEST_WAIT),
            )
            .timeout_config(TimeoutConfig::builder().connect_timeout(CONNECT).build())
            .identity_cache(
                IdentityCache::lazy()
                    .load_timeout(CREDENTIALS_WITHIN)
                    .build(),
            );
        if let Some(region) = &self.region {
            loader = loader.region(Region::new(region.clone()));
        } else if self.endpoint.is_some() {
            // The whole chain would wait seconds for an instance's metadata that a store of one's own has no use for.
            loader = loader.region(
                RegionProviderChain::first_try(EnvironmentVariableRegionProvider::new())
                    .or_else(ProfileFileRegionProvider::new())
                    .or_else(Region::new(FALLBACK_REGION)),
            );
        }
        if let Some(credentials) = &self.credentials {
            loader = loader.credentials_provider(SdkCredentials::new(
                credentials.access_key_id.clone(),
                credentials.secret_access_key.clone(),
                None,
                None,
                "caller",
            ));
        }
        loader.load().await
    }
}

/// Whether the environment or the profile sends S3 requests elsewhere than to AWS.
fn endpoint_of_environment(shared: &aws_config::SdkConfig) -> bool {
    shared.endpoint_url().is_some() || std::env::var_os("AWS_ENDPOINT_URL_S3").is_some()
}

/// Connections of one store: one pool for each set of timeouts that the SDK asks for.
struct Connectors {
    proxy: ProxyConfig,
    made: Mutex<Vec<(Timeouts, SharedHttpConnector)>>,
}

/// Time to connect and time to an answer.
type Timeouts = (Option<Duration>, Option<Duration>);

impl Connectors {
    fn from_environment() -> Result<Self, InvalidStore> {
        let set = |names: [&str; 2]| {
            names
                .into_iter()
                .find_map(|name| std::env::var(name).ok().filter(|value| !value.is_empty()))
        };
        let proxy = match set(["HTTPS_PROXY", "https_proxy"]) {
            None => ProxyConfig::disabled(),
            Some(url) => {
                let proxy = ProxyConfig::https(url).map_err(|_| {
                    InvalidStore::new(
                        "the environment variable HTTPS_PROXY",
                        "write http://HOST:PORT, or remove it",
                    )
                })?;
                match set(["NO_PROXY", "no_proxy"]) {
                    Some(rules) => proxy.no_proxy(rules),
                    None => proxy,
                }
            }
        };
        Ok(Self {
            proxy,
            made: Mutex::new(Vec::new()),
        })
    }
}

impl HttpClient for Connectors {
    fn http_connector(
        &self,
        settings: &HttpConnectorSettings,
        components: &RuntimeComponents,
    ) -> SharedHttpConnector {
        let timeouts = (settings.connect_timeout(), settings.read_timeout());
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, connector)) = made.iter().find(|(key, _)| *key == timeouts) {
            return connector.clone();
        }
        let mut builder: ConnectorBuilder<_> = Connector::builder()
            .tls_provider(Provider::Rustls(CryptoMode::AwsLc))
            .connector_settings(settings.clone())
            .proxy_config(self.proxy.clone())
            .pool_idle_timeout(IDLE);
        builder.set_sleep_impl(components.sleep_impl());
        let connector = SharedHttpConnector::new(builder.build());
        made.push((timeouts, connector.clone()));
        connector
    }
}

// A proxy's address may hold a password.
impl fmt::Debug for Connectors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Connectors")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use aws_sdk_s3::presigning::PresigningConfig;

    async fn request_url(endpoint: &str, path_style: Option<bool>, region: Option<&str>) -> String {
        let config = StoreConfig {
            url: "s3://bucket".parse().expect("url"),
            endpoint: Some(endpoint.parse().expect("endpoint")),
            region: region.map(str::to_owned),
            path_style,
        };
        let client =
            LazyClient::new(&config, Some(Credentials::new("id", "secret"))).expect("client");
        let request = client
            .get()
            .await
            .sdk
            .get_object()
            .bucket("bucket")
            .key("a/b=c")
            .presigned(
                PresigningConfig::expires_in(Duration::from_secs(60)).expect("presigning config"),
            )
            .await
            .expect("presigned");
        request.uri().to_owned()
    }

    #[tokio::test]
    async fn endpoint_region_and_path_style_reach_the_request() {
        let url = request_url("https://store.example:9000/", None, Some("test-1")).await;
        assert!(
            url.starts_with("https://store.example:9000/bucket/a/b%3Dc?"),
            "{url}"
        );
        assert!(url.contains("%2Ftest-1%2Fs3%2F"), "{url}");
        let url = request_url("http://store.example:9000", Some(false), Some("test-1")).await;
        assert!(
            url.starts_with("http://bucket.store.example:9000/a/b%3Dc?"),
            "{url}"
        );
        let url = request_url("https://store.example/s3", Some(true), Some("test-1")).await;
        assert!(
            url.starts_with("https://store.example/s3/bucket/a/b%3Dc?"),
            "{url}"
        );
    }
}
