//! `/server_info`.

use serde_json::json;

use super::Subject;
use super::query::Query;
use super::reply::Reply;

pub(super) fn show(subject: &Subject, _: &Query) -> Reply {
    let bootstrap = &subject.bootstrap;
    let uptime = format!("{}s", subject.lifecycle.started.elapsed().as_secs());
    Reply::json(&json!({
        "version": concat!("selvedge/", env!("CARGO_PKG_VERSION")),
        "state": subject.lifecycle.state().text(),
        "uptime_current_epoch": uptime,
        "uptime_all_epochs": uptime,
        "hot_restart_version": if bootstrap.hot_restart.is_some() { crate::handover::VERSION } else { "disabled" },
        "command_line_options": {
            "concurrency": bootstrap.concurrency,
            "log_level": bootstrap.log_level,
            "mode": "Serve",
            "disable_hot_restart": bootstrap.hot_restart.is_none(),
            "restart_epoch": subject.registry.server().hot_restart_epoch.value(),
            "drain_time": format!("{}s", bootstrap.drain.deadline.as_secs()),
        },
        "node": {
            "id": bootstrap.resource.given,
            "cluster": bootstrap.cluster,
            "metadata": bootstrap.metadata,
            "user_agent_name": "selvedge",
        },
    }))
}
