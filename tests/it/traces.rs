//! Traces by OTLP: one trace from the poll to the answer, what a collector gets of it, and that a dead one does no harm.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::TcpListener;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use activity_relay::daemon::traces::trace_id;
use activity_relay::model::delivery::StateName;
use activity_relay::sandbox::script::{ok, status};
use serde_json::Value;

use crate::somebody::{answer, nobody, somebody_on};
use crate::stage::Stage;
use crate::world::World;

const RULES: &str = "
targets:
  crm: { type: http, url: \"${HTTP}\", allow_private: true, retry: { first: 5s } }
rules:
  - { name: all, match: {}, deliver: [{ to: crm }] }
";
/// The fields of OTLP's messages (`opentelemetry/proto/trace/v1/trace.proto`) as far as the relay writes them.
const SPAN: [&str; 11] = [
    "traceId",
    "spanId",
    "parentSpanId",
    "name",
    "kind",
    "startTimeUnixNano",
    "endTimeUnixNano",
    "attributes",
    "events",
    "droppedEventsCount",
    "status",
];

/// Whoever takes spans.
#[derive(Clone)]
struct Collector {
    url: String,
    /// Heads and documents of all requests.
    taken: Arc<Mutex<Vec<(String, Value)>>>,
}

impl Collector {
    /// Answers 200, once these are used up.
    fn on(listener: TcpListener, answers: impl IntoIterator<Item = String>) -> Self {
        let taken = Arc::<Mutex<Vec<(String, Value)>>>::default();
        let answers = Mutex::new(answers.into_iter().collect::<VecDeque<String>>());
        let known = taken.clone();
        let url = somebody_on(listener, move |head, body| {
            known.lock().unwrap().push((head.to_owned(), serde_json::from_slice(body).unwrap()));
            let next = answers.lock().unwrap().pop_front();
            next.unwrap_or_else(|| answer("200 OK", "Content-Type: application/json\r\n", "{}"))
        });
        Self { url, taken }
    }

    fn new() -> Self {
        Self::answering([])
    }

    fn answering(answers: impl IntoIterator<Item = String>) -> Self {
        Self::on(TcpListener::bind("127.0.0.1:0").unwrap(), answers)
    }

    fn requests(&self) -> Vec<(String, Value)> {
        self.taken.lock().unwrap().clone()
    }

    fn spans(&self) -> Vec<Value> {
        let of = |document: &Value| {
            document["resourceSpans"][0]["scopeSpans"][0]["spans"].as_array().unwrap().clone()
        };
        self.requests().iter().flat_map(|(_, document)| of(document)).collect()
    }
}

/// What a span, an event or a resource says of itself.
fn facts(of: &Value) -> BTreeMap<String, String> {
    let said = of["attributes"].as_array().unwrap().iter().map(|fact| {
        let value = fact["value"].as_object().unwrap();
        assert_eq!(value.len(), 1, "{fact}");
        let value = value.get("stringValue").or(value.get("intValue")).unwrap();
        (fact["key"].as_str().unwrap().to_owned(), value.as_str().unwrap().to_owned())
    });
    said.collect()
}

fn named<'s>(spans: &'s [Value], name: &str) -> Vec<&'s Value> {
    spans.iter().filter(|span| span["name"] == name).collect()
}

fn nanos(span: &Value, key: &str) -> i128 {
    span[key].as_str().unwrap().parse().unwrap()
}

fn counts(world: &World, result: &str) -> u64 {
    let text = world.relay().metrics.render();
    let line = format!("activity_relay_trace_spans_total{{result=\"{result}\"}} ");
    text.lines().find_map(|one| one.strip_prefix(&line)).unwrap().parse().unwrap()
}

