//! Header edits of routes, virtual hosts and tables: merged and compiled when the configuration comes.

use std::sync::LazyLock;

use selvedge_http::fields::Fields;
use selvedge_telemetry::Template;
use selvedge_telemetry::access_log::FormatError;
use selvedge_traffic::compiled::Matched;
use selvedge_traffic::{Action, Forward, HeaderEdit, HeaderEdits, Route, RouteTable, VirtualHost};

use super::exchange::Exchange;

/// A value that cannot be made.
#[derive(Debug, thiserror::Error)]
#[error("the value of header {name:?}: {source}")]
pub struct HeaderInvalid {
    name: String,
    #[source]
    source: FormatError,
}

/// The edits of a route table.
#[derive(Debug)]
pub(crate) struct Edits {
    /// For each virtual host, for each of its routes. Empty if there are none in the whole table.
    hosts: Vec<Vec<OfRoute>>,
}

/// Those of one route with its virtual host's and table's, in the order in which they are made.
#[derive(Debug, Default)]
pub(crate) struct OfRoute {
    pub(super) request: Box<[Edit]>,
    pub(super) response: Box<[Edit]>,
    /// With those of each weighted cluster; empty if none of them has any.
    shares: Box<[Self]>,
}

/// One edit.
#[derive(Debug)]
pub(crate) struct Edit {
    /// In lower case.
    name: Box<str>,
    act: Act,
}

#[derive(Debug)]
enum Act {
    Remove,
    Append(Value),
    AddIfAbsent(Value),
    Overwrite(Value),
    OverwriteIfExists(Value),
}

#[derive(Debug)]
enum Value {
    Literal(Box<[u8]>),
    Template(Template),
}

/// Which head is edited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Request,
    Response,
}

static NONE: LazyLock<OfRoute> = LazyLock::new(OfRoute::default);

impl OfRoute {
    /// Those of a request without a route.
    pub(super) fn none() -> &'static Self {
        &NONE
    }
}

impl Edits {
    pub(crate) fn new(table: &RouteTable) -> Result<Self, HeaderInvalid> {
        let of_share = |forward: &Forward| forward.clusters.iter().all(|share| share.headers.is_empty());
        let of_shares = |route: &Route| match &route.action {
            Action::Forward(forward) => of_share(forward),
            _ => true,
        };
        let of_route = |route: &Route| {
            route.request_headers.is_empty() && route.response_headers.is_empty() && of_shares(route)
        };
        let of_host = |host: &VirtualHost| host.headers.is_empty() && host.routes.iter().all(of_route);
        if table.headers.is_empty() && table.virtual_hosts.iter().all(of_host) {
            return Ok(Self { hosts: Vec::new() });
        }
        let of_host =
            |host: &VirtualHost| host.routes.iter().map(|route| merged(table, host, route)).collect();
        Ok(Self { hosts: table.virtual_hosts.iter().map(of_host).collect::<Result<_, _>>()? })
    }

    /// Those for a request whose weighted cluster has that place.
    pub(crate) fn of(&self, matched: &Matched<'_>, share: Option<usize>) -> &OfRoute {
        let (host, route) = matched.position;
        let of_route = self.hosts.get(host).and_then(|routes| routes.get(route)).unwrap_or(&NONE);
        share.and_then(|share| of_route.shares.get(share)).unwrap_or(of_route)
    }
}

/// The last word is the table's, unless the table leaves it to the route, and there to the weighted cluster.
fn merged(table: &RouteTable, host: &VirtualHost, route: &Route) -> Result<OfRoute, HeaderInvalid> {
    let none = HeaderEdits::default();
    let shares = match &route.action {
        Action::Forward(forward) if forward.clusters.iter().any(|share| !share.headers.is_empty()) => forward
            .clusters
            .iter()
            .map(|share| levels(table, host, route, &share.headers))
            .collect::<Result<_, _>>()?,
        _ => Box::default(),
    };
    Ok(OfRoute { shares, ..levels(table, host, route, &none)? })
}

