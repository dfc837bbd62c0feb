//! Where to listen, and what is shown there.

use std::sync::Arc;

use super::super::node::Node;
use super::Compiler;
use super::values::{status, unknown_name};
use crate::directive::edge::{is_authority_arn, is_certificate_arn};
use crate::directive::{Directives, Setter};
use crate::listener::{ListenAddress, Listener};
use crate::place::Place;
use crate::program::{Assignment, Door, Resolved};
use crate::route::{PathMatch, Route, Written};
use crate::value::Value;

impl Compiler<'_> {
    pub(super) fn listeners(&mut self, base: &Directives) -> (Vec<Listener>, Vec<Door>) {
        let mut listeners: Vec<Listener> = Vec::new();
        let mut doors = Vec::new();
        for node in self.root.get("listen").map(Node::items).unwrap_or_default() {
            let Some(address) = node.get("address") else { continue };
            let text = address.text().cloned().unwrap_or_default();
            let tls = node.get("tls");
            let parsed = ListenAddress::parse(&text, if tls.is_some() { 443 } else { 80 }, false);
            let listened = match parsed {
                Ok(listened) => listened,
                Err(message) => {
                    self.wrong(address.place, message);
                    continue;
                }
            };
            if listeners.iter().any(|listener| listener.address == listened) {
                self.wrong(address.place, format!("{text} is listened on twice"));
                continue;
            }
            let mut directives = base.clone();
            if let Some(name) = tls {
                self.tls(name, &mut directives);
            }
            if let Some(backlog) = node.get("backlog").and_then(Node::integer) {
                directives.socket.listen_backlog = u32::try_from(backlog).unwrap_or(u32::MAX);
            }
            let protocols = node.get("protocols").map(Node::items);
            let speaks = |protocol: &str, otherwise: bool| {
                protocols.map_or(otherwise, |list| {
                    list.iter().any(|one| one.text().is_some_and(|text| **text == *protocol))
                })
            };
            let (http1, http2) = (speaks("h1", true), speaks("h2", tls.is_some()));
            if let Some(node) = node.get("protocols").filter(|_| !http1 && !http2) {
                self.wrong(node.place, "nothing is left to speak by TCP");
            }
            let http3 = speaks("h3", false);
            if let Some(node) = node.get("protocols").filter(|_| http3) {
                if tls.is_none() || !matches!(listened, ListenAddress::Inet(_)) {
                    self.wrong(node.place, "h3 needs tls, and an address with a port");
                } else if directives.ssl.verifyclient_activate {
                    self.wrong(node.place, "clients are not asked for certificates by h3: leave out either");
                }
            }
            if let Some(on) = node.get("proxy_protocol").and_then(|node| Some((node.place, node.switch()?))) {
                directives.extforward.hap_proxy = on.1;
                if on.1 && base.extforward.forwarder.peers.is_empty() {
                    self.wrong(on.0, "proxy_protocol needs [trust] forwarded_from: whose word is believed");
                }
            }
            let token: Arc<str> = listened.to_string().into();
            listeners.push(Listener {
                token: Arc::clone(&token),
                address: listened,
                socket: directives.socket.clone(),
                ssl: directives.ssl.clone(),
                proxy_protocol: directives.extforward.hap_proxy,
                condition: None,
                http1,
                http2,
                http3,
                spare: false,
            });
            let id = u32::MAX - u32::try_from(doors.len()).unwrap_or(0);
            doors.push(Door { token, resolved: Arc::new(Resolved { directives, id, route: 0 }) });
            let all = node.get("redirect").map(|node| (node.place, node));
            if let (Some((place, _)), Some(listener)) = (all, listeners.last()) {
                let token = Box::from(&*listener.token);
                let status = status(node, 308);
                self.redirect_to_https(base, token, place, status);
            } else if let Some(status) = node.get("status") {
                self.wrong(status.place, "status is that of redirect: there is none");
            }
        }
        (listeners, doors)
    }

    /// A route before all others, for one listener.
    fn redirect_to_https(&mut self, base: &Directives, token: Box<str>, place: Place, status: u16) {
        let setter: Setter = Box::new(move |directives| {
            directives.edge.respond = None;
            directives.edge.redirect_https = true;
            directives.edge.redirect_https_status = status;
        });
        let assignment =
            Assignment { key: "redirect".into(), value: "https".into(), place, setter: Some(setter) };
        let mut route = Route {
            site: "*".into(),
            name: format!("https {token}").into(),
            hosts: Vec::new(),
            path: PathMatch::Any,
            scheme: None,
            methods: Vec::new(),
            headers: Vec::new(),
            sockets: vec![token.clone()],
            clients: Arc::from([]),
            not_clients: Arc::from([]),
            resolved: Arc::default(),
            assignments: vec![assignment],
            place,
            written: vec![Written { key: "listen".into(), value: Value::from(&*token), place }],
        };
        self.finish(&mut route, base);
        self.routes.push(route);
    }

    fn tls(&mut self, name: &Node, directives: &mut Directives) {
        let wanted = name.text().cloned().unwrap_or_default();
        let Some(tls) = self.root.get("tls").and_then(|tls| tls.get(&wanted)) else {
            let known = self.root.get("tls").map(Node::entries).unwrap_or_default();
            self.found.push(unknown_name(name.place, "[tls.", &wanted, known));
            return;
        };
        let text = |key: &str| tls.get(key).and_then(Node::text).cloned();
        directives.ssl.engine = true;
        directives.ssl.pemfile = text("certificate");
        directives.ssl.privkey = text("key");
        let authority = text("client_ca");
        match authority.as_deref().is_some_and(|name| name.starts_with("arn:")) {
            true => directives.mesh.client_authority = authority.clone(),
            false => directives.ssl.verifyclient_ca_file = authority.clone(),
        }
        if let Some(node) = tls.get("client_ca")
            && directives.mesh.client_authority.as_deref().is_some_and(|name| !is_authority_arn(name))
        {
            let text = format!(
                "tls.{wanted}.client_ca is a file, or the ARN of an authority: \
                 arn:aws:acm-pca:REGION:ACCOUNT:certificate-authority/ID"
            );
            self.wrong(node.place, text);
        }
        if let Some(client) = text("client") {
            directives.ssl.verifyclient_activate = true;
            directives.ssl.verifyclient_enforce = *client == *"require";
            if authority.is_none() {
                self.wrong(
                    tls.place,
                    format!("tls.{wanted}.client needs client_ca: whose certificates to believe"),
                );
            }
        }
        let oldest = text("min_version").unwrap_or_else(|| "1.2".into());
        directives.ssl.openssl_ssl_conf_cmd =
            Arc::from([("MinProtocol".into(), format!("TLSv{oldest}").into())]);
        if let Some(arn) = tls.get("arn") {
            directives.mesh.certificate = text("arn");
            if !arn.text().is_some_and(|arn| is_certificate_arn(arn)) {
                let text = format!(
                    "tls.{wanted}.arn is the ARN of a certificate: arn:aws:acm:REGION:ACCOUNT:certificate/ID"
                );
                self.wrong(arn.place, text);
            }
        }
        if ["certificate", "arn", "acme"].iter().filter(|key| tls.get(key).is_some()).count() != 1 {
            self.wrong(tls.place, format!("tls.{wanted} needs one of certificate, arn and acme"));
        }
    }
}
