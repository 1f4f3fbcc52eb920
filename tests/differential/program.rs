//! What a random program is: buffers, how each is copied and read, and the loops that do so.
//!
//! ```text
//! Buffer { F16, 16 B, Straight, guard: Filled, works: [Shifted, Scaled] }
//!   loop 0: v = if on { load } else { 0 }; store v * 0.5 + 1      loop 1: …; store max(v * 0.5, 0)
//! ```

use super::work::Work;

/// How the copies of a buffer are spelled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// A load and a store a piece.
    Straight,
    /// The same in a loop over the pieces.
    Looped,
    /// `vector.transfer_read`, whose last piece reaches over the end of a row.
    Transfer,
    /// `vector.maskedload`, likewise: the mask leaves out what is behind the end.
    Masked,
    /// `memref.copy` of the whole tile.
    Whole,
    /// `memref.copy` of each thread's row.
    OwnRows,
    /// `nvgpu.device_async_copy`, waited for at once.
    Waited,
}

/// What decides whether something is copied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Guard {
    Always,
    /// Where it is off, zeros: `scf.if`.
    Filled,
    /// The same as `arith.select`.
    Selected,
    /// The same as a mask.
    Masked,
    /// Where it is off, stores of zeros.
    Zeros,
    /// Copies and reads are skipped together.
    Skipped,
}

/// Where work stands to the guard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Behind it: zeros get the work, too.
    Behind,
    /// Inside, and the other side has zeros.
    Zeros,
    /// Inside, and the other side has what the work makes of zeros.
    Worked,
}

/// What the copies of every other piece have in them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Odd {
    Same,
    /// The same operations with other attributes: a predicate, overflow flags, a constant.
    Attribute,
    /// No work.
    Nothing,
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

    /// What a cast makes of it.
    fn other_width(self) -> Kind {
        match self {
            Kind::I16 => Kind::I32,
            Kind::I32 => Kind::I16,
            Kind::F16 | Kind::Bf16 => Kind::F32,
            Kind::F32 => Kind::F16,
        }
    }
}

/// What a loop counts with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counter {
    /// Bits of an integer; 0 for `index`.
    pub bits: u32,
    pub unsigned: bool,
    pub start: Start,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    Zero,
    Three,
    /// One before the sign changes: -1 with a sign, the largest positive number without one.
    AtSign,
    /// It ends at the largest number.
    ToTheEnd,
}

impl Counter {
    pub const PLAIN: Counter = Counter {
        bits: 0,
        unsigned: false,
        start: Start::Zero,
    };

    pub fn ty(self) -> String {
        match self.bits {
            0 => "index".to_owned(),
            bits => format!("i{bits}"),
        }
    }

    fn width(self) -> u32 {
        if self.bits == 0 { 64 } else { self.bits }
    }

    /// The first value of a loop that counts over `extent`, as a number with a sign.
    pub fn first(self, extent: usize) -> i64 {
        let sign = 1_i128 << (self.width() - 1);
        let largest = if self.unsigned { 2 * sign - 1 } else { sign - 1 };
        let first = match (self.start, self.unsigned) {
            (Start::Zero, _) => 0,
            (Start::Three, _) => 3,
            (Start::AtSign, false) => -1,
            (Start::AtSign, true) => sign - 1,
            (Start::ToTheEnd, _) => largest - extent as i128,
        };
        self.wrapped(first)
    }

    /// The constant in the IR for a number: without a sign, the upper half of them is written as negative ones.
    pub fn wrapped(self, number: i128) -> i64 {
        match self.width() {
            32 => i64::from(number as i32),
            _ => number as i64,
        }
    }
}

/// One loop over all buffers.
#[derive(Clone, Copy, Debug)]
pub struct Phase {
    pub trip: usize,
    /// Whether the trip count stands in memory.
    pub dynamic: bool,
    pub counter: Counter,
}

