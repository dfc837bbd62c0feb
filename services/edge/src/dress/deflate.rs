//! Compressed bodies: gzip, deflate, brotli, zstd; or the file beside it that was compressed before.

use std::borrow::Cow;
use std::io::{self, Write};
use std::os::unix::fs::FileExt as _;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use selvedge_http::conditional;
use selvedge_http::known::HeaderId;
use selvedge_site::directive::{ContentEncoding, Deflate};
use selvedge_wire::channel::Channel;

use super::beside;
use crate::request::response::{FileBody, Piece, Source};
use crate::request::{Body, Exchange, Response};

/// A body up to this size is compressed whole, so that its length can be said; a longer one as it is sent.
pub(crate) const WHOLE_BYTES_MAX: u64 = 512 * 1024;
/// What is compressed between two looks at other connections.
const STEP_BYTES: usize = 32 * 1024;

/// What the client takes; several lines are one list (RFC 9110 §5.2).
fn accepted<'x>(x: &'x Exchange<'_>) -> Option<Cow<'x, str>> {
    let mut lines =
        x.head.fields.all_named("accept-encoding").filter_map(|line| std::str::from_utf8(line).ok());
    let first = Cow::Borrowed(lines.next()?);
    Some(lines.fold(first, |list, line| Cow::Owned(format!("{list}, {line}"))))
}

/// Compresses the body if it is of a configured type and the client takes it.
pub(super) fn apply(x: &Exchange<'_>, response: &mut Response) {
    let conf = &x.conf.deflate;
    if x.conf.edge.precompressed && may_change(x, response) && matches!(response.body, Body::File(_)) {
        let accepted = accepted(x).unwrap_or_default();
        let mut taken = conf.allowed_encodings.iter().filter(|encoding| takes(&accepted, **encoding));
        let found = taken.find_map(|encoding| Some((*encoding, beside::find(x, &response.body, *encoding)?)));
        if let Some((encoding, file)) = found {
            add_vary(response);
            if !label(x, response, encoding) {
                response.body = Body::File(file);
            }
            return;
        }
    }
    if conf.mimetypes.is_empty() || !is_fit(x, conf, response) {
        return;
    }
    add_vary(response);
    let Some(encoding) = accepted(x).and_then(|accepted| choose(&accepted, conf)) else {
        return;
    };
    if label(x, response, encoding) {
        return;
    }
    if x.head.method() == "HEAD" {
        // Nobody compresses what nobody sees; the length of the original would be a lie.
        response.body = Body::Stream(Box::new(Nothing), None);
        return;
    }
    let body = std::mem::take(&mut response.body);
    let tag = response.head.fields.named("etag").and_then(|tag| std::str::from_utf8(tag).ok());
    let place = beside::place(x, &body, tag);
    if let Some(file) = place.as_deref().and_then(beside::kept) {
        response.body = Body::File(file);
        return;
    }
    response.body = compress(body, encoding, conf);
    if let (Some(place), Body::Bytes(bytes)) = (place, &response.body) {
        beside::keep(&place, bytes);
    }
}

/// Says how the body is encoded, in its tag as well; whether the client has it already.
fn label(x: &Exchange<'_>, response: &mut Response, encoding: ContentEncoding) -> bool {
    let name = name(encoding);
    if let Some(tag) = response.head.fields.named("etag").and_then(|tag| std::str::from_utf8(tag).ok()) {
        let tag = match tag.strip_suffix('"') {
            Some(front) => format!("{front}-{name}\""),
            None => tag.to_owned(),
        };
        response.head.fields.set("etag", tag.as_bytes());
        let known = x.header("if-none-match").is_some_and(|list| conditional::tag_matches(list, &tag, true));
        if known && matches!(x.head.method(), "GET" | "HEAD") {
            response.head.status = 304;
            response.body = Body::None;
            return true;
        }
    }
    response.head.fields.append(b"content-encoding", name.as_bytes());
    false
}

