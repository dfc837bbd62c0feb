//! `edge.toml`: what it takes, what it refuses and where, what it means.

use std::sync::Arc;

use selvedge_site::directive::edge::ClientKey;
use selvedge_site::directive::{SignIn, WorkflowElse};
use selvedge_site::{Diagnostic, Program, RequestFacts, edge_toml};

#[path = "support/golden.rs"]
mod golden;

/// The form's own example: every kind of route.
const EXAMPLE: &str = include_str!("edge.toml");

fn compiled(text: &str) -> Result<Arc<Program>, String> {
    let shown = |found: &[Diagnostic], sources: &selvedge_site::Sources| -> String {
        found.iter().map(|one| one.shown(sources)).collect()
    };
    let document = edge_toml::parse("edge.toml", text).map_err(|(found, sources)| shown(&found, &sources))?;
    match edge_toml::compile(&document) {
        Ok((program, _)) => Ok(Arc::new(program)),
        Err(found) => Err(shown(&found, &document.sources)),
    }
}

fn facts<'a>(host: &'a str, path: &'a str) -> RequestFacts<'a> {
    RequestFacts { host: Some(host), path: Some(path), method: Some("GET"), ..RequestFacts::default() }
}

/// A program of one route.
fn route(text: &str) -> Result<Arc<Program>, String> {
    compiled(&format!("[[listen]]\naddress = \":80\"\n[[site]]\n[[site.route]]\n{text}\n"))
}

#[test]
fn the_first_route_that_fits_decides_and_nothing_of_the_others_holds() {
    let program = compiled(EXAMPLE).expect("it is right");
    let found = |host, path, method| {
        let facts = RequestFacts { method: Some(method), ..facts(host, path) };
        let resolved = program.resolve(&facts).expect("quick");
        let directives = &resolved.directives;
        let answer = directives
            .mesh
            .service
            .clone()
            .or_else(|| directives.mesh.workflow.as_ref().map(|workflow| workflow.machine.clone()))
            .or_else(|| directives.edge.respond.as_ref().map(|answer| answer.status.to_string().into()))
            .or_else(|| directives.server.document_root.clone());
        (
            answer.unwrap_or_default().to_string(),
            directives.edge.cache_control.clone().unwrap_or_default().to_string(),
        )
    };
    let cached = "public, max-age=2592000, immutable".to_owned();
    let none = String::new();
    assert_eq!(found("shop.example.com", "/assets/a.css", "GET"), ("/srv/www".into(), cached));
    assert_eq!(found("shop.example.com:8443", "/admin/x", "GET"), ("admin.shop.local".into(), none.clone()));
    for whole in ["shop.example.com.", "shop.example.com.:8443"] {
        assert_eq!(found(whole, "/admin/x", "GET"), ("admin.shop.local".into(), none.clone()), "{whole}");
    }
    assert_eq!(found("shop.example.com", "/orders/17", "POST"), ("place-order".into(), none.clone()));
    assert_eq!(found("shop.example.com", "/orders/17", "GET"), ("404".into(), none.clone()));
    assert_eq!(found("shop.example.com", "/api/v1", "GET"), ("orders.shop.local".into(), none.clone()));
    assert_eq!(found("www.example.org", "/api/v1", "GET"), ("410".into(), none.clone()));
    assert_eq!(found("nobody.example", "/", "GET"), ("404".into(), none));
}

