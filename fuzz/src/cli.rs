//! The command line: each line of the input is an argument.

/// More arguments find nothing that fewer would not.
const ARGUMENTS: usize = 20;

/// Parses the arguments without executing them.
pub fn run(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let args: Vec<&str> = text.split('\n').take(ARGUMENTS).collect();
    quintet_cli::read(&args);
}
