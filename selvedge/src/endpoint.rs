//! Which server a command calls.

use selvedge_client::Endpoint;

use crate::exit::Failure;

/// The server when nothing names another: where `selvedge up` listens by default.
pub(crate) const DEFAULT: &str = "http://127.0.0.1:7070";

/// Environment variables that name the server, the strongest first; the AWS SDKs read the same ones.
pub(crate) const VARIABLES: [&str; 2] = ["AWS_ENDPOINT_URL_APP_MESH", "AWS_ENDPOINT_URL"];

/// The server to call: the option, else the environment, else [`DEFAULT`].
///
/// # Errors
/// [`Failure::Usage`] when the text is no `http://` URL.
pub(crate) fn resolve(option: Option<&str>) -> Result<Endpoint, Failure> {
    let from_environment =
        || VARIABLES.iter().find_map(|name| std::env::var(name).ok().filter(|value| !value.is_empty()));
    let text = option.map(str::to_owned).or_else(from_environment).unwrap_or_else(|| DEFAULT.to_owned());
    text.parse().map_err(|error: selvedge_client::EndpointError| Failure::Usage(error.to_string()))
}
