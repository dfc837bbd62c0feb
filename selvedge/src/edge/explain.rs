//! `selvedge edge explain`: which rules hold for a URL.

use std::net::IpAddr;
use std::path::PathBuf;

use selvedge_site::explain::{Question, explain};
use selvedge_site::lighttpd::Level;

use super::load::{self, Form};
use crate::exit::Failure;
use crate::output;

#[derive(Debug, clap::Args)]
pub(super) struct ExplainArgs {
    /// The configuration
    #[arg(short = 'f', value_name = "FILE")]
    file: PathBuf,
    /// As a client would ask: https://host/path?query
    url: String,
    /// The method
    #[arg(short = 'X', long, default_value = "GET")]
    method: String,
    /// A header of the request, NAME: VALUE
    #[arg(short = 'H', long = "header", value_name = "HEADER")]
    headers: Vec<String>,
    /// Who asks
    #[arg(long, default_value = "127.0.0.1")]
    from: IpAddr,
}

pub(super) fn run(args: &ExplainArgs, form: Form) -> Result<(), Failure> {
    let loaded = load::load(&args.file, form, Level::Modules);
    let Some(program) = &loaded.program else {
        eprint!("{}", loaded.report());
        return Err(Failure::Check("the configuration is wrong".into()));
    };
    let question = question(args)?;
    let text = explain(program, &question).map_err(|error| Failure::Check(error.to_string()))?;
    Ok(output::emit(&text)?)
}

fn question(args: &ExplainArgs) -> Result<Question, Failure> {
    let wrong = |what: &str| Failure::Usage(format!("{}: {what}", args.url));
    let (scheme, rest) =
        args.url.split_once("://").ok_or_else(|| wrong("a URL begins with http:// or https://"))?;
    if !["http", "https"].contains(&scheme) {
        return Err(wrong("a URL begins with http:// or https://"));
    }
    let (host, path) = rest.find('/').map_or((rest, "/"), |slash| rest.split_at(slash));
    let (path, query) = path.split_once('?').unwrap_or((path, ""));
    let path = percent_encoding::percent_decode_str(path)
        .decode_utf8()
        .map_err(|_| wrong("the path is no UTF-8"))?;
    let headers = args.headers.iter().map(|header| {
        let (name, value) = header.split_once(':').ok_or_else(|| wrong("a header is NAME: VALUE"))?;
        Ok((name.trim().to_owned(), value.trim().to_owned()))
    });
    Ok(Question {
        scheme: scheme.into(),
        host: host.into(),
        path: path.into_owned(),
        query: query.into(),
        method: args.method.clone(),
        remote: args.from,
        headers: headers.collect::<Result<_, Failure>>()?,
    })
}
