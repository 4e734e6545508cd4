//! Where usher listens.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use super::{Context, proxy, tls};
use crate::config::file::{self, OneOrMany, TextOr};
use crate::config::report::member;
use crate::config::{Listen, Listener, TrustedProxy, UnixSocket};

const REMEDY: &str = "Write an IP address and a port, such as `0.0.0.0:8080` or `\"[::]:8080\"`, \
    a Unix socket, such as `unix:/run/usher/usher.sock`, or `systemd:NAME`.";
const ADMIN_REMEDY: &str = "Write an IP address and a port, such as `127.0.0.1:9901`, or `off`.";

/// The kernel's `sun_path` has 108 bytes, the last of which is zero.
const LONGEST_PATH: usize = 107;

/// The group may connect: the proxy before usher shares a group with it more often than a user.
const MODE: u32 = 0o660;

/// The doors for callers.
pub(super) fn listeners(
    file: Option<&OneOrMany<TextOr<file::Listener>>>,
    cx: &mut Context<'_>,
) -> Vec<Listener> {
    let Some(file) = file else {
        return vec![Listener {
            listen: Listen::Tcp(SocketAddr::from((Ipv4Addr::UNSPECIFIED, 8080))),
            proxy_protocol: None,
            tls: None,
        }];
    };
    let mut listeners: Vec<Listener> = Vec::new();
    for (key, entry) in file.keyed("listen") {
        let Some(listener) = listener(&key, entry, cx) else {
            continue;
        };
        if listeners
            .iter()
            .any(|other| collide(&other.listen, &listener.listen))
        {
            cx.error(
                &key,
                "takes an address that is taken already",
                "Remove one of the two, or change its port.",
            );
        }
        listeners.push(listener);
    }
    if listeners.is_empty() && !cx.report.is_spoilt("listen") {
        cx.error("listen", "is an empty list", REMEDY);
    }
    listeners
}

/// The address of `/livez`, `/readyz` and `/metrics`.
pub(super) fn admin(
    file: Option<&str>,
    listeners: &[Listener],
    cx: &mut Context<'_>,
) -> Option<SocketAddr> {
    let address = match file {
        Some("off") => return None,
        Some(text) => {
            let address = text.parse().ok();
            if address.is_none() {
                cx.error(
                    "admin",
                    format!("is not an address: {text:?}"),
                    ADMIN_REMEDY,
                );
            }
            address?
        }
        None => SocketAddr::from((Ipv4Addr::LOCALHOST, 9901)),
    };
    let listen = Listen::Tcp(address);
    if listeners
        .iter()
        .any(|other| collide(&other.listen, &listen))
    {
        cx.error(
            "admin",
            "takes the same address as `listen`",
            "Give it a port of its own: what it answers is not for callers.",
        );
    }
    Some(address)
}

pub(super) fn listener(
    key: &str,
    entry: &TextOr<file::Listener>,
    cx: &mut Context<'_>,
) -> Option<Listener> {
    let full = match entry {
        TextOr::Text(text) => {
            return Some(Listener {
                listen: address(key, text, cx)?,
                proxy_protocol: None,
                tls: None,
            });
        }
        TextOr::Full(full) => full,
    };
    let at = member(key, "address");
    let Some(text) = &full.address else {
        cx.report.missing(&at, REMEDY);
        return None;
    };
    let mut listen = address(&at, text, cx)?;
    socket(key, full, &mut listen, cx);
    let proxies = full.proxy_protocol.as_ref();
    Some(Listener {
        listen,
        proxy_protocol: proxies.map(|proxies| senders(key, proxies, cx)),
        tls: full
            .tls
            .as_ref()
            .map(|file| tls::server(&member(key, "tls"), file, cx)),
    })
}

/// An address that is not for callers, and that nobody has taken.
pub(super) fn apart(
    key: &str,
    text: &str,
    taken: &[Listen],
    cx: &mut Context<'_>,
) -> Option<SocketAddr> {
    let Ok(address) = text.parse() else {
        let message = format!("is not an address: {text:?}");
        cx.error(
            key,
            message,
            "Write an IP address and a port, such as `127.0.0.1:9902`.",
        );
        return None;
    };
    let listen = Listen::Tcp(address);
    if taken.iter().any(|other| collide(other, &listen)) {
        cx.error(
            key,
            "takes an address that is taken already",
            "Give it a port of its own.",
        );
    }
    Some(address)
}

