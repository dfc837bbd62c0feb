//! What failed, by error and state.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{call, client, machine_arn, text};
use crate::command::call::CallArgs;
use crate::exit::Failure;

/// Events that are looked at from a history's end, to find the state that failed.
const EVENTS: u64 = 20;

#[derive(Debug, clap::Args)]
pub(super) struct FailuresArgs {
    /// The machine: its name or ARN
    machine: String,
    /// Only those that failed with this error
    #[arg(long, value_name = "NAME")]
    error: Option<String>,
    /// Only those that failed in this state
    #[arg(long, value_name = "NAME")]
    state: Option<String>,
    /// How many failed executions are looked at, from the newest on
    #[arg(long, value_name = "NUMBER", default_value_t = 200, value_parser = clap::value_parser!(u64).range(1..=10_000))]
    max: u64,
    #[command(flatten)]
    call: CallArgs,
}

pub(super) async fn failures(args: &FailuresArgs) -> Result<(), Failure> {
    let client = client(&args.call)?;
    let machine = machine_arn(&client, &args.machine).await?;
    let mut groups: BTreeMap<(String, String), Vec<String>> = BTreeMap::new();
    for status in ["FAILED", "TIMED_OUT"] {
        let mut left = args.max;
        let mut input =
            json!({ "stateMachineArn": machine, "statusFilter": status, "maxResults": left.min(1000) });
        loop {
            let page = call(&client, "ListExecutions", &input).await?;
            for found in page["executions"].as_array().into_iter().flatten() {
                left = left.saturating_sub(1);
                let arn = text(found, "executionArn");
                let (error, state) = reason(&client, arn).await?;
                let is_wanted = args.error.as_ref().is_none_or(|wanted| *wanted == error)
                    && args.state.as_ref().is_none_or(|wanted| *wanted == state);
                if is_wanted {
                    groups.entry((error, state)).or_default().push(arn.to_owned());
                }
            }
            match page["nextToken"].as_str().filter(|_| left > 0) {
                Some(token) => input["nextToken"] = token.into(),
                None => break,
            }
        }
    }
    let failures: Vec<Value> = groups
        .into_iter()
        .map(|((error, state), arns)| json!({ "error": error, "state": state, "count": arns.len(), "executions": arns }))
        .collect();
    args.call.print(json!({ "failures": failures }), "Failures", |found| {
        let groups = found["failures"].as_array().map_or(&[][..], Vec::as_slice);
        groups
            .iter()
            .map(|group| {
                let last = group["executions"][0].as_str().and_then(|arn| arn.rsplit(':').next());
                format!(
                    "{:>6}  {}  in {}  last {}\n",
                    group["count"],
                    text(group, "error"),
                    text(group, "state"),
                    last.unwrap_or_default()
                )
            })
            .collect()
    })
}

/// What an execution failed with, and in which state.
async fn reason(client: &selvedge_client::Client, arn: &str) -> Result<(String, String), Failure> {
    let input = json!({ "executionArn": arn, "reverseOrder": true, "maxResults": EVENTS, "includeExecutionData": false });
    let page = call(client, "GetExecutionHistory", &input).await?;
    let events = page["events"].as_array().map_or(&[][..], Vec::as_slice);
    let error = events.first().and_then(|end| {
        end["executionFailedEventDetails"]["error"]
            .as_str()
            .or_else(|| end["executionTimedOutEventDetails"]["error"].as_str())
    });
    let state = events.iter().find_map(|event| event["stateEnteredEventDetails"]["name"].as_str());
    let timed_out = events.first().is_some_and(|end| end["type"] == "ExecutionTimedOut");
    let error = error.unwrap_or(if timed_out { "States.Timeout" } else { "-" });
    Ok((error.to_owned(), state.unwrap_or("-").to_owned()))
}
