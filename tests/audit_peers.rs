//! Others read our log: a note, a tree and tiles of ours are judged by implementations of the same
//! formats that are not ours, and theirs by us.

use std::collections::HashMap;

use runwarden::audit::checkpoint::Checkpoint;
use runwarden::audit::key::Signer;
use runwarden::audit::note::Note;
use runwarden::audit::tiles::{Tiler, push_entry};
use runwarden::audit::tree::{
    Frontier, Hash, consistency_path, inclusion_path, is_consistent, is_included, leaf_hash,
};
use signed_note::{StandardVerifier, VerifierList};
use tlog_tiles::{Error, Hash as TheirHash, HashReader, Tile, TileHashReader, TileReader};

fn leaves(count: u64) -> Vec<Hash> {
    (0..count).map(|i| leaf_hash(format!("entry {i}").as_bytes())).collect()
}

fn root(leaves: &[Hash]) -> Hash {
    let mut tree = Frontier::new();
    leaves.iter().for_each(|leaf| tree.push(*leaf));
    tree.root()
}

/// All hashes of a tree, as their implementation numbers them.
struct Stored(Vec<TheirHash>);

impl Stored {
    fn of(leaves: &[Hash]) -> Stored {
        let mut stored = Stored(Vec::new());
        for (n, leaf) in leaves.iter().enumerate() {
            let more =
                tlog_tiles::stored_hashes_for_record_hash(n as u64, TheirHash(*leaf), &stored);
            stored.0.extend(more.unwrap());
        }
        stored
    }
}

impl HashReader for Stored {
    fn read_hashes(&self, indexes: &[u64]) -> Result<Vec<TheirHash>, Error> {
        Ok(indexes.iter().map(|index| self.0[*index as usize]).collect())
    }
}

/// Goal: roots and proofs of every small tree are theirs, and each believes the other's.
#[test]
fn trees_and_proofs_are_the_same() {
    let all = leaves(70);
    let stored = Stored::of(&all);
    for size in 1..=all.len() as u64 {
        let ours = root(&all[..size as usize]);
        assert_eq!(tlog_tiles::tree_hash(size, &stored).unwrap().0, ours, "{size}");
        let part = |leaves: std::ops::Range<u64>| {
            TheirHash(root(&all[leaves.start as usize..leaves.end as usize]))
        };
        for other in [0, 1, size / 3, size / 2, size - 1] {
            let Some(path) = inclusion_path(other, size) else { continue };
            let proof: Vec<TheirHash> = path.into_iter().map(part).collect();
            assert_eq!(tlog_tiles::prove_record(size, other, &stored).unwrap(), proof);
            let leaf = all[other as usize];
            tlog_tiles::check_record(&proof, size, TheirHash(ours), other, TheirHash(leaf))
                .unwrap();
            let proof: Vec<Hash> = proof.iter().map(|hash| hash.0).collect();
            assert!(is_included(other, size, &leaf, &proof, &ours));
            let Some(path) = consistency_path(other, size) else { continue };
            let proof: Vec<TheirHash> = path.into_iter().map(part).collect();
            assert_eq!(tlog_tiles::prove_tree(size, other, &stored).unwrap(), proof);
            let old = root(&all[..other as usize]);
            tlog_tiles::check_tree(&proof, size, TheirHash(ours), other, TheirHash(old)).unwrap();
            let proof: Vec<Hash> = proof.iter().map(|hash| hash.0).collect();
            assert!(is_consistent((other, &old), (size, &ours), &proof));
        }
    }
}

/// Tiles by path, as a static server would have them.
struct Served(HashMap<String, Vec<u8>>);

impl TileReader for Served {
    fn height(&self) -> u8 {
        8
    }

    fn read_tiles(&self, tiles: &[Tile]) -> Result<Vec<Vec<u8>>, Error> {
        // Their paths name the height of a tile, which the served format fixes at 8.
        let path = |tile: &Tile| tile.path().replacen("tile/8/", "tile/", 1);
        tiles
            .iter()
            .map(|tile| self.0.get(&path(tile)).cloned().ok_or(Error::InvalidTile))
            .collect()
    }

    fn save_tiles(&self, _: &[Tile], _: &[Vec<u8>]) {}
}

/// What a static server has of a log with these leaves, and its root.
fn serve(leaves: &[Hash]) -> (Served, TheirHash) {
    let mut tiler = Tiler::new();
    let mut served = HashMap::new();
    for leaf in leaves {
        served.extend(tiler.push(*leaf).into_iter().map(|tile| (tile.path(), tile.bytes())));
    }
    served.extend(tiler.partial().into_iter().map(|tile| (tile.path(), tile.bytes())));
    (Served(served), TheirHash(root(leaves)))
}

