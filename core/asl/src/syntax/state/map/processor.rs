//! `ProcessorConfig`: where the items of a Map state run.

use serde_json::Value;

use crate::syntax::field::Fields;

/// `Mode`
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    /// In the execution itself.
    Inline,
    /// As executions of their own.
    Distributed {
        /// `ExecutionType`
        express: bool,
    },
}

/// Reads it in the processor that stands at `name`.
pub(super) fn read(fields: &mut Fields<'_, '_, '_>, name: &'static str, processor: &Value) -> Mode {
    let Some(config) = processor.get("ProcessorConfig") else { return Mode::Inline };
    let pointer = format!("{}/ProcessorConfig", fields.at(name));
    let Some(mut config) = Fields::new(config, pointer, fields.findings, fields.language) else {
        return Mode::Inline;
    };
    let kind = match config.text("ExecutionType") {
        None => None,
        Some("EXPRESS") => Some(true),
        Some("STANDARD") => Some(false),
        Some(_) => {
            config.fault("ExecutionType", "STANDARD or EXPRESS is expected");
            Some(false)
        }
    };
    let mode = match config.text("Mode") {
        None | Some("INLINE") => Mode::Inline,
        Some("DISTRIBUTED") => {
            if config.findings.is_express {
                config.fault("Mode", "Express state machine does not support the mode 'DISTRIBUTED'");
            }
            if !config.has("ExecutionType") {
                let pointer = config.pointer.clone();
                config.findings.schema(&pointer, "These fields are required: [ExecutionType]");
            }
            Mode::Distributed { express: kind == Some(true) }
        }
        Some(_) => {
            config.fault("Mode", "INLINE or DISTRIBUTED is expected");
            Mode::Inline
        }
    };
    config.finish();
    mode
}
