//! Host names of virtual services, each claimed once in a table.

use std::collections::BTreeSet;

use selvedge_model::VirtualService;

use crate::context::Context;
use crate::diagnostic::Code;

/// The domains of one route table.
#[derive(Default)]
pub(crate) struct Domains {
    claimed: BTreeSet<String>,
}

impl Domains {
    /// With names that are not to be had.
    pub(crate) fn without(taken: impl IntoIterator<Item = String>) -> Self {
        Self { claimed: taken.into_iter().map(|name| name.to_ascii_lowercase()).collect() }
    }

    /// Claims names for a virtual service, sorted; those that are taken are left out, and told.
    pub(crate) fn claim(
        &mut self,
        context: &mut Context<'_>,
        service: &VirtualService,
        names: impl IntoIterator<Item = String>,
    ) -> Vec<String> {
        let names: BTreeSet<String> = names.into_iter().collect();
        let mut domains = Vec::new();
        for name in names {
            if self.claimed.insert(name.to_ascii_lowercase()) {
                domains.push(name);
            } else {
                let text =
                    format!("requests to {name} go to another virtual service that claims the same name");
                context.warn(Code::DomainClash, service, "", text);
            }
        }
        domains
    }
}

/// Whether a name can stand in a configuration: visible, and without what would end a header's value.
pub(crate) fn is_usable(name: &str) -> bool {
    !name.is_empty() && !name.chars().any(|character| character.is_control() || character.is_whitespace())
}
