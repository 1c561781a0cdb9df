//! Removes what runs leave in the state folder when their process dies at the wrong moment.

use std::fs;

use crate::run::event::RunState;
use crate::store::Reader;

/// Removes the scratch folders of runs that are finished: their process died between the last
/// commit and the clean-up. What cannot be removed is litter, not a failure of anything.
pub(super) fn scratch(reader: &Reader) {
    let layout = reader.layout();
    let Ok(folders) = fs::read_dir(layout.root().join("runs")) else { return };
    for folder in folders.flatten() {
        let name = folder.file_name();
        let Some(id) = name.to_str().and_then(|name| name.parse().ok()) else { continue };
        // A run whose row cannot be read may still be under way.
        if let Ok(Some(row)) = reader.run_row(id)
            && row.state == RunState::Finished
        {
            let _ = fs::remove_dir_all(layout.run_scratch(id));
        }
    }
}
