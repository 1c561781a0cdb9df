//! The bytes of one entry: a canonical JSON object, hashed as it is stored.

use serde_json::{Map, Value};

use super::jcs::{self, BigIntegers};
use super::scan;
use super::tree::Hash;
use crate::id::{RunId, hex, unhex};
use crate::limits::ENTRY_BYTES_MAX;
use crate::run::event::Event;
use crate::time::Timestamp;

/// The format's version, in every entry.
pub const VERSION: u64 = 1;

/// Keys that the log itself writes; a fact has none of them.
const OWN_KEYS: [&str; 5] = ["v", "seq", "prev", "time", "run"];

/// Where an entry stands.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    /// Its number, from 0.
    pub seq: u64,
    /// Leaf hash of the entry before; zeros for the first.
    pub prev: Hash,
    /// When the fact was recorded.
    pub time: Timestamp,
    /// Whose fact it is; `None`: the log's own.
    pub run: Option<RunId>,
}

/// Why a fact cannot become an entry.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotAFact {
    /// `type` is missing, empty or no string.
    #[error("write an entry: the fact has no `type`")]
    NoType,
    /// A key of the fact is one that the log itself writes.
    #[error("write an entry: the fact has a key `{0}` of its own")]
    OwnKey(&'static str),
    /// Larger fields belong beside the entry.
    #[error(
        "write an entry: `{kind}` has {bytes} bytes, more than the {ENTRY_BYTES_MAX} of one entry"
    )]
    TooLarge {
        /// The fact's type.
        kind: String,
        /// Its size.
        bytes: usize,
    },
}

/// The bytes of the entry that holds `fact` at `place`. Integers beyond 2^53 − 1 become strings;
/// a double stays a number whatever its size, and is read back as one.
///
/// # Errors
///
/// [`NotAFact`].
pub fn build(mut fact: Map<String, Value>, place: &Place) -> Result<Vec<u8>, NotAFact> {
    let kind = match fact.get("type") {
        Some(Value::String(kind)) if !kind.is_empty() => kind.clone(),
        _ => return Err(NotAFact::NoType),
    };
    if let Some(key) = OWN_KEYS.into_iter().find(|key| fact.contains_key(*key)) {
        return Err(NotAFact::OwnKey(key));
    }
    fact.insert("v".to_owned(), VERSION.into());
    fact.insert("seq".to_owned(), place.seq.into());
    fact.insert("prev".to_owned(), hex(&place.prev).into());
    fact.insert("time".to_owned(), place.time.to_string().into());
    if let Some(run) = place.run {
        fact.insert("run".to_owned(), run.to_string().into());
    }
    let mut bytes = Vec::with_capacity(512);
    jcs::write_object(&fact, BigIntegers::AsText, &mut bytes)
        .expect("integers that are written as text are never too large");
    if bytes.len() > ENTRY_BYTES_MAX {
        return Err(NotAFact::TooLarge { kind, bytes: bytes.len() });
    }
    Ok(bytes)
}

/// An entry, read.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// Where it stands.
    pub seq: u64,
    /// Leaf hash of the entry before.
    pub prev: Hash,
    /// When the fact was recorded.
    pub time: Timestamp,
    /// Its type.
    pub kind: String,
    /// Whose fact it is.
    pub run: Option<RunId>,
    /// The fact: `type` and what is its own.
    pub fact: Map<String, Value>,
}

