//! Executes a kernel's integers, control flow and accesses to shared memory, all threads of a block side by side.

use std::collections::HashMap;
use std::rc::Rc;

use alcop_compiler::ir::{Attr, Block, Op, Type, Value};

use super::Hazard;
use super::shadow::{CELL_BYTES, HazardKind, Place, Shadow};

/// Operations executed (each for all threads) before the judge gives up.
const STEP_LIMIT: u64 = 20_000_000;

/// What is known of a value, for each thread.
#[derive(Clone, Debug)]
enum Known {
    /// The same integer in each thread.
    Uniform(i64),
    /// An integer a thread.
    PerThread(Rc<[i64]>),
    /// Data, of which only this is known: whether it comes from bytes that somebody wrote.
    Data { initialized: bool },
}

/// A buffer in shared memory: which one, where it starts, its strides in bytes.
#[derive(Clone, Debug)]
struct Shared {
    buffer: usize,
    offset: u64,
    strides: Vec<i64>,
    element_bytes: u64,
}

pub(super) struct Machine<'ir> {
    block_size: [i64; 3],
    threads: usize,
    values: HashMap<Value<'ir>, Known>,
    shared: HashMap<Value<'ir>, Shared>,
    buffers: usize,
    shadow: Shadow,
    active: Vec<bool>,
    steps: u64,
}

/// Dynamic shared memory is one buffer, however often it is named.
const DYNAMIC: usize = 0;

impl<'ir> Machine<'ir> {
    pub fn new(block_size: [i64; 3]) -> Self {
        let threads = block_size.iter().product::<i64>() as usize;
        Machine {
            block_size,
            threads,
            values: HashMap::new(),
            shared: HashMap::new(),
            buffers: DYNAMIC + 1,
            shadow: Shadow::default(),
            active: vec![true; threads],
            steps: 0,
        }
    }

    pub fn into_findings(self) -> (Vec<Hazard>, u64) {
        (self.shadow.hazards, self.shadow.accesses)
    }

    /// Executes a block up to its terminator, whose operands are left in `values`.
    pub fn run_block(&mut self, block: Block<'ir>) -> Result<(), String> {
        for op in block.ops() {
            self.steps += 1;
            if self.steps > STEP_LIMIT {
                return Err(format!("more than {STEP_LIMIT} operations; the rest was not judged"));
            }
            self.run(op)
                .map_err(|reason| format!("{} at {}: {reason}", op.name(), op.location()))?;
        }
        Ok(())
    }

    fn run(&mut self, op: Op<'ir>) -> Result<(), String> {
        match op.name() {
            "arith.constant" => self.constant(op),
            "gpu.thread_id" => self.thread_id(op)?,
            "gpu.block_id" => self.set(op, Known::Uniform(0)),
            "gpu.block_dim" => {
                let axis = axis(op)?;
                self.set(op, Known::Uniform(self.block_size[axis]));
            }
            "gpu.dynamic_shared_memory" => {
                let view = Shared {
                    buffer: DYNAMIC,
                    offset: 0,
                    strides: vec![1],
                    element_bytes: 1,
                };
                self.shared.insert(op.result(0), view);
            }
            "memref.alloc" | "memref.alloca" => self.allocate(op.result(0)),
            "memref.view" => self.view(op)?,
            "memref.dealloc" | "scf.yield" | "gpu.return" => {}
            "vector.load" | "memref.load" => self.load(op, 0, 1)?,
            "nvgpu.ldmatrix" => self.ldmatrix(op)?,
            "vector.store" | "memref.store" => self.store(op)?,
            "nvgpu.device_async_copy" => self.async_copy(op)?,
            "nvvm.cp.async.commit.group" => {
                self.synchronize(op);
                self.shadow.commit();
            }
            "nvvm.cp.async.wait.group" => {
                self.synchronize(op);
                let pending = op.attr("n").and_then(Attr::as_int).ok_or("a wait without a count")?;
                self.shadow.wait(pending as usize);
            }
            "gpu.barrier" => {
                self.synchronize(op);
                self.shadow.barrier();
            }
            "scf.for" => self.for_loop(op)?,
            "scf.if" => self.branch(op)?,
            name if name.starts_with("arith.") || name.starts_with("vector.") || name.starts_with("math.") => {
                self.compute(op)?
            }
            "nvgpu.mma.sync" => self.compute(op)?,
            _ => return Err("the judge does not know this operation".to_owned()),
        }
        Ok(())
    }

    fn set(&mut self, op: Op<'ir>, known: Known) {
        self.values.insert(op.result(0), known);
    }

    fn get(&self, value: Value<'ir>) -> Known {
        self.values
            .get(&value)
            .cloned()
            .unwrap_or(Known::Data { initialized: true })
    }

