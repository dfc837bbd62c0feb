//! Secrets that an agent or the control plane hands out: waited for, rotated, refused, forgotten, and never shown.

use std::net::TcpStream;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use rcgen::SerialNumber;
use selvedge_traffic::matching::TextMatch;
use selvedge_traffic::tls::{
    Certificate, DownstreamTls, NameKind, NameMatch, SecretFile, SecretRef, SecretSource, SecretTarget,
    SecretTls, Suites, Trust, UpstreamTls, Validation, Versions,
};
use selvedge_traffic::{Cluster, Listener, Network, Resource, Transport, UpstreamTransport};
use selvedge_xds::secret::{Content, Secret};
use zeroize::Zeroizing;

use crate::agent::Agent;
use crate::authority::Authority;
use crate::mesh::{cluster, forward, http, listener, route};
use crate::side::{Addresses, Side, planes};
use crate::upstream::Upstream;

/// Of a folder of files each has its own: an Envoy takes no file with several.
fn reference(name: &str, source: &SecretSource) -> SecretRef {
    let mut source = source.clone();
    if let SecretSource::File(file) = &mut source {
        file.path = file.path.replace("NAME", name);
    }
    SecretRef { name: name.to_owned(), source }
}

fn name(uri: &str) -> Vec<NameMatch> {
    vec![NameMatch { kind: NameKind::Uri, text: TextMatch::exact(uri) }]
}

/// The proxy calls itself: outbound in the clear, then as `a` with TLS to its own inbound side, which is `b`.
fn resources(side: Addresses, source: &SecretSource, app: &Upstream) -> Vec<Resource> {
    let secret = |name: &str| reference(name, source);
    let down = DownstreamTls {
        // A combined context: the secret says whom to trust, the listener who may call.
        validation: Some(Validation {
            names: name("spiffe://m/a"),
            ..Validation::new(Trust::Sds(secret("roots")))
        }),
        require_client_certificate: true,
        ..DownstreamTls::new(Certificate::Sds(secret("b")))
    };
    let up = UpstreamTls {
        certificate: Some(Certificate::Sds(secret("a"))),
        validation: Some(Validation::new(Trust::Sds(secret("roots")))),
        sni: "b.local".into(),
        alpn: Vec::new(),
        versions: Versions::default(),
        suites: Suites::default(),
    };
    let inner = Cluster {
        transport: UpstreamTransport::Tls(Box::new(up)),
        // A handshake for each request.
        requests_per_connection_max: Some(1),
        ..cluster("inner", &[side.inbound])
    };
    let mut inbound = Listener {
        name: "inbound".into(),
        address: side.inbound,
        ..listener(Network::Http(Box::new(http(vec![route("/", forward("app"))]))))
    };
    inbound.chains[0].transport = Transport::Tls(Box::new(down));
    let outbound = Listener {
        name: "outbound".into(),
        address: side.outbound,
        ..listener(Network::Http(Box::new(http(vec![route("/", forward("inner"))]))))
    };
    vec![
        Resource::Cluster(cluster("app", &[app.address])),
        Resource::Cluster(inner),
        Resource::Listener(inbound),
        Resource::Listener(outbound),
    ]
}

fn certificate(authority: &Authority, name: &str, serial: u64) -> Secret {
    let (chain, key) = authority.pair(name, |params| params.serial_number = Some(SerialNumber::from(serial)));
    let content = Content::Certificate { chain: chain.into_bytes(), key: key.into_bytes().into() };
    Secret { name: name.into(), content }
}

fn roots(authority: &Authority) -> Secret {
    let pem = std::fs::read_to_string(authority.path("ca.pem")).unwrap();
    let content = Content::Validation(Box::new(Validation::new(Trust::Inline(pem))));
    Secret { name: "roots".into(), content }
}

/// The serial numbers of the certificates that are in use.
fn serials(side: &Side) -> Vec<String> {
    let text = side.admin("/certs");
    let rest = text.split("\"serial_number\":").skip(1);
    rest.filter_map(|rest| Some(rest.split('"').nth(1)?.to_owned())).collect()
}

