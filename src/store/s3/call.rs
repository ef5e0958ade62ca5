//! One request: what it is about, the client it goes through, the time it may take, and what makes its answer a receipt.

use std::future::Future;
use std::time::Duration;

use aws_sdk_s3::config::http::HttpResponse;
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};

use super::client::Ready;
use super::errors;
use super::transfer::{Progress, watched};
use crate::store::{Error, Operation, Problem, Result, bare};

/// One call: what it is about, and the client it goes through.
pub(super) struct Call<'a> {
    pub(super) operation: Operation,
    pub(super) about: String,
    /// The key with the store's prefix.
    pub(super) name: String,
    pub(super) ready: &'a Ready,
}

impl Call<'_> {
    pub(super) fn error(&self, problem: Problem) -> Error {
        Error::new(self.operation, &self.about, problem)
    }

    pub(super) async fn send<T, E>(
        &self,
        answer: Duration,
        request: impl Future<Output = std::result::Result<T, SdkError<E, HttpResponse>>>,
    ) -> Result<T>
    where
        E: ProvideErrorMetadata + std::error::Error + 'static,
    {
        self.watch(&Progress::of(0), answer, answer, request).await
    }

    pub(super) async fn watch<T, E>(
        &self,
        progress: &Progress,
        stall: Duration,
        answer: Duration,
        request: impl Future<Output = std::result::Result<T, SdkError<E, HttpResponse>>>,
    ) -> Result<T>
    where
        E: ProvideErrorMetadata + std::error::Error + 'static,
    {
        // The SDK's futures are tens of kilobytes.
        let request = Box::pin(request);
        match watched(progress, stall, answer, request).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) => Err(errors::error_of(
                self.operation,
                &self.about,
                self.ready,
                &error,
            )),
            Err(stalled) => {
                let why = format!("{}: {stalled}", self.ready.address);
                Err(self.error(Problem::Unreachable(why)))
            }
        }
    }

    /// A length as S3 counts it.
    pub(super) fn length(&self, bytes: u64) -> Result<i64> {
        i64::try_from(bytes)
            .map_err(|_| self.error(Problem::Refused(format!("{bytes} bytes are too many"))))
    }

    /// Without an ETag an answer is no receipt: a proxy's or a captive portal's 200, for example.
    pub(super) fn etag(&self, answered: Option<&str>) -> Result<String> {
        match answered {
            Some(etag) if !bare(etag).is_empty() => Ok(etag.to_owned()),
            _ => {
                let why = "it answered success without an ETag";
                Err(self.error(Problem::Failed(why.to_owned())))
            }
        }
    }
}
