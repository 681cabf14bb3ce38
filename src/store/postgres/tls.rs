//! Who is believed to be the database: what each `sslmode` verifies.

use std::path::Path;
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use rustls_platform_verifier::Verifier;
use tokio_postgres_rustls::MakeRustlsConnect;

use super::place::{Place, Tls};
use crate::egress::failure::{is_own_authority, tls_words};
use crate::egress::tls::install_crypto;
use crate::store::{Result, StoreError};

/// The connector for a place; it is asked only where the place wants TLS.
///
/// # Errors
/// The file with the authorities cannot be read, or there are none at all.
pub(super) fn connector(place: &Place) -> Result<MakeRustlsConnect> {
    install_crypto();
    let unavailable = |text: String| StoreError::Unavailable(text);
    let provider = CryptoProvider::get_default()
        .cloned()
        .ok_or_else(|| unavailable("there is no crypto provider for TLS".to_owned()))?;
    let verifier: Arc<dyn ServerCertVerifier> = match place.tls {
        Tls::Disable | Tls::Prefer | Tls::Require => Arc::new(Anybody(Arc::clone(&provider))),
        Tls::VerifyCa => Arc::new(AnyName(authorities(place.roots.as_deref(), &provider)?)),
        Tls::VerifyFull => authorities(place.roots.as_deref(), &provider)?,
    };
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| unavailable(format!("TLS cannot be set up: {error}")))?;
    let builder = builder.dangerous().with_custom_certificate_verifier(verifier);
    Ok(MakeRustlsConnect::new(builder.with_no_client_auth()))
}

/// Verifies by the authorities of the file alone, or by those of the machine.
fn authorities(file: Option<&Path>, provider: &Arc<CryptoProvider>) -> Result<Arc<dyn ServerCertVerifier>> {
    let Some(file) = file else {
        let verifier = Verifier::new(Arc::clone(provider)).map_err(|error| {
            StoreError::Unavailable(format!(
                "the machine has no certificate authorities ({error}); name a file with sslrootcert=FILE"
            ))
        })?;
        return Ok(Arc::new(verifier));
    };
    let unusable = |why: &dyn std::fmt::Display| {
        StoreError::Unavailable(format!("sslrootcert {} cannot be used: {why}", file.display()))
    };
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(file).map_err(|error| unusable(&error))? {
        roots.add(certificate.map_err(|error| unusable(&error))?).map_err(|error| unusable(&error))?;
    }
    if roots.is_empty() {
        return Err(unusable(&"it holds no certificate"));
    }
    let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider));
    Ok(verifier.build().map_err(|error| unusable(&error))?)
}

/// What a failed handshake means, and what cures it.
pub(super) fn explain(error: &Error, place: &Place) -> String {
    let words = tls_words(error);
    let Error::InvalidCertificate(bad) = error else {
        return format!("TLS failed: {words}; look at the server's log");
    };
    let remedy = match bad {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => "renew it".to_owned(),
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            "name the host in --store as the certificate does, or leave its name out with sslmode=verify-ca"
                .to_owned()
        }
        CertificateError::UnknownIssuer | CertificateError::BadSignature => {
            add("its authority, or where it is self-signed the certificate,", place)
        }
        own if is_own_authority(own) => {
            return format!("the server's certificate is self-signed; {}", add("it", place));
        }
        // Their words say what to do.
        _ => return words,
    };
    format!("{words}; {remedy}")
}

/// How somebody becomes known.
fn add(whom: &str, place: &Place) -> String {
    match &place.roots {
        Some(file) => format!("put {whom} into {}, the file of sslrootcert", file.display()),
        None => format!("put {whom} into a file and name that with sslrootcert=FILE in --store"),
    }
}

/// Believes everybody: TLS against listeners only, as `prefer` and `require` promise.
#[derive(Debug)]
struct Anybody(Arc<CryptoProvider>);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> std::result::Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

/// Verifies everything but the name.
#[derive(Debug)]
struct AnyName(Arc<dyn ServerCertVerifier>);

impl ServerCertVerifier for AnyName {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> std::result::Result<ServerCertVerified, Error> {
        // The name is looked at last: whoever fails there has passed everything else.
        match self.0.verify_server_cert(certificate, intermediates, name, ocsp, now) {
            Err(Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) => Ok(ServerCertVerified::assertion()),
            other => other,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, Error> {
        self.0.verify_tls12_signature(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, Error> {
        self.0.verify_tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_verify_schemes()
    }
}
