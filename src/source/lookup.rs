//! The names behind uids: client, staff, business. Optional, tolerant, quickly given up; keeps nothing but the names.

use std::time::Duration;

use serde_json::Value;

use super::Account;
use super::api::Userinfo;
use super::fault::{ApiError, judge};
use super::http::Http;
use super::pace::Pace;
use super::{plain, wire};
use crate::egress::Egress;
use crate::model::names::{Business, Client, Staff};

/// Lookups a second in the long run, well below the least limit that is known (100 a minute).
pub const REQUESTS_PER_SECOND: f64 = 1.5;
/// Lookups at once after a rest.
pub const BURST: u32 = 10;
/// From the first byte sent to the last one read.
const DEADLINE: Duration = Duration::from_secs(5);
/// The longest answer that is read, after decompression.
const ANSWER_BYTES_MAX: usize = 4 * 1024 * 1024;
/// The longest name that is kept, in characters.
const NAME_CHARS_MAX: usize = 200;

/// Looks up names with an account's token.
#[derive(Debug)]
pub struct Lookup {
    http: Http,
    pace: Pace,
}

impl Lookup {
    /// For one account, with a budget of its own beside polling.
    pub fn new(account: &Account, egress: &Egress, pace: Pace) -> Self {
        Self { http: Http::new(account, egress), pace }
    }

    /// The usual budget.
    pub fn pace() -> Pace {
        Pace::per_second(REQUESTS_PER_SECOND).burst(BURST)
    }

