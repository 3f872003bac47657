//! Stack generation: from what a project is to the compose file that runs it. Pure: same input, same bytes.
//!
//! [`plan()`] writes a stack of our own for a detected project; [`passthrough()`] adapts the user's own compose file. Both
//! end in a [`Plan`]: the text of one self-contained file (every path absolute, every `$` escaped, nothing left for
//! Compose to look up), with what the caller must have ready before it is brought up.

mod dockerfile;
mod file;
mod labels;
mod node;
mod passthrough;
mod plan;
mod problem;
mod render;
mod subnet;
mod verify;

pub use passthrough::Entry;
pub use passthrough::FILES;
pub use passthrough::Files;
pub use passthrough::PassInput;
pub use passthrough::Text;
pub use passthrough::View;
pub use passthrough::passthrough;
pub use plan::Candidate;
pub use plan::Input;
pub use plan::Plan;
pub use plan::SERVICE;
pub use plan::Volume;
pub use plan::build_line;
pub use plan::directory;
pub use plan::files_only;
pub use plan::network_name;
pub use plan::plan;
pub use plan::project_name;
pub use plan::served;
pub use problem::Problem;
pub use subnet::Exhausted;
pub use subnet::Subnet;
pub use subnet::choose as choose_subnet;
pub use subnet::ranges as subnet_ranges;
