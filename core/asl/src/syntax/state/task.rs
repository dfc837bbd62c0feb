//! Task.

use serde_json::Value;

use crate::Resource;
use crate::syntax::field::Fields;
use crate::syntax::{Number, TaskState};

const SECONDS_MAX: u64 = 99_999_999;

pub(super) fn read(fields: &mut Fields<'_, '_, '_>) -> Option<TaskState> {
    let text = fields.need("Resource").and_then(Value::as_str);
    let resource = text.and_then(Resource::parse);
    if fields.has("Resource") && !resource.as_ref().is_some_and(Resource::is_offered) {
        let given = text.unwrap_or_default();
        let message = format!(
            "The resource provided {given} is not recognized. The value is not a valid resource ARN, or the resource is not \
             available in this region."
        );
        fields.fault("Resource", message);
    }
    if fields.findings.is_express
        && let Some(what) = resource.as_ref().and_then(Resource::waits_for)
    {
        fields.fault(
            "Resource",
            format!("Express state machine does not support '{what}' service integration"),
        );
    }
    let timeout = fields.number_or_path("TimeoutSeconds", "TimeoutSecondsPath", 1..=SECONDS_MAX);
    let heartbeat = fields.number_or_path("HeartbeatSeconds", "HeartbeatSecondsPath", 1..=SECONDS_MAX);
    if let (Some(Number::Constant(timeout)), Some(Number::Constant(heartbeat))) = (&timeout, &heartbeat)
        && heartbeat >= timeout
    {
        fields.fault("HeartbeatSeconds", "it must be less than TimeoutSeconds");
    }
    let credentials = fields.payload("Credentials");
    Some(TaskState { resource: resource?, resource_text: text?.into(), timeout, heartbeat, credentials })
}
