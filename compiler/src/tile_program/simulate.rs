//! Executes a tile program on numbers, all threads of a block side by side, to test what it computes. It shares nothing
//! with the emission: the layouts of fragments are those of the PTX ISA ("ldmatrix", "Matrix Fragments for mma.m16n8k16
//! with floating point type", "… mma.m16n8k8", "… mma.m16n8k32"), written down a second time.
//!
//! Accesses out of bounds, misaligned ones, and accesses to shared memory that no barrier orders panic. Numbers are f32
//! all through: tests use small integers, which every type holds exactly.

use std::collections::HashMap;

use super::TileProgram;
use crate::ir::{Attr, Block, Op, Value, preorder};

#[derive(Clone)]
enum Data {
    Index(i64),
    Vector(Vec<f32>),
}

#[derive(Clone, Copy, PartialEq, Debug)]
enum Accessors {
    None,
    One(usize),
    Several,
}

impl Accessors {
    fn with(self, thread: usize) -> Self {
        match self {
            Accessors::None => Accessors::One(thread),
            Accessors::One(other) if other == thread => self,
            _ => Accessors::Several,
        }
    }

    fn only(self, thread: usize) -> bool {
        matches!(self.with(thread), Accessors::One(_))
    }
}

struct Memory {
    shape: Vec<i64>,
    element_bytes: i64,
    cells: Vec<f32>,
    is_shared: bool,
    /// Since the last barrier, for each cell.
    readers: Vec<Accessors>,
    writers: Vec<Accessors>,
}

impl Memory {
    fn new(value: Value<'_>, cells: Option<Vec<f32>>) -> Self {
        let parts = value.ty().as_memref().expect("a memref");
        let shape: Vec<i64> = parts.shape.iter().map(|extent| extent.expect("static")).collect();
        let count = shape.iter().product::<i64>() as usize;
        // Shared memory starts with garbage.
        let cells = cells.unwrap_or_else(|| vec![f32::NAN; count]);
        assert_eq!(cells.len(), count);
        Memory {
            shape,
            element_bytes: parts.element.bytes().expect("a float") as i64,
            cells,
            is_shared: parts.is_workgroup,
            readers: vec![Accessors::None; count],
            writers: vec![Accessors::None; count],
        }
    }

    /// The cell where `width` contiguous ones start.
    fn cell(&self, indices: &[i64], width: i64, alignment: i64) -> usize {
        assert_eq!(indices.len(), self.shape.len());
        let mut linear = 0;
        for (axis, (&index, &extent)) in indices.iter().zip(&self.shape).enumerate() {
            let width = if axis + 1 == indices.len() { width } else { 1 };
            assert!(
                (0..=extent - width).contains(&index),
                "{indices:?} is outside of {:?}",
                self.shape
            );
            linear = linear * extent + index;
        }
        assert_eq!(linear * self.element_bytes % alignment, 0, "{indices:?} is misaligned");
        linear as usize
    }

    fn read(&mut self, thread: usize, cell: usize) -> f32 {
        if self.is_shared {
            let writers = self.writers[cell];
            assert!(
                writers.only(thread),
                "cell {cell} is read by {thread} and written by {writers:?}"
            );
            self.readers[cell] = self.readers[cell].with(thread);
        }
        self.cells[cell]
    }

    fn write(&mut self, thread: usize, cell: usize, number: f32) {
        for others in [self.readers[cell], self.writers[cell]] {
            assert!(
                others.only(thread),
                "cell {cell} is written by {thread} and accessed by {others:?}"
            );
        }
        self.writers[cell] = self.writers[cell].with(thread);
        self.cells[cell] = number;
    }
}

struct Machine<'ir> {
    threads: usize,
    block_id: [i64; 3],
    values: HashMap<Value<'ir>, Vec<Data>>,
    /// Threads that run the branch at hand.
    active: Vec<bool>,
    memory: HashMap<Value<'ir>, Memory>,
}

