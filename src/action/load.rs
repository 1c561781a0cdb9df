//! `load`: how many tasks want to run on this host.

use procfs::{Current, LoadAverage};

use super::Cx;
use super::bounded::{Fields, found, reading, unknown};
use crate::outcome::{Outcome, Verdict};

/// Reads the load averages.
///
/// Fields: `one`, `five`, `fifteen` (minutes), `per_core` (`one` over the processors that this
/// process may use), `cores`.
pub async fn perform(cx: &Cx) -> Outcome {
    match reading(cx, |_| look()).await {
        Ok(outcome) | Err(outcome) => outcome,
    }
}

fn look() -> Outcome {
    let load = match LoadAverage::current() {
        Ok(load) => load,
        Err(why) => return unknown("E_PROC", format!("read the load averages: {why}")),
    };
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    // The kernel writes two decimals; through 32-bit floats they would gain false ones.
    let two_decimals = |value: f32| (f64::from(value) * 100.0).round() / 100.0;
    let fields = Fields::default()
        .set("one", two_decimals(load.one))
        .set("five", two_decimals(load.five))
        .set("fifteen", two_decimals(load.fifteen))
        .set("per_core", (f64::from(load.one) / cores as f64 * 100.0).round() / 100.0)
        .set("cores", cores);
    found(Verdict::Ok, fields.0)
}
