//! What the allocator keeps for later.

/// So many entries of a tree that were made anew leave enough behind to be worth it.
const MUCH: u64 = 5_000;

/// Gives the memory nobody uses back to the system, after work on so many entries, and begins to count anew; does
/// nothing after less. A tree that was made of a hundred thousand pieces leaves as much behind as it takes.
pub fn give_back_after(entries: &mut u64) {
    if *entries >= MUCH {
        *entries = 0;
        give_back();
    }
}

/// Gives the memory nobody uses back to the system: after much work for once, not all the time.
pub fn give_back() {
    #[cfg(target_env = "gnu")]
    #[expect(unsafe_code, reason = "no crate in use wraps this call")]
    // SAFETY: it takes no pointers, and is safe in threads (malloc_trim(3)).
    unsafe {
        libc::malloc_trim(0);
    }
}
