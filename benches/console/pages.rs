//! Every page and every answer of the API that reads: how long the server takes, one request after the other.

use std::time::{Duration, Instant};

use activity_relay::egress::policy::Policy;
use activity_relay::egress::{Egress, Request};

use crate::filling::Known;

/// Each is asked so often.
const ROUNDS: usize = 40;
/// What is aimed at, in milliseconds.
const AIM_MS: f64 = 100.0;

/// Times all of them and prints a table.
pub(crate) async fn time_all(base: &str, known: &Known) {
    let Known { uid, id } = known;
    let paths = [
        "/".to_owned(),
        "/?range=1h".to_owned(),
        "/?range=24h".to_owned(),
        "/?range=7d".to_owned(),
        "/feed".to_owned(),
        "/deliveries".to_owned(),
        "/deliveries?state=dead".to_owned(),
        "/deliveries?state=pending".to_owned(),
        "/deliveries?state=delivered&target=crm".to_owned(),
        "/deliveries?rule=cancellations".to_owned(),
        "/deliveries?rule=gone".to_owned(),
        "/deliveries?target=books&since=7d".to_owned(),
        "/deliveries?state=expired&since=24h&rule=all".to_owned(),
        format!("/deliveries?message={uid}"),
        "/deliveries?before=1000".to_owned(),
        format!("/deliveries/{id}"),
        format!("/messages/main/{uid}"),
        "/digests".to_owned(),
        "/targets".to_owned(),
        "/coverage".to_owned(),
        "/playground".to_owned(),
        "/mutes".to_owned(),
        "/configuration".to_owned(),
        "/api/v1/status".to_owned(),
        "/api/v1/deliveries?limit=1000".to_owned(),
        "/api/v1/digests".to_owned(),
        "/api/v1/figures".to_owned(),
        "/api/v1/figures?range=7d".to_owned(),
        "/api/v1/coverage".to_owned(),
        "/api/v1/feed".to_owned(),
        format!("/api/v1/messages/{uid}"),
        "/metrics".to_owned(),
    ];
    let egress = Egress::new(Policy::Any);
    println!("{:<50} {:>9} {:>9} {:>9} {:>9}", "", "p50 ms", "p95 ms", "max ms", "KiB");
    for path in paths {
        let url = format!("{base}{path}");
        let (mut took, mut bytes) = (Vec::with_capacity(ROUNDS), 0);
        for _ in 0..ROUNDS {
            let start = Instant::now();
            bytes = ask(&egress, &url).await;
            took.push(start.elapsed().as_secs_f64() * 1000.0);
        }
        took.sort_by(f64::total_cmp);
        let at = |percent: usize| took[(took.len() * percent).div_ceil(100) - 1];
        let over = if at(95) > AIM_MS { "  over the aim" } else { "" };
        let kib = bytes / 1024;
        println!("{path:<50} {:>9.1} {:>9.1} {:>9.1} {kib:>9}{over}", at(50), at(95), at(100));
    }
    println!();
}

/// Asks for one; returns how long the answer is.
async fn ask(egress: &Egress, url: &str) -> usize {
    let request = Request {
        method: reqwest::Method::GET,
        url: url.parse().unwrap(),
        headers: reqwest::header::HeaderMap::new(),
        body: Vec::new(),
        answer_bytes_max: 16 << 20,
    };
    let answer = egress.send(request, Duration::from_mins(1)).await.unwrap();
    assert_eq!(answer.status, 200, "{url}");
    answer.body.len()
}
