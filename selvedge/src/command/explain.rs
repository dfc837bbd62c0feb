//! `selvedge explain`: what the mesh would do with a request, and why, without sending it.

use http::Uri;
use serde_json::{Value, json};

use super::call::CallArgs;
use crate::exit::Failure;

/// Say which route a request takes, to which targets, with which timeouts and retries, and why
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  selvedge explain --mesh my-mesh --from frontend GET http://colors.local/api
  selvedge explain --mesh my-mesh --from frontend GET http://colors.local/ -H 'x-beta-user: true'
  selvedge explain --mesh my-mesh --from frontend POST http://colors.local:8080/ -o json

The decision is made by the code that makes it in the proxy; nothing is sent.")]
pub(crate) struct Args {
    /// The mesh
    #[arg(long, value_name = "NAME")]
    mesh: String,
    /// The virtual node, or virtual gateway, whose proxy sees the request first
    #[arg(long, value_name = "NAME")]
    from: String,
    /// The request's method
    method: String,
    /// The request's address: http://HOST[:PORT]/PATH?QUERY
    url: String,
    /// A header of the request; may be given again
    #[arg(short = 'H', long = "header", value_name = "NAME: VALUE", value_parser = header)]
    headers: Vec<(String, String)>,
    #[command(flatten)]
    call: CallArgs,
}

pub(crate) async fn run(args: &Args) -> Result<(), Failure> {
    let document = args.call.client()?.post("/selvedge/v1/explain", &question(args)?).await?;
    args.call.print(document, "Explain", story)
}

fn question(args: &Args) -> Result<Value, Failure> {
    let bad =
        |reason: &str| Failure::Usage(format!("'{}' {reason}: write http://HOST[:PORT]/PATH", args.url));
    let uri: Uri = args.url.parse().map_err(|_| bad("is not a URL"))?;
    let scheme = uri.scheme_str().ok_or_else(|| bad("has no scheme"))?;
    let authority = uri.authority().ok_or_else(|| bad("has no host"))?;
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    let headers: Vec<Value> =
        args.headers.iter().map(|(name, value)| json!({"name": name, "value": value})).collect();
    Ok(json!({
        "mesh": args.mesh,
        "from": args.from,
        "method": args.method.to_ascii_uppercase(),
        "scheme": scheme,
        "authority": authority.as_str(),
        "path": path,
        "headers": headers,
    }))
}

/// The answer as its lines: the server words the story, so that every client tells the same one.
fn story(document: &Value) -> String {
    let lines = document["lines"].as_array().into_iter().flatten().filter_map(Value::as_str);
    lines.flat_map(|line| [line, "\n"]).collect()
}

fn header(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once(':').ok_or("write a header as 'name: value'")?;
    let name = name.trim();
    if name.is_empty() || !name.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b))
    {
        return Err(format!("'{name}' is not a header's name"));
    }
    Ok((name.to_owned(), value.trim().to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_a_name_and_a_value() {
        assert_eq!(header("x-beta-user: true"), Ok(("x-beta-user".to_owned(), "true".to_owned())));
        assert_eq!(header("a:"), Ok(("a".to_owned(), String::new())));
        for bad in ["x", ": v", "a b: c"] {
            assert!(header(bad).is_err(), "{bad}");
        }
    }
}
