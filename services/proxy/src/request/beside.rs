//! Requests of a web server that we stand beside, by a socket in the file system: it says which virtual service it means in
//! a header, leaves the host as its client sent it, and appends its client to `x-forwarded-for`.

use std::sync::Arc;

use selvedge_http::fields::Fields;
use selvedge_http::head::RequestHead;
use selvedge_http::known::HeaderId;
use selvedge_traffic::matching::RequestView;

use super::view::Request;

/// The header that names the virtual service.
pub(crate) const SERVICE_HEADER: &str = "x-selvedge-service";

/// A request as routes see it: for a service, whatever its host.
pub(super) struct ForService<'a>(pub(super) Request<'a>, pub(super) &'a str);

/// Takes the header off a request; the service that it names.
pub(super) fn take_service(head: &mut RequestHead) -> Option<Arc<str>> {
    let named = head.fields.named(SERVICE_HEADER).and_then(|value| std::str::from_utf8(value).ok());
    let named = named.map(|name| name.trim().to_ascii_lowercase());
    let named = named.filter(|name| !name.is_empty()).map(Arc::from);
    head.fields.remove_named(SERVICE_HEADER);
    named
}

/// The web server vouches for its own client alone: what that client said of others before it is nobody's word.
pub(super) fn forget_earlier_hops(fields: &mut Fields) {
    let last = fields.all(HeaderId::XForwardedFor).last().map(|value| {
        let last = value.rsplit(|byte| *byte == b',').next().unwrap_or_default();
        last.trim_ascii().to_vec()
    });
    if let Some(last) = last {
        fields.set_id(HeaderId::XForwardedFor, &last);
    }
}

impl RequestView for ForService<'_> {
    fn method(&self) -> &str {
        self.0.method()
    }

    fn path(&self) -> &str {
        self.0.path()
    }

    fn authority(&self) -> &str {
        self.1
    }

    fn scheme(&self) -> &str {
        self.0.scheme()
    }

    fn first_value(&self, name: &str) -> Option<&str> {
        self.0.first_value(name)
    }

    fn any_value(&self, name: &str, test: impl FnMut(&[u8]) -> bool) -> Option<bool> {
        self.0.any_value(name, test)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_last_hop_is_kept() {
        for (lines, kept) in [
            (&["9.9.9.9, 127.0.0.1"][..], "127.0.0.1"),
            (&["9.9.9.9", "8.8.8.8,10.0.0.1 "], "10.0.0.1"),
            (&["10.0.0.1"], "10.0.0.1"),
        ] {
            let mut fields = Fields::default();
            lines.iter().for_each(|line| fields.append(b"x-forwarded-for", line.as_bytes()));
            forget_earlier_hops(&mut fields);
            let all: Vec<&[u8]> = fields.all(HeaderId::XForwardedFor).collect();
            assert_eq!(all, [kept.as_bytes()], "{lines:?}");
        }
        let mut none = Fields::default();
        forget_earlier_hops(&mut none);
        assert_eq!(none.all(HeaderId::XForwardedFor).count(), 0);
    }

    #[test]
    fn the_service_is_named_once_and_goes_no_further() {
        let mut head = RequestHead::default();
        head.fields.append(b"x-selvedge-service", b" Orders.Shop.Local ");
        assert_eq!(take_service(&mut head).as_deref(), Some("orders.shop.local"));
        assert_eq!(take_service(&mut head), None);
    }
}
