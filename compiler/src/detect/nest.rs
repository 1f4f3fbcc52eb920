//! Across which loops around it a pipeline may run on, instead of draining at the end of each run.
//!
//! ```text
//! scf.for %tile { scf.for %k { copy %a[%tile, %k]; … }; store %c[%tile] }      around the loop over %k: that over %tile
//! scf.for %row { scf.for %k = 0 to %row { copy … } }                           none: the bounds change
//! ```

use super::MAX_DEPTH;
use super::copies::Site;
use super::effects::indices;
use super::graph::LoopGraph;
use super::kernel::Touch;
use super::order::effects;
use super::shared::Case;
use crate::ir::{Def, Op, Value, constant_index};

impl<'ir> Case<'_, 'ir> {
    /// The loops around `scope`, outermost first, whose later iterations' copies may be made early too: what the copies
    /// need is known ahead, nothing in those loops writes their sources, and the buffer has no other use there.
    pub fn around(&self, scope: Op<'ir>, sites: &[Site<'ir>]) -> Vec<usize> {
        let mut found = Vec::new();
        let mut inner = scope;
        while let Some(outer) = inner.parent().filter(|outer| outer.is("scf.for")) {
            let Some(index) = self
                .scene
                .loop_index(outer)
                .filter(|_| self.runs_on(scope, inner, outer, sites))
            else {
                break;
            };
            found.push(index);
            inner = outer;
        }
        found.reverse();
        found
    }

    fn runs_on(&self, scope: Op<'ir>, inner: Op<'ir>, outer: Op<'ir>, sites: &[Site<'ir>]) -> bool {
        let scene = self.scene;
        let fixed = |bound: Value<'ir>| {
            constant_index(bound).is_some()
                || match bound.def() {
                    Def::Result(op, _) => !scene.is_inside(op, outer),
                    Def::Argument(block, _) => block
                        .parent()
                        .is_none_or(|op| op != outer && !scene.is_inside(op, outer)),
                }
        };
        let elsewhere = |touch: &Touch<'ir>| scene.is_inside(touch.op, outer) && !scene.is_inside(touch.op, scope);
        if may_wrap(outer).is_some()
            || !inner.operands().take(3).all(fixed)
            || self.stores.iter().chain(self.loads).any(elsewhere)
            || self.buffer.foreign.iter().any(|at| scene.inside(outer).contains(at))
            || !effects(scene, outer).is_empty()
        {
            return false;
        }
        let graph = LoopGraph::new(scene, outer);
        let mut trial = self.trial();
        for site in sites {
            trial.ahead(site.touch.op, &needs(site), &graph);
        }
        let sources: Vec<Touch<'ir>> = sites.iter().filter_map(|site| site.load.clone()).collect();
        let loads: Vec<Op<'ir>> = sources.iter().map(|touch| touch.op).collect();
        trial.sources(&graph, &loads);
        trial.before(outer, &sources);
        trial.reasons.is_empty()
    }
}

/// Why the counter of an `scf.for` cannot run [`MAX_DEPTH`] iterations past its bounds, where it may be that it cannot: what
/// wraps around compares as if it were an iteration. A bound that is a value is taken to leave that much room; but the upper
/// one is not before the lower one where the loop runs, and where it does not, the first copies are asked for all the same.
pub fn may_wrap(op: Op<'_>) -> Option<String> {
    if !op.operand(0).ty().is_index() || op.attr("unsignedCmp").is_some() {
        return Some("the loop does not count a signed index, so running ahead could wrap around".to_owned());
    }
    let ahead = i64::try_from(MAX_DEPTH).unwrap_or(i64::MAX);
    let step = constant_index(op.operand(2)).unwrap_or(1);
    let bound = |number: usize| constant_index(op.operand(number)).unwrap_or(0);
    let last = bound(0).max(bound(1)).max(0);
    let past = step.checked_mul(ahead).and_then(|past| past.checked_add(last));
    past.is_none().then(|| {
        format!("the loop counts in steps of {step}, and running {ahead} of them past its bounds would wrap around")
    })
}

/// What decides on the addresses, masks and conditions of a copy.
fn needs<'ir>(site: &Site<'ir>) -> Vec<Value<'ir>> {
    let mut values: Vec<Value<'ir>> = site.conditions.iter().map(|(op, _)| op.operand(0)).collect();
    for touch in site.load.iter().chain([&site.touch]) {
        values.extend(indices(touch.op, touch.access));
        values.push(touch.op.operand(touch.access.memref));
    }
    if let Some(load) = &site.load {
        let behind = load.op.operands().skip(load.access.memref + 1);
        values.extend(behind);
        let guards = site.work.iter().flat_map(|work| &work.guards);
        values.extend(guards.map(|guard| guard.condition));
    }
    values
}
