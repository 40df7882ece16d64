//! Every algorithm, in every interleaving: `RUSTFLAGS="--cfg loom" cargo test -p samemap-core --profile loom --test loom`.
#![cfg(loom)]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod barrier;
mod bell;
mod condition;
mod counter;
mod directory;
mod drive;
mod event;
mod gate;
mod lock;
mod queue;
mod rlock;
mod rwlock;
mod semaphore;
mod topic;
