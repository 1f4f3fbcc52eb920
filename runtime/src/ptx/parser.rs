//! Tokens to a [`Module`]: recursive descent over PTX ISA chapters 4 ("Syntax"), 5 ("State spaces") and 11
//! ("Directives"). Registers and labels of `{ }` scopes are made unique here, so that nothing later knows of scopes.

use std::collections::BTreeMap;

use super::body::Body;
use super::lexer::{Token, TokenKind, line_of, tokens};
use super::{Function, Location, Module, ParseError, RegId, Register, Relocation, Space, Variable, type_bytes};

/// Nesting of scopes, vectors and lists beyond which a text is refused rather than recursed into.
pub(super) const MAX_NESTING: usize = 64;

/// Parses the text of a PTX module.
///
/// # Errors
/// The first line that does not follow the syntax, or that uses an undeclared register.
pub fn parse(text: &str) -> Result<Module, ParseError> {
    let mut parser = Parser {
        text,
        tokens: tokens(text)?,
        at: 0,
        location: None,
        files: BTreeMap::new(),
    };
    parser.module()
}

pub(super) struct Parser<'t> {
    pub(super) text: &'t str,
    pub(super) tokens: Vec<Token>,
    pub(super) at: usize,
    pub(super) location: Option<Location>,
    pub(super) files: BTreeMap<u32, String>,
}

/// What stands behind the `=` of a variable.
#[derive(Default)]
struct Initialiser {
    bytes: Vec<u8>,
    relocations: Vec<Relocation>,
}

pub(super) type Parsed<T> = Result<T, ParseError>;

