//! Random nests of loops that copy and use: the kernel as it was, the pipelined kernel and a plain interpreter agree, in the
//! emulator, under every arrival, without a hazard.
//!
//! ```text
//! for g { for i { copy b0, b1, …; barrier; acc = mix(acc, reads of b0), …; barrier }; out[g] = acc }
//! ```
//!
//! All numbers are integers and `mix` depends on the order, so that one wrong element anywhere changes the result. The
//! number of cases is `ALCOP_CASES` (200); a failure is shrunk, printed and kept in `differential.proptest-regressions`.

use std::fmt::Write;

use alcop::compiler::detect::{BufferVerdict, Level, Verdict, detect};
use alcop::compiler::ir::Context;
use alcop::passes::decide::{Depths, decide};
use alcop::passes::pipeline::compile_to_ptx;
use alcop::passes::plan::{SharedLayout, Transport};
use alcop::passes::sink::sink_and_detect;
use alcop::runtime::{ArgBuffer, Arrival, EmulateOptions, emulate};
use alcop::spec::kernel::ArrayDType;
use alcop::spec::{GpuTarget, Kernel};
use proptest::prelude::*;
use proptest::test_runner::{Config, FileFailurePersistence, TestCaseError, TestRunner};

/// How the copies of a buffer are spelled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    /// A load and a store a piece.
    Straight,
    /// The same in a loop over the pieces.
    Looped,
    /// `vector.transfer_read`, whose last piece reaches over the end of a row.
    Transfer,
    /// `memref.copy` of the whole tile.
    Whole,
    /// `nvgpu.device_async_copy`, waited for at once.
    Waited,
}

/// What decides whether something is copied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Guard {
    Always,
    /// Where it is off, zeros.
    Filled,
    /// Where it is off, stores of zeros.
    Zeros,
    /// Copies and reads are skipped together.
    Skipped,
}

/// How a buffer is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reads {
    /// One element, directly in the loop.
    Direct,
    /// All pieces, in a loop of its own that can be unrolled.
    Steps,
    /// All pieces, in a loop, through a view.
    Viewed,
}

#[derive(Clone, Copy, Debug)]
struct Buffer {
    /// Bits of an element: 16 or 32.
    bits: usize,
    /// Bytes of a piece.
    width: usize,
    /// Pieces of a row; a row a thread.
    pieces: usize,
    form: Form,
    guard: Guard,
    reads: Reads,
    /// Threads further on whose row is read.
    turn: usize,
    /// The chunk's number is looked up in memory.
    looked_up: bool,
    /// Slots more than the loop's.
    extra: u32,
    /// Element-wise work between load and store.
    work: bool,
}

/// What element-wise work does to a value of 16 or 32 bits: an exclusive or with this, and a sum with itself.
const WORK: u32 = 0x5a17;

impl Buffer {
    fn lanes(&self) -> usize {
        self.width * 8 / self.bits
    }

    fn columns(&self) -> usize {
        self.pieces * self.lanes()
    }

    /// Elements of a row in global memory: with transfers the last piece is half there.
    fn source_columns(&self) -> usize {
        match self.form {
            Form::Transfer if self.lanes() > 1 => self.columns() - self.lanes() / 2,
            _ => self.columns(),
        }
    }

    /// Whether rows in global memory keep the alignment that the width asks for.
    fn is_aligned(&self) -> bool {
        (self.source_columns() * self.bits / 8).is_multiple_of(self.width)
    }
}

#[derive(Clone, Debug)]
struct Program {
    threads: usize,
    /// Trip counts of the loops around, outermost first, and whether they stand in memory.
    outer: Vec<(usize, bool)>,
    trip: (usize, bool),
    buffers: Vec<Buffer>,
    slots: u32,
    registers: u32,
    shorter: bool,
    xor: bool,
}

