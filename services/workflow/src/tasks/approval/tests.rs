//! Who may decide, how many have to, and what happens in time.

use serde_json::json;

use super::*;

fn approval() -> Approval {
    Approval {
        id: "0-0".into(),
        machine: "m".into(),
        execution: "e".into(),
        execution_arn: "arn".into(),
        state: "Ask".into(),
        title: "Refund".into(),
        description: None,
        form: json!({ "type": "object", "required": ["reason"] }),
        payload: json!({ "amount": 7 }),
        payload_hash: "h".into(),
        circle: Circle { assignees: vec!["ada".into()], groups: vec!["finance".into()] },
        minimum: 2,
        requester: Some("eve".into()),
        is_own_approval_allowed: false,
        requested_ms: 0,
        due_ms: Some(1000),
        escalations: vec![Escalation {
            at_ms: 500,
            circle: Circle { assignees: vec!["boss".into()], groups: vec![] },
        }],
        escalated: 0,
        status: Status::Open,
        closed_ms: None,
        decisions: Vec::new(),
    }
}

fn by(name: &str, groups: &[&str], is_approval: bool) -> Deciding {
    Deciding {
        is_approval,
        by: name.into(),
        groups: groups.iter().map(|group| (*group).to_owned()).collect(),
        comment: None,
        form: json!({ "reason": "so" }),
        payload_hash: None,
    }
}

#[test]
fn as_many_have_to_approve_as_are_asked_for() {
    let mut approval = approval();
    approval.decide(&by("ada", &[], true), 1).unwrap();
    assert_eq!(approval.status, Status::Open);
    assert!(
        matches!(approval.decide(&by("ada", &[], true), 2), Err(DecideError::Forbidden(_))),
        "one voice each"
    );
    approval.decide(&by("bob", &["finance"], true), 3).unwrap();
    assert_eq!((approval.status, approval.closed_ms), (Status::Approved, Some(3)));
    assert!(matches!(approval.decide(&by("carl", &["finance"], true), 4), Err(DecideError::Closed(_))));
    let Some(TaskOutcome::Succeeded { output }) = approval.outcome() else { panic!("it was approved") };
    assert_eq!(output["Decisions"][1]["By"], "bob");
}

#[test]
fn whoever_asked_or_is_a_stranger_does_not_decide() {
    let mut approval = approval();
    for (deciding, problem) in [
        (by("eve", &["finance"], true), "who asked for it"),
        (by("mallory", &["sales"], true), "neither assigned"),
        (Deciding { payload_hash: Some("other".into()), ..by("ada", &[], true) }, "not what you have seen"),
        (Deciding { form: json!({}), ..by("ada", &[], true) }, "form.reason"),
        (by("", &["finance"], true), "somebody"),
    ] {
        let error = approval.decide(&deciding, 1).unwrap_err();
        assert!(error.to_string().contains(problem), "{error}");
    }
    assert!(approval.decisions.is_empty());
    approval.is_own_approval_allowed = true;
    approval.decide(&by("eve", &["finance"], true), 1).unwrap();
}

#[test]
fn one_rejection_ends_it() {
    let mut approval = approval();
    approval.decide(&by("ada", &[], true), 1).unwrap();
    approval.decide(&Deciding { form: Value::Null, ..by("bob", &["finance"], false) }, 2).unwrap();
    assert_eq!(approval.status, Status::Rejected);
    let Some(TaskOutcome::Failed(failure)) = approval.outcome() else { panic!("it was rejected") };
    assert_eq!(failure.error.as_deref(), Some("Approval.Rejected"));
}

#[test]
fn it_escalates_and_expires_in_time() {
    let mut approval = approval();
    assert_eq!(approval.next_ms(), Some(500));
    assert!(approval.elapse(499).is_empty());
    assert!(matches!(approval.decide(&by("boss", &[], true), 499), Err(DecideError::Forbidden(_))));
    assert_eq!(approval.elapse(500), ["ApprovalEscalated"]);
    approval.decide(&by("boss", &[], true), 501).unwrap();
    assert_eq!(approval.next_ms(), Some(1000));
    assert_eq!(approval.elapse(1000), ["ApprovalExpired"]);
    assert_eq!(approval.status, Status::Expired);
    assert!(approval.elapse(2000).is_empty());
}
