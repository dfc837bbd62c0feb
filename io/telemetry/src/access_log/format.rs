//! A compiled format: literal text and operators, as a line or as the members of a JSON object.

use selvedge_traffic::AccessLogFormat;
use thiserror::Error;

use super::json::write_string;
use super::operator::{self, Operator};
use super::record::Record;
use super::value::{self, Written};

/// Envoy's default line.
const DEFAULT: &str = "[%START_TIME%] \"%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% %PROTOCOL%\" \
    %RESPONSE_CODE% %RESPONSE_FLAGS% %BYTES_RECEIVED% %BYTES_SENT% %DURATION% \
    %RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)% \"%REQ(X-FORWARDED-FOR)%\" \"%REQ(USER-AGENT)%\" \"%REQ(X-REQUEST-ID)%\" \
    \"%REQ(:AUTHORITY)%\" \"%UPSTREAM_HOST%\"\n";

/// A format that cannot be compiled; the configuration that holds it is rejected.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum FormatError {
    #[error("access log operator %{0}% is not known")]
    UnknownOperator(String),
    #[error("access log format has a percent sign without its partner: {0}")]
    Unbalanced(String),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Format {
    Line(Template),
    Json(Vec<(Vec<u8>, Template)>),
}

/// Literals and operators in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Template(Vec<Segment>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Segment {
    Literal(String),
    Operator(Operator),
}

impl Format {
    pub(super) fn compile(format: &AccessLogFormat) -> Result<Self, FormatError> {
        Ok(match format {
            AccessLogFormat::Default => Self::Line(Template::compile(DEFAULT)?),
            AccessLogFormat::Text(line) => Self::Line(Template::compile(line)?),
            AccessLogFormat::Json(members) => Self::Json(
                members
                    .iter()
                    .map(|(key, value)| {
                        let mut quoted = Vec::new();
                        write_string(key.as_bytes(), &mut quoted);
                        Ok((quoted, Template::compile(value)?))
                    })
                    .collect::<Result<_, FormatError>>()?,
            ),
        })
    }

    /// Appends one record.
    pub(super) fn write(&self, record: &Record<'_>, out: &mut Vec<u8>) {
        match self {
            Self::Line(template) => template.write(record, out),
            Self::Json(members) => {
                let mut scratch = Vec::new();
                for (index, (key, template)) in members.iter().enumerate() {
                    out.push(if index == 0 { b'{' } else { b',' });
                    out.extend_from_slice(key);
                    out.push(b':');
                    scratch.clear();
                    template.write_json(record, &mut scratch, out);
                }
                out.extend_from_slice(if members.is_empty() { b"{}\n" } else { b"}\n" });
            }
        }
    }
}

impl Template {
    pub(super) fn compile(text: &str) -> Result<Self, FormatError> {
        let unbalanced = || FormatError::Unbalanced(text.to_owned());
        let mut segments = Vec::new();
        let mut literal = String::new();
        let mut rest = text;
        while let Some(percent) = rest.find('%') {
            literal.push_str(&rest[..percent]);
            rest = &rest[percent + 1..];
            if let Some(after) = rest.strip_prefix('%') {
                literal.push('%');
                rest = after;
                continue;
            }
            let end = operator_end(rest).ok_or_else(unbalanced)?;
            if !literal.is_empty() {
                segments.push(Segment::Literal(std::mem::take(&mut literal)));
            }
            segments.push(Segment::Operator(operator::parse(&rest[..end])?));
            rest = &rest[end + 1..];
        }
        literal.push_str(rest);
        if !literal.is_empty() {
            segments.push(Segment::Literal(literal));
        }
        Ok(Self(segments))
    }

    fn write(&self, record: &Record<'_>, out: &mut Vec<u8>) {
        for segment in &self.0 {
            match segment {
                Segment::Literal(literal) => out.extend_from_slice(literal.as_bytes()),
                Segment::Operator(operator) => {
                    if value::write(operator, record, out) == Written::Missing {
                        out.push(b'-');
                    }
                }
            }
        }
    }

    /// The whole text, if it holds no operator.
    pub(super) fn literal(&self) -> Option<&str> {
        match self.0.as_slice() {
            [] => Some(""),
            [Segment::Literal(literal)] => Some(literal),
            _ => None,
        }
    }

    /// As for a header: what is missing is nothing, not a dash.
    pub(super) fn write_present(&self, record: &Record<'_>, out: &mut Vec<u8>) {
        for segment in &self.0 {
            match segment {
                Segment::Literal(literal) => out.extend_from_slice(literal.as_bytes()),
                Segment::Operator(operator) => {
                    let _ = value::write(operator, record, out);
                }
            }
        }
    }

    /// A lone operator keeps its type – a number stays one, what is missing is `null` – all else is a string.
    fn write_json(&self, record: &Record<'_>, scratch: &mut Vec<u8>, out: &mut Vec<u8>) {
        if let [Segment::Operator(operator)] = self.0.as_slice() {
            match value::write(operator, record, scratch) {
                Written::Missing => out.extend_from_slice(b"null"),
                Written::Number => out.extend_from_slice(scratch),
                Written::Text => write_string(scratch, out),
            }
            return;
        }
        self.write(record, scratch);
        write_string(scratch, out);
    }
}

