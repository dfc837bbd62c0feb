//! The form: every key, what it is for, and what its value looks like.

use serde_json::Value;

use super::compile::COMPRESSED;
use super::shape::{Field, Shape, Usual, table_schema};

const fn key(name: &'static str, about: &'static str, shape: Shape) -> Field {
    Field { name, about, shape, required: false, usual: None }
}

/// A key whose value, where none is given, is `usual`.
const fn usual(name: &'static str, about: &'static str, shape: Shape, usual: Usual) -> Field {
    Field { name, about, shape, required: false, usual: Some(usual) }
}

const fn required(name: &'static str, about: &'static str, shape: Shape) -> Field {
    Field { name, about, shape, required: true, usual: None }
}

/// The whole file.
pub(super) static ROOT: Shape = Shape::Table(KEYS);

pub(super) const KEYS: &[Field] = &[
    key("edge", "The edge itself", Shape::Table(EDGE)),
    required("listen", "Where to listen", Shape::Tables(LISTEN)),
    key("tls", "Certificates and what is asked of clients, by name", Shape::Named(&Shape::Table(TLS))),
    key("limits", "What nobody may go beyond", Shape::Table(LIMITS)),
    key("log", "What is written down", Shape::Table(LOG)),
    key("traces", "Where spans of requests are sent", Shape::Table(TRACES)),
    key("trust", "Whose word on who a client is counts", Shape::Table(TRUST)),
    key(
        "types",
        "Types of files by the end of their names, beside those of the web",
        Shape::Named(&Shape::Text),
    ),
    key("oidc", "Providers of OpenID Connect, by name", Shape::Named(&Shape::Table(OIDC))),
    key("jwt", "Issuers of tokens, by name", Shape::Named(&Shape::Table(JWT))),
    key("site", "Hosts and their routes", Shape::Tables(SITE)),
];

const EDGE: &[Field] = &[
    key("name", "Its name; routes that it publishes begin with it", Shape::Text),
    key("gateway", "The virtual gateway that it is in the mesh", Shape::Text),
    key(
        "keys",
        "A file of keys, one a line, that all replicas have: addresses of executions then open at each",
        Shape::Text,
    ),
    key("user", "The user that it becomes once its sockets are open", Shape::Text),
    key("group", "The group that it becomes", Shape::Text),
    key("pid_file", "Where its process's number is written", Shape::Text),
    key("server_header", "The Server header; none when it is left out", Shape::Text),
    key(
        "upload_folders",
        "Where bodies of requests wait that are too large for memory",
        Shape::List(&Shape::Text),
    ),
    usual(
        "systemd_sockets",
        "Whether sockets that systemd hands over are taken; those of [[listen]] that are not among them are opened here",
        Shape::Switch,
        Usual::Switch(false),
    ),
];

const LISTEN: &[Field] = &[
    required("address", "An address and a port, or a path", Shape::Text),
    key("tls", "The name of a [tls.…] table", Shape::Text),
    key(
        "protocols",
        "What is spoken: h1 and, with TLS, h2 when it is left out; h2 without TLS is by prior knowledge, h3 is by UDP",
        Shape::List(&Shape::Word(&["h1", "h2", "h3"])),
    ),
    key("redirect", "Send everything to HTTPS", Shape::Word(&["https"])),
    usual("status", "The status of redirect", Shape::Number(300, 308), Usual::Number(308)),
    usual(
        "proxy_protocol",
        "Connections begin with the PROXY protocol, if they come from trusted addresses",
        Shape::Switch,
        Usual::Switch(false),
    ),
    usual("backlog", "Connections that the kernel holds", Shape::Number(1, 65_535), Usual::Number(1024)),
];

const TLS: &[Field] = &[
    key("certificate", "The chain, in PEM", Shape::Text),
    key("key", "The key, in PEM", Shape::Text),
    key("arn", "The mesh's certificate of that ARN, fetched and renewed by itself", Shape::Text),
    key("acme", "Certificates that are fetched and renewed by themselves", Shape::Table(ACME)),
    usual("min_version", "The oldest version", Shape::Word(&["1.2", "1.3"]), Usual::Text("1.2")),
    key(
        "client_ca",
        "The authorities of clients' certificates: a file, or the ARN of an authority of the mesh's",
        Shape::Text,
    ),
    key("client", "Whether clients have to bring a certificate", Shape::Word(&["request", "require"])),
];

