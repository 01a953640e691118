//! The footbridge program.
#![forbid(unsafe_code)]

use std::process::ExitCode;

use footbridge::config::printable::printable;
use footbridge::{cli, run};

fn main() -> ExitCode {
    match work() {
        Ok(status) => status,
        Err(line) => {
            let lines: Vec<_> = line.lines().map(printable).collect();
            cli::complain(&format!("Error: {}", lines.join("\n")));
            ExitCode::FAILURE
        }
    }
}

/// Does what the arguments ask for.
fn work() -> Result<ExitCode, String> {
    let args: Vec<String> = std::env::args_os()
        .skip(1)
        .map(|arg| {
            arg.into_string()
                .map_err(|arg| format!("{arg:?} is not UTF-8"))
        })
        .collect::<Result<_, _>>()?;
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    if let Some(status) = cli::commands::run(&args) {
        return Ok(ExitCode::from(status));
    }
    match cli::parse(&args)? {
        cli::Request::Print(text) => put(&text)?,
        cli::Request::Check(options) => {
            let findings = run::check(&options);
            for warning in findings.warnings {
                put(&format!("Warning: {}\n", printable(&warning)))?;
            }
            if !findings.errors.is_empty() {
                return Err(findings.errors.join("\n"));
            }
            put("The configuration is good.\n")?;
        }
        cli::Request::Run(options) => run::run(&options).map_err(|e| e.to_string())?,
    }
    Ok(ExitCode::SUCCESS)
}

fn put(text: &str) -> Result<(), String> {
    cli::put(text).map_err(|e| format!("standard output: {e}"))
}
