//! Files that were compressed before: beside the original (`app.js.br`), or kept from an earlier request (`deflate.cache-dir`).

use std::fs::File;
use std::io::{self, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use selvedge_site::directive::ContentEncoding;

use crate::answer::root;
use crate::request::response::{FileBody, Piece};
use crate::request::{Body, Exchange};

/// The file beside the one that is about to be sent, if there is one that was written after it.
pub(super) fn find(x: &Exchange<'_>, body: &Body, encoding: ContentEncoding) -> Option<FileBody> {
    let Body::File(original) = body else { return None };
    let suffix = match encoding {
        ContentEncoding::Gzip => "gz",
        ContentEncoding::Brotli => "br",
        ContentEncoding::Zstd => "zst",
        ContentEncoding::Deflate => return None,
    };
    let path = format!("{}.{suffix}", x.physical.path);
    let file = root::open(&x.physical.root, &path, x.conf.server.follow_symlink).ok()?;
    let (facts, of) = (file.metadata().ok()?, original.file.metadata().ok()?);
    // An older one is of an earlier original.
    let fits = facts.is_file() && (facts.mtime(), facts.mtime_nsec()) >= (of.mtime(), of.mtime_nsec());
    fits.then(|| FileBody::whole(file, facts.len()))
}

/// Where a compressed file is kept: `DIR/path/of/file-gzip-TAG`, as lighttpd has it. Its tag changes with the original.
pub(super) fn place(x: &Exchange<'_>, body: &Body, tag: Option<&str>) -> Option<PathBuf> {
    let folder = x.conf.deflate.cache_dir.as_deref().filter(|folder| !folder.is_empty())?;
    let Body::File(file) = body else { return None };
    let whole = matches!(file.pieces.front(), Some(Piece::Range { offset: 0, .. })) && file.pieces.len() == 1;
    let tag = tag?.strip_prefix('"')?.strip_suffix('"')?;
    let plain = tag.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    // The path is in its one form: it has no dot segments.
    (whole && plain).then(|| format!("{}{}-{tag}", folder.trim_end_matches('/'), x.physical.path).into())
}

/// What is kept at a place.
pub(super) fn kept(place: &Path) -> Option<FileBody> {
    let file = File::open(place).ok()?;
    let facts = file.metadata().ok().filter(std::fs::Metadata::is_file)?;
    Some(FileBody::whole(file, facts.len()))
}

/// Keeps a compressed file; others see it whole or not at all.
pub(super) fn keep(place: &Path, bytes: &Bytes) {
    let written = || -> io::Result<()> {
        let folder = place.parent().ok_or(io::ErrorKind::NotFound)?;
        std::fs::create_dir_all(folder)?;
        let half = place.with_added_extension(format!("{}.part", std::process::id()));
        let mut file = std::fs::OpenOptions::new().write(true).create_new(true).open(&half)?;
        let done = file.write_all(bytes).and_then(|()| std::fs::rename(&half, place));
        if done.is_err() {
            let _ = std::fs::remove_file(&half);
        }
        done
    };
    if let Err(error) = written() {
        tracing::warn!(%error, place = %place.display(), "a compressed file cannot be kept");
    }
}
