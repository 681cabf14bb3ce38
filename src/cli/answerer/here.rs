//! Answers out of the store, which this process opens beside a running relay.

use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::{Needs, stop};
use crate::answers::actions::{Change, Changed};
use crate::answers::deliveries::{Listed, Shown, again, detail, known};
use crate::answers::digests::{self, Digest};
use crate::answers::status::Status;
use crate::answers::{mutes, targets};
use crate::cli::Context;
use crate::config::Config;
use crate::daemon::clock::Clock;
use crate::model::id::DeliveryId;
use crate::model::mute::Mute;
use crate::store::{Counts, Filter, Picked, Store};

/// The store, and the rules file if it loads.
#[derive(Debug)]
pub struct Here {
    store: Store,
    config: Option<Config>,
    clock: Clock,
}

impl Here {
    pub(super) async fn open(needs: Needs, context: &mut Context) -> anyhow::Result<Self> {
        let config = match needs {
            Needs::Store if !context.lacks_named_config() => context.load().config,
            Needs::Store | Needs::Rules => Some(context.config()?),
        };
        Ok(Self { store: context.store().await?, config, clock: context.clock.clone() })
    }

    pub(super) fn has_rules(&self) -> bool {
        self.config.is_some()
    }

    /// The rules file, where the command needed it.
    fn config(&self) -> anyhow::Result<&Config> {
        self.config.as_ref().ok_or_else(|| anyhow::anyhow!("the command did not ask for the rules file"))
    }

    #[expect(clippy::unused_async, reason = "a running relay has to be asked for it")]
    pub(super) async fn zone(&self) -> anyhow::Result<TimeZone> {
        Ok(self.config.as_ref().map_or(TimeZone::UTC, |config| config.timezone.clone()))
    }

    pub(super) async fn deliveries(&self, filter: Filter) -> anyhow::Result<(Vec<Listed>, u64)> {
        let (rows, all) = self.store.deliveries(filter.clone()).await?;
        if rows.is_empty() {
            known(&self.store, self.config.as_ref(), &filter).await.map_err(stop)?;
        }
        Ok((rows.iter().map(Listed::of).collect(), all))
    }

    pub(super) async fn has_deliveries(&self) -> anyhow::Result<bool> {
        Ok(self.store.counts(None).await? != Counts::default())
    }

    pub(super) async fn delivery(&self, id: &str) -> anyhow::Result<Shown> {
        let detail = detail(&self.store, id).await.map_err(stop)?;
        let again = again(&self.store, &detail.row).await?;
        // The configuration adds a mail's headers; without one the rest is still worth seeing.
        let target = self.config.as_ref().and_then(|config| config.targets.get(&detail.row.target));
        Ok(Shown::of(&detail, &again, target.map(AsRef::as_ref)))
    }

    pub(super) async fn change_named(&self, change: Change, ids: &[String]) -> anyhow::Result<Vec<Changed>> {
        let rows = change.named(&self.store, ids).await.map_err(stop)?;
        let picked: Vec<Picked> = rows.into_iter().map(|row| row.id.into()).collect();
        Ok(change.run(&self.store, &picked, self.clock.now()).await?)
    }

    pub(super) async fn change_found(
        &self,
        change: Change,
        ids: Vec<DeliveryId>,
    ) -> anyhow::Result<Vec<Changed>> {
        let picked: Vec<Picked> = ids.into_iter().map(Picked::unsent).collect();
        Ok(change.run(&self.store, &picked, self.clock.now()).await?)
    }

    pub(super) async fn status(&self) -> anyhow::Result<Status> {
        Ok(Status::of(&self.store, self.config.as_ref(), self.clock.now()).await?)
    }

    pub(super) async fn targets(&self) -> anyhow::Result<Vec<targets::Listed>> {
        Ok(targets::list(&self.store, self.config()?, self.clock.now()).await?)
    }

    pub(super) async fn hold(&self, target: &str, reason: Option<&str>) -> anyhow::Result<targets::Listed> {
        let held = targets::hold(&self.store, self.config()?, (target, reason), self.clock.now()).await;
        held.map_err(stop)
    }

    pub(super) async fn test(&self, name: &str) -> anyhow::Result<Vec<targets::Tested>> {
        let config = self.config()?;
        let target = targets::named(config, name).map_err(stop)?;
        let by = format!("Somebody ran `activity-relay targets test {name}`");
        Ok(targets::test(target, &by, config, self.clock.now()).await)
    }

    pub(super) async fn mutes(&self) -> anyhow::Result<Vec<Mute>> {
        Ok(self.store.mutes(self.clock.now()).await?)
    }

    pub(super) async fn mute(&self, rule: &str, until: Timestamp, reason: &str) -> anyhow::Result<Mute> {
        let muted = mutes::add(&self.store, self.config()?, (rule, until, reason), self.clock.now()).await;
        muted.map_err(stop)
    }

    pub(super) async fn lift(&self, id: i64) -> anyhow::Result<Mute> {
        mutes::lift(&self.store, id, self.clock.now()).await.map_err(stop)
    }

    pub(super) async fn digests(&self) -> anyhow::Result<Vec<Digest>> {
        Ok(digests::open(&self.store).await?)
    }

    pub(super) async fn flush(&self, ids: &[String]) -> anyhow::Result<Vec<DeliveryId>> {
        let ids = digests::open_ones(&self.store, ids).await.map_err(stop)?;
        Ok(self.store.flush(&ids, self.clock.now()).await?)
    }

    pub(super) async fn cancel(&self, ids: &[String]) -> anyhow::Result<Vec<DeliveryId>> {
        let ids = digests::open_ones(&self.store, ids).await.map_err(stop)?;
        Ok(self.store.discard(&ids, self.clock.now()).await?)
    }
}
