//! What holds for the whole edge: who it is, where it listens, whom it trusts, what it limits.

use std::fmt::Write as _;

use super::reason::{in_route, is_as_ever, reason};
use super::text::{plain, quoted, shown, shown_list};
use super::{Document, Out, Value, Values, mesh, scripts};

/// What is asked of clients at a listener.
fn client_of<'v>(tls: &mut String, value: &impl Fn(&str) -> Option<&'v Value>) {
    // An authority of the mesh's comes before files.
    let of_the_mesh =
        value("mesh.client-authority").filter(|arn| arn.as_text().is_some_and(|arn| !arn.is_empty()));
    if let Some(file) = of_the_mesh.or_else(|| value("ssl.verifyclient.ca-file")).and_then(Value::as_text) {
        let _ = writeln!(tls, "client_ca = {}", quoted(file));
    }
    let is_on = |key: &str| value(key).and_then(crate::directive::truth);
    if is_on("ssl.verifyclient.activate") == Some(true) {
        let must = is_on("ssl.verifyclient.enforce") != Some(false);
        let _ = writeln!(tls, "client = \"{}\"", if must { "require" } else { "request" });
    }
}

/// What a table of the form has of a listener's TLS.
const TLS: [&str; 6] = [
    "ssl.engine",
    "ssl.pemfile",
    "ssl.privkey",
    "ssl.verifyclient.ca-file",
    "ssl.verifyclient.activate",
    "ssl.verifyclient.enforce",
];

impl Out {
    pub(super) fn edge(&mut self, global: &Values<'_>) {
        let keys = [
            ("server.name", "name"),
            ("mesh.gateway", "gateway"),
            ("mesh.keys", "keys"),
            ("server.username", "user"),
            ("server.groupname", "group"),
            ("server.pid-file", "pid_file"),
            ("server.tag", "server_header"),
        ];
        let folders =
            global.get("server.upload-dirs").filter(|list| list.as_list().is_some_and(|it| !it.is_empty()));
        let folders = folders.map(|list| format!("upload_folders = {}", shown_list(list)));
        self.table("edge", global, &keys, folders);
        self.table(
            "log",
            global,
            &[
                ("accesslog.filename", "access"),
                ("server.errorlog", "errors"),
                ("accesslog.format", "format"),
            ],
            None,
        );
    }

    /// A table of texts, if there are some.
    fn table(&mut self, name: &str, global: &Values<'_>, keys: &[(&str, &str)], last: Option<String>) {
        let lines: Vec<String> = keys
            .iter()
            .filter_map(|(from, to)| Some(format!("{to} = {}", quoted(global.get(from)?.as_text()?))))
            .filter(|line| !line.ends_with("= \"\""))
            .chain(last)
            .collect();
        if !lines.is_empty() {
            let _ = write!(self.text, "\n[{name}]\n{}\n", lines.join("\n"));
        }
    }

    pub(super) fn listeners(&mut self, document: &Document, global: &Values<'_>) {
        let mut tls = String::new();
        for (number, block) in document.blocks.iter().enumerate() {
            let socket = block.condition.as_ref().filter(|condition| {
                &*condition.object == "SERVER" && condition.operator == "==" && !condition.otherwise
            });
            if let Some(condition) = socket {
                self.listener(document, &condition.value, number, &mut tls);
            }
        }
        let port = global.get("server.port").map_or_else(|| "80".into(), |port| plain(port));
        let bind = global.get("server.bind").and_then(|bind| bind.as_text()).map_or("", |bind| &**bind);
        let address = if bind.starts_with('/') { bind.to_owned() } else { format!("{bind}:{port}") };
        self.listener(document, &address, 0, &mut tls);
        self.text.push_str(&tls);
    }

    /// One listener, and what is shown there.
    fn listener(&mut self, document: &Document, address: &str, number: usize, tls: &mut String) {
        let block = &document.blocks[number];
        let value = |key: &str| block.value(key).or_else(|| document.global(key));
        let is_on = |key: &str| value(key).and_then(crate::directive::truth) == Some(true);
        let _ = write!(self.text, "\n[[listen]]\naddress = {}\n", quoted(address));
        if !is_on("ssl.engine") {
            let socket = (number > 0).then_some(address);
            let to_https =
                self.https.iter().find(|one| one.listen.is_none() || one.listen.as_deref() == socket);
            if let Some(to_https) = to_https {
                let status = to_https.status.clone();
                self.line("redirect = \"https\"");
                if status != "308" {
                    self.line(&format!("status = {status}"));
                }
            } else if is_on("mesh.redirect-https") {
                self.line("redirect = \"https\"");
            }
            return;
        }
        if is_on("mesh.http3") {
            self.line("protocols = [\"h1\", \"h2\", \"h3\"]");
        }
        let acme = value("mesh.acme").and_then(|acme| acme.as_list()).filter(|list| !list.is_empty());
        if let Some(acme) = acme.filter(|_| value("mesh.certificate").is_none()) {
            // There is one for all listeners.
            let table = format!("\n[tls.acme]\nacme = {}\n", mesh::inline(acme));
            if !tls.contains(&table) {
                tls.push_str(&table);
                self.versions(&value, tls);
                client_of(tls, &value);
            }
            self.line("tls = \"acme\"");
            return;
        }
        let name = format!("tls{}", tls.matches("[tls.").count() + 1);
        let _ = writeln!(self.text, "tls = \"{name}\"");
        let _ = writeln!(tls, "\n[tls.{name}]");
        for (from, to) in
            [("mesh.certificate", "arn"), ("ssl.pemfile", "certificate"), ("ssl.privkey", "key")]
        {
            // The mesh's comes before files, and there is one.
            let is_file = matches!(from, "ssl.pemfile" | "ssl.privkey");
            if is_file && value("mesh.certificate").is_some() {
                continue;
            }
            if let Some(text) = value(from).and_then(Value::as_text) {
                let _ = writeln!(tls, "{to} = {}", quoted(text));
            }
        }
        self.versions(&value, tls);
        client_of(tls, &value);
        for (key, value, place) in block.values() {
            if key.starts_with("ssl.") && !TLS.contains(&&**key) && !is_as_ever(key, value) {
                let line = document.sources.shown_line(place);
                let comment = format!("# no equal here: {key} = {}  ({line}; {})", shown(value), reason(key));
                let _ = writeln!(tls, "{}", comment.replace('\n', " "));
            }
        }
    }