/// Whether a body may be sent in another form at all.
fn may_change(x: &Exchange<'_>, response: &Response) -> bool {
    let fields = &response.head.fields;
    let kept = fields
        .named("cache-control")
        .is_some_and(|value| memchr::memmem::find(value, b"no-transform").is_some());
    // A part of what is compressed is not the compressed part.
    let whole = x.header("range").is_none() || x.head.method() != "GET";
    matches!(response.head.status, 200 | 201 | 203 | 403 | 404)
        && fields.named("content-encoding").is_none()
        && whole
        && !kept
}

fn is_fit(x: &Exchange<'_>, conf: &Deflate, response: &Response) -> bool {
    if !may_change(x, response) {
        return false;
    }
    let Some(kind) = response.head.fields.get_str(HeaderId::ContentType) else { return false };
    if !conf.mimetypes.iter().any(|wanted| kind.starts_with(wanted.strip_suffix('*').unwrap_or(wanted))) {
        return false;
    }
    let (least, most) = (u64::from(conf.min_compress_size), u64::from(conf.max_compress_size) * 1024);
    let size_fits =
        response.body.length().is_none_or(|length| length >= least && (most == 0 || length <= most));
    size_fits && !matches!(response.body, Body::None | Body::Tunnel(_))
}

fn add_vary(response: &mut Response) {
    let known = response.head.fields.named("vary").map(|value| String::from_utf8_lossy(value).into_owned());
    let value = match known {
        Some(known) if known.to_ascii_lowercase().contains("accept-encoding") => return,
        Some(known) => format!("{known},Accept-Encoding"),
        None => "Accept-Encoding".to_owned(),
    };
    response.head.fields.set("vary", value.as_bytes());
}

/// The first encoding of ours that the client takes at all, as lighttpd chooses.
fn choose(accepted: &str, conf: &Deflate) -> Option<ContentEncoding> {
    conf.allowed_encodings.iter().copied().find(|encoding| takes(accepted, *encoding))
}

fn takes(accepted: &str, encoding: ContentEncoding) -> bool {
    let wanted: &[&str] = match encoding {
        ContentEncoding::Gzip => &["gzip", "x-gzip"],
        ContentEncoding::Deflate => &["deflate"],
        ContentEncoding::Brotli => &["br"],
        ContentEncoding::Zstd => &["zstd"],
    };
    accepted.split(',').any(|item| {
        let mut parts = item.split(';');
        let token = parts.next().unwrap_or_default().trim();
        let refused = parts.any(|part| {
            let (name, value) = part.split_once('=').unwrap_or((part, ""));
            name.trim().eq_ignore_ascii_case("q") && value.trim().parse::<f32>().is_ok_and(|q| q <= 0.0)
        });
        !refused && wanted.iter().any(|wanted| token.eq_ignore_ascii_case(wanted))
    })
}

fn name(encoding: ContentEncoding) -> &'static str {
    match encoding {
        ContentEncoding::Gzip => "gzip",
        ContentEncoding::Deflate => "deflate",
        ContentEncoding::Brotli => "br",
        ContentEncoding::Zstd => "zstd",
    }
}

fn compress(body: Body, encoding: ContentEncoding, conf: &Deflate) -> Body {
    let Ok(mut encoder) = Encoder::new(encoding, conf) else { return body };
    match body.into_stream() {
        Body::Bytes(bytes) => match encoder.write(&bytes).and_then(|()| encoder.finish()) {
            Ok(()) => Body::Bytes(encoder.take()),
            Err(_) => Body::Bytes(bytes),
        },
        Body::File(file) if file.length() <= WHOLE_BYTES_MAX => match whole(&file, &mut encoder) {
            Ok(()) => Body::Bytes(encoder.take()),
            Err(_) => Body::File(file),
        },
        Body::File(file) => Body::Stream(
            Box::new(Compressed { from: From::File { file, at: 0 }, encoder, ended: false }),
            None,
        ),
        Body::Stream(source, _) => {
            Body::Stream(Box::new(Compressed { from: From::Source(source), encoder, ended: false }), None)
        }
        other => other,
    }
}

