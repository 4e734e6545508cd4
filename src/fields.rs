//! The header fields of a message, as they came.

use http::{HeaderName, HeaderValue};

/// The header fields of a message, in the order in which they came and spelt as they came.
///
/// One block of bytes holds them all, and a list says where in it each field lies: reading a
/// head costs one copy, and removing a field moves none of the others. Names are compared
/// without regard to case. Whoever adds a field does so with `http`'s types, and whoever reads
/// a head refuses what they would refuse, so no name and no value holds a line end.
#[derive(Clone, Default)]
pub struct Fields {
    block: Vec<u8>,
    lines: Vec<Line>,
    /// A bit for each look that a name has, or had: most questions are about names that are not
    /// there, and need no search.
    looks: u64,
}

/// Where a field lies in the block.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Line {
    /// What its name looks like, so that most other names are told from it at once.
    look: Look,
    name: Span,
    value: Span,
}

impl Line {
    pub(crate) fn new(block: &[u8], name: Span, value: Span) -> Self {
        let look = Look::of(name.of(block));
        Self { look, name, value }
    }

    /// The whole line with its end, if it stands in the block as it would be written.
    fn whole(&self, block: &[u8]) -> Option<Span> {
        let span = |from, to| Span { from, to };
        let whole = span(self.name.from, self.value.to.checked_add(2)?);
        let between = span(self.name.to, self.value.from).of(block);
        let end = span(self.value.to, whole.to).of(block);
        (between == b": " && end == b"\r\n").then_some(whole)
    }
}

/// The length of a name, and its first and last letter without regard to case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Look(u32);

impl Look {
    fn of(name: &[u8]) -> Self {
        let letter = |byte: Option<&u8>| u32::from(byte.map_or(0, u8::to_ascii_lowercase));
        // A length whose upper bits are lost makes two names look alike, and no more.
        let length = u32::try_from(name.len() & 0xffff).unwrap_or(0);
        Self(length << 16 | letter(name.first()) << 8 | letter(name.last()))
    }

    /// One of 64 bits; two looks may share one.
    fn bit(self) -> u64 {
        1 << (self.0.wrapping_mul(0x9E37_79B1) >> 26)
    }
}

/// A range of the block.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Span {
    pub(crate) from: u32,
    pub(crate) to: u32,
}

impl Span {
    pub(crate) fn of(self, block: &[u8]) -> &[u8] {
        block
            .get(self.from as usize..self.to as usize)
            .unwrap_or_default()
    }
}

/// A field that may stand once stood twice.
#[derive(Debug, PartialEq, Eq)]
pub struct Repeated;

impl Fields {
    /// Fields that were read: the block, and where in it each lies.
    pub(crate) fn from_lines(block: Vec<u8>, lines: Vec<Line>) -> Self {
        let looks = lines.iter().fold(0, |looks, line| looks | line.look.bit());
        Self {
            block,
            lines,
            looks,
        }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.lines.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    /// Names, as they were sent, and values.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        let block = &self.block;
        self.lines
            .iter()
            .map(|line| (line.name.of(block), line.value.of(block)))
    }

