//! Where a PostgreSQL store lies: the URL a person writes, understood as libpq understands it.

use std::fmt;
use std::path::PathBuf;

use tokio_postgres::Config;
use tokio_postgres::config::{Host, SslMode, TargetSessionAttrs};

use crate::store::{Result, StoreError};

/// The schemes of a PostgreSQL URL.
const SCHEMES: [&str; 2] = ["postgres://", "postgresql://"];

/// How much the connection is to be trusted, as libpq's `sslmode` has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tls {
    /// Plain text.
    Disable,
    /// TLS where the server offers it; nobody is verified.
    Prefer,
    /// TLS or nothing; nobody is verified, unless authorities are named.
    Require,
    /// The certificate is signed by a known authority.
    VerifyCa,
    /// And it is the certificate of this host.
    VerifyFull,
}

impl Tls {
    fn parse(name: &str) -> Option<Self> {
        Some(match name {
            "disable" => Self::Disable,
            "prefer" => Self::Prefer,
            "require" => Self::Require,
            "verify-ca" => Self::VerifyCa,
            "verify-full" => Self::VerifyFull,
            _ => return None,
        })
    }
}

/// Where the database lies and how it is reached. Neither `Debug` nor `Display` shows the password.
#[derive(Debug, Clone)]
pub(super) struct Place {
    /// What the driver is told.
    pub(super) config: Config,
    /// Who is verified.
    pub(super) tls: Tls,
    /// A PEM file with the authorities that count; without it those of the machine do.
    pub(super) roots: Option<PathBuf>,
}

/// Whether the URL means PostgreSQL.
pub(in crate::store) fn is_postgres(url: &str) -> bool {
    SCHEMES.iter().any(|scheme| url.starts_with(scheme))
}

impl Place {
    /// Understands `postgres://USER:PASSWORD@HOST:PORT/DATABASE?OPTIONS`, also with several hosts, and
    /// `postgres:///DATABASE?host=/run/postgresql` for a Unix socket.
    ///
    /// # Errors
    /// An option or a form that is not understood. Neither the URL nor a part of it that may be a password is
    /// repeated.
    pub(super) fn parse(url: &str) -> Result<Self> {
        let (plain, options) = split(url);
        let mut tls = None;
        let mut roots = None;
        let mut rest = Vec::new();
        for option in options {
            let (key, value) = option.split_once('=').unwrap_or((option, ""));
            let value = || percent_decoded(value);
            match key {
                "sslmode" => {
                    tls = Some(Tls::parse(&value()).ok_or_else(|| {
                        wrong("sslmode is one of disable, prefer, require, verify-ca and verify-full")
                    })?);
                }
                "sslrootcert" => roots = Some(value()),
                _ => rest.push(option),
            }
        }
        // `system` is libpq's word for the machine's authorities, and asks for the name to be verified.
        let system = roots.as_deref() == Some("system");
        let roots = roots.filter(|name| !system && !name.is_empty()).map(PathBuf::from);
        let mut config = parse_config(&plain, &rest)?;
        let tls = match tls {
            Some(Tls::Disable | Tls::Prefer | Tls::Require | Tls::VerifyCa) if system => {
                return Err(wrong("sslrootcert=system goes with sslmode=verify-full only"));
            }
            None if system => Tls::VerifyFull,
            // As libpq does: whoever names authorities wants them asked.
            Some(Tls::Require) if roots.is_some() => Tls::VerifyCa,
            Some(tls) => tls,
            None => Tls::Prefer,
        };
        complete(&mut config, tls)?;
        Ok(Self { config, tls, roots })
    }
}

impl fmt::Display for Place {
    /// Host, port and database, as a person needs them to find the place.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ports = self.config.get_ports();
        for (index, host) in self.config.get_hosts().iter().enumerate() {
            let port = ports.get(index).or(ports.first()).copied().unwrap_or(5432);
            f.write_str(if index > 0 { ", " } else { "" })?;
            match host {
                Host::Tcp(name) => write!(f, "{name}:{port}")?,
                Host::Unix(folder) => write!(f, "{} (port {port})", folder.display())?,
            }
        }
        if let Some(name) = self.config.get_dbname().or(self.config.get_user()) {
            write!(f, ", database {name}")?;
        }
        Ok(())
    }
}

/// The URL without its options, and the options. Credentials end at the first `@`, and may hold a `?`.
fn split(url: &str) -> (String, Vec<&str>) {
    let after = url.find('@').map_or(0, |at| at + 1);
    let Some(mark) = url[after..].find('?').map(|mark| after + mark) else {
        return (url.to_owned(), Vec::new());
    };
    (url[..mark].to_owned(), url[mark + 1..].split('&').filter(|option| !option.is_empty()).collect())
}

