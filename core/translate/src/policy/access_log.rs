//! Where the proxies write of requests and connections.

use selvedge_model::policy::{self, LogService};
use selvedge_model::{Key, Policy};
use selvedge_traffic::{AccessLog, AccessLogFormat, GrpcLog, GrpcRecords, LogSink};

use super::service::{self, Speaks};
use super::{find, levels_in_mesh, note_proxy};
use crate::context::Context;

/// The logs of a node or gateway: a policy's, else the specification's.
pub(crate) fn access_logs(context: &mut Context<'_>, own: &Key, said: Vec<AccessLog>) -> Vec<AccessLog> {
    if context.snapshot.policies.is_empty() {
        return said;
    }
    let levels = levels_in_mesh(context, own);
    let Some((policy, spec)) = find::<policy::AccessLog>(context.snapshot, &levels) else { return said };
    note_proxy(context, policy);
    let format = || match &spec.text {
        Some(text) => AccessLogFormat::Text(format!("{text}\n")),
        None if spec.json.is_empty() => AccessLogFormat::Default,
        None => AccessLogFormat::Json(
            spec.json.iter().map(|member| (member.key.clone(), member.value.clone())).collect(),
        ),
    };
    let file = spec.path.as_ref().map(|path| AccessLog::new(&**path, format()));
    let streamed = spec.service.as_ref().map(|service| streamed(context, policy, service));
    file.into_iter().chain(streamed).collect()
}

/// Of requests; [`of_connections`] makes it one of connections.
fn streamed(context: &mut Context<'_>, policy: &Policy, spec: &LogService) -> AccessLog {
    let own = || format!("{}/{}", context.mesh(), context.proxy.name);
    let name = spec.name.clone().unwrap_or_else(own);
    let cluster = service::cluster(context, policy, "spec.service.service", &spec.service, Speaks::Grpc);
    let lower = |names: &[String]| names.iter().map(|name| name.to_ascii_lowercase()).collect();
    let log = GrpcLog {
        name,
        cluster,
        authority: String::new(),
        metadata: Vec::new(),
        tags: Vec::new(),
        flush_interval: spec.flush_interval.map_or(GrpcLog::FLUSH_INTERVAL_DEFAULT, |span| span.0),
        buffer_bytes: GrpcLog::BUFFER_BYTES_DEFAULT,
        records: GrpcRecords::Http {
            request_headers: lower(&spec.request_headers),
            response_headers: lower(&spec.response_headers),
            response_trailers: Vec::new(),
        },
    };
    AccessLog { sink: LogSink::Grpc(log), filter: None }
}

/// The same logs where there are no requests: a service is told of connections.
pub(crate) fn of_connections(logs: &[AccessLog]) -> Vec<AccessLog> {
    let one = |log: &AccessLog| match &log.sink {
        LogSink::File(_) => log.clone(),
        LogSink::Grpc(grpc) => {
            let sink = LogSink::Grpc(GrpcLog { records: GrpcRecords::Tcp, ..grpc.clone() });
            AccessLog { sink, ..log.clone() }
        }
    };
    logs.iter().map(one).collect()
}
