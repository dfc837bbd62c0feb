//! `selvedge states audit`: the trail, exported and verified.

use std::io::BufRead as _;
use std::path::PathBuf;

use http::Method;
use selvedge_workflow::audit::{Broken, Head, Verifier};
use serde_json::json;

use super::client;
use crate::command::call::CallArgs;
use crate::exit::Failure;
use crate::output;

/// Who did what: export the trail as lines of JSON, or verify that nobody changed it
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  selvedge states audit export > trail.jsonl
  selvedge states audit verify                          what the server has
  selvedge states audit verify trail.jsonl --head 812:5f0c…   and that its end was not cut off

An entry's hash is SHA-256 of its line before `,\"hash\":`; `previous` is the hash of the entry before. Write the head down where the
server's administrators cannot reach it: whoever can write the whole store can write a whole new trail.")]
pub(super) struct Args {
    #[command(subcommand)]
    command: AuditCommand,
}

#[derive(Debug, clap::Subcommand)]
enum AuditCommand {
    /// Every entry as a line of JSON
    Export(ExportArgs),
    /// Verify that each entry follows the one before, unchanged
    Verify(VerifyArgs),
}

#[derive(Debug, clap::Args)]
struct ExportArgs {
    /// Only entries after this number
    #[arg(long, value_name = "NUMBER", default_value_t = 0)]
    after: u64,
    #[command(flatten)]
    call: CallArgs,
}

#[derive(Debug, clap::Args)]
struct VerifyArgs {
    /// An export, from its first entry on; - is standard input. Without it, what the server has
    file: Option<PathBuf>,
    /// An entry that was written down before, as NUMBER:HASH
    #[arg(long, value_name = "NUMBER:HASH", value_parser = head)]
    head: Option<Head>,
    #[command(flatten)]
    call: CallArgs,
}

pub(super) async fn run(args: &Args) -> Result<(), Failure> {
    match &args.command {
        AuditCommand::Export(args) => pages(&args.call, args.after, |page| Ok(output::emit(page)?)).await,
        AuditCommand::Verify(args) => verify(args).await,
    }
}

/// Hands each page of the trail to `f`.
async fn pages(
    call: &CallArgs,
    after: u64,
    mut f: impl FnMut(&str) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let client = client(call)?;
    let mut after = after;
    loop {
        let (status, page) = client.text(Method::GET, &format!("/selvedge/v1/audit?after={after}")).await?;
        if status != 200 {
            return Err(Failure::Refused(format!("the server answered {status}: {}", page.trim_end())));
        }
        let count = page.lines().count() as u64;
        if count == 0 {
            return Ok(());
        }
        f(&page)?;
        after += count;
    }
}

async fn verify(args: &VerifyArgs) -> Result<(), Failure> {
    let mut verifier = Verifier::with_anchor(args.head.clone());
    let broken = |error: Broken| Failure::Check(format!("the trail is broken: {error}"));
    match &args.file {
        None => {
            pages(&args.call, 0, |page| {
                page.lines().try_for_each(|line| verifier.line(line)).map_err(broken)
            })
            .await?;
        }
        Some(path) => {
            let shown = path.display();
            let failed = |error: std::io::Error| Failure::Usage(format!("{shown}: {error}"));
            let source: Box<dyn std::io::Read> = if path.as_os_str() == "-" {
                Box::new(std::io::stdin())
            } else {
                Box::new(std::fs::File::open(path).map_err(failed)?)
            };
            for line in std::io::BufReader::new(source).lines() {
                verifier.line(&line.map_err(failed)?).map_err(broken)?;
            }
        }
    }
    let head = verifier.end().map_err(broken)?;
    let document = json!({ "entries": head.seq, "head": format!("{}:{}", head.seq, head.hash) });
    args.call.print(document, "AuditTrail", |_| {
        format!("{} entries, whole; the head is {}:{}\n", head.seq, head.seq, head.hash)
    })
}

fn head(text: &str) -> Result<Head, String> {
    let wrong = || "write NUMBER:HASH, as `selvedge states audit verify` prints it".to_owned();
    let (seq, hash) = text.split_once(':').ok_or_else(wrong)?;
    let is_hash = hash.len() == 64 && hash.bytes().all(|byte| byte.is_ascii_hexdigit());
    let seq = seq.parse().map_err(|_| wrong())?;
    if is_hash { Ok(Head { seq, hash: hash.to_ascii_lowercase() }) } else { Err(wrong()) }
}
