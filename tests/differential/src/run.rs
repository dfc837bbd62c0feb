//! Runs suites: each on both planes, each plane with a control plane and applications of its own.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use indexmap::IndexMap;
use serde_json::Value;
use tokio::time::sleep;

use crate::access_log::Reader;
use crate::app::App;
use crate::certificates;
use crate::client;
use crate::control::Control;
use crate::observation::Observation;
use crate::placeholder::Placeholders;
use crate::scenario::{ClientTls, Scenario, Step, Suite, Wait};
use crate::sidecar::{Plane, Sidecar, Start};
use crate::stats::{self, Selection, Stats};

/// One suite on one plane, ready for its scenarios.
#[derive(Debug)]
pub struct Stage {
    apps: Vec<App>,
    sidecars: IndexMap<String, Placed>,
    control: Control,
    placeholders: Placeholders,
}

/// A sidecar in its place.
#[derive(Debug)]
struct Placed {
    sidecar: Sidecar,
    access_log: PathBuf,
    reader: Reader,
    is_gateway: bool,
}

/// Runs those scenarios of `suite` that `wanted` picks on `plane` and returns what each showed, in their order.
/// Logs stay in `folder`.
///
/// # Errors
/// When the plane cannot be set up. A scenario that fails is an observation with an unmet expectation.
pub async fn run(
    suite: &Suite,
    plane: Plane,
    folder: &Path,
    wanted: impl Fn(&Scenario) -> bool,
) -> Result<Vec<Observation>> {
    let mut stage = Stage::set(suite, plane, folder).await?;
    let mut observations = Vec::new();
    for scenario in suite.scenarios.iter().filter(|scenario| wanted(scenario)) {
        observations.push(stage.play(scenario).await.with_context(|| format!("in {:?}", scenario.name))?);
    }
    for (name, placed) in &mut stage.sidecars {
        placed.sidecar.check().await.with_context(|| format!("sidecar {name}"))?;
    }
    Ok(observations)
}

// === impl Stage ===

impl Stage {
    /// Starts applications, control plane and sidecars in that order.
    ///
    /// # Errors
    /// When one of them does not start, or the API refuses the mesh.
    pub async fn set(suite: &Suite, plane: Plane, folder: &Path) -> Result<Self> {
        if folder.exists() {
            std::fs::remove_dir_all(folder)
                .with_context(|| format!("failed to clear {}", folder.display()))?;
        }
        std::fs::create_dir_all(folder)?;
        let mut placeholders = Placeholders::default();
        let mut apps = Vec::new();
        for (name, app) in &suite.apps {
            let app = App::start(name, app).await?;
            placeholders.insert(name, app.port);
            apps.push(app);
        }
        let certs = folder.join("certs");
        certificates::write(&suite.authorities, &certs)?;
        placeholders.set_certs(&certs);
        let control = Control::start(folder).await?;
        control.create(&suite.mesh, &placeholders).await?;
        let mut sidecars = IndexMap::new();
        for (name, sidecar) in &suite.sidecars {
            let app_ports = sidecar.app_ports.iter().map(|(declared, real)| {
                let mut real = real.clone();
                placeholders.fill(&mut real);
                let port = real.as_u64().and_then(|port| u16::try_from(port).ok());
                Ok((placeholders.fill_text(declared), port.with_context(|| format!("{real} is no port"))?))
            });
            let app_ports = app_ports.collect::<Result<_>>()?;
            let start = Start {
                resource: &sidecar.resource,
                control: control.address,
                app_ports,
                zone: sidecar.zone.clone(),
                folder,
                name,
                traced_to: None,
            };
            let running = Sidecar::start(plane, &start).await.with_context(|| format!("sidecar {name}"))?;
            placeholders.insert(format!("{name}_ingress"), running.ingress.port());
            placeholders.insert(format!("{name}_egress"), running.egress.port());
            let placed = Placed {
                sidecar: running,
                access_log: control.access_log(&sidecar.resource),
                reader: Reader::default(),
                is_gateway: sidecar.resource.starts_with("virtualGateway/"),
            };
            sidecars.insert(name.clone(), placed);
        }
        Ok(Self { apps, sidecars, control, placeholders })
    }

