//! Ed25519 keys of signed notes, in the spellings of C2SP (`vkey`) and of Go's `sumdb/note`
//! (`PRIVATE+KEY+…`).

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::{Signer as _, SigningKey, VerifyingKey};
use sha2::{Digest as _, Sha256};
use zeroize::{Zeroize as _, Zeroizing};

use super::note::is_key_name;
use crate::id::hex;

/// Note signature type of a plain Ed25519 signature over the note's text.
const ED25519: u8 = 0x01;
const SKEY_PREFIX: &str = "PRIVATE+KEY+";

/// The public half, with the name under which it signs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vkey {
    name: String,
    key: VerifyingKey,
    key_id: [u8; 4],
}

/// The text is not a key of the expected spelling.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("read a key: {0}")]
pub struct NotAKey(&'static str);

impl Vkey {
    /// The name; for a log its origin.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// First four bytes of `SHA-256(name ‖ 0A ‖ type ‖ key)`: a hint, never a proof.
    #[must_use]
    pub fn key_id(&self) -> [u8; 4] {
        self.key_id
    }

    /// The 32 bytes of the public key.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 32] {
        self.key.as_bytes()
    }

    /// Whether `signature` is by this key over `message`. Strict: a signature has one spelling and
    /// a key of small order signs nothing.
    #[must_use]
    pub fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        ed25519_dalek::Signature::from_slice(signature)
            .is_ok_and(|signature| self.key.verify_strict(message, &signature).is_ok())
    }
}

impl fmt::Display for Vkey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let body = [&[ED25519], &self.key.as_bytes()[..]].concat();
        write!(f, "{}+{}+{}", self.name, hex(&self.key_id), STANDARD.encode(body))
    }
}

impl FromStr for Vkey {
    type Err = NotAKey;

    fn from_str(text: &str) -> Result<Vkey, NotAKey> {
        let (name, id, body) = split(text)?;
        if body[0] != ED25519 {
            return Err(NotAKey("its type is not Ed25519"));
        }
        let bytes: &[u8; 32] = body[1..].try_into().map_err(|_| NotAKey("it is not 32 bytes"))?;
        let key = VerifyingKey::from_bytes(bytes).map_err(|_| NotAKey("it is not on the curve"))?;
        if key.is_weak() {
            return Err(NotAKey("it has a small order, so anything would verify"));
        }
        let key_id = key_id(name, bytes);
        if hex(&key_id) != id {
            return Err(NotAKey("its id does not belong to it"));
        }
        Ok(Vkey { name: name.to_owned(), key, key_id })
    }
}

/// The private half. No `Debug` of the seed, no `Clone`; its memory is cleared when dropped.
pub struct Signer {
    key: SigningKey,
    vkey: Vkey,
}

impl Signer {
    /// From 32 bytes that somebody else drew at random.
    ///
    /// # Errors
    ///
    /// [`NotAKey`]: `name` is empty or has white space or `+`.
    pub fn from_seed(name: &str, seed: &[u8; 32]) -> Result<Signer, NotAKey> {
        if !is_key_name(name) {
            return Err(NotAKey("its name is empty or has white space or `+`"));
        }
        let key = SigningKey::from_bytes(seed);
        let public = key.verifying_key();
        let key_id = key_id(name, public.as_bytes());
        Ok(Signer { key, vkey: Vkey { name: name.to_owned(), key: public, key_id } })
    }

    /// From the line that [`Signer::to_skey`] wrote.
    ///
    /// # Errors
    ///
    /// [`NotAKey`]; the text is in no message.
    pub fn from_skey(text: &str) -> Result<Signer, NotAKey> {
        let rest = text.strip_prefix(SKEY_PREFIX).ok_or(NotAKey("it is no private key"))?;
        let (name, id, mut body) = split(rest)?;
        let seed = Zeroizing::new(<[u8; 32]>::try_from(&body[1..]).unwrap_or_default());
        let is_ours = body[0] == ED25519 && body.len() == 33;
        body.zeroize();
        if !is_ours {
            return Err(NotAKey("it is not an Ed25519 seed"));
        }
        let signer = Signer::from_seed(name, &seed)?;
        if hex(&signer.vkey.key_id) != id {
            return Err(NotAKey("its id does not belong to it"));
        }
        Ok(signer)
    }

    /// `PRIVATE+KEY+<name>+<id>+<base64(type ‖ seed)>`, without a line feed.
    #[must_use]
    pub fn to_skey(&self) -> Zeroizing<String> {
        let body = Zeroizing::new([&[ED25519], &self.key.as_bytes()[..]].concat());
        let seed = Zeroizing::new(STANDARD.encode(&*body));
        let (name, id) = (&self.vkey.name, hex(&self.vkey.key_id));
        Zeroizing::new(format!("{SKEY_PREFIX}{name}+{id}+{}", *seed))
    }

    /// The public half.
    #[must_use]
    pub fn vkey(&self) -> &Vkey {
        &self.vkey
    }

    /// Signs `message`.
    #[must_use]
    pub fn sign(&self, message: &[u8]) -> [u8; 64] {
        self.key.sign(message).to_bytes()
    }
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Signer({})", self.vkey)
    }
}

