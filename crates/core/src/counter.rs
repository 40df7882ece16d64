//! Floor 2: an integer that processes count together.
//!
//! The value is one word, and each change of it one compare-and-swap, so a process killed at any point has changed it
//! or has not. Killed after the change and before it rang, it leaves those who wait for the new value asleep; they
//! look again when their slice of sleep ends.
//!
//! A change that would leave the range of 64 bits is refused before anything is stored: nothing is lost, and no wrapped
//! value is ever seen. That is why adding is a loop, where a plain addition would do it in one step.

use crate::atomic::{Ordering, Word64};
use crate::bell::{Attempt, Bell};
use crate::layout::shared;

shared! {
/// An integer, as it lies in shared memory.
pub struct Counter(64) {
    /// The value, in two's complement.
    value: Word64,
    /// For those who wait for a value.
    bell: Bell,
}
}

/// A sum outside of 64 bits; the counter has not changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Overflow {
    /// What the counter is.
    pub value: i64,
    /// What was to be added.
    pub delta: i64,
}

impl Counter {
    /// A counter of 0.
    #[expect(clippy::new_without_default, reason = "shared memory is made in place, never by default")]
    pub fn new() -> Self {
        Self { value: Word64::new(0), bell: Bell::new() }
    }

    /// What it is.
    #[inline(always)]
    pub fn value(&self) -> i64 {
        // Acquire [counter.value]: sees all that was done before the changes that led to this value.
        self.value.load(Ordering::Acquire).cast_signed()
    }

    /// Adds `delta`; returns the sum.
    ///
    /// # Errors
    ///
    /// The sum does not fit; nothing has changed.
    #[inline(always)]
    pub fn add(&self, delta: i64) -> Result<i64, Overflow> {
        let mut value = self.glance();
        loop {
            let Some(sum) = value.checked_add(delta) else { return Err(Overflow { value, delta }) };
            match self.exchange(value, sum) {
                Ok(()) => return Ok(sum),
                Err(now) => value = now,
            }
        }
    }

    /// Makes it `value`; returns what it was.
    #[inline]
    pub fn set(&self, value: i64) -> i64 {
        // Acquire [counter.value]
        // Release [counter.value]
        let old = self.value.swap(value.cast_unsigned(), Ordering::AcqRel).cast_signed();
        if old != value {
            self.bell.ring();
        }
        old
    }

    /// Makes it `value` unless it is greater; returns what it is then.
    #[inline]
    pub fn max(&self, value: i64) -> i64 {
        self.replace(|now| now.max(value))
    }

    /// Makes it `value` unless it is less; returns what it is then.
    #[inline]
    pub fn min(&self, value: i64) -> i64 {
        self.replace(|now| now.min(value))
    }

    /// Makes it `desired` if it is `expected`, and returns what it was.
    ///
    /// # Errors
    ///
    /// What it is, when that is something else: then nothing has changed.
    #[inline]
    pub fn compare_exchange(&self, expected: i64, desired: i64) -> Result<i64, i64> {
        self.exchange(expected, desired).map(|()| expected)
    }

    /// Is done when `satisfied` with the value; or tells what to sleep on.
    pub fn attempt(&self, satisfied: impl Fn(i64) -> bool) -> Attempt<'_, i64> {
        self.bell.attempt(|| Some(self.value()).filter(|value| satisfied(*value)))
    }

    #[inline(always)]
    fn glance(&self) -> i64 {
        // Relaxed: a guess, which the exchange that follows confirms.
        self.value.load(Ordering::Relaxed).cast_signed()
    }

    #[inline]
    fn replace(&self, desired: impl Fn(i64) -> i64) -> i64 {
        let mut value = self.glance();
        loop {
            let wanted = desired(value);
            match self.exchange(value, wanted) {
                Ok(()) => return wanted,
                Err(now) => value = now,
            }
        }
    }

    /// Also an exchange for the same value is one: who counts on it to publish what it did before, may.
    #[inline(always)]
    fn exchange(&self, expected: i64, desired: i64) -> Result<(), i64> {
        let (old, new) = (expected.cast_unsigned(), desired.cast_unsigned());
        // Acquire [counter.value]: also when it fails, because the caller then acts on what it is told.
        // Release [counter.value]: who sees the value sees all that was done before.
        match self.value.compare_exchange(old, new, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => {
                if desired != expected {
                    self.bell.ring();
                }
                Ok(())
            }
            Err(now) => Err(now.cast_signed()),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_does_not_fit_is_refused_and_changes_nothing() {
        let counter = Counter::new();
        assert_eq!(counter.set(i64::MAX - 1), 0);
        assert_eq!(counter.add(1), Ok(i64::MAX));
        assert_eq!(counter.add(1), Err(Overflow { value: i64::MAX, delta: 1 }));
        assert_eq!(counter.set(i64::MIN), i64::MAX);
        assert_eq!(counter.add(-1), Err(Overflow { value: i64::MIN, delta: -1 }));
        assert_eq!(counter.value(), i64::MIN);
    }

    #[test]
    fn who_waits_is_told_the_value_that_satisfied() {
        let counter = Counter::new();
        assert!(matches!(counter.attempt(|value| value >= 2), Attempt::Wait(_)));
        assert_eq!(counter.add(3), Ok(3));
        assert!(matches!(counter.attempt(|value| value >= 2), Attempt::Done(3)));
    }

    #[derive(Debug, Clone)]
    enum Step {
        Add(i64),
        Set(i64),
        Max(i64),
        Min(i64),
        Exchange(i64, i64),
    }

    fn number() -> impl Strategy<Value = i64> {
        prop_oneof![any::<i64>(), -3..4_i64, Just(i64::MAX), Just(i64::MIN)]
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            number().prop_map(Step::Add),
            number().prop_map(Step::Set),
            number().prop_map(Step::Max),
            number().prop_map(Step::Min),
            (number(), number()).prop_map(|(old, new)| Step::Exchange(old, new)),
        ]
    }

    proptest! {
        #[test]
        fn it_counts_like_an_integer(steps in proptest::collection::vec(step(), 1..50)) {
            let (counter, mut model) = (Counter::new(), 0_i64);
            for step in steps {
                match step {
                    Step::Add(delta) => match model.checked_add(delta) {
                        Some(sum) => {
                            model = sum;
                            prop_assert_eq!(counter.add(delta), Ok(sum));
                        }
                        None => prop_assert_eq!(counter.add(delta), Err(Overflow { value: model, delta })),
                    },
                    Step::Set(value) => prop_assert_eq!(counter.set(value), std::mem::replace(&mut model, value)),
                    Step::Max(value) => {
                        model = model.max(value);
                        prop_assert_eq!(counter.max(value), model);
                    }
                    Step::Min(value) => {
                        model = model.min(value);
                        prop_assert_eq!(counter.min(value), model);
                    }
                    Step::Exchange(old, new) if old == model => {
                        prop_assert_eq!(counter.compare_exchange(old, new), Ok(old));
                        model = new;
                    }
                    Step::Exchange(old, new) => prop_assert_eq!(counter.compare_exchange(old, new), Err(model)),
                }
                prop_assert_eq!(counter.value(), model);
            }
        }
    }
}