#[test]
fn a_route_has_everything_that_its_keys_say() {
    let program = compiled(EXAMPLE).expect("it is right");
    let resolve = |path, method| {
        let facts = RequestFacts { method: Some(method), ..facts("shop.example.com", path) };
        program.resolve(&facts).expect("quick")
    };
    let assets = resolve("/assets/a", "GET");
    assert_eq!(assets.directives.edge.bandwidth, 512 * 1024);
    let admin = resolve("/admin/", "GET");
    assert_eq!(admin.directives.edge.sign_in, Some(SignIn::Oidc("staff".into())));
    assert!(admin.directives.edge.allow[0].contains("10.1.2.3".parse().expect("an address")));
    let order = resolve("/orders/17", "POST");
    let workflow = order.directives.mesh.workflow.as_ref().expect("a workflow");
    assert_eq!((workflow.wait_ms, workflow.otherwise), (10_000, WorkflowElse::Accepted));
    let pattern = order.directives.edge.path_pattern.as_ref().expect("variables");
    let groups = pattern.groups("/orders/17").expect("quick").expect("it fits");
    assert_eq!((&*order.directives.edge.path_variables[0], groups.get("/orders/17", 1)), ("id", "17"));
    let limits = &order.directives.edge;
    assert_eq!(limits.header_timeout_ms, 10_000);
    let rate = limits.per_client.as_ref().expect("a rate");
    assert_eq!((rate.requests, rate.per_ms, rate.burst, &rate.key), (20, 1000, 40, &ClientKey::Ip));
    assert_eq!(program.global().max_request_field_size, 16 * 1024);
    assert_eq!(order.directives.server.max_request_size, 10 * 1024);
    assert_eq!(program.global().mesh_gateway.as_deref(), Some("shop-gw"));
    let listeners: Vec<(&str, bool)> =
        program.listeners.iter().map(|listener| (&*listener.token, listener.ssl.engine)).collect();
    assert_eq!(listeners, [("[::]:443", true), ("[::]:80", false)]);
    let acme = program.base().directives.mesh.acme.as_ref().expect("acme");
    assert_eq!(acme.names.iter().map(|name| &**name).collect::<Vec<_>>(), ["shop.example.com"]);
    assert_eq!(program.base().directives.mesh.oidc.len(), 1);
    let plain = RequestFacts { socket: Some("[::]:80"), ..facts("shop.example.com", "/api/") };
    assert!(program.resolve(&plain).expect("quick").directives.edge.redirect_https);
}

/// Before a request has a path, what holds is what its listener says: a certificate, protocols.
#[test]
fn a_connection_is_held_to_its_listener() {
    let program = compiled(
        "[[listen]]\naddress = \":80\"\n[[listen]]\naddress = \":443\"\ntls = \"a\"\n[[listen]]\naddress = \":444\"\n\
         tls = \"a\"\nprotocols = [\"h1\"]\nproxy_protocol = true\n[trust]\nforwarded_from = [\"10.0.0.1\"]\n\
         [tls.a]\ncertificate = \"/c.pem\"\n[[site]]\n[[site.route]]\nrespond = \"x\"\n",
    )
    .expect("it is right");
    let at = |socket| {
        let facts = RequestFacts { socket: Some(socket), host: Some("any"), ..RequestFacts::default() };
        let resolved = program.resolve(&facts).expect("quick");
        let directives = &resolved.directives;
        let listener = program.listener(socket).expect("there");
        (directives.ssl.pemfile.clone(), directives.extforward.hap_proxy, listener.http1, listener.http2)
    };
    assert_eq!(at("0.0.0.0:80"), (None, false, true, false));
    assert_eq!(at("0.0.0.0:443"), (Some("/c.pem".into()), false, true, true));
    assert_eq!(at("0.0.0.0:444"), (Some("/c.pem".into()), true, true, false));
    let names: Vec<&str> = program.route_names().map(|(_, name)| &**name).collect();
    assert_eq!(names, ["1"]);
}

/// One certificate, from one place: a file, the mesh, or an authority by ACME.
#[test]
fn a_listener_may_show_a_certificate_of_the_mesh_by_its_arn() {
    let arn = "arn:aws:acm:eu-west-1:123456789012:certificate/6f0a-1";
    let with = |keys: &str| {
        compiled(&format!(
            "[[listen]]\naddress = \":443\"\ntls = \"a\"\n[[listen]]\naddress = \"127.0.0.1:80\"\nredirect = \"https\"\n[tls.a]\n{keys}\n[[site]]\n[[site.route]]\nrespond = \"x\"\n"
        ))
    };
    let program = with(&format!("arn = \"{arn}\"")).expect("it is right");
    let facts = RequestFacts { socket: Some("0.0.0.0:443"), host: Some("any"), ..RequestFacts::default() };
    let resolved = program.resolve(&facts).expect("quick");
    assert_eq!(resolved.directives.mesh.certificate.as_deref(), Some(arn));
    for (keys, told) in [
        (format!("arn = \"{arn}\"\ncertificate = \"/c.pem\""), "needs one of certificate, arn and acme"),
        ("min_version = \"1.3\"".to_owned(), "needs one of certificate, arn and acme"),
        ("arn = \"arn:aws:acm-pca:r:1:certificate-authority/a\"".to_owned(), "arn:aws:acm:REGION"),
        ("arn = \"../certificate\"".to_owned(), "arn:aws:acm:REGION"),
    ] {
        let found = with(&keys).expect_err("refused");
        assert!(found.contains(told), "{keys}: {found}");
    }
}

