//! Random loops of copies and uses: what detection accepts must compute the same when its copies really run ahead.
//!
//! ```text
//! for i { copy s; barrier; read s; store log; barrier }     in order, under three thread schedules
//! copies 0 … D-2; for i { wait; barrier; copy i+D-1; read s; store log }     D = 2, 3, 4; landing at issue or at wait
//! ```
//!
//! Values are hashes of where they come from, so that any other value changes the result. A false "pipelinable" fails;
//! of the safe affine loops at most 2 % may be refused.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};

use alcop_compiler::detect::{Assumptions, DetectOptions, Level, Verdict, detect};
use alcop_compiler::ir::{BufferId, Context};
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use serde_json::json;

/// Threads of the block, and units of a buffer: one a thread.
const THREADS: i64 = 8;

/// Where an access lies: a sum over the loop counters and a function of the thread, in units.
#[derive(Clone, Copy, Debug)]
struct Place {
    i: i64,
    o: i64,
    thread: Map,
    constant: i64,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Map {
    Same,
    Mirror,
    Xor(i64),
    Rotate(i64),
    Half,
    Zero,
}

impl Map {
    fn of(self, t: i64) -> i64 {
        match self {
            Map::Same => t,
            Map::Mirror => THREADS - 1 - t,
            Map::Xor(k) => t ^ k,
            Map::Rotate(k) => (t + k) % THREADS,
            Map::Half => t / 2,
            Map::Zero => 0,
        }
    }

    fn is_affine(self) -> bool {
        matches!(self, Map::Same | Map::Mirror | Map::Zero)
    }

