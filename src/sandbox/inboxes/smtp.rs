//! The SMTP inbox: a real conversation, stage by stage, each of which a script can break.

use std::io;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::sandbox::script::{Answer, Cut};

use super::mail::{self, Mail};
use super::{Arrival, Inbox, one_line};

/// What a message may hold at the most.
const DATA_BYTES_MAX: usize = 32 * 1024 * 1024;
/// What a line may hold at the most.
const LINE_BYTES_MAX: usize = 1024 * 1024;

/// Accepts connections until `stop`.
pub(in crate::sandbox) async fn serve(
    listener: TcpListener,
    inbox: Inbox,
    stop: CancellationToken,
    tasks: TaskTracker,
) {
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        let Ok((stream, _)) = accepted else { continue };
        let (inbox, stop) = (inbox.clone(), stop.clone());
        tasks.spawn(async move {
            tokio::select! {
                () = stop.cancelled() => {}
                ended = Conversation::new(stream, inbox).run() => {
                    if let Err(error) = ended {
                        tracing::debug!(%error, "an SMTP conversation ended early");
                    }
                }
            }
        });
    }
}

/// How a stage ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    /// As the client hoped.
    Go,
    /// Refused, but the client may go on.
    Refused,
    /// The conversation is over.
    Stop,
}

/// One connection and what has been agreed on it.
struct Conversation {
    stream: BufReader<TcpStream>,
    inbox: Inbox,
    sender: Option<String>,
    recipients: Vec<String>,
}

impl Conversation {
    fn new(stream: TcpStream, inbox: Inbox) -> Self {
        Self { stream: BufReader::new(stream), inbox, sender: None, recipients: Vec::new() }
    }

    async fn run(mut self) -> io::Result<()> {
        if self.stage("banner", "220 sandbox ESMTP").await? != Next::Go {
            return Ok(());
        }
        while let Some(line) = self.line().await? {
            let text = String::from_utf8_lossy(&line).trim_end().to_owned();
            if self.command(&text).await? == Next::Stop {
                return Ok(());
            }
        }
        Ok(())
    }

    async fn command(&mut self, line: &str) -> io::Result<Next> {
        let (verb, rest) = line.split_once(' ').unwrap_or((line, ""));
        match verb.to_ascii_uppercase().as_str() {
            "EHLO" => {
                self.reset();
                let greeting = "250-sandbox\r\n250-8BITMIME\r\n250-SMTPUTF8\r\n250-SIZE 33554432\r\n250 AUTH PLAIN LOGIN";
                self.stage("ehlo", greeting).await
            }
            "HELO" => self.stage("ehlo", "250 sandbox").await,
            "AUTH" => self.auth(rest).await,
            "MAIL" => {
                let sender = address(rest);
                let next = self.stage(&format!("mail:{sender}"), "250 2.1.0 OK").await?;
                self.sender = (next == Next::Go).then_some(sender);
                Ok(next)
            }
            "RCPT" if self.sender.is_none() => self.say("503 5.5.1 MAIL first").await,
            "RCPT" => {
                let recipient = address(rest);
                let next = self.stage(&format!("rcpt:{recipient}"), "250 2.1.5 OK").await?;
                if next == Next::Go {
                    self.recipients.push(recipient);
                }
                Ok(next)
            }
            "DATA" if self.recipients.is_empty() => self.say("503 5.5.1 RCPT first").await,
            "DATA" => self.data().await,
            "RSET" => {
                self.reset();
                self.say("250 2.0.0 OK").await
            }
            "NOOP" => self.say("250 2.0.0 OK").await,
            "QUIT" => {
                self.say("221 2.0.0 bye").await?;
                Ok(Next::Stop)
            }
            _ => self.say("502 5.5.2 not understood").await,
        }
    }
}

impl Conversation {
    /// Answers at a stage: as usual, or as the script says.
    async fn stage(&mut self, place: &str, usual: &str) -> io::Result<Next> {
        match self.inbox.scripted(place, false) {
            Some(answer) => self.scripted(&answer, usual).await,
            None => self.say(usual).await,
        }
    }

    async fn scripted(&mut self, answer: &Answer, usual: &str) -> io::Result<Next> {
        if answer.wait_ms > 0 {
            tokio::time::sleep(Duration::from_millis(answer.wait_ms)).await;
        }
        if answer.cut.is_some() {
            return Ok(Next::Stop);
        }
        match answer.status {
            Some(code) => self.say(&format!("{code} {}", answer.body.as_deref().unwrap_or("scripted"))).await,
            None => self.say(usual).await,
        }
    }

