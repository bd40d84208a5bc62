//! The private key in a file in PEM, among whatever else stands there (RFC 7468): certificates before it, comments in any
//! encoding, attributes as `openssl pkcs12` writes them.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;

use crate::base::text::without_bom;

/// The block with the RSA key, or why there is none, to be read after the file's name.
pub(super) fn private_key(file: &[u8]) -> Result<String, String> {
    if file.starts_with(b"\xff\xfe") || file.starts_with(b"\xfe\xff") {
        return Err("is UTF-16; expected ASCII or UTF-8".to_owned());
    }
    let text = String::from_utf8_lossy(without_bom(file));
    let beginning = text.trim_start();
    if beginning.starts_with(BEGIN_IN_BASE64) {
        return Err("is Base64 of a PEM file, as Kubernetes shows secrets; base64 -d FILE gives the key".to_owned());
    }
    if beginning.starts_with(['"', '\'']) && beginning.contains("-----BEGIN ") {
        return Err("is in quotes, as JSON or a shell has it; expected the key alone, as openssl writes it".to_owned());
    }
    let blocks = blocks(&text)?;
    let labelled = |labels: &[&str]| blocks.iter().filter(|(label, _)| labels.contains(label)).collect::<Vec<_>>();
    match labelled(&["PRIVATE KEY", "RSA PRIVATE KEY"]).as_slice() {
        // The headers of old-style encryption (RFC 1421).
        [(_, block)] if block.contains("\nProc-Type:") && block.contains("ENCRYPTED") => Err(ENCRYPTED.to_owned()),
        [(_, block)] => match other_algorithm(block) {
            Some(what) => Err(format!("is of the kind {what}; Salesforce wants RS256, and so a plain RSA key")),
            None => Ok(block.clone()),
        },
        [] if !labelled(&["ENCRYPTED PRIVATE KEY"]).is_empty() => Err(ENCRYPTED.to_owned()),
        [] if !labelled(&["EC PRIVATE KEY"]).is_empty() => {
            Err("is an elliptic curve key; Salesforce wants RS256".to_owned())
        }
        [] if !labelled(&["OPENSSH PRIVATE KEY"]).is_empty() => {
            Err("is in OpenSSH's own format; ssh-keygen -p -m PEM -f FILE converts it".to_owned())
        }
        [] if !blocks.is_empty() => {
            let labels: Vec<_> = blocks.iter().map(|(label, _)| *label).collect();
            Err(format!("is the public half; the private one signs (it holds {})", labels.join(", ")))
        }
        [] if file.first() == Some(&DER_SEQUENCE) => {
            Err("is binary (DER or PKCS#12); openssl pkey, or openssl pkcs12 -nodes, writes it as PEM".to_owned())
        }
        [] if text.contains("-----BEGIN ") => {
            let before = "has something before -----BEGIN …-----, such as a quotation mark or a variable's name";
            Err(format!("{before}; expected the key alone, as openssl writes it"))
        }
        [] => Err("is no RSA key: it holds no line such as -----BEGIN PRIVATE KEY-----".to_owned()),
        several => Err(format!("holds {} private keys, and which one is meant is not known", several.len())),
    }
}

/// The algorithm that a key in PKCS#8 names, where it is not RSA.
fn other_algorithm(block: &str) -> Option<&'static str> {
    let body: String = block.lines().skip(1).flat_map(str::chars).take(ALGORITHM_BASE64_CHARS).collect();
    let head = STANDARD_NO_PAD.decode(body).ok()?;
    let named = ALGORITHMS.iter().find(|(id, _)| head.windows(id.len()).any(|window| window == *id));
    named.map(|(_, what)| *what)
}

/// The label and the text of each block.
fn blocks(text: &str) -> Result<Vec<(&str, String)>, String> {
    let mut blocks = Vec::new();
    let mut open: Option<(&str, String)> = None;
    for line in text.split(['\n', '\r']).map(str::trim).filter(|line| !line.is_empty()) {
        let label = |edge: &str| line.strip_prefix(edge)?.strip_suffix("-----");
        // What follows is no label then, but the key itself, which must not be repeated.
        if line.starts_with("-----BEGIN ") && !label("-----BEGIN ").is_some_and(is_label) {
            return Err("has lost its line breaks: -----BEGIN …----- and -----END …----- take a line each".to_owned());
        }
        if let Some(label) = label("-----BEGIN ") {
            open = Some((label, String::new()));
        }
        let Some((begun, block)) = &mut open else { continue };
        block.push_str(line);
        block.push('\n');
        if label("-----END ") == Some(*begun) {
            blocks.extend(open.take());
        }
    }
    match open {
        None => Ok(blocks),
        Some((label, _)) => Err(format!("breaks off: there is no line -----END {label}-----")),
    }
}

fn is_label(text: &str) -> bool {
    text.len() <= LABEL_BYTES_MAX && text.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b' ')
}

/// Longer than any that is in use.
const LABEL_BYTES_MAX: usize = 40;

/// `-----BEGIN`, in Base64.
const BEGIN_IN_BASE64: &str = "LS0tLS1CRUdJTi";

