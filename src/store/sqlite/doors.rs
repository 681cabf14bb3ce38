//! The contract's calls as the embedded store answers them: what writes goes to the writer, what reads to a reader.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use super::admit::Texts;
use super::{
    Sqlite, admit, claim, figures, gather, history, listing, mutes, polling, replay, roles, settle, targets,
};
use crate::model::delivery::{Claim, Job, Planned, StateName, Waiting};
use crate::model::id::DeliveryId;
use crate::model::message::Triple;
use crate::model::mute::Mute;
use crate::model::settle::TargetChange;
use crate::store::standing::Standing;
use crate::store::{
    AccountStatus, Admission, Claimed, Counts, Cursor, Detail, Filter, Hold, Instance, MessagePage, Moment,
    NameKind, Outlook, Picked, Quarantined, Result, Row, Settlement, StoredMessage, Taken, TargetState, Want,
    Window,
};

impl Sqlite {
    pub(in crate::store) async fn cursor(&self, account: &str) -> Result<Cursor> {
        let account = account.to_owned();
        self.read(move |db| polling::cursor(db, &account)).await
    }

    pub(in crate::store) async fn seen(&self, account: &str, uids: &[String]) -> Result<HashSet<String>> {
        let (account, uids) = (account.to_owned(), uids.to_vec());
        self.read(move |db| polling::seen(db, &account, &uids)).await
    }

    pub(in crate::store) async fn seen_between(
        &self,
        account: &str,
        from: Timestamp,
        to: Timestamp,
    ) -> Result<u64> {
        let account = account.to_owned();

        self.read(move |db| polling::seen_between(db, &account, from, to)).await
    }

    pub(in crate::store) async fn admit_leasing(
        &self,
        admission: Admission,
        wants: Vec<Want>,
        now: Timestamp,
    ) -> Result<(Taken, Vec<Job>)> {
        // Written out here: the writer is one thread, and the caller one of many.
        let texts = Texts::of(&admission)?;
        self.write(move |db| admit::admit(db, &admission, &texts, &wants, now)).await
    }

    pub(in crate::store) async fn polled(
        &self,
        account: &str,
        result: std::result::Result<(), String>,
        now: Timestamp,
    ) -> Result<()> {
        let account = account.to_owned();
        self.write(move |db| polling::polled(db, &account, &result, now)).await
    }

    pub(in crate::store) async fn claim(&self, wants: Vec<Want>, now: Timestamp) -> Result<Claimed> {
        self.write(move |db| claim::claim(db, &wants, now)).await
    }

    pub(in crate::store) async fn settle_claiming(
        &self,
        settlements: Vec<Arc<Settlement>>,
        wants: Vec<Want>,
        now: Timestamp,
    ) -> Result<(Vec<bool>, Claimed)> {
        let payloads = settle::payloads(&settlements)?;
        self.write(move |db| {
            let written = settle::settle(db, &settlements, payloads, now)?;
            let mut claimed = Claimed::default();
            claim::take(db, &wants, now, &mut claimed)?;
            Ok((written, claimed))
        })
        .await
    }

    pub(in crate::store) async fn release(&self, claims: Vec<Claim>, now: Timestamp) -> Result<()> {
        self.write(move |db| settle::release(db, &claims, now)).await
    }

    pub(in crate::store) async fn next_due(&self, targets: &[String]) -> Result<Option<Timestamp>> {
        let targets = targets.to_vec();
        self.read(move |db| claim::next_due(db, &targets)).await
    }

    pub(in crate::store) async fn outlook(&self, targets: &[String]) -> Result<Outlook> {
        let targets = targets.to_vec();
        self.read(move |db| claim::outlook(db, &targets)).await
    }

    pub(in crate::store) async fn replay(
        &self,
        picked: &[Picked],
        now: Timestamp,
    ) -> Result<Vec<DeliveryId>> {
        let picked = picked.to_vec();
        self.write(move |db| replay::replay(db, &picked, now)).await
    }

    pub(in crate::store) async fn discard(
        &self,
        ids: &[DeliveryId],
        now: Timestamp,
    ) -> Result<Vec<DeliveryId>> {
        let ids = ids.to_vec();
        self.write(move |db| replay::discard(db, &ids, now)).await
    }

    pub(in crate::store) async fn flush(
        &self,
        ids: &[DeliveryId],
        now: Timestamp,
    ) -> Result<Vec<DeliveryId>> {
        let ids = ids.to_vec();
        self.write(move |db| replay::flush(db, &ids, now)).await
    }

    pub(in crate::store) async fn expired(&self, of: &Job, since: Timestamp) -> Result<u64> {
        let of = (of.account.clone(), of.rule.clone(), of.target.clone(), of.recipient.clone());
        self.read(move |db| listing::expired(db, &of, since)).await
    }

