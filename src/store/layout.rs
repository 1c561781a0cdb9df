//! What lies in the state folder, under which names and modes.
//!
//! ```text
//! STATE/            0700   made by us; others may never write it
//! STATE/log.db      0600   entries, head, read tables (and log.db-wal, log.db-shm)
//! STATE/key         0600   the key that signs heads: one line, `PRIVATE+KEY+…`
//! STATE/key.next    0600   a new one, until its rotation is committed
//! STATE/lock        0600   held while a store is created
//! STATE/reserve     0600   room to record ends when the disk is full
//! STATE/blobs/ab/   0700   outputs by digest, compressed
//! STATE/runs/ID/    0700   scratch of a run that is under way
//! ```

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{ErrorKind, Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, flock};
use zeroize::Zeroizing;

use super::error::{StoreError, io};
use crate::audit::key::{Signer, Vkey, local_origin};
use crate::id::{Digest, RunId};
use crate::limits::{RESERVE_BYTES, STORE_LOCK_WAIT};

/// A key file: longer is none.
const KEY_BYTES_MAX: u64 = 1_024;

/// Paths of a state folder.
#[derive(Clone, Debug)]
pub struct Layout {
    root: PathBuf,
}

impl Layout {
    /// Of the folder `root`; touches nothing.
    #[must_use]
    pub fn new(root: &Path) -> Layout {
        Layout { root: root.to_owned() }
    }

    /// The state folder.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The database.
    #[must_use]
    pub fn database(&self) -> PathBuf {
        self.root.join("log.db")
    }

    /// The signing key.
    #[must_use]
    pub fn key(&self) -> PathBuf {
        self.root.join("key")
    }

    /// The key that takes over when its rotation is committed.
    pub(super) fn next_key(&self) -> PathBuf {
        self.root.join("key.next")
    }

    fn lock(&self) -> PathBuf {
        self.root.join("lock")
    }

    fn reserve(&self) -> PathBuf {
        self.root.join("reserve")
    }

    /// Folder of the outputs.
    #[must_use]
    pub fn blobs(&self) -> PathBuf {
        self.root.join("blobs")
    }

    /// Where a large blob lies.
    #[must_use]
    pub fn blob(&self, digest: &Digest) -> PathBuf {
        let hex = digest.hex();
        self.blobs().join(&hex[..2]).join(format!("{hex}.zst"))
    }

    /// Scratch folder of a run. Who uses it makes it ([`make_folder`]) and removes it.
    #[must_use]
    pub fn run_scratch(&self, run: RunId) -> PathBuf {
        self.root.join("runs").join(run.to_string())
    }

    /// Makes the folder if it is not there, and refuses one that others may write.
    pub(super) fn prepare(&self) -> Result<(), StoreError> {
        match fs::metadata(&self.root) {
            Ok(found) if !found.is_dir() => Err(io("open the state folder", &self.root)(
                std::io::Error::from(ErrorKind::NotADirectory),
            )),
            Ok(found) if found.mode() & 0o022 != 0 => Err(StoreError::WrongMode {
                path: self.root.clone(),
                mode: found.mode() & 0o7777,
                what: "write",
                fix: "go-w",
            }),
            Ok(_) => Ok(()),
            Err(err) if err.kind() == ErrorKind::NotFound => {
                make_folder(&self.root)?;
                let parent = self.root.parent().filter(|parent| *parent != Path::new(""));
                sync_folder(parent.unwrap_or(Path::new(".")))
            }
            Err(err) => Err(io("open the state folder", &self.root)(err)),
        }
    }

