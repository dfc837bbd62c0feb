//! `cargo xtask bench`: builds what is measured as it is released, and measures it.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};

/// Builds and runs the bench; `arguments` go to it as they are.
///
/// # Errors
/// When something does not build, or a peer is not installed (`cargo xtask test --only setup` installs them).
pub(crate) fn run(root: &Path, arguments: &[String]) -> Result<()> {
    println!("building the binary and the bench, as released");
    succeed(
        Command::new("cargo").args([
            "build",
            "--release",
            "--locked",
            "-p",
            "selvedge",
            "-p",
            "selvedge-bench",
        ]),
        root,
    )?;
    println!("the proxies, side by side");
    succeed(Command::new(root.join("target/release/selvedge-bench")).args(arguments), root)
}

fn succeed(command: &mut Command, root: &Path) -> Result<()> {
    let what = command.get_program().to_string_lossy().into_owned();
    let status = command.current_dir(root).status().with_context(|| format!("failed to start {what}"))?;
    ensure!(status.success(), "{what}: {status}");
    Ok(())
}
