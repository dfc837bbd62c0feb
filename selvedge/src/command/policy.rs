//! `selvedge policy`: what App Mesh's specs cannot say, attached to a resource.

use std::io::Read;
use std::path::{Path, PathBuf};

use selvedge_client::Client;
use serde_json::{Map, Value, json};

use super::call::{CallArgs, encoded};
use crate::exit::Failure;
use crate::output::{columns, yaml};

/// Bytes of a policy file; the server takes fewer.
const FILE_BYTES_MAX: u64 = 1024 * 1024;

/// Attach what App Mesh's specs cannot say to a resource: put, get, list, delete, explain
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  selvedge policy put patient --target mesh/my-mesh/virtualRouter/colors --kind timeout --spec '{\"request\": \"60s\"}'
  selvedge policy put patient --file patient.yaml --dry-run
  selvedge policy list --mesh my-mesh
  selvedge policy explain patient
  selvedge policy kinds

A target is an ARN, or what follows the account in one. Of two policies of a kind the one attached nearer holds, wholly; of two at
the same resource, the one whose name comes first.")]
pub(crate) struct Args {
    #[command(subcommand)]
    command: PolicyCommand,
}

#[derive(Debug, clap::Subcommand)]
enum PolicyCommand {
    /// Create a policy, or replace it; the same again changes nothing
    Put(PutArgs),
    /// Show a policy, with its condition
    Get(NameArgs),
    /// List policies
    List(ListArgs),
    /// Delete a policy
    Delete(NameArgs),
    /// Say what a policy has a part in: which calls, requests and proxies
    Explain(NameArgs),
    /// What there is to say: every kind, what it attaches to, and its members
    Kinds(KindsArgs),
}

#[derive(Debug, clap::Args)]
struct PutArgs {
    /// The policy's name
    name: String,
    /// The whole document, JSON or YAML; - is standard input
    #[arg(long, short, value_name = "FILE", conflicts_with_all = ["target", "kind", "spec"])]
    file: Option<PathBuf>,
    /// What it governs: an ARN, or mesh/MESH/…
    #[arg(long, value_name = "ARN|PATH", required_unless_present = "file")]
    target: Option<String>,
    /// Its kind; `selvedge policy kinds` lists them
    #[arg(long, value_name = "KIND", required_unless_present = "file")]
    kind: Option<String>,
    /// What it says, as JSON, or file://PATH
    #[arg(long, value_name = "JSON", required_unless_present = "file")]
    spec: Option<String>,
    /// Check it and say what it would have a part in; change nothing
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    call: CallArgs,
}

#[derive(Debug, clap::Args)]
struct NameArgs {
    /// The policy's name
    name: String,
    #[command(flatten)]
    call: CallArgs,
}

#[derive(Debug, clap::Args)]
struct ListArgs {
    /// Only those of this mesh
    #[arg(long, value_name = "NAME")]
    mesh: Option<String>,
    /// Only those of this kind
    #[arg(long, value_name = "KIND")]
    kind: Option<String>,
    /// Only those attached right to this resource
    #[arg(long, value_name = "ARN|PATH")]
    target: Option<String>,
    #[command(flatten)]
    call: CallArgs,
}

#[derive(Debug, clap::Args)]
struct KindsArgs {
    /// Only this one, with its members
    kind: Option<String>,
    #[command(flatten)]
    call: CallArgs,
}

pub(crate) async fn run(args: &Args) -> Result<(), Failure> {
    match &args.command {
        PolicyCommand::Put(args) => put(args).await,
        PolicyCommand::Get(args) => {
            let document = args.call.client()?.get(&path_of(&args.name)).await?;
            args.call.print(document, "Policy", one)
        }
        PolicyCommand::List(args) => list(args).await,
        PolicyCommand::Delete(args) => {
            let document = args.call.client()?.delete(&path_of(&args.name)).await?;
            args.call.print(document, "Policy", |policy| format!("deleted {}\n", text(policy, "name")))
        }
        PolicyCommand::Explain(args) => {
            let document = args.call.client()?.get(&format!("{}/effect", path_of(&args.name))).await?;
            args.call.print(document, "Policy", effect)
        }
        PolicyCommand::Kinds(args) => kinds(args).await,
    }
}

fn path_of(name: &str) -> String {
    format!("/selvedge/v1/policies/{}", path_segment(name))
}

/// A name as a segment of a path; those that a policy may have stay as they are.
fn path_segment(name: &str) -> String {
    const KEPT: &percent_encoding::AsciiSet =
        &percent_encoding::NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.');
    percent_encoding::utf8_percent_encode(name, KEPT).to_string()
}

