//! Where traces are sent and how, as OpenTelemetry's variables say it.

use std::time::Duration;

use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use url::Url;

use crate::config::secret::Environment;

use super::otlp::media;
use super::span::Value;

/// What the environment variables are called.
const ENDPOINT: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";
const TRACES_ENDPOINT: &str = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT";

/// Where spans go and how.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Where they are posted.
    pub(super) url: Url,
    /// What is sent with them.
    pub(super) headers: HeaderMap,
    /// How long a request may take.
    pub(super) timeout: Duration,
    /// How long spans are collected before they are sent.
    pub(super) delay: Duration,
    /// So many spans wait at most.
    pub(super) queue_max: usize,
    /// So many are sent at once at most.
    pub(super) batch_max: usize,
    /// Who sends.
    pub(super) resource: Vec<(String, Value)>,
    /// The share of traces that is sent: those whose id's last 8 bytes are below it.
    share: Share,
}

/// A share of all numbers of 64 bits.
#[derive(Debug, Clone, Copy)]
enum Share {
    All,
    Below(u64),
}

impl Settings {
    /// As the environment says; `endpoint` (`--otlp`) stands in for its endpoints. `None` where nobody asks for traces.
    ///
    /// # Errors
    /// A value that cannot be used; the text names the variable and the remedy.
    pub fn of(
        environment: &Environment,
        endpoint: Option<&str>,
        instance: &str,
    ) -> Result<Option<Self>, String> {
        let get = |name: &str| environment.get(name).map(str::trim).filter(|value| !value.is_empty());
        if get("OTEL_SDK_DISABLED").is_some_and(|value| value.eq_ignore_ascii_case("true")) {
            return Ok(None);
        }
        if let Some(exporters) = get("OTEL_TRACES_EXPORTER")
            && !exporters.split(',').any(|exporter| exporter.trim() == "otlp")
        {
            return Ok(None);
        }
        let below = |name: &str, base: &str| {
            let base = base.trim_end_matches('/');
            address(name, &format!("{base}/v1/traces"))
        };
        let url = match (endpoint, get(TRACES_ENDPOINT), get(ENDPOINT)) {
            (Some(base), _, _) => below("--otlp", base)?,
            (None, Some(whole), _) => address(TRACES_ENDPOINT, whole)?,
            (None, None, Some(base)) => below(ENDPOINT, base)?,
            (None, None, None) => return Ok(None),
        };
        // What is said of traces wins over what is said of everything.
        let of_traces = |rest: &str| {
            let names = [format!("OTEL_EXPORTER_OTLP_TRACES_{rest}"), format!("OTEL_EXPORTER_OTLP_{rest}")];
            names.into_iter().find_map(|name| get(&name).map(|value| (name, value)))
        };
        if let Some((name, protocol)) = of_traces("PROTOCOL").filter(|(_, protocol)| *protocol != "http/json")
        {
            return Err(format!(
                "{name}={protocol}: traces are sent as http/json only, which every collector takes beside {protocol}: set \
                 OTEL_EXPORTER_OTLP_TRACES_PROTOCOL=http/json, and the endpoint to its HTTP port (4318 as a rule)"
            ));
        }
        let share = Share::of(get("OTEL_TRACES_SAMPLER"), get("OTEL_TRACES_SAMPLER_ARG"))?;
        let Some(share) = share else { return Ok(None) };
        let mut headers: HeaderMap = [media()].into_iter().collect();
        if let Some((name, pairs)) = of_traces("HEADERS") {
            for (key, value) in read_pairs(&name, pairs)? {
                headers.insert(header_name(&name, &key)?, header_value(&name, &key, &value)?);
            }
        }
        let timeout = of_traces("TIMEOUT").map_or(Ok(10_000), |(name, value)| number(&name, value))?;
        let with_default =
            |name: &str, otherwise| get(name).map_or(Ok(otherwise), |value| number(name, value));
        let queue_max = with_default("OTEL_BSP_MAX_QUEUE_SIZE", 2_048)?;
        Ok(Some(Self {
            url,
            headers,
            timeout: Duration::from_millis(timeout),
            delay: Duration::from_millis(with_default("OTEL_BSP_SCHEDULE_DELAY", 5_000)?),
            batch_max: size(with_default("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", 512)?.min(queue_max)),
            queue_max: size(queue_max),
            resource: resource(get("OTEL_RESOURCE_ATTRIBUTES"), get("OTEL_SERVICE_NAME"), instance)?,
            share,
        }))
    }

