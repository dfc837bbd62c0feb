//! `lighttpd.conf`, read and compiled: what lighttpd's own behaviour was measured to be.

#[path = "support/golden.rs"]
mod golden;
mod support;

use std::sync::Arc;

use golden::golden;
use selvedge_site::lighttpd::{Compiled, Level, Options, compile, parse};
use selvedge_site::{Compat, Program, RequestFacts, Resolver, Severity, has_errors};
use support::Memory;

fn read(text: &str) -> Result<selvedge_site::lighttpd::Document, String> {
    read_with(&mut Memory::with(&[("/etc/l/lighttpd.conf", text)]), Options::default())
}

fn read_with(files: &mut Memory, options: Options) -> Result<selvedge_site::lighttpd::Document, String> {
    parse("/etc/l/lighttpd.conf", files, options)
        .map_err(|(found, sources)| found.iter().map(|one| one.shown(&sources)).collect())
}

fn compiled(text: &str) -> Compiled {
    let document = read(text).expect("it parses");
    compile(&document, Compat::V1_4_69, Level::Modules)
}

/// A program from directives, with what every configuration needs.
fn program(text: &str) -> Arc<Program> {
    let compiled = compiled(&format!("server.document-root = \"/srv\"\n{text}\n"));
    let errors: Vec<_> = compiled.diagnostics.iter().filter(|one| one.severity == Severity::Error).collect();
    assert!(errors.is_empty(), "{errors:?}");
    Arc::new(compiled.program.expect("no errors"))
}

fn value(text: &str) -> String {
    let document = read(text).expect("it parses");
    let form = document.normal_form();
    let line = form.lines().find_map(|line| line.trim_start().strip_prefix("x.y")).expect("it is set");
    line.trim_start().strip_prefix("= ").expect("a value").to_owned()
}

#[test]
fn values_are_worked_out_while_reading() {
    let rows = [
        ("x.y = \"a\" + \"b\"\n", "\"ab\""),
        ("x.y = \"a\" + 1\n", "\"a1\""),
        ("x.y = 1 + \"a\"\n", "\"1a\""),
        ("x.y = 1 + 2\n", "3"),
        ("x.y = (\"a\") + (\"b\")\n", "(\"a\", \"b\")"),
        ("n = \"b\"\nx.y = \"a\" + n\n", "\"ab\""),
        ("var.n = \"b\"\nx.y = \"a\" + var.n + n\n", "\"abb\""),
        ("server.name = \"s\"\nx.y = server.name + \"/\"\n", "\"s/\""),
        ("x.y = \"a\"\nx.y += \"b\"\n", "\"ab\""),
        ("x.y = \"a\"\nx.y := \"b\"\n", "\"b\""),
        ("x.y += \"b\"\n", "\"b\""),
        ("x.y = \"a\\\"b\\.c\"\n", "\"a\\\"b\\.c\""),
        ("x.y = ( \"a\", \"b\", )\n", "(\"a\", \"b\")"),
        ("x.y = var.CWD\n", "\"/work\""),
        ("x.y = var.PID\n", "7"),
        ("x.y = \"a\" y.z = \"b\"\n", "\"a\""),
        ("x.y = \"\u{e4}\"\u{a0}\r\n", "\"\u{e4}\""),
        ("x.y = # comment\n \"a\"\n", "\"a\""),
        ("x.y =\ny.z = \"a\"\n", ""),
        ("x.y\n= \"a\"\n", "\"a\""),
        ("x.y = \"a\" +\n \"b\"\n", "\"ab\""),
    ];
    for (text, expected) in rows {
        if expected.is_empty() {
            assert!(read(text).is_err(), "{text}");
        } else {
            assert_eq!(value(text), expected, "{text}");
        }
    }
}

