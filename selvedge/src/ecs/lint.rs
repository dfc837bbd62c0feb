//! `selvedge ecs lint`: everything that is wrong with a meshed task definition, at once.

mod containers;
mod order;
mod proxy;
mod sidecar;

use std::fmt;
use std::path::PathBuf;

use serde_json::{Map, Value, json};

use super::document::Document;
use crate::exit::Failure;
use crate::output;

/// Say what is wrong with a task definition that is meant to be in a mesh
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  selvedge ecs lint task-definition.json
  aws ecs describe-task-definition --task-definition t | selvedge ecs lint -

Ends with 0 if nothing is wrong, or there are warnings only; with 1 if there is an error.")]
pub(super) struct Args {
    /// The file; - for standard input
    file: PathBuf,
    /// Print the findings as JSON
    #[arg(long)]
    json: bool,
    /// Let warnings end it with 1, too
    #[arg(long)]
    strict: bool,
}

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Severity {
    /// ECS refuses it, the task does not start, or its connections do not go through the sidecar.
    Error,
    /// It works, and not as is likely meant.
    Warning,
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Finding {
    severity: Severity,
    /// Where, such as `containerDefinitions[1].user`.
    path: String,
    /// What is wrong, and what comes of it.
    problem: String,
    /// What to do.
    remedy: String,
}

/// What has been found so far.
#[derive(Debug, Default)]
struct Findings(Vec<Finding>);

impl Findings {
    fn error(&mut self, path: impl Into<String>, problem: impl Into<String>, remedy: impl Into<String>) {
        self.add(Severity::Error, path.into(), problem.into(), remedy.into());
    }

    fn warning(&mut self, path: impl Into<String>, problem: impl Into<String>, remedy: impl Into<String>) {
        self.add(Severity::Warning, path.into(), problem.into(), remedy.into());
    }

    fn add(&mut self, severity: Severity, path: String, problem: String, remedy: String) {
        self.0.push(Finding { severity, path, problem, remedy });
    }
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Error => "error",
            Self::Warning => "warning",
        })
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}: {}: {}", self.severity, self.path, self.problem)?;
        write!(f, "  → {}", self.remedy)
    }
}

pub(super) fn run(args: &Args) -> Result<(), Failure> {
    let document = Document::read(&args.file)?;
    let findings = lint(document.task());
    let errors = findings.iter().filter(|finding| finding.severity == Severity::Error).count();
    let warnings = findings.len() - errors;
    let counted = |count: usize, noun: &str| format!("{count} {noun}{}", if count == 1 { "" } else { "s" });
    let told = format!("{}, {}", counted(errors, "error"), counted(warnings, "warning"));
    if args.json {
        output::emit(&format!("{:#}\n", as_json(&findings)))?;
    } else {
        let mut text: String = findings.iter().map(|finding| format!("{finding}\n")).collect();
        text.push_str(if findings.is_empty() { "nothing is wrong\n" } else { "" });
        output::emit(&text)?;
    }
    if errors > 0 || (args.strict && warnings > 0) { Err(Failure::Check(told)) } else { Ok(()) }
}

fn as_json(findings: &[Finding]) -> Value {
    let one = |finding: &Finding| {
        json!({
            "severity": finding.severity.to_string(),
            "path": finding.path,
            "problem": finding.problem,
            "remedy": finding.remedy,
        })
    };
    findings.iter().map(one).collect()
}

