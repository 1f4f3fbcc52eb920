//! Memories: allocations of device memory with bounds, and the shared and local memory of a block.
//!
//! Addresses are made up so that every mistake shows: each allocation has 64 GiB of address space of its own and
//! starts 256 bytes (and no more) aligned in it, so that an index that runs over never meets a neighbour.

use std::sync::atomic::{AtomicU32, Ordering};

use alcop_system::memory::{self, OutOfMemory};

/// Generic addresses of shared memory start here.
pub(crate) const SHARED_WINDOW: u64 = 1 << 40;
/// Generic addresses of local memory start here.
pub(crate) const LOCAL_WINDOW: u64 = 2 << 40;
/// Generic addresses of kernel parameters start here.
pub(crate) const PARAM_WINDOW: u64 = 3 << 40;
/// Bytes of a shared, local or parameter window.
pub(crate) const WINDOW_BYTES: u64 = 1 << 32;
/// Address space of one allocation of device memory.
const SLOT_BITS: u32 = 36;
/// Addresses of device memory start here.
pub(crate) const GLOBAL_WINDOW: u64 = 0x7000_0000_0000;
const OFFSET_IN_SLOT: u64 = 256;
/// Bytes of an array in device memory at most.
pub const MOST_BYTES: u64 = (1 << SLOT_BITS) - 2 * OFFSET_IN_SLOT;

/// The address of the allocation with that number.
pub(crate) const fn global_base(index: usize) -> u64 {
    GLOBAL_WINDOW + ((index as u64) << SLOT_BITS) + OFFSET_IN_SLOT
}

/// Device memory: allocations that blocks on several cores read and write at once.
///
/// Words are relaxed atomics, so that a kernel with races between blocks is wrong but not undefined.
#[derive(Debug, Default)]
pub struct GlobalMemory {
    allocations: Vec<Allocation>,
}

#[derive(Debug)]
struct Allocation {
    /// What it is, for messages: an argument, a variable.
    name: String,
    bytes: usize,
    words: Vec<AtomicU32>,
}

impl GlobalMemory {
    /// No allocation.
    pub fn new() -> Self {
        Self::default()
    }

    /// Copies an array to the device and returns its address (a multiple of 256 bytes). It has at most
    /// [`MOST_BYTES`].
    ///
    /// # Errors
    /// There is not so much memory.
    pub fn allocate(&mut self, data: &[u8]) -> Result<u64, OutOfMemory> {
        let name = format!("allocation {}", self.allocations.len());
        self.allocate_as(name, data)
    }

    /// As [`GlobalMemory::allocate`]; messages call it by that name.
    ///
    /// # Errors
    /// There is not so much memory.
    pub fn allocate_as(&mut self, name: String, data: &[u8]) -> Result<u64, OutOfMemory> {
        let mut words: Vec<AtomicU32> =
            memory::zeroed(data.len().div_ceil(4) as u128, &format!("{name} on the device"))?;
        for (word, chunk) in words.iter_mut().zip(data.chunks(4)) {
            let mut bytes = [0u8; 4];
            bytes[..chunk.len()].copy_from_slice(chunk);
            // What stays zero takes no memory.
            if bytes != [0; 4] {
                *word.get_mut() = u32::from_le_bytes(bytes);
            }
        }
        self.allocations.push(Allocation {
            name,
            bytes: data.len(),
            words,
        });
        Ok(global_base(self.allocations.len() - 1))
    }

    /// Copies the allocation at an address back into an array of its size; false where none such starts there.
    pub fn read_back(&self, address: u64, data: &mut [u8]) -> bool {
        let allocation = slot(address)
            .filter(|&index| global_base(index) == address)
            .and_then(|index| self.allocations.get(index))
            .filter(|allocation| allocation.bytes == data.len());
        let Some(allocation) = allocation else { return false };
        for (chunk, word) in data.chunks_mut(4).zip(&allocation.words) {
            let bytes = word.load(Ordering::Relaxed).to_le_bytes();
            // Zeros that nobody has written to take no memory, and stay so.
            if *chunk != bytes[..chunk.len()] {
                chunk.copy_from_slice(&bytes[..chunk.len()]);
            }
        }
        true
    }

    /// Bytes of all allocations.
    pub(crate) fn bytes(&self) -> u64 {
        self.allocations.iter().map(|allocation| allocation.bytes as u64).sum()
    }

    /// Allocations.
    pub(crate) fn allocations(&self) -> usize {
        self.allocations.len()
    }

