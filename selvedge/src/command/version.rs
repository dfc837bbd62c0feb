//! `selvedge version`.

use serde_json::json;

use crate::exit::Failure;
use crate::output::{self, Color, Format};

/// Print the version and what it speaks
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// How to print it; one line when left out
    #[arg(short, long, value_enum)]
    output: Option<Format>,
}

pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    let Some(format) = args.output else {
        return Ok(output::emit(concat!("selvedge ", env!("CARGO_PKG_VERSION"), "\n"))?);
    };
    let document = json!({
        "version": env!("CARGO_PKG_VERSION"),
        "platform": format!("{}-{}", std::env::consts::ARCH, std::env::consts::OS),
        "apis": ["appmesh/2019-01-25"],
        "xds": "v3",
    });
    Ok(output::print(&document, format, "Version", Color::Auto)?)
}
