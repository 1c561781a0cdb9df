//! C2SP signed notes: a text and signature lines beneath it. The reader is strict, because what
//! two readers understand differently can be shown to one and signed for the other.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::key::{Signer, Vkey};

/// A whole note. Bytes (the format's own bound is 1 MB; a checkpoint with 16 witnesses has 3 KiB).
pub const NOTE_BYTES_MAX: usize = 64 << 10;
/// Signature lines of one note (as Go's `sumdb/note` has it).
pub const SIGNATURES_MAX: usize = 100;

const DASH: &str = "\u{2014} ";

/// One signature line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signature {
    /// The key's name.
    pub name: String,
    /// First four bytes of the hash of name, type and key.
    pub key_id: [u8; 4],
    /// What follows the key's id: for Ed25519 the 64 bytes of the signature.
    pub bytes: Vec<u8>,
}

/// A text and its signatures.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    text: String,
    signatures: Vec<Signature>,
}

/// Why bytes are not a note.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("read a signed note: {0}")]
pub struct NotANote(pub &'static str);

/// Why a note is not to be believed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Disbelief {
    /// No line is by a key that we know.
    #[error("no signature of the note is by a known key")]
    UnknownKey,
    /// A line names a known key, whose signature it is not: then the whole note is refused, since
    /// somebody worked on it.
    #[error("the signature by `{0}` does not fit the note")]
    BadSignature(String),
}

impl Note {
    /// A note with one line, by `signer`. `text` ends in a line feed.
    #[must_use]
    pub fn sign(text: String, signer: &Signer) -> Note {
        assert!(text.ends_with('\n'), "the text of a note ends in a line feed");
        let mut note = Note { text, signatures: Vec::new() };
        note.add(signer);
        note
    }

    /// Adds a line by `signer`.
    pub fn add(&mut self, signer: &Signer) {
        self.signatures.push(Signature {
            name: signer.vkey().name().to_owned(),
            key_id: signer.vkey().key_id(),
            bytes: signer.sign(self.text.as_bytes()).to_vec(),
        });
    }

    /// Reads a note.
    ///
    /// # Errors
    ///
    /// [`NotANote`] for anything but the one way in which a note is written.
    pub fn parse(bytes: &[u8]) -> Result<Note, NotANote> {
        if bytes.len() > NOTE_BYTES_MAX {
            return Err(NotANote("it is longer than 64 KiB"));
        }
        let whole = str::from_utf8(bytes).map_err(|_| NotANote("it is not UTF-8"))?;
        if whole.bytes().any(|byte| byte < 0x20 && byte != b'\n') {
            return Err(NotANote("it has a control character"));
        }
        // Signature lines cannot be empty, so the last empty line is where the text ends.
        let split = whole.rfind("\n\n").ok_or(NotANote("it has no signatures"))?;
        let (text, lines) = (&whole[..=split], &whole[split + 2..]);
        let lines = lines.strip_suffix('\n').ok_or(NotANote("its last line has no end"))?;
        let signatures: Vec<Signature> =
            lines.split('\n').take(SIGNATURES_MAX + 1).map(signature).collect::<Result<_, _>>()?;
        if signatures.len() > SIGNATURES_MAX {
            return Err(NotANote("it has more than 100 signatures"));
        }
        Ok(Note { text: text.to_owned(), signatures })
    }

    /// What is signed; ends in a line feed.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The signature lines, whoever they claim to be by.
    #[must_use]
    pub fn signatures(&self) -> &[Signature] {
        &self.signatures
    }

    /// Which of `keys` have signed, as indices without repetition.
    ///
    /// # Errors
    ///
    /// [`Disbelief`]: none has, or a line that names one of them does not verify.
    pub fn signed_by(&self, keys: &[&Vkey]) -> Result<Vec<usize>, Disbelief> {
        let mut signed = Vec::new();
        for line in &self.signatures {
            let is_named = |key: &&Vkey| key.name() == line.name && key.key_id() == line.key_id;
            let Some(index) = keys.iter().position(is_named) else { continue };
            if !keys[index].verifies(self.text.as_bytes(), &line.bytes) {
                return Err(Disbelief::BadSignature(line.name.clone()));
            }
            if !signed.contains(&index) {
                signed.push(index);
            }
        }
        if signed.is_empty() { Err(Disbelief::UnknownKey) } else { Ok(signed) }
    }
}

impl std::fmt::Display for Note {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(f, "{}", self.text)?;
        for line in &self.signatures {
            let body = [&line.key_id[..], &line.bytes].concat();
            writeln!(f, "{DASH}{} {}", line.name, STANDARD.encode(body))?;
        }
        Ok(())
    }
}

fn signature(line: &str) -> Result<Signature, NotANote> {
    let rest = line.strip_prefix(DASH).ok_or(NotANote("a signature line has no em dash"))?;
    let (name, body) = rest.split_once(' ').ok_or(NotANote("a signature line has no name"))?;
    if !is_key_name(name) {
        return Err(NotANote("a signature line has a bad name"));
    }
    // The engine refuses missing padding and stray bits, so each line has one spelling.
    let body = STANDARD.decode(body).map_err(|_| NotANote("a signature is not base64"))?;
    let (key_id, bytes) =
        body.split_first_chunk::<4>().ok_or(NotANote("a signature is too short"))?;
    if bytes.is_empty() {
        return Err(NotANote("a signature is too short"));
    }
    Ok(Signature { name: name.to_owned(), key_id: *key_id, bytes: bytes.to_vec() })
}

