//! Programs for files by the ends of their names: FastCGI, SCGI, CGI, in one table.

use std::sync::Arc;

use super::super::node::Node;
use super::Compiler;
use super::values::value_of;
use crate::directive::{Setter, Text};
use crate::listener::ListenAddress;
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
            match *way {
                "cgi" => cgi.push((Some(end.clone()), value_of(value))),
                "start" => {
                    let host = self.started(end, script)?;
                    fastcgi.push((Some(end.clone()), Value::List([(None, host)].into_iter().collect())));
                }
                way => {
                    let hosts = self.servers(value, script)?;
                    if way == "scgi" { &mut scgi } else { &mut fastcgi }.push((Some(end.clone()), hosts));
                }
            }
        }
        let mut setters = Vec::new();
        for (key, entries) in [("fastcgi.server", fastcgi), ("scgi.server", scgi), ("cgi.assign", cgi)] {
            if !entries.is_empty() {
                let value = Value::List(entries.into_iter().collect());
                setters.push(self.through_value(key, &value, node.place)?);
            }
        }
        Some(Box::new(move |directives| setters.iter().for_each(|setter| setter(directives))))
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
