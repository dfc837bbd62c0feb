//! What the tests need besides Rust: Debian packages, a Python environment with the real Envoy and AWS's tools, and
//! cargo-deny. What is there already is left alone, so that a second run does nothing.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use super::command::Program;
use super::lighttpd;

/// A Debian package and a command that succeeds where it is installed.
struct Package {
    name: &'static str,
    probe: &'static [&'static str],
    used_for: &'static str,
}

const PACKAGES: &[Package] = &[
    Package { name: "gcc", probe: &["cc", "--version"], used_for: "building SQLite" },
    Package {
        name: "libc6-dev",
        probe: &["test", "-e", "/usr/include/stdio.h"],
        used_for: "building SQLite",
    },
    Package {
        name: "musl-tools",
        probe: &["musl-gcc", "--version"],
        used_for: "building the container's static program",
    },
    Package {
        name: "buildah",
        probe: &["buildah", "--version"],
        used_for: "packing the container's image without a container engine",
    },
    Package { name: "g++", probe: &["c++", "--version"], used_for: "building libFuzzer" },
    Package { name: "python3", probe: &["python3", "--version"], used_for: "the conformance tests" },
    Package {
        name: "python3-venv",
        probe: &["python3", "-c", "import ensurepip, venv"],
        used_for: "target/venv",
    },
    Package { name: "curl", probe: &["curl", "--version"], used_for: "the commands of the guides" },
    Package { name: "iproute2", probe: &["ip", "-V"], used_for: "network namespaces" },
    Package { name: "iptables", probe: &["iptables", "--version"], used_for: "transparent interception" },
    Package { name: "nftables", probe: &["nft", "--version"], used_for: "transparent interception" },
    Package { name: "util-linux", probe: &["nsenter", "--version"], used_for: "hosts of their own" },
    Package { name: "openssl", probe: &["openssl", "version"], used_for: "TLS outside of the mesh" },
    Package {
        name: "postgresql",
        probe: &["sh", "-c", "ls /usr/lib/postgresql/*/bin/postgres && psql --version"],
        used_for: "programs behind sidecars",
    },
    Package {
        name: "redis-server",
        probe: &["redis-server", "--version"],
        used_for: "programs behind sidecars",
    },
    Package {
        name: "mariadb-server-core",
        probe: &["mariadbd", "--version"],
        used_for: "a server that speaks first",
    },
    Package {
        name: "mariadb-client-core",
        probe: &["mariadb", "--version"],
        used_for: "a server that speaks first",
    },
    Package { name: "bind9-dnsutils", probe: &["dig", "-v"], used_for: "the DNS server's tests" },
    Package {
        name: "pebble",
        probe: &["sh", "-c", "command -v pebble && command -v pebble-challtestsrv"],
        used_for: "an authority for certificates, to test with",
    },
    Package {
        name: "nodejs",
        probe: &["node", "--version"],
        used_for: "a provider of identities, to sign in with",
    },
    Package { name: "npm", probe: &["npm", "--version"], used_for: "installing it" },
    Package {
        name: "libsystemd-shared",
        probe: &["sh", "-c", "ls /usr/lib/*/systemd/libsystemd-shared-*.so"],
        used_for: "what systemd-resolved needs",
    },
    Package { name: "dnsmasq-base", probe: &["dnsmasq", "--version"], used_for: "the bench" },
    Package { name: "unbound", probe: &["unbound", "-V"], used_for: "the bench" },
    Package { name: "caddy", probe: &["caddy", "version"], used_for: "the edge's bench" },
    Package {
        name: "lighttpd",
        probe: &["lighttpd", "-v"],
        used_for: "the edge's configurations, side by side",
    },
    Package {
        name: "lighttpd-mod-openssl",
        probe: &["test", "-e", "/usr/lib/lighttpd/mod_openssl.so"],
        used_for: "the edge's configurations, side by side",
    },
    Package {
        name: "lighttpd-mod-deflate",
        probe: &["test", "-e", "/usr/lib/lighttpd/mod_deflate.so"],
        used_for: "the edge's configurations, side by side",
    },
    Package {
        name: "php-cgi",
        probe: &["php-cgi", "-v"],
        used_for: "the edge's FastCGI, as most configurations have it",
    },
    Package { name: "testssl.sh", probe: &["testssl", "--version"], used_for: "what an edge's TLS offers" },
    Package { name: "perl", probe: &["prove", "--version"], used_for: "lighttpd's own tests" },
    Package { name: "nginx-light", probe: &["nginx", "-v"], used_for: "the bench" },
    Package { name: "haproxy", probe: &["haproxy", "-v"], used_for: "the bench" },
    Package {
        name: "valgrind",
        probe: &["valgrind", "--version"],
        used_for: "counting a request's instructions",
    },
];

