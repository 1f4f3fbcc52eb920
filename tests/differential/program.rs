//! Random nests, and what they compute: the interpreter knows nothing of pipelines.

use alcop::runtime::ArgBuffer;
use alcop::spec::kernel::ArrayDType;
use proptest::prelude::*;

/// How the copies of a buffer are spelled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
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
pub enum Guard {
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
pub enum Reads {
    /// One element, directly in the loop.
    Direct,
    /// All pieces, in a loop of its own that can be unrolled.
    Steps,
    /// All pieces, in a loop, through a view.
    Viewed,
}

/// The type of the elements in global memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    I16,
    I32,
    F16,
    Bf16,
    F32,
}

impl Kind {
    pub fn bits(self) -> usize {
        match self {
            Kind::I16 | Kind::F16 | Kind::Bf16 => 16,
            Kind::I32 | Kind::F32 => 32,
        }
    }

    pub fn is_float(self) -> bool {
        matches!(self, Kind::F16 | Kind::Bf16 | Kind::F32)
    }

    /// The type in MLIR.
    pub fn name(self) -> &'static str {
        match self {
            Kind::I16 => "i16",
            Kind::I32 => "i32",
            Kind::F16 => "f16",
            Kind::Bf16 => "bf16",
            Kind::F32 => "f32",
        }
    }
}

#[derive(Clone, Copy, Debug)]
pub struct Buffer {
    pub kind: Kind,
    /// Bytes of a piece.
    pub width: usize,
    /// Pieces of a row; a row a thread.
    pub pieces: usize,
    pub form: Form,
    pub guard: Guard,
    pub reads: Reads,
    /// Threads further on whose row is read.
    pub turn: usize,
    /// The chunk's number is looked up in memory.
    pub looked_up: bool,
    /// Slots more than the loop's.
    pub extra: u32,
    /// It keeps one slot, beside others that may have more.
    pub in_place: bool,
    /// Element-wise work between load and store.
    pub work: bool,
    /// A cast to `f32` between load and store: the buffer's elements are wider than the source's.
    pub cast: bool,
}

/// What element-wise work does to an integer: an exclusive or with this, and a sum with itself. Of a floating-point value
/// it takes the half, and 0 where that is negative.
pub const WORK: u32 = 0x5a17;

impl Buffer {
    pub fn lanes(&self) -> usize {
        self.width * 8 / self.kind.bits()
    }

    /// The type of the elements in shared memory.
    pub fn shared_kind(&self) -> Kind {
        if self.cast { Kind::F32 } else { self.kind }
    }

    pub fn columns(&self) -> usize {
        self.pieces * self.lanes()
    }

    /// Elements of a row in global memory: with transfers the last piece is half there.
    pub fn source_columns(&self) -> usize {
        match self.form {
            Form::Transfer if self.lanes() > 1 => self.columns() - self.lanes() / 2,
            _ => self.columns(),
        }
    }

    /// Whether rows in global memory keep the alignment that the width asks for.
    pub fn is_aligned(&self) -> bool {
        (self.source_columns() * self.kind.bits() / 8).is_multiple_of(self.width)
    }
}

#[derive(Clone, Debug)]
pub struct Program {
    pub threads: usize,
    /// Trip counts of the loops around, outermost first, and whether they stand in memory.
    pub outer: Vec<(usize, bool)>,
    pub trip: (usize, bool),
    pub buffers: Vec<Buffer>,
    pub slots: u32,
    pub registers: u32,
    pub shorter: bool,
    pub xor: bool,
    /// Whether sums go through the first buffer that can hold them behind each run of the inner loop.
    pub stages: bool,
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
    let kind = prop_oneof![
        2 => Just(Kind::I16),
        2 => Just(Kind::I32),
        2 => Just(Kind::F16),
        1 => Just(Kind::Bf16),
        1 => Just(Kind::F32),
    ];
    let shape = (
        kind,
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
        (prop_oneof![4 => Just(0_u32), 1 => 1_u32..3], prop::bool::weighted(0.15)),
        (prop::bool::weighted(0.2), prop::bool::weighted(0.6)),
    )
        .prop_map(
            |((kind, width, pieces), form, guard, reads, turn, looked_up, (extra, in_place), (work, cast))| {
                let narrow = match kind {
                    Kind::I32 => Kind::I16,
                    Kind::F32 => Kind::F16,
                    other => other,
                };
                let mut buffer = Buffer {
                    kind: if width == 2 { narrow } else { kind },
                    width,
                    pieces,
                    form,
                    guard,
                    reads,
                    turn,
                    looked_up,
                    extra,
                    in_place,
                    work,
                    cast: false,
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
                buffer.cast = buffer.work && cast && matches!(buffer.kind, Kind::F16 | Kind::Bf16);
                buffer
            },
        )
}

pub fn program() -> impl Strategy<Value = Program> {
    let outer = prop::collection::vec((0_usize..4, prop::bool::weighted(0.2)), 0..3);
    let buffers = prop::collection::vec(buffer(), 1..4);
    let depths = (1_u32..7, 1_u32..5, prop::bool::weighted(0.2), any::<bool>());
    let stages = prop::bool::weighted(0.3);
    (
        prop_oneof![Just(32_usize), Just(64)],
        outer,
        (0_usize..9, prop::bool::weighted(0.3)),
        buffers,
        depths,
        stages,
    )
        .prop_map(
            |(threads, outer, trip, mut buffers, (slots, registers, shorter, xor), stages)| {
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
                    stages,
                }
            },
        )
}

