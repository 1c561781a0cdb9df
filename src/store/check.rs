//! Verifies a whole store: its entries by [`crate::audit::verify`], what they name by digest.

use std::io::Read as _;

use sha2::{Digest as _, Sha256};

use super::error::{StoreError, sqlite};
use super::log;
use super::read::Reader;
use crate::audit::verify::{Code, Failure, Report, Trust, Verifier, failure};
use crate::id::Digest;

/// Why a log was not verified.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// It is not what was signed.
    #[error(transparent)]
    Tampered(Failure),
    /// It could not be read.
    #[error("verify the log")]
    Unreadable(#[source] StoreError),
}

impl From<Failure> for VerifyError {
    fn from(failure: Failure) -> VerifyError {
        VerifyError::Tampered(failure)
    }
}

impl From<StoreError> for VerifyError {
    fn from(err: StoreError) -> VerifyError {
        match err {
            StoreError::Tampered(failure) => VerifyError::Tampered(failure),
            err => VerifyError::Unreadable(err),
        }
    }
}

impl Reader {
    /// Verifies the whole log and everything that its entries name, in bounded memory and as of
    /// one moment. Writes nothing.
    ///
    /// # Errors
    ///
    /// [`VerifyError`].
    pub fn verify(&self, trust: Trust) -> Result<Report, VerifyError> {
        let err = sqlite("verify the log");
        let moment = self.conn().unchecked_transaction().map_err(&err)?;
        let mut notes = self.boundaries()?;
        let head = log::head(&moment)?;
        notes.extend(head.as_ref().map(|(_, _, note)| note.clone()));
        let mut verifier = Verifier::new(trust, notes.iter().map(|note| note.as_bytes()))?;
        let mut bad_blob: Option<Failure> = None;
        {
            let sql = "SELECT seq, bytes, leaf FROM entries ORDER BY seq";
            let mut statement = moment.prepare(sql).map_err(&err)?;
            let mut rows = statement.query([]).map_err(&err)?;
            while let Some(row) = rows.next().map_err(&err)? {
                let (seq, bytes, leaf) = log::stored(row).map_err(&err)?;
                verifier.entry(seq, bytes, Some(leaf))?;
                for digest in verifier.blobs() {
                    if bad_blob.is_none() && !self.is_whole(digest)? {
                        let what = format!("blob `{digest}` is missing or spoilt");
                        bad_blob = Some(failure(Code::Blob, Some(seq), what));
                    }
                }
            }
        }
        // What the head proves comes before what stands beside the log.
        let report = verifier.finish()?;
        // What is quoted in tickets as size and root is read from beside the note.
        if head.is_some_and(|(size, root, _)| (size, root) != (report.size, report.root)) {
            let what = "size and root beside the head's note are not those that it signs";
            return Err(failure(Code::Root, None, what).into());
        }
        bad_blob.map_or(Ok(report), |failure| Err(failure.into()))
    }

    /// Whether a blob is there and is what its digest says.
    fn is_whole(&self, digest: &Digest) -> Result<bool, StoreError> {
        let mut blob = match self.blob(digest) {
            Ok(Some(blob)) => blob,
            Ok(None) | Err(StoreError::BadBlob(_)) => return Ok(false),
            Err(err) => return Err(err),
        };
        let mut hasher = Sha256::new();
        let mut buffer = vec![0; 64 << 10];
        loop {
            match blob.read(&mut buffer) {
                Ok(0) => break,
                Ok(count) => hasher.update(&buffer[..count]),
                Err(_) => return Ok(false),
            }
        }
        Ok(blob.left() == 0 && Digest::from_bytes(hasher.finalize().into()) == *digest)
    }
}
