//! The query languages of the States Language.
//!
//! - [`Path`]: JSONPath in the dialect that the States Language has, which is that of its first implementation and of no
//!   standard: whether a path is *definite* decides what it answers.
//! - [`Intrinsic`]: the functions `States.Format`, `States.Array` and their sixteen siblings.
//! - [`Template`]: a payload template, whose keys in `.$` are computed.
//! - [`Expression`]: JSONata, by a library, with bounds on time, depth and bytes.
//! - [`Budget`]: what all fields of a state may use together.
//!
//! Everything here is a function of its arguments: the values that expressions see stand in a [`Scope`], chance comes from
//! an [`Entropy`] and the time is a number.

mod budget;
mod entropy;
mod failure;
mod intrinsic;
mod jsonata;
mod path;
mod scope;
mod template;

pub use budget::{Budget, Overspent, STATE_TIME_MAX, Stopwatch, bytes_within, nests_within};
pub use entropy::Entropy;
pub use failure::Failure;
pub use intrinsic::{INTRINSIC_NESTING_MAX, Intrinsic, IntrinsicError};
pub use jsonata::{
    BYTES_MAX, Bounds, DEPTH_MAX, EXPRESSION_BYTES_MAX, Expression, ExpressionError, Names, SEQUENCE_MAX,
    TIME_MAX,
};
pub use path::{FOUND_BYTES_MAX, PATH_BYTES_MAX, PATH_STEPS_MAX, Path, PathError, Root, VISITS_MAX};
pub use scope::{Scope, Variables};
pub use template::{TEMPLATE_DEPTH_MAX, Template, TemplateError, Unfilled};
