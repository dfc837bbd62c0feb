//! `selvedge appmesh` against a server, beside the AWS command line where there is one: what it prints, and how it ends.

#![allow(dead_code, reason = "each test uses its part of the server module")]

mod server;

use server::{Server, aws};

const ROUTE: &str = "httpRoute={match={prefix=/},action={weightedTargets=[{virtualNode=a,weight=80},{virtualNode=b,weight=20}]}}";
const LISTENER: &str = "listeners=[{portMapping={port=8080,protocol=http}}]";

/// A mesh with two nodes, a router and a route.
fn furnished() -> Server {
    let server = Server::start(&[]);
    server.prints(&[
        "appmesh",
        "create-mesh",
        "--mesh-name",
        "m",
        "--tags",
        "key=Team,value=x",
        "key=Stage,value=y",
    ]);
    for node in ["a", "b", "c"] {
        server.prints(&[
            "appmesh",
            "create-virtual-node",
            "--mesh-name",
            "m",
            "--virtual-node-name",
            node,
            "--spec",
            LISTENER,
        ]);
    }
    server.prints(&[
        "appmesh",
        "create-virtual-router",
        "--mesh-name",
        "m",
        "--virtual-router-name",
        "r",
        "--spec",
        LISTENER,
    ]);
    server.prints(&[
        "appmesh",
        "create-route",
        "--mesh-name",
        "m",
        "--virtual-router-name",
        "r",
        "--route-name",
        "x",
        "--spec",
        ROUTE,
    ]);
    server
}

#[test]
fn answers_are_printed_as_the_aws_command_line_prints_them() {
    let Some(aws) = aws() else { return };
    let server = furnished();
    let arn = server.prints(&[
        "appmesh",
        "describe-mesh",
        "--mesh-name",
        "m",
        "--query",
        "mesh.metadata.arn",
        "--output",
        "text",
    ]);
    for command in [
        "describe-mesh --mesh-name m",
        "describe-route --mesh-name m --virtual-router-name r --route-name x",
        "list-virtual-nodes --mesh-name m",
        "list-virtual-nodes --mesh-name m --query virtualNodes[].virtualNodeName",
        "list-virtual-nodes --mesh-name m --page-size 1",
        "list-virtual-nodes --mesh-name m --max-items 2 --page-size 2",
        "list-virtual-nodes --mesh-name m --max-items 1 --page-size 2",
        "list-virtual-nodes --mesh-name m --no-paginate",
        "list-virtual-services --mesh-name m",
        &format!("list-tags-for-resource --resource-arn {}", arn.trim()),
    ] {
        for format in ["json", "text", "table"] {
            let arguments: Vec<&str> =
                ["appmesh"].into_iter().chain(command.split(' ')).chain(["--output", format]).collect();
            let theirs = server.command(&aws).args(&arguments).output().expect("aws runs");
            assert!(theirs.status.success(), "{command}: {}", String::from_utf8_lossy(&theirs.stderr));
            assert_eq!(
                server.prints(&arguments),
                String::from_utf8_lossy(&theirs.stdout),
                "{command} --output {format}"
            );
        }
    }
}

#[test]
fn a_refusal_reads_as_the_aws_command_line_words_it_and_ends_with_254() {
    let server = Server::start(&[]);
    let arguments = ["appmesh", "describe-mesh", "--mesh-name", "absent"];
    let ours = server.selvedge(&arguments);
    assert_eq!(ours.status.code(), Some(254));
    let text = String::from_utf8_lossy(&ours.stderr).into_owned();
    assert!(
        text.contains("An error occurred (NotFoundException) when calling the DescribeMesh operation: "),
        "{text}"
    );
    if let Some(aws) = aws() {
        let theirs = server.command(aws).args(arguments).output().expect("aws runs");
        let theirs = String::from_utf8_lossy(&theirs.stderr).replace("aws: [ERROR]: ", "");
        assert_eq!(text.trim(), theirs.trim());
    }
}

#[test]
fn the_region_of_a_call_is_the_region_of_what_it_creates() {
    let server = Server::start(&[]);
    let create = |name: &'static str| {
        vec![
            "appmesh",
            "create-mesh",
            "--mesh-name",
            name,
            "--query",
            "mesh.metadata.arn",
            "--output",
            "text",
        ]
    };
    let arn = server.prints(&create("by-environment"));
    assert!(arn.starts_with("arn:aws:appmesh:us-west-2:"), "{arn}");
    let arn = server.prints(&[create("by-option"), vec!["--region", "eu-west-1"]].concat());
    assert!(arn.starts_with("arn:aws:appmesh:eu-west-1:"), "{arn}");
}

