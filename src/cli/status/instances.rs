//! The part of `status` about the relays themselves.

use crate::answers::status::Status;
use crate::cli::output::{BAD, BOLD, DIM, WARN, paint};
use crate::cli::table::{self, plain};
use crate::cli::{Context, when};

/// Several, or one that could be several: where it can only be one, that it is there says nothing.
pub(super) fn show(status: &Status, context: &Context) -> anyhow::Result<()> {
    let (found, now, differ) = (&status.instances, status.now, status.rules_differ());
    if found.is_empty() {
        return Ok(());
    }
    let rows = found.iter().map(|instance| {
        let roles: Vec<&str> = instance.holds.iter().map(|held| held.role.as_str()).collect();
        let seen = when::ago(instance.last_seen, now);
        let seen = if instance.alive { (DIM, seen) } else { (WARN, format!("{seen} (gone)")) };
        let mut row = vec![
            (BOLD, instance.host.clone()),
            plain(when::ago(instance.started_at, now)),
            seen,
            plain(instance.sending.to_string()),
        ];
        if differ {
            row.push((WARN, instance.config.clone().unwrap_or_default()));
        }
        row.push(plain(table::short(&roles.join(", "), 120)));
        row
    });
    context.out.line("")?;
    let mut head = vec!["INSTANCE", "STARTED", "LAST SEEN", "SENDING"];
    head.extend(differ.then_some("RULES FILE"));
    head.push("HOLDS");
    for line in table::lines(&head, rows.collect(), context.out.width()) {
        context.out.line(line.trim_end())?;
    }
    Ok(())
}

/// What nobody does: that the relays were killed, that an account is polled by none. And that they go by different rules.
pub(super) fn missed(status: &Status) -> Vec<String> {
    let mut lines = Vec::new();
    let killed = status.killed();
    match killed.iter().map(|instance| instance.last_seen).max() {
        Some(last) if status.shared => {
            let head = format!("no instance is alive, the last was seen {}:", when::ago(last, status.now));
            lines.push(format!(
                "{} they ended without a word or hang; nobody polls or sends. Start one again",
                paint(BAD, head)
            ));
        }
        _ => lines.extend(killed.iter().map(|killed| {
            let polls: Vec<String> = killed.polls().iter().map(|account| format!("`{account}`")).collect();
            let polled =
                if polls.is_empty() { String::new() } else { format!("that polled {} ", polls.join(", ")) };
            let end = format!("the relay {polled}({}) ended without a word", killed.host);
            format!("{}; start it again", paint(BAD, end))
        })),
    }
    let unpolled = status.accounts.iter().filter(|account| account.unpolled);
    lines.extend(unpolled.map(|account| {
        let head = format!("nobody polls `{}` though a relay runs:", account.name);
        format!("{} reload it, if its rules file is an older one, and look into its log", paint(BAD, head))
    }));
    if status.rules_differ() {
        let head = paint(WARN, "the instances run different rules files:");
        lines.push(format!(
            "{head} unless a change is being rolled out, reload those that have the older one"
        ));
    }
    lines
}
