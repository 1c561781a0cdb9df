//! Judges a log: streams its entries once, in bounded memory, and never repairs.
//!
//! What is wrong in itself (an entry that is not the one its leaf stands for, a gap) ends the pass
//! at once with its `seq`. What only the signed head can prove waits for the end, so that the code
//! names the cause and not its first trace: a bad signature before a wrong root, a wrong root
//! before a broken chain, a broken chain before what the facts say.

use std::collections::{HashMap, HashSet};
use std::fmt;

use super::checkpoint::Checkpoint;
use super::entry::Entry;
use super::key::Vkey;
use super::note::{Disbelief, Note};
use super::scan::{self, Scanned, Unreadable};
use super::tree::{Frontier, Hash, leaf_hash};
pub(crate) use super::verdict::failure;
pub use super::verdict::{Code, Failure, Level};
use crate::id::{Digest, RunId};

/// Attempts under way at once that the pass remembers; more than any agent can have.
const OPEN_ATTEMPTS_MAX: usize = 1 << 20;

/// A head that the verifier kept.
#[derive(Clone, Debug)]
pub enum Held {
    /// A signed note.
    Note(String),
    /// `size` and `root` from a ticket, a reply, a printout.
    Anchor {
        /// Number of entries.
        size: u64,
        /// Root of their tree.
        root: Hash,
    },
}

/// What the verifier knows that did not come with the log.
#[derive(Clone, Debug, Default)]
pub struct Trust {
    /// Keys, one of which must be the log's, now or in an earlier epoch.
    pub keys: Vec<Vkey>,
    /// Heads that the log must contain.
    pub held: Vec<Held>,
}

/// A log that is what was signed.
#[derive(Clone, Debug)]
pub struct Report {
    /// Which log.
    pub origin: String,
    /// Number of entries.
    pub size: u64,
    /// Root of their tree.
    pub root: Hash,
    /// What the verdict is worth.
    pub level: Level,
    /// Keys of the log, oldest first, each with the sizes of heads that it signs.
    pub keys: Vec<Epoch>,
    /// Attempts that have begun and not ended, of runs that have not ended.
    pub open_attempts: u64,
    /// Runs that have ended.
    pub runs_finished: u64,
}

/// The time of one key, in sizes of the log.
#[derive(Clone, Debug)]
pub struct Epoch {
    /// The key.
    pub vkey: Vkey,
    /// The first size whose head it signs.
    pub from: u64,
    /// The last size whose head it signs, together with the next key; `None`: still in use.
    pub to: Option<u64>,
}

impl Epoch {
    fn has(&self, size: u64) -> bool {
        size >= self.from && self.to.is_none_or(|to| size <= to)
    }
}

/// A head whose root is compared when the pass comes by.
#[derive(Debug)]
struct Head {
    /// `None`: an anchor, which nobody signed but the verifier trusts.
    note: Option<Note>,
    checkpoint: Checkpoint,
    is_held: bool,
    /// Root of the entries at this size.
    found: Option<Hash>,
}

/// The pass. Give it [`Verifier::entry`] after entry, then [`Verifier::finish`].
#[derive(Debug)]
pub struct Verifier {
    trust: Trust,
    /// Ascending by size.
    heads: Vec<Head>,
    next_head: usize,
    tree: Frontier,
    prev: Hash,
    origin: String,
    epochs: Vec<Epoch>,
    /// The entry that the next one does not name as the one before it.
    broken_chain: Option<u64>,
    not_canonical: Option<u64>,
    facts: Option<Failure>,
    open: HashMap<RunId, HashSet<(u64, Digest)>>,
    open_attempts: usize,
    runs_finished: u64,
    blobs: Vec<Digest>,
}

