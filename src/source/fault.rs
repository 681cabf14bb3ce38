//! What goes wrong between the relay and the API, sorted by what follows from it, in words that name the remedy.

use std::fmt;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use super::http::Reply;
use super::{stamp, wire};

/// No wait that the API asks for is taken to be longer.
const RETRY_AFTER_MAX: Duration = Duration::from_mins(15);
/// Waits of more seconds than that are nonsense and count as absent.
const RETRY_AFTER_SANE_SECONDS: f64 = 4_000_000_000.0;

/// Why a call to the API gave nothing. No text holds a token or a message.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ApiError {
    /// There is no token to send: the file cannot be read, or what is given is no token.
    #[error("{0}")]
    NoToken(String),
    /// The token was refused; the words are the API's own.
    #[error("the API refuses the token ({words}): {reason}")]
    Unauthorized {
        /// Which of the meanings.
        reason: Unauthorized,
        /// What the API said.
        words: String,
    },
    /// Too many requests.
    #[error("the API asks for fewer requests (429: {words}); polling goes on by itself after a pause")]
    RateLimited {
        /// How long it asked us to wait, at most 15 minutes.
        after: Option<Duration>,
        /// What the API said.
        words: String,
    },
    /// It does not take the request: asking again changes nothing.
    #[error("the API refuses the request ({status}: {words}){}", hint(*.status))]
    Refused {
        /// The HTTP status.
        status: u16,
        /// What the API said.
        words: String,
    },
    /// Trouble on its side, which time may cure.
    #[error("the API has trouble of its own ({status}: {words}); polling goes on by itself")]
    Server {
        /// The HTTP status.
        status: u16,
        /// How long it asked us to wait, at most 15 minutes.
        after: Option<Duration>,
        /// What the API said.
        words: String,
    },
    /// It points elsewhere; that is never followed, as the token would go along.
    #[error(
        "the API answers with a redirect ({status}) to {location}, which is not followed: \
         set base_url of the account to the address where the API itself is"
    )]
    Redirect {
        /// The HTTP status.
        status: u16,
        /// Where it points.
        location: String,
    },
    /// A success whose body makes no sense: nothing is concluded from it.
    #[error("the API's answer cannot be read: {0}")]
    Unreadable(String),
    /// A success that is longer than anything that is read.
    #[error(
        "the API's answer is longer than {0} bytes; from the next poll on fewer messages are asked for at once"
    )]
    TooLong(usize),
    /// No answer came.
    #[error("no answer from the API: {reason} ({detail})")]
    Network {
        /// At which step.
        reason: Network,
        /// The cause in the words of the network.
        detail: String,
    },
}

/// The meanings of a refused token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unauthorized {
    /// Missing, mistyped, revoked.
    Unknown,
    /// Known, but not one that may do this here.
    WrongKind,
    /// A client's token or a JWT.
    ClientToken,
    /// A directory's token.
    Directory,
    /// Valid, but the gateway does not let this call through.
    NotAllowed,
    /// None of the known answers.
    Unclear,
}

impl fmt::Display for Unauthorized {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unknown => {
                "it is missing, mistyped, revoked or unknown; copy it again from vCita (Settings, Integrations, \
                 Webhooks, Connect)"
            }
            Self::WrongKind => {
                "it is known, but of the wrong kind or for another business; a staff token is needed, best the \
                 owner's or an admin's, not one of an app or a directory"
            }
            Self::ClientToken => {
                "it looks like a client's token or a JWT, which is refused here; use a staff token, best the \
                 owner's or an admin's"
            }
            Self::Directory => {
                "it looks like a directory token that does not act for this business; use a staff token of the \
                 business itself"
            }
            Self::NotAllowed => {
                "it is not allowed to make this call; use the owner's or an admin's staff token"
            }
            Self::Unclear => {
                "another part of the API turned it away; check that it is a staff token of this business, and copy \
                 it again from vCita"
            }
        })
    }
}

