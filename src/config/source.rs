//! Reads YAML text into a tree of nodes that know where they stand.
//!
//! Only what a configuration needs: one document, keys that are plain text, no tags, no merge
//! keys. Anchors work, within a bound. Nothing is guessed: `yes` and `on` are text.

mod deserialize;
mod node;
mod scalar;
mod variables;

use std::collections::HashMap;

use granit_parser::{Event, Parser, ScalarStyle, ScanError, Span, StrInput};

pub(super) use self::node::{Content, Entry, Node, Step};
pub(super) use self::variables::{Environment, expand};
use super::report::{Place, Report, element, member};

/// A configuration larger than this is something else.
pub(super) const MAX_BYTES: usize = 1 << 20;
const MAX_DEPTH: usize = 32;
const MAX_NODES: usize = 100_000;

/// Reads the text; `None` means that it is not YAML and the report says why.
pub(super) fn read(text: &str, report: &mut Report) -> Option<Node> {
    if text.len() > MAX_BYTES {
        report.error("", "is larger than 1 MiB", "Is this the right file?");
        return None;
    }
    let mut reader = Reader {
        events: Parser::new_from_str(text),
        report,
        anchors: HashMap::new(),
        nodes: 0,
    };
    match reader.document() {
        Ok(node) => Some(node),
        Err(Stop {
            place,
            message,
            remedy,
        }) => {
            report.error_at(place, "", message, remedy);
            None
        }
    }
}

/// Why reading cannot go on.
struct Stop {
    place: Place,
    message: String,
    remedy: &'static str,
}

impl Stop {
    fn new(span: &Span, message: &str, remedy: &'static str) -> Self {
        Self {
            place: place(span),
            message: message.to_owned(),
            remedy,
        }
    }
}

impl From<ScanError> for Stop {
    fn from(error: ScanError) -> Self {
        Self {
            place: Place {
                line: error.marker().line(),
                column: error.marker().col() + 1,
            },
            message: format!("is not YAML: {}", error.info()),
            remedy: "Look at this line and the one before it: the indentation, a missing quote or bracket, a tab.",
        }
    }
}

struct Reader<'a, 'r> {
    events: Parser<'a, StrInput<'a>>,
    report: &'r mut Report,
    anchors: HashMap<usize, Node>,
    nodes: usize,
}

