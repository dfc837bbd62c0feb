//! Fields that are taken without being read: what they ask for is so anyway, or could not be told from outside.

/// A field that may be set without any effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Accepted {
    pub message: &'static str,
    pub field: &'static str,
    pub why: &'static str,
}

const fn row(message: &'static str, field: &'static str, why: &'static str) -> Accepted {
    Accepted { message, field, why }
}

const NAME: &str = "an extension is known by the type of its configuration; the name is a label";
const RUNTIME: &str = "the runtime has no layer that could set the key, so that the default holds";
const VERSION: &str = "there is no version but the third";
const LABELS: &str = "labels for other readers: no filter that is spoken asks for them, and logs show `-`";
const MEMORY: &str = "how a library uses memory; what a message may grow to has a bound of its own";

/// All of them.
#[rustfmt::skip]
pub const ACCEPTED: &[Accepted] = &[
    row("envoy.config.accesslog.v3.AccessLog", "name", NAME),
    row("envoy.config.cluster.v3.Cluster.CommonLbConfig", "update_merge_window", "changes of endpoints are put in force at once: sooner than after any window"),
    row("envoy.config.cluster.v3.Cluster.LbSubsetConfig.LbSubsetSelector", "fallback_keys_subset", "of the policy KEYS_SUBSET, which is refused"),
    row("envoy.config.cluster.v3.Cluster.TypedExtensionProtocolOptionsEntry", "key", NAME),
    row("envoy.config.core.v3.ApiConfigSource", "refresh_delay", "of REST, which is refused"),
    row("envoy.config.core.v3.ApiConfigSource", "request_timeout", "of REST, which is refused"),
    row("envoy.config.core.v3.ApiConfigSource", "set_node_on_first_message_only", "the node is in the first message of each stream anyway"),
    row("envoy.config.core.v3.ApiConfigSource", "transport_api_version", VERSION),
    row("envoy.config.core.v3.ConfigSource", "initial_fetch_timeout", "how long a start waits is told by the bootstrap, for all resources"),
    row("envoy.config.core.v3.ConfigSource", "resource_api_version", VERSION),
    row("envoy.config.core.v3.GrpcService.GoogleGrpc", "stat_prefix", "streams are counted under the secret's own name"),
    row("envoy.config.core.v3.Http1ProtocolOptions", "use_balsa_parser", "chooses one of two parsers of Envoy's"),
    row("envoy.config.core.v3.Http2ProtocolOptions", "use_oghttp2_codec", "chooses one of two codecs of Envoy's"),
    row("envoy.config.core.v3.RuntimeDouble", "runtime_key", RUNTIME),
    row("envoy.config.core.v3.RuntimeFeatureFlag", "runtime_key", RUNTIME),
    row("envoy.config.core.v3.RuntimeFractionalPercent", "runtime_key", RUNTIME),
    row("envoy.config.core.v3.TransportSocket", "name", NAME),
    row("envoy.config.listener.v3.Filter", "name", NAME),
    row("envoy.config.listener.v3.FilterChain", "metadata", LABELS),
    row("envoy.config.listener.v3.Listener", "bypass_overload_manager", "there is no overload manager to bypass"),
    row("envoy.config.listener.v3.Listener", "enable_reuse_port", "each worker has a socket of its own anyway"),
    row("envoy.config.listener.v3.Listener", "ignore_global_conn_limit", "there is no limit over all listeners to ignore"),
    row("envoy.config.listener.v3.Listener", "max_connections_to_accept_per_socket_event", "how a worker takes turns cannot be told from outside"),
    row("envoy.config.listener.v3.Listener", "metadata", LABELS),
    row("envoy.config.listener.v3.Listener", "reuse_port", "each worker has a socket of its own anyway"),
    row("envoy.config.listener.v3.ListenerFilter", "name", NAME),
    row("envoy.config.route.v3.HedgePolicy", "additional_request_chance", "Envoy has no such hedging either"),
    row("envoy.config.route.v3.HedgePolicy", "initial_requests", "Envoy has no such hedging either"),
    row("envoy.config.route.v3.RateLimit", "disable_key", RUNTIME),
    row("envoy.config.route.v3.RetryPolicy.RetryHostPredicate", "name", NAME),
    row("envoy.config.route.v3.RetryPolicy.RetryPriority", "name", NAME),
    row("envoy.config.route.v3.Route", "metadata", LABELS),
    row("envoy.config.route.v3.RouteConfiguration", "metadata", LABELS),
    row("envoy.config.route.v3.VirtualHost", "metadata", LABELS),
    row("envoy.config.trace.v3.Tracing.Http", "name", NAME),
    row("envoy.extensions.compression.brotli.decompressor.v3.Brotli", "chunk_size", MEMORY),
    row("envoy.extensions.compression.brotli.decompressor.v3.Brotli", "disable_ring_buffer_reallocation", MEMORY),
    row("envoy.extensions.compression.gzip.decompressor.v3.Gzip", "chunk_size", MEMORY),
    row("envoy.extensions.compression.gzip.decompressor.v3.Gzip", "window_bits", "every window that a sender may have chosen is taken"),
    row("envoy.extensions.compression.zstd.decompressor.v3.Zstd", "chunk_size", MEMORY),
    row("envoy.extensions.filters.http.jwt_authn.v3.JwksAsyncFetch", "fast_listener", "no listener waits for keys: requests that come before them do"),
    row("envoy.extensions.upstreams.http.v3.HttpProtocolOptions.UseDownstreamHttpConfig", "http_protocol_options", "HTTP/1 has no options here; any that is set within is refused"),
];
