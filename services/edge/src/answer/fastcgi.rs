//! FastCGI: a request by a connection, records both ways.

use std::io;

use selvedge_http::fastcgi::{self, Role};
use selvedge_wire::buffer::Buffers;
use selvedge_wire::stream::Stream;
use tokio::io::AsyncWriteExt as _;

use super::backend::{Held, Pipe, Reader, Wrap};
use crate::request::Exchange;
use crate::request::body::Gathered;
use crate::request::body::upload::{self, Broken};

/// Sends a request. The body goes out while the answer may already come.
pub(crate) async fn send(
    buffers: &Buffers,
    mut stream: Stream,
    role: Role,
    variables: &[(String, Vec<u8>)],
    input: Gathered,
    patience: u32,
    held: Held,
) -> io::Result<Box<Reader>> {
    let mut out = Vec::with_capacity(4096);
    let list = variables.iter().map(|(name, value)| (name.as_str(), value.as_slice()));
    fastcgi::begin(role, list, &mut out);
    if role == Role::Responder {
        match input {
            Gathered::Memory(bytes) => {
                for part in bytes.chunks(fastcgi::CONTENT_BYTES_MAX) {
                    fastcgi::stdin_head(part.len(), &mut out);
                    out.extend_from_slice(part);
                }
            }
            Gathered::File { file, length } => {
                stream.write_all(&out).await?;
                out.clear();
                let (mut at, mut part) = (0, vec![0; 32 * 1024]);
                while at < length {
                    let want = part.len().min((length - at) as usize);
                    let read = std::os::unix::fs::FileExt::read_at(&file, &mut part[..want], at)?;
                    if read == 0 {
                        return Err(io::ErrorKind::UnexpectedEof.into());
                    }
                    fastcgi::stdin_head(read, &mut out);
                    out.extend_from_slice(&part[..read]);
                    stream.write_all(&out).await?;
                    out.clear();
                    at += read as u64;
                }
            }
        }
    }
    fastcgi::stdin_head(0, &mut out);
    stream.write_all(&out).await?;
    Ok(Reader::new(buffers, Pipe::Stream(stream), Wrap::FastCgi(fastcgi::Decoder::default()), patience, held))
}

/// Sends a request whose body goes on as it comes.
pub(crate) async fn stream(
    x: &mut Exchange<'_>,
    mut stream: Stream,
    variables: &[(String, Vec<u8>)],
    patience: u32,
    held: Held,
) -> Result<Box<Reader>, Broken> {
    let mut out = Vec::with_capacity(4096);
    let list = variables.iter().map(|(name, value)| (name.as_str(), value.as_slice()));
    fastcgi::begin(Role::Responder, list, &mut out);
    stream.write_all(&out).await.map_err(Broken::Backend)?;
    let uploaded = upload::upload(x, &stream, upload::Wrap::FastCgi).await?;
    let wrap = Wrap::FastCgi(fastcgi::Decoder::default());
    Ok(Reader::new(&x.worker.buffers, Pipe::Stream(stream), wrap, patience, held).after(uploaded))
}
