//! Executes a kernel's integers and control flow, all threads of a block side by side, and tells what happens in
//! shared memory.
//!
//! ```text
//! Compute %row = %tid / 4          values
//! Access a copy at %row · 64       Event::Access, at [0, 0, 0, 0, 64, 64, …]
//! For %i = 0 to 3072 step 32       its body, 96 times: every iteration is evaluated
//! ```

use super::blocks::{Blocks, Cut, Shape, Value, add};
use super::decode::{Compute, ForLoop, Leaf, Program, Step, ValueId};
use super::numbers::{Arith, Number, Numbers};
use super::replay::{Event, Replay};
use super::varying::sum_of;

/// Steps executed (each for all threads) before the judge gives up.
pub(super) const STEP_LIMIT: u64 = 20_000_000;

pub(super) struct Machine<'p, 'ir> {
    pub program: &'p Program<'ir>,
    values: Vec<Value>,
    pub numbers: Numbers,
    /// 1 for each thread that executes, 0 for the others.
    active: Number,
    pub replay: Replay<'p, 'ir>,
    pub steps: u64,
    /// The blocks that are executed, all at once.
    pub blocks: Blocks,
    /// Parts of the grid that did something else somewhere.
    pub put_off: Vec<Shape>,
    /// Parts of the grid that were begun.
    pub classes: usize,
    pub grid_known: bool,
    /// Why some blocks were not executed.
    pub incomplete: Option<String>,
}

impl<'p, 'ir> Machine<'p, 'ir> {
    pub fn new(program: &'p Program<'ir>, numbers: Numbers, replay: Replay<'p, 'ir>, grid: Option<[i64; 3]>) -> Self {
        let whole = Shape::grid(grid);
        Machine {
            program,
            values: Vec::new(),
            numbers,
            active: Number::Uniform(1),
            replay,
            steps: 0,
            blocks: Blocks::new(whole.clone()),
            put_off: vec![whole],
            classes: 0,
            grid_known: grid.is_some(),
            incomplete: None,
        }
    }

    /// Executes the program for one block of each kind; what was found, and why the rest of it was not executed.
    pub fn run(mut self) -> (Replay<'p, 'ir>, Result<(), String>) {
        let mut failed = None;
        while let Some(shape) = self.put_off.pop() {
            if let Err(reason) = self.run_one(shape) {
                failed.get_or_insert(reason);
                if self.steps > STEP_LIMIT {
                    break;
                }
            }
        }
        let result = failed.or(self.incomplete).map_or(Ok(()), Err);
        (self.replay, result)
    }

    fn run_one(&mut self, shape: Shape) -> Result<(), String> {
        let program = self.program;
        self.classes += 1;
        self.blocks = Blocks::new(shape);
        self.active = Number::Uniform(1);
        // A value that is read has a definition that was executed before: the placeholder of the others is never read.
        let value = |known: &Option<Leaf>| match known {
            None => Value::Known(Number::Uniform(0)),
            Some(Leaf::Number(number)) => Value::Known(number.clone()),
            Some(Leaf::Block { axis, factor, rest }) => Value::Linear {
                terms: [(*axis, *factor)].into(),
                rest: rest.clone(),
            },
            Some(Leaf::Unknown(op)) => Value::Unknown(*op),
        };
        self.values = program.values.iter().map(value).collect();
        self.replay.restart();
        self.replay.judges(self.blocks.first());
        let ran = self.steps(&program.body);
        // What happened before the evaluation failed was a fact; if it failed too, then it did so earlier.
        self.replay.end_stretch().and(ran)
    }

    pub fn too_long(&self) -> String {
        format!("more than {STEP_LIMIT} operations; the rest was not judged")
    }

    fn steps(&mut self, steps: &'p [Step]) -> Result<(), String> {
        steps.iter().try_for_each(|step| self.step(step))
    }

    fn step(&mut self, step: &'p Step) -> Result<(), String> {
        self.steps += 1;
        if self.steps > STEP_LIMIT {
            return Err(self.too_long());
        }
        match step {
            Step::Compute(compute) => self.compute(compute),
            Step::Access(number) => self.access(*number),
            Step::Flow(flow) => self.replay.push(Event::Flow(*flow)),
            Step::Check { op, data } => data.iter().try_for_each(|value| {
                self.replay.push(Event::Check {
                    op: *op,
                    value: *value as u32,
                })
            }),
            Step::Commit { op } => self.synchronize(*op, Event::Commit),
            Step::Wait { op, pending } => self.synchronize(*op, Event::Wait { pending: *pending }),
            Step::Barrier { op } => self.synchronize(*op, Event::Barrier),
            Step::For(for_loop) => self.for_loop(for_loop),
            Step::If {
                op,
                condition,
                then,
                otherwise,
                results,
                shared,
            } => {
                let taken = self.settled(&self.values[*condition].clone());
                let taken = match taken {
                    Value::Known(taken) => taken,
                    // Whichever blocks take it: nothing of it happens in shared memory, and what is stored is stored by
                    // some block.
                    taken if !shared => {
                        self.steps(then)?;
                        self.steps(otherwise)?;
                        return self.choose(*op, &taken, results);
                    }
                    taken => self.force(&taken, *op)?,
                };
                self.branch(&taken, then, otherwise)?;
                self.choose(*op, &Value::Known(taken), results)
            }
            Step::Refuse { op, reason } => Err(self.program.at(*op, reason)),
        }
    }

