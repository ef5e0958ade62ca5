//! From what the SDK reports to what an operator can mend.
//!
//! Owns the table from a store's codes and statuses to a [`Problem`]. What a store says is bounded and escaped before it is shown, and
//! nothing of a request (which carries the credentials) is ever part of an error.

use std::error::Error as StdError;
use std::time::Duration;

use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_s3::config::http::HttpResponse;
use aws_sdk_s3::error::{ConnectorError, ProvideErrorMetadata, SdkError};

use super::client::Ready;
use crate::model::Escaped;
use crate::store::{Error, Operation, Problem};

/// A store that asks for longer is tried again after this; a wrong header must not park a dump for days.
const LONGEST_PAUSE: Duration = Duration::from_secs(3600);

/// A store's refusal, as far as it can be read. HEAD has no body: there only the status is known.
#[derive(Clone, Copy, Debug, Default)]
struct Answer<'a> {
    status: u16,
    code: Option<&'a str>,
    message: Option<&'a str>,
    retry_after: Option<Duration>,
    bucket_region: Option<&'a str>,
}

/// What the store said, as the cause of an error whose own text says what to do.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Said(String);

/// The error for a request that the SDK could not carry out.
pub(super) fn error_of<E>(
    operation: Operation,
    about: &str,
    ready: &Ready,
    error: &SdkError<E, HttpResponse>,
) -> Error
where
    E: ProvideErrorMetadata + StdError + 'static,
{
    if let Some(credentials) = cause::<CredentialsError>(error) {
        return Error::new(operation, about, of_credentials(credentials))
            .because(Said(chain(credentials)));
    }
    let unreachable =
        |error: &dyn StdError| Problem::Unreachable(format!("{}: {}", ready.address, chain(error)));
    match error {
        SdkError::ServiceError(answered) => {
            let answer = Answer {
                code: answered.err().code(),
                message: answered.err().message(),
                ..headers_of(answered.raw())
            };
            of_answer(operation, about, &answer, &ready.region)
        }
        SdkError::ResponseError(unread) if unread.raw().status().is_success() => {
            let why = format!("its answer cannot be read: {}", chain(error));
            Error::new(operation, about, Problem::Failed(why))
        }
        SdkError::ResponseError(unread) => {
            of_answer(operation, about, &headers_of(unread.raw()), &ready.region)
        }
        SdkError::DispatchFailure(failure) => match failure.as_connector_error() {
            Some(connection) => Error::new(operation, about, unreachable(connection)),
            None => Error::new(operation, about, unreachable(error)),
        },
        SdkError::TimeoutError(_) => Error::new(operation, about, unreachable(error)),
        // Nothing went out: the request could not even be made, and the next one cannot either.
        _ => Error::new(operation, about, Problem::Refused(chain(error))),
    }
}

/// The HTTP status of an answer, if there was one.
pub(super) fn status_of<E>(error: &SdkError<E, HttpResponse>) -> Option<u16> {
    error.raw_response().map(|raw| raw.status().as_u16())
}

fn headers_of(raw: &HttpResponse) -> Answer<'_> {
    Answer {
        status: raw.status().as_u16(),
        retry_after: raw
            .headers()
            .get("retry-after")
            .and_then(|text| text.trim().parse().ok())
            .map(|seconds| Duration::from_secs(seconds).min(LONGEST_PAUSE)),
        bucket_region: raw.headers().get("x-amz-bucket-region"),
        ..Answer::default()
    }
}

fn of_answer(operation: Operation, about: &str, answer: &Answer<'_>, region: &str) -> Error {
    let problem = classify(operation, answer, region);
    let told = matches!(
        problem,
        Problem::Refused(_) | Problem::Failed(_) | Problem::Mismatch(_) | Problem::Unreachable(_)
    );
    let error = Error::new(operation, about, problem);
    match told {
        true => error,
        false => error.because(Said(answer.text())),
    }
}

