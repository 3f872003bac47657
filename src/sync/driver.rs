//! Drives a session: brings what the two sides say to it, and does what it decides. On a thread of its own, because it
//! reads, writes and waits for the host's disk.
//!
//! It never waits for the agent: what is said to it goes into a queue that the session's own windows bound. So neither
//! end can wait for the other for ever.

use std::collections::HashMap;
use std::collections::VecDeque;
use std::io::ErrorKind;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use std::time::Instant;

use bytes::Bytes;
use bytes::BytesMut;
use nexus_agent::disk::Identity;
use nexus_agent::disk::Nonce;
use nexus_agent::disk::StageAt;
use nexus_agent::disk::remember;
use nexus_agent::disk::remembered;
use nexus_agent::inquiry::Answer;
use nexus_agent::inquiry::Question;
use nexus_agent::journal::Bond;
use nexus_agent::journal::Journal;
use nexus_agent::journal::Opened;
use nexus_agent::keeper::Keeper;
use nexus_agent::keeper::OpenError;
use nexus_agent::keeper::Places;
use nexus_agent::log::Paper;
use nexus_agent::memory;
use nexus_agent::message::FromSide;
use nexus_agent::message::ToSide;
use nexus_agent::reconcile::Mode;
use nexus_agent::reconcile::Side;
use nexus_agent::resolve::Choice;
use nexus_agent::rules::Rules;
use nexus_agent::session;
use nexus_agent::session::Effect;
use nexus_agent::session::Session;
use nexus_agent::tree::Change;
use nexus_agent::tree::Item;
use nexus_agent::wire;
use nexus_agent::wire::ToAgent;
use rustix::fs::stat;
use tokio::runtime;
use tokio::sync::Notify;
use tokio::sync::mpsc;
use tokio::sync::oneshot;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::bases::Bases;
use super::bounds::Bounds;
use super::controller::SessionSpec;
use super::controller::Traced;
use super::controller::Wish;
use super::link::Heard;
use super::settings::Settings;
use super::status::Status;
use crate::base::clock;
use crate::base::fault;

/// How often it is asked whether the host's folder is still the one at its path: nothing tells of that.
const IN_PLACE: Duration = Duration::from_secs(1);
/// Time passes for the session no finer than this.
const TICK: Duration = Duration::from_millis(10);
/// While much happens the status is published no more often than this.
const PUBLISH: Duration = Duration::from_millis(100);

/// How often it is written on the folder that more is remembered of it.
const MARK: Duration = Duration::from_secs(60);

/// So many bytes have to fit where a session remembers things before it begins.
const ROOM: usize = 256 * 1024;

/// What comes to a driver.
pub(super) enum Event {
    /// The agent is there; what is put in here reaches it.
    Up(mpsc::Sender<Bytes>),
    /// It says something.
    Heard(Heard),
    /// It is gone.
    Down,
}

/// Where things come from.
pub(super) struct Inbox {
    pub(super) events: mpsc::Receiver<Event>,
    pub(super) wishes: mpsc::Receiver<Wish>,
    pub(super) token: CancellationToken,
}

/// Why a driver has ended.
pub(super) enum Ended {
    Cancelled,
    /// It has to be begun again: one sentence for people.
    Failed(String),
}

/// One reason to wake.
enum Woken {
    Event(Event),
    Wish(Wish),
    /// The host's side has something to say, or time has passed.
    Nothing,
    Cancelled,
}

/// See the module.
pub(super) struct Driver<'a> {
    spec: Arc<SessionSpec>,
    status: Arc<watch::Sender<Status>>,
    inbox: &'a mut Inbox,
    session: Session,
    journal: Journal<Paper>,
    bases: Bases,
    /// When the folder was last marked.
    marked: Option<Instant>,
    rules: nexus_agent::entry::Digest,
    host: Option<Keeper>,
    news: Arc<Notify>,
    agent: Option<mpsc::Sender<Bytes>>,
    bounds: Bounds,
    epoch: Instant,
    ticked: Instant,
    look_in_place: Instant,
    published: Option<Instant>,
    effects: VecDeque<Effect>,
    flushes: HashMap<u64, oneshot::Sender<()>>,
    questions: HashMap<u64, oneshot::Sender<Answer>>,
    next: u64,
    warnings: [Option<String>; 2],
    /// Answers to people, given once the status shows what was done.
    answers: Vec<Box<dyn FnOnce() + Send>>,
}

