//! `health`: asks a running relay how it is; for container health checks.

use std::time::Duration;

use reqwest::StatusCode;
use reqwest::header::HeaderMap;

use crate::egress::policy::Policy;
use crate::egress::{Egress, Request};

use super::{Context, Exit};

/// The answer must come within this time.
const PATIENCE: Duration = Duration::from_secs(3);
/// More is not read of it.
const ANSWER_BYTES_MAX: usize = 4096;

/// Ask a running relay how it is: exit 0 if it is ready, 1 if not
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Where the relay listens
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:8787/readyz")]
    url: url::Url,
}

/// Asks and prints the answer.
///
/// # Errors
/// The output cannot be written.
pub async fn run(args: &Args, context: &mut Context) -> anyhow::Result<Exit> {
    let request = Request::get(args.url.clone(), HeaderMap::new(), ANSWER_BYTES_MAX);
    match Egress::new(Policy::Any).send(request, PATIENCE).await {
        Ok(answer) if answer.status == StatusCode::OK => {
            context.out.line(answer.text().trim())?;
            Ok(Exit::Fine)
        }
        Ok(answer) => {
            context.out.line(format!("{}: {}", answer.status.as_u16(), answer.text().trim()))?;
            Ok(Exit::Problem)
        }
        Err(failure) => {
            context.out.line(format!("no relay answers at {}: {failure}", args.url))?;
            Ok(Exit::Problem)
        }
    }
}
