//! The demo as a check: with our sidecars and, where one is installed, with real Envoys; twice in a row.

#![allow(dead_code, reason = "each test uses its part of the server module")]

mod server;

use std::io::{BufRead, BufReader};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
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

/// The processes that a demo has started and that still run.
fn sidecars_of(demo: u32) -> Vec<u32> {
    let parent_of = |id: u32| -> Option<u32> {
        let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
        stat.rsplit(')').next()?.split_whitespace().nth(1)?.parse().ok()
    };
    let processes = std::fs::read_dir("/proc").expect("Linux").flatten();
    let ids = processes.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    ids.filter(|id| parent_of(*id) == Some(demo)).collect()
}

fn is_running(id: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
    // A zombie has ended; whoever inherited it will notice.
    stat.rsplit(')').next().and_then(|rest| rest.split_whitespace().next()).is_some_and(|state| state != "Z")
}

fn ends_with_its_sidecars(signal: Signal) {
    let mut demo = Command::new(PROGRAM)
        .args(["demo", "--rate", "20"])
        .current_dir(repository())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the program starts");
    let stdout = BufReader::new(demo.stdout.take().expect("piped above"));
    let mut lines = stdout.lines().map_while(Result::ok);
    assert!(lines.any(|line| line.contains("Ctrl-C")), "it never got to its table");
    let sidecars = sidecars_of(demo.id());
    assert_eq!(sidecars.len(), 3);
    kill(Pid::from_raw(demo.id().cast_signed()), signal).expect("it runs");
    drop(lines);
    let status = demo.wait().expect("a child");
    assert_eq!(status.success(), signal != Signal::SIGKILL, "{status}");
    let begun = Instant::now();
    while sidecars.iter().any(|id| is_running(*id)) {
        assert!(begun.elapsed() < Duration::from_secs(15), "sidecars outlived the demo");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn an_interrupt_ends_the_demo_and_everything_it_started() {
    ends_with_its_sidecars(Signal::SIGINT);
}

#[test]
fn even_a_kill_leaves_no_sidecar_behind() {
    ends_with_its_sidecars(Signal::SIGKILL);
}
