//! A virtual service's name, which nobody has made a record for, called by programs that ask the DNS as they always do.

use std::net::IpAddr;

use serde_json::json;

use crate::mesh::{Mesh, Plane};
use crate::network::{Family, Host, Process, wait_for};
use crate::servers::{self, HTTP_PORT};

/// Where the names of everybody else are known.
const OUTSIDE: u8 = 13;

/// A name server of Debian's, which knows these names and no others.
pub(crate) fn dnsmasq(mesh: &Mesh, host: &Host, addresses: &[(&str, &str)]) -> Process {
    let addresses: Vec<String> =
        addresses.iter().map(|(name, address)| format!("--address=/{name}/{address}")).collect();
    let words = ["dnsmasq", "--keep-in-foreground", "--no-resolv", "--no-hosts", "--conf-file=/dev/null"];
    let more = ["--user=root", "--pid-file=", "--local-ttl=1", "--local=/example/", "--local=/mesh/"];
    let addresses: Vec<&str> = addresses.iter().map(String::as_str).collect();
    let process = host.start(&mesh.file("dnsmasq.log"), |_| {}, &[&words[..], &more, &addresses].concat());
    servers::listens(host, 53);
    process
}

/// Has the programs of a host ask the name server there.
pub(crate) fn asks(mesh: &Mesh, host: &Host, server: &str) {
    let file = mesh.file(&format!("resolv.{}", host.number));
    std::fs::write(&file, format!("nameserver {server}\noptions timeout:2 attempts:2\n")).expect("written");
    // A symbolic link leads to where some other program writes it.
    let bind = format!("mount --bind {} \"$(realpath -m /etc/resolv.conf)\"", file.display());
    host.succeeds(&["sh", "-euc", &bind]);
}

fn story(family: Family, backend: &str) {
    let (preference, version) = match family {
        Family::V4 => (json!({"egressFilter": {"type": "ALLOW_ALL"}}), "-4"),
        Family::V6 => {
            let both = json!({"serviceDiscovery": {"ipPreference": "IPv6_PREFERRED"},
                              "egressFilter": {"type": "ALLOW_ALL"}});
            (both, "-6")
        }
    };
    let outside = Family::V4.address(OUTSIDE);
    // Bound to all addresses: what was redirected has to be answered from where the kernel sent it.
    let options = [
        "--dns",
        "0.0.0.0:5353",
        "--dns",
        "[::]:5353",
        "--dns-upstream",
        &outside,
        "--dns-virtual-block-v6",
        "fd00:5e1:7::/64",
    ];
    let Some((mesh, client)) = Mesh::start_on_host(family, preference, 11, &options) else { return };
    mesh.node("server", &[(HTTP_PORT, "http")], &[]);
    let provider = json!({"provider": {"virtualNode": {"virtualNodeName": "server"}}});
    mesh.make("create-virtual-service", json!({"virtualServiceName": "web.mesh", "spec": provider}));
    mesh.node("client", &[], &["web.mesh"]);
    let (server, elsewhere) = (mesh.host(12, &[]), mesh.host(OUTSIDE, &[]));
    let _server = servers::http(&mesh, &server);
    let _names = dnsmasq(&mesh, &elsewhere, &[("www.example", &outside), ("evil.example", "127.0.0.1")]);
    mesh.redirect(&server, backend, &HTTP_PORT.to_string());
    asks(&mesh, &client, &outside);
    let asked = |name: &str| client.output(&["getent", "ahosts", name]);
    assert!(!asked("web.mesh").status.success(), "the server that is asked does not know the name");
    mesh.redirect_with(&client, backend, "", &["--dns-port", "5353"]);
    let _sidecars =
        [mesh.sidecar(Plane::Own, &server, "server"), mesh.sidecar(Plane::Own, &client, "client")];
    let words = ["curl", "-sS", version, "--retry", "5", "--retry-all-errors", "http://web.mesh:8080/x"];
    let beside = if family == Family::V6 { "::1" } else { "::ffff:127.0.0.1" };
    for _ in 0..5 {
        assert_eq!(client.succeeds(&words), format!("hello /x from {beside}\n"));
    }
    let remote = ["curl", "-sS", version, "-o", "/dev/null", "-w", "%{remote_ip}", "http://web.mesh:8080/"];
    let called: IpAddr = client.succeeds(&remote).parse().expect("an address");
    let expected = if family == Family::V6 { "fd00:5e1:7:" } else { "240.240." };
    assert!(called.to_string().starts_with(expected), "{called}");
    // By TCP as well, and names of others by the server that was asked before.
    let dig = |words: &[&str]| client.succeeds(&[&["dig", "+short", "+tries=1"], words].concat());
    assert_eq!(dig(&["+tcp", "web.mesh", "A"]), dig(&["web.mesh", "A"]));
    assert_eq!(dig(&["-x", &called.to_string()]).trim(), "web.mesh.");
    assert_eq!(dig(&["www.example", "A"]).trim(), outside);
    assert_eq!(dig(&["evil.example", "A"]).trim(), "", "no name of others is this machine's");
    // Whoever is the sidecar's user asks past the redirection, or the server would ask itself for ever.
    let past =
        ["setpriv", "--reuid", "1337", "--regid", "1337", "--clear-groups", "getent", "ahosts", "web.mesh"];
    assert!(!client.output(&past).status.success());
    // A service that comes is known, and one that goes is not.
    mesh.make("create-virtual-service", json!({"virtualServiceName": "new.mesh", "spec": {}}));
    wait_for("the new name", || asked("new.mesh").status.success());
}

fn apart(test: impl FnOnce() + Send + 'static) {
    std::thread::spawn(test).join().expect("the test");
}

#[test]
fn a_services_name_needs_no_record_over_ipv4_and_nftables() {
    apart(|| story(Family::V4, "nft"));
}

#[test]
fn a_services_name_needs_no_record_over_ipv6_and_nftables() {
    apart(|| story(Family::V6, "nft"));
}

#[test]
fn a_services_name_needs_no_record_over_ipv6_and_iptables() {
    apart(|| story(Family::V6, "iptables"));
}