#[test]
fn errors_have_a_line_a_column_and_a_hint() {
    let rows = [
        ("x.y = \"a\"\nx.y = \"b\"\n", "2:1", "Duplicate config variable: x.y"),
        ("x.y = z\n", "1:7", "Undefined config variable: var.z"),
        ("x.y = true\n", "1:7", "write \"enable\", in quotes"),
        ("x.y = env.NOPE\n", "1:7", "Undefined env variable: NOPE"),
        ("env.A = \"b\"\n", "1:1", "Setting env variable"),
        ("x.y = \"a\n", "1:7", "missing closing quote"),
        ("x.y = (\"a\" = \"b\")\n", "1:12", "use => for assignments in arrays"),
        ("x.y = (\"a\" => \"b\", \"a\" => \"b\")\n", "1:20", "duplicate array-key: a"),
        ("x.y = (\"a\") + \"b\"\n", "1:13", "data type mismatch"),
        ("x.y = (\"a\" => 1) + (\"a\" => 2)\n", "1:18", "Duplicate array-key 'a'"),
        ("$HTTP[\"hots\"] == \"a\" { }\n", "1:1", "error comp_key $HTTP[\"hots\"]"),
        ("$HTTP[\"host\"] = \"a\" { }\n", "1:15", "only == =~ =^ =$ are allowed"),
        ("$HTTP[\"remoteip\"] == \"10.0.0/8\" { }\n", "1:1", "invalid IP addr"),
        ("$HTTP[\"host\"] == \"a\" {\n", "2:1", "a block is not closed"),
        ("$HTTP[\"host\"] == \"a\" x {\n}\n", "1:22", "unexpected 'x'"),
        ("x.y = )\n", "1:7", "closed that was not opened"),
        ("global { $HTTP[\"host\"] == \"a\" { } }\n", "1:10", "Cannot use conditionals inside a global"),
        ("include \"nope.conf\"\n", "1:1", "include file not found: /etc/l/nope.conf"),
        ("include_shell \"rm -rf /\"\n", "1:1", "--allow-shell"),
        ("x.y = 99999999999999999999\n", "1:7", "error parsing number"),
        ("$HTTP[\"url\"] == \"a\" { } else { } else { }\n", "1:34", "unreachable"),
        ("x.y\n", "1:4", "=, += or :="),
        ("x.y = \"a\"\nx", "2:1", "invalid character in variable name"),
        ("x.y = \"a\" ! b\n", "1:11", "unexpected exclamation"),
    ];
    for (text, place, message) in rows {
        let found = read(text).expect_err(text);
        assert!(found.contains(&format!("/etc/l/lighttpd.conf:{place}\n")), "{text}: {found}");
        assert!(found.contains(message), "{text}: {found}");
    }
}

#[test]
fn files_are_included_by_pattern_and_beside_the_first() {
    let mut files = Memory::with(&[
        (
            "/etc/l/lighttpd.conf",
            "a = \"1\"\ninclude \"conf.d/*.conf\"\ninclude \"none/*.conf\"\nx.y = a + b + c\n",
        ),
        ("/etc/l/conf.d/1.conf", "b = a + \"2\"\ninclude \"conf.d/deep.inc\"\n"),
        ("/etc/l/conf.d/deep.inc", "c = \"3\"\n"),
        ("/etc/l/conf.d/.hidden.conf", "wrong =\n"),
    ]);
    let form = read_with(&mut files, Options::default()).expect("it parses").normal_form();
    assert!(form.contains("x.y     = \"1123\"\n"), "{form}");
    let mut files = Memory::with(&[("/etc/l/lighttpd.conf", "include \"lighttpd.conf\"\n")]);
    let found = read_with(&mut files, Options::default()).expect_err("endless");
    assert!(found.contains("include files more than 16 deep"), "{found}");
}

#[test]
fn commands_run_only_where_they_are_allowed_and_helpers_run_always() {
    let text = "include_shell \"echo hello\"\n";
    let mut files = Memory::with(&[("/etc/l/lighttpd.conf", text)]);
    let options = Options { allow_shell: true, ..Options::default() };
    let form = read_with(&mut files, options).expect("allowed").normal_form();
    assert!(form.contains("server.tag = \"shell\""), "{form}");
    assert_eq!(files.shells, ["echo hello"]);
    let text = "server.port = 8080\ninclude_shell \"/usr/share/lighttpd/use-ipv6.pl \" + server.port\n\
                include_shell \"/usr/share/lighttpd/create-mime.conf.pl\"\n\
                include_shell \"cat conf.d/*.conf\"\n";
    let mut files = Memory::with(&[
        ("/etc/l/lighttpd.conf", text),
        (
            "/etc/mime.types",
            "# types\ntext/html html htm\ntext/css\tcss\napplication/x-a a\nimage/a a\ntext/b b\naudio/b b\n",
        ),
        ("/etc/l/conf.d/1.conf", "server.tag = \"cat\"\n"),
    ]);
    let form = read_with(&mut files, Options::default()).expect("native").normal_form();
    assert!(files.shells.is_empty());
    for part in [
        "$SERVER[\"socket\"] == \"[::]:8080\" {",
        "\".html\"    => \"text/html\",",
        "\".css\"     => \"text/css;charset=utf-8\",",
        "\".a\"       => \"image/a\",",
        "\".b\"       => \"application/octet-stream\",",
        "server.tag      = \"cat\"",
    ] {
        assert!(form.contains(part), "{part} in {form}");
    }
    // Anything that a shell would read is no helper.
    let mut files = Memory::with(&[("/etc/l/lighttpd.conf", "include_shell \"cat a; rm b\"\n")]);
    assert!(read_with(&mut files, Options::default()).is_err());
}