impl Program {
    pub fn chunks(&self) -> usize {
        self.outer.iter().map(|(trip, _)| trip).product::<usize>() * self.trip.0
    }

    /// Whether a chunk of a buffer is copied, for a thread's row; only its iteration counts where all threads decide as
    /// one.
    pub fn is_on(buffer: &Buffer, iteration: usize, thread: usize) -> bool {
        match buffer.guard {
            Guard::Always => true,
            Guard::Filled | Guard::Zeros => !(iteration + thread).is_multiple_of(3),
            Guard::Skipped => iteration % 3 != 1,
        }
    }

    pub fn element(number: usize, at: usize) -> u32 {
        let hash = (at as u32 ^ (number as u32) << 20).wrapping_mul(0x9e37_79b1);
        hash ^ hash >> 15
    }

    /// The first buffer whose elements are as wide as sums, and are not changed on their way.
    pub fn stage(&self) -> Option<usize> {
        let holds = |buffer: &Buffer| buffer.kind == Kind::I32 && !buffer.work;
        self.buffers.iter().position(holds).filter(|_| self.stages)
    }

    /// The bits of an element as it is read, widened to 32 bits.
    pub fn read(buffer: &Buffer, number: usize, at: usize) -> u32 {
        let element = Self::element(number, at);
        if buffer.kind.is_float() {
            let value = Self::float(element);
            let worked = if buffer.work { (value * 0.5).max(0.0) } else { value };
            return worked.to_bits();
        }
        let worked = if buffer.work {
            (element ^ WORK).wrapping_mul(2)
        } else {
            element
        };
        match buffer.kind {
            Kind::I16 => worked & 0xffff,
            _ => worked,
        }
    }

    /// A number that every floating-point type has, and its half too.
    pub fn float(element: u32) -> f32 {
        (element % 128) as f32 * 0.25 - 16.0
    }

    pub fn lookup(&self, number: usize, chunk: usize) -> usize {
        let chunks = self.chunks().max(1);
        if self.buffers[number].looked_up {
            (chunk * 7 + 3) % chunks
        } else {
            chunk
        }
    }

    /// What every thread ends with after each run of the inner loop.
    pub fn interpret(&self) -> Vec<u32> {
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
                            let value = if exists { Self::read(buffer, number, at) } else { 0 };
                            *accumulator = accumulator.wrapping_mul(31).wrapping_add(value);
                        }
                    }
                }
            }
            for (thread, accumulator) in accumulators.iter().enumerate() {
                out[run * self.threads + thread] = *accumulator;
            }
            if let Some(stage) = self.stage() {
                let turn = self.buffers[stage].turn % self.threads;
                out[run * self.threads..(run + 1) * self.threads].rotate_left(turn);
            }
        }
        out
    }

    pub fn arguments(&self) -> Vec<ArgBuffer> {
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
            let elements = (0..elements).map(|at| Self::element(number, at));
            let (dtype, bytes): (ArrayDType, Vec<u8>) = match buffer.kind {
                Kind::I16 => (
                    ArrayDType::I16,
                    elements.flat_map(|one| (one as u16).to_le_bytes()).collect(),
                ),
                Kind::I32 => (ArrayDType::I32, elements.flat_map(u32::to_le_bytes).collect()),
                Kind::F16 => (
                    ArrayDType::F16,
                    elements
                        .flat_map(|one| half::f16::from_f32(Self::float(one)).to_le_bytes())
                        .collect(),
                ),
                Kind::Bf16 => (
                    ArrayDType::Bf16,
                    elements
                        .flat_map(|one| half::bf16::from_f32(Self::float(one)).to_le_bytes())
                        .collect(),
                ),
                Kind::F32 => (
                    ArrayDType::F32,
                    elements.flat_map(|one| Self::float(one).to_le_bytes()).collect(),
                ),
            };
            arguments.push(ArgBuffer::Array { dtype, bytes });
            arguments.push(i32s(
                (0..chunks).map(|chunk| self.lookup(number, chunk) as u32).collect(),
            ));
        }
        arguments.push(i32s(vec![0; runs.max(1) * self.threads]));
        arguments
    }
}
