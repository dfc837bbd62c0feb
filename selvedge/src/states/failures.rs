//! What failed, by error and state.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::dead_letters::{WantedArgs, letters};
use super::{client, machine_arn, plain, text};
use crate::command::call::CallArgs;
use crate::exit::Failure;

#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  selvedge states failures order              by error and state, with how many
  selvedge states failures order -o json --query 'failures[].executions[]'")]
pub(super) struct FailuresArgs {
    /// The machine: its name or ARN
    machine: String,
    /// Only those that failed with this error
    #[arg(long, value_name = "NAME")]
    error: Option<String>,
    /// Only those that failed in this state
    #[arg(long, value_name = "NAME")]
    state: Option<String>,
    /// Only those that failed from then on, such as 2026-01-31T12:00:00Z
    #[arg(long, value_name = "TIME")]
    after: Option<String>,
    /// Only those that failed before
    #[arg(long, value_name = "TIME")]
    before: Option<String>,
    /// How many failed executions are looked at, from the oldest on
    #[arg(long, value_name = "NUMBER", default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(1..=100_000))]
    max: u64,
    #[command(flatten)]
    call: CallArgs,
}

pub(super) async fn failures(args: &FailuresArgs) -> Result<(), Failure> {
    let client = client(&args.call)?;
    let wanted = WantedArgs {
        machine: Some(machine_arn(&client, &args.machine).await?),
        kind: Some("execution".to_owned()),
        error: args.error.clone(),
        state: args.state.clone(),
        after: args.after.clone(),
        before: args.before.clone(),
        max: args.max,
    };
    let mut groups: BTreeMap<(String, String), Vec<String>> = BTreeMap::new();
    for letter in letters(&client, &wanted).await? {
        let of = |member: &str| letter[member].as_str().unwrap_or("-").to_owned();
        // The newest first.
        groups.entry((of("error"), of("state"))).or_default().insert(0, of("execution"));
    }
    let failures: Vec<Value> = groups
        .into_iter()
        .map(|((error, state), arns)| json!({ "error": error, "state": state, "count": arns.len(), "executions": arns }))
        .collect();
    if failures.is_empty() {
        args.call.hint(&format!(
            "nothing of {} has failed for good: `selvedge states list {0}` shows its executions",
            args.machine
        ));
    }
    args.call.print(json!({ "failures": failures }), "Failures", |found| {
        let groups = found["failures"].as_array().map_or(&[][..], Vec::as_slice);
        groups
            .iter()
            .map(|group| {
                let last = group["executions"][0].as_str().and_then(|arn| arn.rsplit(':').next());
                format!(
                    "{:>6}  {}  in {}  last {}\n",
                    group["count"],
                    plain(text(group, "error")),
                    plain(text(group, "state")),
                    plain(last.unwrap_or_default())
                )
            })
            .collect()
    })
}
