//! Outputs and other large values, by the SHA-256 of their bytes, compressed: small ones in the
//! table, others in files, which are durable before an entry names them.

use std::fs::{self, File};
use std::io::{self, BufReader, Read, Write};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use rusqlite::{Connection, OptionalExtension as _, params};
use sha2::{Digest as _, Sha256};

use super::Blob;
use super::error::{StoreError, io as io_error, sqlite};
use super::layout::{Layout, create_private, make_folder, sync_folder};
use crate::id::Digest;
use crate::limits::{BLOB_INLINE_BYTES_MAX, BLOB_WINDOW_LOG};

/// Compression: fast, since it stands between the end of a step and its entry.
const LEVEL: i32 = 1;

/// A blob as the table holds it.
#[derive(Debug)]
pub(super) struct BlobRow {
    digest: Digest,
    bytes: u64,
    zstd: Option<Vec<u8>>,
}

impl BlobRow {
    /// Compresses what goes into the table; puts what is larger, or checks what was put, in place.
    pub(super) fn prepare(layout: &Layout, blob: &Blob) -> Result<BlobRow, StoreError> {
        match blob {
            Blob::Placed { digest, bytes } => match layout.blob(digest).is_file() {
                true => Ok(BlobRow { digest: *digest, bytes: *bytes, zstd: None }),
                false => Err(StoreError::BadBlob(*digest)),
            },
            Blob::Bytes { digest, bytes } if *digest != Digest::of(bytes) => {
                Err(StoreError::BadBlob(*digest))
            }
            Blob::Bytes { digest, bytes } if bytes.len() <= BLOB_INLINE_BYTES_MAX => {
                let zstd = zstd::bulk::compress(bytes, LEVEL)
                    .map_err(io_error("compress a blob for", layout.root()))?;
                Ok(BlobRow { digest: *digest, bytes: bytes.len() as u64, zstd: Some(zstd) })
            }
            Blob::Bytes { digest, bytes } => {
                place(layout, &mut bytes.as_slice())?;
                Ok(BlobRow { digest: *digest, bytes: bytes.len() as u64, zstd: None })
            }
        }
    }

    /// Part of the caller's transaction. The same bytes twice are one row.
    pub(super) fn write(&self, conn: &Connection) -> Result<(), StoreError> {
        let sql = "INSERT OR IGNORE INTO blobs (digest, bytes, zstd) VALUES (?1, ?2, ?3)";
        conn.prepare_cached(sql)
            .and_then(|mut insert| {
                insert.execute(params![self.digest.as_bytes(), self.bytes as i64, self.zstd])
            })
            .map_err(sqlite("write a blob"))?;
        Ok(())
    }
}

/// Keeps the first `bytes` bytes of the file at `path`; see [`super::Store::keep_file`].
pub(super) fn keep_file(layout: &Layout, path: &Path, bytes: u64) -> Result<Blob, StoreError> {
    let err = io_error("keep the output in", path);
    let mut file = File::open(path).map_err(&err)?.take(bytes);
    if bytes <= BLOB_INLINE_BYTES_MAX as u64 {
        let mut kept = Vec::new();
        file.read_to_end(&mut kept).map_err(&err)?;
        if kept.len() as u64 != bytes {
            return Err(err(io::ErrorKind::UnexpectedEof.into()));
        }
        return Ok(Blob::Bytes { digest: Digest::of(&kept), bytes: kept });
    }
    let (digest, found) = place(layout, &mut file)?;
    if found != bytes {
        return Err(err(io::ErrorKind::UnexpectedEof.into()));
    }
    Ok(Blob::Placed { digest, bytes })
}

/// Compresses `from` into the file of its digest: whole and durable, or not there at all.
fn place(layout: &Layout, from: &mut dyn Read) -> Result<(Digest, u64), StoreError> {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let folder = layout.blobs();
    make_folder(&folder)?;
    // Neither two threads nor two processes share a name; a crash leaves at most this one file.
    let number = COUNT.fetch_add(1, Ordering::Relaxed);
    let temporary = folder.join(format!("{}-{number}.tmp", std::process::id()));
    let placed = compress_to(&temporary, from).and_then(|(digest, bytes)| {
        let path = layout.blob(&digest);
        if path.is_file() {
            let _ = fs::remove_file(&temporary);
            return Ok((digest, bytes));
        }
        let parent = path.parent().expect("a blob lies in a folder");
        if !parent.is_dir() {
            make_folder(parent)?;
            sync_folder(&folder)?;
        }
        fs::rename(&temporary, &path).map_err(io_error("put in place the blob", &path))?;
        sync_folder(parent)?;
        Ok((digest, bytes))
    });
    if placed.is_err() {
        let _ = fs::remove_file(&temporary);
    }
    placed
}