const ACME: &[Field] = &[
    required("directory", "letsencrypt, letsencrypt-staging, or the URL of a directory", Shape::Text),
    required(
        "store",
        "A folder that keeps account and certificates, or mesh: the control plane keeps them",
        Shape::Text,
    ),
    key("folder", "Where this edge keeps what it shows, when the control plane keeps the rest", Shape::Text),
    key("contact", "A mail address", Shape::Text),
    key(
        "names",
        "The names of the certificate; those of the sites when it is left out",
        Shape::List(&Shape::Text),
    ),
    key("challenge", "How the names are proven", Shape::Word(&["tls-alpn-01", "http-01"])),
    key("profile", "The kind of certificate", Shape::Text),
    key("key_type", "The kind of key", Shape::Word(&["p256", "p384", "rsa2048", "rsa4096"])),
    key("eab_id", "The identifier of an account that one has with the authority already", Shape::Text),
    key("eab_key_file", "The file with that account's key, in base64url", Shape::Text),
    key("ca_file", "Authorities that are believed in place of the machine's", Shape::Text),
];

const LIMITS: &[Field] = &[
    usual("header_timeout", "For a request's whole head", Shape::Duration, Usual::Text("10s")),
    usual("read_timeout", "Without a byte read", Shape::Duration, Usual::Text("60s")),
    usual("write_timeout", "Without a byte taken by the client", Shape::Duration, Usual::Text("360s")),
    usual("keep_alive", "Between two requests of a connection", Shape::Duration, Usual::Text("5s")),
    usual("headers", "Of a request's head", Shape::Size, Usual::Text("8KiB")),
    key("body", "Of a request's body", Shape::Size),
    key("body_timeout", "For a request's whole body", Shape::Duration),
    key("connections", "At a time", Shape::Number(1, 65_535)),
    key("open_files", "Files and connections that the process may have open", Shape::Number(16, 65_535)),
    key("connections_per_client", "At a time, of each client", Shape::Number(1, 65_535)),
    key("bandwidth_per_client", "Of all connections of a client together", Shape::Bandwidth),
    key("per_client", "Requests of each client", Shape::Table(PER_CLIENT)),
    key("cache", "Of the memory that remembers answers; 64MiB when it is left out", Shape::Size),
];

const PER_CLIENT: &[Field] = &[
    required("rate", "How many in what time", Shape::Rate),
    key("burst", "How many may come at once", Shape::Number(1, 1_000_000)),
    usual("key", "What tells clients apart: ip, identity, or header:NAME", Shape::Text, Usual::Text("ip")),
];

const HSTS: &[Field] = &[
    required("max_age", "For how long, at most 3650d", Shape::Duration),
    usual("include_subdomains", "The host's subdomains too", Shape::Switch, Usual::Switch(false)),
    usual(
        "preload",
        "Browsers may have the host on their list: needs a year at least, and include_subdomains",
        Shape::Switch,
        Usual::Switch(false),
    ),
];

const LOG: &[Field] = &[
    key("access", "The file of requests", Shape::Text),
    key("format", "json, or a format of Apache's", Shape::Text),
    key("errors", "The file of errors", Shape::Text),
];

const TRACES: &[Field] = &[
    required("otlp", "The URL of a collector that takes OTLP by HTTP", Shape::Text),
    usual("percent", "Of a hundred requests so many are recorded", Shape::Number(0, 100), Usual::Number(100)),
    key("name", "Whose spans they are; the edge's name when it is left out", Shape::Text),
];

const TRUST: &[Field] = &[
    key("forwarded_from", "Networks whose forwarding headers are believed", Shape::List(&Shape::Network)),
    key("headers", "The headers, the one that counts first", Shape::List(&Shape::Text)),
];

const OIDC: &[Field] = &[
    required("issuer", "The provider's URL", Shape::Text),
    required("client_id", "Who we are to it", Shape::Text),
    key("client_secret_file", "A file with the secret", Shape::Text),
    required(
        "cookie_keys",
        "A file with the keys of cookies, one a line, the one that seals first",
        Shape::Text,
    ),
    key("scopes", "What is asked for, openid among them", Shape::List(&Shape::Text)),
    key("callback", "The path that the provider sends people back to", Shape::Text),
    key("logout", "The path that signs out", Shape::Text),
    key("after_logout", "Where signing out leads", Shape::Text),
    key("session_hours", "How long a sign-in holds", Shape::Number(1, 8760)),
    key("claims", "Claims that are kept", Shape::List(&Shape::Text)),
    key("ca_file", "Authorities that are believed in place of the machine's", Shape::Text),
];

const JWT: &[Field] = &[
    required("issuer", "Who signs", Shape::Text),
    required("audience", "For whom", Shape::List(&Shape::Text)),
    key("jwks", "The URL of the keys", Shape::Text),
    key("jwks_file", "The file of the keys", Shape::Text),
    key("ca_file", "Authorities that are believed in place of the machine's", Shape::Text),
];

const SITE: &[Field] = &[
    key(
        "host",
        "Names; *.example.org stands for all below; all hosts when it is left out",
        Shape::List(&Shape::Text),
    ),
    key(
        "host_regex",
        "An expression that is found in the host without its port; in place of host. %1 is a group of it",
        Shape::Text,
    ),
    key("listen", "Addresses of [[listen]]; all when it is left out", Shape::List(&Shape::Text)),
    key("route", "The first that fits decides", Shape::Tables(ROUTE)),
];

