//! The console under attack, over real sockets: what it refuses, what it escapes, and what it does for who may.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use activity_relay::sandbox::incoming::Incoming;
use activity_relay::sandbox::script::status;

use crate::stage::{ANY, RULES, Running, Stage};
use crate::world::PATIENCE;

const TOKEN: &str = "0123456789abcdef0123456789abcdef";
const EVIL: &str = "<script>alert(1)</script><img src=x onerror=alert(1)>\"'&";

/// An answer as it came.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let mut lines = self.head.lines().filter_map(|line| line.split_once(": "));
        lines.find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }

    /// What the page's forms prove themselves with.
    pub(crate) fn proof(&self) -> String {
        let (_, rest) = self.body.split_once("name=\"csrf\" value=\"").unwrap();
        rest.split('"').next().unwrap().to_owned()
    }
}

/// What a page's first form sends along under a name.
pub(crate) fn hidden(page: &Answer, name: &str) -> String {
    let (_, rest) = page.body.split_once(&format!("name=\"{name}\" value=\"")).unwrap();
    rest.split('"').next().unwrap().to_owned()
}

/// What the page's form that leads to this path sends along with its button.
pub(crate) fn form_to(page: &Answer, path: &str) -> String {
    let (_, rest) = page.body.split_once(&format!("action=\"{path}\"")).unwrap();
    let (form, _) = rest.split_once("</form>").unwrap();
    let mut sent = url::form_urlencoded::Serializer::new(String::new());
    for field in form.split("<input type=\"hidden\" name=\"").skip(1) {
        let (name, rest) = field.split_once("\" value=\"").unwrap();
        sent.append_pair(name, rest.split('"').next().unwrap());
    }
    sent.finish()
}

/// What is answered to a request; status 0 where nothing is.
pub(crate) async fn raw(address: &str, request: String) -> Answer {
    let mut stream = TcpStream::connect(address).unwrap();
    let answer = tokio::task::spawn_blocking(move || {
        // What is refused before its end breaks off the writing, and behind the answer the reading: the answer counts.
        let _ = stream.write_all(request.as_bytes());
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        String::from_utf8_lossy(&answer).into_owned()
    });
    let answer = answer.await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
    Answer { status, head: head.to_owned(), body: body.to_owned() }
}

pub(crate) async fn get(address: &str, path: &str, headers: &str) -> Answer {
    raw(address, format!("GET {path} HTTP/1.1\r\nHost: {address}\r\n{headers}Connection: close\r\n\r\n"))
        .await
}

pub(crate) async fn post(address: &str, path: &str, headers: &str, form: &str) -> Answer {
    let length = form.len();
    let kind = "Content-Type: application/x-www-form-urlencoded";
    let head =
        format!("POST {path} HTTP/1.1\r\nHost: {address}\r\n{kind}\r\nContent-Length: {length}\r\n{headers}");
    raw(address, format!("{head}Connection: close\r\n\r\n{form}")).await
}

pub(crate) async fn started(stage: &Stage, options: &str) -> (Running, String) {
    let running = stage.start(&format!("run --listen {ANY} {options}"));
    let address = stage.address_of(&running).await;
    (running, address)
}

#[tokio::test]
async fn it_is_not_served_to_others_without_a_token() {
    let stage = Stage::new().await;
    for options in ["--listen 0.0.0.0:0", "--listen [::]:0", "--listen 127.0.0.1:0 --console-token short"] {
        let refused = stage.output(&format!("run {options}")).await;
        assert_eq!(refused.status.code(), Some(2), "{options}");
    }
    let told = stage.logged();
    assert!(told.contains("RELAY_CONSOLE_TOKEN") && told.contains("openssl rand"), "{told}");
    assert!(told.contains("fewer than 16 characters") && !told.contains("short"), "{told}");
}

