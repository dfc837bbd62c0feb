//! The messages of a gRPC call as bytes, taken from the frames that they come in.
//!
//! ```text
//! 00 | 00 00 00 05 | h e l l o        not compressed, five bytes
//! ```
//! tonic's own decoder keeps the memory of the largest message for as long as the stream lives, and a discovery stream
//! lives as long as its proxy: with thousands of clusters that is megabytes of nothing. Here a message takes its memory
//! along. (PROTOCOL-HTTP2.md of gRPC, "Requests" and "Responses".)

use std::future::poll_fn;
use std::pin::Pin;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use http::{HeaderMap, StatusCode};
use http_body_util::StreamBody;
use hyper::body::{Body, Frame};
use tokio::sync::mpsc;
use tokio_stream::StreamExt as _;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status};

/// A flag and a length.
const HEAD_BYTES: usize = 5;

/// A response as it comes in.
#[derive(Debug)]
pub(super) struct Frames<B> {
    body: B,
    /// What has come of the next message.
    buffer: BytesMut,
    message_bytes_max: usize,
}

/// Messages as the body of a request, each in a frame of its own.
pub(super) fn requests(messages: mpsc::Receiver<Bytes>) -> tonic::body::Body {
    let frames = ReceiverStream::new(messages).map(|message| Ok::<_, Status>(Frame::data(framed(&message))));
    tonic::body::Body::new(StreamBody::new(frames))
}

fn framed(message: &[u8]) -> Bytes {
    let mut frame = BytesMut::with_capacity(HEAD_BYTES + message.len());
    frame.put_u8(0);
    // A request of ours is far below 4 GiB.
    frame.put_u32(u32::try_from(message.len()).unwrap_or(u32::MAX));
    frame.put_slice(message);
    frame.freeze()
}

impl<B> Frames<B>
where
    B: Body<Data = Bytes, Error = Status> + Unpin,
{
    /// # Errors
    /// The call was refused, as its head says.
    pub(super) fn new(response: http::Response<B>, message_bytes_max: usize) -> Result<Self, Status> {
        let (head, body) = response.into_parts();
        if let Some(status) = Status::from_header_map(&head.headers)
            && status.code() != Code::Ok
        {
            return Err(status);
        }
        match code_of(head.status) {
            Code::Ok => Ok(Self { body, buffer: BytesMut::new(), message_bytes_max }),
            code => Err(Status::new(code, format!("the service answered with HTTP status {}", head.status))),
        }
    }

    /// The next message; `None` after the last. May be dropped and called again without loss.
    ///
    /// # Errors
    /// The service ended the call with a status, broke off, or sent what is no message.
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>, Status> {
        loop {
            if let Some(message) = self.take()? {
                return Ok(Some(message));
            }
            let Some(frame) = poll_fn(|context| Pin::new(&mut self.body).poll_frame(context)).await else {
                return Err(Status::unknown("the stream ended without a status"));
            };
            match frame?.into_data() {
                Ok(data) => self.buffer.extend_from_slice(&data),
                Err(frame) => return ended(frame.into_trailers().ok().as_ref()),
            }
        }
    }

    /// A message that is whole.
    fn take(&mut self) -> Result<Option<Bytes>, Status> {
        let Some(mut head) = self.buffer.get(..HEAD_BYTES) else { return Ok(None) };
        if head.get_u8() != 0 {
            return Err(Status::unimplemented("the message is compressed, which was not asked for"));
        }
        let length = usize::try_from(head.get_u32()).unwrap_or(usize::MAX);
        if length > self.message_bytes_max {
            let max = self.message_bytes_max;
            return Err(Status::out_of_range(format!(
                "a message of {length} bytes, where {max} are allowed"
            )));
        }
        let end = HEAD_BYTES + length;
        if self.buffer.len() < end {
            // Room for all of it at once, and for no more.
            self.buffer.reserve(end - self.buffer.len());
            return Ok(None);
        }
        let mut message = std::mem::take(&mut self.buffer);
        self.buffer.extend_from_slice(&message[end..]);
        message.truncate(end);
        message.advance(HEAD_BYTES);
        Ok(Some(message.freeze()))
    }
}

