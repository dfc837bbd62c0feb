//! The rate-limit service over gRPC, beside discovery: proxies ask whether there are too many requests of a kind.
//!
//! What is decided, and what is counted, is `selvedge-traffic`'s business; the limits come from the meshes' policies.

use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::{Request, Response};
use selvedge_traffic::rate_limit::service::{Limits, Service as Counters, Tally};
use selvedge_xds::rpc::rate_limit::{self, Answer, Limit, Status};
use tonic::body::Body;
use tonic::codegen::{BoxFuture, Service};
use tonic::server::{Grpc, NamedService, UnaryService};

use crate::xds::codec::Raw;

/// Longest question, in bytes.
pub const QUESTION_BYTES_MAX: usize = 64 << 10;

/// The counters, for whoever sets limits and whoever asks; cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct RateLimiter {
    // Held for a few look-ups; nobody waits for anything while holding it.
    counters: Arc<Mutex<Counters>>,
}

impl RateLimiter {
    /// Takes a mesh's limits in place of those that it had.
    pub fn set(&self, mesh: &str, limits: Limits) {
        self.lock().set(mesh, limits);
    }

    /// How questions were decided since the start.
    pub fn tally(&self) -> Tally {
        self.lock().tally()
    }

    /// Answers a question at a time that counts from 1970.
    ///
    /// # Errors
    /// When it is no question.
    fn answer(&self, now: Duration, question: &[u8]) -> Result<Vec<u8>, tonic::Status> {
        let question = rate_limit::decode_request(question)
            .ok_or_else(|| tonic::Status::invalid_argument("it is no RateLimitRequest"))?;
        let verdict = self
            .lock()
            .handle_question(now, &question.domain, &question.descriptors, question.hits)
            .map_err(|error| tonic::Status::invalid_argument(error.to_string()))?;
        let statuses = verdict.statuses.into_iter().map(|status| Status {
            over_limit: status.over_limit,
            limit: status.limit.map(|(name, requests, unit)| Limit { name, requests, unit }),
            remaining: status.remaining,
            reset: status.reset,
        });
        let answer =
            Answer { over_limit: verdict.over_limit, statuses: statuses.collect(), ..Answer::default() };
        Ok(rate_limit::encode_answer(&answer))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Counters> {
        // Counters are whole numbers: whoever panicked left none half written.
        self.counters.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The gRPC service.
#[derive(Clone)]
pub(crate) struct RateLimitService {
    pub(crate) limiter: RateLimiter,
}

impl NamedService for RateLimitService {
    const NAME: &'static str = rate_limit::SERVICE;
}

impl Service<Request<Body>> for RateLimitService {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<Self::Response, Self::Error>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let limiter = self.limiter.clone();
        Box::pin(async move {
            if request.uri().path() != rate_limit::PATH {
                return Ok(tonic::Status::unimplemented("there is no such method").into_http());
            }
            let mut grpc = Grpc::new(Raw).max_decoding_message_size(QUESTION_BYTES_MAX);
            Ok(grpc.unary(Question { limiter }, request).await)
        })
    }
}

struct Question {
    limiter: RateLimiter,
}

impl UnaryService<Bytes> for Question {
    type Response = Bytes;
    type Future = std::future::Ready<Result<tonic::Response<Bytes>, tonic::Status>>;

    fn call(&mut self, request: tonic::Request<Bytes>) -> Self::Future {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let answer = self.limiter.answer(now, request.get_ref());
        std::future::ready(answer.map(|answer| tonic::Response::new(answer.into())))
    }
}

#[cfg(test)]
mod tests {
    use selvedge_traffic::rate_limit::Descriptor;
    use selvedge_traffic::rate_limit::service::{self, Node, Unit};

    use super::*;

    fn ask(limiter: &RateLimiter, domain: &str) -> Result<Answer, tonic::Status> {
        let entries = vec![("user".to_owned(), "ann".to_owned())];
        let descriptors = vec![Descriptor { entries }];
        let question = rate_limit::Request { domain: domain.to_owned(), descriptors, hits: 1 };
        let answer = limiter.answer(Duration::from_secs(90), &rate_limit::encode_request(&question))?;
        Ok(rate_limit::decode_answer(&answer).expect("an answer"))
    }

    #[test]
    fn a_question_is_answered_by_the_mesh_s_limits() {
        let limiter = RateLimiter::default();
        let limit = service::Limit { rate: Some((1, Unit::Minute)), ..service::Limit::default() };
        let node =
            Node { key: "user".to_owned(), value: None, limit: Some(limit), shadow: false, below: vec![] };
        limiter.set("m", Limits::new([("m/d".to_owned(), vec![node])]));
        let first = ask(&limiter, "m/d").expect("an answer");
        assert!(!first.over_limit);
        assert_eq!(first.statuses[0].reset, Duration::from_secs(30));
        let second = ask(&limiter, "m/d").expect("an answer");
        assert!(second.over_limit && second.statuses[0].over_limit);
        assert_eq!(second.statuses[0].limit.as_ref().map(|limit| limit.requests), Some(1));
        assert!(!ask(&limiter, "other/d").expect("an answer").over_limit);
        assert_eq!(ask(&limiter, "").expect_err("no domain").code(), tonic::Code::InvalidArgument);
        assert_eq!(limiter.tally().over_limit, 1);
    }
}