#[tokio::test]
async fn a_token_opens_a_session_and_nothing_else_does() {
    let stage = Stage::new().await;
    let (running, address) = started(&stage, &format!("--console-token {TOKEN}")).await;
    for path in ["/livez", "/readyz", "/metrics"] {
        assert_eq!(get(&address, path, "").await.status, 200, "{path} needs no token");
    }
    for path in ["/", "/deliveries", "/feed/events", "/messages/main/x", "/nowhere"] {
        let closed = get(&address, path, "").await;
        assert_eq!(closed.status, 401, "{path}");
        assert_eq!(
            get(&address, path, "Accept: text/html\r\n").await.status,
            303,
            "{path} leads to the door"
        );
        assert!(!closed.body.contains("crm"), "nothing shows through");
    }
    let door = get(&address, "/login?next=%2Ftargets", "").await;
    let origin = format!("Origin: http://{address}\r\n");
    let wrong = post(&address, "/login", &origin, &format!("csrf={}&token=guess", door.proof())).await;
    assert!(wrong.status == 401 && wrong.header("set-cookie").is_none());
    let form = format!("csrf={}&token={TOKEN}&next=%2Ftargets", door.proof());
    let opened = post(&address, "/login", &origin, &form).await;
    assert_eq!((opened.status, opened.header("location")), (303, Some("/targets")));
    let cookie = opened.header("set-cookie").unwrap();
    assert!(cookie.contains("HttpOnly") && cookie.contains("SameSite=Lax"), "{cookie}");
    assert!(!cookie.contains(TOKEN));
    let session = format!("Cookie: {}\r\n", cookie.split(';').next().unwrap());
    let page = get(&address, "/targets", &session).await;
    assert_eq!(page.status, 200);
    assert!(!page.body.contains(TOKEN) && page.body.contains("Sign out"));
    let bearer = format!("Authorization: Bearer {TOKEN}\r\n");
    assert_eq!(get(&address, "/deliveries", &bearer).await.status, 200);
    assert_eq!(
        get(&address, &format!("/?token={TOKEN}"), &session).await.status,
        400,
        "a token in an address"
    );
    assert!(!stage.logged().contains(TOKEN));
    running.ends().await;
}

#[tokio::test]
async fn guessing_is_slowed_down() {
    let stage = Stage::new().await;
    let (running, address) = started(&stage, &format!("--console-token {TOKEN}")).await;
    let mut answers = Vec::new();
    for _ in 0..12 {
        answers.push(get(&address, "/", "Authorization: Bearer guess\r\n").await);
    }
    let statuses: Vec<u16> = answers.iter().map(|answer| answer.status).collect();
    let slowed = answers.iter().find(|answer| answer.status == 429);
    assert!(slowed.is_some_and(|slowed| slowed.header("retry-after").is_some()), "{answers:?}");
    let right = get(&address, "/", &format!("Authorization: Bearer {TOKEN}\r\n")).await;
    assert_eq!(right.status, 200, "who guesses behind the same proxy locks nobody out");
    stage.until_logged(&running, "a wrong token was shown").await;
    let told = stage.logged().matches("a wrong token was shown").count();
    let looked_at = statuses.iter().filter(|status| **status == 401).count();
    assert!(told <= looked_at && looked_at < statuses.len(), "{statuses:?} {}", stage.logged());
    assert!(!stage.logged().contains("guess"), "{}", stage.logged());
    running.ends().await;
}

#[tokio::test]
async fn a_change_comes_from_a_page_of_ours_or_is_none() {
    let stage = Stage::new().await;
    let (running, address) = started(&stage, "").await;
    let proof = get(&address, "/targets", "").await.proof();
    let form = format!("csrf={proof}&name=crm&reason=moving");
    let own = format!("Origin: http://{address}\r\n");
    for headers in [
        "Origin: https://evil.test\r\n",
        "Origin: null\r\n",
        "Sec-Fetch-Site: cross-site\r\n",
        "Sec-Fetch-Site: same-site\r\n",
        "Origin: http://127.0.0.1:1\r\n",
    ] {
        assert_eq!(post(&address, "/targets/pause", headers, &form).await.status, 403, "{headers}");
    }
    for forged in ["name=crm", "csrf=&name=crm", "csrf=00&name=crm", &form.replace("csrf=", "csrf=0")] {
        assert_eq!(post(&address, "/targets/pause", &own, forged).await.status, 403, "{forged}");
    }
    assert_eq!(get(&address, "/targets/pause", "").await.status, 405, "nothing changes by a link");
    assert!(!get(&address, "/targets", "").await.body.contains(">paused<"));
    assert_eq!(post(&address, "/targets/pause", &own, &form).await.status, 303);
    assert!(get(&address, "/targets", "").await.body.contains(">paused<"));
    running.ends().await;
}

