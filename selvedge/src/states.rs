//! `selvedge states`: workflows from the command line.

mod approve;
mod audit;
mod connection;
mod dead_letters;
mod execution;
mod extend;
mod failures;
mod frame;
mod picture;
mod redrive;
mod schedule;
mod test;
mod validate;
mod watch;

use std::path::{Path, PathBuf};

use selvedge_aws::operations::find_in;
use selvedge_aws::operations::stepfunctions::SERVICE;
use selvedge_client::Client;
use serde_json::Value;

use crate::command::call::{CallArgs, encoded};
use crate::exit::Failure;

/// Bytes of a file with a definition or an input.
const FILE_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// Workflows: run, watch, history, list, redrive, dead-letters, stop, validate, test, tasks, approve, connection, audit
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  selvedge states validate order.asl.json     every error at its place; needs no server
  selvedge states test order.asl.json --state Check --input '{\"total\": 5}'
  selvedge states run order --input '{\"total\": 5}' --watch
  selvedge states list                        the machines
  selvedge states watch order:nightly-7       a machine as it runs
  selvedge states list order --status FAILED
  selvedge states failures order              what failed, by error and state
  selvedge states redrive order:nightly-7     on from the state that failed
  selvedge states redrive order:nightly-7 --from Bill --input '{\"total\": 5}'
  selvedge states redrive order --failed --error Bank.Down --rate 5     five a second
  selvedge states dead-letters                what failed for good, or was not delivered
  selvedge states tasks                       what waits for people
  selvedge states approve ID --as ada --group finance

A machine is its name or ARN, an execution is MACHINE:NAME or its ARN. Machines are made
with `aws stepfunctions create-state-machine`, or here with `selvedge states create`.

Exit codes: 0 done; 1 it ran and failed, or no server answers; 2 the command line is wrong;
254 the server refused.")]
pub(crate) struct Args {
    #[command(subcommand)]
    command: StatesCommand,
}

#[derive(Debug, clap::Subcommand)]
enum StatesCommand {
    /// Make a machine of a file with its definition, or bring it up to the file
    Create(execution::CreateArgs),
    /// Start an execution, and wait for its end
    Run(execution::RunArgs),
    /// Draw an execution's machine as it runs
    Watch(watch::WatchArgs),
    /// What happened in an execution
    History(execution::HistoryArgs),
    /// The machines, or the executions of one, the newest first
    List(execution::ListArgs),
    /// What failed, by error and state
    Failures(failures::FailuresArgs),
    /// Drive an execution on from the state that failed, or all failed ones of a machine
    Redrive(redrive::RedriveArgs),
    /// Runs of redrives: how far they are; pause, resume or cancel one
    Redrives(redrive::RedrivesArgs),
    /// What failed for good or could not be delivered: list, look, replay, discard
    DeadLetters(dead_letters::DeadLettersArgs),
    /// Start executions by the clock
    Schedule(schedule::Args),
    /// Bounds and schemas beyond the original's, of a machine
    Extend(extend::ExtendArgs),
    /// Stop an execution
    Stop(execution::StopArgs),
    /// Show what is wrong with a definition, at its place in the file
    Validate(validate::ValidateArgs),
    /// Try one state alone, with a mock for what it calls
    Test(test::TestArgs),
    /// What waits for people
    Tasks(approve::TasksArgs),
    /// Approve what waits for you, or reject it
    Approve(approve::ApproveArgs),
    /// How endpoints want calls to be authorised
    Connection(connection::Args),
    /// Who did what, and that nobody changed it
    Audit(audit::Args),
}

