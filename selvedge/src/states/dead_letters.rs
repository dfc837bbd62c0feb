//! `selvedge states dead-letters`: what failed for good, and what could not be delivered.

use serde_json::{Value, json};

use super::redrive::{members, value};
use super::{client, encoded, plain, text};
use crate::command::call::CallArgs;
use crate::exit::Failure;

#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  selvedge states dead-letters --machine order
  selvedge states dead-letters ID             all that is known of it
  selvedge states dead-letters ID --replay --from Check --input '{\"total\": 2}'")]
pub(super) struct DeadLettersArgs {
    /// One letter, with all that is known of it
    id: Option<String>,
    /// Do once more what did not work; everything else goes on meanwhile
    #[arg(long, requires = "id", conflicts_with = "discard")]
    replay: bool,
    /// An execution: go on from this state of its machine
    #[arg(long, value_name = "STATE", requires = "replay")]
    from: Option<String>,
    /// That state's input, as JSON or file://PATH
    #[arg(long, value_name = "JSON", requires = "from")]
    input: Option<String>,
    /// Take it out of the log
    #[arg(long, requires = "id")]
    discard: bool,
    #[command(flatten)]
    wanted: WantedArgs,
    #[command(flatten)]
    call: CallArgs,
}

/// Which letters are meant.
#[derive(Debug, Clone, Default, clap::Args)]
pub(super) struct WantedArgs {
    /// Only of this machine: its name or ARN
    #[arg(long, value_name = "MACHINE")]
    pub(super) machine: Option<String>,
    /// Only these: execution, express, schedule or result
    #[arg(long, value_name = "KIND")]
    pub(super) kind: Option<String>,
    /// Only those that failed with this error
    #[arg(long, value_name = "NAME")]
    pub(super) error: Option<String>,
    /// Only those that failed in this state
    #[arg(long, value_name = "NAME")]
    pub(super) state: Option<String>,
    /// Only those from then on, such as 2026-01-31T12:00:00Z
    #[arg(long, value_name = "TIME")]
    pub(super) after: Option<String>,
    /// Only those before
    #[arg(long, value_name = "TIME")]
    pub(super) before: Option<String>,
    /// How many at the most, the oldest first
    #[arg(long, value_name = "NUMBER", default_value_t = 200, value_parser = clap::value_parser!(u64).range(1..=100_000))]
    pub(super) max: u64,
}

pub(super) async fn dead_letters(args: &DeadLettersArgs) -> Result<(), Failure> {
    let client = client(&args.call)?;
    let Some(id) = &args.id else {
        let found = letters(&client, &args.wanted).await?;
        if found.is_empty() {
            args.call
                .hint("there is no such letter: nothing failed for good, or it was driven on or discarded");
        }
        return args.call.print(json!({ "deadLetters": found }), "DeadLetters", |found| {
            found["deadLetters"].as_array().into_iter().flatten().map(line).collect()
        });
    };
    let path = format!("/selvedge/v1/dead-letters/{}", encoded(id));
    if args.replay {
        let from = args.from.as_deref().map(Value::from);
        let body = members([("from", from), ("input", value(args.input.as_ref())?)]);
        let found = client.post(&format!("{path}/replay"), &body).await?;
        return args.call.print(found, "DeadLetter", |_| format!("{id} is replayed\n"));
    }
    if args.discard {
        let found = client.delete(&path).await?;
        return args.call.print(found, "DeadLetter", |_| format!("{id} is discarded\n"));
    }
    args.call.print(client.get(&path).await?, "DeadLetter", shown)
}

/// Letters of every page, up to as many as are wanted.
pub(super) async fn letters(
    client: &selvedge_client::Client,
    wanted: &WantedArgs,
) -> Result<Vec<Value>, Failure> {
    let mut query = String::new();
    let given = [
        ("machine", &wanted.machine),
        ("kind", &wanted.kind),
        ("error", &wanted.error),
        ("state", &wanted.state),
        ("after", &wanted.after),
        ("before", &wanted.before),
    ];
    for (name, given) in given {
        if let Some(given) = given {
            query.push_str(&format!("&{name}={}", encoded(given)));
        }
    }
    let (mut found, mut cursor) = (Vec::new(), String::new());
    let most = usize::try_from(wanted.max).unwrap_or(usize::MAX);
    loop {
        let page = client.get(&format!("/selvedge/v1/dead-letters?cursor={cursor}{query}")).await?;
        found.extend(page["deadLetters"].as_array().cloned().unwrap_or_default());
        found.truncate(most);
        match page["next"].as_str().filter(|_| found.len() < most) {
            Some(next) => cursor = next.to_owned(),
            None => return Ok(found),
        }
    }
}

fn line(letter: &Value) -> String {
    let about = match text(letter, "name") {
        "" => text(letter, "machine").to_owned(),
        name => format!("{}:{name}", text(letter, "machine")),
    };
    plain(&format!(
        "{}  {:<9}  {about}  {}  in {}",
        text(letter, "id"),
        text(letter, "kind"),
        letter["error"].as_str().unwrap_or("-"),
        letter["state"].as_str().unwrap_or("-")
    )) + "\n"
}

fn shown(letter: &Value) -> String {
    let mut out = line(letter);
    for member in ["execution", "cause", "payload"] {
        if let Some(value) = letter[member].as_str() {
            out.push_str(&format!("  {member:<9}  {}\n", plain(value)));
        }
    }
    out
}
