//! Answers "if this pod died now, would I get a dump, and if not, why?"
//!
//! ```text
//! on a node      config ─► machine, sources, store, agent, API server ─► pods of the node      (node)
//! from a laptop  kubeconfig ─► DaemonSet, ConfigMap, nodes, agents, store as you ─► all pods    (cluster)
//!
//! each:  gather (thin, bounded in time) ─► facts ─► judge (pure) ─► findings
//! ```
//!
//! Owns the questions, what an answer means and what to do about it. It tries things where the agent itself does (`store`, `sys`), and takes the agent's own
//! word for what a pod's mounts are (`decide::Coverage`). Leaves words and tables to `cli`.
//!
//! What never happens: an agent beside it is disturbed. No lock is taken, nothing is written into its state, no file of a source is leased but by a read lease
//! for microseconds; what is tried in the store is tried at a key that no agent uses. What cannot be asked is skipped with what it would take, and nothing is
//! waited for longer than [`PATIENCE`]. The value of a variable in a pod's environment is never shown.

mod agent;
mod api;
mod cluster;
mod finding;
mod foreign;
mod kubernetes;
mod machine;
mod node;
mod pods;
mod sources;
mod store;

use std::time::Duration;

pub use cluster::{Laptop, of_cluster};
pub use finding::{Finding, Report, SCHEMA, Verdict};
pub use node::on_node;
pub use pods::{Answer, Judged, PodName, Reason, Scope, summary};

/// Nothing is waited for longer. All is asked at once, so this is about how long a run may take where nobody answers.
pub const PATIENCE: Duration = Duration::from_secs(40);

/// One request to the API server or an agent is answered within this.
const REQUEST: Duration = Duration::from_secs(10);

/// The namespace of the kubeconfig's current context.
pub async fn namespace_of_context() -> String {
    match kube::Config::infer().await {
        Ok(config) => config.default_namespace,
        Err(_) => "default".to_owned(),
    }
}
