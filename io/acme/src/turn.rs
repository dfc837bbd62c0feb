//! Whose turn it is to prove a name in a handshake.
//!
//! An authority that asks by TLS-ALPN-01 names the host and nothing else: neither its order nor itself. One certificate can be
//! shown for a name at a time, so orders that share a name – of two authorities, of two sets of names – follow one another. An
//! order takes the turns of all its names before it is sent, and has them for as long as its lease: a turn is written with the
//! lease and its number, and counts for nothing once that is over, however it ended.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::documents::{Change, Documents, PREFIX, Seen, Unavailable};
use crate::lease::{Holder, Lease};

/// What keeps an order from being sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Waiting {
    /// The name that another order proves.
    pub(crate) name: String,
}

/// Takes the turns of all names, or says which one is another's at `now`. Those that were taken before are over with the lease.
pub(crate) async fn take(
    documents: &Arc<dyn Documents>,
    lease: &Lease,
    names: &[String],
    now: u64,
) -> Result<Result<(), Waiting>, Unavailable> {
    // In one order everywhere: of two that want the same names one has them all.
    let mut names: Vec<&String> = names.iter().collect();
    names.sort_unstable();
    names.dedup();
    let own = lease.holder();
    for name in names {
        let key = key(name);
        let found = documents.get(&key).await?;
        let held = found.as_ref().and_then(|found| read(&found.value)).filter(|held| *held != own);
        let waiting = Waiting { name: name.clone() };
        if let Some(held) = held
            && held.is_at_work(documents, now).await?
        {
            return Ok(Err(waiting));
        }
        let seen = Seen { key: key.clone(), revision: found.map_or(0, |found| found.revision) };
        let document = json!({ "lease": own.lease, "number": own.number });
        let written = documents.commit(Some(seen), vec![Change::put(key, document.to_string())]).await?;
        if written.is_none() {
            return Ok(Err(waiting));
        }
    }
    Ok(Ok(()))
}

/// Where it is written whose turn a name is.
pub(crate) fn key(name: &str) -> String {
    format!("{PREFIX}turn/{name}")
}

/// The certificate that is ordered by whose turn it is.
pub(crate) fn certificate(document: &[u8]) -> Option<String> {
    Some(read(document)?.certificate()?.to_owned())
}

fn read(document: &[u8]) -> Option<Holder> {
    let value: Value = serde_json::from_slice(document).ok()?;
    Some(Holder { lease: value.get("lease")?.as_str()?.to_owned(), number: value.get("number")?.as_u64()? })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Folder;
    use crate::lease::LEASE;

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    async fn lease(documents: &Arc<dyn Documents>, id: &str, now: u64) -> Lease {
        let taken = Lease::take(documents, id, now).await.expect("the store is there");
        taken.expect("it is free")
    }

    #[tokio::test(start_paused = true)]
    async fn orders_that_share_a_name_follow_one_another() {
        let home = tempfile::tempdir().expect("a folder");
        let documents: Arc<dyn Documents> = Arc::new(Folder::new(home.path().join("store")));
        let first = lease(&documents, "first", 100).await;
        let second = lease(&documents, "second", 100).await;
        let waiting = |name: &str| Ok(Err(Waiting { name: name.into() }));
        assert_eq!(take(&documents, &first, &names(&["b.example", "a.example"]), 100).await, Ok(Ok(())));
        assert_eq!(
            take(&documents, &first, &names(&["a.example"]), 101).await,
            Ok(Ok(())),
            "its own already"
        );
        assert_eq!(take(&documents, &second, &names(&["b.example"]), 101).await, waiting("b.example"));
        assert_eq!(take(&documents, &second, &names(&["c.example"]), 101).await, Ok(Ok(())), "nobody else's");
        // It is done; and what it has next is another turn.
        assert_eq!(first.end(Vec::new()).await, Ok(()));
        assert_eq!(take(&documents, &second, &names(&["b.example", "a.example"]), 102).await, Ok(Ok(())));
        let first = lease(&documents, "first", 103).await;
        assert_eq!(take(&documents, &first, &names(&["a.example"]), 103).await, waiting("a.example"));
        // The second one's replica died.
        let over = 102 + LEASE.as_secs();
        assert_eq!(take(&documents, &first, &names(&["a.example"]), over).await, Ok(Ok(())));
    }

    #[tokio::test(start_paused = true)]
    async fn a_turn_that_nobody_can_have_meant_holds_nobody_up() {
        let home = tempfile::tempdir().expect("a folder");
        let documents: Arc<dyn Documents> = Arc::new(Folder::new(home.path().join("store")));
        let own = lease(&documents, "own", 100).await;
        for (name, text) in
            [("a.example", "{}"), ("b.example", "\0"), ("c.example", r#"{"lease":"none","number":3}"#)]
        {
            let change = vec![Change::put(key(name), text)];
            assert!(documents.commit(None, change).await.is_ok());
            assert_eq!(take(&documents, &own, &names(&[name]), 100).await, Ok(Ok(())), "{text:?}");
        }
        // Nor does a clock that was wrong.
        let wrong = lease(&documents, "wrong", 4_000_000_000).await;
        assert_eq!(take(&documents, &wrong, &names(&["d.example"]), 4_000_000_000).await, Ok(Ok(())));
        assert_eq!(take(&documents, &own, &names(&["d.example"]), 100).await, Ok(Ok(())));
    }
}
