//! The counts of the waits of pipelined loops, from the positions that their expansion left on them.
//!
//! ```mlir
//! nvvm.cp.async.wait.group 0 {alcop.wait = {event = 0, loop = 0}}      // for everything: right, and too strict
//! // becomes, where the loop says that three slots are read from position 2 on,
//! nvvm.cp.async.wait.group 1
//! ```

use std::collections::HashMap;

use alcop_compiler::ir::{Attr, Context, Module, Op, Type, preorder};
use serde::{Deserialize, Serialize};

use super::{Timeline, Timing, timeline};
use crate::data::{to_attribute, to_json};
use crate::error::Error;

/// The attribute of a pipelined loop that holds its positions.
pub const POSITIONS: &str = "alcop.positions";
/// The attribute of a wait that says where in which loop's timeline it stands.
pub const PLACE: &str = "alcop.wait";

/// The positions of one pipelined loop.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Positions {
    /// Which pipelined loop of the module.
    #[serde(rename = "loop")]
    pub number: usize,
    /// Positions of the body.
    pub length: usize,
    /// Its buffers.
    pub buffers: Vec<Timing>,
}

/// The place of one wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Place {
    /// Which pipelined loop of the module.
    #[serde(rename = "loop")]
    pub number: usize,
    /// Which event of an iteration; without one it is the wait before the loop, for what is read ahead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event: Option<usize>,
}

impl Place {
    /// Marks a wait.
    pub fn mark(self, context: &Context, wait: Op<'_>) {
        set(context, wait, PLACE, &self);
    }
}

impl Positions {
    /// Leaves the positions on a loop.
    pub fn mark(&self, context: &Context, op: Op<'_>) {
        set(context, op, POSITIONS, self);
    }
}

fn set<T: Serialize>(context: &Context, op: Op<'_>, name: &str, data: &T) {
    let value = serde_json::to_value(data).ok();
    let attribute = value.and_then(|value| to_attribute(context, &value));
    op.set_attr(name, attribute.expect("plain numbers are an attribute"));
}

/// Gives every wait that an expanded loop left the count that its place needs, and takes the marks away. Says how many;
/// on an error the module is as it was.
pub fn count(module: &mut Module<'_>) -> Result<usize, Error> {
    let ops = preorder(module.op());
    let mut timelines: HashMap<usize, Timeline> = HashMap::new();
    for op in &ops {
        if let Some(attribute) = op.attr(POSITIONS) {
            let positions: Positions = read(*op, attribute)?;
            let found = timeline(positions.length.max(1), &positions.buffers)
                .map_err(|untimely| malformed(*op, attribute, &format!("{untimely:?}")))?;
            if timelines.insert(positions.number, found).is_some() {
                return Err(malformed(*op, attribute, "another loop has that number"));
            }
        }
    }
    let mut counts: Vec<(Op<'_>, u32)> = Vec::new();
    for op in ops.iter().filter(|op| op.is("nvvm.cp.async.wait.group")) {
        let Some(attribute) = op.attr(PLACE) else { continue };
        let place: Place = read(*op, attribute)?;
        let found = timelines.get(&place.number).and_then(|timeline| match place.event {
            Some(event) => timeline.events.get(event)?.pending,
            None => timeline.read_ahead?,
        });
        let count = found.ok_or_else(|| malformed(*op, attribute, "no loop has a wait there"))?;
        counts.push((*op, count));
    }
    let context = module.context();
    for (op, count) in &counts {
        op.set_attr("n", Attr::int(Type::int(context, 32), i64::from(*count)));
        op.remove_attr(PLACE);
    }
    for op in &ops {
        op.remove_attr(POSITIONS);
    }
    Ok(counts.len())
}

fn read<T: for<'de> Deserialize<'de>>(op: Op<'_>, attribute: Attr<'_>) -> Result<T, Error> {
    let value = to_json(attribute).ok_or_else(|| malformed(op, attribute, "it is not made of plain data"))?;
    serde_json::from_value(value).map_err(|error| malformed(op, attribute, &error.to_string()))
}

fn malformed(op: Op<'_>, attribute: Attr<'_>, what: &str) -> Error {
    let message = format!("{attribute} does not say when to wait: {what}; run alcop-expand again");
    Error::refused("positions-malformed", op.location(), message)
}
