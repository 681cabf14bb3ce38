//! Tells systemd how the service is (`sd_notify(3)`): ready, reloading, stopping, alive. Where it does not ask, nothing.

use std::io;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::sync::Arc;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

use crate::config::secret::Environment;

/// Where to tell it: a path, or a name in the abstract namespace behind an `@`.
const SOCKET: &str = "NOTIFY_SOCKET";
/// How often it wants to hear that the service is alive, in microseconds.
const WATCHDOG: &str = "WATCHDOG_USEC";

/// The one who tells it. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Systemd {
    door: Option<Arc<(UnixDatagram, SocketAddr)>>,
    alive_every: Option<Duration>,
}

impl Systemd {
    /// As the environment says.
    pub fn of(environment: &Environment) -> Self {
        let name = environment.get(SOCKET).filter(|name| !name.is_empty());
        let Some(name) = name else { return Self::default() };
        let every = environment.get(WATCHDOG).and_then(|text| text.parse().ok()).map(Duration::from_micros);
        match open(name) {
            Ok(door) => Self { door: Some(Arc::new(door)), alive_every: every.map(|every| every / 2) },
            Err(error) => {
                tracing::warn!(%error, socket = name, "systemd cannot be told how the service is");
                Self::default()
            }
        }
    }

    /// It does its work, and this is what it does.
    pub fn ready(&self, status: &str) {
        self.tell(&format!("READY=1\nSTATUS={}", status.replace('\n', " ")));
    }

    /// It reads its configuration again; [`Self::ready`] ends it, however that went.
    pub fn reloading(&self) {
        let now = clock_gettime(ClockId::Monotonic);
        let microseconds = now.tv_sec * 1_000_000 + now.tv_nsec / 1_000;
        self.tell(&format!("RELOADING=1\nMONOTONIC_USEC={microseconds}"));
    }

    /// It ends what is under way.
    pub fn stopping(&self) {
        self.tell("STOPPING=1\nSTATUS=stopping: what is under way is finished");
    }

    /// Says that it is alive for as long as systemd wants to hear it. Ends at once where it does not.
    pub async fn stay_alive(&self) {
        let Some(every) = self.alive_every else { return };
        loop {
            self.tell("WATCHDOG=1");
            tokio::time::sleep(every).await;
        }
    }

    fn tell(&self, words: &str) {
        let Some((socket, to)) = self.door.as_deref() else { return };
        if let Err(error) = socket.send_to_addr(words.as_bytes(), to) {
            tracing::debug!(%error, "systemd was not told");
        }
    }
}

fn open(name: &str) -> io::Result<(UnixDatagram, SocketAddr)> {
    let to = match name.strip_prefix('@') {
        Some(name) => hidden(name)?,
        None => SocketAddr::from_pathname(name)?,
    };
    let socket = UnixDatagram::unbound()?;
    // A manager that is too busy to listen does not hold up the relay.
    socket.set_nonblocking(true)?;
    Ok((socket, to))
}

/// An address in the abstract namespace.
#[cfg(target_os = "linux")]
fn hidden(name: &str) -> io::Result<SocketAddr> {
    use std::os::linux::net::SocketAddrExt;
    SocketAddr::from_abstract_name(name)
}

/// Only Linux has them.
#[cfg(not(target_os = "linux"))]
fn hidden(_name: &str) -> io::Result<SocketAddr> {
    Err(io::ErrorKind::Unsupported.into())
}
