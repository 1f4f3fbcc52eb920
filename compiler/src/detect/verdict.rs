//! Verdicts as plain data.

use std::fmt;

use alcop_spec::Assumption;
use serde::{Deserialize, Serialize};

use crate::ir::{BufferId, Location, OpId, Type};

/// The level of the memory hierarchy that a buffer is filled on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// Global → shared memory.
    Shared,
    /// Shared memory → registers.
    Register,
}

/// Whether loads can run ahead.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// As it is.
    Pipelinable,
    /// Once the element-wise work between load and store has moved to the consumer.
    AfterSinking,
    /// Not; the reasons say why.
    Rejected,
}

/// A stable code for a reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[allow(missing_docs)]
pub enum ReasonCode {
    NotAPureCopy,
    WidthUnsupported,
    AlignmentUnproven,
    NotContiguous,
    NotSequential,
    NotFullyOverwritten,
    BlockSizeUnknown,
    ReadBeforeWrite,
    ReadAfterLoop,
    SeveralWriters,
    SourceWrittenInLoop,
    MayAlias,
    SideEffectBetween,
    BarrierOrdersOtherMemory,
    InputRace,
    SyncPositionsDiffer,
    AlreadyPipelined,
    DoesNotFit,
    RegisterDepthExceedsChunk,
    UnknownOp,
}

/// As in JSON: `barrier-orders-other-memory`.
impl fmt::Display for ReasonCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.serialize(f)
    }
}

/// One failing check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reason {
    /// Its code.
    pub code: ReasonCode,
    /// The thing, the numbers, what would help.
    pub message: String,
    /// `file:line:column`.
    pub location: String,
}

impl Reason {
    pub(super) fn new(code: ReasonCode, message: impl Into<String>, location: Location<'_>) -> Self {
        Reason {
            code,
            message: message.into(),
            location: location.to_string(),
        }
    }
}

/// One copy into a buffer: the load, the store of what it loaded, and their width.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CopyOps {
    /// The load from global memory.
    pub load: OpId,
    /// The store to shared memory.
    pub store: OpId,
    /// Bytes of one asynchronous copy that it becomes; where it is staged, bytes that a thread moves.
    pub bytes: u32,
    /// Element-wise operations between them, which would move behind the reads of the buffer; operands first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub work: Vec<OpId>,
    /// Whether `cp.async` cannot move it, so that it is loaded into registers one chunk early.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub staged: bool,
    /// Why it is narrower than what a thread moves at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub narrowed: Option<String>,
}

/// The verdict on one buffer in one loop.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BufferVerdict {
    /// Which buffer; on the register level, which load.
    pub id: BufferId,
    /// `file:line:column`.
    pub location: String,
    /// The MLIR type.
    #[serde(rename = "type")]
    pub ty: String,
    /// Shared or register.
    pub level: Level,
    /// The loop that fills it, among all `scf.for` of the file; on the register level the loop around the load.
    #[serde(rename = "loop")]
    pub loop_index: Option<usize>,
    /// The loop's operation, where it is no `scf.for`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub loop_op: Option<String>,
    /// Bytes a block; of a register load, bytes a thread (0 where its type does not tell).
    pub bytes: u64,
    /// Whether its loads can run ahead.
    pub verdict: Verdict,
    /// The largest depth that fits, where only the width or the alignment of its copies keeps them from being
    /// asynchronous: its loads can still run ahead, through registers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub staged_depth: Option<u32>,
    /// The largest depth that fits.
    pub max_depth: Option<u32>,
    /// Bytes of one asynchronous copy; of the narrowest, where its copies differ ([`CopyOps::bytes`] has each). `None`
    /// where a copy is staged.
    pub async_bytes: Option<u32>,
    /// Buffers of one group share commit groups.
    pub group: Option<usize>,
    /// Every failing check.
    pub reasons: Vec<Reason>,
    /// What the caller must keep to, so that the verdict holds: what is assumed of arguments and not said in the IR.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub assumes: Vec<Assumption>,
    /// The copies that fill it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub copies: Vec<CopyOps>,
    /// Barriers of the loop that order only buffers which can be pipelined.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub barriers: Vec<OpId>,
    /// The loops around the one that fills it, outermost first, across whose iterations its loads can run ahead too.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub around: Vec<usize>,
    /// Whether it is used outside of the loops that fill it too, by accesses that see nothing of what those leave: an
    /// epilogue that stages its results there.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub reused: bool,
    /// On the register level: the loop that holds the load, where its k-steps can be unrolled into the loop that fills
    /// the shared buffer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inner_loop: Option<usize>,
    /// On the register level: the buffer it loads from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<BufferId>,
    /// On the register level: iterations of the inner loop.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub k_steps: Option<u64>,
    /// On the shared level: the register loads that read it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub feeds: Vec<BufferId>,
}

impl BufferVerdict {
    /// The buffer's name for people: `workgroup attribution 0`; on the register level that of the load.
    pub fn name(&self) -> String {
        match &self.id {
            BufferId::WorkgroupAttribution { position } => format!("workgroup attribution {position}"),
            BufferId::PrivateAttribution { position } => format!("private attribution {position}"),
            BufferId::FuncArg { position } => format!("argument {position}"),
            BufferId::OpResult { op, index } => format!("{op} {index}"),
            BufferId::Global { symbol } => format!("@{symbol}"),
        }
    }

    /// A verdict without reasons so far.
    pub(super) fn new(id: BufferId, location: Location<'_>, ty: Type<'_>, level: Level) -> Self {
        BufferVerdict {
            id,
            location: location.to_string(),
            ty: ty.to_string(),
            level,
            loop_index: None,
            loop_op: None,
            bytes: 0,
            verdict: Verdict::Pipelinable,
            staged_depth: None,
            max_depth: None,
            async_bytes: None,
            group: None,
            reasons: Vec::new(),
            assumes: Vec::new(),
            copies: Vec::new(),
            barriers: Vec::new(),
            around: Vec::new(),
            reused: false,
            inner_loop: None,
            source: None,
            k_steps: None,
            feeds: Vec::new(),
        }
    }

    /// Whether its loads can run ahead in some way: asynchronously, after sinking, or through registers.
    pub fn runs_ahead(&self) -> bool {
        self.verdict != Verdict::Rejected || self.staged_depth.is_some()
    }

    /// Rejects it for one more reason.
    pub fn reject(&mut self, reason: Reason) {
        self.verdict = Verdict::Rejected;
        self.staged_depth = None;
        self.reasons.push(reason);
    }
}

/// The verdict on one loop.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoopVerdict {
    /// Position among all `scf.for` of the file.
    pub index: Option<usize>,
    /// Its operation, where it is no `scf.for`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub loop_op: Option<String>,
    /// `file:line:column`.
    pub location: String,
    /// Pipelinable if a buffer in it is.
    pub verdict: Verdict,
    /// Why not.
    pub reasons: Vec<Reason>,
}

/// The verdicts on one kernel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KernelVerdicts {
    /// The kernel's name.
    pub name: String,
    /// Threads of a block in x, y, z, if known.
    pub block_size: Option<[u32; 3]>,
    /// Buffers of both levels.
    pub buffers: Vec<BufferVerdict>,
    /// Loops.
    pub loops: Vec<LoopVerdict>,
}

/// The verdicts on a module.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Detection {
    /// One entry a kernel, in textual order.
    pub kernels: Vec<KernelVerdicts>,
}
