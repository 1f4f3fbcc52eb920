//! PTX text to tokens with their lines (PTX ISA, "Lexical elements").

use super::ParseError;

/// A token and the line it stands on.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Token {
    pub kind: TokenKind,
    pub line: u32,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum TokenKind {
    /// Identifier, directive, opcode, register or label name: `.reg`, `ld.global.L2::128B`, `%r1`, `$L__BB0_1`.
    Word(String),
    /// Integer; negative ones come as `-` and a number.
    Int(u64),
    /// `0f` bits.
    F32(u32),
    /// `0d` or decimal bits.
    F64(u64),
    /// A quoted string, unescaped.
    Text(String),
    /// Any other single character.
    Punct(char),
}

/// Splits a text into tokens. Comments vanish.
pub(super) fn tokens(text: &str) -> Result<Vec<Token>, ParseError> {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(text.len() / 4);
    let (mut at, mut line) = (0usize, 1u32);
    let fail = |line: u32, message: String| ParseError {
        line,
        message,
        text: line_of(text, line),
    };
    while at < bytes.len() {
        let c = bytes[at];
        match c {
            b'\n' => {
                line += 1;
                at += 1;
            }
            c if c.is_ascii_whitespace() || c == 0 => at += 1,
            b'/' if bytes.get(at + 1) == Some(&b'/') => {
                while at < bytes.len() && bytes[at] != b'\n' {
                    at += 1;
                }
            }
            b'/' if bytes.get(at + 1) == Some(&b'*') => {
                let start = line;
                at += 2;
                loop {
                    match bytes.get(at) {
                        None => return Err(fail(start, "a comment that does not end".into())),
                        Some(b'*') if bytes.get(at + 1) == Some(&b'/') => break,
                        Some(b'\n') => line += 1,
                        Some(_) => {}
                    }
                    at += 1;
                }
                at += 2;
            }
            b'"' => {
                let start = at + 1;
                at = start;
                while at < bytes.len() && bytes[at] != b'"' && bytes[at] != b'\n' {
                    at += if bytes[at] == b'\\' { 2 } else { 1 };
                }
                if bytes.get(at) != Some(&b'"') {
                    return Err(fail(line, "a string that does not end on its line".into()));
                }
                let value = String::from_utf8_lossy(&bytes[start..at]).into_owned();
                out.push(Token {
                    kind: TokenKind::Text(value),
                    line,
                });
                at += 1;
            }
            c if c.is_ascii_digit() => {
                let end = number_end(bytes, at);
                let word = &text[at..end];
                let kind = number(word).ok_or_else(|| fail(line, format!("`{word}` is not a number")))?;
                out.push(Token { kind, line });
                at = end;
            }
            c if is_word_start(c) => {
                let start = at;
                at += 1;
                while at < bytes.len() && (is_word(bytes[at]) || is_scope(bytes, at)) {
                    at += if is_scope(bytes, at) { 2 } else { 1 };
                }
                let word = text[start..at.min(bytes.len())].to_owned();
                out.push(Token {
                    kind: TokenKind::Word(word),
                    line,
                });
            }
            c if c.is_ascii() => {
                out.push(Token {
                    kind: TokenKind::Punct(char::from(c)),
                    line,
                });
                at += 1;
            }
            _ => return Err(fail(line, "a character outside ASCII".into())),
        }
    }
    Ok(out)
}

/// The text of a line (from 1), trimmed.
pub(super) fn line_of(text: &str, line: u32) -> String {
    text.lines()
        .nth((line as usize).saturating_sub(1))
        .unwrap_or("")
        .trim()
        .to_owned()
}

fn is_word_start(c: u8) -> bool {
    c.is_ascii_alphabetic() || matches!(c, b'_' | b'$' | b'%' | b'.')
}

fn is_word(c: u8) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, b'_' | b'$' | b'.' | b'%')
}

/// `::`, as in `L2::128B` and `mbarrier::complete_tx::bytes`.
fn is_scope(bytes: &[u8], at: usize) -> bool {
    bytes[at] == b':' && bytes.get(at + 1) == Some(&b':')
}

fn number_end(bytes: &[u8], start: usize) -> usize {
    let mut at = start;
    while at < bytes.len() {
        let c = bytes[at];
        let exponent_sign = matches!(c, b'+' | b'-')
            && matches!(bytes[at - 1], b'e' | b'E')
            && !matches!(bytes.get(start + 1), Some(b'x' | b'X' | b'f' | b'F' | b'd' | b'D'))
            && at > start;
        if c.is_ascii_alphanumeric() || c == b'.' || exponent_sign {
            at += 1;
        } else {
            break;
        }
    }
    at
}

/// PTX ISA, "Constants": decimal, hexadecimal, octal and binary integers with an optional `U`; `0f` and `0d` bits;
/// decimal floats, which are binary64.
fn number(word: &str) -> Option<TokenKind> {
    let lower = word.to_ascii_lowercase();
    if let Some(digits) = lower.strip_prefix("0f") {
        return (digits.len() == 8)
            .then(|| u32::from_str_radix(digits, 16).ok())
            .flatten()
            .map(TokenKind::F32);
    }
    if let Some(digits) = lower.strip_prefix("0d") {
        return (digits.len() == 16)
            .then(|| u64::from_str_radix(digits, 16).ok())
            .flatten()
            .map(TokenKind::F64);
    }
    let digits = lower.strip_suffix('u').unwrap_or(&lower);
    let integer = if let Some(hex) = digits.strip_prefix("0x") {
        u64::from_str_radix(hex, 16).ok()
    } else if let Some(binary) = digits.strip_prefix("0b") {
        u64::from_str_radix(binary, 2).ok()
    } else if digits.len() > 1 && digits.starts_with('0') && digits.bytes().all(|c| c.is_ascii_digit()) {
        u64::from_str_radix(digits, 8).ok()
    } else {
        digits.parse::<u64>().ok()
    };
    match integer {
        Some(value) => Some(TokenKind::Int(value)),
        None => lower.parse::<f64>().ok().map(|value| TokenKind::F64(value.to_bits())),
    }
}