#[test]
fn clusters_and_listeners_wait_for_an_agents_secrets_which_rotate_without_one_failed_request() {
    for plane in planes() {
        let (agent, authority, app) = (Agent::start(), Authority::new(), Upstream::start());
        let side = Side::start(plane.as_deref(), Some(&agent.socket), |addresses| {
            resources(addresses, &SecretSource::Socket, &app)
        });
        side.until("the secrets are asked for", |_| {
            (agent.open("a") + agent.open("roots") >= 2).then_some(())
        });
        assert!(TcpStream::connect(side.outbound).is_err(), "{}: nothing is served half", side.name);
        assert!(side.admin("/ready").contains("INITIALIZING"), "{}", side.admin("/ready"));
        agent.put(certificate(&authority, "a", 1));
        agent.put(roots(&authority));
        side.until("the listener's secret is asked for", |_| (agent.open("b") >= 1).then_some(()));
        assert!(TcpStream::connect(side.inbound).is_err(), "{}", side.name);
        agent.put(certificate(&authority, "b", 1));
        side.until_listening(side.inbound);
        side.until_listening(side.outbound);
        side.until("the whole path works", |side| (side.get("/first").status == 200).then_some(()));
        let before = side.stat("cluster.inner.ssl.handshake");

        let side = Arc::new(side);
        let (stop, asked) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let askers: Vec<_> = (0..3)
            .map(|_| {
                let (side, stop, asked) = (Arc::clone(&side), Arc::clone(&stop), Arc::clone(&asked));
                std::thread::spawn(move || {
                    while !stop.load(Ordering::Relaxed) {
                        let answer = side.get("/load");
                        assert_eq!(answer.status, 200, "{}: {answer:?}", side.name);
                        asked.fetch_add(1, Ordering::Relaxed);
                    }
                })
            })
            .collect();
        for round in 2..=5u64 {
            agent.put(certificate(&authority, "b", round + 0x100));
            agent.put(certificate(&authority, "a", round + 0x200));
            let (b, a) = (format!("{:04x}", round + 0x100), format!("{:04x}", round + 0x200));
            side.until("both are in force", |side| {
                let serials = serials(side);
                (serials.contains(&a) && serials.contains(&b)).then_some(())
            });
            let enough = asked.load(Ordering::Relaxed) + 30;
            while asked.load(Ordering::Relaxed) < enough {
                assert!(!askers.iter().any(|asker| asker.is_finished()), "a request failed");
                std::thread::sleep(Duration::from_millis(5));
            }
        }
        stop.store(true, Ordering::Relaxed);
        askers.into_iter().for_each(|asker| asker.join().unwrap());
        assert!(side.stat("cluster.inner.ssl.handshake") >= before + 120, "{}", side.name);
    }
}

/// Both planes serve, each with an agent of its own.
fn served(source: &SecretSource) -> Vec<(Side, Agent, Authority, Upstream)> {
    let serve = |plane: Option<PathBuf>| {
        let (agent, authority, app) = (Agent::start(), Authority::new(), Upstream::start());
        let source = match source {
            SecretSource::Target(_) => SecretSource::Target(SecretTarget::plain(&agent.address.to_string())),
            other => other.clone(),
        };
        let side = Side::start(plane.as_deref(), Some(&agent.socket), |addresses| {
            resources(addresses, &source, &app)
        });
        let secrets = [certificate(&authority, "a", 1), roots(&authority), certificate(&authority, "b", 1)];
        match source {
            SecretSource::Ads => {
                side.plane.publish_secrets(secrets.into_iter().map(|it| (it, "1".to_owned())).collect());
            }
            _ => secrets.into_iter().for_each(|secret| {
                agent.put(secret);
            }),
        }
        side.until("the whole path works", |side| {
            let up = TcpStream::connect(side.outbound).is_ok() && TcpStream::connect(side.inbound).is_ok();
            (up && side.get("/first").status == 200).then_some(())
        });
        (side, agent, authority, app)
    };
    planes().into_iter().map(serve).collect()
}

