//! How long a target asks to wait: `Retry-After` in its forms, and `retry_after` in Discord's and Telegram's bodies.

use std::time::Duration;

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use reqwest::header::{DATE, HeaderMap, HeaderValue, RETRY_AFTER};
use serde_json::Value;

/// The three forms of an HTTP date (RFC 9110, 5.6.7) behind the weekday, which says nothing new and may be wrong.
const DATE_FORMS: [&str; 3] = ["%d %b %Y %H:%M:%S GMT", "%d-%b-%y %H:%M:%S GMT", "%b %e %H:%M:%S %Y"];

/// The longest usable wait that an answer asks for. What is not a wait (negative, infinite, overflowing, in the past,
/// not a number) counts as absent. A date is meant by the clock of whoever wrote it, which is the answer's own `Date`
/// where there is one, so that a clock that is set wrong on either side does no harm. Never panics, whatever it is given.
pub fn asked(headers: &HeaderMap, body: &[u8], now: Timestamp) -> Option<Duration> {
    let text = |value: &HeaderValue| value.to_str().ok().map(str::to_owned);
    let now = headers.get(DATE).and_then(text).and_then(|text| date(&text)).unwrap_or(now);
    let waits = headers.get_all(RETRY_AFTER).iter().filter_map(|value| wait(&text(value)?, now));
    waits.chain(in_body(body)).max()
}

/// One header value: seconds, whole or decimal, or a date.
fn wait(text: &str, now: Timestamp) -> Option<Duration> {
    let text = text.trim();
    if let Ok(seconds) = text.parse::<f64>() {
        return seconds_of(seconds);
    }
    Duration::try_from(date(text)?.duration_since(now)).ok().filter(|wait| !wait.is_zero())
}

/// A date in one of its forms.
fn date(text: &str) -> Option<Timestamp> {
    let text = text.trim();
    let date = text.split_once(", ").or_else(|| text.split_once(' ')).map(|(_weekday, date)| date.trim())?;
    let civil = DATE_FORMS.iter().find_map(|form| DateTime::strptime(form, date).ok())?;
    Some(civil.to_zoned(TimeZone::UTC).ok()?.timestamp())
}

/// `retry_after` at the top (Discord) or under `parameters` (Telegram), in seconds.
fn in_body(body: &[u8]) -> Option<Duration> {
    let body: Value = serde_json::from_slice(body).ok()?;
    let value = body.get("retry_after").or_else(|| body.get("parameters")?.get("retry_after"))?;
    seconds_of(value.as_f64().or_else(|| value.as_str()?.trim().parse().ok())?)
}

fn seconds_of(seconds: f64) -> Option<Duration> {
    Duration::try_from_secs_f64(seconds).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// 1994-11-06 08:49:00 UTC, 37 seconds before the date that RFC 9110 takes for its examples.
    fn now() -> Timestamp {
        "1994-11-06T08:49:00Z".parse().unwrap()
    }

    fn of(values: &[&str]) -> Option<f64> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(RETRY_AFTER, value.parse().unwrap());
        }
        asked(&headers, b"", now()).map(|wait| wait.as_secs_f64())
    }

    #[test]
    fn seconds_whole_and_decimal() {
        for (text, seconds) in [("30", 30.0), ("0", 0.0), (" 1.5 ", 1.5), ("86400", 86400.0)] {
            assert_eq!(of(&[text]), Some(seconds), "{text}");
        }
    }

    #[test]
    fn the_three_forms_of_a_date() {
        for text in
            ["Sun, 06 Nov 1994 08:49:37 GMT", "Sunday, 06-Nov-94 08:49:37 GMT", "Sun Nov  6 08:49:37 1994"]
        {
            assert_eq!(of(&[text]), Some(37.0), "{text}");
        }
    }

    #[test]
    fn a_date_is_meant_by_the_clock_of_whoever_wrote_it() {
        let mut headers = HeaderMap::new();
        headers.insert(RETRY_AFTER, "Sun, 06 Nov 1994 09:49:37 GMT".parse().unwrap());
        for (date, seconds) in [
            ("Sun, 06 Nov 1994 09:49:07 GMT", Some(30)),
            ("Sun, 06 Nov 1994 10:49:37 GMT", None),
            ("yesterday", Some(3_637)),
        ] {
            headers.insert(DATE, date.parse().unwrap());
            assert_eq!(asked(&headers, b"", now()).map(|wait| wait.as_secs()), seconds, "{date}");
        }
    }

    #[test]
    fn what_is_not_a_wait_counts_as_absent() {
        let past = "Sun, 06 Nov 1994 08:48:00 GMT";
        let impossible = "Sun, 31 Feb 1994 08:49:37 GMT";
        let huge = "99999999999999999999999";
        for text in ["-5", "inf", "-inf", "NaN", "1e300", huge, "soon", "", "5s", "1,000", past, impossible] {
            assert_eq!(of(&[text]), None, "{text}");
        }
    }

    #[test]
    fn of_two_headers_the_larger_usable_one_counts() {
        assert_eq!(of(&["5", "30"]), Some(30.0));
        assert_eq!(of(&["inf", "7"]), Some(7.0));
        assert_eq!(of(&["12", "Sun, 06 Nov 1994 08:49:37 GMT"]), Some(37.0));
    }

    #[test]
    fn bodies_of_discord_and_telegram() {
        let of = |body: &str| asked(&HeaderMap::new(), body.as_bytes(), now()).map(|wait| wait.as_secs_f64());
        assert_eq!(of(r#"{"message":"limited","retry_after":0.25,"global":false}"#), Some(0.25));
        assert_eq!(of(r#"{"ok":false,"error_code":429,"parameters":{"retry_after":35}}"#), Some(35.0));
        assert_eq!(of(r#"{"retry_after":"3"}"#), Some(3.0));
        for body in
            [r#"{"retry_after":-1}"#, r#"{"retry_after":1e300}"#, r#"{"retry_after":[1]}"#, "[]", "<html>"]
        {
            assert_eq!(of(body), None, "{body}");
        }
    }

    proptest! {
        #[test]
        fn no_input_makes_it_panic(header in "[ -~]{0,40}", body in ".{0,60}", number in any::<f64>(), second in any::<i64>()) {
            let now = Timestamp::from_second(second % 200_000_000_000).unwrap();
            let mut headers = HeaderMap::new();
            headers.append(RETRY_AFTER, header.parse().unwrap());
            headers.append(RETRY_AFTER, number.to_string().parse().unwrap());
            asked(&headers, body.as_bytes(), now);
            asked(&headers, format!("{{\"retry_after\":{number:e}}}").as_bytes(), now);
        }
    }
}
