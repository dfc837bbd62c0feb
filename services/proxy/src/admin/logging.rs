//! `/logging`: how much each room of the process logs, changed while it runs.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::{Arc, Mutex, PoisonError};

use http::StatusCode;

use super::query::Query;
use super::reply::Reply;

/// Changes how much this process logs; takes a level, or levels by module as in `info,selvedge_upstream=debug`.
pub type SetLogLevel = Arc<dyn Fn(&str) -> Result<(), String> + Send + Sync>;

/// The rooms by the names that an operator uses, with their modules.
const ROOMS: [(&str, &[&str]); 11] = [
    ("admin", &["selvedge_proxy::admin"]),
    ("bootstrap", &["selvedge_proxy::bootstrap"]),
    ("config", &["selvedge_proxy::discovery", "selvedge_xds"]),
    ("connection", &["selvedge_proxy::connection", "selvedge_proxy::listener", "selvedge_wire"]),
    ("http", &["selvedge_proxy::http1", "selvedge_proxy::request"]),
    ("http2", &["selvedge_proxy::http2", "h2"]),
    ("main", &["selvedge_proxy::run", "selvedge_proxy::lifecycle", "selvedge_proxy::serve"]),
    ("stats", &["selvedge_telemetry"]),
    ("tcp", &["selvedge_proxy::tcp", "selvedge_proxy::websocket"]),
    ("tracing", &["selvedge_proxy::tracing"]),
    ("upstream", &["selvedge_upstream"]),
];

const LEVELS: [&str; 7] = ["trace", "debug", "info", "warning", "error", "critical", "off"];

const USAGE: &str = "usage: /logging?<name>=<level> (change single level)\n\
    usage: /logging?paths=name1:level1,name2:level2,... (change multiple levels)\n\
    usage: /logging?level=<level> (change all levels)\n\
    levels: trace debug info warning error critical off \n";

/// The levels in force.
pub struct Levels {
    set: Option<SetLogLevel>,
    of: Mutex<BTreeMap<&'static str, &'static str>>,
}

impl Levels {
    /// All rooms at `level`, the word by which the process was started.
    pub fn new(level: &str, set: Option<SetLogLevel>) -> Self {
        let level = match level {
            "warn" => "warning",
            // `info,selvedge_upstream=debug`
            level => level.split(',').next().unwrap_or_default(),
        };
        let level = LEVELS.into_iter().find(|known| *known == level).unwrap_or("info");
        Self { set, of: Mutex::new(ROOMS.iter().map(|(room, _)| (*room, level)).collect()) }
    }

    pub(super) fn handle(&self, query: &Query) -> Reply {
        match self.change(query) {
            Ok(()) => Reply::text(self.text()),
            Err(reason) => {
                Reply::status(StatusCode::BAD_REQUEST, format!("error: {reason}\n\n{USAGE}{}", self.text()))
            }
        }
    }

    fn change(&self, query: &Query) -> Result<(), String> {
        let mut wanted = self.of.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let mut set = |room: &str, level: &str| {
            let level = LEVELS.into_iter().find(|known| *known == level).ok_or("unknown logger level")?;
            let known = wanted.get_mut(room).ok_or("unknown logger name")?;
            *known = level;
            Ok::<_, &str>(())
        };
        for (name, value) in query.pairs() {
            match name {
                // Asking alone changes nothing.
                "level" | "paths" | "group" if value.is_empty() => {}
                "level" => {
                    for (room, _) in ROOMS {
                        set(room, value)?;
                    }
                }
                "paths" | "group" => {
                    for pair in value.split(',') {
                        let (room, level) =
                            pair.split_once(':').ok_or("empty logger name or empty logger level")?;
                        set(room, level)?;
                    }
                }
                room => set(room, value)?,
            }
        }
        let mut held = self.of.lock().unwrap_or_else(PoisonError::into_inner);
        if *held != wanted {
            let set = self.set.as_ref().ok_or("this process's log level is fixed")?;
            set(&directives(&wanted))?;
            *held = wanted;
        }
        Ok(())
    }

    fn text(&self) -> String {
        let mut text = "active loggers:\n".to_owned();
        for (room, level) in self.of.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            // Writing to a String cannot fail.
            let _ = writeln!(text, "  {room}: {level}");
        }
        text
    }
}

/// The level that most rooms have, then what differs by module.
fn directives(levels: &BTreeMap<&'static str, &'static str>) -> String {
    let count = |level: &str| levels.values().filter(|other| **other == level).count();
    let base = LEVELS.into_iter().max_by_key(|level| count(level)).unwrap_or("info");
    let mut text = word(base).to_owned();
    for (room, modules) in ROOMS {
        let Some(level) = levels.get(room).filter(|level| **level != base) else { continue };
        for module in modules {
            let _ = write!(text, ",{module}={}", word(level));
        }
    }
    text
}

/// Envoy has two words that `tracing` lacks.
fn word(level: &str) -> &str {
    match level {
        "warning" => "warn",
        "critical" => "error",
        level => level,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn levels() -> (Levels, Arc<Mutex<Vec<String>>>) {
        let told: Arc<Mutex<Vec<String>>> = Arc::default();
        let sink = Arc::clone(&told);
        let set: SetLogLevel = Arc::new(move |directives| {
            sink.lock().expect("no panic").push(directives.to_owned());
            Ok(())
        });
        (Levels::new("info", Some(set)), told)
    }

    #[test]
    fn one_room_several_rooms_and_all_rooms_are_changed() {
        let (levels, told) = levels();
        for query in ["upstream=debug", "paths=http:trace,upstream:info", "level=warning", "", "level="] {
            assert_eq!(levels.handle(&Query::parse(query)).status, StatusCode::OK, "{query}");
        }
        assert_eq!(
            *told.lock().expect("no panic"),
            [
                "info,selvedge_upstream=debug",
                "info,selvedge_proxy::http1=trace,selvedge_proxy::request=trace",
                "warn"
            ]
        );
    }

    #[test]
    fn what_is_not_known_changes_nothing() {
        let (levels, told) = levels();
        for query in ["level=zz", "nope=debug", "paths=http", "paths=http:debug,nope:debug"] {
            assert_eq!(levels.handle(&Query::parse(query)).status, StatusCode::BAD_REQUEST, "{query}");
        }
        assert!(told.lock().expect("no panic").is_empty());
        assert!(levels.text().lines().skip(1).all(|line| line.ends_with(": info")));
    }
}
