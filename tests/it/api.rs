//! The API for programs: who may ask, what it says, and that it says the same as the commands.

use std::io::{Read, Write};
use std::net::TcpStream;

use activity_relay::sandbox::script::status;
use serde_json::{Value, json};

use crate::stage::{ANY, RULES, Running, Stage};

const TOKEN: &str = "a-token-of-sixteen-characters";

/// An answer: its status, its media type, its document.
struct Answer {
    status: u16,
    media: String,
    document: Value,
}

struct Api {
    stage: Stage,
    address: String,
    running: Running,
}

impl Api {
    /// A relay that has delivered so many messages, started with further options.
    async fn with(messages: usize, options: &str) -> Self {
        let stage = Stage::with(&format!(
            "{RULES}  - {{ name: vip, match: {{ activity_type: Payment }}, deliver: [{{ to: crm }}] }}\n"
        ))
        .await;
        let running = stage.start(&format!("run --listen {ANY} {options}"));
        let address = stage.address_of(&running).await;
        stage.until_logged(&running, "running").await;
        stage.receive(messages);
        let api = Self { stage, address, running };
        while messages > 0 && api.get("/status").await["deliveries"]["delivered"] != messages {
            tokio::task::yield_now().await;
        }
        api
    }

    async fn ask(&self, method: &str, path: &str, headers: &str, body: Option<&Value>) -> Answer {
        let body = body.map(Value::to_string).unwrap_or_default();
        let media = if body.is_empty() { "" } else { "Content-Type: application/json\r\n" };
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: {}\r\n{headers}{media}Content-Length: {}\r\nConnection: close\r\n\r\n{body}",
            self.address,
            body.len()
        );
        let mut stream = TcpStream::connect(&self.address).unwrap();
        let answer = tokio::task::spawn_blocking(move || {
            // What is refused before its end breaks off the writing, and behind the answer the reading: the answer counts.
            let _ = stream.write_all(request.as_bytes());
            let mut answer = Vec::new();
            let _ = stream.read_to_end(&mut answer);
            String::from_utf8(answer).unwrap()
        });
        let answer = answer.await.unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let media = head.lines().find_map(|line| line.strip_prefix("content-type: ")).unwrap_or_default();
        Answer {
            status: head.split(' ').nth(1).unwrap().parse().unwrap(),
            media: media.to_owned(),
            document: serde_json::from_str(body).unwrap_or_else(|_| panic!("{head}\n\n{body}")),
        }
    }

    async fn get(&self, path: &str) -> Value {
        let answer = self.ask("GET", &format!("/api/v1{path}"), "", None).await;
        assert_eq!(
            (answer.status, answer.media.as_str()),
            (200, "application/json"),
            "{path}: {}",
            answer.document
        );
        answer.document
    }

    async fn post(&self, path: &str, body: Value) -> Answer {
        self.ask("POST", &format!("/api/v1{path}"), "", Some(&body)).await
    }

    /// What a command prints as JSON.
    async fn command(&self, line: &str) -> Value {
        let output = self.stage.output(&format!("{line} --format json")).await;
        serde_json::from_slice(&output.stdout).unwrap()
    }

    async fn ends(mut self) {
        self.running.signal("TERM");
        assert_eq!(self.running.ended().await.code(), Some(0), "{}", self.stage.logged());
    }
}

fn is_problem(answer: &Answer, status: u16, kind: &str) {
    assert_eq!(
        (answer.status, answer.media.as_str()),
        (status, "application/problem+json"),
        "{}",
        answer.document
    );
    assert_eq!(answer.document["type"], format!("urn:activity-relay:problem:{kind}"), "{}", answer.document);
    assert_eq!(answer.document["status"], status);
    assert!(answer.document["detail"].as_str().is_some_and(|detail| !detail.is_empty()));
}

