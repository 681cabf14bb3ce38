//! The conversation with an SMTP server: connect, protect, authenticate, hand over one mail. Says at which stage it failed.

use std::fmt::Display;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use lettre::transport::smtp::authentication::{Credentials, Mechanism};
use lettre::transport::smtp::client::{AsyncSmtpConnection, AsyncTokioStream};
use lettre::transport::smtp::commands::{Data, Ehlo, Mail, Rcpt, Rset, Starttls};
use lettre::transport::smtp::extension::{ClientId, Extension, MailParameter};
use lettre::transport::smtp::response::Response;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use secrecy::ExposeSecret;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::egress::failure::{tls_cause, tls_words};

use super::compose::Composed;
use super::replies::Replies;
use super::{Settings, Tls};

/// The mail goes out in pieces of this size, so that it is known how far it got.
const PIECE_BYTES: usize = 16 * 1024;

/// Every server takes this much (RFC 5321, 4.5.3.1.7); before a longer mail it is asked how much it takes.
const BYTES_TAKEN_BY_ALL: usize = 64 * 1024;

/// How far the conversation had got.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Stage {
    Connect,
    Greeting,
    Tls,
    Auth,
    Sender,
    Recipient,
    Data,
    /// Everything was sent, the final dot perhaps too: the server may have taken the mail.
    Dot,
}

impl Stage {
    /// What was going on, for a sentence.
    pub(super) fn words(self) -> &'static str {
        match self {
            Self::Connect => "while connecting",
            Self::Greeting => "at the greeting",
            Self::Tls => "at STARTTLS",
            Self::Auth => "at the login",
            Self::Sender => "at the sender's address",
            Self::Recipient => "at the recipient's address",
            Self::Data => "while the mail was sent",
            Self::Dot => "after the mail was sent",
        }
    }
}

/// What went wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Cause {
    /// The server said no.
    Reply(u16, String),
    /// The TLS handshake failed, or TLS is demanded and not offered.
    Tls(String),
    /// The mail is longer than the server says it takes; nothing of it was sent.
    TooLong {
        /// The mail's bytes.
        bytes: usize,
        /// What the server takes.
        bytes_max: usize,
    },
    /// Something about our settings that no retry cures.
    Setup(String),
    /// The connection was refused, broke, or carried no SMTP.
    Lost(String),
    /// The deadline passed.
    Timeout,
}

/// Where and what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Trouble {
    pub(super) stage: Stage,
    pub(super) cause: Cause,
}

fn trouble(stage: Stage, cause: Cause) -> Trouble {
    Trouble { stage, cause }
}

/// What an error of the SMTP library is.
fn failed(stage: Stage, error: &lettre::transport::smtp::Error) -> Trouble {
    use std::error::Error;
    let words = error.source().map_or_else(|| error.to_string(), ToString::to_string);
    let cause = match (error.status(), tls_cause(error)) {
        (Some(code), _) => Cause::Reply(code.into(), words),
        (None, Some(tls)) => Cause::Tls(tls_words(tls)),
        (None, None) if error.is_client() => Cause::Setup(words),
        (None, None) if words == "incomplete response" => Cause::Lost("the server hung up".to_owned()),
        (None, None) => Cause::Lost(words),
    };
    trouble(stage, cause)
}

/// A connection on which mails can be handed over.
pub(super) struct Opened {
    pub(super) connection: AsyncSmtpConnection,
    /// Over TLS.
    pub(super) protected: bool,
}

/// Connects, protects the connection and logs in, as the settings demand.
pub(super) async fn open(settings: &Settings, tls: Arc<ClientConfig>) -> Result<Opened, Trouble> {
    let lost = |error: io::Error| trouble(Stage::Connect, Cause::Lost(error.to_string()));
    let stream = TcpStream::connect((settings.host.as_str(), settings.port)).await.map_err(lost)?;
    // The final dot is a write of its own, which must not wait for the acknowledgement of the one before.
    stream.set_nodelay(true).map_err(lost)?;
    let peer = stream.peer_addr().map_err(lost)?;
    let (stage, stream, protected): (_, Box<dyn AsyncTokioStream>, _) = match settings.tls {
        Tls::None => (Stage::Greeting, Box::new(Replies::new(stream, peer)), false),
        Tls::Implicit => {
            let stream = protect(Stage::Greeting, settings, tls, stream).await?;
            (Stage::Greeting, Box::new(Replies::new(stream, peer)), true)
        }
        Tls::Required | Tls::Opportunistic => {
            let (stream, willing) = ask_for_tls(settings, Replies::new(stream, peer)).await?;
            if willing {
                let stream = protect(Stage::Tls, settings, tls, stream).await?;
                (Stage::Tls, Box::new(Replies::greeted(stream, peer)), true)
            } else {
                (Stage::Greeting, Box::new(Replies::greeted(stream, peer)), false)
            }
        }
    };
    let connection = AsyncSmtpConnection::connect_with_transport(stream, &ClientId::default()).await;
    let mut connection = connection.map_err(|error| failed(stage, &error))?;
    if let Some((user, password)) = &settings.credentials {
        if !protected && !peer.ip().is_loopback() {
            let words =
                "a password is not sent over an unprotected connection; use `?tls=required` or smtps://";
            return Err(trouble(Stage::Auth, Cause::Setup(words.to_owned())));
        }
        let credentials = Credentials::new(user.clone(), password.expose_secret().to_owned());
        let login = connection.auth(&[Mechanism::Plain, Mechanism::Login], &credentials).await;
        login.map_err(|error| failed(Stage::Auth, &error))?;
    }
    Ok(Opened { connection, protected })
}

