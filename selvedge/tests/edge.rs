//! `selvedge edge` beside Debian's lighttpd: the same configurations, the same outcomes.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// Where Debian puts it; `cargo xtask test --only setup` installs it.
const LIGHTTPD: &str = "/usr/sbin/lighttpd";
/// The version that the outcomes are those of.
const VERSION: &str = "lighttpd/1.4.69";

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn edge(arguments: &[&str], folder: &Path) -> Output {
    let binary = env!("CARGO_BIN_EXE_selvedge");
    Command::new(binary).arg("edge").args(arguments).current_dir(folder).output().expect("it runs")
}

fn lighttpd(arguments: &[&str], folder: &Path) -> Output {
    Command::new(LIGHTTPD).args(arguments).current_dir(folder).output().expect("it runs")
}

/// Whether Debian's lighttpd is here; says so when it is not.
fn has_lighttpd() -> bool {
    let version = Command::new(LIGHTTPD).arg("-v").output();
    let there = version.is_ok_and(|output| String::from_utf8_lossy(&output.stdout).starts_with(VERSION));
    if !there {
        assert!(std::env::var_os("CI").is_none(), "{VERSION} is missing: run cargo xtask test --only setup");
        eprintln!("{VERSION} is not installed: nothing is compared. Run cargo xtask test --only setup");
    }
    there
}

/// Names and texts of the corpus.
fn configurations() -> Vec<(String, String)> {
    let text = std::fs::read_to_string(root().join("tests/lighttpd/configurations.txt")).expect("the corpus");
    let cases = text.split("\n=== ").skip(1).map(|part| {
        let (name, body) = part.split_once('\n').expect("a name and a text");
        let has_root = name.contains("document root") || body.contains("server.document-root");
        let first = if has_root { "" } else { "server.document-root = \"/tmp\"\n" };
        (name.to_owned(), format!("{first}{body}\n"))
    });
    cases.collect()
}

/// The process's number is its own.
fn without_pid(output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stdout);
    text.lines()
        .filter(|line| !line.trim_start().starts_with("var.PID "))
        .map(|line| format!("{line}\n"))
        .collect()
}

