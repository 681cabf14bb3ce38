//! Standard Webhooks signatures: HMAC-SHA256 over id, timestamp and body, one per secret.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use super::SecretBytes;

/// Secrets shorter than this are guessable, and longer than the other are not what the specification allows.
const SECRET_BYTES_MIN: usize = 24;
const SECRET_BYTES_MAX: usize = 64;

/// Decodes a secret as people are given it: `whsec_…`, `v1,whsec_…`, or the bare base64. The error never repeats it.
pub fn decode_secret(text: &str) -> Result<SecretBytes, String> {
    let text = text.trim();
    let text = text.strip_prefix("v1,").unwrap_or(text);
    let bytes = STANDARD.decode(text.strip_prefix("whsec_").unwrap_or(text)).map_err(|_| {
        "the signing secret is not base64; it looks like `whsec_` and some forty letters and digits"
            .to_owned()
    })?;
    if !(SECRET_BYTES_MIN..=SECRET_BYTES_MAX).contains(&bytes.len()) {
        return Err(format!(
            "the signing secret has {} bytes, but Standard Webhooks wants {SECRET_BYTES_MIN} to {SECRET_BYTES_MAX}; \
             `openssl rand -base64 32` makes one",
            bytes.len()
        ));
    }
    Ok(SecretBytes(bytes))
}

/// The value of `webhook-signature`: one signature per secret, separated by spaces.
pub(super) fn signatures(secrets: &[SecretBytes], id: &str, unix_seconds: i64, body: &[u8]) -> String {
    let signed = secrets.iter().map(|secret| signature(secret, id, unix_seconds, body));
    signed.collect::<Vec<_>>().join(" ")
}

#[expect(clippy::expect_used, reason = "HMAC takes keys of any length")]
fn signature(secret: &SecretBytes, id: &str, unix_seconds: i64, body: &[u8]) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(&secret.0).expect("a key of any length");
    mac.update(format!("{id}.{unix_seconds}.").as_bytes());
    mac.update(body);
    format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    const ID: &str = "msg_p5jXN8AQM9LWM0D4loKWxJek";
    const BODY: &[u8] = br#"{"test": 2432232314}"#;

    #[test]
    fn the_published_vector() {
        let secret = decode_secret(SECRET).unwrap();
        let signed = signatures(&[secret], ID, 1_614_265_330, BODY);
        assert_eq!(signed, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn while_rotating_each_secret_signs() {
        let old = decode_secret(SECRET).unwrap();
        let new = decode_secret("whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA").unwrap();
        let both = signatures(&[old.clone(), new.clone()], ID, 1, BODY);
        assert_eq!(both, format!("{} {}", signature(&old, ID, 1, BODY), signature(&new, ID, 1, BODY)));
    }

    #[test]
    fn a_secret_is_taken_in_the_forms_in_which_it_is_shown() {
        let bare = SECRET.strip_prefix("whsec_").unwrap();
        for text in [SECRET.to_owned(), format!("v1,{SECRET}"), format!(" {bare}\n")] {
            assert_eq!(decode_secret(&text).unwrap().0, decode_secret(SECRET).unwrap().0);
        }
        for text in ["hunter2 is not base64", "whsec_c2hvcnQ="] {
            let error = decode_secret(text).unwrap_err();
            assert!(!error.contains("hunter2") && !error.contains("c2hv"), "{error}");
        }
    }
}
