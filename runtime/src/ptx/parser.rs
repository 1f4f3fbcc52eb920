//! Tokens to a [`Module`]: recursive descent over PTX ISA chapters 4 ("Syntax"), 5 ("State spaces") and 11
//! ("Directives"). Registers and labels of `{ }` scopes are made unique here, so that nothing later knows of scopes.

use std::collections::{BTreeMap, HashMap};

use super::lexer::{Token, TokenKind, line_of, tokens};
use super::{
    AddressBase, Function, Instruction, Location, Module, Operand, ParseError, RegId, Register, Space, Statement,
    Variable, type_bytes,
};

/// Nesting of scopes, vectors and lists beyond which a text is refused rather than recursed into.
const MAX_NESTING: usize = 64;

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

struct Parser<'t> {
    text: &'t str,
    tokens: Vec<Token>,
    at: usize,
    location: Option<Location>,
    files: BTreeMap<u32, String>,
}

/// Registers and labels of one `{ }`.
#[derive(Default)]
struct Scope {
    id: u32,
    /// Exact names and `%r<n>` ranges (prefix to count and type).
    exact: HashMap<String, RegId>,
    ranges: HashMap<String, (u64, String)>,
    labels: Vec<String>,
}

/// A function while its body is read.
struct Body {
    function: Function,
    scopes: Vec<Scope>,
    next_scope: u32,
}

type Parsed<T> = Result<T, ParseError>;