    fn is_permutation(self) -> bool {
        !matches!(self, Map::Half | Map::Zero)
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Guard {
    Always,
    /// Threads below a bound.
    Threads(i64),
    /// Iterations below a bound.
    Iterations(i64),
    /// The same, with zeros otherwise.
    Filled(i64),
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Copy {
        buffer: usize,
        to: Place,
        from: Place,
        guard: Guard,
    },
    Barrier,
    ReadAll {
        buffer: usize,
        guard: Guard,
    },
    ReadOwn {
        buffer: usize,
        at: Place,
    },
    Load {
        array: usize,
        at: Place,
    },
    Store {
        array: usize,
        at: Place,
    },
}

/// A place that no iteration copies from, in units.
const FAR: i64 = 4096;

const LOG: usize = 2;
const OUT: usize = 3;

/// How a program is written; it computes the same.
#[derive(Clone, Copy, Debug)]
struct Form {
    /// Indices by `affine.apply`.
    affine: bool,
    /// Copies of vectors in two halves, in an `affine.for`.
    halves: bool,
    /// Buffers as windows of dynamic shared memory, behind an offset that only the launch knows.
    windows: bool,
}

#[derive(Clone, Debug)]
struct Program {
    form: Form,
    before: Vec<Step>,
    body: Vec<Step>,
    after: Vec<Step>,
    trip: i64,
    outer: Option<i64>,
    dynamic: bool,
    noalias: bool,
    vector: bool,
    buffers: usize,
}

/// The choices that make a program, small numbers each, so that they shrink.
#[derive(Clone, Debug)]
struct Choices {
    trip: i64,
    outer: i64,
    dynamic: bool,
    noalias: u8,
    vector: bool,
    second: u8,
    to: (u8, i64),
    from: (u8, i64),
    guard: (u8, i64),
    barriers: (u8, u8, bool),
    read: u8,
    log: (u8, u8),
    source: (u8, i64),
    around: (u8, bool),
    form: (bool, bool, bool),
}

fn choices() -> impl Strategy<Value = Choices> {
    let first = (0_i64..7, 0_i64..6, any::<bool>(), 0_u8..10, any::<bool>(), 0_u8..100);
    let second = (
        (0_u8..24, 0_i64..8),
        (0_u8..12, 0_i64..8),
        (0_u8..20, 1_i64..9),
        (0_u8..20, 0_u8..20, any::<bool>()),
    );
    let third = (
        0_u8..20,
        (0_u8..10, 0_u8..8),
        (0_u8..20, 1_i64..4),
        (0_u8..16, any::<bool>()),
        (any::<bool>(), any::<bool>(), any::<bool>()),
    );
    (first, second, third).prop_map(|(first, second, third)| Choices {
        trip: first.0,
        outer: first.1,
        dynamic: first.2,
        noalias: first.3,
        vector: first.4,
        second: first.5,
        to: second.0,
        from: second.1,
        guard: second.2,
        barriers: second.3,
        read: third.0,
        log: third.1,
        source: third.2,
        around: third.3,
        form: third.4,
    })
}

fn map(kind: u8, number: i64) -> Map {
    match kind {
        0..=7 => Map::Same,
        8..=13 => Map::Mirror,
        14 => Map::Xor(number),
        15 => Map::Rotate(number),
        16 | 17 => Map::Half,
        18 => Map::Zero,
        _ => Map::Same,
    }
}

impl Choices {
    fn program(&self) -> Program {
        let to = Place {
            i: 0,
            o: 0,
            thread: map(self.to.0, self.to.1),
            constant: 0,
        };
        let from = Place {
            i: THREADS,
            o: 64 * THREADS,
            thread: map(self.from.0, self.from.1),
            constant: 0,
        };
        let guard = match self.guard.0 {
            0 | 1 => Guard::Threads(self.guard.1),
            2 => Guard::Iterations(self.guard.1 / 2),
            3 => Guard::Filled(self.guard.1 / 2),
            _ => Guard::Always,
        };
        let shared = guard != Guard::Always && self.guard.1 % 2 == 0;
        // Without full coverage everything is read, so that what is missing is seen.
        let partial = !to.thread.is_permutation() || matches!(guard, Guard::Threads(_) | Guard::Iterations(_));
        let own = self.read < 4 && !partial;
        let read = |buffer| match own {
            true => Step::ReadOwn { buffer, at: to },
            false => Step::ReadAll {
                buffer,
                guard: match guard {
                    Guard::Iterations(_) if shared => guard,
                    _ => Guard::Always,
                },
            },
        };
        let copy = |buffer| Step::Copy {
            buffer,
            to,
            from,
            guard,
        };
        let buffers = if self.second < 30 { 2 } else { 1 };
        let mut body = Vec::new();
        let (first, last, top) = self.barriers;
        let has_last = last > 1;
        if has_last && top {
            body.push(Step::Barrier);
        }
        let plain = |i: i64, thread: Map, constant: i64| Place {
            i,
            o: 0,
            thread,
            constant,
        };
        // A store to other memory may stand anywhere.
        let log = Step::Store {
            array: LOG,
            at: plain(THREADS, Map::Same, 0),
        };
        if self.log.0 == 1 {
            body.push(log);
        }
        body.push(copy(0));
        let late = self.second == 0;
        if buffers == 2 && !late {
            body.push(copy(1));
        }
        if first > 1 {
            body.push(Step::Barrier);
        }
        body.push(read(0));
        if buffers == 2 {
            if late {
                body.extend([copy(1), Step::Barrier]);
            }
            body.push(read(1));
        }
        match self.log.0 {
            2 => body.push(log),
            // Other threads' entries, behind a barrier.
            3 => body.extend([
                Step::Store {
                    array: LOG,
                    at: plain(0, Map::Same, 0),
                },
                Step::Barrier,
                Step::Load {
                    array: LOG,
                    at: plain(0, if self.log.1 < 4 { Map::Mirror } else { Map::Same }, 0),
                },
            ]),
            // The entry of an iteration before, of this thread.
            4 => body.extend([
                Step::Load {
                    array: LOG,
                    at: plain(THREADS, Map::Same, 0),
                },
                Step::Store {
                    array: LOG,
                    at: plain(THREADS, Map::Same, THREADS),
                },
            ]),
            _ => {}
        }
        match self.source.0 {
            // What a later iteration copies, if it copies at all.
            0..=3 if !matches!(guard, Guard::Iterations(_) | Guard::Filled(_)) => body.push(Step::Store {
                array: 0,
                at: Place {
                    thread: Map::Same,
                    constant: from.constant + self.source.1 * THREADS,
                    ..from
                },
            }),
            // What no iteration copies.
            4 | 5 => body.push(Step::Store {
                array: 0,
                at: Place {
                    thread: Map::Same,
                    constant: FAR,
                    ..from
                },
            }),
            _ => {}
        }
        if has_last && !top {
            body.push(Step::Barrier);
        }
        let (mut before, mut after) = (Vec::new(), Vec::new());
        match self.around.0 {
            // Rows of other threads, written before the loop copies them.
            0 => before.push(Step::Store {
                array: 0,
                at: plain(0, Map::Mirror, 0),
            }),
            1 => after.push(Step::Load {
                array: LOG,
                at: plain(0, Map::Mirror, 0),
            }),
            2 => after.push(Step::ReadAll {
                buffer: 0,
                guard: Guard::Always,
            }),
            _ => {}
        }
        if self.around.1 {
            if !before.is_empty() {
                before.push(Step::Barrier);
            }
            if !after.is_empty() {
                after.insert(0, Step::Barrier);
            }
        }
        let (affine, halves, windows) = self.form;
        Program {
            form: Form {
                affine,
                halves: halves && self.vector,
                windows,
            },
            before,
            body,
            after,
            trip: self.trip,
            outer: (self.outer == 0).then_some(2),
            dynamic: self.dynamic,
            noalias: self.noalias > 0,
            vector: self.vector,
            buffers,
        }
    }
}

// ---------------------------------------------------------------------------------------------------------------------
// As MLIR

struct Writer<'a> {
    program: &'a Program,
    text: String,
    names: usize,
}

impl Writer<'_> {
    fn fresh(&mut self) -> String {
        self.names += 1;
        format!("%n{}", self.names)
    }

