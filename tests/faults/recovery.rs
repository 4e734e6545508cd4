//! Whether everybody gets the right answer again, at every usher.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::task::JoinSet;
use tokio::time::{sleep, timeout_at};

use super::callers::{Forgery, Mortal, Person, Standing};
use super::dice::Dice;
use super::line::Line;
use super::load::{ask_forged, ask_mortal, ask_valid};
use super::stage::Stage;
use crate::common::eventually_async;

/// How many of the revoked are asked after a round: the last ones.
const SOME: usize = 12;

/// Between two tries.
const PAUSE: Duration = Duration::from_millis(50);

/// Waits until every usher says that it is ready for the first time.
pub async fn first(stage: &Stage) {
    for sidecar in &stage.sidecars {
        eventually_async("a ready usher", async || {
            (ready(&mut Line::to_admin(sidecar)).await == Some(200)).then_some(())
        })
        .await;
    }
}

/// Who has to be revoked everywhere by now.
pub fn dead(stage: &Stage, dice: &mut Dice, all: bool) -> Vec<Arc<Mortal>> {
    let mut dead = stage.all_mortals();
    dead.retain(|mortal| matches!(mortal.standing(), Standing::Dead(_)));
    if !all && dead.len() > SOME {
        let old = dead.drain(..dead.len() - SOME).collect::<Vec<_>>();
        dead.push(dice.pick(&old).clone());
    }
    dead
}

/// Waits until all is well, and blames who is not by then.
pub async fn wait(stage: &Arc<Stage>, deadline: Instant, dead: Vec<Arc<Mortal>>) {
    let mut ushers = JoinSet::new();
    for usher in 0..stage.sidecars.len() {
        let (stage, dead) = (stage.clone(), dead.clone());
        ushers.spawn(async move { of_one(&stage, usher, deadline, &dead).await });
    }
    ushers.join_all().await;
}

/// What an usher is asked.
enum Question<'a> {
    Ready,
    Known(&'a Person),
    New(&'a Person),
    Revoked(&'a Mortal),
    Forged(&'a Forgery),
}

impl Question<'_> {
    fn right(&self) -> u16 {
        match self {
            Self::Ready | Self::Known(_) | Self::New(_) => 200,
            Self::Revoked(_) | Self::Forged(_) => 401,
        }
    }

    fn name(&self) -> &str {
        match self {
            Self::Ready => "/readyz",
            Self::Known(person) | Self::New(person) => &person.name,
            Self::Revoked(mortal) => &mortal.person.name,
            Self::Forged(forgery) => forgery.name,
        }
    }

    async fn ask(&self, stage: &Stage, line: &mut Line<'_>) -> Option<u16> {
        match self {
            Self::Ready => ready(&mut Line::to_admin(line.sidecar)).await,
            Self::Known(person) => ask_valid(stage, line, "known", person).await,
            Self::New(person) => ask_valid(stage, line, "new", person).await,
            Self::Revoked(mortal) => ask_mortal(stage, line, mortal).await,
            Self::Forged(forgery) => ask_forged(stage, line, forgery).await,
        }
    }
}

async fn ready(admin: &mut Line<'_>) -> Option<u16> {
    admin.connect().await.ok()?;
    admin.ask("/readyz", "none").await.status()
}

/// One question after the other, each until the answer is right or the time is over.
async fn of_one(stage: &Stage, usher: usize, deadline: Instant, dead: &[Arc<Mortal>]) {
    let mut line = Line::to(&stage.sidecars[usher]);
    let somebody = stage.somebody_new();
    let begun = Instant::now();
    let first = [
        Question::Ready,
        Question::Known(&stage.known[usher]),
        Question::New(&somebody),
    ];
    let revoked = dead.iter().map(|mortal| Question::Revoked(mortal));
    let decided = |forgery: &&Forgery| forgery.name != Forgery::UNKNOWN_KEY;
    let forged = stage.forgeries.iter().filter(decided);
    let forged = forged.map(Question::Forged);
    for question in first.into_iter().chain(revoked).chain(forged) {
        let mut last = None;
        let asking = until_right(stage, &mut line, &question, &mut last);
        if timeout_at(deadline.into(), asking).await.is_err() {
            let (name, right) = (question.name(), question.right());
            stage.model.blame(format!(
                "usher {usher} has not recovered: {name} should get {right}, got {last:?}"
            ));
        }
    }
    stage.note_newcomer(&somebody.name, begun, Instant::now());
}

async fn until_right(
    stage: &Stage,
    line: &mut Line<'_>,
    question: &Question<'_>,
    last: &mut Option<u16>,
) {
    loop {
        *last = question.ask(stage, line).await;
        if *last == Some(question.right()) {
            return;
        }
        sleep(PAUSE).await;
    }
}
