//! Which crate may depend on which: the arrows of ARCHITECTURE.md, as a table.
//!
//! A new arrow between rooms is the largest kind of change: it needs a page under docs/design and a line here.

use std::path::Path;

use super::{Dependency, Package, Problem, Workspace};

/// A crate of the house and what it may use of the house.
struct Room {
    name: &'static str,
    uses: &'static [&'static str],
    /// What its tests may use besides.
    tests_use: &'static [&'static str],
}

/// A crate from outside that only some rooms may touch, because one room owns the secret.
struct Secret {
    dependency: &'static str,
    owners: &'static [&'static str],
    reason: &'static str,
}

const fn room(name: &'static str, uses: &'static [&'static str]) -> Room {
    Room { name, uses, tests_use: &[] }
}

const ROOMS: &[Room] = &[
    // === core ===
    room("selvedge-model", &[]),
    room("selvedge-traffic", &[]),
    room("selvedge-http", &[]),
    room("selvedge-jwt", &[]),
    room("selvedge-guard", &["selvedge-jwt"]),
    room("selvedge-xds-proto", &[]),
    room("selvedge-aws", &["selvedge-model"]),
    room("selvedge-registry", &[]),
    room("selvedge-dns", &["selvedge-registry"]),
    Room { name: "selvedge-site", uses: &["selvedge-guard"], tests_use: &["selvedge-model"] },
    room("selvedge-query", &[]),
    room("selvedge-asl", &["selvedge-query"]),
    room("selvedge-identity", &["selvedge-traffic"]),
    room("selvedge-translate", &["selvedge-model", "selvedge-traffic"]),
    room("selvedge-xds", &["selvedge-xds-proto", "selvedge-traffic"]),
    // === io ===
    room("selvedge-store", &[]),
    room("selvedge-telemetry", &["selvedge-traffic"]),
    room("selvedge-wire", &["selvedge-http", "selvedge-traffic", "selvedge-identity", "selvedge-telemetry"]),
    room("selvedge-upstream", &["selvedge-traffic", "selvedge-http", "selvedge-wire", "selvedge-telemetry"]),
    room("selvedge-client", &["selvedge-aws", "selvedge-model"]),
    room("selvedge-intercept", &[]),
    room("selvedge-acme", &["selvedge-guard", "selvedge-http", "selvedge-outbound", "selvedge-store"]),
    room("selvedge-outbound", &["selvedge-guard"]),
    // === services ===
    room(
        "selvedge-control",
        &[
            "selvedge-model",
            "selvedge-aws",
            "selvedge-identity",
            "selvedge-registry",
            "selvedge-dns",
            "selvedge-translate",
            "selvedge-traffic",
            "selvedge-xds",
            "selvedge-store",
            "selvedge-wire",
            "selvedge-telemetry",
        ],
    ),
    room(
        "selvedge-edge",
        &[
            "selvedge-site",
            "selvedge-guard",
            "selvedge-jwt",
            "selvedge-http",
            "selvedge-identity",
            "selvedge-wire",
            "selvedge-outbound",
            "selvedge-acme",
            "selvedge-store",
            "selvedge-aws",
            "selvedge-client",
        ],
    ),
    room(
        "selvedge-proxy",
        &[
            "selvedge-traffic",
            "selvedge-xds",
            "selvedge-identity",
            "selvedge-http",
            "selvedge-jwt",
            "selvedge-wire",
            "selvedge-upstream",
            "selvedge-telemetry",
        ],
    ),
    room(
        "selvedge-workflow",
        &[
            "selvedge-model",
            "selvedge-aws",
            "selvedge-asl",
            "selvedge-query",
            "selvedge-store",
            "selvedge-outbound",
        ],
    ),
    // === the composition root ===
    room("selvedge", &[EVERY_ROOM]),
    room("selvedge-sim", &[EVERY_ROOM]),
    // === beside the house: they see it from outside only, through the binary ===
    Room { name: "selvedge-differential", uses: &[], tests_use: &["selvedge-model"] },
    room(
        "selvedge-fuzz",
        &[
            "selvedge-asl",
            "selvedge-http",
            "selvedge-jwt",
            "selvedge-query",
            "selvedge-site",
            "selvedge-wire",
            "selvedge-xds",
            "selvedge-traffic",
        ],
    ),
    room("selvedge-bench", &["selvedge-query", "selvedge-differential"]),
    room("xtask", &[]),
];

const EVERY_ROOM: &str = "*";

/// The simulation carries the messages themselves from session to session.
const SPEAKERS_OF_PROTOBUF: &[&str] = &["selvedge-xds", "selvedge-xds-proto", "selvedge-sim"];

const SECRETS: &[Secret] = &[
    Secret { dependency: "prost", owners: SPEAKERS_OF_PROTOBUF, reason: "only xds speaks protobuf" },
    Secret { dependency: "prost-types", owners: SPEAKERS_OF_PROTOBUF, reason: "only xds speaks protobuf" },
    Secret { dependency: "rusqlite", owners: &["selvedge-store"], reason: "only store speaks SQL" },
    Secret { dependency: "socket2", owners: &["selvedge-wire"], reason: "only wire owns sockets" },
    Secret {
        dependency: "anyhow",
        owners: &["selvedge", "selvedge-sim", "selvedge-differential", "selvedge-bench", "xtask"],
        reason: "anyhow is for main, xtask and tests: an error enum stands beside its thrower",
    },
];

/// What would let a core crate touch the world.
const WORLDLY: &[&str] = &[
    "tokio",
    "hyper",
    "hyper-util",
    "h2",
    "nix",
    "libc",
    "mimalloc",
    "hickory-resolver",
    "uuid",
    "tracing-subscriber",
];

pub(super) fn check(workspace: &Workspace, root: &Path) -> Vec<Problem> {
    let mut problems = Vec::new();
    for package in &workspace.packages {
        let manifest = package.folder(root).join("Cargo.toml");
        let Some(room) = ROOMS.iter().find(|room| room.name == package.name) else {
            let message = format!("{} is not in the table of rooms (xtask/src/tidy/arrows.rs)", package.name);
            problems.push(Problem::error(manifest, 0, message));
            continue;
        };
        let in_core = package.folder(root).starts_with("core");
        let broken =
            package.dependencies.iter().filter_map(|dependency| refusal(room, package, dependency, in_core));
        problems.extend(broken.map(|message| Problem::error(&manifest, 0, message)));
    }
    problems
}

/// Why `package` may not have this dependency, if it may not.
fn refusal(room: &Room, package: &Package, dependency: &Dependency, in_core: bool) -> Option<String> {
    let name = dependency.name.as_str();
    let for_tests = dependency.kind.as_deref() == Some("dev");
    if ROOMS.iter().any(|other| other.name == name) {
        let listed = room.uses.iter().any(|used| [EVERY_ROOM, name].contains(used));
        let listed = listed || (for_tests && room.tests_use.contains(&name));
        return (!listed).then(|| {
            format!(
                "{} may not use {name}: the arrow is not in the table (xtask/src/tidy/arrows.rs)",
                package.name
            )
        });
    }
    if for_tests {
        return None;
    }
    if in_core && WORLDLY.contains(&name) {
        return Some(format!("{} may not use {name}: core decides, io touches", package.name));
    }
    let secret = SECRETS.iter().find(|secret| secret.dependency == name)?;
    let owned = secret.owners.contains(&package.name.as_str());
    (!owned).then(|| format!("{} may not use {name}: {}", package.name, secret.reason))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn package(name: &str, folder: &str, dependencies: &[(&str, Option<&str>)]) -> Package {
        Package {
            name: name.into(),
            manifest_path: Path::new("/r").join(folder).join("Cargo.toml"),
            dependencies: dependencies
                .iter()
                .map(|(name, kind)| Dependency { name: (*name).into(), kind: kind.map(Into::into) })
                .collect(),
            targets: Vec::new(),
        }
    }

    #[test]
    fn an_arrow_that_is_not_listed_is_refused() {
        let rows = [
            ("selvedge-aws", "core/aws", ("selvedge-model", None), true),
            ("selvedge-model", "core/model", ("selvedge-aws", None), false),
            ("selvedge-translate", "core/translate", ("selvedge-store", None), false),
            ("selvedge-control", "services/control", ("selvedge-proxy", None), false),
            ("selvedge-proxy", "services/proxy", ("selvedge-control", Some("dev")), false),
            ("selvedge-proxy", "services/proxy", ("selvedge-model", None), false),
            ("selvedge", "selvedge", ("selvedge-proxy", None), true),
            ("xtask", "xtask", ("selvedge-model", None), false),
            ("selvedge-traffic", "core/traffic", ("tokio", None), false),
            ("selvedge-control", "services/control", ("tokio", None), true),
            ("selvedge-control", "services/control", ("prost", None), false),
            ("selvedge-xds", "core/xds", ("prost", None), true),
            ("selvedge-control", "services/control", ("rusqlite", None), false),
            ("selvedge-control", "services/control", ("anyhow", None), false),
            ("selvedge-control", "services/control", ("anyhow", Some("dev")), true),
            ("selvedge-stranger", "io/stranger", ("bytes", None), false),
        ];
        for (name, folder, dependency, allowed) in rows {
            let workspace = Workspace { packages: vec![package(name, folder, &[dependency])] };
            let problems = check(&workspace, Path::new("/r"));
            assert_eq!(problems.is_empty(), allowed, "{name} → {dependency:?}: {problems:?}");
        }
    }

    #[test]
    fn the_table_itself_never_points_up_or_sideways() {
        let services = ["selvedge-control", "selvedge-proxy"];
        let roots = ["selvedge", "selvedge-sim"];
        for room in ROOMS.iter().filter(|room| !roots.contains(&room.name)) {
            for used in room.uses.iter().chain(room.tests_use) {
                assert!(!services.contains(used), "{} uses the service {used}", room.name);
                assert!(ROOMS.iter().any(|other| other.name == *used), "{used} is unknown");
            }
        }
    }
}