impl<'a> Driver<'a> {
    /// Reads what is remembered.
    pub(super) fn open(
        spec: Arc<SessionSpec>,
        status: Arc<watch::Sender<Status>>,
        inbox: &'a mut Inbox,
    ) -> Result<Self, String> {
        let opened = std::fs::create_dir_all(&spec.state)
            .and_then(|()| Paper::open(&spec.state.join("ancestor")))
            .and_then(Journal::open);
        let (journal, found) = match opened {
            Ok(opened) => opened,
            Err(error) => {
                return Err(format!("cannot read {}: {error}", spec.state.display()));
            }
        };
        has_room(&spec.state).map_err(|error| format!("cannot write {}: {error}", spec.state.display()))?;
        if let Opened::Dropped(why) = found {
            tracing::warn!(workspace = spec.name, error = %why, "what a session remembered is dropped");
        }
        let keeper = spec.settings.keeper();
        let rules = match Rules::new(keeper.rules) {
            Ok(rules) => rules.fingerprint(),
            Err(error) => return Err(error.to_string()),
        };
        // What is not from now says of what has come since that somebody removed it.
        let is_of_now = journal.is_of_now(remembered(&spec.root).unwrap_or_default());
        if !is_of_now {
            let why = "it is from another time than the folder";
            tracing::warn!(workspace = spec.name, error = why, "what a session remembered is dropped");
        }
        let bound = journal.bond().filter(|_| is_of_now).map(|bond| [bond.alpha.into(), bond.beta.into()]);
        // Batches of all sessions ever have different numbers: a person undoes one by its number.
        let first = u64::try_from(clock::now().as_millisecond()).unwrap_or(0) << 12;
        let session = Session::numbered(first, spec.settings.session(), journal.tree().clone(), bound);
        let bounds = Bounds::new(&spec.settings);
        let bases = Bases::open(spec.state.join("bases"), journal.tree());
        let now = Instant::now();
        Ok(Self {
            spec,
            status,
            inbox,
            session,
            journal,
            bases,
            marked: None,
            rules,
            host: None,
            news: Arc::default(),
            agent: None,
            bounds,
            epoch: now,
            ticked: now,
            look_in_place: now + clock::until_next(IN_PLACE),
            published: None,
            effects: VecDeque::new(),
            flushes: HashMap::new(),
            questions: HashMap::new(),
            next: first,
            warnings: [None, None],
            answers: Vec::new(),
        })
    }

    /// Drives until it is told to end, or has to be begun again.
    pub(super) fn run(mut self, runtime: &runtime::Handle) -> Ended {
        self.attach_host();
        loop {
            if let Err(error) = self.perform() {
                return Ended::Failed(error);
            }
            self.publish();
            self.answers.drain(..).for_each(|answer| answer());
            let woken = runtime.block_on(self.wait());
            match woken {
                Woken::Cancelled => return Ended::Cancelled,
                Woken::Event(event) => self.take(event),
                Woken::Wish(wish) => self.grant(wish),
                Woken::Nothing => {}
            }
            while let Ok(event) = self.inbox.events.try_recv() {
                self.take(event);
            }
            self.pass_time();
        }
    }

    fn now(&self) -> session::Instant {
        self.epoch.elapsed()
    }

    /// Waits for something to do.
    async fn wait(&mut self) -> Woken {
        let due = self.session.due().map(|due| self.epoch + due);
        let soonest = self.ticked + TICK;
        let tick = due.map(|due| due.max(soonest));
        let publish = self.published.map(|at| at + PUBLISH);
        let bases = self.keeps_bases().then(|| self.bases.due(self.session.ancestor())).flatten();
        let until = [Some(self.look_in_place), tick, publish, bases].into_iter().flatten().min();
        let sleep = async {
            match until {
                Some(until) => tokio::time::sleep_until(until.into()).await,
                None => std::future::pending().await,
            }
        };
        // All are cancel-safe: channels keep what they hold, a notice is kept.
        tokio::select! {
            () = self.inbox.token.cancelled() => Woken::Cancelled,
            Some(event) = self.inbox.events.recv() => Woken::Event(event),
            Some(wish) = self.inbox.wishes.recv() => Woken::Wish(wish),
            () = self.news.notified() => Woken::Nothing,
            () = sleep => Woken::Nothing,
        }
    }