#[test]
fn what_is_wrong_is_told_with_its_place_and_a_hint() {
    let listen = "[[listen]]\naddress = \":80\"\n";
    let rows = [
        (format!("{listen}[limts]\n"), "3:2", "unknown key limts", "did you mean limits?"),
        (
            format!("{listen}[limits]\nheader_timeout = 10\n"),
            "4:18",
            "limits.header_timeout should be a duration with a unit",
            "",
        ),
        (format!("{listen}[limits]\nbody = \"10\"\n"), "4:8", "limits.body should be a size with a unit", ""),
        (
            format!("{listen}[[site]]\nhosts = [\"a\"]\n"),
            "4:1",
            "unknown key site[0].hosts",
            "did you mean host?",
        ),
        ("[edge]\nname = \"a\"\n".to_owned(), "1:1", "listen is missing", ""),
        (
            "[[listen]]\naddress = \":80\"\nprotocols = [\"h4\"]\n".to_owned(),
            "3:14",
            "listen[0].protocols[0] should be one of h1, h2",
            "did you mean \"h1\"?",
        ),
        (
            "[[listen]]\naddress = \":80\"\ntls = \"public\"\n[tls.publik]\ncertificate = \"/c\"\n"
                .to_owned(),
            "3:7",
            "there is no [tls.public]",
            "did you mean \"publik\"?",
        ),
        ("[[listen]]\naddress = \"nonsense:x\"\n".to_owned(), "2:11", "port not set or out of range", ""),
        (format!("{listen}{listen}"), "4:11", ":80 is listened on twice", ""),
        (format!("{listen}x = [\n"), "", "", ""),
        (format!("{listen}[[site]]\nhost = [\"a:80\"]\n"), "4:9", "a host is a name", ""),
        (format!("{listen}protocols = []\n[[site]]\n"), "3:13", "nothing is left to speak", ""),
        (
            format!("{listen}proxy_protocol = true\n"),
            "3:18",
            "proxy_protocol needs [trust] forwarded_from",
            "",
        ),
        (
            format!("{listen}[limits]\nkeep_alive = \"500ms\"\n"),
            "4:14",
            "limits.keep_alive is whole seconds",
            "",
        ),
        (
            format!("{listen}[limits]\nread_timeout = \"1d\"\n"),
            "4:16",
            "limits.read_timeout is whole seconds, at most 65535s",
            "",
        ),
        (format!("{listen}[limits]\nbody = \"100B\"\n"), "4:8", "limits.body is a whole number of KiB", ""),
        (
            format!("{listen}[limits]\nheaders = \"1MiB\"\n"),
            "4:11",
            "limits.headers is from 1KiB to 64KiB",
            "",
        ),
    ];
    for (text, place, message, hint) in rows {
        let found = compiled(&text).expect_err(&text);
        assert!(found.contains(&format!("edge.toml:{place}")), "{text}: {found}");
        assert!(found.contains(message) && found.contains(hint), "{text}: {found}");
    }
    let rows = [
        ("path = \"/a\"", "the route answers nothing"),
        ("files = \"/a\"\nservice = \"b\"", "more than one answer: files, service"),
        ("path = \"a\"\nfiles = \"/a\"", "a path begins with /"),
        ("path = \"/a/*/b\"\nfiles = \"/a\"", "a * stands at the end"),
        ("path = \"/{a}/{a}\"\nfiles = \"/a\"", "stands twice"),
        ("path = \"/{a\"\nfiles = \"/a\"", "is not closed"),
        ("path = \"/{a-b}\"\nfiles = \"/a\"", "letters, digits and _"),
        ("service = \"a\"\nauth = { oidc = \"nobody\" }", "there is no [oidc.nobody]"),
        ("service = \"a\"\nauth = { htpasswd = \"/f\", certificate = true }", "auth needs one of"),
        ("service = \"a\"\nearly_hints = [\"x\"]", "is no link"),
        ("service = \"a\"\nhsts = { max_age = \"365d\", preload = true }", "browsers' list takes no other"),
        ("service = \"a\"\nrewrite = { match = \"(\", to = \"/\" }", "Parsing error"),
        ("workflow = { machine = \"m\", wait = \"10m\" }", "at most 60s"),
        ("workflow = { wait = \"10s\" }", "needs a machine"),
        ("service = \"a\"\nper_client = { rate = \"20/s\", key = \"colour\" }", "is \"ip\""),
        ("service = \"a\"\nallow = [\"10.0.0/8\"]", "should be an address or a network"),
        ("proxy = [\"a:b\"]", "port not set or out of range"),
        ("files = \"/srv\"\nwebsocket = true", "websocket goes with proxy"),
        ("service = \"a\"\nwebsocket = true", "as far as the mesh lets them: leave websocket out"),
        ("proxy = [\"a:1\"]\nwebsocket = \"yes\"", "should be true or false"),
    ];
    for (text, message) in rows {
        let found = route(text).expect_err(text);
        assert!(found.contains(message), "{text}: {found}");
    }
}