    /// A client; `None` if there is none of that uid.
    ///
    /// # Errors
    /// See [`ApiError`].
    pub async fn client(&self, uid: &str) -> Result<Option<Client>, ApiError> {
        let Some(segment) = segment(uid) else { return Ok(None) };
        match self.get(&format!("/platform/v1/clients/{segment}"), &[]).await {
            Ok(value) => Ok(Some(client_of(uid, &value))),
            Err(ApiError::Refused { status: 404 | 410 | 422, .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// All members of a business's staff, former ones too.
    ///
    /// # Errors
    /// See [`ApiError`].
    pub async fn staff(&self, business_uid: &str) -> Result<Vec<Staff>, ApiError> {
        let Some(segment) = segment(business_uid) else { return Ok(Vec::new()) };
        let path = format!("/platform/v1/businesses/{segment}/staffs");
        Ok(staff_of(&self.get(&path, &[("status", "all".to_owned())]).await?))
    }

    /// The business of the token, with as much as can be had: the details may be refused where the name is not.
    ///
    /// # Errors
    /// See [`ApiError`].
    pub async fn business(&self, business_uid: Option<&str>) -> Result<Business, ApiError> {
        let userinfo = self.get("/oauth/userinfo", &[]).await.map(|value| Userinfo::of(&value));
        let known = userinfo.as_ref().ok();
        let uid = business_uid.map(str::to_owned).or_else(|| known?.business_uid.clone());
        let mut business =
            Business { uid, name: known.and_then(|info| info.business_name.clone()), time_zone: None };
        let Some(segment) = business.uid.as_deref().and_then(segment) else {
            return userinfo.map(|_| business);
        };
        match self.get(&format!("/platform/v1/businesses/{segment}"), &[]).await {
            Ok(value) => {
                let details = inner(&value, "business");
                business.name = name(details, "name").or(business.name);
                business.time_zone =
                    name(details, "time_zone").filter(|zone| zone.contains('/') || zone == "UTC");
                Ok(business)
            }
            Err(error) if business.name.is_none() => Err(error),
            Err(_) => Ok(business),
        }
    }

    async fn get(&self, path: &str, query: &[(&str, String)]) -> Result<Value, ApiError> {
        self.pace.turn().await;
        let reply = self.http.get(path, query, DEADLINE, ANSWER_BYTES_MAX).await?;
        judge(&reply)?;
        serde_json::from_slice(&reply.body).map_err(|_| ApiError::Unreadable("it is not JSON".to_owned()))
    }
}

/// A uid as part of a path, percent-encoded; `None` for one that would be read as something else.
fn segment(uid: &str) -> Option<String> {
    let plain = !uid.is_empty() && uid != "." && uid != "..";
    plain
        .then(|| url::form_urlencoded::byte_serialize(uid.as_bytes()).collect::<String>().replace('+', "%20"))
}

/// The object of that name inside `data` and inside itself, wherever it ends, as an object or an array of one.
fn inner<'a>(value: &'a Value, key: &str) -> &'a Value {
    let mut found = first(value.get("data").unwrap_or(value));
    while let Some(deeper) = found.get(key).map(first).filter(|deeper| deeper.is_object()) {
        found = deeper;
    }
    found
}

fn first(value: &Value) -> &Value {
    match value {
        Value::Array(list) => list.first().unwrap_or(&Value::Null),
        other => other,
    }
}

fn name(object: &Value, key: &str) -> Option<String> {
    let text = object.get(key)?.as_str()?;
    let text: String = plain::line_of(text).chars().take(NAME_CHARS_MAX).collect();
    (!text.is_empty()).then_some(text)
}

/// First and last name together.
fn full_name(object: &Value) -> Option<String> {
    let parts: Vec<String> = ["first_name", "last_name"].iter().filter_map(|key| name(object, key)).collect();
    (!parts.is_empty()).then(|| parts.join(" "))
}

fn client_of(uid: &str, value: &Value) -> Client {
    let client = inner(value, "client");
    let matter = client.get("matters").map(first).and_then(|matter| matter.get("uid")?.as_str());
    Client {
        uid: uid.to_owned(),
        name: full_name(client)
            .or_else(|| name(client, "full_name"))
            .or_else(|| name(client, "display_name")),
        email: name(client, "email"),
        phone: ["mobile_phone", "phone"].iter().find_map(|key| name(client, key)),
        link_uid: matter.filter(|uid| !uid.is_empty()).map(wire::cut),
    }
}

fn staff_of(value: &Value) -> Vec<Staff> {
    let data = value.get("data").unwrap_or(value);
    let list = match data.get("staff").or_else(|| data.get("staffs")).unwrap_or(data) {
        Value::Array(list) => list.as_slice(),
        one => std::slice::from_ref(one),
    };
    let read = |member: &Value| {
        let uid = ["id", "uid"].iter().find_map(|key| member.get(key)?.as_str())?.to_owned();
        let name_of = name(member, "display_name").or_else(|| full_name(member));
        Some(Staff { uid, name: name_of, email: name(member, "email") })
    };
    list.iter().filter_map(read).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_client_is_read_from_an_object_or_an_array_of_one() {
        let ann = json!({ "first_name": "Ann", "last_name": "Lee", "email": "ann@example.com", "mobile_phone": "+39 1",
                          "matters": [{ "uid": "mat1", "display_name": "Ann" }], "tags": [] });
        let expected = Client {
            uid: "c1".into(),
            name: Some("Ann Lee".into()),
            email: Some("ann@example.com".into()),
            phone: Some("+39 1".into()),
            link_uid: Some("mat1".into()),
        };
        for data in [json!({ "client": ann }), json!({ "client": [ann] }), json!([ann]), ann] {
            assert_eq!(client_of("c1", &json!({ "status": "OK", "data": data })), expected);
        }
        let bare = client_of("c1", &json!({ "data": { "client": { "first_name": null, "email": "" } } }));
        assert_eq!(bare, Client { uid: "c1".into(), ..Client::default() });
    }

    #[test]
    fn staff_is_read_as_a_list_or_a_single_object() {
        let bob = json!({ "id": "s1", "display_name": "Dr. Bob", "first_name": "Bob", "active": "true" });
        for data in [json!({ "staff": [bob, { "name": "no id" }] }), json!({ "staff": bob })] {
            let staff = staff_of(&json!({ "data": data }));
            assert_eq!(staff, [Staff { uid: "s1".into(), name: Some("Dr. Bob".into()), email: None }]);
        }
    }

    #[test]
    fn a_business_is_found_however_deep_it_lies() {
        let value = json!({ "data": { "business": { "meta": { "auth_token": "secret" },
                            "business": { "name": "Salon", "time_zone": "Europe/Rome" } } } });
        assert_eq!(name(inner(&value, "business"), "name").as_deref(), Some("Salon"));
        assert_eq!(
            name(inner(&json!({ "data": { "business": [{ "name": "B" }] } }), "business"), "name").as_deref(),
            Some("B")
        );
    }

    #[test]
    fn a_uid_cannot_lead_elsewhere() {
        assert_eq!(segment("a/../b?c"), Some("a%2F..%2Fb%3Fc".to_owned()));
        assert_eq!((segment(".."), segment("")), (None, None));
    }
}
