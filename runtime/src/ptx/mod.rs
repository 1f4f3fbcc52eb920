//! PTX text, parsed: modules with entries, variables and instructions whose registers are already numbered.
//!
//! ```text
//! @%p1 ld.global.v2.b32 {%r1, %r2}, [%rd1+8];
//!   -> Instruction { guard: Some((p1, false)), opcode: "ld.global.v2.b32",
//!                    operands: [Vector([r1, r2]), Address { base: rd1, offset: 8 }], line, location }
//! ```
//!
//! The parser knows the syntax (PTX ISA 9.0, chapters 4 to 6) and no opcode: what an opcode means, and whether the
//! emulator can run it, is decided by [`crate::emulator::Program`]. It never panics, whatever it reads.

mod body;
mod lexer;
mod parser;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

pub use parser::parse;

/// PTX text that is not a module.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("PTX line {line}: {message}; the line reads `{text}`")]
pub struct ParseError {
    /// Line of the PTX text, from 1.
    pub line: u32,
    /// What is wrong, and what was expected.
    pub message: String,
    /// The line itself.
    pub text: String,
}

/// A PTX module.
#[derive(Clone, Debug)]
pub struct Module {
    /// `.version` major and minor.
    pub version: (u32, u32),
    /// The first word of `.target`, e.g. `sm_80`.
    pub target: String,
    /// `.file` table: index to path.
    pub files: BTreeMap<u32, String>,
    /// Module-scope variables: `.global`, `.const`, static and `.extern` `.shared`.
    pub variables: Vec<Variable>,
    /// Entries and device functions that have a body.
    pub functions: Vec<Function>,
    /// `.alias`: another name of a function.
    pub aliases: BTreeMap<String, String>,
    /// The lines of the text, for messages.
    pub lines: Arc<[String]>,
}

impl Module {
    /// The entry of that name.
    pub fn entry(&self, name: &str) -> Option<&Function> {
        self.functions
            .iter()
            .find(|function| function.is_entry && function.name == name)
    }

    /// The device function of that name or alias, where it has a body.
    pub fn device_function(&self, name: &str) -> Option<&Function> {
        let name = self.aliases.get(name).map_or(name, String::as_str);
        self.functions.iter().find(|function| function.name == name)
    }

    /// Names of all entries, in textual order.
    pub fn entry_names(&self) -> Vec<&str> {
        self.functions
            .iter()
            .filter(|f| f.is_entry)
            .map(|f| f.name.as_str())
            .collect()
    }

    /// A line of the text (from 1), trimmed; empty beyond the end.
    pub fn line_text(&self, line: u32) -> &str {
        (line as usize)
            .checked_sub(1)
            .and_then(|index| self.lines.get(index))
            .map_or("", |text| text.trim())
    }

    /// `file:line:column` of a `.loc`.
    pub fn location_text(&self, location: Location) -> String {
        let file = self.files.get(&location.file).map_or("?", String::as_str);
        format!("{file}:{}:{}", location.line, location.column)
    }
}

/// A state space (PTX ISA, "State spaces").
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Space {
    /// Kernel and function parameters.
    Param,
    /// Device memory.
    Global,
    /// Read-only device memory.
    Const,
    /// Memory of a block.
    Shared,
    /// Memory of a thread.
    Local,
    /// An address whose window decides.
    Generic,
}

impl fmt::Display for Space {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Space::Param => "param",
            Space::Global => "global",
            Space::Const => "const",
            Space::Shared => "shared",
            Space::Local => "local",
            Space::Generic => "generic",
        })
    }
}

/// A variable in memory, or a parameter.
#[derive(Clone, Debug, PartialEq)]
pub struct Variable {
    /// Its name.
    pub name: String,
    /// Where it lives.
    pub space: Space,
    /// Element type as written, without the dot: `b8`, `u64`, `f32` …
    pub ty: String,
    /// Bytes of one element (vector types included).
    pub element_bytes: u32,
    /// Elements; `None` for `name[]`, whose size the launch decides.
    pub elements: Option<u64>,
    /// Alignment in bytes.
    pub align: u32,
    /// `.extern`.
    pub external: bool,
    /// Bytes of the initialiser (the rest is zero).
    pub init: Vec<u8>,
    /// Addresses within the initialiser.
    pub relocations: Vec<Relocation>,
    /// For a `.reg` parameter of a device function: its register.
    pub register: Option<RegId>,
    /// Line of the PTX text.
    pub line: u32,
}

