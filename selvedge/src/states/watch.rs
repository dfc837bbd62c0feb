//! `selvedge states watch`: the machine as it runs.

use std::io::{IsTerminal as _, Write as _};

use serde_json::json;

use super::frame::{Room, frame};
use super::{call, client, execution, execution_arn, picture, plain, text};
use crate::command::call::CallArgs;
use crate::exit::Failure;
use crate::output::Color;

#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  selvedge states watch order:nightly-7
  selvedge states watch order:nightly-7 --color off | cat     as lines, for a log")]
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

/// Draws until the execution has ended: over the last picture on a terminal, as much as it has room for, and all of it at the end.
pub(super) async fn draw(client: &selvedge_client::Client, arn: &str, color: Color) -> Result<(), Failure> {
    let input = json!({ "executionArn": arn });
    let machine = call(client, "DescribeStateMachineForExecution", &input).await?;
    let definition: serde_json::Value =
        serde_json::from_str(text(&machine, "definition")).unwrap_or(serde_json::Value::Null);
    let is_terminal = std::io::stdout().is_terminal();
    let mut events = Vec::new();
    let mut drawn_lines = 0;
    loop {
        // The status first: what it says is in the history then.
        let found = call(client, "DescribeExecution", &input).await?;
        execution::newer_events(client, arn, &mut events).await?;
        let status = text(&found, "status");
        let is_over = status != "RUNNING";
        if is_terminal || is_over {
            let header = format!("{} {status}", plain(text(&found, "name")));
            let rows = picture::rows(&definition, &events);
            // What has ended is not drawn over: it may be longer than the terminal.
            let room = if is_over { Room { lines: usize::MAX, cells: usize::MAX } } else { room() };
            let frame = frame(&header, &rows, room, color.enabled());
            let mut out = std::io::stdout().lock();
            if drawn_lines > 0 {
                // Up to the first line of the last picture, and clear from there.
                write!(out, "\x1b[{drawn_lines}A\x1b[J")?;
            }
            drawn_lines = frame.lines().count();
            out.write_all(frame.as_bytes())?;
            out.flush()?;
        }
        if is_over {
            return Ok(());
        }
        tokio::time::sleep(execution::LOOK_EVERY).await;
    }
}

/// The terminal's room, but for the line that the cursor stands on; of one that does not say, what terminals have had since the VT100.
fn room() -> Room {
    let size = rustix::termios::tcgetwinsize(std::io::stdout()).ok();
    let size = size.filter(|size| size.ws_row > 0 && size.ws_col > 0);
    size.map_or(Room { lines: 23, cells: 80 }, |size| Room {
        lines: usize::from(size.ws_row) - 1,
        cells: usize::from(size.ws_col),
    })
}
