//! Reading the files that the configuration names.

use std::fs::{self, File, Metadata};
use std::io::{self, ErrorKind, Read};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

use rustix::fs::{Mode, OFlags};
use zeroize::Zeroizing;

/// The number of the device `/dev/null`, which many name for "an empty file".
const NULL: (u32, u32) = (1, 3);

/// Reads a file whole, of `most` bytes at most. It never waits: the other end of a FIFO may never
/// come, and a device may have no end.
///
/// # Errors
/// As the system has them; [`ErrorKind::InvalidInput`] for what is no file, but for `/dev/null`;
/// [`ErrorKind::FileTooLarge`] for one that has more bytes. Both are sentences for the log.
pub(crate) fn read(path: &Path, most: u64) -> io::Result<Vec<u8>> {
    // To open a device may do something, and a FIFO would tell who writes that somebody reads.
    check(&fs::metadata(path)?)?;
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let file = File::from(rustix::fs::open(path, flags, Mode::empty())?);
    // Another may lie there meanwhile.
    let found = file.metadata()?;
    check(&found)?;
    read_open(file, found.len(), most)
}

/// Reads whatever `path` leads to until it ends, as for a configuration that comes through a pipe. It
/// may wait for ever.
///
/// # Errors
/// As for [`read`], but for what is no file.
pub(crate) fn read_stream(path: &Path, most: u64) -> io::Result<Vec<u8>> {
    read_open(File::open(path)?, 0, most)
}

fn check(found: &Metadata) -> io::Result<()> {
    if is_file(found) {
        return Ok(());
    }
    Err(io::Error::new(
        ErrorKind::InvalidInput,
        "it is a folder, a device or a FIFO, and no file",
    ))
}

fn is_file(found: &Metadata) -> bool {
    let device = found.rdev();
    let is_null = (rustix::fs::major(device), rustix::fs::minor(device)) == NULL;
    found.is_file() || found.file_type().is_char_device() && is_null
}

/// Reads what has probably `size` bytes.
fn read_open(file: File, size: u64, most: u64) -> io::Result<Vec<u8>> {
    // What is read may be a key, which growing buffers would leave behind.
    let room = usize::try_from(size.min(most)).unwrap_or_default();
    let mut bytes = Zeroizing::new(Vec::with_capacity(room + 1));
    file.take(most + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > most {
        let why = format!("it has more than {most} bytes");
        return Err(io::Error::new(ErrorKind::FileTooLarge, why));
    }
    Ok(std::mem::take(&mut bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_read_up_to_a_bound_and_nothing_else_is() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::write(at("file"), "12345").unwrap();
        std::os::unix::fs::symlink("file", at("link")).unwrap();
        for name in ["file", "link"] {
            assert_eq!(read(&at(name), 5).unwrap(), b"12345");
            let long = read(&at(name), 4).unwrap_err();
            assert_eq!(long.kind(), ErrorKind::FileTooLarge, "{long}");
        }
        assert_eq!(read(Path::new("/dev/null"), 5).unwrap(), b"");
        // The system says of such that they have no bytes.
        assert!(
            !read(Path::new("/proc/self/status"), 100_000)
                .unwrap()
                .is_empty()
        );
        rustix::fs::mkfifoat(rustix::fs::CWD, at("fifo"), Mode::RUSR | Mode::WUSR).unwrap();
        for path in [at("fifo"), "/dev/zero".into(), at("")] {
            let wrong = read(&path, 5).unwrap_err();
            assert_eq!(wrong.kind(), ErrorKind::InvalidInput, "{path:?}: {wrong}");
        }
        let absent = read(&at("absent"), 5).unwrap_err();
        assert_eq!(absent.kind(), ErrorKind::NotFound);
    }

    #[test]
    fn a_stream_is_read_to_its_end_and_has_a_bound() {
        let folder = tempfile::tempdir().unwrap();
        let fifo = folder.path().join("fifo");
        rustix::fs::mkfifoat(rustix::fs::CWD, &fifo, Mode::RUSR | Mode::WUSR).unwrap();
        let writer = std::thread::spawn({
            let fifo = fifo.clone();
            move || fs::write(fifo, "12345")
        });
        assert_eq!(read_stream(&fifo, 5).unwrap(), b"12345");
        writer.join().unwrap().unwrap();
        let endless = read_stream(Path::new("/dev/zero"), 5).unwrap_err();
        assert_eq!(endless.kind(), ErrorKind::FileTooLarge);
    }
}