    /// Plays one scenario.
    ///
    /// # Errors
    /// When a sidecar or the control plane is gone.
    pub async fn play(&mut self, scenario: &Scenario) -> Result<Observation> {
        for app in &self.apps {
            let answers = scenario.answers.get(&app.name).map_or(&[][..], Vec::as_slice);
            app.rehearse(answers);
        }
        let selection = Selection::new(&scenario.stats, &scenario.stats_ignored)?;
        let before = self.read_stats(&selection).await?;
        let mut observation = Observation::default();
        for step in &scenario.client {
            self.take(step, &mut observation).await?;
        }
        let after = self.read_stats(&selection).await?;
        for (name, after) in &after {
            let moved = stats::moved(&before[name], after, &self.placeholders);
            observation.stats.insert(name.clone(), moved);
        }
        for (index, (name, placed)) in self.sidecars.iter_mut().enumerate() {
            let through = |step: &&Step| match &step.via {
                None => index == 0,
                Some(via) => via.split(':').next() == Some(name),
            };
            let answered = |step: &&Step| step.request.is_some() && step.leave_after_ms.is_none();
            let at_least =
                scenario.client.iter().filter(through).filter(answered).map(|step| step.times).sum();
            let at_least = if scenario.compare_access_logs { at_least } else { 0 };
            stats::flush_logs(placed.sidecar.admin).await.with_context(|| format!("sidecar {name}"))?;
            let lines = placed.reader.lines(&placed.access_log, at_least).await?;
            observation.add_access_log(scenario, name, &lines, &self.placeholders);
        }
        for app in &self.apps {
            observation.add_received(scenario, &app.name, &app.received(), &self.placeholders);
        }
        Ok(observation)
    }

    async fn take(&self, step: &Step, observation: &mut Observation) -> Result<()> {
        if let Some(milliseconds) = step.pause_ms {
            sleep(Duration::from_millis(milliseconds)).await;
            return Ok(());
        }
        if let Some(wait) = &step.wait {
            if let Err(error) = self.wait(wait).await {
                observation.unmet.push(error.to_string());
            }
            return Ok(());
        }
        if let Some(line) = &step.api {
            let (method, path) =
                line.split_once(' ').with_context(|| format!("{line:?} is not METHOD PATH"))?;
            let mut body = step.body.clone().unwrap_or_default();
            self.placeholders.fill(&mut body);
            return self.control.call(method, &self.placeholders.fill_text(path), &body).await;
        }
        let step = self.filled(step);
        match client::perform(&step, self.target(&step)?).await {
            Ok(answers) => observation.add_answers(&step, &answers, &self.placeholders),
            Err(error) => {
                observation.answers.push(Value::from("failed"));
                observation.unmet.push(format!("{:?}: {error:#}", step.request.as_deref().unwrap_or("raw")));
            }
        }
        Ok(())
    }

    fn filled(&self, step: &Step) -> Step {
        let fill = |text: &Option<String>| text.as_ref().map(|text| self.placeholders.fill_text(text));
        let pair = |(name, value): &(String, String)| (name.clone(), self.placeholders.fill_text(value));
        Step {
            request: fill(&step.request),
            raw: fill(&step.raw),
            to: fill(&step.to),
            headers: step.headers.iter().map(pair).collect(),
            tls: step
                .tls
                .as_ref()
                .map(|tls| ClientTls { certificate: fill(&tls.certificate), ..tls.clone() }),
            ..step.clone()
        }
    }

    fn target(&self, step: &Step) -> Result<SocketAddr> {
        let via = step.via.as_deref().unwrap_or_default();
        let (name, side) = via.split_once(':').unwrap_or((via, "egress"));
        let placed = if name.is_empty() {
            self.sidecars.first().map(|(_, placed)| placed)
        } else {
            self.sidecars.get(name)
        };
        let placed = placed.with_context(|| format!("there is no sidecar {name:?}"))?;
        let ingress = placed.is_gateway || side == "ingress";
        Ok(if ingress { placed.sidecar.ingress } else { placed.sidecar.egress })
    }

    async fn wait(&self, wait: &Wait) -> Result<()> {
        let asked = wait
            .at
            .as_ref()
            .map_or_else(|| self.sidecars.first().map(|(_, placed)| placed), |name| self.sidecars.get(name));
        let admin = asked.context("there is no such sidecar to wait for")?.sidecar.admin;
        let name = self.placeholders.fill_text(&wait.stat);
        let mut value = 0;
        for _ in 0..200 {
            value = stats::read(admin).await?.get(&name).copied().unwrap_or_default();
            if value == wait.is || (wait.or_more && value > wait.is) {
                return Ok(());
            }
            sleep(Duration::from_millis(50)).await;
        }
        bail!("{} is {value} after ten seconds, not {}", wait.stat, wait.is)
    }

    async fn read_stats(&self, selection: &Selection) -> Result<IndexMap<String, Stats>> {
        let mut all = IndexMap::new();
        for (name, placed) in &self.sidecars {
            let stats = stats::read_settled(placed.sidecar.admin, selection).await;
            all.insert(name.clone(), stats.with_context(|| format!("sidecar {name}"))?);
        }
        Ok(all)
    }
}
