//! Who reaches the console, its health and the reload through a proxy, by a name, by a link, and with a wrong token.

use serde_json::Value;

use crate::console::{get, post, raw, started};
use crate::reload_process::ask;
use crate::stage::Stage;
use crate::world::PATIENCE;

const TOKEN: &str = "0123456789abcdef0123456789abcdef";
/// What proxies add to what they pass on.
const PROXIED: [&str; 6] = [
    "Forwarded: for=10.0.0.9\r\n",
    "X-Forwarded-For: 10.0.0.9\r\n",
    "X-Forwarded-Host: relay.example.com\r\n",
    "X-Forwarded-Proto: https\r\n",
    "X-Real-IP: 10.0.0.9\r\n",
    "Via: 1.1 proxy\r\n",
];

#[tokio::test]
async fn a_name_for_others_demands_a_token() {
    let stage = Stage::new().await;
    let refused = stage.output("run --listen 127.0.0.1:0 --console-host relay.example.com").await;
    assert_eq!(refused.status.code(), Some(2));
    let told = stage.logged();
    assert!(
        told.contains("--console-host relay.example.com") && told.contains("RELAY_CONSOLE_TOKEN"),
        "{told}"
    );
    let (running, address) = started(&stage, "--console-host localhost").await;
    assert_eq!(get(&address, "/", "").await.status, 200);
    running.ends().await;
}

#[tokio::test]
async fn behind_a_proxy_nothing_is_open_without_a_token() {
    let stage = Stage::new().await;
    let (running, address) = started(&stage, "").await;
    let proof = get(&address, "/targets", "").await.proof();
    for through in PROXIED {
        let page = get(&address, "/", through).await;
        assert!(page.status == 403 && page.body.contains("RELAY_CONSOLE_TOKEN"), "{through}{}", page.body);
        let form = format!("csrf={proof}&name=crm&reason=moving");
        assert_eq!(post(&address, "/targets/pause", through, &form).await.status, 403, "{through}");
        let told = get(&address, "/api/v1/status", through).await;
        let problem: Value = serde_json::from_str(&told.body).unwrap();
        assert_eq!((told.status, &problem["type"]), (403, &"urn:activity-relay:problem:forbidden".into()));
        assert_eq!(ask(&address, "POST", through).await.0, 403, "{through}");
        for path in ["/livez", "/readyz", "/metrics", "/assets/console.css"] {
            assert_eq!(get(&address, path, through).await.status, 200, "{path} {through}");
        }
    }
    // What nginx sends unless it is told otherwise.
    for path in ["GET /", "GET /api/v1/status", "POST /-/reload"] {
        let request = format!("{path} HTTP/1.0\r\nHost: {address}\r\nContent-Length: 0\r\n\r\n");
        assert_eq!(raw(&address, request).await.status, 403, "{path}");
    }
    assert!(!get(&address, "/targets", "").await.body.contains(">paused<"));
    running.ends().await;
    let (running, address) = started(&stage, &format!("--console-token {TOKEN}")).await;
    for through in PROXIED {
        let shown = format!("{through}Authorization: Bearer {TOKEN}\r\n");
        assert_eq!(get(&address, "/", &shown).await.status, 200, "{through}");
    }
    running.ends().await;
}

#[tokio::test]
async fn a_reload_is_for_programs_on_this_machine_and_for_who_shows_the_token() {
    let stage = Stage::new().await;
    let (running, address) = started(&stage, &format!("--console-token {TOKEN}")).await;
    let (right, wrong) = (format!("Authorization: Bearer {TOKEN}\r\n"), "Authorization: Bearer guess\r\n");
    assert_eq!(ask(&address, "POST", "").await.0, 200, "on this machine nothing is asked for");
    assert_eq!(ask(&address, "POST", &right).await.0, 200);
    for through in PROXIED {
        let (status, body) = ask(&address, "POST", through).await;
        assert!(status == 403 && body.contains("Authorization: Bearer"), "{through}{body}");
        assert!(!body.contains("configuration "), "{body}");
        assert_eq!(ask(&address, "POST", &format!("{through}{right}")).await.0, 200, "{through}");
    }
    assert_eq!(ask(&address, "POST", wrong).await.0, 401);
    let page = format!("Origin: https://evil.test\r\n{right}");
    assert_eq!(ask(&address, "POST", &page).await.0, 403, "no page in a browser");
    running.ends().await;
}

