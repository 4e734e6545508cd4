//! The tree that a file is read into.

use crate::config::report::Place;

/// A value and where it stands.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::config) struct Node {
    pub(in crate::config) content: Content,
    pub(in crate::config) place: Place,
}

/// A value.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::config) enum Content {
    /// Nothing: never written by the user, since that is refused, but what is left where
    /// something wrong was taken out.
    Null,
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(String),
    List(Vec<Node>),
    Map(Vec<Entry>),
}

/// A key and its value, in the order of the file.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::config) struct Entry {
    pub(in crate::config) name: String,
    pub(in crate::config) place: Place,
    pub(in crate::config) node: Node,
}

/// One step down the tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::config) enum Step {
    Member(String),
    Element(usize),
}

impl Node {
    pub(in crate::config) fn new(content: Content, place: Place) -> Self {
        Self { content, place }
    }

    /// Number of values in it, itself included.
    pub(in crate::config) fn count(&self) -> usize {
        1 + match &self.content {
            Content::List(nodes) => nodes.iter().map(Self::count).sum(),
            Content::Map(entries) => entries.iter().map(|entry| entry.node.count()).sum(),
            _ => 0,
        }
    }

    /// Takes out what stands at the end of the steps. A member leaves with its key; an element
    /// leaves a hole, so that those after it keep their numbers.
    pub(in crate::config) fn prune(&mut self, steps: &[Step]) {
        match (&mut self.content, steps) {
            (Content::Map(entries), [Step::Member(name)]) => {
                entries.retain(|entry| entry.name != *name);
            }
            (Content::Map(entries), [Step::Member(name), rest @ ..]) => {
                if let Some(entry) = entries.iter_mut().find(|entry| entry.name == *name) {
                    entry.node.prune(rest);
                }
            }
            (Content::List(nodes), [Step::Element(index), rest @ ..]) => {
                if let Some(node) = nodes.get_mut(*index) {
                    node.prune(rest);
                }
            }
            (content, _) => *content = Content::Null,
        }
    }
}
