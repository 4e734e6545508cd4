//! Random faults of everybody that usher depends on, and of usher, under load, against a model
//! of what may be answered. Whatever is broken:
//!
//! - nobody with a forged token ever passes, and nobody who is revoked, once usher has heard of it,
//! - nobody with a good token is told that it is bad,
//! - no user has two rows, and none is seen by the app before theirs is there,
//! - without a fault of Redis the engine is asked for everybody once,
//! - all is well again five seconds after the last fault.
//!
//! ```sh
//! cargo test --test faults -- --nocapture                                # a minute
//! USHER_FAULTS_SECONDS=600 cargo test --test faults -- --nocapture
//! USHER_FAULTS_SEED=17 cargo test --test faults -- --nocapture           # the same faults again
//! ```
//!
//! A seed repeats which faults there are, in what order and for how long. How requests fall between them is
//! the machine's affair, so the same seed may find something else the next time.
#![allow(
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that fails may panic"
)]

mod callers;
#[allow(
    dead_code,
    unused_imports,
    reason = "all builders are there, of which it needs some"
)]
#[path = "../common/mod.rs"]
mod common;
mod dice;
mod engine;
mod ledger;
mod line;
mod load;
mod model;
mod recovery;
mod schedule;
mod sidecar;
mod stage;
#[allow(dead_code, reason = "the builders know them")]
mod users;
mod verdicts;
mod way;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use dice::Dice;
use model::RECOVERY;
use schedule::{Round, Schedule};
use stage::Stage;
use tokio::task::JoinSet;

/// How long it runs unless the environment says otherwise.
const SECONDS: u64 = 60;

/// What those who are under way may still take in the end.
const PATIENCE: Duration = Duration::from_secs(40);

#[test]
fn whatever_breaks_nobody_wrong_passes_and_nobody_right_is_sent_away() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(run(
        number("USHER_FAULTS_SECONDS"),
        number("USHER_FAULTS_SEED"),
    ));
}

/// A number from the environment.
fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(
        text.parse()
            .unwrap_or_else(|_| panic!("{name} is no number: {text}")),
    )
}

/// Nobody has given a seed: any.
fn any_seed() -> u64 {
    let mut bytes = [0; 4];
    getrandom::fill(&mut bytes).unwrap();
    u32::from_le_bytes(bytes).into()
}

async fn run(seconds: Option<u64>, seed: Option<u64>) {
    let (seconds, seed) = (seconds.unwrap_or(SECONDS), seed.unwrap_or_else(any_seed));
    println!(
        "faults for {seconds} s; again with USHER_FAULTS_SECONDS={seconds} USHER_FAULTS_SEED={seed}"
    );
    let mut dice = Dice::new(seed);
    let mut schedule = Schedule::new(dice.split());
    let stage = Stage::start().await;
    recovery::first(&stage).await;
    let mut callers = load::start(&stage, &mut dice);
    let first = recovery::wait(&stage, Instant::now() + PATIENCE, Vec::new()).await;
    assert_eq!(
        stage.model.wrong(),
        [""; 0],
        "before the first fault {first:?}"
    );
    let begun = Instant::now();
    let mut slowest = Duration::ZERO;
    while begun.elapsed() < Duration::from_secs(seconds) {
        let round = schedule.round();
        slowest = slowest.max(live_through(&stage, &round, begun, &mut dice).await);
    }
    stage.goes_on.store(false, Ordering::SeqCst);
    let ending = async { while callers.join_next().await.transpose().unwrap().is_some() {} };
    tokio::time::timeout(PATIENCE, ending)
        .await
        .expect("all callers end");
    let dead = recovery::dead(&stage, &mut dice, true);
    recovery::wait(&stage, Instant::now() + PATIENCE, dead).await;
    ledger::check(&stage).await;
    tell(&stage, slowest);
}

/// All faults of a round, recovery, and a while of calm; how long recovering took.
async fn live_through(
    stage: &Arc<Stage>,
    round: &Round,
    begun: Instant,
    dice: &mut Dice,
) -> Duration {
    let mut faults = JoinSet::new();
    for fault in round.faults.clone() {
        let stage = stage.clone();
        faults.spawn(async move {
            tokio::time::sleep(fault.after).await;
            println!("{:9.3} {fault}", begun.elapsed().as_secs_f64());
            stage.suffer(fault).await;
        });
    }
    faults.join_all().await;
    let ended = Instant::now();
    recovery::wait(stage, ended + RECOVERY, recovery::dead(stage, dice, false)).await;
    let took = ended.elapsed();
    let at = begun.elapsed().as_secs_f64();
    println!("{at:9.3} all is well, {took:?} after the last fault");
    tokio::time::sleep(round.calm.saturating_sub(ended.elapsed())).await;
    took
}

/// Says how it went.
fn tell(stage: &Stage, slowest: Duration) {
    println!("{}", stage.model.summary());
    println!("the slowest recovery took {slowest:?}");
    for kind in ["known", "new", "not yet revoked"] {
        assert!(stage.model.answered(kind, "200") > 0, "{kind}");
    }
    for kind in ["revoked", "forged"] {
        assert!(stage.model.answered(kind, "401") > 0, "{kind}");
    }
    let wrong = stage.model.wrong();
    if !wrong.is_empty() {
        for sidecar in &stage.sidecars {
            let complaints = sidecar.complaints();
            println!("usher {} complained:\n{complaints}", sidecar.number);
        }
    }
    assert!(wrong.is_empty(), "{} answers were wrong", wrong.len());
    assert!(
        stage.sidecars.iter().all(|sidecar| !sidecar.has_ended()),
        "all run"
    );
}
