//! What earlier proxies say, whoever wrote it: read, and written again as whole lines.
#![no_main]

use libfuzzer_sys::fuzz_target;
use usher::config::Dialect;
use usher_fuzz::{PARTS, head, peer};

fuzz_target!(|bytes: &[u8]| {
    let Some((kind, bytes)) = bytes.split_first() else {
        return;
    };
    let Some(mut head) = head(bytes) else { return };
    let peer = peer(kind % 2 == 1);
    let dialects = [
        Dialect::Nginx,
        Dialect::IngressNginx,
        Dialect::Traefik,
        Dialect::Caddy,
        Dialect::Haproxy,
        Dialect::Envoy,
    ];
    if let Some(dialect) = dialects.get(usize::from(kind >> 1))
        && usher::edge::describe(*dialect, "/_usher/auth", &mut head).is_err()
    {
        return;
    }
    let Ok(arrival) = PARTS.edge.receive(&peer, &mut head) else {
        return;
    };
    let mut out = Vec::new();
    let forwarded = arrival.forwarding.take(&mut head.fields);
    forwarded.write(&peer, b"app.test", &mut out);
    let text = out.strip_suffix(b"\r\n").expect("whole lines");
    for line in text.split(|byte| *byte == b'\n') {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        assert!(
            !line.contains(&b'\r') && line.contains(&b':'),
            "{:?}",
            String::from_utf8_lossy(&out)
        );
    }
    if kind % 2 == 0 {
        assert_eq!(
            arrival
                .forwarding
                .client()
                .map(|ip| ip.to_string())
                .as_deref(),
            Some("192.0.2.1")
        );
    }
});
