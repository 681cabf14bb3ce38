//! Where those who hold a delivery for a target wait until it takes one more request.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// A gate for each target.
#[derive(Debug, Default)]
pub(super) struct Gates {
    by_target: Mutex<HashMap<String, Gate>>,
}

#[derive(Debug, Clone)]
struct Gate {
    /// How many requests the target takes at once.
    size: usize,
    turns: Arc<Semaphore>,
    /// How often it was shut: who came before that does not get through any more.
    shut: u64,
}

/// One request that may be made now.
#[derive(Debug)]
pub(super) struct Turn {
    _permit: OwnedSemaphorePermit,
}

impl Gates {
    /// Waits for a turn, in the order of asking; `None` if there was none within `patience`, or the gate was shut meanwhile.
    pub(super) async fn turn(&self, target: &str, size: usize, patience: Duration) -> Option<Turn> {
        let gate = self.gate(target, size);
        if let Ok(permit) = gate.turns.clone().try_acquire_owned() {
            return Some(Turn { _permit: permit });
        }
        let permit = tokio::time::timeout(patience, gate.turns.acquire_owned()).await.ok()?.ok()?;
        (self.gate(target, size).shut == gate.shut).then_some(Turn { _permit: permit })
    }

    /// The target takes nothing for now: whoever waits for a turn gets none.
    pub(super) fn shut(&self, target: &str) {
        let mut gates = self.by_target.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(gate) = gates.get_mut(target) {
            gate.shut += 1;
        }
    }

    fn gate(&self, target: &str, size: usize) -> Gate {
        let mut gates = self.by_target.lock().unwrap_or_else(PoisonError::into_inner);
        let shut = gates.get(target).map_or(0, |gate| gate.shut);
        if gates.get(target).is_none_or(|gate| gate.size != size) {
            let turns = Arc::new(Semaphore::new(size));
            gates.insert(target.to_owned(), Gate { size, turns, shut });
        }
        gates[target].clone()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures_util::{FutureExt, poll};
    use std::pin::pin;

    use super::Gates;

    const LONG: Duration = Duration::from_hours(1);

    #[tokio::test]
    async fn who_waits_has_the_next_turn_and_none_once_the_gate_is_shut() {
        let gates = Gates::default();
        let (first, second) = (gates.turn("desk", 2, LONG).await.unwrap(), gates.turn("desk", 2, LONG).await);
        let (mut third, mut fourth) = (pin!(gates.turn("desk", 2, LONG)), pin!(gates.turn("desk", 2, LONG)));
        assert!(poll!(third.as_mut()).is_pending() && poll!(fourth.as_mut()).is_pending());
        drop(first);
        let third = third.await;
        assert!(third.is_some());
        assert!(poll!(fourth.as_mut()).is_pending());
        gates.shut("desk");
        drop((second, third));
        assert!(fourth.await.is_none());
        assert!(
            gates.turn("desk", 2, LONG).now_or_never().flatten().is_some(),
            "who comes later gets through"
        );
    }

    #[tokio::test]
    async fn nobody_waits_longer_than_the_lease_lasts() {
        let gates = Gates::default();
        let held = gates.turn("desk", 1, LONG).await;
        assert!(gates.turn("desk", 1, Duration::ZERO).await.is_none());
        drop(held);
    }
}