/// A key's name, which in a log is its origin: not empty, no white space, no `+`.
#[must_use]
pub fn is_key_name(name: &str) -> bool {
    !name.is_empty() && !name.contains(|c: char| c.is_whitespace() || c == '+' || c.is_control())
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k";
    const NOTE: &str = "This is an example message.\n\n\u{2014} example.com/foo Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2ONncAlTgK7Ztg1ERYNZXsYjOBH3mFXmRKuwHjG1Yu72IneyaQM=\n";

    /// Goal: the notes that the format's authors published are read, believed and written again.
    #[test]
    fn published_notes_are_believed() {
        let note = Note::parse(NOTE.as_bytes()).unwrap();
        let key: Vkey = KEY.parse().unwrap();
        assert_eq!(note.signed_by(&[&key]), Ok(vec![0]));
        assert_eq!((note.to_string(), key.to_string()), (NOTE.to_owned(), KEY.to_owned()));

        let two = "If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n\n\u{2014} PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n\u{2014} EnochRoot rwz+eBzmZa0SO3NbfRGzPCpDckykFXSdeX+MNtCOXm2/5n2tiOHp+vAF1aGrQ5ovTG01oOTGwnWLox33WWd1RvMc+QQ=\n";
        let note = Note::parse(two.as_bytes()).unwrap();
        let peter: Vkey =
            "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW".parse().unwrap();
        let enoch: Vkey =
            "EnochRoot+af0cfe78+ATtqJ7zOtqQtYqOo0CpvDXNlMhV3HeJDpjrASKGLWdop".parse().unwrap();
        assert_eq!(note.signed_by(&[&enoch, &peter]), Ok(vec![1, 0]));
        // The published private key makes the published line.
        let skey = "PRIVATE+KEY+PeterNeumann+c74f20a3+AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz";
        let signer = Signer::from_skey(skey).unwrap();
        assert_eq!(*signer.to_skey(), *skey);
        let again = Note::sign(note.text().to_owned(), &signer);
        assert_eq!(again.signatures()[0], note.signatures()[0]);
    }

    /// Goal: a broken line by a known key condemns the note, whatever else is signed; a line by
    /// somebody unknown is no matter.
    #[test]
    fn a_broken_line_of_a_known_key_condemns_the_note() {
        let key: Vkey = KEY.parse().unwrap();
        let other = Signer::from_seed("example.com/foo", &[9; 32]).unwrap();
        let mut note = Note::parse(NOTE.as_bytes()).unwrap();
        for _ in 0..16 {
            note.add(&other);
        }
        let read = Note::parse(note.to_string().as_bytes()).unwrap();
        assert_eq!(read.signed_by(&[&key]), Ok(vec![0]));
        let mut broken = read.clone();
        broken.signatures[0].bytes[5] ^= 1;
        assert_eq!(
            broken.signed_by(&[&key, other.vkey()]),
            Err(Disbelief::BadSignature("example.com/foo".to_owned()))
        );
        let changed = Note { text: "This is another message.\n".to_owned(), ..read.clone() };
        assert!(matches!(changed.signed_by(&[&key]), Err(Disbelief::BadSignature(_))));
        let stranger = Signer::from_seed("example.com/bar", &[9; 32]).unwrap();
        assert_eq!(read.signed_by(&[stranger.vkey()]), Err(Disbelief::UnknownKey));
        assert_eq!(read.signed_by(&[]), Err(Disbelief::UnknownKey));
    }

    /// Goal: a note has one spelling; every other is refused.
    #[test]
    fn other_spellings_are_refused() {
        let line = NOTE.split("\n\n").nth(1).unwrap();
        let bad = [
            String::new(),
            "\n".to_owned(),
            NOTE.trim_end().to_owned(),
            NOTE.replace('\n', "\r\n"),
            NOTE.replace("This is", "This\tis"),
            NOTE.replace('\u{2014}', "-"),
            NOTE.replace("\u{2014} ", "\u{2014}"),
            NOTE.replace("QM=\n", "QM\n"),
            NOTE.replace("QM=\n", "QN=\n"),
            NOTE.replace("QM=\n", "QM= \n"),
            NOTE.replace("QM=\n", "QM==\n"),
            NOTE.replace("example.com/foo ", "example.com/foo+x "),
            NOTE.replace("example.com/foo ", " "),
            NOTE.replace("Uw2QOkn8", "Uw2QOkn8\u{0}"),
            "text\n\n\u{2014} name AAAA\n".to_owned(),
            "text\n\n\u{2014} name AAAAAA==\n".to_owned(),
            format!("{NOTE}\n"),
            format!("{NOTE}trailing"),
            format!("text\n\n{}", line.repeat(101)),
            format!("{}\n{NOTE}", "x".repeat(NOTE_BYTES_MAX)),
        ];
        for text in bad {
            assert!(Note::parse(text.as_bytes()).is_err(), "{}", &text[..text.len().min(300)]);
        }
        assert!(Note::parse(b"\xff\n\n").is_err());
        assert!(Note::parse(format!("text\n\n{}", line.repeat(100)).as_bytes()).is_ok());
    }
}