impl Verifier {
    /// `heads` are the notes that came with the log: the newest, and those at which keys changed.
    ///
    /// # Errors
    ///
    /// `E_SIG` without any head, `E_FORMAT` for one that cannot be read.
    pub fn new<'a>(
        trust: Trust,
        heads: impl IntoIterator<Item = &'a [u8]>,
    ) -> Result<Verifier, Failure> {
        let read = |bytes: &[u8], is_held| {
            let bad = |err: super::note::NotANote| failure(Code::Format, None, err.to_string());
            let note = Note::parse(bytes).map_err(bad)?;
            let checkpoint = Checkpoint::parse(note.text()).map_err(bad)?;
            Ok(Head { note: Some(note), checkpoint, is_held, found: None })
        };
        let mut all = heads
            .into_iter()
            .map(|bytes| read(bytes, false))
            .collect::<Result<Vec<_>, Failure>>()?;
        if all.is_empty() {
            return Err(failure(Code::Sig, None, "the log has no signed head"));
        }
        for held in &trust.held {
            all.push(match held {
                Held::Note(text) => read(text.as_bytes(), true)?,
                Held::Anchor { size, root } => {
                    let checkpoint = Checkpoint { origin: String::new(), size: *size, root: *root };
                    Head { note: None, checkpoint, is_held: true, found: None }
                }
            });
        }
        all.sort_by_key(|head| head.checkpoint.size);
        let mut verifier = Verifier {
            trust,
            heads: all,
            next_head: 0,
            tree: Frontier::new(),
            prev: [0; 32],
            origin: String::new(),
            epochs: Vec::new(),
            broken_chain: None,
            not_canonical: None,
            facts: None,
            open: HashMap::new(),
            open_attempts: 0,
            runs_finished: 0,
            blobs: Vec::new(),
        };
        verifier.pass_heads();
        Ok(verifier)
    }

    /// The next entry, under the number that it is stored under; `leaf`: the leaf hash that is
    /// stored beside it, if one is.
    ///
    /// # Errors
    ///
    /// `E_LEAF`, `E_SEQ`, `E_FORMAT`, `E_EPOCH`: the log is bad and the pass is over.
    pub fn entry(&mut self, seq: u64, bytes: &[u8], leaf: Option<&[u8]>) -> Result<(), Failure> {
        let due = self.tree.size();
        if seq != due {
            let what = format!("the next entry is number {seq}");
            return Err(failure(Code::Seq, Some(due), what));
        }
        let hash = leaf_hash(bytes);
        if leaf.is_some_and(|leaf| leaf != hash) {
            let what = "its bytes are not those that its leaf hash stands for";
            return Err(failure(Code::Leaf, Some(seq), what));
        }
        let mut blobs = std::mem::take(&mut self.blobs);
        let read = scan::scan(bytes, &mut blobs);
        self.blobs = blobs;
        match read {
            Ok(scanned) => self.scanned(seq, &scanned, bytes)?,
            Err(Unreadable::NotCanonical) if scan::is_json(bytes) => {
                self.not_canonical.get_or_insert(seq);
                self.not_scanned(seq, bytes)?;
            }
            Err(Unreadable::NotCanonical) => {
                return Err(failure(Code::Format, Some(seq), "it is not JSON"));
            }
            Err(Unreadable::Key(key)) => {
                let what = format!("its `{key}` is missing or wrong");
                return Err(failure(Code::Format, Some(seq), what));
            }
        }
        self.prev = hash;
        self.tree.push(hash);
        self.pass_heads();
        Ok(())
    }

    /// What the entry that was read last names as standing beside it.
    #[must_use]
    pub fn blobs(&self) -> &[Digest] {
        &self.blobs
    }

    /// An entry that is JSON but not canonical is judged by its place all the same.
    fn not_scanned(&mut self, seq: u64, bytes: &[u8]) -> Result<(), Failure> {
        let bad = |err: &dyn fmt::Display| failure(Code::Format, Some(seq), err.to_string());
        let entry = Entry::parse(bytes).map_err(|err| bad(&err))?;
        let text = |key: &str| entry.fact.get(key).and_then(serde_json::Value::as_str);
        let scanned = Scanned {
            kind: &entry.kind,
            seq: entry.seq,
            prev: entry.prev,
            run: entry.run,
            step: text("step"),
            attempt: entry.fact.get("attempt").and_then(serde_json::Value::as_u64),
        };
        self.scanned(seq, &scanned, bytes)
    }

    fn scanned(&mut self, seq: u64, entry: &Scanned<'_>, bytes: &[u8]) -> Result<(), Failure> {
        if entry.seq != seq {
            let what = format!("it calls itself entry {}", entry.seq);
            return Err(failure(Code::Seq, Some(seq), what));
        }
        if entry.prev != self.prev && self.broken_chain.is_none() {
            self.broken_chain = Some(seq);
        }
        match entry.kind {
            "log.created" | "key.rotated" => self.key_fact(seq, entry.kind, bytes)?,
            _ if seq == 0 => {
                return Err(failure(Code::Format, Some(0), "a log begins with `log.created`"));
            }
            "step.started" | "step.finished" => self.attempt(seq, entry),
            "run.finished" => self.run_finished(seq, entry),
            _ => {}
        }
        Ok(())
    }

    /// `log.created` names the origin and the first key, `key.rotated` the next one.
    fn key_fact(&mut self, seq: u64, kind: &str, bytes: &[u8]) -> Result<(), Failure> {
        let bad = |what: &str| failure(Code::Format, Some(seq), what);
        let entry = Entry::parse(bytes).map_err(|err| bad(&err.to_string()))?;
        let text = |value: Option<&serde_json::Value>| {
            value.and_then(serde_json::Value::as_str).map(str::to_owned)
        };
        let vkey = |value: Option<&serde_json::Value>| {
            let read = text(value).and_then(|text| text.parse::<Vkey>().ok());
            read.ok_or_else(|| bad("it does not name a key"))
        };
        if kind == "log.created" {
            if seq != 0 {
                return Err(bad("a log is created once"));
            }
            self.origin = text(entry.fact.get("origin")).ok_or_else(|| bad("it has no origin"))?;
            let keys = entry.fact.get("keys").and_then(serde_json::Value::as_array);
            // With two first keys, one could be an attacker's beside the one that people know.
            let [key] = keys.map_or(&[][..], Vec::as_slice) else {
                return Err(bad("a log begins with one key"));
            };
            self.epochs.push(Epoch { vkey: vkey(Some(key))?, from: 1, to: None });
            return Ok(());
        }
        let (old, new) = (vkey(entry.fact.get("old"))?, vkey(entry.fact.get("new"))?);
        let boundary = seq + 1;
        match self.epochs.last_mut() {
            Some(now) if now.vkey == old => now.to = Some(boundary),
            _ => {
                let what = "it replaces a key that is not the one in use";
                return Err(failure(Code::Epoch, Some(seq), what));
            }
        }
        self.epochs.push(Epoch { vkey: new, from: boundary, to: None });
        Ok(())
    }

    /// A step that ends has begun: the log is written before the world is changed.
    fn attempt(&mut self, seq: u64, entry: &Scanned<'_>) {
        let (Some(run), Some(step), Some(attempt)) = (entry.run, entry.step, entry.attempt) else {
            self.fact_failed(Code::Format, seq, "it names no run, step or attempt");
            return;
        };
        let attempts = self.open.entry(run).or_default();
        let id = (attempt, Digest::of(step.as_bytes()));
        let is_start = entry.kind == "step.started";
        let is_expected = if is_start { attempts.insert(id) } else { attempts.remove(&id) };
        if !is_expected {
            let what = match is_start {
                true => "it starts an attempt that is under way",
                false => "it ends an attempt that was not started",
            };
            self.fact_failed(Code::Intent, seq, what);
        } else if is_start {
            self.open_attempts += 1;
            if self.open_attempts > OPEN_ATTEMPTS_MAX {
                self.fact_failed(Code::Intent, seq, "more attempts are open than can be");
                self.open.clear();
                self.open_attempts = 0;
            }
        } else {
            self.open_attempts -= 1;
        }
    }

    fn run_finished(&mut self, seq: u64, entry: &Scanned<'_>) {
        self.runs_finished += 1;
        let Some(run) = entry.run else {
            self.fact_failed(Code::Format, seq, "it names no run");
            return;
        };
        let open = self.open.remove(&run).map_or(0, |attempts| attempts.len());
        if open > 0 {
            self.open_attempts -= open;
            self.fact_failed(Code::Intent, seq, "its run ends with an attempt that has not ended");
        }
    }

    fn fact_failed(&mut self, code: Code, seq: u64, what: &str) {
        self.facts.get_or_insert_with(|| failure(code, Some(seq), what));
    }

    /// Notes the root wherever a head stands.
    fn pass_heads(&mut self) {
        while let Some(head) = self.heads.get_mut(self.next_head) {
            if head.checkpoint.size != self.tree.size() {
                break;
            }
            head.found = Some(self.tree.root());
            self.next_head += 1;
        }
    }

    /// Size of the newest head that came with the log.
    fn newest(&self) -> u64 {
        let newest = self.heads.iter().rfind(|head| !head.is_held);
        newest.expect("a verifier has a head").checkpoint.size
    }

    /// Whether another head of this size has another root.
    fn has_twin(&self, checkpoint: &Checkpoint) -> bool {
        self.heads
            .iter()
            .map(|head| &head.checkpoint)
            .any(|other| other.size == checkpoint.size && other.root != checkpoint.root)
    }

    /// The verdict.
    ///
    /// # Errors
    ///
    /// [`Failure`] with the first cause, in the order: origin, key, signature, epoch, truncation,
    /// rollback, root, fork, chain, canonical form, what the facts say.
    pub fn finish(self) -> Result<Report, Failure> {
        if self.tree.size() == 0 && self.heads.iter().all(|head| head.checkpoint.size > 0) {
            return Err(failure(Code::Trunc, Some(0), "the log has no entries"));
        }
        let level = self.check_pins()?;
        for head in &self.heads {
            self.check_origin_and_signatures(head)?;
        }
        self.check_boundaries()?;
        self.check_roots()?;
        if let Some(seq) = self.broken_chain {
            let what = "it does not name the entry before it";
            return Err(failure(Code::Seq, Some(seq), what));
        }
        if let Some(seq) = self.not_canonical {
            return Err(failure(Code::Canon, Some(seq), "its JSON is not canonical"));
        }
        if let Some(failure) = self.facts {
            return Err(failure);
        }
        Ok(Report {
            origin: self.origin,
            size: self.tree.size(),
            root: self.tree.root(),
            level,
            keys: self.epochs,
            open_attempts: self.open_attempts as u64,
            runs_finished: self.runs_finished,
        })
    }

    fn check_pins(&self) -> Result<Level, Failure> {
        let pins = &self.trust.keys;
        if !pins.is_empty() && !self.epochs.iter().any(|epoch| pins.contains(&epoch.vkey)) {
            return Err(match pins.iter().any(|pin| pin.name() == self.origin) {
                true => failure(Code::Key, None, "the log is not signed by the given key"),
                false => {
                    let what = format!("the given key is not of the log `{}`", self.origin);
                    failure(Code::Origin, None, what)
                }
            });
        }
        // A held head was signed by the log's key or is trusted as it is: either pins the key too.
        Ok(match (pins.is_empty(), self.trust.held.is_empty()) {
            (_, false) => Level::L2,
            (false, true) => Level::L1,
            (true, true) => Level::L0,
        })
    }

    fn check_origin_and_signatures(&self, head: &Head) -> Result<(), Failure> {
        let Some(note) = &head.note else { return Ok(()) };
        let Checkpoint { origin, size, .. } = &head.checkpoint;
        let which = if head.is_held { "the given head" } else { "the head" };
        if *origin != self.origin {
            let what = format!("{which} is of `{origin}`, the log is `{}`", self.origin);
            return Err(failure(Code::Origin, None, what));
        }
        let newest = self.newest();
        if head.is_held && *size > newest {
            // Its key may be one that the log, as it is shown now, does not know yet.
            let what = format!("the log has {newest} entries, the given head {size}");
            return Err(failure(Code::Rollback, None, what));
        }
        let keys: Vec<&Vkey> = self.epochs.iter().map(|epoch| &epoch.vkey).collect();
        let signed = note.signed_by(&keys).map_err(|err| {
            let code = match err {
                Disbelief::UnknownKey => Code::Key,
                Disbelief::BadSignature(_) => Code::Sig,
            };
            failure(code, None, format!("{which} of size {size}: {err}"))
        })?;
        if signed.iter().any(|key| !self.epochs[*key].has(*size)) {
            let what = format!("{which} of size {size} is signed by a key of another time");
            return Err(failure(Code::Epoch, None, what));
        }
        Ok(())
    }

    /// Where a key changed stands a head that both have signed.
    fn check_boundaries(&self) -> Result<(), Failure> {
        for pair in self.epochs.windows(2) {
            let keys = [&pair[0].vkey, &pair[1].vkey];
            let is_boundary = |head: &Head| {
                let signed = head.note.as_ref().map(|note| note.signed_by(&keys));
                head.checkpoint.size == pair[1].from
                    && signed.is_some_and(|signed| signed.is_ok_and(|signed| signed.len() == 2))
            };
            if !self.heads.iter().any(is_boundary) {
                let what = "no head that both keys have signed stands where the key changed";
                return Err(failure(Code::Epoch, Some(pair[1].from - 1), what));
            }
        }
        Ok(())
    }

    fn check_roots(&self) -> Result<(), Failure> {
        let (size, newest) = (self.tree.size(), self.newest());
        for head in &self.heads {
            let wanted = &head.checkpoint;
            match head.found {
                Some(root) if root == wanted.root => {}
                Some(_) if head.is_held => {
                    let what = format!("the given head of size {} has another root", wanted.size);
                    return Err(failure(Code::Fork, None, what));
                }
                Some(_) if self.has_twin(wanted) => {
                    let what = format!("two heads of size {} are signed", wanted.size);
                    return Err(failure(Code::Fork, None, what));
                }
                Some(_) => {
                    // The chain breaks right behind an entry that was edited.
                    let seq = self.broken_chain.and_then(|seq| seq.checked_sub(1));
                    let what =
                        format!("the entries are not those of the head of size {}", wanted.size);
                    return Err(failure(Code::Root, seq, what));
                }
                None if head.is_held && wanted.size > newest => {
                    let what =
                        format!("the log has {newest} entries, the given head {}", wanted.size);
                    return Err(failure(Code::Rollback, None, what));
                }
                None => {
                    let what = format!("the log ends before its head of size {}", wanted.size);
                    return Err(failure(Code::Trunc, Some(size), what));
                }
            }
        }
        if size > newest {
            let what = "it and what follows is in no signed head";
            return Err(failure(Code::Root, Some(newest), what));
        }
        Ok(())
    }
}
