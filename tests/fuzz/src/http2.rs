//! What HTTP/2 lets through, in the shape in which it goes on.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use selvedge_http::head::RequestHead;
use selvedge_wire::h2::{request_head, request_message};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// A client that says its bytes and closes, and hears nothing.
struct Said<'a>(&'a [u8]);

impl AsyncRead for Said<'_> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let (now, later) = self.0.split_at(self.0.len().min(buf.remaining()));
        buf.put_slice(now);
        self.0 = later;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Said<'_> {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(buf.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// Frames after the preface: every request that comes through has a head that can be sent on, without a line end.
pub(super) fn server(bytes: &[u8]) {
    let bytes = [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", bytes].concat();
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    runtime.block_on(async {
        let builder = h2::server::Builder::new();
        let Ok(mut connection) = builder.handshake::<_, Bytes>(Said(&bytes)).await else { return };
        while let Some(Ok((request, _respond))) = poll_fn(|cx| connection.poll_accept(cx)).await {
            let mut head = RequestHead::default();
            request_head(&request, &mut head);
            let texts = [head.method(), head.path(), head.authority().unwrap_or_default(), head.scheme()];
            assert!(!texts.iter().any(|text| text.contains(['\r', '\n', '\0'])), "{texts:?}");
            for (name, value) in head.fields.iter() {
                assert!(!name.bytes().any(|byte| byte <= b' ' || byte == b':'), "{name:?}");
                assert!(!value.iter().any(|byte| matches!(byte, b'\r' | b'\n' | 0)), "{value:?}");
            }
            if let Some(message) = request_message(&head) {
                let mut again = RequestHead::default();
                request_head(&message, &mut again);
                assert_eq!((again.method(), again.fields.len()), (head.method(), head.fields.len()));
            }
        }
    });
}