/// Does what was asked for.
///
/// # Errors
/// [`Failure`], which knows the exit code.
pub(crate) async fn run(args: &Args) -> Result<(), Failure> {
    match &args.command {
        StatesCommand::Create(args) => execution::create(args).await,
        StatesCommand::Run(args) => execution::run(args).await,
        StatesCommand::Watch(args) => watch::run(args).await,
        StatesCommand::History(args) => execution::history(args).await,
        StatesCommand::List(args) => execution::list(args).await,
        StatesCommand::Failures(args) => failures::failures(args).await,
        StatesCommand::Redrive(args) => redrive::redrive(args).await,
        StatesCommand::Redrives(args) => redrive::redrives(args).await,
        StatesCommand::DeadLetters(args) => dead_letters::dead_letters(args).await,
        StatesCommand::Schedule(args) => schedule::run(args).await,
        StatesCommand::Extend(args) => extend::extend(args).await,
        StatesCommand::Stop(args) => execution::stop(args).await,
        StatesCommand::Validate(args) => validate::run(args),
        StatesCommand::Test(args) => test::run(args).await,
        StatesCommand::Tasks(args) => approve::tasks(args).await,
        StatesCommand::Approve(args) => approve::approve(args).await,
        StatesCommand::Connection(args) => connection::run(args).await,
        StatesCommand::Audit(args) => audit::run(args).await,
    }
}

/// Calls an operation of Step Functions.
async fn call(client: &Client, operation: &str, input: &Value) -> Result<Value, Failure> {
    let operation = find_in(&SERVICE, operation).expect("the operation is in the table");
    Ok(client.call_json(&SERVICE, operation, input).await?)
}

/// The ARN of a machine that somebody names.
async fn machine_arn(client: &Client, name: &str) -> Result<String, Failure> {
    if name.starts_with("arn:") {
        return Ok(name.to_owned());
    }
    let mut token = Value::Null;
    loop {
        let mut input = serde_json::json!({ "maxResults": 1000 });
        if !token.is_null() {
            input["nextToken"] = token;
        }
        let page = call(client, "ListStateMachines", &input).await?;
        let machines = page["stateMachines"].as_array().cloned().unwrap_or_default();
        if let Some(found) = machines.iter().find(|machine| machine["name"] == name) {
            return Ok(text(found, "stateMachineArn").to_owned());
        }
        token = page["nextToken"].clone();
        if token.is_null() {
            return Err(Failure::Refused(format!("there is no state machine named {name}")));
        }
    }
}

/// The ARN of an execution that somebody names as MACHINE:NAME.
async fn execution_arn(client: &Client, name: &str) -> Result<String, Failure> {
    if name.starts_with("arn:") {
        return Ok(name.to_owned());
    }
    let Some((machine, execution)) = name.split_once(':') else {
        return Err(Failure::Usage(format!("'{name}' is no execution: write MACHINE:NAME or an ARN")));
    };
    let machine = machine_arn(client, machine).await?;
    Ok(format!("{}:{execution}", machine.replacen(":stateMachine:", ":execution:", 1)))
}

fn text<'v>(value: &'v Value, member: &str) -> &'v str {
    value[member].as_str().unwrap_or_default()
}

/// A stranger's text, without what would steer a terminal.
fn plain(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).collect()
}

/// The same for what may have lines, such as a stack trace: each but the first is indented by `margin`.
fn paragraph(text: &str, margin: usize) -> String {
    let lines: Vec<String> = text.lines().map(|line| plain(&line.replace('\t', "    "))).collect();
    lines.join(&format!("\n{}", " ".repeat(margin)))
}

/// A file's text; `-` is standard input.
fn read_file(path: &Path) -> Result<String, Failure> {
    use std::io::Read as _;
    let mut contents = String::new();
    let read = if path == Path::new("-") {
        std::io::stdin().take(FILE_BYTES_MAX).read_to_string(&mut contents)
    } else {
        std::fs::File::open(path).and_then(|file| file.take(FILE_BYTES_MAX).read_to_string(&mut contents))
    };
    read.map_err(|error| Failure::Usage(format!("{}: {error}", path.display())))?;
    Ok(contents)
}

/// An option's JSON: the text itself, or a file's after `file://`.
fn given(text: &str) -> Result<String, Failure> {
    let contents = match text.strip_prefix("file://") {
        Some(path) => read_file(&PathBuf::from(path))?,
        None => text.to_owned(),
    };
    serde_json::from_str::<Value>(&contents)
        .map_err(|error| Failure::Usage(format!("the input is no JSON: {error}")))?;
    Ok(contents)
}

/// The server to call.
fn client(call: &CallArgs) -> Result<Client, Failure> {
    call.client()
}