/// What the container's program is built for.
pub(super) const IMAGE_TARGET: &str = "x86_64-unknown-linux-musl";

/// Commands that a plain user's path may not reach.
const SEARCHED_AS_WELL: &str = "/usr/sbin:/sbin";

/// The version that the house was checked with; a newer one may need a newer Rust.
const CARGO_DENY_VERSION: &str = "0.20.2";

const PATIENCE: Duration = Duration::from_secs(15 * 60);

/// Where Debian looks for leave to start a service that it installed.
const SERVICE_POLICY: &str = "/usr/sbin/policy-rc.d";

/// Installs what is missing.
///
/// # Errors
/// When something is missing and cannot be installed.
pub(super) fn run(root: &Path) -> Result<()> {
    packages(root)?;
    environment(root)?;
    node_modules(root)?;
    jsonata_suite(root)?;
    cargo_deny(root)?;
    lighttpd::set_up(root)?;
    image_target(root);
    resolved(root)
}

/// Whether Debian's package of that name is among those that are installed.
#[cfg(test)]
pub(super) fn installs(name: &str) -> bool {
    PACKAGES.iter().any(|package| package.name == name)
}

/// What building for that target lacks here.
pub(super) fn missing_for(target: &str) -> Option<String> {
    let libraries = Command::new("rustc").args(["--print", "target-libdir", "--target", target]).output();
    let folder = libraries.ok().and_then(|output| String::from_utf8(output.stdout).ok()).unwrap_or_default();
    if !Path::new(folder.trim()).is_dir() {
        return Some(format!(
            "Rust's library for {target} is missing; rustup target add {target} fetches it"
        ));
    }
    let compiler = succeeds(&["musl-gcc", "--version"]);
    (!compiler).then(|| "there is no musl-gcc, which Debian's package musl-tools has".into())
}

/// The environment's folder.
pub(super) fn environment_folder(root: &Path) -> PathBuf {
    root.join("target/venv")
}

/// The real Envoy in it. The environment's own `envoy` command is a wrapper, which outlives a kill of its process.
pub(super) fn envoy_binary(root: &Path) -> Option<PathBuf> {
    let pythons = std::fs::read_dir(environment_folder(root).join("lib")).ok()?;
    let inside = |python: std::fs::DirEntry| python.path().join("site-packages/envoy/_bin/envoy");
    pythons.flatten().map(inside).find(|path| path.is_file())
}

/// cargo-deny, the one on the path or the one in `target/tools`.
pub(super) fn cargo_deny_binary(root: &Path) -> Option<PathBuf> {
    let own = root.join("target/tools/bin/cargo-deny");
    if own.is_file() {
        return Some(own);
    }
    succeeds(&["cargo-deny", "--version"]).then(|| PathBuf::from("cargo-deny"))
}

/// The search path with [`SEARCHED_AS_WELL`].
pub(super) fn search_path() -> String {
    format!("{}:{SEARCHED_AS_WELL}", std::env::var("PATH").unwrap_or_default())
}

fn packages(root: &Path) -> Result<()> {
    let missing: Vec<&Package> = PACKAGES.iter().filter(|package| !succeeds(package.probe)).collect();
    if missing.is_empty() {
        println!("Debian packages: all {} are there", PACKAGES.len());
        return Ok(());
    }
    for package in &missing {
        println!("Debian package {} is missing: {}", package.name, package.used_for);
    }
    let names: Vec<&str> = missing.iter().map(|package| package.name).collect();
    ensure!(succeeds(&["apt-get", "--version"]), "no apt-get here: install {} by hand", names.join(" "));
    let as_root = if is_root() {
        Vec::new()
    } else {
        println!("not root: installing them with sudo");
        ensure!(
            succeeds(&["sudo", "-n", "true"]),
            "sudo asks for a password: run sudo apt-get install {}",
            names.join(" ")
        );
        vec!["sudo", "-n"]
    };
    let script = install_script(&names);
    let mut words = as_root;
    words.extend(["sh", "-euc", &script]);
    Program::new(words[0], root, PATIENCE).args(&words[1..]).run()?;
    for package in missing {
        ensure!(
            succeeds(package.probe),
            "{} is installed, and {:?} still fails",
            package.name,
            package.probe
        );
    }
    Ok(())
}

