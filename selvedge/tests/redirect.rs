//! The rules of interception in the kernel: put in place, replaced, rolled back, taken away. Each test runs in a network
//! namespace of its own, and says that it skips where it may not make one.

use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;
use std::process::{Command, Output};

use nix::sched::{CloneFlags, unshare};

const PROGRAM: &str = env!("CARGO_BIN_EXE_selvedge");

/// The programs in front of all others, and what runs with them.
struct World {
    programs: tempfile::TempDir,
}

impl World {
    /// Moves this thread, and all that it starts, into a network of its own.
    fn new() -> Option<Self> {
        if unshare(CloneFlags::CLONE_NEWNET).is_err() {
            eprintln!("skipped: no network namespace may be made here");
            return None;
        }
        Some(Self { programs: tempfile::tempdir().expect("a folder") })
    }

    /// Lets `iptables` be the elder one, which speaks to the kernel without nftables.
    fn with_legacy_iptables(self) -> Option<Self> {
        for family in ["iptables", "ip6tables"] {
            for action in ["save", "restore"] {
                let real = format!("/usr/sbin/{family}-legacy-{action}");
                if !Path::new(&real).exists() {
                    eprintln!("skipped: {real} is not installed");
                    return None;
                }
                let link = self.programs.path().join(format!("{family}-{action}"));
                symlink(real, link).expect("a link");
            }
        }
        Some(self)
    }

    /// Puts a program in front that does what `script` says.
    fn with_program(&self, name: &str, script: &str) {
        let path = self.programs.path().join(name);
        std::fs::write(&path, format!("#!/bin/sh\n{script}\n")).expect("written");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).expect("executable");
    }

    fn run(&self, program: &str, words: &[&str]) -> Output {
        let path = format!("{}:/usr/sbin:/sbin:/usr/bin:/bin", self.programs.path().display());
        Command::new(program).args(words).env_clear().env("PATH", path).output().expect("it runs")
    }

    fn redirect(&self, words: &[&str]) -> Output {
        self.run(PROGRAM, &[&["redirect"], words].concat())
    }

    fn succeeds(&self, words: &[&str]) -> String {
        let output = self.redirect(words);
        assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("text")
    }

    /// All rules of all kinds, without what differs from one reading to the next.
    fn rules(&self) -> String {
        let mut text = String::new();
        for (program, words) in [
            ("nft", &["list", "ruleset"][..]),
            ("iptables-save", &["-t", "nat"]),
            ("ip6tables-save", &["-t", "nat"]),
        ] {
            let output = self.run(program, words);
            let lines = String::from_utf8_lossy(&output.stdout).into_owned();
            text.extend(lines.lines().filter(|line| !line.starts_with('#')).map(|line| format!("{line}\n")));
        }
        text
    }
}

const INSTALL: &[&str] = &["install", "--app-ports", "8080,9090", "--ipv6", "--dns-port", "15053"];

/// Runs in a thread of its own, whose network namespace ends with it.
fn in_a_network(test: impl FnOnce() + Send + 'static) {
    std::thread::spawn(test).join().expect("the test");
}

fn put_replaced_and_taken_away(world: &World, backend: &str) {
    // Somebody else's rules, which must survive everything.
    let others = "nft 'add table ip other; add chain ip other c'; for family in iptables ip6tables; do \
        for chain in PREROUTING OUTPUT; do \
        printf '*nat\\n-A %s -p tcp -m tcp --dport 1 -j RETURN\\nCOMMIT\\n' $chain | $family-restore --noflush; \
        done; done";
    let other = world.run("sh", &["-euc", others]);
    assert!(other.status.success(), "{}", String::from_utf8_lossy(&other.stderr));
    let call = |words: &[&str]| world.succeeds(&[words, &["--backend", backend]].concat());
    assert_eq!(call(&["show"]), "no connection is redirected\n");
    let before = world.rules();
    call(INSTALL);
    let shown = call(&["show"]);
    for expected in ["APPMESH_INGRESS", "APPMESH_EGRESS", "APPMESH_DNS", "8080", "9090", "15001", "1337"] {
        assert!(shown.contains(expected), "{expected} is not in\n{shown}");
    }
    let installed = world.rules();
    call(INSTALL);
    assert_eq!(world.rules(), installed, "again is the same");
    call(&["install", "--ignore-uid", "1444"]);
    let replaced = call(&["show"]);
    assert!(replaced.contains("1444") && !replaced.contains("8080"), "{replaced}");
    assert!(!replaced.contains("15053") && !replaced.contains("1337"), "{replaced}");
    call(&["remove"]);
    assert_eq!(world.rules(), before, "nothing is left, and nothing else is gone");
    call(&["remove"]);
    assert!(before.contains("table ip other") && before.contains("--dport 1 "), "{before}");
}