    /// The values of all fields of this name.
    pub fn get_all<'a, 'n>(
        &'a self,
        name: &'n HeaderName,
    ) -> impl DoubleEndedIterator<Item = &'a [u8]> + use<'a, 'n> {
        let look = Look::of(name.as_str().as_bytes());
        let lines = self.among(look).iter();
        lines
            .filter(move |line| line.look == look && self.is_named(line, name))
            .map(|line| line.value.of(&self.block))
    }

    /// The value of the first field of this name.
    pub fn get(&self, name: &HeaderName) -> Option<&[u8]> {
        let look = Look::of(name.as_str().as_bytes());
        let mut lines = self.among(look).iter();
        let line = lines.find(|line| line.look == look && self.is_named(line, name))?;
        Some(line.value.of(&self.block))
    }

    /// Whether there is a field of this name.
    pub fn contains(&self, name: &HeaderName) -> bool {
        self.get(name).is_some()
    }

    /// The only value of a field: `Ok(None)` when it is absent, `Err` when it is repeated.
    ///
    /// # Errors
    /// [`Repeated`].
    pub fn single(&self, name: &HeaderName) -> Result<Option<&[u8]>, Repeated> {
        let look = Look::of(name.as_str().as_bytes());
        let mut found = None;
        for line in self.among(look) {
            if line.look == look && self.is_named(line, name) {
                if found.is_some() {
                    return Err(Repeated);
                }
                found = Some(line.value.of(&self.block));
            }
        }
        Ok(found)
    }

    /// Whether a list field has a member, compared without regard to case.
    pub fn lists(&self, name: &HeaderName, member: &str) -> bool {
        self.get_all(name)
            .any(|line| members(line).any(|one| one.eq_ignore_ascii_case(member.as_bytes())))
    }

    /// Removes every field of this name; tells whether there was one.
    pub fn remove(&mut self, name: &HeaderName) -> bool {
        let look = Look::of(name.as_str().as_bytes());
        if self.among(look).is_empty() {
            return false;
        }
        let before = self.lines.len();
        let block = &self.block;
        self.lines
            .retain(|line| line.look != look || !same_name(line.name.of(block), name));
        self.lines.len() < before
    }

    /// Keeps the fields for which `keep` says so.
    pub fn retain(&mut self, mut keep: impl FnMut(&[u8], &[u8]) -> bool) {
        let block = &self.block;
        self.lines
            .retain(|line| keep(line.name.of(block), line.value.of(block)));
    }

    /// Room for so many fields, and for so many bytes of their names and values.
    pub(crate) fn reserve(&mut self, fields: usize, bytes: usize) {
        self.lines.reserve(fields);
        self.block.reserve(bytes);
    }

    /// Adds a field beside those of the same name.
    pub fn append(&mut self, name: &HeaderName, value: &HeaderValue) {
        self.append_read(name, value.as_bytes());
    }

    /// The same for a value that stood in a line of a head.
    pub(crate) fn append_read(&mut self, name: &HeaderName, value: &[u8]) {
        // As a line of a head, so that what was added in turn is written at once.
        let name = self.push(name.as_str().as_bytes());
        self.push(b": ");
        let value = self.push(value);
        self.push(b"\r\n");
        let line = Line::new(&self.block, name, value);
        self.looks |= line.look.bit();
        self.lines.push(line);
    }

    /// Sets a field in place of all of the same name.
    pub fn insert(&mut self, name: &HeaderName, value: &HeaderValue) {
        self.remove(name);
        self.append(name, value);
    }

    /// Writes a line for each field that `keep` wants. Lines that stand in the block as they
    /// would be written, one after the other, are copied at once.
    pub fn write(&self, head: &mut Vec<u8>, mut keep: impl FnMut(&[u8]) -> bool) {
        let mut run = Span { from: 0, to: 0 };
        for line in &self.lines {
            let name = line.name.of(&self.block);
            if !keep(name) {
                continue;
            }
            match line.whole(&self.block) {
                Some(whole) if whole.from == run.to => run.to = whole.to,
                Some(whole) => {
                    head.extend_from_slice(run.of(&self.block));
                    run = whole;
                }
                None => {
                    head.extend_from_slice(run.of(&self.block));
                    run = Span { from: 0, to: 0 };
                    write_line(head, name, &[line.value.of(&self.block)]);
                }
            }
        }
        head.extend_from_slice(run.of(&self.block));
    }

    /// The lines among which a name of this look may be.
    fn among(&self, look: Look) -> &[Line] {
        match self.looks & look.bit() {
            0 => &[],
            _ => &self.lines,
        }
    }

    fn is_named(&self, line: &Line, name: &HeaderName) -> bool {
        same_name(line.name.of(&self.block), name)
    }

    fn push(&mut self, bytes: &[u8]) -> Span {
        let from = self.block.len();
        self.block.extend_from_slice(bytes);
        // A head is limited to far less than four gigabytes.
        let place = |place: usize| u32::try_from(place).unwrap_or(u32::MAX);
        Span {
            from: place(from),
            to: place(self.block.len()),
        }
    }
}

