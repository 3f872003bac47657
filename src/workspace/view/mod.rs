//! Makes the view of a workspace from what is known about it. Pure.
//!
//! One rule stands above the others: a workspace that answered keeps answering while the node merely does not know
//! better (engine away, directory unreadable).

use std::net::SocketAddr;
use std::time::Duration;

use crate::compose;
use crate::engine::Container;
use crate::engine::ContainerState;
use crate::model::project::Serves;
use crate::model::workspace::Phase;
use crate::model::workspace::State;
use crate::store::workspace::Desired;
use crate::sync;
use crate::workspace::folders::Called;
use crate::workspace::plan::Folder;
use crate::workspace::plan::service_of;
use crate::workspace::prepare::Looked;
use crate::workspace::status::Service;
use crate::workspace::status::Sync;
use crate::workspace::status::View;
use crate::workspace::worker::Facts;
use crate::workspace::worker::address;

/// A folder that has not settled for so long is talked about.
const RESTLESS: Duration = Duration::from_secs(10);
/// A program that has not listened for so long is talked about.
const SILENT: Duration = Duration::from_secs(30);
/// A program that ends may wait for another one; the engine has restarted it so often before it is an error.
const RESTARTS_CALM: u32 = 3;

/// What a workspace is doing, in words.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Account {
    state: State,
    phase: Phase,
    message: Option<String>,
    hint: Option<String>,
    lines: Vec<String>,
    upstream: Option<SocketAddr>,
}

impl Account {
    fn new(state: State, phase: Phase) -> Self {
        Self { state, phase, message: None, hint: None, lines: vec![], upstream: None }
    }

    fn saying(mut self, message: impl Into<String>) -> Self {
        self.message = Some(message.into());
        self
    }

