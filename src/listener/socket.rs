//! Sockets to listen on: TCP, Unix, and those that systemd has opened.

use std::fs::File;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use listenfd::ListenFd;
use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use tokio::net::{TcpListener, UnixListener};

use crate::config::{Listen, UnixSocket};
use crate::stream::Stream;

/// Connections that the kernel holds for us while we are busy.
const BACKLOG: i32 = 4096;

/// How long another process may be busy with sockets in the same folder.
const PATIENCE: Duration = Duration::from_secs(5);

/// A socket that listens.
#[derive(Debug)]
pub(super) enum Listening {
    /// TCP.
    Tcp(TcpListener),
    /// A Unix socket, and its file if we have made it.
    Unix {
        listener: UnixListener,
        _made: Option<Made>,
    },
}

impl Listening {
    /// The next connection, and its address if it has one.
    pub(super) async fn accept(&self) -> io::Result<(Stream, Option<SocketAddr>)> {
        match self {
            Self::Tcp(listener) => {
                let (stream, address) = listener.accept().await?;
                Ok((stream.into(), Some(address)))
            }
            Self::Unix { listener, .. } => Ok((listener.accept().await?.0.into(), None)),
        }
    }

    /// The real address.
    pub(super) fn address(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(listener) => listener.local_addr().ok(),
            Self::Unix { .. } => None,
        }
    }
}

/// Opens sockets; what systemd handed over can be taken only once.
pub(super) struct Opener {
    handed: ListenFd,
    /// The names of what systemd handed over, in order.
    names: Vec<String>,
}

impl Opener {
    /// With what the environment says of sockets that are open already (sd_listen_fds(3)).
    pub(super) fn from_environment() -> Self {
        let names = std::env::var("LISTEN_FDNAMES").unwrap_or_default();
        Self {
            handed: ListenFd::from_env(),
            names: names.split(':').map(str::to_owned).collect(),
        }
    }

    pub(super) fn open(&mut self, listen: &Listen) -> io::Result<Listening> {
        match listen {
            Listen::Tcp(address) => tcp(*address).map(Listening::Tcp),
            Listen::Unix(settings) => {
                let (listener, made) = unix(settings)?;
                let _made = Some(made);
                Ok(Listening::Unix { listener, _made })
            }
            Listen::Systemd(name) => self.take(name),
        }
    }

    fn take(&mut self, name: &str) -> io::Result<Listening> {
        let named = self.names.iter().position(|known| known == name);
        let place = named.or_else(|| name.parse().ok());
        let count = self.handed.len();
        let missing = || {
            io::Error::new(
                io::ErrorKind::NotFound,
                format!("systemd has handed over {count} sockets, and none is {name:?} or free"),
            )
        };
        let place = place.ok_or_else(missing)?;
        // A socket of the wrong kind is left in its place, for the next attempt.
        if let Ok(Some(listener)) = self.handed.take_tcp_listener(place) {
            listener.set_nonblocking(true)?;
            return TcpListener::from_std(listener).map(Listening::Tcp);
        }
        match self.handed.take_unix_listener(place)? {
            Some(listener) => {
                listener.set_nonblocking(true)?;
                let listener = UnixListener::from_std(listener)?;
                let _made = None;
                Ok(Listening::Unix { listener, _made })
            }
            None => Err(missing()),
        }
    }
}

/// Binds a TCP address.
pub(super) fn tcp(address: SocketAddr) -> io::Result<TcpListener> {
    let domain = Domain::for_address(address);
    let socket = Socket::new(domain, Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

/// The file of a Unix socket that we have made; it leaves with us, unless somebody else has put
/// another in its place.
#[derive(Debug)]
pub(super) struct Made {
    path: PathBuf,
    device: u64,
    inode: u64,
}

impl Drop for Made {
    fn drop(&mut self) {
        let Ok(found) = std::fs::symlink_metadata(&self.path) else {
            return;
        };
        if (found.dev(), found.ino()) == (self.device, self.inode) {
            // A file that stays is found stale by the next start.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

/// Binds a Unix socket. Nobody can connect before its mode and owner are set, since it does not
/// listen until then.
fn unix(settings: &UnixSocket) -> io::Result<(UnixListener, Made)> {
    let path = &settings.path;
    let _folder = lock_folder(path)?;
    remove_stale(path)?;
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    socket.bind(&SockAddr::unix(path)?)?;
    let found = std::fs::symlink_metadata(path)?;
    let made = Made {
        path: path.clone(),
        device: found.dev(),
        inode: found.ino(),
    };
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(settings.mode))?;
    let owner = settings
        .owner
        .as_deref()
        .map(|name| id("/etc/passwd", name));
    let group = settings.group.as_deref().map(|name| id("/etc/group", name));
    if owner.is_some() || group.is_some() {
        std::os::unix::fs::chown(path, owner.transpose()?, group.transpose()?)?;
    }
    socket.listen(BACKLOG)?;
    let listener = UnixListener::from_std(socket.into())?;
    Ok((listener, made))
}

/// Keeps two processes that start at once from taking each other's socket for a stale one.
fn lock_folder(path: &Path) -> io::Result<File> {
    let folder = path.parent().filter(|folder| *folder != Path::new(""));
    let folder = File::open(folder.unwrap_or(Path::new(".")))?;
    let deadline = Instant::now() + PATIENCE;
    loop {
        match folder.try_lock() {
            Ok(()) => return Ok(folder),
            Err(std::fs::TryLockError::Error(error)) => return Err(error),
            Err(std::fs::TryLockError::WouldBlock) if Instant::now() > deadline => {
                let what = "another process keeps the socket's folder locked";
                return Err(io::Error::new(io::ErrorKind::TimedOut, what));
            }
            Err(std::fs::TryLockError::WouldBlock) => {
                std::thread::sleep(Duration::from_millis(10));
            }
        }
    }
}

/// Removes a socket that nobody listens on any more. Anything else at its place is somebody's.
fn remove_stale(path: &Path) -> io::Result<()> {
    let found = match std::fs::symlink_metadata(path) {
        Ok(found) => found,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    if !found.file_type().is_socket() {
        let what = "there is a file that is no socket";
        return Err(io::Error::new(io::ErrorKind::AlreadyExists, what));
    }
    match std::os::unix::net::UnixStream::connect(path) {
        // Only the kernel's word that nobody listens counts: a full backlog or a missing right
        // does not mean that.
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            std::fs::remove_file(path)
        }
        Ok(_) => Err(io::ErrorKind::AddrInUse.into()),
        Err(error) => Err(error),
    }
}

/// The number of a user or a group: as written, or as `/etc/passwd` or `/etc/group` says. Names
/// from elsewhere (LDAP) have to be written as numbers.
fn id(database: &str, name: &str) -> io::Result<u32> {
    if let Ok(id) = name.parse() {
        return Ok(id);
    }
    let text = std::fs::read_to_string(database)?;
    let entry = |line: &str| {
        let mut parts = line.split(':');
        (parts.next() == Some(name)).then(|| parts.nth(1)?.parse().ok())?
    };
    text.lines().find_map(entry).ok_or_else(|| {
        let what = format!("{database} has no {name:?}");
        io::Error::new(io::ErrorKind::NotFound, what)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_numbers() {
        assert_eq!(id("/etc/passwd", "root").unwrap(), 0);
        assert_eq!(id("/etc/group", "root").unwrap(), 0);
        assert_eq!(id("/etc/passwd", "4711").unwrap(), 4711);
        assert!(id("/etc/passwd", "no such user").is_err());
    }
}