#[test]
fn the_last_block_that_holds_replaces_what_others_set() {
    let program = program(
        "server.modules = (\"mod_setenv\")\n\
         setenv.add-response-header = (\"A\" => \"global\")\n\
         $HTTP[\"host\"] == \"h.example\" {\n  setenv.add-response-header = (\"B\" => \"host\")\n\
           $HTTP[\"url\"] =^ \"/plus\" { setenv.add-response-header += (\"C\" => \"plus\") }\n}\n\
         $HTTP[\"url\"] =^ \"/late\" { setenv.add-response-header = (\"D\" => \"late\") }\n\
         else $HTTP[\"url\"] =^ \"/second\" { server.name = \"second\" }\n\
         else { server.name = \"otherwise\" }\n",
    );
    let mut resolver = Resolver::new(Arc::clone(&program));
    let rows = [
        ("x.example", "/", "A", "otherwise"),
        ("h.example", "/", "B", "otherwise"),
        ("h.example:8080", "/plus", "BC", "otherwise"),
        ("h.example", "/late", "D", ""),
        ("x.example", "/late", "D", ""),
        ("h.example", "/second", "B", "second"),
    ];
    for _ in 0..2 {
        for (host, path, headers, name) in rows {
            let facts = RequestFacts { host: Some(host), path: Some(path), ..RequestFacts::default() };
            let resolved = resolver.resolve(&facts).expect("quick");
            let found: String =
                resolved.directives.setenv.add_response_header.iter().map(|(name, _)| &**name).collect();
            assert_eq!(found, headers, "{host}{path}");
            assert_eq!(resolved.directives.server.name.as_deref().unwrap_or(""), name, "{host}{path}");
            let fresh = program.resolve(&facts).expect("quick");
            assert_eq!(
                fresh.directives.setenv.add_response_header, resolved.directives.setenv.add_response_header,
                "the memory says what the program says"
            );
        }
    }
    // Before the head is read, nothing that depends on it holds, and neither does its else.
    let resolved = resolver.resolve(&RequestFacts::default()).expect("quick");
    assert_eq!(resolved.directives.server.name, None);
    assert_eq!(resolved.id, 0);
}

#[test]
fn blocks_with_the_same_condition_are_one() {
    let text =
        "$HTTP[\"host\"] == \"a\" { server.name = \"x\" }\n$HTTP[\"host\"] == \"a\" { server.tag = \"y\" }\n";
    let document = read(text).expect("it parses");
    assert_eq!(document.blocks.len(), 2);
    assert!(read("$HTTP[\"host\"] == \"a\" { x.y = 1 }\n$HTTP[\"host\"] == \"a\" { x.y = 2 }\n").is_err());
}

#[test]
fn unknown_keys_and_unloaded_modules_only_warn() {
    let compiled =
        compiled("server.document-root = \"/srv\"\nserver.prot = 80\nalias.url = (\"/a\" => \"/b\")\n");
    assert!(!has_errors(&compiled.diagnostics));
    let messages: Vec<(&str, Option<&str>)> =
        compiled.diagnostics.iter().map(|one| (&*one.message, one.hint.as_deref())).collect();
    assert_eq!(
        messages,
        [
            ("WARNING: unknown config-key: server.prot (ignored)", Some("did you mean server.port?")),
            ("WARNING: unknown config-key: alias.url (ignored)", Some("mod_alias is not in server.modules")),
        ]
    );
    let program = compiled.program.expect("it starts");
    assert!(program.base().directives.alias.url.is_empty(), "a module that is not loaded does nothing");
}

