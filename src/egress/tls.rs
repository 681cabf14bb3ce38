//! The one TLS set-up of what the relay talks to by HTTP and SMTP: the machine's certificate authorities, and where the crypto comes from.

use std::sync::Arc;

use rustls::ClientConfig;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::CertificateDer;
use rustls_platform_verifier::Verifier;

/// Makes sure that the process has its crypto provider: the only line that names one. May be called any number of times.
pub fn install_crypto() {
    if CryptoProvider::get_default().is_none() {
        // It fails only if somebody else was quicker, which is just as well.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    }
}

/// Verifies by the machine's authorities and `roots`; an error where the machine has none at all.
pub(crate) fn client_config(roots: &[CertificateDer<'static>]) -> Result<ClientConfig, rustls::Error> {
    install_crypto();
    let provider = CryptoProvider::get_default().cloned();
    let provider = provider.ok_or_else(|| rustls::Error::General("no crypto provider".to_owned()))?;
    let verifier = Verifier::new_with_extra_roots(roots.iter().cloned(), Arc::clone(&provider))?;
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    let builder = builder.dangerous().with_custom_certificate_verifier(Arc::new(verifier));
    Ok(builder.with_no_client_auth())
}