    fn pass_time(&mut self) {
        let due = self.session.due().is_some_and(|due| due <= self.now());
        if due && self.ticked.elapsed() >= TICK {
            self.ticked = Instant::now();
            let effects = self.session.tick(self.now());
            self.effects.extend(effects);
        }
        self.keep_bases();
        if self.look_in_place <= Instant::now() {
            self.look_in_place = Instant::now() + clock::until_next(IN_PLACE);
            if self.host.as_ref().is_some_and(|host| !host.is_in_place()) {
                self.lose_host();
                self.attach_host();
            }
        }
    }

    /// Only where both sides are edited are edits put together.
    fn keeps_bases(&self) -> bool {
        matches!(self.spec.settings.mode, Mode::TwoWaySafe | Mode::TwoWayResolved) && self.host.is_some()
    }

    fn keep_bases(&mut self) {
        let Some(host) = self.host.as_ref().filter(|_| self.keeps_bases()) else { return };
        let ancestor = self.session.ancestor();
        if self.bases.due(ancestor).is_some_and(|due| due <= Instant::now()) {
            self.bases.go_on(ancestor, |path| match host.answer(Question::Content { path, version: None }) {
                Answer::Content { bytes, .. } => Some(bytes),
                _ => None,
            });
        }
    }

    // ---- the host's side

    fn lose_host(&mut self) {
        self.host = None;
        self.session.lost(Side::Alpha);
    }

    fn attach_host(&mut self) {
        let news = Arc::clone(&self.news);
        let places = Places {
            side: Side::Alpha,
            root: self.spec.root.clone(),
            staging: staging(&self.spec.root, &self.spec.staging),
            state: self.spec.state.join("host"),
        };
        let effects = match Keeper::open(places, &self.spec.settings.keeper(), move || news.notify_one()) {
            Ok(keeper) => {
                self.host = Some(keeper);
                self.session.connected(Side::Alpha)
            }
            Err(error) => {
                let gone = matches!(&error, OpenError::Folder(error) if error.kind() == ErrorKind::NotFound);
                let reason =
                    if gone { "the folder is gone".to_owned() } else { fault::chain(&error).to_string() };
                let said = FromSide::Unavailable { reason };
                self.session.hear(Side::Alpha, said, self.now()).expect("a side may always be unavailable")
            }
        };
        self.effects.extend(effects);
    }

    /// Tells the host's side something. One that cannot be looked at is opened anew first: another folder may stand in
    /// its place by now, or the same one again.
    fn tell_host(&mut self, message: ToSide) -> Result<(), String> {
        if matches!(message, ToSide::Attach { .. }) && !self.host.as_ref().is_some_and(Keeper::is_in_place) {
            if self.host.is_some() {
                self.lose_host();
            }
            self.attach_host();
            return Ok(());
        }
        match &self.host {
            Some(host) => host.hear([message]).map_err(|error| error.to_string()),
            None => Ok(()),
        }
    }

    // ---- the container's side

    fn take(&mut self, event: Event) {
        match event {
            Event::Up(agent) => {
                self.agent = Some(agent);
                self.tell_agent(&ToAgent::Keep(Box::new(self.spec.settings.keeper())));
                let effects = self.session.connected(Side::Beta);
                self.effects.extend(effects);
            }
            Event::Down => self.lose_agent(),
            Event::Heard(_) if self.agent.is_none() => {}
            Event::Heard(Heard::Side(said)) => {
                if let Err(error) = self.hear_agent(said) {
                    tracing::warn!(workspace = self.spec.name, error, "the agent is disconnected");
                    let said = format!("the agent was disconnected: {error}");
                    self.status.send_modify(|status| status.error = Some(said));
                    self.lose_agent();
                }
            }
            Event::Heard(Heard::Unkept(reason)) => {
                tracing::warn!(
                    workspace = self.spec.name,
                    error = reason,
                    "the container's copy cannot be kept"
                );
                self.lose_agent();
            }
            Event::Heard(Heard::Watched(warning)) => self.warnings[Side::Beta as usize] = warning,
            Event::Heard(Heard::Answer(number, answer)) => {
                if let Some(question) = self.questions.remove(&number) {
                    drop(question.send(answer));
                }
            }
        }
    }