/// Every directive of lighttpd 1.4.85 is served, or passed over by name with what to do instead.
#[test]
#[expect(clippy::disallowed_methods, reason = "the reference is beside the workspace, or nowhere")]
fn no_directive_of_lighttpds_is_unknown() {
    let shared = std::env::var("SELVEDGE_SHARED")
        .unwrap_or_else(|_| concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared").to_owned());
    let Ok(list) = std::fs::read_to_string(format!("{shared}/reference/lighttpd-directives-1.4.85.txt"))
    else {
        eprintln!("skipped: the reference list of directives is not here");
        return;
    };
    let modules = "server.modules = ( \"mod_access\", \"mod_accesslog\", \"mod_alias\", \"mod_auth\", \"mod_authn_file\", \
                   \"mod_cgi\", \"mod_deflate\", \"mod_dirlisting\", \"mod_evhost\", \"mod_expire\", \"mod_extforward\", \
                   \"mod_fastcgi\", \"mod_indexfile\", \"mod_openssl\", \"mod_proxy\", \"mod_redirect\", \"mod_rewrite\", \
                   \"mod_scgi\", \"mod_setenv\", \"mod_simple_vhost\", \"mod_ssi\", \"mod_staticfile\", \"mod_status\", \"mod_userdir\", \
                   \"mod_wstunnel\" )\n";
    let (mut served, mut refused) = (Vec::new(), Vec::new());
    for key in list.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
        // What kind of value it takes is not known here: one of each, and what is wrong with a value is not looked at.
        let text = match key {
            "server.modules" => modules.to_owned(),
            _ => format!("{modules}server.compat-module-load := \"disable\"\n{key} := \"\"\n"),
        };
        let document = read(&text).expect("it parses");
        let found = compile(&document, Compat::V1_4_85, Level::Modules).diagnostics;
        assert!(!found.iter().any(|one| one.message.contains("unknown config-key")), "{key}: {found:?}");
        match found.iter().find(|one| one.message.contains("is not supported")) {
            Some(found) => {
                assert!(found.message.contains(key) && found.hint.is_some(), "{key}: {found:?}");
                refused.push(key);
            }
            None => served.push(key),
        }
    }
    assert_eq!((served.len(), refused.len()), (212, 48), "{refused:?}");
}

#[test]
fn directives_that_are_not_served_say_what_to_do_instead() {
    let rows = [
        ("magnet.attract-raw-url-to = ( \"/a.lua\" )", "CGI or FastCGI"),
        ("auth.backend.ldap.hostname = \"h\"", "OpenID Connect"),
        ("evasive.max-conns-per-ip = 2", "per_client"),
        ("server.h2c = \"enable\"", "server.feature-flags"),
        ("dir-listing.hide-dotfile = \"enable\"", "did you mean dir-listing.hide-dotfiles?"),
    ];
    for (text, hint) in rows {
        let compiled = compiled(&format!("server.document-root = \"/srv\"\n{text}\n"));
        assert!(!has_errors(&compiled.diagnostics), "{text}: {:?}", compiled.diagnostics);
        let [found] = &*compiled.diagnostics else { panic!("{text}: {:?}", compiled.diagnostics) };
        assert!(found.hint.as_deref().is_some_and(|found| found.contains(hint)), "{found:?}");
    }
}

/// What is taken and counts otherwise than somebody may think is told at its place.
#[test]
fn what_counts_otherwise_is_warned_of() {
    let rows = [
        ("ssl.cipher-list = \"HIGH\"", "\"mod_openssl\"", "ssl.cipher-list", true),
        ("ssl.cipher-list = \"\"", "\"mod_openssl\"", "ssl.cipher-list", false),
        (
            "extforward.hap-PROXY-ssl-client-verify = \"enable\"",
            "\"mod_extforward\"",
            "extforward.hap-PROXY-ssl-client-verify",
            true,
        ),
        (
            "extforward.hap-PROXY-ssl-client-verify = \"disable\"",
            "\"mod_extforward\"",
            "extforward.hap-PROXY-ssl-client-verify",
            false,
        ),
    ];
    for (text, module, key, is_told) in rows {
        let text = format!("server.document-root = \"/srv\"\nserver.modules = ( {module} )\n{text}\n");
        let document = read(&text).expect("it parses");
        let found = compile(&document, Compat::V1_4_69, Level::Modules);
        assert!(found.program.is_some(), "{text}: {:?}", found.diagnostics);
        let told = found.diagnostics.iter().find(|one| one.message.contains(key));
        assert_eq!(told.is_some(), is_told, "{text}: {:?}", found.diagnostics);
        if let Some(told) = told {
            assert_eq!(told.severity, Severity::Warning, "{text}");
            let place = told.place.expect("a place");
            assert_eq!(document.sources.line_and_column(place).0, 3, "{text}");
        }
    }
}

