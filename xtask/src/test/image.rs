//! The container's image, without a container engine: its Dockerfile is read, its program built as the Dockerfile builds
//! it (unoptimised), and run in a folder that holds what the image holds.

mod buildah;
mod dockerfile;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use serde_json::Value;

use super::Count;
use super::command::Program;
use super::setup;
use super::steps::Report;
use buildah::Buildah;
use dockerfile::Stage;

/// From the root of the repository.
const DOCKERFILE: &str = "packaging/container/Dockerfile";

/// A container's life; the same.
const CYCLE: &str = "xtask/src/test/image/cycle.sh";

/// What the Dockerfile calls the folder that becomes the image.
const IMAGE_FOLDER: &str = "/image/";

/// The machine that it builds for.
const ARCHITECTURE: &str = "x86_64";

/// A program header that names who loads the program.
const PT_INTERP: u32 = 3;

const PATIENCE: Duration = Duration::from_secs(20 * 60);

/// Builds the program as the image's first stage does and lives a container's life with it.
///
/// # Errors
/// When it cannot be built, is not static, or does not do what an image's program does.
pub(super) fn run(root: &Path) -> Result<Report> {
    let stages = read(root)?;
    let [build, bare, _] = &*stages else { bail!("{DOCKERFILE} has {} stages", stages.len()) };
    let cargo = build.commands().find(|command| command.starts_with("cargo build"));
    let cargo: Vec<&str> = cargo.context("no stage builds anything")?.split_whitespace().collect();
    let target = after(&cargo, "--target").context("the build names no target")?;
    if std::env::consts::ARCH != ARCHITECTURE {
        return Ok(Report::Skipped(format!("the image is for {ARCHITECTURE}, which this machine is not")));
    }
    if let Some(missing) = setup::missing_for(target) {
        return Ok(Report::Skipped(missing));
    }
    // The same words but for the profile: what is tested here is the library beneath, not the optimiser.
    let words = cargo[1..].iter().filter(|word| **word != "--release");
    let environment = [("CARGO_PROFILE_DEV_DEBUG", "0"), ("CARGO_INCREMENTAL", "0")];
    let program = Program::new("cargo", root, PATIENCE).args(words).args(["--quiet"]);
    environment.into_iter().fold(program, |program, (name, value)| program.env(name, value)).run()?;

    if !succeeds("unshare", &["--net", "--pid", "--fork", "true"]) {
        return Ok(Report::Skipped("a container's life needs namespaces of its own, and root".into()));
    }
    let folder = root.join("target/image");
    // What an earlier run left may belong to the image's user.
    let _ = std::fs::remove_dir_all(&folder);
    let (context, logs) = (folder.join("context"), folder.join("logs"));
    std::fs::create_dir_all(&logs).with_context(|| format!("failed to make {}", logs.display()))?;
    for command in build.commands().filter(|command| command.starts_with("install ")) {
        let command = command
            .replace(&format!("target/{target}/release/"), &format!("target/{target}/debug/"))
            .replace(IMAGE_FOLDER, &format!("{}{IMAGE_FOLDER}", context.display()));
        Program::new("sh", root, PATIENCE).args(["-euc", &command]).run()?;
    }
    let files = context.join(IMAGE_FOLDER.trim_matches('/'));
    let entry = entrypoint(bare)?;
    let program = files.join(entry.trim_start_matches('/'));
    let bytes = std::fs::read(&program).with_context(|| format!("failed to read {}", program.display()))?;
    ensure!(is_static(&bytes)?, "{entry} asks for a loader, which an empty image has not");
    let mut count = Count::of(2, 0);
    let files = match Buildah::new(&folder) {
        Ok(buildah) => {
            count.passed += 1;
            packed(&buildah, root, bare, &context)?
        }
        Err(error) => {
            println!("not packed into an image, but tried in a folder with the same files: {error:#}");
            files
        }
    };
    let lived = Program::new("unshare", root, Duration::from_secs(180))
        .args(["--net", "--pid", "--fork", "--kill-child", "--mount-proc", "sh"])
        .args([CYCLE])
        .env("PATH", setup::search_path())
        .env("ROOT", &files)
        .env("LOGS", &logs)
        .env("OWNER", bare.last("USER").unwrap_or_default())
        .env("ENTRY", entry)
        .run();
    if lived.is_err() {
        show(&logs);
    }
    count = count.plus(lived?);
    // The image holds the program several times.
    let _ = std::fs::remove_dir_all(&folder);
    Ok(Report::Ran(count))
}

/// The files of the image with nothing but the program, as buildah packs it by the Dockerfile.
fn packed(buildah: &Buildah<'_>, root: &Path, bare: &Stage, context: &Path) -> Result<PathBuf> {
    let name = bare.name.as_deref().unwrap_or_default();
    let image = buildah.build(&root.join(DOCKERFILE), name, ("build", context))?;
    let said =
        |word: &str| -> Result<Value> { Ok(serde_json::from_str(bare.last(word).unwrap_or_default())?) };
    ensure!(image.config["Entrypoint"] == said("ENTRYPOINT")?, "the image says {}", image.config);
    ensure!(image.config["Cmd"] == said("CMD")?, "the image says {}", image.config);
    ensure!(image.config["User"].as_str() == bare.last("USER"), "the image says {}", image.config);
    Ok(image.root)
}

fn read(root: &Path) -> Result<Vec<Stage>> {
    let text = std::fs::read_to_string(root.join(DOCKERFILE));
    Ok(dockerfile::parse(&text.with_context(|| format!("failed to read {DOCKERFILE}"))?))
}

