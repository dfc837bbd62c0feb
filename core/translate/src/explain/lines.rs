//! An explanation for a person.

use super::{Explanation, Outcome, Source, Stage, StageResult, Timeout};

pub(super) fn lines(explanation: &Explanation) -> Vec<String> {
    let Explanation { from, method, authority, path, .. } = explanation;
    let mut lines = vec![format!("{method} http://{authority}{path} from {} {}", from.kind, from.name)];
    for stage in &explanation.stages {
        of_stage(stage, &mut lines);
    }
    lines.push(match explanation.outcome {
        Outcome::Forwarded => "result: forwarded".to_owned(),
        Outcome::Redirected => "result: redirected by a policy".to_owned(),
        Outcome::Answered => "result: answered by a policy".to_owned(),
        Outcome::NoRoute => "result: 404, no route".to_owned(),
        Outcome::PassedThrough => "result: passed through to its own destination (ALLOW_ALL)".to_owned(),
        Outcome::Closed => "result: the connection is closed (DROP_ALL)".to_owned(),
        Outcome::ProxyUnknown => format!("result: the mesh has no {} {}", from.kind, from.name),
    });
    lines.extend(explanation.notes.iter().map(|note| format!("note: {note}")));
    lines.extend(explanation.diagnostics.iter().map(ToString::to_string));
    lines
}

fn of_stage(stage: &Stage, lines: &mut Vec<String>) {
    if let Some(service) = &stage.virtual_service {
        let port = stage.port.map_or(String::new(), |port| format!(" on port {port}"));
        let provider = stage.provider.as_ref().map(|one| format!(", provided by {} {}", one.kind, one.name));
        lines.push(format!("virtual service {}{port}{}", service.name, provider.unwrap_or_default()));
    } else if let Some(gateway) = &stage.provider {
        lines.push(format!("{} {}", gateway.kind, gateway.name));
    }
    for tried in &stage.tried {
        let priority = tried.priority.map_or(String::new(), |priority| format!(" (priority {priority})"));
        let (kind, name) = (tried.route.kind, &tried.route.name);
        lines.push(match &tried.failed {
            Some(condition) => format!("  {kind} {name}{priority}: no, it wants {condition}"),
            None => format!("  {kind} {name}{priority}: yes"),
        });
    }
    match stage.result {
        StageResult::UnknownHost => lines.push("  no virtual service has this host name".to_owned()),
        StageResult::NoRoute => lines.push("  no route takes it".to_owned()),
        StageResult::Redirected => {
            let location = stage.path.as_deref().unwrap_or_default();
            lines.push(format!("  answered with {} to {location}", stage.status.unwrap_or_default()));
        }
        StageResult::Answered => {
            lines.push(format!("  answered with {}", stage.status.unwrap_or_default()));
        }
        StageResult::Forwarded => {}
    }
    for policy in &stage.policies {
        let target = &policy.target;
        lines.push(format!(
            "  {} by the policy {} of {} {}",
            policy.kind, policy.name, target.kind, target.name
        ));
    }
    if stage.result != StageResult::Forwarded {
        return;
    }
    let rewritten = stage.host.iter().chain(&stage.path).cloned().collect::<String>();
    if !rewritten.is_empty() {
        lines.push(format!("  sent on as {rewritten}"));
    }
    for target in &stage.targets {
        let (percent, node, port) = (target.percent, &target.node.name, target.port);
        lines.push(format!(
            "  {percent:.1} % to {node}:{port} (weight {}), found by {}",
            target.weight, target.found_by
        ));
    }
    for (what, timeout) in [
        ("time-out", stage.timeout),
        ("time-out of each try", stage.per_try_timeout),
        ("idle time-out", stage.idle_timeout),
    ] {
        lines.extend(timeout.map(|timeout| format!("  {what} {}", spoken(timeout))));
    }
    if let Some(retries) = &stage.retries {
        let codes: Vec<String> = retries.status_codes.iter().map(ToString::to_string).collect();
        let codes = if codes.is_empty() { String::new() } else { format!(" ({})", codes.join(",")) };
        lines.push(format!(
            "  at most {} retries on {}{codes}{}",
            retries.max,
            retries.on.join(","),
            by(retries.source)
        ));
    }
}

fn spoken(timeout: Timeout) -> String {
    let bound =
        timeout.millis.map_or_else(|| "none".to_owned(), |millis| format!("{} s", millis as f64 / 1000.0));
    format!("{bound}{}", by(timeout.source))
}

fn by(source: Source) -> &'static str {
    match source {
        Source::Specification => "",
        Source::Default => " (default)",
        Source::Policy => " (policy)",
    }
}
