//! Calls: every call of a device function is replaced by the function's body.
//!
//! ```text
//! call.uni (r), f, (p);   ->   the body of f, in which its parameters are p and r, and `ret` jumps behind the call
//! ```
//! A thread has at most one activation of a function, since recursion is refused: so all calls of a function share its
//! registers and local variables, and lanes that are in different calls of it do not meet. `.param` arguments are
//! passed by giving the formal parameter the address of the actual one (PTX ISA 9.0, 7.1, "Function declarations and
//! definitions"); `.reg` arguments are copied.

use std::collections::{HashMap, HashSet};

use super::error::EmulatorError;
use super::layout::{Layout, Place};
use crate::ptx::{Function, Instruction, Module, Operand, RegId, Statement};

/// Calls within calls beyond which a text is refused rather than recursed into.
const MAX_DEPTH: usize = 200;
/// Instructions after inlining beyond which a kernel is refused: more than any machine wants to step through.
const MAX_INSTRUCTIONS: usize = 1 << 22;

/// One activation: the entry, or a function at one call.
pub(super) struct Frame<'m> {
    /// Index in [`Layout::functions`].
    pub function: usize,
    /// Formal `.param` parameters and the variables that stand for them.
    pub bindings: HashMap<&'m str, Place>,
    /// Index of the instruction behind its last one.
    pub end: u32,
}

/// One instruction of the flat code.
pub(super) struct Item<'m> {
    pub frame: usize,
    pub instruction: &'m Instruction,
    pub kind: Kind<'m>,
}

pub(super) enum Kind<'m> {
    Plain,
    /// `ret` of a device function: a jump to the end of its frame.
    Return,
    /// The guard of a call: where it does not hold, a jump to the end of that frame.
    Skip(usize),
    /// A `.reg` argument or result: to a register of one frame from an operand of another.
    Copy {
        to: (usize, RegId),
        from: (usize, Passed<'m>),
    },
    /// A function that the driver provides.
    Builtin(Builtin),
}

/// What is copied to or from a `.reg` parameter.
#[derive(Clone, Copy)]
pub(super) enum Passed<'m> {
    Argument(&'m Operand),
    Result(RegId),
}

/// Functions without a body that are known by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Builtin {
    /// `vprintf`: nothing is printed, and its result (the number of arguments) stays undefined.
    Print,
    /// `__assertfail`: ends the kernel with an error.
    Assert,
}

impl Builtin {
    fn named(name: &str) -> Option<Self> {
        match name {
            "vprintf" => Some(Builtin::Print),
            "__assertfail" => Some(Builtin::Assert),
            _ => None,
        }
    }
}

/// The code of an entry with all calls replaced.
pub(super) struct Flat<'m> {
    pub frames: Vec<Frame<'m>>,
    pub items: Vec<Item<'m>>,
    /// Labels of a frame, as indices of instructions.
    pub labels: HashMap<(usize, &'m str), u32>,
}

/// The functions that an entry reaches, itself first.
///
/// # Errors
/// A recursive or indirect call, or a function that has no body.
pub(super) fn reachable<'m>(module: &'m Module, entry: &'m Function) -> Result<Vec<&'m Function>, EmulatorError> {
    let mut walk = Walk {
        module,
        found: Vec::new(),
        seen: HashSet::new(),
        stack: Vec::new(),
    };
    walk.visit(entry)?;
    Ok(walk.found)
}

struct Walk<'m> {
    module: &'m Module,
    found: Vec<&'m Function>,
    seen: HashSet<&'m str>,
    stack: Vec<&'m str>,
}

