//! The JSON Schema and the reader agree: what the schema offers is read, what it calls a default is one.

#![expect(clippy::unwrap_used, reason = "a test that cannot read its files has failed")]

use std::path::Path;
use std::process::Command;

use activity_relay::config::schema::{Names, Of, schema};
use activity_relay::config::secret::Environment;
use activity_relay::config::{self, Loaded};
use serde_json::{Map, Value, json};

/// A key somewhere in the file: the way there, and what the schema says about it.
struct Found {
    way: Vec<String>,
    says: Value,
}

/// A file in which every mapping that there is stands once, as JSON, which is YAML too.
fn whole() -> Value {
    let auth = json!({ "oauth2": { "token_url": "https://x.example.com/", "client_id": "a", "client_secret": "b" } });
    json!({
        "version": 1,
        "accounts": [{ "name": "main", "token": "x" }],
        "alerts": { "to": "desk" },
        "retention": {},
        "defaults": { "retry": {} },
        "targets": {
            "desk": { "type": "slack", "webhook_url": "https://hooks.slack.com/services/T/B/x", "retry": {} },
            "mail": { "type": "email", "smtp": "smtps://m.example.com", "from": "a@example.com", "to": "b@example.com", "retry": {} },
            "crm": { "type": "http", "url": "https://crm.example.com/", "auth": auth, "retry": {} },
            "other": { "type": "http", "url": "https://crm.example.com/", "auth": { "basic": { "user": "u", "password": "p" } } },
        },
        "schedules": { "office": { "days": "mon-sun", "from": "00:00", "holidays": [{ "file": "days.txt" }] } },
        "rules": [{
            "name": "one",
            "match": [{ "activity_type": "Meeting" }],
            "except": { "message_type": "schedule" },
            "deliver": [
                { "to": "desk", "during": "office", "except": [{ "message_type": "cancelled" }], "throttle": { "limit": 1, "per": "1h" } },
                { "to": "mail", "during": "office", "digest": { "at": "08:00" } },
                { "to": "crm", "during": "office", "collapse": { "by": "client.uid", "within": "60s" } },
                { "to": "other", "during": "office" },
            ],
        }, {
            "name": "two",
            "match": { "activity_type": "Payment" },
            "resolves": { "rules": "one" },
            "deliver": [{ "to": "desk", "during": "office" }],
        }],
    })
}

fn load(file: &Value) -> Loaded {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("rules.yaml");
    std::fs::write(&path, serde_json::to_string_pretty(file).unwrap()).unwrap();
    for holidays in ["days.txt", "holidays.ics"] {
        std::fs::write(folder.path().join(holidays), "2026-12-25\n").unwrap();
    }
    std::fs::create_dir(folder.path().join("templates")).unwrap();
    config::load(&path, &Environment::default())
}

/// Every key that the schema has, wherever the file has the mapping that it belongs to.
fn keys(schema: &Value, file: &Value, way: &[String], found: &mut Vec<Found>) {
    match file {
        Value::Object(fields) => {
            let own = schema.get("properties").and_then(Value::as_object);
            for (name, says) in own.into_iter().flatten() {
                let way: Vec<String> = way.iter().cloned().chain([name.clone()]).collect();
                if let Some(inner) = fields.get(name) {
                    keys(says, inner, &way, found);
                }
                found.push(Found { way, says: says.clone() });
            }
            let named = schema.get("additionalProperties").filter(|inner| inner.is_object());
            for (name, inner) in fields.iter().filter(|_| named.is_some()) {
                let way: Vec<String> = way.iter().cloned().chain([name.clone()]).collect();
                keys(named.unwrap(), inner, &way, found);
            }
        }
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                let way: Vec<String> = way.iter().cloned().chain([index.to_string()]).collect();
                keys(schema.get("items").unwrap_or(schema), item, &way, found);
            }
        }
        _ => {}
    }
    for word in ["anyOf", "allOf"] {
        for alternative in schema.get(word).and_then(Value::as_array).into_iter().flatten() {
            let kind = alternative.pointer("/if/properties/type/const");
            let branch = match (kind, alternative.get("then")) {
                (Some(kind), Some(then)) if file.get("type") == Some(kind) => then,
                (Some(_), _) => continue,
                _ => alternative,
            };
            let fits = match branch.get("type").and_then(Value::as_str) {
                Some("object") => file.is_object(),
                Some("array") => file.is_array(),
                _ => false,
            };
            if fits {
                keys(branch, file, way, found);
            }
        }
    }
}

fn all_keys() -> Vec<Found> {
    let mut found = Vec::new();
    keys(&schema(Of::Main, &Names::default()), &whole(), &[], &mut found);
    assert!(found.len() > 90, "{} keys", found.len());
    found
}

