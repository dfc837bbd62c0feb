//! Our own API beside Step Functions': `/selvedge/v1/…`, without a socket.
//!
//! ```text
//! GET    connections                     {"connections": […]}
//! GET    connections/NAME                without what is secret
//! PUT    connections/NAME                201 when it is new, 200 when it is not
//! DELETE connections/NAME                the connection as it was
//! GET    tasks[?status=open|all&after=ID&limit=N]     {"tasks": […], "next": "ID"}
//! GET    tasks/ID
//! POST   tasks/ID/decision               {"decision": "APPROVE"|"REJECT", "by": …, "groups": […], "comment": …, "form": {…}, "payloadHash": …}
//! GET    audit[?after=N&limit=N]         lines of JSON
//! GET    audit/head                      {"seq": N, "hash": "…"}
//! PUT    blobs                           keeps the body; {"$ref": …, "size": …, "type": …}
//! GET    blobs/HASH                      the body
//! POST   executions/ARN/redrive          {"from": STATE, "input": …}
//! GET    executions/ARN/revisions        {"revisions": […]}: inputs that somebody wrote
//! GET    dead-letters[?kind=…&machine=…&error=…&state=…&after=…&before=…&cursor=ID&limit=N]  {"deadLetters": […], "next": "ID"}
//! GET    dead-letters/ID
//! POST   dead-letters/ID/replay          {"from": STATE, "input": …}, both of executions only
//! DELETE dead-letters/ID
//! POST   redrives                        {"machine": …, "error": …, "state": …, "after": …, "before": …, "from": …, "input": …, "rate": N}
//! GET    redrives, redrives/ID           {"redrives": […]}, how one stands
//! POST   redrives/ID/pause, resume, cancel
//! GET    machines/NAME/extension         {"mode": "STANDARD"|"EXTENDED", "historyEvents": N, "inputSchema": …, "outputSchema": …}
//! PUT    machines/NAME/extension         the same; what is left out is as the server has it
//! GET    schedules[?group=…&after=…], schedules/GROUP/NAME   with the next time and what became of the last
//! PUT    schedules/GROUP/NAME/catch-up   {"catchUp": "ALL"|"LATEST"|"NONE"}
//! ```
//!
//! Times are milliseconds since 1970, or RFC 3339.

mod schedules;
mod steer;

use std::sync::Arc;

use percent_encoding::percent_decode_str;
use serde_json::{Value, json};

use crate::Engine;
use crate::audit;
use crate::extension::{self, ExtensionError};
use crate::tasks::approval::{self, DecideError, Deciding};
use crate::tasks::blob::{self, BlobError};
use crate::tasks::connection::{self, ConnectionError, Making};

/// The first segments of the paths that are answered here.
pub const PATHS: [&str; 9] = [
    "connections",
    "tasks",
    "audit",
    "blobs",
    "executions",
    "dead-letters",
    "redrives",
    "schedules",
    "machines",
];
/// Tasks of a page.
pub const TASKS_PAGE_MAX: usize = 100;

/// A request, as far as it matters.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// `GET`
    pub method: &'a str,
    /// Below `/selvedge/v1/`, encoded.
    pub path: &'a str,
    /// Encoded.
    pub query: &'a str,
    /// `Content-Type`
    pub content_type: &'a str,
    /// All of it.
    pub body: &'a [u8],
    /// Who calls, as far as it is known.
    pub actor: &'a str,
}

/// An answer.
#[derive(Clone, Debug)]
pub struct Reply {
    /// `200`
    pub status: u16,
    /// `Content-Type`
    pub content_type: String,
    /// All of it.
    pub body: Vec<u8>,
}

/// Answers a request. May block on the store.
pub fn handle(engine: &Arc<Engine>, request: &Request<'_>) -> Reply {
    let segments: Vec<String> = request
        .path
        .split('/')
        .filter(|segment| !segment.is_empty())
        .map(|segment| percent_decode_str(segment).decode_utf8_lossy().into_owned())
        .collect();
    let segments: Vec<&str> = segments.iter().map(String::as_str).collect();
    let answered = match (request.method, segments.as_slice()) {
        ("GET", ["connections"]) => connections(engine),
        (method, ["connections", name]) => one_connection(engine, request, method, name),
        ("GET", ["tasks"]) => tasks(engine, request),
        ("GET", ["tasks", id]) => task(engine, id),
        ("POST", ["tasks", id, "decision"]) => decide(engine, id, request.body),
        ("GET", ["audit"]) => trail(engine, request),
        ("GET", ["audit", "head"]) => head(engine),
        ("PUT" | "POST", ["blobs"]) => keep(engine, request),
        ("GET", ["blobs", hash]) => kept(engine, hash),
        (method @ ("GET" | "PUT"), ["machines", name, "extension"]) => extend(engine, request, method, name),
        (_, ["schedules", ..]) => schedules::answer(engine, request, &segments),
        (_, ["executions" | "dead-letters" | "redrives", ..]) => steer::answer(engine, request, &segments),
        _ => Err(refuse(404, "NotFoundException", "there is nothing here; or not by this method")),
    };
    answered.unwrap_or_else(|refusal| refusal)
}

