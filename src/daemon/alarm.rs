//! Tells people of an account whose polling fails, and of its end, across restarts.

use crate::rules::notice::Trouble;
use crate::source::Account;

use super::Relay;
use super::poller::{PollError, Tick};
use super::watch::{News, Watch};

/// The alarm of one account.
#[derive(Debug)]
pub struct Alarm {
    watch: Watch,
}

impl Alarm {
    /// The alarm of an account. Polling that failed before the relay was last stopped has failed since then. To be made
    /// before the first poll.
    pub async fn new(relay: &Relay, account: &str) -> Self {
        // A store that cannot be read is told of elsewhere; the watch begins anew then.
        let known = relay.store.accounts().await.unwrap_or_default();
        let failing = known.iter().find(|known| known.name == account && known.error.is_some());
        Self { watch: Watch::since(failing.and_then(|account| account.last_success)) }
    }

    /// Notes how a poll went, and tells what is to be told.
    pub async fn note(&mut self, relay: &Relay, account: &Account, tick: &Tick) {
        let error = tick.result.as_ref().err();
        let refused = matches!(error, Some(PollError::Api(error)) if error.token_refused());
        let reason = error.map(ToString::to_string).unwrap_or_default();
        let news = self.watch.note(error.is_some(), refused, account.poll_every, relay.clock.now());
        let trouble = match news {
            News::None => return,
            News::Failing => Trouble::Polling { account: &account.name, reason: &reason },
            News::Recovered => Trouble::PollingRecovered { account: &account.name },
        };
        let lasts = news == News::Failing;
        match relay.alert_once(&format!("polling {}", account.name), lasts, &trouble).await {
            Ok(()) => self.watch.told(lasts),
            // Told by the next poll after which it can be.
            Err(error) => {
                tracing::error!(account = account.name, %error, "nobody could be told of this account's trouble");
            }
        }
    }
}
