//! What every room stands on: ids, paths, faults, tasks, processes, time. Knows no noun of the product.

pub mod accept;
pub mod backoff;
pub mod clock;
pub mod door;
pub mod fault;
pub mod files;
pub mod home;
pub mod ids;
pub mod printable;
pub mod process;
pub mod sealed;
pub mod tasks;
pub mod yaml;
