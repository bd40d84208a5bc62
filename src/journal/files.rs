//! The directory's files: its lock, and the generations by their numbers.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use super::OpenError;
use crate::base::files::must_be_regular;

const EXTENSION: &str = "journal";
/// A file with a higher number is none of ours: at one a millisecond it would be the work of ages.
const GENERATION_MAX: u64 = 1 << 48;

pub(super) fn lock(dir: &Path) -> Result<File, OpenError> {
    let path = dir.join("lock");
    let unusable = |source| OpenError::Unusable { dir: dir.to_owned(), source };
    // Opening a pipe would block, and reading one.
    if fs::symlink_metadata(&path).is_ok() {
        must_be_regular(&path).map_err(|error| unusable(io::Error::new(error.kind(), format!("lock: {error}"))))?;
    }
    let options = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(&path);
    // On a read-only disk the file can be held all the same.
    let mut file = options.or_else(|_| File::open(&path)).map_err(unusable)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut text = String::new();
            let _ = file.read_to_string(&mut text);
            return Err(OpenError::Held { dir: dir.to_owned(), pid: text.trim().parse().ok() });
        }
        Err(TryLockError::Error(source)) => return Err(unusable(source)),
    }
    // The number is for the error of another daemon; a full disk must not keep this one from serving.
    let _ = file.set_len(0).and_then(|()| writeln!(file, "{}", std::process::id()));
    Ok(file)
}

pub(super) fn path_of(dir: &Path, generation: u64) -> PathBuf {
    dir.join(format!("icons-{generation:020}.{EXTENSION}"))
}

/// The generations in `dir`, the oldest first.
pub(super) fn generations(dir: &Path) -> io::Result<Vec<(u64, PathBuf)>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        let number = path
            .file_name()
            .and_then(|name| name.to_str())
            .and_then(|name| name.strip_prefix("icons-")?.strip_suffix(".journal")?.parse().ok())
            .filter(|number| *number <= GENERATION_MAX);
        found.extend(number.map(|number| (number, path)));
    }
    found.sort();
    Ok(found)
}

pub(super) fn begin(dir: &Path, generation: u64, begun: &[u8]) -> io::Result<File> {
    let path = path_of(dir, generation);
    // What a failed try left there is worth nothing; a pipe or a link is not written to. End users' ids are for no other
    // user of the machine.
    let _ = fs::remove_file(&path);
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(begun)?;
    Ok(file)
}

pub(super) fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

/// Writes `content` in the place of what the file at `path` holds.
pub(super) fn rewrite(path: &Path, content: &[u8]) -> io::Result<File> {
    let mut file = OpenOptions::new().write(true).truncate(true).open(path)?;
    file.write_all(content)?;
    Ok(file)
}
