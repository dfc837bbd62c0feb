//! The variables by which a program is told about a request (RFC 3875 §4.1, with those that lighttpd adds).

use std::net::IpAddr;

use selvedge_http::authority;
use selvedge_http::cgi;
use selvedge_http::framing::Framing;

use crate::request::{Exchange, join};

/// What changes the variables for one backend.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Options<'a> {
    /// The program only says whether the request may go on: it gets no body and no script.
    pub(crate) authorizer: bool,
    /// The document root as the program sees it.
    pub(crate) docroot: Option<&'a str>,
    /// `SCRIPT_FILENAME` as PHP's `cgi.fix_pathinfo` wants it.
    pub(crate) broken_script_filename: bool,
    /// What is cut from the front of `REQUEST_URI`.
    pub(crate) strip_request_uri: Option<&'a str>,
}

/// All variables of a request; the body has been gathered, or goes on as it comes. Names are unique, the later value counts.
pub(crate) fn of(x: &Exchange<'_>, options: Options<'_>) -> Vec<(String, Vec<u8>)> {
    let mut list = Variables::default();
    if !options.authorizer {
        let length = match (&x.gathered, x.facts.framing) {
            (Some(gathered), _) => gathered.length(),
            (None, Framing::Length(length)) => length,
            (None, _) => 0,
        };
        list.push("CONTENT_LENGTH", length.to_string());
    }
    list.push("QUERY_STRING", x.target.query());
    list.push("REQUEST_URI", stripped(&x.target_original, options.strip_request_uri));
    if x.target.text != x.target_original {
        list.push("REDIRECT_URI", x.target.text.as_str());
    }
    list.push("REDIRECT_STATUS", "200");
    script(x, options, &mut list);
    list.push("REQUEST_METHOD", x.head.method());
    list.push("SERVER_PROTOCOL", x.protocol());
    list.push("SERVER_SOFTWARE", x.conf.server.tag.as_deref().unwrap_or_default());
    list.push("GATEWAY_INTERFACE", "CGI/1.1");
    list.push("REQUEST_SCHEME", x.scheme());
    if x.https {
        list.push("HTTPS", "on");
    }
    list.push("SERVER_PORT", x.peer.local.port().to_string());
    let server_address = x.peer.local.ip().to_canonical().to_string();
    list.push("SERVER_NAME", server_name(x).unwrap_or_else(|| server_address.clone()));
    list.push("SERVER_ADDR", server_address);
    list.push("REMOTE_ADDR", address(x.remote));
    list.push("REMOTE_PORT", x.remote_port.to_string());
    if let Some(authority) = x.head.authority().filter(|authority| !authority.is_empty()) {
        list.push("HTTP_HOST", authority);
    }
    for (name, value) in cgi::header_variables(&x.head.fields) {
        list.push(&name, value);
    }
    if let Some(user) = &x.user {
        list.push("REMOTE_USER", user.name.as_str());
        list.push("AUTH_TYPE", user.method);
    }
    if let Some(facts) = &x.peer.tls {
        tls(facts, &mut list);
    }
    for (name, value) in &x.environment {
        list.push(&cgi::variable(name), value.as_str());
    }
    list.0
}

#[derive(Default)]
struct Variables(Vec<(String, Vec<u8>)>);

impl Variables {
    fn push(&mut self, name: &str, value: impl Into<Vec<u8>>) {
        let mut value = value.into();
        // What ends a variable early would begin another.
        value.retain(|byte| *byte != 0);
        match self.0.iter_mut().find(|(known, _)| known == name) {
            Some((_, known)) => *known = value,
            None => self.0.push((name.to_owned(), value)),
        }
    }
}

fn stripped<'a>(target: &'a str, prefix: Option<&str>) -> &'a str {
    prefix
        .filter(|prefix| !prefix.is_empty())
        .and_then(|prefix| target.strip_prefix(prefix))
        .filter(|rest| rest.starts_with('/'))
        .unwrap_or(target)
}

fn script(x: &Exchange<'_>, options: Options<'_>, list: &mut Variables) {
    let physical = &x.physical;
    let base = if physical.base.is_empty() { document_root(x) } else { physical.base.clone() };
    if !options.authorizer {
        list.push("SCRIPT_NAME", x.path());
        if !physical.info.is_empty() {
            list.push("PATH_INFO", physical.info.as_str());
            list.push("PATH_TRANSLATED", join(options.docroot.unwrap_or(&base), &physical.info));
        }
    }
    match options.docroot {
        Some(docroot) => {
            list.push("SCRIPT_FILENAME", join(docroot, x.path()));
            list.push("DOCUMENT_ROOT", docroot);
        }
        None => {
            let path = match physical.path.is_empty() {
                true => join(&base, x.path()),
                false => physical.path.clone(),
            };
            let path = match options.broken_script_filename && !physical.info.is_empty() {
                true => join(&path, &physical.info),
                false => path,
            };
            list.push("SCRIPT_FILENAME", path);
            list.push("DOCUMENT_ROOT", base);
        }
    }
}

fn document_root(x: &Exchange<'_>) -> String {
    x.conf.server.document_root.as_deref().unwrap_or("/").to_owned()
}

fn server_name(x: &Exchange<'_>) -> Option<String> {
    let name = x.server_name.clone().or_else(|| x.conf.server.name.as_deref().map(str::to_owned));
    let name = name.or_else(|| x.head.authority().map(str::to_owned))?;
    let name = authority::without_port(&name).to_owned();
    (!name.is_empty()).then_some(name)
}

fn address(address: IpAddr) -> String {
    address.to_string()
}

fn tls(facts: &selvedge_wire::tls::Facts, list: &mut Variables) {
    list.push("SSL_PROTOCOL", facts.version.text());
    list.push("SSL_CIPHER", facts.cipher);
    if let Some(name) = &facts.server_name {
        list.push("SSL_TLS_SNI", name.to_string());
    }
}

#[cfg(test)]
mod tests {
    use super::stripped;

    #[test]
    fn a_prefix_is_cut_at_a_slash_only() {
        for (target, prefix, expected) in [
            ("/app1/index", Some("/app1"), "/index"),
            ("/app1", Some("/app1"), "/app1"),
            ("/app12/x", Some("/app1"), "/app12/x"),
            ("/x", None, "/x"),
            ("/x", Some(""), "/x"),
        ] {
            assert_eq!(stripped(target, prefix), expected);
        }
    }
}
