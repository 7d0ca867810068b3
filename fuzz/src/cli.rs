//! The command line: the input's lines are its arguments.

/// More arguments than this say nothing that fewer would not.
const ARGUMENTS: usize = 20;

/// Reads them, and does nothing.
pub fn run(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let args: Vec<&str> = text.split('\n').take(ARGUMENTS).collect();
    quintet_cli::read(&args);
}
