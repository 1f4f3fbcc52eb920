//! A kernel decoded once: values by number, operations by what the judge does with them.
//!
//! ```text
//! %row = arith.divui %thread_id_x, %c4        Compute divui, values 3 and 7 → 9
//! nvgpu.device_async_copy %g[…], %s[%row, …]  Access: a copy of 16 bytes at 0 + value 9 · 64 + …
//! %d = nvgpu.mma.sync(%a, %b, %c)             Flow: the data of %d depends on that of %a, %b and %c
//! ```

use std::collections::HashMap;

use alcop_compiler::ir::{Attr, Block, Op, Value};

use super::numbers::{Arith, Number, Numbers, integer_bits};

/// Names a value by its position in [`Program::values`].
pub(super) type ValueId = usize;

/// A decoded kernel.
pub(super) struct Program<'ir> {
    pub threads: usize,
    pub body: Vec<Step>,
    /// What is known of each value before anything runs: constants, and ids of threads and blocks.
    pub values: Vec<Option<Leaf>>,
    pub accesses: Vec<Access>,
    pub flows: Vec<Flow>,
    /// The operations that steps name by number.
    pub ops: Vec<Op<'ir>>,
}

impl Program<'_> {
    /// A reason with the operation that it is about.
    pub fn at(&self, op: u32, reason: &str) -> String {
        format!("{}: {reason}", self.name(op))
    }

    /// Name and place of an operation.
    pub fn name(&self, op: u32) -> String {
        let op = self.ops[op as usize];
        format!("{} at {}", op.name(), op.location())
    }
}

/// What is known of a value before anything runs.
#[derive(Clone, Debug)]
pub(super) enum Leaf {
    Number(Number),
    /// The block's id along an axis, times a factor, plus a number.
    Block {
        axis: usize,
        factor: i64,
        rest: Number,
    },
    /// What an operation answers that depends on how the kernel is launched.
    Unknown(u32),
}

/// What a kernel says of its launch.
pub(super) struct Launch {
    pub block: [i64; 3],
    pub grid: Option<[i64; 3]>,
    pub cluster: Option<[i64; 3]>,
}

/// Results, and the data that each depends on.
pub(super) type Flow = Vec<(ValueId, Vec<ValueId>)>;

/// What the judge does for one operation.
#[derive(Debug)]
pub(super) enum Step {
    Compute(Compute),
    Access(u32),
    Flow(u32),
    /// Data goes to global memory.
    Check {
        op: u32,
        data: Vec<ValueId>,
    },
    Commit {
        op: u32,
    },
    Wait {
        op: u32,
        pending: u64,
    },
    Barrier {
        op: u32,
    },
    For(Box<ForLoop>),
    If {
        op: u32,
        condition: ValueId,
        then: Vec<Step>,
        otherwise: Vec<Step>,
        /// Each result and what the sides yield for it.
        results: Vec<[ValueId; 3]>,
        /// Whether a side touches shared memory or synchronises.
        shared: bool,
    },
    /// What cannot be executed, and why.
    Refuse {
        op: u32,
        reason: String,
    },
}

/// An operation without effects: of integers if it has an `arith`, otherwise of data.
#[derive(Debug)]
pub(super) struct Compute {
    pub op: u32,
    pub arith: Option<Arith>,
    pub operands: Vec<ValueId>,
    pub results: Vec<ValueId>,
}

#[derive(Debug)]
pub(super) struct ForLoop {
    pub op: u32,
    /// Lower bound, upper bound, step.
    pub bounds: [ValueId; 3],
    /// Bits of the counter. `index` has 64.
    pub bits: u32,
    /// The counter is compared without a sign.
    pub unsigned: bool,
    pub induction: ValueId,
    pub carried: Vec<Carried>,
    pub body: Vec<Step>,
    /// How carried data flows, once [`super::reduce`] told data from integers.
    pub data: CarriedData,
}