fn buffer() -> impl Strategy<Value = Buffer> {
    let form = prop_oneof![
        3 => Just(Form::Straight),
        2 => Just(Form::Looped),
        1 => Just(Form::Transfer),
        1 => Just(Form::Whole),
        1 => Just(Form::Waited),
    ];
    let guard = prop_oneof![
        4 => Just(Guard::Always),
        1 => Just(Guard::Filled),
        1 => Just(Guard::Zeros),
        1 => Just(Guard::Skipped),
    ];
    let reads = prop_oneof![Just(Reads::Direct), Just(Reads::Steps), Just(Reads::Viewed)];
    let shape = (
        prop_oneof![Just(16_usize), Just(32)],
        prop_oneof![1 => Just(2_usize), 2 => Just(4_usize), 2 => Just(8), 2 => Just(16)],
        1_usize..4,
    );
    (
        shape,
        form,
        guard,
        reads,
        0_usize..32,
        prop::bool::weighted(0.2),
        prop_oneof![4 => Just(0_u32), 1 => 1_u32..3],
        prop::bool::weighted(0.2),
    )
        .prop_map(
            |((bits, width, pieces), form, guard, reads, turn, looked_up, extra, work)| {
                let mut buffer = Buffer {
                    bits: if width == 2 { 16 } else { bits },
                    width,
                    pieces,
                    form,
                    guard,
                    reads,
                    turn,
                    looked_up,
                    extra,
                    work,
                };
                // What these forms cannot say.
                let unsaid = match form {
                    Form::Whole => matches!(guard, Guard::Filled | Guard::Zeros),
                    // A wait under a condition may be for other copies than its own.
                    Form::Waited => guard != Guard::Always,
                    Form::Straight | Form::Looped | Form::Transfer => false,
                };
                if unsaid {
                    buffer.guard = Guard::Always;
                }
                let whole = matches!(form, Form::Whole | Form::Waited);
                if !buffer.is_aligned() || whole && width == 2 {
                    buffer.form = Form::Straight;
                }
                let plain = matches!(buffer.form, Form::Straight | Form::Looped);
                // Zeros beside the copy would get the work too.
                buffer.work &= plain && width > 2 && matches!(buffer.guard, Guard::Always | Guard::Skipped);
                buffer
            },
        )
}

fn program() -> impl Strategy<Value = Program> {
    let outer = prop::collection::vec((0_usize..4, prop::bool::weighted(0.2)), 0..3);
    let buffers = prop::collection::vec(buffer(), 1..4);
    let depths = (1_u32..7, 1_u32..5, prop::bool::weighted(0.2), any::<bool>());
    (
        prop_oneof![Just(32_usize), Just(64)],
        outer,
        (0_usize..9, prop::bool::weighted(0.3)),
        buffers,
        depths,
    )
        .prop_map(
            |(threads, outer, trip, mut buffers, (slots, registers, shorter, xor))| {
                // Whether threads decide alike in a loop whose bound they load is more than detection proves.
                let dynamic = trip.1 || outer.iter().any(|(_, dynamic): &(usize, bool)| *dynamic);
                for buffer in buffers
                    .iter_mut()
                    .filter(|buffer| dynamic && buffer.guard == Guard::Skipped)
                {
                    buffer.guard = Guard::Always;
                }
                Program {
                    threads,
                    outer,
                    trip,
                    buffers,
                    slots,
                    registers,
                    shorter,
                    xor,
                }
            },
        )
}

impl Program {
    fn chunks(&self) -> usize {
        self.outer.iter().map(|(trip, _)| trip).product::<usize>() * self.trip.0
    }

    /// Whether a chunk of a buffer is copied, for a thread's row; only its iteration counts where all threads decide as
    /// one.
    fn is_on(buffer: &Buffer, iteration: usize, thread: usize) -> bool {
        match buffer.guard {
            Guard::Always => true,
            Guard::Filled | Guard::Zeros => !(iteration + thread).is_multiple_of(3),
            Guard::Skipped => iteration % 3 != 1,
        }
    }

    fn element(number: usize, at: usize) -> u32 {
        let hash = (at as u32 ^ (number as u32) << 20).wrapping_mul(0x9e37_79b1);
        hash ^ hash >> 15
    }

    fn lookup(&self, number: usize, chunk: usize) -> usize {
        let chunks = self.chunks().max(1);
        if self.buffers[number].looked_up {
            (chunk * 7 + 3) % chunks
        } else {
            chunk
        }
    }

