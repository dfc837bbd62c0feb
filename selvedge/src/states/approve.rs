//! `selvedge states tasks` and `approve`: what waits for people, and their word.

use serde_json::{Value, json};

use super::{client, given, plain, text};
use crate::command::call::CallArgs;
use crate::exit::Failure;

#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  selvedge states tasks                       what is open
  selvedge states tasks ID                    its form, what it is about, who decided what
  selvedge states tasks --all")]
pub(super) struct TasksArgs {
    /// One task, with its form, what it is about and who decided what
    id: Option<String>,
    /// Those that are closed as well
    #[arg(long)]
    all: bool,
    #[command(flatten)]
    call: CallArgs,
}

#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  selvedge states approve ID --as ada --group finance
  selvedge states approve ID --as ada --form '{\"reason\": \"lost in the post\"}'
  selvedge states approve ID --as ada --reject --comment 'no receipt'")]
pub(super) struct ApproveArgs {
    /// The task's id, from `selvedge states tasks`
    id: String,
    /// Who decides
    #[arg(long = "as", value_name = "NAME", env = "SELVEDGE_USER")]
    by: String,
    /// A group of theirs; may be given again
    #[arg(long = "group", value_name = "NAME")]
    groups: Vec<String>,
    /// Reject it
    #[arg(long)]
    reject: bool,
    /// Why
    #[arg(long, value_name = "TEXT")]
    comment: Option<String>,
    /// What the form asks for, as JSON or file://PATH
    #[arg(long, value_name = "JSON")]
    form: Option<String>,
    /// Decide only about what has this hash: that which you have seen
    #[arg(long, value_name = "HASH")]
    payload_hash: Option<String>,
    #[command(flatten)]
    call: CallArgs,
}

pub(super) async fn tasks(args: &TasksArgs) -> Result<(), Failure> {
    let client = client(&args.call)?;
    if let Some(id) = &args.id {
        let found = client.get(&format!("/selvedge/v1/tasks/{}", super::encoded(id))).await?;
        return args.call.print(found, "Task", shown);
    }
    let status = if args.all { "all" } else { "open" };
    let (mut tasks, mut after) = (Vec::new(), String::new());
    loop {
        let page = client.get(&format!("/selvedge/v1/tasks?status={status}&after={after}")).await?;
        tasks.extend(page["tasks"].as_array().cloned().unwrap_or_default());
        match page["next"].as_str() {
            Some(next) => after = next.to_owned(),
            None => break,
        }
    }
    if tasks.is_empty() {
        args.call.hint(if args.all {
            "nobody was ever asked: a state with the resource arn:selvedge:states:::approval:request asks"
        } else {
            "nothing waits for people: `selvedge states tasks --all` shows what is closed"
        });
    }
    args.call.print(json!({ "tasks": tasks }), "Tasks", |found| {
        let tasks = found["tasks"].as_array().map_or(&[][..], Vec::as_slice);
        let mut out = format!("{:<36}  {:<8}  {:<9}  TITLE\n", "ID", "STATUS", "APPROVALS");
        for task in tasks {
            let approvals = format!("{} of {}", approvals(task), task["minimumApprovals"]);
            out.push_str(&format!(
                "{:<36}  {:<8}  {approvals:<9}  {}\n",
                text(task, "id"),
                text(task, "status"),
                plain(text(task, "title"))
            ));
        }
        out
    })
}

pub(super) async fn approve(args: &ApproveArgs) -> Result<(), Failure> {
    let mut document = json!({
        "decision": if args.reject { "REJECT" } else { "APPROVE" },
        "by": args.by,
        "groups": args.groups,
        "comment": args.comment,
        "payloadHash": args.payload_hash,
    });
    if let Some(form) = &args.form {
        let form: Value = serde_json::from_str(&given(form)?)
            .map_err(|error| Failure::Usage(format!("the form is no JSON: {error}")))?;
        document["form"] = form;
    }
    let path = format!("/selvedge/v1/tasks/{}/decision", super::encoded(&args.id));
    let found = client(&args.call)?.post(&path, &document).await?;
    args.call.print(found, "Task", |found| {
        format!(
            "{}  {} of {} approvals\n",
            text(found, "status"),
            approvals(found),
            found["minimumApprovals"]
        )
    })
}

fn time(ms: &Value) -> String {
    selvedge_asl::format_timestamp(ms.as_i64().unwrap_or_default())
}

fn decisions(task: &Value) -> &[Value] {
    task["decisions"].as_array().map_or(&[][..], Vec::as_slice)
}

fn approvals(task: &Value) -> usize {
    decisions(task).iter().filter(|decision| text(decision, "decision") == "APPROVE").count()
}

fn shown(task: &Value) -> String {
    let mut out = format!("{}  {}\n", text(task, "status"), plain(text(task, "title")));
    let mut line = |name: &str, value: String| {
        if !value.is_empty() && value != "null" && value != "[]" {
            out.push_str(&format!("  {name:<12} {}\n", plain(&value)));
        }
    };
    line("description", text(task, "description").to_owned());
    line("execution", text(task, "execution").to_owned());
    line("state", text(task, "state").to_owned());
    line("requester", text(task, "requester").to_owned());
    line("assignees", task["assignees"].to_string());
    line("groups", task["groups"].to_string());
    line("approvals", format!("{} of {}", approvals(task), task["minimumApprovals"]));
    if task["dueMs"].is_i64() {
        line("due", time(&task["dueMs"]));
    }
    if task["escalations"].as_u64().is_some_and(|count| count > 0) {
        line("escalated", format!("{} of {}", task["escalated"], task["escalations"]));
    }
    if task["closedMs"].is_i64() {
        line("closed", time(&task["closedMs"]));
    }
    line("payload", task["payload"].to_string());
    line("hash", text(task, "payloadHash").to_owned());
    line("form", task["form"].to_string());
    for decision in decisions(task) {
        let comment = decision["comment"].as_str().unwrap_or_default();
        line(&text(decision, "decision").to_lowercase(), format!("{}  {comment}", text(decision, "by")));
    }
    out
}
