//! `selvedge status`: a mesh as a tree, each resource with its condition and the reasons for it.

use serde_json::Value;

use super::call::{CallArgs, encoded};
use crate::exit::Failure;

/// Proxies of one node that the picture shows; `-o json` has them all.
const PROXIES_SHOWN: usize = 10;

/// Show meshes as trees: what is active, what is not and why, and which proxies have what
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  selvedge status                       every mesh
  selvedge status --mesh my-mesh        one of them
  selvedge status --mesh my-mesh -o json
  selvedge status --query \"meshes[].children[?condition != 'ACTIVE'][].name\"

A resource is ACTIVE when everything it names exists and no proxy has refused it. INACTIVE, DEGRADED and REJECTED come with
their reasons; those with a code have a page under docs/errors. A proxy is SYNCED when it has taken the mesh as it is.")]
pub(crate) struct Args {
    /// The mesh to show; every mesh when left out
    #[arg(long, value_name = "NAME")]
    mesh: Option<String>,
    #[command(flatten)]
    call: CallArgs,
}

pub(crate) async fn run(args: &Args) -> Result<(), Failure> {
    let path = match &args.mesh {
        Some(mesh) => format!("/selvedge/v1/status?mesh={}", encoded(mesh)),
        None => "/selvedge/v1/status".to_owned(),
    };
    let document = args.call.client()?.get(&path).await?;
    args.call.print(document, "Status", |document| picture(document, args.call.color.enabled()))
}

/// The document as trees, one a mesh.
fn picture(document: &Value, color: bool) -> String {
    let mut lines = Vec::new();
    for mesh in elements(document, "meshes") {
        branch(mesh, "", "", &mut lines);
    }
    if lines.is_empty() {
        return "no meshes\n".to_owned();
    }
    let width = lines.iter().map(|line| line.label.chars().count()).max().unwrap_or(0);
    lines.iter().map(|line| line.text(width, color)).collect()
}

/// A line of the tree: what, in which state, and a remark.
struct Line {
    label: String,
    state: String,
    remark: String,
}

fn branch(node: &Value, head: &str, rest: &str, lines: &mut Vec<Line>) {
    let text = |name: &str| node[name].as_str().unwrap_or_default();
    let kind = words(text("kind"));
    lines.push(Line {
        label: format!("{head}{kind} {}", text("name")),
        state: text("condition").to_owned(),
        remark: text("summary").to_owned(),
    });
    let reasons: Vec<&Value> = elements(node, "reasons").collect();
    let children: Vec<&Value> = elements(node, "children").collect();
    let proxies = proxies(node);
    let below = proxies.len() + children.len();
    let open = if below == 0 { "  " } else { "│ " };
    for reason in reasons {
        let code = reason["code"].as_str().map(|code| format!("{code}: ")).unwrap_or_default();
        let message = reason["message"].as_str().unwrap_or_default();
        lines.push(Line {
            label: format!("{rest}{open}"),
            state: String::new(),
            remark: format!("{code}{message}"),
        });
    }
    let fork = |index: usize| if index + 1 == below { ("└─ ", "   ") } else { ("├─ ", "│  ") };
    for (index, mut proxy) in proxies.into_iter().enumerate() {
        proxy.label = format!("{rest}{}{}", fork(index).0, proxy.label);
        lines.push(proxy);
    }
    for (index, child) in (below - children.len()..).zip(&children) {
        let (fork, rail) = fork(index);
        branch(child, &format!("{rest}{fork}"), &format!("{rest}{rail}"), lines);
    }
}

/// A line for each connected proxy of a node, up to [`PROXIES_SHOWN`].
fn proxies(node: &Value) -> Vec<Line> {
    let all: Vec<&Value> = elements(node, "proxies").collect();
    let line = |proxy: &&Value| Line {
        label: format!("proxy {}", proxy["id"].as_str().unwrap_or_default()),
        state: if proxy["upToDate"] == true { "SYNCED".to_owned() } else { "BEHIND".to_owned() },
        remark: [
            proxy["software"].as_str().filter(|software| !software.is_empty()).map(str::to_owned),
            proxy["revision"].as_u64().map(|revision| format!("revision {revision}")),
        ]
        .into_iter()
        .flatten()
        .collect::<Vec<_>>()
        .join(", "),
    };
    let mut lines: Vec<Line> = all.iter().take(PROXIES_SHOWN).map(line).collect();
    if all.len() > PROXIES_SHOWN {
        let label = format!("and {} more", all.len() - PROXIES_SHOWN);
        lines.push(Line { label, state: String::new(), remark: String::new() });
    }
    lines
}

impl Line {
    fn text(&self, width: usize, color: bool) -> String {
        let padding = " ".repeat(width - self.label.chars().count());
        let state = format!("{:<8}", self.state);
        let state = match (color, self.state.as_str()) {
            (true, "ACTIVE" | "SYNCED") => format!("\x1b[32m{state}\x1b[0m"),
            (true, "INACTIVE" | "DEGRADED" | "BEHIND") => format!("\x1b[33m{state}\x1b[0m"),
            (true, "REJECTED") => format!("\x1b[31m{state}\x1b[0m"),
            _ => state,
        };
        let line = format!("{}{padding}  {state}  {}", self.label, self.remark);
        format!("{}\n", line.trim_end())
    }
}

/// `virtualNode` as `virtual node`.
fn words(kind: &str) -> String {
    let mut out = String::new();
    for c in kind.chars() {
        if c.is_ascii_uppercase() {
            out.push(' ');
        }
        out.push(c.to_ascii_lowercase());
    }
    out
}

fn elements<'a>(node: &'a Value, name: &str) -> impl Iterator<Item = &'a Value> {
    node.get(name).and_then(Value::as_array).into_iter().flatten()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_mesh_is_drawn_as_a_tree_with_its_reasons() {
        let document = json!({"revision": 7, "meshes": [{
            "kind": "mesh", "name": "my-mesh", "condition": "ACTIVE", "summary": "revision 7", "children": [
                {"kind": "virtualNode", "name": "a", "condition": "ACTIVE", "summary": "1 proxy", "proxies": [
                    {"id": "127.0.0.1:9", "software": "envoy 1.40.0", "revision": 6, "upToDate": false},
                ]},
                {"kind": "virtualRouter", "name": "r", "condition": "ACTIVE", "children": [
                    {"kind": "route", "name": "x", "condition": "INACTIVE", "reasons": [{"code": "SV1", "message": "no such node"}]},
                ]},
            ],
        }]});
        let expected = "\
mesh my-mesh             ACTIVE    revision 7
├─ virtual node a        ACTIVE    1 proxy
│  └─ proxy 127.0.0.1:9  BEHIND    envoy 1.40.0, revision 6
└─ virtual router r      ACTIVE
   └─ route x            INACTIVE
                                   SV1: no such node
";
        assert_eq!(picture(&document, false), expected);
        assert_eq!(picture(&json!({"meshes": []}), false), "no meshes\n");
    }
}