#[tokio::test]
async fn a_name_of_somebody_elses_leads_nowhere() {
    let stage = Stage::new().await;
    let options = format!("--console-host relay.example.com --console-token {TOKEN}");
    let (running, address) = started(&stage, &options).await;
    let ask = |host: &str| {
        format!(
            "GET / HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {TOKEN}\r\nConnection: close\r\n\r\n"
        )
    };
    for host in ["evil.test", "evil.test:8787", "127.0.0.1.evil.test", "localhost.evil.test"] {
        assert_eq!(raw(&address, ask(host)).await.status, 421, "{host}");
    }
    for host in ["localhost", "127.0.0.1", "relay.example.com", &address] {
        assert_eq!(raw(&address, ask(host)).await.status, 200, "{host}");
    }
    running.ends().await;
}

#[tokio::test]
async fn what_a_client_writes_is_text() {
    // A name of a rule holds no slash.
    let name = EVIL.replace('/', "").replace('\'', "''");
    let rules = RULES.replace("name: all", &format!("name: 'all {name}'"));
    let digest = "deliver: [{ to: crm, digest: { every: 1h, group_by: [message.subject] } }]";
    let rules = format!("{rules}  - {{ name: 'gather {name}', match: {{}}, {digest} }}\n");
    let stage = Stage::with(&rules).await;
    stage.sandbox.http.answers([status(302)]);
    let incoming = Incoming::text(EVIL, EVIL).about(EVIL);
    let uid = stage.sandbox.business.receive(incoming);
    let (running, address) = started(&stage, "").await;
    stage.sandbox.http.wait_until(PATIENCE, |arrivals| !arrivals.is_empty()).await.unwrap();
    let id = loop {
        let list = String::from_utf8(stage.output("deliveries list --state dead --format json").await.stdout)
            .unwrap();
        if let Some(line) = list.lines().next() {
            let row: serde_json::Value = serde_json::from_str(line).unwrap();
            break row["id"].as_str().unwrap().to_owned();
        }
    };
    let pages = [
        "/".to_owned(),
        "/feed".to_owned(),
        "/deliveries".to_owned(),
        format!("/deliveries?rule={}", "%3Cscript%3E"),
        format!("/deliveries/{id}"),
        format!("/messages/main/{uid}"),
        "/configuration".to_owned(),
        "/coverage".to_owned(),
        "/digests".to_owned(),
        "/mutes?told=%3Cscript%3Ealert(1)%3C/script%3E".to_owned(),
        "/find?q=%3Cscript%3Ealert(1)%3C/script%3E".to_owned(),
        "/messages/main/%3Cscript%3Ealert(1)%3C%2Fscript%3E".to_owned(),
    ];
    for path in pages {
        let page = get(&address, &path, "").await;
        assert!(page.status == 200 || page.status == 404, "{path} {}", page.status);
        let inside = page.body.replace("<script src=\"/assets/console.js\" defer></script>", "");
        assert!(!inside.contains("<script") && !inside.contains("<img src=x"), "{path}:\n{}", page.body);
        assert!(!inside.contains(" style=") && !inside.contains("javascript:"), "{path}");
        let policy = page.header("content-security-policy").unwrap();
        assert!(policy.contains("default-src 'none'") && !policy.contains("unsafe"), "{path}: {policy}");
        assert_eq!(page.header("cache-control"), Some("no-store"), "{path}");
    }
    let open = get(&address, "/digests", "").await;
    let form = format!("csrf={}&id={}&change=cancel", open.proof(), hidden(&open, "id"));
    let review = post(&address, "/digests/review", &format!("Origin: http://{address}\r\n"), &form).await;
    assert!(
        review.body.contains("Cancel the digest of 1 message?") && review.body.contains("&#60;script&#62;"),
        "{}",
        review.body
    );
    assert!(!review.body.contains("<script>alert") && !review.body.contains("<img src=x"), "{}", review.body);
    let message = get(&address, &format!("/messages/main/{uid}"), "").await;
    assert!(message.body.contains("&#60;script&#62;alert(1)"), "{}", message.body);
    running.ends().await;
}

