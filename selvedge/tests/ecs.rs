//! Task definitions of ECS: joined to a mesh, and looked through.

use std::path::PathBuf;
use std::process::{Command, Output};

use serde_json::{Value, json};

const PROGRAM: &str = env!("CARGO_BIN_EXE_selvedge");
const NODE: &str = "mesh/my-mesh/virtualNode/colors-v1";

fn example() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../examples/ecs/task-definition.json")
}

fn ecs(words: &[&str]) -> Output {
    Command::new(PROGRAM).arg("ecs").args(words).output().expect("it runs")
}

struct Task {
    folder: tempfile::TempDir,
}

impl Task {
    fn of(text: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("task.json"), text).expect("written");
        Self { folder }
    }

    fn path(&self) -> String {
        self.folder.path().join("task.json").display().to_string()
    }

    fn text(&self) -> String {
        std::fs::read_to_string(self.path()).expect("readable")
    }

    fn inject(&self, words: &[&str]) -> Output {
        ecs(&[&["inject", &self.path(), "--in-place"], words].concat())
    }
}

fn injected(words: &[&str]) -> Value {
    let output = ecs(&[&["inject", &example().display().to_string()], words].concat());
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("JSON")
}

#[test]
fn a_task_gets_its_sidecar_and_all_that_belongs_to_it() {
    let task = injected(&["--node", NODE]);
    let keys: Vec<&String> = task.as_object().expect("an object").keys().collect();
    assert_eq!(keys[keys.len() - 2..], ["proxyConfiguration", "containerDefinitions"]);
    let property = |name: &str| {
        let properties = task["proxyConfiguration"]["properties"].as_array().expect("a list");
        properties.iter().find(|property| property["name"] == name).map(|property| property["value"].clone())
    };
    for (name, value) in [
        ("IgnoredUID", "1337"),
        ("ProxyIngressPort", "15000"),
        ("ProxyEgressPort", "15001"),
        ("AppPorts", "8080"),
        ("EgressIgnoredIPs", "169.254.170.2,169.254.169.254"),
    ] {
        assert_eq!(property(name), Some(json!(value)), "{name}");
    }
    assert_eq!(property("EgressIgnoredPorts"), None);
    let variable = json!({"name": "APPMESH_VIRTUAL_NODE_NAME", "value": NODE});
    let app = &task["containerDefinitions"][0];
    assert_eq!(app["environment"], json!([{"name": "COLOR", "value": "blue"}, variable]));
    assert_eq!(app["dependsOn"], json!([{"containerName": "envoy", "condition": "HEALTHY"}]));
    let sidecar = &task["containerDefinitions"][1];
    assert_eq!((&sidecar["name"], &sidecar["user"]), (&json!("envoy"), &json!("1337")));
    assert_eq!(sidecar["environment"], json!([variable]));
    assert_eq!(sidecar["healthCheck"]["command"][0], "CMD-SHELL");
}

#[test]
fn injecting_again_changes_nothing() {
    let task = Task::of(&std::fs::read_to_string(example()).expect("readable"));
    let options = ["--node", NODE, "--egress-ignored-ports", "2049", "--xds-endpoint", "control:7070"];
    assert!(task.inject(&options).status.success());
    let once = task.text();
    assert!(once.contains("2049") && once.contains("control:7070") && once.ends_with("}\n"), "{once}");
    assert!(task.inject(&options).status.success());
    assert_eq!(task.text(), once);
    assert!(task.inject(&["--node", NODE]).status.success());
    assert_eq!(task.text(), once, "what no option names is kept");
}

#[test]
fn what_is_there_is_kept_and_what_an_option_names_is_set() {
    let task = Task::of(&json!({
        "networkMode": "awsvpc",
        "proxyConfiguration": {"type": "APPMESH", "containerName": "envoy", "properties": [
            {"name": "AppPorts", "value": "9090"}, {"name": "IgnoredGID", "value": "7"},
        ]},
        "containerDefinitions": [
            {"name": "setup", "image": "s", "essential": false},
            {"name": "app", "image": "a", "portMappings": [{"containerPort": 8080}, {"containerPort": 53, "protocol": "udp"}]},
            {"name": "envoy", "image": "my-envoy", "memory": 64, "dependsOn": [{"containerName": "setup", "condition": "SUCCESS"}],
             "environment": [{"name": "APPMESH_RESOURCE_ARN", "value": "mesh/m/virtualNode/before"}]},
        ],
    }).to_string());
    assert!(task.inject(&["--mesh", "m", "--virtual-node", "n", "--ignored-uid", "1444"]).status.success());
    let made: Value = serde_json::from_str(&task.text()).expect("JSON");
    let containers = &made["containerDefinitions"];
    assert!(
        containers[0].get("dependsOn").is_none(),
        "what the sidecar waits for cannot wait for the sidecar"
    );
    assert_eq!(containers[2]["image"], "my-envoy");
    assert_eq!(containers[2]["memory"], 64);
    assert_eq!(
        containers[2]["environment"],
        json!([{"name": "APPMESH_RESOURCE_ARN", "value": "mesh/m/virtualNode/n"}])
    );
    assert_eq!(containers[2]["user"], "1444");
    let properties = made["proxyConfiguration"]["properties"].to_string();
    for kept in
        [r#""AppPorts","value":"9090""#, r#""IgnoredGID","value":"7""#, r#""IgnoredUID","value":"1444""#]
    {
        assert!(properties.contains(kept), "{properties}");
    }
}

#[test]
fn what_cannot_be_joined_is_refused() {
    let bridge = r#"{"networkMode": "bridge", "containerDefinitions": []}"#;
    for (text, words, named) in [
        (bridge, &["--node", NODE][..], "awsvpc"),
        ("{}", &["--node", NODE], "containerDefinitions"),
        (bridge, &["--node", "colors"], "colors"),
        (bridge, &["--node", "mesh/m/virtualGateway/g"], "gateway"),
        (bridge, &["--mesh", "m"], "--virtual-node"),
        (
            r#"{"networkMode": "awsvpc", "containerDefinitions": [7]}"#,
            &["--node", NODE],
            "containerDefinitions",
        ),
    ] {
        let task = Task::of(text);
        let output = task.inject(words);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{words:?}: {said}");
        assert!(said.contains(named), "{words:?}: {said}");
        assert_eq!(task.text(), text, "the file is as it was");
    }
}

#[test]
fn lint_finds_nothing_in_what_inject_made_and_ends_with_one_where_it_does() {
    let task = Task::of(&std::fs::read_to_string(example()).expect("readable"));
    let output = ecs(&["lint", &task.path(), "--json"]);
    assert_eq!(output.status.code(), Some(1));
    let findings: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(
        (&findings[0]["severity"], &findings[0]["path"]),
        (&json!("error"), &json!("proxyConfiguration"))
    );
    assert!(task.inject(&["--node", NODE]).status.success());
    let output = ecs(&["lint", &task.path(), "--strict"]);
    assert_eq!(String::from_utf8_lossy(&output.stdout), "nothing is wrong\n");
    assert_eq!(output.status.code(), Some(0));
}