    /// Bytes of the allocation of that number.
    pub(crate) fn bytes_of(&self, allocation: usize) -> usize {
        self.allocations
            .get(allocation)
            .map_or(0, |allocation| allocation.bytes)
    }

    /// The allocation that an address belongs to, by number and size in bytes.
    pub(crate) fn allocation_of(&self, address: u64) -> Option<(usize, usize)> {
        let index = slot(address)?;
        Some((index, self.allocations.get(index)?.bytes))
    }

    /// What lies around an address, for messages.
    pub(crate) fn describe(&self, address: u64) -> String {
        let in_slot = slot(address).and_then(|index| Some((index, self.allocations.get(index)?)));
        // Far behind the last allocation that one is still the nearest.
        let last = || Some(self.allocations.len().checked_sub(1)?).zip(self.allocations.last());
        match in_slot.or_else(|| last().filter(|_| address >= GLOBAL_WINDOW)) {
            Some((index, allocation)) => {
                let offset = i128::from(address) - i128::from(global_base(index));
                let end = allocation.bytes as i128;
                let where_it_is = match offset {
                    ..0 => format!("{} bytes before the start of", -offset),
                    _ if offset >= end => format!("{} bytes behind the end of", offset - end),
                    _ => format!("byte {offset} of"),
                };
                format!(
                    "{where_it_is} {}, which has {} bytes",
                    allocation.name, allocation.bytes
                )
            }
            None if address < 4096 => "a null pointer".to_owned(),
            None => "no allocation is near".to_owned(),
        }
    }

    fn at(&self, address: u64, bytes: u32) -> Option<(&Allocation, usize)> {
        let index = slot(address)?;
        let allocation = self.allocations.get(index)?;
        let offset = address.checked_sub(global_base(index))? as usize;
        (offset + bytes as usize <= allocation.bytes).then_some((allocation, offset))
    }

    /// Reads up to 8 bytes, aligned to their number.
    pub(crate) fn read(&self, address: u64, bytes: u32) -> Option<u64> {
        let (allocation, offset) = self.at(address, bytes)?;
        let low = allocation.words[offset / 4].load(Ordering::Relaxed);
        Some(match bytes {
            4 => u64::from(low),
            8 => u64::from(low) | (u64::from(allocation.words[offset / 4 + 1].load(Ordering::Relaxed)) << 32),
            _ => u64::from(low >> (8 * (offset % 4))) & ((1 << (8 * bytes)) - 1),
        })
    }

    /// Reads 16 aligned bytes.
    #[inline(always)]
    pub(crate) fn read_16(&self, address: u64) -> Option<[u32; 4]> {
        let (allocation, offset) = self.at(address, 16)?;
        let words = allocation.words.get(offset / 4..offset / 4 + 4)?;
        Some(std::array::from_fn(|i| words[i].load(Ordering::Relaxed)))
    }

    /// Whether so many bytes lie inside one allocation.
    pub(crate) fn contains(&self, address: u64, bytes: u32) -> bool {
        self.at(address, bytes).is_some()
    }

    /// Writes up to 8 bytes, aligned to their number; false where no allocation holds them.
    pub(crate) fn write(&self, address: u64, bytes: u32, value: u64) -> bool {
        let Some((allocation, offset)) = self.at(address, bytes) else {
            return false;
        };
        let word = &allocation.words[offset / 4];
        match bytes {
            4 => word.store(value as u32, Ordering::Relaxed),
            8 => {
                word.store(value as u32, Ordering::Relaxed);
                allocation.words[offset / 4 + 1].store((value >> 32) as u32, Ordering::Relaxed);
            }
            _ => {
                let shift = 8 * (offset % 4);
                let mask = ((1u32 << (8 * bytes)) - 1) << shift;
                let new = ((value as u32) << shift) & mask;
                let mut old = word.load(Ordering::Relaxed);
                // Another core may write the word's other bytes meanwhile.
                while let Err(now) =
                    word.compare_exchange_weak(old, (old & !mask) | new, Ordering::Relaxed, Ordering::Relaxed)
                {
                    old = now;
                }
            }
        }
        true
    }
}

fn slot(address: u64) -> Option<usize> {
    Some((address.checked_sub(GLOBAL_WINDOW)? >> SLOT_BITS) as usize)
}

/// Shared memory of a block, or local memory of a thread: bytes, and for each whether it was ever written.
#[derive(Clone, Debug)]
pub(crate) struct Scratch {
    pub data: Vec<u8>,
    /// 1 where nothing defined was written yet.
    pub poison: Vec<u8>,
}