    fn line(&mut self, line: &str) {
        self.text += line;
        self.text.push('\n');
    }

    fn value_type(&self) -> &'static str {
        if self.program.vector { "vector<4xf32>" } else { "f32" }
    }

    fn width(&self) -> i64 {
        if self.program.vector { 4 } else { 1 }
    }

    fn binary(&mut self, op: &str, a: &str, b: &str) -> String {
        let name = self.fresh();
        self.line(&format!("{name} = arith.{op} {a}, {b} : index"));
        name
    }

    fn constant(&mut self, value: i64) -> String {
        let name = self.fresh();
        self.line(&format!("{name} = arith.constant {value} : index"));
        name
    }

    fn scaled(&mut self, value: &str, by: i64) -> String {
        let by = self.constant(by);
        self.binary("muli", value, &by)
    }

    /// An index as one `affine.apply`, where the thread's part is affine or can be handed in.
    fn affine(&mut self, place: Place) -> String {
        let last = THREADS - 1;
        let (thread, part) = match place.thread {
            Map::Same => ("%t".to_owned(), "d0".to_owned()),
            Map::Mirror => ("%t".to_owned(), format!("({last} - d0)")),
            Map::Xor(k) => {
                let k = self.constant(k);
                (self.binary("xori", "%t", &k), "d0".to_owned())
            }
            Map::Rotate(k) => ("%t".to_owned(), format!("((d0 + {k}) mod {THREADS})")),
            Map::Half => ("%t".to_owned(), "(d0 floordiv 2)".to_owned()),
            Map::Zero => ("%t".to_owned(), "0".to_owned()),
        };
        let counter = |name: &'static str, used: bool| if used { name } else { "%c0" };
        let (i, o) = (
            counter("%i", place.i != 0),
            counter("%o", place.o != 0 && self.program.outer.is_some()),
        );
        let name = self.fresh();
        let (width, constant) = (self.width(), place.constant);
        let sum = format!("{part} + d1 * {} + s0 * {} + {constant}", place.i, place.o);
        self.line(&format!(
            "{name} = affine.apply affine_map<(d0, d1)[s0] -> (({sum}) * {width})>({thread}, {i})[{o}]"
        ));
        name
    }

    fn index(&mut self, place: Place) -> String {
        if self.program.form.affine {
            return self.affine(place);
        }
        let mut sum = match place.thread {
            Map::Same => "%t".to_owned(),
            Map::Mirror => {
                let last = self.constant(THREADS - 1);
                self.binary("subi", &last, "%t")
            }
            Map::Xor(k) => {
                let k = self.constant(k);
                self.binary("xori", "%t", &k)
            }
            Map::Rotate(k) => {
                let (k, n) = (self.constant(k), self.constant(THREADS));
                let turned = self.binary("addi", "%t", &k);
                self.binary("remui", &turned, &n)
            }
            Map::Half => {
                let two = self.constant(2);
                self.binary("divui", "%t", &two)
            }
            Map::Zero => self.constant(0),
        };
        for (counter, factor) in [("%i", place.i), ("%o", place.o)] {
            if factor != 0 && (counter == "%i" || self.program.outer.is_some()) {
                let term = self.scaled(counter, factor);
                sum = self.binary("addi", &sum, &term);
            }
        }
        let constant = self.constant(place.constant);
        let unit = self.binary("addi", &sum, &constant);
        let width = self.width();
        self.scaled(&unit, width)
    }

    fn load(&mut self, memref: &str, ty: &str, index: &str) -> String {
        let name = self.fresh();
        let line = match self.program.vector {
            true => format!("{name} = vector.load {memref}[{index}] : {ty}, vector<4xf32>"),
            false => format!("{name} = memref.load {memref}[{index}] : {ty}"),
        };
        self.line(&line);
        name
    }