fn whole(file: &FileBody, encoder: &mut Encoder) -> io::Result<()> {
    for piece in &file.pieces {
        match piece {
            Piece::Bytes(bytes) => encoder.write(bytes)?,
            Piece::Range { offset, len } => {
                let mut bytes = vec![0; *len as usize];
                file.file.read_exact_at(&mut bytes, *offset)?;
                encoder.write(&bytes)?;
            }
        }
    }
    encoder.finish()
}

/// Any of the encoders, writing into memory.
enum Encoder {
    Gzip(flate2::write::GzEncoder<Vec<u8>>),
    Deflate(flate2::write::ZlibEncoder<Vec<u8>>),
    Brotli(Box<brotli::CompressorWriter<Vec<u8>>>),
    Zstd(zstd::stream::write::Encoder<'static, Vec<u8>>),
    Done(Vec<u8>),
}

impl Encoder {
    fn new(encoding: ContentEncoding, conf: &Deflate) -> io::Result<Self> {
        let level = conf.params.gzip_level.or(conf.compression_level);
        let level = level
            .map_or_else(flate2::Compression::default, |level| flate2::Compression::new(u32::from(level)));
        Ok(match encoding {
            ContentEncoding::Gzip => Self::Gzip(flate2::write::GzEncoder::new(Vec::new(), level)),
            ContentEncoding::Deflate => Self::Deflate(flate2::write::ZlibEncoder::new(Vec::new(), level)),
            ContentEncoding::Brotli => {
                let quality = u32::from(conf.params.brotli_quality);
                Self::Brotli(Box::new(brotli::CompressorWriter::new(Vec::new(), 4096, quality, 18)))
            }
            ContentEncoding::Zstd => {
                Self::Zstd(zstd::stream::write::Encoder::new(Vec::new(), i32::from(conf.params.zstd_level))?)
            }
        })
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Gzip(encoder) => encoder.write_all(bytes),
            Self::Deflate(encoder) => encoder.write_all(bytes),
            Self::Brotli(encoder) => encoder.write_all(bytes),
            Self::Zstd(encoder) => encoder.write_all(bytes),
            Self::Done(_) => Err(io::ErrorKind::WriteZero.into()),
        }
    }

    /// Lets out what has been written: whoever waits for a line gets it.
    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Gzip(encoder) => encoder.flush(),
            Self::Deflate(encoder) => encoder.flush(),
            Self::Brotli(encoder) => encoder.flush(),
            Self::Zstd(encoder) => encoder.flush(),
            Self::Done(_) => Ok(()),
        }
    }

    fn finish(&mut self) -> io::Result<()> {
        let bytes = match std::mem::replace(self, Self::Done(Vec::new())) {
            Self::Gzip(encoder) => encoder.finish()?,
            Self::Deflate(encoder) => encoder.finish()?,
            Self::Brotli(encoder) => encoder.into_inner(),
            Self::Zstd(encoder) => encoder.finish()?,
            Self::Done(bytes) => bytes,
        };
        *self = Self::Done(bytes);
        Ok(())
    }

    /// What has come out so far.
    fn take(&mut self) -> Bytes {
        let out = match self {
            Self::Gzip(encoder) => encoder.get_mut(),
            Self::Deflate(encoder) => encoder.get_mut(),
            Self::Brotli(encoder) => encoder.get_mut(),
            Self::Zstd(encoder) => encoder.get_mut(),
            Self::Done(bytes) => bytes,
        };
        Bytes::from(std::mem::take(out))
    }
}

enum From {
    Source(Box<dyn Source>),
    File { file: FileBody, at: u64 },
}

/// A body that is compressed as it is sent.
struct Compressed {
    from: From,
    encoder: Encoder,
    ended: bool,
}

