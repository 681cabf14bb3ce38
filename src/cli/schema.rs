//! `schema`: the JSON Schema of the rules file, with which editors complete and check it.

use crate::config::schema::{self, Names, Of};

use super::{Context, Exit};

/// Print the JSON Schema of the rules file, for editors
///
/// Beside a rules file it offers that file's targets, accounts and templates as well. A rules file names its schema in its
/// first line: # yaml-language-server: $schema=rules.schema.json
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Of a file that another one includes, such as rules.d/*.yaml
    #[arg(long)]
    included: bool,
    /// Of a file of rule tests, such as rules.test.yaml
    #[arg(long, conflicts_with = "included")]
    tests: bool,
    /// Without the names of this rules file's targets, accounts and templates
    #[arg(long)]
    generic: bool,
}

/// Prints the schema. A rules file with mistakes gives the names that can be read of it, a missing one none.
#[expect(clippy::unused_async, reason = "every command is async")]
pub async fn run(args: &Args, context: &mut Context) -> anyhow::Result<Exit> {
    let of = match (args.included, args.tests) {
        (true, _) => Of::Included,
        (_, true) => Of::Tests,
        _ => Of::Main,
    };
    let names = if args.generic { Names::default() } else { context.load().names };
    context.out.line(text(of, &names)?.trim_end())?;
    Ok(Exit::Fine)
}

/// The schema in lines, so that a change of it is readable where it is kept beside the rules.
pub(super) fn text(of: Of, names: &Names) -> serde_json::Result<String> {
    Ok(serde_json::to_string_pretty(&schema::schema(of, names))? + "\n")
}