/// The file with another value at the end of a way.
fn with(way: &[String], value: Value) -> Value {
    let mut file = whole();
    let mut place = &mut file;
    for step in way {
        place = match place {
            Value::Array(items) => &mut items[step.parse::<usize>().unwrap()],
            other => other.as_object_mut().unwrap().entry(step.clone()).or_insert(Value::Null),
        };
    }
    *place = value;
    // Where one of two excludes the other, the new one stays.
    let apart = [
        ("token_file", "token"),
        ("activity_action", "message_type"),
        ("every", "at"),
        ("cron", "at"),
        ("rule", "rules"),
    ];
    for (one, other) in apart {
        if way.last().unwrap() == one
            && let Some(Value::Object(fields)) = parent(&mut file, way)
        {
            fields.remove(other);
        }
    }
    file
}

fn parent<'f>(file: &'f mut Value, way: &[String]) -> Option<&'f mut Value> {
    way[..way.len() - 1].iter().try_fold(file, |place, step| match place {
        Value::Array(items) => items.get_mut(step.parse::<usize>().ok()?),
        other => other.get_mut(step),
    })
}

#[test]
fn the_file_with_every_mapping_is_fine() {
    let loaded = load(&whole());
    assert!(loaded.problems.is_empty(), "{:#?}", loaded.problems);
}

#[test]
fn every_key_says_what_it_means() {
    for of in [Of::Main, Of::Included] {
        let document = schema(of, &Names::default());
        let mut waiting = vec![&document];
        let mut seen = 0;
        while let Some(value) = waiting.pop() {
            if let Some(properties) = value.get("properties").and_then(Value::as_object) {
                for (name, property) in properties {
                    let says = property.get("description").and_then(Value::as_str).unwrap_or_default();
                    let decides = property.get("const").is_some();
                    assert!(decides || says.len() > 5, "`{name}` says nothing");
                    seen += 1;
                }
            }
            match value {
                Value::Object(fields) => waiting.extend(fields.values()),
                Value::Array(items) => waiting.extend(items),
                _ => {}
            }
        }
        assert!(seen > 60, "{seen}");
    }
}

#[test]
fn no_key_of_the_schema_is_unknown_to_the_reader_and_each_is_read() {
    // What stands under `tests` is read when the tests are run.
    for Found { way, .. } in all_keys().into_iter().filter(|found| found.way[0] != "tests") {
        // A list of lists is nothing that any key takes.
        let loaded = load(&with(&way, json!([[[]]])));
        let codes: Vec<&str> = loaded.problems.iter().map(|problem| problem.code).collect();
        assert!(!codes.contains(&"R010"), "{way:?} is unknown: {:?}", loaded.problems);
        assert!(
            codes.iter().any(|code| ["R012", "R034"].contains(code)),
            "{way:?} is not looked at: {codes:?}"
        );
    }
}

#[test]
fn what_the_schema_calls_a_default_is_what_holds_without_it() {
    // All but where things stand.
    let shown = |loaded: &Loaded| {
        let config = loaded.config.as_ref().unwrap();
        let rules = config.rules.list().iter();
        let rules: Vec<_> = rules
            .map(|rule| {
                (&rule.accounts, &rule.any_of, &rule.except, rule.stop, &rule.deliver, &rule.resolves)
            })
            .collect();
        format!("{:?}", (&config.accounts, &config.timezone, &config.retention, &config.targets, rules))
    };
    let plain = shown(&load(&whole()));
    let mut tried = 0;
    for Found { way, says } in all_keys() {
        let Some(default) = says.get("default") else { continue };
        let mut file = with(&way, default.clone());
        if way.last().unwrap() == "burst" && parent(&mut file, &way).unwrap()["type"] != "slack" {
            // Without a rate, a burst of its own is a mistake.
            continue;
        }
        let loaded = load(&file);
        assert!(loaded.problems.is_empty(), "{way:?}: {default}: {:#?}", loaded.problems);
        assert_eq!(shown(&loaded), plain, "{way:?}: {default}");
        tried += 1;
    }
    assert!(tried > 30, "{tried}");
}

#[test]
fn words_and_examples_are_taken() {
    let mut tried = 0;
    for Found { way, says } in all_keys() {
        let choices = says.pointer("/anyOf/0/enum").and_then(Value::as_array);
        let examples = says.get("examples").and_then(Value::as_array);
        for value in choices.into_iter().chain(examples).flatten() {
            // Another type has other keys; a variable, a file or a pattern leads to nothing here.
            let leads = |text: &str| text.contains(['$', '*']) || text.starts_with("/run/");
            if way.last().unwrap() == "type" || value.as_str().is_some_and(leads) {
                continue;
            }
            let loaded = load(&with(&way, value.clone()));
            // An example may be unwise in this small file, but never wrong.
            assert!(loaded.config.is_some(), "{way:?}: {value}: {:#?}", loaded.problems);
            tried += 1;
        }
    }
    assert!(tried > 30, "{tried}");
}

