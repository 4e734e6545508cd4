//! The state directory: small files that outlive the process, and that nobody else has written.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use uuid::Uuid;

/// A folder of usher's own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StateDir {
    folder: PathBuf,
    /// Who we are on that file system.
    owner: u32,
}

impl StateDir {
    /// Opens the folder, or makes it, and tries whether it can be written in.
    ///
    /// # Errors
    /// Says which folder, what is wrong with it, and what to do.
    pub fn open(folder: &Path) -> Result<Self, String> {
        let failed = |error: io::Error| {
            format!(
                "{}: {error}. Let the user usher runs as write there, or set `state_dir` to another folder",
                folder.display()
            )
        };
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder)
            .map_err(failed)?;
        not_anybodys(folder, &fs::metadata(folder).map_err(failed)?)?;
        // The file system knows best who we are: the owner of what we make.
        let probe = folder.join(format!(".probe-{}", Uuid::new_v4()));
        let made = create(&probe).and_then(|file| file.metadata());
        let _ = fs::remove_file(&probe);
        Ok(Self {
            folder: folder.to_owned(),
            owner: made.map_err(failed)?.uid(),
        })
    }

    /// Whether the folder could be opened, as far as that can be told without making it.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn look(folder: &Path) -> Result<(), String> {
        match fs::metadata(folder) {
            Ok(found) => not_anybodys(folder, &found),
            // It is made, or not, by the usher that serves, as whoever it then runs as.
            Err(_) => Ok(()),
        }
    }

    /// A file's content; `None` if there is no such file.
    ///
    /// # Errors
    /// As [`Self::read_with`]; or when it is larger than `most` bytes.
    pub fn read(&self, name: &str, most: u64) -> Result<Option<Vec<u8>>, String> {
        self.read_with(name, |file| bounded(&file, most))
    }

    /// What `read` makes of a file; `None` if there is no such file.
    ///
    /// # Errors
    /// When it is no regular file of ours that nobody else may read or write, when the system does
    /// not let us read it, or when `read` fails.
    pub fn read_with<T>(
        &self,
        name: &str,
        read: impl FnOnce(File) -> Result<T, String>,
    ) -> Result<Option<T>, String> {
        let path = self.folder.join(name);
        // No link is followed, and no pipe waited for.
        let opened = OpenOptions::new()
            .read(true)
            .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK)
            .open(&path);
        let file = match opened {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(format!("{}: {error}", path.display())),
        };
        let read = self.check(&file).and_then(|()| read(file));
        read.map(Some)
            .map_err(|problem| format!("{}: {problem}", path.display()))
    }

    /// Writes a file whole or not at all, also if the machine stops meanwhile.
    ///
    /// # Errors
    /// What the system said.
    pub fn write(&self, name: &str, bytes: &[u8]) -> Result<(), String> {
        self.write_with(name, |file| file.write_all(bytes))
    }

    /// The same for what `fill` puts into it.
    ///
    /// # Errors
    /// What the system, or `fill`, said.
    pub fn write_with(
        &self,
        name: &str,
        fill: impl FnOnce(&mut File) -> io::Result<()>,
    ) -> Result<(), String> {
        let path = self.folder.join(name);
        replace(&path, fill).map_err(|error| format!("{}: {error}", path.display()))
    }

    /// Whoever could write the file could say what stands in it.
    fn check(&self, file: &File) -> Result<(), String> {
        let found = file.metadata().map_err(|error| error.to_string())?;
        if !found.is_file() {
            return Err("is not a regular file".to_owned());
        }
        if found.uid() != self.owner {
            return Err(format!(
                "belongs to user {}, and usher runs as {}",
                found.uid(),
                self.owner
            ));
        }
        let mode = found.mode() & 0o777;
        if mode & 0o077 != 0 {
            return Err(format!("has mode {mode:04o}, and 0600 is wanted"));
        }
        Ok(())
    }
}

fn not_anybodys(folder: &Path, found: &fs::Metadata) -> Result<(), String> {
    if found.mode() & 0o002 == 0 {
        return Ok(());
    }
    Err(format!(
        "{}: anybody may write there. `chmod o-w` it, or set `state_dir` to a folder of usher's own",
        folder.display()
    ))
}

