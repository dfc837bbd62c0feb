//! What the process itself is asked about.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use selvedge_identity::Certificate;
use selvedge_wire::tls::Secrets;
use serde_json::json;

use super::reply::Reply;

/// Resident and virtual bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Memory {
    pub(super) virtual_bytes: u64,
    pub(super) resident_bytes: u64,
}

impl Memory {
    /// From the kernel; zeros where it does not tell.
    pub(super) fn read() -> Self {
        // Linux counts pages of 4 KiB here on every machine that this runs on.
        const PAGE: u64 = 4096;
        let text = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
        let mut pages = text.split_ascii_whitespace().map(|number| number.parse::<u64>().unwrap_or(0));
        let mut bytes = || pages.next().unwrap_or(0) * PAGE;
        Self { virtual_bytes: bytes(), resident_bytes: bytes() }
    }
}

pub(super) fn memory() -> Reply {
    let Memory { virtual_bytes, resident_bytes } = Memory::read();
    let text = |bytes: u64| bytes.to_string();
    Reply::json(&json!({
        "allocated": text(resident_bytes),
        "heap_size": text(virtual_bytes),
        "pageheap_unmapped": "0",
        "pageheap_free": "0",
        "total_thread_cache": "0",
        "total_physical_bytes": text(resident_bytes),
    }))
}

/// The certificates that listeners and clusters use, and those that they trust.
pub(super) fn certs(secrets: &Secrets) -> Reply {
    let now = SystemTime::now();
    let since_epoch = now.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs().cast_signed());
    let one = |path: &str, certificate: &Certificate| {
        let names = &certificate.names;
        let uris = names.uris.iter().map(|uri| json!({ "uri": uri }));
        let dns = names.dns.iter().map(|name| json!({ "dns": name }));
        let ips = names.ips.iter().map(|ip| json!({ "ip_address": ip.to_string() }));
        json!({
            "path": path,
            "serial_number": certificate.serial,
            "subject_alt_names": dns.chain(uris).chain(ips).collect::<Vec<_>>(),
            "days_until_expiration": certificate.days_left(since_epoch).to_string(),
            "valid_from": moment(certificate.not_before),
            "expiration_time": moment(certificate.not_after),
        })
    };
    let all: Vec<_> = secrets
        .in_use()
        .iter()
        .map(|used| {
            let many = |path: &str, certificates: &[Certificate]| {
                certificates.iter().map(|certificate| one(path, certificate)).collect::<Vec<_>>()
            };
            json!({
                "ca_cert": many(&used.trusted, &used.authorities),
                "cert_chain": many(&used.source, &used.chain),
            })
        })
        .collect();
    Reply::json(&json!({ "certificates": all }))
}

fn moment(seconds: i64) -> String {
    let text =
        selvedge_telemetry::iso_time(UNIX_EPOCH + Duration::from_secs(u64::try_from(seconds).unwrap_or(0)));
    // Certificates know no fractions of a second.
    text.replace(".000Z", "Z")
}