type Answered = Result<Reply, Reply>;

fn json_reply(status: u16, document: &Value) -> Reply {
    Reply { status, content_type: "application/json".into(), body: format!("{document}\n").into_bytes() }
}

fn refuse(status: u16, code: &str, message: &str) -> Reply {
    json_reply(status, &json!({ "__type": code, "message": message }))
}

fn store_failed(error: &selvedge_store::Error) -> Reply {
    tracing::error!(%error, "the store failed");
    refuse(503, "ServiceUnavailableException", "the store failed; its reason is in the server's log")
}

impl From<ConnectionError> for Reply {
    fn from(error: ConnectionError) -> Self {
        let (status, code) = match &error {
            ConnectionError::Invalid { .. } => (400, "BadRequestException"),
            ConnectionError::Unknown(_) => (404, "NotFoundException"),
            ConnectionError::TooMany => (400, "LimitExceededException"),
            ConnectionError::Vault(_) => (409, "ConflictException"),
            ConnectionError::Store(error) => return store_failed(error),
        };
        refuse(status, code, &error.to_string())
    }
}

impl From<DecideError> for Reply {
    fn from(error: DecideError) -> Self {
        let (status, code) = match &error {
            DecideError::Unknown(_) => (404, "NotFoundException"),
            DecideError::Closed(_) => (409, "ConflictException"),
            DecideError::Forbidden(_) => (403, "ForbiddenException"),
            DecideError::Invalid { .. } => (400, "BadRequestException"),
            DecideError::Store(error) => return store_failed(error),
        };
        refuse(status, code, &error.to_string())
    }
}

impl From<ExtensionError> for Reply {
    fn from(error: ExtensionError) -> Self {
        let (status, code) = match &error {
            ExtensionError::Unknown(_) => (404, "NotFoundException"),
            ExtensionError::Invalid(_) => (400, "BadRequestException"),
            ExtensionError::Store(error) => return store_failed(error),
        };
        refuse(status, code, &error.to_string())
    }
}

impl From<BlobError> for Reply {
    fn from(error: BlobError) -> Self {
        let (status, code) = match &error {
            BlobError::TooLarge => (413, "RequestEntityTooLargeException"),
            BlobError::Unknown(_) => (404, "NotFoundException"),
            BlobError::NoReference(_) => (400, "BadRequestException"),
            BlobError::Store(error) => return store_failed(error),
        };
        refuse(status, code, &error.to_string())
    }
}

impl From<selvedge_store::Error> for Reply {
    fn from(error: selvedge_store::Error) -> Self {
        store_failed(&error)
    }
}

fn parameter(query: &str, name: &str) -> Option<String> {
    let found = query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='))?;
    Some(percent_decode_str(found).decode_utf8_lossy().into_owned())
}

/// A whole number of the query, within its bounds.
fn number(query: &str, name: &str, default: u64, max: u64) -> Result<u64, Reply> {
    let Some(text) = parameter(query, name) else { return Ok(default) };
    text.parse().ok().filter(|number| *number <= max).ok_or_else(|| {
        refuse(400, "BadRequestException", &format!("{name}: a number of at most {max} is expected"))
    })
}

fn document(body: &[u8]) -> Result<Value, Reply> {
    serde_json::from_slice(body)
        .map_err(|error| refuse(400, "BadRequestException", &format!("the body is no JSON: {error}")))
}

fn connections(engine: &Engine) -> Answered {
    let view = engine.store.snapshot()?;
    let found: Vec<Value> = connection::list(&*view)?.iter().map(connection::Connection::show).collect();
    Ok(json_reply(200, &json!({ "connections": found })))
}

fn one_connection(engine: &Engine, request: &Request<'_>, method: &str, name: &str) -> Answered {
    match method {
        "GET" => {
            let view = engine.store.snapshot()?;
            Ok(json_reply(200, &connection::find(&*view, name)?.show()))
        }
        "PUT" => {
            // What is no JSON is not repeated: it may be a secret.
            let document: Value = serde_json::from_slice(request.body).map_err(|error| {
                let message =
                    format!("the body is no JSON at line {} column {}", error.line(), error.column());
                refuse(400, "BadRequestException", &message)
            })?;
            let hex = |number: u64| format!("{number:016x}");
            let draw = || engine.surroundings.draw();
            let id = format!("{}{}", hex(draw()), hex(draw()));
            let making = Making {
                region: &engine.settings.region,
                account: &engine.settings.account,
                id: format!("{}-{}-{}-{}-{}", &id[..8], &id[8..12], &id[12..16], &id[16..20], &id[20..]),
                revision: hex(draw()),
                now_ms: engine.now_ms(),
                actor: request.actor,
            };
            let (made, is_new) =
                connection::put(&*engine.store, &engine.tasks.vault, name, &document, &making)?;
            Ok(json_reply(if is_new { 201 } else { 200 }, &made.show()))
        }
        "DELETE" => {
            let gone = connection::delete(&*engine.store, name, request.actor, engine.now_ms())?;
            Ok(json_reply(200, &gone.show()))
        }
        _ => Err(refuse(405, "BadRequestException", &format!("{method} is not done here"))),
    }
}

