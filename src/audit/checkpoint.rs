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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::key::Vkey;
    use crate::audit::note::Disbelief;
    use crate::id::unhex;

    const ROOT_8: &str = "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328";
    const NOTE_8: &str = "example.com/rb/agent1\n8\nXcnaeacGWamtVZy3Ad7ZoqudgjqtL0lgz+Nw7/RgQyg=\n\n\u{2014} example.com/rb/agent1 Z8kLRctpWaiqxc4JTNb3GovlVdNE4T5aOncsBmS//JEizdaIvGPwr8fOVEVoGYOw41Av5INT7hyZcZgO874X3XdNhwk=\n";

    /// Goal: a head is, byte for byte, what five other implementations made and verified.
    #[test]
    fn golden_heads() {
        let seed = |first: u8| std::array::from_fn(|i| first + i as u8);
        let signer = Signer::from_seed("example.com/rb/agent1", &seed(0)).unwrap();
        let head = |size, root: &str| Checkpoint {
            origin: "example.com/rb/agent1".to_owned(),
            size,
            root: unhex(root).unwrap(),
        };
        let mut note = head(8, ROOT_8).sign(&signer);
        assert_eq!(note.to_string(), NOTE_8);
        note.add(&Signer::from_seed("example.com/rb/agent1", &seed(0x40)).unwrap());
        let second = "\u{2014} example.com/rb/agent1 +ISePh3uyX7mVcqx7W9L0VJG30qF5GMG+QFXDJnC/qGtoIQqN9cDGPmHfJiRdhyd9hFSbRaJyWEOob8zfxFlQ5bDfwo=\n";
        assert_eq!(note.to_string(), format!("{NOTE_8}{second}"));
        let six = head(6, "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef");
        assert_eq!(
            six.sign(&signer).to_string(),
            "example.com/rb/agent1\n6\nduZ9rbzfHhDht03cYIq9L5jfsW+851J3tSMqEn8gh+8=\n\n\u{2014} example.com/rb/agent1 Z8kLRRYFtjx1UGinzJwtMsMJ5/dUybaWyWHjLsGC48uzkbRzOrtkgFCZ0jNv/Nsle81cECyyWVnLZXss87oq/oNfDgg=\n"
        );
        // With a witness's line, which is of a type that we do not read.
        let witnessed = format!(
            "{NOTE_8}\u{2014} witness.example/w1 IDJKvgAAAABoTuGAPRLj+OBE0KQACqAS8z83EWGc/FVanmyU1VwEZen6kUq1nsbSCM2ntF0XZXjGSP9jCcdhp599tTitTMQRJSgnBQ==\n"
        );
        let note = Note::parse(witnessed.as_bytes()).unwrap();
        assert_eq!(note.signed_by(&[signer.vkey()]), Ok(vec![0]));
        assert_eq!(Checkpoint::parse(note.text()), Ok(head(8, ROOT_8)));
        assert_eq!(note.to_string(), witnessed);
    }

    /// Goal: real heads of a public log are believed, and one that was copied under another name
    /// is not.
    #[test]
    fn heads_of_a_public_log() {
        let key = "sum.golang.org+033de0ae+Ac4zctda0e5eza+HJyk9SxEdh+s3Ux18htTTAD8OuAn8";
        let key: Vkey = key.parse().unwrap();
        for (size, root, line) in [
            (
                35_225_469,
                "vt5T6GaLCXvyHFl9VUvvItR43XZxfLgftEcTyO3eJCQ=",
                "Az3grpukl5AXaVfYkLiDGORx/DN2nlcS5kZHR5uYOBV2KA2HgXpD+gu9HHONebHLAyaKbbTM75QTtPydhKCExixSfwQ=",
            ),
            (
                20_852_163,
                "CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=",
                "Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/Zhcyv2q1gGzGku9nTo+zyWE+xeMcTOAYQ8=",
            ),
        ] {
            let of = |origin: &str| {
                format!("{origin}\n{size}\n{root}\n\n\u{2014} sum.golang.org {line}\n")
            };
            let note = Note::parse(of("go.sum database tree").as_bytes()).unwrap();
            assert_eq!(Checkpoint::parse(note.text()).unwrap().size, size);
            assert_eq!(note.signed_by(&[&key]), Ok(vec![0]));
            let copied = Note::parse(of("example.com/behind-the-sofa").as_bytes()).unwrap();
            assert!(matches!(copied.signed_by(&[&key]), Err(Disbelief::BadSignature(_))));
        }
    }

    #[test]
    fn other_spellings_are_refused() {
        let good = "o\n8\nXcnaeacGWamtVZy3Ad7ZoqudgjqtL0lgz+Nw7/RgQyg=\n";
        assert!(Checkpoint::parse(good).is_ok());
        for bad in [
            good.replace("\n8\n", "\n08\n"),
            good.replace("\n8\n", "\n+8\n"),
            good.replace("\n8\n", "\n-8\n"),
            good.replace("\n8\n", "\n 8\n"),
            good.replace("\n8\n", "\n8 \n"),
            good.replace("\n8\n", "\n\n"),
            good.replace("\n8\n", "\n9223372036854775808\n"),
            good.replace("\n8\n", "\n99999999999999999999\n"),
            good.replace("\n8\n", "\n0x8\n"),
            good.replace("Qyg=", "Qyg"),
            good.replace("Qyg=", "Qyh="),
            good.replace("Xcna", ""),
            good.replace("o\n8", "\n8"),
            format!("\u{feff}{good}"),
            format!("{good}extension\n"),
            format!("{good}\n"),
            good.trim_end().to_owned(),
            String::new(),
        ] {
            assert!(Checkpoint::parse(&bad).is_err(), "{bad}");
        }
    }
}