    fn integer(&self, value: Value<'ir>, thread: usize) -> Result<i64, String> {
        match self.values.get(&value) {
            Some(Known::Uniform(number)) => Ok(*number),
            Some(Known::PerThread(numbers)) => Ok(numbers[thread]),
            _ => Err("an index or condition depends on data".to_owned()),
        }
    }

    /// A barrier, commit or wait must be reached by all threads.
    fn synchronize(&mut self, op: Op<'ir>) {
        if let Some(thread) = self.active.iter().position(|active| !active) {
            self.shadow.note(HazardKind::DivergentSynchronization, op, thread);
        }
    }

    fn constant(&mut self, op: Op<'ir>) {
        let known = op
            .attr("value")
            .and_then(Attr::as_int)
            .map_or(Known::Data { initialized: true }, Known::Uniform);
        self.set(op, known);
    }

    fn thread_id(&mut self, op: Op<'ir>) -> Result<(), String> {
        let [x, y, _] = self.block_size;
        let axis = axis(op)?;
        let ids = (0..self.threads as i64)
            .map(|thread| [thread % x, thread / x % y, thread / (x * y)][axis])
            .collect();
        self.set(op, Known::PerThread(ids));
        Ok(())
    }

    fn allocate(&mut self, memref: Value<'ir>) {
        if let Some(parts) = memref.ty().as_memref().filter(|parts| parts.is_workgroup) {
            let shared = Shared {
                buffer: self.buffers,
                offset: 0,
                ..strides(&parts, memref.ty())
            };
            self.buffers += 1;
            self.shared.insert(memref, shared);
        }
    }

    /// The shared buffer behind a memref, `None` for other memory.
    fn shared_buffer(&mut self, memref: Value<'ir>) -> Result<Option<Shared>, String> {
        if let Some(shared) = self.shared.get(&memref) {
            return Ok(Some(shared.clone()));
        }
        let Some(parts) = memref.ty().as_memref() else {
            return Err("an operand is not a ranked memref".to_owned());
        };
        if !parts.is_workgroup {
            return Ok(None);
        }
        if memref.def_op().is_some() {
            return Err("a view of shared memory that the judge does not follow".to_owned());
        }
        self.allocate(memref);
        Ok(self.shared.get(&memref).cloned())
    }

    fn view(&mut self, op: Op<'ir>) -> Result<(), String> {
        let base = self
            .shared_buffer(op.operand(0))?
            .ok_or("a view of memory that is not shared")?;
        let shift = self.integer(op.operand(1), 0)?;
        let ty = op.result(0).ty();
        let parts = ty.as_memref().ok_or("a view that is not a ranked memref")?;
        let shared = Shared {
            buffer: base.buffer,
            offset: base.offset + shift as u64,
            ..strides(&parts, ty)
        };
        self.shared.insert(op.result(0), shared);
        Ok(())
    }

