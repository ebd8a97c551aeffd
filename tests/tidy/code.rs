//! Just enough understanding of Rust for the rules: text without comments and literals, without test code, and the
//! paths that it names. Lines keep their numbers.

/// A path such as `crate::route::Policy`, with the line of its last word.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NamedPath {
    pub(crate) line: usize,
    pub(crate) segments: Vec<String>,
}

/// The source with comments and literals blanked out.
pub(crate) fn bare(source: &str) -> String {
    let bytes = source.as_bytes();
    let mut out = bytes.to_vec();
    let mut at = 0;
    while at < bytes.len() {
        match blank_until(bytes, at) {
            Some(end) => {
                blank(&mut out[at..end]);
                at = end;
            }
            None => at += 1,
        }
    }
    String::from_utf8(out).expect("only whole characters were blanked")
}

/// Bare source without the items that are marked `#[cfg(test)]`.
pub(crate) fn outside_tests(bare: &str) -> String {
    const MARK: &str = "#[cfg(test)]";
    let mut out = bare.as_bytes().to_vec();
    let mut from = 0;
    while let Some(found) = bare[from..].find(MARK) {
        let start = from + found;
        let end = item_end(bare.as_bytes(), start + MARK.len());
        blank(&mut out[start..end]);
        from = end;
    }
    String::from_utf8(out).expect("only whole characters were blanked")
}

/// The modules that bare source declares in files of their own, in their order.
pub(crate) fn modules(bare: &str) -> Vec<String> {
    let tokens = tokens(bare);
    tokens
        .windows(3)
        .filter_map(|window| match window {
            [
                (_, Token::Word("mod")),
                (_, Token::Word(name)),
                (_, Token::Other(b';')),
            ] => Some((*name).to_owned()),
            _ => None,
        })
        .collect()
}

/// All paths that bare source names; groups in braces are spelled out.
pub(crate) fn paths(bare: &str) -> Vec<NamedPath> {
    let tokens = tokens(bare);
    let mut reader = Reader {
        tokens: &tokens,
        at: 0,
        found: Vec::new(),
    };
    while let Some(token) = reader.peek() {
        let field = reader.at > 0 && tokens[reader.at - 1].1 == Token::Other(b'.');
        match token {
            Token::Word("use") => {
                reader.at += 1;
                reader.tree(Vec::new());
            }
            Token::Word(_) if !field => reader.tree(Vec::new()),
            _ => reader.at += 1,
        }
    }
    reader.found
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Token<'a> {
    Word(&'a str),
    Colons,
    Other(u8),
}

struct Reader<'a> {
    tokens: &'a [(usize, Token<'a>)],
    at: usize,
    found: Vec<NamedPath>,
}

// === impl Reader ===

impl<'a> Reader<'a> {
    fn peek(&self) -> Option<Token<'a>> {
        self.tokens.get(self.at).map(|(_, token)| *token)
    }

    /// Reads one path, or a whole `use` tree, that goes on from `prefix`.
    fn tree(&mut self, mut prefix: Vec<String>) {
        match self.peek() {
            Some(Token::Word(word)) => {
                prefix.push(word.to_owned());
                self.at += 1;
                if self.peek() == Some(Token::Colons) {
                    self.at += 1;
                    self.tree(prefix);
                } else {
                    self.push(prefix);
                }
            }
            Some(Token::Other(b'{')) => self.group(&prefix),
            _ => {
                self.push(prefix);
                self.at += 1;
            }
        }
    }

    fn group(&mut self, prefix: &[String]) {
        self.at += 1;
        loop {
            match self.peek() {
                None => return,
                Some(Token::Other(b'}')) => {
                    self.at += 1;
                    return;
                }
                Some(Token::Word("as")) => self.at += 2,
                Some(Token::Other(b',')) => self.at += 1,
                Some(_) => self.tree(prefix.to_vec()),
            }
        }
    }

    fn push(&mut self, segments: Vec<String>) {
        if !segments.is_empty() {
            let line = self.tokens[self.at - 1].0;
            self.found.push(NamedPath { line, segments });
        }
    }
}