/// The step at which a connection failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Network {
    /// Its name has no address.
    Dns,
    /// No connection.
    Connect,
    /// No trust.
    Tls,
    /// Not in time.
    Timeout,
    /// The connection broke.
    Broken,
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Dns => "its name does not resolve; check base_url and this machine's name server",
            Self::Connect => "no connection; check base_url, firewall and the network of this machine",
            Self::Tls => {
                "its certificate is not accepted; check this machine's clock and certificate authorities"
            }
            Self::Timeout => "no complete answer in time",
            Self::Broken => "the connection broke",
        })
    }
}

fn hint(status: u16) -> &'static str {
    match status {
        403 => {
            ": the token's owner may lack the permission, or the business the feature; use the owner's or an admin's token"
        }
        404 => ": check base_url",
        _ => "",
    }
}

impl ApiError {
    /// How long the API asked us to wait.
    pub fn asked_to_wait(&self) -> Option<Duration> {
        match self {
            Self::RateLimited { after, .. } | Self::Server { after, .. } => *after,
            _ => None,
        }
    }

    /// The token is at fault, so that a person has to act.
    pub fn token_refused(&self) -> bool {
        matches!(self, Self::Unauthorized { .. } | Self::NoToken(_))
    }
}

/// What follows from an answer's status; `Ok` for any success.
pub fn judge(reply: &Reply) -> Result<(), ApiError> {
    let status = reply.status;
    match status {
        200..=299 => Ok(()),
        300..=399 => Err(ApiError::Redirect {
            status,
            location: reply.location.as_deref().map_or_else(|| "nowhere".to_owned(), wire::cut),
        }),
        401 => Err(refused_token(reply)),
        422 if is_v1_unauthorized(&reply.body) => {
            Err(ApiError::Unauthorized { reason: Unauthorized::NotAllowed, words: words(reply) })
        }
        429 => Err(ApiError::RateLimited { after: reply.retry_after, words: words(reply) }),
        408 | 425 | 500.. => Err(ApiError::Server { status, after: reply.retry_after, words: words(reply) }),
        _ => Err(ApiError::Refused { status, words: words(reply) }),
    }
}

/// What the answer says, or its beginning where it says nothing that is known.
fn words(reply: &Reply) -> String {
    let body = String::from_utf8_lossy(&reply.body);
    wire::words_of(&body).unwrap_or_else(|| {
        let start: String = body.chars().take(4000).collect();
        let start = wire::cut(&super::plain::line_of(&start));
        if start.is_empty() { "no reason given".to_owned() } else { start }
    })
}

/// The body of a 401 tells which of several things is wrong.
fn refused_token(reply: &Reply) -> ApiError {
    let body: Value = serde_json::from_slice(&reply.body).unwrap_or_default();
    let text = |value: Option<&Value>| value.and_then(Value::as_str).map(str::to_owned).unwrap_or_default();
    let of_list = text(body.pointer("/errors/0/message"));
    let (error, message, status) =
        (text(body.get("error")), text(body.get("message")), text(body.get("status")));
    let reason = match (of_list.as_str(), error.as_str(), message.as_str()) {
        ("401 Unauthorized", _, _) => Unauthorized::Unknown,
        ("Unauthorized", _, _) => Unauthorized::WrongKind,
        ("", "Unauthorized", "") => Unauthorized::Directory,
        ("", "", "401 Unauthorized") if status == "Failure" => Unauthorized::ClientToken,
        _ => Unauthorized::Unclear,
    };
    ApiError::Unauthorized { reason, words: words(reply) }
}

/// `{"status":"Error","error":"Unauthorized"}`: the older calls say so with 422.
fn is_v1_unauthorized(body: &[u8]) -> bool {
    let body: Value = serde_json::from_slice(body).unwrap_or_default();
    body.get("error").and_then(Value::as_str) == Some("Unauthorized")
}

