//! Trace contexts in headers: W3C, B3, X-Ray and Datadog, read and written.

use std::fmt::Write;

use serde::Serialize;

/// A way to carry a trace from hop to hop.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub enum Propagation {
    /// `traceparent` (W3C Trace Context); `tracestate` passes as it is.
    TraceContext,
    /// `x-b3-…`, or `b3` in one line where it came so.
    B3,
    /// `x-amzn-trace-id`.
    XRay,
    /// `x-datadog-…`.
    Datadog,
}

/// How B3 is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum B3Form {
    #[default]
    Multi,
    Single,
}

/// What the hop before says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parent {
    pub trace_id: u128,
    /// 0 where only the trace is known (X-Ray without a parent).
    pub span_id: u64,
    /// The parent's own parent; 0 if none is known.
    pub parent_id: u64,
    /// `None` leaves the decision to this hop.
    pub sampled: Option<bool>,
    pub form: B3Form,
}

/// What the next hop is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceContext {
    pub trace_id: u128,
    pub span_id: u64,
    /// 0 if there is none.
    pub parent_id: u64,
    pub sampled: bool,
    pub form: B3Form,
}

const B3_TRACE: &str = "x-b3-traceid";
const B3_SPAN: &str = "x-b3-spanid";
const B3_PARENT: &str = "x-b3-parentspanid";
const B3_SAMPLED: &str = "x-b3-sampled";
const B3_FLAGS: &str = "x-b3-flags";
const XRAY: &str = "x-amzn-trace-id";
const DATADOG_TRACE: &str = "x-datadog-trace-id";
const DATADOG_PARENT: &str = "x-datadog-parent-id";
const DATADOG_PRIORITY: &str = "x-datadog-sampling-priority";
const DATADOG_TAGS: &str = "x-datadog-tags";

impl Propagation {
    /// Reads what `header` (names in lower case) gives. What is malformed counts as absent: a new trace begins.
    pub fn extract<'a>(self, header: impl Fn(&str) -> Option<&'a str>) -> Option<Parent> {
        match self {
            Self::TraceContext => traceparent(header("traceparent")?),
            Self::B3 => b3(header),
            Self::XRay => xray(header(XRAY)?),
            Self::Datadog => datadog(header),
        }
    }

    /// Writes the headers for the next hop by `set`; a value of `None` takes a header away.
    pub fn inject(self, context: &TraceContext, mut set: impl FnMut(&'static str, Option<&str>)) {
        let mut text = Text::default();
        match self {
            Self::TraceContext => {
                let flags = u8::from(context.sampled);
                set(
                    "traceparent",
                    Some(text.format(format_args!(
                        "00-{:032x}-{:016x}-{flags:02x}",
                        context.trace_id, context.span_id
                    ))),
                );
            }
            Self::B3 => inject_b3(context, &mut text, set),
            Self::XRay => {
                let (epoch, rest) = ((context.trace_id >> 96) as u32, context.trace_id & (u128::MAX >> 32));
                let sampled = u8::from(context.sampled);
                let value = format_args!(
                    "Root=1-{epoch:08x}-{rest:024x};Parent={:016x};Sampled={sampled}",
                    context.span_id
                );
                set(XRAY, Some(text.format(value)));
            }
            Self::Datadog => {
                let high = (context.trace_id >> 64) as u64;
                set(DATADOG_TRACE, Some(text.format(format_args!("{}", context.trace_id as u64))));
                set(DATADOG_PARENT, Some(text.format(format_args!("{}", context.span_id))));
                let priority = if context.sampled { "1" } else { "0" };
                set(DATADOG_PRIORITY, Some(priority));
                if high != 0 {
                    set(DATADOG_TAGS, Some(text.format(format_args!("_dd.p.tid={high:016x}"))));
                }
            }
        }
    }
}

