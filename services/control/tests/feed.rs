//! The change feed as the publisher reads it, over a store that fails between two reads.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use bytes::Bytes;
use http::Request;
use selvedge_control::api::{Api, Hosts, Readiness, System};
use selvedge_control::operations::Settings;
use selvedge_control::publish::{Feed, FeedEvent};
use selvedge_store::memory::Memory;
use selvedge_store::{
    Abort, Change, Committed, Document, Error, Read, Revision, Store, Subscription, Transaction, Wake,
};
use serde_json::{Value, json};

/// A store that, while it is broken, reads nothing of the mesh `z`.
struct Flaky {
    memory: Arc<Memory>,
    is_broken: AtomicBool,
}

struct View<'a> {
    inner: Box<dyn Read + 'a>,
    is_broken: bool,
}

impl View<'_> {
    fn check(&self, key: &str) -> Result<(), Error> {
        let is_lost = self.is_broken && key.split('/').any(|part| part == "z");
        if is_lost { Err(Error::Unavailable("broken".to_owned())) } else { Ok(()) }
    }
}

impl Read for View<'_> {
    fn revision(&self) -> Revision {
        self.inner.revision()
    }

    fn get(&self, key: &str) -> Result<Option<Document>, Error> {
        self.check(key)?;
        self.inner.get(key)
    }

    fn scan(&self, prefix: &str, after: Option<&str>, limit: usize) -> Result<Vec<Document>, Error> {
        self.check(prefix)?;
        self.inner.scan(prefix, after, limit)
    }
}

impl Store for Flaky {
    fn transact(
        &self,
        f: &mut dyn FnMut(&mut dyn Transaction) -> Result<(), Abort>,
    ) -> Result<Committed, Error> {
        self.memory.transact(f)
    }

    fn snapshot(&self) -> Result<Box<dyn Read + '_>, Error> {
        let is_broken = self.is_broken.load(Ordering::SeqCst);
        Ok(Box::new(View { inner: self.memory.snapshot()?, is_broken }))
    }

    fn changes(&self, after: Revision, limit: usize) -> Result<Vec<Change>, Error> {
        self.memory.changes(after, limit)
    }

    fn subscribe(&self, wake: Wake) -> Subscription {
        self.memory.subscribe(wake)
    }
}

#[test]
fn a_mesh_that_was_mended_is_read_whole_though_the_store_failed_meanwhile() {
    let memory = Arc::new(Memory::new());
    let api = Api::new(
        memory.clone(),
        Settings::default(),
        Arc::new(System),
        Readiness::default(),
        Hosts::default(),
    );
    let put = |path: &str, body: Value| {
        let request = Request::put(format!("/v20190125/{path}")).header("host", "localhost");
        let response = api.handle(&request.body(Bytes::from(body.to_string())).expect("a request"));
        assert_eq!(response.status(), 200, "{path}: {:?}", response.body());
    };
    let write = |key: &str, value: &Bytes| {
        memory.transact(&mut |all| Ok(all.put(key, value.clone())?)).expect("the store works");
    };
    let store = Flaky { memory: memory.clone(), is_broken: AtomicBool::new(false) };
    let mut feed = Feed::new();
    for mesh in ["a", "z"] {
        put("meshes", json!({ "meshName": mesh }));
    }
    put("meshes/a/virtualNodes", json!({ "virtualNodeName": "first", "spec": {} }));
    feed.poll(Instant::now(), &store).expect("all is well");

    let key = "appmesh/virtualNode/a/first";
    let good = memory.snapshot().expect("a view").get(key).expect("a read").expect("the node").value;
    write(key, &Bytes::from_static(b"{not json"));
    put("meshes/a/virtualNodes", json!({ "virtualNodeName": "second", "spec": {} }));
    feed.poll(Instant::now(), &store).expect("the other mesh can be read");

    write(key, &good);
    put("meshes/z/virtualNodes", json!({ "virtualNodeName": "other", "spec": {} }));
    store.is_broken.store(true, Ordering::SeqCst);
    feed.poll(Instant::now(), &store).expect_err("the store is broken");
    store.is_broken.store(false, Ordering::SeqCst);
    let events = feed.poll(Instant::now(), &store).expect("all is well again");
    let nodes: Vec<String> = events
        .into_iter()
        .filter_map(|event| match event {
            FeedEvent::Mesh { name, snapshot: Some(snapshot), .. } if name == "a" => Some(snapshot),
            _ => None,
        })
        .flat_map(|snapshot| snapshot.virtual_nodes.keys().cloned().collect::<Vec<_>>())
        .collect();
    assert_eq!(nodes, ["first", "second"]);
}