fn ended(trailers: Option<&HeaderMap>) -> Result<Option<Bytes>, Status> {
    match trailers.and_then(Status::from_header_map) {
        Some(status) if status.code() == Code::Ok => Ok(None),
        Some(status) => Err(status),
        None => Err(Status::unknown("the stream ended without a status")),
    }
}

/// What a status of HTTP means where the service's own is missing (http-grpc-status-mapping.md of gRPC).
fn code_of(status: StatusCode) -> Code {
    match status {
        StatusCode::OK => Code::Ok,
        StatusCode::BAD_REQUEST => Code::Internal,
        StatusCode::UNAUTHORIZED => Code::Unauthenticated,
        StatusCode::FORBIDDEN => Code::PermissionDenied,
        StatusCode::NOT_FOUND => Code::Unimplemented,
        StatusCode::TOO_MANY_REQUESTS
        | StatusCode::BAD_GATEWAY
        | StatusCode::SERVICE_UNAVAILABLE
        | StatusCode::GATEWAY_TIMEOUT => Code::Unavailable,
        _ => Code::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Part = Result<Frame<Bytes>, Status>;

    fn frames(parts: Vec<Part>) -> Frames<impl Body<Data = Bytes, Error = Status> + Unpin> {
        let response = http::Response::new(StreamBody::new(tokio_stream::iter(parts)));
        Frames::new(response, 1000).expect("a good head")
    }

    fn data(bytes: &[u8]) -> Part {
        Ok(Frame::data(Bytes::copy_from_slice(bytes)))
    }

    fn trailers(code: &'static str) -> Part {
        let value = http::HeaderValue::from_static(code);
        Ok(Frame::trailers(HeaderMap::from_iter([(http::HeaderName::from_static("grpc-status"), value)])))
    }

    #[tokio::test]
    async fn messages_are_whole_however_they_are_cut() {
        let sent: Vec<u8> = [framed(b"one"), framed(b""), framed(&[7; 900])].concat();
        for size in [1, 4, 7, 300, sent.len()] {
            let parts = sent.chunks(size).map(data).chain([trailers("0")]).collect();
            let mut frames = frames(parts);
            let mut got = Vec::new();
            while let Some(message) = frames.next().await.expect("good") {
                got.push(message);
            }
            assert_eq!(got, [&b"one"[..], b"", &[7; 900]], "in pieces of {size}");
        }
    }

    #[tokio::test]
    async fn a_message_takes_its_memory_along() {
        let mut frames = frames(vec![data(&framed(&[1; 900]))]);
        assert_eq!(frames.next().await.expect("good").map(|message| message.len()), Some(900));
        assert_eq!(frames.buffer.capacity(), 0);
    }

    #[tokio::test]
    async fn how_it_ended_is_told() {
        let code = async |parts| match frames(parts).next().await {
            Ok(message) => panic!("{message:?}"),
            Err(status) => status.code(),
        };
        assert_eq!(code(vec![trailers("7")]).await, Code::PermissionDenied);
        assert_eq!(code(vec![data(b"\0\0\0\0\x09cut o")]).await, Code::Unknown);
        assert_eq!(code(vec![data(b"\x01\0\0\0\x01x")]).await, Code::Unimplemented);
        assert_eq!(code(vec![data(b"\0\0\0\x03\xe9")]).await, Code::OutOfRange, "1,001 bytes");
        let response = http::Response::builder().status(503).body(StreamBody::new(tokio_stream::iter([])));
        let refused = Frames::new(
            response
                .expect("a response")
                .map(|body: StreamBody<tokio_stream::Iter<std::array::IntoIter<Part, 0>>>| body),
            1,
        );
        assert_eq!(refused.err().map(|status| status.code()), Some(Code::Unavailable));
    }
}