    fn choose(&mut self, op: u32, taken: &Value, results: &[[ValueId; 3]]) -> Result<(), String> {
        for [result, yes, no] in results {
            let sides = [&self.values[*yes].clone(), &self.values[*no].clone()];
            self.values[*result] = self.combine(op, Arith::SELECT, [taken, sides[0], sides[1]])?;
        }
        Ok(())
    }

    fn compute(&mut self, compute: &Compute) -> Result<(), String> {
        let Some(arith) = compute.arith else {
            return Err(self.program.at(compute.op, "an integer operation without a value"));
        };
        let none = Value::Known(Number::Uniform(0));
        let operand = |number: usize| compute.operands.get(number).map_or(&none, |value| &self.values[*value]);
        let operands = [operand(0), operand(1), operand(2)];
        let known = if let [Value::Known(a), Value::Known(b), Value::Known(c)] = operands {
            let known = self.numbers.apply(arith, [a, b, c]);
            Value::Known(known.ok_or_else(|| self.program.at(compute.op, "an integer operation without a value"))?)
        } else {
            let operands = operands.map(Clone::clone);
            self.combine(compute.op, arith, operands.each_ref())?
        };
        self.values[compute.results[0]] = known;
        Ok(())
    }

    fn access(&mut self, number: u32) -> Result<(), String> {
        let access = &self.program.accesses[number as usize];
        let mut uniform = 0_i64;
        let mut offset = Number::Uniform(0);
        let mut varying: Option<Value> = None;
        for (value, stride) in &access.terms {
            match &self.values[*value] {
                Value::Known(Number::Uniform(index)) => {
                    uniform = uniform.wrapping_add(index.wrapping_mul(*stride));
                }
                Value::Known(index) => offset = sum(&mut self.numbers, &offset, index, *stride),
                index => {
                    let (before, index) = (varying.unwrap_or(Value::Known(Number::Uniform(0))), index.clone());
                    let stride = Value::Known(Number::Uniform(*stride));
                    varying = Some(self.combine(access.op, Arith::SCALE, [&before, &index, &stride])?);
                }
            }
        }
        let mut offset = sum(&mut self.numbers, &offset, &Number::Uniform(uniform), 1);
        if let Some(varying) = varying {
            let varying = self.force(&varying, access.op)?;
            offset = sum(&mut self.numbers, &offset, &varying, 1);
        }
        self.replay.push(Event::Access {
            access: number,
            offset,
            active: self.active.clone(),
        })
    }

    /// A barrier, commit or wait must be reached by all threads.
    fn synchronize(&mut self, op: u32, event: Event) -> Result<(), String> {
        if let Some(thread) = (0..self.program.threads).find(|thread| self.active.at(*thread) == 0) {
            self.replay.push(Event::Diverged {
                op,
                thread: thread as u32,
            })?;
        }
        self.replay.push(event)
    }

    fn for_loop(&mut self, for_loop: &'p ForLoop) -> Result<(), String> {
        let bounds = for_loop.bounds.map(|bound| self.values[bound].clone());
        let trips = self.trips(for_loop, &bounds)?;
        let trip_count = (0..self.program.threads)
            .map(|thread| trips.at(thread))
            .max()
            .unwrap_or(0);
        let [lower, _, step] = bounds;
        let counter = Arith::add(for_loop.bits);
        let before = self.active.clone();
        self.flow(for_loop.data.enter)?;
        for carried in &for_loop.carried {
            self.values[carried.argument] = self.values[carried.init].clone();
        }
        let mut next = Vec::with_capacity(for_loop.carried.len());
        let mut induction = lower;
        for number in 0..trip_count {
            self.steps += 1;
            if self.steps > STEP_LIMIT {
                return Err(self.too_long());
            }
            // Threads that have iterations left; where all have as many, all that came here.
            let left = match &trips {
                Number::Uniform(_) => Number::Uniform(1),
                trips => bits(&mut self.numbers, Arith::LESS, &Number::Uniform(number), trips),
            };
            self.active = bits(&mut self.numbers, Arith::AND, &before, &left);
            self.values[for_loop.induction] = induction.clone();
            if self.active != Number::Uniform(0) {
                self.steps(&for_loop.body)?;
                self.flow(for_loop.data.next)?;
            }
            // All at once: a loop may carry its arguments in a circle.
            for carried in &for_loop.carried {
                let yielded = self.values[carried.yielded].clone();
                next.push(match &left {
                    Number::Uniform(_) => yielded,
                    left => {
                        let (left, before) = (Value::Known(left.clone()), self.values[carried.argument].clone());
                        self.combine(for_loop.op, Arith::SELECT, [&left, &yielded, &before])?
                    }
                });
            }
            for (carried, number) in for_loop.carried.iter().zip(next.drain(..)) {
                self.values[carried.argument] = number;
            }
            let none = Value::Known(Number::Uniform(0));
            induction = self.combine(for_loop.op, counter, [&induction, &step, &none])?;
        }
        self.active = before;
        for carried in &for_loop.carried {
            self.values[carried.result] = self.values[carried.argument].clone();
        }
        self.flow(for_loop.data.leave)
    }