fn address(key: &str, text: &str, cx: &mut Context<'_>) -> Option<Listen> {
    if let Some(path) = text.strip_prefix("unix:") {
        let path = path_of(key, path, cx)?;
        return Some(Listen::Unix(UnixSocket {
            path,
            mode: MODE,
            owner: None,
            group: None,
        }));
    }
    match text.strip_prefix("systemd") {
        Some("") => return Some(Listen::Systemd("0".to_owned())),
        Some(rest) if rest.len() > 1 && rest.starts_with(':') => {
            return Some(Listen::Systemd(rest[1..].to_owned()));
        }
        _ => {}
    }
    let address = text.parse().ok();
    if address.is_none() {
        cx.error(key, format!("is not an address: {text:?}"), REMEDY);
    }
    address.map(Listen::Tcp)
}

/// The path of a socket, which has to fit into the kernel's structure.
pub(super) fn path_of(key: &str, text: &str, cx: &mut Context<'_>) -> Option<PathBuf> {
    const REMEDY: &str = "Write the socket's path, such as `unix:/run/usher/usher.sock`.";
    let path = cx.path(text);
    let length = path.as_os_str().len();
    if text.is_empty() || path.file_name().is_none() {
        cx.error(key, "names no socket", REMEDY);
        return None;
    }
    if length > LONGEST_PATH {
        let message =
            format!("is too long for a Unix socket: {length} bytes, at most {LONGEST_PATH}");
        cx.error(key, message, REMEDY);
        return None;
    }
    Some(path)
}

/// What only a Unix socket has.
fn socket(key: &str, full: &file::Listener, listen: &mut Listen, cx: &mut Context<'_>) {
    let given = [
        ("mode", full.mode.is_some()),
        ("owner", full.owner.is_some()),
        ("group", full.group.is_some()),
    ];
    let Listen::Unix(socket) = listen else {
        for (name, _) in given.iter().filter(|(_, given)| *given) {
            cx.error(
                &member(key, name),
                "is for Unix sockets that usher makes",
                "Remove it.",
            );
        }
        return;
    };
    if let Some(text) = &full.mode {
        match mode(text) {
            Some(mode) => socket.mode = mode,
            None => cx.error(
                &member(key, "mode"),
                format!("is not a mode: {text:?}"),
                "Write it in octal, such as `0660`; whoever connects needs the right to write.",
            ),
        }
    }
    socket.owner = full.owner.as_ref().map(|owner| owner.text());
    socket.group = full.group.as_ref().map(|group| group.text());
}

fn mode(text: &str) -> Option<u32> {
    let octal = text.len() <= 4 && text.bytes().all(|byte| (b'0'..=b'7').contains(&byte));
    let mode = u32::from_str_radix(text, 8).ok().filter(|_| octal)?;
    (mode <= 0o777).then_some(mode)
}

fn senders(key: &str, file: &file::ProxyProtocol, cx: &mut Context<'_>) -> Vec<TrustedProxy> {
    const REMEDY: &str =
        "Write the addresses of the proxies that send it: `proxy_protocol: { from: [10.1.2.3] }`.";
    let key = member(&member(key, "proxy_protocol"), "from");
    let Some(from) = &file.from else {
        cx.report.missing(&key, REMEDY);
        return Vec::new();
    };
    let senders = proxy::all(from.keyed(&key), cx);
    if senders.is_empty() && !cx.report.is_spoilt(&key) {
        cx.error(&key, "is an empty list", REMEDY);
    }
    senders
}

/// Whether only one of two sockets can be bound. Port 0 takes a free one, never the same.
pub(super) fn collide(left: &Listen, right: &Listen) -> bool {
    let all = |ip: IpAddr| ip.is_unspecified();
    match (left, right) {
        (Listen::Tcp(left), Listen::Tcp(right)) => {
            left.port() != 0
                && left.port() == right.port()
                && (left.ip() == right.ip() || all(left.ip()) || all(right.ip()))
        }
        (Listen::Unix(left), Listen::Unix(right)) => left.path == right.path,
        (Listen::Systemd(left), Listen::Systemd(right)) => left == right,
        _ => false,
    }
}

/// Whether somebody listens there himself.
pub(super) fn is_taken(listeners: &[Listener], path: &Path) -> bool {
    listeners
        .iter()
        .any(|listener| matches!(&listener.listen, Listen::Unix(socket) if socket.path == path))
}
