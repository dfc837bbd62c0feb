//! Buckets of S3, or of whoever speaks its API: where `AWS_ENDPOINT_URL_S3` says, else `AWS_ENDPOINT_URL`, else AWS's own.
//!
//! An object is read in parts, each of the version that the first one was of: memory does not grow with
//! it, and one that is replaced meanwhile is an error and not a mixture.

use std::io::{self, Read};
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf as _, Bytes};
use selvedge_aws::remote::{self, Fault, Remote};
use selvedge_outbound::{Client, Guard};
use serde_json::{Value, json};
use tokio::runtime::Handle;

use super::{LIST_PAGE_MAX, Listed, ObjectError, Objects};
use crate::tasks::aws::{Account, Ask, Problem, Reply};
use crate::{Calls, Surroundings};

/// How many bytes of an object are asked for at a time.
const PART_BYTES: u64 = 8 << 20;
/// The longest wait for one answer.
const PATIENCE: Duration = Duration::from_secs(60);
/// How often a call is made before its failure counts, where the failure is the server's.
const TRIES: u32 = 4;
/// The pause before the second try; each is twice the one before.
const PAUSE: Duration = Duration::from_millis(100);

/// Objects in S3.
#[derive(Clone)]
pub struct S3(Arc<Shared>);

struct Shared {
    remote: &'static Remote,
    account: Account,
    client: Client,
    region: String,
    surroundings: Arc<dyn Surroundings>,
    runtime: Handle,
}

/// Why there is no answer that can be used.
enum Trouble {
    Problem(Problem),
    Fault(Fault),
}

impl S3 {
    /// The buckets that the account of `calls` may use. Calls are made on `runtime`, and from elsewhere than its own workers.
    pub fn new(calls: &Calls, region: &str, surroundings: Arc<dyn Surroundings>, runtime: Handle) -> Self {
        Self(Arc::new(Shared {
            remote: &remote::S3,
            account: Account::new(calls.environment.clone()),
            client: Client::new(Guard::new(calls.allowed.clone(), &calls.own_ports)),
            region: region.to_owned(),
            surroundings,
            runtime,
        }))
    }
}

impl Shared {
    /// An answer that is none of an error; the server's own failures are tried again.
    fn call(&self, action: &str, parameters: &Value, body: Option<&Bytes>) -> Result<Reply, Trouble> {
        let mut pause = PAUSE;
        let mut tried = 0;
        loop {
            tried += 1;
            let seconds = self.surroundings.now_ms().div_euclid(1000);
            let ask = Ask {
                remote: self.remote,
                action,
                parameters,
                body: body.cloned(),
                region: &self.region,
                seconds,
                patience: PATIENCE,
            };
            let done = match self.runtime.block_on(self.account.send(&self.client, ask)) {
                // What it says is looked at by the caller: here only whether it is an error.
                Ok(reply) => match self.remote.output("headObject", &reply.received()) {
                    Ok(_) => return Ok(reply),
                    Err(fault) => Trouble::Fault(fault),
                },
                Err(problem) => Trouble::Problem(problem),
            };
            if tried >= TRIES || !done.may_pass() {
                return Err(done);
            }
            self.runtime.block_on(async { tokio::time::sleep(pause).await });
            pause *= 2;
        }
    }

    fn part(&self, object: &Object, from: u64, etag: Option<&str>) -> Result<Reply, Trouble> {
        let mut parameters = json!({
            "Bucket": object.bucket,
            "Key": object.key,
            "Range": format!("bytes={from}-{}", from + PART_BYTES - 1),
        });
        if let Some(version) = &object.version {
            parameters["VersionId"] = version.as_str().into();
        }
        if let Some(etag) = etag {
            parameters["IfMatch"] = etag.into();
        }
        self.call("getObject", &parameters, None)
    }
}

impl Trouble {
    /// Another try may go better.
    fn may_pass(&self) -> bool {
        match self {
            Self::Fault(fault) => fault.status >= 500 || fault.code == "SlowDown",
            Self::Problem(problem) => matches!(problem, Problem::Unreached(_)),
        }
    }

    fn cause(&self) -> String {
        match self {
            Self::Fault(fault) | Self::Problem(Problem::Fault(fault)) if fault.code.is_empty() => {
                format!("status {} {}", fault.status, fault.message)
            }
            Self::Fault(fault) | Self::Problem(Problem::Fault(fault)) => {
                format!("{}: {} (status {})", fault.code, fault.message, fault.status)
            }
            Self::Problem(Problem::Unfit(error)) => error.to_string(),
            Self::Problem(Problem::Client(cause) | Problem::Refused(cause) | Problem::Unreached(cause)) => {
                cause.clone()
            }
        }
    }

    fn told(self, bucket: &str, key: &str) -> ObjectError {
        let (bucket, key) = (bucket.to_owned(), key.to_owned());
        match &self {
            Self::Fault(fault) if fault.status == 404 && fault.code != "NoSuchBucket" => {
                ObjectError::Missing { bucket, key }
            }
            // Nobody to sign for: perhaps no S3 was meant.
            Self::Problem(Problem::Client(cause)) => {
                let cause = format!("{cause}; --workflow-objects FOLDER keeps objects without S3");
                ObjectError::Failed { bucket, key, cause }
            }
            _ => ObjectError::Failed { bucket, key, cause: self.cause() },
        }
    }
}