    fn hinting(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

/// The view.
pub fn render(facts: &Facts<'_>) -> View {
    let input = facts.input;
    let account = account(facts);
    let empty = Looked::default();
    let looked = facts.looked.unwrap_or(&empty);
    let route = input.called.route().cloned();
    let mut notices = looked.notices.clone();
    if let Called::Close { name, why } = &input.called {
        notices.push(format!("answers at /{name}/: {why}"));
    }
    if let Some(remade) = facts.remade {
        notices.push(format!(
            "its container was made anew at {remade:.0}, because the engine restarted it again and again; its volumes are the same"
        ));
    }
    if let Some(status) = &facts.sync {
        notices.extend(status.report.notes.iter().cloned());
        notices.extend(status.halted.iter().map(|why| format!("sync is halted: {why}")));
    }
    View {
        id: input.record.id.clone(),
        name: route.as_ref().map_or_else(|| input.record.folder.clone(), ToString::to_string),
        route,
        folder: input.record.folder.clone(),
        folder_present: !matches!(input.folder, Folder::Missing),
        state: account.state,
        phase: account.phase,
        message: account.message,
        hint: account.hint,
        notices,
        detection: looked.detection.clone(),
        identity: looked.identity.clone(),
        icon: looked.icon.clone(),
        log_tail: account.lines,
        services: facts.containers.iter().map(service).collect(),
        upstream: account.upstream,
        sync: facts.sync.as_ref().map_or_else(|| no_sync(looked), sync_of),
        restarts: facts.sync.as_ref().map_or(0, |status| status.report.restarts),
        created_at: input.record.created_at,
        updated_at: facts.now,
    }
}

/// In what time the view says something else although nothing happens: a patience ends then.
pub fn speaks_in(facts: &Facts<'_>) -> Option<Duration> {
    let (since_ms, patience) = match (&facts.input.folder, starting_since(facts)) {
        (Folder::Settling { since, .. }, _) => (since.as_millisecond(), RESTLESS),
        (_, Some(since_ms)) => (since_ms, SILENT),
        _ => return None,
    };
    let waited = u64::try_from(facts.now.as_millisecond() - since_ms).unwrap_or(0);
    patience.checked_sub(Duration::from_millis(waited)).filter(|left| !left.is_zero())
}

/// Since when a program runs that does not listen yet.
fn starting_since(facts: &Facts<'_>) -> Option<i64> {
    let starting = live(facts).is_some_and(|account| account.phase == Phase::Starting);
    let started = facts.containers.iter().filter_map(|container| container.started_at_ms);
    if starting { started.max() } else { None }
}

fn account(facts: &Facts<'_>) -> Account {
    let input = facts.input;
    match input.record.desired {
        Desired::Removed => return Account::new(State::Destroyed, Phase::Waiting),
        Desired::Remove | Desired::Purge => {
            return or_trouble(facts, Account::new(State::Destroying, Phase::Waiting));
        }
        Desired::Stop => return or_trouble(facts, halted(facts)),
        Desired::Run => {}
    }
    if let Called::Not { message, hint } = &input.called {
        return Account::new(State::Error, Phase::Waiting).saying(message).hinting(hint);
    }
    match &input.folder {
        Folder::Missing => {
            return halted(facts)
                .saying(format!("its folder `{}` is gone; its data is kept", input.record.folder))
                .hinting(format!(
                    "put the folder back and it runs again, or give it up: `nexus workspace remove {}`",
                    input.record.folder
                ));
        }
        Folder::Unreadable { why } => {
            return live(facts)
                .unwrap_or_else(|| Account::new(State::Error, Phase::Waiting))
                .saying(format!("its folder cannot be read: {why}"))
                .hinting("let the node's user read it, or look at the disk it is on");
        }
        Folder::Unknown { why } => {
            return live(facts)
                .unwrap_or_else(|| Account::new(State::Pending, Phase::Waiting))
                .saying(format!("the watched directory cannot be read: {why}"))
                .hinting("mount or create it; nothing that runs is touched meanwhile");
        }
        Folder::Settling { .. } | Folder::Settled => {}
    }
    if let Some(doing) = facts.doing {
        let now = live(facts).unwrap_or_else(|| Account::new(State::Pending, Phase::Creating));
        return now.saying(doing);
    }
    if facts.trouble.is_some() {
        return or_trouble(
            facts,
            live(facts).unwrap_or_else(|| Account::new(State::Pending, Phase::Creating)),
        );
    }
    let trouble = facts.looked.and_then(|looked| looked.trouble.as_ref());
    match (live(facts), trouble) {
        (Some(account), None) => account,
        // The project was broken by an edit; what ran before still runs.
        (Some(account), Some(trouble)) => Account { hint: trouble.hint.clone(), ..account }
            .saying(format!("its last working version runs: {}", trouble.message)),
        (None, Some(trouble)) => {
            Account { hint: trouble.hint.clone(), ..Account::new(State::Error, Phase::Waiting) }
                .saying(&trouble.message)
        }
        (None, None) => waiting(facts),
    }
}

/// Nothing of it runs, or should.
fn halted(facts: &Facts<'_>) -> Account {
    let up = facts.containers.iter().any(|container| container.state == ContainerState::Running);
    if up {
        Account::new(State::Pending, Phase::Waiting).saying("stopping")
    } else {
        Account::new(State::Stopped, Phase::Waiting)
    }
}

/// What failed last, if anything; what runs nevertheless keeps its state.
fn or_trouble(facts: &Facts<'_>, account: Account) -> Account {
    let Some(trouble) = facts.trouble else { return account };
    let state = if account.upstream.is_some() { account.state } else { State::Error };
    Account { state, hint: trouble.hint.clone(), ..account }.saying(&trouble.message)
}

fn waiting(facts: &Facts<'_>) -> Account {
    let account = Account::new(State::Pending, Phase::Waiting);
    let Folder::Settling { since, changing } = &facts.input.folder else { return account };
    let waited = facts.now.duration_since(*since);
    if waited.unsigned_abs() < RESTLESS {
        return account.saying("waiting for the folder to settle");
    }
    let what = changing.as_deref().unwrap_or("it");
    account
        .saying(format!("the folder has been changing for {} s: `{what}` changed last", waited.as_secs()))
        .hinting(format!(
            "it is taken once nothing changes; take it as it is with `nexus workspace start {}`",
            facts.input.record.folder
        ))
}

/// What runs, if anything does.
fn live(facts: &Facts<'_>) -> Option<Account> {
    let plan = facts.looked.and_then(|looked| looked.plan.as_ref())?;
    let web = plan.web.iter().find_map(|candidate| {
        facts.containers.iter().find(|container| service_of(container) == Some(candidate.service.as_str()))
    })?;
    let network = compose::network_name(&facts.input.record.id);
    Some(match (&facts.sync, web.state) {
        (_, ContainerState::Paused) => Account::new(State::Paused, Phase::Waiting),
        (Some(status), ContainerState::Running) => with_agent(facts, web, status, &network),
        (None, ContainerState::Running) if plan.agent => Account::new(State::Pending, Phase::Syncing),
        (_, ContainerState::Running) => without_agent(facts, web),
        (_, ContainerState::Restarting) => restarting(facts, web, plan.agent),
        (_, ContainerState::Exited | ContainerState::Dead) if !plan.agent => ended(web),
        _ => Account::new(State::Pending, Phase::Starting),
    })
}

fn with_agent(facts: &Facts<'_>, web: &Container, status: &sync::Status, network: &str) -> Account {
    let report = &status.report;
    let upstream = report.port.and_then(|port| Some(SocketAddr::new(address(web, network)?, port)));
    let (state, phase) = match report.phase {
        sync::Phase::Waiting | sync::Phase::Syncing => (State::Pending, Phase::Syncing),
        sync::Phase::Installing => (State::Pending, Phase::Installing),
        sync::Phase::Building => (State::Pending, Phase::Building),
        sync::Phase::Starting => (State::Pending, Phase::Starting),
        sync::Phase::Ready => (State::Running, Phase::Ready),
        sync::Phase::Finished => (State::Running, Phase::Finished),
        sync::Phase::Failed => (State::Error, Phase::Failed),
    };
    let mut account = Account { upstream, lines: report.lines.clone(), ..Account::new(state, phase) };
    if let (Some(why), Phase::Syncing) = (&status.halted, &account.phase) {
        // Nothing of it has ever run: there is nothing to show but this.
        let (message, hint) =
            why.split_once("; ").map_or((why.as_str(), None), |(why, hint)| (why, Some(hint)));
        account.state = State::Error;
        account.hint = hint.map(str::to_owned);
        return account.saying(message);
    }
    account.message = match (&report.failure, &account.phase) {
        (Some(failure), _) => Some(failure.message.clone()),
        (None, Phase::Syncing) if let sync::Link::Lost { reason } = &status.link => {
            Some(format!("the agent in its container does not answer: {reason}"))
        }
        (None, Phase::Syncing) if status.files_total > 0 => {
            Some(format!("{} of {} files are in the container", status.files_synced, status.files_total))
        }
        (None, Phase::Installing | Phase::Building) => report.command.clone(),
        _ => None,
    };
    account.hint = report.failure.as_ref().and_then(|failure| failure.hint.clone());
    if account.phase == Phase::Failed && account.hint.is_none() {
        let name = &facts.input.record.folder;
        account.hint = Some(format!(
            "its last lines say why; mend it and save, or try again as it is: `nexus workspace restart {name}`"
        ));
    }
    if account.phase == Phase::Starting && account.message.is_none() {
        account = silent(facts, web, account);
    }
    account
}

/// A program that runs and does not listen.
fn silent(facts: &Facts<'_>, web: &Container, account: Account) -> Account {
    let since = web.started_at_ms.unwrap_or_else(|| facts.now.as_millisecond());
    let waited = Duration::from_millis(u64::try_from(facts.now.as_millisecond() - since).unwrap_or(0));
    let expects = facts
        .looked
        .and_then(|looked| looked.detection.as_ref())
        .is_none_or(|detection| detection.serves == Serves::Http);
    if !expects || waited < SILENT {
        return account.saying("waiting for it to listen");
    }
    account
        .saying(format!("it has run for {} s and listens on no port", waited.as_secs()))
        .hinting("make it listen on the port in the environment variable PORT, on 0.0.0.0")
}

fn without_agent(facts: &Facts<'_>, web: &Container) -> Account {
    match facts.probed {
        Some(upstream) => Account { upstream: Some(upstream), ..Account::new(State::Running, Phase::Ready) },
        None => silent(facts, web, Account::new(State::Pending, Phase::Starting)),
    }
}

/// The engine is about to start it again.
fn restarting(facts: &Facts<'_>, web: &Container, agent: bool) -> Account {
    let often = if web.restarts == 1 { "once".to_owned() } else { format!("{} times", web.restarts) };
    let message = match web.exit_code {
        Some(code) => format!("its container ended with code {code}; the engine has restarted it {often}"),
        None => format!("its container ended; the engine has restarted it {often}"),
    };
    if agent {
        return Account::new(State::Pending, Phase::Starting)
            .saying(message)
            .hinting("it is made anew if that goes on; its volumes stay");
    }
    let (state, phase) = if web.restarts < RESTARTS_CALM {
        (State::Pending, Phase::Starting)
    } else {
        (State::Error, Phase::Failed)
    };
    let name = &facts.input.record.folder;
    Account::new(state, phase).saying(message).hinting(format!("see its log: `nexus workspace logs {name}`"))
}

fn ended(web: &Container) -> Account {
    match web.exit_code {
        Some(0) => Account::new(State::Running, Phase::Finished),
        _ if web.oom_killed => Account::new(State::Error, Phase::Failed)
            .saying("it was killed because it used more memory than it may")
            .hinting("raise `resources.memory` in .nexus/config.yaml"),
        code => Account::new(State::Error, Phase::Failed)
            .saying(format!("its container ended with code {}", code.unwrap_or(-1)))
            .hinting("see its log: `nexus workspace logs`"),
    }
}

fn service(container: &Container) -> Service {
    let state = match (container.state, container.exit_code) {
        (ContainerState::Exited, Some(code)) => format!("exited ({code})"),
        (state, _) => format!("{state:?}").to_lowercase(),
    };
    Service {
        name: service_of(container).unwrap_or_default().to_owned(),
        container: container.name.clone(),
        image: container.image.clone(),
        state,
    }
}

/// Of a workspace without a session.
fn no_sync(looked: &Looked) -> Sync {
    let off = looked.plan.as_ref().and_then(|plan| plan.unsynced.clone());
    Sync { link: "off".to_owned(), off, ..Sync::default() }
}

fn sync_of(status: &sync::Status) -> Sync {
    let link = match (&status.link, &status.halted) {
        (_, Some(_)) => "halted",
        (sync::Link::Connecting, None) => "connecting",
        (sync::Link::Up, None) => "up",
        (sync::Link::Lost { .. }, None) => "lost",
    };
    Sync {
        link: link.to_owned(),
        files_total: status.files_total,
        files_synced: status.files_synced,
        skipped: status.skipped.iter().map(|skipped| (skipped.path.clone(), skipped.why.clone())).collect(),
        error: status.error.clone().or_else(|| status.halted.clone()),
        off: None,
    }
}

#[cfg(test)]
mod tests;