fn tasks(engine: &Engine, request: &Request<'_>) -> Answered {
    let only_open = match parameter(request.query, "status").as_deref() {
        None | Some("open") => true,
        Some("all") => false,
        Some(_) => return Err(refuse(400, "BadRequestException", "status: it has to be open or all")),
    };
    let limit = number(request.query, "limit", TASKS_PAGE_MAX as u64, TASKS_PAGE_MAX as u64)?.max(1);
    let after = parameter(request.query, "after").unwrap_or_default();
    let view = engine.store.snapshot()?;
    let limit = usize::try_from(limit).unwrap_or(TASKS_PAGE_MAX);
    let found = approval::list(&*view, only_open, &after, limit)?;
    let next = (found.len() == limit).then(|| found.last().map(|last| last.id.clone())).flatten();
    let found: Vec<Value> = found.iter().map(approval::Approval::show).collect();
    Ok(json_reply(200, &json!({ "tasks": found, "next": next })))
}

fn task(engine: &Engine, id: &str) -> Answered {
    let view = engine.store.snapshot()?;
    Ok(json_reply(200, &approval::find(&*view, id)?.show()))
}

fn decide(engine: &Engine, id: &str, body: &[u8]) -> Answered {
    let document = document(body)?;
    let wrong = |path: &str, problem: &str| refuse(400, "BadRequestException", &format!("{path}: {problem}"));
    let is_approval = match document["decision"].as_str() {
        Some("APPROVE") => true,
        Some("REJECT") => false,
        _ => return Err(wrong("decision", "it has to be APPROVE or REJECT")),
    };
    let text = |member: &str| match &document[member] {
        Value::Null => Ok(None),
        Value::String(text) => Ok(Some(text.clone())),
        _ => Err(wrong(member, "a text is expected")),
    };
    let groups = match &document["groups"] {
        Value::Null => Vec::new(),
        value => serde_json::from_value(value.clone())
            .map_err(|_| wrong("groups", "a list of texts is expected"))?,
    };
    let deciding = Deciding {
        is_approval,
        by: text("by")?.unwrap_or_default(),
        groups,
        comment: text("comment")?,
        form: document["form"].clone(),
        payload_hash: text("payloadHash")?,
    };
    Ok(json_reply(200, &engine.decide(id, &deciding)?.show()))
}

fn trail(engine: &Engine, request: &Request<'_>) -> Answered {
    let after = number(request.query, "after", 0, u64::MAX)?;
    let limit = number(request.query, "limit", audit::AUDIT_PAGE_MAX as u64, audit::AUDIT_PAGE_MAX as u64)?;
    let view = engine.store.snapshot()?;
    let lines = audit::export(&*view, after, usize::try_from(limit.max(1)).unwrap_or(1))?;
    let body: String = lines.iter().flat_map(|line| [line.as_str(), "\n"]).collect();
    Ok(Reply { status: 200, content_type: "application/x-ndjson".into(), body: body.into_bytes() })
}

fn head(engine: &Engine) -> Answered {
    let head = audit::head(&*engine.store.snapshot()?)?;
    Ok(json_reply(200, &json!({ "seq": head.seq, "hash": head.hash })))
}

fn extend(engine: &Engine, request: &Request<'_>, method: &str, name: &str) -> Answered {
    if method == "GET" {
        let found = extension::find(&*engine.store.snapshot()?, name)?.unwrap_or_default();
        return Ok(json_reply(200, &found.show()));
    }
    let asked = extension::Document::read(&document(request.body)?)?;
    Ok(json_reply(200, &engine.extend(name, asked, request.actor)?.document().show()))
}

fn keep(engine: &Engine, request: &Request<'_>) -> Answered {
    let content_type =
        if request.content_type.is_empty() { "application/octet-stream" } else { request.content_type };
    let kept = blob::put(&*engine.store, request.body, content_type)?;
    Ok(json_reply(201, &kept.reference()))
}

fn kept(engine: &Engine, hash: &str) -> Answered {
    let reference =
        Value::from(if hash.starts_with("blob:") { hash.to_owned() } else { format!("blob:sha256:{hash}") });
    let (blob, contents) = blob::get(&*engine.store, blob::hash_of(&reference)?)?;
    Ok(Reply { status: 200, content_type: blob.content_type, body: contents })
}