impl Answer<'_> {
    fn text(&self) -> String {
        let mut text = format!("HTTP {}", self.status);
        for part in [self.code, self.message].into_iter().flatten() {
            text.push_str(if text.contains(' ') && part.contains(' ') {
                ": "
            } else {
                " "
            });
            text.push_str(&Escaped::bytes(part.as_bytes()).to_string());
        }
        text
    }

    fn wrong_region(&self, region: &str) -> Option<Problem> {
        let told = self.bucket_region.filter(|told| *told != region);
        let by_code = matches!(
            self.code,
            Some(
                "PermanentRedirect"
                    | "TemporaryRedirect"
                    | "AuthorizationHeaderMalformed"
                    | "IllegalLocationConstraintException"
            )
        );
        let by_header = matches!(self.status, 301 | 307 | 400) && told.is_some();
        if !(by_code || by_header) {
            return None;
        }
        let why = match told {
            Some(told) => {
                let told = Escaped::bytes(told.as_bytes());
                format!(
                    "the bucket is in region {told}, and requests go to {region}; set store.region (or AWS_REGION) to {told}"
                )
            }
            None => format!(
                "requests are for region {region}, and the store expects something else; set store.region (or AWS_REGION) to the bucket's region: {}",
                self.text()
            ),
        };
        Some(Problem::Refused(why))
    }
}

/// What an answer means. Codes first, for one status stands for many things; then the status, for not every store knows every code.
fn classify(operation: Operation, answer: &Answer<'_>, region: &str) -> Problem {
    if let Some(wrong) = answer.wrong_region(region) {
        return wrong;
    }
    let text = || answer.text();
    match answer.code.unwrap_or_default() {
        "NoSuchBucket" => Problem::NoBucket,
        "NoSuchKey" => Problem::NotFound,
        "NoSuchUpload" => Problem::NoSuchUpload,
        "PreconditionFailed" => Problem::AlreadyExists,
        "InvalidAccessKeyId" | "NotSignedUp" => Problem::Credentials(
            "the store does not know the access key; check AWS_ACCESS_KEY_ID, or the profile or role in use".to_owned(),
        ),
        "SignatureDoesNotMatch" => Problem::Credentials(
            "the secret does not belong to the access key; check AWS_SECRET_ACCESS_KEY, or the profile in use".to_owned(),
        ),
        "ExpiredToken" | "ExpiredTokenException" | "TokenRefreshRequired" => Problem::Credentials(
            "the session has expired; renew AWS_SESSION_TOKEN, or use a role that renews itself".to_owned(),
        ),
        "InvalidToken" | "InvalidSecurity" | "UnrecognizedClientException" | "AuthFailure"
        | "Unauthorized" => Problem::Credentials(
            "the store does not accept them; check AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN, or the profile or role in use".to_owned(),
        ),
        "RequestTimeTooSkewed" => Problem::Credentials(
            "the clock of this machine and that of the store differ too much for a signature; set the clock".to_owned(),
        ),
        "SlowDown" | "SlowDownRead" | "SlowDownWrite" | "Throttling" | "ThrottlingException"
        | "RequestLimitExceeded" | "TooManyRequests" | "BandwidthLimitExceeded"
        | "ServiceUnavailable" => Problem::Throttled(answer.retry_after),
        "QuotaExceeded" | "XMinioStorageFull" | "XMinioAdminBucketQuotaExceeded"
        | "InsufficientStorage" => Problem::Full,
        // The store lost a part, or what arrived is not what was sent: it has to be sent again.
        "InvalidPart" | "BadDigest" | "XAmzContentChecksumMismatch"
        | "XAmzContentSHA256Mismatch" => Problem::Mismatch(text()),
        // The connection stalled from the store's view.
        "RequestTimeout" | "IncompleteBody" => Problem::Unreachable(text()),
        "OperationAborted" | "ConditionalRequestConflict" | "InternalError" => {
            Problem::Failed(text())
        }
        _ => by_status(operation, answer),
    }
}