#[tokio::test]
async fn who_follows_a_link_is_known_and_the_door_opens_whatever_cookie_there_is() {
    let stage = Stage::new().await;
    let (running, address) = started(&stage, &format!("--console-token {TOKEN}")).await;
    let own = format!("Origin: http://{address}\r\n");
    let deep = "/deliveries?state=dead";
    let enter = async |seen: &str, sent: &str| {
        let door = get(&address, "/login?next=%2Fdeliveries%3Fstate%3Ddead", seen).await;
        let form = format!("csrf={}&token={TOKEN}&next=%2Fdeliveries%3Fstate%3Ddead", door.proof());
        post(&address, "/login", &format!("{own}{sent}"), &form).await
    };
    let opened = enter("", "").await;
    let session = format!("Cookie: {}\r\n", opened.header("set-cookie").unwrap().split(';').next().unwrap());
    let linked = format!("{session}Sec-Fetch-Site: cross-site\r\nSec-Fetch-Mode: navigate\r\n");
    assert_eq!(get(&address, deep, &linked).await.status, 200, "a link leads to its page");
    let ended = "Cookie: relay_session=1.00\r\n";
    for (seen, sent) in [("", &*session), (&session, ""), ("", ended), (ended, &session)] {
        let opened = enter(seen, sent).await;
        assert_eq!((opened.status, opened.header("location")), (303, Some(deep)), "{seen:?} {sent:?}");
    }
    let door = get(&address, "/login", "").await;
    let form = format!("csrf={}&name=crm&reason=x", door.proof());
    let forged = post(&address, "/targets/pause", &format!("{own}{session}"), &form).await;
    assert_eq!(forged.status, 403, "the door's proof opens nothing else");
    running.ends().await;
}

#[tokio::test]
async fn health_is_asked_by_any_name_and_metrics_on_this_machine_by_its_own() {
    let stage = Stage::new().await;
    let (running, address) = started(&stage, "").await;
    let asked = async |path: &str, host: &str, headers: &str| {
        let request = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n{headers}Connection: close\r\n\r\n");
        raw(&address, request).await.status
    };
    for path in ["/livez", "/readyz"] {
        assert_eq!(asked(path, "evil.test", "").await, 200, "{path}");
    }
    assert_eq!(asked("/metrics", "evil.test:8787", "").await, 421, "a page whose name leads here");
    assert_eq!(asked("/metrics", "localhost:8787", "").await, 200);
    assert_eq!(asked("/metrics", "evil.test:8787", PROXIED[1]).await, 421, "which says that it is a proxy");
    running.ends().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_store_is_asked_once_however_many_ask_whether_it_is_ready() {
    let stage = Stage::new().await;
    let (running, address) = started(&stage, "").await;
    let locker = stage.database();
    locker.execute_batch("BEGIN IMMEDIATE").unwrap();
    let asked = |through| get(&address, "/readyz", through);
    let (one, two, three) = tokio::join!(asked(PROXIED[0]), asked(PROXIED[1]), asked(PROXIED[2]));
    for told in [one, two, three] {
        let words = "store: it cannot be written, the log says why\n";
        assert_eq!((told.status, told.body.as_str()), (503, words), "strangers are told no more");
    }
    stage.until_logged(&running, " not ready").await;
    assert_eq!(stage.logged().matches(" not ready").count(), 1, "{}", stage.logged());
    let near = get(&address, "/readyz", "").await;
    assert!(near.status == 503 && near.body.contains("another program holds the database"), "{}", near.body);
    locker.execute_batch("ROLLBACK").unwrap();
    let ready = async { while get(&address, "/readyz", "").await.status != 200 {} };
    tokio::time::timeout(PATIENCE, ready).await.expect("it is not ready again");
    running.ends().await;
}
