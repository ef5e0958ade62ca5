//! A store that counts what is asked of it and how it answers.

use std::future::Future;
use std::ops::Range;
use std::sync::Arc;
use std::time::Instant;

use async_trait::async_trait;
use bytes::Bytes;
use prometheus::{HistogramOpts, HistogramVec, IntCounterVec, Opts, Registry};

use super::{
    AbortRule, Expected, ListQuery, Operation, Page, Part, PartInfo, Probe, Problem, PutMode,
    Result, Store, Upload, Verified,
};
use crate::model::ObjectKey;

/// Counters and latencies of a store's operations.
#[derive(Clone, Debug)]
pub struct Metrics {
    requests: IntCounterVec,
    seconds: HistogramVec,
}

/// What came of an operation, as a label.
const OUTCOMES: [&str; 9] = [
    "ok",
    "not_found",
    "exists",
    "denied",
    "credentials",
    "throttled",
    "unreachable",
    "refused",
    "failed",
];

impl Metrics {
    /// Makes and registers them; every label value shows from the start.
    ///
    /// # Errors
    /// A metric of the same name is registered already.
    pub fn register(registry: &Registry) -> prometheus::Result<Self> {
        let requests = IntCounterVec::new(
            Opts::new(
                "salvage_store_requests_total",
                "Operations asked of the store, by what came of them.",
            ),
            &["operation", "outcome"],
        )?;
        let seconds = HistogramVec::new(
            HistogramOpts::new(
                "salvage_store_request_seconds",
                "Duration of the store's operations.",
            )
            .buckets(vec![
                0.005, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0, 60.0, 300.0,
            ]),
            &["operation"],
        )?;
        registry.register(Box::new(requests.clone()))?;
        registry.register(Box::new(seconds.clone()))?;
        for operation in Operation::ALL {
            seconds.with_label_values(&[operation.name()]);
            for outcome in OUTCOMES {
                requests.with_label_values(&[operation.name(), outcome]);
            }
        }
        Ok(Self { requests, seconds })
    }

    async fn watch<T>(
        &self,
        operation: Operation,
        call: impl Future<Output = Result<T>> + Send,
    ) -> Result<T> {
        let began = Instant::now();
        let result = call.await;
        self.seconds
            .with_label_values(&[operation.name()])
            .observe(began.elapsed().as_secs_f64());
        let outcome = outcome(result.as_ref().map(|_| ()).map_err(super::Error::problem));
        self.requests
            .with_label_values(&[operation.name(), outcome])
            .inc();
        result
    }
}

fn outcome(result: std::result::Result<(), &Problem>) -> &'static str {
    match result {
        Ok(()) => "ok",
        Err(Problem::NotFound | Problem::NoSuchUpload) => "not_found",
        // What a put that is repeated is told, for one.
        Err(Problem::AlreadyExists) => "exists",
        Err(Problem::Denied(_)) => "denied",
        Err(Problem::Credentials(_)) => "credentials",
        Err(Problem::Throttled(_)) => "throttled",
        Err(Problem::Unreachable(_)) => "unreachable",
        Err(Problem::Refused(_) | Problem::NoBucket | Problem::Full) => "refused",
        Err(Problem::Failed(_) | Problem::Mismatch(_)) => "failed",
    }
}

/// The store behind the counters.
#[derive(Debug)]
pub struct Metered {
    inner: Arc<dyn Store>,
    metrics: Metrics,
}

impl Metered {
    /// Counts what is asked of `inner`.
    pub fn new(inner: Arc<dyn Store>, metrics: Metrics) -> Self {
        Self { inner, metrics }
    }
}

#[async_trait]
impl Store for Metered {
    fn url(&self) -> String {
        self.inner.url()
    }

    async fn put(&self, key: &ObjectKey, body: Bytes, mode: PutMode) -> Result<()> {
        self.metrics
            .watch(Operation::Put, self.inner.put(key, body, mode))
            .await
    }

    async fn begin(&self, key: &ObjectKey, part_bytes: u64) -> Result<Upload> {
        self.metrics
            .watch(Operation::Begin, self.inner.begin(key, part_bytes))
            .await
    }

    async fn put_part(&self, upload: &Upload, number: u32, body: Bytes) -> Result<Part> {
        self.metrics
            .watch(
                Operation::PutPart,
                self.inner.put_part(upload, number, body),
            )
            .await
    }

    async fn complete(
        &self,
        upload: &Upload,
        parts: &[Part],
        expected: &Expected,
        mode: PutMode,
    ) -> Result<()> {
        self.metrics
            .watch(
                Operation::Complete,
                self.inner.complete(upload, parts, expected, mode),
            )
            .await
    }

    async fn abort(&self, upload: &Upload) -> Result<()> {
        self.metrics
            .watch(Operation::Abort, self.inner.abort(upload))
            .await
    }

    async fn uploads(&self, key: &ObjectKey) -> Result<Vec<Upload>> {
        self.metrics
            .watch(Operation::ListUploads, self.inner.uploads(key))
            .await
    }

    async fn parts(&self, upload: &Upload) -> Result<Vec<PartInfo>> {
        self.metrics
            .watch(Operation::ListParts, self.inner.parts(upload))
            .await
    }

    fn is_same(&self, one: &Upload, other: &Upload) -> bool {
        self.inner.is_same(one, other)
    }

    async fn verify(&self, key: &ObjectKey, expected: &Expected) -> Result<Verified> {
        self.metrics
            .watch(Operation::Head, self.inner.verify(key, expected))
            .await
    }

    async fn get(&self, key: &ObjectKey, range: Range<u64>) -> Result<Bytes> {
        self.metrics
            .watch(Operation::Get, self.inner.get(key, range))
            .await
    }

    async fn list(&self, query: &ListQuery) -> Result<Page> {
        self.metrics
            .watch(Operation::List, self.inner.list(query))
            .await
    }

    async fn delete(&self, key: &ObjectKey) -> Result<()> {
        self.metrics
            .watch(Operation::Delete, self.inner.delete(key))
            .await
    }

    async fn abort_rules(&self) -> Result<Option<Vec<AbortRule>>> {
        self.inner.abort_rules().await
    }

    async fn probe(&self, key: &ObjectKey) -> Probe {
        self.inner.probe(key).await
    }
}
