//! The ballast: a file whose only use is to be deleted when the disk is full.
//!
//! On a full disk redb can't even delete. The space of the ballast takes what waits for its
//! commit, and the deletions that make room; until there is a ballast again, no more messages are
//! taken in.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use super::open::{folder_of, with_suffix};

/// Its size, in bytes, where there is room: what gathers for a commit at most, and some more.
const MAX_BYTES: u64 = 2 << 20;
/// On a small disk it takes this part of what is free.
const PART_OF_FREE: u64 = 8;
/// A smaller one is no use.
const MIN_BYTES: u64 = 64 << 10;

/// Space kept back for a full disk.
#[derive(Debug)]
pub(in crate::store) struct Ballast {
    path: PathBuf,
    /// The size of the one that was deleted, in bytes.
    released: u64,
}

impl Ballast {
    /// The ballast of the store at `store`: `NAME.ballast`, beside it.
    pub(in crate::store) fn of(store: &Path) -> Ballast {
        Ballast {
            path: with_suffix(store, ".ballast"),
            released: 0,
        }
    }

    /// Makes the file, unless it is there. As much again must be free besides, else the disk would
    /// be full again at once.
    ///
    /// # Errors
    /// [`io::ErrorKind::StorageFull`] without enough room, or what the system says.
    pub(in crate::store) fn create(&mut self) -> io::Result<()> {
        if self.size() >= MIN_BYTES {
            return Ok(());
        }
        let free = free_bytes(folder_of(&self.path))?;
        let size = (free / PART_OF_FREE)
            .clamp(MIN_BYTES, MAX_BYTES)
            .max(self.released);
        if free < 2 * size {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let created = self.write(size);
        if created.is_err() {
            self.remove();
        }
        created
    }

    /// Deletes the ballast. True if that freed something.
    pub(in crate::store) fn release(&mut self) -> bool {
        let size = self.size();
        let released = self.remove();
        if released {
            self.released = size;
        }
        released
    }

    /// Bytes of the file; 0 if there is none.
    fn size(&self) -> u64 {
        fs::metadata(&self.path).map_or(0, |meta| meta.len())
    }

    fn remove(&self) -> bool {
        let removed = fs::remove_file(&self.path).is_ok();
        // Some file systems free the space only with their next commit. Where asking for that
        // fails, the attempt that follows tells.
        let folder = File::open(folder_of(&self.path));
        let _ = folder.and_then(|folder| folder.sync_all());
        removed
    }

    /// Writes noise: a file system that compresses makes nothing of it.
    fn write(&self, size: u64) -> io::Result<()> {
        const BLOCK: usize = 16 << 10;
        let mut noise = fastrand::Rng::new();
        let mut block = [0; BLOCK];
        let mut options = File::options();
        options.write(true).create(true).truncate(true).mode(0o600);
        let mut file = options.open(&self.path)?;
        for _ in 0..size.div_ceil(BLOCK as u64) {
            noise.fill(&mut block);
            file.write_all(&block)?;
        }
        file.sync_all()
    }
}

/// What an ordinary user may still write to the file system of `folder`, in bytes.
fn free_bytes(folder: &Path) -> io::Result<u64> {
    let stat = rustix::fs::statvfs(folder)?;
    Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_created_once_and_released_once() {
        let folder = tempfile::tempdir().unwrap();
        let store = folder.path().join("s.db");
        let mut ballast = Ballast::of(&store);
        assert!(!ballast.release(), "there is none yet");
        ballast.create().unwrap();
        let file = folder.path().join("s.db.ballast");
        let written = fs::metadata(&file).unwrap();
        assert!((MIN_BYTES..=MAX_BYTES).contains(&written.len()));
        ballast.create().unwrap();
        assert_eq!(
            fs::metadata(&file).unwrap().modified().unwrap(),
            written.modified().unwrap(),
            "it is not written again"
        );
        assert!(ballast.release());
        assert!(!file.exists());
    }

    #[test]
    fn without_a_folder_there_is_no_ballast() {
        let folder = tempfile::tempdir().unwrap();
        let mut ballast = Ballast::of(&folder.path().join("gone/s.db"));
        assert!(ballast.create().is_err());
        assert!(!ballast.release());
    }
}
