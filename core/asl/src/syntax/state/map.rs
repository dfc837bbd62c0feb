//! Map, inline and distributed.

mod batcher;
mod processor;
mod reader;
mod writer;

use std::collections::BTreeSet;

use selvedge_query::Path;
use serde_json::Value;

use self::processor::Mode;
use crate::Payload;
use crate::payload::inside;
use crate::syntax::field::Fields;
use crate::syntax::{DistributedMap, MapState, Number, QueryLanguage, ScopeId};

const CONCURRENCY_MAX: u64 = 10_000;
const LABEL_CHARACTERS_MAX: usize = 40;
/// What a label cannot have.
const LABEL_REFUSED: &str = "?*<>{}[]:;,\\|^~$#%&`\"";

/// Everything but the states within.
pub(super) struct Own {
    items_path: Option<Path>,
    items: Option<Payload>,
    item_selector: Option<Payload>,
    max_concurrency: Number,
    tolerated_count: Option<Number>,
    tolerated_percentage: Option<Number<f64>>,
    distributed: Option<DistributedMap>,
}

impl Own {
    /// Its items are executions of their own.
    pub(super) fn is_distributed(&self) -> bool {
        self.distributed.is_some()
    }

    /// Its items are express executions; none where they are part of their own execution.
    pub(super) fn runs_express(&self) -> Option<bool> {
        self.distributed.as_ref().map(|distributed| distributed.express)
    }

    pub(super) fn with_processor(self, processor: ScopeId, language: QueryLanguage) -> MapState {
        let distributed = self.distributed.map(|distributed| DistributedMap { language, ..distributed });
        MapState {
            items_path: self.items_path,
            items: self.items,
            item_selector: self.item_selector,
            processor,
            max_concurrency: self.max_concurrency,
            tolerated_count: self.tolerated_count,
            tolerated_percentage: self.tolerated_percentage,
            distributed,
        }
    }
}

/// The own fields, and the name of the field with the states.
pub(super) fn read(fields: &mut Fields<'_, '_, '_>) -> Option<(&'static str, Own)> {
    let json_ata = fields.is_json_ata();
    // The older form has Iterator and Parameters.
    let older = fields.has("Iterator") && !fields.has("ItemProcessor");
    let processor_name = if older { "Iterator" } else { "ItemProcessor" };
    let processor = fields.need(processor_name)?;
    let mut items_path = None;
    let mut items = None;
    if json_ata {
        fields.refuse(&["ItemsPath", "Iterator"], "JSONata");
        items = fields.payload("Items");
    } else {
        fields.refuse(&["Items"], "JSONPath");
        items_path = fields.locator("ItemsPath");
    }
    let selector = if !json_ata && fields.has("Parameters") && !fields.has("ItemSelector") {
        "Parameters"
    } else {
        "ItemSelector"
    };
    let item_selector = fields.payload(selector);
    let max_concurrency = fields.number_or_path("MaxConcurrency", "MaxConcurrencyPath", 0..=CONCURRENCY_MAX);
    let tolerated_count =
        fields.number_or_path("ToleratedFailureCount", "ToleratedFailureCountPath", 0..=u64::MAX >> 1);
    let tolerated_percentage =
        fields.percentage_or_path("ToleratedFailurePercentage", "ToleratedFailurePercentagePath");
    let mode = processor::read(fields, processor_name, processor);
    let distributed = match mode {
        Mode::Inline => None,
        Mode::Distributed { express } => Some(distributed(fields, processor, express)),
    };
    Some((
        processor_name,
        Own {
            items_path,
            items,
            item_selector,
            max_concurrency: max_concurrency.unwrap_or(Number::Constant(0)),
            tolerated_count,
            tolerated_percentage,
            distributed,
        },
    ))
}

fn distributed(fields: &mut Fields<'_, '_, '_>, processor: &Value, express: bool) -> DistributedMap {
    let label = fields.text("Label").map(Box::<str>::from);
    if label.as_ref().is_some_and(|label| {
        label.chars().count() > LABEL_CHARACTERS_MAX
            || label.chars().any(|c| c.is_whitespace() || c.is_control() || LABEL_REFUSED.contains(c))
    }) {
        fields.fault(
            "Label",
            format!("at most {LABEL_CHARACTERS_MAX} characters, without blanks and {LABEL_REFUSED}"),
        );
    }
    let (reader, reader_arguments, reader_config) = reader::read(fields);
    let (writer, writer_arguments, writer_config) = writer::read(fields);
    let batcher = batcher::read(fields);
    DistributedMap {
        express,
        label,
        reader,
        reader_arguments,
        reader_config,
        batcher,
        writer,
        writer_arguments,
        writer_config,
        processor: processor.clone(),
        language: fields.language,
    }
}

/// `ItemReader`, `ItemBatcher` or `ResultWriter`, and what is within.
fn within<'v, 'f, 't>(fields: &'f mut Fields<'v, '_, 't>, name: &'static str) -> Option<Fields<'v, 'f, 't>> {
    let value = fields.take(name)?;
    let pointer = fields.at(name);
    Fields::new(value, pointer, fields.findings, fields.language)
}

/// What a word of a configuration may be; an expression is looked at when it is computed.
fn word(fields: &mut Fields<'_, '_, '_>, name: &'static str, words: &[&str]) {
    let Some(text) = fields.text(name) else { return };
    let is_computed = fields.is_json_ata() && inside(text).is_some();
    if !is_computed && !words.contains(&text) {
        fields.fault(name, format!("one of {} is expected", words.join(", ")));
    }
}

/// A bound of a configuration: a number from 1 to `most`, an expression, or in JSONPath mode a path in its `…Path` sibling.
fn bound(fields: &mut Fields<'_, '_, '_>, name: &'static str, path_name: &'static str, most: u64) {
    let _ = fields.number_or_path(name, path_name, 1..=most);
}

/// Notes what a nested object names.
fn note(fields: &mut Fields<'_, '_, '_>, (variables, uses_context): (BTreeSet<Box<str>>, bool)) {
    fields.variables.extend(variables);
    fields.uses_context |= uses_context;
}