fn compress_to(path: &Path, from: &mut dyn Read) -> Result<(Digest, u64), StoreError> {
    let err = io_error("write the blob", path);
    let file = create_private(path)?;
    file.set_len(0).map_err(&err)?;
    let mut packed = zstd::stream::Encoder::new(file, LEVEL).map_err(&err)?;
    packed.window_log(BLOB_WINDOW_LOG).map_err(&err)?;
    packed.include_checksum(true).map_err(&err)?;
    let (mut hasher, mut total) = (Sha256::new(), 0);
    let mut buffer = vec![0; 64 << 10];
    loop {
        let count = match from.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => count,
            Err(found) if found.kind() == io::ErrorKind::Interrupted => continue,
            Err(found) => return Err(err(found)),
        };
        hasher.update(&buffer[..count]);
        packed.write_all(&buffer[..count]).map_err(&err)?;
        total += count as u64;
    }
    let file = packed.finish().map_err(&err)?;
    file.sync_all().map_err(&err)?;
    Ok((Digest::from_bytes(hasher.finalize().into()), total))
}

/// The bytes of a blob, as a stream that decompresses in bounded memory.
pub struct BlobReader {
    from: zstd::stream::Decoder<'static, BufReader<Box<dyn Read + Send>>>,
    left: u64,
}

impl std::fmt::Debug for BlobReader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BlobReader").field("left", &self.left).finish_non_exhaustive()
    }
}

impl BlobReader {
    /// How many bytes are still to come.
    #[must_use]
    pub fn left(&self) -> u64 {
        self.left
    }
}

/// A stream that ends early or goes on after its length was never what we stored.
impl Read for BlobReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let wanted = usize::try_from(self.left).unwrap_or(usize::MAX).min(buffer.len());
        if wanted == 0 && !buffer.is_empty() {
            return match self.from.read(&mut [0])? {
                0 => Ok(0),
                _ => Err(io::ErrorKind::InvalidData.into()),
            };
        }
        let count = self.from.read(&mut buffer[..wanted])?;
        if count == 0 && wanted > 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.left -= count as u64;
        Ok(count)
    }
}

/// Opens a blob; `None`: it is not in the table.
pub(super) fn open(
    conn: &Connection,
    layout: &Layout,
    digest: &Digest,
) -> Result<Option<BlobReader>, StoreError> {
    let sql = "SELECT bytes, zstd FROM blobs WHERE digest = ?1";
    let found: Option<(i64, Option<Vec<u8>>)> = conn
        .prepare_cached(sql)
        .and_then(|mut statement| {
            statement
                .query_row([digest.as_bytes()], |row| Ok((row.get(0)?, row.get(1)?)))
                .optional()
        })
        .map_err(sqlite("read a blob"))?;
    let Some((bytes, zstd)) = found else { return Ok(None) };
    let from: Box<dyn Read + Send> = match zstd {
        Some(zstd) => Box::new(io::Cursor::new(zstd)),
        None => match File::open(layout.blob(digest)) {
            Ok(file) => Box::new(file),
            Err(err) if err.kind() == io::ErrorKind::NotFound => {
                return Err(StoreError::BadBlob(*digest));
            }
            Err(err) => return Err(io_error("read the blob", &layout.blob(digest))(err)),
        },
    };
    let bad = |_| StoreError::BadBlob(*digest);
    let mut from = zstd::stream::Decoder::new(from).map_err(bad)?;
    from.window_log_max(BLOB_WINDOW_LOG.max(20)).map_err(bad)?;
    let left = u64::try_from(bytes).map_err(|_| StoreError::BadBlob(*digest))?;
    Ok(Some(BlobReader { from, left }))
}
