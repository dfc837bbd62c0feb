//! Pages for errors: the configured file, or the one that lighttpd makes.

use std::fs::File;

use selvedge_http::known::HeaderId;
use selvedge_http::reason;

use super::exchange::Exchange;
use super::response::{Body, FileBody, Response};

/// Gives an error its page.
pub(super) fn fill(x: &Exchange<'_>, response: &mut Response) {
    let status = response.head.status;
    // Asked for credentials, a browser shows its own window; so does one that is told of ranges.
    if let Some(prefix) = &x.conf.server.errorfile_prefix
        && let Ok(file) = File::open(format!("{prefix}{status}.html"))
        && let Ok(facts) = file.metadata()
        && facts.is_file()
    {
        response.head.fields.set_id(HeaderId::ContentType, media_type(x).as_bytes());
        response.body = Body::File(FileBody::whole(file, facts.len()));
        return;
    }
    response.head.fields.set_id(HeaderId::ContentType, b"text/html");
    response.body = Body::Bytes(plain(status).into());
}

fn media_type<'a>(x: &'a Exchange<'_>) -> &'a str {
    crate::answer::file::media_type(&x.conf.mimetype.assign, "x.html").unwrap_or("text/html")
}

/// The page that stands for a status.
pub(crate) fn plain(status: u16) -> String {
    let title = format!("{status} {}", reason::phrase(status));
    [
        "<?xml version=\"1.0\" encoding=\"iso-8859-1\"?>",
        "<!DOCTYPE html PUBLIC \"-//W3C//DTD XHTML 1.0 Transitional//EN\"",
        "         \"http://www.w3.org/TR/xhtml1/DTD/xhtml1-transitional.dtd\">",
        "<html xmlns=\"http://www.w3.org/1999/xhtml\" xml:lang=\"en\" lang=\"en\">",
        " <head>",
        &format!("  <title>{title}</title>"),
        " </head>",
        " <body>",
        &format!("  <h1>{title}</h1>"),
        " </body>",
        "</html>",
        "",
    ]
    .join("\n")
}