fn parse_config(plain: &str, options: &[&str]) -> Result<Config> {
    let text = if options.is_empty() { plain.to_owned() } else { format!("{plain}?{}", options.join("&")) };
    text.parse().map_err(|error: tokio_postgres::Error| {
        // What the driver says about a value never repeats it; the name of an unknown option may be a piece of a
        // password that was not encoded.
        let detail = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
        let known = detail.starts_with("invalid value for option");
        let named = options.iter().filter_map(|option| option.split('=').next());
        let unknown =
            named.into_iter().find(|name| detail == format!("unknown option `{name}`") && is_word(name));
        match unknown {
            Some(name) => wrong(&format!("the option {name} is not known")),
            None if known => wrong(&detail),
            None => wrong("percent-encode what is special in user and password"),
        }
    })
}

fn is_word(name: &str) -> bool {
    name.len() <= 32 && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_')
}

fn complete(config: &mut Config, tls: Tls) -> Result<()> {
    if config.get_hosts().is_empty() && config.get_hostaddrs().is_empty() {
        return Err(wrong("it names no host; a Unix socket is ?host=/run/postgresql"));
    }
    let odd =
        |host: &Host| matches!(host, Host::Tcp(name) if name.is_empty() || name.contains(['@', '/', ' ']));
    if config.get_hosts().iter().any(odd) {
        return Err(wrong("percent-encode an @ in the password as %40"));
    }
    // There is no TLS on a Unix socket, whatever is asked for: nobody can listen in.
    let local = config.get_hosts().iter().all(|host| matches!(host, Host::Unix(_)));
    config.ssl_mode(match tls {
        _ if local => SslMode::Disable,
        Tls::Disable => SslMode::Disable,
        Tls::Prefer => SslMode::Prefer,
        Tls::Require | Tls::VerifyCa | Tls::VerifyFull => SslMode::Require,
    });
    if config.get_target_session_attrs() == TargetSessionAttrs::Any {
        config.target_session_attrs(TargetSessionAttrs::ReadWrite);
    }
    if config.get_application_name().is_none() {
        config.application_name("activity-relay");
    }
    Ok(())
}

fn percent_decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        let code = match (first, tail) {
            (b'%', [high, low, ..]) => {
                let digit = |byte: &u8| char::from(*byte).to_digit(16);
                digit(high).zip(digit(low)).and_then(|(high, low)| u8::try_from(high * 16 + low).ok())
            }
            _ => None,
        };
        bytes.push(code.unwrap_or(*first));
        rest = if code.is_some() { &tail[2..] } else { tail };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn wrong(what: &str) -> StoreError {
    StoreError::Misnamed(format!(
        "{what}; write postgres://USER:PASSWORD@HOST:PORT/DATABASE?sslmode=verify-full"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(url: &str) -> Place {
        Place::parse(url).unwrap()
    }

    #[test]
    fn a_url_says_what_libpq_would_read_in_it() {
        let place = parse("postgresql://ann:p%40ss@db.example.com:5433/relay?sslmode=verify-full");
        assert_eq!((place.tls, place.config.get_ssl_mode()), (Tls::VerifyFull, SslMode::Require));
        assert_eq!(place.config.get_password(), Some(&b"p@ss"[..]));
        assert_eq!(place.to_string(), "db.example.com:5433, database relay");
        assert_eq!(parse("postgres://db/relay").tls, Tls::Prefer);
        assert_eq!(
            parse("postgres://db/relay").config.get_target_session_attrs(),
            TargetSessionAttrs::ReadWrite
        );
        let socket = parse("postgres:///relay?host=/run/postgresql&sslmode=require");
        assert_eq!(socket.config.get_ssl_mode(), SslMode::Disable);
        assert_eq!(socket.to_string(), "/run/postgresql (port 5432), database relay");
        let two = parse("postgres://a:1,b:2/relay?target_session_attrs=any");
        assert_eq!(two.to_string(), "a:1, b:2, database relay");
    }

    #[test]
    fn named_authorities_are_asked() {
        let place = parse("postgres://db/relay?sslmode=require&sslrootcert=/etc/ca%20s.pem");
        assert_eq!((place.tls, place.roots), (Tls::VerifyCa, Some(PathBuf::from("/etc/ca s.pem"))));
        let system = parse("postgres://db/relay?sslrootcert=system");
        assert_eq!((system.tls, system.roots), (Tls::VerifyFull, None));
        assert!(Place::parse("postgres://db/relay?sslrootcert=system&sslmode=require").is_err());
    }

    #[test]
    fn nothing_shows_the_password() {
        for url in [
            "postgres://ann:hunter2@db:port/relay",
            "postgres://ann:hunter2@db/relay?sslmode=sometimes",
            "postgres://ann:hunter2@db/relay?application=hunter",
            "postgres://ann:x@hunter2@db/relay",
            "postgres://ann:x@hunter2#?@db/relay",
            "postgres://ann:hunter2@/relay",
            "postgres://ann:hunter2?x=1@/relay",
        ] {
            let error = Place::parse(url).unwrap_err().to_string();
            assert!(!error.contains("hunter2") && error.contains("postgres://USER"), "{url}: {error}");
        }
        let place = parse("postgres://ann:hunter2@db/relay");
        assert!(!format!("{place:?} {place}").contains("hunter2"));
        let error = Place::parse("postgres://db/relay?aplication_name=x").unwrap_err().to_string();
        assert!(error.contains("the option aplication_name is not known"), "{error}");
    }
}