impl ForLoop {
    /// The iterations between two bounds by a step above zero, and whether the counter passes the end of its type then.
    pub fn iterations(&self, lower: i64, upper: i64, step: i64) -> (i64, bool) {
        let wide = |number: i64| match self.unsigned {
            true => i128::from(number as u64 & (u64::MAX >> (64 - self.bits))),
            false => i128::from(number),
        };
        let last = (1_i128 << (self.bits - u32::from(!self.unsigned))) - 1;
        let (from, to, step) = (wide(lower), wide(upper), i128::from(step));
        let count = (to - from + step - 1).div_euclid(step).max(0);
        let wraps = count > 0 && from + count * step > last;
        (i64::try_from(count).unwrap_or(i64::MAX), wraps)
    }
}

/// The flows of the data that a loop carries, where there are any.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct CarriedData {
    /// From before the loop to its arguments.
    pub enter: Option<u32>,
    /// From the end of an iteration to its arguments.
    pub next: Option<u32>,
    /// From the arguments to the results.
    pub leave: Option<u32>,
}

/// One value that a loop carries.
#[derive(Clone, Copy, Debug)]
pub(super) struct Carried {
    pub init: ValueId,
    pub argument: ValueId,
    pub yielded: ValueId,
    pub result: ValueId,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AccessKind {
    Read,
    Write,
    /// A write that lands at any time until its group is waited for.
    Copy,
}

/// An access to shared memory.
#[derive(Debug)]
pub(super) struct Access {
    pub op: u32,
    pub kind: AccessKind,
    pub buffer: usize,
    /// The byte offset: a sum of values times strides.
    pub terms: Vec<(ValueId, i64)>,
    /// Bytes a thread.
    pub bytes: u64,
    /// Lanes of a warp that give an address.
    pub lanes: usize,
    /// What a read reads into.
    pub result: Option<ValueId>,
}

/// A memref in shared memory: in which buffer, from where, and its strides in bytes.
#[derive(Clone, Debug)]
struct Shared {
    buffer: usize,
    /// The byte offset of its first element: a sum of values times factors.
    shifts: Vec<(ValueId, i64)>,
    /// That of the pointer which `memref.reinterpret_cast` counts from.
    pointer: Vec<(ValueId, i64)>,
    strides: Vec<i64>,
    element_bytes: u64,
}

/// Dynamic shared memory is one buffer, however often it is named.
const DYNAMIC: usize = 0;

/// Decodes the body of a kernel.
pub(super) fn decode<'ir>(body: Block<'ir>, launch: &Launch, numbers: &mut Numbers) -> Program<'ir> {
    let mut decoder = Decoder {
        numbers,
        program: Program {
            threads: launch.block.iter().product::<i64>() as usize,
            body: Vec::new(),
            values: Vec::new(),
            accesses: Vec::new(),
            flows: Vec::new(),
            ops: Vec::new(),
        },
        launch,
        value_ids: HashMap::new(),
        shared: HashMap::new(),
        globals: HashMap::new(),
        buffers: DYNAMIC + 1,
    };
    for argument in body.arguments() {
        decoder.declare_buffer(argument);
    }
    decoder.program.body = decoder.block(body);
    decoder.program
}

struct Decoder<'a, 'ir> {
    launch: &'a Launch,
    numbers: &'a mut Numbers,
    program: Program<'ir>,
    value_ids: HashMap<Value<'ir>, ValueId>,
    shared: HashMap<Value<'ir>, Shared>,
    /// The buffer of each global in shared memory.
    globals: HashMap<&'ir str, usize>,
    buffers: usize,
}