impl Compressed {
    fn poll_input(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Option<Bytes>>> {
        match &mut self.from {
            From::Source(source) => source.poll_next(cx),
            From::File { file, at } => {
                let Some(piece) = file.pieces.front() else { return Poll::Ready(Ok(None)) };
                match piece {
                    Piece::Bytes(bytes) => {
                        let bytes = bytes.clone();
                        file.pieces.pop_front();
                        Poll::Ready(Ok(Some(bytes)))
                    }
                    Piece::Range { offset, len } => {
                        let want = STEP_BYTES.min((*len - *at) as usize);
                        let mut bytes = vec![0; want];
                        file.file.read_exact_at(&mut bytes, offset + *at)?;
                        *at += want as u64;
                        if *at == *len {
                            file.pieces.pop_front();
                            *at = 0;
                        }
                        Poll::Ready(Ok(Some(Bytes::from(bytes))))
                    }
                }
            }
        }
    }
}

impl Source for Compressed {
    fn feeds(&self) -> bool {
        matches!(&self.from, From::Source(source) if source.feeds())
    }

    fn poll_feed(&mut self, cx: &mut Context<'_>, channel: &mut Channel) -> Poll<io::Result<()>> {
        match &mut self.from {
            From::Source(source) => source.poll_feed(cx, channel),
            From::File { .. } => Poll::Ready(Ok(())),
        }
    }

    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Option<Bytes>>> {
        loop {
            if self.ended {
                return Poll::Ready(Ok(None));
            }
            match ready!(self.poll_input(cx))? {
                Some(bytes) => {
                    self.encoder.write(&bytes)?;
                    if matches!(self.from, From::Source(_)) {
                        self.encoder.flush()?;
                    }
                }
                None => {
                    self.encoder.finish()?;
                    self.ended = true;
                }
            }
            let out = self.encoder.take();
            if !out.is_empty() {
                return Poll::Ready(Ok(Some(out)));
            }
        }
    }
}

struct Nothing;

impl Source for Nothing {
    fn poll_next(&mut self, _cx: &mut Context<'_>) -> Poll<io::Result<Option<Bytes>>> {
        Poll::Ready(Ok(None))
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;

    #[test]
    fn the_client_takes_what_it_says() {
        let conf = |encodings: &[ContentEncoding]| Deflate {
            allowed_encodings: encodings.into(),
            ..Deflate::default()
        };
        use ContentEncoding::{Brotli, Deflate as Zlib, Gzip, Zstd};
        let all = conf(&[Zstd, Brotli, Gzip, Zlib]);
        for (accepted, expected) in [
            ("gzip", Some(Gzip)),
            ("x-gzip", Some(Gzip)),
            ("gzip, br", Some(Brotli)),
            ("deflate, gzip;q=0", Some(Zlib)),
            ("GZIP;q=0.1, zstd;q=0.0", Some(Gzip)),
            ("bzip2", None),
            ("", None),
        ] {
            assert_eq!(choose(accepted, &all), expected, "{accepted}");
        }
        assert_eq!(choose("gzip, br, zstd", &conf(&[Gzip])), Some(Gzip));
    }

    #[test]
    fn what_is_compressed_is_what_was_there() {
        let text = "the same words again and again ".repeat(5000);
        for encoding in
            [ContentEncoding::Gzip, ContentEncoding::Deflate, ContentEncoding::Brotli, ContentEncoding::Zstd]
        {
            let Body::Bytes(out) = compress(Body::Bytes(text.clone().into()), encoding, &Deflate::default())
            else {
                panic!()
            };
            let mut back = String::new();
            match encoding {
                ContentEncoding::Gzip => {
                    flate2::read::GzDecoder::new(&out[..]).read_to_string(&mut back).unwrap()
                }
                ContentEncoding::Deflate => {
                    flate2::read::ZlibDecoder::new(&out[..]).read_to_string(&mut back).unwrap()
                }
                ContentEncoding::Brotli => {
                    brotli::Decompressor::new(&out[..], 4096).read_to_string(&mut back).unwrap()
                }
                ContentEncoding::Zstd => {
                    zstd::stream::read::Decoder::new(&out[..]).unwrap().read_to_string(&mut back).unwrap()
                }
            };
            assert_eq!(back, text, "{encoding:?}");
            assert!(out.len() < text.len() / 20);
        }
    }
}
