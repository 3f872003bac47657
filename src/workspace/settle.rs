//! Settles conflicts as a person wants: for one side, with the text that both edits make together, or with a text of
//! their own.

use nexus_agent::entry::Digest;
use nexus_agent::inquiry::Answer;
use nexus_agent::inquiry::Question;
use nexus_agent::path::RelPath;
use nexus_agent::reconcile::Conflict;
use nexus_agent::reconcile::Side;
use nexus_agent::resolve::Choice;
use nexus_agent::session::Dispute;
use nexus_agent::tree::File;
use nexus_agent::tree::Item;

use super::control::Error;
use super::control::Workspaces;
use super::sync::Session;
use super::sync::ask;
use crate::sync;

/// What stays of a conflict.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Settlement {
    /// The version of one side.
    Keep(Side),
    /// Both edits of a text, put together.
    Merged,
    /// This, whatever the sides have.
    Given(Vec<u8>),
}

/// What was settled, or would be.
#[derive(Debug, Default)]
pub struct Settled {
    /// The paths; where both edits would be put together, with the text that comes of it.
    pub resolved: Vec<(String, Option<String>)>,
    /// Those that could not be, and why.
    pub refused: Vec<(String, String)>,
}

impl Workspaces {
    /// Settles the conflicts that `wanted` picks, or only says what would become of them. What is displaced is kept.
    ///
    /// # Errors
    /// As [`session`](Self::session); also when one version is given for several conflicts.
    pub async fn settle(
        &self,
        key: &str,
        wanted: impl Fn(&Dispute) -> bool,
        settlement: &Settlement,
        dry_run: bool,
    ) -> Result<Settled, Error> {
        let (_, session) = self.session(key)?;
        let disputes = session.status.borrow().session.clone().map(|status| status.conflicts);
        let disputes: Vec<_> = disputes.unwrap_or_default().into_iter().filter(wanted).collect();
        if matches!(settlement, Settlement::Given(_)) && disputes.len() > 1 {
            let reason = format!("one version cannot settle {} conflicts", disputes.len());
            return Err(sync::SessionError::Refused(reason).into());
        }
        let mut settled = Settled::default();
        for dispute in disputes {
            let name = dispute.conflict.path.as_ref().map(RelPath::to_string).unwrap_or_default();
            match one(&session, &dispute, settlement, dry_run).await {
                Ok(text) => settled.resolved.push((name, text)),
                Err(sync::SessionError::Refused(reason)) => settled.refused.push((name, reason)),
                Err(error) => return Err(error.into()),
            }
        }
        Ok(settled)
    }
}

async fn one(
    session: &Session,
    dispute: &Dispute,
    settlement: &Settlement,
    dry_run: bool,
) -> Result<Option<String>, sync::SessionError> {
    let Dispute { conflict, key } = dispute;
    let at = conflict.path.clone();
    let (content, text) = match settlement {
        Settlement::Keep(_) if dry_run => return Ok(None),
        Settlement::Keep(Side::Alpha) => {
            return session.wishes.choose(at, *key, Choice::Host).await.map(|()| None);
        }
        Settlement::Keep(Side::Beta) => {
            return session.wishes.choose(at, *key, Choice::Container).await.map(|()| None);
        }
        Settlement::Given(content) => (content.clone(), None),
        Settlement::Merged => {
            let text = merged(session, conflict).await?;
            (text.clone().into_bytes(), Some(text))
        }
    };
    if !dry_run {
        session.wishes.settle(at, *key, (content, executable(conflict))).await?;
    }
    Ok(text.filter(|_| dry_run))
}

/// What both edits make together.
async fn merged(session: &Session, conflict: &Conflict) -> Result<String, sync::SessionError> {
    let refused = |reason: &str| sync::SessionError::Refused(reason.to_owned());
    let (Some(path), Some(host), Some(container)) =
        (&conflict.path, file(conflict.alpha.as_ref()), file(conflict.beta.as_ref()))
    else {
        return Err(refused("only two versions of a file can be put together"));
    };
    let before = file(conflict.ancestor.as_ref())
        .ok_or_else(|| refused("there is nothing both had before: the two have no text in common"))?;
    if [host, container, before].iter().any(|file| file.size > sync::TEXT_MAX) {
        return Err(refused("it is too long to be put together"));
    }
    let base = base(session, path, before.digest).await?;
    let base = base.ok_or_else(|| refused("what both had before is not kept, or no text"))?;
    let mut sides = Vec::new();
    for (side, version) in [(Side::Alpha, host), (Side::Beta, container)] {
        let content = content(session, side, path, None, version.digest).await;
        sides.push(content.ok_or_else(|| refused("it changed since it was looked at"))?);
    }
    let merge = move || sync::merge(&base, &sides[0], &sides[1]);
    let merged = tokio::task::spawn_blocking(merge).await.map_err(|_| sync::SessionError::Ended)?;
    merged.map_err(|error| refused(&error.to_string()))
}

/// What both last agreed on: kept for that, or because it was displaced once.
async fn base(
    session: &Session,
    path: &RelPath,
    digest: Digest,
) -> Result<Option<Vec<u8>>, sync::SessionError> {
    if let Some(base) = session.wishes.base(digest).await? {
        return Ok(Some(base));
    }
    for side in Side::BOTH {
        let Ok(Answer::Versions(kept)) =
            ask(session, side, Question::Versions { path: Some(path.clone()) }).await
        else {
            continue;
        };
        if let Some(version) = kept.iter().find(|kept| kept.digest == Some(digest))
            && let Some(base) = content(session, side, path, Some(version.id), digest).await
        {
            return Ok(Some(base));
        }
    }
    Ok(None)
}

/// A content of one side, if it is this one.
async fn content(
    session: &Session,
    side: Side,
    path: &RelPath,
    version: Option<u64>,
    digest: Digest,
) -> Option<Vec<u8>> {
    match ask(session, side, Question::Content { path: path.clone(), version }).await {
        Ok(Answer::Content { bytes, .. }) if Digest::from(blake3::hash(&bytes)) == digest => Some(bytes),
        _ => None,
    }
}

fn file(item: Option<&Item>) -> Option<&File> {
    match item {
        Some(Item::File(file)) => Some(file),
        _ => None,
    }
}

/// As the side has it that changed it; as the host has it where there was nothing to change.
fn executable(conflict: &Conflict) -> bool {
    let bit = |item| file(item).map(|file| file.executable);
    let (before, host, container) =
        (bit(conflict.ancestor.as_ref()), bit(conflict.alpha.as_ref()), bit(conflict.beta.as_ref()));
    let changed =
        [host, container].into_iter().flatten().find(|bit| before.is_some_and(|before| before != *bit));
    changed.or(host).or(container).unwrap_or(false)
}
