//! What is run in the place of each container.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::time::Duration;

use anyhow::Context as _;
use selvedge_intercept::Settings;

use super::super::task::{Container, HealthCheck, ProxyConfiguration, Task};
use super::{Args, redirect};
use crate::supervise::Spec;

/// ECS's default of `stopTimeout`.
const STOP_TIMEOUT_DEFAULT: Duration = Duration::from_secs(30);
/// Where the control plane is, seen from a task.
const CONTROL_DEFAULT: &str = concat!("10.214.0.1", ":7070");

/// A task whose every container has something to run.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) containers: Vec<Planned>,
    proxy: Option<ProxyConfiguration>,
}

/// A container with what runs in its place.
#[derive(Debug)]
pub(super) struct Planned {
    pub(super) container: Container,
    /// By `sh`; `None` is our proxy.
    command: Option<String>,
    environment: Vec<(OsString, OsString)>,
    user: Option<(u32, u32)>,
}

impl Plan {
    /// # Errors
    /// A container has nothing to run, or waits for what can never be.
    pub(super) fn of(task: Task, args: &Args, commands: &BTreeMap<&str, &str>) -> Result<Self, String> {
        let proxy = task.proxy_configuration;
        let names: Vec<String> = task.container_definitions.iter().map(|one| one.name.clone()).collect();
        for named in commands.keys().copied().chain(args.skip.iter().map(String::as_str)) {
            if !names.iter().any(|name| name == named) {
                return Err(format!("there is no container {named}; there are {}", names.join(", ")));
            }
        }
        let mut containers = Vec::new();
        for mut container in task.container_definitions {
            if args.skip.contains(&container.name) {
                continue;
            }
            container.depends_on.retain(|dependency| !args.skip.contains(&dependency.container_name));
            let is_proxy = proxy.as_ref().is_some_and(|proxy| proxy.container_name == container.name);
            let command = commands.get(container.name.as_str()).map(|command| (*command).to_owned());
            if command.is_none() && !is_proxy {
                let name = &container.name;
                return Err(format!(
                    "nothing runs in the place of the container {name}: say --command {name}=…, or --skip {name}"
                ));
            }
            let user = container.user.as_deref().map(user).transpose()?;
            let environment = environment(&container, is_proxy, args)?;
            let user = user.or_else(|| (!is_proxy).then(caller).flatten());
            containers.push(Planned { container, command, environment, user });
        }
        let plan = Self { containers, proxy };
        plan.check()?;
        Ok(plan)
    }

    /// What is redirected.
    ///
    /// # Errors
    /// A property of `proxyConfiguration` that cannot be meant.
    pub(super) fn redirection(&self) -> Result<Option<Settings>, String> {
        self.proxy.as_ref().map(redirect::settings).transpose()
    }

    /// The container of the sidecar.
    pub(super) fn sidecar(&self) -> Option<&str> {
        self.proxy.as_ref().map(|proxy| proxy.container_name.as_str())
    }

    /// Who waits for whom must come to an end.
    fn check(&self) -> Result<(), String> {
        let mut left: Vec<&Container> = self.containers.iter().map(|planned| &planned.container).collect();
        let known = |name: &str| self.containers.iter().any(|other| other.container.name == name);
        for container in &left {
            if let Some(unknown) = container.depends_on.iter().find(|on| !known(&on.container_name)) {
                return Err(format!(
                    "{} waits for {}, which there is not",
                    container.name, unknown.container_name
                ));
            }
        }
        loop {
            let waits = |container: &&Container| {
                container.depends_on.iter().any(|on| left.iter().any(|other| other.name == on.container_name))
            };
            let stuck: Vec<&Container> = left.iter().copied().filter(|container| waits(container)).collect();
            match stuck.first() {
                None => return Ok(()),
                Some(first) if stuck.len() == left.len() => {
                    return Err(format!("{} and others wait for each other", first.name));
                }
                Some(_) => left = stuck,
            }
        }
    }
}

impl Planned {
    pub(super) fn name(&self) -> &str {
        &self.container.name
    }

    pub(super) fn stop_timeout(&self) -> Duration {
        self.container.stop_timeout.map_or(STOP_TIMEOUT_DEFAULT, Duration::from_secs)
    }

