//! The certificate of a server.

use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use std::path::Path;
use std::sync::Arc;
use tallow_common::{Error, Result};
use tokio_rustls::TlsAcceptor;

/// What encrypts connections.
#[derive(Clone)]
pub struct Tls(pub(super) TlsAcceptor);

impl Tls {
    /// Reads a certificate, with those that sign it, and its private key, both as PEM.
    ///
    /// # Errors
    /// A file cannot be read, holds none, or the key is not that of the certificate.
    pub fn read(cert: &Path, key: &Path) -> Result<Tls> {
        let wrong = |path: &Path, what: &str, error: &dyn std::fmt::Display| {
            Error::invalid(format!("{} holds no {what}: {error}", path.display()))
        };
        let read = CertificateDer::pem_file_iter(cert).map_err(|error| wrong(cert, "certificate", &error))?;
        let chain: Vec<CertificateDer<'static>> =
            read.collect::<Result<_, _>>().map_err(|error| wrong(cert, "certificate", &error))?;
        if chain.is_empty() {
            return Err(wrong(cert, "certificate", &"expected PEM that begins with BEGIN CERTIFICATE"));
        }
        let private = PrivateKeyDer::from_pem_file(key).map_err(|error| wrong(key, "private key", &error))?;
        // Two providers of cryptography are linked, so that rustls has no default of its own.
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let unfit = |error: rustls::Error| Error::invalid(format!("{} cannot be served with: {error}", cert.display()));
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(unfit)?
            .with_no_client_auth()
            .with_single_cert(chain, private)
            .map_err(unfit)?;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(Tls(TlsAcceptor::from(Arc::new(config))))
    }
}
