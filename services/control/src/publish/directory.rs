//! Which services a document of the registry is about.

use std::collections::BTreeSet;

use selvedge_registry::Snapshot;
use selvedge_registry::document::Key;

/// The services that a change of that document may change, by the lower-case names of namespace and service. Asked before the
/// change and after it: a name that is gone is known only before.
pub(super) fn services(snapshot: &Snapshot, key: &Key) -> BTreeSet<(String, String)> {
    match key {
        Key::Namespace(id) => {
            let Some(namespace) = snapshot.namespace(id) else { return BTreeSet::new() };
            let name = namespace.name.to_ascii_lowercase();
            snapshot.service_names(id).map(|(service, _)| (name.clone(), service.to_owned())).collect()
        }
        Key::Service(id) | Key::Instance(id, _) => {
            let service = snapshot.service(id).map(|state| state.service);
            let namespace = service.and_then(|service| snapshot.namespace(&service.namespace_id));
            let names = service.zip(namespace);
            let names = names.map(|(service, namespace)| {
                (namespace.name.to_ascii_lowercase(), service.name.to_ascii_lowercase())
            });
            names.into_iter().collect()
        }
        _ => BTreeSet::new(),
    }
}
