//! Throw-away PostgreSQL servers: initdb in a temporary folder, a socket and a port of their own, gone with the test.

use std::io::Write;
use std::ops::Range;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, OnceLock};

use activity_relay::config::secret::Environment;
use tokio_postgres::{Client, NoTls};

/// Where Debian and others put the server's programs.
const PLACES: [&str; 3] = ["/usr/lib/postgresql", "/usr/pgsql", "/opt/homebrew/opt"];
/// A second start finds another port, should somebody have been quicker with the first.
const STARTS_MAX: usize = 5;
/// Not among those that the system gives to whoever asks for any: a server that was stopped starts again at its own.
const PORTS: Range<u16> = 10_000..32_768;
/// Set where a test that cannot run is a failure.
const REQUIRED: &str = "RELAY_REQUIRE_POSTGRES";

/// The folder of the newest server's programs; `None` is told loudly, or fails where a server is required.
fn programs() -> Option<PathBuf> {
    static FOUND: OnceLock<Option<PathBuf>> = OnceLock::new();
    let found = FOUND.get_or_init(|| {
        let folders = PLACES.iter().filter_map(|place| std::fs::read_dir(place).ok()).flatten();
        let mut found: Vec<PathBuf> = folders.flatten().map(|entry| entry.path().join("bin")).collect();
        found.extend(Environment::of_process().get("PATH").iter().flat_map(std::env::split_paths));
        found.retain(|folder| folder.join("initdb").is_file() && folder.join("pg_ctl").is_file());
        found.sort_by_key(|folder| {
            let version = folder.parent().and_then(Path::file_name).and_then(|name| name.to_str());
            version.and_then(|version| version.parse::<u32>().ok()).unwrap_or(0)
        });
        found.pop()
    });
    if found.is_none() {
        assert!(
            Environment::of_process().get(REQUIRED).is_none(),
            "{REQUIRED} is set and no PostgreSQL server is installed"
        );
        // Straight to the descriptor: the test harness keeps what a passing test prints to itself.
        let _ = std::io::stderr().write_all(
            b"SKIPPED: no PostgreSQL server is installed (initdb is in none of the usual places)\n",
        );
    }
    found.clone()
}

/// The server refuses to be root; somebody else is then to run it.
fn as_owner(program: &Path) -> Command {
    let root = std::fs::metadata("/proc/self").is_ok_and(|me| std::os::unix::fs::MetadataExt::uid(&me) == 0);
    let mut command = if root {
        let mut command = Command::new("runuser");
        command.args(["-u", "postgres", "--"]).arg(program);
        command
    } else {
        Command::new(program)
    };
    command.current_dir("/tmp").env("LC_ALL", "C");
    command
}

fn output(command: &mut Command) -> (bool, String) {
    let done = command.stdin(Stdio::null()).output().unwrap();
    let text = String::from_utf8_lossy(&done.stdout).into_owned() + &String::from_utf8_lossy(&done.stderr);
    (done.status.success(), text)
}

/// A server of one's own. It ends with its last user, at the latest with the test process, however that ends.
pub(crate) struct Cluster {
    programs: PathBuf,
    folder: PathBuf,
    port: u16,
    databases: AtomicUsize,
    /// Ends the server once its other end of the pipe is gone.
    watchdog: Mutex<Child>,
}

impl Drop for Cluster {
    fn drop(&mut self) {
        let watchdog = self.watchdog.get_mut().unwrap();
        drop(watchdog.stdin.take());
        let _ = watchdog.wait();
    }
}

impl Cluster {
    /// Starts one with further settings; `None` where PostgreSQL is not installed.
    pub(crate) fn start(settings: &[(&str, &str)]) -> Option<Self> {
        let lines: Vec<String> = settings.iter().map(|(key, value)| format!("{key} = {value}\n")).collect();
        Self::prepared(|_| lines.concat())
    }

    /// Starts one whose files lie in this folder, which everybody may write to.
    pub(crate) fn within(folder: &Path) -> Option<Self> {
        Self::made(folder, |_| String::new())
    }