    /// What every thread ends with after each run of the inner loop.
    fn interpret(&self) -> Vec<u32> {
        let runs: usize = self.outer.iter().map(|(trip, _)| trip).product();
        let mut accumulators = vec![1_u32; self.threads];
        let mut out = vec![0; runs.max(1) * self.threads];
        for run in 0..runs {
            for iteration in 0..self.trip.0 {
                let chunk = run * self.trip.0 + iteration;
                for (thread, accumulator) in accumulators.iter_mut().enumerate() {
                    for (number, buffer) in self.buffers.iter().enumerate() {
                        if buffer.guard == Guard::Skipped && !Self::is_on(buffer, iteration, 0) {
                            continue;
                        }
                        let row = (thread + buffer.turn) % self.threads;
                        let columns = match buffer.reads {
                            Reads::Direct => 0..1,
                            Reads::Steps | Reads::Viewed => 0..buffer.columns(),
                        };
                        for column in columns {
                            let exists = column < buffer.source_columns() && Self::is_on(buffer, iteration, row);
                            let from = self.lookup(number, chunk);
                            let at = (from * self.threads + row) * buffer.source_columns() + column;
                            let mut value = if exists { Self::element(number, at) } else { 0 };
                            if buffer.work {
                                value = (value ^ WORK).wrapping_mul(2);
                            }
                            if buffer.bits == 16 {
                                value &= 0xffff;
                            }
                            *accumulator = accumulator.wrapping_mul(31).wrapping_add(value);
                        }
                    }
                }
            }
            for (thread, accumulator) in accumulators.iter().enumerate() {
                out[run * self.threads + thread] = *accumulator;
            }
        }
        out
    }

    fn arguments(&self) -> Vec<ArgBuffer> {
        let runs: usize = self.outer.iter().map(|(trip, _)| trip).product();
        let i32s = |values: Vec<u32>| ArgBuffer::Array {
            dtype: ArrayDType::I32,
            bytes: values.into_iter().flat_map(u32::to_le_bytes).collect(),
        };
        let trips = self.outer.iter().chain([&self.trip]).map(|(trip, _)| *trip as u32);
        let mut arguments = vec![i32s(trips.chain([0; 4]).take(4).collect())];
        let chunks = self.chunks().max(1);
        for (number, buffer) in self.buffers.iter().enumerate() {
            let elements = chunks * self.threads * buffer.source_columns();
            let values = (0..elements).map(|at| Self::element(number, at));
            arguments.push(if buffer.bits == 16 {
                ArgBuffer::Array {
                    dtype: ArrayDType::I16,
                    bytes: values.flat_map(|value| (value as u16).to_le_bytes()).collect(),
                }
            } else {
                i32s(values.collect())
            });
            arguments.push(i32s(
                (0..chunks).map(|chunk| self.lookup(number, chunk) as u32).collect(),
            ));
        }
        arguments.push(i32s(vec![0; runs.max(1) * self.threads]));
        arguments
    }

