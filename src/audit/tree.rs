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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::{hex, unhex};

    /// Leaf data of the Certificate Transparency test set.
    const DATA: [&[u8]; 8] = [
        b"",
        b"\x00",
        b"\x10",
        b"\x20\x21",
        b"\x30\x31",
        b"\x40\x41\x42\x43",
        b"\x50\x51\x52\x53\x54\x55\x56\x57",
        b"\x60\x61\x62\x63\x64\x65\x66\x67\x68\x69\x6a\x6b\x6c\x6d\x6e\x6f",
    ];
    const LEAVES: [&str; 8] = [
        "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
        "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
        "0298d122906dcfc10892cb53a73992fc5b9f493ea4c9badb27b791b4127a7fe7",
        "07506a85fd9dd2f120eb694f86011e5bb4662e5c415a62917033d4a9624487e7",
        "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
        "4271a26be0d8a84f0bd54c8c302e7cb3a3b5d1fa6780a40bcce2873477dab658",
        "b08693ec2e721597130641e8211e7eedccb4c26413963eee6c1e2ed16ffb1a5f",
        "46f6ffadd3d06a09ff3c5860d2755c8b9819db7df44251788c7d8e3180de8eb1",
    ];
    const ROOTS: [&str; 8] = [
        "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
        "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
        "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
        "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
        "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
        "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
    ];
    const N01: &str = "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125";
    const N23: &str = "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e";
    const N45: &str = "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a";
    const N67: &str = "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0";
    const N47: &str = "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4";

    fn tree(leaves: std::ops::Range<u64>) -> Frontier {
        let mut tree = Frontier::new();
        for i in leaves {
            let other = i.to_be_bytes();
            tree.push(leaf_hash(DATA.get(i as usize).unwrap_or(&&other[..])));
        }
        tree
    }

    fn proof(path: Option<Vec<Leaves>>) -> Vec<Hash> {
        path.unwrap().into_iter().map(|leaves| tree(leaves).root()).collect()
    }

    #[test]
    fn published_leaves_and_roots() {
        assert_eq!(
            hex(&empty_root()),
            "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
        );
        assert_eq!(Frontier::new().root(), empty_root());
        for n in 0..8 {
            assert_eq!(hex(&leaf_hash(DATA[n])), LEAVES[n]);
            assert_eq!(hex(&tree(0..n as u64 + 1).root()), ROOTS[n]);
        }
        assert_eq!(
            hex(&leaf_hash(b"L123456")),
            "395aa064aa4c29f7010acfe3f25db9485bbd4b91897b6ad7ad547639252b4d56"
        );
    }

    #[test]
    fn published_proofs() {
        let hashes = |proof: &[&str]| proof.iter().map(|h| unhex(h).unwrap()).collect::<Vec<_>>();
        assert_eq!(proof(inclusion_path(0, 8)), hashes(&[LEAVES[1], N23, N47]));
        assert_eq!(proof(inclusion_path(5, 8)), hashes(&[LEAVES[4], N67, ROOTS[3]]));
        assert_eq!(proof(inclusion_path(2, 3)), hashes(&[N01]));
        assert_eq!(proof(inclusion_path(1, 5)), hashes(&[LEAVES[0], N23, LEAVES[4]]));
        assert_eq!(proof(consistency_path(1, 8)), hashes(&[LEAVES[1], N23, N47]));
        assert_eq!(proof(consistency_path(6, 8)), hashes(&[N45, N67, ROOTS[3]]));
        assert_eq!(proof(consistency_path(2, 5)), hashes(&[N23, LEAVES[4]]));
        assert_eq!(proof(consistency_path(6, 7)), hashes(&[N45, LEAVES[6], ROOTS[3]]));
        assert_eq!(inclusion_path(8, 8), None);
        assert_eq!(inclusion_path(0, 0), None);
        assert_eq!(consistency_path(0, 8), None);
        assert_eq!(consistency_path(9, 8), None);
        assert_eq!(consistency_path(8, 8), Some(Vec::new()));
    }

    /// Goal: every proof that we make is believed, and no other is: cut, extended, reordered, with
    /// a flipped bit, for another place, size or root.
    #[test]
    fn only_true_inclusion_proofs_are_believed() {
        for size in 1..=18 {
            let root = tree(0..size).root();
            for index in 0..size {
                let leaf = tree(index..index + 1).root();
                let good = proof(inclusion_path(index, size));
                assert!(is_included(index, size, &leaf, &good, &root), "{index} in {size}");
                assert!(!is_included(size, size, &leaf, &good, &root));
                assert!(!is_included(index, size, &leaf, &good, &leaf_hash(b"other")));
                assert!(!is_included(index, size, &leaf_hash(b"other"), &good, &root));
                assert!(!is_included(index, 0, &leaf, &good, &root));
                for bad in mutations(&good) {
                    assert!(!is_included(index, size, &leaf, &bad, &root), "{index} in {size}");
                }
            }
        }
    }

    #[test]
    fn only_true_consistency_proofs_are_believed() {
        for new in 1..=18 {
            let new_root = tree(0..new).root();
            for old in 1..=new {
                let old_root = tree(0..old).root();
                let good = proof(consistency_path(old, new));
                assert!(is_consistent((old, &old_root), (new, &new_root), &good), "{old} → {new}");
                let other = leaf_hash(b"other");
                assert!(!is_consistent((old, &other), (new, &new_root), &good));
                assert!(!is_consistent((old, &old_root), (new, &other), &good));
                if old < new {
                    assert!(!is_consistent((new, &new_root), (old, &old_root), &good));
                }
                for bad in mutations(&good) {
                    assert!(!is_consistent((old, &old_root), (new, &new_root), &bad));
                }
            }
            assert!(is_consistent((0, &empty_root()), (new, &new_root), &[]));
            assert!(!is_consistent((0, &new_root), (new, &new_root), &[]));
            assert!(!is_consistent((0, &empty_root()), (new, &new_root), &[new_root]));
        }
        assert!(!is_consistent((0, &[0; 32]), (0, &[0; 32]), &[]));
    }

    fn mutations(good: &[Hash]) -> Vec<Vec<Hash>> {
        let mut all = vec![[good, &[leaf_hash(b"more")]].concat(), [&[[0; 32]], good].concat()];
        for i in 0..good.len() {
            let mut flipped = good.to_vec();
            flipped[i][31] ^= 1;
            all.push(flipped);
            all.push([&good[..i], &good[i + 1..]].concat());
            if i > 0 {
                let mut swapped = good.to_vec();
                swapped.swap(i, i - 1);
                all.push(swapped);
            }
        }
        all
    }

    #[test]
    fn a_frontier_survives_being_written() {
        for size in 0..70 {
            let tree = tree(0..size);
            let bytes = tree.to_bytes();
            assert_eq!(Frontier::from_bytes(size, &bytes), Ok(tree));
            assert!(Frontier::from_bytes(size + 1, &bytes).is_err() || size % 2 == 1);
            assert!(Frontier::from_bytes(size, &[&bytes[..], &[0]].concat()).is_err());
        }
    }
}
