//! The signed log: entry bytes, Merkle tree, checkpoint, keys, verify. Pure.
