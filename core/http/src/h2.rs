//! HTTP/2 as bytes: frames, header blocks and what they say, and how many of the frames that cost a peer nothing are
//! still honest. Streams and windows are the connection's business.

pub mod encode;
pub mod frames;
pub mod hpack;
mod huffman;
pub mod meter;
pub mod receive;
mod table;

pub use table::{ENTRY_BYTES, TABLE_BYTES_MAX};
