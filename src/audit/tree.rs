//! The Merkle tree of RFC 6962 (the hashing that RFC 9162 keeps), with SHA-256.

use sha2::{Digest as _, Sha256};

/// A SHA-256 of the tree.
pub type Hash = [u8; 32];

/// `SHA-256(0x00 ‖ entry)`: the leaf that stands for an entry's bytes.
#[must_use]
pub fn leaf_hash(entry: &[u8]) -> Hash {
    let mut hasher = Sha256::new();
    hasher.update([0]);
    hasher.update(entry);
    hasher.finalize().into()
}

/// `SHA-256(0x01 ‖ left ‖ right)`: the prefix keeps a node from ever passing for a leaf.
#[must_use]
pub fn node_hash(left: &Hash, right: &Hash) -> Hash {
    let mut buffer = [0; 65];
    buffer[0] = 1;
    buffer[1..33].copy_from_slice(left);
    buffer[33..].copy_from_slice(right);
    Sha256::digest(buffer).into()
}

/// The root of a tree without leaves: `SHA-256("")`.
#[must_use]
pub fn empty_root() -> Hash {
    Sha256::digest([]).into()
}

/// All that an append-only tree needs to grow: the roots of its complete subtrees, largest first.
/// At most 64 hashes, whatever its size.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Frontier {
    size: u64,
    roots: Vec<Hash>,
}

/// The bytes are not those of a frontier of the given size.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("read a tree's frontier of size {size}: it has {bytes} bytes")]
pub struct NotAFrontier {
    size: u64,
    bytes: usize,
}

impl Frontier {
    /// Of a tree without leaves.
    #[must_use]
    pub fn new() -> Frontier {
        Frontier::default()
    }

    /// From what [`Frontier::to_bytes`] wrote. Whether the hashes are those of the tree shows only
    /// when its root is compared with a signed one.
    ///
    /// # Errors
    ///
    /// [`NotAFrontier`]: `bytes` has not one hash for each one-bit of `size`.
    pub fn from_bytes(size: u64, bytes: &[u8]) -> Result<Frontier, NotAFrontier> {
        let (roots, rest) = bytes.as_chunks::<32>();
        if !rest.is_empty() || roots.len() != size.count_ones() as usize {
            return Err(NotAFrontier { size, bytes: bytes.len() });
        }
        Ok(Frontier { size, roots: roots.to_vec() })
    }

    /// The hashes, largest subtree first, 32 bytes each.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        self.roots.concat()
    }

    /// Number of leaves.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Adds the next leaf.
    pub fn push(&mut self, leaf: Hash) {
        let mut root = leaf;
        for _ in 0..self.size.trailing_ones() {
            let left = self.roots.pop().expect("each one-bit of the size has a complete subtree");
            root = node_hash(&left, &root);
        }
        self.roots.push(root);
        self.size += 1;
    }

    /// The root of the tree so far.
    #[must_use]
    pub fn root(&self) -> Hash {
        let mut smallest_first = self.roots.iter().rev();
        match smallest_first.next() {
            None => empty_root(),
            Some(last) => smallest_first.fold(*last, |right, left| node_hash(left, &right)),
        }
    }
}

/// A run of leaves, `start` included, `end` not.
pub type Leaves = std::ops::Range<u64>;

/// The subtrees whose roots prove that leaf `index` is in a tree of `size` leaves, in the order
/// of the proof. `None` if there is no such leaf.
///
/// Each root is that of a tree of its own over these leaves: feed them to a [`Frontier`].
#[must_use]
pub fn inclusion_path(index: u64, size: u64) -> Option<Vec<Leaves>> {
    if index >= size {
        return None;
    }
    let (mut start, mut end) = (0, size);
    let mut path = Vec::new();
    while end - start > 1 {
        let middle = start + largest_power_below(end - start);
        if index < middle {
            path.push(middle..end);
            end = middle;
        } else {
            path.push(start..middle);
            start = middle;
        }
    }
    path.reverse();
    Some(path)
}

/// The subtrees whose roots prove that a tree of `old` leaves is the beginning of one of `new`
/// leaves, in the order of the proof. `None` unless `1 <= old <= new`.
#[must_use]
pub fn consistency_path(old: u64, new: u64) -> Option<Vec<Leaves>> {
    if old == 0 || old > new {
        return None;
    }
    let (mut start, mut end) = (0, new);
    let mut path = Vec::new();
    // RFC 6962, 2.1.2: descend to where the old tree ends; its own root is not part of the proof.
    while old != end {
        let middle = start + largest_power_below(end - start);
        if old <= middle {
            path.push(middle..end);
            end = middle;
        } else {
            path.push(start..middle);
            start = middle;
        }
    }
    if start != 0 {
        path.push(start..end);
    }
    path.reverse();
    Some(path)
}

/// The largest power of two below `n`, which is at least 2.
fn largest_power_below(n: u64) -> u64 {
    1 << (63 - (n - 1).leading_zeros())
}

/// Whether `proof` shows that `leaf` stands at `index` in the tree of `size` leaves with `root`
/// (RFC 9162, 2.1.3.2).
#[must_use]
pub fn is_included(index: u64, size: u64, leaf: &Hash, proof: &[Hash], root: &Hash) -> bool {
    if index >= size {
        return false;
    }
    let (mut node, mut last) = (index, size - 1);
    let mut hash = *leaf;
    for step in proof {
        if last == 0 {
            return false;
        }
        if node & 1 == 1 || node == last {
            hash = node_hash(step, &hash);
            while node & 1 == 0 && node != 0 {
                node >>= 1;
                last >>= 1;
            }
        } else {
            hash = node_hash(&hash, step);
        }
        node >>= 1;
        last >>= 1;
    }
    last == 0 && hash == *root
}

/// Whether `proof` shows that the tree of `old` leaves with `old_root` is the beginning of the
/// tree of `new` leaves with `new_root` (RFC 9162, 2.1.4.2). A tree without leaves is the
/// beginning of any.
#[must_use]
pub fn is_consistent(
    (old, old_root): (u64, &Hash),
    (new, new_root): (u64, &Hash),
    proof: &[Hash],
) -> bool {
    if old > new {
        return false;
    }
    if old == new {
        return proof.is_empty() && old_root == new_root && (old > 0 || *old_root == empty_root());
    }
    if old == 0 {
        return proof.is_empty() && *old_root == empty_root();
    }
    // A complete old tree is itself the first node; the proof then leaves its root out.
    let first = if old.is_power_of_two() { Some(old_root) } else { None };
    let mut steps = first.into_iter().chain(proof);
    let Some(seed) = steps.next() else { return false };
    let (mut node, mut last) = (old - 1, new - 1);
    while node & 1 == 1 {
        node >>= 1;
        last >>= 1;
    }
    let (mut old_hash, mut new_hash) = (*seed, *seed);
    for step in steps {
        if last == 0 {
            return false;
        }
        if node & 1 == 1 || node == last {
            old_hash = node_hash(step, &old_hash);
            new_hash = node_hash(step, &new_hash);
            while node & 1 == 0 && node != 0 {
                node >>= 1;
                last >>= 1;
            }
        } else {
            new_hash = node_hash(&new_hash, step);
        }
        node >>= 1;
        last >>= 1;
    }
    last == 0 && old_hash == *old_root && new_hash == *new_root
}
