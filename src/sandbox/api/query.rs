//! The parameters of the list of messages: read strictly, refused with the reason.

use jiff::Timestamp;

use crate::model::catalog;
use crate::sandbox::behaviour::OverCap;

/// Rows a page where nothing is asked for.
const PER_PAGE_DEFAULT: u64 = 25;
/// Rows a page at the most.
const PER_PAGE_MAX: u64 = 100;

/// What the list is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Query {
    pub(super) activity_type: Option<String>,
    pub(super) activity_action: Option<String>,
    pub(super) client_uid: Option<String>,
    pub(super) staff_uid: Option<String>,
    pub(super) conversation_uid: Option<String>,
    /// In raw values: `pivot_to_client` or `client_to_pivot`.
    pub(super) direction: Option<&'static str>,
    pub(super) was_read: Option<bool>,
    pub(super) created_after: Option<Timestamp>,
    pub(super) created_before: Option<Timestamp>,
    pub(super) ascending: bool,
    pub(super) page: u64,
    /// The page size in effect.
    pub(super) per_page: u64,
}

impl Default for Query {
    fn default() -> Self {
        Self {
            activity_type: None,
            activity_action: None,
            client_uid: None,
            staff_uid: None,
            conversation_uid: None,
            direction: None,
            was_read: None,
            created_after: None,
            created_before: None,
            ascending: false,
            page: 1,
            per_page: PER_PAGE_DEFAULT,
        }
    }
}

/// The parameters of a query string, decoded, in order.
pub(super) fn pairs(text: &str) -> Vec<(String, String)> {
    url::form_urlencoded::parse(text.as_bytes())
        .map(|(name, value)| (name.into_owned(), value.into_owned()))
        .collect()
}

/// Reads the parameters, or says what is wrong with the first wrong one.
pub(super) fn parse(text: &str, over_cap: OverCap) -> Result<Query, String> {
    let mut query = Query::default();
    let pairs = pairs(text);
    for (index, (name, value)) in pairs.iter().enumerate() {
        if pairs.iter().take(index).any(|(other, _)| other == name) {
            return Err(format!("{name} is given twice"));
        }
        set(&mut query, name, value, over_cap)?;
    }
    Ok(query)
}

/// Unknown parameters are passed over, as is a `sort` by anything but the time.
fn set(query: &mut Query, name: &str, value: &str, over_cap: OverCap) -> Result<(), String> {
    match name {
        "activity_type" if catalog::api_types().contains(&value) => {
            query.activity_type = Some(value.to_owned());
        }
        "activity_type" => return Err("unknown activity_type".to_owned()),
        "activity_action" => query.activity_action = Some(value.to_owned()),
        "client_uid" => query.client_uid = Some(value.to_owned()),
        "staff_uid" => query.staff_uid = Some(value.to_owned()),
        "conversation_uid" => query.conversation_uid = Some(value.to_owned()),
        "direction" => {
            query.direction = Some(match value {
                "business_to_client" => "pivot_to_client",
                "client_to_business" => "client_to_pivot",
                _ => return Err("unknown direction".to_owned()),
            });
        }
        "was_read" => {
            query.was_read = Some(value.parse().map_err(|_| "was_read is invalid".to_owned())?);
        }
        "created_after" => query.created_after = Some(date_time(name, value)?),
        "created_before" => query.created_before = Some(date_time(name, value)?),
        "sort" => query.ascending = value.split(',').next() == Some("created_at:asc"),
        "page" => query.page = number(name, value)?,
        "per_page" => {
            let asked = number(name, value)?;
            query.per_page = match over_cap {
                _ if asked <= PER_PAGE_MAX && over_cap != OverCap::TwentyFive => asked,
                OverCap::Clamp => PER_PAGE_MAX,
                OverCap::Reject => return Err(format!("per_page must not be above {PER_PAGE_MAX}")),
                OverCap::TwentyFive => asked.min(PER_PAGE_DEFAULT),
            };
        }
        _ => {}
    }
    Ok(())
}