    fn text(&self) -> String {
        let mut text = Text::default();
        let threads = self.threads;
        let chunks = self.chunks().max(1);
        let runs: usize = self.outer.iter().map(|(trip, _)| trip).product();
        let noalias = "{llvm.noalias, llvm.align = 16 : i64}";
        let mut parameters = vec![format!("%trips: memref<4xi32> {noalias}")];
        for (number, buffer) in self.buffers.iter().enumerate() {
            let ty = buffer.source_type(chunks, threads);
            parameters.push(format!("%in{number}: {ty} {noalias}"));
            parameters.push(format!("%table{number}: memref<{chunks}xi32> {noalias}"));
        }
        parameters.push(format!("%out: memref<{}x{threads}xi32> {noalias}", runs.max(1)));
        text.line(&format!("gpu.module @m {{ gpu.func @k({})", parameters.join(", ")));
        text.line(&format!(
            "kernel attributes {{known_block_size = array<i32: {threads}, 1, 1>}} {{"
        ));
        for constant in 0..=64 {
            text.line(&format!("%c{constant} = arith.constant {constant} : index"));
        }
        text.line("%one = arith.constant 1 : i32");
        text.line("%factor = arith.constant 31 : i32");
        text.line("%t = gpu.thread_id x");
        for (number, buffer) in self.buffers.iter().enumerate() {
            text.line(&format!(
                "%b{number} = memref.alloc() : {}",
                buffer.shared_type(threads)
            ));
            text.line(&format!("%turned{number} = arith.addi %t, %c{} : index", buffer.turn));
            text.line(&format!(
                "%row{number} = arith.remui %turned{number}, %c{threads} : index"
            ));
        }
        let mut carried = "%one".to_owned();
        let mut run = "%c0".to_owned();
        for (level, (trip, dynamic)) in self.outer.iter().enumerate() {
            let bound = self.bound(&mut text, level, *trip, *dynamic);
            text.line(&format!(
                "%after{level} = scf.for %g{level} = %c0 to {bound} step %c1 iter_args(%acc{level} = {carried}) -> (i32) {{"
            ));
            text.line(&format!("%scaled{level} = arith.muli {run}, %c{trip} : index"));
            text.line(&format!("%run{level} = arith.addi %scaled{level}, %g{level} : index"));
            run = format!("%run{level}");
            carried = format!("%acc{level}");
        }
        let bound = self.bound(&mut text, self.outer.len(), self.trip.0, self.trip.1);
        text.line(&format!(
            "%sum = scf.for %i = %c0 to {bound} step %c1 iter_args(%acc = {carried}) -> (i32) {{"
        ));
        text.line(&format!("%before = arith.muli {run}, %c{} : index", self.trip.0));
        text.line("%chunk = arith.addi %before, %i : index");
        text.line("%third = arith.remui %i, %c3 : index");
        text.line("%on = arith.cmpi ne, %third, %c1 : index");
        text.line("%it = arith.addi %i, %t : index");
        text.line("%itthird = arith.remui %it, %c3 : index");
        text.line("%iton = arith.cmpi ne, %itthird, %c0 : index");
        for (number, buffer) in self.buffers.iter().enumerate() {
            self.copies(&mut text, number, buffer);
        }
        let tokens: Vec<String> = std::mem::take(&mut text.tokens);
        if !tokens.is_empty() {
            text.line(&format!(
                "%group = nvgpu.device_async_create_group {}",
                tokens.join(", ")
            ));
            text.line("nvgpu.device_async_wait %group");
        }
        text.line("gpu.barrier");
        let mut value = "%acc".to_owned();
        for (number, buffer) in self.buffers.iter().enumerate() {
            value = self.reads(&mut text, number, buffer, &value);
        }
        text.line("gpu.barrier");
        text.line(&format!("scf.yield {value} : i32 }}"));
        let mut yielded = "%sum".to_owned();
        text.line(&format!(
            "memref.store %sum, %out[{run}, %t] : memref<{}x{threads}xi32>",
            runs.max(1)
        ));
        for level in (0..self.outer.len()).rev() {
            text.line(&format!("scf.yield {yielded} : i32 }}"));
            yielded = format!("%after{level}");
        }
        text.line("gpu.return } }");
        text.out
    }

    fn bound(&self, text: &mut Text, level: usize, trip: usize, dynamic: bool) -> String {
        if !dynamic {
            return format!("%c{trip}");
        }
        text.line(&format!(
            "%loaded{level} = memref.load %trips[%c{level}] : memref<4xi32>"
        ));
        text.line(&format!(
            "%bound{level} = arith.index_cast %loaded{level} : i32 to index"
        ));
        format!("%bound{level}")
    }

