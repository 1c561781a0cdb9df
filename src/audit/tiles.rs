//! C2SP `tlog-tiles`: the paths and bytes under which a log can be served as static files.

use super::tree::{Frontier, Hash};

/// Hashes, or entries, of a full tile.
pub const TILE_WIDTH: u64 = 256;

/// `tile/<level>/<index>[.p/<width>]`: where the hashes of a tile are served. `width` is 1 to 256.
#[must_use]
pub fn tile_path(level: u8, index: u64, width: u64) -> String {
    format!("tile/{level}/{}", numbered(index, width))
}

/// `tile/entries/<index>[.p/<width>]`: where the entries of a tile are served.
#[must_use]
pub fn entries_path(index: u64, width: u64) -> String {
    format!("tile/entries/{}", numbered(index, width))
}

/// `x001/x234/067.p/112`: three digits a folder, so that no folder grows large.
fn numbered(index: u64, width: u64) -> String {
    assert!((1..=TILE_WIDTH).contains(&width), "a tile has 1 to 256 hashes");
    let mut path = format!("{:03}", index % 1000);
    let mut rest = index / 1000;
    while rest > 0 {
        path = format!("x{:03}/{path}", rest % 1000);
        rest /= 1000;
    }
    if width < TILE_WIDTH {
        path.push_str(&format!(".p/{width}"));
    }
    path
}

/// Appends one entry to the bytes of an entry bundle.
///
/// # Panics
///
/// If the entry has more than 65,535 bytes; entries of our log have at most 60 KiB.
pub fn push_entry(bundle: &mut Vec<u8>, entry: &[u8]) {
    let length = u16::try_from(entry.len()).expect("an entry has at most 60 KiB");
    bundle.extend_from_slice(&length.to_be_bytes());
    bundle.extend_from_slice(entry);
}

/// The bytes are not an entry bundle of the given width.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("read an entry bundle: it does not hold exactly {width} entries")]
pub struct NotABundle {
    width: u64,
}

/// The `width` entries of a bundle.
///
/// # Errors
///
/// [`NotABundle`]: a length lies, bytes are left over, or `width` is not 1 to 256.
pub fn entries(bundle: &[u8], width: u64) -> Result<Vec<&[u8]>, NotABundle> {
    let mut rest = bundle;
    let mut found = Vec::new();
    while !rest.is_empty() && found.len() < TILE_WIDTH as usize {
        let (length, after) = rest.split_first_chunk::<2>().ok_or(NotABundle { width })?;
        let length = usize::from(u16::from_be_bytes(*length));
        let entry = after.get(..length).ok_or(NotABundle { width })?;
        rest = &after[length..];
        found.push(entry);
    }
    if rest.is_empty() && found.len() as u64 == width && width > 0 {
        Ok(found)
    } else {
        Err(NotABundle { width })
    }
}

/// One tile of hashes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tile {
    /// 0: leaves; each level stands on 256 of the level below.
    pub level: u8,
    /// Which of its level.
    pub index: u64,
    /// Its hashes, 1 to 256.
    pub hashes: Vec<Hash>,
}

impl Tile {
    /// Where it is served.
    #[must_use]
    pub fn path(&self) -> String {
        tile_path(self.level, self.index, self.hashes.len() as u64)
    }

    /// What is served there.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        self.hashes.concat()
    }
}

/// Makes tiles from leaves in their order; holds one open tile a level, so 8 KiB times the
/// logarithm of the size.
#[derive(Debug, Default)]
pub struct Tiler {
    open: Vec<Tile>,
}

impl Tiler {
    /// Of an empty log.
    #[must_use]
    pub fn new() -> Tiler {
        Tiler::default()
    }

    /// Adds the next leaf; returns the tiles that are full now, lowest first.
    pub fn push(&mut self, leaf: Hash) -> Vec<Tile> {
        let mut full = Vec::new();
        let mut hash = leaf;
        for level in 0..=u8::MAX {
            let slot = usize::from(level);
            if slot == self.open.len() {
                self.open.push(Tile { level, index: 0, hashes: Vec::new() });
            }
            let tile = &mut self.open[slot];
            tile.hashes.push(hash);
            if tile.hashes.len() as u64 != TILE_WIDTH {
                break;
            }
            let next = Tile { level, index: tile.index + 1, hashes: Vec::new() };
            let done = std::mem::replace(tile, next);
            let mut tree = Frontier::new();
            done.hashes.iter().for_each(|hash| tree.push(*hash));
            hash = tree.root();
            full.push(done);
        }
        full
    }

    /// The tiles that are not full: what a head of this size needs besides the full ones.
    #[must_use]
    pub fn partial(self) -> Vec<Tile> {
        self.open.into_iter().filter(|tile| !tile.hashes.is_empty()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::tree::leaf_hash;
    use crate::id::Digest;

    /// Goal: paths and bytes are those that others made of the same leaves.
    #[test]
    fn golden_tiles() {
        assert_eq!(tile_path(0, 1_234_067, 256), "tile/0/x001/x234/067");
        assert_eq!(tile_path(2, 0, 1), "tile/2/000.p/1");
        assert_eq!(entries_path(1_000, 112), "tile/entries/x001/000.p/112");
        let data: [&[u8]; 8] =
            [b"", b"\x00", b"\x10", b" !", b"01", b"@ABC", b"PQRSTUVW", b"`abcdefghijklmno"];
        let (mut tiler, mut bundle) = (Tiler::new(), Vec::new());
        for entry in data {
            assert_eq!(tiler.push(leaf_hash(entry)), []);
            push_entry(&mut bundle, entry);
        }
        let [tile] = &tiler.partial()[..] else { panic!("eight leaves are one tile") };
        assert_eq!(tile.path(), "tile/0/000.p/8");
        assert_eq!(
            Digest::of(&tile.bytes()).hex(),
            "aea2f1bbb5140fd5f8eacb503fdf54c00c3d860c72588e40233addd416bc8f10"
        );
        assert_eq!(
            crate::id::hex(&bundle),
            "00000001000001100002202100023031000440414243000850515253545556570010606162636465666768696a6b6c6d6e6f"
        );
        assert_eq!(entries(&bundle, 8).unwrap(), data);
    }

    #[test]
    fn a_large_log_has_three_levels() {
        let mut tiler = Tiler::new();
        let mut full = [0; 3];
        for i in 0..70_000_u32 {
            for tile in tiler.push(leaf_hash(&i.to_be_bytes())) {
                assert_eq!(tile.index, full[usize::from(tile.level)]);
                full[usize::from(tile.level)] += 1;
            }
        }
        assert_eq!(full, [273, 1, 0]);
        let paths: Vec<String> = tiler.partial().iter().map(Tile::path).collect();
        assert_eq!(paths, ["tile/0/273.p/112", "tile/1/001.p/17", "tile/2/000.p/1"]);
    }

    #[test]
    fn a_lying_bundle_is_refused() {
        let mut bundle = Vec::new();
        (0..3).for_each(|_| push_entry(&mut bundle, b"entry"));
        assert!(entries(&bundle, 3).is_ok());
        for width in [0, 2, 4, 256] {
            assert!(entries(&bundle, width).is_err(), "{width}");
        }
        assert!(entries(&bundle[..bundle.len() - 1], 3).is_err());
        assert!(entries(&[&bundle[..], &[0]].concat(), 3).is_err());
        let many: Vec<u8> = [0, 0].repeat(257);
        assert!(entries(&many, 257).is_err());
        assert!(entries(&many[..512], 256).is_ok());
        assert!(entries(&[], 0).is_err());
    }
}
