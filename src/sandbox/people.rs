//! Who belongs to the fake business: its name, its clients, its staff.

use serde_json::{Value, json};

use crate::model::id::hex_of;
use crate::model::names::{Business, Client, Staff};
use crate::model::sample;

/// The business, its clients and its staff. Ann Bloom and Leo Marsh, whom the samples are about, always belong to it.
#[derive(Debug, Clone)]
pub struct People {
    business: Business,
    clients: Vec<Client>,
    staff: Vec<Staff>,
}

impl Default for People {
    fn default() -> Self {
        let names = sample::names();
        Self {
            business: names.business.unwrap_or_default(),
            clients: names.client.into_iter().collect(),
            staff: names.staff.into_iter().collect(),
        }
    }
}

impl People {
    /// Another name and time zone for the business.
    pub fn call(&mut self, name: Option<String>, time_zone: Option<String>) {
        self.business.name = name.or_else(|| self.business.name.take());
        self.business.time_zone = time_zone.or_else(|| self.business.time_zone.take());
    }

    /// Adds a client, or replaces the one with the same uid.
    pub fn add_client(&mut self, client: Client) {
        self.clients.retain(|other| other.uid != client.uid);
        self.clients.push(client);
    }

    /// Adds a staff member, or replaces the one with the same uid.
    pub fn add_staff(&mut self, staff: Staff) {
        self.staff.retain(|other| other.uid != staff.uid);
        self.staff.push(staff);
    }

    /// A client by uid.
    pub fn client(&self, uid: &str) -> Option<&Client> {
        self.clients.iter().find(|client| client.uid == uid)
    }

    pub(super) fn business_uid(&self) -> &str {
        self.business.uid.as_deref().unwrap_or(sample::BUSINESS_UID)
    }

    /// The uid of the client of this name or uid, who is made if there is none; null for `none`.
    pub(super) fn client_uid(&mut self, who: &str) -> Option<String> {
        if who == "none" {
            return None;
        }
        let known = |client: &&Client| client.uid == who || client.name.as_deref() == Some(who);
        if let Some(client) = self.clients.iter().find(known) {
            return Some(client.uid.clone());
        }
        let client = new_client(who);
        self.clients.push(client.clone());
        Some(client.uid)
    }

    /// The uid of the staff member of this name or uid, who is made if there is none; null for `none`.
    pub(super) fn staff_uid(&mut self, who: &str) -> Option<String> {
        if who == "none" {
            return None;
        }
        let known = |staff: &&Staff| staff.uid == who || staff.name.as_deref() == Some(who);
        if let Some(staff) = self.staff.iter().find(known) {
            return Some(staff.uid.clone());
        }
        let uid = hex_of(&["staff", who], 8);
        self.staff.push(Staff {
            uid: uid.clone(),
            name: Some(who.to_owned()),
            email: Some(address(who, "harbour.example")),
        });
        Some(uid)
    }

    /// `/oauth/userinfo`.
    pub(super) fn userinfo(&self, kind: &str) -> Value {
        let me = self.staff.first().cloned().unwrap_or_default();
        json!({
            "sub": me.uid, "email": me.email, "type": kind, "role": "owner",
            "business_uid": self.business_uid(), "business_name": self.business.name,
            "brand_host": "app.vcita.com",
        })
    }

    /// `/platform/v1/clients/{uid}`.
    pub(super) fn client_card(&self, uid: &str) -> Option<Value> {
        let client = self.client(uid)?;
        let (first, last) = split_name(client.name.as_deref().unwrap_or_default());
        let matter = client.link_uid.clone().unwrap_or_else(|| hex_of(&["matter", uid], 8));
        Some(json!({ "status": "OK", "data": { "client": {
            "id": uid, "first_name": first, "last_name": last, "email": client.email,
            "mobile_phone": client.phone, "address": null, "tags": [], "customer_status": "customer",
            "matters": [{ "uid": matter, "display_name": client.name }],
        } } }))
    }

    /// `/platform/v1/businesses/{uid}/staffs`: booleans are strings there.
    pub(super) fn staff_list(&self) -> Value {
        let staff: Vec<Value> = self
            .staff
            .iter()
            .map(|staff| {
                let (first, last) = split_name(staff.name.as_deref().unwrap_or_default());
                json!({
                    "id": staff.uid, "display_name": staff.name, "first_name": first, "last_name": last,
                    "email": staff.email, "role": "owner", "active": "true", "deleted": "false",
                })
            })
            .collect();
        json!({ "status": "OK", "data": { "staff": staff } })
    }

    /// `/platform/v1/businesses/{uid}`: it holds a secret that nobody asked for.
    pub(super) fn business_card(&self) -> Value {
        json!({ "status": "OK", "data": { "business": {
            "business": {
                "name": self.business.name, "time_zone": self.business.time_zone, "country_name": "United Kingdom",
            },
            "meta": { "auth_token": "never-log-this-business-token" },
        } } })
    }
}

/// A client made up from a name.
pub fn new_client(name: &str) -> Client {
    let uid = hex_of(&["client", name], 8);
    let digits = uid.bytes().fold(0u32, |sum, byte| (sum * 31 + u32::from(byte)) % 900) + 100;
    Client {
        name: Some(name.to_owned()),
        email: Some(address(name, "example.com")),
        phone: Some(format!("+44 20 7946 0{digits}")),
        link_uid: Some(hex_of(&["matter", name], 8)),
        uid,
    }
}

fn address(name: &str, host: &str) -> String {
    let local: String =
        name.to_lowercase().chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '.' }).collect();
    format!("{}@{host}", local.trim_matches('.'))
}

fn split_name(name: &str) -> (&str, &str) {
    name.split_once(' ').unwrap_or((name, ""))
}
