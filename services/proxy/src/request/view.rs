//! Heads as the rooms that decide and the rooms that log want to see them.

use selvedge_http::fields::Fields;
use selvedge_http::head::{RequestHead, ResponseHead};
use selvedge_http::known::HeaderId;
use selvedge_telemetry::HeaderSource;
use selvedge_traffic::matching::RequestView;
use selvedge_traffic::retry::ResponseView;

/// A request's head.
#[derive(Clone, Copy)]
pub(crate) struct Request<'a>(pub(crate) &'a RequestHead);

impl RequestView for Request<'_> {
    fn method(&self) -> &str {
        self.0.method()
    }

    fn path(&self) -> &str {
        self.0.path()
    }

    fn authority(&self) -> &str {
        self.0.authority().unwrap_or_default()
    }

    fn scheme(&self) -> &str {
        self.0.scheme()
    }

    fn any_value(&self, name: &str, mut test: impl FnMut(&[u8]) -> bool) -> Option<bool> {
        let mut answer = None;
        for value in self.0.fields.all_named(name) {
            answer = Some(test(value));
            if answer == Some(true) {
                break;
            }
        }
        answer
    }

    fn first_value(&self, name: &str) -> Option<&str> {
        self.0.fields.named(name).and_then(|value| std::str::from_utf8(value).ok())
    }
}

impl HeaderSource for Request<'_> {
    fn header(&self, name: &str) -> Option<&[u8]> {
        let text = match name {
            ":method" => self.0.method().as_bytes(),
            ":path" => self.0.path_bytes(),
            ":authority" | "host" => self.0.authority_bytes()?,
            ":scheme" => self.0.scheme().as_bytes(),
            _ => return self.0.fields.named(name),
        };
        (!text.is_empty()).then_some(text)
    }

    fn byte_len(&self) -> u64 {
        let head = &self.0;
        let pseudo = [
            (":method", head.method().as_bytes()),
            (":path", head.path_bytes()),
            (":authority", head.authority_bytes().unwrap_or_default()),
            (":scheme", head.scheme().as_bytes()),
        ];
        let pseudo = pseudo.iter().filter(|(_, value)| !value.is_empty());
        let pseudo: usize = pseudo.map(|(name, value)| name.len() + value.len()).sum();
        (pseudo + fields_len(&head.fields)) as u64
    }

    fn any_value(&self, name: &str, test: &mut dyn FnMut(&[u8]) -> bool) -> Option<bool> {
        RequestView::any_value(self, name, test)
    }
}

/// A response's head.
#[derive(Clone, Copy)]
pub(crate) struct Response<'a>(pub(crate) &'a ResponseHead);

impl ResponseView for Response<'_> {
    fn status(&self) -> u16 {
        self.0.status
    }

    fn header(&self, name: &str) -> Option<&str> {
        match HeaderId::of(name.as_bytes()) {
            HeaderId::Other => std::str::from_utf8(self.0.fields.named(name)?).ok(),
            id => self.0.fields.get_str(id),
        }
    }
}

impl HeaderSource for Response<'_> {
    fn header(&self, name: &str) -> Option<&[u8]> {
        self.0.fields.named(name)
    }

    fn byte_len(&self) -> u64 {
        // A status has three digits.
        if self.0.status == 0 { 0 } else { (":status200".len() + fields_len(&self.0.fields)) as u64 }
    }
}

fn fields_len(fields: &Fields) -> usize {
    fields.iter_ids().map(|(_, name, value)| name.len() + value.len()).sum()
}
