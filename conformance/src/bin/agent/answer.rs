//! The text of commands and answers.

/// The values of an answer, or an errno.
pub type Answer = Result<String, i32>;

/// Parses a number in a command. Commands come from the controller in the same crate, so an invalid
/// one is a bug there.
pub fn number<T: std::str::FromStr>(word: &str) -> T {
    word.parse().unwrap_or_else(|_| panic!("not a number: {word}"))
}
