//! gRPC status codes: names, and what an HTTP status means as one.

/// The name of a status as `%GRPC_STATUS%` prints it; `None` above 16.
pub fn name(status: u32) -> Option<&'static str> {
    const NAMES: [&str; 17] = [
        "OK",
        "Canceled",
        "Unknown",
        "InvalidArgument",
        "DeadlineExceeded",
        "NotFound",
        "AlreadyExists",
        "PermissionDenied",
        "ResourceExhausted",
        "FailedPrecondition",
        "Aborted",
        "OutOfRange",
        "Unimplemented",
        "Internal",
        "Unavailable",
        "DataLoss",
        "Unauthenticated",
    ];
    NAMES.get(usize::try_from(status).ok()?).copied()
}

/// The status of a local reply to a gRPC client (gRPC's `http-grpc-status-mapping`).
pub fn from_http(status: u16) -> u32 {
    match status {
        400 => 13,
        401 => 16,
        403 => 7,
        404 => 12,
        429 | 502..=504 => 14,
        _ => 2,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn http_statuses_map_as_measured_on_envoy() {
        let rows =
            [(403, 7), (429, 14), (401, 16), (404, 12), (400, 13), (502, 14), (503, 14), (504, 14), (555, 2)];
        for (http, grpc) in rows {
            assert_eq!(from_http(http), grpc, "{http}");
        }
    }

    #[test]
    fn a_status_beyond_the_table_has_no_name() {
        assert_eq!(name(14), Some("Unavailable"));
        assert_eq!(name(17), None);
    }
}