async fn put(args: &PutArgs) -> Result<(), Failure> {
    let client = args.call.client()?;
    let mut document = match &args.file {
        Some(file) => read(&text_of(file)?)?,
        None => {
            let spec = args.spec.as_deref().unwrap_or_default();
            let spec = match spec.strip_prefix("file://") {
                Some(path) => read(&text_of(Path::new(path))?)?,
                None => read(spec)?,
            };
            json!({ "target": args.target, "kind": args.kind, "spec": spec })
        }
    };
    if let Some(Value::String(target)) = document.get_mut("target") {
        *target = resolve(&client, target).await?;
    }
    let query = if args.dry_run { "?dryRun=true" } else { "" };
    let answer = client.put(&format!("{}{query}", path_of(&args.name)), &document).await?;
    args.call.print(answer, "Policy", |policy| match args.dry_run {
        true => effect(policy),
        false => one(policy),
    })
}

async fn list(args: &ListArgs) -> Result<(), Failure> {
    let client = args.call.client()?;
    let target = match &args.target {
        Some(target) => Some(resolve(&client, target).await?),
        None => None,
    };
    let parameters = [("mesh", &args.mesh), ("kind", &args.kind), ("target", &target)];
    let parameters: Vec<String> = parameters
        .into_iter()
        .filter_map(|(name, value)| Some(format!("{name}={}", encoded(value.as_deref()?))))
        .collect();
    let mut policies: Vec<Value> = Vec::new();
    let mut token: Option<String> = None;
    loop {
        let next = token.as_deref().map(|token| format!("nextToken={}", encoded(token)));
        let query = parameters.iter().cloned().chain(next).collect::<Vec<_>>().join("&");
        let mut page = client.get(&format!("/selvedge/v1/policies?{query}")).await?;
        token = page.get("nextToken").and_then(Value::as_str).map(str::to_owned);
        if let Some(Value::Array(found)) = page.get_mut("policies").map(Value::take) {
            policies.extend(found);
        }
        if token.is_none() {
            break;
        }
    }
    args.call.print(json!({ "policies": policies }), "Policies", listed)
}

async fn kinds(args: &KindsArgs) -> Result<(), Failure> {
    let mut document = args.call.client()?.get("/selvedge/v1/policy-kinds").await?;
    if let Some(kind) = &args.kind {
        let all = document["kinds"].as_array_mut().map(std::mem::take).unwrap_or_default();
        let Some(found) = all.into_iter().find(|one| text(one, "kind") == kind) else {
            return Err(Failure::Usage(format!(
                "there is no kind '{kind}': `selvedge policy kinds` lists them"
            )));
        };
        return args.call.print(found, "Kind", members);
    }
    args.call.print(document, "Kinds", |document| {
        let row = |one: &Value| {
            let fits = elements(one, "attachesTo").filter_map(Value::as_str).collect::<Vec<_>>().join(", ");
            vec![text(one, "kind").to_owned(), text(one, "doc").to_owned(), fits]
        };
        columns(&["KIND", "WHAT", "ATTACHES TO"], elements(document, "kinds").map(row).collect())
    })
}

/// A target as an ARN: what follows the account in one is looked up.
async fn resolve(client: &Client, target: &str) -> Result<String, Failure> {
    let Some(rest) = target.strip_prefix("mesh/") else { return Ok(target.to_owned()) };
    let mesh = rest.split('/').next().unwrap_or_default();
    let status = client.get(&format!("/selvedge/v1/status?mesh={}", encoded(mesh))).await?;
    let suffix = format!(":{target}");
    let found = elements(&status, "meshes").find_map(|mesh| arn_ending_in(mesh, &suffix));
    found.ok_or_else(|| {
        let text = format!(
            "there is no {target}; write its whole ARN to attach a policy to what will be there later"
        );
        Failure::Usage(text)
    })
}

fn arn_ending_in(node: &Value, suffix: &str) -> Option<String> {
    let own = node["arn"].as_str().filter(|arn| arn.ends_with(suffix)).map(str::to_owned);
    own.or_else(|| elements(node, "children").find_map(|child| arn_ending_in(child, suffix)))
}

fn text_of(file: &Path) -> Result<String, Failure> {
    let mut text = String::new();
    let read = if file == Path::new("-") {
        std::io::stdin().take(FILE_BYTES_MAX).read_to_string(&mut text)
    } else {
        std::fs::File::open(file).and_then(|file| file.take(FILE_BYTES_MAX).read_to_string(&mut text))
    };
    read.map_err(|error| Failure::Usage(format!("{} cannot be read: {error}", file.display())))?;
    Ok(text)
}

