//! Who is believed to be the database: what each `sslmode` verifies.

use std::path::Path;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{WebPkiServerVerifier, verify_server_name};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
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
        Tls::VerifyCa | Tls::VerifyFull => Arc::new(known(place, &provider)?),
    };
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| unavailable(format!("TLS cannot be set up: {error}")))?;
    let builder = builder.dangerous().with_custom_certificate_verifier(verifier);
    Ok(MakeRustlsConnect::new(builder.with_no_client_auth()))
}

/// Knows the authorities of the file alone, or those of the machine.
fn known(place: &Place, provider: &Arc<CryptoProvider>) -> Result<Known> {
    let named = place.roots.as_deref().map(certificates).transpose()?.unwrap_or_default();
    let authorities = match &place.roots {
        Some(file) => of_file(file, &named, provider)?,
        None => Arc::new(Verifier::new(Arc::clone(provider)).map_err(|error| {
            StoreError::Unavailable(format!(
                "the machine has no certificate authorities ({error}); name a file with sslrootcert=FILE"
            ))
        })?),
    };
    Ok(Known { authorities, named, with_name: place.tls == Tls::VerifyFull })
}

fn unusable(file: &Path, why: &dyn std::fmt::Display) -> StoreError {
    StoreError::Unavailable(format!("sslrootcert {} cannot be used: {why}", file.display()))
}

fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>> {
    let read = CertificateDer::pem_file_iter(file).and_then(Iterator::collect);
    read.map_err(|error| unusable(file, &error))
}

fn of_file(
    file: &Path,
    named: &[CertificateDer<'static>],
    provider: &Arc<CryptoProvider>,
) -> Result<Arc<dyn ServerCertVerifier>> {
    let mut roots = RootCertStore::empty();
    for certificate in named {
        roots.add(certificate.clone()).map_err(|error| unusable(file, &error))?;
    }
    if roots.is_empty() {
        return Err(unusable(file, &"it holds no certificate"));
    }
    let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider));
    Ok(verifier.build().map_err(|error| unusable(file, &error))?)
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

/// Verifies who signed the certificate, and where it is wanted the name.
#[derive(Debug)]
struct Known {
    authorities: Arc<dyn ServerCertVerifier>,
    /// The certificates of the file.
    named: Vec<CertificateDer<'static>>,
    with_name: bool,
}

impl ServerCertVerifier for Known {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> std::result::Result<ServerCertVerified, Error> {
        let verified = match self.authorities.verify_server_cert(certificate, intermediates, name, ocsp, now)
        {
            // As libpq does: one that is its own authority is known where the file holds it. Its dates were looked at
            // before this was found.
            Err(Error::InvalidCertificate(bad))
                if is_own_authority(&bad) && self.named.contains(certificate) =>
            {
                verify_server_name(&ParsedCertificate::try_from(certificate)?, name)
                    .map(|()| ServerCertVerified::assertion())
            }
            other => other,
        };
        // The name is looked at last: whoever fails there has passed everything else.
        match verified {
            Err(Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) if !self.with_name => Ok(ServerCertVerified::assertion()),
            other => other,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, Error> {
        self.authorities.verify_tls12_signature(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, Error> {
        self.authorities.verify_tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.authorities.supported_verify_schemes()
    }
}
