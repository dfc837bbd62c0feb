//! `selvedge states watch`: the machine as it runs.

use std::io::{IsTerminal as _, Write as _};

use serde_json::json;

use super::{call, client, execution, execution_arn, picture, text};
use crate::command::call::CallArgs;
use crate::exit::Failure;
use crate::output::Color;

#[derive(Debug, clap::Args)]
pub(super) struct WatchArgs {
    /// MACHINE:NAME, or an ARN
    execution: String,
    #[command(flatten)]
    call: CallArgs,
}

pub(super) async fn run(args: &WatchArgs) -> Result<(), Failure> {
    let client = client(&args.call)?;
    let arn = execution_arn(&client, &args.execution).await?;
    draw(&client, &arn, args.call.color).await
}

/// Draws until the execution has ended: over the last picture on a terminal, once at the end elsewhere.
pub(super) async fn draw(client: &selvedge_client::Client, arn: &str, color: Color) -> Result<(), Failure> {
    let input = json!({ "executionArn": arn });
    let machine = call(client, "DescribeStateMachineForExecution", &input).await?;
    let definition: serde_json::Value =
        serde_json::from_str(text(&machine, "definition")).unwrap_or(serde_json::Value::Null);
    let is_terminal = std::io::stdout().is_terminal();
    let mut drawn_lines = 0;
    loop {
        // The status first: what it says is in the history then.
        let found = call(client, "DescribeExecution", &input).await?;
        let events = execution::events(client, arn, false).await?;
        let status = text(&found, "status");
        let is_over = status != "RUNNING";
        if is_terminal || is_over {
            let picture = picture::draw(&definition, &events, color.enabled());
            let mut out = std::io::stdout().lock();
            if drawn_lines > 0 {
                // Up to the first line of the last picture, and clear from there.
                write!(out, "\x1b[{drawn_lines}A\x1b[J")?;
            }
            let whole = format!("{} {status}\n{picture}", text(&found, "name"));
            drawn_lines = whole.lines().count();
            out.write_all(whole.as_bytes())?;
            out.flush()?;
        }
        if is_over {
            return Ok(());
        }
        tokio::time::sleep(execution::LOOK_EVERY).await;
    }
}