#[test]
fn what_the_schema_requires_the_reader_requires_and_nothing_else() {
    let demanded = |way: &[String]| {
        let mut file = whole();
        let last = way.last().unwrap();
        let Some(Value::Object(fields)) = parent(&mut file, way) else { return false };
        fields.remove(last);
        load(&file)
            .problems
            .iter()
            .any(|problem| problem.code == "R011" && problem.message.contains(last.as_str()))
    };
    let document = schema(Of::Main, &Names::default());
    let required = |way: &[String]| -> bool {
        let mut parents = vec![&document];
        for step in &way[..way.len() - 1] {
            parents = parents.into_iter().flat_map(|schema| below(schema, step)).collect();
        }
        let last = Value::String(way.last().unwrap().clone());
        let lists = |schema: &&Value| {
            schema.get("required").and_then(Value::as_array).is_some_and(|list| list.contains(&last))
        };
        parents.iter().any(lists)
    };
    let fields = ["token", "bearer", "basic", "oauth2", "at", "rules"];
    for Found { way, .. } in
        all_keys().iter().filter(|found| !fields.contains(&found.way.last().unwrap().as_str()))
    {
        let mut file = whole();
        let present = parent(&mut file, way).is_some_and(|parent| parent.get(way.last().unwrap()).is_some());
        assert_eq!(present && demanded(way), present && required(way), "{way:?}");
    }
}

/// The schemas that hold for one step further, through alternatives.
fn below<'s>(schema: &'s Value, step: &str) -> Vec<&'s Value> {
    let mut open = vec![schema];
    let mut found = Vec::new();
    while let Some(schema) = open.pop() {
        for word in ["anyOf", "allOf"] {
            open.extend(schema.get(word).and_then(Value::as_array).into_iter().flatten());
        }
        open.extend(schema.get("then"));
        found.extend(schema.get("properties").and_then(|own| own.get(step)));
        found.extend(schema.get("items").filter(|_| step.parse::<usize>().is_ok()));
        found.extend(schema.get("additionalProperties").filter(|inner| inner.is_object()));
    }
    // An alternative of a list is a mapping whose keys are looked for next.
    let mut all = Vec::new();
    while let Some(schema) = found.pop() {
        for word in ["anyOf", "allOf"] {
            found.extend(schema.get(word).and_then(Value::as_array).into_iter().flatten());
        }
        found.extend(schema.get("then"));
        all.push(schema);
    }
    all
}

fn program(folder: &Path, arguments: &[&str]) -> (String, bool) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_activity-relay"));
    let output = command.env_clear().current_dir(folder).args(arguments).output().unwrap();
    (String::from_utf8(output.stdout).unwrap(), output.status.success())
}

#[test]
fn beside_a_rules_file_the_schema_offers_its_names_even_where_it_has_mistakes() {
    let folder = tempfile::tempdir().unwrap();
    let rules = "version: 1\naccounts: [{ name: main, token: x }]\ninclude: rules.d/*.yaml\ntargets: { desk: { type: slak } }\n";
    std::fs::write(folder.path().join("rules.yaml"), rules).unwrap();
    std::fs::create_dir(folder.path().join("rules.d")).unwrap();
    std::fs::write(folder.path().join("rules.d/more.yaml"), "targets: { books: { type: email } }\n").unwrap();
    let names = |arguments: &[&str]| {
        let (text, fine) = program(folder.path(), arguments);
        assert!(fine);
        let schema: Map<String, Value> = serde_json::from_str(&text).unwrap();
        let rules = &schema["properties"]["rules"]["items"]["properties"];
        let of = |place: &Value| place.pointer("/anyOf/0/enum").cloned().unwrap_or_default();
        (
            of(&rules["deliver"]["items"]["properties"]["to"]),
            of(&rules["accounts"]["anyOf"][0]),
            of(&rules["template"]),
        )
    };
    let (targets, accounts, templates) = names(&["schema"]);
    assert_eq!((targets, accounts), (json!(["desk", "books"]), json!(["main"])));
    assert!(templates.as_array().unwrap().contains(&json!("default")));
    assert_eq!(names(&["schema", "--included"]).0, json!(["desk", "books"]));
    assert_eq!(names(&["schema", "--generic"]), (Value::Null, Value::Null, Value::Null));
}

#[test]
fn each_command_has_a_manual_page_that_can_be_shown() {
    let folder = tempfile::tempdir().unwrap();
    let (said, fine) = program(folder.path(), &["man", "--out", "pages"]);
    assert!(fine, "{said}");
    let pages: Vec<_> =
        std::fs::read_dir(folder.path().join("pages")).unwrap().map(|page| page.unwrap()).collect();
    assert!(pages.len() > 15, "{}", pages.len());
    for page in pages {
        let text = std::fs::read_to_string(page.path()).unwrap();
        assert!(text.contains(".SH NAME") && text.contains(".SH SYNOPSIS"), "{:?}", page.path());
    }
    let (page, fine) = program(folder.path(), &["man"]);
    assert!(fine && page.contains("activity\\-relay\\-check(1)"), "{page}");
}