#[test]
fn a_hint_says_what_may_have_been_meant() {
    let listen = "[[listen]]\naddress = \":80\"\n";
    for (lines, hint) in [
        ("[limits]\nheader_timeout = 10\n", "did you mean \"10s\"?"),
        ("[limits]\nkeep_alive = \"5 sec\"\n", "did you mean \"5s\"?"),
        ("[limits]\nheaders = \"8kib\"\n", "did you mean \"8KiB\"?"),
        ("[limits]\nbandwidth_per_client = \"512KiB\"\n", "did you mean \"512KiB/s\"?"),
        ("[limits]\nper_client = { rate = 20 }\n", "did you mean \"20/s\"?"),
        ("[limits]\nconnections = \"20\"\n", "did you mean 20, without quotation marks?"),
        ("[edge]\nsystemd_sockets = \"true\"\n", "did you mean true, without quotation marks?"),
        ("[edge]\nname = 1\n", "did you mean \"1\"?"),
        ("[edge]\nheader_timeout = \"10s\"\n", "header_timeout is a key of [limits]"),
        ("[[site]]\nfiles = \"/srv\"\n", "files is a key of [[site.route]]"),
        ("[[site]]\nroute = 1\n", "site[0].route should be tables, [[site.route]], not a number"),
        ("[[site]]\n[[site.route]]\nauth = { oicd = \"x\" }\n", "did you mean oidc?"),
    ] {
        let found = compiled(&format!("{listen}{lines}")).expect_err(lines);
        assert!(found.contains(hint), "{lines}\n{found}");
    }
}

/// Every key of a schema: where it stands, as headers and as messages have it, and what its value is.
fn keys<'s>(
    schema: &'s serde_json::Value,
    header: &str,
    path: &str,
    lead: &str,
    found: &mut Vec<(String, String, String, &'s serde_json::Value)>,
) {
    for (key, inner) in schema["properties"].as_object().into_iter().flatten() {
        let dotted = |base: &str| if base.is_empty() { key.clone() } else { format!("{base}.{key}") };
        let (inside, at) = (dotted(header), dotted(path));
        found.push((lead.to_owned(), key.clone(), at.clone(), inner));
        let table = if inner["anyOf"].is_array() { &inner["anyOf"][0] } else { inner };
        if inner["items"]["properties"].is_object() {
            keys(&inner["items"], &inside, &format!("{at}[0]"), &format!("{lead}[[{inside}]]\n"), found);
        } else if table["properties"].is_object() {
            // A table where there may be a list is the first of one.
            let at = if inner["anyOf"].is_array() { format!("{at}[0]") } else { at };
            keys(table, &inside, &at, &format!("{lead}[{inside}]\n"), found);
        } else if inner["additionalProperties"]["properties"].is_object() {
            let named = format!("{inside}.x");
            keys(
                &inner["additionalProperties"],
                &named,
                &format!("{at}.x"),
                &format!("{lead}[{named}]\n"),
                found,
            );
        }
    }
}

