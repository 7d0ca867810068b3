//! Writes the page of one command, from its clap definition and from [`topics`].

use super::roff::{Roff, bold, escape, italic};
use super::topics;
use clap::builder::StyledStr;
use clap::{Arg, Command};
use jiff::Timestamp;

/// quintet(7), without its title line.
const OVERVIEW: &str = include_str!("quintet.7");

/// Returns the page of a command that clap has built. `name` is the page's name, such as
/// `quintet-sem-op`.
pub fn of(command: &Command, name: &str) -> String {
    let mut page = Roff::new(name, 1, &date());
    let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
    let help = sections(&help);
    name_section(command, name, &mut page);
    synopsis(command, &mut page);
    description(command, &mut page);
    options(command, &mut page);
    commands(command, name, &mut page);
    exit_status(&help, name, &mut page);
    environment(&help, name, &mut page);
    files(name, &mut page);
    for (heading, lines) in help.iter().filter(|(heading, _)| !["EXIT STATUS", "ENVIRONMENT"].contains(heading)) {
        page.quoted_section(heading);
        page.verbatim(lines.iter().copied());
    }
    see_also(name, &mut page);
    page.finish()
}

/// Returns quintet(7).
pub fn overview() -> String {
    Roff::new("quintet", 7, &date()).finish() + OVERVIEW
}

/// Returns the date of the pages: `SOURCE_DATE_EPOCH` for reproducible packages, else today.
fn date() -> String {
    let epoch = std::env::var("SOURCE_DATE_EPOCH").ok().and_then(|seconds| seconds.parse().ok());
    let time = epoch.and_then(|seconds| Timestamp::from_second(seconds).ok()).unwrap_or_else(Timestamp::now);
    time.strftime("%Y-%m-%d").to_string()
}

fn name_section(command: &Command, name: &str, page: &mut Roff) {
    let about = command.get_about().map(ToString::to_string).unwrap_or_default();
    page.section("NAME");
    page.text(&escape(&format!("{name} - {about}")));
}

fn synopsis(command: &Command, page: &mut Roff) {
    let usage = command.clone().render_usage().to_string();
    page.section("SYNOPSIS");
    for (nth, line) in usage.trim_start_matches("Usage:").lines().enumerate() {
        if nth > 0 {
            page.request("br");
        }
        page.text(&line.split_whitespace().map(usage_word).collect::<Vec<_>>().join(" "));
    }
}

/// Formats a word of a usage line: placeholders in italics, literal words in bold.
fn usage_word(word: &str) -> String {
    let is_punctuation = |c: char| "[]<>|.=".contains(c);
    let mut formatted = String::new();
    let mut rest = word;
    while let Some(first) = rest.chars().next() {
        let end = if is_punctuation(first) { 1 } else { rest.find(is_punctuation).unwrap_or(rest.len()) };
        let (part, after) = rest.split_at(end);
        match part {
            "<" | ">" => {}
            _ if is_punctuation(first) => formatted.push_str(part),
            _ if first.is_ascii_uppercase() => formatted.push_str(&italic(part)),
            _ => formatted.push_str(&bold(part)),
        }
        rest = after;
    }
    formatted
}

fn description(command: &Command, page: &mut Roff) {
    page.section("DESCRIPTION");
    let text = command.get_long_about().or(command.get_about()).map(ToString::to_string).unwrap_or_default();
    paragraphs(&text, page);
    let path = command.get_bin_name().and_then(|path| path.rsplit_once(' '));
    for alias in command.get_visible_aliases() {
        let parent = path.map_or("quintet", |(parent, _)| parent);
        page.request("PP");
        page.text(&format!("{} is an alias.", bold(&format!("{parent} {alias}"))));
    }
}

fn options(command: &Command, page: &mut Roff) {
    let shown = |arg: &&Arg| !arg.is_hide_set();
    page.section("OPTIONS");
    for arg in command.get_positionals().filter(shown) {
        argument(arg, &positional_term(arg), page);
    }
    let of_heading = |heading: Option<&'static str>| {
        let options = command.get_arguments().filter(|arg| !arg.is_positional());
        options.filter(shown).filter(move |arg| arg.get_help_heading() == heading)
    };
    for arg in of_heading(None) {
        argument(arg, &option_term(arg), page);
    }
    const GLOBAL: &str = "Global options";
    page.subsection(GLOBAL);
    for arg in of_heading(Some(GLOBAL)) {
        argument(arg, &option_term(arg), page);
    }
}

fn takes_value(arg: &Arg) -> bool {
    arg.get_num_args().is_some_and(|range| range.takes_values())
}

