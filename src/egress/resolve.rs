//! Names to addresses, with every address checked: what passes here is what is dialled, so no second answer can slip in.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use tokio::net::lookup_host;

use super::policy::{Policy, Refusal};

/// Who answers for names.
#[derive(Debug, Clone, Default)]
pub enum Resolver {
    /// The operating system (`/etc/hosts`, DNS, whatever it is set up to ask).
    #[default]
    System,
    /// A script, for tests of what a name server could do.
    Script(Arc<Mutex<Script>>),
}

/// For each name its answers in turn; the last one is repeated. A name without answers does not exist.
pub type Script = HashMap<String, Vec<Told>>;

/// What a scripted name server tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Told {
    /// These addresses, perhaps none at all.
    Addresses(Vec<IpAddr>),
    /// The name does not exist (NXDOMAIN).
    NoSuchName,
    /// The server cannot say (SERVFAIL).
    Failure,
    /// Nothing, for as long as anybody waits.
    Nothing,
}

impl Resolver {
    /// One name that gives these answers in turn.
    pub fn script(name: &str, answers: Vec<Vec<IpAddr>>) -> Self {
        Self::telling(name, answers.into_iter().map(Told::Addresses).collect())
    }

    /// One name whose server tells this in turn.
    pub fn telling(name: &str, told: Vec<Told>) -> Self {
        Self::Script(Arc::new(Mutex::new(HashMap::from([(name.to_owned(), told)]))))
    }

    async fn addresses(&self, name: &str) -> Result<Vec<IpAddr>, std::io::Error> {
        match self {
            Self::System => Ok(lookup_host((name, 0)).await?.map(|address| address.ip()).collect()),
            Self::Script(script) => match next(script, name) {
                Told::Addresses(addresses) => Ok(addresses),
                Told::NoSuchName => Err(std::io::Error::other("no such name")),
                Told::Failure => Err(std::io::Error::other("temporary failure in name resolution")),
                Told::Nothing => std::future::pending().await,
            },
        }
    }
}

fn next(script: &Mutex<Script>, name: &str) -> Told {
    let mut script = script.lock().unwrap_or_else(PoisonError::into_inner);
    match script.get_mut(name) {
        Some(told) if told.len() > 1 => told.remove(0),
        Some(told) => told.first().cloned().unwrap_or(Told::NoSuchName),
        None => Told::NoSuchName,
    }
}

/// A resolver that gives only what the policy allows.
#[derive(Debug, Clone)]
pub(super) struct Guarded {
    pub(super) resolver: Resolver,
    pub(super) policy: Policy,
}

/// Why a name gave no address to dial.
#[derive(Debug, thiserror::Error)]
pub(super) enum NoAddress {
    #[error(transparent)]
    Refused(#[from] Refusal),
    #[error("the name {name} does not resolve: {source}")]
    Lookup { name: String, source: std::io::Error },
    #[error("the name {0} has no address")]
    Empty(String),
}

impl Guarded {
    /// The allowed ones of a name's addresses; an error if there are none.
    pub(super) async fn addresses(&self, name: &str) -> Result<Vec<IpAddr>, NoAddress> {
        let found = self.resolver.addresses(name).await;
        let found = found.map_err(|source| NoAddress::Lookup { name: name.to_owned(), source })?;
        let mut refused = None;
        let mut allowed = Vec::with_capacity(found.len());
        for address in found {
            match self.policy.check_address(address) {
                Ok(()) => allowed.push(address),
                Err(what) => {
                    refused = Some(Refusal::Address { host: format!("{name} ({address})"), what });
                }
            }
        }
        match refused {
            _ if !allowed.is_empty() => Ok(allowed),
            Some(refusal) => Err(refusal.into()),
            None => Err(NoAddress::Empty(name.to_owned())),
        }
    }
}

impl Resolve for Guarded {
    fn resolve(&self, name: Name) -> Resolving {
        let guarded = self.clone();
        Box::pin(async move {
            let addresses = guarded.addresses(name.as_str()).await?;
            let addresses: Addrs = Box::new(addresses.into_iter().map(|ip| SocketAddr::new(ip, 0)));
            Ok(addresses)
        })
    }
}
