//! What only a restart changes: sockets, threads, the shape of the log, and where spans go.

use crate::config::revocation::{IssuerLife, Settings};
use crate::config::{Config, ExtAuthz};

/// Puts what cannot change back to what it is; the keys that would have changed it.
///
/// A reload does not fail for their sake: whoever takes an issuer away must not have to wait for
/// a restart since somebody else has moved a port in the same file.
pub(super) fn keep(running: &Config, wanted: &mut Config) -> Vec<&'static str> {
    let mut kept = Vec::new();
    let places = |config: &Config| -> Vec<_> {
        let listeners = config.listeners.iter();
        listeners.map(|listener| listener.listen.clone()).collect()
    };
    if places(running) != places(wanted) {
        // What is spoken behind them belongs to them.
        wanted.listeners.clone_from(&running.listeners);
        kept.push("listen");
    }
    let asked = |config: &Config| config.ext_authz.as_ref().map(|ExtAuthz { listen }| *listen);
    if asked(running) != asked(wanted) {
        wanted.ext_authz.clone_from(&running.ext_authz);
        kept.push("ext_authz.listen");
    }
    keep_one("admin", &running.admin, &mut wanted.admin, &mut kept);
    keep_one("workers", &running.workers, &mut wanted.workers, &mut kept);
    keep_one("traces", &running.traces, &mut wanted.traces, &mut kept);
    revocation(running, wanted, &mut kept);
    let (was, log) = (&running.log, &mut wanted.log);
    keep_one("log.format", &was.format, &mut log.format, &mut kept);
    keep_one("log.level", &was.level, &mut log.level, &mut kept);
    keep_one("log.access", &was.access, &mut log.access, &mut kept);
    let (was, wanted) = (&was.denials_per_second, &mut log.denials_per_second);
    keep_one("log.denials_per_second", was, wanted, &mut kept);
    kept
}

/// The stream is followed from start to end; how long the issuers' tokens live may change.
fn revocation(running: &Config, wanted: &mut Config, kept: &mut Vec<&'static str>) {
    let place = |config: &Config| {
        let settings = config.revocation.clone();
        settings.map(|settings| Settings {
            issuers: Vec::new(),
            ..settings
        })
    };
    let lives = wanted.issuers.iter().map(IssuerLife::of).collect();
    if place(running) != place(wanted) {
        wanted.revocation.clone_from(&running.revocation);
        kept.push("revocation");
    }
    match &mut wanted.revocation {
        Some(settings) => settings.issuers = lives,
        // Nobody could be revoked who logs out.
        None => wanted.endpoints.backchannel_logout = None,
    }
    keep_one("control", &running.control, &mut wanted.control, kept);
}

fn keep_one<T: Clone + PartialEq>(
    key: &'static str,
    running: &T,
    wanted: &mut T,
    kept: &mut Vec<&'static str>,
) {
    if running != wanted {
        wanted.clone_from(running);
        kept.push(key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(more: &str) -> Config {
        let text = format!(
            "upstream: http://127.0.0.1:1\nissuers: [{{ name: mine, audiences: any, \
             secret: kq3Zr8VtXw1Yb6Nd0Fm5Hs9Lc2Pj7Ga4Ue8Ri1To }}]\n{more}"
        );
        let parsed = crate::config::parse(&text, "test", &|_| None);
        parsed
            .unwrap_or_else(|problems| panic!("{problems:?}"))
            .config
    }

    #[test]
    fn what_takes_a_restart_is_named_and_stays() {
        let running = config("listen: 127.0.0.1:8080");
        let mut same = config("listen: 127.0.0.1:8080\nlimits: { connections: 7 }");
        assert_eq!(keep(&running, &mut same), [""; 0]);
        assert_eq!(same.limits.connections, 7);
        let mut other = config(
            "listen: 127.0.0.1:8081\nadmin: off\nworkers: 99\n\
             ext_authz: { listen: 127.0.0.1:9902 }\ntrusted_proxies: [10.0.0.1]\n\
             traces: { endpoint: 'http://127.0.0.1:4318' }\n\
             log: { format: text, level: debug, access: false, denials_per_second: 7 }",
        );
        let kept = keep(&running, &mut other);
        let all = [
            "listen",
            "ext_authz.listen",
            "admin",
            "workers",
            "traces",
            "log.format",
            "log.level",
            "log.access",
            "log.denials_per_second",
        ];
        assert_eq!(kept, all);
        assert_eq!(other.listeners, running.listeners);
        assert_eq!(
            (other.admin, other.workers),
            (running.admin, running.workers)
        );
        assert_eq!((other.ext_authz, other.log), (None, running.log));
        assert_eq!(other.traces, None);
        assert_eq!(other.trusted_proxies.len(), 1, "the rest changes");
    }
}