#[tokio::test]
async fn paths_lead_to_nothing_but_pages() {
    let stage = Stage::new().await;
    let (running, address) = started(&stage, "").await;
    for path in [
        "/assets/../../Cargo.toml",
        "/assets/..%2f..%2fetc%2fpasswd",
        "/assets/%2e%2e/rules.yaml",
        "/assets/console.css%00",
        "//etc/passwd",
        "/deliveries/..%2f..%2f",
        "/messages/main/..%2f..%2frules.yaml",
    ] {
        let answer = get(&address, path, "").await;
        assert!(matches!(answer.status, 400 | 404), "{path}: {}", answer.status);
        assert!(!answer.body.contains("root:") && !answer.body.contains("targets:"), "{path}");
    }
    running.ends().await;
}

#[tokio::test]
async fn what_is_huge_or_slow_is_cut_off_and_the_rest_goes_on() {
    let stage = Stage::new().await;
    let (running, address) = started(&stage, "").await;
    let own = format!("Origin: http://{address}\r\n");
    let huge = format!("csrf=x&reason={}", "x".repeat(300 * 1024));
    assert_eq!(post(&address, "/mutes/add", &own, &huge).await.status, 413);
    let long = get(&address, &format!("/{}", "x".repeat(100 * 1024)), "").await;
    assert!(matches!(long.status, 0 | 414 | 431), "{}", long.status);
    // A head that never ends holds its connection for so long and no longer; others are served meanwhile.
    let began = Instant::now();
    let mut slow: Vec<TcpStream> = (0..20).map(|_| TcpStream::connect(&address).unwrap()).collect();
    for stream in &mut slow {
        stream.write_all(b"GET / HTTP/1.1\r\nHost: 127").unwrap();
    }
    assert_eq!(get(&address, "/", "").await.status, 200);
    let cut = tokio::task::spawn_blocking(move || {
        for mut stream in slow {
            stream.set_read_timeout(Some(Duration::from_secs(40))).unwrap();
            let mut answer = Vec::new();
            // Whether it is answered or reset, it ends.
            let _ = stream.read_to_end(&mut answer);
        }
    });
    cut.await.unwrap();
    assert!(began.elapsed() < Duration::from_secs(35), "{:?}", began.elapsed());
    running.ends().await;
}

#[tokio::test]
async fn nothing_is_changed_by_who_may_only_look() {
    let stage = Stage::new().await;
    let (running, address) = started(&stage, "--console-read-only").await;
    let page = get(&address, "/targets", "").await;
    assert!(page.body.contains("read-only") && !page.body.contains("method=\"post\""), "{}", page.body);
    let own = format!("Origin: http://{address}\r\n");
    for path in [
        "/targets/pause",
        "/targets/test",
        "/deliveries/change",
        "/digests/change",
        "/mutes/add",
        "/configuration/reload",
    ] {
        assert_eq!(post(&address, path, &own, "name=crm").await.status, 403, "{path}");
    }
    running.ends().await;
}

#[tokio::test]
async fn a_line_of_the_log_is_a_line() {
    let stage = Stage::new().await;
    let (running, address) = started(&stage, "").await;
    let proof = get(&address, "/mutes", "").await.proof();
    let own = format!("Origin: http://{address}\r\n");
    let form =
        format!("csrf={proof}&rule=all&for=2h&reason=x%0a2026-01-01T00:00:00Z%20ERROR%20forged%1b[31m");
    assert_eq!(post(&address, "/mutes/add", &own, &form).await.status, 303);
    stage.until_logged(&running, "muted in the console").await;
    let log = stage.logged();
    assert!(!log.lines().any(|line| line.starts_with("2026-01-01T00:00:00Z")), "{log}");
    assert!(log.lines().filter(|line| line.contains("forged")).all(|line| !line.contains('\u{1b}')), "{log}");
    running.ends().await;
}

