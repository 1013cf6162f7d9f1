//! How a program with options begins and ends: its help, a wrong argument, a failure.

use std::process::ExitCode;

/// What the command line asks for.
#[derive(Debug)]
pub(crate) enum Parsed<A> {
    Run(A),
    Help,
}

/// Runs a program as its command line asks. Ends with 0, with 1 if the program failed, with 2 for a wrong argument.
pub(crate) fn run<A>(
    name: &str,
    help: &str,
    parsed: Result<Parsed<A>, String>,
    program: impl FnOnce(&A) -> Result<(), String>,
) -> ExitCode {
    let args = match parsed {
        Ok(Parsed::Run(args)) => args,
        Ok(Parsed::Help) => {
            print!("{help}");
            return ExitCode::SUCCESS;
        }
        Err(message) => {
            eprintln!("{name}: {message}\nTry --help.");
            return ExitCode::from(2);
        }
    };
    match program(&args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("{name}: {message}");
            ExitCode::FAILURE
        }
    }
}
