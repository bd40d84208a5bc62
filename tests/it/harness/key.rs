//! An RSA key made for this run: none is checked in.

use std::sync::LazyLock;

use aws_lc_rs::encoding::AsDer as _;
use aws_lc_rs::rsa::{KeyPair, KeySize};
use aws_lc_rs::signature::KeyPair as _;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

static KEY: LazyLock<(Vec<u8>, Vec<u8>)> = LazyLock::new(|| {
    let pair = KeyPair::generate(KeySize::Rsa2048).unwrap();
    (pair.as_der().unwrap().as_ref().to_vec(), pair.public_key().as_ref().to_vec())
});

/// The private key, PKCS#8.
pub(crate) fn private() -> String {
    pem("PRIVATE KEY", &KEY.0)
}

/// The public key, PKCS#1.
pub(crate) fn public() -> String {
    pem("RSA PUBLIC KEY", &KEY.1)
}

fn pem(label: &str, der: &[u8]) -> String {
    let text = STANDARD.encode(der);
    let lines: Vec<_> = text.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).unwrap()).collect();
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", lines.join("\n"))
}