impl<'a> Reader<'a, '_> {
    fn document(&mut self) -> Result<Node, Stop> {
        let start = Place { line: 1, column: 1 };
        self.report.place("", start);
        let mut root = None;
        while let Some(event) = self.events.next() {
            match event? {
                (Event::StreamStart | Event::DocumentStart(..) | Event::DocumentEnd, _) => {}
                (Event::StreamEnd, _) => break,
                (_, span) if root.is_some() => {
                    return Err(Stop::new(
                        &span,
                        "holds more than one document",
                        "Remove the line `---` and what follows, or put it in a file of its own.",
                    ));
                }
                (event, span) => root = Some(self.node(event, &span, "", 0)?),
            }
        }
        Ok(root.unwrap_or_else(|| Node::new(Content::Map(Vec::new()), start)))
    }

    fn node(
        &mut self,
        event: Event<'a>,
        span: &Span,
        key: &str,
        depth: usize,
    ) -> Result<Node, Stop> {
        self.bound(span, depth)?;
        let (content, anchor) = match event {
            Event::Scalar(text, style, anchor, tag) => {
                refuse_tag(span, tag.is_some())?;
                (self.scalar(&text, style, key, span), anchor)
            }
            Event::SequenceStart(_, anchor, tag) => {
                refuse_tag(span, tag.is_some())?;
                (self.list(key, depth)?, anchor)
            }
            Event::MappingStart(_, anchor, tag) => {
                refuse_tag(span, tag.is_some())?;
                (self.map(key, depth)?, anchor)
            }
            Event::Alias(anchor) => return self.alias(anchor, span),
            _ => return Err(unexpected(span)),
        };
        let node = Node::new(content, place(span));
        if anchor != 0 {
            self.anchors.insert(anchor, node.clone());
        }
        Ok(node)
    }

    fn bound(&mut self, span: &Span, depth: usize) -> Result<(), Stop> {
        self.nodes += 1;
        if depth > MAX_DEPTH {
            return Err(Stop::new(
                span,
                "is nested too deeply",
                "Is this the right file?",
            ));
        }
        if self.nodes > MAX_NODES {
            return Err(Stop::new(
                span,
                "holds too many values",
                "Is this the right file?",
            ));
        }
        Ok(())
    }

    fn scalar(&mut self, text: &str, style: ScalarStyle, key: &str, span: &Span) -> Content {
        if style != ScalarStyle::Plain {
            return Content::Text(text.to_owned());
        }
        let content = scalar::plain(text);
        if content == Content::Null {
            self.report.error_at(
                place(span),
                key,
                "has no value",
                "Write one, or remove the key to get the default.",
            );
        }
        content
    }

    fn list(&mut self, key: &str, depth: usize) -> Result<Content, Stop> {
        let mut nodes = Vec::new();
        while let Some(event) = self.events.next() {
            let (event, span) = event?;
            if event == Event::SequenceEnd {
                return Ok(Content::List(nodes));
            }
            let key = element(key, nodes.len());
            self.report.place(&key, place(&span));
            nodes.push(self.node(event, &span, &key, depth + 1)?);
        }
        Err(unexpected(&Span::default()))
    }

    fn map(&mut self, key: &str, depth: usize) -> Result<Content, Stop> {
        let mut entries: Vec<Entry> = Vec::new();
        while let Some(event) = self.events.next() {
            let (event, span) = event?;
            let name = match event {
                Event::MappingEnd => return Ok(Content::Map(entries)),
                Event::Scalar(name, _, 0, None) => name.into_owned(),
                _ => {
                    return Err(Stop::new(
                        &span,
                        "has a key that is not plain text",
                        "Write a name before the colon.",
                    ));
                }
            };
            let entry = self.entry(key, name, &span, depth, &entries)?;
            entries.extend(entry);
        }
        Err(unexpected(&Span::default()))
    }

    /// Reads the value of a key; a key that was there before is refused and its value dropped.
    fn entry(
        &mut self,
        key: &str,
        name: String,
        span: &Span,
        depth: usize,
        before: &[Entry],
    ) -> Result<Option<Entry>, Stop> {
        let key = member(key, &name);
        let first = before.iter().find(|entry| entry.name == name);
        if let Some(first) = first {
            let message = format!("is written twice, first on line {}", first.place.line);
            self.report
                .error_at(place(span), &key, message, "Keep one of the two.");
        } else {
            self.report.place(&key, place(span));
        }
        let Some(value) = self.events.next() else {
            return Err(unexpected(span));
        };
        let (event, value_span) = value?;
        let node = self.node(event, &value_span, &key, depth + 1)?;
        let place = place(span);
        Ok(first.is_none().then_some(Entry { name, place, node }))
    }

    fn alias(&mut self, anchor: usize, span: &Span) -> Result<Node, Stop> {
        let Some(node) = self.anchors.get(&anchor) else {
            return Err(Stop::new(
                span,
                "uses an anchor within itself",
                "Write the value out.",
            ));
        };
        self.nodes += node.count();
        let node = node.clone();
        self.bound(span, 0)?;
        Ok(node)
    }
}

fn place(span: &Span) -> Place {
    Place {
        line: span.start.line().max(1),
        column: span.start.col() + 1,
    }
}

fn refuse_tag(span: &Span, tagged: bool) -> Result<(), Stop> {
    if tagged {
        return Err(Stop::new(
            span,
            "uses a YAML tag (`!`)",
            "Write the value without it, in quotes if it begins with `!`.",
        ));
    }
    Ok(())
}

fn unexpected(span: &Span) -> Stop {
    Stop::new(span, "ends too early", "Finish this entry.")
}