/// As lighttpd 1.4.69 on Linux, with `-tt` and when it starts.
#[test]
fn words_about_the_system_are_those_that_lighttpd_starts_with() {
    let rows: [(&str, &[&str], &[&str]); 2] = [
        (
            "server.event-handler",
            &["epoll", "linux-sysepoll", "poll", "select", "libev"],
            &["", "kqueue", "linux-rtsig", "poll "],
        ),
        (
            "server.network-backend",
            &["", "sendfile", "linux-sendfile", "freebsd-sendfile", "solaris-sendfilev", "writev", "write"],
            &["gather-write", "Writev"],
        ),
    ];
    for (key, right, wrong) in rows {
        for (words, fine) in [(right, true), (wrong, false)] {
            for word in words {
                let text = format!("server.document-root = \"/srv\"\n{key} = \"{word}\"\n");
                let found = compiled(&text).diagnostics;
                assert_eq!(!has_errors(&found), fine, "{text}: {found:?}");
                let document = read(&text).expect("it parses");
                let syntax = compile(&document, Compat::V1_4_69, Level::Syntax).diagnostics;
                assert!(syntax.is_empty(), "-t takes it: {syntax:?}");
            }
        }
    }
}

#[test]
fn modules_are_refused_by_name_with_what_to_do_instead() {
    let rows = [
        ("mod_magnet", "mod_magnet is not supported", "CGI or FastCGI"),
        ("mod_reddirect", "mod_reddirect plugin not found", "did you mean mod_redirect?"),
        ("mod_ajp13", "mod_ajp13 is not supported", "proxy.server"),
    ];
    for (module, message, hint) in rows {
        let compiled =
            compiled(&format!("server.document-root = \"/srv\"\nserver.modules = (\"{module}\")\n"));
        let found = compiled.diagnostics.iter().find(|one| one.severity == Severity::Error).expect("refused");
        assert_eq!(found.message, message);
        assert!(found.hint.as_deref().is_some_and(|found| found.contains(hint)), "{found:?}");
        assert!(compiled.program.is_none());
    }
}

#[test]
fn strings_are_numbers_and_words_are_booleans() {
    let rows = [
        ("server.max-keep-alive-idle = \"7\"", true),
        ("server.max-keep-alive-idle = \"seven\"", false),
        ("server.max-keep-alive-idle = (\"7\")", false),
        ("server.range-requests = \"enabled\"", true),
        ("server.range-requests = \"TRUE\"", true),
        ("server.range-requests = 0", true),
        ("server.range-requests = \"on\"", false),
        ("server.name = 7", false),
        ("index-file.names = (\"a\", \"b\")", true),
        ("index-file.names = (\"a\" => \"b\")", false),
        ("server.upload-dirs = \"a\"", false),
        ("mimetype.assign = (\"a\")", false),
        ("server.http-parseopts = (\"url-path-2f-reject\" => \"enable\")", false),
        (
            "server.http-parseopts = (\"url-path-2f-decode\" => \"disable\", \"url-path-2f-reject\" => \"enable\")",
            true,
        ),
        ("server.http-parseopts = (\"nonsense\" => \"enable\")", false),
        ("server.stat-cache-engine = \"magic\"", false),
        ("$HTTP[\"url\"] =~ \"(\" { }", false),
        ("$HTTP[\"url\"] =~ \"^/(?!a)(b)\" { }", true),
    ];
    for (text, fine) in rows {
        let compiled = compiled(&format!("server.document-root = \"/srv\"\n{text}\n"));
        assert_eq!(!has_errors(&compiled.diagnostics), fine, "{text}: {:?}", compiled.diagnostics);
    }
}

#[test]
fn a_block_that_names_a_chain_alone_has_its_key_in_it() {
    let program = program(
        "server.modules = (\"mod_openssl\")\n\
         $SERVER[\"socket\"] == \":443\" { ssl.engine = \"enable\" ssl.pemfile = \"/a.pem\" ssl.privkey = \"/a.key\" }\n\
         $HTTP[\"host\"] == \"b\" { ssl.pemfile = \"/b.pem\" }\n$HTTP[\"host\"] == \"c\" { ssl.verifyclient.depth = 2 }\n",
    );
    for (host, chain, key) in
        [("a", "/a.pem", "/a.key"), ("b", "/b.pem", "/b.pem"), ("c", "/a.pem", "/a.key")]
    {
        let facts = RequestFacts { socket: Some("0.0.0.0:443"), host: Some(host), ..RequestFacts::default() };
        let ssl = program.resolve(&facts).expect("quick").directives.ssl.clone();
        assert_eq!((ssl.pemfile.as_deref(), ssl.privkey.as_deref()), (Some(chain), Some(key)), "{host}");
    }
}

