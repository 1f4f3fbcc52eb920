//! Textual pass pipelines, in MLIR's syntax.
//!
//! ```text
//! builtin.module(canonicalize,alcop-plan{shared-stages=3},gpu.module(cse))
//! ```
//!
//! MLIR's C API does not let a pass that is not its own be named in such a text, so the text is parsed here: what names
//! no pass of ours is handed on as it is.

use std::fmt;

/// A pipeline: the operation that it starts from, and what runs on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pipeline {
    /// `builtin.module` or, for a text like `gpu.module(…)`, another.
    pub anchor: String,
    /// In running order.
    pub elements: Vec<Element>,
}

/// One element of a pipeline.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Element {
    /// `name` or `name{options}`.
    Pass {
        /// The pass.
        name: String,
        /// What stands between the braces.
        options: Option<String>,
    },
    /// `anchor(elements)`.
    Nest {
        /// The operations that the elements run on.
        anchor: String,
        /// In running order.
        elements: Vec<Element>,
    },
}

/// The text is no pipeline (the user's mistake).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("pass pipeline, column {column}: {message}\n{text}\n{:>width$}", "^", width = column)]
pub struct PipelineTextError {
    /// The whole text.
    pub text: String,
    /// Where, counted in characters from 1.
    pub column: usize,
    /// What is wrong.
    pub message: String,
}

impl fmt::Display for Element {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Element::Pass { name, options: None } => f.write_str(name),
            Element::Pass {
                name,
                options: Some(options),
            } => write!(f, "{name}{{{options}}}"),
            Element::Nest { anchor, elements } => write!(f, "{anchor}({})", text(elements)),
        }
    }
}

/// Elements as a text, joined by commas.
pub fn text(elements: &[Element]) -> String {
    elements.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
}

/// Parses `anchor(elements)`.
pub fn parse(source: &str) -> Result<Pipeline, PipelineTextError> {
    let mut parser = Parser { source, at: 0 };
    let mut elements = parser.elements()?;
    if parser.at < source.len() {
        return Err(parser.error("a closing parenthesis or brace that nothing opened"));
    }
    match (elements.len(), elements.pop()) {
        (1, Some(Element::Nest { anchor, elements })) => Ok(Pipeline { anchor, elements }),
        _ => {
            parser.at = 0;
            Err(parser.error("expected one anchor around all passes, e.g. builtin.module(…)"))
        }
    }
}

struct Parser<'a> {
    source: &'a str,
    /// Byte position of what comes next.
    at: usize,
}

impl<'a> Parser<'a> {
    fn rest(&self) -> &'a str {
        &self.source[self.at..]
    }

    fn next(&self) -> Option<char> {
        self.rest().chars().next()
    }

    fn error(&self, message: impl Into<String>) -> PipelineTextError {
        PipelineTextError {
            text: self.source.to_owned(),
            column: self.source[..self.at].chars().count() + 1,
            message: message.into(),
        }
    }

    fn skip_space(&mut self) {
        self.at += self.rest().len() - self.rest().trim_start().len();
    }

    /// Elements up to a closing parenthesis or the end; none between a pair of parentheses.
    fn elements(&mut self) -> Result<Vec<Element>, PipelineTextError> {
        let mut elements = Vec::new();
        self.skip_space();
        if matches!(self.next(), None | Some(')')) {
            return Ok(elements);
        }
        loop {
            elements.push(self.element()?);
            self.skip_space();
            if self.next() != Some(',') {
                return Ok(elements);
            }
            self.at += 1;
        }
    }

    fn element(&mut self) -> Result<Element, PipelineTextError> {
        self.skip_space();
        let start = self.at;
        let rest = self.rest();
        let length = rest.find([',', '(', ')', '{', '}']).unwrap_or(rest.len());
        let name = rest[..length].trim_end();
        if name.is_empty() {
            return Err(self.error("expected the name of a pass or of an operation"));
        }
        self.at = start + length;
        match self.next() {
            Some('{') => {
                let options = self.options()?;
                Ok(Element::Pass {
                    name: name.to_owned(),
                    options: Some(options),
                })
            }
            Some('(') => {
                let open = self.at;
                self.at += 1;
                let elements = self.elements()?;
                if self.next() != Some(')') {
                    if self.at == self.source.len() {
                        self.at = open;
                        return Err(self.error("nothing closes this parenthesis"));
                    }
                    return Err(self.error("expected a comma or a closing parenthesis"));
                }
                self.at += 1;
                Ok(Element::Nest {
                    anchor: name.to_owned(),
                    elements,
                })
            }
            _ => Ok(Element::Pass {
                name: name.to_owned(),
                options: None,
            }),
        }
    }

    /// What stands between a pair of braces; braces inside come in pairs.
    fn options(&mut self) -> Result<String, PipelineTextError> {
        let open = self.at;
        let mut depth = 0;
        for (offset, character) in self.rest().char_indices() {
            match character {
                '{' => depth += 1,
                '}' if depth == 1 => {
                    self.at = open + offset + 1;
                    return Ok(self.source[open + 1..open + offset].trim().to_owned());
                }
                '}' => depth -= 1,
                _ => {}
            }
        }
        Err(self.error("nothing closes this brace"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pipeline_prints_as_it_was_written() {
        for source in [
            "builtin.module()",
            "builtin.module(canonicalize)",
            "builtin.module(canonicalize,alcop-detect,gpu.module(cse,gpu.func(x)),alcop-pipeline{shared-stages=3 \
             register-stages=2})",
            "any(convert-gpu-to-nvvm{use-bare-ptr-memref-call-conv=true},a{b={c=1 d=2}})",
        ] {
            let pipeline = parse(source).expect(source);
            let printed = format!("{}({})", pipeline.anchor, text(&pipeline.elements));
            assert_eq!(printed, source);
        }
        let spaced = parse(" builtin.module( cse , gpu.module ( cse ) ) ").expect("spaces are fine");
        assert_eq!(text(&spaced.elements), "cse,gpu.module(cse)");
    }

    #[test]
    fn what_is_no_pipeline_is_refused_where_it_goes_wrong() {
        for (source, column, part) in [
            ("", 1, "anchor"),
            ("canonicalize", 1, "anchor"),
            ("builtin.module(cse),cse", 1, "anchor"),
            ("builtin.module(cse", 15, "closes this parenthesis"),
            ("builtin.module(cse))", 20, "nothing opened"),
            ("builtin.module(,cse)", 16, "name"),
            ("builtin.module(cse,)", 20, "name"),
            ("builtin.module(a{b=1)", 17, "closes this brace"),
            ("builtin.module(a}b)", 17, "comma"),
            ("builtin.module(gpu.module(a)b)", 29, "comma"),
        ] {
            let error = parse(source).expect_err(source);
            assert_eq!(error.column, column, "{error}");
            assert!(error.message.contains(part), "{error}");
        }
    }
}
