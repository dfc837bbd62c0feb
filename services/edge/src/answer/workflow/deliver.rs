//! A file that an execution hands out: its output names it, and for how long.
//!
//! ```json
//! { "file": "app-1.tar", "seconds": 600 }
//! ```
//! The seconds count from the end of the execution; without them the file is there as long as the execution is.

use std::time::{SystemTime, UNIX_EPOCH};

use selvedge_http::target;
use serde_json::{Value, json};

use crate::answer::{file, root};
use crate::request::{Exchange, Response, join};

/// The file of an execution that has succeeded; `None` where the route hands out none, or the execution none.
pub(super) fn file(x: &mut Exchange<'_>, execution: &Value) -> Option<Response> {
    let folder = x.conf.mesh.workflow.as_ref()?.files.clone()?;
    if execution["status"] != "SUCCEEDED" {
        return None;
    }
    let output: Value = serde_json::from_str(execution["output"].as_str()?).ok()?;
    let name = output["file"].as_str()?;
    if !is_good(x.begun_at, execution, &output) {
        let body = json!({ "error": "the grant has ended" }).to_string();
        return Some(Response::with(410, "application/json", body).field("cache-control", "no-store"));
    }
    // What the request brought may be part of the name: it is brought into its one form, and opened beneath the folder.
    let Ok(target) = target::normalize(&format!("/{}", name.trim_start_matches('/')), x.site.target) else {
        return Some(Response::status(404));
    };
    let path = join(&folder, &target.path);
    x.physical.root = folder.to_string();
    x.physical.path.clone_from(&path);
    Some(match root::open(&folder, &path, false) {
        Ok(found) => file::response(x, found).field("cache-control", "no-store"),
        Err(error) => {
            tracing::warn!(%error, path, "a file that a workflow hands out cannot be opened");
            Response::status(404)
        }
    })
}

/// Whether what was granted still holds.
fn is_good(now: SystemTime, execution: &Value, output: &Value) -> bool {
    let Some(seconds) = output["seconds"].as_f64() else { return output["seconds"].is_null() };
    let Some(ended) = execution["stopDate"].as_f64() else { return false };
    now.duration_since(UNIX_EPOCH).is_ok_and(|now| now.as_secs_f64() < ended + seconds)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_grant_ends_with_its_seconds() {
        let now = UNIX_EPOCH + Duration::from_secs(1000);
        for (output, execution, good) in [
            (json!({ "seconds": 10 }), json!({ "stopDate": 995.5 }), true),
            (json!({ "seconds": 10 }), json!({ "stopDate": 989.0 }), false),
            (json!({}), json!({ "stopDate": 1.0 }), true),
            (json!({ "seconds": "long" }), json!({ "stopDate": 999.0 }), false),
            (json!({ "seconds": 10 }), json!({}), false),
        ] {
            assert_eq!(is_good(now, &execution, &output), good, "{output} {execution}");
        }
    }
}
