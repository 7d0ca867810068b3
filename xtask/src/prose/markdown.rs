//! Takes prose apart: lines without code, and sentences.

use super::sources::{Block, Line};

/// What a block of prose holds.
#[derive(Debug, Default)]
pub struct Text {
    /// The lines that are not blank, with code removed.
    pub lines: Vec<Line>,
    pub sentences: Vec<Sentence>,
}

/// A sentence. Code in backticks is a word, written as one backtick.
#[derive(Debug, PartialEq)]
pub struct Sentence {
    /// The line on which its paragraph begins.
    pub number: usize,
    pub text: String,
}

impl Sentence {
    pub fn words(&self) -> usize {
        self.text.split_whitespace().filter(|word| word.contains(|c: char| c.is_alphanumeric() || c == '`')).count()
    }
}

/// What a line is part of.
#[derive(PartialEq)]
enum Kind {
    Paragraph,
    /// Counted as a line, but no sentence.
    Fragment,
}

/// Abbreviations that end in a full stop inside a sentence.
const ABBREVIATIONS: [&str; 4] = ["e.g.", "i.e.", "cf.", "vs."];

impl Text {
    pub fn of(block: &Block) -> Text {
        let mut text = Text::default();
        let mut open: Block = Vec::new();
        let mut fence: Option<&str> = None;
        let (mut in_list, mut in_code, mut after_blank) = (false, false, true);
        for line in block {
            let trimmed = line.text.trim();
            if let Some(mark) = ["```", "~~~"].into_iter().find(|mark| trimmed.starts_with(mark)) {
                match fence {
                    Some(begun) if begun == mark => fence = None,
                    None => fence = Some(mark),
                    Some(_) => {}
                }
                text.close(&mut open, Kind::Paragraph);
                continue;
            }
            if fence.is_some() {
                continue;
            }
            if trimmed.is_empty() {
                text.close(&mut open, Kind::Paragraph);
                after_blank = true;
                continue;
            }
            let indent = line.text.len() - line.text.trim_start().len();
            in_code = indent >= 4 && !in_list && (in_code || after_blank) && open.is_empty();
            if in_code {
                after_blank = false;
                continue;
            }
            let unquoted = trimmed.trim_start_matches("> ");
            let owned = |text: &str| Line { number: line.number, text: text.to_owned() };
            if let Some(item) = list_item(unquoted) {
                text.close(&mut open, Kind::Paragraph);
                in_list = true;
                open.push(owned(item));
            } else if unquoted.starts_with('#') || unquoted.starts_with('|') || is_definition(unquoted) {
                text.close(&mut open, Kind::Paragraph);
                in_list &= indent > 0;
                text.close(&mut vec![owned(unquoted)], Kind::Fragment);
            } else {
                in_list &= indent > 0 || !after_blank;
                open.push(owned(unquoted));
            }
            after_blank = false;
        }
        text.close(&mut open, Kind::Paragraph);
        text
    }

    /// Ends a paragraph.
    fn close(&mut self, open: &mut Block, kind: Kind) {
        let Some(first) = open.first() else { return };
        let number = first.number;
        let all: Vec<&str> = open.iter().map(|line| line.text.as_str()).collect();
        let plain = without_links(&without_code(&all.join("\n")));
        for (line, text) in open.iter().zip(plain.split('\n')) {
            self.lines.push(Line { number: line.number, text: text.to_owned() });
        }
        if kind == Kind::Paragraph {
            let sentences = sentences(&plain).into_iter().map(|text| Sentence { number, text });
            self.sentences.extend(sentences.filter(|sentence| sentence.words() > 0));
        }
        open.clear();
    }
}

/// The text of a list item.
fn list_item(line: &str) -> Option<&str> {
    let bullet = ["- ", "* ", "+ "].into_iter().find_map(|mark| line.strip_prefix(mark));
    bullet.or_else(|| {
        let digits = line.bytes().take_while(u8::is_ascii_digit).count();
        let rest = &line[digits..];
        rest.strip_prefix(". ").or_else(|| rest.strip_prefix(") ")).filter(|_| (1..=3).contains(&digits))
    })
}

/// Returns `true` for `[name]: target`, which is no text.
fn is_definition(line: &str) -> bool {
    line.starts_with('[') && line.split_once("]: ").is_some_and(|(name, _)| !name[1..].contains(['[', ']']))
}

/// Replaces each span of code by one backtick; line breaks stay.
fn without_code(text: &str) -> String {
    let mut plain = String::new();
    let mut rest = text;
    while let Some(begin) = rest.find('`') {
        plain.push_str(&rest[..begin]);
        let marks = rest[begin..].bytes().take_while(|byte| *byte == b'`').count();
        let inner = &rest[begin + marks..];
        // The span ends at a run of the same number of backticks.
        let (mut at, mut end) = (0, None);
        while let Some(next) = inner[at..].find('`') {
            let run = inner[at + next..].bytes().take_while(|byte| *byte == b'`').count();
            if run == marks {
                end = Some(at + next);
                break;
            }
            at += next + run;
        }
        plain.push('`');
        let Some(end) = end else {
            rest = inner;
            continue;
        };
        plain.extend(inner[..end].chars().filter(|c| *c == '\n'));
        rest = &inner[end + marks..];
    }
    plain.push_str(rest);
    plain
}

/// Removes the targets of links: `[text](target)` becomes `[text]`; line breaks stay.
fn without_links(text: &str) -> String {
    let mut plain = String::new();
    let mut rest = text;
    while let Some(begin) = rest.find("](") {
        plain.push_str(&rest[..=begin]);
        let target = &rest[begin + 2..];
        let end = target.find(')').map_or(0, |end| end + 1);
        plain.extend(target[..end].chars().filter(|c| *c == '\n'));
        rest = &target[end..];
    }
    plain.push_str(rest);
    plain
}

/// Splits a paragraph after `.`, `?` or `!` if whitespace and a capital letter or code follow.
fn sentences(paragraph: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut sentence: Vec<&str> = Vec::new();
    let mut words = paragraph.split_whitespace().peekable();
    while let Some(word) = words.next() {
        sentence.push(word);
        let bare = word.trim_end_matches([')', ']', '"', '\'', '*', '_', '”', '’']);
        let opening = ['(', '[', '"', '\'', '*', '_', '“', '‘'];
        let is_abbreviated = ABBREVIATIONS.iter().any(|short| bare.trim_start_matches(opening).eq_ignore_ascii_case(short));
        let ends = bare.ends_with(['.', '?', '!']) && !is_abbreviated;
        let begins = |next: &&str| next.trim_start_matches(opening).starts_with(|c: char| c.is_uppercase() || c == '`');
        if ends && words.peek().is_some_and(begins) {
            found.push(sentence.join(" "));
            sentence.clear();
        }
    }
    if !sentence.is_empty() {
        found.push(sentence.join(" "));
    }
    found
}
