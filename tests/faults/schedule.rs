//! Which faults there are, and in what order they come: a seed decides all of it.

use std::fmt;
use std::time::Duration;

use super::dice::Dice;

/// How many ushers there are.
pub const USHERS: usize = 3;

/// One of so many rounds is a restart in an outage.
const OUTAGES: usize = 4;

/// Who has the fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peer {
    Issuer,
    Redis,
    Postgres,
    App,
    Usher(usize),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// SIGKILL, and started again in the end. The issuer and the app: nobody listens.
    Kill,
    /// SIGSTOP, and SIGCONT in the end. The issuer and the app: nothing moves.
    Stop,
    /// Whatever is said arrives late. An usher: it runs for a fifth of the time.
    Slow,
    /// Connections are reset, old ones and new ones.
    Reset,
    /// Answers that make no sense.
    Junk,
}

/// One fault of a round.
#[derive(Clone, Copy, Debug)]
pub struct Fault {
    pub peer: Peer,
    pub kind: Kind,
    /// From the beginning of the round.
    pub after: Duration,
    pub lasts: Duration,
    /// How late things arrive, if they do.
    pub delay: Duration,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} {:?} for {:?}", self.peer, self.kind, self.lasts)?;
        match self.kind {
            Kind::Slow => write!(f, ", {:?} late", self.delay),
            _ => Ok(()),
        }
    }
}

/// Faults that come together, and for how long it is calm once all is well again.
pub struct Round {
    pub faults: Vec<Fault>,
    pub calm: Duration,
}

/// Deals rounds from a deck in which every fault is there once; a new one when it is used up.
pub struct Schedule {
    dice: Dice,
    deck: Vec<(Peer, Kind)>,
    rounds: usize,
}

impl Schedule {
    pub fn new(dice: Dice) -> Self {
        Self {
            dice,
            deck: Vec::new(),
            rounds: 0,
        }
    }

    pub fn round(&mut self) -> Round {
        let faults = match self.rounds % OUTAGES {
            0 => self.restart_in_an_outage(),
            _ => self.deal(),
        };
        self.rounds += 1;
        let calm = match self.dice.below(3) {
            // Longer than the time to recover: then nobody has an excuse.
            0 => self.dice.millis(5500, 7000),
            _ => self.dice.millis(0, 1000),
        };
        Round { faults, calm }
    }

    /// One to four faults, each of another peer.
    fn deal(&mut self) -> Vec<Fault> {
        let mut faults: Vec<Fault> = Vec::new();
        for _ in 0..1 + self.dice.below(4) {
            let (peer, kind) = self.draw();
            // Two at one peer would end each other: that one comes later.
            match faults.iter().any(|one| one.peer == peer) {
                true => self.deck.insert(0, (peer, kind)),
                false => faults.push(self.fault(peer, kind)),
            }
        }
        faults
    }

    /// What chance brings about too rarely: an usher begins while something it needs is away.
    fn restart_in_an_outage(&mut self) -> Vec<Fault> {
        let away = [Peer::Redis, Peer::Issuer, Peer::Redis, Peer::Postgres];
        let peer = away[self.rounds / OUTAGES % away.len()];
        let kind = *self.dice.pick(&[Kind::Kill, Kind::Stop]);
        let usher = Peer::Usher(self.dice.below(USHERS));
        let outage = Fault {
            after: Duration::ZERO,
            lasts: self.dice.millis(2000, 3000),
            ..self.fault(peer, kind)
        };
        let restart = Fault {
            after: Duration::from_millis(100),
            lasts: self.dice.millis(100, 600),
            ..self.fault(usher, Kind::Kill)
        };
        vec![outage, restart]
    }

    fn draw(&mut self) -> (Peer, Kind) {
        if self.deck.is_empty() {
            self.deck = deck();
            self.dice.shuffle(&mut self.deck);
        }
        self.deck.pop().unwrap()
    }

    fn fault(&mut self, peer: Peer, kind: Kind) -> Fault {
        Fault {
            peer,
            kind,
            after: self.dice.millis(0, 1500),
            lasts: self.dice.millis(100, 3000),
            delay: self.dice.millis(20, 1200),
        }
    }
}

fn deck() -> Vec<(Peer, Kind)> {
    let servers = [Peer::Issuer, Peer::Redis, Peer::Postgres, Peer::App];
    let kinds = [Kind::Kill, Kind::Stop, Kind::Slow, Kind::Reset];
    let mut deck = vec![(Peer::Issuer, Kind::Junk), (Peer::App, Kind::Junk)];
    for peer in servers {
        deck.extend(kinds.map(|kind| (peer, kind)));
    }
    for number in 0..USHERS {
        deck.extend([Kind::Kill, Kind::Stop, Kind::Slow].map(|kind| (Peer::Usher(number), kind)));
    }
    deck
}