/// A whole number from 1; as large as it likes.
fn number(name: &str, value: &str) -> Result<u64, String> {
    if value.is_empty() || !value.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(format!("{name} is invalid"));
    }
    match value.parse::<u64>() {
        Ok(0) => Err(format!("{name} must be at least 1")),
        Ok(number) => Ok(number),
        Err(_) => Ok(u64::MAX),
    }
}

/// A time with a zone, as RFC 3339 has it; a fraction may be of any length.
fn date_time(name: &str, value: &str) -> Result<Timestamp, String> {
    let bytes = value.as_bytes();
    let shaped = bytes.len() >= 20
        && bytes.iter().take(19).enumerate().all(|(index, byte)| match index {
            4 | 7 => *byte == b'-',
            10 => matches!(byte, b'T' | b't' | b' '),
            13 | 16 => *byte == b':',
            _ => byte.is_ascii_digit(),
        });
    let zoned = value.ends_with(['Z', 'z'])
        || bytes
            .len()
            .checked_sub(6)
            .and_then(|at| bytes.get(at))
            .is_some_and(|byte| matches!(byte, b'+' | b'-'));
    if !shaped || !zoned {
        return Err(format!("{name} is not a valid time"));
    }
    let parsed = value.parse::<Timestamp>().or_else(|error| match value.find('.') {
        Some(dot) => {
            let end = value.get(dot + 1..).and_then(|rest| rest.find(|c: char| !c.is_ascii_digit()));
            let rest = end.and_then(|end| value.get(dot + 1 + end..)).unwrap_or_default();
            let digits = value.get(dot..dot + 10.min(1 + end.unwrap_or(0))).unwrap_or_default();
            format!("{}{digits}{rest}", value.get(..dot).unwrap_or_default()).parse()
        }
        None => Err(error),
    });
    parsed.map_err(|_| format!("{name} is not a valid time"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(text: &str) -> Result<Query, String> {
        parse(text, OverCap::Clamp)
    }

    #[test]
    fn what_is_not_asked_for_is_as_documented() {
        let query = asked("").unwrap();
        assert_eq!((query.page, query.per_page, query.ascending), (1, 25, false));
    }

    #[test]
    fn wrong_values_are_refused() {
        for text in [
            "activity_type=General",
            "activity_type=",
            "direction=to_pivot",
            "was_read=yes",
            "created_after=yesterday",
            "created_after=2026-11-02",
            "created_after=2026-11-02T10:00:00",
            "created_before=2026-11-02T10:00:00+02:00",
            "page=0",
            "page=-1",
            "per_page=ten",
            "per_page=1.5",
            "page=1&page=2",
        ] {
            assert!(asked(text).is_err(), "{text}");
        }
    }

    #[test]
    fn times_in_every_zone_are_understood() {
        for text in
            ["2026-11-02T08:00:00Z", "2026-11-02t10:00:00%2B02:00", "2026-11-02T08:00:00.000000000000Z"]
        {
            let query = asked(&format!("created_after={text}")).unwrap();
            assert_eq!(query.created_after, Some("2026-11-02T08:00:00Z".parse().unwrap()), "{text}");
        }
    }

    #[test]
    fn too_large_pages_are_cut_refused_or_small() {
        let size = |text, over_cap| parse(text, over_cap).map(|query| query.per_page);
        assert_eq!(size("per_page=100", OverCap::Clamp), Ok(100));
        assert_eq!(size("per_page=101", OverCap::Clamp), Ok(100));
        assert!(size("per_page=101", OverCap::Reject).is_err());
        assert_eq!(size("per_page=100", OverCap::TwentyFive), Ok(25));
        assert_eq!(size("per_page=10", OverCap::TwentyFive), Ok(10));
        assert_eq!(size("per_page=99999999999999999999999", OverCap::Clamp), Ok(100));
    }
}
