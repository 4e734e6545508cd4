//! The model itself: what it has to notice, it notices.

use std::time::{Duration, Instant};

use super::callers::{Mortal, Standing};
use super::line::Outcome;
use super::model::{Asked, Model};
use super::schedule::{Kind, Peer};
use crate::common::Issuer;

fn answer(status: u16, later: bool, body: &str) -> Outcome {
    Outcome::Answer {
        status,
        later,
        body: body.to_owned(),
    }
}

fn nothing() -> Outcome {
    Outcome::Nothing("reset".to_owned())
}

fn now() -> Asked {
    Asked {
        usher: 1,
        life: 0,
        at: Instant::now(),
    }
}

/// How often this is blamed where nothing is broken, and where everything is.
fn blamed(judge: impl Fn(&Model)) -> (usize, usize) {
    let (well, broken) = (Model::default(), Model::default());
    for peer in [Peer::App, Peer::Redis, Peer::Usher(1)] {
        broken.begin(peer, Kind::Stop);
    }
    judge(&well);
    judge(&broken);
    (well.wrong().len(), broken.wrong().len())
}

#[test]
fn a_good_token_is_let_in_or_told_to_come_again_while_something_is_broken() {
    let cases = [
        (answer(200, false, "ann"), (0, 0)),
        (answer(200, false, "bob"), (1, 1)),
        (answer(401, false, ""), (1, 1)),
        (answer(403, false, ""), (1, 1)),
        (answer(500, false, ""), (1, 1)),
        (answer(503, false, ""), (1, 1)),
        (answer(503, true, ""), (1, 0)),
        (answer(502, false, ""), (1, 0)),
        (answer(504, false, ""), (1, 0)),
        (nothing(), (1, 0)),
    ];
    for (got, expected) in cases {
        let found = blamed(|model| model.judge_valid("known", "ann", now(), &got));
        assert_eq!(found, expected, "{got:?}");
    }
}

#[test]
fn a_forged_token_is_never_let_in_nor_brought_to_the_app() {
    let cases = [
        (answer(401, false, ""), (0, 0)),
        (answer(200, false, "ann"), (1, 1)),
        (answer(502, false, ""), (1, 1)),
        (answer(504, false, ""), (1, 1)),
        (answer(503, true, ""), (1, 0)),
        (nothing(), (1, 0)),
    ];
    for (got, expected) in cases {
        let found = blamed(|model| model.judge_refused("forged", "expired", now(), &got));
        assert_eq!(found, expected, "{got:?}");
    }
}

#[test]
fn a_revoked_token_is_refused_for_ever_by_who_has_refused_it() {
    let model = Model::default();
    let mortal = Mortal::new(&Issuer::new(), "ann".to_owned());
    let began = Instant::now();
    // Nobody has revoked it: 401 is wrong.
    model.judge_mortal(&mortal, false, now(), &answer(401, false, ""));
    assert_eq!(model.wrong().len(), 1);
    mortal.stands(Standing::Dead(Instant::now()));
    // Redis is away, so it may not be heard yet.
    model.begin(Peer::Redis, Kind::Kill);
    assert!(!model.must_refuse(&mortal, now(), began, false));
    model.judge_mortal(&mortal, false, now(), &answer(200, false, "ann"));
    assert_eq!(model.wrong().len(), 1);
    model.judge_mortal(&mortal, false, now(), &answer(401, false, ""));
    assert!(model.must_refuse(&mortal, now(), began, false));
    model.judge_mortal(&mortal, true, now(), &answer(200, false, "ann"));
    assert_eq!(model.wrong().len(), 2);
}

#[test]
fn whoever_starts_later_or_had_the_time_to_hear_must_refuse() {
    let model = Model::default();
    let mortal = Mortal::new(&Issuer::new(), "ann".to_owned());
    let dead = Instant::now();
    mortal.stands(Standing::Dead(dead));
    let second = Duration::from_secs(1);
    let later = |seconds| Asked {
        at: dead + second * seconds,
        ..now()
    };
    // It began long before: a second is enough for a revocation to arrive.
    let began = dead.checked_sub(second * 60).unwrap();
    assert!(!model.must_refuse(&mortal, later(0), began, false));
    assert!(model.must_refuse(&mortal, later(2), began, false));
    // Another process, after it, reads the stream first; one with a snapshot may not have to.
    let next = |usher| Asked { usher, ..later(1) };
    assert!(model.must_refuse(&mortal, next(2), dead + second, false));
    assert!(!model.must_refuse(&mortal, next(0), dead + second, true));
}
