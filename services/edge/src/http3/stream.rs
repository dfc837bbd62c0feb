//! One request of HTTP/3, carried on as one of HTTP/2, and its answer back.

use ::h2::client::SendRequest;
use ::h2::{Reason, RecvStream, SendStream};
use bytes::{Buf, Bytes};
use h3::error::Code;
use h3::server::{RequestResolver, RequestStream};
use http::{Method, Request, Response, Version};

type Quic = h3_quinn::Connection;
type Sending = RequestStream<h3_quinn::SendStream<Bytes>, Bytes>;
type Receiving = RequestStream<h3_quinn::RecvStream, Bytes>;

/// Why a stream came to nothing.
#[derive(Debug)]
enum Broken {
    /// The client's side.
    Client,
    /// Ours, before the request was looked at: it may be sent again.
    Unserved,
    /// Ours: the stream was reset, by its own limits or with its connection.
    Server(Option<::h2::Error>),
}

impl From<::h2::Error> for Broken {
    fn from(error: ::h2::Error) -> Self {
        Self::Server(Some(error))
    }
}

/// Carries one request, and its answer; what breaks ends this stream alone.
pub(super) async fn carry(resolver: RequestResolver<Quic, Bytes>, sender: SendRequest<Bytes>) {
    // What cannot be read, the library has refused by itself.
    let Ok((request, stream)) = resolver.resolve_request().await else { return };
    let (mut to_client, mut from_client) = stream.split();
    if request.method() == Method::CONNECT {
        let refused = Response::builder().status(501).body(());
        if let Ok(refused) = refused {
            let _ = to_client.send_response(refused).await;
            let _ = to_client.finish().await;
        }
        return;
    }
    if let Err(broken) = exchange(request, &mut to_client, &mut from_client, sender).await {
        tracing::debug!(?broken, "a stream of HTTP/3 came to nothing");
        let code = match broken {
            Broken::Client => Code::H3_REQUEST_CANCELLED,
            Broken::Unserved => Code::H3_REQUEST_REJECTED,
            Broken::Server(Some(error)) if error.reason() == Some(Reason::ENHANCE_YOUR_CALM) => {
                Code::H3_EXCESSIVE_LOAD
            }
            Broken::Server(_) => Code::H3_INTERNAL_ERROR,
        };
        to_client.stop_stream(code);
        from_client.stop_sending(code);
    }
}

async fn exchange(
    request: Request<()>,
    to_client: &mut Sending,
    from_client: &mut Receiving,
    sender: SendRequest<Bytes>,
) -> Result<(), Broken> {
    let (mut head, ()) = request.into_parts();
    head.version = Version::HTTP_2;
    // Whether there is a body is known by its first bytes, and HTTP/2's head says so.
    let first = next(from_client).await?;
    let mut sender = sender.ready().await.map_err(|_| Broken::Unserved)?;
    let (response, mut body) =
        sender.send_request(Request::from_parts(head, ()), first.is_none()).map_err(|_| Broken::Unserved)?;
    let upload = async {
        if let Some(first) = first {
            send(&mut body, first).await?;
            while let Some(bytes) = next(from_client).await? {
                send(&mut body, bytes).await?;
            }
            body.send_data(Bytes::new(), true)?;
        }
        Ok::<(), Broken>(())
    };
    let answer = async {
        let (head, mut body) = response.await.map_err(answered_by_none)?.into_parts();
        to_client.send_response(Response::from_parts(head, ())).await.map_err(|_| Broken::Client)?;
        download(&mut body, to_client).await
    };
    let (mut upload, mut answer) = (std::pin::pin!(upload), std::pin::pin!(answer));
    tokio::select! {
        // An answer may come, and be whole, before a body is.
        answered = &mut answer => return answered,
        uploaded = &mut upload => uploaded?,
    }
    answer.await
}

/// A stream that the inner connection never began, because it ends, was served by nobody.
fn answered_by_none(error: ::h2::Error) -> Broken {
    let is_over = error.is_go_away() && error.reason() == Some(Reason::NO_ERROR);
    match is_over || error.reason() == Some(Reason::REFUSED_STREAM) {
        true => Broken::Unserved,
        false => Broken::Server(Some(error)),
    }
}

async fn next(from_client: &mut Receiving) -> Result<Option<Bytes>, Broken> {
    let bytes = from_client.recv_data().await.map_err(|_| Broken::Client)?;
    Ok(bytes.map(|mut bytes| bytes.copy_to_bytes(bytes.remaining())))
}

async fn send(body: &mut SendStream<Bytes>, mut bytes: Bytes) -> Result<(), Broken> {
    while !bytes.is_empty() {
        body.reserve_capacity(bytes.len());
        let granted = std::future::poll_fn(|cx| body.poll_capacity(cx)).await;
        let granted = granted.ok_or(Broken::Server(None))??;
        body.send_data(bytes.split_to(granted.min(bytes.len())), false)?;
    }
    Ok(())
}

async fn download(body: &mut RecvStream, to_client: &mut Sending) -> Result<(), Broken> {
    while let Some(bytes) = body.data().await {
        let bytes = bytes?;
        let len = bytes.len();
        to_client.send_data(bytes).await.map_err(|_| Broken::Client)?;
        body.flow_control().release_capacity(len)?;
    }
    if let Some(trailers) = body.trailers().await? {
        to_client.send_trailers(trailers).await.map_err(|_| Broken::Client)?;
    }
    to_client.finish().await.map_err(|_| Broken::Client)
}