#[tokio::test]
async fn a_token_is_demanded_of_programs_and_refusals_are_problems() {
    let api = Api::with(0, &format!("--console-token {TOKEN}")).await;
    let show = "Authorization: Bearer ";
    is_problem(&api.ask("GET", "/api/v1/status", "", None).await, 401, "unauthorized");
    let wrong = format!("{show}not-the-token\r\n");
    is_problem(&api.ask("GET", "/api/openapi.json", &wrong, None).await, 401, "unauthorized");
    let right = format!("{show}{TOKEN}\r\n");
    assert_eq!(api.ask("GET", "/api/v1/status", &right, None).await.status, 200);
    let document = api.ask("GET", "/api/openapi.json", &right, None).await.document;
    assert_eq!((&document["openapi"], &document["security"]), (&json!("3.1.0"), &json!([{ "token": [] }])));
    let why = json!({ "reason": "moving" });
    let paused = api.ask("POST", "/api/v1/targets/crm/pause", &right, Some(&why)).await;
    assert_eq!(
        (paused.status, &paused.document["state"]),
        (200, &json!("paused")),
        "no proof is needed beside a token"
    );
    is_problem(&api.ask("GET", "/api/v1/nothing", &right, None).await, 404, "not-found");
    is_problem(&api.ask("DELETE", "/api/v1/status", &right, None).await, 405, "method-not-allowed");
    api.ends().await;
}

#[tokio::test]
async fn no_page_of_somebody_else_changes_anything() {
    let api = Api::with(0, "").await;
    let why = json!({ "reason": "moving" });
    for from in [
        "Origin: https://evil.test\r\n",
        "Sec-Fetch-Site: cross-site\r\n",
        "Cookie: relay_session=x\r\n",
        "Origin: null\r\n",
    ] {
        let answer = api.ask("POST", "/api/v1/targets/crm/pause", from, Some(&why)).await;
        is_problem(&answer, 403, "forbidden");
    }
    assert_eq!(api.get("/targets").await["targets"][0]["state"], "ready");
    assert_eq!(api.post("/targets/crm/pause", why).await.status, 200, "a program on this machine may");
    api.ends().await;
    let api = Api::with(0, "--console-read-only").await;
    is_problem(&api.post("/targets/crm/pause", json!({ "reason": "moving" })).await, 403, "forbidden");
    assert_eq!(api.get("/targets").await["targets"][0]["state"], "ready");
    api.ends().await;
}

#[tokio::test]
async fn pages_follow_each_other_whatever_comes_in_between() {
    let api = Api::with(5, "").await;
    let mut seen: Vec<String> = Vec::new();
    let mut cursor = String::new();
    loop {
        let page = api.get(&format!("/deliveries?limit=2{cursor}")).await;
        let ids =
            page["deliveries"].as_array().unwrap().iter().map(|one| one["id"].as_str().unwrap().to_owned());
        seen.extend(ids);
        let Some(next) = page["next_cursor"].as_str() else { break };
        cursor = format!("&cursor={next}");
        let again = api.post("/deliveries/replay", json!({ "ids": [seen[0]] })).await;
        assert_eq!(again.document["deliveries"][0]["replay_of"], json!(seen[0]));
    }
    let rows = api.stage.store().await.deliveries(activity_relay::store::Filter::default()).await.unwrap().0;
    let first: Vec<String> =
        rows.iter().filter(|row| row.replay_of.is_none()).map(|row| row.id.to_string()).rev().collect();
    assert_eq!(seen, first, "each once, the newest first, and nothing that came later");
    let delivered = api.get("/deliveries?state=delivered&state=dead&rule=all&limit=1000").await;
    assert!(delivered["deliveries"].as_array().unwrap().len() >= 5);
    for wrong in [
        "limit=0",
        "limit=1001",
        "limit=x",
        "cursor=x",
        "state=gone",
        "since=yesterday",
        "sate=dead",
        "limit=1&limit=2",
    ] {
        is_problem(
            &api.ask("GET", &format!("/api/v1/deliveries?{wrong}"), "", None).await,
            400,
            "bad-request",
        );
    }
    api.ends().await;
}

