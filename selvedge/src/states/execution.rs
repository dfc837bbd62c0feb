//! Making machines, starting executions, and what became of them.

use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Value, json};

use super::{call, client, execution_arn, given, machine_arn, paragraph, plain, read_file, text, watch};
use crate::command::call::CallArgs;
use crate::exit::Failure;

/// How often an execution is looked at.
pub(super) const LOOK_EVERY: Duration = Duration::from_millis(200);

#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  selvedge states create order order.asl.json
  selvedge states create fast fast.asl.json --express
  cat order.asl.json | selvedge states create order -

A machine that is there already is brought up to the file; what runs goes on as it began.")]
pub(super) struct CreateArgs {
    /// The machine's name
    name: String,
    /// The file with its definition; - is standard input
    file: PathBuf,
    /// An express machine: run in memory, for five minutes at most
    #[arg(long)]
    express: bool,
    /// The role that it runs as: kept and shown
    #[arg(long, value_name = "ARN", default_value = "arn:aws:iam::123456789012:role/workflow")]
    role: String,
    #[command(flatten)]
    call: CallArgs,
}

#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  selvedge states run order --input '{\"total\": 5}'
  selvedge states run order --input file://order.json --name nightly-7 --watch
  selvedge states run order:live --detach -o json --query executionArn

The same name with the same input again is the same execution, as long as it runs.")]
pub(super) struct RunArgs {
    /// The machine, a version or an alias: its name or ARN
    machine: String,
    /// The input, as JSON or file://PATH
    #[arg(long, value_name = "JSON", default_value = "{}")]
    input: String,
    /// The execution's name; the same name and input again is the same execution
    #[arg(long)]
    name: Option<String>,
    /// Draw it while it runs
    #[arg(long)]
    watch: bool,
    /// Do not wait for its end
    #[arg(long, conflicts_with = "watch")]
    detach: bool,
    #[command(flatten)]
    call: CallArgs,
}

#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  selvedge states history order:nightly-7
  selvedge states history order:nightly-7 --reverse
  selvedge states history order:nightly-7 -o json --query 'events[].type'")]
pub(super) struct HistoryArgs {
    /// MACHINE:NAME, or an ARN
    execution: String,
    /// The last event first
    #[arg(long)]
    reverse: bool,
    #[command(flatten)]
    call: CallArgs,
}

#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  selvedge states list                        the machines
  selvedge states list order                  its executions, the newest first
  selvedge states list order --status FAILED --max 10")]
pub(super) struct ListArgs {
    /// The machine: its name or ARN; the machines themselves when left out
    machine: Option<String>,
    /// Only those: RUNNING, SUCCEEDED, FAILED, TIMED_OUT, ABORTED
    #[arg(long, value_name = "STATUS")]
    status: Option<String>,
    /// How many at the most
    #[arg(long, value_name = "NUMBER", default_value_t = 50, value_parser = clap::value_parser!(u64).range(1..=1000))]
    max: u64,
    #[command(flatten)]
    call: CallArgs,
}

#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  selvedge states stop order:nightly-7")]
pub(super) struct StopArgs {
    /// MACHINE:NAME, or an ARN
    execution: String,
    /// Why, for the history
    #[arg(long, value_name = "TEXT")]
    cause: Option<String>,
    #[command(flatten)]
    call: CallArgs,
}

pub(super) async fn create(args: &CreateArgs) -> Result<(), Failure> {
    let client = client(&args.call)?;
    let definition = read_file(&args.file)?;
    let input = json!({
        "name": args.name, "definition": definition, "roleArn": args.role,
        "type": if args.express { "EXPRESS" } else { "STANDARD" },
    });
    let found = match call(&client, "CreateStateMachine", &input).await {
        Err(Failure::Refused(message)) if message.contains("StateMachineAlreadyExists") => {
            let arn = machine_arn(&client, &args.name).await?;
            let there = call(&client, "DescribeStateMachine", &json!({ "stateMachineArn": arn })).await?;
            if there["type"] != input["type"] {
                let problem = format!(
                    "{} is there already, of the type {}, and a machine keeps its type: choose another name",
                    args.name,
                    text(&there, "type")
                );
                return Err(Failure::Refused(problem));
            }
            let input = json!({ "stateMachineArn": arn, "definition": definition, "roleArn": args.role });
            let mut updated = call(&client, "UpdateStateMachine", &input).await?;
            updated["stateMachineArn"] = arn.into();
            updated
        }
        made => made?,
    };
    args.call.print(found, "StateMachine", |found| format!("{}\n", text(found, "stateMachineArn")))
}

