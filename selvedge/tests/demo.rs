//! The demo as a check: with our sidecars and, where one is installed, with real Envoys; twice in a row.

#![allow(dead_code, reason = "each test uses its part of the server module")]

mod server;

use std::process::{Command, Output};

use server::{PROGRAM, repository};

fn check(sidecar: &str) -> Output {
    Command::new(PROGRAM)
        .args(["demo", "--check", "--requests", "2000", "--sidecar", sidecar])
        .current_dir(repository())
        .output()
        .expect("the program runs")
}

fn assert_holds(output: &Output) {
    let text =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{text}");
    assert!(text.contains("Both splits are the configured ones."), "{text}");
}

#[test]
fn our_sidecars_split_as_configured_twice_in_a_row() {
    assert_holds(&check("selvedge"));
    assert_holds(&check("selvedge"));
}

#[test]
fn real_envoys_split_as_configured() {
    let output = check("envoy");
    if String::from_utf8_lossy(&output.stderr).contains("no Envoy found") {
        eprintln!("SKIPPED: no Envoy is installed");
        return;
    }
    assert_holds(&output);
}

#[test]
fn the_live_view_ends_by_itself_and_shows_both_versions() {
    let output = Command::new(PROGRAM)
        .args(["demo", "--seconds", "3"])
        .current_dir(repository())
        .output()
        .expect("the program runs");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    for part in ["colors-v1", "colors-v2", "update-route", "Ctrl-C"] {
        assert!(text.contains(part), "{text}");
    }
}
