//! The steps of a runbook as a table: who stands in which list, after whom, inside what.
//!
//! Built once for each run; nothing in it changes while the run goes on.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use crate::runbook::model::{Action, Runbook, Step};
use crate::runbook::resolve::mentioned;

/// A step's row in the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeIx(pub usize);

/// A list's row in the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ListIx(pub usize);

/// What a list of steps is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ListKind {
    /// `steps` of the runbook.
    Main,
    /// `finally` of the runbook.
    Finally,
    /// `block` of a step.
    Block(NodeIx),
    /// `rescue` of a block.
    Rescue(NodeIx),
    /// `finally` of a block.
    BlockFinally(NodeIx),
    /// An arm of a `switch`.
    Arm(NodeIx, usize),
    /// `rollback` of a step.
    Rollback(NodeIx),
}

/// One list of steps.
#[derive(Clone, Debug)]
pub struct List {
    /// What it is for.
    pub kind: ListKind,
    /// Its steps in the author's order.
    pub nodes: Vec<NodeIx>,
    /// Whether each of its steps follows the one before it: no `needs`.
    pub is_sequence: bool,
}

/// One step.
#[derive(Clone, Debug)]
pub struct Node {
    /// The step itself.
    pub step: Arc<Step>,
    /// The list that it stands in.
    pub list: ListIx,
    /// Its place in that list, counted from 0.
    pub position: usize,
    /// The step before it in that list.
    pub before: Option<NodeIx>,
    /// `needs`, resolved: which, and whether whatever became of it will do.
    pub needs: Option<Vec<(NodeIx, bool)>>,
    /// The lists that it holds: of a block steps, rescue, finally; of a switch its arms.
    pub inner: Vec<ListIx>,
    /// Its rollback's steps.
    pub rollback: Option<ListIx>,
    /// Whether any expression or template of the runbook reads its result, and which fields.
    pub read_fields: BTreeSet<String>,
}

/// The whole table.
#[derive(Clone, Debug)]
pub struct Graph {
    /// The runbook.
    pub runbook: Arc<Runbook>,
    /// All steps, in document order.
    pub nodes: Vec<Node>,
    /// All lists.
    pub lists: Vec<List>,
    /// `steps`.
    pub main: ListIx,
    /// `finally`.
    pub finally: ListIx,
    by_id: HashMap<String, NodeIx>,
}

impl Graph {
    /// The table of `runbook`.
    #[must_use]
    pub fn of(runbook: Arc<Runbook>) -> Graph {
        let mut graph = Graph {
            nodes: Vec::new(),
            lists: Vec::new(),
            main: ListIx(0),
            finally: ListIx(0),
            by_id: HashMap::new(),
            runbook: Arc::clone(&runbook),
        };
        graph.main = graph.add_list(ListKind::Main, &runbook.steps);
        graph.finally = graph.add_list(ListKind::Finally, &runbook.finally);
        graph.resolve_needs();
        graph.find_readers();
        graph
    }

    /// The step with this id, the author's or the place.
    #[must_use]
    pub fn find(&self, id: &str) -> Option<NodeIx> {
        self.by_id.get(id).copied()
    }

    /// A step's row.
    #[must_use]
    pub fn node(&self, ix: NodeIx) -> &Node {
        &self.nodes[ix.0]
    }

    /// A step.
    #[must_use]
    pub fn step(&self, ix: NodeIx) -> &Arc<Step> {
        &self.nodes[ix.0].step
    }

    /// A list.
    #[must_use]
    pub fn list(&self, ix: ListIx) -> &List {
        &self.lists[ix.0]
    }

    /// The construct that holds the list in which `ix` stands, if it is no list of the runbook.
    #[must_use]
    pub fn holder(&self, ix: NodeIx) -> Option<NodeIx> {
        match self.list(self.node(ix).list).kind {
            ListKind::Main | ListKind::Finally => None,
            ListKind::Block(holder)
            | ListKind::Rescue(holder)
            | ListKind::BlockFinally(holder)
            | ListKind::Arm(holder, _)
            | ListKind::Rollback(holder) => Some(holder),
        }
    }