    fn store(&mut self, value: &str, memref: &str, ty: &str, index: &str) {
        let line = match self.program.vector {
            true => format!("vector.store {value}, {memref}[{index}] : {ty}, vector<4xf32>"),
            false => format!("memref.store {value}, {memref}[{index}] : {ty}"),
        };
        self.line(&line);
    }

    fn add(&mut self, acc: &str, value: &str) -> String {
        let (name, ty) = (self.fresh(), self.value_type());
        self.line(&format!("{name} = arith.addf {acc}, {value} : {ty}"));
        name
    }

    /// Writes steps; returns the name of the accumulator behind them.
    fn steps(&mut self, steps: &[Step], mut acc: String) -> String {
        let shared = format!("memref<{}xf32, #gpu.address_space<workgroup>>", THREADS * self.width());
        let ty = self.value_type();
        for step in steps {
            match *step {
                Step::Barrier => self.line("gpu.barrier"),
                Step::Copy {
                    buffer,
                    to,
                    from,
                    guard,
                } => {
                    let condition = self.condition(guard);
                    let (source, target) = (self.index(from), self.index(to));
                    if let Some(condition) = &condition {
                        self.line(&format!("scf.if {condition} {{"));
                    }
                    if self.program.form.halves {
                        self.halves(buffer, &shared, &source, &target);
                    } else {
                        let value = self.load(&format!("%a{buffer}"), GLOBAL, &source);
                        self.store(&value, &format!("%s{buffer}"), &shared, &target);
                    }
                    if condition.is_some() {
                        if let Guard::Filled(_) = guard {
                            self.line("} else {");
                            self.store("%zero", &format!("%s{buffer}"), &shared, &target);
                        }
                        self.line("}");
                    }
                }
                Step::ReadAll { buffer, guard } => {
                    let condition = self.condition(guard);
                    let result = self.fresh();
                    if let Some(condition) = &condition {
                        self.line(&format!("{result} = scf.if {condition} -> ({ty}) {{"));
                    }
                    let (loop_name, count, carried) = (self.fresh(), self.fresh(), self.fresh());
                    self.line(&format!(
                        "{loop_name} = scf.for {count} = %c0 to %c8 step %c1 iter_args({carried} = {acc}) -> ({ty}) {{"
                    ));
                    let width = self.width();
                    let at = self.scaled(&count, width);
                    let value = self.load(&format!("%s{buffer}"), &shared, &at);
                    let next = self.add(&carried, &value);
                    self.line(&format!("scf.yield {next} : {ty}\n}}"));
                    acc = match condition {
                        None => loop_name,
                        Some(_) => {
                            self.line(&format!(
                                "scf.yield {loop_name} : {ty}\n}} else {{\nscf.yield {acc} : {ty}\n}}"
                            ));
                            result
                        }
                    };
                }
                Step::ReadOwn { buffer, at } => {
                    let at = self.index(at);
                    let value = self.load(&format!("%s{buffer}"), &shared, &at);
                    acc = self.add(&acc, &value);
                }
                Step::Load { array, at } => {
                    let at = self.index(at);
                    let value = self.load(&format!("%a{array}"), GLOBAL, &at);
                    acc = self.add(&acc, &value);
                }
                Step::Store { array, at } => {
                    let at = self.index(at);
                    self.store(&acc, &format!("%a{array}"), GLOBAL, &at);
                }
            }
        }
        acc
    }

    /// A copy of four elements as two of two.
    fn halves(&mut self, buffer: usize, shared: &str, source: &str, target: &str) {
        let (count, from, to, value) = (self.fresh(), self.fresh(), self.fresh(), self.fresh());
        self.line(&format!(
            "affine.for {count} = 0 to 4 step 2 {{\n\
             {from} = affine.apply affine_map<(d0, d1) -> (d0 + d1)>({source}, {count})\n\
             {value} = vector.load %a{buffer}[{from}] : {GLOBAL}, vector<2xf32>\n\
             {to} = affine.apply affine_map<(d0, d1) -> (d0 + d1)>({target}, {count})\n\
             vector.store {value}, %s{buffer}[{to}] : {shared}, vector<2xf32>\n}}"
        ));
    }

    fn condition(&mut self, guard: Guard) -> Option<String> {
        let (value, bound) = match guard {
            Guard::Always => return None,
            Guard::Threads(bound) => ("%t", bound),
            Guard::Iterations(bound) | Guard::Filled(bound) => ("%i", bound),
        };
        let bound = self.constant(bound);
        let name = self.fresh();
        self.line(&format!("{name} = arith.cmpi ult, {value}, {bound} : index"));
        Some(name)
    }
}

const GLOBAL: &str = "memref<65536xf32>";