#[test]
fn a_value_of_a_wrong_type_is_told_with_its_key_line_and_column() {
    let schema = edge_toml::schema();
    let mut all = Vec::new();
    keys(&schema, "", "", "", &mut all);
    assert!(all.len() > 150, "every key is here: {}", all.len());
    let mut tried = 0;
    for (lead, key, path, schema) in all {
        // Of a list, what each of it has to be.
        let one = if schema["anyOf"].is_array() { &schema["anyOf"][0] } else { schema };
        let kind = one["type"].as_str().unwrap_or("string");
        for (wrong, is) in [
            ("42", "integer"),
            ("4.5", "number"),
            ("true", "boolean"),
            ("\"\"", "blank"),
            ("1979-05-27", "date"),
            ("[[1]]", "lists"),
            ("{ a = 1 }", "object"),
        ] {
            let fits = match (kind, is) {
                ("integer", "integer") | ("boolean", "boolean") | ("object", "object") => true,
                ("string", "blank") => {
                    one["minLength"].is_null() && one["enum"].is_null() && one["pattern"].is_null()
                }
                _ => false,
            };
            // A number may be beyond its bounds, a table may have other keys: both are told otherwise.
            if fits {
                continue;
            }
            let text = format!("{lead}{key} = {wrong}\n");
            let (line, column) = (text.lines().count(), key.len() + 4);
            let Err((found, sources)) = edge_toml::parse("edge.toml", &text) else {
                panic!("{text} is taken")
            };
            let told = found.iter().any(|one| {
                one.message.contains(&path)
                    && one.place.is_some_and(|place| {
                        let (at_line, at_column) = sources.line_and_column(place);
                        at_line == line && (at_column == column || is == "lists" && at_column > column)
                    })
            });
            let shown: String = found.iter().map(|one| one.shown(&sources)).collect();
            assert!(told, "{path} = {wrong}\n{shown}");
            tried += 1;
        }
    }
    assert!(tried > 900, "{tried}");
}

#[test]
fn everything_that_is_wrong_is_told_at_once() {
    let found =
        compiled("[[listen]]\nadress = \":80\"\n[limits]\nbody = 1\nheadrs = \"1B\"\n").expect_err("wrong");
    assert_eq!(found.matches("error:").count(), 4, "{found}");
}

#[test]
fn paths_fit_as_they_are_written() {
    let rows = [
        ("/a", "/a", true),
        ("/a", "/a/", false),
        ("/a/*", "/a/b/c", true),
        ("/a/*", "/a", false),
        ("/a/{b}", "/a/x", true),
        ("/a/{b}", "/a/x/y", false),
        ("/a/{b}", "/a/", false),
        ("/a/{b}/c.d", "/a/x/c.d", true),
        ("/a/{b}/c.d", "/a/x/cxd", false),
        ("/a/{b*}", "/a/x/y", true),
        ("/a/{b}/*", "/a/x/y", true),
    ];
    for (pattern, path, fits) in rows {
        let program = route(&format!("path = \"{pattern}\"\nrespond = \"yes\"")).expect(pattern);
        let resolved = program.resolve(&facts("any", path)).expect("quick");
        assert_eq!(resolved.directives.edge.route.is_some(), fits, "{pattern} {path}");
    }
}

#[test]
fn the_published_schema_is_the_one_that_files_are_held_to() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/guide/edge.schema.json");
    let schema = serde_json::to_string_pretty(&edge_toml::schema()).expect("JSON") + "\n";
    #[expect(
        clippy::disallowed_methods,
        reason = "the test compares with the published file, and writes it when asked"
    )]
    {
        if std::env::var_os("BLESS").is_some() {
            std::fs::write(path, &schema).expect("written");
        }
        assert_eq!(std::fs::read_to_string(path).expect("published"), schema, "write it anew with BLESS=1");
    }
}

/// What a file means, whatever it is written with.
fn meaning(text: &str) -> String {
    let program = compiled(text).unwrap_or_else(|found| panic!("{text}\n{found}"));
    let facts = RequestFacts {
        host: Some("a.example"),
        path: Some("/a"),
        method: Some("GET"),
        remote: Some("127.0.0.1".parse().expect("an address")),
        ..RequestFacts::default()
    };
    let resolved = program.resolve(&facts).expect("it is judged");
    format!("{:?}\n{:?}\n{:?}", program.listeners, program.base().directives, resolved.directives)
}

