//! Where those who hold a delivery for a target wait until it takes one more request.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::config::Config;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// A gate for each target.
#[derive(Debug, Default)]
pub(super) struct Gates {
    by_target: Mutex<HashMap<String, Arc<Gate>>>,
}

#[derive(Debug)]
struct Gate {
    turns: Arc<Semaphore>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// How many requests the target takes at once.
    size: usize,
    /// So many turns end for good when they are given back: the target takes fewer than it did.
    surplus: usize,
    /// How often it was shut: who came before that does not get through any more.
    shut: u64,
}

/// One request that may be made now; given back when it is dropped.
#[derive(Debug)]
pub(super) struct Turn {
    gate: Arc<Gate>,
    permit: Option<OwnedSemaphorePermit>,
}

impl Gates {
    /// Waits for a turn, in the order of asking, where the target takes `size` requests at once; `None` if there was none within
    /// `patience`, or the gate was shut before there was one.
    pub(super) async fn turn(&self, target: &str, size: usize, patience: Duration) -> Option<Turn> {
        let gate = self.gate(target, size);
        let shut = gate.state().shut;
        if let Ok(permit) = gate.turns.clone().try_acquire_owned() {
            return Some(Turn { gate, permit: Some(permit) });
        }
        let permit = tokio::time::timeout(patience, gate.turns.clone().acquire_owned()).await.ok()?.ok()?;
        let turn = Turn { gate, permit: Some(permit) };
        let is_open = turn.gate.state().shut == shut;
        is_open.then_some(turn)
    }

    /// The target takes nothing for now: whoever waits for a turn gets none.
    pub(super) fn shut(&self, target: &str) {
        let gate = self.by_target.lock().unwrap_or_else(PoisonError::into_inner).get(target).cloned();
        if let Some(gate) = gate {
            gate.state().shut += 1;
        }
    }

    /// Forgets the gates of targets that are gone and let nobody through at the moment.
    pub(super) fn follow(&self, config: &Config) {
        let mut gates = self.by_target.lock().unwrap_or_else(PoisonError::into_inner);
        gates.retain(|target, gate| config.targets.contains_key(target) || Arc::strong_count(gate) > 1);
    }

    fn gate(&self, target: &str, size: usize) -> Arc<Gate> {
        let mut gates = self.by_target.lock().unwrap_or_else(PoisonError::into_inner);
        let anew = || Arc::new(Gate::new(size));
        let gate = gates.entry(target.to_owned()).or_insert_with(anew).clone();
        drop(gates);
        gate.resize(size);
        gate
    }
}

impl Gate {
    fn new(size: usize) -> Self {
        let state = State { size, surplus: 0, shut: 0 };
        Self { turns: Arc::new(Semaphore::new(size)), state: Mutex::new(state) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn resize(&self, size: usize) {
        let mut state = self.state();
        let (more, fewer) = (size.saturating_sub(state.size), state.size.saturating_sub(size));
        state.size = size;
        let kept = more.min(state.surplus);
        state.surplus -= kept;
        self.turns.add_permits(more - kept);
        state.surplus += fewer - self.turns.forget_permits(fewer);
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        // Given back while nobody else looks: who changes the size meanwhile would count it as held and as there.
        let mut state = self.gate.state();
        let permit = self.permit.take();
        if state.surplus > 0
            && let Some(permit) = permit
        {
            state.surplus -= 1;
            permit.forget();
        }
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
    #[tokio::test]
    async fn a_target_that_takes_more_or_fewer_than_before_has_that_many_under_way() {
        let gates = Gates::default();
        let turn = |size| gates.turn("desk", size, Duration::ZERO).now_or_never().flatten();
        let mut under_way: Vec<_> = (0..8).map(|_| turn(8).unwrap()).collect();
        assert!(turn(8).is_none());
        for fewer in (4..8).rev() {
            assert!(turn(4).is_none(), "{fewer} are more than enough");
            under_way.truncate(fewer);
        }
        assert!(turn(4).is_none());
        under_way.truncate(3);
        under_way.push(turn(4).unwrap());
        assert!(turn(4).is_none());
        under_way.extend((0..2).map(|_| turn(6).unwrap()));
        assert!(turn(6).is_none());
        assert!(turn(5).is_none());
        let last = turn(7).unwrap();
        assert!(turn(7).is_none());
        drop((under_way, last));
        let all: Vec<_> = (0..7).map(|_| turn(7).unwrap()).collect();
        assert!(turn(7).is_none());
        drop(all);
    }
}