#[test]
fn sockets_become_listeners_with_their_own_tls() {
    let program = program(
        "server.modules = (\"mod_openssl\")\nserver.port = 8080\nssl.pemfile = \"/global.pem\"\n\
         $SERVER[\"socket\"] == \":8443\" { ssl.engine = \"enable\" ssl.privkey = \"/k\" server.name = \"tls\" }\n\
         $SERVER[\"socket\"] == \"[::]:8080\" { }\n$SERVER[\"socket\"] == \"0.0.0.0:8443\" { }\n\
         $SERVER[\"socket\"] == \"/run/edge.sock\" { server.socket-perms = \"0660\" }\n",
    );
    let found: Vec<(&str, bool)> =
        program.listeners.iter().map(|listener| (&*listener.token, listener.ssl.engine)).collect();
    assert_eq!(
        found,
        [("0.0.0.0:8443", true), ("[::]:8080", false), ("/run/edge.sock", false), ("0.0.0.0:8080", false)]
    );
    assert_eq!(program.listeners[0].ssl.pemfile.as_deref(), Some("/global.pem"));
    assert_eq!(program.listeners[2].socket.socket_perms.as_deref(), Some("0660"));
    let facts = RequestFacts { socket: Some("0.0.0.0:8443"), ..RequestFacts::default() };
    assert_eq!(program.resolve(&facts).expect("quick").directives.server.name.as_deref(), Some("tls"));
}

#[test]
fn server_options_in_conditions_only_warn_and_do_nothing() {
    let compiled = compiled(
        "server.document-root = \"/srv\"\nserver.port = 81\n$HTTP[\"host\"] == \"a\" { server.port = 82 ssl.engine = \"enable\" }\n",
    );
    let warned = |text: &str| compiled.diagnostics.iter().any(|one| one.message.contains(text));
    assert!(warned("DEPRECATED: do not set server options in conditionals, variable: server.port"));
    assert!(warned("WARNING: ssl.engine must be in global scope"));
    let program = compiled.program.expect("it starts");
    assert_eq!(program.listeners.len(), 1);
    assert_eq!(&*program.listeners[0].token, "0.0.0.0:81");
}

#[test]
fn rewriting_rules_of_a_block_are_one_list() {
    let program = program(
        "server.modules = (\"mod_rewrite\")\n\
         url.rewrite-repeat = (\"^/r/(.*)\" => \"/$1\")\nurl.rewrite-once = (\"^/o%2f\" => \"/once\", \"^/p\" => \"\")\n\
         $HTTP[\"host\"] =~ \"^(.*)\\.example$\" { url.rewrite-if-not-file = (\"^/(.*)\" => \"/%1/$1\") }\n",
    );
    let rewrite = &program.base().directives.url.rewrite;
    let patterns: Vec<&str> = rewrite.rules.iter().map(|rule| rule.pattern.as_str()).collect();
    assert_eq!(patterns, ["^/o%2F", "^/p", "^/r/(.*)"]);
    assert_eq!((rewrite.repeats(1), rewrite.repeats(2)), (false, true));
    let facts = RequestFacts { host: Some("www.example"), path: Some("/a"), ..RequestFacts::default() };
    let resolved = program.resolve(&facts).expect("quick");
    let rules = &resolved.directives.url.rewrite_if_not_file;
    assert!(rules.asks_condition());
    let condition = program.condition(rules.condition.expect("in a block")).expect("known");
    let (text, groups) = condition.groups(&facts).expect("quick").expect("holds");
    assert_eq!(groups.get(&text, 1), "www");
}

#[test]
fn our_own_keys_need_no_module() {
    let program = program(
        "mesh.gateway = \"shop-gw\"\n\
         $HTTP[\"url\"] =^ \"/orders/\" { mesh.service = \"orders.shop.local\" }\n\
         $HTTP[\"url\"] =^ \"/place\" { mesh.workflow = ( \"machine\" => \"place-order\", \"wait\" => 10, \"else\" => \"202\" ) }\n",
    );
    assert_eq!(program.global().mesh_gateway.as_deref(), Some("shop-gw"));
    let facts = |path| RequestFacts { path: Some(path), ..RequestFacts::default() };
    let orders = program.resolve(&facts("/orders/1")).expect("quick");
    assert_eq!(orders.directives.mesh.service.as_deref(), Some("orders.shop.local"));
    let place = program.resolve(&facts("/place")).expect("quick");
    let workflow = place.directives.mesh.workflow.as_ref().expect("set");
    assert_eq!((&*workflow.machine, workflow.wait_ms), ("place-order", 10_000));
}

