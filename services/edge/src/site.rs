//! A configuration in force.

mod believed;
mod certificates;
mod fetched;
mod files;
mod redirects;
mod shown;
pub(crate) mod staples;

use std::collections::HashMap;
use std::ops::Deref;
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use selvedge_http::target::{DotSegments, Options, Slash};
use selvedge_site::Program;
use selvedge_site::directive::{Host, ParseOptions};

use crate::answer::hosts::Hosts;
use crate::answer::programs::Programs;
use crate::pace::Pacer;
use crate::ready;
use crate::stats::RouteStats;
use crate::who::{GuardInvalid, Guards};
use crate::worker::Shared;
pub(crate) use certificates::{Certificates, TlsError};
pub(crate) use fetched::FETCH_PATIENCE;
pub(crate) use files::Files;
pub(crate) use redirects::Redirects;
pub(crate) use shown::asked_of_clients;

/// Everything that a configuration brings with it. Requests keep the one that they began with.
#[derive(Debug)]
pub(crate) struct Site {
    pub(crate) program: Arc<Program>,
    /// All backends of all blocks.
    pub(crate) backends: Vec<Host>,
    pub(crate) hosts: Hosts,
    pub(crate) programs: Programs,
    pub(crate) certificates: Certificates,
    /// What the configuration names and the server's user may not read.
    pub(crate) files: Files,
    pub(crate) target: Options,
    /// When redirects have their turn.
    pub(crate) redirects: Redirects,
    /// Providers and issuers by whom callers are recognised.
    pub(crate) guards: Guards,
    pub(crate) routes: RouteStats,
    /// Whether files that were asked for are kept ready for a moment.
    pub(crate) keeps_files: bool,
    /// Whether a client is told that it may wish for a tunnel on a stream (RFC 8441).
    pub(crate) offers_tunnels: bool,
    /// Whether heads that come again may go a way that is known.
    pub(crate) keeps_ways: bool,
    /// What everything under one `server.kbytes-per-second` shares, by its number.
    paces: Mutex<HashMap<u32, Arc<Pacer>>>,
}

/// The configuration as one worker's requests hold it. How many do is counted on that worker's own line of memory, where an
/// `Arc` alone would have all workers wait for one.
pub(crate) type Current = Rc<Arc<Site>>;

/// Where the configuration in force is, for who looks whether it is still the one that he knows.
pub(crate) struct InForce(pub(crate) Arc<Shared>);

impl Deref for InForce {
    type Target = ArcSwap<Site>;

    fn deref(&self) -> &ArcSwap<Site> {
        &self.0.site
    }
}

/// Why a configuration cannot be put in force.
#[derive(Debug, thiserror::Error)]
pub enum SiteInvalid {
    #[error(transparent)]
    Tls(#[from] TlsError),
    #[error(transparent)]
    Guard(#[from] GuardInvalid),
}

impl Site {
    /// Puts together what a program needs; programs that ran under the configuration before go on where they are the same.
    ///
    /// # Errors
    /// When a certificate, a provider or an issuer cannot be used.
    pub(crate) async fn new(
        program: Program,
        files: Files,
        before: Option<&Self>,
    ) -> Result<Self, SiteInvalid> {
        let program = Arc::new(program);
        let certificates = Certificates::new(&program, &files, before.map(|site| &site.certificates))?;
        let guards = Guards::new(&program, &files, before.map(|site| &site.guards))?;
        let backends = program.backends();
        let most = backends.iter().map(|host| host.id.0 as usize + 1).max().unwrap_or(0);
        let hosts = Hosts::new(most);
        let programs = Programs::start(&backends, &hosts, before.map(|site| &site.programs)).await;
        let routes = RouteStats::new(&program, before.map(|site| &site.routes));
        let target = target_options(&program.global().http_parseopts);
        let redirects = Redirects::of(program.global());
        let keeps_files = ready::may_keep(&program);
        let offers_tunnels = program.offers_tunnels();
        let keeps_ways = program.is_settled_by_head();
        let paces = Mutex::default();
        Ok(Self {
            program,
            hosts,
            backends,
            programs,
            certificates,
            files,
            target,
            redirects,
            guards,
            routes,
            keeps_files,
            offers_tunnels,
            keeps_ways,
            paces,
        })
    }

    /// What shares a rate. Numbers come from the configuration: there are no more than directives.
    pub(crate) fn pacer(&self, id: u32) -> Arc<Pacer> {
        Arc::clone(self.paces.lock().unwrap_or_else(PoisonError::into_inner).entry(id).or_default())
    }

    /// The longest head of a request.
    pub(crate) fn head_bytes_max(&self) -> usize {
        (self.program.global().max_request_field_size as usize)
            .clamp(1024, selvedge_http::scan::REQUEST_HEAD_BYTES_MAX)
    }
}

/// Whether what a program names beside itself is there and can be used: certificates, keys, authorities, providers' files.
/// Nothing is started, nobody is asked.
///
/// # Errors
/// What cannot be used.
pub fn check(program: &Program) -> Result<(), SiteInvalid> {
    Certificates::check(program)?;
    Guards::new(program, &Files::default(), None)?;
    Ok(())
}

impl SiteInvalid {
    /// Whether it is a file that whoever this process is may not read. What it was before may have read it: putting the
    /// configuration in force says so.
    pub fn is_out_of_reach(&self, program: &Program) -> bool {
        let (Self::Tls(TlsError::Read { source, .. }) | Self::Guard(GuardInvalid::Read { source, .. })) =
            self
        else {
            return false;
        };
        files::is_out_of_reach(source, files::is_rooted(program))
    }

    /// The file that is at fault, if it is one.
    pub fn path(&self) -> Option<&str> {
        match self {
            Self::Tls(
                TlsError::Read { path, .. }
                | TlsError::Material { path, .. }
                | TlsError::Authorities { path, .. },
            ) => Some(path),
            Self::Tls(_) | Self::Guard(_) => None,
        }
    }
}

fn target_options(options: &ParseOptions) -> Options {
    let Some(url) = options.url else {
        return Options {
            normalize: false,
            reject_controls: false,
            reject_invalid_utf8: false,
            dot_segments: DotSegments::Keep,
            ..Options::default()
        };
    };
    Options {
        normalize: true,
        required: url.required,
        reject_controls: url.ctrls_reject,
        reject_invalid_utf8: url.invalid_utf8_reject,
        slash: match (url.path_2f_reject, url.path_2f_decode) {
            (true, _) => Slash::Reject,
            (false, true) => Slash::Decode,
            (false, false) => Slash::Keep,
        },
        dot_segments: match (url.path_dotseg_reject, url.path_dotseg_remove) {
            (true, _) => DotSegments::Reject,
            (false, true) => DotSegments::Remove,
            (false, false) => DotSegments::Keep,
        },
        backslash: url.path_backslash_trans,
        query_space_plus: url.query_20_plus,
    }
}
