//! The head of a log: C2SP `tlog-checkpoint`, a signed note of exactly three lines. No extension
//! lines: nothing that a witness would sign unread.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::key::Signer;
use super::note::{NotANote, Note};
use super::tree::Hash;

/// What a head says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// Which log.
    pub origin: String,
    /// Number of entries.
    pub size: u64,
    /// Root of their tree.
    pub root: Hash,
}

impl Checkpoint {
    /// The three lines that are signed.
    #[must_use]
    pub fn text(&self) -> String {
        format!("{}\n{}\n{}\n", self.origin, self.size, STANDARD.encode(self.root))
    }

    /// The signed note.
    #[must_use]
    pub fn sign(&self, signer: &Signer) -> Note {
        Note::sign(self.text(), signer)
    }

    /// Reads the text of a note.
    ///
    /// # Errors
    ///
    /// [`NotANote`] for anything but the one way in which these three lines are written.
    pub fn parse(text: &str) -> Result<Checkpoint, NotANote> {
        let body = text.strip_suffix('\n').ok_or(NotANote("its text has no end"))?;
        let lines: Vec<&str> = body.splitn(4, '\n').collect();
        let &[origin, size, root] = &lines[..] else {
            return Err(NotANote("a checkpoint has three lines"));
        };
        // Others' origins may have spaces; ours never do.
        if origin.is_empty() || origin.starts_with('\u{feff}') {
            return Err(NotANote("its origin is empty or has a byte order mark"));
        }
        let is_decimal = size.bytes().all(|byte| byte.is_ascii_digit());
        if !is_decimal || (size.starts_with('0') && size != "0") {
            return Err(NotANote("its size is not a decimal number"));
        }
        let size: u64 = size.parse().map_err(|_| NotANote("its size is not a number"))?;
        if size > i64::MAX as u64 {
            return Err(NotANote("its size is beyond 2^63 - 1"));
        }
        let root = STANDARD.decode(root).map_err(|_| NotANote("its root is not base64"))?;
        let root = root.try_into().map_err(|_| NotANote("its root is not 32 bytes"))?;
        Ok(Checkpoint { origin: origin.to_owned(), size, root })
    }
}