#[derive(Clone, Copy, Debug)]
pub struct Buffer {
    pub kind: Kind,
    /// Bytes of a piece; with several widths, of the narrowest.
    pub width: usize,
    /// Pieces of a row; a row a thread.
    pub pieces: usize,
    /// Pieces of 16, 8 and 4 bytes, in one of these orders.
    pub mixed: Option<usize>,
    pub form: Form,
    /// Only this half of the threads copies, two rows each.
    pub half: Option<usize>,
    pub guard: Guard,
    pub place: Place,
    /// Element-wise work between load and store, in each loop.
    pub works: [Work; 2],
    pub odd: Odd,
    /// A cast between load and store: the buffer's elements are wider or narrower than the source's.
    pub cast: bool,
    /// Accesses of every other piece have more attributes: an alignment, or that they are not temporal.
    pub hints: bool,
    /// Whether rows that end early keep the pitch of whole ones.
    pub pitched: bool,
    pub reads: Reads,
    /// Threads further on whose row is read.
    pub turn: usize,
    /// The chunk's number is looked up in memory.
    pub looked_up: bool,
    /// Slots more than the loop's.
    pub extra: u32,
    /// It keeps one slot, beside others that may have more.
    pub in_place: bool,
    pub copy_counter: Counter,
    pub read_counter: Counter,
    /// It is filled and read in front of the loops too, with this work.
    pub lead: Option<Work>,
}

/// Bytes of the pieces of a row.
const MIXED: [&[usize]; 4] = [&[16, 8, 4, 4], &[4, 4, 8, 16], &[8, 4, 4, 16], &[16, 4, 4, 8]];

impl Buffer {
    /// Elements that a read takes at once.
    pub fn lanes(&self) -> usize {
        self.width * 8 / self.kind.bits()
    }

    /// The first column of each piece and its elements.
    pub fn spans(&self) -> Vec<(usize, usize)> {
        let widths: Vec<usize> = match self.mixed {
            Some(order) => MIXED[order].to_vec(),
            None => vec![self.width; self.pieces],
        };
        let bytes = self.kind.bits() / 8;
        let mut column = 0;
        let span = |width: usize| {
            let lanes = width / bytes;
            column += lanes;
            (column - lanes, lanes)
        };
        widths.into_iter().map(span).collect()
    }

    /// The type of the elements in shared memory.
    pub fn shared_kind(&self) -> Kind {
        if self.cast { self.kind.other_width() } else { self.kind }
    }

    pub fn columns(&self) -> usize {
        self.spans().iter().map(|(_, lanes)| lanes).sum()
    }

    /// Whether the last piece of a row is half there.
    pub fn is_ragged(&self) -> bool {
        matches!(self.form, Form::Transfer | Form::Masked) && self.lanes() > 1
    }

    /// Elements of a row in global memory.
    pub fn source_columns(&self) -> usize {
        match self.is_ragged() {
            true => self.columns() - self.lanes() / 2,
            false => self.columns(),
        }
    }

    /// Elements from one row in global memory to the next.
    pub fn pitch(&self) -> usize {
        if self.pitched {
            self.columns()
        } else {
            self.source_columns()
        }
    }

    /// Whether its pieces are spelled out one by one, more than one of them.
    pub fn is_unrolled(&self) -> bool {
        matches!(self.form, Form::Straight | Form::Transfer | Form::Masked) && self.spans().len() > 1
    }

    /// What the copy of a piece does in a loop.
    pub fn work(&self, phase: usize, piece: usize) -> Work {
        let work = self.works[phase];
        match self.odd {
            Odd::Attribute if piece % 2 == 1 => work.with_other_attribute(),
            Odd::Nothing if piece % 2 == 1 => Work::None,
            _ => work,
        }
    }

    /// Whether any copy in the loops has work, or changes the type.
    pub fn has_work(&self) -> bool {
        self.cast || self.works.iter().any(|work| *work != Work::None)
    }

