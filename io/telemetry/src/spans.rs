//! Spans in the words of collectors that take JSON or MessagePack. (OTLP is protobuf, and so `selvedge_xds::otlp`.)

pub mod datadog;
pub mod xray;
pub mod zipkin;