impl Objects for S3 {
    fn open(
        &self,
        bucket: &str,
        key: &str,
        version: Option<&str>,
    ) -> Result<Box<dyn Read + Send>, ObjectError> {
        let object = Object {
            shared: Arc::clone(&self.0),
            bucket: bucket.to_owned(),
            key: key.to_owned(),
            version: version.map(str::to_owned),
        };
        let first = match self.0.part(&object, 0, None) {
            Ok(first) => first,
            // An object without a byte has no first one.
            Err(Trouble::Fault(fault)) if fault.status == 416 => return Ok(Box::new(io::empty())),
            Err(trouble) => return Err(trouble.told(bucket, key)),
        };
        let etag = first.received().header("etag").map(str::to_owned);
        let length = length_of(&first);
        let read = first.body.len() as u64;
        Ok(Box::new(Parts { object, etag, part: first.body, read, length }))
    }

    fn list(&self, bucket: &str, prefix: &str, after: Option<&str>) -> Result<Vec<Listed>, ObjectError> {
        let mut listed: Vec<Listed> = Vec::new();
        loop {
            let mut parameters = json!({ "Bucket": bucket, "MaxKeys": LIST_PAGE_MAX - listed.len() });
            if !prefix.is_empty() {
                parameters["Prefix"] = prefix.into();
            }
            if let Some(after) = listed.last().map(|last| last.key.as_str()).or(after) {
                parameters["StartAfter"] = after.into();
            }
            let told = |trouble: Trouble| trouble.told(bucket, prefix);
            let reply = self.0.call("listObjectsV2", &parameters, None).map_err(told)?;
            let page = self.0.remote.output("listObjectsV2", &reply.received());
            let page = page.map_err(|fault| told(Trouble::Fault(fault)))?;
            let contents = page["Contents"].as_array().map(Vec::as_slice).unwrap_or_default();
            listed.extend(contents.iter().filter_map(object));
            // A page may be shorter than it might be, and not the last.
            let is_last = page["IsTruncated"] != true || contents.is_empty();
            if is_last || listed.len() >= LIST_PAGE_MAX {
                return Ok(listed);
            }
        }
    }

    fn put(&self, bucket: &str, key: &str, bytes: &[u8]) -> Result<(), ObjectError> {
        let is_lines = key.ends_with(".jsonl");
        let kind = if is_lines { "application/jsonl" } else { "application/json" };
        let parameters = json!({ "Bucket": bucket, "Key": key, "ContentType": kind });
        let body = Bytes::copy_from_slice(bytes);
        match self.0.call("putObject", &parameters, Some(&body)) {
            Ok(_) => Ok(()),
            Err(trouble) => {
                let (bucket, key) = (bucket.to_owned(), key.to_owned());
                Err(ObjectError::Failed { bucket, key, cause: trouble.cause() })
            }
        }
    }
}

/// An entry of a listing.
fn object(entry: &Value) -> Option<Listed> {
    let text = |name: &str| entry[name].as_str().map(str::to_owned);
    let modified = entry["LastModified"].as_str().and_then(selvedge_asl::parse_timestamp);
    Some(Listed {
        key: text("Key")?,
        size: entry["Size"].as_u64().unwrap_or_default(),
        etag: text("ETag").unwrap_or_default(),
        modified_ms: modified.map_or(0, |nanos| i64::try_from(nanos / 1_000_000).unwrap_or_default()),
        storage_class: text("StorageClass").unwrap_or_else(|| "STANDARD".into()),
    })
}

/// An object that is being read.
struct Object {
    shared: Arc<Shared>,
    bucket: String,
    key: String,
    version: Option<String>,
}

/// Its bytes, part by part.
struct Parts {
    object: Object,
    etag: Option<String>,
    part: Bytes,
    /// How many bytes have come.
    read: u64,
    /// How many there are.
    length: u64,
}

/// `bytes 0-8388607/20000000`; the answer's own where it is the whole object.
fn length_of(reply: &Reply) -> u64 {
    let range =
        reply.received().header("content-range").and_then(|text| text.rsplit('/').next()?.parse().ok());
    range.unwrap_or(reply.body.len() as u64)
}

impl Read for Parts {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.part.is_empty() && self.read < self.length && !into.is_empty() {
            let next = self.object.shared.part(&self.object, self.read, self.etag.as_deref());
            let next = next.map_err(|trouble| {
                let cause = match &trouble {
                    Trouble::Fault(fault) if fault.status == 412 => {
                        "it was replaced while it was read".to_owned()
                    }
                    trouble => trouble.cause(),
                };
                let Object { bucket, key, .. } = &self.object;
                io::Error::other(format!("the object '{key}' in the bucket '{bucket}': {cause}"))
            })?;
            if next.body.is_empty() {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            self.read += next.body.len() as u64;
            self.part = next.body;
        }
        let count = self.part.len().min(into.len());
        self.part.copy_to_slice(&mut into[..count]);
        Ok(count)
    }
}
