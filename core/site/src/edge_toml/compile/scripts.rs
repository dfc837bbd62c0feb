//! Programs for files by the ends of their names: FastCGI, SCGI, CGI, in one table.

use std::sync::Arc;

use super::super::node::Node;
use super::Compiler;
use super::values::value_of;
use crate::directive::{Backend, BackendExtension, Directives, Named, Setter, Text};
use crate::listener::ListenAddress;
use crate::place::Place;
use crate::value::{List, Value};

/// How a program is reached; a script has one of them.
const WAYS: [&str; 4] = ["fastcgi", "scgi", "cgi", "start"];

impl Compiler<'_> {
    pub(super) fn scripts(&mut self, node: &Node) -> Option<Setter> {
        let (mut fastcgi, mut scgi, mut cgi) = (Vec::new(), Vec::new(), Vec::new());
        for (end, place, script) in node.entries() {
            let ways: Vec<&str> = WAYS.into_iter().filter(|way| script.get(way).is_some()).collect();
            let [way] = ways.as_slice() else {
                self.wrong(*place, format!("scripts.\"{end}\" needs one of {}", WAYS.join(", ")));
                continue;
            };
            for key in ["socket", "processes", "environment", "copy_environment"] {
                if let Some(given) = script.get(key).filter(|_| *way != "start") {
                    self.wrong(given.place, format!("scripts.\"{end}\".{key} is about start: there is none"));
                }
            }
            let value = script.get(way)?;
            let (key, hosts) = match *way {
                "cgi" => {
                    cgi.push((end.clone(), value.text()?.clone()));
                    continue;
                }
                "start" => {
                    let host = self.started(end, script)?;
                    ("fastcgi.server", Value::List([(None, host)].into_iter().collect()))
                }
                "scgi" => ("scgi.server", self.servers(value, script)?),
                _ => ("fastcgi.server", self.servers(value, script)?),
            };
            let entry = Value::List([(Some(end.clone()), hosts)].into_iter().collect());
            let found = self.extensions(key, entry, script.place)?;
            if key == "scgi.server" { &mut scgi } else { &mut fastcgi }.extend(found.iter().cloned());
        }
        let (fastcgi, scgi) = (Backend { extensions: fastcgi.into() }, Backend { extensions: scgi.into() });
        let cgi: Named<Text> = cgi.into();
        Some(Box::new(move |directives| {
            directives.fastcgi.server = fastcgi.clone();
            directives.scgi.server = scgi.clone();
            directives.cgi.assign = cgi.clone();
        }))
    }

    /// Servers as the directive reads them. Routes that say the same share them, as blocks of a `lighttpd.conf` do: a program is started once.
    fn extensions(
        &mut self,
        key: &'static str,
        value: Value,
        place: Place,
    ) -> Option<Arc<[BackendExtension]>> {
        let known = self.programs.iter().find(|(known, said, _)| *known == key && *said == value);
        let (known, last) = (known.map(|(.., before)| *before), self.ids.backends);
        self.ids.backends = known.unwrap_or(last);
        let setter = self.through_value(key, &value, place);
        match known {
            Some(_) => self.ids.backends = last,
            None => self.programs.push((key, value, last)),
        }
        let mut read = Directives::default();
        setter?(&mut read);
        Some(if key == "scgi.server" { read.scgi.server.extensions } else { read.fastcgi.server.extensions })
    }

    /// A program that is started here.
    fn started(&mut self, end: &str, script: &Node) -> Option<Value> {
        let Some(socket) = script.get("socket") else {
            let message = format!("scripts.\"{end}\".socket is missing: the path on which start listens");
            self.wrong(script.place, message);
            return None;
        };
        let processes = script.get("processes").map_or(Value::Integer(4), value_of);
        let mut host = vec![
            entry("bin-path", value_of(script.get("start")?)),
            entry("socket", value_of(socket)),
            entry("min-procs", Value::Integer(1)),
            entry("max-procs", processes),
        ];
        if let Some(environment) = script.get("environment") {
            host.push(entry("bin-environment", value_of(environment)));
        }
        if let Some(names) = script.get("copy_environment") {
            let names = names.items().iter().map(|name| (None, value_of(name)));
            host.push(entry("bin-copy-environment", Value::List(names.collect())));
        }
        host.extend(common(script));
        Some(Value::List(host.into_iter().collect()))
    }

    /// Servers that run already.
    fn servers(&mut self, node: &Node, script: &Node) -> Option<Value> {
        let mut hosts = Vec::new();
        for item in node.items() {
            let mut host: Vec<(Option<Text>, Value)> = match ListenAddress::parse(item.text()?, 80, false) {
                Ok(ListenAddress::Unix(path)) => vec![entry("socket", Value::Text(path))],
                Ok(ListenAddress::Inet(address)) => vec![
                    entry("host", Value::Text(address.ip().to_string().into())),
                    entry("port", Value::Integer(address.port().into())),
                ],
                Ok(ListenAddress::Name { host, port, .. }) => {
                    vec![entry("host", Value::Text(host)), entry("port", Value::Integer(port.into()))]
                }
                Err(message) => {
                    self.wrong(item.place, message);
                    return None;
                }
            };
            host.extend(common(script));
            hosts.push((None, Value::List(host.into_iter().collect())));
        }
        Some(Value::List(hosts.into_iter().collect::<List>()))
    }
}

/// What is said of every kind of server.
fn common(script: &Node) -> Vec<(Option<Text>, Value)> {
    let switch = |key: &str, name: &str| {
        let on = script.get(key).and_then(Node::switch)?;
        Some(entry(name, Value::Text(Arc::from(if on { "enable" } else { "disable" }))))
    };
    let keys =
        [switch("check_file", "check-local"), switch("broken_scriptfilename", "broken-scriptfilename")];
    keys.into_iter().flatten().collect()
}

fn entry(key: &str, value: Value) -> (Option<Text>, Value) {
    (Some(key.into()), value)
}