fn by_status(operation: Operation, answer: &Answer<'_>) -> Problem {
    let text = || answer.text();
    match answer.status {
        401 => Problem::Credentials(
            "the store does not accept them; check AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or the profile or role in use".to_owned(),
        ),
        403 => Problem::Denied(operation.s3_permission()),
        404 => match operation {
            Operation::Head | Operation::Get | Operation::Delete => Problem::NotFound,
            _ => Problem::Refused(format!("{}; check store.endpoint and store.url", text())),
        },
        408 => Problem::Unreachable(text()),
        409 => Problem::Failed(text()),
        412 => Problem::AlreadyExists,
        429 | 503 => Problem::Throttled(answer.retry_after),
        507 => Problem::Full,
        501 => Problem::Refused(text()),
        500..=599 => Problem::Failed(text()),
        // A 200 whose body holds an error.
        200..=299 => Problem::Failed(text()),
        _ => Problem::Refused(text()),
    }
}

fn of_credentials(error: &CredentialsError) -> Problem {
    match error {
        CredentialsError::CredentialsNotLoaded(_) => Problem::Credentials(
            "none were found; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE, or give the pod a role (web identity or pod identity) or the node an instance role".to_owned(),
        ),
        CredentialsError::ProviderTimedOut(_) => {
            Problem::Unreachable("the source of credentials did not answer in time".to_owned())
        }
        _ if cause::<ConnectorError>(error).is_some() => {
            Problem::Unreachable("the source of credentials cannot be reached".to_owned())
        }
        _ => Problem::Credentials(
            "they were configured and could not be got; see the cause".to_owned(),
        ),
    }
}

/// The first error of type `T` among `error` and its causes.
fn cause<'a, T: StdError + 'static>(error: &'a (dyn StdError + 'static)) -> Option<&'a T> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref() {
            return Some(found);
        }
        next = error.source();
    }
    None
}

