//! The command line without a server: help, pages, completions, versions.

use std::process::{Command, Output};

fn selvedge(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_selvedge")).args(arguments).output().expect("the program runs")
}

fn prints(arguments: &[&str]) -> String {
    let output = selvedge(arguments);
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("UTF-8")
}

#[test]
fn every_command_teaches_with_examples() {
    for command in
        ["demo", "up", "serve", "proxy", "status", "explain", "env", "completions", "appmesh", "certificates"]
    {
        let help = prints(&[command, "--help"]);
        assert!(help.contains("Examples:"), "{command}: {help}");
        assert_eq!(prints(&["help", command]).lines().next(), help.lines().next(), "{command}");
    }
    let help = prints(&["help", "appmesh", "create-route"]);
    assert!(help.contains("--virtual-router-name") && help.contains("Examples:"), "{help}");
}

#[test]
fn pages_explain_what_no_option_can() {
    for (page, part) in
        [("exit-codes", "254"), ("shorthand", "key=value"), ("environment", "AWS_ENDPOINT_URL")]
    {
        assert!(prints(&["help", page]).contains(part), "{page}");
    }
    assert_eq!(selvedge(&["help", "no-such-page"]).status.code(), Some(2));
}

#[test]
fn every_shell_gets_its_completions() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = prints(&["completions", shell]);
        assert!(script.contains("create-virtual-node"), "{shell}");
    }
}

#[test]
fn the_version_is_a_line_or_a_document() {
    assert_eq!(prints(&["version"]), format!("selvedge {}\n", env!("CARGO_PKG_VERSION")));
    let document: serde_json::Value =
        serde_json::from_str(&prints(&["version", "-o", "json"])).expect("JSON");
    assert_eq!(document["version"], env!("CARGO_PKG_VERSION"));
}

#[test]
fn nothing_is_coloured_where_nobody_looks() {
    let table = prints(&["version", "-o", "table"]);
    assert!(!table.contains('\x1b'), "{table}");
}

#[test]
fn a_proxy_without_a_resource_says_what_is_missing() {
    let output = Command::new(env!("CARGO_BIN_EXE_selvedge"))
        .args(["proxy", "--print-envoy-bootstrap"])
        .env_remove("APPMESH_RESOURCE_ARN")
        .output()
        .expect("the program runs");
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("APPMESH_RESOURCE_ARN"), "{output:?}");
}
