//! `selvedge completions`: what a shell needs to complete our commands.

use clap_complete::Shell;

use crate::exit::Failure;
use crate::{cli, output};

/// Print a completion script for a shell
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  selvedge completions bash > /etc/bash_completion.d/selvedge
  selvedge completions zsh > \"${fpath[1]}/_selvedge\"
  selvedge completions fish > ~/.config/fish/completions/selvedge.fish")]
pub(crate) struct Args {
    /// The shell
    shell: Shell,
}

pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut cli::definition(), "selvedge", &mut script);
    Ok(output::emit(&String::from_utf8_lossy(&script))?)
}