pub(super) const ROUTE: &[Field] = &[
    key("name", "For logs and metrics", Shape::Text),
    // Which requests.
    key("path", "/a, /a/*, /a/{id}; every path when it is left out", Shape::Text),
    key("path_regex", "An expression that is found in the path; in place of path", Shape::Text),
    key("scheme", "What it was asked by; both when it is left out", Shape::Word(&["http", "https"])),
    key("method", "Methods; all when it is left out", Shape::List(&Shape::Text)),
    key("header", "Headers that have to be there, with their values", Shape::Named(&Shape::Text)),
    key("client", "Networks of clients; for others the route is not there", Shape::List(&Shape::Network)),
    key("not_client", "Networks of clients for whom the route is not there", Shape::List(&Shape::Network)),
    // Who may.
    key("allow", "Networks that may ask", Shape::List(&Shape::Network)),
    key("deny", "Networks that may not", Shape::List(&Shape::Network)),
    key("auth", "Who has to be signed in", Shape::Table(AUTH)),
    key("per_client", "Requests of each client", Shape::Table(PER_CLIENT)),
    key("refuse", "Ends of paths that are answered with 403", Shape::List(&Shape::Text)),
    // What answers.
    key("files", "A directory", Shape::Text),
    key("alias", "A directory that takes the place of the path's prefix", Shape::Text),
    usual(
        "index",
        "Files that stand for their directory",
        Shape::List(&Shape::Text),
        Usual::Texts(&["index.html"]),
    ),
    usual("listing", "Whether directories are listed", Shape::Switch, Usual::Switch(false)),
    key("listing_hides", "Names that lists leave out, as expressions", Shape::List(&Shape::Text)),
    key(
        "unsent",
        "Ends of names of files that are there and never sent, such as those of programs",
        Shape::List(&Shape::Text),
    ),
    key(
        "scripts",
        "Programs for files by the ends of their names, as in scripts.\".php\"",
        Shape::Named(&Shape::Table(SCRIPT)),
    ),
    key("environment", "Variables that programs are given", Shape::Named(&Shape::AnyText)),
    key(
        "not_found",
        "A path whose answer takes the place of 404; a program says the status, and a file stays 404",
        Shape::Text,
    ),
    usual("follow_symlinks", "Whether links lead to files", Shape::Switch, Usual::Switch(true)),
    key("service", "A virtual service of the mesh", Shape::Text),
    key("workflow", "A state machine", Shape::Table(WORKFLOW)),
    key(
        "identity_headers",
        "Headers that tell who has signed in: header = claim",
        Shape::Named(&Shape::Text),
    ),
    key("forward_auth", "A service that is asked whether a request may go on", Shape::Table(FORWARD_AUTH)),
    key("proxy", "Servers outside of the mesh, as host:port or /path", Shape::List(&Shape::Text)),
    key(
        "forwarded",
        "What the servers of proxy are told in a Forwarded header",
        Shape::List(&Shape::Word(&["for", "proto", "host", "by", "remote_user"])),
    ),
    usual("websocket", "WebSockets go on to the servers of proxy", Shape::Switch, Usual::Switch(false)),
    key("fastcgi", "FastCGI servers, as host:port or /path", Shape::List(&Shape::Text)),
    key(
        "redirect",
        "Where to send the client; $1 is a group of path_regex, %1 one of host_regex, and ${url.path} works as in lighttpd.conf",
        Shape::Text,
    ),
    key("status", "The status of redirect or respond", Shape::Number(100, 599)),
    key("respond", "A fixed body", Shape::AnyText),
    key("metrics", "The server's counters, for Prometheus", Shape::Switch),
    key(
        "server_status",
        "What the server is doing: its counters and each connection, as a page",
        Shape::Switch,
    ),
    // How it is asked and dressed.
    key(
        "rewrite",
        "What the path becomes before anything answers; of several the first whose match is found",
        Shape::List(&Shape::Table(REWRITE)),
    ),
    key("cache", "The Cache-Control header", Shape::Text),
    usual(
        "remember",
        "Answers of backends are remembered, as RFC 9111 has it",
        Shape::Switch,
        Usual::Switch(false),
    ),
    key(
        "early_hints",
        "Links that clients are told of before the answer is there",
        Shape::List(&Shape::Text),
    ),
    key(
        "compress",
        "Encodings, the one that is liked best first",
        Shape::List(&Shape::Word(&["zstd", "br", "gzip", "deflate"])),
    ),
    usual(
        "compress_types",
        "Types that are compressed, by how they begin",
        Shape::List(&Shape::Text),
        Usual::Texts(COMPRESSED),
    ),
    key("compress_folder", "Where files are kept that were compressed", Shape::Text),
    key("bandwidth", "Of one connection", Shape::Bandwidth),
    key("body", "The largest body of a request", Shape::Size),
    key(
        "request_headers",
        "Set before anything answers; blank takes one away",
        Shape::Named(&Shape::AnyText),
    ),
    key("response_headers", "Set on what is sent; blank takes one away", Shape::Named(&Shape::AnyText)),
    usual(
        "precompressed",
        "A file is sent as the .br, .zst or .gz beside it",
        Shape::Switch,
        Usual::Switch(false),
    ),
    key("hsts", "Whether browsers come by HTTPS alone from now on, said over TLS alone", Shape::Table(HSTS)),
    usual("security_headers", "HSTS and its companions", Shape::Switch, Usual::Switch(false)),
];

