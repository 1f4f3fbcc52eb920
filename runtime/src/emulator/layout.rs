//! Where registers and variables live: dense register numbers, and an address for every variable.

use std::collections::{HashMap, HashSet};

use super::error::EmulatorError;
use super::inline::Frame;
use super::memory::{LOCAL_WINDOW, SHARED_WINDOW, global_base};
use super::program::Reg;
use crate::ptx::{AddressBase, Function, Module, Operand, Space, Statement, Variable};

/// Largest shared or local memory that is laid out, in bytes: beyond every device, and safe to allocate.
const MAX_LAYOUT: u64 = 1 << 24;
/// Largest module-scope variable, in bytes.
const MAX_GLOBAL: u64 = 1 << 32;

/// Where a symbol lives.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    pub space: Space,
    pub address: u64,
    /// A `.param` variable of a device function or of a call: it lives in local memory.
    pub param: bool,
}

/// One function that the entry reaches.
pub(super) struct FunctionLayout<'m> {
    pub function: &'m Function,
    pub registers: Vec<Reg>,
    symbols: HashMap<&'m str, Place>,
}

/// Registers and variables of an entry and of all that it calls.
pub(super) struct Layout<'m> {
    pub functions: Vec<FunctionLayout<'m>>,
    /// Registers of up to 32 bits, 64-bit registers, predicates.
    pub counts: [u32; 3],
    pub static_shared: u64,
    pub dynamic_shared: u64,
    pub local: u64,
    pub globals: Vec<(String, Vec<u8>)>,
    symbols: HashMap<&'m str, Place>,
    index: HashMap<&'m str, usize>,
}

