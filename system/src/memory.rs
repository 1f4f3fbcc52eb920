//! Memory that may run out: sizes that come from a user are asked for, and an error says how many bytes they were.
//!
//! ```text
//! zeros of 3×10^9 f32  ->  "argument 0 takes 12.0 GB (12000000000 bytes), more than is left of memory"
//! ```

use bytemuck::{NoUninit, Zeroable};

use crate::usage::left_bytes;

/// Memory that there is not.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what} takes {}, more than is left of memory", size(*bytes))]
pub struct OutOfMemory {
    /// What was to be kept.
    pub what: String,
    /// Its size; `u128::MAX` stands for all that is larger.
    pub bytes: u128,
}

/// `12.0 GB (12000000000 bytes)`.
fn size(bytes: u128) -> String {
    match bytes {
        u128::MAX => "2^128 bytes or more".to_owned(),
        ..1_000_000_000 => format!("{bytes} bytes"),
        _ => format!("{:.1} GB ({bytes} bytes)", bytes as f64 / 1e9),
    }
}

impl OutOfMemory {
    fn new(what: &str, bytes: u128) -> OutOfMemory {
        OutOfMemory {
            what: what.to_owned(),
            bytes,
        }
    }
}

/// The product of extents, which may be more than memory has; `u128::MAX` where it is more than that.
pub fn product(extents: impl IntoIterator<Item = u64>) -> u128 {
    let mut product = 1u128;
    for extent in extents {
        if extent == 0 {
            return 0;
        }
        product = product.saturating_mul(u128::from(extent));
    }
    product
}

/// Below so many bytes nobody asks how much there is.
const SMALL_BYTES: u128 = 64 << 20;

/// An empty vector with room for so many elements, all of which will be written: refused as well where the system would
/// promise the memory, and end a process when it is written.
///
/// # Errors
/// There is not so much.
pub fn reserve<T>(elements: u128, what: &str) -> Result<Vec<T>, OutOfMemory> {
    let bytes = elements.saturating_mul(size_of::<T>() as u128);
    let short = || OutOfMemory::new(what, bytes);
    if bytes >= SMALL_BYTES && left_bytes().is_some_and(|left| bytes > u128::from(left)) {
        return Err(short());
    }
    let elements = usize::try_from(elements).map_err(|_| short())?;
    let mut vector = Vec::new();
    vector.try_reserve_exact(elements).map_err(|_| short())?;
    Ok(vector)
}

/// So many zeros. The system gives their memory only where something else is written.
///
/// # Errors
/// There is not so much.
pub fn zeroed<T: Zeroable>(elements: u128, what: &str) -> Result<Vec<T>, OutOfMemory> {
    let bytes = elements.saturating_mul(size_of::<T>() as u128);
    usize::try_from(elements)
        .ok()
        .filter(|_| isize::try_from(bytes).is_ok())
        .and_then(|elements| bytemuck::allocation::try_zeroed_vec(elements).ok())
        .ok_or_else(|| OutOfMemory::new(what, bytes))
}

/// A copy of data.
///
/// # Errors
/// There is no room for it.
pub fn copy<T: NoUninit>(data: &[T], what: &str) -> Result<Vec<T>, OutOfMemory> {
    let mut copy = reserve(data.len() as u128, what)?;
    copy.extend_from_slice(data);
    Ok(copy)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_says_its_bytes() {
        let short = zeroed::<u64>(1 << 58, "x").expect_err("more than any machine has");
        assert_eq!(short.bytes, 1 << 61);
        assert_eq!(
            short.to_string(),
            "x takes 2305843009.2 GB (2305843009213693952 bytes), more than is left of memory"
        );
        let short = reserve::<u16>(product([u64::MAX; 3]), "x").expect_err("more than addresses reach");
        assert!(short.to_string().contains("2^128 bytes or more"), "{short}");
        assert_eq!(product([u64::MAX, u64::MAX, u64::MAX, 0]), 0);
        assert_eq!(product([3, 5]), 15);
    }

    #[test]
    fn what_fits_is_given() {
        assert_eq!(zeroed::<u32>(3, "x"), Ok(vec![0; 3]));
        assert_eq!(copy(&[1u8, 2], "x"), Ok(vec![1, 2]));
        let room = reserve::<u8>(100, "x").expect("a hundred bytes");
        assert!(room.is_empty() && room.capacity() >= 100);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn the_system_promises_more_than_it_has() {
        let left = left_bytes().expect("Linux says");
        assert!(reserve::<u8>(u128::from(left) * 2, "x").is_err());
    }
}