/// The conversation up to STARTTLS: the library would put TLS on top of what mends the replies, where it has to be below.
/// Says whether the server waits for the handshake now.
async fn ask_for_tls(
    settings: &Settings,
    mut server: Replies<TcpStream>,
) -> Result<(TcpStream, bool), Trouble> {
    listen(Stage::Greeting, &mut server).await?;
    let offers = ask(Stage::Greeting, &mut server, &Ehlo::new(ClientId::default())).await?;
    let willing = offers.message().skip(1).any(|line| line.trim().eq_ignore_ascii_case("STARTTLS"));
    if willing {
        ask(Stage::Tls, &mut server, &Starttls).await?;
    } else if settings.tls == Tls::Required {
        let words = "the server does not offer STARTTLS and nothing is sent without; use smtps:// for port 465, or \
                     `?tls=none` for a server on a network you trust";
        return Err(trouble(Stage::Tls, Cause::Tls(words.to_owned())));
    }
    // Somebody in between may say something beforehand that is to be taken for an answer given under protection.
    let stream = server.into_stream().ok_or_else(|| {
        let words = "the server said more than it was asked for, before the connection was protected";
        trouble(Stage::Tls, Cause::Lost(words.to_owned()))
    })?;
    Ok((stream, willing))
}

async fn ask(
    stage: Stage,
    server: &mut Replies<TcpStream>,
    command: &impl Display,
) -> Result<Response, Trouble> {
    let sent = server.write_all(command.to_string().as_bytes()).await;
    sent.map_err(|error| trouble(stage, Cause::Lost(error.to_string())))?;
    listen(stage, server).await
}

/// Reads one reply, which is over with the line that has no hyphen behind its code.
async fn listen(stage: Stage, server: &mut Replies<TcpStream>) -> Result<Response, Trouble> {
    let lost = |words: String| trouble(stage, Cause::Lost(words));
    let (mut text, mut line) = (String::new(), 0);
    while text[line..].is_empty() || text.as_bytes().get(line + 3) == Some(&b'-') {
        line = text.len();
        if server.read_line(&mut text).await.map_err(|error| lost(error.to_string()))? == 0 {
            return Err(lost("the server hung up".to_owned()));
        }
    }
    let reply = text.parse::<Response>().map_err(|error| failed(stage, &error))?;
    if reply.is_positive() {
        return Ok(reply);
    }
    let words = reply.message().collect::<Vec<_>>().join(" ");
    Err(trouble(stage, Cause::Reply(reply.code().into(), words)))
}

async fn protect(
    stage: Stage,
    settings: &Settings,
    tls: Arc<ClientConfig>,
    stream: TcpStream,
) -> Result<TlsStream<TcpStream>, Trouble> {
    let name = ServerName::try_from(settings.host.clone()).map_err(|_| {
        let words = format!("no certificate can be for `{}`; give a host name", settings.host);
        trouble(stage, Cause::Setup(words))
    })?;
    TlsConnector::from(tls).connect(name, stream).await.map_err(|error| {
        let cause = match tls_cause(&error) {
            Some(tls) => Cause::Tls(tls_words(tls)),
            None => Cause::Lost(error.to_string()),
        };
        trouble(stage, cause)
    })
}

/// Makes sure that a connection kept from earlier is alive and begins anew.
pub(super) async fn reset(connection: &mut AsyncSmtpConnection) -> Result<(), Trouble> {
    let reply = connection.command(Rset).await.map_err(|error| failed(Stage::Connect, &error))?;
    expect(Stage::Connect, &reply, 250).map(|_| ())
}

