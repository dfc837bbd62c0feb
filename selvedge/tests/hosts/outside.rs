//! Services outside the mesh, known by their names in the DNS: they are called as anybody calls them, and go on being called when
//! no name server answers any more.

use serde_json::json;

use crate::mesh::{Mesh, Plane, envoy};
use crate::names::{asks, dnsmasq};
use crate::network::{Family, Host, Process, wait_for};
use crate::servers::{self, HTTP_PORT};

/// Each with what its answers mean: one host of them at a time, or every one.
const SERVICES: [(&str, &str); 2] = [("one.example", "LOADBALANCER"), ("all.example", "ENDPOINTS")];

/// A name server that says that it failed: it may ask nobody.
const FAILING: &str = "server:
  interface: 0.0.0.0
  access-control: 0.0.0.0/0 allow
  do-daemonize: no
  username: \"\"
  chroot: \"\"
  pidfile: \"\"
  use-syslog: no
  module-config: \"iterator\"
  num-threads: 1
forward-zone:
  name: \".\"
  forward-addr: 127.0.0.1@1
";

struct World {
    mesh: Mesh,
    client: Host,
    outside: Host,
    _server: Process,
    _sidecar: Process,
}

impl World {
    fn start(plane: Plane) -> Option<(Self, Process)> {
        if plane == Plane::Envoy {
            envoy()?;
        }
        let mesh = Mesh::start(Family::V4, json!({}))?;
        for (name, kind) in SERVICES {
            let node = name.replace('.', "-");
            let listener = json!({"portMapping": {"port": HTTP_PORT, "protocol": "http"}});
            let dns = json!({"hostname": name, "responseType": kind});
            let spec = json!({"listeners": [listener], "serviceDiscovery": {"dns": dns}});
            mesh.make("create-virtual-node", json!({"virtualNodeName": node, "spec": spec}));
            let spec = json!({"provider": {"virtualNode": {"virtualNodeName": node}}});
            mesh.make("create-virtual-service", json!({"virtualServiceName": name, "spec": spec}));
        }
        mesh.node("client", &[], &SERVICES.map(|(name, _)| name));
        let (client, outside) = (mesh.host(11, &[]), mesh.host(13, &[]));
        let server = servers::http(&mesh, &outside);
        outside.succeeds(&["ip", "addr", "add", "10.77.0.14/24", "dev", "eth0"]);
        let names = dnsmasq(&mesh, &outside, &SERVICES.map(|(name, _)| (name, "10.77.0.13")));
        asks(&mesh, &client, "10.77.0.13");
        mesh.redirect(&client, "nft", "");
        let sidecar = mesh.sidecar(plane, &client, "client");
        let world = Self { mesh, client, outside, _server: server, _sidecar: sidecar };
        Some((world, names))
    }

    /// Every service answers. The name is told to curl: whether programs can look it up is not asked here.
    fn is_served(&self, when: &str) {
        for (name, _) in SERVICES {
            let resolve = format!("{name}:8080:10.99.0.1");
            let url = format!("http://{name}:8080/x");
            let answer = self.client.succeeds(&["curl", "-sS", "-m", "10", "--resolve", &resolve, &url]);
            assert_eq!(answer, "hello /x from ::ffff:10.77.0.11\n", "{name} {when}");
        }
    }

    /// A figure of each service's cluster.
    fn counts(&self, figure: &str) -> Vec<u64> {
        let url = format!("http://127.0.0.1:9901/stats?filter=^cluster.*example.*\\.{figure}$");
        let stats = self.client.succeeds(&["curl", "-sSg", &url]);
        stats.lines().filter_map(|line| line.rsplit_once(": ")?.1.trim().parse().ok()).collect()
    }

    /// Waits until each name was looked up so many more times in vain.
    fn fails(&self, times: u64, when: &str) {
        let before = self.counts("update_failure");
        assert_eq!(before.len(), SERVICES.len());
        wait_for(when, || {
            self.counts("update_failure").iter().zip(&before).all(|(now, before)| *now >= before + times)
        });
    }
}

fn called_by_name(plane: Plane) {
    let Some((world, _names)) = World::start(plane) else { return };
    for (name, _) in SERVICES {
        let words = ["curl", "-sS", "--retry", "5", "--retry-all-errors", &format!("http://{name}:8080/x")];
        assert_eq!(world.client.succeeds(&words), "hello /x from ::ffff:10.77.0.11\n");
    }
    // It went through the sidecar, which counts.
    assert!(world.counts("upstream_rq_total").iter().all(|count| *count >= 1));
}

fn outlives_the_name_server() {
    let Some((world, names)) = World::start(Plane::Own) else { return };
    world.is_served("with a name server");
    drop(names);
    let config = world.mesh.file("unbound.conf");
    std::fs::write(&config, FAILING).expect("written");
    let failing = world.outside.start(
        &world.mesh.file("unbound.log"),
        |_| {},
        &["unbound", "-d", "-c", config.to_str().expect("text")],
    );
    servers::listens(&world.outside, 53);
    let asked = world.client.succeeds(&["dig", "+tries=1", "one.example", "A"]);
    assert!(asked.contains("SERVFAIL"), "{asked}");
    world.fails(1, "a lookup that the server fails");
    world.is_served("after SERVFAIL");
    drop(failing);
    let drops = "nft 'add table ip lost; add chain ip lost in { type filter hook input priority 0; }; \
                 add rule ip lost in udp dport 53 drop; add rule ip lost in tcp dport 53 drop'";
    world.outside.succeeds(&["sh", "-euc", drops]);
    world.fails(1, "a lookup that nobody answers");
    world.is_served("after a time-out");
    world.outside.succeeds(&["nft", "delete", "table", "ip", "lost"]);
    // Where nobody listens, the kernel says so at once.
    world.fails(1, "a lookup that is refused");
    world.is_served("after a refusal");
    // A name that is denied three times in a row is gone.
    let denying = dnsmasq(&world.mesh, &world.outside, &[]);
    world.fails(1, "a first denial");
    world.is_served("after one denial");
    wait_for("the end of what is denied", || world.counts("membership_total") == [0, 0]);
    drop(denying);
    let _names = dnsmasq(&world.mesh, &world.outside, &SERVICES.map(|(name, _)| (name, "10.77.0.14")));
    wait_for("the new address", || world.counts("membership_total") == [1, 1]);
    world.is_served("at its new address");
    let clusters = world.client.succeeds(&["curl", "-sS", "http://127.0.0.1:9901/clusters"]);
    assert!(clusters.contains("10.77.0.14:8080") && !clusters.contains("10.77.0.13:8080"), "{clusters}");
}

fn apart(test: impl FnOnce() + Send + 'static) {
    std::thread::spawn(test).join().expect("the test");
}

#[test]
fn a_service_outside_is_called_by_its_name() {
    apart(|| called_by_name(Plane::Own));
}

#[test]
fn a_service_outside_is_called_by_its_name_through_envoy() {
    apart(|| called_by_name(Plane::Envoy));
}

#[test]
fn a_name_server_that_fails_takes_no_service_away() {
    apart(outlives_the_name_server);
}
