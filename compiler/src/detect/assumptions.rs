//! What a caller promises of a kernel's arguments, where the IR does not say it, and which of it a verdict rests on.
//!
//! ```text
//! gpu.func @k(%a: memref<64x64xf32>, %b: memref<64x64xf32> {llvm.align = 4})
//! %a is taken as 16-byte aligned (argument 0: aligned to 16 bytes); of %b the IR's word counts
//! ```
//!
//! Only the pointer is assumed to be aligned. Offsets and strides of a descriptor are what they are known to be.

use std::collections::BTreeSet;

use alcop_spec::Assumption;

use super::copies::Site;
use super::kernel::Touch;
use super::memory::{Alias, Root, Space};
use super::shared::Case;
use crate::ir::{Def, Value};

/// What is assumed of the arguments of all kernels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assumptions {
    /// The aligned pointer of each memref is a multiple of so many bytes, where nothing in the IR says how it is aligned. A
    /// power of two; 1 assumes nothing.
    pub aligned: u64,
    /// Different arguments do not overlap.
    pub noalias: bool,
}

impl Assumptions {
    /// What allocators of GPU memory give at least: cudaMalloc 256 bytes (CUDA C++ Programming Guide, "Device Memory
    /// Accesses"), pools of frameworks 16 and more; and as much as the widest `cp.async` asks for.
    pub const DEFAULT_ALIGNED: u64 = 16;

    /// Nothing beside the IR.
    pub const NOTHING: Assumptions = Assumptions {
        aligned: 1,
        noalias: false,
    };

    /// As little as these rest on.
    pub fn of<'a>(listed: impl IntoIterator<Item = &'a Assumption>) -> Assumptions {
        let mut all = Assumptions::NOTHING;
        for one in listed {
            match one {
                Assumption::Aligned { bytes, .. } => all.aligned = all.aligned.max(*bytes),
                Assumption::NoAlias { .. } => all.noalias = true,
            }
        }
        all
    }
}

impl Default for Assumptions {
    fn default() -> Self {
        Assumptions {
            aligned: Self::DEFAULT_ALIGNED,
            noalias: false,
        }
    }
}

/// The position of the argument that a root is; of a launch, that of the function around it.
fn position(root: Root<'_>) -> Option<usize> {
    match root {
        Root::Argument(position) => Some(position),
        Root::Outside(value) => outer_position(value),
        _ => None,
    }
}

fn outer_position(value: Value<'_>) -> Option<usize> {
    match value.def() {
        Def::Argument(_, position) => Some(position),
        Def::Result(..) => None,
    }
}

impl<'ir> Case<'_, 'ir> {
    /// What the caller must keep to, so that these copies have their widths and may run ahead.
    pub fn assumed(&self, sites: &[Site<'ir>]) -> Vec<Assumption> {
        let mut found = BTreeSet::new();
        let options = &self.scene.memory.assumptions;
        for load in sites.iter().filter_map(|site| Some((site, site.load.as_ref()?))) {
            let (site, load) = load;
            let Some(argument) = position(load.place.root) else {
                continue;
            };
            if !site.narrow && options.aligned > 1 && self.needs_assumed_base(load, u64::from(site.bytes)) {
                let bytes = options.aligned;
                found.insert(Assumption::Aligned { argument, bytes });
            }
            if options.noalias {
                found.extend(self.kept_apart(load).into_iter().map(|other| Assumption::NoAlias {
                    argument: argument.min(other),
                    other: argument.max(other),
                }));
            }
        }
        found.into_iter().collect()
    }

    /// The written arguments that only the caller's word keeps apart from what a copy reads.
    fn kept_apart(&self, load: &Touch<'ir>) -> BTreeSet<usize> {
        let memory = &self.scene.memory;
        let touches = self.scene.touches.iter().filter(|touch| touch.writes);
        touches
            .filter(|touch| touch.place.space != Space::Workgroup)
            .filter(|touch| memory.alias_as_stated(&touch.place, &load.place) == Alias::May)
            .filter_map(|touch| position(touch.place.root))
            .collect()
    }
}
