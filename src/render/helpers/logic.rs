//! Helpers that choose and compare.

use std::cmp::Ordering;

use serde_json::{Value, json};

use super::{Arg, Args, shown};

#[expect(clippy::unnecessary_wraps, reason = "all helpers have one signature")]
pub(super) fn and(args: &Args<'_>) -> Result<Value, String> {
    Ok(json!(args.params.iter().all(Arg::truthy)))
}

#[expect(clippy::unnecessary_wraps, reason = "all helpers have one signature")]
pub(super) fn or(args: &Args<'_>) -> Result<Value, String> {
    let first = args.params.iter().find(|arg| arg.truthy());
    Ok(first.map_or_else(|| json!(""), |arg| arg.value.clone()))
}

pub(super) fn not(args: &Args<'_>) -> Result<Value, String> {
    Ok(json!(!args.at(0)?.truthy()))
}

pub(super) fn default(args: &Args<'_>) -> Result<Value, String> {
    let present = |arg: &&Arg<'_>| !arg.missing && *arg.value != json!("");
    match args.params.iter().find(present) {
        Some(arg) => Ok(arg.value.clone()),
        None => Ok(json!(args.at(0)?.text())),
    }
}

pub(super) fn eq(args: &Args<'_>) -> Result<Value, String> {
    same(args).map(|same| json!(same))
}

pub(super) fn ne(args: &Args<'_>) -> Result<Value, String> {
    same(args).map(|same| json!(!same))
}

pub(super) fn gt(args: &Args<'_>) -> Result<Value, String> {
    order(args).map(|order| json!(order == Some(Ordering::Greater)))
}

pub(super) fn gte(args: &Args<'_>) -> Result<Value, String> {
    order(args).map(|order| json!(order.is_some_and(Ordering::is_ge)))
}

pub(super) fn lt(args: &Args<'_>) -> Result<Value, String> {
    order(args).map(|order| json!(order == Some(Ordering::Less)))
}

pub(super) fn lte(args: &Args<'_>) -> Result<Value, String> {
    order(args).map(|order| json!(order.is_some_and(Ordering::is_le)))
}

pub(super) fn contains(args: &Args<'_>) -> Result<Value, String> {
    let (whole, part) = (args.at(0)?, shown(args.at(1)?.value));
    Ok(json!(match whole.value {
        Value::Array(list) => list.iter().any(|item| shown(item) == part),
        other => !whole.missing && shown(other).to_lowercase().contains(&part.to_lowercase()),
    }))
}

fn same(args: &Args<'_>) -> Result<bool, String> {
    let (a, b) = (args.at(0)?, args.at(1)?);
    if a.missing || b.missing {
        return Ok(a.missing && b.missing);
    }
    Ok(shown(a.value) == shown(b.value))
}

/// Numbers by size, texts by letters; nothing where one is missing.
fn order(args: &Args<'_>) -> Result<Option<Ordering>, String> {
    let (a, b) = (args.at(0)?, args.at(1)?);
    if a.missing || b.missing {
        return Ok(None);
    }
    Ok(match (a.number(), b.number()) {
        (Some(a), Some(b)) => a.partial_cmp(&b),
        _ => Some(shown(a.value).cmp(&shown(b.value))),
    })
}

pub(super) fn minus(args: &Args<'_>) -> Result<Value, String> {
    match (args.at(0)?.value.as_i64(), args.at(1)?.value.as_i64()) {
        (Some(whole), Some(part)) => Ok(json!(whole.saturating_sub(part))),
        _ => Err("two whole numbers are wanted".to_owned()),
    }
}