/// C after all blocks, from A and B as stored.
pub(super) fn simulate(program: &TileProgram<'_>, a: &[f32], b: &[f32]) -> Vec<f32> {
    let kernel = preorder(program.module.op())
        .into_iter()
        .find(|op| op.is("gpu.func"))
        .expect("a kernel");
    let body = kernel.body().expect("one block");
    let arguments: Vec<Value<'_>> = body.arguments().collect();
    let c = Memory::new(arguments[2], None);
    let mut memory = HashMap::from([
        (arguments[0], Memory::new(arguments[0], Some(a.to_vec()))),
        (arguments[1], Memory::new(arguments[1], Some(b.to_vec()))),
        (arguments[2], c),
    ]);
    let [x, y, z] = program.grid.map(i64::from);
    for block in 0..x * y * z {
        for &buffer in &arguments[3..] {
            memory.insert(buffer, Memory::new(buffer, None));
        }
        let mut machine = Machine {
            threads: program.block[0] as usize,
            block_id: [block % x, block / x % y, block / (x * y)],
            values: HashMap::new(),
            active: vec![true; program.block[0] as usize],
            memory,
        };
        machine.run_block(body);
        memory = machine.memory;
    }
    memory.remove(&arguments[2]).expect("C").cells
}

impl<'ir> Machine<'ir> {
    fn run_block(&mut self, block: Block<'ir>) {
        for op in block.ops() {
            self.run(op);
        }
    }

    fn run(&mut self, op: Op<'ir>) {
        match op.name() {
            "arith.constant" => {
                let value = op.attr("value").expect("a value");
                let ty = op.result(0).ty();
                let data = match ty.as_vector() {
                    Some((shape, _)) => Data::Vector(vec![0.0; shape.iter().product::<i64>() as usize]),
                    None if ty.is_index() => Data::Index(value.as_int().expect("an index")),
                    None => Data::Vector(vec![0.0]),
                };
                self.set(op, |_, _| data.clone());
            }
            "gpu.thread_id" => self.set(op, |_, thread| Data::Index(thread as i64)),
            "gpu.block_id" => {
                let text = op.attr("dimension").expect("a dimension").to_string();
                let axes = ["#gpu<dim x>", "#gpu<dim y>", "#gpu<dim z>"];
                let axis = axes.iter().position(|axis| *axis == text).expect("x, y or z");
                self.set(op, |machine, _| Data::Index(machine.block_id[axis]));
            }
            "arith.addi" => self.integers(op, |a, b| a + b),
            "arith.muli" => self.integers(op, |a, b| a * b),
            "arith.divui" => self.integers(op, |a, b| a / b),
            "arith.remui" => self.integers(op, |a, b| a % b),
            "arith.andi" => self.integers(op, |a, b| a & b),
            "arith.cmpi" => {
                let signed_less = op.attr("predicate").and_then(Attr::as_int) == Some(2);
                assert!(signed_less, "a tile program compares with slt only");
                self.integers(op, |a, b| i64::from(a < b));
            }
            "arith.select" => self.set(op, |machine, thread| {
                let yes = machine.index(op.operand(0), thread) != 0;
                Data::Index(machine.index(op.operand(if yes { 1 } else { 2 }), thread))
            }),
            "scf.if" => self.branch(op),
            "vector.from_elements" => self.set(op, |machine, thread| {
                let elements = op
                    .operands()
                    .flat_map(|element| machine.vector(element, thread).to_vec());
                Data::Vector(elements.collect())
            }),
            "arith.truncf" => self.set(op, |machine, thread| {
                Data::Vector(machine.vector(op.operand(0), thread).to_vec())
            }),
            "vector.extract" | "vector.extract_strided_slice" => self.slice(op),
            "vector.load" | "memref.load" => self.load(op),
            "vector.store" | "memref.store" => self.store(op),
            "nvgpu.ldmatrix" => self.ldmatrix(op),
            "nvgpu.mma.sync" => self.mma(op),
            "gpu.barrier" => {
                for memory in self.memory.values_mut().filter(|memory| memory.is_shared) {
                    memory.readers.fill(Accessors::None);
                    memory.writers.fill(Accessors::None);
                }
            }
            "scf.for" => self.for_loop(op),
            "scf.yield" | "gpu.return" => {}
            name => panic!("a tile program has no {name}"),
        }
    }

    fn index(&self, value: Value<'ir>, thread: usize) -> i64 {
        match &self.values[&value][thread] {
            Data::Index(index) => *index,
            Data::Vector(_) => panic!("{value:?} is no index"),
        }
    }

    fn vector(&self, value: Value<'ir>, thread: usize) -> &[f32] {
        match &self.values[&value][thread] {
            Data::Vector(numbers) => numbers,
            Data::Index(_) => panic!("{value:?} is no vector"),
        }
    }