#[tokio::test]
async fn one_trace_follows_a_message_from_the_poll_to_the_answer_over_retries_and_a_restart() {
    let collector = Collector::new();
    let mut world = World::new(RULES).await;
    world
        .telemetry([
            ("OTEL_EXPORTER_OTLP_ENDPOINT", &collector.url),
            ("OTEL_EXPORTER_OTLP_HEADERS", "x-key=a%20secret"),
            ("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=test"),
        ])
        .await;
    world.sandbox.http.answers([status(503), ok()]);
    let uid = world.receives("Ann", "A secret");
    world.tick().await;
    world.relay().traces.tick().await;
    assert_eq!(counts(&world, "sent"), 4);
    world.reopen().await;
    world.pass("30s").await;
    world.relay().traces.tick().await;
    let row = world.rows().await.remove(0);
    assert_eq!(row.state, StateName::Delivered);
    let (requests, spans) = (collector.requests(), collector.spans());
    let (head, document) = &requests[0];
    assert!(
        head.starts_with("POST /v1/traces HTTP/1.1\r\n") && head.contains("x-key: a secret\r\n"),
        "{head}"
    );
    assert!(head.contains("content-type: application/json\r\n"), "{head}");
    let resource = facts(&document["resourceSpans"][0]["resource"]);
    assert_eq!(resource["service.name"], "activity-relay");
    assert_eq!(resource["deployment.environment.name"], "test");
    let text = document.to_string();
    assert!(!text.contains("A secret") && !text.contains("Ann"), "nothing that a message says: {text}");
    let names: Vec<&str> = spans.iter().map(|span| span["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["poll", "admit", "wait", "deliver", "deliver"]);
    let traces: BTreeSet<&str> = spans.iter().map(|span| span["traceId"].as_str().unwrap()).collect();
    let ids: BTreeSet<&str> = spans.iter().map(|span| span["spanId"].as_str().unwrap()).collect();
    assert_eq!((traces.len(), ids.len()), (1, 5), "one trace, each span its own");
    assert!(traces.iter().all(|id| id.len() == 32) && ids.iter().all(|id| id.len() == 16));
    for span in &spans {
        let unknown: Vec<_> =
            span.as_object().unwrap().keys().filter(|key| !SPAN.contains(&key.as_str())).collect();
        assert!(unknown.is_empty(), "{unknown:?}");
        assert!(nanos(span, "startTimeUnixNano") <= nanos(span, "endTimeUnixNano"), "{span}");
        let root = span["name"] == "poll";
        assert_eq!(span.get("parentSpanId"), (!root).then_some(&spans[0]["spanId"]), "{span}");
    }
    assert_eq!(traces.first().copied(), Some(trace_id("main", &uid).as_str()), "as `explain` tells it");
    let poll = facts(&spans[0]);
    assert_eq!(
        (poll["activity_relay.message.uid"].as_str(), poll["activity_relay.account"].as_str()),
        (uid.as_str(), "main")
    );
    let planned = facts(&spans[1]["events"][0]);
    assert_eq!(planned["activity_relay.delivery.id"], row.id.as_str());
    let [first, second] = named(&spans, "deliver")[..] else { panic!("{names:?}") };
    assert_eq!((&first["status"]["code"], &first["kind"]), (&2.into(), &3.into()));
    assert!(first["status"]["message"].as_str().is_some_and(|why| why.contains("503")), "{first}");
    assert_eq!(second.get("status"), None);
    for (span, attempt, said, outcome, state) in
        [(first, "1", "503", "retry", "pending"), (second, "2", "200", "delivered", "delivered")]
    {
        let facts = facts(span);
        let of = |key: &str| facts[&format!("activity_relay.{key}")].as_str();
        assert_eq!((of("rule"), of("target"), of("message.uid")), ("all", "crm", uid.as_str()));
        assert_eq!((of("attempt"), of("status"), of("outcome")), (attempt, said, outcome));
        assert_eq!((of("delivery.state"), of("delivery.id")), (state, row.id.as_str()));
    }
    let between = nanos(second, "startTimeUnixNano") - nanos(first, "endTimeUnixNano");
    assert_eq!(between, 30_000_000_000, "the wait between two attempts is to be seen");
}

#[tokio::test]
async fn what_several_messages_share_is_in_the_trace_of_each() {
    let collector = Collector::new();
    let mut world = World::new(&RULES.replace("to: crm }", "to: crm, digest: { every: 1h } }")).await;
    world.telemetry([("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", &*format!("{}/in", collector.url))]).await;
    world.receives("Ann", "Hi");
    world.receives("Bob", "Hi");
    world.tick().await;
    world.pass("2h").await;
    world.relay().traces.tick().await;
    assert!(collector.requests()[0].0.starts_with("POST /in HTTP/1.1"));
    let spans = collector.spans();
    let of = |name: &str| -> BTreeSet<&str> {
        named(&spans, name).iter().map(|span| span["traceId"].as_str().unwrap()).collect()
    };
    assert_eq!((of("poll").len(), named(&spans, "deliver").len()), (2, 2));
    assert_eq!(of("deliver"), of("poll"));
    let deliver = facts(named(&spans, "deliver")[0]);
    assert_eq!(deliver["activity_relay.messages"], "2");
    let wait = named(&spans, "wait")[0];
    assert_eq!(nanos(wait, "endTimeUnixNano") - nanos(wait, "startTimeUnixNano"), 7_200_000_000_000);
}

#[tokio::test]
async fn a_dead_collector_does_no_harm_and_misses_what_there_was_no_room_for() {
    let (socket, address) = nobody();
    let mut world = World::new(RULES).await;
    world
        .telemetry([
            ("OTEL_EXPORTER_OTLP_ENDPOINT", &*format!("http://{address}")),
            ("OTEL_BSP_MAX_QUEUE_SIZE", "8"),
            ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "4"),
        ])
        .await;
    for _ in 0..5 {
        world.receives("Ann", "Hi");
        world.tick().await;
        world.relay().traces.tick().await;
    }
    let rows = world.rows().await;
    assert!(rows.len() == 5 && rows.iter().all(|row| row.state == StateName::Delivered));
    // Of 20 spans 4 are tried again and 8 wait.
    assert_eq!((counts(&world, "sent"), counts(&world, "dropped")), (0, 8));
    let listener = socket.listen(8).unwrap().into_std().unwrap();
    listener.set_nonblocking(false).unwrap();
    let collector = Collector::on(listener, []);
    world.relay().traces.tick().await;
    assert_eq!(collector.requests().len(), 0, "it is left alone for a while");
    world.clock.advance(Duration::from_secs(61));
    world.relay().traces.tick().await;
    assert_eq!((counts(&world, "sent"), collector.spans().len()), (12, 12));
}

#[tokio::test]
async fn a_collector_may_ask_to_wait_take_a_part_or_refuse() {
    let part = r#"{"partialSuccess":{"rejectedSpans":"3","errorMessage":"too many"}}"#;
    let collector = Collector::answering([
        answer("429 Too Many Requests", "Retry-After: 20\r\n", ""),
        answer("200 OK", "Content-Type: application/json\r\n", part),
        answer("401 Unauthorized", "", "who are you?"),
    ]);
    let mut world = World::new(RULES).await;
    world.telemetry([("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url.as_str())]).await;
    world.receives("Ann", "Hi");
    world.tick().await;
    let ticks = async |asked: usize| {
        world.relay().traces.tick().await;
        assert_eq!(collector.requests().len(), asked);
    };
    ticks(1).await;
    world.clock.advance(Duration::from_secs(19));
    ticks(1).await;
    world.clock.advance(Duration::from_secs(1));
    ticks(2).await;
    assert_eq!(collector.requests()[0].1, collector.requests()[1].1, "the same spans again");
    assert_eq!((counts(&world, "sent"), counts(&world, "rejected")), (1, 3));
    world.receives("Ann", "Hi");
    world.tick().await;
    ticks(3).await;
    ticks(3).await;
    assert_eq!(
        (counts(&world, "sent"), counts(&world, "rejected")),
        (1, 7),
        "what is refused is not sent again"
    );
}

#[tokio::test]
async fn the_program_sends_its_last_spans_before_it_ends() {
    let (stage, collector) = (Stage::new().await, Collector::new());
    stage.receive(1);
    let mut running = stage.start(&format!("run --listen none --otlp {}", collector.url));
    stage.until_logged(&running, " delivered").await;
    running.signal("TERM");
    assert_eq!(running.ended().await.code(), Some(0), "{}", stage.logged());
    assert_eq!(named(&collector.spans(), "deliver").len(), 1);
    assert!(stage.logged().contains("traces are sent"));
    stage.receive(1);
    assert_eq!(stage.output(&format!("run --once --otlp {}", collector.url)).await.status.code(), Some(0));
    assert_eq!(named(&collector.spans(), "deliver").len(), 2);
    let wrong = stage.output("run --once --otlp nowhere").await;
    assert_eq!(wrong.status.code(), Some(2));
    assert!(stage.logged().contains("--otlp is no address of a collector"), "{}", stage.logged());
}
