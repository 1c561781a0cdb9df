//! `memory`: how much of it is left on this host.

use procfs::{Current, Meminfo};

use super::Cx;
use super::bounded::{Fields, found, percent, reading, unknown};
use crate::outcome::{Outcome, Verdict};

/// Reads the kernel's own account, of the whole host also inside a container.
///
/// Fields: `available_bytes` (what could be had without swapping), `used_percent` (all but that),
/// `swap_used_percent` (0 without swap), `total_bytes`, `swap_total_bytes`.
pub async fn perform(cx: &Cx) -> Outcome {
    match reading(cx, |_| look()).await {
        Ok(outcome) | Err(outcome) => outcome,
    }
}

fn look() -> Outcome {
    let memory = match Meminfo::current() {
        Ok(memory) => memory,
        Err(why) => return unknown("E_PROC", format!("read the memory's state: {why}")),
    };
    // Kernels before 3.14 have no estimate; what is free or cached is the nearest to it.
    let available = memory.mem_available.unwrap_or(memory.mem_free + memory.cached);
    let used = memory.mem_total.saturating_sub(available);
    let swap_used = memory.swap_total.saturating_sub(memory.swap_free);
    let fields = Fields::default()
        .set("available_bytes", available)
        .set("used_percent", percent(used as f64, memory.mem_total as f64))
        .set("swap_used_percent", percent(swap_used as f64, memory.swap_total as f64))
        .set("total_bytes", memory.mem_total)
        .set("swap_total_bytes", memory.swap_total);
    found(Verdict::Ok, fields.0)
}
