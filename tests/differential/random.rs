//! Random programs: all that they can say, or with one form that a case is about.

use proptest::prelude::*;

use super::program::{Buffer, Counter, Form, Guard, Kind, Odd, Phase, Place, Program, Reads, Start};
use super::work::Work;

/// The form that a case is about. Each gets its share of the cases.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Focus {
    /// Anything, of which some may be refused.
    Anything,
    /// `scf.if`, otherwise zeros; work behind it keeps zeros.
    Filled,
    /// The same; the work makes something else of zeros.
    FilledAndChanged,
    /// `arith.select` of what was loaded or zeros, and work behind it.
    Selected,
    /// `vector.maskedload` or `vector.transfer_read` with a mask, and work behind it.
    Masked,
    /// Rows that end early: `vector.transfer_read`, or a mask that says so; and work behind it.
    Ragged,
    /// Work inside a guard whose other side has what the work makes of zeros.
    Inside,
    /// The other side has zeros, and the work makes something else of them.
    InsideAndChanged,
    /// A cast behind a guard.
    Cast,
    /// Two loops with different work on one tile.
    TwoLoops,
    /// Tiles that are filled in front of the loops too.
    Lead,
    /// The same, with work in the loops.
    LeadAndWork,
    /// Copies of one tile whose work differs in an attribute.
    Attribute,
    /// Copies of one tile whose accesses differ in an attribute.
    Hints,
    /// Pieces of 2 bytes, which go through registers.
    Staged,
    /// Pieces of 16, 8 and 4 bytes.
    Mixed,
    /// `memref.copy` of each thread's row.
    OwnRows,
    /// `memref.copy` under a thread's condition.
    SomeRows,
    /// Copies by half of the threads: by one warp of two.
    Half,
    /// Loops of copies that count otherwise.
    CopyCounter,
    /// Loops of reads that count otherwise.
    ReadCounter,
    /// Loops around that count otherwise.
    OuterCounter,
    /// Loops that copy and read, and count otherwise.
    MainCounter,
}

impl Focus {
    pub const ALL: [Focus; 23] = [
        Focus::Anything,
        Focus::Filled,
        Focus::FilledAndChanged,
        Focus::Selected,
        Focus::Masked,
        Focus::Ragged,
        Focus::Inside,
        Focus::InsideAndChanged,
        Focus::Cast,
        Focus::TwoLoops,
        Focus::Lead,
        Focus::LeadAndWork,
        Focus::Attribute,
        Focus::Hints,
        Focus::Staged,
        Focus::Mixed,
        Focus::OwnRows,
        Focus::SomeRows,
        Focus::Half,
        Focus::CopyCounter,
        Focus::ReadCounter,
        Focus::OuterCounter,
        Focus::MainCounter,
    ];

    /// Whether the compiler is meant to pipeline it. The others may be refused with a reason, and compute the same.
    pub fn is_meant(self) -> bool {
        !matches!(
            self,
            Focus::Anything
                | Focus::InsideAndChanged
                | Focus::LeadAndWork
                | Focus::Attribute
                | Focus::SomeRows
                | Focus::Half
                | Focus::CopyCounter
                | Focus::MainCounter
        )
    }

    /// Its number of cases out of all; the first of [`Focus::ALL`] gets the rest.
    pub fn cases(self, all: u32) -> u32 {
        let each = (all / 25).max(1);
        match self {
            Focus::Anything => all.saturating_sub(each * (Focus::ALL.len() as u32 - 1)).max(1),
            _ => each,
        }
    }

