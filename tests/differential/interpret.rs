//! What a program computes, and on which arguments: knows nothing of pipelines.

use alcop::runtime::ArgBuffer;
use alcop::spec::kernel::ArrayDType;

use super::program::{Buffer, Guard, Kind, Place, Program, Reads};
use super::work::Element;

impl Program {
    /// Whether a chunk of a buffer is copied, for a thread's row; only its iteration counts where all threads decide as
    /// one.
    fn is_on(buffer: &Buffer, iteration: usize, row: usize) -> bool {
        match buffer.guard {
            Guard::Always => true,
            Guard::Filled | Guard::Selected | Guard::Masked | Guard::Zeros => !(iteration + row).is_multiple_of(3),
            Guard::Skipped => iteration % 3 != 1,
        }
    }

    fn bits(number: usize, at: usize) -> u32 {
        let hash = (at as u32 ^ (number as u32) << 20).wrapping_mul(0x9e37_79b1);
        hash ^ hash >> 15
    }

    /// A number that every floating-point type has, and all that work makes of it too.
    fn float(bits: u32) -> f32 {
        (bits % 128) as f32 * 0.25 - 16.0
    }

    /// An element in global memory.
    fn element(buffer: &Buffer, number: usize, at: usize) -> Element {
        let bits = Self::bits(number, at);
        match buffer.kind {
            Kind::I16 => Element::Int(bits & 0xffff),
            Kind::I32 => Element::Int(bits),
            Kind::F16 | Kind::Bf16 | Kind::F32 => Element::Float(Self::float(bits)),
        }
    }

    /// The same in shared memory's type.
    fn cast(buffer: &Buffer, element: Element) -> Element {
        match (buffer.shared_kind(), element) {
            (Kind::I16, Element::Int(value)) => Element::Int(value & 0xffff),
            (_, element) => element,
        }
    }

    /// The bits of an element as it is read, widened to 32 bits.
    fn read(&self, buffer: &Buffer, number: usize, (phase, chunk): (usize, usize), at: [usize; 2], on: bool) -> u32 {
        let [row, column] = at;
        let kind = buffer.shared_kind();
        let piece = buffer.spans().iter().take_while(|(first, _)| *first <= column).count() - 1;
        let work = buffer.work(phase, piece);
        let filled = match buffer.place {
            Place::Zeros => Element::zero(kind),
            Place::Behind | Place::Worked => work.apply(kind, Element::zero(kind)),
        };
        let exists = column < buffer.source_columns();
        let found = match (on, exists) {
            (false, _) => filled,
            (true, false) => work.apply(kind, Element::zero(kind)),
            (true, true) => {
                let from = self.lookup(number, chunk);
                let at = (from * self.threads + row) * buffer.pitch() + column;
                work.apply(kind, Self::cast(buffer, Self::element(buffer, number, at)))
            }
        };
        match found {
            Element::Int(value) => value,
            Element::Float(value) => value.to_bits(),
        }
    }

    fn lookup(&self, number: usize, chunk: usize) -> usize {
        let chunks = self.chunks().max(1);
        match self.buffers[number].looked_up {
            true => (chunk * 7 + 3) % chunks,
            false => chunk,
        }
    }

    /// Mixes what every thread reads of a buffer into its sum.
    fn mix(&self, sums: &mut [u32], number: usize, buffer: &Buffer, phase: (usize, usize), iteration: usize) {
        if buffer.guard == Guard::Skipped && !Self::is_on(buffer, iteration, 0) {
            return;
        }
        let columns = match buffer.reads {
            Reads::Direct => 0..1,
            Reads::Steps | Reads::Viewed => 0..buffer.columns(),
        };
        for (thread, sum) in sums.iter_mut().enumerate() {
            let row = (thread + buffer.turn) % self.threads;
            for column in columns.clone() {
                let on = Self::is_on(buffer, iteration, row);
                let value = self.read(buffer, number, phase, [row, column], on);
                *sum = sum.wrapping_mul(31).wrapping_add(value);
            }
        }
    }

    /// What every thread ends with after each run of the inner loops.
    pub fn interpret(&self) -> Vec<u32> {
        let runs = self.runs();
        let mut sums = vec![1_u32; self.threads];
        let mut out = vec![0; runs.max(1) * self.threads];
        for run in 0..runs {
            let first = run * self.chunks_of_run();
            for (number, buffer) in self.buffers.iter().enumerate() {
                if let Some(work) = buffer.lead {
                    self.mix(&mut sums, number, &buffer.leading(work), (0, first), 0);
                }
            }
            for (phase, entry) in self.phases.iter().enumerate() {
                for iteration in 0..entry.trip {
                    let chunk = first + self.first_chunk(phase) + iteration;
                    for (number, buffer) in self.buffers.iter().enumerate() {
                        self.mix(&mut sums, number, buffer, (phase, chunk), iteration);
                    }
                }
            }
            let own = &mut out[run * self.threads..(run + 1) * self.threads];
            own.copy_from_slice(&sums);
            if let Some(stage) = self.stage() {
                own.rotate_left(self.buffers[stage].turn % self.threads);
            }
        }
        out
    }

    pub fn arguments(&self) -> Vec<ArgBuffer> {
        let i32s = |values: Vec<u32>| ArgBuffer::Array {
            dtype: ArrayDType::I32,
            bytes: values.into_iter().flat_map(u32::to_le_bytes).collect(),
        };
        let trips = self.outer.iter().chain(&self.phases).map(|phase| phase.trip as u32);
        // The last one is what work chooses by.
        let mut trips: Vec<u32> = trips.chain([0; 5]).take(5).collect();
        trips.push(1);
        let mut arguments = vec![i32s(trips)];
        let chunks = self.chunks().max(1);
        for (number, buffer) in self.buffers.iter().enumerate() {
            let elements = chunks * self.threads * buffer.pitch();
            let elements = (0..elements).map(|at| Self::element(buffer, number, at));
            let bytes = elements.flat_map(|element| bytes(buffer.kind, element)).collect();
            let dtype = match buffer.kind {
                Kind::I16 => ArrayDType::I16,
                Kind::I32 => ArrayDType::I32,
                Kind::F16 => ArrayDType::F16,
                Kind::Bf16 => ArrayDType::Bf16,
                Kind::F32 => ArrayDType::F32,
            };
            arguments.push(ArgBuffer::Array { dtype, bytes });
            arguments.push(i32s(
                (0..chunks).map(|chunk| self.lookup(number, chunk) as u32).collect(),
            ));
        }
        arguments.push(i32s(vec![0; self.runs().max(1) * self.threads]));
        arguments
    }
}

fn bytes(kind: Kind, element: Element) -> Vec<u8> {
    match (kind, element) {
        (Kind::I16, Element::Int(value)) => (value as u16).to_le_bytes().to_vec(),
        (_, Element::Int(value)) => value.to_le_bytes().to_vec(),
        (Kind::F16, Element::Float(value)) => half::f16::from_f32(value).to_le_bytes().to_vec(),
        (Kind::Bf16, Element::Float(value)) => half::bf16::from_f32(value).to_le_bytes().to_vec(),
        (_, Element::Float(value)) => value.to_le_bytes().to_vec(),
    }
}
