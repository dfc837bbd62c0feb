//! lighttpd's own tests, with our edge in its place: Debian's source package, its small FastCGI and SCGI programs built,
//! and `prove` over the four files.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::Count;
use super::command::Program;

/// The version whose tests they are.
const VERSION: &str = "1.4.69";
/// How many there are.
const TESTS: u64 = 224;

const PATIENCE: Duration = Duration::from_secs(10 * 60);

/// Fetches the sources and builds the programs, once.
///
/// # Errors
/// When the sources cannot be had.
pub(super) fn set_up(root: &Path) -> Result<()> {
    let tests = tests_folder(root);
    if tests.join("fcgi-responder").is_file() && tests.join("scgi-responder").is_file() {
        println!("lighttpd's tests: {} is there", tests.display());
        return Ok(());
    }
    println!("lighttpd's tests: fetching Debian's source package");
    let folder = folder(root);
    std::fs::create_dir_all(&folder).with_context(|| format!("failed to make {}", folder.display()))?;
    Program::new("sh", &folder, PATIENCE).args(["-euc", FETCH, "sh", VERSION]).run()?;
    ensure!(tests.join("request.t").is_file(), "the source package has no tests/request.t");
    Program::new("sh", &tests, PATIENCE).args(["-euc", BUILD]).run()?;
    Ok(())
}

/// Runs the tests with `selvedge edge` in lighttpd's place.
///
/// # Errors
/// When one fails, or there are not as many as there should be.
pub(super) fn run(root: &Path, selvedge: &Path) -> Result<Count> {
    let tests = tests_folder(root);
    ensure!(tests.join("fcgi-responder").is_file(), "not set up: run cargo xtask test --only setup");
    let name = folder(root).join("lighttpd");
    let _ = std::fs::remove_file(&name);
    // The tests mean their own version, and one of them runs a shell.
    let script =
        format!("#!/bin/sh\nexec {} edge --compat {VERSION} --allow-shell \"$@\"\n", selvedge.display());
    std::fs::write(&name, script)
        .and_then(|()| std::fs::set_permissions(&name, Permissions::from_mode(0o755)))
        .with_context(|| format!("failed to make {}", name.display()))?;
    let count = Program::new("sh", &tests, PATIENCE)
        .args(["-uc", PROVE])
        .env("LIGHTTPD_EXE_PATH", &name)
        .env("SHELL", "/bin/sh")
        .run()?;
    ensure!(count.passed == TESTS, "{} tests passed where there are {TESTS}", count.passed);
    Ok(count)
}

fn folder(root: &Path) -> PathBuf {
    root.join("target/lighttpd")
}

fn tests_folder(root: &Path) -> PathBuf {
    folder(root).join(format!("lighttpd-{VERSION}/tests"))
}

/// Debian's own lists of packages, turned into lists of sources, in a folder of their own: nothing of the machine's
/// changes.
const FETCH: &str = r#"
mkdir -p apt/lists/partial apt/parts
for list in /etc/apt/sources.list /etc/apt/sources.list.d/*.list /etc/apt/sources.list.d/*.sources; do
  [ -f "$list" ] && grep -q debian "$list" || continue
  name=$(basename "$list")
  case "$name" in
    *.list) sed -n 's/^deb /deb-src /p' "$list" > "apt/parts/$name" ;;
    *) sed 's/^Types:.*/Types: deb-src/' "$list" > "apt/parts/$name" ;;
  esac
done
set -- "$1" -o Dir::Etc::SourceList=/dev/null -o Dir::Etc::SourceParts="$PWD/apt/parts" -o Dir::State::Lists="$PWD/apt/lists" \
  -o Dir::Cache::srcpkgcache= -o Dir::Cache::pkgcache= -o Debug::NoLocking=1 -o APT::Sandbox::User=root
version=$1; shift
apt-get "$@" -qq update
apt-get "$@" -qq --download-only source lighttpd
archive=$(ls lighttpd_"$version"*.orig.tar.xz)
rm -rf "lighttpd-$version"
tar -xf "$archive"
"#;

const BUILD: &str = "for name in fcgi scgi; do cc -O1 -w -o $name-responder $name-responder.c; done";

/// `prove` tells of each file; the last line tells of all.
const PROVE: &str = r#"
./prepare.sh > /dev/null
prove -v -I. request.t core-condition.t mod-fastcgi.t mod-scgi.t > prove.log 2>&1
code=$?
grep -E '^not ok|^#|^Result|Wstat' prove.log
echo "$(grep -c '^ok ' prove.log) passed, $(grep -c '^not ok ' prove.log) failed"
exit $code
"#;
