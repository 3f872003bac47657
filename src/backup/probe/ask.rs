//! Asks a place what it does, with small objects of its own below one prefix, which are removed afterwards.

use bytes::Bytes;
use futures::TryStreamExt as _;
use futures::future::join_all;
use jiff::SignedDuration;
use object_store::GetOptions;
use object_store::ObjectMeta;
use object_store::ObjectStore;
use object_store::ObjectStoreExt as _;
use object_store::PutMode;
use object_store::PutOptions;
use object_store::PutPayload;
use object_store::PutResult;
use object_store::path::Path;

use super::finding::Answers;
use super::finding::Held;
use super::finding::Made;
use super::finding::No;
use super::finding::RACERS;
use crate::backup::http::Line;
use crate::backup::objects::is_md5_of;
use crate::backup::trouble::Cause;
use crate::backup::trouble::Trouble;
use crate::base::ids;

/// What the keys of all probes begin with.
pub const PREFIX: &str = ".nexus-probe";
/// What a probe that was killed has left is removed when it is so old by the place's own clock.
const LEFT: SignedDuration = SignedDuration::from_hours(1);
/// A race that is won by one alone may have been won by chance.
const RACES: usize = 3;

const FIRST: Bytes = Bytes::from_static(b"a probe of Nexus: the first content\n");
const LAST: Bytes = Bytes::from_static(b"a probe of Nexus: the content that came after it\n");

/// A probe at work.
struct Asking<'a> {
    store: &'a dyn ObjectStore,
    line: Option<&'a Line>,
    shown: &'a str,
    directory: Path,
}

/// Asks. What can be done only after something that is refused is not asked.
///
/// # Errors
/// When the place does not answer, or not to us.
pub async fn ask(store: &dyn ObjectStore, line: Option<&Line>, shown: &str) -> Result<Answers, Trouble> {
    let directory = Path::from_iter([PREFIX.to_owned(), ids::random(12)]);
    let asking = Asking { store, line, shown, directory };
    let answers = asking.all().await;
    asking.clear().await;
    answers
}

