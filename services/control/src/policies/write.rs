//! Putting and deleting policies.

use bytes::Bytes;
use http::StatusCode;
use selvedge_model::policy::{POLICY_BYTES_MAX, PolicyDraft, PolicySpec};
use selvedge_model::{Policy, Value, Violations, json as strict_json};
use selvedge_store::{Error as StoreError, Transaction, WriteError};
use selvedge_telemetry::Template;

use super::{
    PoliciesRoute, Refusal, check_parameters, find, key_of, look_up, mesh_key, with_condition, would_be,
};
use crate::operations;
use crate::status::parameter;

impl PoliciesRoute {
    pub(super) fn put(&self, name: &str, query: &str, body: &Bytes) -> Result<(StatusCode, Value), Refusal> {
        check_parameters(query, &["dryRun"])?;
        let dry_run = match parameter(query, "dryRun").as_deref() {
            None | Some("false") => false,
            Some("true") => true,
            Some(other) => return Err(Refusal::Malformed(format!("dryRun: {other:?} is not true or false"))),
        };
        let draft = draft(name, body)?;
        if dry_run {
            return self.rehearse(name, draft);
        }
        let written = self.store.write(|tx| self.put_once(tx, name, &draft).map_err(WriteError::from));
        let (policy, is_new) = outcome(written)?;
        let view = self.store.snapshot()?;
        let shown = super::Conditions::new(&*view).show(&policy)?;
        Ok((if is_new { StatusCode::CREATED } else { StatusCode::OK }, shown))
    }

    /// What would become of a put.
    fn rehearse(&self, name: &str, draft: PolicyDraft) -> Result<(StatusCode, Value), Refusal> {
        let view = self.store.snapshot()?;
        let known = look_up(&*view, name)?;
        let policy = self.policy(name, &draft, known.as_ref());
        let mut shown = match operations::load_mesh(&*view, policy.mesh())? {
            Some(snapshot) => would_be(&snapshot, &policy),
            None => super::Conditions::new(&*view).show(&policy)?,
        };
        shown["dryRun"] = true.into();
        Ok((StatusCode::OK, shown))
    }

    /// The policy as it is to be stored, and whether there was none of its name.
    fn put_once(
        &self,
        tx: &mut dyn Transaction,
        name: &str,
        draft: &PolicyDraft,
    ) -> Result<(Policy, bool), Refusal> {
        let known = look_up(tx, name)?;
        let policy = self.policy(name, draft, known.as_ref());
        match &known {
            Some(known) if known.version == policy.version => return Ok((policy, false)),
            Some(known) if known.mesh() == policy.mesh() => {}
            Some(known) => {
                remove(tx, known)?;
                self.count(tx, policy.mesh())?;
            }
            None => self.count(tx, policy.mesh())?,
        }
        tx.put(&mesh_key(name), Bytes::from(policy.mesh().to_owned()))?;
        tx.put(&key_of(policy.mesh(), name), Bytes::from(policy.to_wire().to_string()))?;
        Ok((policy, known.is_none()))
    }

    /// The policy that a draft makes of what is known; the same version if it says the same.
    fn policy(&self, name: &str, draft: &PolicyDraft, known: Option<&Policy>) -> Policy {
        if let Some(known) = known
            && known.target == draft.target
            && known.sent == draft.sent
            && known.kind() == draft.spec.kind()
        {
            return known.clone();
        }
        let now = self.surroundings.now();
        Policy {
            name: name.to_owned(),
            target: draft.target.clone(),
            spec: draft.spec.clone(),
            sent: draft.sent.clone(),
            created_at: known.map_or(now, |known| known.created_at),
            // A clock that was set back must not make a change look older than what it replaces.
            last_updated_at: known.map_or(now, |known| known.last_updated_at.max(now)),
            version: known.map_or(1, |known| known.version + 1),
        }
    }