    /// Whether the trace is among those that are sent: every instance decides alike.
    pub(super) fn takes(&self, trace: &str) -> bool {
        match self.share {
            Share::All => true,
            Share::Below(end) => {
                let last = trace.get(trace.len().saturating_sub(16)..).unwrap_or_default();
                u64::from_str_radix(last, 16).is_ok_and(|number| number < end)
            }
        }
    }

    /// Where spans are posted, without what may be secret of it.
    pub fn place(&self) -> String {
        crate::egress::place(&self.url)
    }
}

impl Share {
    /// `None` for none of them.
    fn of(sampler: Option<&str>, argument: Option<&str>) -> Result<Option<Self>, String> {
        match sampler.map(|name| name.trim_start_matches("parentbased_")) {
            None | Some("always_on") => Ok(Some(Self::All)),
            Some("always_off") => Ok(None),
            Some("traceidratio") => {
                let share = argument.map_or(Ok(1.0), str::parse::<f64>).ok();
                let share = share.filter(|share| (0.0..=1.0).contains(share)).ok_or_else(|| {
                    "OTEL_TRACES_SAMPLER_ARG is the share of traces to send, a number from 0 to 1, such as 0.1".to_owned()
                })?;
                #[expect(
                    clippy::cast_possible_truncation,
                    clippy::cast_sign_loss,
                    clippy::cast_precision_loss,
                    reason = "a share of all ids, which need not be exact to the last of them"
                )]
                let end = (share * u64::MAX as f64) as u64;
                Ok(Some(if share >= 1.0 { Self::All } else { Self::Below(end) }))
            }
            Some(other) => Err(format!(
                "OTEL_TRACES_SAMPLER={other} is not known here; there are always_on, always_off and traceidratio"
            )),
        }
    }
}

fn address(name: &str, text: &str) -> Result<Url, String> {
    let url = Url::parse(text).ok().filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
    let url =
        url.ok_or_else(|| format!("{name} is no address of a collector: write it as http://127.0.0.1:4318"))?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err(format!("{name} holds a user name or password: they go into OTEL_EXPORTER_OTLP_HEADERS"));
    }
    Ok(url)
}

fn number(name: &str, value: &str) -> Result<u64, String> {
    let number = value.parse().ok().filter(|number| *number > 0);
    number.ok_or_else(|| format!("{name}={value} is no whole number above 0"))
}

fn size(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

/// `key=value,key=value`, with values in percent-encoding.
fn read_pairs(name: &str, text: &str) -> Result<Vec<(String, String)>, String> {
    let pair = |pair: &str| {
        let (key, value) = pair.split_once('=')?;
        Some((key.trim().to_owned(), decoded(value.trim())?)).filter(|(key, _)| !key.is_empty())
    };
    let pairs = text.split(',').map(str::trim).filter(|part| !part.is_empty());
    // The value may be a secret.
    let wrong =
        || format!("{name} is a list of key=value, separated by commas, with %2C for a comma in a value");
    pairs.map(|part| pair(part).ok_or_else(wrong)).collect()
}

/// Text in percent-encoding, in which a plus is a plus.
fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let digits = [rest.next()?, rest.next()?];
        bytes.push(u8::from_str_radix(str::from_utf8(&digits).ok()?, 16).ok()?);
    }
    String::from_utf8(bytes).ok()
}

fn header_name(name: &str, key: &str) -> Result<HeaderName, String> {
    key.parse().map_err(|_| format!("{name}: `{key}` is no name of a header"))
}

fn header_value(name: &str, key: &str, value: &str) -> Result<HeaderValue, String> {
    let mut header = HeaderValue::from_str(value)
        .map_err(|_| format!("{name}: the value of `{key}` holds what no header can"))?;
    header.set_sensitive(true);
    Ok(header)
}

