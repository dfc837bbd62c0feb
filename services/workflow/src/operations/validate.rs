//! `ValidateStateMachineDefinition`, and what creating a machine refuses.

use selvedge_asl::{Definition, Diagnostic, MachineType, Severity};
use selvedge_aws::ApiError;
use selvedge_aws::operations::stepfunctions::INVALID_DEFINITION;
use selvedge_model::Value;
use serde_json::json;

use super::{Failed, Scope};

/// Findings of an answer at most, and when the caller names no number.
const RESULTS_MAX: u64 = 100;

pub(super) fn validate(scope: &Scope<'_>) -> Result<Value, Failed> {
    let definition = scope.text("definition");
    let (_, mut found) = selvedge_asl::parse_as(machine_type(scope.text("type") == "EXPRESS"), definition);
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

fn machine_type(express: bool) -> MachineType {
    if express { MachineType::Express } else { MachineType::Standard }
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
    let (parsed, found) = selvedge_asl::parse_as(machine_type(express), definition);
    parsed.ok_or_else(|| refused(&found).into())
}

/// Why a definition is refused, in the service's words.
pub(super) fn refused(found: &[Diagnostic]) -> ApiError {
    const TOLD_MAX: usize = 10;
    let errors = found.iter().filter(|one| one.severity == Severity::Error);
    let told: Vec<String> = errors.take(TOLD_MAX).map(ToString::to_string).collect();
    INVALID_DEFINITION.because(format!("Invalid State Machine Definition: '{}'", told.join(", ")))
}