/// The defaults of the schema, where they stand in a file: the part of the file behind which the key is put.
const DEFAULTS: &[(&str, &str)] = &[
    ("edge.systemd_sockets", "[edge]\n"),
    ("listen[].proxy_protocol", "tls = \"a\"\n"),
    ("listen[].backlog", "tls = \"a\"\n"),
    ("listen[].status", "redirect = \"https\"\n"),
    ("tls.*.min_version", "certificate = \"/c\"\n"),
    ("limits.header_timeout", "[limits]\n"),
    ("limits.read_timeout", "[limits]\n"),
    ("limits.write_timeout", "[limits]\n"),
    ("limits.keep_alive", "[limits]\n"),
    ("limits.headers", "[limits]\n"),
    ("limits.per_client.key", "[limits.per_client]\n"),
    ("traces.percent", "[traces]\n"),
    ("site[].route[].index", "files = \"/srv\"\n"),
    ("site[].route[].listing", "files = \"/srv\"\n"),
    ("site[].route[].follow_symlinks", "files = \"/srv\"\n"),
    ("site[].route[].compress_types", "files = \"/srv\"\n"),
    ("site[].route[].scripts.*.processes", "[site.route.scripts.\".php\"]\n"),
    ("site[].route[].scripts.*.check_file", "[site.route.scripts.\".php\"]\n"),
    ("site[].route[].scripts.*.broken_scriptfilename", "[site.route.scripts.\".php\"]\n"),
    ("site[].route[].websocket", "files = \"/srv\"\n"),
    ("site[].route[].remember", "files = \"/srv\"\n"),
    ("site[].route[].precompressed", "files = \"/srv\"\n"),
    ("site[].route[].security_headers", "files = \"/srv\"\n"),
    ("site[].route[].hsts.include_subdomains", "[site.route.hsts]\n"),
    ("site[].route[].hsts.preload", "[site.route.hsts]\n"),
    ("site[].route[].auth.realm", "[site.route.auth]\n"),
    ("site[].route[].rewrite.if_not_file", "[site.route.rewrite]\n"),
    ("site[].route[].workflow.else", "[site.route.workflow]\n"),
    ("site[].route[].workflow.resume", "[site.route.workflow]\n"),
    ("site[].route[].workflow.states", "[site.route.workflow]\n"),
];

/// Every default of a schema, with where it is.
fn defaults(schema: &serde_json::Value, path: &str, found: &mut Vec<(String, serde_json::Value)>) {
    if let Some(usual) = schema.get("default") {
        found.push((path.to_owned(), usual.clone()));
    }
    for (key, inner) in schema["properties"].as_object().into_iter().flatten() {
        let at = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
        defaults(inner, &at, found);
    }
    if schema["additionalProperties"].is_object() {
        defaults(&schema["additionalProperties"], &format!("{path}.*"), found);
    }
    if schema["anyOf"].is_array() {
        defaults(&schema["anyOf"][0], path, found);
    }
    if schema["items"].is_object() {
        defaults(&schema["items"], &format!("{path}[]"), found);
    }
}

