//! What answers a route's requests, and who may ask.

use std::sync::Arc;

use super::super::node::Node;
use super::super::unit;
use super::Compiler;
use super::values::{texts, unknown_name, value_of};
use crate::condition::ConditionId;
use crate::directive::edge::WORKFLOW_WAIT_MS_MAX;
use crate::directive::{
    Algorithm, AuthMethod, AuthRequirement, Backend, BackendExtension, BackendId, Host, Require, Rule, Rules,
    Setter, SignIn, Text, WorkflowElse, WorkflowRoute,
};
use crate::listener::ListenAddress;
use crate::pattern::Pattern;
use crate::template::Template;

impl Compiler<'_> {
    pub(super) fn workflow(&mut self, node: &Node) -> Option<WorkflowRoute> {
        let wait = node.get("wait");
        let wait_ms = wait.and_then(Node::text).and_then(|text| unit::duration_ms(text)).unwrap_or(0);
        if let Some(wait) = wait.filter(|_| wait_ms > WORKFLOW_WAIT_MS_MAX) {
            self.wrong(wait.place, format!("workflow.wait is at most {}s", WORKFLOW_WAIT_MS_MAX / 1000));
        }
        let resume = node.get("resume").and_then(Node::switch).unwrap_or(false);
        let states = node.get("states").and_then(Node::switch).unwrap_or(false);
        let machine = node.get("machine").and_then(Node::text).cloned();
        if machine.is_none() && !resume {
            self.wrong(node.place, "workflow needs a machine, or resume = true");
        }
        let otherwise = match node.get("else").and_then(Node::text).map(|text| &**text) {
            Some("504") => WorkflowElse::Timeout,
            _ => WorkflowElse::Accepted,
        };
        let headers = node.get("headers").map(texts).unwrap_or_else(|| Arc::from([]));
        Some(WorkflowRoute {
            machine: machine.unwrap_or_default(),
            wait_ms,
            otherwise,
            resume,
            states,
            headers: headers.iter().map(|name| Text::from(name.to_ascii_lowercase())).collect(),
            files: node.get("files").and_then(Node::text).cloned(),
            errors: node
                .get("errors")
                .map(Node::entries)
                .unwrap_or_default()
                .iter()
                .filter_map(|(name, _, status)| Some((name.clone(), u16::try_from(status.integer()?).ok()?)))
                .collect(),
        })
    }

    pub(super) fn backend(&mut self, node: &Node) -> Option<Backend> {
        let mut hosts = Vec::new();
        for item in node.items() {
            let text = item.text()?;
            self.ids.backends += 1;
            let mut host = Host::new(BackendId(self.ids.backends), Text::default());
            (host.check_local, host.min_procs, host.max_procs) = (false, 1, 1);
            match ListenAddress::parse(text, 80, false) {
                Ok(ListenAddress::Unix(path)) => host.socket = Some(path),
                Ok(ListenAddress::Inet(address)) => {
                    host.host = Some(address.ip().to_string().into());
                    host.port = address.port();
                }
                Ok(ListenAddress::Name { host: name, port, .. }) => {
                    host.host = Some(name);
                    host.port = port;
                }
                Err(message) => {
                    self.wrong(item.place, message);
                    return None;
                }
            }
            hosts.push(host);
        }
        let extension = BackendExtension { key: Text::default(), hosts: hosts.into() };
        Some(Backend { extensions: Arc::from([extension]) })
    }

    /// One rewrite or several, of which the first whose expression is found counts.
    pub(super) fn rewrite(&mut self, node: &Node, host: Option<ConditionId>) -> Option<Setter> {
        let (mut always, mut if_not_file) = (Vec::new(), Vec::new());
        for node in node.items() {
            let expression = node.get("match")?;
            let to = node.get("to").and_then(Node::text)?;
            match Pattern::new(expression.text()?) {
                Ok(pattern) => {
                    let rule = Rule { pattern, template: Template::parse(to) };
                    let is_for_others = node.get("if_not_file").and_then(Node::switch) == Some(true);
                    if is_for_others { &mut if_not_file } else { &mut always }.push(rule);
                }
                Err(error) => self.wrong(expression.place, error.to_string()),
            }
        }
        let rules =
            |rules: Vec<Rule>| Rules { repeat_from: rules.len(), rules: rules.into(), condition: host };
        let (always, if_not_file) = (rules(always), rules(if_not_file));
        Some(Box::new(move |directives| {
            directives.url.rewrite = always.clone();
            directives.url.rewrite_if_not_file = if_not_file.clone();
        }))
    }

    pub(super) fn auth(&mut self, node: &Node) -> Option<Setter> {
        let ways: Vec<&str> = ["oidc", "jwt", "certificate", "htpasswd", "htdigest"]
            .into_iter()
            .filter(|way| node.get(way).is_some())
            .collect();
        let [way] = ways.as_slice() else {
            self.wrong(node.place, "auth needs one of oidc, jwt, certificate, htpasswd, htdigest");
            return None;
        };
        let value = node.get(way)?;
        let name = value.text().cloned().unwrap_or_default();
        let claims = node.get("claims").map(|claims| (claims, value_of(claims)));
        let claims = claims.and_then(|(node, value)| self.through_value("mesh.claims", &value, node.place));
        let setter = self.signed_in(way, node, value, name)?;
        Some(Box::new(move |directives| {
            setter(directives);
            if let Some(claims) = &claims {
                claims(directives);
            }
        }))
    }

    fn signed_in(&mut self, way: &str, node: &Node, value: &Node, name: Text) -> Option<Setter> {
        match way {
            "oidc" | "jwt" => {
                let known = self.root.get(way).map(Node::entries).unwrap_or_default();
                if !known.iter().any(|(found, ..)| *found == name) {
                    self.found.push(unknown_name(value.place, &format!("[{way}."), &name, known));
                    return None;
                }
                let sign_in = if way == "oidc" { SignIn::Oidc(name) } else { SignIn::Jwt(name) };
                Some(Box::new(move |directives| directives.edge.sign_in = Some(sign_in.clone())))
            }
            "certificate" => Some(Box::new(|directives| directives.edge.sign_in = Some(SignIn::Certificate))),
            _ => {
                let requirement = self.of_file(way, node)?;
                let group_file = node.get("group_file").and_then(Node::text).cloned();
                let is_digest = requirement.method == AuthMethod::Digest;
                Some(Box::new(move |directives| {
                    let auth = &mut directives.auth;
                    auth.backend = Some(if is_digest { "htdigest" } else { "htpasswd" }.into());
                    let file = match is_digest {
                        true => &mut auth.backend_htdigest_userfile,
                        false => &mut auth.backend_htpasswd_userfile,
                    };
                    *file = Some(name.clone());
                    auth.backend_plain_groupfile.clone_from(&group_file);
                    auth.require = Arc::from([(Text::default(), requirement.clone())]);
                }))
            }
        }
    }

    /// Who may of those that a file of users has.
    fn of_file(&mut self, way: &str, node: &Node) -> Option<AuthRequirement> {
        let of = |key: &str| node.get(key).map_or_else(|| Arc::from([]), texts);
        if let Some(groups) = node.get("groups")
            && node.get("group_file").is_none()
        {
            self.wrong(groups.place, "groups need a group_file, whose lines are `group: user user`");
            return None;
        }
        let require = match node.get("users").or_else(|| node.get("groups")) {
            None => Require::ValidUser,
            Some(_) => Require::AnyOf { users: of("users"), groups: of("groups") },
        };
        Some(AuthRequirement {
            method: if way == "htdigest" { AuthMethod::Digest } else { AuthMethod::Basic },
            realm: node.get("realm").and_then(Node::text).cloned().unwrap_or_else(|| "private".into()),
            require,
            algorithms: vec![Algorithm::Md5],
            nonce_secret: None,
            userhash: false,
        })
    }
}