/// JSON, or else YAML.
fn read(text: &str) -> Result<Value, Failure> {
    let json = match serde_json::from_str(text) {
        Ok(value) => return Ok(value),
        Err(error) => error,
    };
    if text.trim_start().starts_with(['{', '[']) {
        return Err(Failure::Usage(format!("the document is not JSON: {json}")));
    }
    yaml::read(text)
        .map_err(|error| Failure::Usage(format!("the document is neither JSON nor YAML: {error}")))
}

// === pictures ===

/// A policy in full.
fn one(policy: &Value) -> String {
    let version = policy["metadata"]["version"].as_u64().unwrap_or_default();
    let mut lines = vec![
        format!("policy {}, version {version}  {}", text(policy, "name"), text(policy, "condition")),
        format!("  {} of {}", text(policy, "kind"), text(policy, "target")),
    ];
    lines.extend(elements(policy, "reasons").map(reason));
    let spec = serde_json::to_string_pretty(&policy["spec"]).unwrap_or_default();
    lines.extend(spec.lines().map(|line| format!("  {line}")));
    lines.join("\n") + "\n"
}

/// What a policy has a part in.
fn effect(policy: &Value) -> String {
    let dry = if policy["dryRun"] == true { " (not put)" } else { "" };
    let mut lines = vec![
        format!("policy {}{dry}  {}", text(policy, "name"), text(policy, "condition")),
        format!("  {} of {}", text(policy, "kind"), text(policy, "target")),
    ];
    lines.extend(elements(policy, "reasons").map(reason));
    let places: Vec<String> = elements(policy, "governs")
        .map(|place| format!("  {}: {} {}", text(place, "proxy"), text(place, "what"), text(place, "which")))
        .collect();
    if places.is_empty() {
        lines.push("  it has a part in nothing".to_owned());
    }
    lines.extend(places);
    lines.join("\n") + "\n"
}

fn reason(reason: &Value) -> String {
    format!("  {}: {}", text(reason, "code"), text(reason, "message"))
}

fn listed(document: &Value) -> String {
    let row = |policy: &Value| {
        let target = text(policy, "target");
        let target = target.splitn(6, ':').nth(5).unwrap_or(target);
        ["name", "kind"]
            .map(|member| text(policy, member).to_owned())
            .into_iter()
            .chain([target.to_owned(), text(policy, "condition").to_owned()])
    };
    let rows: Vec<Vec<String>> = elements(document, "policies").map(|policy| row(policy).collect()).collect();
    if rows.is_empty() {
        "no policies\n".to_owned()
    } else {
        columns(&["NAME", "KIND", "TARGET", "CONDITION"], rows)
    }
}

/// A kind with its members, indented as they nest.
fn members(kind: &Value) -> String {
    let fits = elements(kind, "attachesTo").filter_map(Value::as_str).collect::<Vec<_>>().join(", ");
    let mut lines =
        vec![format!("{}: {}", text(kind, "kind"), text(kind, "doc")), format!("attaches to: {fits}")];
    nested(&kind["spec"], 1, &mut lines);
    lines.join("\n") + "\n"
}

fn nested(shape: &Value, depth: usize, lines: &mut Vec<String>) {
    let shape = if shape["type"] == "list" { &shape["of"] } else { shape };
    let empty = Map::new();
    for (name, member) in shape["members"].as_object().unwrap_or(&empty) {
        let required = if member["required"] == true { ", required" } else { "" };
        let form = spoken(member);
        let doc = text(member, "doc");
        lines.push(format!("{}{name} ({form}{required})  {doc}", "  ".repeat(depth)).trim_end().to_owned());
        nested(member, depth + 1, lines);
    }
}

fn spoken(shape: &Value) -> String {
    match text(shape, "type") {
        "list" => format!("list of {}", spoken(&shape["of"])),
        "string" if shape["values"].is_array() => {
            elements(shape, "values").filter_map(Value::as_str).collect::<Vec<_>>().join("|")
        }
        "string" => shape["pattern"].as_str().map_or_else(|| "string".to_owned(), str::to_owned),
        other => other.to_owned(),
    }
}

fn text<'a>(document: &'a Value, member: &str) -> &'a str {
    document[member].as_str().unwrap_or_default()
}

fn elements<'a>(document: &'a Value, member: &str) -> impl Iterator<Item = &'a Value> {
    document.get(member).and_then(Value::as_array).into_iter().flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_are_json_or_yaml() {
        let expected = json!({"kind": "timeout", "spec": {"request": "5s"}});
        for text in
            [r#"{"kind": "timeout", "spec": {"request": "5s"}}"#, "kind: timeout\nspec: {request: 5s}\n"]
        {
            assert_eq!(read(text).ok(), Some(expected.clone()), "{text}");
        }
        assert!(read("{\"kind\": ").is_err());
    }
}
