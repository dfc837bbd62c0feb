//! Map, inline and distributed.

use selvedge_query::Path;
use serde_json::Value;

use crate::Payload;
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
    tolerated_percentage: Option<Number>,
    distributed: Option<DistributedMap>,
}

impl Own {
    /// Its items are executions of their own.
    pub(super) fn is_distributed(&self) -> bool {
        self.distributed.is_some()
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
        items_path = fields.path("ItemsPath", false).flatten();
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
        fields.number_or_path("ToleratedFailurePercentage", "ToleratedFailurePercentagePath", 0..=100);
    let mode = processor.pointer("/ProcessorConfig/Mode").map(|mode| mode.as_str().unwrap_or_default());
    if !matches!(mode, None | Some("INLINE" | "DISTRIBUTED")) {
        fields.fault(processor_name, "ProcessorConfig.Mode is INLINE or DISTRIBUTED");
    }
    let distributed = (mode == Some("DISTRIBUTED")).then(|| distributed(fields, processor));
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

fn distributed(fields: &mut Fields<'_, '_, '_>, processor: &Value) -> DistributedMap {
    let express = match processor.pointer("/ProcessorConfig/ExecutionType").and_then(Value::as_str) {
        Some("EXPRESS") => true,
        Some("STANDARD") => false,
        _ => {
            fields.fault("ItemProcessor", "ProcessorConfig.ExecutionType is STANDARD or EXPRESS");
            false
        }
    };
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
    let arguments = if fields.is_json_ata() { "Arguments" } else { "Parameters" };
    let (mut reader, mut reader_arguments, mut reader_config) = (None, None, None);
    if let Some(value) = fields.take("ItemReader") {
        let pointer = fields.at("ItemReader");
        if let Some(mut inner) = Fields::new(value, pointer, fields.findings, fields.language) {
            reader = inner.need("Resource").and_then(Value::as_str).map(Box::from);
            reader_arguments = inner.payload(arguments);
            reader_config = inner.payload("ReaderConfig");
            inner.finish();
        }
    }
    let (mut writer, mut writer_arguments, mut writer_config) = (None, None, None);
    if let Some(value) = fields.take("ResultWriter") {
        let pointer = fields.at("ResultWriter");
        if let Some(mut inner) = Fields::new(value, pointer, fields.findings, fields.language) {
            writer = inner.text("Resource").map(Box::from);
            writer_arguments = inner.payload(arguments);
            writer_config = inner.take("WriterConfig").cloned();
            inner.finish();
        }
    }
    let batcher = fields.payload("ItemBatcher");
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
