//! Executes a kernel's integers and control flow, all threads of a block side by side, and tells what happens in
//! shared memory.
//!
//! ```text
//! Compute %row = %tid / 4          values
//! Access a copy at %row · 64       Event::Access, at [0, 0, 0, 0, 64, 64, …]
//! For %i = 0 to 3072 step 32       its body, 96 times: every iteration is evaluated
//! ```

use super::decode::{Compute, ForLoop, Program, Step};
use super::numbers::{Arith, Number, Numbers};
use super::replay::{Event, Replay};

/// Steps executed (each for all threads) before the judge gives up.
const STEP_LIMIT: u64 = 20_000_000;

pub(super) struct Machine<'p, 'ir> {
    program: &'p Program<'ir>,
    values: Vec<Number>,
    numbers: Numbers,
    /// 1 for each thread that executes, 0 for the others.
    active: Number,
    replay: Replay<'p, 'ir>,
    steps: u64,
}

impl<'p, 'ir> Machine<'p, 'ir> {
    pub fn new(program: &'p Program<'ir>, numbers: Numbers, replay: Replay<'p, 'ir>) -> Self {
        // A value that is read has a definition that was executed before: the placeholder of the others is never read.
        let value = |known: &Option<Number>| known.clone().unwrap_or(Number::Uniform(0));
        Machine {
            program,
            values: program.values.iter().map(value).collect(),
            numbers,
            active: Number::Uniform(1),
            replay,
            steps: 0,
        }
    }

    /// Executes the program; what was found, and why the rest of it was not executed.
    pub fn run(mut self) -> (Replay<'p, 'ir>, Result<(), String>) {
        let program = self.program;
        let ran = self.steps(&program.body);
        // What happened before the evaluation failed was a fact; if it failed too, then it did so earlier.
        let result = self.replay.end_stretch().and(ran);
        (self.replay, result)
    }

    fn steps(&mut self, steps: &'p [Step]) -> Result<(), String> {
        steps.iter().try_for_each(|step| self.step(step))
    }

    fn step(&mut self, step: &'p Step) -> Result<(), String> {
        self.steps += 1;
        if self.steps > STEP_LIMIT {
            return Err(format!("more than {STEP_LIMIT} operations; the rest was not judged"));
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
                condition,
                then,
                otherwise,
                results,
                ..
            } => {
                let taken = self.values[*condition].clone();
                self.branch(&taken, then, otherwise)?;
                for [result, yes, no] in results {
                    let sides = [&taken, &self.values[*yes], &self.values[*no]];
                    let chosen = self.numbers.apply(Arith::SELECT, sides);
                    self.values[*result] = chosen.expect("a choice has a value");
                }
                Ok(())
            }
            Step::Refuse { op, reason } => Err(self.program.at(*op, reason)),
        }
    }

    fn compute(&mut self, compute: &Compute) -> Result<(), String> {
        let none = Number::Uniform(0);
        let operand = |number: usize| compute.operands.get(number).map_or(&none, |value| &self.values[*value]);
        let known = compute
            .arith
            .and_then(|arith| self.numbers.apply(arith, [operand(0), operand(1), operand(2)]));
        let Some(known) = known else {
            return Err(self.program.at(compute.op, "an integer operation without a value"));
        };
        self.values[compute.results[0]] = known;
        Ok(())
    }

    fn access(&mut self, number: u32) -> Result<(), String> {
        let mut uniform = 0_i64;
        let mut offset = Number::Uniform(0);
        for (value, stride) in &self.program.accesses[number as usize].terms {
            match &self.values[*value] {
                Number::Uniform(index) => uniform = uniform.wrapping_add(index.wrapping_mul(*stride)),
                index => offset = sum(&mut self.numbers, &offset, index, *stride),
            }
        }
        let offset = sum(&mut self.numbers, &offset, &Number::Uniform(uniform), 1);
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
        let fail = |reason: &str| Err(self.program.at(for_loop.op, reason));
        let [Some(lower), Some(upper), Some(step)] = for_loop.bounds.map(|bound| self.values[bound].uniform()) else {
            return fail("loop bounds differ between threads");
        };
        if step <= 0 {
            return fail(&format!("a loop with step {step}"));
        }
        self.flow(for_loop.data.enter)?;
        for carried in &for_loop.carried {
            self.values[carried.argument] = self.values[carried.init].clone();
        }
        let mut next = Vec::with_capacity(for_loop.carried.len());
        let mut induction = lower;
        while induction < upper {
            self.values[for_loop.induction] = Number::Uniform(induction);
            self.steps(&for_loop.body)?;
            self.flow(for_loop.data.next)?;
            // All at once: a loop may carry its arguments in a circle.
            next.extend(
                for_loop
                    .carried
                    .iter()
                    .map(|carried| self.values[carried.yielded].clone()),
            );
            for (carried, number) in for_loop.carried.iter().zip(next.drain(..)) {
                self.values[carried.argument] = number;
            }
            let Some(following) = induction.checked_add(step) else {
                break;
            };
            induction = following;
        }
        for carried in &for_loop.carried {
            self.values[carried.result] = self.values[carried.argument].clone();
        }
        self.flow(for_loop.data.leave)
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
