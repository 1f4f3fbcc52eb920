//! KNOWN: faults of ours that stand, each to be mended. Delete an entry (or edit its second field) when its file comes
//! out right: the test is red until then, and says what it found.
//!
//! ```text
//! ("plain/guard_select_row", "1/1 2/1 3/1 3/2: differs", "…"),      file, what is found, what is wrong
//! ```

/// File, [`Checked::faults`](super::baseline::Checked::faults), what is wrong.
pub const KNOWN: &[(&str, &str, &str)] = &[];