fn value_names(arg: &Arg) -> Vec<String> {
    match arg.get_value_names() {
        Some(names) => names.iter().map(ToString::to_string).collect(),
        None => vec![arg.get_id().as_str().to_uppercase()],
    }
}

fn positional_term(arg: &Arg) -> String {
    let several = if arg.get_num_args().is_some_and(|range| range.max_values() > 1) { "..." } else { "" };
    value_names(arg).iter().map(|name| italic(name)).collect::<Vec<_>>().join(" ") + several
}

fn option_term(arg: &Arg) -> String {
    let short = arg.get_short().map(|short| bold(&format!("-{short}")));
    let long = arg.get_long().map(|long| bold(&format!("--{long}")));
    let mut term = short.into_iter().chain(long).collect::<Vec<_>>().join(", ");
    if takes_value(arg) {
        for name in value_names(arg) {
            term.push(' ');
            term.push_str(&italic(&name));
        }
    }
    term
}

/// Writes an option or argument with its help, its default and its possible values.
fn argument(arg: &Arg, term: &str, page: &mut Roff) {
    let help = match arg.get_id().as_str() {
        "help" => "Print a help text; -h prints a shorter one".to_owned(),
        _ => arg.get_long_help().or(arg.get_help()).map(ToString::to_string).unwrap_or_default(),
    };
    let mut text = sentence(&help);
    if takes_value(arg) && !arg.is_hide_default_value_set() && !arg.get_default_values().is_empty() {
        let defaults: Vec<_> = arg.get_default_values().iter().map(|value| value.to_string_lossy()).collect();
        text.push_str(&format!(" The default is {}.", defaults.join(",")));
    }
    let values: Vec<_> = match takes_value(arg) && !arg.is_hide_possible_values_set() {
        true => arg.get_possible_values().into_iter().filter(|value| !value.is_hide_set()).collect(),
        false => Vec::new(),
    };
    let explained = values.iter().any(|value| value.get_help().is_some());
    if !values.is_empty() && !explained {
        let names: Vec<_> = values.iter().map(|value| value.get_name()).collect();
        text.push_str(&format!(" One of {}.", names.join(", ")));
    }
    page.item(term, &escape(text.trim_start()));
    if explained {
        page.request("RS");
        for value in values {
            let help = value.get_help().map(StyledStr::to_string).unwrap_or_default();
            page.item(&bold(value.get_name()), &escape(&sentence(&help)));
        }
        page.request("RE");
    }
}

fn commands(command: &Command, name: &str, page: &mut Roff) {
    let mut subcommands = command.get_subcommands().filter(|c| !c.is_hide_set()).peekable();
    if subcommands.peek().is_none() {
        return;
    }
    page.section("COMMANDS");
    for subcommand in subcommands {
        let about = subcommand.get_about().map(ToString::to_string).unwrap_or_default();
        let term = reference(&format!("{name}-{}(1)", subcommand.get_name()));
        page.item(&term, &escape(&sentence(&about)));
    }
}

fn exit_status(help: &[(&str, Vec<&str>)], name: &str, page: &mut Roff) {
    page.section("EXIT STATUS");
    match section(help, "EXIT STATUS") {
        Some(lines) => entries(lines, page),
        None => rows(topics::exit_status(name), page),
    }
}

fn environment(help: &[(&str, Vec<&str>)], name: &str, page: &mut Roff) {
    page.section("ENVIRONMENT");
    if let Some(lines) = section(help, "ENVIRONMENT") {
        entries(lines, page);
    }
    rows(topics::environment(name), page);
}

fn files(name: &str, page: &mut Roff) {
    page.section("FILES");
    for (path, text) in topics::files(name) {
        page.item(&italic(path), &escape(text));
    }
}

fn see_also(name: &str, page: &mut Roff) {
    page.section("SEE ALSO");
    let references: Vec<_> = topics::see_also(name).iter().map(|name| reference(name)).collect();
    page.text(&references.join(", "));
}

fn rows<'a>(rows: impl IntoIterator<Item = (&'a str, &'a str)>, page: &mut Roff) {
    for (term, text) in rows {
        page.item(&bold(term), &escape(text));
    }
}

/// Formats a page's name and section, such as `quintet-ls(1)`.
fn reference(page: &str) -> String {
    let (name, section) = page.split_once('(').unwrap_or((page, ""));
    format!("{}({section}", bold(name))
}

