//! What is wrong with the files and directories that a configuration names, also with one that is wrong by itself.

use std::path::PathBuf;

use crate::base::files;
use crate::config::{Draft, Problem};
use crate::http::{self, Address, CallerTokens};
use crate::salesforce;

const INGEST_TOKEN: &str = "ingest.token_file";
const ADMIN_TOKEN: &str = "admin.token_file";
const CA_FILE: &str = "upstream.ca_file";
const STORE_CA_FILE: &str = "store.ca_file";
const STORE_PASSWORD: &str = "store.password_file";
const PRIVATE_KEY: &str = "upstream.auth.jwt_bearer.private_key_file";
const UPSTREAM_TOKEN: &str = "upstream.auth.token_file";
pub(super) const STATE_DIR: &str = "delivery.state_dir";

/// Everything that is wrong with the files that `draft` names, in the order in which problems are reported. `run` refuses to
/// start with any of it, `check` reports it. A token file that is not there yet is no problem: another program writes it,
/// perhaps later.
pub(crate) fn file_problems(draft: &Draft) -> Vec<Problem> {
    let mut problems = caller_tokens(draft).err().unwrap_or_default();
    problems.extend(same_sockets(draft));
    problems.extend(upstream_file_problems(draft));
    problems.extend(store_file_problem(draft));
    Problem::sort(&mut problems);
    problems
}

/// Those of the files that deliveries need. The system's root certificates are among them where https needs them, by the
/// key that does.
pub(crate) fn upstream_file_problems(draft: &Draft) -> Vec<Problem> {
    let mut problems = Vec::new();
    let ca_file = draft.path(CA_FILE);
    let mut addresses = ["upstream.base_url", "upstream.auth.jwt_bearer.token_url"].into_iter();
    let encrypted = addresses.find(|key| draft.url(key).is_some_and(|url| url.scheme() == "https"));
    if let Some(key) = ca_file.as_ref().map(|_| CA_FILE).or(encrypted)
        && let Err(why) = salesforce::check_roots(ca_file.as_deref())
    {
        problems.push(draft.problem(key, &why));
    }
    if let Some(path) = draft.path(PRIVATE_KEY)
        && let Err(why) = salesforce::check_key(&path)
    {
        problems.push(draft.problem(PRIVATE_KEY, &why));
    }
    problems
}

/// What is wrong with the certificates of the store.
fn store_file_problem(draft: &Draft) -> Option<Problem> {
    // Where it is of no use, that is its problem.
    let path = draft.path(STORE_CA_FILE).filter(|_| draft.store_has_tls())?;
    let why = salesforce::check_roots(Some(&path)).err()?;
    Some(draft.problem(STORE_CA_FILE, &why.replace(CA_FILE, STORE_CA_FILE)))
}

/// The bearer tokens that callers must show.
pub(super) fn caller_tokens(draft: &Draft) -> Result<CallerTokens, Vec<Problem>> {
    let read = |key: &str| {
        let token = draft.path(key).map(|path| http::read_token(key, &path)).transpose();
        token.map_err(|text| draft.problem(key, &text))
    };
    match (read(INGEST_TOKEN), read(ADMIN_TOKEN)) {
        (Ok(Some(ingest)), Ok(Some(admin))) if ingest == admin => {
            let text = "admin.token_file holds the token of ingest.token_file; expected another, or none";
            Err(vec![draft.problem(ADMIN_TOKEN, text)])
        }
        (Ok(ingest), Ok(admin)) => Ok(CallerTokens { ingest, admin }),
        (ingest, admin) => Err(ingest.err().into_iter().chain(admin.err()).collect()),
    }
}

/// Unix sockets that are one by two names: with `..` in a path, or a directory that is a link.
fn same_sockets(draft: &Draft) -> Vec<Problem> {
    let keys = ["ingest.listen", "admin.listen"];
    let mut seen: Vec<(PathBuf, Address)> = Vec::new();
    let mut problems = Vec::new();
    for (key, address) in keys.iter().flat_map(|key| draft.addresses(key).into_iter().map(move |at| (key, at))) {
        let Address::Unix(path) = &address else { continue };
        let real = real_path(path);
        match seen.iter().find(|(other, _)| *other == real) {
            // The same name twice is a problem of the configuration by itself.
            Some((_, other)) if *other != address => {
                let text = format!("{key}: {address} and {other} are one path; expected one of them");
                problems.push(draft.problem(key, &text));
            }
            Some(_) => {}
            None => seen.push((real, address)),
        }
    }
    problems
}

/// The path of a socket that need not be there yet, without links and `..` in its directory.
fn real_path(path: &std::path::Path) -> PathBuf {
    let directory = path.parent().and_then(|directory| directory.canonicalize().ok());
    match (directory, path.file_name()) {
        (Some(directory), Some(name)) => directory.join(name),
        _ => path.to_owned(),
    }
}

/// What the daemon starts without, and then lacks: files that another program may yet write, and its state directory.
pub(crate) fn file_warnings(draft: &Draft) -> Vec<Problem> {
    let mut warnings: Vec<_> = token_file_warning(draft).into_iter().chain(state_dir_warning(draft)).collect();
    warnings.extend(password_warning(draft));
    Problem::sort(&mut warnings);
    warnings
}

/// Why the store's password can't be read at present. Another program may keep the file.
fn password_warning(draft: &Draft) -> Option<Problem> {
    let path = draft.path(STORE_PASSWORD)?;
    let why = files::must_be_readable(&path).err()?;
    let text = format!("{STORE_PASSWORD} {} can't be read: {why}; without it the store can't be used", path.display());
    Some(draft.problem(STORE_PASSWORD, &text))
}

/// Why the file of the upstream's token brings none at present. Another program keeps it, so that it may yet.
pub(super) fn token_file_warning(draft: &Draft) -> Option<Problem> {
    let why = salesforce::check_token_file(&draft.path(UPSTREAM_TOKEN)?).err()?;
    let text = format!("{UPSTREAM_TOKEN}: {why}; without a token typingd starts, but is not ready");
    Some(draft.problem(UPSTREAM_TOKEN, &text))
}

/// The daemon serves without its state directory all the same, so that this is no reason not to start.
fn state_dir_warning(draft: &Draft) -> Option<Problem> {
    let dir = draft.path(STATE_DIR)?;
    // What is not there is made, in the nearest directory above it.
    let nearest = dir.ancestors().find(|path| path.symlink_metadata().is_ok()).unwrap_or(&dir);
    let error = files::must_be_writable(nearest).err()?;
    let at = if nearest == dir { String::new() } else { format!(", as {} can't be used", nearest.display()) };
    let text = format!("{STATE_DIR} {} can't be used{at}: {error}; a crash may leave icons on", dir.display());
    Some(draft.problem(STATE_DIR, &text))
}