impl Parser<'_> {
    pub(super) fn line(&self) -> u32 {
        let at = self.at.min(self.tokens.len().saturating_sub(1));
        self.tokens.get(at).map_or(1, |token| token.line)
    }

    pub(super) fn fail<T>(&self, message: impl Into<String>) -> Parsed<T> {
        self.fail_at(self.line(), message)
    }

    pub(super) fn fail_at<T>(&self, line: u32, message: impl Into<String>) -> Parsed<T> {
        Err(ParseError {
            line,
            message: message.into(),
            text: line_of(self.text, line),
        })
    }

    pub(super) fn peek(&self) -> Option<&TokenKind> {
        self.tokens.get(self.at).map(|token| &token.kind)
    }

    pub(super) fn peek_word(&self) -> Option<&str> {
        match self.peek() {
            Some(TokenKind::Word(word)) => Some(word),
            _ => None,
        }
    }

    pub(super) fn is_punct(&self, c: char) -> bool {
        self.peek() == Some(&TokenKind::Punct(c))
    }

    pub(super) fn eat(&mut self, c: char) -> bool {
        let found = self.is_punct(c);
        self.at += usize::from(found);
        found
    }

    pub(super) fn expect(&mut self, c: char) -> Parsed<()> {
        if self.eat(c) {
            Ok(())
        } else {
            self.fail(format!("expected `{c}` {}", self.found()))
        }
    }

    pub(super) fn found(&self) -> String {
        match self.peek() {
            None => "before the end of the text".into(),
            Some(TokenKind::Word(word)) => format!("where `{word}` stands"),
            Some(TokenKind::Punct(c)) => format!("where `{c}` stands"),
            Some(_) => "where a constant stands".into(),
        }
    }

    pub(super) fn word(&mut self, what: &str) -> Parsed<String> {
        match self.peek_word() {
            Some(word) => {
                let word = word.to_owned();
                self.at += 1;
                Ok(word)
            }
            None => self.fail(format!("expected {what} {}", self.found())),
        }
    }

    pub(super) fn int(&mut self) -> Parsed<u64> {
        let negative = self.eat('-');
        match self.peek() {
            Some(&TokenKind::Int(value)) => {
                self.at += 1;
                Ok(if negative { value.wrapping_neg() } else { value })
            }
            _ => self.fail(format!("expected an integer {}", self.found())),
        }
    }

    pub(super) fn int_u32(&mut self) -> Parsed<u32> {
        let value = self.int()?;
        match u32::try_from(value) {
            Ok(value) => Ok(value),
            Err(_) => self.fail(format!("{value} does not fit 32 bits")),
        }
    }

    /// Skips the rest of the line on which the previous token stands.
    pub(super) fn skip_line(&mut self, line: u32) {
        while self.tokens.get(self.at).is_some_and(|token| token.line == line) {
            self.at += 1;
        }
    }

    pub(super) fn skip_to_semicolon(&mut self) -> Parsed<()> {
        while !self.eat(';') {
            if self.peek().is_none() {
                return self.fail("expected `;` before the end of the text");
            }
            self.at += 1;
        }
        Ok(())
    }

    pub(super) fn skip_braces(&mut self) -> Parsed<()> {
        self.expect('{')?;
        let mut depth = 1usize;
        while depth > 0 {
            match self.peek() {
                None => return self.fail("a `{` that is never closed"),
                Some(TokenKind::Punct('{')) => depth += 1,
                Some(TokenKind::Punct('}')) => depth -= 1,
                Some(_) => {}
            }
            self.at += 1;
        }
        Ok(())
    }

    pub(super) fn module(&mut self) -> Parsed<Module> {
        let mut module = Module {
            version: (0, 0),
            target: String::new(),
            files: BTreeMap::new(),
            variables: Vec::new(),
            functions: Vec::new(),
            aliases: BTreeMap::new(),
            lines: self.text.lines().map(str::to_owned).collect(),
        };
        while self.peek().is_some() {
            if self.eat(';') {
                continue;
            }
            let line = self.line();
            match self.word("a directive")?.as_str() {
                ".version" => module.version = self.version()?,
                ".target" => {
                    module.target = self.word("a target such as sm_80")?;
                    while self.eat(',') {
                        self.word("a target option")?;
                    }
                }
                ".address_size" => {
                    let bits = self.int()?;
                    if bits != 64 {
                        return self.fail_at(line, format!(".address_size {bits}: only 64-bit modules can be run"));
                    }
                }
                ".file" => self.file(line)?,
                ".loc" => self.loc(line)?,
                ".pragma" => self.skip_to_semicolon()?,
                ".section" => {
                    self.word("a section name")?;
                    self.skip_braces()?;
                }
                _ => {
                    self.at -= 1;
                    self.declaration(&mut module)?;
                }
            }
        }
        if module.version == (0, 0) {
            return self.fail_at(1, "no .version directive: this is not PTX text");
        }
        module.files = std::mem::take(&mut self.files);
        Ok(module)
    }

    pub(super) fn version(&mut self) -> Parsed<(u32, u32)> {
        match self.peek() {
            Some(&TokenKind::F64(bits)) => {
                self.at += 1;
                let value = f64::from_bits(bits);
                Ok((value as u32, ((value.fract() * 10.0).round()) as u32))
            }
            Some(&TokenKind::Int(value)) => {
                self.at += 1;
                Ok((value as u32, 0))
            }
            _ => self.fail("expected a version such as 7.0"),
        }
    }

    pub(super) fn file(&mut self, line: u32) -> Parsed<()> {
        let index = self.int_u32()?;
        if let Some(TokenKind::Text(path)) = self.peek() {
            let path = path.clone();
            self.files.insert(index, path);
            self.skip_line(line);
            Ok(())
        } else {
            self.fail("expected the path of a .file")
        }
    }

    pub(super) fn loc(&mut self, line: u32) -> Parsed<()> {
        let (file, source_line, column) = (self.int_u32()?, self.int_u32()?, self.int_u32()?);
        self.location = (source_line != 0).then_some(Location {
            file,
            line: source_line,
            column,
        });
        self.skip_line(line);
        Ok(())
    }

    /// A function or variable at module scope, with its linkage.
    pub(super) fn declaration(&mut self, module: &mut Module) -> Parsed<()> {
        let mut external = false;
        loop {
            match self.word("a declaration")?.as_str() {
                ".visible" | ".weak" | ".common" => {}
                ".extern" => external = true,
                ".entry" => return self.function(module, true),
                ".func" => return self.function(module, false),
                ".alias" => {
                    let alias = self.word("the name of an alias")?;
                    self.expect(',')?;
                    let target = self.word("the function that it stands for")?;
                    module.aliases.insert(alias, target);
                    return self.expect(';');
                }
                ".shared" => return self.module_variable(module, Space::Shared, external),
                ".global" => return self.module_variable(module, Space::Global, external),
                ".const" => return self.module_variable(module, Space::Const, external),
                other => {
                    self.at -= 1;
                    return self.fail(format!("`{other}` is not a directive that is known at module scope"));
                }
            }
        }
    }

    pub(super) fn module_variable(&mut self, module: &mut Module, space: Space, external: bool) -> Parsed<()> {
        loop {
            let variable = self.variable(space, external)?;
            module.variables.push(variable);
            if !self.eat(',') {
                return self.expect(';');
            }
        }
    }

    /// `.align 16 .v2 .b8 name[4] = {…}` after its state space; stops before `,`, `;` or `)`.
    pub(super) fn variable(&mut self, space: Space, external: bool) -> Parsed<Variable> {
        let line = self.line();
        let (mut align, mut lanes, mut ty) = (None, 1u32, String::new());
        let name = loop {
            let word = self.word("a type or a name")?;
            match word.as_str() {
                ".align" => align = Some(self.int_u32()?),
                ".v2" => lanes = 2,
                ".v4" => lanes = 4,
                ".ptr" | ".global" | ".shared" | ".const" | ".local" | ".noalias" => {}
                ".attribute" => {
                    self.expect('(')?;
                    while !self.eat(')') {
                        if self.peek().is_none() {
                            return self.fail("an .attribute that is never closed");
                        }
                        self.at += 1;
                    }
                }
                other => match other.strip_prefix('.') {
                    Some(name) if type_bytes(name).is_some() || name == "texref" => ty = name.to_owned(),
                    Some(_) => {
                        self.at -= 1;
                        return self.fail(format!("`{other}` is not a type or attribute of a variable"));
                    }
                    None => break word,
                },
            }
        };
        let Some(scalar) = type_bytes(&ty) else {
            return self.fail_at(line, format!("the variable `{name}` has no type of known size"));
        };
        let element_bytes = scalar * lanes;
        let align = align.unwrap_or(element_bytes);
        if !align.is_power_of_two() || align > 1 << 16 {
            return self.fail_at(
                line,
                format!("alignment {align} of `{name}` is not a power of two up to 65536"),
            );
        }
        let mut elements = Some(1u64);
        while self.eat('[') {
            if self.eat(']') {
                elements = None;
                continue;
            }
            let extent = self.int()?;
            self.expect(']')?;
            elements = elements.and_then(|n| n.checked_mul(extent));
            if elements.is_none_or(|n| n > 1 << 36) {
                return self.fail_at(line, format!("`{name}` is larger than any memory"));
            }
        }
        let mut init = Initialiser::default();
        if self.eat('=') {
            self.initialiser(scalar, &mut init, 0)?;
        }
        let Initialiser {
            bytes: init,
            relocations,
        } = init;
        if elements.is_none() && !external && !init.is_empty() {
            // `name[] = {…}`: the initialiser gives the size (PTX ISA 9.0, 5.4.3, "Array declarations").
            elements = Some((init.len() as u64).div_ceil(u64::from(element_bytes)));
        }
        if elements.is_some_and(|n| (init.len() as u64) > n * u64::from(element_bytes)) {
            return self.fail_at(line, format!("the initialiser of `{name}` is longer than the variable"));
        }
        Ok(Variable {
            name,
            space,
            ty,
            element_bytes,
            elements,
            align,
            external,
            init,
            relocations,
            register: None,
            line,
        })
    }

    fn initialiser(&mut self, scalar: u32, init: &mut Initialiser, depth: usize) -> Parsed<()> {
        if depth > MAX_NESTING {
            return self.fail("braces nested too deeply");
        }
        if self.eat('{') {
            while !self.eat('}') {
                self.initialiser(scalar, init, depth + 1)?;
                if !self.eat(',') && !self.is_punct('}') {
                    return self.fail(format!("expected `,` or `}}` {}", self.found()));
                }
            }
            return Ok(());
        }
        if self.peek_word().is_some() {
            return self.relocation(scalar, init);
        }
        let at = self.at;
        let negative = self.eat('-');
        let bits = match self.peek() {
            Some(&TokenKind::F32(bits)) => {
                self.at += 1;
                u64::from(bits ^ (u32::from(negative) << 31))
            }
            Some(&TokenKind::F64(bits)) => {
                self.at += 1;
                let value = f64::from_bits(bits ^ (u64::from(negative) << 63));
                if scalar == 4 {
                    u64::from((value as f32).to_bits())
                } else {
                    value.to_bits()
                }
            }
            _ => {
                self.at = at;
                self.int()?
            }
        };
        init.bytes
            .extend_from_slice(&bits.to_le_bytes()[..(scalar as usize).min(8)]);
        Ok(())
    }

    /// `name`, `name+8` or `generic(name)`: an address, known when variables are laid out.
    fn relocation(&mut self, scalar: u32, init: &mut Initialiser) -> Parsed<()> {
        let mut symbol = self.word("the name of a variable")?;
        let generic = symbol == "generic" && self.eat('(');
        if generic {
            symbol = self.word("the name of a variable")?;
        }
        let mut addend = self.offset()?;
        if generic {
            self.expect(')')?;
            addend = addend.wrapping_add(self.offset()?);
        }
        if scalar != 8 {
            return self.fail(format!("the address of `{symbol}` takes 8 bytes, not {scalar}"));
        }
        init.relocations.push(Relocation {
            at: init.bytes.len() as u64,
            symbol,
            addend,
            generic,
        });
        init.bytes.extend_from_slice(&[0; 8]);
        Ok(())
    }

    pub(super) fn function(&mut self, module: &mut Module, is_entry: bool) -> Parsed<()> {
        let line = self.line();
        let mut registers = Vec::new();
        let returns = if self.is_punct('(') {
            self.params(&mut registers)?
        } else {
            Vec::new()
        };
        let name = self.word("the name of a function")?;
        let params = if self.is_punct('(') {
            self.params(&mut registers)?
        } else {
            Vec::new()
        };
        let mut function = Function {
            name,
            is_entry,
            returns,
            params,
            max_threads: None,
            required_threads: None,
            min_blocks_per_sm: None,
            registers,
            variables: Vec::new(),
            branch_targets: BTreeMap::new(),
            body: Vec::new(),
            line,
        };
        loop {
            if self.eat(';') {
                return Ok(()); // a declaration without a body
            }
            if self.is_punct('{') {
                break;
            }
            match self.word("a directive or a body")?.as_str() {
                ".maxntid" => function.max_threads = Some(self.extents()?),
                ".reqntid" => function.required_threads = Some(self.extents()?),
                ".minnctapersm" => function.min_blocks_per_sm = Some(self.int_u32()?),
                ".maxnreg" | ".maxnctapersm" | ".maxclusterrank" => {
                    self.int()?;
                }
                ".explicitcluster" | ".noreturn" | ".blocksareclusters" | ".unique" => {}
                ".reqnctapercluster" => {
                    self.extents()?;
                }
                ".pragma" => self.skip_to_semicolon()?,
                other => {
                    self.at -= 1;
                    return self.fail(format!("`{other}` is not a directive of a function"));
                }
            }
        }
        self.location = None;
        let mut body = Body {
            function,
            scopes: Vec::new(),
            next_scope: 0,
        };
        self.expect('{')?;
        self.enter(&mut body);
        body.declare_parameters();
        while !body.scopes.is_empty() {
            self.statement(&mut body)?;
        }
        module.functions.push(body.function);
        Ok(())
    }

    fn params(&mut self, registers: &mut Vec<Register>) -> Parsed<Vec<Variable>> {
        self.expect('(')?;
        let mut params = Vec::new();
        while !self.eat(')') {
            match self.word("`.param` or `.reg`")?.as_str() {
                ".param" => params.push(self.variable(Space::Param, false)?),
                ".reg" => {
                    let mut param = self.variable(Space::Param, false)?;
                    param.register = Some(RegId(registers.len() as u32));
                    registers.push(Register {
                        name: param.name.clone(),
                        ty: param.ty.clone(),
                    });
                    params.push(param);
                }
                other => return self.fail(format!("expected a parameter where `{other}` stands")),
            }
            if !self.eat(',') && !self.is_punct(')') {
                return self.fail(format!("expected `,` or `)` {}", self.found()));
            }
        }
        Ok(params)
    }

    pub(super) fn extents(&mut self) -> Parsed<[u32; 3]> {
        let mut extents = [self.int_u32()?, 1, 1];
        for extent in &mut extents[1..] {
            if !self.eat(',') {
                break;
            }
            *extent = self.int_u32()?;
        }
        Ok(extents)
    }
}