fn tokens(bare: &str) -> Vec<(usize, Token<'_>)> {
    let bytes = bare.as_bytes();
    let (mut tokens, mut at, mut line) = (Vec::new(), 0, 1);
    while at < bytes.len() {
        let start = at;
        at += 1;
        if is_word(bytes[start]) {
            at += bytes[at..].iter().take_while(|&&b| is_word(b)).count();
            tokens.push((line, Token::Word(&bare[start..at])));
        } else if bytes[start..].starts_with(b"::") {
            at += 1;
            tokens.push((line, Token::Colons));
        } else if bytes[start] == b'\n' {
            line += 1;
        } else if !bytes[start].is_ascii_whitespace() {
            tokens.push((line, Token::Other(bytes[start])));
        }
    }
    tokens
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

fn blank(bytes: &mut [u8]) {
    for byte in bytes.iter_mut().filter(|b| **b != b'\n') {
        *byte = b' ';
    }
}

/// Where the comment or literal ends that begins at `at`, if one does.
fn blank_until(bytes: &[u8], at: usize) -> Option<usize> {
    let rest = &bytes[at..];
    let in_word = at > 0 && is_word(bytes[at - 1]);
    let length = match rest[0] {
        b'/' if rest.starts_with(b"//") => rest.iter().position(|&b| b == b'\n'),
        b'/' if rest.starts_with(b"/*") => Some(block_comment(rest)),
        b'"' => Some(string(rest)),
        b'r' if !in_word => return raw_string(&rest[1..]).map(|length| at + 1 + length),
        b'b' if !in_word && rest.get(1) == Some(&b'r') => {
            return raw_string(&rest[2..]).map(|length| at + 2 + length);
        }
        b'\'' => return character(rest).map(|length| at + length),
        _ => return None,
    };
    Some(at + length.unwrap_or(rest.len()))
}

fn block_comment(rest: &[u8]) -> usize {
    let (mut depth, mut at) = (0, 0);
    while at < rest.len() {
        if rest[at..].starts_with(b"/*") {
            depth += 1;
            at += 2;
        } else if rest[at..].starts_with(b"*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += 1;
        }
    }
    at
}

fn string(rest: &[u8]) -> usize {
    let mut at = 1;
    while at < rest.len() && rest[at] != b'"' {
        at += if rest[at] == b'\\' { 2 } else { 1 };
    }
    (at + 1).min(rest.len())
}

/// The length of `#"…"#`, if it is one: `r#type` is a word.
fn raw_string(rest: &[u8]) -> Option<usize> {
    let hashes = rest.iter().take_while(|&&b| b == b'#').count();
    if rest.get(hashes) != Some(&b'"') {
        return None;
    }
    let mut close = vec![b'"'];
    close.resize(hashes + 1, b'#');
    let body = hashes + 1;
    let end = rest[body..]
        .windows(close.len())
        .position(|window| window == close)?;
    Some(body + end + close.len())
}

/// The length of a character literal; a lifetime is none.
fn character(rest: &[u8]) -> Option<usize> {
    if rest.get(1) == Some(&b'\\') {
        let end = rest[3..].iter().position(|&b| b == b'\'')?;
        return Some(3 + end + 1);
    }
    let one = std::str::from_utf8(&rest[1..rest.len().min(5)])
        .map_or_else(
            |error| std::str::from_utf8(&rest[1..1 + error.valid_up_to()]),
            Ok,
        )
        .ok()?;
    let width = one.chars().next()?.len_utf8();
    (rest.get(1 + width) == Some(&b'\'')).then_some(width + 2)
}

/// Where the item ends whose attributes begin before `at`: at its closing brace or its semicolon.
fn item_end(bytes: &[u8], at: usize) -> usize {
    let mut depth = 0_usize;
    for (offset, byte) in bytes[at..].iter().enumerate() {
        match byte {
            b'(' | b'[' | b'{' => depth += 1,
            b')' | b']' => depth = depth.saturating_sub(1),
            b'}' => {
                depth = depth.saturating_sub(1);
                if depth == 0 {
                    return at + offset + 1;
                }
            }
            b';' if depth == 0 => return at + offset + 1,
            _ => {}
        }
    }
    bytes.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_literals_are_blanked() {
        let source = "a // b\n/* c /* d */ e */ f \"g\\\" h\" i r#\"j \" k\"# l 'm' '\\'' '\u{e9}' &'n o r#type br\"p\"";
        let words: Vec<String> = bare(source)
            .split_whitespace()
            .map(ToOwned::to_owned)
            .collect();
        assert_eq!(words, ["a", "f", "i", "l", "&'n", "o", "r#type"]);
        assert_eq!(bare(source).lines().count(), source.lines().count());
    }

    #[test]
    fn test_items_are_blanked_and_nothing_else() {
        let source = "fn a() { b() }\n#[cfg(test)]\nmod t { fn c() { d() } }\n#[cfg(test)]\npub(super) fn e(x: [u8; 2]) { f() }\n\
                      #[cfg(test)]\nmod tests;\nfn g() {}";
        let words: Vec<String> = paths(&outside_tests(&bare(source)))
            .into_iter()
            .flat_map(|p| p.segments)
            .collect();
        assert_eq!(words, ["fn", "a", "b", "fn", "g"]);
    }

    #[test]
    fn paths_are_spelled_out() {
        let source = "use crate::{a::B, c as d,\n e::{F, *}};\nlet x = super::super::g::H::<u8>::new() + self.i::<j::K>();";
        let spelled: Vec<(usize, String)> = paths(&bare(source))
            .into_iter()
            .filter(|p| p.segments.len() > 1)
            .map(|p| (p.line, p.segments.join("::")))
            .collect();
        let expected = [
            (1, "crate::a::B"),
            (1, "crate::c"),
            (2, "crate::e::F"),
            (2, "crate::e"),
            (3, "super::super::g::H"),
            (3, "j::K"),
        ];
        assert_eq!(
            spelled,
            expected.map(|(line, path)| (line, path.to_owned()))
        );
    }

    #[test]
    fn modules_keep_their_order() {
        assert_eq!(modules("pub mod b;\n\nmod a;\nmod inline { }"), ["b", "a"]);
    }
}