#[tokio::test]
async fn what_died_is_replayed_from_the_console() {
    let stage = Stage::new().await;
    stage.sandbox.http.answers([status(302)]);
    stage.receive(1);
    let (running, address) = started(&stage, "").await;
    stage.sandbox.http.wait_until(PATIENCE, |arrivals| !arrivals.is_empty()).await.unwrap();
    let dead = loop {
        let page = get(&address, "/deliveries?state=dead", "").await;
        if page.body.contains("name=\"id\"") {
            break page;
        }
    };
    let (_, id) = dead.body.split_once("name=\"id\" value=\"").unwrap();
    let id = id.split('"').next().unwrap();
    let own = format!("Origin: http://{address}\r\n");
    let form = format!("csrf={}&state=dead&scope=all&change=replay", dead.proof());
    let review = post(&address, "/deliveries/review", &own, &form).await;
    assert!(review.body.contains("Replay 1 delivery?") && review.body.contains(id), "{}", review.body);
    assert_eq!(stage.sandbox.http.received().len(), 0, "nothing is sent before it is confirmed");
    let form = format!("csrf={}&id={id}&replays=0&change=replay", dead.proof());
    assert_eq!(post(&address, "/deliveries/change", &own, &form).await.status, 303);
    stage.sandbox.http.wait_for(1, PATIENCE).await.unwrap();
    let again = get(&address, &format!("/deliveries/{id}"), "").await.body;
    assert!(again.contains("sent again as <a "), "{again}");
    let form =
        |scope: &str, change: &str| format!("csrf={}&state=dead&{scope}&change={change}", dead.proof());
    let review = post(&address, "/deliveries/review", &own, &form("scope=all", "replay")).await.body;
    assert!(review.contains("nothing to replay") && review.contains("sent again before"), "{review}");
    let unnamed = post(&address, "/deliveries/change", &own, &form("scope=all", "replay")).await;
    assert!(unnamed.status == 400 && unnamed.body.contains("names no delivery"), "{}", unnamed.body);
    let ticked = form(&format!("id={id}"), "replay");
    let review = post(&address, "/deliveries/review", &own, &ticked).await.body;
    assert!(review.contains("Replay 1 delivery?"), "what is ticked is done as asked: {review}");
    assert_eq!(stage.sandbox.http.received().len(), 1);
    running.ends().await;
}

/// Every message waits in a digest of an hour.
pub(crate) fn gathering() -> String {
    RULES.replace("{ to: crm }", "{ to: crm, digest: { every: 1h } }")
}

/// The page of digests, once one is open that holds so many messages.
pub(crate) async fn open_digest(address: &str, messages: usize) -> Answer {
    loop {
        let page = get(address, "/digests", "").await;
        if page.body.contains(&format!("1 open, with {messages} messages")) {
            return page;
        }
    }
}

#[tokio::test]
async fn what_was_done_is_told_once_and_by_no_address() {
    let stage = Stage::new().await;
    let (running, address) = started(&stage, "").await;
    let own = format!("Origin: http://{address}\r\n");
    let proof = get(&address, "/mutes", "").await.proof();
    let done = [
        ("/mutes/add", "rule=all&for=2h&reason=moving", "all is muted."),
        ("/mutes/lift", "id=1", "all is no longer muted."),
        ("/configuration/reload", "", "The files say what they said"),
    ];
    for (path, form, words) in done {
        let done = post(&address, path, &own, &format!("csrf={proof}&{form}")).await;
        let shown = done.header("location").unwrap();
        assert!(get(&address, shown, "").await.body.contains(words), "{path}");
        let again = get(&address, shown, "").await;
        assert!(again.status == 200 && !again.body.contains(words), "{path}, loaded again: {}", again.body);
    }
    for made_up in ["/mutes?did=mute&rule=all", "/mutes?told=1", "/digests?did=flush&n=2", "/mutes?told=x"] {
        let page = get(&address, made_up, "").await;
        assert!(page.status == 200 && !page.body.contains("note good"), "{made_up}: {}", page.body);
    }
    running.ends().await;
}