fn mlir(program: &Program) -> String {
    let mut writer = Writer {
        program,
        text: String::new(),
        names: 0,
    };
    let ty = writer.value_type();
    let width = writer.width();
    let noalias = if program.noalias { "llvm.noalias, " } else { "" };
    let arguments: Vec<String> = (0..4)
        .map(|number| {
            // The result never is the memory of another argument: what is stored behind everything is not the question.
            let noalias = if number == OUT { "llvm.noalias, " } else { noalias };
            format!("%a{number}: {GLOBAL} {{{noalias}llvm.align = 16 : i64}}")
        })
        .collect();
    writer.line(&format!(
        "gpu.module @m {{\ngpu.func @k({}, %n: index, %places: index) kernel attributes {{known_block_size = array<i32: 8, 1, 1>}} {{",
        arguments.join(", ")
    ));
    writer.line("%c0 = arith.constant 0 : index\n%c1 = arith.constant 1 : index\n%c8 = arith.constant 8 : index");
    writer.line(&format!("%static = arith.constant {} : index", program.trip));
    let zero = if program.vector { "dense<0.0>" } else { "0.0" };
    writer.line(&format!("%zero = arith.constant {zero} : {ty}\n%t = gpu.thread_id x"));
    for number in 0..program.buffers {
        let size = THREADS * width;
        let ty = format!("memref<{size}xf32, #gpu.address_space<workgroup>>");
        if !program.form.windows {
            writer.line(&format!("%s{number} = memref.alloc() : {ty}"));
            continue;
        }
        if number == 0 {
            writer.line("%all = gpu.dynamic_shared_memory : memref<?xi8, #gpu.address_space<workgroup>>");
        }
        let behind = 4 * size * number as i64;
        writer.line(&format!(
            "%at{number} = affine.apply affine_map<()[s0] -> (s0 * 16 + {behind})>()[%places]\n\
             %s{number} = memref.view %all[%at{number}][] : memref<?xi8, #gpu.address_space<workgroup>> to {ty}"
        ));
    }
    let mut acc = "%zero".to_owned();
    if let Some(outer) = program.outer {
        let count = writer.constant(outer);
        writer.line(&format!(
            "%nest = scf.for %o = %c0 to {count} step %c1 iter_args(%kept = {acc}) -> ({ty}) {{"
        ));
        acc = "%kept".to_owned();
    }
    writer.line("// before");
    let i_free = |steps: &[Step]| steps.to_vec();
    acc = writer.steps(&i_free(&program.before), acc);
    let end = if program.dynamic { "%n" } else { "%static" };
    writer.line(&format!(
        "%sum = scf.for %i = %c0 to {end} step %c1 iter_args(%acc = {acc}) -> ({ty}) {{"
    ));
    let last = writer.steps(&program.body, "%acc".to_owned());
    writer.line(&format!("scf.yield {last} : {ty}\n}}"));
    acc = writer.steps(&program.after, "%sum".to_owned());
    if program.outer.is_some() {
        writer.line(&format!("scf.yield {acc} : {ty}\n}}"));
        acc = "%nest".to_owned();
    }
    let at = writer.scaled("%t", width);
    writer.store(&acc, &format!("%a{OUT}"), GLOBAL, &at);
    writer.line("gpu.return\n}\n}");
    writer.text
}

// ---------------------------------------------------------------------------------------------------------------------
// As it runs

/// The order in which threads run between two barriers.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Order {
    Up,
    Down,
    /// All threads do one step, then all the next.
    Together,
}

const ORDERS: [Order; 3] = [Order::Up, Order::Down, Order::Together];

/// When an asynchronous copy reads and writes.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Landing {
    Issue,
    Wait,
}

/// What a thread does next.
#[derive(Clone, Copy, Debug)]
enum Event {
    Step(Step, [i64; 2]),
    Issue(Step, [i64; 2]),
    /// The copies of an iteration have landed.
    Wait([i64; 2]),
    Barrier,
}

#[derive(Clone, PartialEq)]
struct State {
    global: HashMap<(usize, i64), u64>,
    acc: Vec<u64>,
}

struct Machine<'a> {
    /// Which buffers run ahead.
    ahead: &'a [bool],
    slots: i64,
    landing: Landing,
    /// An array that is the first one's memory, and the units by which it lies behind that; `None`: all apart.
    alias: Option<(usize, i64)>,
    shared: HashMap<(usize, i64, i64), u64>,
    pending: Vec<Vec<(Step, [i64; 2])>>,
    state: State,
}

