//! Each step of the line by itself, without a network, for counting instructions.
//!
//! `micro STEP ITERATIONS` warms up and then runs the step that often inside [`measured`],
//! which `benches/instructions` counts under callgrind. Nothing depends on the time.
#![allow(
    clippy::expect_used,
    clippy::panic,
    reason = "a benchmark may end with a message"
)]
#![allow(missing_docs, reason = "a program has no reader of its docs")]

mod line;
mod parts;

use std::hint::black_box;

use usher::head::Head;

use parts::Made;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// What is counted, and nothing else.
#[inline(never)]
fn measured<R>(work: impl FnOnce() -> R) -> R {
    black_box(work())
}

/// The steps, in the order of the line.
const STEPS: &[&str] = &[
    "classes",
    "edge",
    "route-1",
    "route-1000",
    "identify-seen",
    "identify-new",
    "revoked-none",
    "revoked-million",
    "revoked-asked",
    "gate",
    "line",
    "asked",
];

fn main() {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let [step, count] = arguments.as_slice() else {
        // `cargo bench` runs every target; this one is a program.
        println!("{}", STEPS.join("\n"));
        return;
    };
    let count = count.parse().expect("how often");
    match step.as_str() {
        "classes" => classes(count),
        "edge" => edge(count),
        "route-1" => route(1, count),
        "route-1000" => route(1_000, count),
        "identify-seen" => identify(parts::SEEN, count),
        "identify-new" => identify(parts::NEVER_SEEN, count),
        "revoked-none" => revoked(0, false, count),
        "revoked-million" => revoked(1_000_000, false, count),
        "revoked-asked" => revoked(1_000_000, true, count),
        "gate" => gate(count),
        "line" => line::run(count),
        "asked" => line::run_asked(count),
        other => panic!("no step `{other}`"),
    }
}

/// The class of every header field of a browser's request.
fn classes(count: usize) {
    let made = Made::new(parts::SEEN, 1);
    let request = parts::request();
    let classes = made.sidecar.edge.classes();
    let work = || {
        for (name, _) in request.fields.iter() {
            black_box(classes.find(name));
        }
    };
    work();
    measured(|| (0..count).for_each(|_| work()));
}

/// Limits, stripping, and one canonical reading.
fn edge(count: usize) {
    let made = Made::new(parts::SEEN, 1);
    let peer = parts::peer();
    let edge = &made.sidecar.edge;
    let work = |mut request: Head| {
        let arrival = edge.receive(&peer, &mut request).expect("it is good");
        black_box(edge.read(&peer, &arrival, &request).expect("it is good"));
        request
    };
    let mut requests: Vec<_> = (0..=count).map(|_| parts::request()).collect();
    drop(work(requests.pop().expect("one more")));
    measured(|| requests.into_iter().map(work).for_each(drop));
}

/// The last of several routes.
fn route(routes: usize, count: usize) {
    let made = Made::new(parts::SEEN, routes);
    made.with_head(routes, |head| {
        let work = || black_box(made.sidecar.routes.find(head).is_ok());
        assert!(work());
        measured(|| {
            for _ in 0..count {
                work();
            }
        });
    });
}

/// A token, seen before or not.
fn identify(cache: &str, count: usize) {
    let made = Made::new(cache, 1);
    let token = parts::TOKEN.trim();
    let work = || {
        let verified = parts::now(made.identify.identify(token, None));
        assert!(verified.is_ok());
    };
    work();
    measured(|| (0..count).for_each(|_| work()));
}

/// A token seen before, with so many others revoked; `asked`: something was revoked since.
fn revoked(entries: u32, asked: bool, count: usize) {
    let made = Made::revoking(entries);
    let token = parts::TOKEN.trim();
    let ask = || {
        let verified = parts::now(made.identify.identify(token, None));
        assert!(verified.is_ok());
    };
    ask();
    let turn = |number| {
        if asked {
            made.revoke(number);
        }
        ask();
    };
    let most = u32::try_from(count).expect("not so often");
    measured(|| (entries..entries + most).for_each(turn));
}

/// From a head to an admission, the token seen before.
fn gate(count: usize) {
    let made = Made::new(parts::SEEN, 1);
    made.with_head(1, |head| {
        let route = made.sidecar.routes.find(head).expect("a route");
        let work = || {
            let admission = parts::now(made.sidecar.gate.admit(head, route));
            assert!(admission.is_ok());
        };
        work();
        measured(|| (0..count).for_each(|_| work()));
    });
}