    pub(in crate::store) async fn owe(&self, planned: Vec<Planned>, now: Timestamp) -> Result<usize> {
        self.write(move |db| admit::owe(db, &planned, now)).await
    }

    pub(in crate::store) async fn deliveries(&self, filter: Filter) -> Result<(Vec<Row>, u64)> {
        self.read(move |db| listing::deliveries(db, &filter)).await
    }

    pub(in crate::store) async fn page(&self, filter: Filter) -> Result<Vec<Row>> {
        self.read(move |db| listing::page(db, &filter)).await
    }

    pub(in crate::store) async fn ended_per(
        &self,
        since: Timestamp,
        step: Duration,
    ) -> Result<Vec<(Timestamp, StateName, u64)>> {
        self.read(move |db| figures::ended_per(db, since, step)).await
    }

    pub(in crate::store) async fn latencies(
        &self,
        windows: &[Window],
        sample: usize,
    ) -> Result<Vec<Vec<u64>>> {
        let windows = windows.to_vec();
        self.read(move |db| figures::latencies(db, &windows, sample)).await
    }

    pub(in crate::store) async fn arrivals(
        &self,
        after: Option<i64>,
        limit: usize,
    ) -> Result<Vec<(i64, StoredMessage)>> {
        self.read(move |db| figures::arrivals(db, after, limit)).await
    }

    pub(in crate::store) async fn ended_since(
        &self,
        states: &'static [StateName],
        since: Timestamp,
        limit: usize,
    ) -> Result<Vec<Row>> {
        self.read(move |db| figures::ended_since(db, states, since, limit)).await
    }

    pub(in crate::store) async fn took_since(&self, target: &str, since: Timestamp) -> Result<bool> {
        let target = target.to_owned();
        self.read(move |db| figures::took_since(db, &target, since)).await
    }

    pub(in crate::store) async fn moments(&self, now: Timestamp, limit: usize) -> Result<Vec<Moment>> {
        self.read(move |db| figures::moments(db, now, limit)).await
    }

    pub(in crate::store) async fn triples_since(&self, since: Timestamp) -> Result<Vec<(Triple, u64)>> {
        self.read(move |db| figures::triples_since(db, since)).await
    }

    pub(in crate::store) async fn delivery(&self, id: &DeliveryId) -> Result<Option<Detail>> {
        let id = id.clone();
        self.read(move |db| listing::delivery(db, &id)).await
    }

    pub(in crate::store) async fn message(
        &self,
        account: Option<&str>,
        uid: &str,
    ) -> Result<Option<StoredMessage>> {
        let (account, uid) = (account.map(str::to_owned), uid.to_owned());

        self.read(move |db| listing::message(db, account.as_deref(), &uid)).await
    }

    pub(in crate::store) async fn messages(&self, page: MessagePage) -> Result<Vec<StoredMessage>> {
        self.read(move |db| listing::messages(db, &page)).await
    }

    pub(in crate::store) async fn mute(
        &self,
        rule: &str,
        until: Timestamp,
        reason: &str,
        now: Timestamp,
    ) -> Result<Mute> {
        let (rule, reason) = (rule.to_owned(), reason.to_owned());
        self.write(move |db| mutes::mute(db, &rule, until, &reason, now)).await
    }

    pub(in crate::store) async fn mutes(&self, now: Timestamp) -> Result<Vec<Mute>> {
        self.read(move |db| mutes::mutes(db, now)).await
    }

    pub(in crate::store) async fn lift_mute(&self, id: i64, now: Timestamp) -> Result<Option<Mute>> {
        self.write(move |db| mutes::lift(db, id, now)).await
    }

    pub(in crate::store) async fn counts(&self, target: Option<&str>) -> Result<Counts> {
        let target = target.map(str::to_owned);
        self.read(move |db| listing::counts(db, target.as_deref())).await
    }

    pub(in crate::store) async fn counts_by_target(&self) -> Result<BTreeMap<String, Counts>> {
        self.read(listing::counts_by_target).await
    }

    pub(in crate::store) async fn owed_targets(&self) -> Result<Vec<String>> {
        self.read(listing::owed_targets).await
    }

    pub(in crate::store) async fn accounts(&self) -> Result<Vec<AccountStatus>> {
        self.read(polling::accounts).await
    }

    pub(in crate::store) async fn oldest_due_by_target(&self) -> Result<Vec<(String, Timestamp)>> {
        self.read(listing::oldest_due_by_target).await
    }

    pub(in crate::store) async fn target_states(&self) -> Result<Vec<TargetState>> {
        self.read(targets::list).await
    }

    pub(in crate::store) async fn change_target(
        &self,
        target: &str,
        change: TargetChange,
        reason: &str,
    ) -> Result<()> {
        let (target, reason) = (target.to_owned(), reason.to_owned());

        self.write(move |db| {
            targets::change(db, &target, |it| it.apply(change, &reason, None, None))?;
            Ok(())
        })
        .await
    }