/// Everything that is wrong with a task definition, errors first, each kind in the order of the places.
fn lint(task: &Map<String, Value>) -> Vec<Finding> {
    let mut findings = Findings::default();
    let containers = containers::of(task, &mut findings);
    let proxy = proxy::check(task, &containers, &mut findings);
    if let Some(proxy) = &proxy {
        sidecar::check(proxy, &containers, &mut findings);
    }
    containers::check(task, &containers, proxy.as_ref(), &mut findings);
    order::check(&containers, proxy.as_ref(), &mut findings);
    let mut findings = findings.0;
    findings.sort_by_key(|finding| finding.severity);
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A task with which nothing is wrong.
    fn sound() -> Value {
        json!({
            "networkMode": "awsvpc",
            "proxyConfiguration": {"type": "APPMESH", "containerName": "envoy", "properties": [
                {"name": "IgnoredUID", "value": "1337"},
                {"name": "ProxyIngressPort", "value": "15000"},
                {"name": "ProxyEgressPort", "value": "15001"},
                {"name": "AppPorts", "value": "8080"},
                {"name": "EgressIgnoredIPs", "value": "169.254.170.2,169.254.169.254"},
            ]},
            "containerDefinitions": [
                {"name": "app", "image": "app", "portMappings": [{"containerPort": 8080}],
                 "dependsOn": [{"containerName": "envoy", "condition": "HEALTHY"}]},
                {"name": "envoy", "image": "selvedge", "user": "1337",
                 "healthCheck": {"command": ["CMD-SHELL", "curl -s localhost:9901/ready"]},
                 "environment": [{"name": "APPMESH_RESOURCE_ARN", "value": "mesh/m/virtualNode/n"}]},
            ],
        })
    }

    fn findings(task: &Value) -> Vec<Finding> {
        lint(task.as_object().expect("an object"))
    }

    #[test]
    fn nothing_is_wrong_with_a_sound_task() {
        assert_eq!(findings(&sound()), []);
    }

    /// Each row changes one place of the sound task, and names the place and a word of the finding.
    #[test]
    fn each_mistake_is_found_where_it_is() {
        const APP: &str = "/containerDefinitions/0";
        const ENVOY: &str = "/containerDefinitions/1";
        let property = |index: usize| format!("/proxyConfiguration/properties/{index}/value");
        let app = |member: &str| format!("{APP}/{member}");
        let envoy = |member: &str| format!("{ENVOY}/{member}");
        let depends = |on: &str, condition: &str| json!([{"containerName": on, "condition": condition}]);
        let rows: Vec<(String, Value, &str, &str)> = vec![
            ("/networkMode".into(), json!("bridge"), "networkMode", "awsvpc"),
            ("/networkMode".into(), json!(null), "networkMode", "awsvpc"),
            ("/proxyConfiguration".into(), json!(null), "proxyConfiguration", "nothing is redirected"),
            ("/proxyConfiguration/type".into(), json!("OTHER"), "proxyConfiguration.type", "APPMESH"),
            (
                "/proxyConfiguration/containerName".into(),
                json!("proxy"),
                "proxyConfiguration.containerName",
                "proxy",
            ),
            (
                "/proxyConfiguration/properties/0/name".into(),
                json!("IgnoredUid"),
                "properties[0].name",
                "IgnoredUID",
            ),
            (
                "/proxyConfiguration/properties/1/name".into(),
                json!("IgnoredUID"),
                "properties[1].name",
                "twice",
            ),
            (property(0), json!("root"), "properties[0].value", "number"),
            (property(1), json!("70000"), "properties[1].value", "port"),
            (property(2), json!("15000"), "properties[2].value", "same"),
            (property(3), json!("8080,x"), "properties[3].value", "port"),
            (property(3), json!("9090"), "properties[3].value", "8080"),
            (property(3), json!("8080,9090"), "properties[3].value", "9090"),
            (property(3), json!("8080,15001"), "properties[3].value", "sidecar"),
            (property(4), json!("169.254.170.2"), "properties[4].value", "169.254.169.254"),
            (property(4), json!("169.254.170.2,metadata"), "properties[4].value", "metadata"),
            (envoy("user"), json!(null), "containerDefinitions[1].user", "1337"),
            (envoy("user"), json!("0"), "containerDefinitions[1].user", "for ever"),
            (envoy("healthCheck"), json!(null), "containerDefinitions[0].dependsOn[0]", "healthCheck"),
            (
                envoy("healthCheck"),
                json!({"command": ["curl"]}),
                "containerDefinitions[1].healthCheck.command",
                "CMD",
            ),
            (envoy("healthCheck/interval"), json!(1), "containerDefinitions[1].healthCheck.interval", "5"),
            (envoy("environment"), json!([]), "containerDefinitions[1].environment", "APPMESH_RESOURCE_ARN"),
            (
                envoy("environment/0/value"),
                json!("n"),
                "containerDefinitions[1].environment[0].value",
                "mesh/",
            ),
            (envoy("essential"), json!(false), "containerDefinitions[1].essential", "goes on without"),
            (app("user"), json!("1337"), "containerDefinitions[0].user", "pass by"),
            (app("dependsOn"), json!([]), "containerDefinitions[0].dependsOn", "before"),
            (
                app("dependsOn/0/condition"),
                json!("START"),
                "containerDefinitions[0].dependsOn[0].condition",
                "HEALTHY",
            ),
            (
                app("dependsOn/0/condition"),
                json!("READY"),
                "containerDefinitions[0].dependsOn[0].condition",
                "READY",
            ),
            (
                app("dependsOn"),
                depends("db", "START"),
                "containerDefinitions[0].dependsOn[0].containerName",
                "db",
            ),
            (envoy("dependsOn"), depends("app", "START"), "dependsOn", "each other"),
            (
                app("dependsOn/0/condition"),
                json!("SUCCESS"),
                "containerDefinitions[0].dependsOn[0].condition",
                "essential",
            ),
            (
                app("portMappings/0/hostPort"),
                json!(80),
                "containerDefinitions[0].portMappings[0].hostPort",
                "8080",
            ),
            (app("name"), json!("envoy"), "containerDefinitions[1].name", "twice"),
            (app("stopTimeout"), json!(600), "containerDefinitions[0].stopTimeout", "120"),
            (
                "/volumes".into(),
                json!([{"name": "v", "efsVolumeConfiguration": {}}]),
                "proxyConfiguration.properties",
                "2049",
            ),
        ];
        for (pointer, value, path, word) in rows {
            let mut task = sound();
            let (parent, member) = pointer.rsplit_once('/').expect("a pointer");
            match task.pointer_mut(parent).expect("a place") {
                Value::Object(object) if value.is_null() => drop(object.shift_remove(member)),
                Value::Object(object) => drop(object.insert(member.to_owned(), value)),
                Value::Array(list) => list[member.parse::<usize>().expect("an index")] = value,
                _ => panic!("{pointer} is no place"),
            }
            let findings = findings(&task);
            let found = findings.iter().any(|finding| {
                let text = format!("{} {}", finding.problem, finding.remedy);
                finding.path.contains(path) && text.contains(word)
            });
            assert!(found, "{pointer}: no finding at {path} about {word:?} in {findings:#?}");
        }
    }

    #[test]
    fn all_findings_come_at_once_and_errors_first() {
        let task = json!({"containerDefinitions": [{"name": "a", "image": "i", "portMappings": [{"containerPort": 80, "hostPort": 8080}]}]});
        let findings = findings(&task);
        assert!(findings.len() >= 2, "{findings:#?}");
        assert!(findings.is_sorted_by_key(|finding| finding.severity));
    }

    #[test]
    fn any_shape_at_all_is_looked_through() {
        let sound = sound();
        let mut places = vec![String::new()];
        let mut index = 0;
        // Every value in every place becomes one of another kind.
        while let Some(place) = places.get(index).cloned() {
            match sound.pointer(&place).expect("a place") {
                Value::Object(object) => places.extend(object.keys().map(|key| format!("{place}/{key}"))),
                Value::Array(list) => places.extend((0..list.len()).map(|index| format!("{place}/{index}"))),
                _ => {}
            }
            for other in [json!(7), json!("x"), json!([1, null]), json!({"a": []}), json!(null)] {
                let mut task = sound.clone();
                *task.pointer_mut(&place).expect("a place") = other;
                if let Some(task) = task.as_object() {
                    lint(task);
                }
            }
            index += 1;
        }
    }
}