    /// Whether `ix` stands, at any depth, in a `finally` of the runbook.
    #[must_use]
    pub fn is_in_finally(&self, ix: NodeIx) -> bool {
        let mut at = ix;
        loop {
            if self.list(self.node(at).list).kind == ListKind::Finally {
                return true;
            }
            match self.holder(at) {
                Some(holder) => at = holder,
                None => return false,
            }
        }
    }

    fn add_list(&mut self, kind: ListKind, steps: &[Arc<Step>]) -> ListIx {
        let ix = ListIx(self.lists.len());
        let is_sequence = steps.iter().all(|step| step.needs.is_none());
        self.lists.push(List { kind, nodes: Vec::with_capacity(steps.len()), is_sequence });
        let mut before = None;
        for step in steps {
            let node = NodeIx(self.nodes.len());
            self.nodes.push(Node {
                step: Arc::clone(step),
                list: ix,
                position: self.lists[ix.0].nodes.len(),
                before,
                needs: None,
                inner: Vec::new(),
                rollback: None,
                read_fields: BTreeSet::new(),
            });
            self.by_id.insert(step.id.clone(), node);
            self.lists[ix.0].nodes.push(node);
            before = Some(node);
            let inner = self.add_inner(node, step);
            self.nodes[node.0].inner = inner;
            if !step.rollback_steps().is_empty() {
                let undo = self.add_list(ListKind::Rollback(node), step.rollback_steps());
                self.nodes[node.0].rollback = Some(undo);
            }
        }
        ix
    }

    fn add_inner(&mut self, node: NodeIx, step: &Step) -> Vec<ListIx> {
        match &step.action {
            Action::Block(block) => vec![
                self.add_list(ListKind::Block(node), &block.steps),
                self.add_list(ListKind::Rescue(node), &block.rescue),
                self.add_list(ListKind::BlockFinally(node), &block.finally),
            ],
            Action::Switch(arms) => arms
                .iter()
                .enumerate()
                .map(|(at, arm)| self.add_list(ListKind::Arm(node, at), &arm.steps))
                .collect(),
            _ => Vec::new(),
        }
    }

    fn resolve_needs(&mut self) {
        for ix in 0..self.nodes.len() {
            let Some(needs) = &self.nodes[ix].step.needs else { continue };
            let resolved = needs
                .iter()
                .map(|need| {
                    let node = self.find(&need.id).expect("the checker resolved every `needs`");
                    (node, need.any)
                })
                .collect();
            self.nodes[ix].needs = Some(resolved);
        }
    }

    /// Marks which fields of which steps are read later: only those are kept in memory.
    fn find_readers(&mut self) {
        let mut names: BTreeSet<Vec<String>> = BTreeSet::new();
        for node in &self.nodes {
            names.extend(mentioned(&node.step));
        }
        for (_, output) in &self.runbook.outputs {
            names.extend(output.names().iter().cloned());
        }
        for name in names {
            let (id, field) = match name.as_slice() {
                [first, id, rest @ ..] if first == "steps" => (id, rest.first()),
                // `steps` as a whole, or the id of a `set` alone.
                [first, rest @ ..] if first != "steps" => (first, rest.first()),
                [_] => {
                    for node in &mut self.nodes {
                        node.read_fields.insert("*".to_owned());
                    }
                    continue;
                }
                _ => continue,
            };
            if let Some(node) = self.by_id.get(id.as_str()) {
                let field = field.cloned().unwrap_or_else(|| "*".to_owned());
                self.nodes[node.0].read_fields.insert(field);
            }
        }
    }
}

impl Node {
    /// Whether a later expression may read this field.
    #[must_use]
    pub fn is_read(&self, field: &str) -> bool {
        self.read_fields.contains("*") || self.read_fields.contains(field)
    }
}