    /// Counts a policy that is about to be created.
    fn count(&self, tx: &mut dyn Transaction, mesh: &str) -> Result<(), Refusal> {
        let (count, most) = (counted(tx, mesh)?, self.settings.quotas.policies_per_mesh);
        if count >= most {
            return Err(Refusal::LimitExceeded(format!("there may be at most {most} policies in a mesh")));
        }
        set_count(tx, mesh, count + 1)
    }

    pub(super) fn delete(&self, name: &str) -> Result<(StatusCode, Value), Refusal> {
        let written = self.store.write(|tx| {
            let known = find(tx, name)?;
            remove(tx, &known)?;
            tx.delete(&mesh_key(name))?;
            Ok::<_, WriteError<Refusal>>(known)
        });
        let policy = outcome(written)?;
        let mut shown = with_condition(&policy, std::iter::empty());
        shown["condition"] = "DELETED".into();
        Ok((StatusCode::OK, shown))
    }
}

/// What somebody sent, if there is nothing wrong with it.
fn draft(name: &str, body: &Bytes) -> Result<PolicyDraft, Refusal> {
    if body.len() > POLICY_BYTES_MAX {
        return Err(Refusal::Malformed(format!("a policy has at most {POLICY_BYTES_MAX} bytes")));
    }
    let document = strict_json::parse(body).map_err(|error| Refusal::Malformed(error.to_string()))?;
    let violations = |found: Violations| Refusal::Malformed(found.to_string());
    let draft = PolicyDraft::parse(name, &document).map_err(violations)?;
    let texts = operators(&draft.spec).and_then(|()| selvedge_translate::policy::check(&draft.spec));
    texts.map_err(|(path, reason)| {
        let mut found = Violations::default();
        found.rule(path, reason);
        violations(found)
    })?;
    Ok(draft)
}

/// Texts with access-log operators: what a proxy would refuse is refused here, with the path of the member.
fn operators(spec: &PolicySpec) -> Result<(), (String, String)> {
    let texts: Vec<(String, &str)> = match spec {
        PolicySpec::Headers(headers) => headers.values().collect(),
        PolicySpec::AccessLog(log) => {
            let json = log.json.iter().enumerate();
            let json = json.map(|(index, one)| (format!("spec.json[{index}].value"), one.value.as_str()));
            log.text.iter().map(|text| ("spec.text".to_owned(), text.as_str())).chain(json).collect()
        }
        _ => Vec::new(),
    };
    for (path, text) in texts {
        Template::compile(text).map_err(|error| (path, error.to_string()))?;
    }
    Ok(())
}

/// Takes a policy's document out of its mesh.
fn remove(tx: &mut dyn Transaction, policy: &Policy) -> Result<(), Refusal> {
    tx.delete(&key_of(policy.mesh(), &policy.name))?;
    let count = counted(tx, policy.mesh())?;
    set_count(tx, policy.mesh(), count.saturating_sub(1))
}

fn count_key(mesh: &str) -> String {
    format!("selvedge-policy-count/{mesh}")
}

fn counted(tx: &dyn Transaction, mesh: &str) -> Result<u64, Refusal> {
    let key = count_key(mesh);
    let Some(document) = tx.get(&key)? else { return Ok(0) };
    let count = std::str::from_utf8(&document.value).ok().and_then(|text| text.parse().ok());
    Ok(count.ok_or_else(|| StoreError::Corrupt(format!("{key}: a stored count is not a number")))?)
}

fn set_count(tx: &mut dyn Transaction, mesh: &str, count: u64) -> Result<(), Refusal> {
    if count == 0 {
        tx.delete(&count_key(mesh))?;
    } else {
        tx.put(&count_key(mesh), Bytes::from(count.to_string()))?;
    }
    Ok(())
}

fn outcome<T, R>(written: Result<(T, R), WriteError<Refusal>>) -> Result<T, Refusal> {
    match written {
        Ok((outcome, _)) => Ok(outcome),
        Err(WriteError::Refused(refusal)) => Err(refusal),
        Err(WriteError::Store(error)) => Err(Refusal::Store(error)),
    }
}

impl From<Refusal> for WriteError<Refusal> {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Store(error) => Self::Store(error),
            refusal => Self::Refused(refusal),
        }
    }
}
