//! Proves by doing it that backups come back: a sample of what is stored is restored to a scratch place, compared and
//! removed again.
//!
//! What is restored has to be what the snapshot's own digests say, and what the folder holds where that has not changed
//! since. `sample` chooses and judges (pure), `restore` does it, `kept` remembers, `control` is the handle.

pub mod control;
pub mod kept;
pub mod restore;
pub mod sample;

#[cfg(test)]
mod tests;