fn levels(
    table: &RouteTable,
    host: &VirtualHost,
    route: &Route,
    share: &HeaderEdits,
) -> Result<OfRoute, HeaderInvalid> {
    let of_levels = |pick: fn(&HeaderEdits) -> &Vec<HeaderEdit>, own: &[HeaderEdit]| {
        let mut levels = [pick(share), own, pick(&host.headers), pick(&table.headers)];
        if table.most_specific_headers_win {
            levels.reverse();
        }
        levels.into_iter().flatten().map(compile).collect::<Result<Box<[Edit]>, _>>()
    };
    Ok(OfRoute {
        request: of_levels(|edits| &edits.request, &route.request_headers)?,
        response: of_levels(|edits| &edits.response, &route.response_headers)?,
        shares: Box::default(),
    })
}

/// Edits of a filter, made ready.
pub(super) fn compile_all(edits: &[HeaderEdit]) -> Result<Box<[Edit]>, HeaderInvalid> {
    edits.iter().map(compile).collect()
}

fn compile(edit: &HeaderEdit) -> Result<Edit, HeaderInvalid> {
    let (name, value, act): (_, _, fn(Value) -> Act) = match edit {
        HeaderEdit::Remove { name } => {
            return Ok(Edit { name: name.to_ascii_lowercase().into(), act: Act::Remove });
        }
        HeaderEdit::Append { name, value } => (name, value, Act::Append),
        HeaderEdit::AddIfAbsent { name, value } => (name, value, Act::AddIfAbsent),
        HeaderEdit::Overwrite { name, value } => (name, value, Act::Overwrite),
        HeaderEdit::OverwriteIfExists { name, value } => (name, value, Act::OverwriteIfExists),
    };
    let template = Template::compile(value).map_err(|source| HeaderInvalid { name: name.clone(), source })?;
    let value = match template.literal() {
        Some(literal) => Value::Literal(literal.as_bytes().into()),
        None => Value::Template(template),
    };
    Ok(Edit { name: name.to_ascii_lowercase().into(), act: act(value) })
}

/// Makes edits in order. A value that comes out empty is no value: its edit is not made.
pub(super) fn apply(x: &mut Exchange<'_>, edits: &[Edit], side: Side) {
    let mut scratch = Vec::new();
    for edit in edits {
        let (value, act) = match &edit.act {
            Act::Remove => {
                fields(x, side).remove_named(&edit.name);
                continue;
            }
            act @ (Act::Append(value)
            | Act::AddIfAbsent(value)
            | Act::Overwrite(value)
            | Act::OverwriteIfExists(value)) => (value, act),
        };
        let value: &[u8] = match value {
            Value::Literal(literal) => literal,
            Value::Template(template) => {
                scratch.clear();
                x.with_facts(|record| template.write(record, &mut scratch));
                // What a peer sent is free of these; what else may come into a record need not be.
                scratch.retain(|byte| !matches!(byte, b'\r' | b'\n' | 0));
                &scratch
            }
        };
        if value.is_empty() {
            continue;
        }
        let fields = fields(x, side);
        match act {
            Act::Append(_) => fields.append(edit.name.as_bytes(), value),
            Act::Overwrite(_) => fields.set(&edit.name, value),
            Act::AddIfAbsent(_) if fields.named(&edit.name).is_none() => {
                fields.append(edit.name.as_bytes(), value);
            }
            Act::OverwriteIfExists(_) if fields.named(&edit.name).is_some() => fields.set(&edit.name, value),
            _ => {}
        }
    }
}

fn fields<'b>(x: &'b mut Exchange<'_>, side: Side) -> &'b mut Fields {
    match side {
        Side::Request => &mut x.heads.request.fields,
        Side::Response => &mut x.heads.response.fields,
    }
}