fn after<'a>(words: &[&'a str], word: &str) -> Option<&'a str> {
    words.iter().position(|found| *found == word).and_then(|at| words.get(at + 1)).copied()
}

/// The program of a stage that starts one without a shell: an image without a shell has to.
fn entrypoint(stage: &Stage) -> Result<String> {
    let words: Vec<String> = serde_json::from_str(stage.last("ENTRYPOINT").unwrap_or_default())
        .context("the entry point is no list of words")?;
    words.into_iter().next().context("the entry point is empty")
}

/// Whether a program of ELF (64 bits, little-endian) is loaded by the kernel alone.
fn is_static(bytes: &[u8]) -> Result<bool> {
    let field = |at: usize, length: usize| -> Result<u64> {
        let field = bytes.get(at..at + length).context("the program is cut off")?;
        Ok(field.iter().rev().fold(0, |sum, byte| sum << 8 | u64::from(*byte)))
    };
    ensure!(bytes.starts_with(b"\x7fELF\x02\x01"), "no ELF program of 64 bits");
    let (first, size, count) = (field(32, 8)?, field(54, 2)?, field(56, 2)?);
    for n in 0..count {
        if field(usize::try_from(first + n * size)?, 4)? == u64::from(PT_INTERP) {
            return Ok(false);
        }
    }
    Ok(true)
}

fn show(logs: &Path) {
    let entries = std::fs::read_dir(logs).into_iter().flatten().flatten();
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
    paths.sort();
    for path in paths {
        println!("--- {}", path.display());
        println!("{}", std::fs::read_to_string(&path).unwrap_or_default());
    }
}

fn succeeds(program: &str, arguments: &[&str]) -> bool {
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn root() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
    }

    fn stages() -> [Stage; 3] {
        read(&root()).unwrap().try_into().expect("three stages")
    }

    #[test]
    fn the_image_is_built_as_this_repository_is() {
        let [build, ..] = stages();
        let manifest = std::fs::read_to_string(root().join("Cargo.toml")).unwrap();
        let version = manifest.lines().find_map(|line| line.strip_prefix("rust-version = ")).unwrap();
        let base = format!("docker.io/library/rust:{}-bookworm", version.trim_matches('"'));
        assert_eq!(build.base, base, "the Rust that the workspace asks for");
        let cargo = build.commands().find(|command| command.starts_with("cargo build")).unwrap();
        assert!(cargo.contains("--locked") && cargo.contains("-p selvedge"), "{cargo}");
        let words: Vec<&str> = cargo.split_whitespace().collect();
        let target = after(&words, "--target").unwrap();
        assert!(build.commands().any(|command| command == format!("rustup target add {target}")), "{target}");
        assert_eq!(target, setup::IMAGE_TARGET, "which the tests build for as well");
        for package in build.packages() {
            assert!(setup::installs(package), "{package}, without which the tests would build differently");
        }
        let copied = format!("target/{target}/release/selvedge {IMAGE_FOLDER}");
        assert!(build.commands().any(|command| command.contains(&copied)), "{copied}");
    }

    #[test]
    fn both_images_start_the_sidecar_as_its_own_user() {
        let [build, bare, full] = stages();
        assert_eq!(
            (build.name.as_deref(), bare.name.as_deref(), &full.name),
            (Some("build"), Some("static"), &None)
        );
        assert_eq!(bare.base, "scratch", "nothing but the program");
        for stage in [&bare, &full] {
            assert_eq!(stage.last("USER"), Some("1337:1337"), "whom the rules leave alone");
            assert_eq!(entrypoint(stage).unwrap(), "/usr/bin/selvedge");
            assert_eq!(stage.last("CMD"), Some(r#"["proxy"]"#));
            assert_eq!(stage.last("ENV"), Some("SELVEDGE_STATE_DIR=/var/lib/selvedge"));
            assert_eq!(stage.all("COPY").collect::<Vec<_>>(), [format!("--from=build {IMAGE_FOLDER} /")]);
        }
        for owned in ["/usr/bin/selvedge", "/var/lib/selvedge", "/tmp"] {
            let made = format!("{IMAGE_FOLDER}{}", owned.trim_start_matches('/'));
            assert!(build.commands().any(|command| command.ends_with(&made)), "{made}");
        }
        assert_eq!(bare.commands().count(), 0, "there is no shell to run any");
        for needed in ["curl", "nftables", "ca-certificates"] {
            assert!(full.packages().contains(&needed), "{needed}");
        }
    }

    #[test]
    fn what_is_left_out_of_the_build_is_no_part_of_the_workspace() {
        let ignored = std::fs::read_to_string(root().join(".dockerignore")).unwrap();
        let ignored: Vec<&str> = ignored.lines().filter(|line| !line.starts_with('#')).collect();
        assert!(ignored.contains(&"target"), "gigabytes");
        for needed in [
            "Cargo.toml",
            "Cargo.lock",
            "core",
            "io",
            "services",
            "selvedge",
            "sim",
            "tests",
            "bench",
            "xtask",
        ] {
            assert!(root().join(needed).exists() && !ignored.contains(&needed), "{needed}");
        }
    }

    #[test]
    fn a_program_with_a_loader_is_not_static() {
        let this = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        assert!(!is_static(&this).unwrap());
        let mut bytes = this[..64].to_vec();
        bytes[56..58].fill(0);
        assert!(is_static(&bytes).unwrap(), "no program headers, none that names a loader");
        assert!(is_static(b"#!/bin/sh").is_err());
        assert!(is_static(&this[..40]).is_err());
    }
}