/// Reads a `Retry-After`: seconds, or a date of HTTP relative to the answer's own `Date`. What is negative, not a number
/// or beyond sense counts as absent; nothing is longer than 15 minutes.
pub fn retry_after(text: &str, server_now: Option<Timestamp>) -> Option<Duration> {
    let wait = if let Ok(seconds) = text.trim().parse::<f64>() {
        if !(0.0..RETRY_AFTER_SANE_SECONDS).contains(&seconds) {
            return None;
        }
        Duration::from_secs_f64(seconds)
    } else {
        let left = stamp::http_date(text)?.duration_since(server_now?);
        Duration::try_from(left.max(SignedDuration::ZERO)).ok()?
    };
    Some(wait.min(RETRY_AFTER_MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(status: u16, body: &str) -> ApiError {
        let reply = Reply { status, body: body.as_bytes().to_vec(), ..Reply::default() };
        judge(&reply).unwrap_err()
    }

    #[test]
    fn each_form_of_a_refused_token_has_its_own_meaning() {
        for (body, expected) in [
            (
                r#"{"success":false,"errors":[{"code":"unauthorized","message":"401 Unauthorized"}]}"#,
                Unauthorized::Unknown,
            ),
            (
                r#"{"success":false,"errors":[{"code":"unauthorized","message":"Unauthorized"}]}"#,
                Unauthorized::WrongKind,
            ),
            (r#"{"message":"401 Unauthorized","status":"Failure"}"#, Unauthorized::ClientToken),
            (r#"{"error":"Unauthorized"}"#, Unauthorized::Directory),
            (r#"{"status":"failure","message":"401 Unauthorized"}"#, Unauthorized::Unclear),
            (r#"{"message":"Unauthorized","status":"Failure"}"#, Unauthorized::Unclear),
            ("<html>401</html>", Unauthorized::Unclear),
        ] {
            let ApiError::Unauthorized { reason, words } = judged(401, body) else { panic!("{body}") };
            assert_eq!(reason, expected, "{body}");
            assert!(words.contains("nauthorized") || words == "401", "{words}");
        }
        let old = judged(422, r#"{"status":"Error","error":"Unauthorized"}"#);
        assert!(matches!(old, ApiError::Unauthorized { reason: Unauthorized::NotAllowed, .. }));
        assert!(old.token_refused());
    }

    #[test]
    fn other_answers_are_sorted_by_what_follows() {
        let invalid = judged(
            400,
            r#"{"success":false,"errors":[{"code":"invalid","message":"unknown activity_type"}]}"#,
        );
        assert_eq!(invalid.to_string(), "the API refuses the request (400: unknown activity_type)");
        assert!(judged(404, "").to_string().ends_with("(404: no reason given): check base_url"));
        assert!(matches!(judged(408, "slow"), ApiError::Server { status: 408, .. }));
        assert!(
            matches!(judged(502, "<h1>Bad Gateway</h1>"), ApiError::Server { words, .. } if words == "Bad Gateway")
        );
        assert!(matches!(
            judged(422, r#"{"error":"no such client"}"#),
            ApiError::Refused { status: 422, .. }
        ));
        for body in [
            r#"{"error":"Too many requests"}"#,
            r#"{"success":false,"errors":[{"code":"rate_limit_exceeded","message":"Rate limit exceeded"}]}"#,
            "",
        ] {
            assert!(matches!(judged(429, body), ApiError::RateLimited { after: None, .. }), "{body}");
        }
    }

    #[test]
    fn retry_after_is_read_in_every_form_and_never_nonsense() {
        let now = "1994-11-06T08:49:07Z".parse().ok();
        for (text, expected) in [
            ("30", Some(30)),
            (" 0 ", Some(0)),
            ("7.0", Some(7)),
            ("86400", Some(900)),
            ("Sun, 06 Nov 1994 08:49:37 GMT", Some(30)),
            ("Sunday, 06-Nov-94 08:49:37 GMT", Some(30)),
            ("Sun, 06 Nov 1994 08:00:00 GMT", Some(0)),
            ("-5", None),
            ("1e300", None),
            ("inf", None),
            ("NaN", None),
            ("soon", None),
        ] {
            assert_eq!(retry_after(text, now).map(|wait| wait.as_secs()), expected, "{text}");
        }
        assert_eq!(retry_after("Sun, 06 Nov 1994 08:49:37 GMT", None), None);
    }
}