impl<'ir> Decoder<'_, 'ir> {
    fn block(&mut self, block: Block<'ir>) -> Vec<Step> {
        block.ops().into_iter().filter_map(|op| self.op(op)).collect()
    }

    /// `None` for what needs nothing done when it is executed.
    fn op(&mut self, op: Op<'ir>) -> Option<Step> {
        self.step(op).unwrap_or_else(|reason| {
            Some(Step::Refuse {
                op: self.number(op),
                reason,
            })
        })
    }

    fn step(&mut self, op: Op<'ir>) -> Result<Option<Step>, String> {
        Ok(match op.name() {
            "arith.constant" => {
                if let Some(number) = op.attr("value").and_then(Attr::as_int) {
                    self.preset(op, Leaf::Number(Number::Uniform(number)));
                }
                None
            }
            "gpu.thread_id" => {
                let ids = self.thread_ids(axis(op)?);
                self.preset(op, Leaf::Number(ids));
                None
            }
            "gpu.block_id" => {
                let (axis, factor, rest) = (axis(op)?, 1, Number::Uniform(0));
                self.preset(op, Leaf::Block { axis, factor, rest });
                None
            }
            "gpu.global_id" => {
                let axis = axis(op)?;
                let (factor, rest) = (self.launch.block[axis], self.thread_ids(axis));
                self.preset(op, Leaf::Block { axis, factor, rest });
                None
            }
            "gpu.block_dim" => {
                let extent = self.launch.block[axis(op)?];
                self.preset(op, Leaf::Number(Number::Uniform(extent)));
                None
            }
            "gpu.grid_dim" => {
                let axis = axis(op)?;
                self.extent(op, self.launch.grid.map(|grid| grid[axis]));
                None
            }
            "gpu.cluster_dim_blocks" => {
                let axis = axis(op)?;
                self.extent(op, self.launch.cluster.map(|cluster| cluster[axis]));
                None
            }
            "gpu.cluster_dim" => {
                let axis = axis(op)?;
                let extents = self.launch.grid.zip(self.launch.cluster);
                self.extent(op, extents.map(|(grid, cluster)| grid[axis] / cluster[axis]));
                None
            }
            "gpu.cluster_id" => self.in_cluster(op, Arith::DIVIDE)?,
            "gpu.cluster_block_id" => self.in_cluster(op, Arith::REMAINDER)?,
            "gpu.subgroup_size" => {
                self.extent(op, Some(32));
                None
            }
            "gpu.num_subgroups" => {
                self.extent(op, Some(self.program.threads.div_ceil(32) as i64));
                None
            }
            "gpu.dynamic_shared_memory" => {
                let whole = Shared {
                    buffer: DYNAMIC,
                    shifts: Vec::new(),
                    pointer: Vec::new(),
                    strides: vec![1],
                    element_bytes: 1,
                };
                self.shared.insert(op.result(0), whole);
                None
            }
            "memref.alloc" | "memref.alloca" => {
                self.declare_buffer(op.result(0));
                None
            }
            "gpu.lane_id" | "gpu.subgroup_id" => {
                let lane = op.is("gpu.lane_id");
                let ids = (0..self.program.threads as i64).map(|thread| if lane { thread % 32 } else { thread / 32 });
                let ids = self.numbers.per_thread(ids.collect());
                self.preset(op, Leaf::Number(ids));
                None
            }
            "memref.get_global" => {
                self.global(op)?;
                None
            }
            "memref.view" => {
                self.view(op)?;
                None
            }
            "memref.subview" => {
                self.subview(op)?;
                None
            }
            "memref.reinterpret_cast" => {
                self.reinterpret_cast(op)?;
                None
            }
            "memref.cast"
            | "memref.memory_space_cast"
            | "memref.assume_alignment"
            | "memref.expand_shape"
            | "memref.collapse_shape"
            | "builtin.unrealized_conversion_cast" => {
                self.same_bytes(op)?;
                None
            }
            // A fence orders accesses of its own thread, and no thread's after another's.
            "memref.dealloc" | "scf.yield" | "gpu.return" | "memref.extract_strided_metadata" | "llvm.fence" => None,
            "vector.load" | "memref.load" | "vector.transfer_read" => self.load(op)?,
            "nvgpu.ldmatrix" => Some(self.ldmatrix(op)?),
            "vector.store" | "memref.store" | "vector.transfer_write" => Some(self.store(op)?),
            "nvgpu.device_async_copy" => Some(self.async_copy(op)?),
            "nvvm.cp.async.commit.group" | "nvgpu.device_async_create_group" => {
                Some(Step::Commit { op: self.number(op) })
            }
            "nvvm.cp.async.wait.group" => {
                let pending = op.attr("n").and_then(Attr::as_int).ok_or("a wait without a count")?;
                let pending = u64::try_from(pending).map_err(|_| format!("a wait for {pending} groups"))?;
                Some(Step::Wait {
                    op: self.number(op),
                    pending,
                })
            }
            "nvgpu.device_async_wait" => {
                let pending = op.attr("numGroups").and_then(Attr::as_int).unwrap_or(0);
                let pending = u64::try_from(pending).map_err(|_| format!("a wait for {pending} groups"))?;
                Some(Step::Wait {
                    op: self.number(op),
                    pending,
                })
            }
            "gpu.barrier" => Some(Step::Barrier { op: self.number(op) }),
            "scf.for" => Some(self.for_loop(op)?),
            "scf.if" => Some(self.branch(op)?),
            // On global memory: what it answers is data, as of a load.
            "memref.atomic_rmw" if self.shared(op.operand(1))?.is_none() => Some(self.check(op, op.operands().take(1))),
            "nvgpu.mma.sync" => Some(self.compute(op)?),
            _ if matches!(op.dialect(), "arith" | "vector" | "math") => Some(self.compute(op)?),
            _ => return Err("the judge does not know this operation".to_owned()),
        })
    }

    fn number(&mut self, op: Op<'ir>) -> u32 {
        self.program.ops.push(op);
        (self.program.ops.len() - 1) as u32
    }

    fn value(&mut self, value: Value<'ir>) -> ValueId {
        *self.value_ids.entry(value).or_insert_with(|| {
            self.program.values.push(None);
            self.program.values.len() - 1
        })
    }

    fn values(&mut self, values: impl Iterator<Item = Value<'ir>>) -> Vec<ValueId> {
        values.map(|value| self.value(value)).collect()
    }

    fn preset(&mut self, op: Op<'ir>, leaf: Leaf) {
        let id = self.value(op.result(0));
        self.program.values[id] = Some(leaf);
    }

    /// A size that is the same everywhere, where the kernel says it.
    fn extent(&mut self, op: Op<'ir>, extent: Option<i64>) {
        let leaf = match extent {
            Some(extent) => Leaf::Number(Number::Uniform(extent)),
            None => Leaf::Unknown(self.number(op)),
        };
        self.preset(op, leaf);
    }

    fn thread_ids(&mut self, axis: usize) -> Number {
        let [x, y, _] = self.launch.block;
        let ids = (0..self.program.threads as i64)
            .map(|thread| [thread % x, thread / x % y, thread / (x * y)][axis])
            .collect();
        self.numbers.per_thread(ids)
    }

    /// The number of a block's cluster, or of the block in it.
    fn in_cluster(&mut self, op: Op<'ir>, arith: Arith) -> Result<Option<Step>, String> {
        let axis = axis(op)?;
        let Some(cluster) = self.launch.cluster else {
            self.extent(op, None);
            return Ok(None);
        };
        let block = self.program.values.len();
        let (factor, rest) = (1, Number::Uniform(0));
        self.program.values.push(Some(Leaf::Block { axis, factor, rest }));
        let size = self.known(cluster[axis]);
        Ok(Some(Step::Compute(Compute {
            op: self.number(op),
            arith: Some(arith),
            operands: vec![block, size],
            results: vec![self.value(op.result(0))],
        })))
    }

    /// An allocation or attribution in shared memory is a buffer of its own.
    fn declare_buffer(&mut self, memref: Value<'ir>) {
        let buffer = self.buffers;
        if let Some(shared) = strides(memref, buffer) {
            self.buffers += 1;
            self.shared.insert(memref, shared);
        }
    }

    /// The shared buffer behind a memref, `None` for other memory.
    fn shared(&self, memref: Value<'ir>) -> Result<Option<Shared>, String> {
        if let Some(shared) = self.shared.get(&memref) {
            return Ok(Some(shared.clone()));
        }
        let parts = memref.ty().as_memref().ok_or("an operand is not a ranked memref")?;
        if parts.is_workgroup {
            return Err("a view of shared memory that the judge does not follow".to_owned());
        }
        Ok(None)
    }

    /// A value that is known before anything runs.
    fn known(&mut self, number: i64) -> ValueId {
        self.program.values.push(Some(Leaf::Number(Number::Uniform(number))));
        self.program.values.len() - 1
    }

    fn view(&mut self, op: Op<'ir>) -> Result<(), String> {
        let base = self
            .shared(op.operand(0))?
            .ok_or("a view of memory that is not shared")?;
        let mut shared = strides(op.result(0), base.buffer).ok_or("a view without static strides")?;
        shared.shifts = base.shifts;
        shared.shifts.push((self.value(op.operand(1)), 1));
        shared.pointer.clone_from(&shared.shifts);
        self.shared.insert(op.result(0), shared);
        Ok(())
    }

    /// A global in shared memory is a buffer of its own, however often it is named.
    fn global(&mut self, op: Op<'ir>) -> Result<(), String> {
        let symbol = op
            .attr("name")
            .and_then(Attr::as_symbol)
            .ok_or("a global without a name")?;
        let buffer = *self.globals.entry(symbol).or_insert_with(|| {
            self.buffers += 1;
            self.buffers - 1
        });
        if let Some(shared) = strides(op.result(0), buffer) {
            self.shared.insert(op.result(0), shared);
        }
        Ok(())
    }

    /// The same elements under another shape or type.
    fn same_bytes(&mut self, op: Op<'ir>) -> Result<(), String> {
        let shared = match op.operand(0).ty().memref_rank() {
            Some(_) => self.shared(op.operand(0))?,
            None => None,
        };
        let Some(base) = shared else { return Ok(()) };
        let own = strides(op.result(0), base.buffer).or_else(|| Some(base.clone()).filter(|_| op.is("memref.cast")));
        let own = own.ok_or("a view without static strides")?;
        self.shared.insert(
            op.result(0),
            Shared {
                strides: own.strides,
                element_bytes: own.element_bytes,
                ..base
            },
        );
        Ok(())
    }

    fn subview(&mut self, op: Op<'ir>) -> Result<(), String> {
        let Some(base) = self.shared(op.operand(0))? else {
            return Ok(());
        };
        let own = strides(op.result(0), base.buffer).ok_or("a view without static strides")?;
        let offsets = self.mixed(op, "static_offsets", 1)?;
        let mut shifts = base.shifts.clone();
        shifts.extend(
            offsets
                .into_iter()
                .zip(&base.strides)
                .map(|(offset, stride)| (offset, *stride)),
        );
        let shared = Shared {
            shifts,
            strides: own.strides,
            ..base
        };
        self.shared.insert(op.result(0), shared);
        Ok(())
    }

    fn reinterpret_cast(&mut self, op: Op<'ir>) -> Result<(), String> {
        let Some(base) = self.shared(op.operand(0))? else {
            return Ok(());
        };
        let own = strides(op.result(0), base.buffer).ok_or("a view without static strides")?;
        let offset = self.mixed(op, "static_offsets", 1)?;
        let mut shifts = base.pointer.clone();
        shifts.extend(offset.into_iter().map(|offset| (offset, own.element_bytes as i64)));
        let shared = Shared {
            shifts,
            strides: own.strides,
            ..base
        };
        self.shared.insert(op.result(0), shared);
        Ok(())
    }

    /// A list of numbers of which some stand in an attribute and the others are operands, from `first` on.
    fn mixed(&mut self, op: Op<'ir>, name: &str, first: usize) -> Result<Vec<ValueId>, String> {
        let fixed = op
            .attr(name)
            .and_then(Attr::as_ints)
            .ok_or_else(|| format!("no {name}"))?;
        let mut operands = op.operands().skip(first);
        fixed
            .into_iter()
            .map(|number| match number {
                i64::MIN => operands
                    .next()
                    .map(|operand| self.value(operand))
                    .ok_or_else(|| format!("too short {name}")),
                number => Ok(self.known(number)),
            })
            .collect()
    }

    /// An access to shared memory; its step.
    fn access(
        &mut self,
        op: Op<'ir>,
        kind: AccessKind,
        shared: Shared,
        indices: impl Iterator<Item = Value<'ir>>,
        bytes: u64,
    ) -> Step {
        let mut terms: Vec<(ValueId, i64)> = shared.shifts.clone();
        for (index, stride) in self.values(indices).into_iter().zip(&shared.strides) {
            terms.push((index, *stride));
        }
        let result = (kind == AccessKind::Read).then(|| self.value(op.result(0)));
        let access = Access {
            op: self.number(op),
            kind,
            buffer: shared.buffer,
            terms,
            bytes,
            lanes: 32,
            result,
        };
        self.program.accesses.push(access);
        Step::Access((self.program.accesses.len() - 1) as u32)
    }

    fn load(&mut self, op: Op<'ir>) -> Result<Option<Step>, String> {
        let Some(shared) = self.shared(op.operand(0))? else {
            return Ok(None);
        };
        let bytes = moved_in_a_row(op, op.result(0)).ok_or("a load that is not known to read bytes in a row")?;
        let rank = op.operand(0).ty().memref_rank().unwrap_or(0);
        let indices = op.operands().skip(1).take(rank);
        Ok(Some(self.access(op, AccessKind::Read, shared, indices, bytes)))
    }

    /// Each lane addresses one row of 16 bytes; the warp reads them all (PTX ISA, ldmatrix).
    fn ldmatrix(&mut self, op: Op<'ir>) -> Result<Step, String> {
        let shared = self
            .shared(op.operand(0))?
            .ok_or("ldmatrix from memory that is not shared")?;
        let tiles = op
            .attr("numTiles")
            .and_then(Attr::as_int)
            .filter(|tiles| (1..=4).contains(tiles))
            .ok_or("ldmatrix without numTiles from 1 to 4")?;
        let step = self.access(op, AccessKind::Read, shared, op.operands().skip(1), 16);
        if let Some(access) = self.program.accesses.last_mut() {
            access.lanes = 8 * tiles as usize;
        }
        Ok(step)
    }

    fn store(&mut self, op: Op<'ir>) -> Result<Step, String> {
        let Some(shared) = self.shared(op.operand(1))? else {
            return Ok(self.check(op, op.operands().take(1)));
        };
        let bytes = moved_in_a_row(op, op.operand(0)).ok_or("a store that is not known to write bytes in a row")?;
        let rank = op.operand(1).ty().memref_rank().unwrap_or(0);
        Ok(self.access(op, AccessKind::Write, shared, op.operands().skip(2).take(rank), bytes))
    }

    fn check(&mut self, op: Op<'ir>, data: impl Iterator<Item = Value<'ir>>) -> Step {
        let data = self.values(data);
        Step::Check {
            op: self.number(op),
            data,
        }
    }

    fn async_copy(&mut self, op: Op<'ir>) -> Result<Step, String> {
        let segments = op
            .attr("operandSegmentSizes")
            .and_then(Attr::as_ints)
            .filter(|segments| segments.len() >= 2)
            .ok_or("a copy without operand segments")?;
        let shared = self
            .shared(op.operand(0))?
            .ok_or("a copy to memory that is not shared")?;
        let elements = op
            .attr("dstElements")
            .and_then(Attr::as_int)
            .and_then(|elements| u64::try_from(elements).ok())
            .ok_or("a copy without dstElements")?;
        let bytes = elements.saturating_mul(shared.element_bytes);
        let indices = op.operands().skip(1).take(segments[1] as usize);
        Ok(self.access(op, AccessKind::Copy, shared, indices, bytes))
    }

    /// An operation without effects on shared memory. One without results writes what it reads somewhere else.
    fn compute(&mut self, op: Op<'ir>) -> Result<Step, String> {
        for operand in op.operands() {
            if operand.ty().as_memref().is_some_and(|memref| memref.is_workgroup) {
                return Err("the judge does not know this access to shared memory".to_owned());
            }
        }
        if op.num_regions() != 0 {
            return Err("the judge does not know this operation".to_owned());
        }
        if op.num_results() == 0 {
            return Ok(self.check(op, op.operands()));
        }
        let (operands, results) = (self.values(op.operands()), self.values(op.results()));
        Ok(Step::Compute(Compute {
            op: self.number(op),
            arith: Arith::of(op),
            operands,
            results,
        }))
    }

    fn for_loop(&mut self, op: Op<'ir>) -> Result<Step, String> {
        let bits = integer_bits(op.operand(0).ty()).ok_or("a loop whose counter has more than 64 bits")?;
        let body = op.body().ok_or("a loop without a single block")?;
        let terminator = body.terminator().ok_or("a loop without a yield")?;
        let operands = self.values(op.operands());
        let [lower, upper, step, inits @ ..] = operands.as_slice() else {
            return Err("a loop without bounds".to_owned());
        };
        let arguments = self.values(body.arguments());
        let yielded = self.values(terminator.operands());
        let results = self.values(op.results());
        let carried = (0..inits.len())
            .map(|number| Carried {
                init: inits[number],
                argument: arguments[number + 1],
                yielded: yielded[number],
                result: results[number],
            })
            .collect();
        Ok(Step::For(Box::new(ForLoop {
            op: self.number(op),
            bounds: [*lower, *upper, *step],
            bits,
            unsigned: op.attr("unsignedCmp").is_some(),
            induction: arguments[0],
            carried,
            body: self.block(body),
            data: CarriedData::default(),
        })))
    }

    fn branch(&mut self, op: Op<'ir>) -> Result<Step, String> {
        let mut sides = op
            .regions()
            .map(|region| region.blocks().flat_map(|block| self.block(block)).collect::<Vec<_>>())
            .collect::<Vec<_>>()
            .into_iter();
        let (then, otherwise) = (sides.next().unwrap_or_default(), sides.next().unwrap_or_default());
        let yields: Vec<Op<'ir>> = op
            .regions()
            .filter_map(|region| region.blocks().next()?.terminator())
            .collect();
        let results = op
            .results()
            .enumerate()
            .map(|(number, result)| {
                let [yes, no] = yields.as_slice() else {
                    return Err("a branch with results and one side".to_owned());
                };
                Ok([
                    self.value(result),
                    self.value(yes.operand(number)),
                    self.value(no.operand(number)),
                ])
            })
            .collect::<Result<_, String>>()?;
        Ok(Step::If {
            condition: self.value(op.operand(0)),
            op: self.number(op),
            then,
            otherwise,
            results,
            shared: true,
        })
    }
}