#[test]
fn a_bad_secret_is_refused_by_name_and_the_last_good_one_stays() {
    let foreign = Authority::new();
    for (side, agent, authority, _app) in served(&SecretSource::Socket) {
        let other = certificate(&foreign, "b", 9);
        let Content::Certificate { key, .. } = other.content else { unreachable!("a certificate") };
        let Content::Certificate { chain, .. } = certificate(&authority, "b", 8).content else {
            unreachable!("a certificate")
        };
        let with = |chain: Vec<u8>, key: Zeroizing<Vec<u8>>| Secret {
            name: "b".into(),
            content: Content::Certificate { chain, key },
        };
        let garbage = || b"no certificate".to_vec();
        for (number, bad) in [
            with(chain.clone(), key.clone()),
            with(garbage(), key.clone()),
            with(chain, garbage().into()),
            Secret { name: "b".into(), ..roots(&authority) },
        ]
        .into_iter()
        .enumerate()
        {
            // Envoy takes a secret of another kind for an empty certificate and says nothing of it.
            if side.name == "envoy" && number == 3 {
                continue;
            }
            let nonce = agent.put(bad).to_string();
            let answer = side.until("an answer", |_| {
                agent.requests("b").into_iter().find(|request| request.nonce == nonce)
            });
            let error = answer.error.unwrap_or_else(|| panic!("{} {number}: no NACK", side.name));
            assert!(!error.contains("PRIVATE"), "{error}");
            assert_eq!(answer.version, "3", "{}: the last good one", side.name);
            assert_eq!(side.get("/after").status, 200, "{}", side.name);
        }
        let rejected = if side.name == "envoy" { 3 } else { 4 };
        side.await_stat("sds.b.update_rejected", rejected);
        let good = agent.put(certificate(&authority, "b", 0x77)).to_string();
        side.until("the next good one is in force", |side| {
            serials(side).contains(&"77".to_owned()).then_some(())
        });
        let answer = side.until("it is accepted", |_| {
            agent.requests("b").into_iter().find(|request| request.nonce == good)
        });
        assert_eq!((answer.version, answer.error), (good, None), "{}", side.name);
        assert_eq!(side.get("/after").status, 200);
    }
}

#[test]
fn what_operators_see_of_secrets_is_what_envoy_shows_and_no_key_is_in_it() {
    let mut seen = Vec::new();
    for (side, _agent, _authority, _app) in served(&SecretSource::Socket) {
        for page in ["/config_dump", "/certs", "/stats", "/clusters?format=json", "/init_dump"] {
            let text = side.admin(page);
            assert!(
                !text.contains("PRIVATE KEY") && !text.contains("UFJJVkFURSBLRVk"),
                "{} {page}",
                side.name
            );
        }
        let dump = side.admin("/config_dump?resource=dynamic_active_secrets");
        assert!(dump.contains("[redacted]") || dump.contains("W3JlZGFjdGVkXQ=="), "{}: {dump}", side.name);
        let dump: serde_json::Value = serde_json::from_str(&dump).expect("JSON");
        let names: Vec<&serde_json::Value> =
            dump["configs"].as_array().expect("a list").iter().map(|secret| &secret["name"]).collect();
        assert_eq!(names, ["a", "b", "roots"], "{}", side.name);
        let factory =
            format!("listener.{}.server_ssl_socket_factory", side.inbound.to_string().replace(':', "_"));
        let statistics = [
            format!("{factory}.ssl_context_update_by_sds"),
            "cluster.inner.client_ssl_socket_factory.ssl_context_update_by_sds".to_owned(),
            "sds.a.update_attempt".to_owned(),
            "sds.a.update_success".to_owned(),
            "sds.a.update_rejected".to_owned(),
            "sds.roots.update_success".to_owned(),
        ];
        let values: Vec<i64> = statistics.iter().map(|name| side.stat(name)).collect();
        let certs: serde_json::Value = serde_json::from_str(&side.admin("/certs")).expect("JSON");
        let mut certs: Vec<String> = certs["certificates"]
            .as_array()
            .expect("a list")
            .iter()
            .map(|one| {
                let mut one = one.clone();
                // Each side has an authority of its own.
                one["ca_cert"][0]["serial_number"] = "of the authority".into();
                one.to_string()
            })
            .collect();
        certs.sort();
        seen.push((values, certs));
    }
    if let [ours, envoys] = seen.as_slice() {
        assert_eq!(ours, envoys, "ours, Envoy's");
    }
}

#[test]
fn a_secret_that_nobody_uses_any_more_is_no_longer_asked_for() {
    for (mut side, agent, _authority, app) in served(&SecretSource::Socket) {
        let addresses = Addresses { inbound: side.inbound, outbound: side.outbound };
        let mut resources = resources(addresses, &SecretSource::Socket, &app);
        for resource in &mut resources {
            match resource {
                Resource::Cluster(cluster) => cluster.transport = UpstreamTransport::Plain,
                Resource::Listener(listener) => listener.chains[0].transport = Transport::Plain,
                _ => {}
            }
        }
        side.publish(&resources);
        // Envoy keeps a listener that was replaced, and its secrets, for ten minutes.
        let names = if side.name == "ours" { &["a", "b", "roots"][..] } else { &["a"] };
        for name in names {
            side.until("the stream ends", |_| (agent.open(name) == 0).then_some(()));
        }
        side.until("plain works", |side| (side.get("/plain").status == 200).then_some(()));
        let left = names.len() == 1;
        side.until("nothing of them is left", |side| (left || serials(side).is_empty()).then_some(()));
    }
}

