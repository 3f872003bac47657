//! What changes, as server-sent events or on a WebSocket: levels, not edges, so a slow or late reader misses no state.
//!
//! First `workspaces` with the list, then `workspace` with one that changed, or `gone` with the id of one that is not
//! there any more; and `sync` with how the sync of a workspace is, once for each that has one and whenever it changes;
//! `backup` with how a destination of backups is, once for each and whenever it changes, while a run goes on each second;
//! and `restore` with how far a restore is, the last time when it is over.
//! Nothing is queued: a slow reader gets the newest state when it reads again.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::Extension;
use axum::extract::State;
use axum::extract::WebSocketUpgrade;
use axum::extract::ws;
use axum::response::Response;
use axum::response::Sse;
use axum::response::sse;
use axum::response::sse::KeepAlive;
use bytes::Bytes;
use futures::Stream;
use futures::StreamExt as _;
use futures::stream::BoxStream;
use futures::stream::FuturesUnordered;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::api::Api;
use crate::api::auth::Principal;
use crate::api::show;
use crate::api::show_backup;
use crate::api::show_sync;
use crate::api::wire;
use crate::backup::progress::Restoring;
use crate::base::ids::WorkspaceId;
use crate::sync;
use crate::workspace::View;
use crate::workspace::Views;
use crate::workspace::Workspaces;

/// How often a line that says nothing shows that the stream still stands.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// Nothing that long is expected from a reader: it only listens.
const SAID_MAX: usize = 1024;

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

/// Changes of workspaces and of their sync as they happen.
#[utoipa::path(get, path = "/api/v1/events", tag = "node", responses(
    (status = 200, body = wire::Workspace, content_type = "text/event-stream", description = "`workspaces` with the list, then `workspace` or `gone` for each change, `sync` with the status of each session and for each change, `backup` likewise with each destination of backups, and `restore` while a restore goes on"), (status = "4XX", body = wire::Failure)))]
pub async fn follow(
    State(api): State<Api>,
    Extension(principal): Extension<Principal>,
) -> Sse<impl Stream<Item = Result<sse::Event, Infallible>>> {
    let events = happenings(&api)
        .map(|happening| Ok(sse::Event::default().event(happening.event).data(happening.data)));
    Sse::new(while_allowed(&api, principal, events)).keep_alive(KeepAlive::new().interval(KEEP_ALIVE))
}

/// The same on a WebSocket: each message is an object with `event` and `data`.
#[utoipa::path(get, path = "/api/v1/ws", tag = "node", responses(
    (status = 101, description = "Messages `{\"event\": NAME, \"data\": ...}` with the events of `/api/v1/events`"), (status = "4XX", body = wire::Failure)))]
pub async fn connect(
    State(api): State<Api>,
    Extension(principal): Extension<Principal>,
    upgrade: WebSocketUpgrade,
) -> Response {
    let events = while_allowed(&api, principal, happenings(&api));
    upgrade.max_message_size(SAID_MAX).on_upgrade(move |socket| tell(socket, events))
}

async fn tell(mut socket: ws::WebSocket, mut events: BoxStream<'static, Happening>) {
    let mut alive = tokio::time::interval_at(Instant::now() + KEEP_ALIVE, KEEP_ALIVE);
    loop {
        // All are cancel-safe: what is not taken stays where it is.
        let message = tokio::select! {
            happening = events.next() => match happening {
                Some(Happening { event, data }) => {
                    ws::Message::Text(format!("{{\"event\":\"{event}\",\"data\":{data}}}").into())
                }
                None => ws::Message::Close(None),
            },
            said = socket.recv() => match said {
                Some(Ok(_)) => continue,
                Some(Err(_)) | None => return,
            },
            _ = alive.tick() => ws::Message::Ping(Bytes::new()),
        };
        let last = matches!(message, ws::Message::Close(_));
        if socket.send(message).await.is_err() || last {
            return;
        }
    }
}

/// One thing to tell.
struct Happening {
    event: &'static str,
    /// JSON.
    data: String,
}

impl Happening {
    fn new(event: &'static str, data: &impl serde::Serialize) -> Self {
        Self { event, data: serde_json::to_string(data).expect("wire types become JSON") }
    }
}

