//! `selvedge states extend`: what a machine has beyond the original.

use std::path::PathBuf;

use serde_json::{Value, json};

use super::{client, encoded, read_file};
use crate::command::call::CallArgs;
use crate::exit::Failure;

#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  selvedge states extend order --extended --history-events 1000000
  selvedge states extend order --input-schema order.schema.json
  selvedge states extend order --show
  selvedge states extend order                as it was before")]
pub(super) struct ExtendArgs {
    /// The machine's name
    machine: String,
    /// Keep values over 256 KiB as blobs, instead of ending the execution
    #[arg(long)]
    extended: bool,
    /// The most events of a history
    #[arg(long, value_name = "NUMBER")]
    history_events: Option<u64>,
    /// The file with a JSON Schema that every input has to fit
    #[arg(long, value_name = "FILE")]
    input_schema: Option<PathBuf>,
    /// The file with a JSON Schema that every output has to fit
    #[arg(long, value_name = "FILE")]
    output_schema: Option<PathBuf>,
    /// Show what it has, and change nothing
    #[arg(long, conflicts_with_all = ["extended", "history_events", "input_schema", "output_schema"])]
    show: bool,
    #[command(flatten)]
    call: CallArgs,
}

/// What is not given is taken away: the command says all that a machine has.
pub(super) async fn extend(args: &ExtendArgs) -> Result<(), Failure> {
    let client = client(&args.call)?;
    let path = format!("/selvedge/v1/machines/{}/extension", encoded(&args.machine));
    let found = if args.show {
        client.get(&path).await?
    } else {
        let document = json!({
            "mode": args.extended.then_some("EXTENDED"),
            "historyEvents": args.history_events,
            "inputSchema": schema(args.input_schema.as_ref())?,
            "outputSchema": schema(args.output_schema.as_ref())?,
        });
        client.put(&path, &document).await?
    };
    args.call.print(found, "Extension", |found| {
        let default = || "as the server has it".to_owned();
        let schema = |member: &str| if found[member].is_null() { "none" } else { "set" };
        format!(
            "mode: {}\nevents of a history: {}\ninput schema: {}\noutput schema: {}\n",
            found["mode"].as_str().map_or_else(default, str::to_owned),
            found["historyEvents"].as_u64().map_or_else(default, |events| events.to_string()),
            schema("inputSchema"),
            schema("outputSchema"),
        )
    })
}

fn schema(path: Option<&PathBuf>) -> Result<Option<Value>, Failure> {
    let Some(path) = path else { return Ok(None) };
    let parsed = serde_json::from_str(&read_file(path)?);
    parsed.map(Some).map_err(|error| Failure::Usage(format!("{}: it is no JSON: {error}", path.display())))
}
