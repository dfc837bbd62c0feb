//! `cargo xtask codegen`: the vendored `.proto` files become Rust, by a compiler that is Rust itself, and so do the public
//! models of AWS's services.
//!
//! The result is checked in, so that nobody needs this to build; the compiler stands behind the feature `codegen`,
//! so that the other chores do not wait for it.

mod aws;
#[cfg(feature = "codegen")]
mod schema;

use std::path::Path;

use anyhow::{Context, Result};

/// Where the Envoy messages stand, relative to the root.
const ROOM: &str = "core/xds/proto";

pub(crate) fn run(root: &Path) -> Result<()> {
    aws::run(root)?;
    protos(root)
}

#[cfg(not(feature = "codegen"))]
fn protos(root: &Path) -> Result<()> {
    let status = std::process::Command::new(env!("CARGO"))
        .args(["run", "--quiet", "--package", "xtask", "--features", "codegen", "--", "codegen"])
        .current_dir(root)
        .status()
        .with_context(|| format!("start cargo to compile {ROOM}"))?;
    anyhow::ensure!(status.success(), "code generation for {ROOM} ended with {status}");
    Ok(())
}

#[cfg(feature = "codegen")]
fn protos(root: &Path) -> Result<()> {
    let vendor = root.join(ROOM).join("vendor");
    let output = root.join(ROOM).join("src/generated");
    let mut files = Vec::new();
    proto_files(&vendor, &mut files)?;
    files.sort();

    let mut compiler = protox::Compiler::new([&vendor]).context("read the .proto files")?;
    compiler.include_imports(true).open_files(&files).context("compile the .proto files")?;
    schema::run(root, &compiler.encode_file_descriptor_set())?;
    let descriptors = compiler.file_descriptor_set();
    if output.exists() {
        std::fs::remove_dir_all(&output).with_context(|| format!("empty {}", output.display()))?;
    }
    std::fs::create_dir_all(&output).with_context(|| format!("make {}", output.display()))?;
    prost_build::Config::new()
        .out_dir(&output)
        .include_file("mod.rs")
        // Envoy refuses a type URL without a domain.
        .enable_type_names()
        .type_name_domain(["."], "type.googleapis.com")
        // Maps encode in the order of their keys: equal content is equal bytes, and versions are hashes of bytes.
        .btree_map(["."])
        .bytes([".google.protobuf.Any", ".envoy.config.core.v3.DataSource"])
        .disable_comments(["."])
        .compile_fds(descriptors)
        .context("generate Rust")?;
    let status = std::process::Command::new("cargo")
        .args(["fmt", "--package", "selvedge-xds-proto"])
        .current_dir(root)
        .status()
        .context("format the result")?;
    anyhow::ensure!(status.success(), "cargo fmt ended with {status}");
    Ok(())
}

/// Every `.proto` below `folder`.
#[cfg(feature = "codegen")]
fn proto_files(folder: &Path, files: &mut Vec<std::path::PathBuf>) -> Result<()> {
    for entry in std::fs::read_dir(folder).with_context(|| format!("read {}", folder.display()))? {
        let path = entry?.path();
        if path.is_dir() {
            proto_files(&path, files)?;
        } else if path.extension().is_some_and(|extension| extension == "proto") {
            files.push(path);
        }
    }
    Ok(())
}
