//! Which workspace a folder belongs to, and what the workspace is called.

mod plan;

pub use plan::Called;
pub use plan::Change;
pub use plan::call;
pub use plan::changes;