/// The address of a variable in the initialiser of another one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Relocation {
    /// Byte of the initialiser at which its 8 bytes start.
    pub at: u64,
    /// Whose address.
    pub symbol: String,
    /// Bytes added.
    pub addend: i64,
    /// `generic(…)`: the generic address.
    pub generic: bool,
}

impl Variable {
    /// Bytes; 0 where the launch decides.
    pub fn bytes(&self) -> u64 {
        self.elements.unwrap_or(0).saturating_mul(u64::from(self.element_bytes))
    }
}

/// An entry or device function.
#[derive(Clone, Debug)]
pub struct Function {
    /// Its name.
    pub name: String,
    /// `.entry` (callable from a host) or `.func`.
    pub is_entry: bool,
    /// Return parameters of a device function, in order.
    pub returns: Vec<Variable>,
    /// Parameters in order.
    pub params: Vec<Variable>,
    /// `.maxntid`, one to three extents.
    pub max_threads: Option<[u32; 3]>,
    /// `.reqntid`, one to three extents.
    pub required_threads: Option<[u32; 3]>,
    /// `.minnctapersm`.
    pub min_blocks_per_sm: Option<u32>,
    /// Registers; a [`RegId`] is an index here.
    pub registers: Vec<Register>,
    /// `.shared`, `.local` and `.param` variables declared in the body.
    pub variables: Vec<Variable>,
    /// `.branchtargets` by the label of the table.
    pub branch_targets: BTreeMap<String, Vec<String>>,
    /// The body.
    pub body: Vec<Statement>,
    /// Line of the PTX text on which it starts.
    pub line: u32,
}

/// A register of a function, by number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RegId(pub u32);

/// A register that the body uses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Register {
    /// Its name with the percent sign.
    pub name: String,
    /// Its type without the dot: `b32`, `f32`, `pred` …
    pub ty: String,
}

/// A `.loc`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Location {
    /// Index in [`Module::files`].
    pub file: u32,
    /// Line of the source.
    pub line: u32,
    /// Column of the source.
    pub column: u32,
}

/// One element of a body.
#[derive(Clone, Debug, PartialEq)]
pub enum Statement {
    /// A label (made unique where scopes repeat a name).
    Label(String),
    /// An instruction.
    Instruction(Instruction),
}

/// One instruction.
#[derive(Clone, Debug, PartialEq)]
pub struct Instruction {
    /// `@%p` or `@!%p`: the register, and whether it is negated.
    pub guard: Option<(RegId, bool)>,
    /// The opcode with all its modifiers.
    pub opcode: String,
    /// Operands in order.
    pub operands: Vec<Operand>,
    /// Line of the PTX text.
    pub line: u32,
    /// The `.loc` in effect.
    pub location: Option<Location>,
}

/// One operand.
#[derive(Clone, Debug, PartialEq)]
pub enum Operand {
    /// A register.
    Register(RegId),
    /// `!%p`.
    Not(RegId),
    /// `%p|%q`: two destinations; `None` is the sink `_`.
    Pair(Option<RegId>, Option<RegId>),
    /// The sink `_`.
    Sink,
    /// An integer constant (two's complement).
    Int(u64),
    /// A `0f` constant: bits of a binary32.
    Float32(u32),
    /// A `0d` or decimal constant: bits of a binary64.
    Float64(u64),
    /// A special register, without the percent sign: `tid.x`, `laneid` …
    Special(String),
    /// A variable, label or function, with an offset in bytes (`sym+8`).
    Symbol(String, i64),
    /// `{a, b}`.
    Vector(Vec<Operand>),
    /// `[base+offset]`; a constant base is in the offset alone.
    Address {
        /// Register or variable.
        base: AddressBase,
        /// Bytes added.
        offset: i64,
    },
    /// `(a, b)` of a call.
    List(Vec<Operand>),
}

/// What an address starts from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AddressBase {
    /// A register.
    Register(RegId),
    /// A variable or parameter.
    Symbol(String),
    /// Nothing: the offset is the address.
    Absolute,
}

/// Bytes of a fundamental type (`b32`, `f16x2`, `pred` …), without the dot; `None` for an unknown name.
pub fn type_bytes(ty: &str) -> Option<u32> {
    Some(match ty {
        "b8" | "u8" | "s8" => 1,
        "b16" | "u16" | "s16" | "f16" | "bf16" => 2,
        "b32" | "u32" | "s32" | "f32" | "f16x2" | "bf16x2" | "tf32" | "pred" => 4,
        "b64" | "u64" | "s64" | "f64" | "f32x2" => 8,
        "b128" => 16,
        _ => return None,
    })
}