/// `00-<32 hex>-<16 hex>-<2 hex>`; later versions may have more behind (W3C Trace Context §3.2).
fn traceparent(value: &str) -> Option<Parent> {
    let value = value.trim();
    let bytes = value.as_bytes();
    if bytes.len() < 55 || bytes[2] != b'-' || bytes[35] != b'-' || bytes[52] != b'-' {
        return None;
    }
    let version = hex(value.get(..2)?)?;
    if version == 0xff || version == 0 && bytes.len() != 55 || bytes.len() > 55 && bytes[55] != b'-' {
        return None;
    }
    let trace_id = hex(value.get(3..35)?)?;
    let span_id = hex(value.get(36..52)?)? as u64;
    let flags = hex(value.get(53..55)?)?;
    if trace_id == 0 || span_id == 0 {
        return None;
    }
    Some(Parent { trace_id, span_id, parent_id: 0, sampled: Some(flags & 1 == 1), form: B3Form::Multi })
}

/// One line or several; the single line wins, as in Envoy.
fn b3<'a>(header: impl Fn(&str) -> Option<&'a str>) -> Option<Parent> {
    if let Some(single) = header("b3") {
        return b3_single(single.trim());
    }
    let sampled = match (header(B3_SAMPLED).map(str::trim), header(B3_FLAGS).map(str::trim)) {
        (_, Some("1")) | (Some("1" | "true"), _) => Some(true),
        (Some("0" | "false"), _) => Some(false),
        _ => None,
    };
    let trace_id = b3_trace_id(header(B3_TRACE)?.trim())?;
    let span_id = id(header(B3_SPAN)?.trim())?;
    let parent_id = header(B3_PARENT).and_then(|value| id(value.trim())).unwrap_or(0);
    Some(Parent { trace_id, span_id, parent_id, sampled, form: B3Form::Multi })
}

/// `<trace>-<span>[-<sampled>[-<parent>]]`; a lone `0`, `1` or `d` has no trace to join.
fn b3_single(value: &str) -> Option<Parent> {
    let mut parts = value.split('-');
    let trace_id = b3_trace_id(parts.next()?)?;
    let span_id = id(parts.next()?)?;
    let sampled = match parts.next() {
        None => None,
        Some("1" | "d") => Some(true),
        Some("0") => Some(false),
        Some(_) => return None,
    };
    let parent_id = match parts.next() {
        None => 0,
        Some(parent) => id(parent)?,
    };
    parts.next().is_none().then_some(Parent { trace_id, span_id, parent_id, sampled, form: B3Form::Single })
}

fn b3_trace_id(text: &str) -> Option<u128> {
    matches!(text.len(), 16 | 32).then(|| hex(text)).flatten().filter(|id| *id != 0)
}

/// 16 hexadecimal digits that are not all 0.
fn id(text: &str) -> Option<u64> {
    (text.len() == 16).then(|| hex(text)).flatten().map(|id| id as u64).filter(|id| *id != 0)
}

/// `Root=1-<8 hex>-<24 hex>;Parent=<16 hex>;Sampled=<0|1>`, in any order.
fn xray(value: &str) -> Option<Parent> {
    let mut parent = Parent { trace_id: 0, span_id: 0, parent_id: 0, sampled: None, form: B3Form::Multi };
    for part in value.split(';') {
        let Some((key, value)) = part.trim().split_once('=') else { continue };
        match key.trim() {
            "Root" => {
                let (epoch, rest) = value.trim().strip_prefix("1-")?.split_once('-')?;
                if epoch.len() != 8 || rest.len() != 24 {
                    return None;
                }
                parent.trace_id = hex(epoch)? << 96 | hex(rest)?;
            }
            "Parent" => parent.span_id = id(value.trim())?,
            "Sampled" => {
                parent.sampled = match value.trim() {
                    "1" => Some(true),
                    "0" => Some(false),
                    _ => None,
                };
            }
            _ => {}
        }
    }
    (parent.trace_id != 0).then_some(parent)
}

