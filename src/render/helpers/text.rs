//! Helpers that shape words and figures.

use serde_json::{Value, json};

use super::super::escape::{Kind, truncate as cut, unformatted};
use super::{Args, shown};

pub(super) fn upper(args: &Args<'_>) -> Result<Value, String> {
    Ok(json!(args.at(0)?.text().to_uppercase()))
}

pub(super) fn lower(args: &Args<'_>) -> Result<Value, String> {
    Ok(json!(args.at(0)?.text().to_lowercase()))
}

/// `client_to_pivot` becomes `Client to pivot`.
pub(super) fn humanize(args: &Args<'_>) -> Result<Value, String> {
    let text = args.at(0)?.text().replace(['_', '-'], " ");
    let mut chars = text.chars();
    let first: String = chars.next().map(|c| c.to_uppercase().collect()).unwrap_or_default();
    Ok(json!(first + chars.as_str()))
}

pub(super) fn truncate(args: &Args<'_>) -> Result<Value, String> {
    Ok(json!(cut(&args.at(0)?.text(), args.at(1)?.size()?)))
}

pub(super) fn first_line(args: &Args<'_>) -> Result<Value, String> {
    let text = args.at(0)?.text();
    Ok(json!(text.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or_default()))
}

pub(super) fn join(args: &Args<'_>) -> Result<Value, String> {
    let separator = args.params.get(1).map_or_else(|| ", ".to_owned(), super::Arg::text);
    let list = args.at(0)?;
    match list.value {
        Value::Array(items) => Ok(json!(items.iter().map(shown).collect::<Vec<_>>().join(&separator))),
        _ => Ok(json!(list.text())),
    }
}

pub(super) fn plural(args: &Args<'_>) -> Result<Value, String> {
    let count = args.at(0)?;
    let one = args.at(1)?.text();
    if count.number() == Some(1.0) {
        return Ok(json!(format!("1 {one}")));
    }
    let many = args.params.get(2).map_or_else(|| format!("{one}s"), super::Arg::text);
    Ok(json!(format!("{} {many}", count.text())))
}

pub(super) fn json(args: &Args<'_>) -> Result<Value, String> {
    let arg = args.at(0)?;
    Ok(json!(if arg.missing { "null".to_owned() } else { arg.value.to_string() }))
}

/// The value without any formatting of its own: only Slack has any in plain text.
pub(super) fn plain(args: &Args<'_>) -> Result<Value, String> {
    let text = args.at(0)?.text();
    Ok(json!(if args.kind == Kind::Slack { unformatted(&text) } else { text }))
}

/// `1234.5` and `EUR` become `€1,234.50`.
pub(super) fn money(args: &Args<'_>) -> Result<Value, String> {
    let amount = args.at(0)?;
    let currency = args.at(1)?.text().to_uppercase();
    let Some(number) = amount.number() else { return Ok(json!(amount.text())) };
    let decimals = match currency.as_str() {
        "JPY" | "KRW" | "CLP" | "VND" | "ISK" | "XAF" | "XOF" | "PYG" | "UGX" => 0,
        "BHD" | "KWD" | "OMR" | "JOD" | "TND" | "IQD" | "LYD" => 3,
        _ => 2,
    };
    let symbol = match currency.as_str() {
        "USD" => "$",
        "EUR" => "€",
        "GBP" => "£",
        "JPY" => "¥",
        "ILS" => "₪",
        "INR" => "₹",
        "KRW" => "₩",
        other => &format!("{other} "),
    };
    let text = format!("{:.decimals$}", number.abs());
    let (whole, fraction) = text.split_once('.').map_or((text.as_str(), None), |(w, f)| (w, Some(f)));
    let minus = if number < 0.0 { "-" } else { "" };
    let fraction = fraction.map(|fraction| format!(".{fraction}")).unwrap_or_default();
    Ok(json!(format!("{minus}{symbol}{}{fraction}", grouped(whole))))
}

/// Digits in groups of three.
fn grouped(digits: &str) -> String {
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}
