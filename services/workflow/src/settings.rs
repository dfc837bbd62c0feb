//! What an operator may set.

use selvedge_asl::Options;

use crate::engine::{Drive, Sharing};
use crate::extension::Mode;
use crate::tasks::Calls;
use crate::traces::Traces;

/// How long an execution is kept after its end, unless somebody says otherwise: as long as the original keeps it.
pub(crate) const RETENTION: std::time::Duration = std::time::Duration::from_secs(90 * 24 * 60 * 60);

/// Settings of the workflow role.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The account in ARNs: twelve digits.
    pub account: String,
    /// The region in ARNs when a call names none.
    pub region: String,
    /// Bounds of executions.
    pub execution: Options,
    /// What tasks may call, and as whom.
    pub calls: Calls,
    /// How long an execution is kept after its end; for ever without it.
    pub retention: Option<std::time::Duration>,
    /// Whether large values are kept as blobs in machines that do not say.
    pub is_extended: bool,
    /// Where executions log what their machines' `loggingConfiguration` asks for; nowhere unless it is set.
    pub logs: Option<std::path::PathBuf>,
    /// Where spans of executions go; nowhere unless it is set.
    pub traces: Option<Traces>,
    /// Who does what is due.
    pub drive: Drive,
    /// That several workers have executions of the store at a time; without it, this one takes all over.
    pub sharing: Option<Sharing>,
}

impl Settings {
    pub(crate) fn mode(&self) -> Mode {
        if self.is_extended { Mode::Extended } else { Mode::Standard }
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            account: "123456789012".into(),
            region: "us-east-1".into(),
            execution: Options::default(),
            calls: Calls::default(),
            retention: Some(RETENTION),
            is_extended: false,
            logs: None,
            traces: None,
            drive: Drive::default(),
            sharing: None,
        }
    }
}
