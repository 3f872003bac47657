//! What changes, as server-sent events: levels, not edges, so a slow or late reader misses no state.
//!
//! First `workspaces` with the list, then `workspace` with one that changed, or `gone` with the id of one that is not
//! there any more. Nothing is queued: a slow reader gets the newest state when it reads again.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::Extension;
use axum::extract::State;
use axum::response::Sse;
use axum::response::sse::Event;
use axum::response::sse::KeepAlive;
use futures::Stream;
use futures::StreamExt as _;
use futures::stream::BoxStream;
use tokio::sync::watch;

use crate::api::Api;
use crate::api::auth::Principal;
use crate::api::show;
use crate::api::wire;
use crate::workspace::View;
use crate::workspace::Views;

/// Ends a stream when its reader may no longer read, or the node closes.
pub fn while_allowed<T: Send + 'static>(
    api: &Api,
    principal: Principal,
    stream: impl Stream<Item = T> + Send + 'static,
) -> BoxStream<'static, T> {
    let tokens = Arc::clone(api.tokens());
    let closing = api.facts().closing.clone();
    let over = Box::pin(async move {
        tokio::select! {
            () = tokens.ended(principal) => {}
            () = closing.cancelled() => {}
        }
    });
    stream.take_until(over).boxed()
}

/// Changes of workspaces as they happen.
#[utoipa::path(get, path = "/api/v1/events", tag = "node", responses(
    (status = 200, body = wire::Workspace, content_type = "text/event-stream", description = "`workspaces` with the list, then `workspace` or `gone` for each change"), (status = "4XX", body = wire::Failure)))]
pub async fn follow(
    State(api): State<Api>,
    Extension(principal): Extension<Principal>,
) -> Sse<impl Stream<Item = Result<Event, Infallible>>> {
    let stream = changes(api.workspaces().views());
    Sse::new(while_allowed(&api, principal, stream))
        .keep_alive(KeepAlive::new().interval(Duration::from_secs(15)))
}

fn changes(views: watch::Receiver<Views>) -> impl Stream<Item = Result<Event, Infallible>> + Send {
    futures::stream::unfold((views, None::<BTreeMap<String, Arc<View>>>), |(mut views, known)| async move {
        loop {
            if known.is_some() && views.changed().await.is_err() {
                return None;
            }
            let now: BTreeMap<String, Arc<View>> = views
                .borrow_and_update()
                .iter()
                .map(|view| (view.id.to_string(), Arc::clone(view)))
                .collect();
            let events = match &known {
                None => vec![list(&now)],
                Some(known) => differences(known, &now),
            };
            if !events.is_empty() {
                return Some((futures::stream::iter(events.into_iter().map(Ok)), (views, Some(now))));
            }
        }
    })
    .flatten()
}

fn event(name: &str, data: &impl serde::Serialize) -> Event {
    let json = serde_json::to_string(data).expect("wire types become JSON");
    Event::default().event(name).data(json)
}

fn list(now: &BTreeMap<String, Arc<View>>) -> Event {
    event(
        "workspaces",
        &wire::WorkspaceList { workspaces: now.values().map(|view| show::workspace(view)).collect() },
    )
}

fn differences(known: &BTreeMap<String, Arc<View>>, now: &BTreeMap<String, Arc<View>>) -> Vec<Event> {
    let gone = known
        .keys()
        .filter(|id| !now.contains_key(*id))
        .map(|id| event("gone", &wire::Gone { id: id.clone() }));
    let changed = now.iter().filter(|(id, view)| known.get(*id) != Some(view));
    gone.chain(changed.map(|(_, view)| event("workspace", &show::workspace(view)))).collect()
}