/// Who sends: what the variables say, and what is known anyway.
fn resource(
    attributes: Option<&str>,
    service: Option<&str>,
    instance: &str,
) -> Result<Vec<(String, Value)>, String> {
    let mut all = read_pairs("OTEL_RESOURCE_ATTRIBUTES", attributes.unwrap_or_default())?;
    if let Some(service) = service {
        all.retain(|(key, _)| key != "service.name");
        all.push(("service.name".to_owned(), service.to_owned()));
    }
    let host = hostname::get().ok().and_then(|name| name.into_string().ok());
    let known = [
        ("service.name", Some(env!("CARGO_PKG_NAME").to_owned())),
        ("service.version", Some(env!("CARGO_PKG_VERSION").to_owned())),
        ("service.instance.id", Some(instance.to_owned())),
        ("host.name", host),
    ];
    for (key, value) in known {
        let missing = !all.iter().any(|(said, _)| said == key);
        all.extend(value.filter(|_| missing).map(|value| (key.to_owned(), value)));
    }
    Ok(all.into_iter().map(|(key, value)| (key, Value::Text(value))).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(variables: &[(&str, &str)]) -> Result<Option<Settings>, String> {
        Settings::of(&Environment::of(variables.iter().copied()), None, "i1")
    }

    fn url(variables: &[(&str, &str)]) -> Option<String> {
        of(variables).unwrap().map(|settings| settings.url.to_string())
    }

    #[test]
    fn the_endpoint_of_traces_is_whole_and_that_of_everything_is_a_beginning() {
        assert_eq!(url(&[]), None);
        assert_eq!(url(&[(ENDPOINT, "")]), None);
        assert_eq!(url(&[(ENDPOINT, "http://c:4318")]).unwrap(), "http://c:4318/v1/traces");
        assert_eq!(url(&[(ENDPOINT, "https://c/otlp/")]).unwrap(), "https://c/otlp/v1/traces");
        let both = [(ENDPOINT, "http://c:4318"), (TRACES_ENDPOINT, "http://t:1/in")];
        assert_eq!(url(&both).unwrap(), "http://t:1/in");
        let told = Settings::of(&Environment::of(both), Some("http://o:4318"), "i1").unwrap().unwrap();
        assert_eq!(told.url.as_str(), "http://o:4318/v1/traces");
        for off in [
            ("OTEL_SDK_DISABLED", "True"),
            ("OTEL_TRACES_EXPORTER", "none"),
            ("OTEL_TRACES_SAMPLER", "always_off"),
        ] {
            assert_eq!(url(&[(ENDPOINT, "http://c:4318"), off]), None, "{off:?}");
        }
    }

    #[test]
    fn what_cannot_be_used_is_named_with_its_remedy() {
        let wrong = [
            (ENDPOINT, "c:4318", "http://127.0.0.1:4318"),
            (ENDPOINT, "http://me:secret@c:4318", "OTEL_EXPORTER_OTLP_HEADERS"),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc", "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL=http/json"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "secret", "key=value"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "a=%zz", "key=value"),
            ("OTEL_EXPORTER_OTLP_TIMEOUT", "10s", "whole number"),
            ("OTEL_BSP_MAX_QUEUE_SIZE", "0", "whole number"),
            ("OTEL_TRACES_SAMPLER", "jaeger_remote", "traceidratio"),
        ];
        for (name, value, remedy) in wrong {
            let error = of(&[(TRACES_ENDPOINT, "http://t"), (name, value)][usize::from(name == ENDPOINT)..])
                .unwrap_err();
            assert!(
                error.starts_with(name) && error.contains(remedy) && !error.contains("secret"),
                "{error}"
            );
        }
        let share = of(&[
            (ENDPOINT, "http://c"),
            ("OTEL_TRACES_SAMPLER", "traceidratio"),
            ("OTEL_TRACES_SAMPLER_ARG", "2"),
        ]);
        assert!(share.unwrap_err().contains("from 0 to 1"));
    }

    #[test]
    fn headers_and_the_resource_are_read_as_they_are_written_elsewhere() {
        let settings = of(&[
            (ENDPOINT, "http://c"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "authorization=Basic%20abc%3D, x-team=ops+one"),
            ("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=test,service.name=other"),
            ("OTEL_SERVICE_NAME", "relay"),
        ]);
        let settings = settings.unwrap().unwrap();
        assert_eq!(
            (&settings.headers["authorization"], &settings.headers["x-team"]),
            (&HeaderValue::from_static("Basic abc="), &HeaderValue::from_static("ops+one"))
        );
        let said = |key: &str| settings.resource.iter().filter(|(name, _)| name == key).collect::<Vec<_>>();
        assert_eq!(said("service.name"), [&("service.name".to_owned(), Value::from("relay"))]);
        assert_eq!(said("service.instance.id").len() + said("deployment.environment.name").len(), 2);
    }

    #[test]
    fn a_share_of_traces_is_the_same_everywhere() {
        let share = |share: &str| {
            let settings = of(&[
                (ENDPOINT, "http://c"),
                ("OTEL_TRACES_SAMPLER", "parentbased_traceidratio"),
                ("OTEL_TRACES_SAMPLER_ARG", share),
            ]);
            let settings = settings.unwrap().unwrap();
            let ids = (0..1_000).map(|n| super::super::span::Ids::of_message("main", &format!("m{n}")).trace);
            ids.filter(|trace| settings.takes(trace)).count()
        };
        assert_eq!((share("0"), share("1")), (0, 1_000));
        assert!((200..300).contains(&share("0.25")), "{}", share("0.25"));
    }
}
