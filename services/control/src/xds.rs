//! The discovery service over gRPC: aggregated and one type at a time, state of the world and delta.
//!
//! A stream is two halves: a task that passes what comes to the publisher, and a body that sends what the publisher
//! says. Messages are bytes all the way; what they mean is `selvedge-xds`'s business.

pub(crate) mod codec;
mod method;
mod stream;

use std::convert::Infallible;
use std::marker::PhantomData;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{HeaderValue, Request, Response};
use http_body_util::BodyExt;
use hyper::body::Frame;
use tokio::sync::watch;
use tonic::body::Body;
use tonic::codegen::{BoxFuture, Service};
use tonic::server::{Grpc, NamedService};
use tonic::service::Routes;

use crate::publish::run::Handle;
use crate::rate_limit::RateLimitService;
use codec::Raw;
use method::{Aggregated, Clusters, Endpoints, Listeners, Method, Named, RouteTables};
use stream::Discovery;

/// Longest request, in bytes. Envoy sends its whole node with each one, and every name that it subscribes to.
pub const REQUEST_BYTES_MAX: usize = 4 << 20;

/// The discovery services, and the rate-limit service, to be served beside the API. Streams end with status 0 when `drain` turns true.
pub fn routes(publisher: &Handle, drain: &watch::Receiver<bool>) -> Routes {
    let limits = RateLimitService { limiter: publisher.rate_limiter() };
    Routes::default()
        .add_service(limits)
        .add_service(DiscoveryService::<Aggregated>::new(publisher, drain))
        .add_service(DiscoveryService::<Clusters>::new(publisher, drain))
        .add_service(DiscoveryService::<Endpoints>::new(publisher, drain))
        .add_service(DiscoveryService::<Listeners>::new(publisher, drain))
        .add_service(DiscoveryService::<RouteTables>::new(publisher, drain))
}

/// One of the five services.
struct DiscoveryService<N> {
    publisher: Handle,
    drain: watch::Receiver<bool>,
    named: PhantomData<fn() -> N>,
}

impl<N> DiscoveryService<N> {
    fn new(publisher: &Handle, drain: &watch::Receiver<bool>) -> Self {
        Self { publisher: publisher.clone(), drain: drain.clone(), named: PhantomData }
    }
}

impl<N> Clone for DiscoveryService<N> {
    fn clone(&self) -> Self {
        Self::new(&self.publisher, &self.drain)
    }
}

impl<N: Named> NamedService for DiscoveryService<N> {
    const NAME: &'static str = N::NAME;
}

impl<N: Named> Service<Request<Body>> for DiscoveryService<N> {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<Self::Response, Self::Error>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let (publisher, drain) = (self.publisher.clone(), self.drain.clone());
        Box::pin(async move {
            let Some(Method { form, scope }) = method::parse(request.uri().path()) else {
                return Ok(tonic::Status::unimplemented("there is no such method").into_http());
            };
            let mut grpc = Grpc::new(Raw).max_decoding_message_size(REQUEST_BYTES_MAX);
            let response = grpc.streaming(Discovery { publisher, drain, form, scope }, request).await;
            Ok(response.map(|body| Body::new(body.map_frame(readable))))
        })
    }
}

/// Leaves the spaces in a stream's last words as they are, which gRPC allows: Envoy writes them into its log undecoded,
/// where people read them.
fn readable(mut frame: Frame<Bytes>) -> Frame<Bytes> {
    let Some(trailers) = frame.trailers_mut() else { return frame };
    let Some(message) = trailers.get_mut("grpc-message") else { return frame };
    let plain = message.to_str().ok().and_then(|text| HeaderValue::from_str(&text.replace("%20", " ")).ok());
    if let Some(plain) = plain {
        *message = plain;
    }
    frame
}
