//! An S3 store in the test's own process: in memory, ordered, with real signatures, and with every fault a store is known for.
//!
//! ```text
//! front   connections, the log of requests, faults that need no S3 (hang, drop, deny, throttle)
//! api     the operations, by s3s
//! listing pages of objects, uploads and parts
//! kept    what the store holds
//! faults  what it does wrong, and until when
//! ```
//!
//! It is as strict as S3 itself where that has bitten somebody: parts below 5 MiB but for the last, `Content-MD5` and checksums that are
//! checked, a bucket that is never made, a region that must be the right one.

mod api;
mod faults;
mod front;
mod kept;
mod listing;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;

use self::faults::{Checksums, Conditions, Faults};
use self::kept::Kept;

pub(crate) use self::faults::S3Op;
pub(crate) use self::front::Request;

const BUCKET: &str = "dumps";
const REGION: &str = "test-1";
const ACCESS_KEY: &str = "AKIATESTTESTTESTTEST";
/// Looks like one, so that a test which finds it in an error has found a leak.
const SECRET_KEY: &str = "wJalrXUtnFEMI/K7MDENG/bPxRfiTESTSECRET12";

/// A running store. Ends when dropped.
pub(crate) struct S3Server {
    address: SocketAddr,
    state: Arc<State>,
    // Its own, so that tests with and without a runtime can use it.
    runtime: Option<Runtime>,
}

/// What the requests share.
struct State {
    kept: Mutex<Kept>,
    faults: Mutex<Faults>,
    log: Mutex<Vec<Request>>,
    /// Contents above this are remembered by length and checksums only.
    keep_up_to: usize,
}

impl S3Server {
    /// Starts one on a port of its own.
    pub(crate) fn start() -> Self {
        Self::start_keeping(usize::MAX)
    }

    /// One that forgets the bytes of what is larger than 1 MiB and remembers length and checksums, for objects larger than the memory of
    /// the machine.
    pub(crate) fn start_lean() -> Self {
        Self::start_keeping(1 << 20)
    }