/// Why bytes are not an entry.
#[derive(Debug, thiserror::Error)]
pub enum NotAnEntry {
    /// They are not JSON, or not the JSON of an entry.
    #[error("read an entry of the log")]
    Json(#[source] serde_json::Error),
    /// A key that every entry has is missing or wrong.
    #[error("read an entry of the log: `{0}` is missing or wrong")]
    Key(&'static str),
}

impl Entry {
    /// Reads the stored bytes of an entry. Unknown keys are kept: later versions add some.
    ///
    /// # Errors
    ///
    /// [`NotAnEntry`].
    pub fn parse(bytes: &[u8]) -> Result<Entry, NotAnEntry> {
        let mut fact: Map<String, Value> =
            jcs::read(bytes).and_then(serde_json::from_value).map_err(NotAnEntry::Json)?;
        let mut take = |key: &'static str| fact.shift_remove(key);
        let text = |value: Option<Value>, key| match value {
            Some(Value::String(text)) => Ok(text),
            _ => Err(NotAnEntry::Key(key)),
        };
        if take("v").and_then(|v| v.as_u64()) != Some(VERSION) {
            return Err(NotAnEntry::Key("v"));
        }
        let seq = take("seq").and_then(|v| v.as_u64()).ok_or(NotAnEntry::Key("seq"))?;
        let prev = unhex(&text(take("prev"), "prev")?).ok_or(NotAnEntry::Key("prev"))?;
        let time = text(take("time"), "time")?.parse().map_err(|_| NotAnEntry::Key("time"))?;
        let run = match take("run") {
            None => None,
            Some(run) => {
                let run = text(Some(run), "run")?;
                Some(run.parse().map_err(|_| NotAnEntry::Key("run"))?)
            }
        };
        let kind = text(fact.get("type").cloned(), "type")?;
        Ok(Entry { seq, prev, time, kind, run, fact })
    }
}

/// The fact of a run in the stored bytes of its entry, without the log's own keys. Numbers are of
/// the type that they were written with: what is folded again gives what was folded first.
///
/// # Errors
///
/// [`NotAnEntry::Json`]: not an entry, or of a type that is no fact of a run.
pub fn event(bytes: &[u8]) -> Result<Event, NotAnEntry> {
    jcs::read(bytes).and_then(serde_json::from_value).map_err(NotAnEntry::Json)
}

/// Whether `bytes` are written in the one canonical way.
#[must_use]
pub fn is_canonical(bytes: &[u8]) -> bool {
    scan::scan(bytes, &mut Vec::new()).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::tree::{Frontier, leaf_hash};
    use serde_json::json;

    fn object(value: Value) -> Map<String, Value> {
        match value {
            Value::Object(map) => map,
            other => panic!("{other}"),
        }
    }

    fn at(seq: u64, time: &str) -> Place {
        Place { seq, prev: [0; 32], time: time.parse().unwrap(), run: None }
    }

    /// Goal: bytes and hashes of a pair of entries are those that others computed.
    #[test]
    fn golden_pair() {
        let vkey = "example.com/rb/agent1+67c90b45+AQOhB7/zzhC+HXDdGOdLwJln5NYwm6UNXx3chmQSVTG4";
        let first = json!({ "type": "log.genesis", "origin": "example.com/rb/agent1",
            "keys": [{ "use": "checkpoint", "vkey": vkey }] });
        let first = build(object(first), &at(0, "2026-01-02T03:04:05.000Z")).unwrap();
        let leaf = leaf_hash(&first);
        assert_eq!(hex(&leaf), "d203bb1186d134ba4fd698bb20bb692db48108e680a2e7bb936bb16e30c2539d");
        // The published second entry has a run that is no id of ours, so it is written here.
        let second = format!(
            "{{\"attempt\":1,\"exit\":{{\"code\":7}},\"outcome\":\"failed\",\"prev\":\"{}\",\"run\":\"r1\",\"seq\":1,\"stdout\":{{\"bytes\":5,\"commit\":\"eb48d5fa775f3e2b996be44c2296dbe6a4ef67105e002dd8a409597b03fe73a4\"}},\"step\":\"restart\",\"time\":\"2026-01-02T03:04:06.250Z\",\"type\":\"step.finished\",\"v\":1}}",
            hex(&leaf)
        );
        let mut tree = Frontier::new();
        tree.push(leaf);
        tree.push(leaf_hash(second.as_bytes()));
        assert_eq!(
            hex(&tree.root()),
            "9054895eae7f15555a68e896e29a9a60918c2f9bb952099df75ee755c1b843b5"
        );
    }

    #[test]
    fn a_fact_cannot_speak_for_the_log() {
        let place = at(0, "2026-01-02T03:04:05.000Z");
        for key in OWN_KEYS {
            let fact = object(json!({ "type": "x", key: 1 }));
            assert_eq!(build(fact, &place), Err(NotAFact::OwnKey(key)));
        }
        for fact in [json!({}), json!({ "type": "" }), json!({ "type": 1 })] {
            assert_eq!(build(object(fact), &place), Err(NotAFact::NoType));
        }
    }

    #[test]
    fn an_entry_has_a_largest_size() {
        let place = at(0, "2026-01-02T03:04:05.000Z");
        let fact = |bytes: usize| object(json!({ "type": "x", "a": "a".repeat(bytes) }));
        let frame = build(fact(0), &place).unwrap().len();
        assert_eq!(build(fact(ENTRY_BYTES_MAX - frame), &place).unwrap().len(), ENTRY_BYTES_MAX);
        let too_large = NotAFact::TooLarge { kind: "x".to_owned(), bytes: ENTRY_BYTES_MAX + 1 };
        assert_eq!(build(fact(ENTRY_BYTES_MAX - frame + 1), &place), Err(too_large));
    }

    /// Goal: a double is a number in the log, whatever its size, and comes back as the double that
    /// it was, in any reader of ours; an integer beyond 2^53 − 1 is text and stays text.
    #[test]
    fn large_numbers_come_back_as_what_they_were() {
        let place = at(1, "2026-01-02T03:04:05.000Z");
        for (number, written) in [
            (json!(8.312_514_514_464_493e16), "83125145144644930"),
            (json!(-8.312_514_514_464_493e16), "-83125145144644930"),
            (json!(9_007_199_254_740_992.0), "9007199254740992"),
            (json!(1e18), "1000000000000000000"),
            (json!(1.844_674_407_370_955e19), "18446744073709550000"),
            (json!(1e20), "100000000000000000000"),
            (json!(1e21), "1e+21"),
            (json!(u64::MAX), "\"18446744073709551615\""),
            (json!(i64::MIN), "\"-9223372036854775808\""),
            (json!(9_007_199_254_740_992_u64), "\"9007199254740992\""),
            (json!(9_007_199_254_740_991_u64), "9007199254740991"),
        ] {
            let fact = json!({ "type": "step.finished", "step": "a", "attempt": 1,
                "status": "succeeded", "verdict": "ok", "changed": false,
                "duration_seconds": 8.312_514_514_464_493e16,
                "result": { "value": [number] } });
            let bytes = build(object(fact.clone()), &place).unwrap();
            let text = str::from_utf8(&bytes).unwrap();
            assert!(text.contains(&format!("\"value\":[{written}]")), "{text}");
            assert!(is_canonical(&bytes), "{text}");
            let want = match number {
                Value::Number(number) if !written.starts_with('"') => Value::Number(number),
                _ => json!(written.trim_matches('"')),
            };
            let entry = Entry::parse(&bytes).unwrap();
            assert_eq!(entry.fact["result"]["value"][0], want);
            assert_eq!(build(entry.fact, &place).unwrap(), bytes);
            let Event::StepFinished(finished) = event(&bytes).unwrap() else { panic!("{text}") };
            assert_eq!(finished.result["value"][0], want);
            assert_eq!(finished.duration_seconds, 8.312_514_514_464_493e16);
        }
    }

    #[test]
    fn what_was_built_is_read_and_what_is_unknown_is_kept() {
        let run = Some(RunId::from_bytes([7; 16]));
        let place = Place { run, ..at(9, "2026-01-02T03:04:05.678Z") };
        let fact = object(json!({ "type": "x", "later": { "big": u64::MAX, "small": 0.1 } }));
        let bytes = build(fact, &place).unwrap();
        let entry = Entry::parse(&bytes).unwrap();
        assert_eq!((entry.seq, entry.time, entry.run), (9, place.time, run));
        let kept =
            object(json!({ "type": "x", "later": { "big": u64::MAX.to_string(), "small": 0.1 } }));
        assert_eq!(entry.fact, kept);
        for bad in [&b""[..], b"{}", b"[]", b"\xff", b"{\"v\":1}", b"null"] {
            assert!(Entry::parse(bad).is_err());
            assert!(event(bad).is_err());
        }
    }
}