/// What is before the algorithm's identifier, and the longest of them, come to less than these characters stand for: 30
/// bytes.
const ALGORITHM_BASE64_CHARS: usize = 40;

/// Object identifiers in DER, tag and length first (RFC 8017, 5480, 8410).
const ALGORITHMS: [(&[u8], &str); 6] = [
    (b"\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x0a", "RSA-PSS"),
    (b"\x06\x07\x2a\x86\x48\xce\x3d\x02\x01", "elliptic curve"),
    (b"\x06\x07\x2a\x86\x48\xce\x38\x04\x01", "DSA"),
    (b"\x06\x03\x2b\x65\x6e", "X25519"),
    (b"\x06\x03\x2b\x65\x70", "Ed25519"),
    (b"\x06\x03\x2b\x65\x71", "Ed448"),
];

const ENCRYPTED: &str = "is encrypted; typingd can't ask for the pass phrase (openssl pkey -in FILE takes it off)";

/// What each file in DER begins with.
const DER_SEQUENCE: u8 = 0x30;

#[cfg(test)]
mod tests {
    use super::*;

    fn block(label: &str, body: &str) -> String {
        format!("-----BEGIN {label}-----\n{body}\n-----END {label}-----\n")
    }

    #[test]
    fn the_private_key_is_found_among_whatever_else_is_there() {
        let (key, certificate) = (block("PRIVATE KEY", "QUJD"), block("CERTIFICATE", "REVG"));
        let before = format!("Bag Attributes\r\n    localKeyID: 01\r\n{}", key.replace('\n', "\r\n"));
        for file in [key.clone(), format!("{certificate}{key}"), format!("{key}{certificate}"), before] {
            assert_eq!(private_key(file.as_bytes()).unwrap(), key, "{file}");
        }
        let with_mark = [b"\xef\xbb\xbf", key.as_bytes()].concat();
        assert_eq!(private_key(&with_mark).unwrap(), key);
        assert_eq!(private_key(key.replace('\n', "\r").as_bytes()).unwrap(), key);
        let latin = [b"# Schl\xfcssel\n", key.as_bytes()].concat();
        assert_eq!(private_key(&latin).unwrap(), key);
        assert!(private_key(block("RSA PRIVATE KEY", "QUJD").as_bytes()).is_ok());
        assert!(private_key(block("PRIVATE KEY", "QUJDENCRYPTED").as_bytes()).is_ok(), "letters of the key itself");
    }

    #[test]
    fn a_file_of_two_bytes_a_letter_is_told_so() {
        for mark in [b"\xff\xfe", b"\xfe\xff"] {
            assert!(private_key(&[mark, &b"-\0-\0"[..]].concat()).unwrap_err().contains("is UTF-16"));
        }
    }

    #[test]
    fn a_key_without_line_breaks_is_not_repeated() {
        let key = block("PRIVATE KEY", "QUJDREVG");
        for between in ["\\n", " ", ""] {
            let why = private_key(key.replace('\n', between).as_bytes()).unwrap_err();
            assert!(why.contains("lost its line breaks") && !why.contains("QUJD"), "{why}");
        }
    }

    #[test]
    fn the_true_reason_is_given() {
        let old_style = block("RSA PRIVATE KEY", "Proc-Type: 4,ENCRYPTED\nDEK-Info: DES-EDE3-CBC,00\n\nQUJD");
        let key = block("PRIVATE KEY", "QUJD");
        for (file, words) in [
            (old_style, "is encrypted"),
            (block("ENCRYPTED PRIVATE KEY", "QUJD"), "is encrypted"),
            (block("EC PRIVATE KEY", "QUJD"), "elliptic curve"),
            (block("OPENSSH PRIVATE KEY", "QUJD"), "ssh-keygen"),
            (block("CERTIFICATE", "QUJD"), "is the public half"),
            (block("PUBLIC KEY", "QUJD"), "is the public half"),
            (key.clone() + &key, "holds 2 private keys"),
            (key.replace("-----END", "-----"), "breaks off: there is no line -----END PRIVATE KEY-----"),
            ("0\u{2}".to_owned(), "is binary"),
            (format!("\"{}\"", key.replace('\n', "\\n")), "is in quotes"),
            (format!("'{key}'\n"), "is in quotes"),
            (format!("KEY=\"{key}\"\n"), "has something before -----BEGIN"),
            (base64::engine::general_purpose::STANDARD.encode(&key), "is Base64 of a PEM file"),
            (
                block("PRIVATE KEY", "MC4CAQAwBQYDK2VwBCIEIMFDIRkI0ifxOYJxaiZkvEkCTgiWupiZeWtOxok53/UT"),
                "of the kind Ed25519",
            ),
            (
                block("PRIVATE KEY", "MIIEugIBADALBgkqhkiG9w0BAQoEggSmMIIEogIBAAKCAQEAog5thQVO3m53FhLI"),
                "of the kind RSA-PSS",
            ),
            (block("PRIVATE KEY", "MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQg"), "of the kind elliptic curve"),
            ("two words".to_owned(), "is no RSA key"),
            (String::new(), "is no RSA key"),
        ] {
            let why = private_key(file.as_bytes()).unwrap_err();
            assert!(why.contains(words), "{file}: {why}");
        }
    }
}
