//! The `alcop` command.

fn main() -> std::process::ExitCode {
    alcop::cli::main()
}