/// Goal: their reader finds every leaf of a log of two levels in our tiles.
#[test]
fn tiles_are_read_by_others() {
    let all = leaves(700);
    let (served, head) = serve(&all);
    let reader = TileHashReader::new(700, head, &served);
    for index in [0, 255, 256, 511, 512, 699] {
        let found = reader.read_hashes(&[tlog_tiles::stored_hash_index(0, index)]).unwrap();
        assert_eq!(found[0].0, all[index as usize], "{index}");
    }
}

/// Goal: a tile of ours in which one bit was changed is refused by their reader.
/// Method: a tree of one complete subtree; of others, release 0.2.0 leaves some tiles unchecked.
#[test]
fn a_changed_tile_is_refused_by_others() {
    let (mut served, head) = serve(&leaves(512));
    let read = |served: &Served| {
        let reader = TileHashReader::new(512, head, served);
        reader.read_hashes(&[tlog_tiles::stored_hash_index(0, 300)]).map(|hashes| hashes.len())
    };
    assert_eq!(read(&served).ok(), Some(1));
    served.0.get_mut("tile/0/001").unwrap()[40] ^= 1;
    assert!(read(&served).is_err());
}

/// Goal: a head of ours is a note and a checkpoint for them, and theirs for us; a changed one for
/// neither.
#[test]
fn heads_are_believed_by_others() {
    let signer = Signer::from_seed("runwarden.dev/local/web-1-00000000", &[7; 32]).unwrap();
    let origin = signer.vkey().name().to_owned();
    let ours = Checkpoint { origin, size: 700, root: root(&leaves(700)) };
    let text = ours.sign(&signer).to_string();

    let verifier = || -> Box<dyn signed_note::Verifier> {
        Box::new(StandardVerifier::new(&signer.vkey().to_string()).unwrap())
    };
    let theirs = signed_note::Note::from_bytes(text.as_bytes()).unwrap();
    let (verified, unverified) = theirs.verify(&VerifierList::new(vec![verifier()])).unwrap();
    assert_eq!((verified.len(), unverified.len()), (1, 0));
    assert_eq!(theirs.to_bytes(), text.as_bytes());
    let read = tlog_tiles::Checkpoint::from_bytes(theirs.text()).unwrap();
    assert_eq!((read.origin(), read.size()), (ours.origin.as_str(), ours.size));
    assert_eq!(read.hash().0, ours.root);

    let changed = text.replace("\n700\n", "\n701\n");
    let theirs = signed_note::Note::from_bytes(changed.as_bytes()).unwrap();
    assert!(theirs.verify(&VerifierList::new(vec![verifier()])).is_err());
    assert!(Note::parse(changed.as_bytes()).unwrap().signed_by(&[signer.vkey()]).is_err());

    let their_signer = signed_note::StandardSigner::new(&signer.to_skey()).unwrap();
    let mut theirs = signed_note::Note::new(ours.text().as_bytes(), &[]).unwrap();
    theirs.add_sigs(&[&their_signer]).unwrap();
    assert_eq!(String::from_utf8(theirs.to_bytes()).unwrap(), text);
}

/// Goal: where their reader refuses a note, so does ours.
#[test]
fn what_others_refuse_we_refuse() {
    let signer = Signer::from_seed("example.com/log", &[7; 32]).unwrap();
    let good = Note::sign("example.com/log\n1\nAAAA\n".to_owned(), &signer).to_string();
    let mut refused = 0;
    for at in 0..good.len() {
        for byte in [b'\n', b' ', b'+', b'=', 0, b'\r', b'A', 0xff] {
            let mut bytes = good.clone().into_bytes();
            bytes[at] = byte;
            if signed_note::Note::from_bytes(&bytes).is_err() {
                refused += 1;
                assert!(Note::parse(&bytes).is_err(), "{:?}", String::from_utf8_lossy(&bytes));
            }
        }
    }
    assert!(refused > 100, "{refused}");
}

/// Goal: an entry bundle has the bytes of the format, which their crate does not read.
#[test]
fn a_bundle_is_length_and_bytes() {
    let mut bundle = Vec::new();
    push_entry(&mut bundle, &[b'x'; 0x102]);
    assert_eq!(bundle[..3], [1, 2, b'x']);
    assert_eq!(bundle.len(), 2 + 0x102);
}