#[tokio::test]
async fn a_digest_is_sent_before_its_time_or_not_at_all_after_a_look_at_what_it_holds() {
    let stage = Stage::with(&gathering()).await;
    let (running, address) = started(&stage, "").await;
    let own = format!("Origin: http://{address}\r\n");
    let empty = get(&address, "/digests", "").await;
    assert!(
        empty.body.contains("No digest is open") && empty.body.contains("that all takes opens one"),
        "{}",
        empty.body
    );
    stage.receive(2);
    let page = open_digest(&address, 2).await;
    let id = hidden(&page, "id");
    let form = |change: &str| format!("csrf={}&id={id}&change={change}", page.proof());
    assert_eq!(
        post(&address, "/digests/change", &own, &format!("csrf=x&id={id}&change=flush")).await.status,
        403
    );
    assert_eq!(
        post(&address, "/digests/change", "Origin: https://evil.test\r\n", &form("flush")).await.status,
        403
    );
    assert_eq!(post(&address, "/digests/review", &own, &form("burn")).await.status, 400);
    let review = post(&address, "/digests/review", &own, &form("flush")).await;
    assert!(review.body.contains("Send the digest of 2 messages now?"), "{}", review.body);
    assert!(review.body.matches("/messages/main/").count() == 2, "they are named: {}", review.body);
    assert_eq!(stage.sandbox.http.received().len(), 0, "nothing is sent before it is confirmed");
    let flushed = post(&address, "/digests/change", &own, &form("flush")).await;
    assert_eq!(flushed.status, 303);
    let told = flushed.header("location").unwrap();
    assert!(get(&address, told, "").await.body.contains("its 2 messages are sent at once"));
    stage.sandbox.http.wait_for(1, PATIENCE).await.unwrap();
    let late = post(&address, "/digests/change", &own, &form("cancel")).await;
    assert!(late.status == 404 && late.body.contains("no longer open"), "{}", late.body);
    let sent = get(&address, &format!("/deliveries/{id}"), "").await;
    assert!(
        sent.body.contains("id=\"messages\"") && sent.body.matches("/messages/main/").count() >= 2,
        "{}",
        sent.body
    );

    stage.receive(2);
    let page = open_digest(&address, 2).await;
    let form = format!("csrf={}&id={}&change=cancel", page.proof(), hidden(&page, "id"));
    let unseen = post(&address, "/digests/change", &own, &form).await;
    assert_eq!(unseen.status, 409, "nothing is cancelled unseen: {}", unseen.body);
    let review = post(&address, "/digests/review", &own, &form).await;
    let form = format!("{}&change=cancel", form_to(&review, "/digests/change"));
    let cancelled = post(&address, "/digests/change", &own, &form).await;
    let told = cancelled.header("location").unwrap();
    assert!(get(&address, told, "").await.body.contains("discarded with its 2 messages"));
    assert!(get(&address, "/deliveries?state=discarded", "").await.body.contains("and 1 more"));
    running.ends().await;
}

#[tokio::test]
async fn a_digest_that_is_due_says_what_it_waits_for() {
    let stage = Stage::with(&gathering().replace("every: 1h", "every: 1h, max_items: 1")).await;
    let (running, address) = started(&stage, "").await;
    let own = format!("Origin: http://{address}\r\n");
    let proof = get(&address, "/targets", "").await.proof();
    assert_eq!(
        post(&address, "/targets/pause", &own, &format!("csrf={proof}&name=crm&reason=moving")).await.status,
        303
    );
    stage.receive(1);
    let page = loop {
        let page = get(&address, "/digests", "").await;
        if page.body.contains(">due<") {
            break page;
        }
    };
    assert!(
        page.body.contains("waits for its target, which is paused") && page.body.contains("Resume crm"),
        "{}",
        page.body
    );
    assert!(
        !page.body.contains("value=\"flush\""),
        "there is nothing to close before its time: {}",
        page.body
    );
    running.ends().await;
}

/// Follows the feed until it tells of something; returns all that it told.
fn watch(address: &str, until: String) -> tokio::task::JoinHandle<String> {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.write_all(format!("GET /feed/events HTTP/1.1\r\nHost: {address}\r\n\r\n").as_bytes()).unwrap();
    tokio::task::spawn_blocking(move || {
        let (mut told, mut chunk) = (String::new(), [0; 4096]);
        while !told.contains(&until) {
            let read = stream.read(&mut chunk).unwrap();
            assert!(read > 0, "the feed ended: {told}");
            told.push_str(&String::from_utf8_lossy(&chunk[..read]));
        }
        told
    })
}

