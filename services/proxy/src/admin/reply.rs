//! What a command answers.

use std::fmt;

use http::StatusCode;
use serde_json::Value;

/// Status, type and content.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) status: StatusCode,
    pub(super) content_type: &'static str,
    pub(super) body: Body,
}

/// The content: as a whole, or in pieces that are made as the client reads them.
pub(super) enum Body {
    Whole(String),
    Pieces(Box<dyn Iterator<Item = String> + Send + Sync>),
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Whole(text) => f.debug_tuple("Whole").field(text).finish(),
            Self::Pieces(_) => f.write_str("Pieces"),
        }
    }
}

impl Reply {
    pub(super) fn text(body: impl Into<String>) -> Self {
        let body = Body::Whole(body.into());
        Self { status: StatusCode::OK, content_type: "text/plain; charset=UTF-8", body }
    }

    pub(super) fn json(value: &Value) -> Self {
        // `{:#}` of a JSON value is its indented text: one member a line, as scripts that grep expect it.
        Self { content_type: "application/json", ..Self::text(format!("{value:#}\n")) }
    }

    pub(super) fn html(body: impl Into<String>) -> Self {
        Self { content_type: "text/html; charset=UTF-8", ..Self::text(body) }
    }

    pub(super) fn ok() -> Self {
        Self::text("OK\n")
    }

    pub(super) fn status(status: StatusCode, body: impl Into<String>) -> Self {
        Self { status, ..Self::text(body) }
    }

    pub(super) fn bad_request(body: impl Into<String>) -> Self {
        Self::status(StatusCode::BAD_REQUEST, body)
    }

    pub(super) fn not_found(body: impl Into<String>) -> Self {
        Self::status(StatusCode::NOT_FOUND, body)
    }
}