impl Asking<'_> {
    fn key(&self, name: &str) -> Path {
        self.directory.clone().join(name)
    }

    /// Every key a probe may have written.
    fn keys(&self) -> impl Iterator<Item = Path> {
        let races = (0..RACES).map(|number| self.key(&race(number)));
        ["object", "damaged"].map(|name| self.key(name)).into_iter().chain(races)
    }

    async fn clear(&self) {
        for key in self.keys() {
            // Where nothing may be removed a few small objects stay; the finding says so.
            let _removed = self.store.delete(&key).await;
        }
    }

    async fn all(&self) -> Result<Answers, Trouble> {
        let mut answers = Answers::default();
        let key = self.key("object");
        let put = match self.put(&key, FIRST).await {
            Ok(put) => put,
            Err(error) => {
                let trouble = self.trouble(&error, "write to");
                if trouble.cause != Cause::Denied {
                    return Err(trouble);
                }
                answers.write = Some(Err(self.no(&error)));
                if let Err(error) = self.list().await {
                    answers.list = Some(Err(self.no(&error)));
                }
                answers.ahead = self.line.and_then(Line::ahead);
                return Ok(answers);
            }
        };
        answers.write = Some(Ok(()));
        answers.tagged = Some(put.e_tag.as_deref().is_some_and(|tag| is_md5_of(tag, &FIRST)));
        answers.list = Some(match self.list().await {
            Ok(listed) => {
                self.sweep(&listed, &key).await;
                Ok(listed.iter().any(|one| one.location == key))
            }
            Err(error) => Err(self.no(&error)),
        });
        answers.second = Some(self.create(&key).await);
        if answers.second == Some(Ok(Made::Refused)) {
            answers.winners = Some(self.race().await);
        }
        let again = self.put(&key, LAST).await.map_err(|error| self.trouble(&error, "write to"))?;
        answers.read = Some(self.held(&key, None).await);
        answers.version = Some(match &put.version {
            // The same id twice names no version.
            Some(version) if put.version != again.version => {
                Some(self.held(&key, Some(version.clone())).await)
            }
            _ => None,
        });
        answers.damaged = self.damaged().await;
        answers.delete = Some(match self.store.delete(&key).await {
            Ok(()) => self.held(&key, None).await,
            Err(error) => Err(self.no(&error)),
        });
        if let (Some(version), Some(Ok(Held::Nothing))) = (put.version, &answers.delete) {
            answers.version_of_removed = Some(self.held(&key, Some(version)).await);
        }
        answers.ahead = self.line.and_then(Line::ahead);
        Ok(answers)
    }

    async fn put(&self, key: &Path, bytes: Bytes) -> object_store::Result<PutResult> {
        self.store.put(key, PutPayload::from_bytes(bytes)).await
    }

    async fn list(&self) -> object_store::Result<Vec<ObjectMeta>> {
        self.store.list(Some(&Path::from(PREFIX))).try_collect().await
    }

    /// Removes what probes that came to no end have left.
    async fn sweep(&self, listed: &[ObjectMeta], ours: &Path) {
        let Some(now) = listed.iter().find(|one| one.location == *ours).map(|one| one.last_modified) else {
            return;
        };
        for one in listed {
            if now.signed_duration_since(one.last_modified).num_seconds() > LEFT.as_secs() {
                // What stays is small, and the next probe tries again.
                let _removed = self.store.delete(&one.location).await;
            }
        }
    }

    /// What an object holds, or a version of it.
    async fn held(&self, key: &Path, version: Option<String>) -> Result<Held, No> {
        let options = GetOptions { version, ..GetOptions::default() };
        let read = async { self.store.get_opts(key, options).await?.bytes().await };
        match read.await {
            Ok(bytes) if bytes == FIRST => Ok(Held::First),
            Ok(bytes) if bytes == LAST => Ok(Held::Last),
            Ok(_) => Ok(Held::Other),
            Err(object_store::Error::NotFound { .. }) => Ok(Held::Nothing),
            Err(error) => Err(self.no(&error)),
        }
    }

    /// Makes an object that is there.
    async fn create(&self, key: &Path) -> Result<Made, No> {
        match self.make(key, LAST).await {
            Ok(_) => Ok(Made::Taken),
            Err(object_store::Error::AlreadyExists { .. }) => match self.held(key, None).await? {
                Held::First => Ok(Made::Refused),
                // It says no, and has done it.
                _ => Ok(Made::Taken),
            },
            Err(error) => Err(self.no(&error)),
        }
    }

    async fn make(&self, key: &Path, bytes: Bytes) -> object_store::Result<PutResult> {
        let options = PutOptions { mode: PutMode::Create, ..PutOptions::default() };
        self.store.put_opts(key, PutPayload::from_bytes(bytes), options).await
    }

    /// Several make an object at once; the most that were told that they have.
    async fn race(&self) -> usize {
        let mut most = 0;
        for number in 0..RACES {
            let key = self.key(&race(number));
            let racer = |number: usize| self.make(&key, Bytes::from(format!("racer {number}")));
            let ends = join_all((0..RACERS).map(racer)).await;
            most = most.max(ends.iter().filter(|end| end.is_ok()).count());
        }
        most
    }

    /// Sends bytes that are changed on the way, behind the back of whoever signs and sums them.
    async fn damaged(&self) -> Option<Result<Held, No>> {
        let line = self.line?;
        let key = self.key("damaged");
        line.damage_next();
        Some(match self.put(&key, FIRST).await {
            Ok(_) => self.held(&key, None).await,
            Err(error) => Err(self.no(&error)),
        })
    }

    fn trouble(&self, error: &object_store::Error, verb: &str) -> Trouble {
        Trouble::of(error, format!("{verb} {}", self.shown))
    }

    fn no(&self, error: &object_store::Error) -> No {
        let trouble = self.trouble(error, "ask");
        if trouble.cause.passes() { No::Failed(trouble.detail) } else { No::Refused(trouble.detail) }
    }
}

fn race(number: usize) -> String {
    format!("race-{number}")
}