    fn copies(&self, text: &mut Text, number: usize, buffer: &Buffer) {
        let threads = self.threads;
        let chunks = self.chunks().max(1);
        let (source, shared) = (buffer.source_type(chunks, threads), buffer.shared_type(threads));
        let (vector, lanes) = (buffer.vector_type(), buffer.lanes());
        if buffer.guard == Guard::Skipped {
            text.line("scf.if %on {");
        }
        let mut from = "%chunk".to_owned();
        if buffer.looked_up {
            text.line(&format!(
                "%entry{number} = memref.load %table{number}[%chunk] : memref<{chunks}xi32>"
            ));
            text.line(&format!(
                "%from{number} = arith.index_cast %entry{number} : i32 to index"
            ));
            from = format!("%from{number}");
        }
        if matches!(buffer.guard, Guard::Filled | Guard::Zeros) {
            text.line(&format!("%zeros{number} = arith.constant dense<0> : {vector}"));
        }
        if buffer.work {
            text.line(&format!("%work{number} = arith.constant dense<{WORK}> : {vector}"));
        }
        if buffer.form == Form::Whole {
            let columns = buffer.columns();
            let layout = format!("strided<[{columns}, 1], offset: ?>");
            let tile = format!("memref<{threads}x{columns}xi{}, {layout}>", buffer.bits);
            text.line(&format!(
                "%tile{number} = memref.subview %in{number}[{from}, 0, 0] [1, {threads}, {columns}] [1, 1, 1] : {source} to {tile}"
            ));
            text.line(&format!("memref.copy %tile{number}, %b{number} : {tile} to {shared}"));
        } else {
            let looped = buffer.form == Form::Looped;
            let pieces = if looped { 1 } else { buffer.pieces };
            if looped {
                text.line(&format!(
                    "scf.for %q{number} = %c0 to %c{} step %c{lanes} {{",
                    buffer.columns()
                ));
            }
            for piece in 0..pieces {
                let column = if looped {
                    format!("%q{number}")
                } else {
                    format!("%c{}", piece * lanes)
                };
                let place = format!("%b{number}[%t, {column}]");
                let name = format!("{number}_{piece}");
                let origin = format!("%in{number}[{from}, %t, {column}]");
                let load = match buffer.form {
                    Form::Transfer => format!("vector.transfer_read {origin}, %pad{name} : {source}, {vector}"),
                    _ => format!("vector.load {origin} : {source}, {vector}"),
                };
                if buffer.form == Form::Transfer {
                    text.line(&format!("%pad{name} = arith.constant 0 : i{}", buffer.bits));
                }
                let store = |value: &str| format!("vector.store {value}, {place} : {shared}, {vector}");
                match (buffer.form, buffer.guard) {
                    (Form::Waited, _) => {
                        let bypass = if buffer.width == 16 { " {bypassL1}" } else { "" };
                        text.line(&format!(
                            "%token{name} = nvgpu.device_async_copy {origin}, {place}, {lanes}{bypass} : {source} to {shared}"
                        ));
                        text.tokens.push(format!("%token{name}"));
                    }
                    (_, Guard::Always | Guard::Skipped) => {
                        text.line(&format!("%v{name} = {load}"));
                        if buffer.work {
                            text.line(&format!(
                                "%changed{name} = arith.xori %v{name}, %work{number} : {vector}"
                            ));
                            text.line(&format!(
                                "%worked{name} = arith.addi %changed{name}, %changed{name} : {vector}"
                            ));
                            text.line(&store(&format!("%worked{name}")));
                        } else {
                            text.line(&store(&format!("%v{name}")));
                        }
                    }
                    (_, Guard::Filled) => {
                        text.line(&format!("%v{name} = scf.if %iton -> ({vector}) {{"));
                        text.line(&format!("%w{name} = {load}"));
                        text.line(&format!("scf.yield %w{name} : {vector} }} else {{"));
                        text.line(&format!("scf.yield %zeros{number} : {vector} }}"));
                        text.line(&store(&format!("%v{name}")));
                    }
                    (_, Guard::Zeros) => {
                        text.line("scf.if %iton {");
                        text.line(&format!("%v{name} = {load}"));
                        text.line(&store(&format!("%v{name}")));
                        text.line("} else {");
                        text.line(&store(&format!("%zeros{number}")));
                        text.line("}");
                    }
                }
            }
            if looped {
                text.line("}");
            }
        }
        if buffer.guard == Guard::Skipped {
            text.line("}");
        }
    }

    /// Reads a buffer into the accumulator; the name of the new one.
    fn reads(&self, text: &mut Text, number: usize, buffer: &Buffer, value: &str) -> String {
        let shared = buffer.shared_type(self.threads);
        let (columns, lanes) = (buffer.columns(), buffer.lanes());
        let skipped = buffer.guard == Guard::Skipped;
        let result = format!("%mixed{number}");
        if skipped {
            text.line(&format!("{result} = scf.if %on -> (i32) {{"));
        }
        let inner = if skipped {
            format!("%inside{number}")
        } else {
            result.clone()
        };
        if buffer.reads == Reads::Direct {
            text.line(&format!(
                "%x{number} = memref.load %b{number}[%row{number}, %c0] : {shared}"
            ));
            let element = buffer.widened(text, &format!("%x{number}"), &format!("{number}"));
            text.mix(value, &element, &inner, &format!("d{number}"));
        } else {
            let (mut memref, mut ty, mut row) = (format!("%b{number}"), shared.clone(), format!("%row{number}"));
            if buffer.reads == Reads::Viewed {
                ty = format!(
                    "memref<1x{columns}xi{}, strided<[{columns}, 1], offset: ?>, #gpu.address_space<workgroup>>",
                    buffer.bits
                );
                memref = format!("%view{number}");
                text.line(&format!(
                    "{memref} = memref.subview %b{number}[{row}, 0] [1, {columns}] [1, 1] : {shared} to {ty}"
                ));
                row = "%c0".to_owned();
            }
            text.line(&format!(
                "{inner} = scf.for %s{number} = %c0 to %c{columns} step %c{lanes} iter_args(%p{number} = {value}) -> (i32) {{"
            ));
            text.line(&format!(
                "%x{number} = vector.load {memref}[{row}, %s{number}] : {ty}, {}",
                buffer.vector_type()
            ));
            let mut last = format!("%p{number}");
            for lane in 0..lanes {
                text.line(&format!(
                    "%l{number}_{lane} = vector.extract %x{number}[{lane}] : i{} from {}",
                    buffer.bits,
                    buffer.vector_type()
                ));
                let element = buffer.widened(text, &format!("%l{number}_{lane}"), &format!("{number}_{lane}"));
                let next = format!("%m{number}_{lane}");
                text.mix(&last, &element, &next, &format!("{number}_{lane}"));
                last = next;
            }
            text.line(&format!("scf.yield {last} : i32 }}"));
        }
        if skipped {
            text.line(&format!(
                "scf.yield {inner} : i32 }} else {{ scf.yield {value} : i32 }}"
            ));
        }
        result
    }
}