    fn set(&mut self, op: Op<'ir>, data: impl Fn(&Self, usize) -> Data) {
        let all = (0..self.threads).map(|thread| data(self, thread)).collect();
        self.values.insert(op.result(0), all);
    }

    /// Both sides, each for the threads that take it.
    fn branch(&mut self, op: Op<'ir>) {
        let taken: Vec<bool> = (0..self.threads)
            .map(|thread| self.index(op.operand(0), thread) != 0)
            .collect();
        let before = self.active.clone();
        let mut results: Vec<Vec<Data>> = Vec::new();
        for (region, side) in op.regions().zip([true, false]) {
            let Some(block) = region.blocks().next() else { continue };
            self.active = before
                .iter()
                .zip(&taken)
                .map(|(active, taken)| *active && *taken == side)
                .collect();
            self.run_block(block);
            let yielded = block.terminator().expect("a yield");
            results.extend(yielded.operands().map(|value| self.values[&value].clone()));
        }
        self.active = before;
        if op.num_results() == 1 {
            let [yes, no] = &results[..] else {
                panic!("a result has two sides")
            };
            let merged = (0..self.threads).map(|thread| [no, yes][usize::from(taken[thread])][thread].clone());
            let merged = merged.collect();
            self.values.insert(op.result(0), merged);
        }
    }

    fn integers(&mut self, op: Op<'ir>, apply: impl Fn(i64, i64) -> i64) {
        self.set(op, |machine, thread| {
            let operand = |index| machine.index(op.operand(index), thread);
            Data::Index(apply(operand(0), operand(1)))
        });
    }

    /// What lies at a position, or from an offset along the first dimension on.
    fn slice(&mut self, op: Op<'ir>) {
        let attribute = if op.is("vector.extract") {
            "static_position"
        } else {
            "offsets"
        };
        let position = op.attr(attribute).and_then(Attr::as_ints).expect("a position");
        let (shape, _) = op.operand(0).ty().as_vector().expect("a vector");
        let mut first = 0;
        for (axis, extent) in shape.iter().enumerate() {
            first = first * extent + position.get(axis).copied().unwrap_or(0);
        }
        let count = op
            .result(0)
            .ty()
            .as_vector()
            .map_or(1, |(shape, _)| shape.iter().product());
        let range = first as usize..(first + count) as usize;
        self.set(op, |machine, thread| {
            Data::Vector(machine.vector(op.operand(0), thread)[range.clone()].to_vec())
        });
    }

    fn indices(&self, op: Op<'ir>, skip: usize, thread: usize) -> Vec<i64> {
        op.operands()
            .skip(skip)
            .map(|operand| self.index(operand, thread))
            .collect()
    }

    /// Bytes that the address of an access is a multiple of.
    fn alignment(op: Op<'ir>, memref: Value<'ir>) -> i64 {
        let element = memref
            .ty()
            .memref_element()
            .and_then(|element| element.bytes())
            .expect("a memref");
        op.attr("alignment").and_then(Attr::as_int).unwrap_or(element as i64)
    }

    fn load(&mut self, op: Op<'ir>) {
        let alignment = Self::alignment(op, op.operand(0));
        let width = op.result(0).ty().as_vector().map_or(1, |(shape, _)| shape[0]);
        let mut all = Vec::new();
        for thread in 0..self.threads {
            if !self.active[thread] {
                all.push(Data::Vector(vec![f32::NAN; width as usize]));
                continue;
            }
            let indices = self.indices(op, 1, thread);
            let memory = self.memory.get_mut(&op.operand(0)).expect("a buffer");
            let cell = memory.cell(&indices, width, alignment);
            let numbers = (cell..cell + width as usize).map(|cell| memory.read(thread, cell));
            all.push(Data::Vector(numbers.collect()));
        }
        self.values.insert(op.result(0), all);
    }

    fn store(&mut self, op: Op<'ir>) {
        let alignment = Self::alignment(op, op.operand(1));
        for thread in (0..self.threads)
            .filter(|thread| self.active[*thread])
            .collect::<Vec<_>>()
        {
            let numbers = self.vector(op.operand(0), thread).to_vec();
            let indices = self.indices(op, 2, thread);
            let memory = self.memory.get_mut(&op.operand(1)).expect("a buffer");
            let first = memory.cell(&indices, numbers.len() as i64, alignment);
            for (cell, number) in (first..).zip(numbers) {
                memory.write(thread, cell, number);
            }
        }
    }

