//! `selvedge states connection`: how endpoints want to be authorised.

use std::path::PathBuf;

use serde_json::Value;

use super::{client, read_file, text};
use crate::command::call::CallArgs;
use crate::exit::Failure;

/// How endpoints want calls to be authorised: put, list, show, delete
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  selvedge states connection put crm crm.json           crm.json: {\"AuthorizationType\": \"API_KEY\", \"AuthParameters\":
                                                         {\"ApiKeyAuthParameters\": {\"ApiKeyName\": \"X-Api-Key\", \"ApiKeyValue\": \"…\"}}}
  pass show crm | selvedge states connection put crm -
  selvedge states connection show crm                   its ARN, for Authentication.ConnectionArn; nothing secret

The document is that of EventBridge's CreateConnection. What is secret in it is sealed, and shown by nothing.")]
pub(super) struct Args {
    #[command(subcommand)]
    command: ConnectionCommand,
}

#[derive(Debug, clap::Subcommand)]
enum ConnectionCommand {
    /// Make a connection of a file, or bring it up to the file
    Put(PutArgs),
    /// All connections
    List(ListArgs),
    /// One connection, without what is secret
    Show(NameArgs),
    /// Delete a connection
    Delete(NameArgs),
}

#[derive(Debug, clap::Args)]
struct PutArgs {
    /// Its name
    name: String,
    /// The file with its document; - is standard input
    file: PathBuf,
    #[command(flatten)]
    call: CallArgs,
}

#[derive(Debug, clap::Args)]
struct ListArgs {
    #[command(flatten)]
    call: CallArgs,
}

#[derive(Debug, clap::Args)]
struct NameArgs {
    /// Its name
    name: String,
    #[command(flatten)]
    call: CallArgs,
}

pub(super) async fn run(args: &Args) -> Result<(), Failure> {
    match &args.command {
        ConnectionCommand::Put(args) => {
            // What does not parse is not repeated: it may be a secret.
            let document: Value = serde_json::from_str(&read_file(&args.file)?).map_err(|error| {
                let (line, column) = (error.line(), error.column());
                Failure::Usage(format!(
                    "{}: it is no JSON at line {line} column {column}",
                    args.file.display()
                ))
            })?;
            let made = client(&args.call)?.put(&path(&args.name), &document).await?;
            args.call.print(made, "Connection", |made| format!("{}\n", text(made, "ConnectionArn")))
        }
        ConnectionCommand::List(args) => {
            let found = client(&args.call)?.get("/selvedge/v1/connections").await?;
            args.call.print(found, "Connections", table)
        }
        ConnectionCommand::Show(args) => {
            let found = client(&args.call)?.get(&path(&args.name)).await?;
            args.call.print(found, "Connection", shown)
        }
        ConnectionCommand::Delete(args) => {
            let found = client(&args.call)?.delete(&path(&args.name)).await?;
            args.call.print(found, "Connection", |found| format!("{} is deleted\n", text(found, "Name")))
        }
    }
}

fn path(name: &str) -> String {
    format!("/selvedge/v1/connections/{}", super::encoded(name))
}

fn table(found: &Value) -> String {
    let connections = found["connections"].as_array().map_or(&[][..], Vec::as_slice);
    let width = connections.iter().map(|one| text(one, "Name").chars().count()).max().unwrap_or(4).max(4);
    let mut out = format!("{:<width$}  {:<24}  ARN\n", "NAME", "TYPE");
    for one in connections {
        let (name, kind, arn) =
            (text(one, "Name"), text(one, "AuthorizationType"), text(one, "ConnectionArn"));
        out.push_str(&format!("{name:<width$}  {kind:<24}  {arn}\n"));
    }
    out
}

fn shown(found: &Value) -> String {
    let mut out = format!("{}  {}\n", text(found, "ConnectionArn"), text(found, "AuthorizationType"));
    if let Some(description) = found["Description"].as_str() {
        out.push_str(&format!("  {description}\n"));
    }
    out.push_str(&format!("  {}\n", found["AuthParameters"]));
    out
}
