//! What makes deliveries good: the keys by which later messages can, and which message did.

use jiff::Timestamp;

use super::tx::{Tx, ms, text};
use crate::model::delivery::Planned;
use crate::store::{Admitted, Result};

/// Keys of deliveries that are not written yet: the delivery's id, and the key.
#[derive(Debug, Default)]
pub(super) struct Keys(Vec<(String, String)>);

impl Keys {
    /// Those of what a delivery was made for, or has taken in.
    pub(super) fn add(&mut self, delivery: &str, planned: &Planned) {
        let keys = planned.good_by.iter();
        self.0.extend(keys.map(|key| (text(delivery).into_owned(), text(key).into_owned())));
    }

    /// Writes those of deliveries that are there.
    pub(super) async fn write(&self, tx: &Tx<'_>) -> Result<()> {
        if self.0.is_empty() {
            return Ok(());
        }
        let (ids, keys): (Vec<&str>, Vec<&str>) =
            self.0.iter().map(|(id, key)| (id.as_str(), key.as_str())).unzip();
        tx.run(
            "INSERT INTO resolutions (delivery, key, account, rule)
             SELECT d.seq, k.key, d.account, d.rule FROM unnest($1::text[], $2::text[]) AS k (id, key)
             CROSS JOIN LATERAL (SELECT seq, account, rule FROM deliveries WHERE id = k.id LIMIT 1) AS d
             ON CONFLICT (delivery, key) DO NOTHING",
            &[&ids, &keys],
        )
        .await
        .map(|_| ())
    }
}

/// Notes what a message makes good: what was sent or waits, is all older than it, and is not about it.
pub(super) async fn make_good(tx: &Tx<'_>, admitted: &Admitted, now: Timestamp) -> Result<()> {
    let message = &admitted.message;
    for makes in &admitted.makes_good {
        let rules: Vec<_> = makes.rules.iter().map(|rule| text(rule)).collect();
        tx.run(
            "UPDATE resolutions r SET resolved_by = $4, resolved_at = $5
             WHERE account = $1 AND rule = ANY ($2) AND key = $3 AND resolved_by IS NULL
               AND (SELECT state FROM deliveries WHERE seq = r.delivery) IN ('pending', 'sending', 'delivered')
               AND NOT EXISTS (SELECT 1 FROM delivery_messages dm
                 CROSS JOIN LATERAL (SELECT created_at, uid FROM messages WHERE id = dm.message LIMIT 1) AS m
                 WHERE dm.delivery = r.delivery AND (m.created_at > $6 OR m.uid = $4))",
            &[
                &text(&message.account),
                &rules,
                &text(&makes.key),
                &text(&message.uid),
                &ms(now),
                &ms(message.created_at),
            ],
        )
        .await?;
    }
    Ok(())
}