    /// How it is copied and read in front of the loops.
    pub fn leading(&self, work: Work) -> Buffer {
        Buffer {
            form: if self.is_ragged() { self.form } else { Form::Straight },
            half: None,
            guard: Guard::Always,
            place: Place::Behind,
            works: [work; 2],
            odd: Odd::Same,
            ..*self
        }
    }

    /// Leaves out what its form cannot say.
    pub fn normalise(&mut self) {
        if self.width == 2 && self.kind.bits() == 32 {
            self.kind = self.kind.other_width();
        }
        if self.mixed.is_some() {
            (self.form, self.width) = (Form::Straight, 4);
        }
        if self.width == 2 && matches!(self.form, Form::Whole | Form::OwnRows | Form::Waited) {
            self.form = Form::Straight;
        }
        self.pitched &= self.is_ragged();
        match self.form {
            Form::Whole | Form::OwnRows | Form::Waited => {
                (self.works, self.cast) = ([Work::None; 2], false);
                let said = match self.form {
                    Form::Whole => matches!(self.guard, Guard::Skipped),
                    Form::OwnRows => matches!(self.guard, Guard::Skipped | Guard::Zeros),
                    // A wait under a condition may be for other copies than its own.
                    _ => false,
                };
                if !said {
                    self.guard = Guard::Always;
                }
                if self.form == Form::Waited {
                    self.half = None;
                }
            }
            Form::Straight | Form::Looped | Form::Transfer | Form::Masked => {}
        }
        let float = self.kind.is_float();
        self.works = self.works.map(|work| work.of(float));
        self.lead = self.lead.map(|work| work.of(float));
        self.place = match (self.guard, self.place) {
            (Guard::Filled | Guard::Selected, place) => place,
            (Guard::Zeros, Place::Worked) => Place::Worked,
            (Guard::Zeros, _) => Place::Zeros,
            (Guard::Always | Guard::Masked | Guard::Skipped, _) => Place::Behind,
        };
        if !self.is_unrolled() {
            self.odd = Odd::Same;
        }
        self.hints &= matches!(self.form, Form::Straight) && self.spans().len() > 1;
        if self.form != Form::Looped {
            self.copy_counter = Counter::PLAIN;
        }
        if self.reads == Reads::Direct {
            self.read_counter = Counter::PLAIN;
        }
    }

    /// Why it may not be pipelined: no other refusal is right.
    pub fn doubts(&self, phases: usize) -> Vec<&'static str> {
        let mut doubts = Vec::new();
        let zero_kept = |place: Place, work: Work| match place {
            Place::Behind => true,
            Place::Zeros => work.makes_of_zero(self.shared_kind(), 0.0),
            Place::Worked => work.is_known_at_zero(),
        };
        for phase in 0..phases {
            let works: Vec<Work> = (0..self.spans().len()).map(|piece| self.work(phase, piece)).collect();
            if works.iter().any(|work| work.essence() != works[0].essence()) {
                doubts.push("work differs");
            }
            if works.iter().any(|work| !zero_kept(self.place, *work)) {
                doubts.push("zeros differ");
            }
        }
        if self.lead.is_some() && self.has_work() {
            doubts.push("work, and filled in front");
        }
        let aligned = (self.pitch() * self.kind.bits() / 8).is_multiple_of(4) && self.width > 2;
        if !aligned && (self.has_work() || self.guard == Guard::Masked || self.is_ragged()) {
            doubts.push("work or a mask in copies of two bytes");
        }
        if self.guard == Guard::Masked && self.form != Form::Masked {
            doubts.push("mask that is no prefix");
        }
        if self.copy_counter != Counter::PLAIN {
            doubts.push("counter of a loop of copies");
        }
        if self.half.is_some() {
            doubts.push("half of the threads");
        }
        if self.form == Form::OwnRows && self.guard == Guard::Zeros {
            doubts.push("memref.copy under a condition");
        }
        doubts.dedup();
        doubts
    }
}