/// The origin of a log that no configuration names: `runwarden.dev/local/<host>-<8 hex>`, where
/// the digits are the key's id under the name without them (its id under the whole name cannot be
/// a part of that name). What is no letter, digit, dot, dash or underscore in `host` becomes `-`.
#[must_use]
pub fn local_origin(host: &str, seed: &[u8; 32]) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() || ".-_".contains(c) { c } else { '-' };
    let mut host: String = host.chars().take(64).map(plain).collect();
    if host.is_empty() {
        host.push_str("host");
    }
    let base = format!("runwarden.dev/local/{host}");
    let public = SigningKey::from_bytes(seed).verifying_key();
    let id = hex(&key_id(&base, public.as_bytes()));
    format!("{base}-{id}")
}

fn key_id(name: &str, public: &[u8; 32]) -> [u8; 4] {
    let mut hasher = Sha256::new();
    hasher.update(name);
    hasher.update([b'\n', ED25519]);
    hasher.update(public);
    let hash: [u8; 32] = hasher.finalize().into();
    [hash[0], hash[1], hash[2], hash[3]]
}

/// `name+id+base64` in its parts; the last has at least one byte.
fn split(text: &str) -> Result<(&str, &str, Vec<u8>), NotAKey> {
    let shape = NotAKey("it is not `name+id+base64`");
    let (name, rest) = text.split_once('+').ok_or(shape)?;
    let (id, body) = rest.split_once('+').ok_or(shape)?;
    let body = STANDARD.decode(body).map_err(|_| shape)?;
    if !is_key_name(name) || body.is_empty() {
        return Err(shape);
    }
    Ok((name, id, body))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seed(first: u8) -> [u8; 32] {
        std::array::from_fn(|i| first + i as u8)
    }

    /// Goal: keys are spelled as others spell them.
    #[test]
    fn golden_keys() {
        let name = "example.com/rb/agent1";
        let signer = Signer::from_seed(name, &seed(0)).unwrap();
        assert_eq!(
            *signer.to_skey(),
            "PRIVATE+KEY+example.com/rb/agent1+67c90b45+AQABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f"
        );
        let vkey = "example.com/rb/agent1+67c90b45+AQOhB7/zzhC+HXDdGOdLwJln5NYwm6UNXx3chmQSVTG4";
        assert_eq!(signer.vkey().to_string(), vkey);
        assert_eq!(vkey.parse(), Ok(signer.vkey().clone()));
        let next = Signer::from_seed(name, &seed(0x40)).unwrap();
        assert_eq!(
            next.vkey().to_string(),
            "example.com/rb/agent1+f8849e3e+ASVDuS/xCVURR2rcg2nbbdyTNmWhGXjdoUBO4QZsqVWd"
        );
        assert_eq!(Signer::from_skey(&signer.to_skey()).unwrap().vkey(), signer.vkey());
        assert!(!format!("{signer:?}").contains("AQABAgME"));
    }

    #[test]
    fn what_is_no_key_is_refused() {
        let good = Signer::from_seed("example.com/a", &seed(0)).unwrap().vkey().to_string();
        let spell = |body: &[u8]| {
            let id = <[u8; 32]>::try_from(&body[1..]).map(|key| key_id("n", &key));
            format!("n+{}+{}", hex(&id.unwrap_or_default()), STANDARD.encode(body))
        };
        let mut identity = [0; 33]; // The neutral element: it signs anything.
        (identity[0], identity[1]) = (ED25519, 1);
        let bad = [
            String::new(),
            "n".to_owned(),
            "n+00000000".to_owned(),
            good.replace("example.com/a", "example.com/b"),
            good.replace("example.com/a", ""),
            good.replace("example.com/a", "example.com /a"),
            good.to_uppercase(),
            good[..good.len() - 4].to_owned(),
            format!("{good}AAAA"),
            spell(&identity),
            spell(&[[4].as_slice(), &seed(0)].concat()),
            "n+00000000+".to_owned(),
        ];
        for text in bad {
            assert!(text.parse::<Vkey>().is_err(), "{text}");
        }
        for text in ["", "PRIVATE+KEY+", "PRIVATE+KEY+n+00000000+AQ==", "n+1+AQ==", "\u{2014}"] {
            assert!(Signer::from_skey(text).is_err(), "{text}");
        }
        assert!(Signer::from_seed("a b", &seed(0)).is_err());
        assert!(Signer::from_seed("", &seed(0)).is_err());
    }

    /// Goal: a signature has one spelling: adding the group's order to S makes another, which is
    /// refused.
    #[test]
    fn a_signature_has_one_spelling() {
        const ORDER: [u8; 32] = [
            0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9,
            0xde, 0x14, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10,
        ];
        let signer = Signer::from_seed("n", &seed(0)).unwrap();
        let mut signature = signer.sign(b"message");
        assert!(signer.vkey().verifies(b"message", &signature));
        assert!(!signer.vkey().verifies(b"other", &signature));
        assert!(!signer.vkey().verifies(b"message", &signature[..63]));
        let mut carry = 0;
        for (byte, order) in signature[32..].iter_mut().zip(ORDER) {
            let sum = u16::from(*byte) + u16::from(order) + carry;
            *byte = sum as u8;
            carry = sum >> 8;
        }
        assert!(!signer.vkey().verifies(b"message", &signature));
    }

    #[test]
    fn an_origin_can_be_a_name_of_a_key_whatever_the_host_is_called() {
        for host in ["web-1", "", "we b+1\n", "höst", &"x".repeat(300), "../.."] {
            let origin = local_origin(host, &seed(0));
            assert!(origin.starts_with("runwarden.dev/local/"), "{origin}");
            assert!(origin.len() < 100);
            assert!(Signer::from_seed(&origin, &seed(0)).is_ok(), "{origin}");
        }
        assert_ne!(local_origin("web-1", &seed(0)), local_origin("web-1", &seed(1)));
    }
}
