//! `selvedge states test`: one state, run alone.

use std::path::PathBuf;

use serde_json::{Value, json};

use super::redrive::value;
use super::{call, client, given, paragraph, read_file, text};
use crate::command::call::CallArgs;
use crate::exit::Failure;

#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  selvedge states test order.asl.json --state Check --input '{\"total\": 5}'
  selvedge states test order.asl.json --state Send --result '{\"MessageId\": \"m-1\"}'
  selvedge states test order.asl.json --state Send --error SQS.Throttled --cause 'too fast' --retries 2
  selvedge states test order.asl.json --state Check --variables '{\"limit\": 3}' --steps
  selvedge states test order.asl.json --state Send --call               calls what the task calls")]
pub(super) struct TestArgs {
    /// The file with the definition of a machine or of one state; - is standard input
    file: PathBuf,
    /// Which state of the machine; the first when left out
    #[arg(long, value_name = "NAME")]
    state: Option<String>,
    /// Its input, as JSON or file://PATH
    #[arg(long, value_name = "JSON", default_value = "{}")]
    input: String,
    /// What its task answers, as JSON or file://PATH: nothing is called then
    #[arg(long, value_name = "JSON", conflicts_with = "error")]
    result: Option<String>,
    /// The name of the error that a task fails with
    #[arg(long, value_name = "NAME")]
    error: Option<String>,
    /// What the error says of itself
    #[arg(long, value_name = "TEXT", requires = "error")]
    cause: Option<String>,
    /// How often the state has been tried before
    #[arg(long, value_name = "NUMBER", requires = "error")]
    retries: Option<u64>,
    /// The variables that it sees, as a JSON object or file://PATH
    #[arg(long, value_name = "JSON")]
    variables: Option<String>,
    /// Members of its context object, as a JSON object or file://PATH
    #[arg(long, value_name = "JSON")]
    context: Option<String>,
    /// Show what is computed on the way
    #[arg(long)]
    steps: bool,
    /// How a --result is held to its API: STRICT, PRESENT (nothing is required) or NONE
    #[arg(long, value_name = "MODE", requires = "result", value_parser = ["STRICT", "PRESENT", "NONE"])]
    mode: Option<String>,
    /// Call the state's task, where neither --result nor --error stands for it
    #[arg(long = "call", conflicts_with_all = ["result", "error"])]
    is_called: bool,
    #[command(flatten)]
    call: CallArgs,
}

pub(super) async fn run(args: &TestArgs) -> Result<(), Failure> {
    let mut input = json!({
        "definition": read_file(&args.file)?,
        "input": given(&args.input)?,
        "inspectionLevel": "DEBUG",
    });
    if let Some(state) = &args.state {
        input["stateName"] = state.as_str().into();
    }
    if let Some(result) = &args.result {
        input["mock"] = json!({ "result": given(result)? });
        if let Some(mode) = &args.mode {
            input["mock"]["fieldValidationMode"] = mode.as_str().into();
        }
    }
    if let Some(error) = &args.error {
        let cause = args.cause.as_deref().unwrap_or_default();
        input["mock"] = json!({ "errorOutput": { "error": error, "cause": cause } });
    }
    if let Some(retries) = args.retries {
        input["stateConfiguration"] = json!({ "retrierRetryCount": retries });
    }
    for (member, given) in [("variables", &args.variables), ("context", &args.context)] {
        if let Some(given) = value(given.as_ref())? {
            input[member] = given.to_string().into();
        }
    }
    if args.is_called {
        input["roleArn"] = "arn:aws:iam::123456789012:role/test".into();
    }
    let found = call(&client(&args.call)?, "TestState", &input).await?;
    let failed = text(&found, "status") == "FAILED";
    args.call.print(found, "TestState", |found| shown(found, args.steps))?;
    if failed { Err(Failure::Check("the state fails".into())) } else { Ok(()) }
}

fn shown(found: &Value, with_steps: bool) -> String {
    let mut out = format!("{}\n", text(found, "status"));
    for (member, name) in
        [("output", "output"), ("nextState", "next"), ("error", "error"), ("cause", "cause")]
    {
        if let Some(value) = found[member].as_str() {
            out.push_str(&format!("  {name:<7} {}\n", paragraph(value, 10)));
        }
    }
    for (name, value) in found["inspectionData"].as_object().into_iter().flatten().filter(|_| with_steps) {
        let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        out.push_str(&format!("  {name:<26} {}\n", paragraph(&value, 29)));
    }
    out
}
