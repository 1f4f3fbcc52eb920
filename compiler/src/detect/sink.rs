//! Whether element-wise work between load and store may move behind the reads of the buffer.
//!
//! ```text
//! store %s, relu(load %a); … x = load %s      may become      store %s, load %a; … x = relu(load %s)
//! store %s, truncf(load %a); … ldmatrix %s    may not: ldmatrix moves 16-bit elements
//! ```

use super::copies::Site;
use super::shared::{Case, Entry};
use super::verdict::{Reason, ReasonCode};
use super::work::{self, Problem};
use crate::ir::{Op, Type};

impl<'ir> Case<'_, 'ir> {
    /// Reasons why the work in the copies of a loop cannot move; whether there is work to move.
    pub fn sinking(&mut self, sites: &[Site<'ir>], scope: Op<'ir>) -> bool {
        let of = |site: &Site<'ir>| site.work.clone().filter(|work| !work.is_none());
        let Some((first, at)) = sites.iter().find_map(|site| Some((of(site)?, site.touch.op))) else {
            for fill in sites.iter().filter(|site| site.load.is_none()) {
                if !work::number(fill.touch.op.operand(0)).is_some_and(|number| number.is_zero()) {
                    let message = "the constant that it stores beside the copies is not zero, and cp.async fills with \
                                   zeros";
                    self.refuse(ReasonCode::NotAPureCopy, fill.touch.op, message);
                }
            }
            return false;
        };
        for site in sites {
            match (&site.load, &site.work) {
                (Some(_), Some(work)) if work.is_same(&first) => {}
                (Some(_), _) => {
                    let message = "the copies of the buffer have different element-wise work in them, and a read cannot \
                                   tell which of it to do";
                    self.refuse(ReasonCode::NotAPureCopy, at, message);
                }
                (None, _) => {
                    let stored = work::number(site.touch.op.operand(0));
                    if !stored.is_some_and(|stored| first.makes_of_zeros(self.scene.context, stored)) {
                        let message = "element-wise work stands in the copies, and what is stored beside them is not \
                                       known to be what that work makes of zeros, which are what cp.async fills in";
                        self.refuse(ReasonCode::NotAPureCopy, site.touch.op, message);
                    }
                }
            }
        }
        let (from, to) = first.types();
        for load in self.loads.iter().filter(|load| self.scene.is_inside(load.op, scope)) {
            if let Err(problem) = work::can_follow(&first, load.op) {
                self.refuse_problem(problem);
            }
        }
        if from != to
            && let Err(problem) = work::can_hold(self.buffer.value, from, to)
        {
            self.refuse_problem(problem);
        }
        true
    }

    fn refuse_problem(&mut self, problem: Problem<'ir>) {
        match problem.op {
            Some(op) => self.refuse(ReasonCode::NotAPureCopy, op, problem.message),
            None => self.refuse_buffer(ReasonCode::NotAPureCopy, problem.message),
        }
    }
}

/// The element type that a buffer has once the work of a loop's copies has moved.
pub fn held<'ir>(sites: &[Site<'ir>], element: Type<'ir>) -> Type<'ir> {
    let work = sites
        .iter()
        .find_map(|site| site.work.as_ref().filter(|work| !work.is_none()));
    work.map_or(element, |work| work.types().0)
}

/// One buffer cannot hold elements of two types: work that would change them stays where several loops would differ.
pub fn agree_on_elements(entries: &mut [Entry<'_>]) {
    let mut types: Vec<Type<'_>> = Vec::new();
    for entry in entries.iter().filter(|entry| entry.verdict.runs_ahead()) {
        types.extend(entry.held.filter(|held| !types.contains(held)));
    }
    if types.len() < 2 {
        return;
    }
    let names: Vec<String> = types.iter().map(ToString::to_string).collect();
    for entry in entries.iter_mut().filter(|entry| entry.verdict.runs_ahead()) {
        let Some(scope) = entry.scope else { continue };
        let message = format!(
            "the loops that fill the buffer would have it hold elements of different types ({}) once the element-wise \
             work has moved behind its reads",
            names.join(", ")
        );
        let reason = Reason::new(ReasonCode::NotAPureCopy, message, scope.location());
        entry.verdict.reject(reason);
    }
}
