//! A sidecar that runs, asked from outside by its admin endpoint: ours or a real Envoy.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use http::Method;
use selvedge_client::Client;

use crate::exit::Failure;
use crate::output;

/// How often a sidecar is asked whether it has got somewhere.
const INTERVAL: Duration = Duration::from_millis(50);
/// One question must be answered within this.
const ANSWER_PATIENCE: Duration = Duration::from_secs(2);
/// The statistic of connections that a listener holds.
const ACTIVE: &str = "downstream_cx_active";

/// What is asked of a sidecar that runs.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Action {
    /// Wait until the sidecar serves; for the entry point of a container beside it
    Wait(Wait),
    /// Stop taking connections in, and wait until those that came in have ended; for preStop. The way out stays open
    Drain(Wait),
    /// End the sidecar, when the work beside it is done
    Quit(Admin),
}

#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Admin {
    /// The sidecar's admin endpoint
    #[arg(long, value_name = "URL", env = "SELVEDGE_ADMIN_URL", default_value = "http://127.0.0.1:9901")]
    admin: String,
}

#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Wait {
    #[command(flatten)]
    admin: Admin,
    /// The longest wait; 0 asks once
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    timeout: u64,
}

pub(crate) async fn run(action: &Action) -> Result<(), Failure> {
    match action {
        Action::Wait(wait) => {
            let sidecar = Sidecar::at(&wait.admin.admin)?;
            let patience = Duration::from_secs(wait.timeout);
            sidecar.wait(patience).await.map_err(|last| {
                Failure::Check(format!("the sidecar does not serve after {} s: {last}", wait.timeout))
            })?;
            Ok(output::emit("LIVE\n")?)
        }
        Action::Drain(wait) => {
            let sidecar = Sidecar::at(&wait.admin.admin)?;
            let left = sidecar.drain(Duration::from_secs(wait.timeout)).await?;
            match left {
                0 => Ok(output::emit("drained\n")?),
                left => {
                    Err(Failure::Check(format!("{left} connections are still open after {} s", wait.timeout)))
                }
            }
        }
        Action::Quit(admin) => Sidecar::at(&admin.admin)?.quit().await,
    }
}

/// A sidecar by its admin endpoint.
#[derive(Debug)]
pub(crate) struct Sidecar {
    client: Client,
}

impl Sidecar {
    /// # Errors
    /// The URL is none.
    pub(crate) fn at(url: &str) -> Result<Self, Failure> {
        let endpoint = url.parse().map_err(|error| Failure::Usage(format!("{url}: {error}")))?;
        Ok(Self { client: Client::new(endpoint).with_timeouts(ANSWER_PATIENCE, ANSWER_PATIENCE) })
    }

    /// Waits until `/ready` answers 200.
    ///
    /// # Errors
    /// What it answered last, when the time is over.
    pub(crate) async fn wait(&self, patience: Duration) -> Result<(), String> {
        let deadline = Instant::now() + patience;
        loop {
            let last = match self.client.text(Method::GET, "/ready").await {
                Ok((200, _)) => return Ok(()),
                Ok((_, text)) => text.trim().to_owned(),
                Err(error) => format!("{:#}", anyhow::Error::new(error)),
            };
            if Instant::now() >= deadline {
                return Err(last);
            }
            tokio::time::sleep(INTERVAL).await;
        }
    }

    /// Has it refuse newcomers from outside and wait for the rest; answers how many connections are left in the end.
    pub(crate) async fn drain(&self, patience: Duration) -> Result<u64, Failure> {
        let deadline = Instant::now() + patience;
        // Whoever looks whether to send requests here sees at once that none should come.
        self.post("/healthcheck/fail").await?;
        self.post("/drain_listeners?graceful&inboundonly").await?;
        loop {
            let left = self.incoming().await?;
            if left == 0 || Instant::now() >= deadline {
                return Ok(left);
            }
            tokio::time::sleep(INTERVAL).await;
        }
    }

    /// Connections that came in.
    async fn incoming(&self) -> Result<u64, Failure> {
        let (_, text) = self.client.text(Method::GET, "/stats?filter=downstream_cx_active").await?;
        Ok(incoming(&text))
    }

    /// # Errors
    /// When it cannot be asked, or refuses.
    pub(crate) async fn quit(&self) -> Result<(), Failure> {
        self.post("/quitquitquit").await
    }

    async fn post(&self, path: &str) -> Result<(), Failure> {
        let (status, text) =
            self.client.text(Method::POST, path).await.context("the sidecar cannot be asked")?;
        if status == 200 {
            return Ok(());
        }
        Err(Failure::Check(format!("the sidecar refused {path}: {status} {}", text.trim())))
    }
}

/// The sum over the managers and proxies of incoming connections, whose prefixes begin with `ingress`.
fn incoming(stats: &str) -> u64 {
    let count = |line: &str| {
        let (name, value) = line.split_once(": ")?;
        let prefix = name.strip_prefix("http.").or_else(|| name.strip_prefix("tcp."))?;
        let counted = prefix.starts_with("ingress") && prefix.strip_suffix(ACTIVE)?.ends_with('.');
        if counted { value.trim().parse::<u64>().ok() } else { None }
    };
    stats.lines().filter_map(count).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_connections_that_came_in_are_counted() {
        let stats = "http.admin.downstream_cx_active: 1\nhttp.egress.downstream_cx_active: 5\n\
            http.ingress.downstream_cx_active: 2\nhttp.ingress.http.8080.downstream_cx_active: 1\n\
            http.ingress.downstream_cx_http1_active: 9\ntcp.ingress.downstream_cx_active: 4\n\
            listener.0.0.0.0_15000.downstream_cx_active: 7\n";
        assert_eq!(incoming(stats), 7);
        assert_eq!(incoming(""), 0);
    }
}
