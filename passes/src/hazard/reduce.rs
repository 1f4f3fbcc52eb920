//! Keeps of a decoded kernel what its shared memory and its stored data can depend on.
//!
//! ```text
//! Compute %row = %tid / 4         kept: an address in shared memory
//! Compute %g = %block · 128       goes: only global addresses come from it
//! Compute %d = mma %a, %b, %c     Flow: data, of which only its origin is known
//! Access  … at [%n]               Refuse, if %n was loaded
//! ```

use super::decode::{Carried, CarriedData, Compute, Flow, ForLoop, Program, Step, ValueId};

/// Reduces a program; what it does to shared memory stays the same.
pub(super) fn reduce(program: &mut Program<'_>) {
    let body = std::mem::take(&mut program.body);
    let data = data(program, &body);
    let needed = needed(program, &body);
    let reducer = Reducer { data, needed };
    program.body = reducer.steps(body, program);
}

/// Which values are data: loaded, or computed from what was. The others are integers that the judge can compute.
fn data(program: &Program<'_>, body: &[Step]) -> Vec<bool> {
    let mut data: Vec<bool> = program.values.iter().map(Option::is_none).collect();
    each(body, &mut |step| match step {
        Step::Compute(compute) if compute.arith.is_some() => {
            compute.results.iter().for_each(|result| data[*result] = false);
        }
        Step::For(for_loop) => {
            data[for_loop.induction] = false;
            for carried in &for_loop.carried {
                (data[carried.argument], data[carried.result]) = (false, false);
            }
        }
        Step::If { results, .. } => {
            for [result, ..] in results {
                data[*result] = false;
            }
        }
        _ => {}
    });
    // Being data spreads, also around loops, until it has spread everywhere.
    loop {
        let mut changed = false;
        let mut spread = |data: &mut Vec<bool>, from: &[ValueId], to: &[ValueId]| {
            if from.iter().any(|value| data[*value]) {
                for value in to {
                    changed |= !std::mem::replace(&mut data[*value], true);
                }
            }
        };
        each(body, &mut |step| match step {
            Step::Compute(compute) => spread(&mut data, &compute.operands, &compute.results),
            Step::For(for_loop) => {
                for carried in &for_loop.carried {
                    let to = [carried.argument, carried.result];
                    spread(&mut data, &[carried.init, carried.yielded], &to);
                }
            }
            Step::If { condition, results, .. } => {
                for [result, yes, no] in results {
                    spread(&mut data, &[*condition, *yes, *no], &[*result]);
                }
            }
            _ => {}
        });
        if !changed {
            return data;
        }
    }
}

/// Which values an address in shared memory, a condition, a loop bound or a store to global memory depends on.
fn needed(program: &Program<'_>, body: &[Step]) -> Vec<bool> {
    let mut needed = vec![false; program.values.len()];
    loop {
        let mut changed = false;
        let mut need = |needed: &mut Vec<bool>, values: &[ValueId]| {
            for value in values {
                changed |= !std::mem::replace(&mut needed[*value], true);
            }
        };
        each(body, &mut |step| match step {
            Step::Compute(compute) => {
                if compute.results.iter().any(|result| needed[*result]) {
                    need(&mut needed, &compute.operands);
                }
            }
            Step::Access(access) => {
                for (value, _) in &program.accesses[*access as usize].terms {
                    need(&mut needed, &[*value]);
                }
            }
            Step::Check { data, .. } => need(&mut needed, data),
            Step::If { condition, results, .. } => {
                need(&mut needed, &[*condition]);
                for [result, yes, no] in results {
                    if needed[*result] {
                        need(&mut needed, &[*yes, *no]);
                    }
                }
            }
            Step::For(for_loop) => {
                need(&mut needed, &for_loop.bounds);
                for carried in &for_loop.carried {
                    if needed[carried.argument] || needed[carried.result] {
                        need(&mut needed, &[carried.init, carried.yielded]);
                    }
                }
            }
            Step::Flow(_) | Step::Commit { .. } | Step::Wait { .. } | Step::Barrier { .. } | Step::Refuse { .. } => {}
        });
        if !changed {
            return needed;
        }
    }
}

/// Visits all steps, last first: most uses come before their definitions then.
fn each(steps: &[Step], visit: &mut impl FnMut(&Step)) {
    for step in steps.iter().rev() {
        visit(step);
        match step {
            Step::For(for_loop) => each(&for_loop.body, visit),
            Step::If { then, otherwise, .. } => {
                each(otherwise, visit);
                each(then, visit);
            }
            _ => {}
        }
    }
}

struct Reducer {
    data: Vec<bool>,
    needed: Vec<bool>,
}