/// Hands over one mail. Until the final dot `end` holds; then the server has `reply_wait` to say what became of it.
pub(super) async fn hand_over(
    connection: &mut AsyncSmtpConnection,
    mail: &Composed,
    end: Instant,
    reply_wait: Duration,
) -> Result<Response, Trouble> {
    let late = |stage| move |_| trouble(stage, Cause::Timeout);
    let ours = !mail.sender.to_string().is_ascii();
    let theirs = !mail.recipient.to_string().is_ascii();
    let unicode = ours || theirs || !mail.bytes.is_ascii();
    if unicode && !connection.server_info().supports_feature(Extension::SmtpUtfEight) {
        let words = "letters beyond ASCII, which the server does not take (no SMTPUTF8)";
        return Err(if theirs && !ours {
            let words = format!("5.6.7 the address holds {words}");
            trouble(Stage::Recipient, Cause::Reply(553, words))
        } else {
            let whose = if ours { "`from`" } else { "`to`, `cc` or `reply_to`" };
            trouble(Stage::Sender, Cause::Setup(format!("an address in {whose} holds {words}")))
        });
    }
    let mut options = if unicode { vec![MailParameter::SmtpUtfEight] } else { Vec::new() };
    if mail.bytes.len() > BYTES_TAKEN_BY_ALL {
        let fits = timeout_at(end, fits(connection, mail.bytes.len()));
        options.extend(fits.await.map_err(late(Stage::Sender))??);
    }
    let command = connection.command(Mail::new(Some(mail.sender.clone()), options));
    step(Stage::Sender, 250, timeout_at(end, command).await.map_err(late(Stage::Sender))?)?;
    let command = connection.command(Rcpt::new(mail.recipient.clone(), Vec::new()));
    step(Stage::Recipient, 25, timeout_at(end, command).await.map_err(late(Stage::Recipient))?)?;
    let command = connection.command(Data);
    step(Stage::Data, 354, timeout_at(end, command).await.map_err(late(Stage::Data))?)?;

    let sent = AtomicBool::new(false);
    let pieces = mail.bytes.chunks(PIECE_BYTES).chain(std::iter::from_fn(|| {
        sent.store(true, Ordering::Relaxed);
        None
    }));
    let reached = || if sent.load(Ordering::Relaxed) { Stage::Dot } else { Stage::Data };
    let mut handing = Box::pin(connection.message_iter(pieces));
    let mut reply = timeout_at(end, &mut handing).await;
    if reply.is_err() && reached() == Stage::Dot {
        reply = timeout_at(end + reply_wait, &mut handing).await;
    }
    drop(handing);
    let stage = reached();
    step(stage, 250, reply.map_err(late(stage))?)
}

/// Asks how long a mail may be (`SIZE`, RFC 1870). The library reads the answer to the first EHLO and forgets this part;
/// another one is allowed at any time before a mail (RFC 5321, 4.1.4). Gives the parameter that announces the length.
async fn fits(connection: &mut AsyncSmtpConnection, bytes: usize) -> Result<Option<MailParameter>, Trouble> {
    let reply = connection.command(Ehlo::new(ClientId::default())).await;
    let reply = step(Stage::Sender, 250, reply)?;
    let size = reply.message().find_map(|line| {
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        word.eq_ignore_ascii_case("SIZE").then(|| rest.trim().parse().unwrap_or(0))
    });
    match size {
        None => Ok(None),
        // Zero, or nothing, says that there is no fixed limit.
        Some(bytes_max) if bytes_max == 0 || bytes <= bytes_max => Ok(Some(MailParameter::Size(bytes))),
        Some(bytes_max) => Err(trouble(Stage::Sender, Cause::TooLong { bytes, bytes_max })),
    }
}

fn step(
    stage: Stage,
    code: u16,
    reply: Result<Response, lettre::transport::smtp::Error>,
) -> Result<Response, Trouble> {
    let reply = reply.map_err(|error| failed(stage, &error))?;
    expect(stage, &reply, code)
}

/// A yes that is not the yes to this question means that question and answer are out of step, as after text slipped in
/// before STARTTLS: nothing on such a connection can be trusted. `code` may be the first two digits.
fn expect(stage: Stage, reply: &Response, code: u16) -> Result<Response, Trouble> {
    let got = u16::from(reply.code());
    if got == code || got / 10 == code {
        return Ok(reply.clone());
    }
    Err(trouble(stage, Cause::Lost(format!("the server answered {got} where {code} was due"))))
}
