//! `selvedge states test`: one state, run alone.

use std::path::PathBuf;

use serde_json::{Value, json};

use super::{call, client, given, read_file, text};
use crate::command::call::CallArgs;
use crate::exit::Failure;

#[derive(Debug, clap::Args)]
pub(super) struct TestArgs {
    /// The file with the definition of a machine or of one state; - is standard input
    file: PathBuf,
    /// Which state of the machine; the first when left out
    #[arg(long, value_name = "NAME")]
    state: Option<String>,
    /// Its input, as JSON or file://PATH
    #[arg(long, value_name = "JSON", default_value = "{}")]
    input: String,
    /// What a task that it calls answers, as JSON or file://PATH
    #[arg(long, value_name = "JSON", conflicts_with = "error")]
    result: Option<String>,
    /// The name of the error that a task fails with
    #[arg(long, value_name = "NAME")]
    error: Option<String>,
    #[command(flatten)]
    call: CallArgs,
}

pub(super) async fn run(args: &TestArgs) -> Result<(), Failure> {
    let mut input = json!({
        "definition": read_file(&args.file)?,
        "roleArn": "arn:aws:iam::123456789012:role/test",
        "input": given(&args.input)?,
        "inspectionLevel": "DEBUG",
    });
    if let Some(state) = &args.state {
        input["stateName"] = state.as_str().into();
    }
    if let Some(result) = &args.result {
        input["mock"] = json!({ "result": given(result)? });
    }
    if let Some(error) = &args.error {
        input["mock"] = json!({ "errorOutput": { "error": error, "cause": "" } });
    }
    let found = call(&client(&args.call)?, "TestState", &input).await?;
    let failed = text(&found, "status") == "FAILED";
    args.call.print(found, "TestState", shown)?;
    if failed { Err(Failure::Check("the state fails".into())) } else { Ok(()) }
}

fn shown(found: &Value) -> String {
    let mut out = format!("{}\n", text(found, "status"));
    for (member, name) in
        [("output", "output"), ("nextState", "next"), ("error", "error"), ("cause", "cause")]
    {
        if let Some(value) = found[member].as_str() {
            out.push_str(&format!("  {name:<7} {value}\n"));
        }
    }
    out
}
