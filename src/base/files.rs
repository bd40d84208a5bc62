//! Small files that a configuration names: read whole, with a bound, and only if they are files.

use std::fs::File;
use std::io::{Error, ErrorKind, Read, Result};
use std::path::Path;

use rustix::fs::{Access, AtFlags, CWD, accessat};

use super::text::without_bom;

/// The largest file with a bearer token: a token has 16 KiB at most, and white space around it little more.
pub(crate) const TOKEN_FILE_BYTES_MAX: u64 = 17 << 10;
/// The largest file with a private key; one of 16,384 bits has 13 KiB.
pub(crate) const KEY_FILE_BYTES_MAX: u64 = 64 << 10;
/// The largest file with certificates; all roots of a system have some 250 KiB.
pub(crate) const CA_FILE_BYTES_MAX: u64 = 4 << 20;

/// What the file at `path` holds.
///
/// # Errors
/// Also when it is no regular file, for opening a pipe may block for ever and a device may never end, and when it is
/// larger than `bytes_max`.
pub(crate) fn read(path: &Path, bytes_max: u64) -> Result<Vec<u8>> {
    must_be_regular(path)?;
    let mut bytes = Vec::new();
    File::open(path)?.take(bytes_max.saturating_add(1)).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > bytes_max {
        return Err(Error::new(ErrorKind::FileTooLarge, format!("larger than {bytes_max} bytes")));
    }
    Ok(bytes)
}

/// As [`read`], of a file that must be text. A byte order mark before it is skipped.
///
/// # Errors
/// As those of [`read`], and when it is not UTF-8.
pub(crate) fn read_text(path: &Path, bytes_max: u64) -> Result<String> {
    let bytes = read(path, bytes_max)?;
    let text = std::str::from_utf8(without_bom(&bytes));
    text.map(str::to_owned).map_err(|_| Error::new(ErrorKind::InvalidData, "not UTF-8"))
}

/// Whether there is a regular file at `path`, by itself or by a link.
///
/// # Errors
/// When there is not, or it is not known.
pub(crate) fn must_be_regular(path: &Path) -> Result<()> {
    match std::fs::metadata(path)?.is_file() {
        true => Ok(()),
        false => Err(Error::other("not a regular file")),
    }
}

/// Whether there is a regular file at `path` that can be opened.
///
/// # Errors
/// Why not.
pub(crate) fn must_be_readable(path: &Path) -> Result<()> {
    must_be_regular(path)?;
    File::open(path).map(drop)
}

/// Whether files can be made in the directory `path`. Nothing stays behind.
///
/// # Errors
/// Why not.
pub(crate) fn must_be_writable(path: &Path) -> Result<()> {
    if !std::fs::metadata(path)?.is_dir() {
        return Err(ErrorKind::NotADirectory.into());
    }
    accessat(CWD, path, Access::WRITE_OK | Access::EXEC_OK, AtFlags::EACCESS)?;
    // Rights are not all: a file system may be mounted for reading, be full, or make its files by itself, as /proc does.
    let probe = path.join(format!(".typingd-{}", std::process::id()));
    match std::fs::create_dir(&probe) {
        Ok(()) => std::fs::remove_dir(&probe),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
        Err(error) if error.kind() == ErrorKind::NotFound => Err(Error::other("no files can be made there")),
        Err(error) => Err(error),
    }
}

/// Whether a file can be written at `path`, without changing one that is there or making one that is not.
///
/// # Errors
/// Why not.
pub(crate) fn can_write(path: &Path) -> Result<()> {
    match std::fs::metadata(path) {
        Ok(found) if found.is_dir() => Err(ErrorKind::IsADirectory.into()),
        Ok(found) if found.is_file() => File::options().append(true).open(path).map(drop),
        // A pipe or a device; to open it may take as long as it likes.
        Ok(_) => Ok(()),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty());
            must_be_writable(directory.unwrap_or(Path::new(".")))
        }
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_regular_and_of_bounded_size() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        std::fs::write(at("fits"), "12345678").unwrap();
        assert_eq!(read_text(&at("fits"), 8).unwrap(), "12345678");
        std::fs::write(at("marked"), "\u{feff}1234").unwrap();
        assert_eq!(read_text(&at("marked"), 8).unwrap(), "1234");
        assert_eq!(read(&at("fits"), 7).unwrap_err().kind(), ErrorKind::FileTooLarge);
        std::os::unix::fs::symlink("fits", at("link")).unwrap();
        assert_eq!(read(&at("link"), 8).unwrap(), b"12345678");
        std::fs::write(at("bytes"), [0xff]).unwrap();
        assert_eq!(read_text(&at("bytes"), 8).unwrap_err().kind(), ErrorKind::InvalidData);
        assert_eq!(read(&at("nowhere"), 8).unwrap_err().kind(), ErrorKind::NotFound);
        for (path, error) in [
            (at("new"), None),
            (at("fits"), None),
            ("new-beside-the-tests".into(), None),
            ("/dev/null".into(), None),
            (dir.path().to_owned(), Some(ErrorKind::IsADirectory)),
            (at("none/new"), Some(ErrorKind::NotFound)),
            (at("fits/new"), Some(ErrorKind::NotADirectory)),
        ] {
            assert_eq!(can_write(&path).err().map(|error| error.kind()), error, "{}", path.display());
        }
        assert!(!at("new").exists() && read_text(&at("fits"), 8).unwrap() == "12345678");
        for path in [Path::new("/dev/zero"), dir.path()] {
            assert_eq!(read(path, 8).unwrap_err().to_string(), "not a regular file", "{}", path.display());
        }
    }
}