    fn ldmatrix(&mut self, op: Op<'ir>) {
        let transpose = op.attr("transpose").and_then(Attr::as_bool).expect("a flag");
        assert_eq!(op.attr("numTiles").and_then(Attr::as_int), Some(4));
        // A row of a matrix is 16 bytes, a lane gets 4 of them; only 16-bit elements are transposed.
        let per_row = 16 / self.memory[&op.operand(0)].element_bytes as usize;
        let per_lane = per_row / 4;
        assert!(per_lane == 2 || !transpose);
        let mut all = Vec::new();
        for thread in 0..self.threads {
            let (warp, lane) = (thread / 32 * 32, thread % 32);
            let mut numbers = Vec::new();
            for matrix in 0..4 {
                for half in 0..per_lane {
                    let (row, column) = match transpose {
                        false => (lane / 4, per_lane * (lane % 4) + half),
                        true => (2 * (lane % 4) + half, lane / 4),
                    };
                    let indices = self.indices(op, 1, warp + 8 * matrix + row);
                    let memory = self.memory.get_mut(&op.operand(0)).expect("a buffer");
                    assert!(memory.is_shared);
                    let cell = memory.cell(&indices, per_row as i64, 16) + column;
                    numbers.push(memory.read(thread, cell));
                }
            }
            all.push(Data::Vector(numbers));
        }
        self.values.insert(op.result(0), all);
    }

    fn mma(&mut self, op: Op<'ir>) {
        let shape = op.attr("mmaShape").and_then(Attr::as_ints).expect("a shape");
        // Elements in a register of 4 bytes, of which each lane of a group of four holds as many along k.
        let per_register = op.operand(0).ty().as_vector().expect("a fragment").0[1] as usize;
        let depth = 8 * per_register;
        assert_eq!(shape, [16, 8, depth as i64]);
        let singles = op.operand(0).ty().as_vector().expect("a fragment").1.bytes() == Some(4);
        assert_eq!(op.attr("tf32Enabled").is_some(), singles);
        let mut all = Vec::new();
        for warp in (0..self.threads).step_by(32) {
            let (mut a, mut b) = ([[f32::NAN; 32]; 16], [[f32::NAN; 8]; 32]);
            for lane in 0..32 {
                let (group, first) = (lane / 4, per_register * (lane % 4));
                for (i, &number) in self.vector(op.operand(0), warp + lane).iter().enumerate() {
                    let (register, element) = (i / per_register, i % per_register);
                    a[group + register % 2 * 8][first + element + register / 2 * 4 * per_register] = number;
                }
                for (i, &number) in self.vector(op.operand(1), warp + lane).iter().enumerate() {
                    let (register, element) = (i / per_register, i % per_register);
                    b[first + element + register * 4 * per_register][group] = number;
                }
            }
            for lane in 0..32 {
                let sums = self.vector(op.operand(2), warp + lane).iter().enumerate();
                let numbers = sums.map(|(i, sum)| {
                    let (row, column) = (lane / 4 + i / 2 * 8, 2 * (lane % 4) + i % 2);
                    sum + (0..depth).map(|k| a[row][k] * b[k][column]).sum::<f32>()
                });
                all.push(Data::Vector(numbers.collect()));
            }
        }
        self.values.insert(op.result(0), all);
    }

    fn for_loop(&mut self, op: Op<'ir>) {
        let body = op.body().expect("one block");
        let [from, to, step] = [0, 1, 2].map(|operand| self.index(op.operand(operand), 0));
        let mut carried: Vec<Vec<Data>> = op.operands().skip(3).map(|init| self.values[&init].clone()).collect();
        let extent = match op.attr("unsignedCmp") {
            Some(_) => i128::from(to as u64) - i128::from(from as u64),
            None => i128::from(to) - i128::from(from),
        };
        let trip = extent.max(0).unsigned_abs().div_ceil(u128::from(step.unsigned_abs()));
        for number in 0..trip {
            let k = from.wrapping_add(step.wrapping_mul(number as i64));
            self.values.insert(body.argument(0), vec![Data::Index(k); self.threads]);
            for (argument, data) in body.arguments().skip(1).zip(carried) {
                self.values.insert(argument, data);
            }
            self.run_block(body);
            let yielded = body.terminator().expect("a yield");
            carried = yielded.operands().map(|value| self.values[&value].clone()).collect();
        }
        for (result, data) in op.results().zip(carried) {
            self.values.insert(result, data);
        }
    }
}
