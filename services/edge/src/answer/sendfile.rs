//! Files that a program names instead of sending them itself: `X-Sendfile`, `X-Sendfile2`.

use std::collections::VecDeque;
use std::fs::File;
use std::rc::Rc;

use bytes::Bytes;
use selvedge_http::head::ResponseHead;
use selvedge_http::target;
use selvedge_site::directive::Text;

use super::{file, root};
use crate::request::response::{FileBody, Piece};
use crate::request::{Body, Exchange, Response};

/// Files that one `X-Sendfile2` may name.
const FILES_MAX: usize = 64;
/// Bytes of parts of different files that are put together in memory; beyond, 502.
const JOINED_BYTES_MAX: u64 = 8 * 1024 * 1024;

/// The answer with the named file as body, if one is named.
pub(crate) fn requested(x: &Exchange<'_>, head: &mut ResponseHead, folders: &[Text]) -> Option<Response> {
    let text = |head: &ResponseHead, name: &str| {
        head.fields.named(name).map(|value| String::from_utf8_lossy(value).into_owned())
    };
    let parts = text(head, "x-sendfile2");
    let whole = text(head, "x-sendfile").or_else(|| text(head, "x-lighttpd-send-file"));
    strip(head);
    if let Some(parts) = parts {
        return Some(several(x, head, &parts, folders));
    }
    let path = whole?;
    let file = match opened(x, &path, folders) {
        Ok(file) => file,
        Err(status) => return Some(Response::status(status)),
    };
    let mut response = file::response(x, file);
    if response.head.status == 200 && head.status != 200 {
        response.head.status = head.status;
    }
    merge(head, &mut response);
    Some(response)
}

/// Takes off what is for the server alone: paths of its files are nobody else's business.
pub(crate) fn strip(head: &mut ResponseHead) {
    for name in ["x-sendfile2", "x-sendfile", "x-lighttpd-send-file"] {
        head.fields.remove_named(name);
    }
}

/// The program's own fields come before what is made up for the file.
fn merge(head: &ResponseHead, response: &mut Response) {
    for (name, value) in head.fields.iter() {
        response.head.fields.remove_named(name);
        response.head.fields.append(name.as_bytes(), value);
    }
    response.from_backend = response.head.status < 400;
}

fn opened(x: &Exchange<'_>, encoded: &str, folders: &[Text]) -> Result<File, u16> {
    let Ok(path) = String::from_utf8(target::percent_decode(encoded.trim())) else { return Err(502) };
    if !path.starts_with('/') || path.contains('\0') {
        return Err(502);
    }
    let path = target::simplify(&path);
    let case = x.case();
    let path = case.of_file(&path);
    let root = match folders.is_empty() {
        true => "/",
        false => {
            let folder = folders.iter().find(|folder| case.begins(&path, folder)).ok_or(403u16)?;
            path.get(..folder.len()).unwrap_or(folder)
        }
    };
    root::open(root, &path, x.conf.server.follow_symlink)
        .map_err(|error| if error.kind() == std::io::ErrorKind::NotFound { 404 } else { 403 })
}

/// `path first-last, path first-last, …`
fn several(x: &Exchange<'_>, head: &ResponseHead, list: &str, folders: &[Text]) -> Response {
    let mut pieces = VecDeque::new();
    let mut single = None;
    let names: Vec<&str> = list.split(',').map(str::trim).filter(|item| !item.is_empty()).collect();
    if names.len() > FILES_MAX {
        return Response::status(502);
    }
    let mut joined = 0;
    for item in &names {
        let Some((path, range)) = item.rsplit_once(' ') else { return Response::status(502) };
        let file = match opened(x, path, folders) {
            Ok(file) => file,
            Err(status) => return Response::status(status),
        };
        let Ok(length) = file.metadata().map(|facts| facts.len()) else { return Response::status(502) };
        let Some((first, last)) = bounds(range, length) else { return Response::status(502) };
        if names.len() == 1 {
            pieces.push_back(Piece::Range { offset: first, len: last + 1 - first });
            single = Some(file);
            continue;
        }
        joined += last + 1 - first;
        if joined > JOINED_BYTES_MAX {
            return Response::status(502);
        }
        let mut bytes = vec![0; (last + 1 - first) as usize];
        if std::os::unix::fs::FileExt::read_exact_at(&file, &mut bytes, first).is_err() {
            return Response::status(502);
        }
        pieces.push_back(Piece::Bytes(Bytes::from(bytes)));
        single = Some(file);
    }
    let Some(file) = single else { return Response::status(502) };
    let mut response = Response::status(head.status);
    response.body = Body::File(FileBody { file: Rc::new(file), pieces });
    merge(head, &mut response);
    response
}

fn bounds(range: &str, length: u64) -> Option<(u64, u64)> {
    let (first, last) = range.split_once('-')?;
    let first: u64 = first.parse().ok()?;
    let end = length.checked_sub(1)?;
    let last = if last.is_empty() { end } else { last.parse::<u64>().ok()?.min(end) };
    (first <= last).then_some((first, last))
}
