//! What a command answers.

use http::StatusCode;
use serde_json::Value;

/// Status, type and text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Reply {
    pub(super) status: StatusCode,
    pub(super) content_type: &'static str,
    pub(super) body: String,
}

impl Reply {
    pub(super) fn text(body: impl Into<String>) -> Self {
        Self { status: StatusCode::OK, content_type: "text/plain; charset=UTF-8", body: body.into() }
    }

    pub(super) fn json(value: &Value) -> Self {
        // `{:#}` of a JSON value is its indented text: one member a line, as scripts that grep expect it.
        Self { status: StatusCode::OK, content_type: "application/json", body: format!("{value:#}\n") }
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
}