impl<'m> Layout<'m> {
    /// Lays out the functions that an entry reaches, itself first. `params`: the places of its parameters.
    ///
    /// # Errors
    /// A register type that is not known, or memory beyond every device.
    pub(super) fn new(
        module: &'m Module,
        functions: &[&'m Function],
        params: HashMap<&'m str, Place>,
    ) -> Result<Self, EmulatorError> {
        let mut layout = Layout {
            functions: Vec::new(),
            counts: [0; 3],
            static_shared: 0,
            dynamic_shared: 0,
            local: 0,
            globals: Vec::new(),
            symbols: HashMap::new(),
            index: HashMap::new(),
        };
        let mut params = Some(params);
        for function in functions {
            let registers = layout.number(function)?;
            layout.index.insert(&function.name, layout.functions.len());
            layout.functions.push(FunctionLayout {
                function,
                registers,
                symbols: params.take().unwrap_or_default(),
            });
        }
        layout.variables(module, functions)?;
        layout.relocate(module, &mentioned(functions))?;
        Ok(layout)
    }

    pub(super) fn index_of(&self, function: &str) -> Option<usize> {
        self.index.get(function).copied()
    }

    /// The variable that a name means in a frame.
    pub(super) fn place(&self, frame: &Frame<'_>, name: &str) -> Option<Place> {
        frame
            .bindings
            .get(name)
            .or_else(|| self.functions[frame.function].symbols.get(name))
            .or_else(|| self.symbols.get(name))
            .copied()
    }

    /// A predicate of its own, in no function.
    pub(super) fn extra_predicate(&mut self) -> Reg {
        let register = Reg::Pred(self.counts[2]);
        self.counts[2] += 1;
        register
    }

    fn number(&mut self, function: &Function) -> Result<Vec<Reg>, EmulatorError> {
        let mut registers = Vec::new();
        for register in &function.registers {
            let (kind, make): (usize, fn(u32) -> Reg) = match super::decode::type_bits(&register.ty) {
                Some(1) => (2, Reg::Pred),
                Some(64) => (1, Reg::R64),
                Some(128) | None => {
                    return Err(EmulatorError::UnsupportedInstruction {
                        line: function.line,
                        reason: format!("a register of type .{}", register.ty),
                        text: register.name.clone(),
                    });
                }
                Some(_) => (0, Reg::R32),
            };
            registers.push(make(self.counts[kind]));
            self.counts[kind] += 1;
        }
        Ok(registers)
    }

    /// Gives every variable its address. Dynamic shared memory starts behind the static one.
    fn variables(&mut self, module: &'m Module, functions: &[&'m Function]) -> Result<(), EmulatorError> {
        let used = mentioned(functions);
        let module_variables = module.variables.iter().map(|variable| (None, variable));
        let own = functions.iter().enumerate().flat_map(|(index, function)| {
            let formals = if function.is_entry {
                [].iter().chain(&[])
            } else {
                function.returns.iter().chain(&function.params)
            };
            let formals = formals.filter(|formal| formal.register.is_none());
            formals
                .chain(&function.variables)
                .map(move |variable| (Some(index), variable))
        });
        let all: Vec<(Option<usize>, &'m Variable)> = module_variables.chain(own).collect();
        let is_dynamic = |v: &Variable| v.space == Space::Shared && (v.external || v.elements.is_none());
        let mut dynamic_align = 16;
        for (scope, variable) in &all {
            let align = u64::from(variable.align);
            let place = match variable.space {
                Space::Shared if is_dynamic(variable) => {
                    dynamic_align = dynamic_align.max(align);
                    continue;
                }
                // As ptxas does: a module's shared variables take room only in the entries that mention them.
                Space::Shared if scope.is_none() && !used.contains(variable.name.as_str()) => continue,
                Space::Shared => allocate(&mut self.static_shared, variable, Space::Shared),
                Space::Local | Space::Param => allocate(&mut self.local, variable, Space::Local),
                Space::Global | Space::Const | Space::Generic => {
                    if variable.bytes() > MAX_GLOBAL {
                        return Err(EmulatorError::BadLaunch {
                            message: format!("the variable `{}` takes {} bytes", variable.name, variable.bytes()),
                        });
                    }
                    let address = global_base(self.globals.len());
                    let mut data = variable.init.clone();
                    data.resize(variable.bytes() as usize, 0);
                    self.globals.push((variable.name.clone(), data));
                    Place {
                        space: Space::Global,
                        address,
                        param: false,
                    }
                }
            };
            self.insert(*scope, variable, place);
        }
        self.dynamic_shared = self.static_shared.next_multiple_of(dynamic_align);
        for (scope, variable) in all.iter().filter(|(_, variable)| is_dynamic(variable)) {
            let place = Place {
                space: Space::Shared,
                address: self.dynamic_shared,
                param: false,
            };
            self.insert(*scope, variable, place);
        }
        for (what, bytes) in [("shared", self.dynamic_shared), ("local", self.local)] {
            if bytes > MAX_LAYOUT {
                let name = functions.first().map_or("", |entry| entry.name.as_str());
                return Err(EmulatorError::BadLaunch {
                    message: format!("`{name}` declares {bytes} bytes of {what} memory"),
                });
            }
        }
        Ok(())
    }

    fn insert(&mut self, scope: Option<usize>, variable: &'m Variable, place: Place) {
        let symbols = match scope {
            None => &mut self.symbols,
            Some(function) => &mut self.functions[function].symbols,
        };
        symbols.insert(&variable.name, place);
    }

    /// Writes addresses into the initialisers that mention variables.
    fn relocate(&mut self, module: &Module, used: &HashSet<&str>) -> Result<(), EmulatorError> {
        for variable in &module.variables {
            let Some(own) = self.symbols.get(variable.name.as_str()).copied() else {
                continue;
            };
            for relocation in &variable.relocations {
                let address = match self.symbols.get(relocation.symbol.as_str()) {
                    Some(target) => {
                        let window = if target.space == Space::Shared && relocation.generic {
                            SHARED_WINDOW
                        } else {
                            0
                        };
                        (target.address + window).wrapping_add_signed(relocation.addend)
                    }
                    None if used.contains(variable.name.as_str()) => {
                        return Err(EmulatorError::UnsupportedInstruction {
                            line: variable.line,
                            reason: format!("the initialiser mentions `{}`, which is no variable", relocation.symbol),
                            text: module.line_text(variable.line).to_owned(),
                        });
                    }
                    // A table that this entry does not touch, of functions most likely: no address is right.
                    None => u64::MAX,
                };
                let data = (0..self.globals.len()).find(|&index| global_base(index) == own.address);
                let at = relocation.at as usize;
                if let Some(bytes) = data.and_then(|index| self.globals[index].1.get_mut(at..at + 8)) {
                    bytes.copy_from_slice(&address.to_le_bytes());
                }
            }
        }
        Ok(())
    }
}

impl Place {
    /// Its address as `mov` gives it. `.param` variables in local memory are told apart by their window, so that
    /// `ld.param` through a register finds them.
    pub(super) fn taken(&self) -> u64 {
        self.address + if self.param { LOCAL_WINDOW } else { 0 }
    }
}

fn allocate(end: &mut u64, variable: &Variable, space: Space) -> Place {
    let address = end.next_multiple_of(u64::from(variable.align));
    *end = address.saturating_add(variable.bytes()).min(1 << 40);
    Place {
        space,
        address,
        param: variable.space == Space::Param,
    }
}

/// Names that the instructions of some functions mention.
fn mentioned<'m>(functions: &[&'m Function]) -> HashSet<&'m str> {
    fn visit<'m>(operand: &'m Operand, names: &mut HashSet<&'m str>) {
        match operand {
            Operand::Symbol(name, _)
            | Operand::Address {
                base: AddressBase::Symbol(name),
                ..
            } => {
                names.insert(name);
            }
            Operand::Vector(items) | Operand::List(items) => items.iter().for_each(|item| visit(item, names)),
            _ => {}
        }
    }
    let mut names = HashSet::new();
    for statement in functions.iter().flat_map(|function| &function.body) {
        if let Statement::Instruction(instruction) = statement {
            instruction
                .operands
                .iter()
                .for_each(|operand| visit(operand, &mut names));
        }
    }
    names
}