impl<'m> Walk<'m> {
    fn visit(&mut self, function: &'m Function) -> Result<(), EmulatorError> {
        if self.seen.insert(&function.name) {
            self.found.push(function);
        } else if !self.stack.contains(&function.name.as_str()) {
            return Ok(());
        }
        self.stack.push(&function.name);
        for statement in &function.body {
            let Statement::Instruction(instruction) = statement else {
                continue;
            };
            if !is_call(instruction) {
                continue;
            }
            let call = Call::of(self.module, instruction)?;
            if Builtin::named(call.name).is_some() {
                continue;
            }
            let Some(callee) = self.module.device_function(call.name) else {
                let reason = format!("the function `{}` has no body in this module", call.name);
                return unsupported(self.module, instruction, reason);
            };
            if let Some(start) = self.stack.iter().position(|name| *name == callee.name) {
                let mut cycle = self.stack[start..].to_vec();
                cycle.push(&callee.name);
                let reason = format!("recursion ({}): calls are inlined", cycle.join(" calls "));
                return unsupported(self.module, instruction, reason);
            }
            if self.stack.len() > MAX_DEPTH {
                let reason = format!("calls nested more than {MAX_DEPTH} deep");
                return unsupported(self.module, instruction, reason);
            }
            self.visit(callee)?;
        }
        self.stack.pop();
        Ok(())
    }
}

/// Replaces the calls of an entry (the first function of the layout).
///
/// # Errors
/// Arguments that do not fit the parameters, or code that grows beyond all measure.
pub(super) fn flatten<'m>(module: &'m Module, layout: &Layout<'m>) -> Result<Flat<'m>, EmulatorError> {
    let mut inliner = Inliner {
        module,
        layout,
        flat: Flat {
            frames: vec![Frame {
                function: 0,
                bindings: HashMap::new(),
                end: 0,
            }],
            items: Vec::new(),
            labels: HashMap::new(),
        },
    };
    inliner.body(0)?;
    Ok(inliner.flat)
}

struct Inliner<'m, 'l> {
    module: &'m Module,
    layout: &'l Layout<'m>,
    flat: Flat<'m>,
}