    fn start_keeping(keep_up_to: usize) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .expect("a runtime");
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        listener.set_nonblocking(true).expect("nonblocking");
        let address = listener.local_addr().expect("an address");
        let state = Arc::new(State {
            kept: Mutex::default(),
            faults: Mutex::default(),
            log: Mutex::default(),
            keep_up_to,
        });
        let shared = Arc::clone(&state);
        runtime.spawn(async move {
            let listener = TcpListener::from_std(listener).expect("a listener");
            front::serve(listener, shared).await;
        });
        Self {
            address,
            state,
            runtime: Some(runtime),
        }
    }

    /// Its address, for `store.endpoint`.
    pub(crate) fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The one bucket it has.
    pub(crate) fn bucket(&self) -> &'static str {
        BUCKET
    }

    /// The one region it is in.
    pub(crate) fn region(&self) -> &'static str {
        REGION
    }

    /// The one access key it knows.
    pub(crate) fn access_key(&self) -> &'static str {
        ACCESS_KEY
    }

    /// What belongs to the access key.
    pub(crate) fn secret_key(&self) -> &'static str {
        SECRET_KEY
    }

    /// Environment with which a child process can use it, and nothing else that this machine offers.
    pub(crate) fn aws_env(&self) -> Vec<(String, String)> {
        let mut env = no_credentials_env();
        env.extend([
            ("AWS_ACCESS_KEY_ID".to_owned(), ACCESS_KEY.to_owned()),
            ("AWS_SECRET_ACCESS_KEY".to_owned(), SECRET_KEY.to_owned()),
        ]);
        env
    }

    /// Every object with its bytes. Fails on one whose bytes were not kept.
    pub(crate) fn objects(&self) -> BTreeMap<String, Bytes> {
        let kept = lock(&self.state.kept);
        let bytes = |key: &String, object: &kept::Object| {
            let bytes = object.content.bytes().expect("not in lean mode");
            (key.clone(), bytes)
        };
        kept.objects.iter().map(|(k, o)| bytes(k, o)).collect()
    }

    /// Every object with its length.
    pub(crate) fn lengths(&self) -> BTreeMap<String, u64> {
        let kept = lock(&self.state.kept);
        let length = |object: &kept::Object| object.content.length();
        kept.objects
            .iter()
            .map(|(key, object)| (key.clone(), length(object)))
            .collect()
    }

    /// Puts an object there without a request.
    pub(crate) fn insert(&self, key: &str, content: &[u8]) {
        let object = kept::Object::of(Bytes::copy_from_slice(content));
        lock(&self.state.kept)
            .objects
            .insert(key.to_owned(), object);
    }

    /// Takes an object away without a request.
    pub(crate) fn remove(&self, key: &str) {
        lock(&self.state.kept).objects.remove(key);
    }

    /// Keys of the multipart uploads that were begun and neither completed nor aborted.
    pub(crate) fn open_uploads(&self) -> Vec<String> {
        let kept = lock(&self.state.kept);
        kept.uploads
            .values()
            .map(|upload| upload.key.clone())
            .collect()
    }

    /// Every request so far.
    pub(crate) fn requests(&self) -> Vec<Request> {
        lock(&self.state.log).clone()
    }

    /// How often an operation was asked for.
    pub(crate) fn count(&self, op: S3Op) -> usize {
        lock(&self.state.log)
            .iter()
            .filter(|request| request.op == op)
            .count()
    }

    /// Forgets the requests so far.
    pub(crate) fn forget_requests(&self) {
        lock(&self.state.log).clear();
    }

    fn fault(&self, set: impl FnOnce(&mut Faults)) -> &Self {
        set(&mut lock(&self.state.faults));
        self
    }

    /// Does everything right from now on.
    pub(crate) fn healthy(&self) -> &Self {
        self.fault(|faults| *faults = Faults::default())
    }

    /// Answers 200 and keeps nothing.
    pub(crate) fn swallow(&self) -> &Self {
        self.fault(|faults| faults.swallow = true)
    }

    /// Answers 200 and keeps something else of the same length.
    pub(crate) fn corrupt(&self) -> &Self {
        self.fault(|faults| faults.corrupt = true)
    }

    /// Keeps something else of the same length, and answers with what that is.
    pub(crate) fn corrupt_and_say_so(&self) -> &Self {
        self.fault(|faults| (faults.corrupt, faults.owns_up) = (true, true))
    }

    /// Refuses part `number` with a status, 400 or 500 for example.
    pub(crate) fn refuse_part(&self, number: u32, status: u16) -> &Self {
        self.fault(|faults| faults.refused_part = Some((number, status)))
    }

    /// Refuses an operation with 403.
    pub(crate) fn deny(&self, op: S3Op) -> &Self {
        self.fault(|faults| {
            faults.denied.insert(op);
        })
    }

    /// As an identity without `s3:ListBucket` sees it: no listing, and HEAD and GET of what is not there are 403.
    pub(crate) fn deny_list(&self) -> &Self {
        self.fault(|faults| {
            faults.denied.insert(S3Op::List);
            faults.absent_is_denied = true;
        })
    }

    /// Answers everything with 503 and this `Retry-After` in seconds, if any.
    pub(crate) fn throttle(&self, retry_after: Option<u32>) -> &Self {
        self.fault(|faults| faults.throttle = Some(retry_after))
    }

    /// Answers everything with this status, code and text.
    pub(crate) fn answer(&self, status: u16, code: &str, text: &str) -> &Self {
        let answer = (status, code.to_owned(), text.to_owned());
        self.fault(|faults| faults.answer = Some(answer))
    }

    /// Takes requests for an operation and does not answer them; those that still wait when it is [`healthy`](Self::healthy) are cut off.
    pub(crate) fn hang(&self, op: S3Op) -> &Self {
        self.fault(|faults| {
            faults.hanging.insert(op);
        })
    }

    /// Closes the connection instead of answering an operation.
    pub(crate) fn drop_connection(&self, op: S3Op) -> &Self {
        self.fault(|faults| {
            faults.dropped.insert(op);
        })
    }

    /// Overwrites although told not to.
    pub(crate) fn no_if_none_match(&self) -> &Self {
        self.fault(|faults| faults.conditions = (Conditions::Ignored, Conditions::Ignored))
    }

    /// Overwrites by a put although told not to.
    pub(crate) fn no_if_none_match_of_puts(&self) -> &Self {
        self.fault(|faults| faults.conditions.0 = Conditions::Ignored)
    }

    /// Overwrites by a completion although told not to.
    pub(crate) fn no_if_none_match_of_completions(&self) -> &Self {
        self.fault(|faults| faults.conditions.1 = Conditions::Ignored)
    }

    /// Answers 501 to a condition.
    pub(crate) fn refuse_if_none_match(&self) -> &Self {
        self.fault(|faults| faults.conditions = (Conditions::Refused, Conditions::Refused))
    }

    /// Takes checksums, and neither checks nor keeps them.
    pub(crate) fn no_checksums(&self) -> &Self {
        self.fault(|faults| faults.checksums = Checksums::Ignored)
    }

    /// Answers 501 to a checksum other than `Content-MD5`.
    pub(crate) fn refuse_checksums(&self) -> &Self {
        self.fault(|faults| faults.checksums = Checksums::Refused)
    }

    /// Gives ETags that are no MD5, as a store that encrypts does.
    pub(crate) fn odd_etags(&self) -> &Self {
        self.fault(|faults| faults.odd_etags = true)
    }

    /// Encrypts under a key of the object's own and says so: its ETags are no MD5 then.
    pub(crate) fn own_key(&self) -> &Self {
        self.fault(|faults| (faults.odd_etags, faults.own_key) = (true, true))
    }

    /// Answers without any ETag.
    pub(crate) fn no_etags(&self) -> &Self {
        self.fault(|faults| faults.no_etags = true)
    }

    /// Gives no more than this many entries a page, whatever was asked for.
    pub(crate) fn small_pages(&self, entries: usize) -> &Self {
        self.fault(|faults| faults.page = Some(entries))
    }

    /// Completes only uploads whose parts but the last are of one size.
    pub(crate) fn equal_parts(&self) -> &Self {
        self.fault(|faults| faults.equal_parts = true)
    }

    /// Completes the next upload and closes the connection instead of saying so.
    pub(crate) fn completion_answer_lost(&self) -> &Self {
        self.fault(|faults| faults.lost_completions = 1)
    }

    /// Completes uploads and closes the connection instead of saying so, each time.
    pub(crate) fn completion_answers_lost(&self) -> &Self {
        self.fault(|faults| faults.lost_completions = u32::MAX)
    }

    /// Answers a completion with 200 and an error in the body, as S3 does when it fails late.
    pub(crate) fn completion_fails_late(&self) -> &Self {
        self.fault(|faults| faults.late_completions = true)
    }

    /// Forgets every upload that is under way, as a lifecycle rule does.
    pub(crate) fn upload_forgotten(&self) -> &Self {
        lock(&self.state.kept).uploads.clear();
        self
    }

    /// Forgets the first upload at each key when it is to be completed.
    pub(crate) fn first_uploads_forgotten(&self) -> &Self {
        self.fault(|faults| faults.forgets_first = true)
    }

    /// Whether it forgot an upload at this key when it was to be completed.
    pub(crate) fn forgot(&self, key: &str) -> bool {
        lock(&self.state.kept).forgotten.contains(key)
    }

    /// Has no lifecycle rule; otherwise one aborts incomplete uploads after a week.
    pub(crate) fn no_lifecycle_rule(&self) -> &Self {
        self.fault(|faults| faults.lifecycle = Some(None))
    }

    /// Has a lifecycle rule for these keys alone.
    pub(crate) fn lifecycle_rule_for(&self, prefix: &str) -> &Self {
        self.fault(|faults| faults.lifecycle = Some(Some(prefix.to_owned())))
    }

    /// Begins an upload at any name, ours or not, without a request.
    pub(crate) fn plant_upload(&self, key: &str) {
        lock(&self.state.kept).begin(key);
    }
}

impl Drop for S3Server {
    fn drop(&mut self) {
        // A runtime may not be awaited where another one runs.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// Environment in which a child process finds no credentials, wherever the tests run.
pub(crate) fn no_credentials_env() -> Vec<(String, String)> {
    [
        ("AWS_EC2_METADATA_DISABLED", "true"),
        ("AWS_CONFIG_FILE", "/dev/null"),
        ("AWS_SHARED_CREDENTIALS_FILE", "/dev/null"),
        ("AWS_REGION", REGION),
        ("AWS_ACCESS_KEY_ID", ""),
        ("AWS_SECRET_ACCESS_KEY", ""),
        ("AWS_SESSION_TOKEN", ""),
        ("AWS_PROFILE", ""),
        ("HTTPS_PROXY", ""),
        ("https_proxy", ""),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .to_vec()
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