    /// Hears what the container's side says, if that is something it may say.
    fn hear_agent(&mut self, said: FromSide) -> Result<(), String> {
        let count = self.bounds.check(&said).map_err(|error| error.to_string())?;
        let heard = self.session.hear(Side::Beta, said, self.now());
        self.effects.extend(heard.map_err(|error| fault::chain(&error).to_string())?);
        if count {
            let entries = self.session.status().side(Side::Beta).holds.entries;
            self.bounds.counted(entries).map_err(|error| error.to_string())?;
        }
        Ok(())
    }

    /// Lets go of the agent: with its queue the connection ends.
    fn lose_agent(&mut self) {
        if self.agent.take().is_some() {
            self.session.lost(Side::Beta);
            // Whoever waits for an answer hears that there will be none.
            self.questions.clear();
        }
    }

    fn tell_agent(&mut self, message: &ToAgent) {
        let Some(agent) = &self.agent else { return };
        let mut buffer = BytesMut::new();
        wire::put_message(&mut buffer, message);
        if agent.try_send(buffer.freeze()).is_err() {
            self.lose_agent();
        }
    }

    // ---- what is to be done

    /// Does what the session wants, and what follows from that, until nothing is left.
    fn perform(&mut self) -> Result<(), String> {
        loop {
            let said = self.host.as_ref().map(Keeper::take).unwrap_or_default();
            if !said.is_empty() || !self.effects.is_empty() {
                self.bases.disturb();
            }
            for said in said {
                let effects = self.session.hear(Side::Alpha, said, self.now());
                self.effects.extend(effects.map_err(|error| fault::chain(&error).to_string())?);
            }
            let Some(effect) = self.effects.pop_front() else { return Ok(()) };
            match effect {
                Effect::Say(Side::Alpha, message) => self.tell_host(message)?,
                Effect::Say(Side::Beta, message) => self.tell_agent(&ToAgent::Side(message)),
                Effect::Settled => {
                    self.tell_agent(&ToAgent::Settled);
                    self.status.send_if_modified(|status| !std::mem::replace(&mut status.synced, true));
                }
                Effect::Begin(roots) => {
                    self.journal.bind(self.bond(roots)).map_err(|error| self.forgetful(&error))?;
                }
                Effect::Known(roots) => {
                    self.journal.rebind(self.bond(roots));
                    self.journal.commit().map_err(|error| self.forgetful(&error))?;
                }
                Effect::Record(changes) => {
                    let count = |change: &Change| change.item.as_ref().map_or(1, Item::count);
                    let mut entries = changes.iter().map(count).sum();
                    self.record(changes).map_err(|error| self.forgetful(&error))?;
                    self.journal.share(self.session.lasting());
                    memory::give_back_after(&mut entries);
                }
                Effect::Flushed(token) => {
                    if let Some(flush) = self.flushes.remove(&token) {
                        self.answer(flush, ());
                    }
                }
            }
        }
    }

    /// Writes changes down, and now and then on the folder that more is remembered of it.
    fn record(&mut self, changes: Vec<Change>) -> std::io::Result<()> {
        self.journal.record(changes).map_err(std::io::Error::other)?;
        let due = self.marked.is_none_or(|at| at.elapsed() >= MARK);
        let mark = due.then(|| remembered(&self.spec.root)).and_then(Result::ok).map(|found| {
            let new = Nonce::random();
            self.journal.mark(new, found);
            new
        });
        self.journal.commit()?;
        if let Some(mark) = mark {
            self.marked = Some(Instant::now());
            // Where that fails the folder goes on carrying the mark before, which the journal knows.
            drop(remember(&self.spec.root, mark));
        }
        Ok(())
    }

    fn bond(&self, [alpha, beta]: [Identity; 2]) -> Bond {
        Bond { alpha: alpha.into(), beta: beta.into(), rules: self.rules }
    }

    fn forgetful(&self, error: &std::io::Error) -> String {
        format!("cannot write {}: {error}", self.spec.state.display())
    }