impl Buffer {
    fn source_type(&self, chunks: usize, threads: usize) -> String {
        format!("memref<{chunks}x{threads}x{}xi{}>", self.source_columns(), self.bits)
    }

    fn shared_type(&self, threads: usize) -> String {
        format!(
            "memref<{threads}x{}xi{}, #gpu.address_space<workgroup>>",
            self.columns(),
            self.bits
        )
    }

    fn vector_type(&self) -> String {
        format!("vector<{}xi{}>", self.lanes(), self.bits)
    }

    fn widened(&self, text: &mut Text, value: &str, name: &str) -> String {
        if self.bits == 32 {
            return value.to_owned();
        }
        text.line(&format!("%wide{name} = arith.extui {value} : i16 to i32"));
        format!("%wide{name}")
    }
}

#[derive(Default)]
struct Text {
    out: String,
    tokens: Vec<String>,
}

impl Text {
    fn line(&mut self, line: &str) {
        writeln!(self.out, "{line}").expect("text");
    }

    fn mix(&mut self, accumulator: &str, value: &str, result: &str, name: &str) {
        self.line(&format!("%by{name} = arith.muli {accumulator}, %factor : i32"));
        self.line(&format!("{result} = arith.addi %by{name}, {value} : i32"));
    }
}

/// What a case was about, counted over the run.
#[derive(Clone, Copy, Debug, Default)]
struct Tally {
    pipelined: usize,
    read_ahead: usize,
    across_loops: usize,
    staged: usize,
    sunk: usize,
    refused: usize,
}

fn compile(program: &Program, pipelined: bool, tally: &mut Tally) -> Result<Kernel, String> {
    let context = Context::new();
    let mut module = context
        .parse(&program.text(), "random.mlir")
        .map_err(|error| error.to_string())?;
    let target = GpuTarget::resolve("sm_80").expect("an architecture");
    let options = alcop::detect_options(&target);
    let detection = if pipelined {
        sink_and_detect(&mut module, &options).map_err(|error| error.to_string())?
    } else {
        detect(&module, &options)
    };
    let buffers = detection.kernels.iter().flat_map(|kernel| &kernel.buffers);
    let (shared, loads): (Vec<_>, Vec<_>) = buffers.partition(|buffer| buffer.level == Level::Shared);
    let fine = |buffer: &&&BufferVerdict| {
        let wanted = if pipelined {
            Verdict::Pipelinable
        } else {
            buffer.verdict
        };
        buffer.verdict == wanted && buffer.verdict != Verdict::Rejected || buffer.staged_depth.is_some()
    };
    if let Some(refused) = shared.iter().find(|buffer| !fine(buffer)) {
        return Err(format!("not pipelinable: {:?}", refused.reasons));
    }
    let most = loads
        .iter()
        .filter(|load| load.verdict == Verdict::Pipelinable)
        .filter_map(|load| load.max_depth)
        .min()
        .unwrap_or(1);
    let registers = if program.slots > 1 {
        program.registers.min(most)
    } else {
        1
    };
    let depths = Depths {
        shared_stages: program.slots,
        register_stages: registers,
        layout: if program.xor {
            SharedLayout::Xor
        } else {
            SharedLayout::Plain
        },
    };
    let mut plan = decide(&module, &detection, "sm_80", &depths).map_err(|error| error.to_string())?;
    if pipelined {
        for entry in &mut plan.loops {
            for (buffer, spec) in entry.buffers.iter_mut().zip(&program.buffers) {
                if program.slots > 1 {
                    buffer.slots += spec.extra;
                    buffer.distance = buffer.slots - 1 - u32::from(program.shorter && buffer.slots > 2);
                }
            }
        }
        tally.pipelined += usize::from(program.slots > 1);
        tally.read_ahead += usize::from(registers > 1);
        let mut buffers = plan.loops.iter().flat_map(|entry| &entry.buffers);
        tally.staged += usize::from(buffers.any(|buffer| buffer.transport == Transport::RegisterStaged));
        tally.sunk += usize::from(program.buffers.iter().any(|buffer| buffer.work));
        tally.across_loops += usize::from(plan.loops.iter().any(|entry| !entry.around.is_empty()));
    } else {
        plan.loops.clear();
    }
    let compiled = compile_to_ptx(&mut module, &plan, "sm_80").map_err(|error| error.to_string())?;
    Ok(Kernel {
        ptx: compiled.assembly.ptx,
        entry: "k".to_owned(),
        grid: [1, 1, 1],
        block: [program.threads as u32, 1, 1],
        dynamic_shared_bytes: compiled.dynamic_shared_bytes as u32,
    })
}

