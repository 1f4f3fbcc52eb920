//! Files whose plain lowering has no results to compare with, and why.
//!
//! ```text
//! ("detect/out_of_bounds", "undefined", "…"),      file, class, reason
//! ```

/// File, [`NoBaseline::class`](super::baseline::NoBaseline::class), reason.
pub const EXCLUDED: &[(&str, &str, &str)] = &[];
