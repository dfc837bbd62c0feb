//! `selvedge help`: a command's help, or a page on a topic.

use crate::exit::Failure;
use crate::{cli, output};

/// Print the help of a command, or a page: exit-codes, shorthand, environment
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// A command with its subcommands, or a page
    #[arg(value_name = "COMMAND|PAGE")]
    words: Vec<String>,
}

const EXIT_CODES: &str = "\
EXIT CODES

  0    the command did what it was asked
  1    it failed: no connection, a file that cannot be read, a check that found something
  2    the command line cannot be acted on: an unknown option, a value that cannot be read
  254  the server answered with an error, printed as
       An error occurred (NotFoundException) when calling the DescribeMesh operation: …

254 is what version 2 of the AWS command line ends with in that case; version 1 ends with 255.
The roles (up, serve, proxy) end with 0 after SIGTERM or SIGINT.
";

const SHORTHAND: &str = "\
SHORTHAND

Options that take structures and lists read JSON, the AWS command line's shorthand, or a file with either.

  key=value,key=value                  a structure
  key=a,b,c                            a list of values
  key={inner=value,list=[a,b]}         structures and lists in one another
  key='any, text' key=\"any, text\"      quotes keep commas, braces and blanks; \\' \\\" \\\\ escape
  key=one\\,word                        so does a backslash before a comma

  --tags key=a,value=b key=c,value=d   a list of structures: one word each
  --spec '{\"egressFilter\": …}'         JSON, when the first character is { or [
  --spec file://mesh.json              the text of a file

Two short forms are ours alone: egressFilter={allowAll=true} and egressFilter={dropAll=true}.
";

const ENVIRONMENT: &str = "\
ENVIRONMENT

  AWS_ENDPOINT_URL_APP_MESH   the server that commands call; AWS SDKs read it too
  AWS_ENDPOINT_URL            the same, for every service
  AWS_DEFAULT_OUTPUT          the output format: json, yaml, text or table
  NO_COLOR                    no colour, even on a terminal
  SELVEDGE_LISTEN             where `up` and `serve` listen
  SELVEDGE_DATA_DIR           where `up` keeps its data
  SELVEDGE_LOG_LEVEL          error, warn, info, debug or trace
  SELVEDGE_LOG_FORMAT         text or json
  SELVEDGE_ENVOY              the Envoy that `demo --sidecar envoy` starts

A sidecar (`selvedge proxy`) reads the variables of AWS's Envoy image: APPMESH_RESOURCE_ARN, APPMESH_XDS_ENDPOINT,
ENVOY_ADMIN_ACCESS_PORT and others. See docs/guide/configuration.md.
";

pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    let page = match args.words.first().map(String::as_str) {
        Some("exit-codes") => EXIT_CODES,
        Some("shorthand") => SHORTHAND,
        Some("environment") => ENVIRONMENT,
        _ => return command_help(&args.words),
    };
    Ok(output::emit(page)?)
}

fn command_help(words: &[String]) -> Result<(), Failure> {
    let mut command = cli::definition();
    command.build();
    let mut found = &mut command;
    for word in words {
        found = found.find_subcommand_mut(word).ok_or_else(|| {
            Failure::Usage(format!(
                "no command or page named '{}'; pages: exit-codes, shorthand, environment",
                words.join(" ")
            ))
        })?;
    }
    Ok(output::emit(&found.render_long_help().to_string())?)
}
