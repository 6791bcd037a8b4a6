//! The lock of what is done in some hundred nanoseconds, a few times for each connection: taken by
//! one locked instruction, given back by a plain store.
//!
//! It guards atomic words only, so it needs no cell. A thread that finds it held tries again, then
//! lets others run, and in the end sleeps for a moment: the holder may wait for this very CPU, with
//! less right to it.

use std::{
    hint,
    sync::atomic::{
        AtomicU32,
        Ordering::{Acquire, Relaxed, Release},
    },
    thread,
    time::Duration,
};

/// How often it was taken and given back; odd while it is held.
#[derive(Debug, Default)]
pub(super) struct Lock(AtomicU32);

/// Holds a lock until it is dropped.
#[must_use]
pub(super) struct Held<'a> {
    lock: &'a Lock,
    turn: u32,
}

impl Lock {
    /// Takes it.
    #[inline]
    pub(super) fn hold(&self) -> Held<'_> {
        let mut tries = 0;
        loop {
            let turn = self.0.load(Relaxed);
            if turn & 1 == 0
                && self.0.compare_exchange_weak(turn, turn + 1, Acquire, Relaxed).is_ok()
            {
                return Held { lock: self, turn };
            }
            wait(&mut tries);
        }
    }

    /// Which turn it is. Two equal even ones: nobody held it in between, so nothing that it guards
    /// has changed; all that was done in earlier turns is seen.
    #[inline(always)]
    pub(super) fn turn(&self) -> u32 {
        self.0.load(Acquire)
    }
}

impl Held<'_> {
    /// The turn before it was taken, even.
    #[inline(always)]
    pub(super) const fn turn(&self) -> u32 {
        self.turn
    }
}

impl Drop for Held<'_> {
    #[inline]
    fn drop(&mut self) {
        self.lock.0.store(self.turn.wrapping_add(2), Release);
    }
}

#[cold]
fn wait(tries: &mut u32) {
    *tries += 1;
    match *tries {
        ..200 => hint::spin_loop(),
        200..220 => thread::yield_now(),
        _ => thread::sleep(Duration::from_micros(50)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whoever holds it is alone: sums that several threads make in two steps are right.
    #[test]
    fn one_at_a_time() {
        let (lock, sum) = (Lock::default(), AtomicU32::new(0));
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..20_000 {
                        let _held = lock.hold();
                        sum.store(sum.load(Relaxed) + 1, Relaxed);
                    }
                });
            }
        });
        assert_eq!((sum.load(Relaxed), lock.turn()), (80_000, 160_000));
    }
}