#[test]
fn a_default_of_the_schema_is_what_counts_when_nothing_is_said() {
    let file = |route: &str| {
        format!(
            "[edge]\n[[listen]]\naddress = \"127.0.0.1:443\"\ntls = \"a\"\n[[listen]]\naddress = \"127.0.0.1:80\"\nredirect = \"https\"\n[tls.a]\ncertificate = \"/c\"\n[limits]\nbody = \"1MiB\"\n\
             [limits.per_client]\nrate = \"1/s\"\n[traces]\notlp = \"http://127.0.0.1:4318\"\n[[site]]\n[[site.route]]\npath = \"/a\"\n{route}",
        )
    };
    let files = file(
        "files = \"/srv\"\ncompress = \"gzip\"\n[site.route.scripts.\".php\"]\nstart = \"/p\"\nsocket = \"/s\"\n[site.route.auth]\nhtpasswd = \"/u\"\n[site.route.rewrite]\nmatch = \"^\"\nto = \"/x\"\n[site.route.hsts]\nmax_age = \"1d\"\n",
    );
    let workflow = file("[site.route.workflow]\nmachine = \"m\"\nwait = \"1s\"\n");
    let mut found = Vec::new();
    defaults(&edge_toml::schema(), "", &mut found);
    // A route is described once for each place that has routes, and a client's rate twice.
    found.retain(|(path, _)| path != "site[].route[].per_client.key");
    let known: Vec<&str> = found.iter().map(|(path, _)| path.as_str()).collect();
    for &(path, _) in DEFAULTS {
        assert!(known.contains(&path), "{path} has no default");
    }
    assert_eq!(known.len(), DEFAULTS.len(), "{known:?}");
    for (path, usual) in found {
        let (_, behind) =
            DEFAULTS.iter().find(|(known, _)| *known == path).unwrap_or_else(|| panic!("{path}"));
        let key = path.rsplit('.').next().expect("a key");
        let without = if path.contains("workflow") { &workflow } else { &files };
        assert!(without.contains(behind), "{path}");
        let with = without.replace(behind, &format!("{behind}{key} = {usual}\n"));
        assert_eq!(meaning(&with), meaning(without), "{path} = {usual}");
    }
}

#[test]
fn tunnels_are_offered_where_something_may_grant_one() {
    for (text, offered) in [
        ("files = \"/srv\"", false),
        ("service = \"a\"", true),
        ("proxy = [\"a:1\"]", false),
        ("proxy = [\"a:1\"]\nwebsocket = false", false),
        ("proxy = [\"a:1\"]\nwebsocket = true", true),
    ] {
        assert_eq!(route(text).expect(text).offers_tunnels(), offered, "{text}");
    }
}

#[test]
fn an_explanation_says_why_each_route_does_not_fit_and_where_each_value_stands() {
    let program = compiled(EXPLAINED).expect("it compiles");
    let mut told = String::new();
    for (method, url, from, headers) in [
        ("GET", ("http", "shop.example", "/api/orders"), "10.1.2.3", &[("x-kind", "new")][..]),
        ("POST", ("https", "www.shop.example:443", "/api/orders"), "192.0.2.1", &[]),
        ("GET", ("http", "other.example", "/a"), "192.0.2.1", &[]),
        ("GET", ("http", "shop.example", "/assets/a.css"), "192.0.2.1", &[]),
    ] {
        let question = selvedge_site::explain::Question {
            scheme: url.0.into(),
            host: url.1.into(),
            path: url.2.into(),
            query: String::new(),
            method: method.into(),
            remote: from.parse().expect("an address"),
            headers: headers.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect(),
        };
        let explained = selvedge_site::explain::explain(&program, &question).expect("it is judged");
        told.push_str(&format!(
            "=== {method} {}://{}{} from {from} {headers:?}\n{}\n",
            url.0,
            url.1,
            url.2,
            explained.text()
        ));
        if url.2 == "/assets/a.css" {
            golden::golden(
                "explained_edge.json",
                &(serde_json::to_string_pretty(&explained.json()).expect("JSON") + "\n"),
            );
        }
    }
    golden::golden("explained_edge.txt", &told);
}

/// Routes that ask for everything that a route can ask for.
const EXPLAINED: &str = r#"
[[listen]]
address = ":80"
[[listen]]
address = ":443"
tls = "a"
[tls.a]
certificate = "/c"

[[site]]
host = ["shop.example", "*.shop.example"]

[[site.route]]
name = "assets"
path = "/assets/*"
files = "/srv/www"
cache = "max-age=60"

[[site.route]]
name = "new orders"
path = "/api/{rest*}"
scheme = "https"
method = ["POST", "PUT"]
header = { x-kind = "new" }
client = ["10.0.0.0/8"]
service = "orders.shop.local"

[[site.route]]
path = "/api/*"
not_client = "10.0.0.0/8"
allow = ["192.0.2.0/24"]
service = "orders.shop.local"
body = "1MiB"

[[site]]
host_regex = '^www[0-9]+\.'
listen = ":443"

[[site.route]]
path_regex = "^/$"
respond = "hello"
"#;
