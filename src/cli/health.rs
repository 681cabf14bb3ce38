//! `health`: asks a running relay how it is; for container health checks.

use std::time::Duration;

use reqwest::StatusCode;
use reqwest::header::{CONTENT_TYPE, HeaderMap};

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
    /// Where the relay listens; without a path `/readyz` is asked
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:8787/readyz")]
    url: url::Url,
}

/// Asks and prints the answer.
///
/// # Errors
/// The output cannot be written.
pub async fn run(args: &Args, context: &mut Context) -> anyhow::Result<Exit> {
    let mut url = args.url.clone();
    if url.path() == "/" {
        url.set_path("/readyz");
    }
    let request = Request::get(url.clone(), HeaderMap::new(), ANSWER_BYTES_MAX);
    match Egress::new(Policy::Any).send(request, PATIENCE).await {
        Ok(answer) if !is_plain(&answer.headers) => {
            let (status, page) = (answer.status.as_u16(), "no relay's /readyz or /livez");
            context.out.line(format!("what answers at {url} ({status}) is {page}: name one of them"))?;
            Ok(Exit::Problem)
        }
        Ok(answer) if answer.status == StatusCode::OK => {
            context.out.line(answer.text().trim())?;
            Ok(Exit::Fine)
        }
        Ok(answer) => {
            context.out.line(format!("{}: {}", answer.status.as_u16(), answer.text().trim()))?;
            Ok(Exit::Problem)
        }
        Err(failure) => {
            context.out.line(format!("no relay answers at {url}: {failure}"))?;
            Ok(Exit::Problem)
        }
    }
}

/// How a relay tells of itself: a page is meant for somebody else.
fn is_plain(headers: &HeaderMap) -> bool {
    let media = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    ["text/plain", "application/openmetrics-text"].iter().any(|plain| media.starts_with(plain))
}