const SCRIPT: &[Field] = &[
    key("fastcgi", "FastCGI servers, as host:port or /path", Shape::List(&Shape::Text)),
    key("scgi", "SCGI servers, as host:port or /path", Shape::List(&Shape::Text)),
    key(
        "cgi",
        "A program that is started for each request with the file; blank starts the file",
        Shape::AnyText,
    ),
    key("start", "A FastCGI program with its arguments, started here", Shape::Text),
    key("socket", "The path that start listens on; a number is put behind it for each process", Shape::Text),
    usual("processes", "How many of start there are", Shape::Number(1, 256), Usual::Number(4)),
    key("environment", "Variables of start beside those of the edge", Shape::Named(&Shape::AnyText)),
    key(
        "copy_environment",
        "The edge's own variables that start is given; all when it is left out",
        Shape::List(&Shape::Text),
    ),
    usual("check_file", "Whether the file has to be there", Shape::Switch, Usual::Switch(true)),
    usual(
        "broken_scriptfilename",
        "SCRIPT_FILENAME has the rest of the path, as PHP's cgi.fix_pathinfo wants it",
        Shape::Switch,
        Usual::Switch(false),
    ),
];

const AUTH: &[Field] = &[
    key("oidc", "A name of [oidc.…]", Shape::Text),
    key("jwt", "A name of [jwt.…]", Shape::Text),
    key("certificate", "A client certificate", Shape::Switch),
    key("htpasswd", "A file of users for basic", Shape::Text),
    key("htdigest", "A file of users for digest, whose passwords are never sent", Shape::Text),
    usual("realm", "Of basic and digest", Shape::Text, Usual::Text("private")),
    key(
        "users",
        "Who may, of a file of users; all of them when neither users nor groups are named",
        Shape::List(&Shape::Text),
    ),
    key("groups", "Who may, by the groups of group_file", Shape::List(&Shape::Text)),
    key("group_file", "Groups of users, a line each: group: user user", Shape::Text),
    key(
        "claims",
        "What claims of who has signed in have to say",
        Shape::Named(&Shape::List(&Shape::AnyText)),
    ),
];

const FORWARD_AUTH: &[Field] = &[
    required("url", "Where it is asked", Shape::Text),
    key("send", "Headers that it is shown", Shape::List(&Shape::Text)),
    key("take", "Headers of its answer that the request is given", Shape::List(&Shape::Text)),
    key("subject", "The header that says who it is", Shape::Text),
];

const WORKFLOW: &[Field] = &[
    key("machine", "Its name or ARN", Shape::Text),
    key("wait", "How long a request waits for its end, at most 60s", Shape::Duration),
    usual(
        "else",
        "The answer when the end is not there in time",
        Shape::Word(&["202", "504"]),
        Usual::Text("202"),
    ),
    usual(
        "resume",
        "The request completes the task whose token it brings",
        Shape::Switch,
        Usual::Switch(false),
    ),
    key("headers", "Headers that become part of the input", Shape::List(&Shape::Text)),
    key("files", "A directory of files that an execution may hand out", Shape::Text),
    key(
        "errors",
        "Statuses of executions that have failed, by the error's name; 502 for all others",
        Shape::Named(&Shape::Number(400, 599)),
    ),
    usual(
        "states",
        "Whoever watches it is told the names of the states that it enters and leaves",
        Shape::Switch,
        Usual::Switch(false),
    ),
];

const REWRITE: &[Field] = &[
    required("match", "An expression on the path and the query", Shape::Text),
    required("to", "What becomes of them", Shape::Text),
    usual("if_not_file", "Only where the path is no file", Shape::Switch, Usual::Switch(false)),
];

/// The JSON Schema of the form.
pub fn schema() -> Value {
    let mut schema = table_schema(KEYS);
    if let Some(object) = schema.as_object_mut() {
        object.insert("$schema".into(), "https://json-schema.org/draft/2020-12/schema".into());
        object.insert("title".into(), "edge.toml".into());
    }
    schema
}
