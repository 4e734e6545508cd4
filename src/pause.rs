//! How long to wait before something is tried again: longer each time, and different in each process.

use std::time::Duration;

/// Pauses that double, up to the longest.
#[derive(Clone, Copy, Debug)]
pub struct Pauses {
    first: Duration,
    longest: Duration,
}

impl Pauses {
    /// From the first to the longest.
    pub const fn new(first: Duration, longest: Duration) -> Self {
        Self { first, longest }
    }

    /// After so many failures since it began: between half and the whole of the pause, so that
    /// processes spread.
    pub fn after(self, failures: u32) -> Duration {
        let doubled = self.first.saturating_mul(1 << failures.min(16));
        doubled.min(self.longest).mul_f64(0.5 + 0.5 * chance())
    }
}

/// A number from 0 to 1. Where the system has no randomness left, the middle will do: all wait as long
/// as each other, which is slower and no worse.
pub fn chance() -> f64 {
    let mut byte = [0];
    match getrandom::fill(&mut byte) {
        Ok(()) => f64::from(byte[0]) / 255.0,
        Err(_) => 0.5,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_spread_and_end() {
        let pauses = Pauses::new(Duration::from_millis(100), Duration::from_secs(2));
        for (failures, whole) in [(0, 100), (1, 200), (4, 1600), (5, 2000), (u32::MAX, 2000)] {
            let all: Vec<_> = (0..50).map(|_| pauses.after(failures)).collect();
            let whole = Duration::from_millis(whole);
            assert!(
                all.iter()
                    .all(|pause| *pause >= whole / 2 && *pause <= whole),
                "{all:?}"
            );
            assert!(all.iter().any(|pause| *pause != all[0]), "{all:?}");
        }
    }
}
