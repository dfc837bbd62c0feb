//! Statistics of a proxy, read from its admin endpoint in Envoy's text format.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use regex::RegexSet;
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::http1::Connection;
use crate::placeholder::Placeholders;

/// Counters and gauges by name. One that is absent is zero.
pub type Stats = BTreeMap<String, u64>;

/// What every scenario compares: what a dashboard would show of requests, connections refused and hosts.
const NAMED: &[&str] = &[
    r"^cluster\.cds_[^.]+\.upstream_rq_(total|completed|[1-5]xx|[1-5]\d\d|retry|retry_success|retry_limit_exceeded|retry_overflow|timeout|per_try_timeout|pending_overflow|rx_reset)$",
    r"^cluster\.cds_[^.]+\.upstream_cx_(connect_fail|overflow|protocol_error|none_healthy)$",
    r"^cluster\.cds_[^.]+\.membership_(healthy|total)$",
    r"^cluster\.cds_[^.]+\.outlier_detection\.ejections_(active|enforced_total|overflow)$",
    r"^http\.(ingress|egress)[^ ]*\.downstream_rq_(total|completed|[1-5]xx|http1_total|http2_total|timeout|too_large|ws_on_non_ws_route)$",
    r"^http\.(ingress|egress)[^ ]*\.(no_route|no_cluster|rq_total|rq_direct_response)$",
];

/// A GET on an admin endpoint: status and body.
///
/// # Errors
/// When nobody listens or the answer is malformed.
pub async fn get(admin: SocketAddr, path: &str) -> Result<(u16, String)> {
    call(admin, "GET", path).await
}

/// Lets a proxy write what it holds of its access logs: ours and Envoy both do when they reopen their files.
///
/// # Errors
/// When the admin endpoint does not answer 200.
pub async fn flush_logs(admin: SocketAddr) -> Result<()> {
    let (status, _) = call(admin, "POST", "/reopen_logs").await?;
    ensure!(status == 200, "/reopen_logs answered {status}");
    Ok(())
}

async fn call(admin: SocketAddr, method: &str, path: &str) -> Result<(u16, String)> {
    let exchange = async {
        let mut connection = Connection::new(TcpStream::connect(admin).await?);
        let request = format!(
            "{method} {path} HTTP/1.1\r\nhost: localhost\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
        );
        connection.write(request.as_bytes()).await?;
        let head = connection.read_head().await?.context("closed without an answer")?;
        let body = connection.read_body(head.response_framing(method)).await?;
        let status = head.status().context("no status")?;
        Ok::<_, anyhow::Error>((status, String::from_utf8_lossy(&body.bytes).into_owned()))
    };
    timeout(Duration::from_secs(10), exchange).await.context("the admin endpoint does not answer")?
}

/// Every counter and gauge.
///
/// # Errors
/// When the admin endpoint does not answer 200.
pub async fn read(admin: SocketAddr) -> Result<Stats> {
    let (status, text) = get(admin, "/stats").await?;
    ensure!(status == 200, "/stats answered {status}");
    Ok(parse(&text))
}

/// Reads until nothing moves any more, so that what ends after the client's answer is counted.
///
/// # Errors
/// When the admin endpoint does not answer.
pub async fn read_settled(admin: SocketAddr, names: &Selection) -> Result<Stats> {
    let mut before = names.pick(&read(admin).await?);
    for _ in 0..20 {
        tokio::time::sleep(Duration::from_millis(30)).await;
        let stats = names.pick(&read(admin).await?);
        if stats == before {
            break;
        }
        before = stats;
    }
    Ok(before)
}

/// Which statistics a scenario compares.
#[derive(Debug)]
pub struct Selection {
    chosen: RegexSet,
    ignored: RegexSet,
}

// === impl Selection ===

impl Selection {
    /// The named ones and `more`, without `ignored`.
    ///
    /// # Errors
    /// When one is no regular expression.
    pub fn new(more: &[String], ignored: &[String]) -> Result<Self> {
        let chosen = NAMED.iter().map(|name| (*name).to_owned()).chain(more.iter().cloned());
        Ok(Self { chosen: RegexSet::new(chosen)?, ignored: RegexSet::new(ignored)? })
    }

    fn pick(&self, stats: &Stats) -> Stats {
        let picked = |name: &str| self.chosen.is_match(name) && !self.ignored.is_match(name);
        stats.iter().filter(|(name, _)| picked(name)).map(|(name, value)| (name.clone(), *value)).collect()
    }
}

/// What moved between two readings, gauges as they are; zeros left out, ports masked.
pub fn moved(before: &Stats, after: &Stats, placeholders: &Placeholders) -> Stats {
    let mut moved = Stats::new();
    for (name, value) in after {
        let gauge = ["membership_", "_active", "_open"].iter().any(|mark| name.contains(mark));
        let base = if gauge { 0 } else { before.get(name).copied().unwrap_or_default() };
        let value = value.saturating_sub(base);
        if value > 0 {
            moved.insert(placeholders.mask(name), value);
        }
    }
    moved
}

fn parse(text: &str) -> Stats {
    let entry = |line: &str| {
        let (name, value) = line.rsplit_once(": ")?;
        Some((name.to_owned(), value.trim().parse().ok()?))
    };
    text.lines().filter_map(entry).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_move_and_gauges_stand() {
        let before = parse("cluster.cds_a.upstream_rq_total: 3\ncluster.cds_a.membership_total: 1\n");
        let after =
            parse("cluster.cds_a.upstream_rq_total: 5\ncluster.cds_a.membership_total: 1\nh: P0(nan,1)\n");
        let moved = moved(&before, &after, &Placeholders::default());
        let expected = [("cluster.cds_a.membership_total", 1), ("cluster.cds_a.upstream_rq_total", 2)];
        assert_eq!(moved, expected.map(|(name, value)| (name.to_owned(), value)).into());
    }

    #[test]
    fn a_selection_takes_the_named_and_leaves_the_ignored() {
        let selection = Selection::new(&["^x\\.".into()], &["retry".into()]).unwrap();
        let all = parse(
            "cluster.cds_a.upstream_rq_total: 1\ncluster.cds_a.upstream_rq_retry: 1\nx.y: 1\nserver.uptime: 1\n\
             http.egress.no_route: 1\nhttp.ingress.http.8080.downstream_rq_2xx: 1\n",
        );
        let names: Vec<String> = selection.pick(&all).into_keys().collect();
        let expected = [
            "cluster.cds_a.upstream_rq_total",
            "http.egress.no_route",
            "http.ingress.http.8080.downstream_rq_2xx",
            "x.y",
        ];
        assert_eq!(names, expected);
    }
}
