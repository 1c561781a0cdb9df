//! runbook + inputs + targets → the frozen plan and its digest.