/// Where the operator ends: at the next percent sign outside its parentheses, for time patterns bring their own.
fn operator_end(text: &str) -> Option<usize> {
    let mut depth = 0_u32;
    for (index, byte) in text.bytes().enumerate() {
        match byte {
            b'(' => depth += 1,
            b')' => depth = depth.saturating_sub(1),
            b'%' if depth == 0 => return Some(index),
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;
    use std::time::{Duration, UNIX_EPOCH};

    use super::super::record::{HeaderSource, Protocol};
    use super::*;
    use crate::{Flag, ResponseFlags};

    struct Headers(&'static [(&'static str, &'static str)]);

    impl HeaderSource for Headers {
        fn header(&self, name: &str) -> Option<&[u8]> {
            self.0.iter().find(|(known, _)| *known == name).map(|(_, value)| value.as_bytes())
        }
    }

    const REQUEST: Headers = Headers(&[
        (":method", "GET"),
        (":path", "/new?a=1&b=two"),
        ("x-envoy-original-path", "/old?a=1"),
        (":authority", "user.local"),
        ("user-agent", "curl \"8\""),
    ]);
    const RESPONSE: Headers = Headers(&[("x-envoy-upstream-service-time", "7")]);

    fn record() -> Record<'static> {
        let mut flags = ResponseFlags::default();
        flags.set(Flag::UpstreamRetryLimitExceeded);
        flags.set(Flag::UpstreamConnectionFailure);
        Record {
            start: Some(UNIX_EPOCH + Duration::from_millis(1_460_751_420_310)),
            duration: Some(Duration::from_millis(12)),
            response_first: Some(Duration::from_millis(9)),
            protocol: Some(Protocol::Http11),
            status: 503,
            flags,
            bytes_received: 5,
            bytes_sent: 91,
            request: Some(&REQUEST),
            response: Some(&RESPONSE),
            upstream_host: Some(SocketAddr::from(([10, 0, 0, 1], 8080))),
            attempts: 3,
            grpc_status: Some(14),
            ..Record::default()
        }
    }

    fn line(format: &AccessLogFormat) -> String {
        let mut out = Vec::new();
        Format::compile(format).expect("a known format").write(&record(), &mut out);
        String::from_utf8(out).expect("the sample is text")
    }

    #[test]
    fn the_default_line_is_envoys() {
        assert_eq!(
            line(&AccessLogFormat::Default),
            "[2016-04-15T20:17:00.310Z] \"GET /old?a=1 HTTP/1.1\" 503 URX,UF 5 91 12 7 \"-\" \"curl \"8\"\" \"-\" \
             \"user.local\" \"10.0.0.1:8080\"\n"
        );
    }

    #[test]
    fn operators_print_their_values() {
        let rows = [
            ("%REQ(X-Missing?:METHOD):2%", "GE"),
            ("%REQ(X-MISSING)%", "-"),
            ("%RESPONSE_TX_DURATION%", "3"),
            ("%REQUEST_DURATION%", "-"),
            ("%RESPONSE_FLAGS_LONG%", "UpstreamRetryLimitExceeded,UpstreamConnectionFailure"),
            ("%GRPC_STATUS% %GRPC_STATUS(NUMBER)% %GRPC_STATUS_NUMBER%", "Unavailable 14 14"),
            ("%START_TIME(%s.%3f)%", "1460751420.310"),
            ("%COMMON_DURATION(DS_RX_BEG:US_RX_BEG:us)%", "9000"),
            ("%PATH(NQ:PATH)% %PATH(WQ)% %PATH%", "/new /old?a=1 /old?a=1"),
            ("%QUERY_PARAM(b)% %QUERY_PARAM(c)%", "two -"),
            ("%UPSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%:%UPSTREAM_REMOTE_PORT%", "10.0.0.1:8080"),
            ("%UPSTREAM_HOST_NAME% %UPSTREAM_TLS_CIPHER% 100%%", "10.0.0.1:8080 - 100%"),
            ("%DYNAMIC_METADATA(a:b)%", "-"),
        ];
        for (format, expected) in rows {
            assert_eq!(line(&AccessLogFormat::Text(format.to_owned())), expected, "{format}");
        }
    }

    #[test]
    fn json_keeps_numbers_and_escapes_text() {
        let members = [
            ("status", "%RESPONSE_CODE%"),
            ("agent", "%REQ(USER-AGENT)%"),
            ("none", "%REQ(X-NONE)%"),
            ("both", "%PROTOCOL% %REQ(X-NONE)%"),
            ("fixed \"key\"", "v"),
        ];
        let members = members.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        assert_eq!(
            line(&AccessLogFormat::Json(members)),
            "{\"status\":503,\"agent\":\"curl \\\"8\\\"\",\"none\":null,\"both\":\"HTTP/1.1 -\",\"fixed \\\"key\\\"\":\"v\"}\n"
        );
    }

    #[test]
    fn what_envoy_refuses_is_refused() {
        for format in [
            "%VIRTUAL_HOST_NAME%",
            "%HEADER_BYTES_RECEIVED%",
            "%PEER_CERT%",
            "%REQ_WITHOUT_QUERY(A)%",
            "%REQ()%",
            "%PROTOCOL:x%",
            "%START_TIME(%Q)%",
        ] {
            let error = Format::compile(&AccessLogFormat::Text(format.to_owned())).expect_err(format);
            assert!(matches!(error, FormatError::UnknownOperator(_)), "{format}: {error}");
        }
        let error = Format::compile(&AccessLogFormat::Text("50%".to_owned())).expect_err("no partner");
        assert_eq!(error, FormatError::Unbalanced("50%".to_owned()));
    }

    #[test]
    fn every_operator_of_the_reference_compiles() {
        let shared = std::env::var("SELVEDGE_SHARED")
            .unwrap_or_else(|_| concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared").to_owned());
        let Ok(list) = std::fs::read_to_string(format!("{shared}/reference/envoy-access-log-operators.txt"))
        else {
            eprintln!("skipped: the reference list of operators is not here");
            return;
        };
        for operator in list.lines().filter(|line| !line.starts_with('#') && !line.is_empty()) {
            let format = AccessLogFormat::Text(format!("%{operator}%"));
            assert!(Format::compile(&format).is_ok(), "{operator}");
        }
    }
}
