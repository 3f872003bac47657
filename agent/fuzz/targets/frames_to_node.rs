//! See the function it calls.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| nexus_agent_fuzz::frames_to_node(data));