fn datadog<'a>(header: impl Fn(&str) -> Option<&'a str>) -> Option<Parent> {
    let low: u64 = header(DATADOG_TRACE)?.trim().parse().ok().filter(|id| *id != 0)?;
    let span_id = header(DATADOG_PARENT)?.trim().parse().ok().filter(|id| *id != 0)?;
    let high = header(DATADOG_TAGS)
        .and_then(|tags| tags.split(',').find_map(|tag| tag.trim().strip_prefix("_dd.p.tid=")))
        .and_then(id)
        .unwrap_or(0);
    let sampled = header(DATADOG_PRIORITY)
        .and_then(|priority| priority.trim().parse::<i32>().ok())
        .map(|priority| priority > 0);
    let trace_id = u128::from(high) << 64 | u128::from(low);
    Some(Parent { trace_id, span_id, parent_id: 0, sampled, form: B3Form::Multi })
}

fn inject_b3(context: &TraceContext, text: &mut Text, mut set: impl FnMut(&'static str, Option<&str>)) {
    let sampled = if context.sampled { "1" } else { "0" };
    if context.form == B3Form::Single {
        let mut value = b3_trace_text(context.trace_id);
        // Writing to a String cannot fail.
        let _ = write!(value, "-{:016x}-{sampled}", context.span_id);
        if context.parent_id != 0 {
            let _ = write!(value, "-{:016x}", context.parent_id);
        }
        return set("b3", Some(&value));
    }
    let trace = if context.trace_id >> 64 == 0 {
        text.format(format_args!("{:016x}", context.trace_id))
    } else {
        text.format(format_args!("{:032x}", context.trace_id))
    };
    set(B3_TRACE, Some(trace));
    set(B3_SPAN, Some(text.format(format_args!("{:016x}", context.span_id))));
    match context.parent_id {
        0 => set(B3_PARENT, None),
        parent => set(B3_PARENT, Some(text.format(format_args!("{parent:016x}")))),
    }
    set(B3_SAMPLED, Some(sampled));
}

/// 16 digits where they suffice.
fn b3_trace_text(trace_id: u128) -> String {
    if trace_id >> 64 == 0 { format!("{trace_id:016x}") } else { format!("{trace_id:032x}") }
}

/// Hexadecimal digits alone: no sign, no prefix.
fn hex(text: &str) -> Option<u128> {
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    u128::from_str_radix(text, 16).ok()
}

/// A value on the stack: the longest has 85 bytes.
struct Text {
    bytes: [u8; 96],
    len: usize,
}

impl Default for Text {
    fn default() -> Self {
        Self { bytes: [0; 96], len: 0 }
    }
}

impl Text {
    fn format(&mut self, arguments: std::fmt::Arguments<'_>) -> &str {
        self.len = 0;
        // Every value fits; one that did not would be cut.
        let _ = self.write_fmt(arguments);
        std::str::from_utf8(&self.bytes[..self.len]).unwrap_or_default()
    }
}

impl Write for Text {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        let end = self.len + text.len();
        self.bytes.get_mut(self.len..end).ok_or(std::fmt::Error)?.copy_from_slice(text.as_bytes());
        self.len = end;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn extract(propagation: Propagation, headers: &[(&str, &'static str)]) -> Option<Parent> {
        propagation.extract(|name| headers.iter().find(|(known, _)| *known == name).map(|(_, value)| *value))
    }

    fn inject(propagation: Propagation, context: TraceContext) -> Vec<(String, Option<String>)> {
        let mut headers = Vec::new();
        propagation.inject(&context, |name, value| headers.push((name.to_owned(), value.map(str::to_owned))));
        headers
    }

    const TRACE: u128 = 0x0af7_6519_16cd_43dd_8448_eb21_1c80_319c;
    const SPAN: u64 = 0xb7ad_6b71_6920_3331;

    #[test]
    fn w3c_is_read_and_written_as_the_recommendation_says() {
        let good = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        let parent = extract(Propagation::TraceContext, &[("traceparent", good)]).expect("valid");
        assert_eq!((parent.trace_id, parent.span_id, parent.sampled), (TRACE, SPAN, Some(true)));
        for bad in [
            "",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-x",
            "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319g-b7ad6b7169203331-01",
            "00-+af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-ä0af7651916cd43dd8448eb211c8031-b7ad6b7169203331-01",
        ] {
            assert_eq!(traceparent(bad), None, "{bad}");
        }
        let later = "01-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00-more";
        assert_eq!(traceparent(later).expect("a later version").sampled, Some(false));
        let context = TraceContext {
            trace_id: TRACE,
            span_id: 7,
            parent_id: SPAN,
            sampled: false,
            form: B3Form::Multi,
        };
        let expected = "00-0af7651916cd43dd8448eb211c80319c-0000000000000007-00";
        assert_eq!(
            inject(Propagation::TraceContext, context),
            [("traceparent".to_owned(), Some(expected.to_owned()))]
        );
    }

    #[test]
    fn b3_is_answered_in_the_form_in_which_it_came() {
        let single = "80f198ee56343ba864fe8b2a57d3eff7-e457b5a2e4d86bd1-0-05e3ac9a4f6e3b90";
        let parent = extract(Propagation::B3, &[("b3", single), ("x-b3-sampled", "1")]).expect("valid");
        assert_eq!((parent.sampled, parent.form), (Some(false), B3Form::Single));
        assert_eq!(parent.parent_id, 0x05e3_ac9a_4f6e_3b90);
        let again = TraceContext {
            trace_id: parent.trace_id,
            span_id: parent.span_id,
            parent_id: parent.parent_id,
            sampled: false,
            form: parent.form,
        };
        assert_eq!(inject(Propagation::B3, again), [("b3".to_owned(), Some(single.to_owned()))]);
        for bad in ["0", "d", "abc-def", "463ac35c9f6413ad", "463ac35c9f6413ad-a2fb4a1d1a96d312-x"] {
            assert_eq!(extract(Propagation::B3, &[("b3", bad)]), None, "{bad}");
        }

        let multi = [("x-b3-traceid", "463ac35c9f6413ad"), ("x-b3-spanid", "a2fb4a1d1a96d312")];
        let parent = extract(Propagation::B3, &multi).expect("valid");
        assert_eq!((parent.trace_id, parent.sampled), (0x463a_c35c_9f64_13ad, None));
        let context = TraceContext {
            trace_id: parent.trace_id,
            span_id: parent.span_id,
            parent_id: 0,
            sampled: true,
            form: B3Form::Multi,
        };
        let headers = inject(Propagation::B3, context);
        assert_eq!(headers[0].1.as_deref(), Some("463ac35c9f6413ad"), "64 bits stay 64");
        assert_eq!(headers[2], ("x-b3-parentspanid".to_owned(), None));
    }

    #[test]
    fn x_ray_goes_there_and_back() {
        let value = "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1";
        let parent = extract(Propagation::XRay, &[("x-amzn-trace-id", value)]).expect("valid");
        let context = TraceContext {
            trace_id: parent.trace_id,
            span_id: parent.span_id,
            parent_id: 0,
            sampled: true,
            form: B3Form::Multi,
        };
        assert_eq!(inject(Propagation::XRay, context)[0].1.as_deref(), Some(value));
        let rootless = "Parent=53995c3f42cd8ad8;Sampled=1";
        assert_eq!(extract(Propagation::XRay, &[("x-amzn-trace-id", rootless)]), None);
        let asks = "Sampled=?;Root=1-5759e988-bd862e3fe1be46a994272793";
        let parent = extract(Propagation::XRay, &[("x-amzn-trace-id", asks)]).expect("valid");
        assert_eq!((parent.span_id, parent.sampled), (0, None));
    }

    #[test]
    fn datadog_splits_a_long_trace_id() {
        let headers = [
            ("x-datadog-trace-id", "1234"),
            ("x-datadog-parent-id", "5678"),
            ("x-datadog-sampling-priority", "-1"),
            ("x-datadog-tags", "_dd.p.dm=-0,_dd.p.tid=0af7651916cd43dd"),
        ];
        let parent = extract(Propagation::Datadog, &headers).expect("valid");
        assert_eq!(parent.trace_id, 0x0af7_6519_16cd_43dd << 64 | 1234);
        assert_eq!((parent.span_id, parent.sampled), (5678, Some(false)));
    }
}