#[tokio::test]
async fn the_feed_says_that_the_store_cannot_be_read_and_that_it_can_again() {
    let stage = Stage::new().await;
    let (running, address) = started(&stage, "").await;
    let (database, feed) = (stage.database(), watch(&address, "event: trouble".to_owned()));
    database.execute("ALTER TABLE messages RENAME TO moved", []).unwrap();
    let told = feed.await.unwrap();
    assert!(!told.contains("event: again"), "{told}");
    let feed = watch(&address, "event: again".to_owned());
    let late = watch(&address, "no such table".to_owned()).await.unwrap();
    assert!(late.contains("event: trouble"), "who begins to watch meanwhile is told as well: {late}");
    database.execute("ALTER TABLE moved RENAME TO messages", []).unwrap();
    feed.await.unwrap();
    running.ends().await;
}

#[tokio::test]
async fn a_delivery_that_is_given_up_and_discarded_ends_twice_for_who_watches() {
    let stage = Stage::new().await;
    stage.sandbox.http.answers([status(302)]);
    stage.receive(1);
    let (running, address) = started(&stage, "").await;
    let feed = watch(&address, "data-kind=\"discarded\"".to_owned());
    let dead = watch(&address, "data-kind=\"dead\"".to_owned()).await.unwrap();
    let id = dead.split("<li id=\"d-").nth(1).unwrap().split("-dead\"").next().unwrap();
    let form = format!("csrf={}&id={id}&change=discard", get(&address, "/targets", "").await.proof());
    let own = format!("Origin: http://{address}\r\n");
    assert_eq!(post(&address, "/deliveries/change", &own, &form).await.status, 303);
    let told = feed.await.unwrap();
    for state in ["dead", "discarded"] {
        assert_eq!(told.matches(&format!("<li id=\"d-{id}-{state}\"")).count(), 1, "{told}");
    }
    running.ends().await;
}

#[tokio::test]
async fn all_who_watch_are_told_everything_once() {
    let stage = Stage::new().await;
    let (running, address) = started(&stage, "").await;
    stage.receive(3);
    stage.sandbox.http.wait_for(3, PATIENCE).await.unwrap();
    let last = stage.sandbox.business.receive(Incoming::text("Ann", "the last one"));
    let watching: Vec<_> = (0..3).map(|_| watch(&address, format!("m-main-{last}"))).collect();
    for watcher in watching {
        let told = watcher.await.unwrap();
        assert_eq!(told.matches("id=\"m-main-").count(), 4, "{told}");
        let ids: Vec<&str> =
            told.split("<li id=\"").skip(1).filter_map(|rest| rest.split('"').next()).collect();
        let once: std::collections::HashSet<&&str> = ids.iter().collect();
        assert_eq!(once.len(), ids.len(), "{told}");
    }
    running.ends().await;
}

#[tokio::test]
async fn after_a_restart_an_earlier_number_leads_to_all_that_is_known() {
    let stage = Stage::new().await;
    stage.receive(1);
    let (running, address) = started(&stage, "").await;
    stage.sandbox.http.wait_for(1, PATIENCE).await.unwrap();
    let database = stage.database();
    let withhold = |from: u32, to: u32| {
        let sql = format!(
            "WITH RECURSIVE n (i) AS (SELECT {from} UNION ALL SELECT i + 1 FROM n WHERE i < {to})
             INSERT INTO deliveries (id, account, rule, target, template, state, created_at, settled_at, first_due)
             SELECT printf('x%06d', i), account, rule, target, template, 'withheld', created_at, created_at + i, first_due
             FROM n, (SELECT * FROM deliveries LIMIT 1);
             DELETE FROM counts;
             INSERT INTO counts (target, state, n) SELECT target, state, count(*) FROM deliveries GROUP BY target, state"
        );
        database.execute_batch(&sql).unwrap();
    };
    let feed = async |address: &str, after: u64| -> serde_json::Value {
        let told = get(address, &format!("/api/v1/feed?after={after}"), "").await;
        serde_json::from_str(&told.body).unwrap()
    };
    // More than is asked for at once.
    withhold(1, 400);
    let before = feed(&address, 0).await["last"].as_u64().unwrap();
    running.ends().await;
    withhold(401, 420);
    let (running, address) = started(&stage, "").await;
    let news = feed(&address, before).await;
    let known = |id: u32| news["events"].to_string().contains(&format!("\"id\":\"x{id:06}\""));
    assert!((401..=420).all(known), "{before}: {}", news["last"]);
    let last = news["last"].as_u64().unwrap();
    assert!(last > before && last < 1 << 53, "{before} {last}");
    running.ends().await;
}
