//! The part of `status` about the relays themselves.

use jiff::Timestamp;

use crate::answers::instances::Instance;
use crate::cli::output::{BOLD, DIM, WARN};
use crate::cli::table::{self, plain};
use crate::cli::{Context, when};

/// Several, or one that could be several: where it can only be one, that it is there says nothing.
pub(super) fn show(found: &[Instance], context: &Context, now: Timestamp) -> anyhow::Result<()> {
    if found.is_empty() {
        return Ok(());
    }
    let rows = found.iter().map(|instance| {
        let roles: Vec<&str> = instance.holds.iter().map(|held| held.role.as_str()).collect();
        let style = if instance.alive { DIM } else { WARN };
        vec![
            (BOLD, instance.host.clone()),
            plain(when::ago(instance.started_at, now)),
            (style, when::ago(instance.last_seen, now)),
            plain(instance.sending.to_string()),
            plain(table::short(&roles.join(", "), 120)),
        ]
    });
    context.out.line("")?;
    let head = ["INSTANCE", "STARTED", "LAST SEEN", "SENDING", "HOLDS"];
    for line in table::lines(&head, rows.collect(), context.out.width()) {
        context.out.line(line.trim_end())?;
    }
    Ok(())
}