#[test]
fn versions_differ_where_lighttpds_do() {
    let document =
        read("server.document-root = \"/srv\"\nserver.modules = (\"mod_redirect\")\n").expect("it parses");
    let code = |compat| {
        let program = compile(&document, compat, Level::Modules).program.expect("it starts");
        program.base().directives.url.redirect_code
    };
    assert_eq!((code(Compat::V1_4_69), code(Compat::V1_4_85)), (301, 308));
    let of = |compat, text: &str| {
        let document = read(&format!("server.document-root = \"/srv\"\n{text}")).expect("it parses");
        let program = compile(&document, compat, Level::Modules).program.expect("it starts");
        let base = &program.base().directives;
        let html = base.mimetype.assign.iter().any(|(suffix, _)| **suffix == *".html");
        (html, base.server.error_handler_of_403, base.ssl.only_1_3, base.static_file.disable_pathinfo)
    };
    assert_eq!(of(Compat::V1_4_69, ""), (false, true, false, false));
    assert_eq!(of(Compat::V1_4_85, ""), (true, false, true, true));
    // What is said counts.
    let said = "mimetype.assign = ( \".x\" => \"a/b\" )\nstatic-file.disable-pathinfo = \"disable\"\n";
    assert_eq!(of(Compat::V1_4_85, said), (false, false, true, false));
    let text = "$HTTP[\"host\"] == \"a\" { }\nelif $HTTP[\"host\"] == \"b\" { }\n";
    let with = |compat| {
        let mut files = Memory::with(&[("/etc/l/lighttpd.conf", text)]);
        read_with(&mut files, Options { compat, ..Options::default() }).is_ok()
    };
    assert_eq!((with(Compat::V1_4_69), with(Compat::V1_4_85)), (false, true));
}

#[test]
fn a_short_file_cannot_grow_without_end() {
    let mut text = String::from("a = \"aaaaaaaaaaaaaaaa\"\n");
    for _ in 0..40 {
        text.push_str("a += a\n");
    }
    let found = read(&text).expect_err("too large");
    assert!(found.contains("the value is larger than"), "{found}");
    let found = read(&format!("x.y = {}\n", "(".repeat(100))).expect_err("too deep");
    assert!(found.contains("nested more than"), "{found}");
    let found = read(&"$HTTP[\"host\"] == \"a\" {\n".repeat(100)).expect_err("too deep");
    assert!(found.contains("nested more than"), "{found}");
}

#[test]
fn what_lighttpd_passes_over_is_passed_over_and_told() {
    let rows = [
        ("index-file.names = ( , \"a\" )\n", "(\"a\")", 1),
        ("index-file.names = ( \"a\" \"b\", \"c\" )\n", "(\"a\", \"c\")", 1),
        ("index-file.names = ( \"a\" )\n}\n", "(\"a\")", 1),
        ("index-file.names = ( \"a\" )\n$HTTP[\"host\"] == \"h\"\n{\n}\n", "(\"a\")", 0),
    ];
    for (text, expected, warnings) in rows {
        let document = read(text).expect("it parses");
        assert!(document.normal_form().contains(&format!("index-file.names = {expected}\n")), "{text}");
        assert_eq!(document.warnings.len(), warnings, "{text}");
    }
}

fn explained(program: &Program, path: &str, query: &str, from: &str) -> String {
    let question = selvedge_site::explain::Question {
        scheme: "http".into(),
        host: "shop.example".into(),
        path: path.into(),
        query: query.into(),
        method: "GET".into(),
        remote: from.parse().expect("an address"),
        headers: Vec::new(),
    };
    selvedge_site::explain::explain(program, &question).expect("quick").text()
}

