//! One stream, between its connection and the publisher.

use std::net::{IpAddr, Ipv4Addr};
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use selvedge_xds::server::{Form, Scope};
use tokio::sync::{mpsc, oneshot, watch};
use tokio_stream::Stream;
use tonic::codegen::BoxFuture;
use tonic::server::StreamingService;
use tonic::{Request, Response, Status, Streaming};

use crate::api::Channel;
use crate::publish::run::{Handle, ToStream};
use crate::publish::{End, StreamId};

/// Opens a stream.
pub(super) struct Discovery {
    pub(super) publisher: Handle,
    pub(super) drain: watch::Receiver<bool>,
    pub(super) form: Form,
    pub(super) scope: Scope,
}

impl StreamingService<Bytes> for Discovery {
    type Response = Bytes;
    type ResponseStream = Outgoing;
    type Future = BoxFuture<Response<Outgoing>, Status>;

    fn call(&mut self, request: Request<Streaming<Bytes>>) -> Self::Future {
        let (publisher, drain) = (self.publisher.clone(), self.drain.clone());
        let (form, scope) = (self.form, self.scope);
        Box::pin(async move {
            let peer = request
                .remote_addr()
                .map_or(IpAddr::V4(Ipv4Addr::LOCALHOST), |address| address.ip().to_canonical());
            let channel = request.extensions().get::<Channel>().copied().unwrap_or_default();
            let Some((id, messages)) = publisher.connect(peer, channel, form, scope).await else {
                return Err(Status::unavailable("the control plane is ending"));
            };
            let (open, closed) = oneshot::channel();
            let incoming = Incoming { publisher, id, messages: request.into_inner(), drain };
            // It ends with the stream: when the proxy closes it, when the body is dropped, or with the drain.
            tokio::spawn(incoming.run(closed));
            Ok(Response::new(Outgoing { messages, _open: open }))
        })
    }
}

/// What comes from the proxy.
struct Incoming {
    publisher: Handle,
    id: StreamId,
    messages: Streaming<Bytes>,
    drain: watch::Receiver<bool>,
}

impl Incoming {
    async fn run(mut self, mut closed: oneshot::Receiver<()>) {
        let orderly = loop {
            tokio::select! {
                message = self.messages.message() => match message {
                    Ok(Some(message)) => {
                        if !self.publisher.message(self.id, message).await {
                            break false;
                        }
                    }
                    Ok(None) => break true,
                    Err(_) => break false,
                },
                _ = &mut closed => break false,
                () = is_true(&mut self.drain) => {
                    self.publisher.drain().await;
                    break false;
                }
            }
        };
        self.publisher.disconnect(self.id, orderly).await;
    }
}

/// Waits until the flag is up, or whoever could raise it is gone.
async fn is_true(flag: &mut watch::Receiver<bool>) {
    // The error means that the sender was dropped, which ends the stream too.
    let _ = flag.wait_for(|is_up| *is_up).await;
}

/// What goes to the proxy.
pub(super) struct Outgoing {
    messages: mpsc::Receiver<ToStream>,
    /// Dropped with the body, which tells the other half.
    _open: oneshot::Sender<()>,
}

impl Stream for Outgoing {
    type Item = Result<Bytes, Status>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.messages.poll_recv(context).map(|message| match message? {
            ToStream::Message(message) => Some(Ok(message)),
            ToStream::End(End::InvalidArgument(text)) => Some(Err(Status::invalid_argument(text))),
            ToStream::End(End::ResourceExhausted(text)) => Some(Err(Status::resource_exhausted(text))),
        })
    }
}