    /// The oldest version that is spoken, where it is not the form's.
    fn versions<'v>(&self, value: &impl Fn(&str) -> Option<&'v Value>, tls: &mut String) {
        let commands = value("ssl.openssl.ssl-conf-cmd").and_then(Value::as_list);
        let oldest = commands.and_then(|list| list.get("MinProtocol")).map(plain);
        let newest_only = match oldest {
            Some(oldest) => oldest.eq_ignore_ascii_case("TLSv1.3"),
            None => self.only_1_3,
        };
        if newest_only {
            tls.push_str("min_version = \"1.3\"\n");
        }
    }

    /// Whose forwarding headers are believed.
    pub(super) fn trust(&mut self, global: &Values<'_>) {
        let Some(list) = global.get("extforward.forwarder").and_then(|value| value.as_list()) else { return };
        let trusted = list.iter().filter(|(key, value)| {
            key.is_some_and(|key| !key.starts_with("hap-"))
                && value.as_text().is_some_and(|text| **text == *"trust")
        });
        let mut from: Vec<String> = trusted.filter_map(|(key, _)| Some(quoted(key?))).collect();
        if from.iter().any(|one| one == "\"all\"") {
            from = vec!["\"0.0.0.0/0\"".into(), "\"::/0\"".into()];
        }
        let _ = write!(self.text, "\n[trust]\nforwarded_from = [{}]\n", from.join(", "));
        if let Some(headers) = global.get("extforward.headers") {
            let _ = writeln!(self.text, "headers = {}", shown_list(headers));
        }
    }

    pub(super) fn limits(&mut self, global: &Values<'_>) {
        let with = |key: &str, unit: &str| {
            let value = plain(global.get(key)?);
            (value != "0").then(|| format!("\"{value}{unit}\""))
        };
        let keys = [
            ("keep_alive", with("server.max-keep-alive-idle", "s")),
            ("read_timeout", with("server.max-read-idle", "s")),
            ("write_timeout", with("server.max-write-idle", "s")),
            ("headers", with("server.max-request-field-size", "B")),
            ("body", with("server.max-request-size", "KiB")),
            (
                "connections",
                global.get("server.max-connections").map(|value| plain(value)).filter(|value| value != "0"),
            ),
        ];
        let files = global.get("server.max-fds").map(|value| plain(value)).filter(|value| value != "0");
        let keys = keys.into_iter().chain([("open_files", files)]).chain(mesh::limits(global));
        let lines: Vec<String> =
            keys.filter_map(|(key, value)| Some(format!("{key} = {}", value?))).collect();
        if !lines.is_empty() {
            let _ = write!(self.text, "\n[limits]\n{}\n", lines.join("\n"));
        }
    }

    pub(super) fn types(&mut self, global: &Values<'_>) {
        let Some(list) = global.get("mimetype.assign").and_then(|value| value.as_list()) else { return };
        self.text.push_str("\n[types]\n");
        for (suffix, kind) in list.iter() {
            if let (Some(suffix), Some(kind)) = (suffix, kind.as_text()) {
                let _ = writeln!(self.text, "{} = {}", quoted(suffix), quoted(kind));
            }
        }
    }

    /// Global directives that no table has taken.
    pub(super) fn rest(&mut self, global: &Values<'_>) {
        const TAKEN: &[&str] = &[
            "server.name",
            "mesh.gateway",
            "mesh.keys",
            "server.username",
            "server.groupname",
            "server.pid-file",
            "server.tag",
            "accesslog.filename",
            "server.errorlog",
            "accesslog.format",
            "server.port",
            "server.bind",
            "server.max-keep-alive-idle",
            "server.max-read-idle",
            "server.max-write-idle",
            "server.max-request-field-size",
            "server.max-request-size",
            "server.max-connections",
            "mimetype.assign",
            "server.upload-dirs",
            "server.max-fds",
            "server.modules",
            "server.event-handler",
            "server.network-backend",
            "server.compat-module-load",
            "extforward.forwarder",
            "extforward.headers",
        ];
        let left: Vec<(&str, &Value)> = global
            .iter()
            .map(|(key, value)| (*key, *value))
            .filter(|(key, _)| !key.starts_with("var.") && !TAKEN.contains(key) && !in_route(key))
            .filter(|(key, _)| {
                !TLS.contains(key) && !scripts::PROGRAMS.contains(key) && !mesh::in_tables(key)
            })
            .collect();
        if !left.is_empty() {
            self.text.push('\n');
        }
        for (key, value) in left.into_iter().filter(|(key, value)| !is_as_ever(key, value)) {
            self.no_equal("", key, Some(value), reason(key));
        }
    }
}