/// Installs without starting a service: nothing of the bench may listen on port 80 of somebody's machine.
fn install_script(names: &[&str]) -> String {
    let install = "apt-get install -qq -y --no-install-recommends";
    format!(
        "export DEBIAN_FRONTEND=noninteractive\n\
         if [ ! -e {SERVICE_POLICY} ]; then\n\
         printf '#!/bin/sh\\nexit 101\\n' > {SERVICE_POLICY}; chmod 755 {SERVICE_POLICY}\n\
         trap 'rm -f {SERVICE_POLICY}' EXIT\n\
         fi\n\
         {install} {names} || {{ apt-get update -qq; {install} {names}; }}\n\
         for unit in lighttpd nginx haproxy postgresql redis-server caddy; do systemctl disable --now $unit >/dev/null 2>&1 || true; done\n",
        names = names.join(" "),
    )
}

/// Makes `target/venv` hold exactly what tests/requirements.txt pins.
fn environment(root: &Path) -> Result<()> {
    let folder = environment_folder(root);
    let pinned =
        std::fs::read_to_string(root.join("tests/requirements.txt")).context("failed to read the pins")?;
    let marker = folder.join("installed-requirements.txt");
    if std::fs::read_to_string(&marker).is_ok_and(|installed| installed == pinned) {
        println!("Python environment: {} is up to date", folder.display());
        return Ok(());
    }
    println!(
        "Python environment: installing AWS's command line and SDK and the real Envoy into {}",
        folder.display()
    );
    if !folder.join("bin/python").exists() {
        Program::new("python3", root, PATIENCE).args(["-m", "venv"]).args([&folder]).run()?;
    }
    Program::new(folder.join("bin/python"), root, PATIENCE)
        .args([
            "-m",
            "pip",
            "install",
            "--quiet",
            "--disable-pip-version-check",
            "-r",
            "tests/requirements.txt",
        ])
        .run()?;
    std::fs::write(&marker, pinned).with_context(|| format!("failed to write {}", marker.display()))
}

/// Makes `target/node` hold exactly what tests/package.json pins.
fn node_modules(root: &Path) -> Result<()> {
    let folder = root.join("target/node");
    let pinned =
        std::fs::read_to_string(root.join("tests/package.json")).context("failed to read the pins")?;
    let marker = folder.join("installed-package.json");
    if std::fs::read_to_string(&marker).is_ok_and(|installed| installed == pinned) {
        println!("Node modules: {} is up to date", folder.display());
        return Ok(());
    }
    println!(
        "Node modules: installing the provider of identities that the edge is tested with into {}",
        folder.display()
    );
    std::fs::create_dir_all(&folder).with_context(|| format!("failed to make {}", folder.display()))?;
    std::fs::write(folder.join("package.json"), &pinned).context("failed to copy the pins")?;
    let arguments = ["install", "--no-audit", "--no-fund", "--silent", "--prefix"];
    Program::new("npm", root, PATIENCE).args(arguments).args([&folder]).run()?;
    std::fs::write(&marker, pinned).with_context(|| format!("failed to write {}", marker.display()))
}

/// A distribution on PyPI that carries JSONata's official test suite in its sources, and where. The package of the language's
/// authors has none.
const JSONATA_SUITE: (&str, &str) =
    ("jsonata2py==0.1.3", "jsonata2py-0.1.3/tests/resources/jsonata-test-suite");

/// Puts the official test suite of JSONata into `target/jsonata-suite`.
fn jsonata_suite(root: &Path) -> Result<()> {
    let folder = root.join("target/jsonata-suite");
    if folder.join("groups").is_dir() {
        println!("JSONata's test suite: {} is there", folder.display());
        return Ok(());
    }
    let (distribution, inside) = JSONATA_SUITE;
    println!("JSONata's test suite: fetching {distribution} into {}", folder.display());
    let fetched = root.join("target/jsonata-suite.part");
    // What an earlier run left half done.
    for left in [&folder, &fetched] {
        match std::fs::remove_dir_all(left) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(error).with_context(|| format!("failed to remove {}", left.display()));
            }
            _ => {}
        }
    }
    std::fs::create_dir_all(&fetched).with_context(|| format!("failed to make {}", fetched.display()))?;
    Program::new(environment_folder(root).join("bin/python"), root, PATIENCE)
        .args(["-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"])
        .args(["--no-binary", ":all:", distribution, "--dest"])
        .args([&fetched])
        .run()?;
    let archive = format!("{}.tar.gz", distribution.replace("==", "-"));
    let depth = inside.split('/').count().to_string();
    Program::new("tar", &fetched, PATIENCE)
        .args(["--extract", "--gzip", "--strip-components", &depth, "--file", &archive, inside])
        .run()?;
    std::fs::rename(&fetched, &folder).with_context(|| format!("failed to make {}", folder.display()))
}

