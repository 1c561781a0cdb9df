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