#[tokio::test]
async fn the_documents_are_those_of_the_commands() {
    let api = Api::with(1, "").await;
    let listed = api.get("/deliveries").await["deliveries"][0].clone();
    assert_eq!(listed, api.command("deliveries list").await);
    let (id, uid) = (listed["id"].as_str().unwrap(), listed["messages"][0].as_str().unwrap());
    let short = &id[..id.len() - 2];
    assert_eq!(
        api.get(&format!("/deliveries/{short}")).await,
        api.command(&format!("deliveries show {id}")).await
    );
    assert_eq!(api.get("/targets").await, api.command("targets list").await);
    assert_eq!(api.get("/mutes").await, api.command("mute list").await);
    assert_eq!(api.get("/digests").await, api.command("digests list").await);
    assert_eq!(api.get("/catalog").await, api.command("catalog --coverage").await);
    let told = api.command(&format!("explain {uid}")).await;
    assert_eq!(api.get(&format!("/messages/{uid}")).await["deliveries"], told["deliveries"]);
    let status = api.get("/status").await;
    assert_eq!(status["deliveries"], api.command("status").await["deliveries"]);
    let of_type = "activity_type=payment&message_type=payment_failed&direction=to_pivot";
    let would = api.get(&format!("/explain?{of_type}")).await;
    let rules = would["deliveries"].as_array().unwrap().iter().map(|one| one["rule"].as_str().unwrap());
    assert_eq!(rules.collect::<Vec<_>>(), ["all", "vip"]);
    api.ends().await;
}

#[tokio::test]
async fn rules_and_templates_are_tried_as_in_the_playground() {
    let api = Api::with(1, "--console-read-only").await;
    let sample = json!({ "sample": "payment/Payment Failed/to_pivot" });
    let rules = "- name: mine\n  match: { activity_type: Payment }\n  deliver: [{ to: crm }]\n\
                 - name: other\n  match: { activity_type: Review }\n  deliver: [{ to: crm }]\n";
    let trial = json!({ "message": sample, "rules": rules, "template": { "subject.hbs": "Look: {{message.label}}" } });
    let tried = api.post("/playground", trial).await;
    assert_eq!(tried.status, 200, "{}: it changes nothing, so who may only look may try", tried.document);
    let tried = tried.document;
    assert_eq!(
        (&tried["errors"], &tried["fallbacks"], &tried["template"]),
        (&json!(0), &json!([]), &json!("playground"))
    );
    assert_eq!(tried["message"]["message_type"], "payment_failed");
    let verdicts: Vec<_> =
        tried["rules"].as_array().unwrap().iter().map(|one| (&one["rule"], &one["matched"])).collect();
    assert_eq!(verdicts, [(&json!("mine"), &json!(true)), (&json!("other"), &json!(false))]);
    assert_eq!(tried["rules"][1]["place"]["line"], 5, "by the lines of the text: {}", tried["rules"]);
    assert_eq!(tried["payloads"]["email"]["subject"], "Look: Payment failed");
    assert_eq!(tried["payloads"]["http"]["type"], "vcita.payment.payment_failed");
    assert!(tried["payloads"]["slack"]["text"].is_string(), "{}", tried["payloads"]["slack"]);

    let wrong = json!({ "message": sample, "rules": "- name: x\n  match: {}\n  delivr: []", "template": { "text.hbs": "{{nmae}}" } });
    let tried = api.post("/playground", wrong).await.document;
    let problems = tried["problems"].as_array().unwrap();
    let at = |file: &str, line: u64| {
        problems.iter().any(|problem| problem["file"] == file && problem["line"] == line)
    };
    assert!(at("playground", 3) && at("text.hbs", 1), "{problems:?}");
    assert_eq!(tried["rules"], json!([]));

    let uid = api.get("/deliveries").await["deliveries"][0]["messages"][0].clone();
    let tried =
        api.post("/playground", json!({ "message": { "uid": uid, "account": "main" } })).await.document;
    assert_eq!((&tried["message"]["uid"], &tried["template"]), (&uid, &json!("default")));
    let in_force = api.get(&format!("/messages/{}", uid.as_str().unwrap())).await["rules"].clone();
    for number in 0..2 {
        let (tried, told) = (&tried["rules"][number], &in_force[number]);
        assert_eq!(
            (&tried["reason"], &tried["place"]),
            (&told["reason"], &told["place"]),
            "those in force judge"
        );
    }
    is_problem(&api.post("/playground", json!({ "message": { "uid": "gone" } })).await, 404, "not-found");
    for wrong in [
        json!({}),
        json!({ "message": {} }),
        json!({ "message": { "sample": "Payment" } }),
        json!({ "message": { "sample": "a/b/c", "uid": uid } }),
        json!({ "message": sample, "template": { "../text.hbs": "x" } }),
        json!({ "message": sample, "rule": "" }),
    ] {
        is_problem(&api.post("/playground", wrong).await, 400, "bad-request");
    }
    api.ends().await;
}

