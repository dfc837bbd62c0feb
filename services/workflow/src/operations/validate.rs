//! `ValidateStateMachineDefinition`, and what creating a machine refuses.

use selvedge_asl::{Definition, Diagnostic, Kind, Pattern, Resource, Severity};
use selvedge_aws::operations::stepfunctions::INVALID_DEFINITION;
use selvedge_model::Value;
use serde_json::json;

use super::{Failed, Scope};

/// Findings of an answer at most, and when the caller names no number.
const RESULTS_MAX: u64 = 100;

pub(super) fn validate(scope: &Scope<'_>) -> Result<Value, Failed> {
    let definition = scope.text("definition");
    let (parsed, mut found) = selvedge_asl::parse(definition);
    if let Some(parsed) = parsed.filter(|_| scope.text("type") == "EXPRESS") {
        found.extend(unfit_for_express(&parsed));
    }
    let with_warnings = scope.text("severity") == "WARNING";
    found.retain(|diagnostic| with_warnings || diagnostic.severity == Severity::Error);
    let is_ok = found.iter().all(|diagnostic| diagnostic.severity == Severity::Warning);
    let most = match scope.number("maxResults") {
        None | Some(0) => RESULTS_MAX,
        Some(most) => most.min(RESULTS_MAX),
    };
    let most = usize::try_from(most).expect("a small number");
    let shown: Vec<Value> = found.iter().take(most).map(show).collect();
    Ok(json!({
        "result": if is_ok { "OK" } else { "FAIL" },
        "diagnostics": shown,
        "truncated": found.len() > most,
    }))
}

fn show(diagnostic: &Diagnostic) -> Value {
    json!({
        "severity": diagnostic.severity.name(),
        "code": diagnostic.code.name(),
        "message": diagnostic.message,
        "location": diagnostic.location,
    })
}

/// A definition that can be run as this type of machine.
pub(super) fn accept(definition: &str, express: bool) -> Result<Definition, Failed> {
    let (parsed, mut found) = selvedge_asl::parse(definition);
    if let Some(parsed) = parsed.as_ref().filter(|_| express) {
        found.extend(unfit_for_express(parsed));
    }
    found.retain(|diagnostic| diagnostic.severity == Severity::Error);
    match (parsed, found.is_empty()) {
        (Some(parsed), true) => Ok(parsed),
        _ => {
            const TOLD_MAX: usize = 10;
            let told: Vec<String> = found.iter().take(TOLD_MAX).map(|one| format!("'{one}'")).collect();
            let message = format!("Invalid State Machine Definition: {}", told.join(", "));
            Err(INVALID_DEFINITION.because(message).into())
        }
    }
}

/// What an express machine cannot have.
fn unfit_for_express(definition: &Definition) -> Vec<Diagnostic> {
    let states = definition.scopes.iter().flat_map(|scope| scope.states.values());
    let unfit = states.filter_map(|state| {
        let Kind::Task(task) = &state.kind else { return None };
        let what = match &task.resource {
            Resource::Service { pattern: Pattern::Sync | Pattern::Sync2, .. } => ".sync",
            Resource::Service { pattern: Pattern::TaskToken, .. } => ".waitForTaskToken",
            Resource::Activity(_) => "activity",
            _ => return None,
        };
        Some(Diagnostic {
            severity: Severity::Error,
            code: selvedge_asl::Code::Schema,
            message: format!("Express state machine does not support '{what}' service integration"),
            location: format!("/States/{}/Resource", state.name),
            place: (1, 1),
        })
    });
    unfit.collect()
}
