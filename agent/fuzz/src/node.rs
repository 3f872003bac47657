//! The node's end: a session whose host side is real, and whose container may say anything.

use std::collections::VecDeque;
use std::time::Duration;

use nexus_agent::disk::sim::SimDisk;
use nexus_agent::message::FromSide;
use nexus_agent::reconcile::Mode;
use nexus_agent::reconcile::Side;
use nexus_agent::replica::Replica;
use nexus_agent::resolve::Strategy;
use nexus_agent::safety::Limits;
use nexus_agent::session::Effect;
use nexus_agent::session::Session;
use nexus_agent::session::Settings;
use nexus_agent::tree::File;
use nexus_agent::tree::Item;
use nexus_agent::tree::Tree;
use nexus_agent::wire::ToAgent;
use nexus_agent::wire::ToNode;

use crate::Bytes;
use crate::as_frames;
use crate::messages;
use crate::side::side;

/// Longer files are never told of: the node holds what an agent says against its limits first.
const FILE_MAX: u64 = 10 << 30;

/// What an agent may say to a node: the session hears it, or ends the connection; the host's side never finds anything
/// odd in what it is asked then.
pub fn frames_to_node(data: &[u8]) {
    as_frames(data);
    let (disk, mut host) = side(Side::Alpha);
    let settings =
        Settings { mode: Mode::TwoWaySafe, strategy: Strategy::HostWins, limits: Limits::default() };
    let mut session = Session::new(settings, Tree::default(), None);
    let mut now = Duration::from_secs(1);
    let mut effects = session.connected(Side::Alpha);
    effects.extend(session.connected(Side::Beta));
    settle(&mut session, &mut host, effects, now);
    for message in messages::<ToNode>(data) {
        let ToNode::Side(said) = message else { continue };
        if !is_within_bounds(&said) {
            return;
        }
        now += Duration::from_millis(20);
        let effects = session.hear(Side::Beta, said, now).unwrap_or_else(|_| {
            session.lost(Side::Beta);
            session.connected(Side::Beta)
        });
        settle(&mut session, &mut host, effects, now);
        let effects = session.tick(now);
        settle(&mut session, &mut host, effects, now);
        session.status();
        disk.user(|volume| volume.advance(20_000_000));
    }
}

/// Has the host's side do what the session wants, and tells it what came of that.
fn settle(session: &mut Session, host: &mut Replica<SimDisk, Bytes>, effects: Vec<Effect>, now: Duration) {
    let mut effects = VecDeque::from(effects);
    let mut said = Vec::new();
    while let Some(effect) = effects.pop_front() {
        if let Effect::Say(Side::Alpha, message) = effect {
            host.hear(message, &mut (), now, &mut said).expect("a session asks for what makes sense");
            for said in said.drain(..) {
                effects.extend(session.hear(Side::Alpha, said, now).expect("a host is honest"));
            }
        }
    }
}

fn is_within_bounds(said: &FromSide) -> bool {
    let fits = |item: &Item| {
        item.walk(None).all(|(_, item)| !matches!(item, Item::File(File { size, .. }) if *size > FILE_MAX))
    };
    match said {
        FromSide::Changes { changes, .. } => {
            changes.iter().filter_map(|change| change.item.as_ref()).all(fits)
        }
        FromSide::Applied { outcomes, .. } => {
            outcomes.iter().filter_map(|outcome| outcome.now.as_ref()).all(fits)
        }
        _ => true,
    }
}

/// What two honest ends say to each other about two folders that differ: to the agent, to the node, and what the
/// container's folder is in the end.
pub fn conversation() -> (Vec<ToAgent>, Vec<ToNode>, Tree) {
    let ((alpha, host), (beta, container)) = (side(Side::Alpha), side(Side::Beta));
    beta.user(|volume| {
        volume.write("b", &[vec![7; 50_000], vec![9; 10], vec![7; 49_990]].concat()).expect("there is room");
        volume.remove("dir/a").expect("it is there");
        volume.write("new", b"of the container").expect("there is room");
    });
    let settings =
        Settings { mode: Mode::TwoWayResolved, strategy: Strategy::HostWins, limits: Limits::default() };
    let mut session = Session::new(settings, Tree::default(), None);
    let mut sides = [host, container];
    let (mut to_agent, mut to_node) = (Vec::new(), Vec::new());
    for round in 0..6_u64 {
        let now = Duration::from_secs(60 * (round + 1));
        let mut effects = match round {
            0 => {
                let mut effects = session.connected(Side::Alpha);
                effects.extend(session.connected(Side::Beta));
                effects
            }
            // The host changes something of everything, and what comes of that.
            3 => {
                alpha.user(|volume| {
                    volume
                        .write("c", &[vec![8; 300_000], vec![1], vec![8; 299_999]].concat())
                        .expect("there is room");
                    volume.rename("new", "moved").expect("it is there");
                    volume.set_executable("b", true).expect("it is there");
                    volume.advance(60_000_000_000);
                });
                session.flush(1, now)
            }
            _ => session.tick(now),
        };
        while !effects.is_empty() {
            let mut next = Vec::new();
            for effect in effects {
                let Effect::Say(to, message) = effect else { continue };
                let mut said = Vec::new();
                if to == Side::Beta {
                    to_agent.push(ToAgent::Side(message.clone()));
                }
                sides[to as usize].hear(message, &mut (), now, &mut said).expect("both are honest");
                for said in said {
                    if to == Side::Beta {
                        to_node.push(ToNode::Side(said.clone()));
                    }
                    next.extend(session.hear(to, said, now).expect("both are honest"));
                }
            }
            effects = next;
        }
        for disk in [&alpha, &beta] {
            disk.user(|volume| volume.advance(60_000_000_000));
        }
    }
    (to_agent, to_node, sides[Side::Beta as usize].tree().clone())
}