/// Builds cargo-deny once, unoptimised: it runs for a second and would build for minutes.
fn cargo_deny(root: &Path) -> Result<()> {
    if let Some(path) = cargo_deny_binary(root) {
        println!("cargo-deny: {} is there", path.display());
        return Ok(());
    }
    println!("cargo-deny: building {CARGO_DENY_VERSION} into target/tools (about a minute)");
    let built = Program::new("cargo", root, PATIENCE)
        .args([
            "install",
            "cargo-deny",
            "--locked",
            "--quiet",
            "--version",
            CARGO_DENY_VERSION,
            "--root",
            "target/tools",
        ])
        .env("CARGO_PROFILE_RELEASE_OPT_LEVEL", "0")
        .env("CARGO_PROFILE_RELEASE_LTO", "off")
        .env("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "16")
        .env("CARGO_TARGET_DIR", root.join("target/tools/build"))
        .run();
    // The build's leavings are a gigabyte, and nobody builds it twice.
    let _ = std::fs::remove_dir_all(root.join("target/tools/build"));
    match built {
        Ok(_) => Ok(()),
        Err(error) => bail!("cargo-deny: {error:#}"),
    }
}

/// Rust's library for [`IMAGE_TARGET`], where there is a rustup to fetch it. Without it one step has nothing to run.
fn image_target(root: &Path) {
    match missing_for(IMAGE_TARGET) {
        None => println!("{IMAGE_TARGET}: there"),
        Some(_) if succeeds(&["rustup", "--version"]) => {
            let added = Program::new("rustup", root, PATIENCE).args(["target", "add", IMAGE_TARGET]).run();
            if let Err(error) = added {
                println!("{IMAGE_TARGET} cannot be had: {error:#}");
            }
        }
        Some(missing) => println!("{missing}; and there is no rustup here"),
    }
}

/// Unpacks systemd-resolved below `target/tools`, and the library of the same version. Its package is not installed: that
/// puts a link in the place of /etc/resolv.conf which leads nowhere until systemd runs, and takes the machine off the network.
fn resolved(root: &Path) -> Result<()> {
    let (tools, folder) = (root.join("target/tools"), root.join("target/tools/systemd-resolved"));
    if folder.is_dir() {
        println!("systemd-resolved: {} is there", folder.display());
        return Ok(());
    }
    if !succeeds(&["apt-get", "--version"]) {
        println!("systemd-resolved: no apt-get here to fetch it with; the DNS server is tried without it");
        return Ok(());
    }
    let script = "rm -rf unpacking && mkdir -p unpacking/root && cd unpacking\n\
                  fetch() { apt-get download -qq systemd-resolved libsystemd-shared; }\n\
                  fetch || { apt-get update -qq; fetch; }\n\
                  for package in *.deb; do dpkg-deb -x $package root; done\n\
                  mv root ../systemd-resolved && rm -r ../unpacking\n";
    std::fs::create_dir_all(&tools).with_context(|| format!("failed to make {}", tools.display()))?;
    Program::new("sh", &tools, PATIENCE).args(["-euc", script]).run()?;
    Ok(())
}

fn is_root() -> bool {
    let output = Command::new("id").arg("-u").output();
    output.is_ok_and(|output| output.stdout.trim_ascii() == b"0")
}

fn succeeds(command: &[&str]) -> bool {
    let mut probe = Command::new(command[0]);
    probe.args(&command[1..]).env("PATH", search_path());
    let status = probe.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status();
    status.is_ok_and(|status| status.success())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_probe_tells_what_is_there_from_what_is_not() {
        assert!(succeeds(&["true"]));
        assert!(!succeeds(&["false"]));
        assert!(!succeeds(&["no-such-command-anywhere"]));
    }

    #[test]
    fn every_package_has_a_probe_and_a_use() {
        for package in PACKAGES {
            assert!(!package.probe.is_empty() && !package.used_for.is_empty(), "{}", package.name);
        }
    }

    #[test]
    fn installing_leaves_no_policy_behind() {
        let script = install_script(&["a", "b"]);
        assert!(script.contains("trap 'rm -f /usr/sbin/policy-rc.d' EXIT"), "{script}");
        assert!(script.contains("a b"), "{script}");
    }
}