#[derive(Clone, Debug)]
pub struct Program {
    pub threads: usize,
    /// The loops around, outermost first.
    pub outer: Vec<Phase>,
    /// The loops that copy and read, one behind the other.
    pub phases: Vec<Phase>,
    pub buffers: Vec<Buffer>,
    pub slots: u32,
    pub registers: u32,
    pub shorter: bool,
    pub xor: bool,
    /// Whether sums go through the first buffer that can hold them behind each run of the inner loop.
    pub stages: bool,
}

impl Program {
    pub fn runs(&self) -> usize {
        self.outer.iter().map(|outer| outer.trip).product()
    }

    /// Chunks of a run: one in front of the loops, where a buffer is filled there.
    pub fn chunks_of_run(&self) -> usize {
        self.lead_chunks() + self.phases.iter().map(|phase| phase.trip).sum::<usize>()
    }

    pub fn lead_chunks(&self) -> usize {
        usize::from(self.buffers.iter().any(|buffer| buffer.lead.is_some()))
    }

    /// The first chunk of a loop, in a run.
    pub fn first_chunk(&self, phase: usize) -> usize {
        let before: usize = self.phases[..phase].iter().map(|phase| phase.trip).sum();
        self.lead_chunks() + before
    }

    pub fn chunks(&self) -> usize {
        self.runs() * self.chunks_of_run()
    }

    pub fn is_dynamic(&self) -> bool {
        self.outer.iter().chain(&self.phases).any(|phase| phase.dynamic)
    }

    /// The first buffer whose elements are as wide as sums, and are not changed on their way.
    pub fn stage(&self) -> Option<usize> {
        let holds = |buffer: &Buffer| buffer.kind == Kind::I32 && !buffer.has_work();
        self.buffers.iter().position(holds).filter(|_| self.stages)
    }

    /// Why it may not be pipelined.
    pub fn doubts(&self) -> Vec<&'static str> {
        let mut doubts: Vec<&'static str> = self
            .buffers
            .iter()
            .flat_map(|buffer| buffer.doubts(self.phases.len()))
            .collect();
        if self.phases.iter().any(|phase| phase.counter != Counter::PLAIN) {
            doubts.push("counter of the main loop");
        }
        doubts.sort_unstable();
        doubts.dedup();
        doubts
    }

    pub fn normalise(&mut self) {
        // Whether threads decide alike in a loop whose bound they load is more than detection proves.
        let dynamic = self.is_dynamic();
        for buffer in &mut self.buffers {
            if dynamic && buffer.guard == Guard::Skipped {
                buffer.guard = Guard::Always;
            }
            buffer.normalise();
        }
    }

    /// Leaves out all that may keep it from being pipelined.
    pub fn calm(&mut self) {
        for phase in &mut self.phases {
            phase.counter = Counter::PLAIN;
        }
        for buffer in &mut self.buffers {
            (buffer.odd, buffer.half, buffer.copy_counter) = (Odd::Same, None, Counter::PLAIN);
            if buffer.guard == Guard::Masked {
                (buffer.form, buffer.mixed) = (Form::Masked, None);
            }
            if buffer.has_work() || buffer.guard == Guard::Masked {
                buffer.width = buffer.width.max(4);
            }
            buffer.pitched |= buffer.width == 4;
            if buffer.form == Form::OwnRows && buffer.guard == Guard::Zeros {
                buffer.guard = Guard::Always;
            }
            let zeros = |doubts: Vec<&str>| doubts.contains(&"zeros differ");
            if zeros(buffer.doubts(self.phases.len())) {
                buffer.place = Place::Worked;
            }
            if zeros(buffer.doubts(self.phases.len())) {
                buffer.works = [Work::Scaled; 2];
            }
            if buffer.has_work() {
                buffer.lead = None;
            }
        }
        self.slots = self.slots.max(2);
        self.normalise();
    }
}