/// Puts what `fill` writes in the place of a file, whole or not at all, also if the machine stops
/// meanwhile. Nobody else may read it.
///
/// # Errors
/// What the system, or `fill`, said.
pub fn replace(path: &Path, fill: impl FnOnce(&mut File) -> io::Result<()>) -> io::Result<()> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    // In a container every usher has the same number, and finds its own leftovers.
    let beside = path.with_file_name(format!(".{name}.{}", std::process::id()));
    let replaced = write_beside(&beside, fill).and_then(|()| fs::rename(&beside, path));
    if replaced.is_err() {
        let _ = fs::remove_file(&beside);
    }
    replaced.and_then(|()| sync_folder(path))
}

/// Returns when the disk has the file's name.
///
/// # Errors
/// What the system said.
pub fn sync_folder(file: &Path) -> io::Result<()> {
    let folder = file.parent().filter(|folder| *folder != Path::new(""));
    File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
}

fn bounded(file: &File, most: u64) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    let read = file.take(most.saturating_add(1)).read_to_end(&mut bytes);
    let length = read.map_err(|error| error.to_string())?;
    if length as u64 > most {
        return Err(format!("is larger than {most} bytes"));
    }
    Ok(bytes)
}

fn write_beside(path: &Path, fill: impl FnOnce(&mut File) -> io::Result<()>) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = create(path)?;
    fill(&mut file)?;
    file.sync_all()
}

/// A new file that nobody else may read.
fn create(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
}

#[cfg(test)]
mod tests {
    use std::fs::Permissions;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn opened() -> (tempfile::TempDir, StateDir) {
        let folder = tempfile::tempdir().unwrap();
        let state = StateDir::open(&folder.path().join("a/b")).unwrap();
        (folder, state)
    }

    #[test]
    fn what_was_written_is_read_and_nothing_is_left_beside_it() {
        let (folder, state) = opened();
        assert_eq!(state.read("x", 10).unwrap(), None);
        state.write("x", b"one").unwrap();
        state.write("x", b"two").unwrap();
        assert_eq!(state.read("x", 3).unwrap().unwrap(), b"two");
        let made = folder.path().join("a/b");
        assert_eq!(fs::read_dir(&made).unwrap().count(), 1);
        let mode = |path: &Path| fs::metadata(path).unwrap().mode() & 0o777;
        assert_eq!((mode(&made), mode(&made.join("x"))), (0o700, 0o600));
    }

    #[test]
    fn what_somebody_else_could_have_written_is_not_read() {
        let (folder, state) = opened();
        let path = folder.path().join("a/b/x");
        state.write("x", b"good").unwrap();
        for mode in [0o640, 0o604, 0o620, 0o602, 0o660] {
            fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
            let problem = state.read("x", 10).unwrap_err();
            assert!(problem.contains(&format!("{mode:04o}")), "{problem}");
        }
        fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
        assert!(state.read("x", 3).unwrap_err().contains("larger"));
        let stranger = StateDir {
            owner: state.owner + 1,
            ..state.clone()
        };
        assert!(stranger.read("x", 10).unwrap_err().contains("belongs to"));
        fs::rename(&path, path.with_extension("moved")).unwrap();
        std::os::unix::fs::symlink(path.with_extension("moved"), &path).unwrap();
        assert!(state.read("x", 10).is_err(), "a link was followed");
        fs::remove_file(&path).unwrap();
        fs::create_dir(&path).unwrap();
        assert!(state.read("x", 10).unwrap_err().contains("regular file"));
    }

    #[test]
    fn a_folder_of_everybody_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        fs::set_permissions(folder.path(), Permissions::from_mode(0o777)).unwrap();
        let problem = StateDir::open(folder.path()).unwrap_err();
        assert!(problem.contains("anybody may write"), "{problem}");
        let file = folder.path().join("file");
        fs::write(&file, "").unwrap();
        assert!(StateDir::open(&file).unwrap_err().contains("state_dir"));
    }
}