#[test]
fn nftables_rules_are_put_replaced_and_taken_away() {
    in_a_network(|| {
        if let Some(world) = World::new() {
            put_replaced_and_taken_away(&world, "nft");
        }
    });
}

#[test]
fn iptables_rules_are_put_replaced_and_taken_away() {
    in_a_network(|| {
        if let Some(world) = World::new() {
            put_replaced_and_taken_away(&world, "iptables");
        }
    });
}

#[test]
fn elder_iptables_rules_are_put_replaced_and_taken_away() {
    in_a_network(|| {
        if let Some(world) = World::new().and_then(World::with_legacy_iptables) {
            put_replaced_and_taken_away(&world, "iptables");
        }
    });
}

#[test]
fn rules_that_cannot_be_installed_are_rolled_back_whole() {
    in_a_network(|| {
        let Some(world) = World::new() else { return };
        world.succeeds(&["install", "--backend", "iptables", "--app-ports", "7000"]);
        let before = world.rules();
        // IPv4 is done by then; IPv6 fails.
        world.with_program("ip6tables-restore", "echo 'no such table' >&2; exit 2");
        let failed = world.redirect(&[INSTALL, &["--backend", "iptables"]].concat());
        let said = String::from_utf8_lossy(&failed.stderr).into_owned();
        assert_eq!(failed.status.code(), Some(1), "{said}");
        assert!(said.contains("not changed") && said.contains("no such table"), "{said}");
        assert_eq!(world.rules(), before);
        // And where one backend takes over from the other.
        world.with_program("iptables-restore", "grep -q -- -X && { echo 'busy' >&2; exit 4; }; exit 0");
        let failed = world.redirect(&[INSTALL, &["--backend", "nft"]].concat());
        assert_eq!(failed.status.code(), Some(1));
        assert_eq!(world.rules(), before);
    });
}

#[test]
fn one_backend_takes_over_from_the_other() {
    in_a_network(|| {
        let Some(world) = World::new() else { return };
        for (first, second) in [("iptables", "nft"), ("nft", "iptables")] {
            world.succeeds(&[INSTALL, &["--backend", first]].concat());
            world.succeeds(&[INSTALL, &["--backend", second]].concat());
            assert_eq!(world.succeeds(&["show", "--backend", first]), "no connection is redirected\n");
            assert!(world.succeeds(&["show"]).contains("APPMESH_EGRESS"));
        }
        world.succeeds(&["remove"]);
        assert_eq!(world.succeeds(&["show"]), "no connection is redirected\n");
    });
}

#[test]
fn what_cannot_be_meant_is_refused_before_anything_is_touched() {
    let world = World { programs: tempfile::tempdir().expect("a folder") };
    for (words, named) in [
        (&["install", "--ignore-uid", ""][..], "neither a user nor a group"),
        (&["install", "--egress-port", "15000"], "15000"),
        (&["install", "--app-ports", "80,x"], "'80,x'"),
        (&["install", "--egress-ignored-ips", "10.0.0.0/40"], "10.0.0.0/40"),
        (&["install", "--backend", "ipfw"], "ipfw"),
    ] {
        let output = world.redirect(words);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{words:?}: {said}");
        assert!(said.contains(named), "{words:?}: {said}");
    }
}

#[test]
fn a_dry_run_prints_the_rules_and_reads_app_meshs_variables() {
    let output = Command::new(PROGRAM)
        .args(["redirect", "install", "--dry-run", "--backend", "nft"])
        .env("APPMESH_APP_PORTS", "8080, 9090")
        .env("APPMESH_IGNORE_UID", "1444")
        .env("APPMESH_EGRESS_IGNORED_IP", "10.0.0.0/8")
        .env("APPMESH_ENABLE_IPV6", "1")
        .output()
        .expect("it runs");
    let text = String::from_utf8(output.stdout).expect("text");
    assert!(text.contains("tcp dport { 8080, 9090 } redirect to :15000"), "{text}");
    assert!(text.contains("skuid 1444") && text.contains("ip daddr 10.0.0.0/8 return"), "{text}");
    assert!(!text.contains("nfproto"), "{text}");
}
