//! Buildah, which builds images without a daemon, a registry or privileges beyond those of the tests' other namespaces.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

/// It, with a store of its own.
pub(super) struct Buildah<'a> {
    folder: &'a Path,
}

/// What an image says to whoever runs it.
#[derive(Debug)]
pub(super) struct Image {
    /// Its files.
    pub(super) root: PathBuf,
    pub(super) config: Value,
}

impl<'a> Buildah<'a> {
    /// Buildah with its store in that folder, where it can build an image of one empty file.
    ///
    /// # Errors
    /// What it says when it cannot, or is not there.
    pub(super) fn new(folder: &'a Path) -> Result<Self> {
        let it = Self { folder };
        let probe = folder.join("probe");
        std::fs::create_dir_all(&probe)?;
        std::fs::write(probe.join("file"), "")?;
        std::fs::write(probe.join("Dockerfile"), "FROM scratch\nCOPY file /\n")?;
        let (file, folder) = (probe.join("Dockerfile"), probe.clone());
        it.say(&["build", "--isolation", "chroot", "-f", &text(&file), "-t", "probe", &text(&folder)])?;
        Ok(it)
    }

    /// Builds a stage of a Dockerfile with a folder in the place of the stage that it copies from.
    pub(super) fn build(&self, dockerfile: &Path, stage: &str, from: (&str, &Path)) -> Result<Image> {
        let (name, context) = (from.0, text(from.1));
        let tag = format!("tested:{stage}");
        let replaced = format!("{name}={context}");
        let words = [
            "build",
            "--isolation",
            "chroot",
            "--pull=false",
            "--target",
            stage,
            "--build-context",
            &replaced,
        ];
        let file = text(dockerfile);
        self.say(&[&words[..], &["-f", &file, "-t", &tag, &context]].concat())?;
        let container = self.say(&["from", "--pull=false", &tag])?;
        let root = PathBuf::from(self.say(&["mount", &container])?);
        let document = self.say(&["inspect", "--type", "image", &tag])?;
        let document: Value = serde_json::from_str(&document).context("buildah's description is no JSON")?;
        Ok(Image { root, config: document["OCIv1"]["config"].clone() })
    }

    /// The last line of what it prints, all of it when that is a document.
    fn say(&self, words: &[&str]) -> Result<String> {
        let mut command = Command::new("buildah");
        command.arg("--root").arg(self.folder.join("store")).arg("--runroot").arg(self.folder.join("run"));
        command.args(["--storage-driver", "vfs"]).args(words).stdin(Stdio::null());
        let output = command.output().context("there is no buildah")?;
        let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        ensure!(output.status.success(), "buildah {}: {said}", words.join(" "));
        let printed = String::from_utf8(output.stdout).context("buildah prints no text")?;
        let last = || printed.lines().last().unwrap_or_default().to_owned();
        Ok(if printed.starts_with('{') { printed } else { last() })
    }
}

fn text(path: &Path) -> String {
    path.display().to_string()
}