    /// Gives a program the form: its first buffer, or its loops.
    fn apply(self, program: &mut Program, choice: Choice) {
        let Choice {
            work, counter, second, ..
        } = choice;
        let float = program.buffers[0].kind.is_float();
        let phases = program.phases.len();
        if self == Focus::TwoLoops && phases == 1 {
            program.phases.push(program.phases[0]);
        }
        if self == Focus::OuterCounter && program.outer.is_empty() {
            program.outer.push(Phase {
                trip: 2,
                dynamic: false,
                counter,
            });
        }
        let changing = if second { Work::Shifted } else { Work::Clipped(2) };
        let keeping = if second { Work::Scaled } else { Work::Clipped(0) };
        let plain = |form: Form| {
            if matches!(form, Form::Looped) {
                form
            } else {
                Form::Straight
            }
        };
        let Some(first) = program.buffers.first_mut() else {
            return;
        };
        let worked = |first: &mut Buffer, work: Work| {
            first.works = [work; 2];
            (first.odd, first.half, first.place) = (Odd::Same, None, Place::Behind);
        };
        match self {
            Focus::Anything => {}
            Focus::Filled | Focus::FilledAndChanged => {
                (first.form, first.guard) = (plain(first.form), Guard::Filled);
                worked(first, if self == Focus::Filled { keeping } else { changing });
            }
            Focus::Selected => {
                (first.form, first.guard) = (plain(first.form), Guard::Selected);
                worked(first, work);
            }
            Focus::Masked => {
                if matches!(first.form, Form::Whole | Form::OwnRows | Form::Waited) {
                    first.form = Form::Straight;
                }
                first.guard = Guard::Masked;
                worked(first, work);
            }
            Focus::Ragged => {
                first.form = if second { Form::Transfer } else { Form::Masked };
                (first.mixed, first.width) = (None, first.width.max(8));
                worked(first, work);
            }
            Focus::Inside | Focus::InsideAndChanged => {
                first.form = plain(first.form);
                if !matches!(first.guard, Guard::Filled | Guard::Selected | Guard::Zeros) {
                    first.guard = if second { Guard::Filled } else { Guard::Zeros };
                }
                worked(first, changing);
                first.place = if self == Focus::Inside {
                    Place::Worked
                } else {
                    Place::Zeros
                };
            }
            Focus::Cast => {
                (first.form, first.cast) = (plain(first.form), true);
                first.guard = if second { Guard::Filled } else { Guard::Selected };
                worked(first, work);
            }
            Focus::TwoLoops => {
                first.form = plain(first.form);
                worked(first, changing);
                first.works[1] = if choice.third { keeping } else { Work::None };
            }
            Focus::Lead | Focus::LeadAndWork => {
                first.lead = Some(work);
                if self == Focus::Lead {
                    (first.works, first.cast) = ([Work::None; 2], false);
                } else {
                    first.form = plain(first.form);
                    worked(first, changing);
                }
            }
            Focus::Attribute => {
                (first.form, first.pieces) = (Form::Straight, first.pieces.max(2));
                let number = usize::from(second) + 2 * usize::from(choice.third);
                let flagged = if float {
                    Work::Clipped(number)
                } else {
                    Work::Flagged(number)
                };
                first.works = [if second { flagged } else { Work::Clipped(number) }; 2];
                (first.odd, first.half, first.place) = (Odd::Attribute, None, Place::Behind);
            }
            Focus::Hints => {
                (first.form, first.pieces, first.hints) = (Form::Straight, first.pieces.max(2), true);
                worked(first, work);
            }
            Focus::Staged => {
                (first.form, first.mixed, first.width) = (plain(first.form), None, 2);
                (first.works, first.cast, first.in_place) = ([Work::None; 2], false, false);
                if first.guard == Guard::Masked {
                    first.guard = Guard::Selected;
                }
            }
            Focus::Mixed => {
                first.mixed = Some(usize::from(second) + 2 * usize::from(choice.third));
                worked(first, work);
            }
            Focus::OwnRows | Focus::SomeRows => {
                (first.form, first.width, first.mixed) = (Form::OwnRows, first.width.max(4), None);
                (first.guard, first.half) = (Guard::Always, None);
                if self == Focus::SomeRows && second {
                    first.guard = Guard::Zeros;
                } else if self == Focus::SomeRows {
                    (first.form, first.half, first.pieces) = (Form::Whole, Some(usize::from(choice.third)), 1);
                }
            }
            Focus::Half => {
                first.half = Some(usize::from(second));
                if first.form == Form::Waited {
                    first.form = Form::Straight;
                }
            }
            Focus::CopyCounter => {
                (first.form, first.mixed, first.copy_counter) = (Form::Looped, None, counter);
            }
            Focus::ReadCounter => {
                first.read_counter = counter;
                if first.reads == Reads::Direct {
                    first.reads = if second { Reads::Steps } else { Reads::Viewed };
                }
            }
            Focus::OuterCounter => {
                for outer in &mut program.outer {
                    (outer.counter, outer.trip) = (counter, outer.trip.max(1));
                }
            }
            Focus::MainCounter => {
                for phase in &mut program.phases {
                    phase.counter = counter;
                }
            }
        }
        if self != Focus::Anything {
            // A loop that never runs shows nothing.
            for phase in program.outer.iter_mut().chain(&mut program.phases) {
                phase.trip = phase.trip.max(1);
            }
        }
    }
}

/// What a form leaves open.
#[derive(Clone, Copy, Debug)]
struct Choice {
    work: Work,
    counter: Counter,
    second: bool,
    third: bool,
}

fn kind() -> impl Strategy<Value = Kind> {
    prop_oneof![
        2 => Just(Kind::I16),
        2 => Just(Kind::I32),
        2 => Just(Kind::F16),
        1 => Just(Kind::Bf16),
        1 => Just(Kind::F32),
    ]
}

fn work() -> impl Strategy<Value = Work> {
    prop_oneof![
        2 => Just(Work::Scaled),
        2 => Just(Work::Shifted),
        2 => (0_usize..4).prop_map(Work::Clipped),
        1 => (0_usize..4).prop_map(Work::Chosen),
        1 => (0_usize..4).prop_map(Work::Flagged),
    ]
}

/// A counter that is not a plain `index` from 0.
fn other_counter() -> impl Strategy<Value = Counter> {
    let start = prop_oneof![
        Just(Start::Zero),
        Just(Start::Three),
        Just(Start::AtSign),
        Just(Start::ToTheEnd)
    ];
    let bits = prop_oneof![1 => Just(0_u32), 2 => Just(32), 1 => Just(64)];
    (bits, any::<bool>(), start).prop_map(|(bits, unsigned, start)| match (bits, unsigned, start) {
        (0, false, Start::Zero) => Counter {
            bits: 32,
            unsigned,
            start,
        },
        _ => Counter { bits, unsigned, start },
    })
}