    /// Where each active thread's access of `bytes` goes.
    fn places(&self, shared: &Shared, indices: &[Value<'ir>], bytes: u64) -> Result<Vec<(usize, Place)>, String> {
        let mut base = shared.offset as i64;
        let mut per_thread: Vec<(Rc<[i64]>, i64)> = Vec::new();
        for (index, stride) in indices.iter().zip(&shared.strides) {
            match self.values.get(index) {
                Some(Known::Uniform(number)) => base += number * stride,
                Some(Known::PerThread(numbers)) => per_thread.push((Rc::clone(numbers), *stride)),
                _ => return Err("an index depends on data".to_owned()),
            }
        }
        let mut places = Vec::with_capacity(self.threads);
        for thread in (0..self.threads).filter(|&thread| self.active[thread]) {
            let offset = per_thread
                .iter()
                .fold(base, |offset, (numbers, stride)| offset + numbers[thread] * stride);
            if offset < 0 || !(offset as u64).is_multiple_of(CELL_BYTES) || !bytes.is_multiple_of(CELL_BYTES) {
                return Err(format!(
                    "an access of {bytes} bytes at byte {offset} is not made of whole byte pairs"
                ));
            }
            places.push((
                thread,
                Place {
                    buffer: shared.buffer,
                    offset: offset as u64,
                    bytes,
                },
            ));
        }
        Ok(places)
    }

    fn load(&mut self, op: Op<'ir>, memref: usize, first_index: usize) -> Result<(), String> {
        let mut initialized = true;
        if let Some(shared) = self.shared_buffer(op.operand(memref))? {
            let bytes = op.result(0).ty().bytes().ok_or("a load of unknown size")?;
            let indices: Vec<Value<'ir>> = op.operands().skip(first_index).collect();
            let number = self.shadow.number(op);
            for (thread, place) in self.places(&shared, &indices, bytes)? {
                initialized &= self.shadow.read(number, thread, place);
            }
        }
        self.set(op, Known::Data { initialized });
        Ok(())
    }

    /// Each lane addresses one row of 16 bytes; the warp reads them all (PTX ISA, ldmatrix).
    fn ldmatrix(&mut self, op: Op<'ir>) -> Result<(), String> {
        let shared = self
            .shared_buffer(op.operand(0))?
            .ok_or("ldmatrix from memory that is not shared")?;
        let tiles = op
            .attr("numTiles")
            .and_then(Attr::as_int)
            .ok_or("ldmatrix without numTiles")?;
        let indices: Vec<Value<'ir>> = op.operands().skip(1).collect();
        let mut initialized = true;
        let number = self.shadow.number(op);
        for (thread, place) in self.places(&shared, &indices, 16)? {
            if ((thread % 32) as i64) < 8 * tiles {
                initialized &= self.shadow.read(number, thread, place);
            }
        }
        self.set(op, Known::Data { initialized });
        Ok(())
    }

    fn store(&mut self, op: Op<'ir>) -> Result<(), String> {
        let value = op.operand(0);
        if matches!(self.get(value), Known::Data { initialized: false }) && self.shared_buffer(op.operand(1))?.is_none()
        {
            self.shadow.note(HazardKind::UninitializedValue, op, 0);
        }
        let Some(shared) = self.shared_buffer(op.operand(1))? else {
            return Ok(());
        };
        let bytes = value.ty().bytes().ok_or("a store of unknown size")?;
        let indices: Vec<Value<'ir>> = op.operands().skip(2).collect();
        let number = self.shadow.number(op);
        for (thread, place) in self.places(&shared, &indices, bytes)? {
            self.shadow.write(number, thread, place);
        }
        Ok(())
    }

    fn async_copy(&mut self, op: Op<'ir>) -> Result<(), String> {
        let segments = op
            .attr("operandSegmentSizes")
            .and_then(Attr::as_ints)
            .ok_or("a copy without operand segments")?;
        let shared = self
            .shared_buffer(op.operand(0))?
            .ok_or("a copy to memory that is not shared")?;
        let elements = op
            .attr("dstElements")
            .and_then(Attr::as_int)
            .ok_or("a copy without dstElements")?;
        let indices: Vec<Value<'ir>> = op.operands().skip(1).take(segments[1] as usize).collect();
        let bytes = elements as u64 * shared.element_bytes;
        let number = self.shadow.number(op);
        for (thread, place) in self.places(&shared, &indices, bytes)? {
            self.shadow.copy(number, thread, place);
        }
        Ok(())
    }

    fn for_loop(&mut self, op: Op<'ir>) -> Result<(), String> {
        let bounds: Vec<i64> = (0..3)
            .map(|number| self.uniform(op.operand(number)))
            .collect::<Result<_, _>>()?;
        let [lower, upper, step] = bounds[..] else {
            return Err("a loop without bounds".to_owned());
        };
        if step <= 0 {
            return Err(format!("a loop with step {step}"));
        }
        let body = op.body().ok_or("a loop without a single block")?;
        let mut carried: Vec<Known> = op.operands().skip(3).map(|value| self.get(value)).collect();
        let mut iv = lower;
        while iv < upper {
            self.values.insert(body.argument(0), Known::Uniform(iv));
            for (argument, known) in body.arguments().skip(1).zip(carried) {
                self.values.insert(argument, known);
            }
            self.run_block(body)?;
            let terminator = body.terminator().ok_or("a loop without a yield")?;
            carried = terminator.operands().map(|value| self.get(value)).collect();
            iv += step;
        }
        for (result, known) in op.results().zip(carried) {
            self.values.insert(result, known);
        }
        Ok(())
    }

    fn uniform(&self, value: Value<'ir>) -> Result<i64, String> {
        let first = self.integer(value, 0)?;
        for thread in 1..self.threads {
            if self.integer(value, thread)? != first {
                return Err("loop bounds differ between threads".to_owned());
            }
        }
        Ok(first)
    }

    fn branch(&mut self, op: Op<'ir>) -> Result<(), String> {
        if op.num_results() != 0 {
            return Err("a branch with results".to_owned());
        }
        let taken: Vec<bool> = (0..self.threads)
            .map(|thread| Ok(self.integer(op.operand(0), thread)? != 0))
            .collect::<Result<_, String>>()?;
        let before = self.active.clone();
        for (region, wanted) in op.regions().zip([true, false]) {
            self.active = before
                .iter()
                .zip(&taken)
                .map(|(&active, &taken)| active && taken == wanted)
                .collect();
            if self.active.contains(&true) {
                for block in region.blocks() {
                    self.run_block(block)?;
                }
            }
        }
        self.active = before;
        Ok(())
    }

    /// Integer arithmetic is computed; of everything else only whether its operands were initialised is kept.
    fn compute(&mut self, op: Op<'ir>) -> Result<(), String> {
        let operands: Vec<Known> = op.operands().map(|value| self.get(value)).collect();
        let initialized = !operands
            .iter()
            .any(|known| matches!(known, Known::Data { initialized: false }));
        let integers = operands.iter().all(|known| !matches!(known, Known::Data { .. })) && !operands.is_empty();
        let predicate = op.attr("predicate").and_then(Attr::as_int);
        let known = if !integers || op.num_results() != 1 || apply(op.name(), predicate, &[0, 1, 1]).is_none() {
            Known::Data { initialized }
        } else if operands.iter().all(|known| matches!(known, Known::Uniform(_))) {
            Known::Uniform(self.apply(op, predicate, &operands, 0)?)
        } else {
            let numbers: Result<Rc<[i64]>, String> = (0..self.threads)
                .map(|thread| self.apply(op, predicate, &operands, thread))
                .collect();
            Known::PerThread(numbers?)
        };
        for result in op.results() {
            self.values.insert(result, known.clone());
        }
        Ok(())
    }

    fn apply(&self, op: Op<'ir>, predicate: Option<i64>, operands: &[Known], thread: usize) -> Result<i64, String> {
        let numbers: Vec<i64> = operands
            .iter()
            .map(|known| match known {
                Known::Uniform(number) => *number,
                Known::PerThread(numbers) => numbers[thread],
                Known::Data { .. } => unreachable!("the caller has integers only"),
            })
            .collect();
        apply(op.name(), predicate, &numbers).ok_or_else(|| "an integer operation without a value".to_owned())
    }
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

fn strides(parts: &alcop_compiler::ir::MemRef<'_>, _ty: Type<'_>) -> Shared {
    let element_bytes = parts.element.bytes().unwrap_or(0);
    let strides = parts
        .strides
        .iter()
        .map(|stride| stride.unwrap_or(0) * element_bytes as i64)
        .collect();
    Shared {
        buffer: DYNAMIC,
        offset: 0,
        strides,
        element_bytes,
    }
}

/// Index arithmetic of the `arith` dialect; `None` for what is not integer arithmetic, or divides by zero.
fn apply(name: &str, predicate: Option<i64>, n: &[i64]) -> Option<i64> {
    let unsigned = |a: i64| a as u64;
    Some(match (name, n) {
        ("arith.addi", [a, b, ..]) => a.wrapping_add(*b),
        ("arith.subi", [a, b, ..]) => a.wrapping_sub(*b),
        ("arith.muli", [a, b, ..]) => a.wrapping_mul(*b),
        ("arith.divui", [a, b, ..]) => unsigned(*a).checked_div(unsigned(*b))? as i64,
        ("arith.remui", [a, b, ..]) => unsigned(*a).checked_rem(unsigned(*b))? as i64,
        ("arith.divsi", [a, b, ..]) => a.checked_div(*b)?,
        ("arith.remsi", [a, b, ..]) => a.checked_rem(*b)?,
        ("arith.andi", [a, b, ..]) => a & b,
        ("arith.ori", [a, b, ..]) => a | b,
        ("arith.xori", [a, b, ..]) => a ^ b,
        ("arith.shli", [a, b, ..]) => a.checked_shl(u32::try_from(*b).ok()?)?,
        ("arith.shrui", [a, b, ..]) => unsigned(*a).checked_shr(u32::try_from(*b).ok()?)? as i64,
        ("arith.minui", [a, b, ..]) => unsigned(*a).min(unsigned(*b)) as i64,
        ("arith.minsi", [a, b, ..]) => *a.min(b),
        ("arith.maxsi", [a, b, ..]) => *a.max(b),
        ("arith.index_cast" | "arith.index_castui", [a, ..]) => *a,
        ("arith.select", [condition, yes, no]) => {
            if *condition != 0 {
                *yes
            } else {
                *no
            }
        }
        ("arith.cmpi", [a, b, ..]) => i64::from(match predicate? {
            0 => a == b,
            1 => a != b,
            2 => a < b,
            3 => a <= b,
            4 => a > b,
            5 => a >= b,
            6 => unsigned(*a) < unsigned(*b),
            7 => unsigned(*a) <= unsigned(*b),
            8 => unsigned(*a) > unsigned(*b),
            9 => unsigned(*a) >= unsigned(*b),
            _ => return None,
        }),
        _ => return None,
    })
}