    /// The iterations of a loop in each thread, the same in all blocks that are left.
    fn trips(&mut self, for_loop: &ForLoop, [lower, upper, step]: &[Value; 3]) -> Result<Number, String> {
        let op = for_loop.op;
        let step = self.force(step, op)?;
        if step.range().0 <= 0 {
            return Err(self.program.at(op, &format!("a loop with step {}", step.range().0)));
        }
        let [lower, upper] = [self.settled(lower), self.settled(upper)];
        if let Some(trips) = self.trips_of_sums(for_loop, &lower, &upper, &step) {
            return Ok(Number::Uniform(trips));
        }
        let (lower, upper) = (self.force(&lower, op)?, self.force(&upper, op)?);
        let mut trips = Vec::with_capacity(self.program.threads);
        for thread in 0..self.program.threads {
            let [from, to, step] = [&lower, &upper, &step].map(|bound| bound.at(thread));
            let (count, wraps) = for_loop.iterations(from, to, step);
            if self.active.at(thread) != 0 && wraps {
                let reason = "the counter passes the end of its type before it reaches the upper bound";
                return Err(self.program.at(op, reason));
            }
            trips.push(count);
        }
        Ok(self.numbers.per_thread(trips))
    }

    /// The iterations of a loop that are the same in all threads, of bounds that may differ between blocks.
    fn trips_of_sums(&mut self, for_loop: &ForLoop, lower: &Value, upper: &Value, step: &Number) -> Option<i64> {
        let ((Value::Linear { .. }, _) | (_, Value::Linear { .. })) = (lower, upper) else {
            return None;
        };
        let (from, to) = (sum_of(lower)?, sum_of(upper)?);
        let (from_rest, to_rest, step) = (from.1.uniform()?, to.1.uniform()?, i128::from(step.uniform()?));
        let last = (1_i128 << (for_loop.bits - 1)) - 1;
        if for_loop.unsigned && (self.bounds(&from).0 < 0 || self.bounds(&to).0 < 0) || self.bounds(&to).1 + step > last
        {
            return None;
        }
        let terms = add(&to.0, &from.0, -1)?;
        let apart = i128::from(to_rest) - i128::from(from_rest);
        let count = |sum: i128| (sum + apart + step - 1).div_euclid(step).max(0);
        loop {
            let (low, high) = self.blocks.range(&terms);
            let least = count(low);
            if least == count(high) {
                return i64::try_from(least).ok();
            }
            // The sums that make no more than the least count.
            self.cut(&terms, Cut::Below(least * step - apart + 1), for_loop.op);
        }
    }

    fn flow(&mut self, flow: Option<u32>) -> Result<(), String> {
        flow.map_or(Ok(()), |flow| self.replay.push(Event::Flow(flow)))
    }

    fn branch(&mut self, taken: &Number, then: &'p [Step], otherwise: &'p [Step]) -> Result<(), String> {
        let (none, all) = (Number::Uniform(0), Number::Uniform(1));
        let left = bits(&mut self.numbers, Arith::XOR, taken, &all);
        let taken = taken.clone();
        let before = self.active.clone();
        for (steps, side) in [(then, taken), (otherwise, left)] {
            self.active = bits(&mut self.numbers, Arith::AND, &before, &side);
            if self.active != none {
                self.steps(steps)?;
            }
        }
        self.active = before;
        Ok(())
    }
}

/// sum + index · stride.
fn sum(numbers: &mut Numbers, sum: &Number, index: &Number, stride: i64) -> Number {
    let stride = Number::Uniform(stride);
    numbers
        .apply(Arith::SCALE, [sum, index, &stride])
        .expect("sums and products have values")
}

fn bits(numbers: &mut Numbers, arith: Arith, a: &Number, b: &Number) -> Number {
    numbers
        .apply(arith, [a, b, &Number::Uniform(0)])
        .expect("each pair of bits has a value")
}
