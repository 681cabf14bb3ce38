//! Many things at once where each stands for itself: on as many threads as there are processors, in the order given.

use std::io;
use std::num::NonZero;
use std::panic::resume_unwind;
use std::sync::{Mutex, PoisonError};
use std::thread::{self, Builder};

/// Fewer are done sooner than a thread starts.
const FEW: usize = 64;

/// What becomes of each.
pub(crate) fn map<T: Sync, R: Send>(items: &[T], of: impl Fn(&T) -> R + Sync) -> Vec<R> {
    if items.len() <= FEW {
        return items.iter().map(of).collect();
    }
    let on_threads = map_with(Builder::new, items, &of);
    on_threads.unwrap_or_else(|_| items.iter().map(of).collect())
}

/// The same, never on the caller's own thread, but on such as `builder` makes.
///
/// # Errors
/// The system has no room for another thread; nothing was done, or not all of it.
pub(crate) fn map_with<T: Sync, R: Send>(
    builder: impl Fn() -> Builder,
    items: &[T],
    of: impl Fn(&T) -> R + Sync,
) -> io::Result<Vec<R>> {
    let lanes: Vec<&[T]> = items.chunks(items.len().div_ceil(processors()).max(1)).collect();
    let done: Vec<Mutex<Vec<R>>> = lanes.iter().map(|_| Mutex::default()).collect();
    on_threads(&builder, lanes.len(), &|lane| {
        let results = lanes[lane].iter().map(&of).collect();
        *done[lane].lock().unwrap_or_else(PoisonError::into_inner) = results;
    })?;
    Ok(done.into_iter().flat_map(|lane| lane.into_inner().unwrap_or_else(PoisonError::into_inner)).collect())
}

fn processors() -> usize {
    thread::available_parallelism().map_or(1, NonZero::get)
}

/// Does each piece of work on a thread of its own; not generic, as what starts threads is large.
fn on_threads(builder: &dyn Fn() -> Builder, count: usize, work: &(dyn Fn(usize) + Sync)) -> io::Result<()> {
    thread::scope(|scope| {
        let mut threads = Vec::new();
        for piece in 0..count {
            threads.push(builder().spawn_scoped(scope, move || work(piece))?);
        }
        for thread in threads {
            thread.join().unwrap_or_else(|panic| resume_unwind(panic));
        }
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use super::map;

    #[test]
    fn results_come_in_the_order_of_what_they_are_of() {
        for count in [0, 1, 64, 65, 1_000] {
            let items: Vec<usize> = (0..count).collect();
            assert_eq!(map(&items, |item| item * 2), (0..count).map(|item| item * 2).collect::<Vec<_>>());
        }
    }
}