impl Reducer {
    fn steps(&self, steps: Vec<Step>, program: &mut Program<'_>) -> Vec<Step> {
        let mut kept = Vec::new();
        for step in steps {
            let chosen = match &step {
                Step::If { results, .. } => results.clone(),
                _ => Vec::new(),
            };
            match step {
                // Whoever takes it: nothing of it happens in shared memory, and what is stored is stored by somebody.
                Step::If {
                    condition,
                    then,
                    otherwise,
                    ..
                } if self.data[condition] && !touches_shared(&then) && !touches_shared(&otherwise) => {
                    kept.extend(self.steps(then, program));
                    kept.extend(self.steps(otherwise, program));
                }
                step => kept.extend(self.step(step, program)),
            }
            let data = chosen
                .into_iter()
                .filter(|[result, ..]| self.data[*result] && self.needed[*result]);
            let flow = data.map(|[result, yes, no]| (result, vec![yes, no])).collect();
            kept.extend(add(program, flow).map(Step::Flow));
        }
        kept
    }

    fn step(&self, step: Step, program: &mut Program<'_>) -> Option<Step> {
        Some(match step {
            Step::Compute(compute) => return self.compute(compute, program),
            Step::Access(number) => {
                let access = &program.accesses[number as usize];
                if access.terms.iter().any(|(value, _)| self.data[*value]) {
                    return Some(refuse(access.op, "an index depends on data"));
                }
                Step::Access(number)
            }
            Step::Check { op, data } => {
                let data: Vec<ValueId> = data.into_iter().filter(|value| self.data[*value]).collect();
                if data.is_empty() {
                    return None;
                }
                Step::Check { op, data }
            }
            Step::If {
                op,
                condition,
                then,
                otherwise,
                results,
                ..
            } => {
                if self.data[condition] {
                    return Some(refuse(op, "a condition depends on data"));
                }
                let integers = |[result, ..]: &[ValueId; 3]| !self.data[*result] && self.needed[*result];
                Step::If {
                    op,
                    condition,
                    results: results.into_iter().filter(integers).collect(),
                    shared: touches_shared(&then) || touches_shared(&otherwise),
                    then: self.steps(then, program),
                    otherwise: self.steps(otherwise, program),
                }
            }
            Step::For(for_loop) => {
                if for_loop.bounds.iter().any(|bound| self.data[*bound]) {
                    return Some(refuse(for_loop.op, "a loop bound depends on data"));
                }
                Step::For(Box::new(self.for_loop(*for_loop, program)))
            }
            other => other,
        })
    }

    fn compute(&self, compute: Compute, program: &mut Program<'_>) -> Option<Step> {
        if !compute.results.iter().any(|result| self.needed[*result]) {
            return None;
        }
        if compute.arith.is_some() && !compute.results.iter().any(|result| self.data[*result]) {
            return Some(Step::Compute(compute));
        }
        let from: Vec<ValueId> = compute.operands.into_iter().filter(|value| self.data[*value]).collect();
        let flow = compute.results.iter().map(|result| (*result, from.clone())).collect();
        add(program, flow).map(Step::Flow)
    }

    fn for_loop(&self, for_loop: ForLoop, program: &mut Program<'_>) -> ForLoop {
        let needed = for_loop
            .carried
            .iter()
            .filter(|carried| self.needed[carried.argument] || self.needed[carried.result]);
        let (data, integers): (Vec<Carried>, Vec<Carried>) = needed.partition(|carried| self.data[carried.argument]);
        let flow = |to: fn(&Carried) -> ValueId, from: fn(&Carried) -> ValueId| -> Flow {
            data.iter().map(|carried| (to(carried), vec![from(carried)])).collect()
        };
        let data = CarriedData {
            enter: add(program, flow(|carried| carried.argument, |carried| carried.init)),
            next: add(program, flow(|carried| carried.argument, |carried| carried.yielded)),
            leave: add(program, flow(|carried| carried.result, |carried| carried.argument)),
        };
        ForLoop {
            carried: integers,
            data,
            body: self.steps(for_loop.body, program),
            ..for_loop
        }
    }
}

/// Whether steps access shared memory or synchronise, or hold what the judge does not know.
fn touches_shared(steps: &[Step]) -> bool {
    steps.iter().any(|step| match step {
        Step::Compute(_) | Step::Flow(_) | Step::Check { .. } => false,
        Step::If { then, otherwise, .. } => touches_shared(then) || touches_shared(otherwise),
        Step::Access(_)
        | Step::Commit { .. }
        | Step::Wait { .. }
        | Step::Barrier { .. }
        | Step::For(_)
        | Step::Refuse { .. } => true,
    })
}

fn add(program: &mut Program<'_>, flow: Flow) -> Option<u32> {
    if flow.is_empty() {
        return None;
    }
    program.flows.push(flow);
    Some((program.flows.len() - 1) as u32)
}

fn refuse(op: u32, reason: &str) -> Step {
    Step::Refuse {
        op,
        reason: reason.to_owned(),
    }
}