impl Scratch {
    /// Never written memory reads as bytes 0xff: not-a-number in every float format.
    pub(crate) fn new(bytes: usize) -> Self {
        Scratch {
            data: vec![0xff; bytes],
            poison: vec![1; bytes],
        }
    }

    pub(crate) fn contains(&self, address: u64, bytes: u32) -> bool {
        address
            .checked_add(u64::from(bytes))
            .is_some_and(|end| end <= self.data.len() as u64)
    }

    /// Reads up to 8 bytes with their poison bits. The caller has checked the bounds.
    #[inline(always)]
    pub(crate) fn read(&self, address: u64, bytes: u32) -> (u64, u32) {
        let at = address as usize;
        match bytes {
            4 => {
                let (data, poison) = (&self.data[at..at + 4], &self.poison[at..at + 4]);
                let value = u32::from_le_bytes([data[0], data[1], data[2], data[3]]);
                let flags = u32::from_le_bytes([poison[0], poison[1], poison[2], poison[3]]);
                (u64::from(value), if flags == 0 { 0 } else { gather(poison) })
            }
            2 => {
                let value = u16::from_le_bytes([self.data[at], self.data[at + 1]]);
                let flags = u32::from(self.poison[at]) | (u32::from(self.poison[at + 1]) << 1);
                (u64::from(value), flags)
            }
            _ => {
                let mut value = [0u8; 8];
                value[..bytes as usize].copy_from_slice(&self.data[at..at + bytes as usize]);
                (u64::from_le_bytes(value), gather(&self.poison[at..at + bytes as usize]))
            }
        }
    }

    /// Writes up to 8 bytes; bit i of `poison` marks byte i undefined. The caller has checked the bounds.
    #[inline(always)]
    pub(crate) fn write(&mut self, address: u64, bytes: u32, value: u64, poison: u32) {
        let at = address as usize;
        self.data[at..at + bytes as usize].copy_from_slice(&value.to_le_bytes()[..bytes as usize]);
        for (i, flag) in self.poison[at..at + bytes as usize].iter_mut().enumerate() {
            *flag = ((poison >> i) & 1) as u8;
        }
    }
}

impl Scratch {
    /// Writes 16 defined bytes. The caller has checked the bounds.
    #[inline(always)]
    pub(crate) fn write_16(&mut self, address: u64, words: [u32; 4]) {
        let at = address as usize;
        for (bytes, word) in self.data[at..at + 16].chunks_exact_mut(4).zip(words) {
            bytes.copy_from_slice(&word.to_le_bytes());
        }
        self.poison[at..at + 16].fill(0);
    }
}

/// Flags of bytes to bits.
fn gather(flags: &[u8]) -> u32 {
    flags
        .iter()
        .enumerate()
        .fold(0, |bits, (i, &flag)| bits | (u32::from(flag) << i))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn allocations_have_bounds() {
        let mut memory = GlobalMemory::new();
        let a = memory.allocate(&[1, 2, 3, 4, 5, 6]).expect("six bytes");
        assert_eq!(a % 256, 0);
        assert_ne!(a % 512, 0, "alignment beyond 256 bytes would hide mistakes");
        assert_eq!(memory.read(a + 2, 2), Some(0x0403));
        assert_eq!(memory.read(a + 4, 4), None);
        assert!(memory.write(a + 5, 1, 0xee));
        assert!(!memory.write(a + 6, 1, 0xee));
        assert!(!memory.write(a.wrapping_sub(1), 1, 0xee));
        let mut back = [0; 6];
        assert!(memory.read_back(a, &mut back) && !memory.read_back(a + 4, &mut back));
        assert!(!memory.read_back(a, &mut [0; 5]), "another size");
        assert_eq!(back, [1, 2, 3, 4, 5, 0xee]);
        assert_eq!(memory.read(0, 4), None);
    }

    #[test]
    fn scratch_carries_poison_by_byte() {
        let mut scratch = Scratch::new(16);
        assert_eq!(scratch.read(0, 4), (0xffff_ffff, 0xf));
        scratch.write(0, 2, 0x1234, 0);
        assert_eq!(scratch.read(0, 4), (0xffff_1234, 0xc));
        scratch.write(2, 2, 0x5678, 0b10);
        assert_eq!(scratch.read(0, 4), (0x5678_1234, 0x8));
    }
}
