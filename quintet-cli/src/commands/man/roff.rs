//! Writes the man macros of roff in a form that mandoc(1) and groff(1) accept without warnings.

/// The longest input line of filled text.
const WIDTH: usize = 78;

/// A page under construction.
pub struct Roff(String);

impl Roff {
    /// Begins a page. The date is `YYYY-MM-DD`.
    pub fn new(name: &str, section: u8, date: &str) -> Roff {
        let title = name.to_uppercase();
        let version = env!("CARGO_PKG_VERSION");
        // Paths and option names must not be hyphenated or stretched.
        Roff(format!(".TH {title} {section} {date} \"quintet {version}\" \"Quintet Manual\"\n.nh\n.ad l\n"))
    }

    /// Begins a section.
    pub fn section(&mut self, title: &str) {
        if title.contains(' ') {
            self.quoted_section(title);
        } else {
            self.line(&format!(".SH {title}"));
        }
    }

    /// Begins a section. The title is in quotes, because it may contain spaces.
    pub fn quoted_section(&mut self, title: &str) {
        self.line(&format!(".SH \"{title}\""));
    }

    /// Begins a subsection.
    pub fn subsection(&mut self, title: &str) {
        self.line(&format!(".SS \"{title}\""));
    }

    /// Writes a request or macro without arguments, such as `PP`.
    pub fn request(&mut self, name: &str) {
        self.line(&format!(".{name}"));
    }

    /// Writes escaped text in lines of at most [`WIDTH`] bytes, unless a word is longer.
    pub fn text(&mut self, escaped: &str) {
        let mut line = String::new();
        for word in escaped.split_whitespace() {
            if !line.is_empty() && line.len() + 1 + word.len() > WIDTH {
                self.text_line(&line);
                line.clear();
            }
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(word);
        }
        if !line.is_empty() {
            self.text_line(&line);
        }
    }

    /// Writes a term and its explanation, both escaped.
    pub fn item(&mut self, term: &str, text: &str) {
        self.request("TP");
        self.text_line(term);
        self.text(text);
    }

    /// Writes lines that keep their breaks and indentation.
    pub fn verbatim<'a>(&mut self, lines: impl Iterator<Item = &'a str>) {
        self.request("nf");
        for line in lines {
            self.text_line(&escape(line));
        }
        self.request("fi");
    }

    /// Returns the page.
    pub fn finish(self) -> String {
        self.0
    }

    /// Writes a line of text; a dot at its start does not make it a request.
    fn text_line(&mut self, line: &str) {
        if line.starts_with('.') {
            self.0.push_str("\\&");
        }
        self.line(line);
    }

    fn line(&mut self, line: &str) {
        self.0.push_str(line);
        self.0.push('\n');
    }
}

/// Escapes text so that a reader can copy each character from the terminal as it is.
pub fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\\' => escaped.push_str("\\e"),
            '-' => escaped.push_str("\\-"),
            '\'' => escaped.push_str("\\(aq"),
            '`' => escaped.push_str("\\(ga"),
            '^' => escaped.push_str("\\(ha"),
            '~' => escaped.push_str("\\(ti"),
            c => escaped.push(c),
        }
    }
    escaped
}

/// Escapes a literal word and sets it in bold.
pub fn bold(text: &str) -> String {
    format!("\\fB{}\\fR", escape(text))
}

/// Escapes a placeholder and sets it in italics.
pub fn italic(text: &str) -> String {
    format!("\\fI{}\\fR", escape(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wraps_text_and_protects_control_characters() {
        let mut page = Roff::new("x", 1, "2026-01-02");
        page.text(&escape(&format!("{} .file 'a-b' c\\d", "word ".repeat(15))));
        let page = page.finish();
        assert_eq!(page.lines().nth(3).unwrap().len(), 74);
        assert_eq!(page.lines().nth(4).unwrap(), "\\&.file \\(aqa\\-b\\(aq c\\ed");
    }
}
