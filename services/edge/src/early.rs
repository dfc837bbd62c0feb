//! Early hints (103, RFC 8297): what a page will want is named before the page is there.

use std::future::poll_fn;

use selvedge_http::encode;
use selvedge_http::head::{ResponseHead, Version};
use selvedge_wire::channel::Channel;

use crate::request::Exchange;

/// Tells a browser that opens a page which links go with it. Nobody else is told: an HTTP/1 client that does not expect an
/// interim answer may take it for the answer.
pub(crate) async fn hint(x: &mut Exchange<'_>) {
    let conf = x.conf.clone();
    let links = &conf.edge.early_hints;
    if links.is_empty()
        || x.hinted
        || x.head.method() != "GET"
        || x.head.version == Version::Http10
        || x.header("sec-fetch-mode") != Some("navigate")
    {
        return;
    }
    x.hinted = true;
    let mut head = ResponseHead { status: 103, version: x.head.version, ..ResponseHead::default() };
    links.iter().for_each(|link| head.fields.append(b"link", link.as_bytes()));
    let sent = match &mut *x.channel {
        Channel::Http1(http) => {
            http.queue(|out| encode::web_response(&head, out));
            true
        }
        Channel::Http2(stream) => stream.inform(&head).is_ok(),
        Channel::Inner(_) | Channel::Over => false,
    };
    if sent {
        let channel = &mut *x.channel;
        // Whoever cannot be told will not hear the answer either: that is seen there.
        let _ = poll_fn(|cx| match channel.poll_flush(cx) {
            std::task::Poll::Pending => std::task::Poll::Ready(Ok(())),
            ready => ready,
        })
        .await;
    }
}
