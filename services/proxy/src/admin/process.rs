//! What the process itself is asked about.

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

/// No certificate is held: TLS is not spoken yet.
pub(super) fn certs() -> Reply {
    Reply::json(&json!({ "certificates": [] }))
}
