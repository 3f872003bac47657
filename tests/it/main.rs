//! Whole-node tests: one binary, so that linking is paid for once.

mod tidy;