/// Values stay out of logs: one of them is a token.
impl std::fmt::Debug for Fields {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list()
            .entries(self.iter().map(|(name, _)| name.escape_ascii().to_string()))
            .finish()
    }
}

impl From<&http::HeaderMap> for Fields {
    fn from(map: &http::HeaderMap) -> Self {
        let mut fields = Self::default();
        for (name, value) in map {
            fields.append(name, value);
        }
        fields
    }
}

/// The members of a list field's line.
pub fn members(line: &[u8]) -> impl Iterator<Item = &[u8]> {
    line.split(|byte| *byte == b',').map(<[u8]>::trim_ascii)
}

/// Writes one line of a head; the pieces of its value hold no line ends.
pub fn write_line(head: &mut Vec<u8>, name: &[u8], pieces: &[&[u8]]) {
    head.extend_from_slice(name);
    head.extend_from_slice(b": ");
    for piece in pieces {
        head.extend_from_slice(piece);
    }
    head.extend_from_slice(b"\r\n");
}

/// Names of `http` are in lower case. Without branches, so that a name is compared at once.
fn same_name(found: &[u8], name: &HeaderName) -> bool {
    let name = name.as_str().as_bytes();
    let mut letters = found.iter().zip(name);
    let same = |same, (found, name): (&u8, &u8)| same & (found.to_ascii_lowercase() == *name);
    found.len() == name.len() && letters.by_ref().fold(true, same)
}

#[cfg(test)]
mod tests {
    use http::header::{ACCEPT, HOST, VARY};

    use super::*;

    fn fields() -> Fields {
        let mut fields = Fields::default();
        fields.append(&VARY, &HeaderValue::from_static("a, B"));
        fields.append(&HOST, &HeaderValue::from_static("h"));
        fields.append(&VARY, &HeaderValue::from_static("c"));
        fields
    }

    #[test]
    fn names_are_found_in_any_case_and_order_is_kept() {
        let block = b"hOST: x\r\nAccept: y\r\n".to_vec();
        let span = |from, to| Span { from, to };
        let lines = vec![
            Line::new(&block, span(0, 4), span(6, 7)),
            Line::new(&block, span(9, 15), span(17, 18)),
        ];
        let mut fields = Fields::from_lines(block, lines);
        assert_eq!(fields.get(&HOST), Some(&b"x"[..]));
        fields.append(&VARY, &HeaderValue::from_static("z"));
        let mut text = Vec::new();
        fields.write(&mut text, |_| true);
        assert_eq!(text, b"hOST: x\r\nAccept: y\r\nvary: z\r\n");
        text.clear();
        fields.write(&mut text, |name| name != b"hOST");
        assert_eq!(text, b"Accept: y\r\nvary: z\r\n");
        assert!(fields.remove(&ACCEPT) && !fields.remove(&ACCEPT));
        assert_eq!(fields.len(), 2);
    }

    #[test]
    fn all_lines_of_a_name_count() {
        let mut fields = fields();
        assert_eq!(fields.single(&VARY), Err(Repeated));
        assert_eq!(fields.single(&HOST), Ok(Some(&b"h"[..])));
        assert_eq!(fields.single(&ACCEPT), Ok(None));
        assert!(fields.lists(&VARY, "b") && fields.lists(&VARY, "C") && !fields.lists(&VARY, "d"));
        fields.insert(&VARY, &HeaderValue::from_static("only"));
        assert_eq!(fields.get_all(&VARY).collect::<Vec<_>>(), [b"only"]);
    }
}