fn paragraphs(text: &str, page: &mut Roff) {
    for (nth, paragraph) in text.split("\n\n").enumerate() {
        if nth > 0 {
            page.request("PP");
        }
        page.text(&escape(&sentence(paragraph)));
    }
}

/// Adds what help texts leave out: the capital of the first word and the full stop.
fn sentence(text: &str) -> String {
    let text = text.trim();
    let first = text.split(' ').next().unwrap_or_default();
    let is_word = first.bytes().all(|byte| byte.is_ascii_lowercase());
    let (start, rest) = text.split_at(usize::from(is_word && !first.is_empty()));
    let end = if text.is_empty() || text.ends_with(['.', '?', '!', ']', ':']) { "" } else { "." };
    start.to_uppercase() + rest + end
}

/// Splits the help text after the options by its headings: lines in capitals that end with a colon.
fn sections(text: &str) -> Vec<(&str, Vec<&str>)> {
    let mut sections: Vec<(&str, Vec<&str>)> = Vec::new();
    for line in text.lines() {
        match line.strip_suffix(':').filter(|heading| heading.chars().all(|c| c.is_ascii_uppercase() || c == ' ')) {
            Some(heading) => sections.push((heading, Vec::new())),
            None => sections.iter_mut().last().into_iter().for_each(|(_, lines)| lines.push(line)),
        }
    }
    for (_, lines) in &mut sections {
        while lines.last().is_some_and(|line| line.is_empty()) {
            lines.pop();
        }
    }
    sections
}

fn section<'a>(help: &'a [(&str, Vec<&'a str>)], wanted: &str) -> Option<&'a [&'a str]> {
    help.iter().find(|(heading, _)| *heading == wanted).map(|(_, lines)| &lines[..])
}

/// Writes terms with their explanations, or paragraphs.
///
/// A term is indented by two spaces, and two more spaces or the line's end follow it. Its
/// explanation goes on in lines with a deeper indentation.
fn entries(lines: &[&str], page: &mut Roff) {
    let mut open: Option<(Option<&str>, String)> = None;
    let mut is_first = true;
    let mut close = |entry: Option<(Option<&str>, String)>| {
        let Some((term, text)) = entry else { return };
        let text = escape(&sentence(&text));
        match term {
            Some(term) => page.item(&bold(term), &text),
            None => {
                if !is_first {
                    page.request("PP");
                }
                page.text(&text);
            }
        }
        is_first = false;
    };
    for line in lines {
        let content = line.trim();
        let is_deep = line.starts_with("   ");
        let term = match content.split_once("  ") {
            _ if is_deep => None,
            Some((term, rest)) => Some((term, rest.trim())),
            None if !content.contains(' ') && !content.is_empty() && !content.ends_with('.') => Some((content, "")),
            None => None,
        };
        match (&mut open, term) {
            (_, Some((term, rest))) => close(open.replace((Some(term), rest.to_owned()))),
            (_, None) if content.is_empty() => close(open.take()),
            (Some((Some(_), text)), None) if is_deep => *text = format!("{text} {content}"),
            (Some((None, text)), None) => *text = format!("{text} {content}"),
            _ => close(open.replace((None, content.to_owned()))),
        }
    }
    close(open);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn completes_sentences_and_leaves_values_as_they_are() {
        assert_eq!(sentence("the program was not found"), "The program was not found.");
        assert_eq!(sentence("survive: install a handler"), "survive: install a handler.");
        assert_eq!(sentence("Capacity in bytes [default: msgmnb]"), "Capacity in bytes [default: msgmnb]");
        assert_eq!(sentence(""), "");
    }

    #[test]
    fn formats_placeholders_and_literals_of_a_usage_line() {
        assert_eq!(usage_word("<PID|SET>"), "\\fIPID\\fR|\\fISET\\fR");
        assert_eq!(usage_word("[OPTIONS]"), "[\\fIOPTIONS\\fR]");
        assert_eq!(usage_word("--size"), "\\fB\\-\\-size\\fR");
    }

    #[test]
    fn reads_tables_and_paragraphs_of_the_help() {
        let mut page = Roff::new("x", 1, "2026-01-02");
        entries(
            &["  The exit code, or:", "  125  quintet itself", "       failed", "  LONG_NAME", "            a text"],
            &mut page,
        );
        let page = page.finish();
        let (_, text) = page.split_once(".ad l\n").unwrap();
        let items = ".TP\n\\fB125\\fR\nQuintet itself failed.\n.TP\n\\fBLONG_NAME\\fR\nA text.\n";
        assert_eq!(text, format!("The exit code, or:\n{items}"));
    }
}
