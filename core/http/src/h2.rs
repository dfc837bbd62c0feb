//! HTTP/2 as bytes on their way: where its frames begin, and how many of the kinds that cost a peer nothing are still
//! honest. Decoding them is the codec's business.

pub mod frames;
pub mod meter;
