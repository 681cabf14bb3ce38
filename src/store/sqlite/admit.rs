//! Taking in: messages, what is owed for them, and how far polling got, in one transaction.

use jiff::Timestamp;
use rusqlite::{named_params, params};

use super::db::{Db, Json, Ms, rows};
use crate::model::delivery::{Planned, StateName};
use crate::model::id::DeliveryId;
use crate::store::{Admission, Admitted, Cursor, Quarantined, Result, StoreError, Taken};

/// Takes in one page.
pub(in crate::store) fn admit(db: &Db, admission: &Admission, now: Timestamp) -> Result<Taken> {
    let mut taken = Taken::default();
    for admitted in &admission.messages {
        if keep_message(db, &admission.account, admitted, now)? {
            taken.messages += 1;
            taken.deliveries += owe(db, &admitted.deliveries, now)?;
            crate::failpoint::pass("admit");
        }
    }
    for quarantined in &admission.quarantined {
        taken.quarantined += keep_aside(db, &admission.account, quarantined, now)?;
    }
    if let Some(cursor) = &admission.cursor {
        move_cursor(db, &admission.account, cursor)?;
    }
    Ok(taken)
}

/// Takes in deliveries; one that is already there stays as it is. Returns how many were new.
pub(in crate::store) fn owe(db: &Db, planned: &[Planned], now: Timestamp) -> Result<usize> {
    let mut new = 0;
    for planned in planned {
        let withheld = planned.withheld.is_some();
        let state = if withheld { StateName::Withheld } else { StateName::Pending };
        let seq = db.one(
            "INSERT INTO deliveries (id, account, rule, target, recipient, template, state, due_at,
               created_at, expires_at, settled_at, why, replay_of, notice)
             VALUES (:id, :account, :rule, :target, :recipient, :template, :state, :due_at,
               :created_at, :expires_at, :settled_at, :why, :replay_of, :notice)
             ON CONFLICT (id) DO NOTHING RETURNING seq",
            named_params! {
                ":id": planned.id.as_str(), ":account": planned.account, ":rule": planned.rule,
                ":target": planned.target, ":recipient": planned.recipient, ":template": planned.template,
                ":state": state.as_str(), ":due_at": (!withheld).then_some(Ms(planned.due_at)),
                ":created_at": Ms(now), ":expires_at": planned.expires_at.map(Ms),
                ":settled_at": withheld.then_some(Ms(now)), ":why": planned.withheld,
                ":replay_of": planned.replay_of.as_ref().map(DeliveryId::as_str),
                ":notice": planned.notice.as_ref().map(Json),
            },
            |row| row.get::<_, i64>("seq"),
        )?;
        if let Some(seq) = seq {
            link_messages(db, seq, planned)?;
            new += 1;
        }
    }
    Ok(new)
}

fn link_messages(db: &Db, seq: i64, planned: &Planned) -> Result<()> {
    for (position, uid) in planned.messages.iter().enumerate() {
        let linked = db.run(
            "INSERT INTO delivery_messages (delivery, position, message)
             SELECT ?1, ?2, id FROM messages WHERE account = ?3 AND uid = ?4",
            params![seq, rows(position), planned.account, uid],
        )?;
        if linked == 0 {
            let id = &planned.id;
            return Err(StoreError::Corrupt(format!(
                "delivery {id} is about message {uid}, which is not there"
            )));
        }
    }
    Ok(())
}

fn keep_message(db: &Db, account: &str, admitted: &Admitted, now: Timestamp) -> Result<bool> {
    let Admitted { message, rules, .. } = admitted;
    let kept = db.run(
        "INSERT INTO messages (account, uid, activity_type, message_type, direction, created_at, seen_at,
           rules, message)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9) ON CONFLICT (account, uid) DO NOTHING",
        params![
            account,
            message.uid,
            message.triple.activity_type,
            message.triple.message_type,
            message.triple.direction,
            Ms(message.created_at),
            Ms(now),
            Json(rules),
            Json(message)
        ],
    )?;
    Ok(kept > 0)
}

fn keep_aside(db: &Db, account: &str, item: &Quarantined, now: Timestamp) -> Result<usize> {
    // As far as it can be read: it lets `seen_between` count the item among those the API has.
    let made_at = item.raw.get("created_at").and_then(|at| at.as_str()?.parse().ok());
    db.run(
        "INSERT INTO quarantine (account, uid, raw, why, made_at, seen_at) VALUES (?1, ?2, ?3, ?4, ?5, ?6)
         ON CONFLICT DO NOTHING",
        params![account, item.uid, Json(&item.raw), item.why, made_at.map(Ms), Ms(now)],
    )
}

fn move_cursor(db: &Db, account: &str, cursor: &Cursor) -> Result<()> {
    db.run(
        "INSERT INTO accounts (name, floor, watermark) VALUES (?1, ?2, ?3)
         ON CONFLICT DO UPDATE SET floor = excluded.floor, watermark = excluded.watermark",
        params![account, cursor.floor.map(Ms), cursor.watermark.map(Ms)],
    )?;
    Ok(())
}
