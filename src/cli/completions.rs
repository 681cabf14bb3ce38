//! `completions`: a completion script for a shell, made from the command tree.

use std::io;

use clap::CommandFactory;

use super::{Cli, Context, Exit};

/// Print a completion script for a shell
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Which shell
    shell: clap_complete::Shell,
}

/// Prints the script.
pub fn run(args: &Args, context: &mut Context) -> anyhow::Result<Exit> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "activity-relay", &mut script);
    match context.out.line(String::from_utf8(script)?.trim_end()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(Exit::Fine),
    }
}