#[test]
fn configurations_have_the_outcomes_that_they_have_with_lighttpd() {
    if !has_lighttpd() {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("edge.conf");
    let file_name = file.display().to_string();
    let configurations = configurations();
    assert!(configurations.len() > 190, "the corpus has {} configurations", configurations.len());
    let mut differences = Vec::new();
    for (name, text) in &configurations {
        std::fs::write(&file, text).expect("written");
        for option in ["-p", "-tt"] {
            let theirs = lighttpd(&[option, "-f", &file_name], folder.path());
            let ours = edge(&["--compat", "1.4.69", option, "-f", &file_name], folder.path());
            let refused = name.ends_with("refused here");
            if refused && option == "-p" {
                continue;
            }
            let expected = if refused { Some(255) } else { theirs.status.code() };
            if ours.status.code() != expected {
                let said = String::from_utf8_lossy(&ours.stderr).into_owned();
                differences
                    .push(format!("{name} {option}: {expected:?}, ours {:?}\n{said}", ours.status.code()));
            } else if expected == Some(0) && without_pid(&theirs) != without_pid(&ours) {
                differences.push(format!(
                    "{name} {option} prints\n{}\nand ours\n{}",
                    without_pid(&theirs),
                    without_pid(&ours)
                ));
            }
        }
    }
    assert!(differences.is_empty(), "{} differ:\n{}", differences.len(), differences.join("\n"));
}

/// What both do with these words, and whether they print something on standard output.
const OPTIONS: &[&[&str]] = &[
    &["-v"],
    &["-V"],
    &["-h"],
    &["-vV"],
    &["-v", "-f", "nope.conf"],
    &["-m", "/nowhere", "-v"],
    &["-f", "a.conf", "-h"],
    &[],
    &["-D"],
    &["-t"],
    &["-1"],
    &["-t", "-f", "a.conf"],
    &["-tf", "a.conf"],
    &["-fa.conf", "-t"],
    &["-Dt", "-f", "a.conf"],
    &["-DD", "-tf", "a.conf"],
    &["-11", "-tf", "a.conf"],
    &["-1", "-t", "-f", "a.conf"],
    &["-tt", "-f", "a.conf"],
    &["-ttt", "-f", "a.conf"],
    &["-t", "-t", "-f", "a.conf"],
    &["-p", "-f", "a.conf"],
    &["-pp", "-f", "a.conf"],
    &["-p", "-t", "-f", "a.conf"],
    &["-tp", "-f", "a.conf"],
    &["-p", "-tt", "-f", "a.conf"],
    &["-t", "-f", "a.conf", "-v"],
    &["-t", "-m", "/nowhere", "-f", "a.conf"],
    &["-m", "/a", "-m", "/b", "-tf", "a.conf"],
    &["-t", "-f", "nope.conf"],
    &["-t", "-f", "bad.conf"],
    &["-tt", "-f", "bad.conf"],
    &["-p", "-f", "bad.conf"],
    &["-tt", "-f", "module.conf"],
    &["-t", "-f", "a.conf", "-f", "a.conf"],
    &["-i", "x", "-t", "-f", "a.conf"],
    &["-i", "5x", "-t", "-f", "a.conf"],
    &["-i", "-5", "-t", "-f", "a.conf"],
    &["-i", "0", "-t", "-f", "a.conf"],
    &["-i", "5", "-t", "-f", "a.conf"],
    &["-i", "1", "-i", "2", "-tf", "a.conf"],
    &["-i", "5"],
    // Wrong ones.
    &["-x"],
    &["-x", "-t", "-f", "a.conf"],
    &["-f"],
    &["-i"],
    &["-f", "a.conf", "-t", "-f"],
    &["--version"],
    &["a.conf"],
    &["-t", "a.conf"],
    &["-t", "--", "-f", "a.conf"],
];

/// Words that lighttpd passes over, and that are refused here: somebody meant something by them.
const REFUSED_WORDS: &[&[&str]] = &[&["-t", "-f", "a.conf", "extra"], &["-V", "-x"]];

#[test]
fn the_options_end_as_lighttpds_do() {
    if !has_lighttpd() {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    for (name, text) in [
        ("a.conf", "server.document-root = \"/tmp\"\n"),
        ("bad.conf", "server.document-root = nobody + \"/tmp\"\n"),
        ("module.conf", "server.document-root = \"/tmp\"\nserver.modules = ( \"mod_nonsense\" )\n"),
    ] {
        std::fs::write(folder.path().join(name), text).expect("written");
    }
    for arguments in OPTIONS {
        let (theirs, ours) = (lighttpd(arguments, folder.path()), edge(arguments, folder.path()));
        assert_eq!(ours.status.code(), theirs.status.code(), "{arguments:?}");
        if theirs.status.success() {
            let said = |output: &Output| (!output.stdout.is_empty(), !output.stderr.is_empty());
            assert_eq!(said(&ours), said(&theirs), "{arguments:?}: {ours:?}");
        } else {
            assert!(!ours.stderr.is_empty(), "{arguments:?}: what is refused says why");
        }
        let verdict = |output: &Output| String::from_utf8_lossy(&output.stdout).contains("Syntax OK\n");
        assert_eq!(verdict(&ours), verdict(&theirs), "{arguments:?}");
    }
    for arguments in REFUSED_WORDS {
        assert_eq!(lighttpd(arguments, folder.path()).status.code(), Some(0), "{arguments:?}");
        assert_eq!(edge(arguments, folder.path()).status.code(), Some(255), "{arguments:?}");
    }
}

/// Scripts look for these lines: sections and names are lighttpd's, and what is there is told by `+` and `-`.
#[test]
fn versions_and_features_are_listed_as_lighttpd_lists_them() {
    if !has_lighttpd() {
        return;
    }
    let shape = |output: Output| -> Vec<String> {
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let lines = text.lines().skip(1).map(|line| line.replacen(['+', '-'], "*", 1));
        lines.filter(|line| !line.is_empty()).collect()
    };
    assert_eq!(shape(edge(&["-V"], &root())), shape(lighttpd(&["-V"], &root())));
    let first = |output: Output| String::from_utf8_lossy(&output.stdout).lines().next().map(str::to_owned);
    for output in [edge(&["-v"], &root()), lighttpd(&["-v"], &root())] {
        let line = first(output).expect("a line");
        let (name, rest) = line.split_once('/').expect("a name and a version");
        let (version, rest) = rest.split_once(' ').expect("what follows");
        assert!(
            !name.is_empty() && version.split('.').count() == 3 && rest.starts_with("(ssl) - "),
            "{line}"
        );
    }
}

#[test]
fn under_the_name_lighttpd_it_takes_lighttpds_options() {
    let folder = tempfile::tempdir().expect("a folder");
    let link = folder.path().join("lighttpd");
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_selvedge"), &link).expect("linked");
    let output = Command::new(&link).arg("-V").output().expect("it runs");
    let text = String::from_utf8_lossy(&output.stdout);
    for line in ["+ PCRE support", "+ zlib support", "+ OpenSSL support"] {
        assert_eq!(text.matches(line).count(), 1, "{text}");
    }
}

#[test]
fn debians_own_configuration_is_right() {
    if !has_lighttpd() {
        return;
    }
    let output = edge(&["check", "/etc/lighttpd/lighttpd.conf"], &root());
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && text.contains("nothing is wrong"), "{text}");
}

#[test]
fn a_finding_has_its_place_and_a_hint() {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("a.conf"), "server.document-root = \"/tmp\"\nserver.name = nobody\n")
        .expect("written");
    let output = edge(&["check", "a.conf"], folder.path());
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(
        String::from_utf8_lossy(&output.stdout),
        "error: Undefined config variable: var.nobody\n  --> a.conf:2:15\n  |\n2 | server.name = nobody\n  |               ^\n"
    );
}

#[test]
fn each_command_has_its_help() {
    for command in ["check", "print", "explain", "convert", "routes", "schema"] {
        let output = edge(&[command, "--help"], &root());
        assert!(output.status.success(), "{command}: {}", String::from_utf8_lossy(&output.stderr));
        assert!(String::from_utf8_lossy(&output.stdout).contains("Usage: selvedge edge"), "{command}");
    }
}