#[test]
fn an_explanation_ends_with_what_answers() {
    let program = program(
        "server.modules = (\"mod_rewrite\", \"mod_redirect\", \"mod_access\", \"mod_proxy\")\n\
         url.access-deny = (\".inc\")\nurl.rewrite-once = (\"^/r/(.*)\" => \"/old/$1\")\nurl.redirect = (\"^/old/(.*)\" => \"/new/$1?from=%0\")\n\
         $HTTP[\"url\"] =^ \"/api/\" { mesh.service = \"api.local\" }\n$HTTP[\"url\"] =^ \"/order/\" { mesh.workflow = \"place\" }\n\
         $HTTP[\"url\"] =^ \"/app/\" { proxy.server = (\"\" => ((\"host\" => \"127.0.0.1\"))) }\n",
    );
    for (path, query, expected) in [
        ("/a.txt", "", "answer: files below /srv"),
        ("/a.inc", "", "answer: 403: the path ends with \".inc\" of url.access-deny"),
        ("/old/a", "", "answer: a redirect (301) to /new/a?from=, by \"^/old/(.*)\""),
        ("/r/a", "", "answer: that of what it is rewritten to"),
        ("/r/a", "", "answer: a redirect (301) to /new/a?from=, by \"^/old/(.*)\""),
        ("/r/a", "x=1", "\"^/r/(.*)\" makes it /old/a?x=1"),
        ("/api/", "", "answer: the virtual service api.local"),
        ("/order/", "", "answer: the workflow place"),
    ] {
        let text = explained(&program, path, query, "127.0.0.1");
        assert!(text.contains(expected), "{path} {expected}\n{text}");
    }
    // Without a rule that fits there is no redirect.
    assert!(!explained(&program, "/a.txt", "", "127.0.0.1").contains("redirect ("));
}

#[test]
fn a_url_is_explained_line_by_line() {
    let program = program(
        "server.modules = (\"mod_rewrite\")\nserver.name = \"outside\"\n\
         $HTTP[\"host\"] =~ \"^(.*)\\.example$\" {\n  server.name = \"inside\"\n  url.rewrite-once = (\"^/old/(.*)\" => \"/%1/$1\")\n}\n\
         $HTTP[\"url\"] =^ \"/www/\" { mesh.service = \"www.local\" }\n",
    );
    let question = selvedge_site::explain::Question {
        scheme: "http".into(),
        host: "www.example".into(),
        path: "/old/a".into(),
        query: String::new(),
        method: "GET".into(),
        remote: "127.0.0.1".parse().expect("an address"),
        headers: Vec::new(),
    };
    let explained = selvedge_site::explain::explain(&program, &question).expect("quick");
    golden("explained_lighttpd.txt", &explained.text());
    golden(
        "explained_lighttpd.json",
        &(serde_json::to_string_pretty(&explained.json()).expect("JSON") + "\n"),
    );
}

#[test]
fn requests_are_counted_by_the_hosts_and_paths_of_conditions() {
    let program = program(
        "$HTTP[\"host\"] == \"shop.example.com\" {\n  $HTTP[\"url\"] =^ \"/assets/\" { server.tag = \"a\" }\n}\n\
         $HTTP[\"host\"] =$ \".example.org\" { server.tag = \"b\" }\n$HTTP[\"host\"] != \"x\" { server.tag = \"c\" }\n\
         $HTTP[\"url\"] =~ \"\\.(png|jpg)$\" { server.tag = \"d\" }\n$HTTP[\"remoteip\"] == \"10.0.0.0/8\" { server.tag = \"e\" }\n",
    );
    let mut resolver = Resolver::new(Arc::clone(&program));
    let mut counted = |host, path| {
        let facts = RequestFacts { host: Some(host), path: Some(path), ..RequestFacts::default() };
        let route = resolver.resolve(&facts).expect("quick").route as usize;
        assert_eq!(program.resolve(&facts).expect("quick").route as usize, route);
        let (site, name) = program.route_names().nth(route - 1).expect("it has a name");
        format!("{site} {name}")
    };
    assert_eq!(counted("shop.example.com", "/assets/a.css"), "shop.example.com /assets/*");
    assert_eq!(counted("shop.example.com", "/assets/a.png"), r"shop.example.com \.(png|jpg)$");
    assert_eq!(counted("a.example.org", "/"), "*.example.org *");
    assert_eq!(counted("x", "/"), "* *");
    assert_eq!(program.route_names().count(), 9);
    assert_eq!(self::program("").route_names().count(), 0, "the totals say it");
}

#[test]
fn series_have_a_bound() {
    let hosts = |count: usize| -> String {
        (0..count).map(|host| format!("$HTTP[\"host\"] == \"h{host}\" {{ server.tag = \"a\" }}\n")).collect()
    };
    let paths: String =
        (0..100).map(|path| format!("$HTTP[\"url\"] == \"/{path}\" {{ server.tag = \"a\" }}\n")).collect();
    assert_eq!(program(&format!("{}{paths}", hosts(20))).route_names().count(), 21 * 101);
    assert_eq!(program(&format!("{}{paths}", hosts(50))).route_names().count(), 51, "sites alone");
}
