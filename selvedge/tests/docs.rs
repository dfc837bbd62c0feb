//! Every command shown in a document does what the document says it does.
//!
//! Each `sh` block is preceded by one of these marks: `<!-- runs -->`, run in order, page by page, against a server of its own;
//! `<!-- runs: aws -->`, the same where the AWS command line is installed; `<!-- shown: reason -->`, not run.

#![allow(dead_code, reason = "each test uses its part of the server module")]

mod server;

use std::path::{Path, PathBuf};

use server::{PROGRAM, Server, aws, repository};

/// What a mark says about the block below it.
#[derive(Debug, PartialEq)]
enum Mark {
    Runs,
    RunsWithAws,
    Shown,
}

/// The pages that show commands.
fn pages() -> Vec<PathBuf> {
    let root = repository();
    let mut pages = vec![
        root.join("README.md"),
        root.join("examples/colors/README.md"),
        root.join("examples/gateway/README.md"),
    ];
    let guide = std::fs::read_dir(root.join("docs/guide")).expect("the guide");
    pages.extend(
        guide
            .map(|entry| entry.expect("readable").path())
            .filter(|path| path.extension().is_some_and(|end| end == "md")),
    );
    pages.sort();
    pages
}

/// The `sh` blocks of a page with their marks.
fn blocks(page: &Path) -> Vec<(Mark, String)> {
    let text = std::fs::read_to_string(page).expect("readable");
    let mut blocks = Vec::new();
    let mut previous = "";
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        if line == "```sh" {
            let body: Vec<&str> = lines.by_ref().take_while(|line| *line != "```").collect();
            blocks.push((mark(page, previous), body.join("\n")));
        }
        previous = line;
    }
    blocks
}

fn mark(page: &Path, line: &str) -> Mark {
    match line {
        "<!-- runs -->" => Mark::Runs,
        "<!-- runs: aws -->" => Mark::RunsWithAws,
        line if line.starts_with("<!-- shown: ") => Mark::Shown,
        other => panic!("{}: a block of commands below {other:?} needs a mark", page.display()),
    }
}

#[test]
fn the_commands_of_every_page_work() {
    let aws = aws();
    for page in pages() {
        let blocks = blocks(&page);
        if blocks.iter().all(|(mark, _)| *mark == Mark::Shown) {
            continue;
        }
        let server = Server::start(&[]);
        let programs = tempfile::tempdir().expect("a folder");
        std::os::unix::fs::symlink(PROGRAM, programs.path().join("selvedge")).expect("a link");
        if let Some(aws) = &aws {
            std::os::unix::fs::symlink(aws, programs.path().join("aws")).expect("a link");
        }
        // Examples are run where their files are; what a page writes must not land among them.
        let work = if page.starts_with(repository().join("examples")) {
            page.parent().expect("a folder")
        } else {
            server.folder.path()
        };
        let script: Vec<String> = blocks
            .into_iter()
            .filter(|(mark, _)| *mark == Mark::Runs || (*mark == Mark::RunsWithAws && aws.is_some()))
            .map(|(_, body)| format!("echo '--- next block'\n{body}\n"))
            .collect();
        // Without the AWS command line, what its blocks would have made is made by ours, so that later blocks find it.
        let stand_in = if aws.is_none() { "selvedge appmesh create-mesh --mesh-name my-mesh\n" } else { "" };
        let output = server
            .command("bash")
            .args(["-euo", "pipefail", "-c", &format!("{stand_in}{}", script.concat())])
            .current_dir(work)
            .env(
                "PATH",
                format!("{}:{}", programs.path().display(), std::env::var("PATH").unwrap_or_default()),
            )
            .env("AWS_PAGER", "")
            .output()
            .expect("bash runs");
        assert!(
            output.status.success(),
            "{}:\n{}\n{}",
            page.display(),
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
    }
}

#[test]
fn every_link_between_pages_leads_somewhere() {
    for page in pages().into_iter().chain([repository().join("docs/journeys.md")]) {
        let text = std::fs::read_to_string(&page).expect("readable");
        for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let target = link.split('#').next().unwrap_or_default();
            if target.is_empty() || target.contains("://") {
                continue;
            }
            let file = page.parent().expect("a folder").join(target);
            assert!(file.exists(), "{}: {link}", page.display());
        }
    }
}

#[test]
fn every_variable_of_a_sidecar_is_in_the_reference() {
    let source = std::fs::read_to_string(repository().join("services/proxy/src/bootstrap/variables.rs"));
    let reference =
        std::fs::read_to_string(repository().join("docs/guide/configuration.md")).expect("readable");
    let source = source.expect("readable");
    let is_name = |text: &&str| {
        let starts = ["APPMESH_", "APPNET_", "ENVOY_", "ENABLE_", "SELVEDGE_"]
            .iter()
            .any(|start| text.starts_with(start));
        starts && text.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_')
    };
    // Only what the program reads, not what its tests set.
    let source = source.split("#[cfg(test)]").next().unwrap_or_default();
    let names: Vec<&str> = source.split('"').filter(is_name).collect();
    assert!(names.len() >= 10, "{names:?}");
    for name in names {
        assert!(reference.contains(name), "{name} is not in docs/guide/configuration.md");
    }
}