fn mix(a: u64, b: u64) -> u64 {
    let mut hash = a.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ b.wrapping_add(0x2545_f491_4f6c_dd1d);
    hash ^= hash >> 29;
    hash.wrapping_mul(0xbf58_476d_1ce4_e5b9) ^ hash >> 32
}

fn at(place: Place, t: i64, [i, o]: [i64; 2]) -> i64 {
    place.i * i + place.o * o + place.thread.of(t) + place.constant
}

fn holds(guard: Guard, t: i64, [i, _]: [i64; 2]) -> bool {
    match guard {
        Guard::Always => true,
        Guard::Threads(bound) => t < bound,
        Guard::Iterations(bound) | Guard::Filled(bound) => i < bound,
    }
}

impl Machine<'_> {
    fn cell(&self, array: usize, unit: i64) -> (usize, i64) {
        match self.alias {
            Some((other, offset)) if array == other => (0, unit + offset),
            _ => (array, unit),
        }
    }

    fn read(&self, array: usize, unit: i64) -> u64 {
        let cell = self.cell(array, unit);
        let fresh = || mix(cell.0 as u64 + 1, cell.1 as u64);
        self.state.global.get(&cell).copied().unwrap_or_else(fresh)
    }

    fn slot(&self, buffer: usize, [i, _]: [i64; 2]) -> i64 {
        if self.ahead[buffer] {
            i.rem_euclid(self.slots)
        } else {
            0
        }
    }

    fn step(&mut self, step: Step, t: i64, place: [i64; 2]) {
        let acc = self.state.acc[t as usize];
        match step {
            Step::Barrier => {}
            Step::Copy {
                buffer,
                to,
                from,
                guard,
            } => {
                let value = match holds(guard, t, place) {
                    true => self.read(buffer, at(from, t, place)),
                    false if matches!(guard, Guard::Filled(_)) => 0,
                    false => return,
                };
                let slot = self.slot(buffer, place);
                self.shared.insert((buffer, slot, at(to, t, place)), value);
            }
            Step::ReadAll { buffer, guard } => {
                if !holds(guard, t, place) {
                    return;
                }
                let slot = self.slot(buffer, place);
                let all = (0..THREADS).map(|unit| self.value(buffer, slot, unit));
                self.state.acc[t as usize] = all.fold(acc, mix);
            }
            Step::ReadOwn { buffer, at: own } => {
                let slot = self.slot(buffer, place);
                self.state.acc[t as usize] = mix(acc, self.value(buffer, slot, at(own, t, place)));
            }
            Step::Load { array, at: own } => self.state.acc[t as usize] = mix(acc, self.read(array, at(own, t, place))),
            Step::Store { array, at: own } => {
                let cell = self.cell(array, at(own, t, place));
                self.state.global.insert(cell, acc);
            }
        }
    }

    /// What nobody wrote is different in each place.
    fn value(&self, buffer: usize, slot: i64, unit: i64) -> u64 {
        let never = || mix(99 + buffer as u64, mix(slot as u64, unit as u64));
        self.shared.get(&(buffer, slot, unit)).copied().unwrap_or_else(never)
    }

    fn event(&mut self, event: Event, t: i64) {
        match event {
            Event::Step(step, place) => self.step(step, t, place),
            Event::Issue(step, place) if self.landing == Landing::Issue => self.step(step, t, place),
            Event::Issue(step, place) => self.pending[t as usize].push((step, place)),
            Event::Wait(place) => {
                let all = std::mem::take(&mut self.pending[t as usize]);
                let (landed, flying) = all.into_iter().partition(|(_, of)| *of == place);
                self.pending[t as usize] = flying;
                let landed: Vec<(Step, [i64; 2])> = landed;
                landed.into_iter().for_each(|(step, place)| self.step(step, t, place));
            }
            Event::Barrier => {}
        }
    }

    fn run(mut self, events: &[Event], order: Order) -> State {
        for phase in events.split(|event| matches!(event, Event::Barrier)) {
            match order {
                Order::Up => (0..THREADS).for_each(|t| phase.iter().for_each(|event| self.event(*event, t))),
                Order::Down => (0..THREADS)
                    .rev()
                    .for_each(|t| phase.iter().for_each(|event| self.event(*event, t))),
                Order::Together => phase
                    .iter()
                    .for_each(|event| (0..THREADS).for_each(|t| self.event(*event, t))),
            }
        }
        self.state
    }
}

