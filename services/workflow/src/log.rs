//! What executions log, as `loggingConfiguration` asks: records in CloudWatch's shape, one a line, a file for each log group.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use selvedge_asl::Event;
use serde_json::{Value, json};

/// How many log groups' files are open at a time.
pub const LOG_FILES_MAX: usize = 64;

/// What is logged of a machine's executions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Plan {
    group: String,
    level: Level,
    with_data: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Level {
    /// Every event.
    All,
    /// What failed, was ended, or took too long.
    Error,
    /// Executions that did.
    Fatal,
}

impl Plan {
    /// Reads a `loggingConfiguration`; none where nothing is to be logged.
    pub(crate) fn read(logging: &Value) -> Option<Arc<Self>> {
        let level = match logging["level"].as_str()? {
            "ALL" => Level::All,
            "ERROR" => Level::Error,
            "FATAL" => Level::Fatal,
            _ => return None,
        };
        let group = group(logging["destinations"][0]["cloudWatchLogsLogGroup"]["logGroupArn"].as_str()?)?;
        let with_data = logging["includeExecutionData"].as_bool().unwrap_or(false);
        Some(Arc::new(Self { group: group.to_owned(), level, with_data }))
    }

    fn wants(&self, kind: &str) -> bool {
        let is_fatal = matches!(kind, "ExecutionFailed" | "ExecutionAborted" | "ExecutionTimedOut");
        let is_error = ["Failed", "Aborted", "TimedOut"].iter().any(|end| kind.ends_with(end));
        match self.level {
            Level::All => true,
            Level::Error => is_error || kind == "FailStateEntered",
            Level::Fatal => is_fatal,
        }
    }

    /// The records of events, one a line.
    pub(crate) fn lines(&self, execution_arn: &str, redrive_count: u64, events: &[Event]) -> String {
        let mut lines = String::new();
        for event in events {
            let kind = event.detail.type_name();
            if !self.wants(&kind) {
                continue;
            }
            let details = event.detail.details(self.with_data).map(|(_, details)| details);
            let record = json!({
                "id": event.id.to_string(),
                "type": kind,
                "details": details.unwrap_or_else(|| json!({})),
                "redrive_count": redrive_count.to_string(),
                "previous_event_id": event.previous.to_string(),
                "event_timestamp": event.at_ms.to_string(),
                "execution_arn": execution_arn,
            });
            lines.push_str(&record.to_string());
            lines.push('\n');
        }
        lines
    }
}

/// The name in a log group's ARN, `arn:aws:logs:REGION:ACCOUNT:log-group:NAME:*`; none for what is none.
pub(crate) fn group(arn: &str) -> Option<&str> {
    let mut parts = arn.splitn(7, ':');
    let (scheme, _partition, service) = (parts.next()?, parts.next()?, parts.next()?);
    let (_region, _account, kind, name) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let name = name.strip_suffix(":*").unwrap_or(name);
    (scheme == "arn" && service == "logs" && kind == "log-group" && !name.is_empty()).then_some(name)
}

/// The files. Whoever wants them small moves them away: what follows goes into a new one.
#[derive(Debug, Default)]
pub(crate) struct Logs {
    folder: Option<PathBuf>,
    files: Mutex<HashMap<String, File>>,
}

impl Logs {
    /// Logs into files of `folder`, or nowhere.
    pub(crate) fn new(folder: Option<PathBuf>) -> Self {
        Self { folder, files: Mutex::default() }
    }

    pub(crate) fn is_on(&self) -> bool {
        self.folder.is_some()
    }

    /// Adds lines to a group's file. A log that cannot be written stops nothing.
    pub(crate) fn append(&self, plan: &Plan, lines: &str) {
        let Some(folder) = self.folder.as_ref().filter(|_| !lines.is_empty()) else { return };
        let mut files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        if let Err(error) = write(&mut files, folder, &plan.group, lines) {
            files.remove(&plan.group);
            tracing::warn!(group = plan.group, %error, "the log of executions cannot be written");
        }
    }
}

