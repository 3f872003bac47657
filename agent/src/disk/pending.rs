//! Content that is on its way to the disk, until somebody waits for it.
//!
//! The more there is the better: a disk that is given much at once writes it in one go. Each is an open file, so how
//! many there may be depends on how many may be open.

use std::collections::BTreeMap;
use std::collections::HashMap;
use std::fs::File;
use std::io;

use rustix::process::Resource;
use rustix::process::getrlimit;

use crate::disk::Slot;
use crate::disk::order;

/// At least and at most so many.
const FEW: u64 = 32;
const MANY: u64 = 1_000;
/// What part of the files a process may have open they are.
const PART: u64 = 16;

/// See the module.
#[derive(Debug)]
pub(super) struct Pending {
    most: usize,
    slots: HashMap<Slot, Sent>,
    /// Those on their way, in the order they left.
    order: BTreeMap<u64, Slot>,
    next: u64,
}

#[derive(Debug)]
enum Sent {
    /// Under its place in the order.
    OnItsWay(u64, File),
    /// It was waited for, and this is what the disk said: for whoever places it to hear, and for nobody else.
    Failed(io::Error),
}

impl Pending {
    /// Nothing is on its way.
    pub(super) fn new() -> Self {
        let open = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
        let most = usize::try_from((open / PART).clamp(FEW, MANY)).unwrap_or(usize::MAX);
        Self { most, slots: HashMap::new(), order: BTreeMap::new(), next: 0 }
    }

    /// What is staged there is on its way. With too many on their way the oldest is waited for.
    pub(super) fn send(&mut self, slot: Slot, file: File) {
        self.forget(slot);
        self.order.insert(self.next, slot);
        self.slots.insert(slot, Sent::OnItsWay(self.next, file));
        self.next += 1;
        if self.order.len() > self.most
            && let Some((_, oldest)) = self.order.pop_first()
            && let Some(Sent::OnItsWay(_, file)) = self.slots.remove(&oldest)
            && let Err(error) = order::wait(&file)
        {
            self.slots.insert(oldest, Sent::Failed(error));
        }
    }

    /// Returns when what was staged there is on the disk.
    ///
    /// # Errors
    /// As the disk says.
    pub(super) fn wait(&mut self, slot: Slot) -> io::Result<()> {
        match self.slots.remove(&slot) {
            Some(Sent::OnItsWay(number, file)) => {
                self.order.remove(&number);
                order::wait(&file)
            }
            Some(Sent::Failed(error)) => Err(error),
            None => Ok(()),
        }
    }

    /// What is staged has another place.
    pub(super) fn readdress(&mut self, from: Slot, to: Slot) {
        if let Some(sent) = self.slots.remove(&from) {
            self.forget(to);
            if let Sent::OnItsWay(number, _) = sent {
                self.order.insert(number, to);
            }
            self.slots.insert(to, sent);
        }
    }

    /// Nobody will place what is staged there.
    pub(super) fn forget(&mut self, slot: Slot) {
        if let Some(Sent::OnItsWay(number, _)) = self.slots.remove(&slot) {
            self.order.remove(&number);
        }
    }
}
