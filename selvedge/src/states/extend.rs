//! `selvedge states extend`: what a machine has beyond the original.

use std::path::PathBuf;

use serde_json::{Value, json};

use super::{client, encoded, read_file};
use crate::command::call::CallArgs;
use crate::exit::Failure;

#[derive(Debug, clap::Args)]
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
        let set = |member: &str| if found[member].is_null() { "as the server has it" } else { "set" };
        format!(
            "mode {}, history {} events, input schema {}, output schema {}\n",
            found["mode"].as_str().unwrap_or("as the server has it"),
            found["historyEvents"]
                .as_u64()
                .map_or_else(|| "as the server has it".to_owned(), |events| events.to_string()),
            if found["inputSchema"].is_null() { "none" } else { set("inputSchema") },
            if found["outputSchema"].is_null() { "none" } else { set("outputSchema") },
        )
    })
}

fn schema(path: Option<&PathBuf>) -> Result<Option<Value>, Failure> {
    let Some(path) = path else { return Ok(None) };
    let parsed = serde_json::from_str(&read_file(path)?);
    parsed.map(Some).map_err(|error| Failure::Usage(format!("{}: it is no JSON: {error}", path.display())))
}