/// Bytes that an access moves, where they lie one behind the other: a scalar, or a vector of one row that stays inside.
fn moved_in_a_row(op: Op<'_>, value: Value<'_>) -> Option<u64> {
    let transfer = matches!(op.name(), "vector.transfer_read" | "vector.transfer_write");
    let inside = |attr: Attr<'_>| {
        attr.as_array()
            .is_some_and(|bounds| bounds.iter().all(|one| one.as_bool() == Some(true)))
    };
    if transfer && !op.attr("in_bounds").is_some_and(inside) {
        return None;
    }
    if let Some((shape, _)) = value.ty().as_vector()
        && shape.iter().rev().skip(1).any(|extent| *extent != 1)
    {
        return None;
    }
    value.ty().bytes()
}

fn axis(op: Op<'_>) -> Result<usize, String> {
    let text = op
        .attr("dimension")
        .map(|attr| attr.to_string())
        .ok_or("no dimension")?;
    ["#gpu<dim x>", "#gpu<dim y>", "#gpu<dim z>"]
        .iter()
        .position(|name| *name == text)
        .ok_or_else(|| format!("an unknown dimension {text}"))
}

/// A shared buffer's strides, where they and the size of its elements are known.
fn strides(memref: Value<'_>, buffer: usize) -> Option<Shared> {
    let parts = memref.ty().as_memref().filter(|parts| parts.is_workgroup)?;
    let element_bytes = parts.element.bytes()?;
    let strides = parts
        .strides
        .iter()
        .map(|stride| stride.map(|stride| stride * element_bytes as i64))
        .collect::<Option<_>>()?;
    Some(Shared {
        buffer,
        shifts: Vec::new(),
        pointer: Vec::new(),
        strides,
        element_bytes,
    })
}
