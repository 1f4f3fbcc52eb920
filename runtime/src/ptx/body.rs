//! The body of a function: statements, operands, and the scopes that give names their meaning.

use std::collections::{HashMap, HashSet};

use super::lexer::TokenKind;
use super::parser::{MAX_NESTING, Parsed, Parser};
use super::{AddressBase, Function, Instruction, Operand, RegId, Register, Space, Statement, type_bytes};

/// Registers and labels of one `{ }`.
#[derive(Default)]
pub(super) struct Scope {
    id: u32,
    /// Exact names and `%r<n>` ranges (prefix to count and type).
    exact: HashMap<String, RegId>,
    ranges: HashMap<String, (u64, String)>,
    /// Vector registers, and their elements.
    vectors: HashMap<String, Vec<RegId>>,
    /// Labels, and variables declared so far.
    names: HashSet<String>,
}

/// A function while its body is read.
pub(super) struct Body {
    pub(super) function: Function,
    pub(super) scopes: Vec<Scope>,
    pub(super) next_scope: u32,
}

impl Parser<'_> {
    /// Opens a scope; `self.at` is behind its `{`.
    pub(super) fn enter(&mut self, body: &mut Body) {
        let mut labels = HashSet::new();
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
                    labels.insert(word.clone());
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
            names: labels,
            ..Scope::default()
        });
        body.next_scope += 1;
    }

    pub(super) fn statement(&mut self, body: &mut Body) -> Parsed<()> {
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
                let label = body.unique(&word);
                match self.peek_word() {
                    Some(".branchtargets") => return self.branch_targets(body, label),
                    Some(".calltargets" | ".callprototype") => return self.skip_to_semicolon(),
                    _ => {}
                }
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

    /// `table: .branchtargets L1, L2;` of a `brx.idx`.
    fn branch_targets(&mut self, body: &mut Body, table: String) -> Parsed<()> {
        self.at += 1;
        let mut labels = Vec::new();
        loop {
            let label = self.word("a label")?;
            labels.push(body.unique(&label));
            if !self.eat(',') {
                break;
            }
        }
        body.function.branch_targets.insert(table, labels);
        self.expect(';')
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
            let mut variable = self.variable(space, false)?;
            if let Some(scope) = body.scopes.last_mut() {
                scope.names.insert(variable.name.clone());
            }
            variable.name = body.unique(&variable.name);
            body.function.variables.push(variable);
            if !self.eat(',') {
                return self.expect(';');
            }
        }
    }

    fn registers(&mut self, body: &mut Body) -> Parsed<()> {
        let (mut ty, mut lanes) = (String::new(), 1);
        loop {
            let word = self.word("a register type or name")?;
            if let Some(name) = word.strip_prefix('.') {
                match name {
                    "v2" => lanes = 2,
                    "v4" => lanes = 4,
                    name if type_bytes(name).is_some() => ty = name.to_owned(),
                    _ => return self.fail(format!("`{word}` is not a register type")),
                }
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
            match (lanes, count) {
                (1, count) => body.declare(&word, count, &ty),
                (_, None) => body.declare_vector(&word, lanes, &ty),
                (_, Some(_)) => return self.fail(format!("a range of vector registers `{word}`")),
            }
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
        if let Some(elements) = body.vector(&name) {
            return Ok(Operand::Vector(
                elements.iter().map(|id| Operand::Register(*id)).collect(),
            ));
        }
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
        Ok(Operand::Symbol(body.unique(&name), offset))
    }

    /// Any number of `+8`, `-8`, `+-8`.
    pub(super) fn offset(&mut self) -> Parsed<i64> {
        let mut offset = 0i64;
        loop {
            // A minus sign is part of the integer, with or without a plus before it.
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
                    None => AddressBase::Symbol(body.unique(&name)),
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

    /// `.reg .v4 .f32 v`: the registers v.x, v.y, v.z and v.w (or v.r, v.g, v.b, v.a), and v for all of them.
    fn declare_vector(&mut self, name: &str, lanes: usize, ty: &str) {
        let registers = &mut self.function.registers;
        let Some(scope) = self.scopes.last_mut() else { return };
        let mut elements = Vec::new();
        for suffixes in ["xr", "yg", "zb", "wa"].into_iter().take(lanes) {
            let id = RegId(registers.len() as u32);
            for suffix in suffixes.chars() {
                scope.exact.insert(format!("{name}.{suffix}"), id);
            }
            registers.push(Register {
                name: format!("{name}.{}", &suffixes[..1]),
                ty: ty.to_owned(),
            });
            elements.push(id);
        }
        scope.vectors.insert(name.to_owned(), elements);
    }

    /// The elements of a vector register, where the innermost scope that knows the name declares one.
    fn vector(&self, name: &str) -> Option<&[RegId]> {
        let known = |scope: &&Scope| scope.vectors.contains_key(name) || scope.exact.contains_key(name);
        let scope = self.scopes.iter().rev().find(known)?;
        scope.vectors.get(name).map(Vec::as_slice)
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

    /// Registers among the parameters of a device function.
    pub(super) fn declare_parameters(&mut self) {
        let Some(scope) = self.scopes.last_mut() else { return };
        for (index, register) in self.function.registers.iter().enumerate() {
            scope.exact.insert(register.name.clone(), RegId(index as u32));
        }
    }

    /// The unique name of a label or variable; a name that no open scope knows is returned as it is.
    fn unique(&self, name: &str) -> String {
        match self.scopes.iter().rev().find(|scope| scope.names.contains(name)) {
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
            | "current_graph_exec"
            | "pm0_64"
            | "pm1_64"
            | "pm2_64"
            | "pm3_64"
            | "pm4_64"
            | "pm5_64"
            | "pm6_64"
            | "pm7_64"
            | "reserved_smem_offset_begin"
            | "reserved_smem_offset_end"
            | "reserved_smem_offset_cap"
            | "reserved_smem_offset_0"
            | "reserved_smem_offset_1"
    ) || stem
        .strip_prefix("envreg")
        .is_some_and(|n| n.parse::<u8>().is_ok_and(|n| n < 32))
        || stem
            .strip_prefix("pm")
            .is_some_and(|n| n.parse::<u8>().is_ok_and(|n| n < 8))
}
