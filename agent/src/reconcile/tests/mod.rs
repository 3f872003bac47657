//! The planner against a table, against laws, and against a second planner written the slow way.

mod laws;
mod oracle;
mod table;

use proptest::prelude::*;

use super::Mode;
use super::Plan;
use super::Transition;
use crate::path::RelPath;
use crate::sample::Blockers;
use crate::sample::edited;
use crate::sample::edits;
use crate::sample::trees;
use crate::tree::Change;
use crate::tree::Item;
use crate::tree::Tree;
use crate::tree::TreeError;

/// Something that plans: ours, the oracle, or an oracle with a flaw.
pub(crate) type Planner<'a> = &'a dyn Fn(&Tree, &Tree, &Tree, Mode) -> Plan;

/// Three trees.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Scene {
    pub(crate) ancestor: Tree,
    pub(crate) alpha: Tree,
    pub(crate) beta: Tree,
}

impl Scene {
    pub(crate) fn plan(&self, planner: Planner<'_>, mode: Mode) -> Plan {
        planner(&self.ancestor, &self.alpha, &self.beta, mode)
    }

    /// The trees after a plan of which everything succeeded; an error when it cannot.
    pub(crate) fn after(&self, plan: &Plan) -> Result<Self, TreeError> {
        let changes = |list: &[Transition]| list.iter().map(Transition::change).collect::<Vec<Change>>();
        let (alphas, betas) = (changes(&plan.alpha), changes(&plan.beta));
        let mut scene = self.clone();
        scene.ancestor.apply(&[plan.ancestor.clone(), alphas.clone(), betas.clone()].concat())?;
        scene.alpha.apply(&alphas)?;
        scene.beta.apply(&betas)?;
        Ok(scene)
    }
}

pub(crate) fn conflict_paths(plan: &Plan) -> Vec<Option<RelPath>> {
    plan.conflicts.iter().map(|conflict| conflict.path.clone()).collect()
}

pub(crate) fn carried(tree: &Tree) -> Tree {
    Tree::with_root(tree.root().and_then(Item::carried))
}

/// A tree both agreed on, and what each side made of it. Now and then the ancestor is lost, or of another time.
pub(crate) fn scenes() -> impl Strategy<Value = Scene> {
    let edits = || edits(Blockers::Some);
    let ancestor = prop_oneof![
        8 => Just(Some(Vec::new())),
        1 => Just(None),
        1 => edits().prop_map(Some),
    ];
    (trees(Blockers::None), ancestor, edits(), edits()).prop_map(|(base, ancestor, alphas, betas)| Scene {
        ancestor: ancestor.map_or_else(Tree::default, |edits| carried(&edited(&base, &edits))),
        alpha: edited(&base, &alphas),
        beta: edited(&base, &betas),
    })
}
