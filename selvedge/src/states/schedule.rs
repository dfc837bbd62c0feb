//! `selvedge states schedule`: executions that start by the clock.

use selvedge_aws::operations::find_in;
use selvedge_aws::operations::scheduler::SERVICE;
use selvedge_client::Client;
use serde_json::{Value, json};

use super::{client, encoded, given, machine_arn, plain, text};
use crate::command::call::CallArgs;
use crate::exit::Failure;

#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  selvedge states schedule put nightly 'cron(0 3 * * ? *)' order --timezone Europe/Berlin
  selvedge states schedule put often 'rate(5 minutes)' order --catch-up none
  selvedge states schedule list
  selvedge states schedule disable often")]
pub(super) struct Args {
    #[command(subcommand)]
    command: ScheduleCommand,
}

#[derive(Debug, clap::Subcommand)]
enum ScheduleCommand {
    /// Make a schedule, or change one
    Put(PutArgs),
    /// Every schedule with its next time and what became of the last
    List(ListArgs),
    /// One schedule
    Show(NamedArgs),
    /// Let it start nothing
    Disable(NamedArgs),
    /// Let it start executions again
    Enable(NamedArgs),
    /// Delete one
    Delete(NamedArgs),
}

#[derive(Debug, clap::Args)]
struct PutArgs {
    /// Its name
    name: String,
    /// When: 'rate(5 minutes)', 'cron(0 12 * * ? *)' or 'at(2026-01-31T12:00:00)'
    expression: String,
    /// The machine, a version or an alias: its name or ARN
    machine: String,
    /// Its executions' input, as JSON or file://PATH
    #[arg(long, value_name = "JSON", default_value = "{}")]
    input: String,
    /// By whose clock, such as Europe/Berlin
    #[arg(long, value_name = "ZONE", default_value = "UTC")]
    timezone: String,
    /// Its group, which is made if there is none
    #[arg(long, value_name = "NAME", default_value = "default")]
    group: String,
    /// What becomes of times at which no server was up: all, latest or none
    #[arg(long, value_name = "POLICY")]
    catch_up: Option<String>,
    /// The oldest time that is caught up with, in seconds
    #[arg(long, value_name = "SECONDS")]
    age: Option<u64>,
    /// Delete it when it never comes again
    #[arg(long)]
    once: bool,
    /// The role that it runs as: kept and shown
    #[arg(long, value_name = "ARN", default_value = "arn:aws:iam::123456789012:role/workflow")]
    role: String,
    #[command(flatten)]
    call: CallArgs,
}

#[derive(Debug, clap::Args)]
struct ListArgs {
    /// Only those of this group
    #[arg(long, value_name = "NAME")]
    group: Option<String>,
    #[command(flatten)]
    call: CallArgs,
}

#[derive(Debug, clap::Args)]
struct NamedArgs {
    /// Its name
    name: String,
    /// Its group
    #[arg(long, value_name = "NAME", default_value = "default")]
    group: String,
    #[command(flatten)]
    call: CallArgs,
}

pub(super) async fn run(args: &Args) -> Result<(), Failure> {
    match &args.command {
        ScheduleCommand::Put(args) => put(args).await,
        ScheduleCommand::List(args) => list(args).await,
        ScheduleCommand::Show(args) => {
            let found = own(&client(&args.call)?, &args.group, &args.name).await?;
            args.call.print(found, "Schedule", line)
        }
        ScheduleCommand::Disable(args) => turn(args, "DISABLED").await,
        ScheduleCommand::Enable(args) => turn(args, "ENABLED").await,
        ScheduleCommand::Delete(args) => {
            let client = client(&args.call)?;
            let named = json!({ "Name": args.name, "groupName": args.group });
            scheduler(&client, "DeleteSchedule", named).await?;
            let found = json!({ "name": args.name, "group": args.group });
            args.call.print(found, "Schedule", |_| format!("{} is deleted\n", args.name))
        }
    }
}