#[test]
fn an_agent_that_goes_away_takes_nothing_with_it_and_one_denied_name_no_other() {
    for (side, agent, authority, _app) in served(&SecretSource::Socket) {
        agent.deny("a");
        side.until("the stream has ended and been opened again", |_| {
            (agent.requests("a").iter().filter(|request| request.nonce.is_empty()).count() >= 3).then_some(())
        });
        agent.put(certificate(&authority, "b", 0x55));
        side.until("the other rotates", |side| serials(side).contains(&"55".to_owned()).then_some(()));
        assert_eq!(side.get("/without").status, 200, "{}: what is in force stays", side.name);
        agent.put(certificate(&authority, "a", 0x66));
        side.until("it is back", |side| serials(side).contains(&"66".to_owned()).then_some(()));
        drop(agent);
        assert_eq!(side.get("/alone").status, 200, "{}", side.name);
    }
}

#[test]
fn secrets_come_with_the_configuration_too_and_from_a_service_that_the_resource_names() {
    for (side, _agent, authority, _app) in served(&SecretSource::Ads) {
        let next =
            [certificate(&authority, "b", 0x31), certificate(&authority, "a", 0x32), roots(&authority)];
        side.plane.publish_secrets(next.into_iter().map(|it| (it, "2".to_owned())).collect());
        side.until("they rotate", |side| {
            let serials = serials(side);
            (serials.contains(&"31".to_owned()) && serials.contains(&"32".to_owned())).then_some(())
        });
        assert_eq!(side.get("/rotated").status, 200, "{}", side.name);
        let bad = Secret { name: "a".into(), ..roots(&authority) };
        if side.name == "ours" {
            side.plane.publish_secrets(vec![(bad, "3".to_owned())]);
            side.until("it is refused", |side| {
                let error = side.plane.seen().secrets.into_iter().find_map(|request| request.error)?;
                assert_eq!(error, "Error adding/updating secret(s) a: secret \"a\" is of another kind");
                Some(())
            });
            assert_eq!(side.get("/still").status, 200);
        }
    }
    for (side, agent, authority, _app) in served(&SecretSource::Target(SecretTarget::plain(""))) {
        agent.put(certificate(&authority, "b", 0x41));
        side.until("it rotates", |side| serials(side).contains(&"41".to_owned()).then_some(()));
        assert_eq!(side.get("/rotated").status, 200, "{}", side.name);
    }
}

#[test]
fn an_agent_that_sends_differences_alone_is_followed_and_answered() {
    for (side, agent, authority, _app) in served(&SecretSource::DeltaSocket) {
        let bad = Secret {
            name: "b".into(),
            content: Content::Certificate { chain: b"none".to_vec(), key: b"none".to_vec().into() },
        };
        let nonce = agent.put(bad).to_string();
        let answer = side
            .until("an answer", |_| agent.requests("b").into_iter().find(|request| request.nonce == nonce));
        assert!(answer.error.is_some(), "{}: no NACK", side.name);
        assert_eq!(side.get("/after").status, 200, "{}: the last good one stays", side.name);
        let good = agent.put(certificate(&authority, "b", 0x51)).to_string();
        side.until("it rotates", |side| serials(side).contains(&"51".to_owned()).then_some(()));
        let answer = side.until("it is accepted", |_| {
            agent.requests("b").into_iter().find(|request| request.nonce == good)
        });
        assert_eq!(answer.error, None, "{}", side.name);
        assert_eq!(side.get("/rotated").status, 200, "{}", side.name);
    }
}

