//! Where usher can be told to change something: never where anybody could.

use super::{Context, bounds, key_source, listen};
use crate::config::file::{self, TextOr};
use crate::config::report::member;
use crate::config::{Control, Listen, Listener};
use crate::secret::Secret;

const KEY: &str = "control";
const REMEDY: &str = "Write `control: unix:/run/usher/control.sock`; or an address of loopback with \
    `token_file`; or any address with `tls` and its `client_ca_file`.";

/// Shorter tokens can be guessed.
const LEAST: usize = 24;

/// Resolves the control listener; `None` when the file has none.
pub(super) fn resolve(
    file: Option<&TextOr<file::Control>>,
    taken: &[Listen],
    revocation: bool,
    cx: &mut Context<'_>,
) -> Option<Control> {
    let file = file?;
    if !revocation {
        cx.error(
            KEY,
            "has nothing to control, since there is no `revocation`",
            "Write `revocation`, or remove it.",
        );
    }
    let (token, per_minute) = match file {
        TextOr::Text(_) => (None, None),
        TextOr::Full(full) => (token(full, cx), full.per_minute),
    };
    let listener = listen::listener(KEY, &as_listener(file), cx)?;
    if taken
        .iter()
        .any(|other| listen::collide(other, &listener.listen))
    {
        let message = "takes an address that is taken already";
        cx.error(
            KEY,
            message,
            "Give it one of its own: what it changes is not for callers.",
        );
    }
    check(&listener, token.is_some(), cx);
    let most = bounds::whole("control.per_minute", per_minute, 600, 1..=1_000_000, cx);
    Some(Control {
        listener,
        token,
        per_minute: u32::try_from(most).unwrap_or(u32::MAX),
    })
}

/// The same as a door for callers has it, save that nobody else may open it.
fn as_listener(file: &TextOr<file::Control>) -> TextOr<file::Listener> {
    let (address, full) = match file {
        TextOr::Text(address) => (Some(address.clone()), None),
        TextOr::Full(full) => (full.address.clone(), Some(full)),
    };
    let unix = address
        .as_ref()
        .is_some_and(|address| address.starts_with("unix:"));
    let mode = full.and_then(|full| full.mode.clone());
    TextOr::Full(file::Listener {
        address,
        mode: mode.or_else(|| unix.then(|| "0600".to_owned())),
        owner: full.and_then(|full| full.owner.clone()),
        group: full.and_then(|full| full.group.clone()),
        proxy_protocol: None,
        tls: full.and_then(|full| full.tls.clone()),
    })
}

fn check(listener: &Listener, token: bool, cx: &mut Context<'_>) {
    let clients = listener.tls.as_ref().and_then(|tls| tls.clients.as_ref());
    let certified = clients.is_some_and(|clients| clients.required);
    match &listener.listen {
        Listen::Unix(socket) if socket.mode & 0o007 != 0 => {
            let key = member(KEY, "mode");
            let message = "lets everybody on this machine connect";
            cx.error(&key, message, "Write `0600`, or `0660` for a group.");
        }
        Listen::Unix(_) => {}
        Listen::Tcp(_) if certified => {}
        Listen::Tcp(address) if address.ip().is_loopback() => {
            if !token {
                cx.error(
                    KEY,
                    "is on loopback, where everybody on this machine could revoke, and has no token",
                    "Write `control: { address: 127.0.0.1:9903, token_file: /run/secrets/control }`, or a Unix socket.",
                );
            }
        }
        Listen::Tcp(_) => cx.error(
            KEY,
            "is an address that others reach, and asks for no certificate of whoever connects",
            REMEDY,
        ),
        Listen::Systemd(_) => {
            cx.error(
                KEY,
                "is a socket of systemd, of which usher cannot tell who reaches it",
                REMEDY,
            );
        }
    }
}

fn token(file: &file::Control, cx: &mut Context<'_>) -> Option<Secret> {
    let (key, bytes) = match (&file.token, &file.token_file) {
        (Some(_), Some(_)) => {
            cx.error(
                "control.token",
                "stands beside `token_file`",
                "Remove one of them.",
            );
            return None;
        }
        (None, None) => return None,
        (Some(token), None) => {
            let key = "control.token";
            if !cx.report.is_expanded(key) {
                let message = "stands in the file in clear text";
                cx.report
                    .warn(key, message, "Put it into a file of its own: `token_file`.");
            }
            (key, token.0.clone().into_bytes())
        }
        (None, Some(path)) => {
            let key = "control.token_file";
            let path = cx.path(path);
            (key, key_source::read_file(key, &path, cx)?)
        }
    };
    // A line's end is none of a token's.
    let bytes = bytes.trim_ascii();
    let plain = bytes.iter().all(|byte| byte.is_ascii_graphic());
    if bytes.len() < LEAST || !plain {
        cx.error(
            key,
            format!("is no token of at least {LEAST} printable characters"),
            "Make one: `openssl rand -hex 32`.",
        );
        return None;
    }
    Some(Secret::new(bytes))
}
