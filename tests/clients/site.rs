//! The app: a page and everything that it asks for.

use std::io::Write;
use std::net::TcpStream;

use crate::common::app::{Answer, Received, answer};
use crate::common::{App, websocket};

/// What a page does with everything that a browser has, and what came of it.
const PAGE: &str = include_str!("page.html");

/// The bytes of `/large`.
pub(super) const LARGE: usize = 3_000_000;

pub(super) fn start() -> App {
    App::with(|asked| match asked.target().split('?').next().unwrap() {
        "/" => Answer::Bytes(answer("200 OK", "content-type: text/html\r\n", PAGE)),
        "/events" => Answer::Own(Box::new(events)),
        "/socket" => websocket::echo(asked),
        "/large" => large(asked),
        "/sum" => json(&format!("{{\"bytes\":{}}}", asked.body.len())),
        _ => json(&format!(
            "{{\"user\":\"{}\",\"method\":\"{}\"}}",
            asked.header("x-user-id").unwrap_or("nobody"),
            asked.line().split(' ').next().unwrap()
        )),
    })
}

fn json(body: &str) -> Answer {
    Answer::Bytes(answer("200 OK", "content-type: application/json\r\n", body))
}

/// All of it, or the range that was asked for.
fn large(asked: &Received) -> Answer {
    let range = asked.header("range").and_then(|range| {
        let (from, to) = range.strip_prefix("bytes=")?.split_once('-')?;
        Some((from.parse::<usize>().ok()?, to.parse::<usize>().ok()?))
    });
    match range {
        None => Answer::Bytes(answer(
            "200 OK",
            "accept-ranges: bytes\r\n",
            &"x".repeat(LARGE),
        )),
        Some((from, to)) => {
            let told = format!("content-range: bytes {from}-{to}/{LARGE}\r\n");
            let part = "x".repeat(to + 1 - from);
            Answer::Bytes(answer("206 Partial Content", &told, &part))
        }
    }
}

/// Three events, and no end: the page has heard enough.
fn events(mut stream: TcpStream) {
    let head =
        "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";
    let mut told = stream.write_all(head.as_bytes());
    for number in 0..3 {
        let event = format!("data: event {number}\n\n");
        let chunk = format!("{:x}\r\n{event}\r\n", event.len());
        told = told.and_then(|()| stream.write_all(chunk.as_bytes()));
    }
    // Until the page, and usher with it, is gone.
    if told.is_ok() {
        let _ = std::io::copy(&mut stream, &mut std::io::sink());
    }
}
