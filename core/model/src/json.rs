//! JSON as strangers send it.
