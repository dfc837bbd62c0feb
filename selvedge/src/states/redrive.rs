//! `selvedge states redrive` and `redrives`: executions that failed go on.

use serde_json::{Value, json};

use super::{call, client, encoded, execution, execution_arn, given, machine_arn, plain, text};
use crate::command::call::CallArgs;
use crate::exit::Failure;

#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  selvedge states redrive order:nightly-7     on from the state that failed
  selvedge states redrive order:nightly-7 --from Bill --input '{\"total\": 5}'
  selvedge states redrive order --failed --error Bank.Down --rate 5     five a second")]
pub(super) struct RedriveArgs {
    /// An execution (MACHINE:NAME or ARN), or a machine with --failed
    what: String,
    /// Go on from this state of the machine instead of the one that failed
    #[arg(long, value_name = "STATE")]
    from: Option<String>,
    /// That state's input, as JSON or file://PATH; the one it had last when left out
    #[arg(long, value_name = "JSON", requires = "from")]
    input: Option<String>,
    /// Every failed execution of the machine
    #[arg(long)]
    failed: bool,
    /// Only those that failed with this error
    #[arg(long, value_name = "NAME", requires = "failed")]
    error: Option<String>,
    /// Only those that failed in this state
    #[arg(long, value_name = "NAME", requires = "failed")]
    state: Option<String>,
    /// Only those that failed from then on, such as 2026-01-31T12:00:00Z
    #[arg(long, value_name = "TIME", requires = "failed")]
    after: Option<String>,
    /// Only those that failed before
    #[arg(long, value_name = "TIME", requires = "failed")]
    before: Option<String>,
    /// How many a second
    #[arg(long, value_name = "NUMBER", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=1000), requires = "failed")]
    rate: u64,
    /// Do not wait until all go on: the server does it by itself
    #[arg(long, requires = "failed")]
    detach: bool,
    #[command(flatten)]
    call: CallArgs,
}

#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  selvedge states redrives                    how far they are
  selvedge states redrives ID --pause")]
pub(super) struct RedrivesArgs {
    /// One run
    id: Option<String>,
    /// Let it stand still
    #[arg(long, requires = "id", conflicts_with_all = ["resume", "cancel"])]
    pause: bool,
    /// Let it go on
    #[arg(long, requires = "id", conflicts_with = "cancel")]
    resume: bool,
    /// End it
    #[arg(long, requires = "id")]
    cancel: bool,
    #[command(flatten)]
    call: CallArgs,
}

/// JSON that somebody gave, as a value.
pub(super) fn value(text: Option<&String>) -> Result<Option<Value>, Failure> {
    let Some(text) = text else { return Ok(None) };
    let parsed = serde_json::from_str(&given(text)?);
    parsed.map(Some).map_err(|error| Failure::Usage(format!("the input is no JSON: {error}")))
}

/// An object of what was given.
pub(super) fn members<const N: usize>(given: [(&str, Option<Value>); N]) -> Value {
    Value::Object(given.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect())
}

pub(super) async fn redrive(args: &RedriveArgs) -> Result<(), Failure> {
    let client = client(&args.call)?;
    let from = args.from.as_deref().map(Value::from);
    if !args.failed {
        let arn = execution_arn(&client, &args.what).await?;
        if from.is_none() {
            let found = call(&client, "RedriveExecution", &json!({ "executionArn": arn })).await?;
            return args.call.print(found, "Redrive", |_| format!("{arn} goes on\n"));
        }
        let body = members([("from", from), ("input", value(args.input.as_ref())?)]);
        let found = client.post(&format!("/selvedge/v1/executions/{}/redrive", encoded(&arn)), &body).await?;
        return args.call.print(found, "Redrive", |found| {
            let revision = found["revisions"].as_array().map_or(0, Vec::len);
            format!("{arn} goes on; this is revision {revision} of its input\n")
        });
    }
    let text_of = |given: &Option<String>| given.as_deref().map(Value::from);
    let body = members([
        ("machine", Some(machine_arn(&client, &args.what).await?.into())),
        ("error", text_of(&args.error)),
        ("state", text_of(&args.state)),
        ("after", text_of(&args.after)),
        ("before", text_of(&args.before)),
        ("from", from),
        ("input", value(args.input.as_ref())?),
        ("rate", Some(args.rate.into())),
    ]);
    let mut run = client.post("/selvedge/v1/redrives", &body).await?;
    while !args.detach && text(&run, "status") == "RUNNING" {
        tokio::time::sleep(execution::LOOK_EVERY).await;
        run = client.get(&format!("/selvedge/v1/redrives/{}", text(&run, "id"))).await?;
    }
    args.call.print(run, "Redrive", shown)
}

pub(super) async fn redrives(args: &RedrivesArgs) -> Result<(), Failure> {
    let client = client(&args.call)?;
    let Some(id) = &args.id else {
        let found = client.get("/selvedge/v1/redrives").await?;
        if found["redrives"].as_array().is_none_or(Vec::is_empty) {
            args.call.hint("there is no run: `selvedge states redrive MACHINE --failed` begins one");
        }
        return args.call.print(found, "Redrives", |found| {
            found["redrives"].as_array().into_iter().flatten().map(line).collect()
        });
    };
    let path = format!("/selvedge/v1/redrives/{}", encoded(id));
    let turn = [(args.pause, "pause"), (args.resume, "resume"), (args.cancel, "cancel")];
    let found = match turn.iter().find(|(is_asked, _)| *is_asked) {
        Some((_, turn)) => client.post(&format!("{path}/{turn}"), &json!({})).await?,
        None => client.get(&path).await?,
    };
    args.call.print(found, "Redrive", shown)
}

fn line(run: &Value) -> String {
    format!(
        "{}  {:<8}  {} go on, {} were refused\n",
        text(run, "id"),
        text(run, "status"),
        run["redriven"],
        run["refused"]
    )
}

fn shown(run: &Value) -> String {
    let mut out = line(run);
    for refusal in run["refusals"].as_array().into_iter().flatten() {
        let reason = plain(text(refusal, "reason"));
        out.push_str(&format!("  {}: {reason}\n", plain(text(refusal, "execution"))));
    }
    out
}