/// An error and its causes in one line, without what a cause repeats.
fn chain(error: &dyn StdError) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let said = cause.to_string();
        if !text.contains(&said) {
            text.push_str(": ");
            text.push_str(&said);
        }
        next = cause.source();
    }
    Escaped::bytes(text.as_bytes()).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, code: &'static str) -> Answer<'static> {
        Answer {
            status,
            code: (!code.is_empty()).then_some(code),
            message: Some("the store's text"),
            ..Answer::default()
        }
    }

    #[test]
    fn codes_and_statuses_mean_what_an_operator_can_mend() {
        use Operation::{Abort, Complete, Get, Head, List, Put, PutPart};
        type Check = fn(&Problem) -> bool;
        let table: &[(Operation, u16, &str, Check)] = &[
            (Put, 404, "NoSuchBucket", |p| *p == Problem::NoBucket),
            (Get, 404, "NoSuchKey", |p| *p == Problem::NotFound),
            (Head, 404, "", |p| *p == Problem::NotFound),
            (
                Put,
                404,
                "",
                |p| matches!(p, Problem::Refused(why) if why.contains("store.endpoint")),
            ),
            (Abort, 404, "NoSuchUpload", |p| *p == Problem::NoSuchUpload),
            (Put, 403, "AccessDenied", |p| {
                *p == Problem::Denied("s3:PutObject")
            }),
            (List, 403, "AccessDenied", |p| {
                *p == Problem::Denied("s3:ListBucket")
            }),
            (Abort, 403, "", |p| {
                *p == Problem::Denied("s3:AbortMultipartUpload")
            }),
            (
                Put,
                403,
                "InvalidAccessKeyId",
                |p| matches!(p, Problem::Credentials(why) if why.contains("AWS_ACCESS_KEY_ID")),
            ),
            (
                Put,
                403,
                "SignatureDoesNotMatch",
                |p| matches!(p, Problem::Credentials(why) if why.contains("AWS_SECRET_ACCESS_KEY")),
            ),
            (
                Put,
                400,
                "ExpiredToken",
                |p| matches!(p, Problem::Credentials(why) if why.contains("AWS_SESSION_TOKEN")),
            ),
            (
                Put,
                403,
                "RequestTimeTooSkewed",
                |p| matches!(p, Problem::Credentials(why) if why.contains("clock")),
            ),
            (Put, 401, "", |p| matches!(p, Problem::Credentials(_))),
            (Put, 503, "SlowDown", |p| *p == Problem::Throttled(None)),
            (Put, 503, "", |p| *p == Problem::Throttled(None)),
            (Put, 429, "", |p| *p == Problem::Throttled(None)),
            (Put, 412, "", |p| *p == Problem::AlreadyExists),
            (Put, 409, "ConditionalRequestConflict", |p| {
                matches!(p, Problem::Failed(_))
            }),
            (Put, 507, "", |p| *p == Problem::Full),
            (Put, 403, "QuotaExceeded", |p| *p == Problem::Full),
            (Put, 413, "", |p| matches!(p, Problem::Refused(_))),
            (
                Put,
                400,
                "EntityTooLarge",
                |p| matches!(p, Problem::Refused(why) if why == "HTTP 400 EntityTooLarge: the store's text"),
            ),
            (Put, 501, "NotImplemented", |p| {
                matches!(p, Problem::Refused(_))
            }),
            (Put, 500, "InternalError", |p| {
                matches!(p, Problem::Failed(_))
            }),
            (Complete, 200, "InternalError", |p| {
                matches!(p, Problem::Failed(_))
            }),
            (Complete, 200, "Odd", |p| matches!(p, Problem::Failed(_))),
            (Complete, 400, "InvalidPart", |p| {
                matches!(p, Problem::Mismatch(_))
            }),
            (PutPart, 400, "BadDigest", |p| {
                matches!(p, Problem::Mismatch(_))
            }),
            (PutPart, 400, "RequestTimeout", |p| {
                matches!(p, Problem::Unreachable(_))
            }),
            (PutPart, 502, "", |p| matches!(p, Problem::Failed(_))),
        ];
        for (operation, status, code, check) in table {
            let problem = classify(*operation, &answer(*status, code), "us-east-1");
            assert!(
                check(&problem),
                "{operation:?} {status} {code}: {problem:?}"
            );
        }
    }

    #[test]
    fn a_wrong_region_is_named_with_the_right_one() {
        let told = Answer {
            bucket_region: Some("eu-west-3"),
            ..answer(301, "PermanentRedirect")
        };
        let head = Answer {
            status: 400,
            bucket_region: Some("eu-west-3"),
            ..Answer::default()
        };
        for answer in [told, head] {
            let problem = classify(Operation::Head, &answer, "us-east-1");
            assert!(
                matches!(&problem, Problem::Refused(why) if why.ends_with("set store.region (or AWS_REGION) to eu-west-3")),
                "{problem:?}"
            );
        }
        let same = Answer {
            bucket_region: Some("us-east-1"),
            ..answer(403, "AccessDenied")
        };
        assert_eq!(
            classify(Operation::Put, &same, "us-east-1"),
            Problem::Denied("s3:PutObject")
        );
    }

    #[test]
    fn what_a_store_says_is_bounded_and_escaped() {
        let long = "x".repeat(1 << 20);
        let answer = Answer {
            status: 400,
            code: Some("Odd\n\u{1b}[31m"),
            message: Some(&long),
            ..Answer::default()
        };
        let Problem::Refused(why) = classify(Operation::Put, &answer, "us-east-1") else {
            panic!("refused");
        };
        assert!(why.len() < 2_000, "{}", why.len());
        assert!(!why.contains(['\n', '\u{1b}']), "{why}");
    }
}