    pub(in crate::store) async fn pause_target(
        &self,
        target: &str,
        paused: bool,
        reason: &str,
    ) -> Result<()> {
        let (target, reason) = (target.to_owned(), reason.to_owned());

        self.write(move |db| targets::pause(db, &target, paused, &reason)).await
    }

    pub(in crate::store) async fn name(
        &self,
        account: &str,
        kind: NameKind,
        uid: &str,
    ) -> Result<Option<(serde_json::Value, Timestamp)>> {
        let (account, uid) = (account.to_owned(), uid.to_owned());
        self.read(move |db| polling::name(db, &account, kind, &uid)).await
    }

    pub(in crate::store) async fn keep_names(
        &self,
        account: &str,
        names: Vec<(NameKind, String, serde_json::Value)>,
        now: Timestamp,
    ) -> Result<()> {
        let account = account.to_owned();

        self.write(move |db| polling::keep_names(db, &account, &names, now)).await
    }

    pub(in crate::store) async fn triples(&self) -> Result<Vec<(Triple, u64)>> {
        self.read(history::triples).await
    }

    pub(in crate::store) async fn quarantine(&self) -> Result<Vec<(String, Quarantined, Timestamp)>> {
        self.read(polling::quarantine).await
    }

    pub(in crate::store) async fn prune(
        &self,
        delivered_before: Timestamp,
        dead_before: Timestamp,
        batch: usize,
    ) -> Result<usize> {
        self.write(move |db| history::prune(db, delivered_before, dead_before, batch)).await
    }

    pub(in crate::store) async fn ping(&self) -> Result<()> {
        self.write(history::ping).await
    }

    pub(in crate::store) async fn ids_like(&self, prefix: &str, limit: usize) -> Result<Vec<DeliveryId>> {
        let prefix = prefix.to_owned();
        self.read(move |db| listing::ids_like(db, &prefix, limit)).await
    }

    pub(in crate::store) async fn gather(
        &self,
        whole: Planned,
        parts: &[DeliveryId],
        now: Timestamp,
    ) -> Result<usize> {
        let parts = parts.to_vec();
        self.write(move |db| gather::gather(db, whole, &parts, now)).await
    }

    pub(in crate::store) async fn tell(
        &self,
        trouble: &str,
        lasts: bool,
        notices: Vec<Planned>,
        now: Timestamp,
    ) -> Result<bool> {
        let trouble = trouble.to_owned();
        self.write(move |db| admit::tell(db, &trouble, lasts, &notices, now)).await
    }

    pub(in crate::store) async fn tell_afterwards(
        &self,
        trouble: &str,
        from: Timestamp,
        notices: Vec<Planned>,
        now: Timestamp,
    ) -> Result<bool> {
        let trouble = trouble.to_owned();
        self.write(move |db| admit::tell_afterwards(db, &trouble, from, &notices, now)).await
    }

    pub(in crate::store) async fn waiting(
        &self,
        target: &str,
        before: Timestamp,
        limit: usize,
    ) -> Result<Vec<Waiting>> {
        let target = target.to_owned();
        self.read(move |db| gather::waiting(db, &target, before, limit)).await
    }

    pub(in crate::store) async fn held(
        &self,
        target: &str,
        until: Timestamp,
        limit: usize,
    ) -> Result<Vec<Waiting>> {
        let target = target.to_owned();
        self.read(move |db| gather::held(db, &target, until, limit)).await
    }

    pub(in crate::store) async fn recovery_seen(&self, target: &str) -> Result<()> {
        let target = target.to_owned();
        self.write(move |db| targets::change(db, &target, Standing::recovery_seen)).await
    }

    pub(in crate::store) async fn beat(
        &self,
        host: &str,
        config: &str,
        gone_before: Timestamp,
        now: Timestamp,
    ) -> Result<()> {
        let (host, config) = (host.to_owned(), config.to_owned());
        self.write(move |db| roles::beat(db, &host, &config, gone_before, now)).await
    }

    pub(in crate::store) async fn hold(
        &self,
        roles: &[String],
        ttl: Duration,
        now: Timestamp,
    ) -> Result<HashSet<String>> {
        let roles = roles.to_vec();
        self.write(move |db| roles::hold(db, &roles, ttl, now)).await
    }

    pub(in crate::store) async fn let_go(&self, roles: &[String]) -> Result<()> {
        let roles = roles.to_vec();
        self.write(move |db| roles::let_go(db, &roles)).await
    }

    pub(in crate::store) async fn leave(&self, gone_before: Timestamp) -> Result<()> {
        self.write(move |db| roles::leave(db, gone_before)).await
    }

    pub(in crate::store) async fn holds(&self) -> Result<Vec<Hold>> {
        self.read(roles::holds).await
    }

    pub(in crate::store) async fn instances(&self) -> Result<Vec<Instance>> {
        self.read(roles::instances).await
    }
}