#[test]
fn an_agent_on_another_machine_is_called_by_tls_and_sees_who_calls() {
    for plane in planes() {
        let (authority, app) = (Authority::new(), Upstream::start());
        authority.issue("agent", |params| {
            params.subject_alt_names.push(rcgen::SanType::IpAddress([127, 0, 0, 1].into()));
        });
        authority.issue("proxy", |_| ());
        let agent = Agent::start_with(Some(crate::mutual::server(&authority, "agent")));
        for name in ["a", "b"] {
            agent.put(certificate(&authority, name, 1));
        }
        agent.put(roots(&authority));
        let tls = SecretTls {
            roots: Some(authority.path("ca.pem")),
            certificate: Some((authority.path("proxy.pem"), authority.path("proxy.key"))),
        };
        let target = SecretTarget { tls: Some(tls), ..*SecretTarget::plain(&agent.address.to_string()) };
        let source = SecretSource::Target(Box::new(target));
        let side = Side::start(plane.as_deref(), None, |addresses| resources(addresses, &source, &app));
        side.until_listening(side.inbound);
        side.until_listening(side.outbound);
        side.until("the whole path works", |side| (side.get("/first").status == 200).then_some(()));
        agent.put(certificate(&authority, "b", 0x61));
        side.until("it rotates", |side| serials(side).contains(&"61".to_owned()).then_some(()));
        assert_eq!(side.get("/rotated").status, 200, "{}", side.name);
    }
}

/// Each secret in a file of its own, put in place whole.
fn write(folder: &std::path::Path, ending: &str, secrets: &[Secret]) {
    for secret in secrets {
        let text = |bytes: &[u8]| serde_json::json!({ "inline_string": String::from_utf8_lossy(bytes) });
        let (kind, content) = match &secret.content {
            Content::Certificate { chain, key } => (
                "tls_certificate",
                serde_json::json!({ "certificate_chain": text(chain), "private_key": text(key) }),
            ),
            Content::Validation(validation) => {
                let Trust::Inline(pem) = &validation.trust else { unreachable!("inline") };
                ("validation_context", serde_json::json!({ "trusted_ca": text(pem.as_bytes()) }))
            }
            Content::Files { .. } => unreachable!("none is made here"),
        };
        let resource = serde_json::json!({
            "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret",
            "name": secret.name,
            (kind): content,
        });
        // YAML has JSON in it.
        let response = serde_json::json!({ "resources": [resource] });
        replace(&folder.join(format!("{}.{ending}", secret.name)), &response.to_string());
    }
}

fn replace(path: &std::path::Path, content: &str) {
    let new = path.with_extension("new");
    std::fs::write(&new, content).unwrap();
    std::fs::rename(new, path).unwrap();
}

#[test]
fn a_file_of_secrets_is_read_again_when_it_is_replaced() {
    for (plane, ending) in planes().into_iter().flat_map(|plane| [(plane.clone(), "json"), (plane, "yaml")]) {
        let (authority, app) = (Authority::new(), Upstream::start());
        let folder = tempfile::tempdir().unwrap();
        let secrets = |serial| {
            [certificate(&authority, "a", serial), certificate(&authority, "b", serial), roots(&authority)]
        };
        write(folder.path(), ending, &secrets(1));
        let source = SecretSource::File(SecretFile {
            path: folder.path().join(format!("NAME.{ending}")).display().to_string(),
            watched: Some(folder.path().display().to_string()),
        });
        let side = Side::start(plane.as_deref(), None, |addresses| resources(addresses, &source, &app));
        side.until_listening(side.inbound);
        side.until_listening(side.outbound);
        side.until("the whole path works", |side| (side.get("/first").status == 200).then_some(()));
        // What is no discovery response takes nothing away.
        replace(&folder.path().join(format!("a.{ending}")), "{");
        side.until("it is looked at", |side| {
            let counted = side.stat("sds.a.update_failure") + side.stat("sds.a.update_rejected");
            (counted > 0).then_some(())
        });
        assert_eq!(side.get("/broken").status, 200, "{}", side.name);
        write(folder.path(), ending, &secrets(0x71));
        side.until("they rotate", |side| {
            serials(side).iter().filter(|serial| *serial == "71").count().checked_sub(2)
        });
        assert_eq!(side.get("/rotated").status, 200, "{}", side.name);
    }
}

#[test]
fn a_file_that_is_not_there_is_refused_by_name() {
    for plane in planes() {
        let app = Upstream::start();
        let source = SecretSource::File(SecretFile { path: "/nowhere/secrets.json".into(), watched: None });
        let side = Side::start(plane.as_deref(), None, |addresses| resources(addresses, &source, &app));
        let error = side.until("it is refused", |side| {
            side.plane.seen().rejected.into_iter().next().map(|(_, error)| error)
        });
        let told =
            "paths must refer to an existing path in the system: '/nowhere/secrets.json' does not exist";
        assert!(error.contains(told), "{}: {error}", side.name);
    }
}