async fn scheduler(client: &Client, operation: &str, input: Value) -> Result<Value, Failure> {
    let (Some(operation), Value::Object(input)) = (find_in(&SERVICE, operation), input) else {
        return Err(Failure::Usage(format!("there is no operation {operation}")));
    };
    Ok(client.call(operation, &input).await?)
}

fn path(group: &str, name: &str) -> String {
    format!("/selvedge/v1/schedules/{}/{}", encoded(group), encoded(name))
}

async fn own(client: &Client, group: &str, name: &str) -> Result<Value, Failure> {
    Ok(client.get(&path(group, name)).await?)
}

async fn put(args: &PutArgs) -> Result<(), Failure> {
    let client = client(&args.call)?;
    let mut target = json!({
        "Arn": machine_arn(&client, &args.machine).await?, "RoleArn": args.role, "Input": given(&args.input)?,
    });
    if let Some(age) = args.age {
        target["RetryPolicy"] = json!({ "MaximumEventAgeInSeconds": age });
    }
    let input = json!({
        "Name": args.name, "GroupName": args.group, "ScheduleExpression": args.expression,
        "ScheduleExpressionTimezone": args.timezone, "FlexibleTimeWindow": { "Mode": "OFF" }, "Target": target,
        "ActionAfterCompletion": if args.once { "DELETE" } else { "NONE" },
    });
    let conflicts = |failure: &Failure| matches!(failure, Failure::Refused(message) if message.contains("ConflictException"));
    if args.group != "default" {
        let made = scheduler(&client, "CreateScheduleGroup", json!({ "Name": args.group })).await;
        if let Err(failure) = made
            && !conflicts(&failure)
        {
            return Err(failure);
        }
    }
    match scheduler(&client, "CreateSchedule", input.clone()).await {
        Err(failure) if conflicts(&failure) => scheduler(&client, "UpdateSchedule", input).await?,
        made => made?,
    };
    if let Some(policy) = &args.catch_up {
        let document = json!({ "catchUp": policy });
        client.put(&format!("{}/catch-up", path(&args.group, &args.name)), &document).await?;
    }
    let found = own(&client, &args.group, &args.name).await?;
    args.call.print(found, "Schedule", line)
}

async fn turn(args: &NamedArgs, state: &str) -> Result<(), Failure> {
    let client = client(&args.call)?;
    let named = json!({ "Name": args.name, "groupName": args.group });
    let mut found = scheduler(&client, "GetSchedule", named).await?;
    for output_only in ["Arn", "CreationDate", "LastModificationDate"] {
        if let Some(members) = found.as_object_mut() {
            members.remove(output_only);
        }
    }
    found["State"] = state.into();
    scheduler(&client, "UpdateSchedule", found).await?;
    let found = own(&client, &args.group, &args.name).await?;
    args.call.print(found, "Schedule", line)
}

async fn list(args: &ListArgs) -> Result<(), Failure> {
    let client = client(&args.call)?;
    let group = args.group.as_deref().map(encoded).unwrap_or_default();
    let (mut schedules, mut after) = (Vec::new(), String::new());
    loop {
        let page = client.get(&format!("/selvedge/v1/schedules?group={group}&after={after}")).await?;
        schedules.extend(page["schedules"].as_array().cloned().unwrap_or_default());
        match page["next"].as_str() {
            Some(next) => after = encoded(next),
            None => break,
        }
    }
    args.call.print(json!({ "schedules": schedules }), "Schedules", |found| {
        found["schedules"].as_array().into_iter().flatten().map(line).collect()
    })
}

fn line(schedule: &Value) -> String {
    let mut out = format!(
        "{}/{}  {}  {}  next {}  started {}",
        text(schedule, "group"),
        text(schedule, "name"),
        text(schedule, "state"),
        text(schedule, "expression"),
        schedule["next"].as_str().unwrap_or("never"),
        schedule["started"]
    );
    if let Some(error) = schedule["last"]["error"].as_str() {
        out.push_str(&format!("  last: {error}"));
    }
    plain(&out) + "\n"
}
