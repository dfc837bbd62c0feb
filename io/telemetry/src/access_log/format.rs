//! A compiled format: literal text and operators, as a line or as the members of a JSON object.

use selvedge_traffic::access_log::LogFilterInvalid;
use selvedge_traffic::{AccessLogFormat, FileLog, JsonTemplate};
use thiserror::Error;

use super::escape::escape;
use super::json::{is_plain, write_string};
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
    #[error("access log filter cannot be used: {0}")]
    Filter(#[from] LogFilterInvalid),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Format {
    shape: Shape,
    /// What is missing is left out.
    omit_empty: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Shape {
    Line(Template),
    Json(Vec<Member>),
}

/// A quoted key with its colon, and what belongs to it.
type Member = (Vec<u8>, Node);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Node {
    Template(Template),
    /// A number or a truth value, as JSON.
    Fixed(String),
    Object(Vec<Member>),
    List(Vec<Self>),
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
    pub(super) fn compile(log: &FileLog) -> Result<Self, FormatError> {
        let text = |text: &String| Template::compile(text).map(Node::Template);
        let shape = match &log.format {
            AccessLogFormat::Default => Shape::Line(Template::compile(DEFAULT)?),
            AccessLogFormat::Text(line) => Shape::Line(Template::compile(line)?),
            AccessLogFormat::Json(members) => Shape::Json(
                members
                    .iter()
                    .map(|(key, value)| Ok((quote(key), text(value)?)))
                    .collect::<Result<_, FormatError>>()?,
            ),
            AccessLogFormat::JsonTree(members) => Shape::Json(self::members(members)?),
        };
        Ok(Self { shape, omit_empty: log.omit_empty })
    }

    /// Appends one record.
    pub(super) fn write(&self, record: &Record<'_>, out: &mut Vec<u8>) {
        match &self.shape {
            Shape::Line(template) => {
                template.write(record, if self.omit_empty { b"" } else { b"-" }, true, out);
            }
            Shape::Json(members) => {
                self.write_object(members, record, &mut Vec::new(), out);
                out.push(b'\n');
            }
        }
    }

    fn write_object(
        &self,
        members: &[Member],
        record: &Record<'_>,
        scratch: &mut Vec<u8>,
        out: &mut Vec<u8>,
    ) {
        out.push(b'{');
        let mut first = true;
        for (key, node) in members {
            let start = out.len();
            if !first {
                out.push(b',');
            }
            out.extend_from_slice(key);
            if self.write_node(node, record, scratch, out) || !self.omit_empty {
                first = false;
            } else {
                out.truncate(start);
            }
        }
        out.push(b'}');
    }

    /// Whether there was anything to write.
    fn write_node(&self, node: &Node, record: &Record<'_>, scratch: &mut Vec<u8>, out: &mut Vec<u8>) -> bool {
        match node {
            Node::Template(template) => {
                scratch.clear();
                return template.write_json(record, scratch, out);
            }
            Node::Fixed(text) => out.extend_from_slice(text.as_bytes()),
            Node::Object(members) => self.write_object(members, record, scratch, out),
            Node::List(nodes) => {
                out.push(b'[');
                for (index, node) in nodes.iter().enumerate() {
                    if index > 0 {
                        out.push(b',');
                    }
                    self.write_node(node, record, scratch, out);
                }
                out.push(b']');
            }
        }
        true
    }
}

fn quote(key: &str) -> Vec<u8> {
    let mut quoted = Vec::new();
    write_string(key.as_bytes(), &mut quoted);
    quoted.push(b':');
    quoted
}

fn members(members: &[(String, JsonTemplate)]) -> Result<Vec<Member>, FormatError> {
    members.iter().map(|(key, value)| Ok((quote(key), node(value)?))).collect()
}

fn node(template: &JsonTemplate) -> Result<Node, FormatError> {
    Ok(match template {
        JsonTemplate::Text(text) => Node::Template(Template::compile(text)?),
        JsonTemplate::Number(number) => Node::Fixed(number.to_string()),
        JsonTemplate::Bool(value) => Node::Fixed(value.to_string()),
        JsonTemplate::Object(members) => Node::Object(self::members(members)?),
        JsonTemplate::List(items) => Node::List(items.iter().map(node).collect::<Result<_, _>>()?),
    })
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

    /// `missing` stands for what has no value; what a stranger sent is escaped in a `line`.
    fn write(&self, record: &Record<'_>, missing: &[u8], line: bool, out: &mut Vec<u8>) {
        for segment in &self.0 {
            match segment {
                Segment::Literal(literal) => out.extend_from_slice(literal.as_bytes()),
                Segment::Operator(operator) => {
                    let start = out.len();
                    match value::write(operator, record, out) {
                        Written::Missing => out.extend_from_slice(missing),
                        Written::Text if line => escape(out, start),
                        Written::Text | Written::Plain | Written::Number => {}
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

    /// A lone operator keeps its type – a number stays one, what is missing is `null` – all else is a string. Gives whether
    /// there was a value.
    fn write_json(&self, record: &Record<'_>, scratch: &mut Vec<u8>, out: &mut Vec<u8>) -> bool {
        if let [Segment::Operator(operator)] = self.0.as_slice() {
            if let Some(number) = value::number_of(operator, record) {
                out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
                return true;
            }
            // Written in its place at once, as if it were text that needs no escape: nearly all of it is.
            let start = out.len();
            out.push(b'"');
            match value::write(operator, record, out) {
                Written::Missing => {
                    out.truncate(start);
                    out.extend_from_slice(b"null");
                    return false;
                }
                Written::Number => {
                    out.remove(start);
                }
                Written::Plain => out.push(b'"'),
                Written::Text if is_plain(&out[start + 1..]) => out.push(b'"'),
                Written::Text => {
                    scratch.extend_from_slice(&out[start + 1..]);
                    out.truncate(start);
                    write_string(scratch, out);
                }
            }
            return true;
        }
        self.write(record, b"-", false, scratch);
        write_string(scratch, out);
        true
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
        let log = FileLog::new("x", format.clone());
        Format::compile(&log).expect("a known format").write(&record(), &mut out);
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
    fn a_tree_keeps_its_shape_and_what_is_missing_can_be_left_out() {
        let text = |text: &str| JsonTemplate::Text(text.to_owned());
        let inner =
            vec![("code".to_owned(), text("%RESPONSE_CODE%")), ("none".to_owned(), text("%REQ(X-NONE)%"))];
        let members = vec![
            ("absent".to_owned(), text("%REQ(X-NONE)%")),
            ("list".to_owned(), JsonTemplate::List(vec![JsonTemplate::Number(1.5), text("%PROTOCOL%")])),
            ("object".to_owned(), JsonTemplate::Object(inner)),
            ("yes".to_owned(), JsonTemplate::Bool(true)),
        ];
        let log = FileLog::new("x", AccessLogFormat::JsonTree(members));
        let write = |log: &FileLog| {
            let mut out = Vec::new();
            Format::compile(log).expect("a known format").write(&record(), &mut out);
            String::from_utf8(out).expect("text")
        };
        assert_eq!(
            write(&log),
            "{\"absent\":null,\"list\":[1.5,\"HTTP/1.1\"],\"object\":{\"code\":503,\"none\":null},\"yes\":true}\n"
        );
        let log = FileLog { omit_empty: true, ..log };
        assert_eq!(write(&log), "{\"list\":[1.5,\"HTTP/1.1\"],\"object\":{\"code\":503},\"yes\":true}\n");
        let line = AccessLogFormat::Text("[%REQ(X-NONE)%]".to_owned());
        assert_eq!(write(&FileLog { omit_empty: true, ..FileLog::new("x", line) }), "[]");
    }

    #[test]
    fn a_strangers_header_neither_ends_a_line_nor_colours_it() {
        struct Evil;
        impl HeaderSource for Evil {
            fn header(&self, _: &str) -> Option<&[u8]> {
                Some(b"a\r\nGET / 200\x1b[31m\xe2\x80\xae")
            }
        }
        let record =
            Record { request: Some(&Evil), trace_id: Some(0xab), span_id: Some(1), ..Record::default() };
        let write = |format: AccessLogFormat| {
            let mut out = Vec::new();
            Format::compile(&FileLog::new("x", format)).expect("a known format").write(&record, &mut out);
            String::from_utf8(out).expect("text")
        };
        assert_eq!(
            write(AccessLogFormat::Text("%REQ(X)% %TRACE_ID% %SPAN_ID%\n".to_owned())),
            "a\\x0d\\x0aGET / 200\\x1b[31m\\u202e 000000000000000000000000000000ab 0000000000000001\n"
        );
        let json = write(AccessLogFormat::Json(vec![("x".to_owned(), "%REQ(X)%".to_owned())]));
        assert_eq!(json, "{\"x\":\"a\\r\\nGET / 200\\u001b[31m\\u202e\"}\n");
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
            let error = Format::compile(&FileLog::new("x", AccessLogFormat::Text(format.to_owned())))
                .expect_err(format);
            assert!(matches!(error, FormatError::UnknownOperator(_)), "{format}: {error}");
        }
        let error = Format::compile(&FileLog::new("x", AccessLogFormat::Text("50%".to_owned())))
            .expect_err("no partner");
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
            assert!(Format::compile(&FileLog::new("x", format)).is_ok(), "{operator}");
        }
    }
}
