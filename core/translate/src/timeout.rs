//! Time-outs: App Mesh's own defaults, and what a specification says.

use std::time::Duration;

use selvedge_model::{GrpcTimeout, HttpTimeout, Listener, ListenerTimeout};

/// Of a request, unless a specification says otherwise.
pub(crate) const PER_REQUEST_DEFAULT: Duration = Duration::from_secs(15);
/// Of a stream without progress, unless a specification says otherwise.
pub(crate) const IDLE_DEFAULT: Duration = Duration::from_secs(300);
/// Of a connection to the application behind the sidecar.
pub(crate) const CONNECT_LOCAL: Duration = Duration::from_millis(250);
/// Of a connection to a node.
pub(crate) const CONNECT: Duration = Duration::from_secs(1);

/// The two bounds of requests; zero is none, absence is the default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Requests {
    pub(crate) per_request: Option<Duration>,
    pub(crate) idle: Option<Duration>,
}

impl Requests {
    pub(crate) fn of_http(timeout: Option<&HttpTimeout>) -> Self {
        timeout.map_or_else(Self::default, |timeout| Self::new(&timeout.per_request, &timeout.idle))
    }

    pub(crate) fn of_grpc(timeout: Option<&GrpcTimeout>) -> Self {
        timeout.map_or_else(Self::default, |timeout| Self::new(&timeout.per_request, &timeout.idle))
    }

    pub(crate) fn of_listener(listener: &Listener) -> Self {
        match &listener.timeout {
            Some(ListenerTimeout::Http(timeout) | ListenerTimeout::Http2(timeout)) => {
                Self::of_http(Some(timeout))
            }
            Some(ListenerTimeout::Grpc(timeout)) => Self::of_grpc(Some(timeout)),
            Some(ListenerTimeout::Tcp(_)) | None => Self::default(),
        }
    }

    fn new(per_request: &Option<selvedge_model::Duration>, idle: &Option<selvedge_model::Duration>) -> Self {
        Self { per_request: standard(per_request.as_ref()), idle: standard(idle.as_ref()) }
    }

    /// The bound in force; `None` is none.
    pub(crate) fn effective(self) -> Option<Duration> {
        Some(self.per_request.unwrap_or(PER_REQUEST_DEFAULT)).filter(|bound| !bound.is_zero())
    }
}

/// The idle bound of a TCP listener.
pub(crate) fn tcp_idle(listener: &Listener) -> Option<Duration> {
    match &listener.timeout {
        Some(ListenerTimeout::Tcp(timeout)) => standard(timeout.idle.as_ref()),
        _ => None,
    }
}

/// The longest duration that reaches a proxy: a protobuf duration's ten thousand years, cut to what milliseconds in 63
/// bits hold comfortably.
const DURATION_MAX: Duration = Duration::from_secs(315_576_000);

pub(crate) fn standard(duration: Option<&selvedge_model::Duration>) -> Option<Duration> {
    duration?.to_std().map(|duration| duration.min(DURATION_MAX))
}

/// A duration for a person.
pub(crate) fn spoken(bound: Option<Duration>) -> String {
    match bound {
        None => "no bound".to_owned(),
        Some(bound) if bound.subsec_millis() == 0 => format!("{} s", bound.as_secs()),
        Some(bound) => format!("{} ms", bound.as_millis()),
    }
}

#[cfg(test)]
mod tests {
    use selvedge_model::DurationUnit;

    use super::*;

    #[test]
    fn absence_is_the_default_and_zero_is_none() {
        let timeout = |value, unit| HttpTimeout {
            per_request: Some(selvedge_model::Duration { unit: Some(unit), value: Some(value) }),
            idle: None,
        };
        for (timeout, effective) in [
            (None, Some(PER_REQUEST_DEFAULT)),
            (Some(timeout(0, DurationUnit::Seconds)), None),
            (Some(timeout(90, DurationUnit::Seconds)), Some(Duration::from_secs(90))),
            (Some(timeout(250, DurationUnit::Milliseconds)), Some(Duration::from_millis(250))),
            (Some(timeout(u64::MAX, DurationUnit::Seconds)), Some(DURATION_MAX)),
        ] {
            assert_eq!(Requests::of_http(timeout.as_ref()).effective(), effective, "{timeout:?}");
        }
    }
}
