//! The footbridge program.
#![forbid(unsafe_code)]

use std::process::ExitCode;

use footbridge::{cli, run};

fn main() -> ExitCode {
    match work() {
        Ok(text) => {
            print!("{text}");
            ExitCode::SUCCESS
        }
        Err(line) => {
            eprintln!("Error: {line}");
            ExitCode::FAILURE
        }
    }
}

/// Does what the arguments ask for; returns what is to be printed.
fn work() -> Result<String, String> {
    let args: Vec<String> = std::env::args_os()
        .skip(1)
        .map(|arg| {
            arg.into_string()
                .map_err(|arg| format!("{arg:?} is not UTF-8"))
        })
        .collect::<Result<_, _>>()?;
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match cli::parse(&args)? {
        cli::Request::Print(text) => Ok(text),
        cli::Request::Check(options) => {
            let notes = run::check(&options).map_err(|e| e.to_string())?;
            let lines = notes.iter().map(|note| format!("Warning: {note}\n"));
            Ok(lines.collect::<String>() + "The configuration is good.\n")
        }
        cli::Request::Run(options) => {
            run::run(&options).map_err(|e| e.to_string())?;
            Ok(String::new())
        }
    }
}
