//! Routes the web port: `/<site>/...` and `<site>.<host>` to the site's upstream, everything else to pages of our own.
//!
//! One task, [`serve`]: reads a [`Table`] from a `watch`, publishes nothing. The router has never heard of a workspace.
//! A request's way, each step a file: its head is checked (`exchange`), its path is spelled in one way (`canonical`), its
//! host is read (`host`), a site is chosen (`route`, `table`), heads are rewritten (`rewrite`), bodies stream (`forward`)
//! or a tunnel is made (`upgrade`), or a page of ours answers (`page`). All but the last three and `listen` are pure.

mod canonical;
mod host;
mod route;
mod table;

mod rewrite;

mod exchange;
mod forward;
mod listen;
mod metrics;
mod page;
mod upgrade;

pub use listen::{Limits, serve};
pub use metrics::{Metrics, Reading};
pub use table::{HostSent, Icon, Settings, Site, SiteState, Table, Unnamed};