    /// How it is started.
    pub(super) fn spec(&self) -> anyhow::Result<Spec> {
        let mut spec = match &self.command {
            Some(command) => shell(command),
            None => {
                let mut spec =
                    Spec::new(std::env::current_exe().context("the path of this program is unknown")?);
                spec.arguments.push("proxy".into());
                spec
            }
        };
        spec.name = Some(self.container.name.clone());
        spec.environment.clone_from(&self.environment);
        spec.user = self.user;
        // What this program was told of a sidecar is not meant for those of the task.
        let ours = |name: &OsString| {
            let name = name.to_string_lossy();
            ["APPMESH_", "ENVOY_", "SELVEDGE_", "SUDO_", "NOTIFY_"]
                .iter()
                .any(|start| name.starts_with(start))
        };
        spec.without = std::env::vars_os().map(|(name, _)| name).filter(ours).collect();
        Ok(spec)
    }

    /// How its health is found out, if it is.
    pub(super) fn probe(&self) -> Option<(&HealthCheck, Spec)> {
        let check = self.container.health_check.as_ref()?;
        let (first, words) = check.command.split_first()?;
        let mut spec = match (first.as_str(), words) {
            ("CMD-SHELL", [command, ..]) => shell(command),
            ("CMD", [program, arguments @ ..]) => {
                let mut spec = Spec::new(program);
                spec.arguments = arguments.iter().map(OsString::from).collect();
                spec
            }
            _ => return None,
        };
        spec.environment.clone_from(&self.environment);
        spec.user = self.user;
        Some((check, spec))
    }
}

fn shell(command: &str) -> Spec {
    let mut spec = Spec::new("/bin/sh");
    spec.arguments = vec!["-c".into(), command.into()];
    spec
}

/// The variables of a container: the task definition's, then what was asked for.
fn environment(
    container: &Container,
    is_proxy: bool,
    args: &Args,
) -> Result<Vec<(OsString, OsString)>, String> {
    let mut variables: BTreeMap<String, String> = BTreeMap::new();
    if is_proxy {
        let control = args.control.clone().unwrap_or_else(|| CONTROL_DEFAULT.to_owned());
        variables.insert("APPMESH_XDS_ENDPOINT".to_owned(), control);
        variables.insert("SELVEDGE_STATE_DIR".to_owned(), "none".to_owned());
        variables.insert(crate::command::proxy::END_WITH_PARENT.to_owned(), "1".to_owned());
    }
    variables.extend(container.environment.iter().map(|one| (one.name.clone(), one.value.clone())));
    let more = args.variables.iter().filter(|(name, _)| *name == container.name);
    variables.extend(more.map(|(_, variable)| variable.clone()));
    if is_proxy && let Some(control) = &args.control {
        variables.insert("APPMESH_XDS_ENDPOINT".to_owned(), control.clone());
    }
    for secret in &container.secrets {
        if variables.contains_key(&secret.name) {
            continue;
        }
        let own = std::env::var(&secret.name).map_err(|_| {
            let name = &container.name;
            format!(
                "{name} wants the secret {0}, which is kept in AWS: set {0} here, or say --env {name}:{0}=…",
                secret.name
            )
        })?;
        variables.insert(secret.name.clone(), own);
    }
    Ok(variables.into_iter().map(|(name, value)| (name.into(), value.into())).collect())
}

/// `1337`, `1337:1337`, or a name that this machine knows.
fn user(text: &str) -> Result<(u32, u32), String> {
    let (user, group) = text.split_once(':').map_or((text, None), |(user, group)| (user, Some(group)));
    let found = match user.parse() {
        Ok(uid) => (uid, uid),
        Err(_) => match nix::unistd::User::from_name(user) {
            Ok(Some(found)) => (found.uid.as_raw(), found.gid.as_raw()),
            _ => return Err(format!("this machine knows no user {user}")),
        },
    };
    let Some(group) = group else { return Ok(found) };
    match group.parse() {
        Ok(gid) => Ok((found.0, gid)),
        Err(_) => match nix::unistd::Group::from_name(group) {
            Ok(Some(known)) => Ok((found.0, known.gid.as_raw())),
            _ => Err(format!("this machine knows no group {group}")),
        },
    }
}

/// Who called sudo: programs of whoever tries a task should not run as root for lack of a `user`.
fn caller() -> Option<(u32, u32)> {
    let id = |name| std::env::var(name).ok()?.parse().ok();
    Some((id("SUDO_UID")?, id("SUDO_GID")?))
}
