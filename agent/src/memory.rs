//! What the allocator keeps for later.

/// Gives the memory nobody uses back to the system: after much work for once, not all the time. A tree that was made of
/// a hundred thousand pieces leaves as much behind as it takes.
pub fn give_back() {
    #[cfg(target_env = "gnu")]
    #[expect(unsafe_code, reason = "no crate in use wraps this call")]
    // SAFETY: it takes no pointers, and is safe in threads (malloc_trim(3)).
    unsafe {
        libc::malloc_trim(0);
    }
}
