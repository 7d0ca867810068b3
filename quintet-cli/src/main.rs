//! `quintet`: see the library.

fn main() -> std::process::ExitCode {
    quintet_cli::main()
}