pub(super) async fn run(args: &RunArgs) -> Result<(), Failure> {
    let client = client(&args.call)?;
    let mut input = json!({ "stateMachineArn": machine_arn(&client, &args.machine).await?, "input": given(&args.input)? });
    if let Some(name) = &args.name {
        input["name"] = name.as_str().into();
    }
    let machine = json!({ "stateMachineArn": input["stateMachineArn"] });
    let is_express = text(&call(&client, "DescribeStateMachine", &machine).await?, "type") == "EXPRESS";
    if is_express && args.watch {
        return Err(Failure::Usage(
            "--watch: an express execution has no history that could be drawn".into(),
        ));
    }
    if is_express && !args.detach {
        return over(args, call(&client, "StartSyncExecution", &input).await?);
    }
    let started = call(&client, "StartExecution", &input).await?;
    let arn = text(&started, "executionArn").to_owned();
    if args.detach {
        return args.call.print(started, "Execution", |found| format!("{}\n", text(found, "executionArn")));
    }
    if args.watch {
        watch::draw(&client, &arn, args.call.color).await?;
    }
    let found = loop {
        let found = call(&client, "DescribeExecution", &json!({ "executionArn": arn })).await?;
        if text(&found, "status") != "RUNNING" {
            break found;
        }
        tokio::time::sleep(LOOK_EVERY).await;
    };
    over(args, found)
}

/// Shows an execution that is over.
fn over(args: &RunArgs, found: Value) -> Result<(), Failure> {
    let status = text(&found, "status").to_owned();
    args.call.print(found, "Execution", ended)?;
    if status == "SUCCEEDED" { Ok(()) } else { Err(Failure::Check(format!("the execution ended: {status}"))) }
}

/// An execution that has ended: its output alone, so that it can be read on, or what went wrong.
fn ended(found: &Value) -> String {
    match found["output"].as_str() {
        Some(output) => format!("{output}\n"),
        None => {
            let mut out = format!("{} {}\n", text(found, "status"), text(found, "executionArn"));
            for member in ["error", "cause"] {
                if let Some(value) = found[member].as_str() {
                    out.push_str(&format!("  {member:<6} {}\n", paragraph(value, 9)));
                }
            }
            out
        }
    }
}

/// All events of an execution.
pub(super) async fn events(
    client: &selvedge_client::Client,
    arn: &str,
    reverse: bool,
) -> Result<Vec<Value>, Failure> {
    let mut events = Vec::new();
    let mut input = json!({ "executionArn": arn, "maxResults": 1000, "reverseOrder": reverse });
    loop {
        let page = call(client, "GetExecutionHistory", &input).await?;
        events.extend(page["events"].as_array().cloned().unwrap_or_default());
        match page["nextToken"].as_str() {
            Some(token) => input["nextToken"] = token.into(),
            None => return Ok(events),
        }
    }
}

/// Adds what has happened since the last of `events`, which are in their order.
pub(super) async fn newer_events(
    client: &selvedge_client::Client,
    arn: &str,
    events: &mut Vec<Value>,
) -> Result<(), Failure> {
    let Some(known) = events.last().and_then(|event| event["id"].as_u64()) else {
        *events = self::events(client, arn, false).await?;
        return Ok(());
    };
    // From the end back to what is known: that is a page, as a rule.
    let mut newer = Vec::new();
    let mut input = json!({ "executionArn": arn, "maxResults": 1000, "reverseOrder": true });
    loop {
        let page = call(client, "GetExecutionHistory", &input).await?;
        let found = page["events"].as_array().cloned().unwrap_or_default();
        let is_new = |event: &Value| event["id"].as_u64().is_some_and(|id| id > known);
        let goes_on = found.iter().all(is_new);
        newer.extend(found.into_iter().take_while(is_new));
        match page["nextToken"].as_str().filter(|_| goes_on) {
            Some(token) => input["nextToken"] = token.into(),
            None => break,
        }
    }
    events.extend(newer.into_iter().rev());
    Ok(())
}

