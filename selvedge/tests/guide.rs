//! The fifteen commands of a widely used guide, unchanged, through our command line and through the AWS one.

#![allow(dead_code, reason = "each test uses its part of the server module")]

mod server;

use server::{PROGRAM, Server, aws, shared};

/// Runs the guide with that program as `aws`; answers how many of its commands failed.
fn run(server: &Server, program: &str) -> Option<(i32, String)> {
    let guide = shared("acceptance/guide/commands.sh")?;
    let folder = tempfile::tempdir().expect("a folder");
    std::os::unix::fs::symlink(program, folder.path().join("aws")).expect("a link");
    let path = format!("{}:{}", folder.path().display(), std::env::var("PATH").unwrap_or_default());
    let output =
        server.command("bash").arg(guide).env("PATH", path).env("AWS_PAGER", "").output().expect("bash runs");
    let text =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    Some((output.status.code().unwrap_or(-1), text))
}

#[test]
fn all_fifteen_commands_succeed_through_selvedge() {
    let server = Server::start(&[]);
    if let Some((failed, text)) = run(&server, PROGRAM) {
        assert_eq!(failed, 0, "{text}");
    }
}

#[test]
fn thirteen_succeed_through_the_aws_command_line_which_refuses_two() {
    let Some(aws) = aws() else { return };
    let server = Server::start(&[]);
    let made = server
        .command(&aws)
        .args("appmesh create-mesh --mesh-name my-mesh --spec egressFilter={type=ALLOW_ALL}".split(' '))
        .output();
    assert!(made.expect("aws runs").status.success());
    let aws = aws.canonicalize().expect("it exists");
    if let Some((failed, text)) = run(&server, &aws.display().to_string()) {
        assert_eq!(failed, 2, "{text}");
    }
}

#[test]
fn strictness_refuses_what_app_mesh_refused() {
    let server = Server::start(&["--strict"]);
    server.prints(&["appmesh", "create-mesh", "--mesh-name", "m"]);
    let spec = "listeners=[{portMapping={port=80,protocol=http}}]";
    let output = server.selvedge(&[
        "appmesh",
        "create-virtual-node",
        "--mesh-name",
        "m",
        "--virtual-node-name",
        "n",
        "--spec",
        spec,
    ]);
    assert_eq!(output.status.code(), Some(254));
    assert!(String::from_utf8_lossy(&output.stderr).contains("BadRequestException"), "{output:?}");
}
