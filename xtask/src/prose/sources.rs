//! Finds the prose of a file: its comments, or all of a `*.md` file.

/// A line of prose, without the marks of a comment.
#[derive(Debug, Clone, PartialEq)]
pub struct Line {
    pub number: usize,
    pub text: String,
}

/// Lines that belong together: a comment of several lines, or a whole document.
pub type Block = Vec<Line>;

/// Returns the prose of a file, or none if it is of a kind that has none.
pub fn prose(path: &str, text: &str) -> Option<Vec<Block>> {
    let name = path.rsplit('/').next().unwrap_or(path);
    let extension = name.rsplit_once('.').map_or("", |(_, extension)| extension);
    let is_script = text.starts_with("#!") && !text.starts_with("#![");
    match extension {
        "md" => Some(vec![text.lines().zip(1..).map(|(text, number)| Line { number, text: text.to_owned() }).collect()]),
        "rs" => Some(joined(slashed(text, Language::Rust))),
        "c" | "h" => Some(joined(slashed(text, Language::C))),
        "sh" | "toml" | "yml" | "yaml" | "suppressions" => Some(joined(hashed(text))),
        _ if is_script => Some(joined(hashed(text))),
        _ => None,
    }
}

/// A comment, or a line of one.
struct Comment {
    line: Line,
    /// The mark: `//`, `///`, `//!`, `#`, or `/*`.
    mark: &'static str,
    /// Whether code stands before it.
    trails: bool,
}

/// Joins comments on consecutive lines that have the same mark.
fn joined(comments: Vec<Comment>) -> Vec<Block> {
    let mut blocks: Vec<Block> = Vec::new();
    let mut last: Option<(usize, &str)> = None;
    for comment in comments {
        let number = comment.line.number;
        let continues = !comment.trails && last == Some((number - 1, comment.mark));
        match blocks.last_mut() {
            Some(block) if continues => block.push(comment.line),
            _ => blocks.push(vec![comment.line]),
        }
        last = (!comment.trails).then_some((number, comment.mark));
    }
    blocks
}

/// The comments of a language in which they begin with `#`.
fn hashed(text: &str) -> Vec<Comment> {
    let mut comments = Vec::new();
    for (line, number) in text.lines().zip(1..) {
        let (mut quote, mut before) = (None, None);
        let begin = line.char_indices().find_map(|(at, c)| {
            let begins = c == '#' && quote.is_none() && before.is_none_or(char::is_whitespace);
            match quote {
                None if c == '"' || c == '\'' => quote = Some(c),
                Some(open) if open == c && before != Some('\\') => quote = None,
                _ => {}
            }
            before = Some(c);
            begins.then_some(at)
        });
        // The first line of a script names its interpreter.
        if let Some(at) = begin.filter(|at| !(number == 1 && line[*at..].starts_with("#!"))) {
            let text = line[at..].trim_start_matches('#');
            let text = text.strip_prefix(' ').unwrap_or(text).to_owned();
            comments.push(Comment { line: Line { number, text }, mark: "#", trails: !line[..at].trim().is_empty() });
        }
    }
    comments
}

#[derive(Clone, Copy, PartialEq)]
enum Language {
    Rust,
    C,
}

/// The comments of Rust or C.
fn slashed(text: &str, language: Language) -> Vec<Comment> {
    let bytes = text.as_bytes();
    let (mut at, mut number, mut line_begins) = (0, 1, 0);
    let mut comments = Vec::new();
    while at < bytes.len() {
        let rest = &bytes[at..];
        let trails = |at: usize| !text[line_begins..at].trim().is_empty();
        // Everything that can span lines sets `end`; the lines inside are counted below.
        let end = if rest.starts_with(b"//") {
            let end = at + rest.iter().position(|byte| *byte == b'\n').unwrap_or(rest.len());
            let mark = match rest {
                [_, _, b'!', ..] if language == Language::Rust => "//!",
                [_, _, b'/', ..] if language == Language::Rust => "///",
                _ => "//",
            };
            let inner = text[at + mark.len()..end].trim_end();
            let inner = inner.strip_prefix(' ').unwrap_or(inner).to_owned();
            comments.push(Comment { line: Line { number, text: inner }, mark, trails: trails(at) });
            end
        } else if rest.starts_with(b"/*") {
            let end = text[at + 2..].find("*/").map_or(bytes.len(), |len| at + 2 + len);
            for (nth, line) in text[at + 2..end].lines().enumerate() {
                let inner = line.trim_start().trim_start_matches(['*', '!']).trim();
                let line = Line { number: number + nth, text: inner.to_owned() };
                comments.push(Comment { line, mark: "/*", trails: nth == 0 && trails(at) });
            }
            (end + 2).min(bytes.len())
        } else {
            at + literal(rest, language).unwrap_or(1)
        };
        for (nth, byte) in bytes[at..end].iter().enumerate() {
            if *byte == b'\n' {
                (number, line_begins) = (number + 1, at + nth + 1);
            }
        }
        at = end;
    }
    comments
}

/// The length of the string or character that `rest` begins with.
fn literal(rest: &[u8], language: Language) -> Option<usize> {
    match rest {
        [b'"', ..] => {
            let mut at = 1;
            while at < rest.len() && rest[at] != b'"' {
                at += if rest[at] == b'\\' { 2 } else { 1 };
            }
            Some((at + 1).min(rest.len()))
        }
        // A name may end in these letters; a raw string begins only where a quote follows the
        // hashes.
        [b'r', after @ ..] if language == Language::Rust => {
            let hashes = after.iter().take_while(|byte| **byte == b'#').count();
            if after.get(hashes) != Some(&b'"') {
                return None;
            }
            let close = [&b"\""[..], &vec![b'#'; hashes]].concat();
            let begin = 1 + hashes + 1;
            let inner = rest[begin..].windows(close.len()).position(|window| window == close);
            Some(inner.map_or(rest.len(), |len| begin + len + close.len()))
        }
        [b'\'', b'\\', _, after @ ..] => Some(3 + after.iter().position(|byte| *byte == b'\'').map_or(0, |end| end + 1)),
        // A lifetime has no closing quote.
        [b'\'', after @ ..] => {
            let text = after.iter().take(5).position(|byte| *byte == b'\'')?;
            let is_character = text == 1 || text > 1 && after[0] >= 0x80;
            is_character.then_some(text + 2)
        }
        _ => None,
    }
}
