//! A request as it is passed on: what concerned the client's connection left out, what tells the backend who asks put in.

use std::fmt::Write as _;
use std::net::IpAddr;

use selvedge_http::cgi;
use selvedge_http::encode;
use selvedge_http::framing::Framing;
use selvedge_http::head::RequestHead;
use selvedge_http::hop;
use selvedge_http::known::HeaderId;
use selvedge_site::directive::Host;

use super::remap::{Way, remapped, remapped_host};
use super::{SERVICE_HEADER, Service};
use crate::request::Exchange;
use crate::way;

/// Writes the request's head, as the backend gets it.
pub(super) fn request(
    x: &Exchange<'_>,
    host: &Host,
    framing: Framing,
    upgrade: bool,
    service: Option<Service<'_>>,
    out: &mut Vec<u8>,
) {
    let way = way::Way::passed_on(x).filter(|_| framing == Framing::None && !upgrade && service.is_none());
    let client = x.peer.remote.ip();
    if way.is_some_and(|way| way.copy_bytes(client, &host.label, out)) {
        return;
    }
    let head = head(x, &host.label, framing, upgrade, service);
    encode::request(&head, framing, out);
    x.worker.give_back_head(head);
    if x.conf.proxy.header.force_http10
        && let Some(at) = memchr::memmem::find(out, b" HTTP/1.1\r\n")
    {
        out[at + 8] = b'0';
    }
    if let Some(way) = way {
        way.keep_bytes(client, &host.label, out);
    }
}

/// The request's head, as the mesh gets it on this thread; to be given back to the worker.
pub(in crate::answer) fn head_to_mesh(x: &Exchange<'_>, framing: Framing, upgrade: bool) -> Box<RequestHead> {
    let way = way::Way::passed_on(x).filter(|_| framing == Framing::None && !upgrade);
    if let Some(way) = way {
        let mut known = x.worker.lease_head();
        if way.copy_head(x.remote, &mut known) {
            return known;
        }
        x.worker.give_back_head(known);
    }
    let head = head(x, "", framing, upgrade, Some(Service::BesideHead));
    if let Some(way) = way {
        way.keep_head(x.remote, &head);
    }
    head
}

/// The request's head, as it goes on; to be given back to the worker. `label` is the backend's name in the configuration.
fn head(
    x: &Exchange<'_>,
    label: &str,
    framing: Framing,
    upgrade: bool,
    service: Option<Service<'_>>,
) -> Box<RequestHead> {
    let conf = &x.conf.proxy;
    let mut head = x.worker.lease_head();
    head.copy_from(x.head);
    let path = remapped(&x.target.text, &conf.header.map_urlpath, Way::Out);
    if path.as_bytes() != head.path_bytes() {
        head.set_path(&path);
    }
    let to_mesh = service.is_some();
    if let Some(Service::AsAuthority(name)) = service {
        head.set_authority(name);
    } else if to_mesh {
        // The host stays as the client sent it.
    } else if conf.replace_http_host && !label.is_empty() {
        head.set_authority(label);
    } else if !conf.header.map_host_request.is_empty() || x.head.authority_bytes().is_none() {
        let authority =
            remapped_host(x.head.authority().unwrap_or_default(), &conf.header.map_host_request, x);
        head.set_authority(&authority);
    }
    let keeps = upgrade.then(|| x.header("upgrade").unwrap_or("websocket").to_owned());
    // The client has been told to send its body, or is: `Expect` goes with what concerns its connection alone.
    hop::strip_request(&mut head.fields, false);
    head.fields.retain(|id, name, _| match id {
        HeaderId::ContentLength => false,
        // The mesh believes what its edge says of the client, and nothing that the client said itself.
        HeaderId::XForwardedFor => !to_mesh,
        // A backend's request has no trailers: nobody tells it of some.
        HeaderId::Te | HeaderId::Trailer => to_mesh,
        HeaderId::Other => match name {
            b"proxy" | b"set-cookie" | b"proxy-authorization" => false,
            name if is_twin(name) => false,
            b"forwarded" => !to_mesh,
            name => !to_mesh || name != SERVICE_HEADER.as_bytes(),
        },
        _ => true,
    });
    if let Some(Service::InHeader(name)) = service {
        head.fields.append(SERVICE_HEADER.as_bytes(), name.as_bytes());
    }
    if let Some(protocol) = keeps {
        head.fields.append_id(HeaderId::Connection, b"upgrade");
        head.fields.append_id(HeaderId::Upgrade, protocol.as_bytes());
    }
    forwarding(x, &mut head);
    if let Framing::Length(length) = framing {
        head.fields.append_id(HeaderId::ContentLength, itoa::Buffer::new().format(length).as_bytes());
    }
    head
}