    /// Starts one whose settings need files in its folder.
    pub(crate) fn prepared(settings: impl FnOnce(&Folder<'_>) -> String) -> Option<Self> {
        Self::made(Path::new("/tmp"), settings)
    }

    fn made(place: &Path, settings: impl FnOnce(&Folder<'_>) -> String) -> Option<Self> {
        let programs = programs()?;
        // A short path: a socket's name has room for 107 bytes.
        let template = place.join("relay-pg-XXXXXX");
        let (made, folder) = output(as_owner(Path::new("mktemp")).arg("-d").arg(template));
        assert!(made, "{folder}");
        let folder = PathBuf::from(folder.trim());
        let watchdog = Mutex::new(watch(&programs, &folder));
        let cluster = Self { programs, folder, port: 0, databases: AtomicUsize::new(0), watchdog };
        let (made, text) = output(cluster.program("initdb").arg("-D").arg(cluster.data()).args([
            "--auth=trust",
            "--no-sync",
            "--username=postgres",
            "--encoding=UTF8",
            "--locale=C",
        ]));
        assert!(made, "{text}");
        let settings = settings(&Folder(&cluster));
        let common = format!(
            "unix_socket_directories = '{}'\nlisten_addresses = '127.0.0.1'\nmax_connections = 200\n{settings}",
            cluster.folder.display()
        );
        cluster.write("data/relay.conf", &common);
        let (added, text) =
            output(as_owner(Path::new("sh")).arg("-c").arg(format!(
                "echo \"include 'relay.conf'\" >> {}/postgresql.conf",
                cluster.data().display()
            )));
        assert!(added, "{text}");
        Some(cluster.first_start())
    }

    fn first_start(mut self) -> Self {
        for _ in 0..STARTS_MAX {
            self.port = fastrand::u16(PORTS);
            if self.try_start().is_ok() {
                return self;
            }
        }
        self.try_start().unwrap();
        self
    }

    fn program(&self, name: &str) -> Command {
        as_owner(&self.programs.join(name))
    }

    fn data(&self) -> PathBuf {
        self.folder.join("data")
    }

    /// Where the server writes what it has to say.
    pub(crate) fn log(&self) -> PathBuf {
        self.folder.join("log")
    }

    /// Writes a file that belongs to the server's user and is for its eyes only.
    fn write(&self, name: &str, text: &str) {
        let path = self.folder.join(name);
        let mut command = as_owner(Path::new("sh"));
        let script = format!("umask 077; cat > {}", path.display());
        let mut child = command.arg("-c").arg(script).stdin(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
        assert!(child.wait().unwrap().success());
    }

    fn ctl(&self, arguments: &[&str]) -> Result<(), String> {
        let log = self.log();
        let mut command = self.program("pg_ctl");
        command.arg("-D").arg(self.data()).arg("-l").arg(&log).args(["-w", "-s"]).args(arguments);
        // The server must not hold a pipe of ours open: nobody could read it to its end.
        let status =
            command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap();
        if status.success() {
            return Ok(());
        }
        let (_, text) = output(as_owner(Path::new("tail")).arg("-5").arg(&log));
        Err(format!("pg_ctl {arguments:?}: {text}"))
    }

    fn try_start(&self) -> Result<(), String> {
        self.ctl(&["start", "-o", &format!("-p {}", self.port)])
    }

    /// Starts it again after a stop, at the same place.
    pub(crate) fn start_again(&self) {
        self.try_start().unwrap();
    }

    /// Stops it as a crash would: nothing is written back, and all connections are cut.
    pub(crate) fn stop_at_once(&self) {
        self.ctl(&["stop", "-m", "immediate"]).unwrap();
    }

    /// Stops it in order, cutting all connections.
    pub(crate) fn stop(&self) {
        self.ctl(&["stop", "-m", "fast"]).unwrap();
    }

    /// The port on 127.0.0.1.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// The URL of a database, through the socket.
    pub(crate) fn url(&self, database: &str) -> String {
        let (folder, port) = (self.folder.display(), self.port);
        format!("postgres://postgres@/{database}?host={folder}&port={port}")
    }

    /// A connection of the test's own.
    #[expect(clippy::disallowed_methods, reason = "the connection ends with its client")]
    pub(crate) async fn connect(&self, database: &str) -> Client {
        let (client, connection) = tokio_postgres::connect(&self.url(database), NoTls).await.unwrap();
        tokio::spawn(connection);
        client
    }

    /// A new, empty database; its name.
    pub(crate) async fn database(&self) -> String {
        // One at a time: each needs the template for itself.
        static ONE: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());
        let _one = ONE.lock().await;
        let name = format!("t{}", self.databases.fetch_add(1, Ordering::Relaxed));
        self.connect("postgres").await.batch_execute(&format!("CREATE DATABASE {name}")).await.unwrap();
        name
    }

    /// Cuts all connections to a database; says how many there were.
    pub(crate) async fn cut(&self, database: &str) -> i64 {
        let client = self.connect("postgres").await;
        let sql = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE datname = $1";
        client.query_one(sql, &[&database]).await.unwrap().get(0)
    }
}

/// The folder of a server that is being prepared.
pub(crate) struct Folder<'a>(&'a Cluster);

impl Folder<'_> {
    /// Puts a file into the server's data folder, for its eyes only.
    pub(crate) fn put(&self, name: &str, text: &str) {
        self.0.write(&format!("data/{name}"), text);
    }
}

/// Ends the server and removes its folder when the pipe from this process ends: after the last test, and after a panic
/// or a kill just as well.
fn watch(programs: &Path, folder: &Path) -> Child {
    let script = format!(
        "cat > /dev/null; {0}/pg_ctl -D {1}/data -m immediate -s stop; rm -rf {1}",
        programs.display(),
        folder.display()
    );
    let mut command = as_owner(Path::new("sh"));
    command.arg("-c").arg(script).process_group(0);
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}

/// The server that the tests of one binary share.
pub(crate) fn shared() -> Option<&'static Cluster> {
    static SHARED: OnceLock<Option<Cluster>> = OnceLock::new();
    SHARED.get_or_init(|| Cluster::start(&[])).as_ref()
}

/// The URL of a new, empty database on the shared server.
pub(crate) async fn fresh_url() -> Option<String> {
    let cluster = shared()?;
    let name = cluster.database().await;
    Some(cluster.url(&name))
}