fn write(files: &mut HashMap<String, File>, folder: &Path, group: &str, lines: &str) -> io::Result<()> {
    let path = folder.join(file_name(group));
    // Moved away by somebody: the next one begins.
    if !path.exists() {
        files.remove(group);
    }
    if !files.contains_key(group) {
        if files.len() >= LOG_FILES_MAX {
            files.clear();
        }
        std::fs::create_dir_all(folder)?;
        files.insert(group.to_owned(), OpenOptions::new().create(true).append(true).open(&path)?);
    }
    match files.get_mut(group) {
        Some(file) => file.write_all(lines.as_bytes()),
        None => Ok(()),
    }
}

/// `/aws/vendedlogs/states/x` becomes `aws.vendedlogs.states.x.jsonl`: no name leads out of the folder.
fn file_name(group: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '#') { c } else { '.' };
    let name: String = group.trim_start_matches('/').chars().map(plain).take(200).collect();
    format!("{}.jsonl", name.trim_matches('.'))
}

#[cfg(test)]
mod tests {
    use selvedge_asl::{Detail, Failure, StateType};

    use super::*;

    fn plan(level: &str, with_data: bool) -> Option<Arc<Plan>> {
        Plan::read(&json!({ "level": level, "includeExecutionData": with_data, "destinations": [
            { "cloudWatchLogsLogGroup": { "logGroupArn": "arn:aws:logs:us-east-1:1:log-group:/aws/states/../x:*" } } ] }))
    }

    #[test]
    fn each_level_logs_its_events() {
        let event = |id, detail| Event { id, previous: id - 1, at_ms: 5000, detail };
        let failure = Failure::new("E", "c");
        let events = [
            event(1, Detail::ExecutionStarted { input: "{}".into(), role_arn: "r".into() }),
            event(2, Detail::StateEntered { kind: StateType::Fail, name: "F".into(), input: "{}".into() }),
            event(3, Detail::ActivityFailed(failure.clone())),
            event(4, Detail::ExecutionFailed(failure)),
        ];
        let ids = |level| -> Vec<String> {
            let lines = plan(level, true).unwrap().lines("arn", 2, &events);
            let id = |line| serde_json::from_str::<Value>(line).unwrap()["id"].as_str().unwrap().to_owned();
            lines.lines().map(id).collect()
        };
        assert_eq!(ids("ALL"), ["1", "2", "3", "4"]);
        assert_eq!(ids("ERROR"), ["2", "3", "4"]);
        assert_eq!(ids("FATAL"), ["4"]);
        assert!(plan("OFF", true).is_none());
        let line = |with_data| plan("ALL", with_data).unwrap().lines("arn", 2, &events[..1]);
        assert!(line(true).contains("\"input\":\"{}\"") && line(true).contains("\"redrive_count\":\"2\""));
        assert!(!line(false).contains("input"));
    }

    #[test]
    fn a_groups_arn_has_its_name() {
        for (arn, expected) in [
            ("arn:aws:logs:us-east-1:1:log-group:/aws/x:*", Some("/aws/x")),
            ("arn:aws-cn:logs:us-east-1:1:log-group:x", Some("x")),
            ("arn:aws:logs:us-east-1:1:log-group:", None),
            ("arn:aws:logs:us-east-1:1:log-group::*", None),
            ("arn:aws:s3:::log-group:x", None),
            ("nowhere", None),
        ] {
            assert_eq!(group(arn), expected, "{arn}");
        }
    }

    #[test]
    fn a_group_has_a_file_and_one_that_was_moved_away_begins_anew() {
        let folder = tempfile::tempdir().unwrap();
        let logs = Logs::new(Some(folder.path().join("logs")));
        let plan = plan("ALL", false).unwrap();
        logs.append(&plan, "1\n");
        logs.append(&plan, "2\n");
        let file = folder.path().join("logs/aws.states....x.jsonl");
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "1\n2\n");
        std::fs::rename(&file, folder.path().join("old")).unwrap();
        logs.append(&plan, "3\n");
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "3\n");
    }
}
