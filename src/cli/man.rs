//! `man`: manual pages, made from the command tree.

use std::path::{Path, PathBuf};

use clap::CommandFactory;

use super::output::counted;
use super::{Cli, Context, Exit, Stop};

/// Print the manual page, or write one for each command
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Write a page for each command into this folder
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

/// Prints the page, or writes all of them; exit 69 if the folder cannot be written to.
pub fn run(args: &Args, context: &mut Context) -> anyhow::Result<Exit> {
    let mut command = Cli::command();
    command.build();
    let Some(folder) = &args.out else {
        context.out.line(String::from_utf8(page(command)?)?.trim_end())?;
        return Ok(Exit::Fine);
    };
    let written = write(folder, command).map_err(|error| {
        let message = format!("the pages cannot be written to {}: {error}", folder.display());
        Stop::new(Exit::Unavailable, message)
    })?;
    context.out.line(format!("wrote {} to {}", counted(written, "page"), folder.display()))?;
    Ok(Exit::Fine)
}

/// Writes the pages of a command and of everything below it; how many there are.
fn write(folder: &Path, command: clap::Command) -> std::io::Result<usize> {
    std::fs::create_dir_all(folder)?;
    let mut waiting = vec![command];
    let mut written = 0;
    while let Some(command) = waiting.pop() {
        waiting.extend(command.get_subcommands().filter(|sub| sub.get_name() != "help").cloned());
        let name = command.get_display_name().unwrap_or(command.get_name());
        std::fs::write(folder.join(format!("{name}.1")), page(command.clone())?)?;
        written += 1;
    }
    Ok(written)
}

fn page(command: clap::Command) -> std::io::Result<Vec<u8>> {
    let mut page = Vec::new();
    clap_mangen::Man::new(command).render(&mut page)?;
    Ok(page)
}
