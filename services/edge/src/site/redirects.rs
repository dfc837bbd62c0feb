//! When redirects have their turn.

use selvedge_site::directive::Global;

/// lighttpd's modules act in the order of `server.modules`: who asks for a sign-in before it redirects tells a stranger
/// nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Redirects {
    /// Before access lists and sign-in.
    First,
    /// `mod_access` stands before `mod_redirect`.
    AfterAccess,
    /// `mod_auth` does.
    AfterSignIn,
}

impl Redirects {
    /// As the list of modules has it; our own form has none, and redirects first.
    pub(super) fn of(global: &Global) -> Self {
        let place = |name: &str| global.modules.iter().position(|module| **module == *name);
        let Some(own) = place("mod_redirect") else { return Self::First };
        let is_before = |name: &str| place(name).is_some_and(|other| other < own);
        match (is_before("mod_auth"), is_before("mod_access")) {
            (true, _) => Self::AfterSignIn,
            (false, true) => Self::AfterAccess,
            (false, false) => Self::First,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn redirects_have_their_turn_by_the_order_of_modules() {
        for (modules, expected) in [
            (&["mod_redirect", "mod_access", "mod_auth"][..], Redirects::First),
            (&["mod_access", "mod_redirect", "mod_auth"], Redirects::AfterAccess),
            (&["mod_access", "mod_auth", "mod_redirect"], Redirects::AfterSignIn),
            (&["mod_auth", "mod_redirect", "mod_access"], Redirects::AfterSignIn),
            (&["mod_access", "mod_auth"], Redirects::First),
            (&[], Redirects::First),
        ] {
            let modules = modules.iter().map(|name| (*name).into()).collect();
            let global = Global { modules, ..Global::default() };
            assert_eq!(Redirects::of(&global), expected, "{:?}", global.modules);
        }
    }
}
