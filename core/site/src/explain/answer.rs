//! What answers a request, in words.

use super::Expanded;
use crate::condition::Network;
use crate::directive::{Directives, Text};
use crate::facts::RequestFacts;
use crate::pattern::PatternExhausted;
use crate::program::{Origin, Program, Resolved};

/// What answers, in words.
pub(super) fn answer(
    program: &Program,
    facts: &RequestFacts<'_>,
    resolved: &Resolved,
    redirected: Option<&Expanded>,
) -> Result<String, PatternExhausted> {
    let origins = program.origins(facts)?;
    Ok(answer_by(resolved, &origins, facts, redirected))
}

fn answer_by(
    resolved: &Resolved,
    origins: &[Origin],
    facts: &RequestFacts<'_>,
    redirected: Option<&Expanded>,
) -> String {
    let directives = &resolved.directives;
    let from = |key: &str| origins.iter().any(|origin| origin.key.starts_with(key) && !origin.overridden);
    if directives.edge.redirect_https {
        return "a redirect to HTTPS".into();
    }
    if let Some(fixed) = &directives.edge.respond {
        return format!("status {}", fixed.status);
    }
    if directives.edge.metrics {
        return "the server's counters".into();
    }
    if directives.edge.status {
        return "what the server is doing".into();
    }
    if let Some(redirected) = redirected {
        return redirect(resolved, redirected);
    }
    if let Some(why) = refused(directives, facts) {
        return format!("403: {why}");
    }
    if let Some(workflow) = &directives.mesh.workflow {
        return format!("the workflow {}", workflow.machine);
    }
    if let Some(service) = &directives.mesh.service {
        return format!("the virtual service {service}");
    }
    for (key, what) in
        [("proxy.", "an HTTP server"), ("fastcgi.", "a FastCGI server"), ("scgi.", "an SCGI server")]
    {
        if from(&format!("{key}server")) || (key == "proxy." && from("proxy")) {
            return format!("{what}, where its key fits; else files");
        }
    }
    match &directives.server.document_root {
        Some(root) => format!("files below {root}"),
        None => "nothing".into(),
    }
}

/// Why nobody gets an answer, if nobody does.
fn refused(directives: &Directives, facts: &RequestFacts<'_>) -> Option<String> {
    let path = facts.path.unwrap_or_default();
    let ends = |list: &[Text]| list.iter().find(|end| path.ends_with(&***end)).cloned();
    if let Some(remote) = facts.remote {
        let is_in = |list: &[Network]| list.iter().any(|network| network.contains(remote));
        if is_in(&directives.edge.deny) || !directives.edge.allow.is_empty() && !is_in(&directives.edge.allow)
        {
            return Some(format!("{remote} may not ask"));
        }
    }
    if !directives.access.allow.is_empty() {
        let is_allowed = ends(&directives.access.allow).is_some();
        return (!is_allowed).then(|| "the path ends with nothing of url.access-allow".to_owned());
    }
    ends(&directives.access.deny).map(|end| format!("the path ends with \"{end}\" of url.access-deny"))
}

fn redirect(resolved: &Resolved, to: &Expanded) -> String {
    let code = match resolved.directives.url.redirect_code {
        0 => 301,
        code => code,
    };
    format!("a redirect ({code}) to {}, by \"{}\"", to.target, to.pattern)
}
