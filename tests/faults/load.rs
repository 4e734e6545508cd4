//! Callers that go on asking, each judged by the model, and somebody who revokes.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::task::JoinSet;

use super::callers::{Forgery, Mortal, Person, Standing};
use super::dice::Dice;
use super::line::{Line, Outcome};
use super::model::Asked;
use super::stage::{NEVER, Stage};
use crate::common::command;

/// How often somebody new asks until they are let in.
const TRIES: usize = 200;

/// Sets everybody off; they end when the stage says so.
pub fn start(stage: &Arc<Stage>, dice: &mut Dice) -> JoinSet<()> {
    let mut tasks = JoinSet::new();
    for usher in 0..stage.sidecars.len() {
        tasks.spawn(known(stage.clone(), usher, dice.split()));
        tasks.spawn(mortals(stage.clone(), usher, dice.split()));
        tasks.spawn(forgers(stage.clone(), usher, dice.split()));
    }
    tasks.spawn(newcomers(stage.clone(), dice.split()));
    tasks.spawn(newcomers(stage.clone(), dice.split()));
    tasks.spawn(revoke(stage.clone(), dice.split()));
    tasks
}

async fn known(stage: Arc<Stage>, usher: usize, mut dice: Dice) {
    let mut line = Line::to(&stage.sidecars[usher]);
    while stage.goes_on() {
        let person = dice.pick(&stage.known);
        ask_valid(&stage, &mut line, "known", person).await;
        tokio::time::sleep(dice.millis(5, 30)).await;
    }
}

async fn mortals(stage: Arc<Stage>, usher: usize, mut dice: Dice) {
    let mut line = Line::to(&stage.sidecars[usher]);
    while stage.goes_on() {
        let all = stage.all_mortals();
        // The last ones are alive, or have just been revoked: they are asked for more often.
        let from = match dice.below(2) {
            0 => 0,
            _ => all.len().saturating_sub(12),
        };
        let mortal: &Arc<Mortal> = dice.pick(&all[from..]);
        ask_mortal(&stage, &mut line, mortal).await;
        tokio::time::sleep(dice.millis(5, 30)).await;
    }
}

async fn forgers(stage: Arc<Stage>, usher: usize, mut dice: Dice) {
    let mut line = Line::to(&stage.sidecars[usher]);
    while stage.goes_on() {
        ask_forged(&stage, &mut line, dice.pick(&stage.forgeries)).await;
        tokio::time::sleep(dice.millis(10, 50)).await;
    }
}

/// Somebody nobody has seen comes to all ushers at once, again and again until they are let in.
async fn newcomers(stage: Arc<Stage>, mut dice: Dice) {
    while stage.goes_on() {
        let person = Arc::new(stage.somebody_new());
        let mut everywhere = JoinSet::new();
        for usher in 0..stage.sidecars.len() {
            let (stage, person) = (stage.clone(), person.clone());
            let pause = dice.millis(20, 200);
            everywhere.spawn(async move { arrive(&stage, usher, &person, pause).await });
        }
        let begun = Instant::now();
        everywhere.join_all().await;
        stage.note_newcomer(&person.name, begun, Instant::now());
        tokio::time::sleep(dice.millis(10, 100)).await;
    }
}

async fn arrive(stage: &Stage, usher: usize, person: &Person, pause: Duration) {
    let mut line = Line::to(&stage.sidecars[usher]);
    for _ in 0..TRIES {
        if ask_valid(stage, &mut line, "new", person).await == Some(200) {
            return;
        }
        tokio::time::sleep(pause).await;
    }
    stage
        .model
        .blame(format!("{} was never let in by usher {usher}", person.name));
}

/// Every now and then somebody is revoked, in one of the ways there are; who could not be is
/// tried again.
async fn revoke(stage: Arc<Stage>, mut dice: Dice) {
    while stage.goes_on() {
        let mut living = stage.all_mortals();
        living.retain(|one| one.standing() == Standing::Valid);
        let mortal = dice.pick(&living).clone();
        let how = dice.below(3);
        mortal.stands(Standing::Dying);
        while !kill(&stage, &mortal, how).await {
            tokio::time::sleep(dice.millis(50, 300)).await;
        }
        mortal.stands(Standing::Dead(Instant::now()));
        stage.add_mortal();
        tokio::time::sleep(dice.millis(200, 1500)).await;
    }
}

/// Runs `usher revoke`; whether it says that it is stored.
async fn kill(stage: &Stage, mortal: &Arc<Mortal>, how: usize) -> bool {
    let (config, mortal) = (stage.sidecars[1].config(), mortal.clone());
    let ran = tokio::task::spawn_blocking(move || {
        let Person { name, token } = &mortal.person;
        let jti = format!("jti-{name}");
        let what = [["--subject", name], ["--jti", &jti], ["--token", token]][how];
        command::run(&[
            "revoke",
            "--config",
            config.to_str().unwrap(),
            what[0],
            what[1],
        ])
    });
    let (code, _, err) = ran.await.unwrap();
    if code != 0 && !err.contains("NOT revoked") && !err.contains("perhaps") {
        stage
            .model
            .blame(format!("usher revoke ended with {code}: {err}"));
    }
    stage.model.note_command(code == 0);
    code == 0
}

/// Asks as somebody with a good token; the status.
pub async fn ask_valid(
    stage: &Stage,
    line: &mut Line<'_>,
    kind: &'static str,
    person: &Person,
) -> Option<u16> {
    let path = format!("/{}", person.name);
    let (asked, _, got) = ask(line, |_, _| path.clone(), &person.token).await;
    stage.model.judge_valid(kind, &person.name, asked, &got);
    got.status()
}

/// Asks as somebody whose token is, or will be, revoked.
pub async fn ask_mortal(stage: &Stage, line: &mut Line<'_>, mortal: &Mortal) -> Option<u16> {
    let keeps = line.sidecar.keeps;
    let never = format!("{NEVER}/{}", mortal.person.name);
    let path =
        |asked: Asked, began: Instant| match stage.model.must_refuse(mortal, asked, began, keeps) {
            true => never.clone(),
            false => format!("/{}", mortal.person.name),
        };
    let (asked, path, got) = ask(line, path, &mortal.person.token).await;
    stage.model.judge_mortal(mortal, path == never, asked, &got);
    got.status()
}

/// Asks as somebody who made a token, or found an old one.
pub async fn ask_forged(stage: &Stage, line: &mut Line<'_>, forgery: &Forgery) -> Option<u16> {
    let path = format!("{NEVER}/{}", forgery.name.replace(' ', "-"));
    let (asked, _, got) = ask(line, |_, _| path.clone(), &forgery.token).await;
    stage
        .model
        .judge_refused("forged", forgery.name, asked, &got);
    got.status()
}

/// One request; its path is chosen once it is clear which process will get it.
async fn ask(
    line: &mut Line<'_>,
    path: impl Fn(Asked, Instant) -> String,
    token: &str,
) -> (Asked, String, Outcome) {
    let usher = line.sidecar.number;
    let tried = Instant::now();
    let connected = line.connect().await;
    let (life, began) = match connected {
        Ok(life) => life,
        Err(error) => {
            let asked = Asked {
                usher,
                life: line.sidecar.life().0,
                at: tried,
            };
            return (asked, String::new(), Outcome::Nothing(error));
        }
    };
    let at = Instant::now();
    let asked = Asked { usher, life, at };
    let path = path(asked, began);
    let got = line.ask(&path, token).await;
    (asked, path, got)
}
