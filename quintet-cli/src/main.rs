//! The binary `quintet`. All of it is in the library, so that its command line can be fuzzed.

fn main() -> std::process::ExitCode {
    quintet_cli::main()
}
