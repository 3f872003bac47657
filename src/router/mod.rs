//! Routes the web port: `/<site>/...` and `<site>.<host>` to the site's upstream, everything else to pages of our own.
//!
//! Reads a [`Table`] from a `watch` channel; publishes nothing. The router has never heard of a workspace.

mod canonical;
mod host;
mod rewrite;
mod route;
mod table;

pub use table::{HostSent, Icon, Settings, Site, SiteState, Table};