impl<'m> Inliner<'m, '_> {
    fn body(&mut self, frame: usize) -> Result<(), EmulatorError> {
        let function = self.layout.functions[self.flat.frames[frame].function].function;
        for (index, statement) in function.body.iter().enumerate() {
            match statement {
                Statement::Label(name) => {
                    let pc = self.flat.items.len() as u32;
                    self.flat.labels.insert((frame, name), pc);
                }
                Statement::Instruction(instruction) if is_call(instruction) => self.call(frame, instruction)?,
                Statement::Instruction(instruction) => {
                    let returns = frame != 0 && instruction.opcode.split('.').next() == Some("ret");
                    let last = index + 1 == function.body.len();
                    if returns && last && instruction.guard.is_none() {
                        continue; // falls through to the end of the frame
                    }
                    let kind = if returns { Kind::Return } else { Kind::Plain };
                    self.push(frame, instruction, kind)?;
                }
            }
        }
        self.flat.frames[frame].end = self.flat.items.len() as u32;
        Ok(())
    }

    fn push(&mut self, frame: usize, instruction: &'m Instruction, kind: Kind<'m>) -> Result<(), EmulatorError> {
        if self.flat.items.len() >= MAX_INSTRUCTIONS {
            let reason = format!("more than {MAX_INSTRUCTIONS} instructions once calls are inlined");
            return unsupported(self.module, instruction, reason);
        }
        self.flat.items.push(Item {
            frame,
            instruction,
            kind,
        });
        Ok(())
    }

    fn call(&mut self, caller: usize, instruction: &'m Instruction) -> Result<(), EmulatorError> {
        let call = Call::of(self.module, instruction)?;
        if let Some(builtin) = Builtin::named(call.name) {
            return self.push(caller, instruction, Kind::Builtin(builtin));
        }
        let callee = self.module.device_function(call.name);
        let index = callee.and_then(|callee| self.layout.index_of(&callee.name));
        let (Some(callee), Some(index)) = (callee, index) else {
            return unsupported(self.module, instruction, format!("no function `{}`", call.name));
        };
        if call.returns.len() > callee.returns.len() || call.arguments.len() != callee.params.len() {
            let reason = format!(
                "{} results and {} arguments for `{}`, which has {} and {}",
                call.returns.len(),
                call.arguments.len(),
                callee.name,
                callee.returns.len(),
                callee.params.len()
            );
            return unsupported(self.module, instruction, reason);
        }
        let frame = self.flat.frames.len();
        self.flat.frames.push(Frame {
            function: index,
            bindings: HashMap::new(),
            end: 0,
        });
        if instruction.guard.is_some() {
            self.push(caller, instruction, Kind::Skip(frame))?;
        }
        let actuals = call.returns.iter().chain(call.arguments);
        for (formal, actual) in callee
            .returns
            .iter()
            .take(call.returns.len())
            .chain(&callee.params)
            .zip(actuals)
        {
            match (formal.register, actual) {
                (Some(_), _) | (None, Operand::Sink) => {}
                (None, Operand::Symbol(name, 0)) => {
                    let Some(place) = self.layout.place(&self.flat.frames[caller], name) else {
                        let reason = format!("the argument `{name}` is not a variable");
                        return unsupported(self.module, instruction, reason);
                    };
                    self.flat.frames[frame].bindings.insert(&formal.name, place);
                }
                (None, _) => {
                    let reason = format!("the argument for `.param {}` is not a variable", formal.name);
                    return unsupported(self.module, instruction, reason);
                }
            }
        }
        for (formal, actual) in callee.params.iter().zip(call.arguments) {
            if let Some(register) = formal.register {
                let kind = Kind::Copy {
                    to: (frame, register),
                    from: (caller, Passed::Argument(actual)),
                };
                self.push(caller, instruction, kind)?;
            }
        }
        self.body(frame)?;
        // Results are copied behind the jumps of every `ret`, and only where the call was made.
        let copies = self.flat.items.len();
        for (formal, actual) in callee.returns.iter().zip(call.returns) {
            if let (Some(register), Operand::Register(to)) = (formal.register, actual) {
                let kind = Kind::Copy {
                    to: (caller, *to),
                    from: (frame, Passed::Result(register)),
                };
                self.push(caller, instruction, kind)?;
            }
        }
        if instruction.guard.is_some() && self.flat.items.len() > copies {
            return unsupported(self.module, instruction, "a guarded call that returns registers");
        }
        Ok(())
    }
}

fn is_call(instruction: &Instruction) -> bool {
    instruction.opcode.split('.').next() == Some("call")
}

/// `call{.uni} {(returns),} name{, (arguments)}`.
struct Call<'m> {
    name: &'m str,
    returns: &'m [Operand],
    arguments: &'m [Operand],
}

impl<'m> Call<'m> {
    fn of(module: &Module, instruction: &'m Instruction) -> Result<Self, EmulatorError> {
        let (returns, rest) = match &instruction.operands[..] {
            [Operand::List(returns), rest @ ..] => (&returns[..], rest),
            rest => (&[][..], rest),
        };
        let (name, arguments) = match rest {
            [Operand::Symbol(name, 0)] => (name, &[][..]),
            [Operand::Symbol(name, 0), Operand::List(arguments)] => (name, &arguments[..]),
            [Operand::Register(_), ..] | [Operand::Symbol(..), Operand::List(_), _] => {
                return unsupported(
                    module,
                    instruction,
                    "an indirect call: its target is known only at run time",
                );
            }
            _ => return unsupported(module, instruction, "a call of this form"),
        };
        Ok(Call {
            name,
            returns,
            arguments,
        })
    }
}

fn unsupported<T>(module: &Module, instruction: &Instruction, reason: impl Into<String>) -> Result<T, EmulatorError> {
    Err(EmulatorError::UnsupportedInstruction {
        line: instruction.line,
        reason: reason.into(),
        text: module.line_text(instruction.line).to_owned(),
    })
}
