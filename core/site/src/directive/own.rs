//! What lighttpd does not have.

use super::*;

directives! {
    /// Ours: what of the mesh answers. lighttpd ignores these.
    mesh: Mesh {
        /// The virtual service that requests are handed to, in place of `proxy.server`.
        service: Option<Text> = None, "mesh.service" Connection optional_text;
        /// The state machine that requests start.
        workflow: Option<WorkflowRoute> = None, "mesh.workflow" Connection edge::workflow;
        /// Providers by whom people sign in, under the names that `mesh.sign-in` gives.
        oidc: Named<Arc<guard::Oidc>> = named_empty(), "mesh.oidc" Server guard::oidc;
        /// Issuers whose bearer tokens are taken, likewise.
        jwt: Named<Arc<guard::Jwt>> = named_empty(), "mesh.jwt" Server guard::jwt;
        /// The certificate of the mesh's that is shown, by its ARN; it comes before files.
        certificate: Option<Text> = None, "mesh.certificate" Connection edge::certificate;
        /// The authority of the mesh's whose clients may enter, by its ARN; it comes before files.
        client_authority: Option<Text> = None, "mesh.client-authority" Connection edge::client_authority;
        /// Certificates that an authority issues.
        acme: Option<Arc<guard::Acme>> = None, "mesh.acme" Server guard::acme;
        /// Where spans of requests are sent.
        traces: Option<Arc<guard::Traces>> = None, "mesh.traces" Server guard::traces;
        /// Megabytes of answers that are remembered.
        cache_mbytes: u32 = 64, "mesh.cache-mbytes" Server int;
        /// Connections that one client may hold at a time; 0 has no bound.
        connections_per_client: u32 = 0, "mesh.connections-per-client" Server int;
    }

    /// What only `edge.toml` can say.
    edge: Edge {
        /// The name of the route, for metrics and logs.
        route: Option<Text> = None;
        /// Variables of the route's path, in order: the names of the groups of `path_pattern`.
        path_variables: Texts = empty();
        /// The route's path as an expression, where it has variables.
        path_pattern: Option<Pattern> = None;
        /// The rate of each client.
        per_client: Option<edge::ClientRate> = None, "mesh.per-client" Connection guard::per_client;
        /// Networks that may ask; all when it is empty.
        allow: Arc<[crate::condition::Network]> = Arc::from([]);
        /// Networks that may not.
        deny: Arc<[crate::condition::Network]> = Arc::from([]);
        /// Who has to be signed in, and how.
        sign_in: Option<SignIn> = None, "mesh.sign-in" Connection guard::sign_in;
        /// What claims of whoever has signed in have to say.
        claims: selvedge_guard::claims::Rules = selvedge_guard::claims::Rules::default(), "mesh.claims" Connection guard::claims;
        /// Which claims services are told, and in which headers.
        identity_headers: selvedge_guard::identity::Headers = selvedge_guard::identity::Headers::default(), "mesh.identity-headers" Connection guard::identity_headers;
        /// A service that is asked whether a request may go on.
        forward_auth: Option<Arc<selvedge_guard::forward::Settings>> = None, "mesh.forward-auth" Connection guard::forward_auth;
        /// Answers of backends are remembered, as RFC 9111 has it.
        cache: bool = false, "mesh.cache" Connection boolean;
        /// Links that clients are told of before the answer is there: values of `Link`.
        early_hints: Texts = empty(), "mesh.early-hints" Connection guard::early_hints;
        /// The `Cache-Control` of what is sent.
        cache_control: Option<Text> = None;
        /// Whether the server's counters are the answer.
        metrics: bool = false;
        /// Whether what the server is doing is the answer.
        status: bool = false;
        /// A fixed answer.
        respond: Option<edge::FixedAnswer> = None;
        /// Whether plain HTTP is sent to HTTPS.
        redirect_https: bool = false, "mesh.redirect-https" Connection boolean;
        /// With which status.
        redirect_https_status: u16 = 308;
        /// HTTP/3 beside HTTP/2, on the UDP port of the same number.
        http3: bool = false, "mesh.http3" Connection boolean;
        /// Milliseconds for a request's whole head.
        header_timeout_ms: u64 = 10_000;
        /// Seconds for a request's whole body, however fast it comes; 0 has no bound.
        body_timeout: u16 = 0, "mesh.body-timeout" Connection short;
        /// Bytes a second of one connection; 0 has no bound.
        bandwidth: u64 = 0;
        /// KiB a second of all connections of one client together; 0 has no bound.
        client_kbytes_per_second: u32 = 0, "mesh.client-kbytes-per-second" Connection int;
        /// Whether a file that was compressed before is sent in place of the one that it stands beside.
        precompressed: bool = false, "mesh.precompressed" Connection boolean;
        /// What browsers are told in `Strict-Transport-Security`, over TLS alone.
        hsts: Option<Text> = None, "mesh.hsts" Connection hsts::hsts;
        /// Whether security headers are sent, HSTS among them.
        security_headers: bool = false, "mesh.security-headers" Connection boolean;
    }
}