/// The events of a run: in order where `slots` is 1, else with the copies of some buffers ahead.
fn events(program: &Program, ahead: &[bool], slots: i64) -> Vec<Event> {
    let mut events = Vec::new();
    let push = |steps: &[Step], place, events: &mut Vec<Event>| {
        for step in steps {
            events.push(match step {
                Step::Barrier => Event::Barrier,
                step => Event::Step(*step, place),
            });
        }
    };
    let moves = |step: &Step| matches!(step, Step::Copy { buffer, .. } if ahead[*buffer]);
    for o in 0..program.outer.unwrap_or(1) {
        push(&program.before, [0, o], &mut events);
        let copies: Vec<Step> = program.body.iter().copied().filter(moves).collect();
        if slots == 1 || copies.is_empty() {
            for i in 0..program.trip {
                push(&program.body, [i, o], &mut events);
            }
        } else {
            let issue = |i: i64, events: &mut Vec<Event>| {
                if i < program.trip {
                    events.extend(copies.iter().map(|copy| Event::Issue(*copy, [i, o])));
                }
            };
            if program.outer.is_some() {
                // The slots are used again.
                events.push(Event::Barrier);
            }
            (0..slots - 1).for_each(|i| issue(i, &mut events));
            for i in 0..program.trip {
                events.extend([Event::Wait([i, o]), Event::Barrier]);
                issue(i + slots - 1, &mut events);
                let rest: Vec<Step> = program
                    .body
                    .iter()
                    .copied()
                    .filter(|step| !moves(step) && !matches!(step, Step::Barrier))
                    .collect();
                push(&rest, [i, o], &mut events);
            }
        }
        push(&program.after, [0, o], &mut events);
    }
    events
}

/// The results of all runs: in order, or with the copies of some buffers ahead in several slots.
fn runs(
    program: &Program,
    ahead: &[bool],
    slots: std::ops::RangeInclusive<i64>,
    alias: Option<(usize, i64)>,
) -> Vec<State> {
    let mut results = Vec::new();
    for slots in slots {
        let events = events(program, ahead, slots);
        let landings = if slots == 1 {
            &[Landing::Issue][..]
        } else {
            &[Landing::Issue, Landing::Wait]
        };
        for (landing, order) in landings
            .iter()
            .flat_map(|landing| ORDERS.map(|order| (*landing, order)))
        {
            let machine = Machine {
                ahead,
                slots,
                landing,
                alias,
                shared: HashMap::new(),
                pending: vec![Vec::new(); THREADS as usize],
                state: State {
                    global: HashMap::new(),
                    acc: (0..THREADS as u64).map(|t| mix(7, t)).collect(),
                },
            };
            results.push(machine.run(&events, order));
        }
    }
    results
}

/// The log may be where the loop copies from, and the second source where the loop stores behind the first.
fn aliases(program: &Program) -> Vec<Option<(usize, i64)>> {
    if program.noalias {
        return vec![None];
    }
    let log = [0, THREADS, 2 * THREADS, -THREADS].map(|offset| Some((LOG, offset)));
    let second = (program.buffers == 2).then_some(Some((1, FAR - THREADS)));
    [None].into_iter().chain(log).chain(second).collect()
}

/// Whether the order of threads between barriers changes nothing.
fn is_deterministic(program: &Program) -> bool {
    let all = vec![false; program.buffers];
    aliases(program).into_iter().all(|alias| {
        runs(program, &all, 1..=1, alias)
            .windows(2)
            .all(|pair| pair[0] == pair[1])
    })
}

/// Whether running the copies of some buffers ahead changes nothing, in any way it may happen.
fn is_safe(program: &Program, ahead: &[bool]) -> bool {
    is_deterministic(program)
        && aliases(program).into_iter().all(|alias| {
            let expected = runs(program, ahead, 1..=1, alias).swap_remove(0);
            runs(program, ahead, 2..=4, alias)
                .iter()
                .all(|state| *state == expected)
        })
}

/// The program without the buffers that are not accepted, and without reads of the log: their races are not the fault of
/// those that are.
fn only(program: &Program, accepted: &[bool]) -> Program {
    let kept = |step: &Step| match step {
        Step::Copy { buffer, .. } | Step::ReadAll { buffer, .. } | Step::ReadOwn { buffer, .. } => accepted[*buffer],
        Step::Load { array, .. } => *array != LOG,
        _ => true,
    };
    Program {
        body: program.body.iter().copied().filter(kept).collect(),
        after: program.after.iter().copied().filter(kept).collect(),
        ..program.clone()
    }
}