fn counter(weight: f64) -> impl Strategy<Value = Counter> {
    (prop::bool::weighted(weight), other_counter())
        .prop_map(|(other, counter)| if other { counter } else { Counter::PLAIN })
}

fn phase(trips: std::ops::Range<usize>, dynamic: f64, other: f64) -> impl Strategy<Value = Phase> {
    (trips, prop::bool::weighted(dynamic), counter(other)).prop_map(|(trip, dynamic, counter)| Phase {
        trip,
        dynamic,
        counter,
    })
}

fn buffer() -> impl Strategy<Value = Buffer> {
    let form = prop_oneof![
        6 => Just(Form::Straight),
        4 => Just(Form::Looped),
        2 => Just(Form::Transfer),
        1 => Just(Form::Masked),
        1 => Just(Form::Whole),
        1 => Just(Form::OwnRows),
        2 => Just(Form::Waited),
    ];
    let guard = prop_oneof![
        8 => Just(Guard::Always),
        1 => Just(Guard::Filled),
        1 => Just(Guard::Selected),
        1 => Just(Guard::Masked),
        2 => Just(Guard::Zeros),
        2 => Just(Guard::Skipped),
    ];
    let place = prop_oneof![
        2 => Just(Place::Behind),
        1 => Just(Place::Zeros),
        1 => Just(Place::Worked),
    ];
    let reads = prop_oneof![Just(Reads::Direct), Just(Reads::Steps), Just(Reads::Viewed)];
    let shape = (
        kind(),
        prop_oneof![1 => Just(2_usize), 2 => Just(4_usize), 2 => Just(8), 2 => Just(16)],
        1_usize..4,
        prop_oneof![9 => Just(None), 1 => (0_usize..4).prop_map(Some)],
        any::<bool>(),
    );
    let copies = (
        form,
        guard,
        place,
        prop_oneof![12 => Just(None), 1 => (0_usize..2).prop_map(Some)],
        prop::bool::weighted(0.2),
        prop::bool::weighted(0.1),
    );
    let works = (
        prop_oneof![3 => Just(Work::None), 1 => work()],
        prop_oneof![1 => Just(Work::None), 1 => work()],
        prop_oneof![12 => Just(Odd::Same), 1 => Just(Odd::Attribute), 1 => Just(Odd::Nothing)],
        prop::bool::weighted(0.15),
        prop_oneof![12 => Just(None), 1 => prop_oneof![Just(Work::None), work()].prop_map(Some)],
    );
    let slots = (prop_oneof![4 => Just(0_u32), 1 => 1_u32..3], prop::bool::weighted(0.15));
    (
        shape,
        copies,
        works,
        reads,
        0_usize..32,
        slots,
        (counter(0.2), counter(0.2)),
    )
        .prop_map(|(shape, copies, works, reads, turn, slots, counters)| {
            let (kind, width, pieces, mixed, pitched) = shape;
            let (form, guard, place, half, looked_up, hints) = copies;
            let (first, second, odd, cast, lead) = works;
            Buffer {
                kind,
                width,
                pieces,
                mixed,
                form,
                half,
                guard,
                place,
                // The second loop has work as often as the first has.
                works: [first, if first == Work::None { Work::None } else { second }],
                odd,
                cast,
                hints,
                pitched,
                reads,
                turn,
                looked_up,
                extra: slots.0,
                in_place: slots.1,
                copy_counter: counters.0,
                read_counter: counters.1,
                lead,
            }
        })
}

pub fn program(focus: Focus) -> impl Strategy<Value = Program> {
    let outer = prop::collection::vec(phase(0..4, 0.2, 0.15), 0..3);
    let second = prop::option::weighted(0.2, phase(0..5, 0.2, 0.05));
    let choice = (work(), other_counter(), any::<bool>(), any::<bool>());
    (
        prop_oneof![Just(32_usize), Just(64)],
        outer,
        (phase(0..9, 0.3, 0.05), second),
        prop::collection::vec(buffer(), 1..4),
        (1_u32..7, 1_u32..5, prop::bool::weighted(0.2), any::<bool>()),
        (prop::bool::weighted(0.3), choice),
    )
        .prop_map(move |(threads, outer, phases, buffers, depths, (stages, choice))| {
            let (slots, registers, shorter, xor) = depths;
            let mut program = Program {
                threads,
                outer,
                phases: [Some(phases.0), phases.1].into_iter().flatten().collect(),
                buffers,
                slots,
                registers,
                shorter,
                xor,
                stages,
            };
            let (work, counter, second, third) = choice;
            focus.apply(
                &mut program,
                Choice {
                    work,
                    counter,
                    second,
                    third,
                },
            );
            program.normalise();
            if focus.is_meant() {
                program.calm();
            }
            program
        })
}
