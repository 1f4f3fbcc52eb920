//! Hazards as they are reported: what, where, and the accesses.
//!
//! ```text
//! read-before-wait: PTX line 21 (k.mlir:2:7) `ld.shared.b32 …`, warp 1, lane 5, kernel `k`, block [0, 0, 0],
//!   address 0x28; before it PTX line 20 (k.mlir:1:7) `cp.async.ca.shared.global …`, warp 1, lane 5
//! ```

use serde::{Deserialize, Serialize};

use super::super::error::EmulatorError;

/// What is wrong, by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum HazardCode {
    /// Bytes of an asynchronous copy are read before its thread has waited for it.
    ReadBeforeWait,
    /// Bytes of another thread's copy, which that thread has waited for, are read without a barrier since.
    ReadWithoutBarrier,
    /// Bytes that an asynchronous copy in flight will write are written.
    OverwriteInFlight,
    /// Bytes are overwritten although no barrier follows their last read by another thread.
    OverwriteBeforeRead,
    /// Two threads access the same bytes, one of them writing, with no barrier in between.
    Race,
    /// An aligned barrier that only some lanes of a warp execute.
    DivergentBarrier,
    /// An undefined value reaches a global store, an address, a branch or a predicate.
    UndefinedValue,
    /// The source of an asynchronous copy is written while the copy may still read it.
    CopySourceModified,
    /// Two blocks access the same bytes of global memory, one of them writing, and nothing orders them.
    RaceBetweenBlocks,
    /// An `mbarrier` is used in a way that has no meaning.
    MbarrierMisuse,
    /// An access outside every allocation, or outside of its shared, local or parameter memory. The block ends there.
    OutOfBounds,
    /// An address that is no multiple of the width of its access. The block ends there.
    Misaligned,
    /// Note: threads that nothing orders write the same value to the same bytes.
    SameValuedWrites,
    /// Note: lanes of one store write floats that differ in their last bits to the same bytes.
    LanesDifferInRounding,
    /// Note: an asynchronous copy is never committed to a group.
    CopyNeverCommitted,
    /// Note: an asynchronous copy is committed but never waited for.
    CopyNeverWaitedFor,
    /// Note: a wait in a loop could let one more group stay in flight, every time.
    WaitTooStrict,
}

impl HazardCode {
    /// The code in JSON.
    pub const fn name(self) -> &'static str {
        match self {
            HazardCode::ReadBeforeWait => "read-before-wait",
            HazardCode::ReadWithoutBarrier => "read-without-barrier",
            HazardCode::OverwriteInFlight => "overwrite-in-flight",
            HazardCode::OverwriteBeforeRead => "overwrite-before-read",
            HazardCode::Race => "race",
            HazardCode::DivergentBarrier => "divergent-barrier",
            HazardCode::UndefinedValue => "undefined-value",
            HazardCode::CopySourceModified => "copy-source-modified",
            HazardCode::RaceBetweenBlocks => "race-between-blocks",
            HazardCode::MbarrierMisuse => "mbarrier-misuse",
            HazardCode::OutOfBounds => "out-of-bounds",
            HazardCode::Misaligned => "misaligned",
            HazardCode::SameValuedWrites => "same-valued-writes",
            HazardCode::LanesDifferInRounding => "lanes-differ-in-rounding",
            HazardCode::CopyNeverCommitted => "copy-never-committed",
            HazardCode::CopyNeverWaitedFor => "copy-never-waited-for",
            HazardCode::WaitTooStrict => "wait-too-strict",
        }
    }

    /// Whether it is a remark rather than an error, unless `strict` is asked for.
    pub const fn is_note(self) -> bool {
        matches!(
            self,
            HazardCode::SameValuedWrites
                | HazardCode::LanesDifferInRounding
                | HazardCode::CopyNeverCommitted
                | HazardCode::CopyNeverWaitedFor
                | HazardCode::WaitTooStrict
        )
    }
}

/// One of the two accesses of a hazard.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccessInfo {
    /// Line of the PTX text.
    pub line: u32,
    /// `file:line:column` where the PTX has it.
    pub location: Option<String>,
    /// The instruction.
    pub text: String,
    /// Block; that of the hazard, except for the first access of a race between blocks.
    pub block: [u32; 3],
    /// Warp of the block.
    pub warp: u32,
    /// Lane of the warp.
    pub lane: u32,
}

/// A hazard, as in the JSON of `alcop run`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hazard {
    /// What.
    pub code: HazardCode,
    /// The entry that ran.
    #[serde(default)]
    pub kernel: String,
    /// PTX line of the later access.
    pub line: u32,
    /// `file:line:column` of the later access.
    pub location: Option<String>,
    /// Block.
    pub block: [u32; 3],
    /// Warp of the later access.
    pub warp: u32,
    /// Lane of the later access.
    pub lane: u32,
    /// First byte concerned, in the memory that the instructions access (for an undefined value: the address, or 0).
    pub address: u64,
    /// More words, where the code does not say it all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// The earlier access, where there are two.
    pub first: Option<AccessInfo>,
    /// The later access.
    pub second: AccessInfo,
    /// How often it occurred in this block at these two instructions.
    pub count: u64,
}

impl Hazard {
    /// The hazard that an access fault is; `None` for another error.
    pub(crate) fn of_fault(error: &EmulatorError) -> Option<Hazard> {
        let (code, at, space, address, bytes, detail) = match error {
            EmulatorError::OutOfBounds {
                at,
                space,
                address,
                bytes,
                detail,
            } => (HazardCode::OutOfBounds, at, space, *address, bytes, detail),
            EmulatorError::Misaligned {
                at,
                space,
                address,
                bytes,
                detail,
            } => (HazardCode::Misaligned, at, space, *address, bytes, detail),
            _ => return None,
        };
        let wrong = if code == HazardCode::OutOfBounds {
            "are out of bounds"
        } else {
            "are misaligned"
        };
        Some(Hazard {
            code,
            kernel: at.kernel.clone(),
            line: at.line,
            location: at.location.clone(),
            block: at.block,
            warp: at.warp,
            lane: at.lane,
            address,
            detail: Some(format!("{bytes} bytes of {space} memory {wrong}: {detail}")),
            first: None,
            second: AccessInfo {
                line: at.line,
                location: at.location.clone(),
                text: at.text.clone(),
                block: at.block,
                warp: at.warp,
                lane: at.lane,
            },
            count: 1,
        })
    }

    /// One line, for people.
    pub fn line(&self) -> String {
        let access = |info: &AccessInfo| {
            let location = info.location.as_ref().map(|l| format!(" ({l})")).unwrap_or_default();
            // The block of the hazard is said below.
            let block = if info.block == self.block {
                String::new()
            } else {
                format!("block {:?}, ", info.block)
            };
            format!(
                "PTX line {}{location} `{}`, {block}warp {}, lane {}",
                info.line, info.text, info.warp, info.lane
            )
        };
        let first = self
            .first
            .as_ref()
            .map(|first| format!("; before it {}", access(first)))
            .unwrap_or_default();
        let detail = self
            .detail
            .as_ref()
            .map(|detail| format!(" ({detail})"))
            .unwrap_or_default();
        format!(
            "{}{detail}: {}, kernel `{}`, block {:?}, address {:#x}{first}",
            self.code.name(),
            access(&self.second),
            self.kernel,
            self.block,
            self.address
        )
    }
}
