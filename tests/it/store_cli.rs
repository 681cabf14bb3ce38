//! `deliveries`, `targets` and `status` over a store of their own: what they change and how they end.

use activity_relay::cli::output::Output;
use activity_relay::cli::{Color, Context, Exit, Format, Global, Named, Stop, deliveries, status};
use activity_relay::config::secret::Environment;
use activity_relay::daemon::clock::Clock;
use activity_relay::model::delivery::StateName;
use activity_relay::store::{Filter, Mode, Store};
use clap::Parser;
use tempfile::TempDir;

use super::store_kit::{at, kill_first, owe};

#[derive(Parser)]
struct Deliveries {
    #[command(flatten)]
    args: deliveries::Args,
}

#[derive(Parser)]
struct Status {
    #[command(flatten)]
    args: status::Args,
}

struct World {
    _folder: TempDir,
    store: Store,
    context: Context,
}

impl World {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("sqlite://{}", folder.path().join("relay.db").display());
        let global = Global {
            config: folder.path().join("rules.yaml"),
            store: url.clone(),
            color: Color::Never,
            log_format: Format::Text,
            log: None,
        };
        let context = Context {
            global,
            named: Named::default(),
            environment: Environment::default(),
            out: Output::new(Color::Never),
            clock: Clock::manual(at(60)),
        };
        let store = Store::open(&url, Mode::Daemon).await.unwrap();
        Self { _folder: folder, store, context }
    }

    async fn deliveries(&mut self, line: &str) -> Result<Exit, Exit> {
        let parsed = Deliveries::try_parse_from(["deliveries"].into_iter().chain(line.split(' ')));
        let args = parsed.map_err(|_| Exit::Usage)?.args;
        let result = deliveries::run(&args, &mut self.context).await;
        result.map_err(|error| error.downcast_ref::<Stop>().expect("a stop with an exit code").exit)
    }

    async fn status(&mut self) -> Exit {
        let args = Status::parse_from(["status", "--format", "json"]).args;
        status::run(&args, &mut self.context).await.unwrap()
    }

    async fn ids(&self, state: StateName) -> Vec<String> {
        let filter = Filter { states: vec![state], ..Filter::default() };
        self.store.deliveries(filter).await.unwrap().0.into_iter().map(|row| row.id.to_string()).collect()
    }
}

#[tokio::test]
async fn ids_may_be_shortened_as_long_as_they_are_unique() {
    let mut world = World::new().await;
    owe(&world.store, "desk", &["a", "b"]).await;
    let id = world.ids(StateName::Pending).await.remove(0);
    assert_eq!(world.deliveries(&format!("show {id}")).await, Ok(Exit::Fine));
    assert_eq!(world.deliveries(&format!("show {} --format json", &id[..16])).await, Ok(Exit::Fine));
    assert_eq!(world.deliveries("show d").await, Err(Exit::Problem));
    assert_eq!(world.deliveries("show unknown").await, Err(Exit::Problem));
}

#[tokio::test]
async fn the_dead_are_replayed_by_filter_and_only_when_meant() {
    let mut world = World::new().await;
    owe(&world.store, "desk", &["a", "b"]).await;
    kill_first(&world.store, "desk").await;
    assert_eq!(world.status().await, Exit::Problem);
    assert_eq!(world.deliveries("replay --state dead --target desk --dry-run").await, Ok(Exit::Fine));
    assert_eq!(world.ids(StateName::Pending).await.len(), 1, "a dry run changes nothing");
    let other = world.deliveries("replay --state dead --target crm").await;
    assert_eq!(other, Ok(Exit::Fine), "without a rules file nobody knows whether there is such a target");
    assert_eq!(world.ids(StateName::Pending).await.len(), 1);
    assert_eq!(
        world.deliveries("replay --state dead --target desk --rule cancellations").await,
        Ok(Exit::Fine)
    );
    assert_eq!(world.ids(StateName::Pending).await.len(), 2);
    let pending = world.ids(StateName::Pending).await.remove(0);
    assert_eq!(world.deliveries(&format!("replay {pending}")).await, Err(Exit::Problem));
    assert_eq!(world.deliveries("replay --target desk").await, Err(Exit::Usage), "not everything at once");
}

#[tokio::test]
async fn what_is_discarded_needs_no_more_attention() {
    let mut world = World::new().await;
    owe(&world.store, "desk", &["a"]).await;
    assert_eq!(world.status().await, Exit::Fine);
    kill_first(&world.store, "desk").await;
    let dead = world.ids(StateName::Dead).await.remove(0);
    assert_eq!(world.deliveries(&format!("discard {dead}")).await, Ok(Exit::Fine));
    assert_eq!(world.ids(StateName::Discarded).await, [dead]);
    assert_eq!(world.status().await, Exit::Fine);
    world.store.polled("main", Err("401".into()), at(60)).await.unwrap();
    assert_eq!(world.status().await, Exit::Problem);
}

#[tokio::test]
async fn lists_take_states_and_times() {
    let mut world = World::new().await;
    owe(&world.store, "desk", &["a"]).await;
    assert_eq!(world.deliveries("list --state pending,dead --since 24h").await, Ok(Exit::Fine));
    assert_eq!(
        world.deliveries("list --since 2026-03-02T08:00:00Z --limit 1 --format json").await,
        Ok(Exit::Fine)
    );
    assert_eq!(world.deliveries("list --since yesterday").await, Err(Exit::Usage));
    assert_eq!(world.deliveries("list --state lost").await, Err(Exit::Usage));
}
