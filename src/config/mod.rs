//! Settings in layers with origins: defaults < /etc/nexus/config.yaml < `<home>/config.yaml` < environment.
//!
//! A layer knows where each of its values stands; the stack knows which layer wins. Only `load` touches files; the
//! environment is handed in by main. All problems are found before any is reported.

mod key;
mod layer;
mod load;
mod locate;
mod problem;
mod settings;
mod stack;
mod value;

pub use load::Environment;
pub use load::defaults;
pub use load::load;
pub use problem::Invalid;
pub use problem::Problem;
pub use problem::nearest;
pub use settings::Registry;
pub use settings::Settings;
pub use stack::Origin;
pub use stack::Shown;
pub use stack::Stack;
pub use value::Table;
pub use value::Wrong;
pub use value::bytes;
pub use value::duration;

#[cfg(test)]
mod tests;
