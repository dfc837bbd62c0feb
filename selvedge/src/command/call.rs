//! Options of the commands that ask our own server.

use selvedge_client::Client;

use crate::endpoint;
use crate::exit::Failure;
use crate::output::{Color, Format};

/// Which server, and how to print what it says.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct CallArgs {
    /// The server; else AWS_ENDPOINT_URL_APP_MESH, AWS_ENDPOINT_URL, http://127.0.0.1:7070
    #[arg(long, value_name = "URL")]
    endpoint_url: Option<String>,
    /// Print the document instead of its picture
    #[arg(short, long, value_enum)]
    pub(crate) output: Option<Format>,
    /// Colour
    #[arg(long, value_enum, default_value = "auto")]
    pub(crate) color: Color,
}

impl CallArgs {
    pub(crate) fn client(&self) -> Result<Client, Failure> {
        Ok(Client::new(endpoint::resolve(self.endpoint_url.as_deref())?))
    }
}

/// A value for a query string.
pub(crate) fn encoded(text: &str) -> String {
    percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string()
}
