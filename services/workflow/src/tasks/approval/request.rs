//! What a state asks for: `Title`, `Form`, `Payload`, who decides, until when.

use selvedge_asl::Failure;
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::{Approval, Circle, Escalation, Status, form};
use crate::engine::LiveKey;
use crate::tasks::{Call, needed, unfit};

/// People and groups that an approval names.
pub(crate) const CIRCLE_MAX: usize = 100;
/// Escalations of an approval.
pub(crate) const ESCALATIONS_MAX: usize = 10;
const TITLE_CHARS_MAX: usize = 256;
const SECONDS_MAX: u64 = 99_999_999;

const KNOWN: &[&str] = &[
    "Title",
    "Description",
    "Form",
    "Payload",
    "Assignees",
    "Groups",
    "MinimumApprovals",
    "Requester",
    "AllowOwnApproval",
    "DueSeconds",
    "Escalations",
    "TaskToken",
];

pub(super) fn read(call: &Call, live: &LiveKey, now_ms: i64) -> Result<Approval, Failure> {
    let parameters = &call.request.parameters;
    let members = parameters.as_object().ok_or_else(|| unfit("an object is expected"))?;
    if let Some(unknown) = members.keys().find(|name| !KNOWN.contains(&name.as_str())) {
        return Err(unfit(format!("{unknown}: there is no such member; there is {}", KNOWN.join(", "))));
    }
    let title = needed(parameters, "Title")?;
    if title.chars().count() > TITLE_CHARS_MAX {
        return Err(unfit(format!("Title: it is longer than {TITLE_CHARS_MAX} characters")));
    }
    let optional = |member: &str| {
        members.get(member).filter(|value| !value.is_null()).map(|_| needed(parameters, member)).transpose()
    };
    let form = parameters["Form"].clone();
    form::understand(&form, "Form", 0).map_err(|(path, problem)| unfit(format!("{path}: {problem}")))?;
    let minimum = match &parameters["MinimumApprovals"] {
        Value::Null => 1,
        value => value
            .as_u64()
            .filter(|minimum| (1..=CIRCLE_MAX as u64).contains(minimum))
            .ok_or_else(|| unfit(format!("MinimumApprovals: 1 to {CIRCLE_MAX} is expected")))?,
    };
    let circle = circle(parameters, "")?;
    let later = |seconds: u64| now_ms + i64::try_from(seconds * 1000).unwrap_or(i64::MAX / 2);
    let due_ms = match &parameters["DueSeconds"] {
        Value::Null => None,
        value => Some(later(seconds(value, "DueSeconds")?)),
    };
    let mut escalations = Vec::new();
    let list = match &parameters["Escalations"] {
        Value::Null => &[][..],
        value => value.as_array().ok_or_else(|| unfit("Escalations: a list is expected"))?,
    };
    if list.len() > ESCALATIONS_MAX {
        return Err(unfit(format!("Escalations: there are more than {ESCALATIONS_MAX}")));
    }
    for (index, one) in list.iter().enumerate() {
        let at = format!("Escalations[{index}]");
        let at_ms = later(seconds(&one["AfterSeconds"], &format!("{at}.AfterSeconds"))?);
        escalations.push(Escalation { at_ms, circle: self::circle(one, &format!("{at}."))? });
    }
    escalations.sort_by_key(|escalation| escalation.at_ms);
    let is_own_approval_allowed = match &parameters["AllowOwnApproval"] {
        Value::Null => false,
        value => value.as_bool().ok_or_else(|| unfit("AllowOwnApproval: true or false is expected"))?,
    };
    let payload = parameters["Payload"].clone();
    let payload_hash = Sha256::digest(payload.to_string()).iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(Approval {
        id: call.idempotency_key.clone(),
        machine: live.machine.to_string(),
        execution: live.name.to_string(),
        execution_arn: call.identity.arn.to_string(),
        state: call.request.state.to_string(),
        title: title.to_owned(),
        description: optional("Description")?.map(str::to_owned),
        form,
        payload,
        payload_hash,
        circle,
        minimum,
        requester: optional("Requester")?.map(str::to_owned),
        is_own_approval_allowed,
        requested_ms: now_ms,
        due_ms,
        escalations,
        escalated: 0,
        status: Status::Open,
        closed_ms: None,
        decisions: Vec::new(),
    })
}

fn circle(value: &Value, at: &str) -> Result<Circle, Failure> {
    let list = |member: &str| -> Result<Vec<String>, Failure> {
        let wrong = || unfit(format!("{at}{member}: a list of at most {CIRCLE_MAX} names is expected"));
        let Some(found) = value.get(member).filter(|found| !found.is_null()) else { return Ok(Vec::new()) };
        let items = found.as_array().filter(|items| items.len() <= CIRCLE_MAX).ok_or_else(wrong)?;
        let name =
            |item: &Value| item.as_str().filter(|name| !name.is_empty()).map(str::to_owned).ok_or_else(wrong);
        items.iter().map(name).collect()
    };
    Ok(Circle { assignees: list("Assignees")?, groups: list("Groups")? })
}

fn seconds(value: &Value, at: &str) -> Result<u64, Failure> {
    let seconds = value.as_u64().filter(|seconds| (1..=SECONDS_MAX).contains(seconds));
    seconds.ok_or_else(|| unfit(format!("{at}: 1 to {SECONDS_MAX} is expected")))
}
