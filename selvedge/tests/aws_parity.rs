//! `selvedge appmesh` beside the AWS command line that the test environment installs: the same operations, the same options,
//! the same skeletons.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;

/// What the AWS command line's own model says: by command, the options and the input skeleton.
fn aws_commands() -> Option<BTreeMap<String, (Vec<String>, Value)>> {
    const SCRIPT: &str = "
import json, sys
import botocore.session
from botocore import xform_name
from botocore.utils import ArgumentGenerator
session = botocore.session.get_session()
model = session.get_service_model('appmesh')
out = {}
for name in model.operation_names:
    operation = model.operation_model(name)
    members = operation.input_shape.members if operation.input_shape else {}
    skeleton = ArgumentGenerator().generate_skeleton(operation.input_shape)
    out[xform_name(name, '-')] = [sorted(xform_name(member, '-') for member in members), skeleton]
json.dump(out, sys.stdout)
";
    let python = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/venv/bin/python");
    let output = Command::new(python).args(["-c", SCRIPT]).stderr(Stdio::inherit()).output().ok()?;
    output.status.success().then(|| serde_json::from_slice(&output.stdout).expect("JSON"))
}

fn selvedge(arguments: &[&str]) -> String {
    let output =
        Command::new(env!("CARGO_BIN_EXE_selvedge")).args(arguments).output().expect("the program runs");
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("UTF-8")
}

/// Words of an enum have no order that means anything: any of them may stand in a skeleton.
fn without_words(value: &Value) -> Value {
    match value {
        Value::String(_) => Value::String(String::new()),
        Value::Array(elements) => elements.iter().map(without_words).collect(),
        Value::Object(object) => {
            object.iter().map(|(name, value)| (name.clone(), without_words(value))).collect()
        }
        other => other.clone(),
    }
}

#[test]
fn every_operation_has_the_options_and_the_skeleton_of_the_aws_command_line() {
    let Some(commands) = aws_commands() else {
        eprintln!("SKIPPED: no AWS command line in target/venv");
        return;
    };
    assert_eq!(commands.len(), 38);
    for (command, (options, skeleton)) in commands {
        let help = selvedge(&["appmesh", &command, "--help"]);
        for option in options {
            assert!(help.contains(&format!("--{option} ")), "{command} lacks --{option}");
        }
        let ours: Value =
            serde_json::from_str(&selvedge(&["appmesh", &command, "--generate-cli-skeleton"])).expect("JSON");
        assert_eq!(without_words(&ours), without_words(&skeleton), "{command}");
    }
}

#[test]
fn a_skeleton_in_yaml_holds_the_same_members() {
    let json: Value =
        serde_json::from_str(&selvedge(&["appmesh", "create-route", "--generate-cli-skeleton"]))
            .expect("JSON");
    let yaml = selvedge(&["appmesh", "create-route", "--generate-cli-skeleton", "yaml-input"]);
    let yaml: Value = serde_norway::from_str(&yaml).expect("YAML");
    assert_eq!(json, yaml);
}

#[test]
fn a_skeleton_of_the_output_names_its_members() {
    let output = selvedge(&[
        "appmesh",
        "create-mesh",
        "--mesh-name",
        "x",
        "--generate-cli-skeleton",
        "output",
        "--query",
        "mesh.metadata.arn",
    ]);
    assert_eq!(output, "\"arn\"\n");
}