fn case(program: &Program, tally: &mut Tally) -> Result<(), TestCaseError> {
    let fail = |text: String| TestCaseError::fail(text);
    // A crash of the process leaves its kernel there.
    let last = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("differential.mlir");
    std::fs::write(last, format!("// {program:?}\n{}", program.text())).expect("writable");
    let expected: Vec<u8> = program.interpret().into_iter().flat_map(u32::to_le_bytes).collect();
    for pipelined in [false, true] {
        let what = if pipelined { "pipelined" } else { "as it was" };
        let kernel = match compile(program, pipelined, tally) {
            Ok(kernel) => kernel,
            // A distance that the reads do not leave is refused with the numbers.
            Err(error) if error.contains("sync-positions-differ") => {
                tally.refused += 1;
                return Ok(());
            }
            Err(error) => return Err(fail(format!("{what}: {error}\n{}", program.text()))),
        };
        for (seed, arrival) in [Arrival::Latest, Arrival::Earliest, Arrival::Random]
            .into_iter()
            .enumerate()
        {
            let mut arguments = program.arguments();
            let options = EmulateOptions {
                arrival,
                seed: seed as u64,
                ..EmulateOptions::default()
            };
            let report = emulate(&kernel, &mut arguments, &options)
                .map_err(|error| fail(format!("{what}, {arrival:?}: {error}\n{}", program.text())))?;
            if !report.hazards.is_empty() {
                return Err(fail(format!(
                    "{what}, {arrival:?}: {:?}\n{}",
                    report.hazards,
                    program.text()
                )));
            }
            let found = arguments
                .last()
                .and_then(ArgBuffer::bytes)
                .expect("the output is an array");
            if found != expected {
                return Err(fail(format!("{what}, {arrival:?}: other results\n{}", program.text())));
            }
        }
    }
    Ok(())
}

#[test]
fn random_nests_compute_the_same_with_and_without_a_pipeline() {
    let cases = std::env::var("ALCOP_CASES").map_or(200, |text| text.parse().expect("ALCOP_CASES is a number"));
    let config = Config {
        cases,
        max_shrink_iters: 400,
        source_file: Some(file!()),
        failure_persistence: Some(Box::new(FileFailurePersistence::WithSource("proptest-regressions"))),
        ..Config::default()
    };
    let tally = std::cell::RefCell::new(Tally::default());
    let mut runner = TestRunner::new(config);
    let outcome = runner.run(&program(), |program| case(&program, &mut tally.borrow_mut()));
    let tally = tally.into_inner();
    if let Err(error) = outcome {
        panic!("{error}");
    }
    println!("{tally:?}");
    let cases = cases as usize;
    assert!(tally.pipelined * 2 > cases, "{tally:?}");
    assert!(tally.read_ahead * 10 > cases, "{tally:?}");
    assert!(tally.across_loops * 10 > cases, "{tally:?}");
    assert!(tally.staged * 20 > cases && tally.sunk * 20 > cases, "{tally:?}");
    assert!(tally.refused * 4 < cases, "{tally:?}");
}