/// Whether a program that reads what is no letter as a hyphen would take a field for one that says where the request ends, whose it
/// is, or for which host.
fn is_twin(name: &[u8]) -> bool {
    const NAMES: [&str; 7] = [
        "content-length",
        "transfer-encoding",
        "proxy-connection",
        "keep-alive",
        "proxy-authorization",
        "content-type",
        "x-host",
    ];
    name.iter().any(|byte| !byte.is_ascii_alphanumeric() && *byte != b'-')
        && std::str::from_utf8(name)
            .is_ok_and(|name| NAMES.iter().any(|known| cgi::is_same_variable(name, known)))
}

/// What tells the backend who asks.
fn forwarding(x: &Exchange<'_>, head: &mut RequestHead) {
    let fields = &mut head.fields;
    let peer = x.peer.remote.ip().to_canonical();
    let parts = &x.conf.proxy.forwarded;
    if parts.by || parts.for_client || parts.host || parts.proto || parts.remote_user {
        let mut element = String::new();
        let mut push = |name: &str, value: String| {
            if !element.is_empty() {
                element.push(';');
            }
            let _ = write!(element, "{name}={value}");
        };
        if parts.for_client {
            push("for", node(peer));
        }
        if parts.by {
            push("by", format!("\"{}\"", x.peer.local));
        }
        if parts.proto {
            push("proto", x.scheme().to_owned());
        }
        if parts.host {
            push("host", quoted(x.head.authority().unwrap_or_default()));
        }
        if let Some(user) = x.user.as_ref().filter(|_| parts.remote_user) {
            push("remote_user", quoted(&user.name));
        }
        let mut value = fields.named("forwarded").map(<[u8]>::to_vec).unwrap_or_default();
        if value.is_empty() {
            // What those before us said in the older header.
            value = forwarded_list(fields.all(HeaderId::XForwardedFor)).into_bytes();
        }
        if !value.is_empty() {
            value.extend_from_slice(b", ");
        }
        value.extend_from_slice(element.as_bytes());
        fields.set("forwarded", &value);
    }
    let mut list = x.worker.buffers.scratch();
    for value in fields.all(HeaderId::XForwardedFor) {
        list.extend_from_slice(value);
        list.extend_from_slice(b", ");
    }
    let client = if x.conf.mesh.service.is_some() { x.remote } else { peer };
    write_address(client, &mut list);
    fields.set_id(HeaderId::XForwardedFor, &list);
    x.worker.buffers.give_back(list);
    let authority = x.head.authority_bytes().unwrap_or_default();
    fields.set("x-host", authority);
    fields.set_id(HeaderId::XForwardedHost, authority);
    fields.set_id(HeaderId::XForwardedProto, x.scheme().as_bytes());
}

/// What `Display` writes; the common sort of address without the formatter, which takes a thousand instructions for it.
fn write_address(address: IpAddr, out: &mut Vec<u8>) {
    match address {
        IpAddr::V4(address) => {
            for (index, octet) in address.octets().into_iter().enumerate() {
                if index > 0 {
                    out.push(b'.');
                }
                out.extend_from_slice(itoa::Buffer::new().format(octet).as_bytes());
            }
        }
        // Writing to a Vec cannot fail.
        IpAddr::V6(address) => drop(std::io::Write::write_fmt(out, format_args!("{address}"))),
    }
}

/// The addresses of `X-Forwarded-For` as elements of `Forwarded`.
fn forwarded_list<'a>(values: impl Iterator<Item = &'a [u8]>) -> String {
    let mut list = String::new();
    for value in values {
        for one in String::from_utf8_lossy(value).split(',').map(str::trim).filter(|one| !one.is_empty()) {
            let separator = if list.is_empty() { "" } else { ", " };
            let _ =
                match one.contains(':') && !one.starts_with('[') && one.parse::<std::net::Ipv6Addr>().is_ok()
                {
                    true => write!(list, "{separator}for=\"[{one}]\""),
                    false => write!(list, "{separator}for={}", quoted(one)),
                };
        }
    }
    list
}

fn node(address: IpAddr) -> String {
    match address {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => format!("\"[{address}]\""),
    }
}

fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn those_before_us_are_told_of_in_the_newer_header() {
        let list = |values: &[&str]| forwarded_list(values.iter().map(|value| value.as_bytes()));
        assert_eq!(list(&["9.9.9.9, 1.1.1.1", "::1"]), "for=\"9.9.9.9\", for=\"1.1.1.1\", for=\"[::1]\"");
        assert_eq!(list(&["a\";host=evil"]), "for=\"a\\\";host=evil\"");
        assert_eq!(list(&[]), "");
        assert_eq!(quoted("a\"b\\"), "\"a\\\"b\\\\\"");
    }
    #[test]
    fn addresses_are_written_as_they_are_displayed() {
        for text in ["0.0.0.0", "127.0.0.1", "255.9.10.100", "::1", "2001:db8::ff"] {
            let mut out = Vec::new();
            write_address(text.parse().unwrap(), &mut out);
            assert_eq!(String::from_utf8_lossy(&out), text);
        }
    }
}