#[test]
fn debug_shows_calls_on_standard_error_and_leaves_the_answer_alone() {
    let server = Server::start(&[]);
    let plain = server.selvedge(&["appmesh", "list-meshes"]);
    let debug = server.selvedge(&["appmesh", "list-meshes", "--debug"]);
    assert_eq!(plain.stdout, debug.stdout);
    assert!(plain.stderr.is_empty());
    assert!(String::from_utf8_lossy(&debug.stderr).contains("/v20190125/meshes"), "{debug:?}");
}

#[test]
fn every_way_to_write_an_input_makes_the_same_resource() {
    let server = furnished();
    let spec = r#"{"listeners":[{"portMapping":{"port":8080,"protocol":"http"}}]}"#;
    let file = server.folder.path().join("spec.json");
    std::fs::write(&file, spec).expect("written");
    let file = format!("file://{}", file.display());
    let whole = format!(r#"{{"meshName":"m","virtualNodeName":"whole","spec":{spec}}}"#);
    let yaml = "meshName: m\nvirtualNodeName: yaml\nspec:\n  listeners:\n  - portMapping: {port: 8080, protocol: http}\n";
    let named = |name: &'static str| {
        ["appmesh", "create-virtual-node", "--mesh-name", "m", "--virtual-node-name", name]
    };
    let query = ["--query", "virtualNode.spec"];
    let mut printed = Vec::new();
    for arguments in [
        [&named("shorthand")[..], &["--spec", LISTENER], &query].concat(),
        [&named("json")[..], &["--spec", spec], &query].concat(),
        [&named("file")[..], &["--spec", &file], &query].concat(),
        [&["appmesh", "create-virtual-node", "--cli-input-json", &whole][..], &query].concat(),
        [&["appmesh", "create-virtual-node", "--cli-input-yaml", yaml][..], &query].concat(),
        [
            &[
                "appmesh",
                "create-virtual-node",
                "--cli-input-json",
                &whole,
                "--virtual-node-name",
                "overridden",
            ][..],
            &query,
        ]
        .concat(),
    ] {
        printed.push(server.prints(&arguments));
    }
    assert!(printed.iter().all(|text| *text == printed[0]), "{printed:?}");
    let names = server.prints(&[
        "appmesh",
        "list-virtual-nodes",
        "--mesh-name",
        "m",
        "--query",
        "virtualNodes[].virtualNodeName",
        "--output",
        "text",
    ]);
    for name in ["shorthand", "json", "file", "whole", "yaml", "overridden"] {
        assert!(names.split_whitespace().any(|word| word == name), "{names}");
    }
}

#[test]
fn a_list_that_was_cut_off_goes_on_from_its_token() {
    let server = furnished();
    let query = "virtualNodes[].virtualNodeName";
    let mut seen = Vec::new();
    let mut token: Option<String> = None;
    loop {
        let mut arguments =
            vec!["appmesh", "list-virtual-nodes", "--mesh-name", "m", "--max-items", "1", "--page-size", "2"];
        if let Some(token) = &token {
            arguments.extend(["--starting-token", token]);
        }
        let page: serde_json::Value = serde_json::from_str(&server.prints(&arguments)).expect("JSON");
        seen.extend(
            page["virtualNodes"]
                .as_array()
                .expect("a list")
                .iter()
                .map(|node| node["virtualNodeName"].as_str().map(str::to_owned)),
        );
        match page["NextToken"].as_str() {
            Some(next) => token = Some(next.to_owned()),
            None => break,
        }
    }
    let whole: Vec<Option<String>> = serde_json::from_str(&server.prints(&[
        "appmesh",
        "list-virtual-nodes",
        "--mesh-name",
        "m",
        "--query",
        query,
    ]))
    .expect("JSON");
    assert_eq!(seen, whole);
}

#[test]
fn what_cannot_be_read_ends_with_2_and_what_cannot_be_reached_with_1() {
    let server = Server::start(&[]);
    for arguments in [
        vec!["appmesh", "create-mesh"],
        vec!["appmesh", "no-such-operation"],
        vec!["appmesh", "create-mesh", "--mesh-name", "m", "--spec", "{"],
        vec!["appmesh", "create-mesh", "--mesh-name", "m", "--spec", "egressFilter"],
        vec!["appmesh", "create-mesh", "--cli-input-json", "{}"],
        vec!["appmesh", "list-meshes", "--query", "["],
        vec!["appmesh", "list-meshes", "--starting-token", "?"],
        vec!["appmesh", "list-meshes", "--endpoint-url", "https://127.0.0.1:1"],
    ] {
        let output = server.selvedge(&arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {output:?}");
        assert!(output.stdout.is_empty() && !output.stderr.is_empty(), "{arguments:?}");
    }
    let output = server.selvedge(&["appmesh", "list-meshes", "--endpoint-url", "http://127.0.0.1:1"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("selvedge up"), "{output:?}");
}