    /// Sends a reply. 421 ends the conversation, as it does with any server.
    async fn say(&mut self, reply: &str) -> io::Result<Next> {
        self.stream.write_all(format!("{reply}\r\n").as_bytes()).await?;
        self.stream.flush().await?;
        Ok(match reply.as_bytes() {
            [b'4', b'2', b'1', ..] => Next::Stop,
            [b'4' | b'5', ..] => Next::Refused,
            _ => Next::Go,
        })
    }

    /// Any name and password will do, unless the script says otherwise.
    async fn auth(&mut self, rest: &str) -> io::Result<Next> {
        let (mechanism, initial) = rest.split_once(' ').unwrap_or((rest, ""));
        let prompts: &[&str] = match mechanism.to_ascii_uppercase().as_str() {
            "PLAIN" if initial.is_empty() => &[""],
            "LOGIN" if initial.is_empty() => &["Username:", "Password:"],
            "LOGIN" => &["Password:"],
            "PLAIN" => &[],
            _ => return self.say("504 5.5.4 only PLAIN and LOGIN").await,
        };
        for prompt in prompts {
            self.say(&format!("334 {}", STANDARD.encode(prompt))).await?;
            if self.line().await?.is_none() {
                return Ok(Next::Stop);
            }
        }
        self.stage("auth", "235 2.7.0 welcome").await
    }

    async fn data(&mut self) -> io::Result<Next> {
        let next = self.stage("data", "354 end with a dot on a line of its own").await?;
        if next != Next::Go {
            return Ok(next);
        }
        let Some(data) = self.message().await? else { return Ok(Next::Stop) };
        let answer = self.inbox.scripted("dot", true).unwrap_or_default();
        self.keep(&data, &answer);
        let next = self.scripted(&answer, "250 2.0.0 taken").await?;
        self.reset();
        Ok(next)
    }

    fn keep(&self, data: &str, answer: &Answer) {
        let mail = Mail::read(self.sender.as_deref().unwrap_or_default(), &self.recipients, data);
        self.inbox.keep(Arrival {
            number: 0,
            inbox: self.inbox.which(),
            at: self.inbox.now(),
            method: "MAIL".to_owned(),
            path: self.recipients.join(", "),
            headers: mail::headers(data),
            body: data.to_owned(),
            status: if answer.cut.is_some() { 0 } else { answer.status.unwrap_or(250) },
            accepted: !answer.refuses() && answer.cut.is_none_or(|cut| cut == Cut::After),
            shown: one_line(&mail.subject),
            problem: None,
            mail: Some(mail),
        });
    }

    /// The message's lines up to the dot, with the dots that were put before dots taken away.
    async fn message(&mut self) -> io::Result<Option<String>> {
        let mut data: Vec<u8> = Vec::new();
        while let Some(line) = self.line().await? {
            if line == b".\r\n" || line == b".\n" {
                return Ok(Some(String::from_utf8_lossy(&data).into_owned()));
            }
            let line = if line.starts_with(b".") { line.get(1..).unwrap_or_default() } else { &line[..] };
            if data.len() + line.len() > DATA_BYTES_MAX {
                return Err(io::Error::other("the message is too large for the sandbox"));
            }
            data.extend_from_slice(line);
        }
        Ok(None)
    }

    /// The next line with its end; `None` when the client is gone.
    async fn line(&mut self) -> io::Result<Option<Vec<u8>>> {
        let mut line = Vec::new();
        let mut limited = tokio::io::AsyncReadExt::take(&mut self.stream, LINE_BYTES_MAX as u64);
        let count = limited.read_until(b'\n', &mut line).await?;
        if count >= LINE_BYTES_MAX {
            return Err(io::Error::other("the line is too long for the sandbox"));
        }
        Ok((count > 0).then_some(line))
    }

    fn reset(&mut self) {
        self.sender = None;
        self.recipients.clear();
    }
}

/// What stands between the angle brackets.
fn address(rest: &str) -> String {
    let inner = rest.split_once('<').and_then(|(_, tail)| tail.split_once('>')).map(|(address, _)| address);
    inner.unwrap_or_else(|| rest.split_once(':').map_or("", |(_, address)| address.trim())).to_owned()
}