fn happenings(api: &Api) -> impl Stream<Item = Happening> + Send + use<> {
    let workspaces = api.workspaces();
    let of_workspaces = futures::stream::select(changes(workspaces.views()), sessions(workspaces.clone()));
    let backups = api.backups();
    let of_backups = futures::stream::select(
        levels(backups.statuses(), |before, now| {
            let changed = now.iter().filter(|one| !before.contains(one));
            changed.map(|one| Happening::new("backup", &show_backup::destination(one))).collect()
        }),
        levels(backups.restores(), restores),
    );
    futures::stream::select(of_workspaces, of_backups)
}

/// What there is to tell of each list on a channel, given the one that was told of before.
fn levels<T: Clone + Send + Sync + 'static>(
    values: watch::Receiver<Vec<T>>,
    tell: fn(&[T], &[T]) -> Vec<Happening>,
) -> impl Stream<Item = Happening> + Send {
    let mut values = values;
    values.mark_changed();
    futures::stream::unfold((values, Vec::new()), move |(mut values, before)| async move {
        loop {
            values.changed().await.ok()?;
            let now = values.borrow_and_update().clone();
            let events = tell(&before, &now);
            if !events.is_empty() {
                return Some((futures::stream::iter(events), (values, now)));
            }
        }
    })
    .flatten()
}

fn restores(before: &[Restoring], now: &[Restoring]) -> Vec<Happening> {
    let over = before.iter().filter(|one| !now.iter().any(|other| other.number == one.number));
    let over = over.map(|one| show_backup::restoring(one, true));
    let changed =
        now.iter().filter(|one| !before.contains(one)).map(|one| show_backup::restoring(one, false));
    over.chain(changed).map(|progress| Happening::new("restore", &progress)).collect()
}

fn changes(views: watch::Receiver<Views>) -> impl Stream<Item = Happening> + Send {
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
                return Some((futures::stream::iter(events), (views, Some(now))));
            }
        }
    })
    .flatten()
}

fn list(now: &BTreeMap<String, Arc<View>>) -> Happening {
    let workspaces = now.values().map(|view| show::workspace(view)).collect();
    Happening::new("workspaces", &wire::WorkspaceList { workspaces })
}

fn differences(known: &BTreeMap<String, Arc<View>>, now: &BTreeMap<String, Arc<View>>) -> Vec<Happening> {
    let gone = known
        .keys()
        .filter(|id| !now.contains_key(*id))
        .map(|id| Happening::new("gone", &wire::Gone { id: id.clone() }));
    let changed = now.iter().filter(|(id, view)| known.get(*id) != Some(view));
    gone.chain(changed.map(|(_, view)| Happening::new("workspace", &show::workspace(view)))).collect()
}

/// How each session is, at first and whenever that changes.
fn sessions(workspaces: Workspaces) -> impl Stream<Item = Happening> + Send {
    let mut sessions = workspaces.sessions();
    sessions.mark_changed();
    let followed = BTreeMap::<WorkspaceId, watch::Receiver<sync::Status>>::new();
    let state = (workspaces, sessions, followed, FuturesUnordered::new());
    futures::stream::unfold(state, |(workspaces, mut sessions, mut followed, mut waiting)| async move {
        loop {
            // Both are cancel-safe: a change that is not taken is still there.
            tokio::select! {
                changed = sessions.changed() => {
                    changed.ok()?;
                    let now = sessions.borrow_and_update();
                    followed.retain(|id, _| now.contains_key(id));
                    for (id, session) in now.iter() {
                        let known = followed.get(id);
                        if !known.is_some_and(|known| known.same_channel(&session.status)) {
                            let mut status = session.status.clone();
                            status.mark_changed();
                            followed.insert(id.clone(), status.clone());
                            waiting.push(changed_status(id.clone(), status));
                        }
                    }
                }
                Some(changed) = waiting.next() => {
                    // Of a session that has ended there is nothing to say.
                    let Some((id, status)) = changed else { continue };
                    let happening = sync_of(&workspaces, &id);
                    waiting.push(changed_status(id, status));
                    if let Some(happening) = happening {
                        return Some((happening, (workspaces, sessions, followed, waiting)));
                    }
                }
            }
        }
    })
}

async fn changed_status(
    id: WorkspaceId,
    mut status: watch::Receiver<sync::Status>,
) -> Option<(WorkspaceId, watch::Receiver<sync::Status>)> {
    status.changed().await.ok()?;
    status.mark_unchanged();
    Some((id, status))
}

fn sync_of(workspaces: &Workspaces, id: &WorkspaceId) -> Option<Happening> {
    let (view, session) = workspaces.session(id.as_str()).ok()?;
    let status = show_sync::status(&view.name, &session.settings, &session.status.borrow());
    Some(Happening::new("sync", &status))
}