#[tokio::test]
async fn what_the_console_draws_and_watches_is_there_for_programs() {
    let api = Api::with(2, "").await;
    let figures = api.get("/figures").await;
    let sum = |figures: &Value| -> u64 {
        figures["steps"]
            .as_array()
            .unwrap()
            .iter()
            .filter_map(|step| step["ended"]["delivered"].as_u64())
            .sum()
    };
    assert_eq!(
        (&figures["range"], sum(&figures)),
        (&json!("1h"), 2),
        "the shortest that holds all: {figures}"
    );
    assert!(figures["latency"]["p99_ms"].is_u64());
    let week = api.get("/figures?range=7d").await;
    assert_eq!((&week["step_seconds"], sum(&week)), (&json!(21_600), 2));
    is_problem(&api.ask("GET", "/api/v1/figures?range=2h", "", None).await, 400, "bad-request");
    let coverage = api.get("/coverage").await;
    let seen: Vec<&Value> =
        coverage["message_types"].as_array().unwrap().iter().filter(|one| one["seen"] != 0).collect();
    assert_eq!((seen.len(), &seen[0]["seen"], &seen[0]["rules"]), (1, &json!(2), &json!(["all"])));
    let none = api.get("/coverage?since=2100-01-01T00:00:00Z").await;
    assert!(none["message_types"].as_array().unwrap().iter().all(|one| one["seen"] == 0));
    let (mut news, mut after) = (Vec::new(), 0);
    while news.len() < 4 {
        let feed = api.get(&format!("/feed?after={after}")).await;
        after = feed["last"].as_u64().unwrap();
        news.extend(feed["events"].as_array().unwrap().iter().map(|event| event["message"]["uid"].clone()));
    }
    assert_eq!(
        (news.len(), news.iter().filter(|uid| uid.is_string()).count()),
        (4, 2),
        "each once: {news:?}"
    );
    let configuration = api.get("/configuration").await;
    let last = &configuration["definitions"][1];
    assert_eq!((&last["rule"], &last["deliver"][0]["to"]), (&json!("vip"), &json!("crm")), "{configuration}");
    api.ends().await;
}

#[tokio::test]
async fn a_filter_that_changes_names_its_states_and_what_there_is() {
    let api = Api::with(1, "").await;
    for change in ["replay", "discard"] {
        let path = format!("/deliveries/{change}");
        for stateless in [json!({}), json!({ "state": [] }), json!({ "target": "crm" })] {
            let refused = api.post(&path, json!({ "filter": stateless, "dry_run": true })).await;
            is_problem(&refused, 400, "bad-request");
            let detail = refused.document["detail"].as_str().unwrap();
            assert!(detail.contains("`filter.state` is missing") && detail.contains("dead"), "{detail}");
        }
        for name in ["target", "rule"] {
            let unknown = json!({ "filter": { "state": ["dead"], name: "nosuch" } });
            is_problem(&api.post(&path, unknown).await, 404, "not-found");
        }
        let none = api.post(&path, json!({ "filter": { "state": ["dead"], "target": "crm" } })).await;
        assert_eq!((none.status, &none.document["deliveries"]), (200, &json!([])));
    }
    let waits =
        api.post("/deliveries/replay", json!({ "filter": { "state": ["pending", "sending"] } })).await;
    is_problem(&waits, 409, "conflict");
    is_problem(&api.ask("GET", "/api/v1/deliveries?rule=nosuch", "", None).await, 404, "not-found");
    is_problem(&api.ask("GET", "/api/v1/deliveries?target=cmr&count=true", "", None).await, 404, "not-found");
    assert_eq!(api.get("/deliveries?rule=relay").await["deliveries"], json!([]));
    let document = api.ask("GET", "/api/openapi.json", "", None).await.document;
    let filter = &document["components"]["schemas"]["Chosen"]["oneOf"][1]["properties"]["filter"];
    assert_eq!(filter["required"], json!(["state"]), "{filter}");
    api.ends().await;
}

