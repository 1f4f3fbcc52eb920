//! Why a kernel cannot be run, or could not be run to its end.

use alcop_system::memory::OutOfMemory;

use crate::ptx::{ParseError, Space};

/// An error of the emulator. Hazards are not errors but part of the report; where they are looked for, misaligned and
/// out-of-bounds accesses are among them.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum EmulatorError {
    /// User's mistake: the text is not PTX.
    #[error(transparent)]
    Parse(#[from] ParseError),
    /// User's mistake: no such entry.
    #[error("the module has no entry `{entry}`; it has: {}", known.join(", "))]
    UnknownEntry {
        /// The name asked for.
        entry: String,
        /// The entries that there are.
        known: Vec<String>,
    },
    /// A limit of ours: an instruction that the emulator does not know. Found before anything runs.
    #[error("PTX line {line}: the emulator does not know this instruction ({reason}): `{text}`")]
    UnsupportedInstruction {
        /// Line of the PTX text.
        line: u32,
        /// What about it.
        reason: String,
        /// The line.
        text: String,
    },
    /// User's mistake: the launch cannot be.
    #[error("this launch cannot be: {message}")]
    BadLaunch {
        /// What, with the numbers.
        message: String,
    },
    /// User's mistake: an argument that does not fit the entry's parameter.
    #[error("argument {index} does not fit: {message}")]
    BadArgument {
        /// Position, from 0.
        index: usize,
        /// What, with the numbers.
        message: String,
    },
    /// A limit of the machine: arguments or variables that memory has no room for.
    #[error("{0}; give the kernel smaller arrays")]
    Memory(#[from] OutOfMemory),
    /// A fault of the kernel: an access outside every allocation.
    #[error("{at}: {bytes} bytes at {space} address {address:#x} are out of bounds: {detail}")]
    OutOfBounds {
        /// Where.
        at: Box<At>,
        /// Memory.
        space: Space,
        /// First byte.
        address: u64,
        /// Width.
        bytes: u32,
        /// What is near.
        detail: String,
    },
    /// A fault of the kernel: an address that is no multiple of the access width.
    #[error("{at}: {space} address {address:#x} is not a multiple of the access width of {bytes} bytes: {detail}")]
    Misaligned {
        /// Where.
        at: Box<At>,
        /// Memory.
        space: Space,
        /// First byte.
        address: u64,
        /// Width.
        bytes: u32,
        /// What is near.
        detail: String,
    },
    /// A fault of the kernel: threads wait at barriers that the others never reach.
    #[error("deadlock in kernel `{kernel}`, block {block:?}: {waiting}")]
    Deadlock {
        /// The entry.
        kernel: String,
        /// The block.
        block: [u32; 3],
        /// Which warps wait where.
        waiting: String,
    },
    /// A limit of ours: a block waits for another one, and blocks run one after the other.
    #[error(
        "{at}: waits in a loop for address {address:#x} to change, which no thread of its block will do; blocks run one after the other here, in order, so that a block can wait only for earlier ones"
    )]
    WaitsForBlock {
        /// Where.
        at: Box<At>,
        /// What it reads again and again.
        address: u64,
    },
    /// The kernel did not end within the limit.
    #[error(
        "block {block:?} made {steps} warp instructions without an end (limit {limit}); last at {at}: an endless loop, or a limit that is too low"
    )]
    StepLimit {
        /// The block.
        block: [u32; 3],
        /// Instructions made.
        steps: u64,
        /// The limit.
        limit: u64,
        /// Where it was.
        at: Box<At>,
    },
    /// A fault of the kernel: an operation whose operands make no sense.
    #[error("{at}: {message}")]
    Fault {
        /// Where.
        at: Box<At>,
        /// What.
        message: String,
    },
}

/// A place in an execution.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("PTX line {line}{} `{text}`, kernel `{kernel}`, block {block:?}, warp {warp}, lane {lane}", location.as_ref().map(|l| format!(" ({l})")).unwrap_or_else(String::new))]
pub struct At {
    /// The entry that ran.
    pub kernel: String,
    /// Line of the PTX text.
    pub line: u32,
    /// Its text.
    pub text: String,
    /// `file:line:column` where the PTX has it.
    pub location: Option<String>,
    /// Block index.
    pub block: [u32; 3],
    /// Warp of the block.
    pub warp: u32,
    /// Lane of the warp.
    pub lane: u32,
}