    /// Holds the lock under which a store is created, until the file is dropped.
    pub(super) fn lock_creation(&self) -> Result<File, StoreError> {
        let path = self.lock();
        let file = create_private(&path)?;
        let start = Instant::now();
        loop {
            match flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => return Ok(file),
                Err(rustix::io::Errno::WOULDBLOCK | rustix::io::Errno::INTR) => {}
                Err(err) => return Err(io("lock the state folder", &path)(err.into())),
            }
            if start.elapsed() > STORE_LOCK_WAIT {
                return Err(StoreError::Locked("create the store"));
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// Reads the signing key; `None`: there is none.
    pub(super) fn read_key(&self) -> Result<Option<Signer>, StoreError> {
        read_key_at(&self.key())
    }

    /// The private half of `key`, which the log has in use: where a rotation was cut off after its
    /// commit, it is still under the name of the next one, and gets its own here.
    pub(super) fn read_signer(&self, key: &Vkey) -> Result<Signer, StoreError> {
        let found = self.read_key()?;
        let why = match found {
            Some(signer) if signer.vkey() == key => return Ok(signer),
            Some(_) => StoreError::BadKey { path: self.key(), why: "is not the log's" },
            None => StoreError::KeyMissing(self.key()),
        };
        match read_key_at(&self.next_key())? {
            Some(signer) if signer.vkey() == key => {
                self.promote_next_key()?;
                Ok(signer)
            }
            _ => Err(why),
        }
    }

    /// Gives the next key the name of the key; another process may have done it.
    pub(super) fn promote_next_key(&self) -> Result<(), StoreError> {
        match fs::rename(self.next_key(), self.key()) {
            Err(err) if err.kind() != ErrorKind::NotFound => {
                Err(io("put the new key in place of", &self.key())(err))
            }
            _ => sync_folder(&self.root),
        }
    }

    /// A new key of the log `origin`, durably, beside the one in use.
    pub(super) fn make_next_key(&self, origin: &str) -> Result<Signer, StoreError> {
        let path = self.next_key();
        let signer = Signer::from_seed(origin, &*draw_seed()?)
            .map_err(|_| StoreError::BadKey { path: path.clone(), why: "has a bad origin" })?;
        self.write_key(&signer, &path)?;
        Ok(signer)
    }

    /// Makes the signing key, durably. Without `origin`, it signs under a name made of the host's
    /// and the key's.
    pub(super) fn make_key(&self, origin: Option<&str>) -> Result<Signer, StoreError> {
        let seed = draw_seed()?;
        let host = rustix::system::uname();
        let host = host.nodename().to_string_lossy();
        let local = local_origin(&host, &seed);
        let path = self.key();
        let signer = Signer::from_seed(origin.unwrap_or(&local), &seed)
            .map_err(|_| StoreError::BadKey { path: path.clone(), why: "has a bad origin" })?;
        self.write_key(&signer, &path)?;
        Ok(signer)
    }

    /// Writes a key so that it is there whole or not at all.
    pub(super) fn write_key(&self, signer: &Signer, path: &Path) -> Result<(), StoreError> {
        let err = io("write the key", path);
        let temporary = self.root.join("key.tmp");
        match fs::remove_file(&temporary) {
            Err(found) if found.kind() != ErrorKind::NotFound => return Err(err(found)),
            _ => {}
        }
        let mut file = create_private(&temporary)?;
        let line = Zeroizing::new(format!("{}\n", *signer.to_skey()));
        file.write_all(line.as_bytes()).and_then(|()| file.sync_all()).map_err(&err)?;
        fs::rename(&temporary, path).map_err(&err)?;
        sync_folder(&self.root)
    }

    /// Makes sure that the reserve is there. That it cannot be made is no error: the disk may be
    /// full already.
    pub(super) fn fill_reserve(&self) -> bool {
        let path = self.reserve();
        if fs::metadata(&path).is_ok_and(|found| found.len() == RESERVE_BYTES) {
            return true;
        }
        let Ok(mut file) = create_private(&path) else { return false };
        let mode = rustix::fs::FallocateFlags::empty();
        let filled = match rustix::fs::fallocate(&file, mode, 0, RESERVE_BYTES) {
            // Where room cannot be set aside unwritten, what is written takes it.
            Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::NOSYS) => {
                let zeros = std::io::repeat(0).take(RESERVE_BYTES);
                std::io::copy(&mut { zeros }, &mut file).is_ok()
            }
            filled => filled.is_ok(),
        };
        if !filled {
            let _ = fs::remove_file(&path);
        }
        filled
    }

    /// Gives the reserve back to the disk.
    pub(super) fn release_reserve(&self) {
        // Nothing depends on it: if the room was not won, the next write says so.
        let _ = fs::remove_file(self.reserve());
    }
}

fn draw_seed() -> Result<Zeroizing<[u8; 32]>, StoreError> {
    let mut seed = Zeroizing::new([0; 32]);
    getrandom::fill(&mut *seed).map_err(|err| StoreError::Io {
        doing: "draw a key".to_owned(),
        source: std::sync::Arc::new(err),
    })?;
    Ok(seed)
}

/// Reads a key file and refuses one that others may read.
pub(super) fn read_key_at(path: &Path) -> Result<Option<Signer>, StoreError> {
    let err = io("read the key", path);
    let file = match File::open(path) {
        Ok(file) => file,
        Err(found) if found.kind() == ErrorKind::NotFound => return Ok(None),
        Err(found) => return Err(err(found)),
    };
    let mode = file.metadata().map_err(&err)?.mode() & 0o7777;
    if mode & 0o077 != 0 {
        let path = path.to_owned();
        return Err(StoreError::WrongMode { path, mode, what: "read", fix: "600" });
    }
    let mut text = Zeroizing::new(String::new());
    let bad = |why| StoreError::BadKey { path: path.to_owned(), why };
    match file.take(KEY_BYTES_MAX).read_to_string(&mut text) {
        Ok(_) => {}
        Err(found) if found.kind() == ErrorKind::InvalidData => return Err(bad("is no key")),
        Err(found) => return Err(err(found)),
    }
    Signer::from_skey(text.trim_end_matches('\n')).map(Some).map_err(|_| bad("is no key"))
}

/// Makes `path` and its parents, each 0700 whatever the umask.
///
/// # Errors
///
/// As any write to the state folder.
pub fn make_folder(path: &Path) -> Result<(), StoreError> {
    let err = io("make the folder", path);
    if path.is_dir() {
        return Ok(());
    }
    if let Some(parent) = path.parent().filter(|parent| *parent != Path::new("")) {
        make_folder(parent)?;
    }
    match DirBuilder::new().mode(0o700).create(path) {
        Ok(()) => fs::set_permissions(path, Permissions::from_mode(0o700)).map_err(err),
        // Another process was faster.
        Err(found) if found.kind() == ErrorKind::AlreadyExists && path.is_dir() => Ok(()),
        Err(found) => Err(err(found)),
    }
}

/// Opens a file of ours for writing, made 0600 whatever the umask; what is in it stays.
pub(super) fn create_private(path: &Path) -> Result<File, StoreError> {
    let err = io("create the file", path);
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)
        .map_err(&err)?;
    if file.metadata().map_err(&err)?.mode() & 0o7777 != 0o600 {
        file.set_permissions(Permissions::from_mode(0o600)).map_err(&err)?;
    }
    Ok(file)
}

/// Makes names in a folder durable.
pub(super) fn sync_folder(path: &Path) -> Result<(), StoreError> {
    File::open(path).and_then(|folder| folder.sync_all()).map_err(io("sync the folder", path))
}
