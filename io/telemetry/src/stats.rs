//! The groups of statistics, each field under Envoy's name for it.

pub mod cluster;
pub mod extension;
pub mod filter;
pub mod http;
pub mod listener;
pub mod secrets;
pub mod server;
pub mod ssl;
pub mod tcp;

pub use cluster::{ClusterStats, ClusterUpkeep};
pub use extension::{Dimensions, Extension, SidecarStats, TargetStats};
pub use filter::{FilterStats, Owner};
pub use http::HttpStats;
pub use listener::{ListenerHttpStats, ListenerStats};
pub use server::ServerStats;
pub use tcp::TcpStats;

use crate::codes::Code;
use crate::{Counter, Gauge, Histogram};

/// One statistic of a group.
pub(crate) enum Statistic<'a> {
    Counter(&'a Counter),
    Gauge(&'a Gauge),
    Histogram(&'a Histogram),
    /// Shown only once it has been counted.
    Code(Code, &'a Counter),
}

/// A set of statistics that share the first part of their names.
pub(crate) trait Group: Default {
    /// Calls `visit` with each statistic's name within the group; for a code: the prefix of its name.
    fn visit<'a>(&'a self, visit: &mut dyn FnMut(&'static str, Statistic<'a>));

    /// Adds to the counter of that name, if there is one.
    fn add(&self, name: &str, amount: u64);

    /// The counters by response code below that prefix.
    fn codes(&self, prefix: &str) -> Option<&crate::ResponseCodes>;
}

/// Declares a group: fields by kind, with the name where it is not the field's own.
macro_rules! stat_group {
    (
        $(#[$doc:meta])* pub struct $group:ident {
            counters { $($counter:ident $(= $counter_name:literal)?,)* }
            gauges { $($gauge:ident $(= $gauge_name:literal)?,)* }
            histograms { $($histogram:ident $(= $histogram_name:literal)?,)* }
            codes { $($codes:ident = $codes_name:literal,)* }
        }
    ) => {
        $(#[$doc])*
        #[derive(Debug, Default)]
        pub struct $group {
            $(pub $counter: $crate::Counter,)*
            $(pub $gauge: $crate::Gauge,)*
            $(pub $histogram: $crate::Histogram,)*
            $(pub $codes: $crate::ResponseCodes,)*
        }

        impl $crate::stats::Group for $group {
            fn visit<'a>(&'a self, visit: &mut dyn FnMut(&'static str, $crate::stats::Statistic<'a>)) {
                use $crate::stats::{Statistic, stat_name};
                $(visit(stat_name!($counter $(= $counter_name)?), Statistic::Counter(&self.$counter));)*
                $(visit(stat_name!($gauge $(= $gauge_name)?), Statistic::Gauge(&self.$gauge));)*
                $(visit(stat_name!($histogram $(= $histogram_name)?), Statistic::Histogram(&self.$histogram));)*
                $($crate::stats::visit_codes(&self.$codes, $codes_name, visit);)*
                let _ = visit;
            }

            fn add(&self, name: &str, amount: u64) {
                use $crate::stats::stat_name;
                $(if name == stat_name!($counter $(= $counter_name)?) {
                    return self.$counter.add(amount);
                })*
                let _ = (name, amount);
            }

            fn codes(&self, prefix: &str) -> Option<&$crate::ResponseCodes> {
                $(if prefix == $codes_name {
                    return Some(&self.$codes);
                })*
                let _ = prefix;
                None
            }
        }
    };
}

macro_rules! stat_name {
    ($field:ident) => {
        stringify!($field)
    };
    ($field:ident = $name:literal) => {
        $name
    };
}

pub(crate) use {stat_group, stat_name};

pub(crate) fn visit_codes<'a>(
    codes: &'a crate::ResponseCodes,
    prefix: &'static str,
    visit: &mut dyn FnMut(&'static str, Statistic<'a>),
) {
    codes.visit(&mut |code, counter| visit(prefix, Statistic::Code(code, counter)));
}
