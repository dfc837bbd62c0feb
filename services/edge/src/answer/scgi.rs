//! SCGI and uWSGI: one head, the body, an answer as of CGI.

use std::io;

use selvedge_http::framing::Framing;
use selvedge_http::scgi;
use selvedge_wire::buffer::Buffers;
use selvedge_wire::stream::Stream;
use tokio::io::AsyncWriteExt as _;

use super::backend::{Held, Pipe, Reader, Wrap};
use crate::request::Exchange;
use crate::request::body::Gathered;
use crate::request::body::upload::{self, Broken};

/// Sends a request.
pub(crate) async fn send(
    buffers: &Buffers,
    mut stream: Stream,
    uwsgi: bool,
    variables: &[(String, Vec<u8>)],
    input: Gathered,
    patience: u32,
    held: Held,
) -> io::Result<Box<Reader>> {
    let list = variables.iter().map(|(name, value)| (name.as_str(), value.as_slice()));
    let mut out = match uwsgi {
        false => scgi::encode(input.length(), list),
        true => uwsgi_head(list)?,
    };
    match input {
        Gathered::Memory(bytes) => {
            out.extend_from_slice(&bytes);
            stream.write_all(&out).await?;
        }
        Gathered::File { file, length } => {
            stream.write_all(&out).await?;
            copy(&file, length, &mut stream).await?;
        }
    }
    Ok(Reader::new(buffers, Pipe::Stream(stream), Wrap::None, patience, held))
}

/// Sends a request whose body goes on as it comes. Its length is known: the head says it.
pub(crate) async fn stream(
    x: &mut Exchange<'_>,
    mut stream: Stream,
    uwsgi: bool,
    variables: &[(String, Vec<u8>)],
    patience: u32,
    held: Held,
) -> Result<Box<Reader>, Broken> {
    let list = variables.iter().map(|(name, value)| (name.as_str(), value.as_slice()));
    let out = match (uwsgi, x.facts.framing) {
        (true, _) => uwsgi_head(list).map_err(Broken::Backend)?,
        (false, Framing::Length(length)) => scgi::encode(length, list),
        (false, _) => scgi::encode(0, list),
    };
    stream.write_all(&out).await.map_err(Broken::Backend)?;
    let uploaded = upload::upload(x, &stream, upload::Wrap::None).await?;
    Ok(Reader::new(&x.worker.buffers, Pipe::Stream(stream), Wrap::None, patience, held).after(uploaded))
}

/// Writes a gathered file to a program.
pub(crate) async fn copy(file: &std::fs::File, length: u64, stream: &mut Stream) -> io::Result<()> {
    let (mut at, mut part) = (0, vec![0; 64 * 1024]);
    while at < length {
        let want = part.len().min((length - at) as usize);
        let read = std::os::unix::fs::FileExt::read_at(file, &mut part[..want], at)?;
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        stream.write_all(&part[..read]).await?;
        at += read as u64;
    }
    Ok(())
}

/// `modifier1 │ size (2, little-endian) │ modifier2 │ (length (2) name length (2) value)*`
fn uwsgi_head<'a>(variables: impl Iterator<Item = (&'a str, &'a [u8])>) -> io::Result<Vec<u8>> {
    let mut out = vec![0, 0, 0, 0];
    for (name, value) in variables {
        for part in [name.as_bytes(), value] {
            let length = u16::try_from(part.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
            out.extend_from_slice(&length.to_le_bytes());
            out.extend_from_slice(part);
        }
    }
    let size = u16::try_from(out.len() - 4).map_err(|_| io::ErrorKind::InvalidInput)?;
    out[1..3].copy_from_slice(&size.to_le_bytes());
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::uwsgi_head;

    #[test]
    fn a_uwsgi_head() {
        let head = uwsgi_head([("A", &b"bc"[..])].into_iter()).unwrap();
        assert_eq!(head, b"\0\x07\0\0\x01\0A\x02\0bc");
        let long = vec![b'x'; 70_000];
        assert!(uwsgi_head([("A", &long[..])].into_iter()).is_err());
    }
}