impl Parser<'_> {
    fn line(&self) -> u32 {
        let at = self.at.min(self.tokens.len().saturating_sub(1));
        self.tokens.get(at).map_or(1, |token| token.line)
    }

    fn fail<T>(&self, message: impl Into<String>) -> Parsed<T> {
        self.fail_at(self.line(), message)
    }

    fn fail_at<T>(&self, line: u32, message: impl Into<String>) -> Parsed<T> {
        Err(ParseError {
            line,
            message: message.into(),
            text: line_of(self.text, line),
        })
    }

    fn peek(&self) -> Option<&TokenKind> {
        self.tokens.get(self.at).map(|token| &token.kind)
    }

    fn peek_word(&self) -> Option<&str> {
        match self.peek() {
            Some(TokenKind::Word(word)) => Some(word),
            _ => None,
        }
    }

    fn is_punct(&self, c: char) -> bool {
        self.peek() == Some(&TokenKind::Punct(c))
    }

    fn eat(&mut self, c: char) -> bool {
        let found = self.is_punct(c);
        self.at += usize::from(found);
        found
    }

    fn expect(&mut self, c: char) -> Parsed<()> {
        if self.eat(c) {
            Ok(())
        } else {
            self.fail(format!("expected `{c}` {}", self.found()))
        }
    }

    fn found(&self) -> String {
        match self.peek() {
            None => "before the end of the text".into(),
            Some(TokenKind::Word(word)) => format!("where `{word}` stands"),
            Some(TokenKind::Punct(c)) => format!("where `{c}` stands"),
            Some(_) => "where a constant stands".into(),
        }
    }

    fn word(&mut self, what: &str) -> Parsed<String> {
        match self.peek_word() {
            Some(word) => {
                let word = word.to_owned();
                self.at += 1;
                Ok(word)
            }
            None => self.fail(format!("expected {what} {}", self.found())),
        }
    }

    fn int(&mut self) -> Parsed<u64> {
        let negative = self.eat('-');
        match self.peek() {
            Some(&TokenKind::Int(value)) => {
                self.at += 1;
                Ok(if negative { value.wrapping_neg() } else { value })
            }
            _ => self.fail(format!("expected an integer {}", self.found())),
        }
    }

    fn int_u32(&mut self) -> Parsed<u32> {
        let value = self.int()?;
        match u32::try_from(value) {
            Ok(value) => Ok(value),
            Err(_) => self.fail(format!("{value} does not fit 32 bits")),
        }
    }

    /// Skips the rest of the line on which the previous token stands.
    fn skip_line(&mut self, line: u32) {
        while self.tokens.get(self.at).is_some_and(|token| token.line == line) {
            self.at += 1;
        }
    }

    fn skip_to_semicolon(&mut self) -> Parsed<()> {
        while !self.eat(';') {
            if self.peek().is_none() {
                return self.fail("expected `;` before the end of the text");
            }
            self.at += 1;
        }
        Ok(())
    }

    fn skip_braces(&mut self) -> Parsed<()> {
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

    fn module(&mut self) -> Parsed<Module> {
        let mut module = Module {
            version: (0, 0),
            target: String::new(),
            files: BTreeMap::new(),
            variables: Vec::new(),
            functions: Vec::new(),
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

    fn version(&mut self) -> Parsed<(u32, u32)> {
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

    fn file(&mut self, line: u32) -> Parsed<()> {
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

    fn loc(&mut self, line: u32) -> Parsed<()> {
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
    fn declaration(&mut self, module: &mut Module) -> Parsed<()> {
        let mut external = false;
        loop {
            match self.word("a declaration")?.as_str() {
                ".visible" | ".weak" | ".common" => {}
                ".extern" => external = true,
                ".entry" => return self.function(module, true),
                ".func" => return self.function(module, false),
                ".alias" => return self.skip_to_semicolon(),
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

    fn module_variable(&mut self, module: &mut Module, space: Space, external: bool) -> Parsed<()> {
        loop {
            let variable = self.variable(space, external)?;
            module.variables.push(variable);
            if !self.eat(',') {
                return self.expect(';');
            }
        }
    }

    /// `.align 16 .v2 .b8 name[4] = {…}` after its state space; stops before `,`, `;` or `)`.
    fn variable(&mut self, space: Space, external: bool) -> Parsed<Variable> {
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
        let mut init = Vec::new();
        if self.eat('=') {
            self.initialiser(scalar, &mut init, 0)?;
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
            line,
        })
    }

    fn initialiser(&mut self, scalar: u32, init: &mut Vec<u8>, depth: usize) -> Parsed<()> {
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
        let negative = self.is_punct('-');
        let bits = match (self.peek(), negative) {
            (Some(&TokenKind::F32(bits)), _) => {
                self.at += 1;
                u64::from(bits)
            }
            (Some(&TokenKind::F64(bits)), _) => {
                self.at += 1;
                if scalar == 4 {
                    u64::from((f64::from_bits(bits) as f32).to_bits())
                } else {
                    bits
                }
            }
            _ => self.int()?,
        };
        init.extend_from_slice(&bits.to_le_bytes()[..(scalar as usize).min(8)]);
        Ok(())
    }

    fn function(&mut self, module: &mut Module, is_entry: bool) -> Parsed<()> {
        let line = self.line();
        if self.is_punct('(') {
            self.params()?; // return parameters: the body writes them by name
        }
        let name = self.word("the name of a function")?;
        let params = if self.is_punct('(') { self.params()? } else { Vec::new() };
        let mut function = Function {
            name,
            is_entry,
            params,
            max_threads: None,
            required_threads: None,
            min_blocks_per_sm: None,
            registers: Vec::new(),
            variables: Vec::new(),
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
                ".explicitcluster" | ".noreturn" | ".blocksareclusters" => {}
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
        while !body.scopes.is_empty() {
            self.statement(&mut body)?;
        }
        module.functions.push(body.function);
        Ok(())
    }

    fn params(&mut self) -> Parsed<Vec<Variable>> {
        self.expect('(')?;
        let mut params = Vec::new();
        while !self.eat(')') {
            match self.word("`.param` or `.reg`")?.as_str() {
                ".param" | ".reg" => params.push(self.variable(Space::Param, false)?),
                other => return self.fail(format!("expected a parameter where `{other}` stands")),
            }
            if !self.eat(',') && !self.is_punct(')') {
                return self.fail(format!("expected `,` or `)` {}", self.found()));
            }
        }
        Ok(params)
    }

    fn extents(&mut self) -> Parsed<[u32; 3]> {
        let mut extents = [self.int_u32()?, 1, 1];
        for extent in &mut extents[1..] {
            if !self.eat(',') {
                break;
            }
            *extent = self.int_u32()?;
        }
        Ok(extents)
    }

    /// Opens a scope; `self.at` is behind its `{`.
    fn enter(&mut self, body: &mut Body) {
        let mut labels = Vec::new();
        let (mut depth, mut at) = (1usize, self.at);
        while let Some(token) = self.tokens.get(at) {
            match &token.kind {
                TokenKind::Punct('{') => depth += 1,
                TokenKind::Punct('}') => depth -= 1,
                TokenKind::Word(word)
                    if depth == 1
                        && self
                            .tokens
                            .get(at + 1)
                            .is_some_and(|next| next.kind == TokenKind::Punct(':')) =>
                {
                    labels.push(word.clone());
                }
                _ => {}
            }
            if depth == 0 {
                break;
            }
            at += 1;
        }
        body.scopes.push(Scope {
            id: body.next_scope,
            labels,
            ..Scope::default()
        });
        body.next_scope += 1;
    }

    fn statement(&mut self, body: &mut Body) -> Parsed<()> {
        let line = self.line();
        if self.eat(';') {
            return Ok(());
        }
        if self.eat('}') {
            body.scopes.pop();
            return Ok(());
        }
        if self.eat('{') {
            if body.scopes.len() > MAX_NESTING {
                return self.fail("scopes nested too deeply");
            }
            self.enter(body);
            return Ok(());
        }
        let mut guard = None;
        if self.eat('@') {
            let negated = self.eat('!');
            let name = self.word("a predicate register")?;
            let Some(register) = body.register(&name) else {
                return self.fail_at(line, format!("the predicate `{name}` is not declared"));
            };
            guard = Some((register, negated));
        }
        let word = self.word("an instruction")?;
        if guard.is_none() {
            if self.eat(':') {
                if self
                    .peek_word()
                    .is_some_and(|w| matches!(w, ".branchtargets" | ".calltargets" | ".callprototype"))
                {
                    return self.skip_to_semicolon();
                }
                let label = body.label(&word);
                body.function.body.push(Statement::Label(label));
                return Ok(());
            }
            if word.starts_with('.') {
                return self.body_directive(body, &word, line);
            }
        }
        let mut operands = Vec::new();
        while !self.eat(';') {
            operands.push(self.operand(body, 0)?);
            // A call writes its return list, the callee and its arguments with or without commas; others need them.
            if !self.eat(',') && !self.is_punct(';') {
                return self.fail(format!("expected `,` or `;` {}", self.found()));
            }
        }
        let location = self.location;
        body.function.body.push(Statement::Instruction(Instruction {
            guard,
            opcode: word,
            operands,
            line,
            location,
        }));
        Ok(())
    }

    fn body_directive(&mut self, body: &mut Body, directive: &str, line: u32) -> Parsed<()> {
        let space = match directive {
            ".reg" => return self.registers(body),
            ".loc" => return self.loc(line),
            ".file" => return self.file(line),
            ".pragma" => return self.skip_to_semicolon(),
            ".section" => {
                self.word("a section name")?;
                return self.skip_braces();
            }
            ".shared" => Space::Shared,
            ".local" => Space::Local,
            ".param" => Space::Param,
            ".global" => Space::Global,
            ".const" => Space::Const,
            other => return self.fail_at(line, format!("`{other}` is not a directive that is known in a body")),
        };
        loop {
            let variable = self.variable(space, false)?;
            body.function.variables.push(variable);
            if !self.eat(',') {
                return self.expect(';');
            }
        }
    }

    fn registers(&mut self, body: &mut Body) -> Parsed<()> {
        let mut ty = String::new();
        loop {
            let word = self.word("a register type or name")?;
            if let Some(name) = word.strip_prefix('.') {
                if type_bytes(name).is_none() {
                    return self.fail(format!(
                        "`{word}` is not a register type (vector registers are not supported)"
                    ));
                }
                ty = name.to_owned();
                continue;
            }
            if ty.is_empty() {
                return self.fail(format!("the register `{word}` has no type"));
            }
            let count = if self.eat('<') {
                let count = self.int()?;
                self.expect('>')?;
                Some(count)
            } else {
                None
            };
            body.declare(&word, count, &ty);
            if !self.eat(',') {
                return self.expect(';');
            }
        }
    }

    fn operand(&mut self, body: &mut Body, depth: usize) -> Parsed<Operand> {
        if depth > MAX_NESTING {
            return self.fail("operands nested too deeply");
        }
        if self.eat('{') {
            return Ok(Operand::Vector(self.list(body, '}', depth)?));
        }
        if self.eat('(') {
            return Ok(Operand::List(self.list(body, ')', depth)?));
        }
        if self.eat('[') {
            let address = self.address(body)?;
            if self.eat(',') {
                let mut parts = vec![address];
                parts.extend(self.list(body, ']', depth)?);
                return Ok(Operand::List(parts));
            }
            self.expect(']')?;
            return Ok(address);
        }
        if self.eat('!') {
            let name = self.word("a predicate register")?;
            return match body.register(&name) {
                Some(register) => Ok(Operand::Not(register)),
                None => self.fail(format!("the predicate `{name}` is not declared")),
            };
        }
        let negative = self.eat('-');
        match self.peek().cloned() {
            Some(TokenKind::Int(value)) => {
                self.at += 1;
                Ok(Operand::Int(if negative { value.wrapping_neg() } else { value }))
            }
            Some(TokenKind::F32(bits)) => {
                self.at += 1;
                Ok(Operand::Float32(if negative { bits ^ (1 << 31) } else { bits }))
            }
            Some(TokenKind::F64(bits)) => {
                self.at += 1;
                Ok(Operand::Float64(if negative { bits ^ (1 << 63) } else { bits }))
            }
            Some(TokenKind::Word(name)) if !negative => {
                self.at += 1;
                self.named_operand(body, name)
            }
            _ => self.fail(format!("expected an operand {}", self.found())),
        }
    }

    fn named_operand(&mut self, body: &mut Body, name: String) -> Parsed<Operand> {
        let single = if name == "_" { None } else { body.register(&name) };
        if self.eat('|') {
            let second = self.word("the second destination")?;
            let other = if second == "_" { None } else { body.register(&second) };
            if (single.is_none() && name != "_") || (other.is_none() && second != "_") {
                return self.fail(format!("`{name}|{second}` names an undeclared register"));
            }
            return Ok(Operand::Pair(single, other));
        }
        if let Some(register) = single {
            return Ok(Operand::Register(register));
        }
        if name == "_" {
            return Ok(Operand::Sink);
        }
        if let Some(special) = name.strip_prefix('%') {
            if is_special(special) {
                return Ok(Operand::Special(special.to_owned()));
            }
            return self.fail(format!("the register `{name}` is not declared"));
        }
        if name == "WARP_SZ" {
            return Ok(Operand::Int(32));
        }
        let offset = self.offset()?;
        Ok(Operand::Symbol(body.label(&name), offset))
    }

    /// Any number of `+8`, `-8`, `+-8`.
    fn offset(&mut self) -> Parsed<i64> {
        let mut offset = 0i64;
        loop {
            // The sign of `-8` is the number's own.
            if !self.eat('+') && !self.is_punct('-') {
                return Ok(offset);
            }
            offset = offset.wrapping_add(self.int()? as i64);
        }
    }

    fn list(&mut self, body: &mut Body, close: char, depth: usize) -> Parsed<Vec<Operand>> {
        let mut items = Vec::new();
        while !self.eat(close) {
            items.push(self.operand(body, depth + 1)?);
            if !self.eat(',') && !self.is_punct(close) {
                return self.fail(format!("expected `,` or `{close}` {}", self.found()));
            }
        }
        Ok(items)
    }

    fn address(&mut self, body: &mut Body) -> Parsed<Operand> {
        let base = match self.peek_word().map(str::to_owned) {
            None => AddressBase::Absolute,
            Some(name) => {
                self.at += 1;
                match body.register(&name) {
                    Some(register) => AddressBase::Register(register),
                    None if name.starts_with('%') => {
                        return self.fail(format!("the register `{name}` is not declared"));
                    }
                    None => AddressBase::Symbol(name),
                }
            }
        };
        let offset = if base == AddressBase::Absolute {
            self.int()? as i64
        } else {
            self.offset()?
        };
        Ok(Operand::Address { base, offset })
    }
}

impl Body {
    fn declare(&mut self, name: &str, count: Option<u64>, ty: &str) {
        let registers = &mut self.function.registers;
        let Some(scope) = self.scopes.last_mut() else { return };
        match count {
            Some(count) => {
                scope.ranges.insert(name.to_owned(), (count, ty.to_owned()));
            }
            None => {
                let id = RegId(registers.len() as u32);
                registers.push(Register {
                    name: name.to_owned(),
                    ty: ty.to_owned(),
                });
                scope.exact.insert(name.to_owned(), id);
            }
        }
    }

    /// The register of that name in the innermost scope that declares it; numbered at its first use.
    fn register(&mut self, name: &str) -> Option<RegId> {
        let digits = name.bytes().rev().take_while(u8::is_ascii_digit).count();
        for scope in self.scopes.iter_mut().rev() {
            if let Some(&id) = scope.exact.get(name) {
                return Some(id);
            }
            // `%r<100>` declares %r0 … %r99; the prefix itself may end in digits.
            for split in (name.len() - digits)..name.len() {
                let (prefix, number) = name.split_at(split);
                let Some((count, ty)) = scope.ranges.get(prefix) else {
                    continue;
                };
                let canonical = number == "0" || !number.starts_with('0');
                if canonical && number.parse::<u64>().is_ok_and(|n| n < *count) {
                    let id = RegId(self.function.registers.len() as u32);
                    self.function.registers.push(Register {
                        name: name.to_owned(),
                        ty: ty.clone(),
                    });
                    scope.exact.insert(name.to_owned(), id);
                    return Some(id);
                }
            }
        }
        None
    }

    /// A label's unique name; a name that is no label of an open scope is returned as it is.
    fn label(&self, name: &str) -> String {
        match self
            .scopes
            .iter()
            .rev()
            .find(|scope| scope.labels.iter().any(|label| label == name))
        {
            Some(scope) if scope.id > 0 => format!("{name}#{}", scope.id),
            _ => name.to_owned(),
        }
    }
}

/// PTX ISA, "Special registers".
fn is_special(name: &str) -> bool {
    let stem = name.split('.').next().unwrap_or(name);
    matches!(
        stem,
        "tid"
            | "ntid"
            | "laneid"
            | "warpid"
            | "nwarpid"
            | "ctaid"
            | "nctaid"
            | "smid"
            | "nsmid"
            | "gridid"
            | "clock"
            | "clock_hi"
            | "clock64"
            | "globaltimer"
            | "globaltimer_lo"
            | "globaltimer_hi"
            | "lanemask_eq"
            | "lanemask_le"
            | "lanemask_lt"
            | "lanemask_ge"
            | "lanemask_gt"
            | "dynamic_smem_size"
            | "total_smem_size"
            | "aggr_smem_size"
            | "is_explicit_cluster"
            | "clusterid"
            | "nclusterid"
            | "cluster_ctaid"
            | "cluster_nctaid"
            | "cluster_ctarank"
            | "cluster_nctarank"
    ) || stem
        .strip_prefix("envreg")
        .is_some_and(|n| n.parse::<u8>().is_ok_and(|n| n < 32))
}