/// The verdict of each buffer, and the codes of all reasons.
fn verdicts(context: &Context, program: &Program) -> (Vec<bool>, Vec<String>) {
    let text = mlir(program);
    let module = context
        .parse(&text, "random.mlir")
        .unwrap_or_else(|error| panic!("{error}\n{text}"));
    let options = DetectOptions {
        shared_bytes_per_block: 166_912,
        block_size: None,
        assumptions: Assumptions::NOTHING,
    };
    let mut ahead = vec![false; program.buffers];
    let mut codes = Vec::new();
    for buffer in &detect(&module, &options).kernels[0].buffers {
        let BufferId::OpResult { index, .. } = buffer.id else {
            continue;
        };
        if buffer.level != Level::Shared {
            continue;
        }
        ahead[index] = buffer.verdict == Verdict::Pipelinable;
        codes.extend(
            buffer
                .reasons
                .iter()
                .filter_map(|reason| Some(json!(reason.code).as_str()?.to_owned())),
        );
    }
    (ahead, codes)
}

/// Programs whose addresses are sums.
fn is_affine(program: &Program) -> bool {
    program.body.iter().all(|step| match step {
        Step::Copy { to, from, .. } => to.thread.is_affine() && from.thread.is_affine(),
        Step::Load { at, .. } | Step::Store { at, .. } | Step::ReadOwn { at, .. } => at.thread.is_affine(),
        Step::Barrier | Step::ReadAll { .. } => true,
    })
}

/// The program with the trip counts that it may have at run time.
fn trips(program: &Program) -> Vec<Program> {
    let trips = if program.dynamic {
        vec![1, 2, 3, 7]
    } else {
        vec![program.trip]
    };
    let with = |trip| Program {
        trip,
        ..program.clone()
    };
    trips.into_iter().map(with).collect()
}

#[derive(Default, Debug)]
struct Counts {
    safe: usize,
    unsafe_: usize,
    affine: usize,
    accepted: usize,
    refused: BTreeMap<String, usize>,
    refused_affine: usize,
}

impl std::ops::AddAssign for Counts {
    fn add_assign(&mut self, other: Counts) {
        self.safe += other.safe;
        self.unsafe_ += other.unsafe_;
        self.affine += other.affine;
        self.accepted += other.accepted;
        self.refused_affine += other.refused_affine;
        for (code, count) in other.refused {
            *self.refused.entry(code).or_default() += count;
        }
    }
}

/// Random programs from one seed.
fn try_cases(seed: u8, cases: u32) -> Counts {
    let config = Config {
        cases,
        failure_persistence: None,
        ..Config::default()
    };
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &[seed; 32]);
    let context = Context::new();
    let counts = RefCell::new(Counts::default());
    let result = TestRunner::new_with_rng(config, rng).run(&choices(), |choices| {
        let program = choices.program();
        let (ahead, codes) = verdicts(&context, &program);
        let trips = trips(&program);
        let all = vec![true; program.buffers];
        let safe = trips.iter().all(|run| is_safe(run, &all));
        let accepted = ahead.contains(&true);
        for run in &trips {
            let judged = if is_deterministic(run) {
                run.clone()
            } else {
                only(run, &ahead)
            };
            prop_assert!(
                !accepted || is_safe(&judged, &ahead),
                "accepted {ahead:?}, but running ahead changes the result\n{}",
                mlir(&program)
            );
        }
        let mut counts = counts.borrow_mut();
        if safe {
            counts.safe += 1;
        } else {
            counts.unsafe_ += 1;
        }
        counts.accepted += usize::from(accepted);
        // Two iterations may agree by luck: what a chunk leaves behind has to come into sight.
        if safe && is_affine(&program) && (program.dynamic || program.trip > 4) {
            counts.affine += 1;
            if ahead.contains(&false) {
                counts.refused_affine += 1;
                if std::env::var_os("LIST").is_some() {
                    println!("{codes:?}\n{program:?}");
                }
                for code in codes {
                    *counts.refused.entry(code).or_default() += 1;
                }
            }
        }
        Ok(())
    });
    if let Err(error) = result {
        panic!("{error}");
    }
    counts.into_inner()
}

#[test]
fn what_is_accepted_computes_the_same_when_it_runs_ahead() {
    let mut counts = Counts::default();
    // Side by side, each with a seed of its own.
    std::thread::scope(|scope| {
        let parts = [7, 8, 9].map(|seed| scope.spawn(move || try_cases(seed, 500)));
        for part in parts {
            match part.join() {
                Ok(found) => counts += found,
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
    });
    println!("{counts:?}");
    let all = counts.safe + counts.unsafe_;
    assert!(
        10 * counts.safe >= 3 * all && 10 * counts.unsafe_ >= 3 * all,
        "{counts:?}"
    );
    assert!(50 * counts.refused_affine <= counts.affine, "{counts:?}");
}
