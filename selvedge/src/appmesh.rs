//! `selvedge appmesh`: what `aws appmesh` takes, in the words that it takes.
mod shorthand;
