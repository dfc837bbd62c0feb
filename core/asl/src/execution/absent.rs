//! What a state says that found no value where a path points: which path, of which field, in which value.
//!
//! The texts are the service's, as its users quote them. Where it does not name the field, the field follows its words.

use selvedge_query::{Failure, Path, PathError, Root, Unfilled};
use serde_json::Value;

/// The most bytes of a value that an error repeats.
pub const QUOTED_BYTES_MAX: usize = 4096;

/// A field of a payload template has no value. `field` is the template's, `Parameters`.
pub(super) fn in_template(field: &str, unfilled: &Unfilled, subject: &Value) -> String {
    let Unfilled { place, text, failure } = unfilled;
    let key = place.last().map_or(field, String::as_str);
    let told = match failure {
        Failure::Path { error, .. } if *text == path_of(failure) => missing(text, key, error, subject),
        failure => in_function(text, failure, subject),
    };
    match place.len() {
        // The service names the key alone, which tells where only of a template's own fields.
        0 | 1 => told,
        _ => format!("{told} (the field is '{field}/{}')", place.join("/")),
    }
}

/// A function refuses its arguments, or has none.
pub(super) fn in_function(text: &str, failure: &Failure, subject: &Value) -> String {
    let why = match failure {
        Failure::Path { path, error } if is_absent(error) => {
            format!(
                "The JsonPath argument for the field '{path}' could not be found in {}",
                whole(path, subject)
            )
        }
        failure => failure.to_string(),
    };
    format!("The function '{text}' had the following error: {why}")
}

/// A field that is a path selects nothing.
pub(super) fn at_path(field: &str, path: &Path, error: &PathError, subject: &Value) -> String {
    match field {
        "SecondsPath" | "TimestampPath" if is_absent(error) => {
            format!("The {field} parameter does not reference an input value: {path}")
        }
        "InputPath" | "OutputPath" | "TimeoutSecondsPath" | "HeartbeatSecondsPath" => {
            format!("Invalid path '{path}' : {error} (the field is '{field}')")
        }
        _ => missing(&path.to_string(), field, error, subject),
    }
}

/// A path in a Choice state's rule selects nothing.
pub(super) fn in_condition(path: &str, error: &PathError) -> String {
    if is_absent(error) {
        return format!(
            "Invalid path '{path}': The choice state's condition path references an invalid value."
        );
    }
    format!("Invalid path '{path}': {error}")
}

/// What `SecondsPath` selects is no time to wait.
pub(super) fn no_seconds(path: &Path, value: &Value, most: u64) -> String {
    let found = quoted(&value.to_string());
    match value.as_i64() {
        Some(..0) => format!("The SecondsPath parameter references a negative value: {path} == {found}"),
        Some(_) => format!("The SecondsPath parameter references a value over {most}: {path} == {found}"),
        None => format!("The SecondsPath parameter cannot be parsed as a long value: {path} == {found}"),
    }
}

/// What another path selects is no number that its field can have.
pub(super) fn no_number(field: &str, path: &Path, value: &Value, wanted: &str) -> String {
    let found = quoted(&value.to_string());
    format!("The field '{field}Path' needs {wanted}, and the value of {path} is {found}.")
}

/// What `Timestamp` or `TimestampPath` has is no time.
pub(super) fn no_timestamp(path: Option<&Path>, value: &Value) -> String {
    const FORM: &str = "does not reference a valid ISO-8601 extended offset date-time format string";
    let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let found = quoted(&text);
    match path {
        Some(path) => format!("The TimestampPath parameter {FORM}: {path} == {found}"),
        None => format!("The Timestamp parameter {FORM}: {found}"),
    }
}

fn missing(path: &str, field: &str, error: &PathError, subject: &Value) -> String {
    let specified = format!("The JSONPath '{path}' specified for the field '{field}'");
    match error {
        PathError::NoVariable(_) => format!("{specified} could not be found: {error}"),
        error if is_absent(error) => {
            format!("{specified} could not be found in {}", whole(path, subject))
        }
        error => format!("{specified} cannot be computed: {error}"),
    }
}

/// Where a path was looked for: the input with its value, or what is not the state's own to show.
fn whole(path: &str, subject: &Value) -> String {
    match Path::parse(path).ok().as_ref().map(Path::root) {
        Some(Root::Context) => "the context object".into(),
        Some(Root::Variable(name)) => format!("the variable '${name}'"),
        _ => format!("the input '{}'", quoted(&subject.to_string())),
    }
}

fn is_absent(error: &PathError) -> bool {
    use PathError::{MissingProperty, NoResults, NotArray, NotObject};
    matches!(error, NoResults(_) | MissingProperty(_) | NotArray { .. } | NotObject { .. })
}

fn path_of(failure: &Failure) -> &str {
    match failure {
        Failure::Path { path, .. } => path,
        _ => "",
    }
}

/// A text as far as an error repeats it.
fn quoted(text: &str) -> String {
    if text.len() <= QUOTED_BYTES_MAX {
        return text.to_owned();
    }
    let end = (0..=QUOTED_BYTES_MAX).rev().find(|end| text.is_char_boundary(*end)).unwrap_or_default();
    format!("{}…", &text[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_repeated_as_far_as_its_bound() {
        assert_eq!(quoted("short"), "short");
        let long = "é".repeat(QUOTED_BYTES_MAX);
        let found = quoted(&long);
        assert!(found.len() <= QUOTED_BYTES_MAX + "…".len() && found.ends_with("é…"), "{}", found.len());
    }
}