pub(super) async fn history(args: &HistoryArgs) -> Result<(), Failure> {
    let client = client(&args.call)?;
    let arn = execution_arn(&client, &args.execution).await?;
    let events = events(&client, &arn, args.reverse).await?;
    args.call.print(json!({ "events": events }), "History", |found| {
        let events = found["events"].as_array().map_or(&[][..], Vec::as_slice);
        let start =
            events.iter().filter_map(|event| event["timestamp"].as_f64()).fold(f64::INFINITY, f64::min);
        events.iter().map(|event| line(event, start)).collect()
    })
}

/// One event: its id, when it happened after the start, its type and what it is about.
fn line(event: &Value, start: f64) -> String {
    let after = event["timestamp"].as_f64().unwrap_or(start) - start;
    let details = event.as_object().into_iter().flatten().find(|(name, _)| name.ends_with("EventDetails"));
    let about = details.map(|(_, details)| {
        let shown = ["name", "resource", "error", "cause", "output"];
        let parts: Vec<&str> = shown.iter().filter_map(|member| details[member].as_str()).collect();
        parts.join("  ")
    });
    let about: String = plain(&about.unwrap_or_default()).chars().take(100).collect();
    format!(
        "{:>5}  {after:>9.3} s  {:<28}  {about}\n",
        event["id"].as_u64().unwrap_or_default(),
        text(event, "type")
    )
}

pub(super) async fn list(args: &ListArgs) -> Result<(), Failure> {
    let client = client(&args.call)?;
    let Some(machine) = &args.machine else { return machines(&client, args).await };
    let mut input =
        json!({ "stateMachineArn": machine_arn(&client, machine).await?, "maxResults": args.max });
    if let Some(status) = &args.status {
        input["statusFilter"] = status.to_ascii_uppercase().into();
    }
    let found = call(&client, "ListExecutions", &input).await?;
    if found["executions"].as_array().is_none_or(Vec::is_empty) {
        args.call
            .hint(&format!("{machine} has no such execution: `selvedge states run {machine}` starts one"));
    }
    args.call.print(found, "Executions", |found| {
        let executions = found["executions"].as_array().map_or(&[][..], Vec::as_slice);
        let width = executions.iter().map(|one| text(one, "name").chars().count()).max().unwrap_or(4).max(4);
        let mut out = format!("{:<width$}  {:<9}  SECONDS\n", "NAME", "STATUS");
        for one in executions {
            let took = match (one["startDate"].as_f64(), one["stopDate"].as_f64()) {
                (Some(start), Some(stop)) => format!("{:.3}", stop - start),
                _ => "–".to_owned(),
            };
            out.push_str(&format!("{:<width$}  {:<9}  {took}\n", text(one, "name"), text(one, "status")));
        }
        out
    })
}

/// The machines, where none is named.
async fn machines(client: &selvedge_client::Client, args: &ListArgs) -> Result<(), Failure> {
    if args.status.is_some() {
        return Err(Failure::Usage("--status: executions have one, so name their machine".into()));
    }
    let found = call(client, "ListStateMachines", &json!({ "maxResults": args.max })).await?;
    if found["stateMachines"].as_array().is_none_or(Vec::is_empty) {
        args.call.hint("there is no machine: `selvedge states create NAME FILE` makes one");
    }
    args.call.print(found, "StateMachines", |found| {
        let machines = found["stateMachines"].as_array().map_or(&[][..], Vec::as_slice);
        let width = machines.iter().map(|one| text(one, "name").chars().count()).max().unwrap_or(4).max(4);
        let mut out = format!("{:<width$}  TYPE\n", "NAME");
        for one in machines {
            out.push_str(&format!("{:<width$}  {}\n", text(one, "name"), text(one, "type")));
        }
        out
    })
}

pub(super) async fn stop(args: &StopArgs) -> Result<(), Failure> {
    let client = client(&args.call)?;
    let arn = execution_arn(&client, &args.execution).await?;
    let mut input = json!({ "executionArn": arn });
    if let Some(cause) = &args.cause {
        input["cause"] = cause.as_str().into();
    }
    let found = call(&client, "StopExecution", &input).await?;
    // The service stops what has ended as well, and changes nothing.
    let status = call(&client, "DescribeExecution", &json!({ "executionArn": arn })).await?;
    args.call.print(found, "Execution", |_| match text(&status, "status") {
        "ABORTED" => format!("{arn} is stopped\n"),
        status => format!("{arn} has ended before: {status}\n"),
    })
}
