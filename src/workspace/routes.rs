//! Turns the views into the router's table. Pure.

use std::sync::Arc;

use super::status::View;
use crate::model::workspace::Phase;
use crate::model::workspace::State;
use crate::router::HostSent;
use crate::router::Icon;
use crate::router::Settings;
use crate::router::Site;
use crate::router::SiteState;
use crate::router::Table;
use crate::router::Unnamed;

/// The table of everything that has a name.
pub fn compile(views: &[Arc<View>], settings: &Settings) -> Table {
    let shown = || views.iter().filter(|view| view.state != State::Destroyed);
    let sites = shown().filter_map(|view| site(view)).collect();
    let unnamed = shown().filter(|view| view.route.is_none()).map(|view| Unnamed {
        folder: view.folder.clone(),
        message: view.message.clone().unwrap_or_default(),
        hint: view.hint.clone(),
    });
    Table::compile(sites, settings.clone()).with_unnamed(unnamed.collect())
}

fn site(view: &View) -> Option<Site> {
    let route = view.route.as_ref()?;
    let kind = view
        .detection
        .as_ref()
        .map_or("", |detection| detection.framework.as_deref().unwrap_or_else(|| detection.kind.as_str()));
    Some(Site {
        name: route.to_string(),
        title: view.identity.title.clone().unwrap_or_default(),
        description: view.identity.description.clone().unwrap_or_default(),
        icon: view.icon.as_ref().map(|icon| {
            Arc::new(Icon { mime: icon.mime.to_owned(), bytes: bytes::Bytes::copy_from_slice(&icon.bytes) })
        }),
        kind: kind.to_owned(),
        state: state(view),
        upstream: view.upstream,
        host_sent: match &view.detection {
            Some(detection) if detection.development => HostSent::Local,
            _ => HostSent::AsAsked,
        },
        notices: view.notices.clone(),
    })
}

fn state(view: &View) -> SiteState {
    let message = view.message.clone().unwrap_or_default();
    match (view.state, &view.phase) {
        (State::Running, Phase::Finished) => SiteState::Finished { output: view.log_tail.clone() },
        (State::Running, _) => SiteState::Ready,
        (State::Stopped | State::Paused, _) if !view.folder_present => SiteState::Missing,
        (State::Stopped | State::Paused, _) => SiteState::Stopped,
        (State::Error, _) => {
            SiteState::Failed { message, hint: view.hint.clone(), log_tail: view.log_tail.clone() }
        }
        // What answered before and is being replaced goes on answering until it is gone.
        (State::Pending, _) if view.upstream.is_some() => SiteState::Ready,
        (State::Pending | State::Destroying | State::Destroyed, phase) => {
            SiteState::Starting { phase: phase.as_str().to_owned(), message, log_tail: view.log_tail.clone() }
        }
    }
}
