//! The way to the API server.

use std::time::Duration;

use kube::Client;

/// A connection is made within this.
const CONNECT: Duration = Duration::from_secs(10);

/// An answer that has nothing to say for so long has none. A watch says something, or ends, before.
const SILENCE: Duration = Duration::from_secs(310);

/// Makes a client as `kubectl` would, or from the pod's service account.
///
/// # Errors
/// Why there is none, for people.
pub async fn client() -> Result<Client, String> {
    let inferred = kube::Config::infer().await;
    let mut config = inferred.map_err(|error| {
        let remedy = "run in a pod with a service account, or set KUBECONFIG";
        format!("no API server is known: {error}; {remedy}")
    })?;
    config.connect_timeout = Some(CONNECT);
    config.read_timeout = Some(SILENCE);
    // The library would repeat what is refused for minutes, and say nothing: what fails is said, and tried again by whoever asked.
    config.default_retry = false;
    Client::try_from(config).map_err(|error| format!("the API server cannot be spoken to: {error}"))
}