    fn grant(&mut self, wish: Wish) {
        self.next += 1;
        let number = self.next;
        match wish {
            Wish::Flush(done) => {
                self.flushes.retain(|_, waiting| !waiting.is_closed());
                self.flushes.insert(number, done);
                let effects = self.session.flush(number, self.now());
                self.effects.extend(effects);
            }
            Wish::Pause(paused, done) => {
                self.session.pause(paused);
                let effects = self.session.tick(self.now());
                self.effects.extend(effects);
                self.answer(done, ());
            }
            Wish::Approve(key, done) => {
                let approved = self.session.approve(key);
                self.answer(done, approved);
                self.decide();
            }
            Wish::Accept(halt, done) => {
                let accepted = self.session.accept(halt);
                self.answer(done, accepted);
                self.decide();
            }
            Wish::Choose(path, seen, choice, done) => {
                let chosen = self.session.choose(path, seen, choice).map_err(|error| error.to_string());
                self.answer(done, chosen);
                self.decide();
            }
            Wish::Settle(path, seen, (content, executable), done) => {
                let chosen = match self.session.offer(content, executable) {
                    Some(file) => {
                        let choice = Choice::Merged(file);
                        self.session.choose(path, seen, choice).map_err(|error| error.to_string())
                    }
                    None => Err("too much is on its way already".to_owned()),
                };
                self.answer(done, chosen);
                self.decide();
            }
            Wish::Preview(settings, answer) => drop(answer.send(self.preview(&settings))),
            Wish::Base(digest, answer) => drop(answer.send(self.bases.get(digest))),
            Wish::Ask(Side::Alpha, question, answer) => {
                if let Some(host) = &self.host {
                    drop(answer.send(host.answer(numbered(question, number))));
                }
            }
            Wish::Ask(Side::Beta, question, answer) => {
                if self.agent.is_some() {
                    self.questions.insert(number, answer);
                    self.tell_agent(&ToAgent::Ask { number, question: numbered(question, number) });
                }
            }
            Wish::Trace(path, answer) => {
                drop(answer.send(Traced { trace: self.session.trace(Some(&path)), now: self.now() }));
            }
        }
    }

    fn preview(&self, settings: &Settings) -> Result<session::Preview, String> {
        let own = settings.session();
        if settings.keeper().rules == self.spec.settings.keeper().rules {
            return Ok(self.session.preview(&own));
        }
        let Some(host) = &self.host else { return Err("the folder cannot be looked at now".to_owned()) };
        let rules = host.rules().under(settings.keeper().rules).map_err(|error| error.to_string())?;
        Ok(self.session.preview_under(&own, &rules))
    }

    fn answer<T: Send + 'static>(&mut self, to: oneshot::Sender<T>, answer: T) {
        self.published = None;
        self.answers.push(Box::new(move || drop(to.send(answer))));
    }

    fn decide(&mut self) {
        let effects = self.session.tick(self.now());
        self.effects.extend(effects);
    }

    fn publish(&mut self) {
        if self.published.is_some_and(|at| at.elapsed() < PUBLISH) {
            return;
        }
        let session = self.session.status();
        self.warnings[Side::Alpha as usize] = self.host.as_ref().and_then(|host| host.watched().warning);
        // Something on its way is told again once it has arrived.
        let rests = session.state() != session::State::Working;
        self.published = (!rests).then(Instant::now);
        let warnings: Vec<_> = Side::BOTH
            .iter()
            .zip(&self.warnings)
            .filter_map(|(side, warning)| Some(format!("{side}: {}", warning.as_ref()?)))
            .collect();
        self.status.send_if_modified(|status| status.say(session, warnings));
    }
}

/// Whether something can be remembered there. Asked before a session begins to change anything: what it agrees on and
/// cannot write down is forgotten with the next restart.
fn has_room(state: &Path) -> std::io::Result<()> {
    let probe = state.join("room");
    let written = std::fs::write(&probe, vec![0; ROOM]);
    let removed = std::fs::remove_file(&probe);
    written.and(removed)
}

/// An undo is a batch of its own: its number is the node's to give.
fn numbered(question: Question, number: u64) -> Question {
    match question {
        Question::Undo { which, dry_run, .. } => Question::Undo { which, batch: number, dry_run },
        other => other,
    }
}

/// Where content can wait that is to be moved into `folder` in one step: beside it where that is on the same mount.
fn staging(folder: &Path, beside: &Path) -> StageAt {
    let device = |path: &Path| stat(path).ok().map(|facts| facts.st_dev);
    let mut existing: PathBuf = beside.to_owned();
    while !existing.exists() && existing.pop() {}
    if device(folder).is_some() && device(folder) == device(&existing) {
        StageAt::Beside(beside.to_owned())
    } else {
        StageAt::Inside
    }
}
