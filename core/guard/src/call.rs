//! A request of ours to somebody outside of the mesh, and the answer to it, as values.

/// What is to be asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    pub method: &'static str,
    /// Absolute: `https://host[:port]/path?query`.
    pub url: String,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

/// What was answered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    pub status: u16,
    /// Names in lower case.
    pub headers: Vec<(String, Vec<u8>)>,
    pub body: Vec<u8>,
}

impl Call {
    /// Asks for JSON.
    pub fn json(url: &str) -> Self {
        let headers = vec![("accept".to_owned(), "application/json".to_owned())];
        Self { method: "GET", url: url.to_owned(), headers, body: Vec::new() }
    }

    /// Posts a form and wants JSON back.
    pub fn form(url: &str, fields: &[(&str, &str)]) -> Self {
        let mut call = Self::json(url);
        call.method = "POST";
        call.headers.push(("content-type".to_owned(), "application/x-www-form-urlencoded".to_owned()));
        call.body = crate::form::encode(fields).into_bytes();
        call
    }
}

impl Answer {
    /// The first value of a header (lower case).
    pub fn header(&self, name: &str) -> Option<&[u8]> {
        self.headers.iter().find(|(own, _)| own == name).map(|(_, value)| value.as_slice())
    }
}
