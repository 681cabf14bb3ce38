//! `demo`
use super::{Context,Exit};
/// d
#[derive(Debug, clap::Args)]
pub struct Args {}
/// d
pub async fn run(_: &Args, _: &mut Context) -> anyhow::Result<Exit> { Ok(Exit::Fine) }