#[tokio::test]
async fn as_many_ids_as_the_document_promises_are_taken() {
    let api = Api::with(0, "").await;
    let document = api.ask("GET", "/api/openapi.json", "", None).await.document;
    let ids = &document["components"]["schemas"]["Chosen"]["oneOf"][0]["properties"]["ids"];
    let most = ids["maxItems"].as_u64().unwrap();
    let ids = |count: u64| (0..count).map(|number| format!("d{number:027x}")).collect::<Vec<_>>();
    let taken = api.post("/deliveries/replay", json!({ "ids": ids(most), "pass_over": true })).await;
    assert_eq!((taken.status, &taken.document["deliveries"]), (200, &json!([])), "{}", taken.document);
    is_problem(&api.post("/deliveries/replay", json!({ "ids": ids(most + 1) })).await, 400, "bad-request");
    let endless = json!({ "ids": ["d".repeat(1024 * 1024 + 40 * 1024)] });
    is_problem(&api.post("/deliveries/discard", endless).await, 413, "too-large");
    let long = json!({ "reason": "x".repeat(300 * 1024) });
    is_problem(&api.post("/targets/crm/pause", long).await, 413, "too-large");
    api.ends().await;
}

#[tokio::test]
async fn what_a_person_decides_by_it_is_done_or_refused_with_the_reason() {
    let api = Api::with(1, "").await;
    let id = api.get("/deliveries").await["deliveries"][0]["id"].clone();
    is_problem(&api.post("/deliveries/discard", json!({ "ids": [id] })).await, 409, "conflict");
    is_problem(&api.post("/deliveries/replay", json!({ "ids": ["dffffffff"] })).await, 404, "not-found");
    for wrong in [
        json!({}),
        json!({ "ids": [] }),
        json!({ "ids": [id], "filter": {} }),
        json!({ "ides": [id] }),
        json!([]),
    ] {
        is_problem(&api.post("/deliveries/replay", wrong).await, 400, "bad-request");
    }
    let twice = api.post("/deliveries/replay", json!({ "ids": [id, id] })).await.document;
    assert_eq!(twice["deliveries"].as_array().unwrap().len(), 1, "named twice is meant once");
    while api.get("/status").await["deliveries"]["delivered"] != 2 {
        tokio::task::yield_now().await;
    }
    let dry = api
        .post("/deliveries/replay", json!({ "filter": { "state": ["delivered"] }, "dry_run": true }))
        .await;
    let (would, passed_over) = (&dry.document["deliveries"], &dry.document["passed_over"]);
    assert_eq!((would.as_array().unwrap().len(), passed_over), (1, &json!(1)), "one was sent again before");
    assert_ne!(would[0]["id"], id);
    assert_eq!(
        api.get("/deliveries").await["deliveries"].as_array().unwrap().len(),
        2,
        "nothing was changed"
    );
    let mute = json!({ "rule": "all", "for": "2h", "reason": "moving" });
    let muted = api.post("/mutes", mute).await;
    assert_eq!((muted.status, &muted.document["reason"]), (201, &json!("moving")));
    is_problem(
        &api.post("/mutes", json!({ "rule": "al", "for": "2h", "reason": "x" })).await,
        404,
        "not-found",
    );
    is_problem(
        &api.post("/mutes", json!({ "rule": "all", "for": "0h", "reason": "x" })).await,
        400,
        "bad-request",
    );
    let lift = format!("/api/v1/mutes/{}", muted.document["id"]);
    assert_eq!(api.ask("DELETE", &lift, "", None).await.status, 200);
    is_problem(&api.ask("DELETE", &lift, "", None).await, 404, "not-found");
    api.stage.sandbox.http.answers([status(410)]);
    let tested = api.ask("POST", "/api/v1/targets/crm/test", "", None).await.document;
    assert_eq!(
        (&tested["tests"][0]["status"], &tested["tests"][0]["outcome"]),
        (&json!(410), &json!("target_broken"))
    );
    is_problem(&api.ask("POST", "/api/v1/targets/cmr/test", "", None).await, 404, "not-found");
    api.stage.rules(&RULES.replace("match: {}", "match: {}, stopp: true"));
    let refused = api.ask("POST", "/api/v1/configuration/reload", "", None).await;
    is_problem(&refused, 422, "config-refused");
    assert_eq!(refused.document["problems"][0]["code"], "R010");
    assert_eq!(api.get("/configuration").await["last_reload"]["result"], "refused");
    api.ends().await;
}
