//! HTTP/2 header lists ↔ heads.

use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Uri, Version as HttpVersion,
};
use selvedge_http::fields::Fields;
use selvedge_http::head::{RequestHead, ResponseHead, Version};
use selvedge_http::known::HeaderId;
use selvedge_http::parse::Upgrade;

/// Reads the head of a request that arrived by HTTP/2.
pub fn request_head<B>(request: &Request<B>, head: &mut RequestHead) {
    head.clear();
    head.version = Version::Http2;
    head.set_method(request.method().as_str());
    let uri = request.uri();
    head.set_path(uri.path_and_query().map_or("", |path| path.as_str()));
    head.set_scheme(uri.scheme_str().unwrap_or("http"));
    let host = request.headers().get(http::header::HOST).and_then(|host| host.to_str().ok());
    if let Some(authority) = uri.authority().map(|authority| authority.as_str()).or(host) {
        head.set_authority(authority);
    }
    read_fields(request.headers(), &mut head.fields);
    head.fields.remove(HeaderId::Host);
}

/// Reads the head of a response that arrived by HTTP/2.
pub fn response_head<B>(response: &Response<B>, head: &mut ResponseHead) {
    head.clear();
    head.version = Version::Http2;
    head.status = response.status().as_u16();
    read_fields(response.headers(), &mut head.fields);
}

/// Reads a header map. Values of one name keep their order; the crumbs of a cookie become one again, since HTTP/1 has
/// no crumbs (RFC 9113 §8.2.3).
pub(super) fn read_fields(map: &HeaderMap, fields: &mut Fields) {
    for (name, value) in map {
        if name != http::header::COOKIE {
            fields.append(name.as_str().as_bytes(), value.as_bytes());
        }
    }
    let crumbs: Vec<&[u8]> = map.get_all(http::header::COOKIE).iter().map(HeaderValue::as_bytes).collect();
    if !crumbs.is_empty() {
        fields.append(b"cookie", &crumbs.join(&b"; "[..]));
    }
}

/// Writes fields into a header map; a name or value that HTTP/2 cannot carry is left out.
pub(super) fn write_fields(fields: &Fields, map: &mut HeaderMap) {
    map.reserve(fields.len());
    for (id, name, value) in fields.iter_ids() {
        if let (Ok(name), Ok(mut value)) = (HeaderName::from_bytes(name), HeaderValue::from_bytes(value)) {
            // Another value in every message: in the connection's table it would push out what comes again.
            value.set_sensitive(id == HeaderId::XRequestId);
            map.append(name, value);
        }
    }
}

/// What a request by HTTP/2 wants to turn its stream into. The wish for a WebSocket becomes what it is by HTTP/1 (RFC
/// 8441 §5), so that what follows need not know of two ways.
pub fn upgrade<B>(request: &Request<B>, head: &mut RequestHead) -> Upgrade {
    if request.method() != Method::CONNECT {
        return Upgrade::None;
    }
    let Some(protocol) = request.extensions().get::<h2::ext::Protocol>() else { return Upgrade::Connect };
    if !protocol.as_str().eq_ignore_ascii_case("websocket") {
        return Upgrade::Other;
    }
    head.set_method("GET");
    head.fields.set_id(HeaderId::Upgrade, b"websocket");
    head.fields.set_id(HeaderId::Connection, b"upgrade");
    Upgrade::WebSocket
}

/// A WebSocket's request by HTTP/1 as one to be sent by HTTP/2 (RFC 8441 §5).
pub fn websocket_message(head: &RequestHead) -> Option<Request<()>> {
    let mut request = request_message(head)?;
    *request.method_mut() = Method::CONNECT;
    request.extensions_mut().insert(h2::ext::Protocol::from_static("websocket"));
    let headers = request.headers_mut();
    for name in [http::header::UPGRADE, http::header::CONNECTION, http::header::CONTENT_LENGTH] {
        headers.remove(name);
    }
    Some(request)
}

/// A request to be sent by HTTP/2; `None` if its target cannot be written as a URI.
pub fn request_message(head: &RequestHead) -> Option<Request<()>> {
    let mut request = Request::new(());
    *request.method_mut() = Method::from_bytes(head.method().as_bytes()).ok()?;
    let authority = head.authority().unwrap_or_default();
    *request.uri_mut() = if head.method() == "CONNECT" {
        // Neither scheme nor path (RFC 9113 §8.5).
        Uri::builder().authority(authority).build().ok()?
    } else {
        let scheme = if head.scheme().is_empty() { "http" } else { head.scheme() };
        Uri::builder().scheme(scheme).authority(authority).path_and_query(head.path()).build().ok()?
    };
    *request.version_mut() = HttpVersion::HTTP_2;
    write_fields(&head.fields, request.headers_mut());
    Some(request)
}

/// A response to be sent by HTTP/2; `None` for a status that it has no place for.
pub fn response_message(head: &ResponseHead) -> Option<Response<()>> {
    let mut response = Response::new(());
    *response.status_mut() = StatusCode::from_u16(head.status).ok()?;
    *response.version_mut() = HttpVersion::HTTP_2;
    write_fields(&head.fields, response.headers_mut());
    Some(response)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_survive_the_way_through_messages() {
        let mut head = RequestHead::default();
        head.set_method("POST");
        head.set_path("/a?b");
        head.set_authority("h:1");
        head.set_scheme("http");
        head.fields.append(b"te", b"trailers");
        head.fields.append(b"x", b"1");
        head.fields.append(b"x", b"2");
        head.fields.append(b"cookie", b"a=1; b=2");
        let request = request_message(&head).unwrap();
        let mut read = RequestHead::default();
        request_head(&request, &mut read);
        assert_eq!((read.method(), read.path(), read.authority()), ("POST", "/a?b", Some("h:1")));
        let fields = |head: &RequestHead| {
            head.fields.iter().map(|(n, v)| (n.to_owned(), v.to_vec())).collect::<Vec<_>>()
        };
        assert_eq!(fields(&read), fields(&head));
    }
}
