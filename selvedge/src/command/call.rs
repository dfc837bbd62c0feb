//! Options of the commands that ask our own server.

use selvedge_client::Client;
use serde_json::Value;

use crate::endpoint;
use crate::exit::Failure;
use crate::output::{self, Color, Format, Query, query};

/// Which server, and how to print what it says.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct CallArgs {
    /// The server; else AWS_ENDPOINT_URL_APP_MESH, AWS_ENDPOINT_URL, http://127.0.0.1:7070
    #[arg(long, value_name = "URL")]
    endpoint_url: Option<String>,
    /// Print the document instead of its picture
    #[arg(short, long, value_enum)]
    output: Option<Format>,
    /// What of the document to print, as JMESPath
    #[arg(long, value_name = "JMESPATH")]
    query: Option<String>,
    /// Colour
    #[arg(long, value_enum, default_value = "auto")]
    pub(crate) color: Color,
}

impl CallArgs {
    /// Prints the document, or what `--query` finds in it; `picture` when neither that nor a format was asked for.
    ///
    /// # Errors
    /// When the expression cannot be applied, or standard output not be written.
    pub(crate) fn print(
        &self,
        document: Value,
        title: &str,
        picture: impl FnOnce(&Value) -> String,
    ) -> Result<(), Failure> {
        let format = self.output.or_else(|| self.query.as_ref().map(|_| Format::Json));
        let Some(format) = format else {
            return Ok(output::emit(&picture(&document))?);
        };
        let bad = |error: query::Error| Failure::Usage(error.to_string());
        let found = match &self.query {
            Some(expression) => Query::parse(expression).map_err(bad)?.apply(&document).map_err(bad)?,
            None => document,
        };
        Ok(output::print(&found, format, title, self.color)?)
    }

    /// Says on standard error what to do next, where a picture was asked for and there is nothing to draw: what is read on stays
    /// as it is.
    pub(crate) fn hint(&self, text: &str) {
        if self.output.is_none() && self.query.is_none() {
            eprintln!("{text}");
        }
    }

    pub(crate) fn client(&self) -> Result<Client, Failure> {
        Ok(Client::new(endpoint::resolve(self.endpoint_url.as_deref())?))
    }
}

/// A value for a query string.
pub(crate) fn encoded(text: &str) -> String {
    percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string()
}
