//! The header fields of a message, as they came.

mod name;

use http::{HeaderName, HeaderValue};

use name::{Look, Sought};

pub use name::is_same;

/// The header fields of a message, in the order in which they came and spelt as they came.
///
/// One block of bytes holds them all, each as the line that it is written as, and a list says where
/// in the block each lies: reading a head costs one copy, and removing a field moves none of the
/// others. Names are compared without regard to case. Whoever adds a field does so with `http`'s
/// types, and whoever reads a head refuses what they would refuse, so no name and no value holds a
/// line end.
#[derive(Clone, Default)]
pub struct Fields {
    block: Vec<u8>,
    lines: Vec<Line>,
    /// A bit for each look that a name has, or had: most questions are about names that are not
    /// there, and need no search.
    looks: u64,
}

/// Where a field lies in the block: its name, a colon and a space, its value, and the line's end.
#[derive(Clone, Copy, Debug)]
struct Line {
    /// What its name looks like, so that most other names are told from it at once.
    look: Look,
    from: u32,
    colon: u32,
    to: u32,
}

impl Line {
    #[inline]
    fn name(self, block: &[u8]) -> &[u8] {
        block
            .get(self.from as usize..self.colon as usize)
            .unwrap_or_default()
    }

    #[inline]
    fn value(self, block: &[u8]) -> &[u8] {
        let (from, to) = (self.colon as usize + 2, (self.to as usize).wrapping_sub(2));
        block.get(from..to).unwrap_or_default()
    }

    #[inline]
    fn is_named(self, sought: Sought<'_>, block: &[u8]) -> bool {
        self.look == sought.look && is_same(self.name(block), sought.text)
    }
}

/// A field that may stand once stood twice.
#[derive(Debug, PartialEq, Eq)]
pub struct Repeated;

impl Fields {
    /// The fields of a head, whose bytes hold what was found in them.
    pub(crate) fn read(head: &[u8], found: &[httparse::Header<'_>]) -> Self {
        Self::copied(head, found).unwrap_or_else(|| Self::rewritten(found))
    }

    /// The same where all lines of the head, from that of the first field on, stand in it as they are
    /// written, as those of most heads do: they are copied all at once.
    pub(crate) fn copied(head: &[u8], found: &[httparse::Header<'_>]) -> Option<Self> {
        let place = |text: &[u8]| text.as_ptr().addr().checked_sub(head.as_ptr().addr());
        let two = |place: usize| head.get(place..)?.first_chunk::<2>();
        // Room for the few fields that usher adds to an answer.
        let mut lines = Vec::with_capacity(found.len() + 4);
        let (mut looks, mut to) = (0, None);
        for field in found {
            let name = field.name.as_bytes();
            let from = place(name)?;
            if to.is_some_and(|to| to != from) {
                return None;
            }
            let colon = from + name.len();
            if two(colon)? != b": " || place(field.value)? != colon + 2 {
                return None;
            }
            let end = colon + 2 + field.value.len();
            if two(end)? != b"\r\n" {
                return None;
            }
            to = Some(end + 2);
            let line = Line {
                look: Look::of(name),
                from: u32::try_from(from).ok()?,
                colon: u32::try_from(colon).ok()?,
                to: u32::try_from(end + 2).ok()?,
            };
            looks |= line.look.bit();
            lines.push(line);
        }
        let whole = two(to?) == Some(b"\r\n") && to? + 2 == head.len();
        whole.then(|| Self {
            block: head.to_vec(),
            lines,
            looks,
        })
    }

    /// The same, each line written anew.
    #[cold]
    pub(crate) fn rewritten(found: &[httparse::Header<'_>]) -> Self {
        let mut fields = Self::default();
        for field in found {
            fields.push(field.name.as_bytes(), field.value);
        }
        fields
    }

    /// The fields of lines that we have written ourselves; room for so many.
    pub(crate) fn of_lines(lines: Vec<u8>, room: usize) -> Self {
        let mut fields = Self {
            block: lines,
            lines: Vec::with_capacity(room),
            looks: 0,
        };
        let mut from = 0;
        while let Some(line) = fields.block.get(from..).filter(|rest| !rest.is_empty()) {
            let to = memchr::memchr(b'\n', line).map_or(fields.block.len(), |end| from + end + 1);
            if let Some(colon) = memchr::memchr(b':', line) {
                fields.note(from, from + colon, to);
            }
            from = to;
        }
        fields
    }

    /// Where in the block the first one begins.
    pub(crate) fn start(&self) -> usize {
        self.lines.first().map_or(0, |line| line.from as usize)
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
            .map(|line| (line.name(block), line.value(block)))
    }

    /// The values of all fields of this name.
    #[inline(always)]
    pub fn get_all<'a, 'n>(
        &'a self,
        name: &'n HeaderName,
    ) -> impl DoubleEndedIterator<Item = &'a [u8]> + use<'a, 'n> {
        self.all(Sought::of(name))
    }

    /// The value of the first field of this name.
    #[inline(always)]
    pub fn get(&self, name: &HeaderName) -> Option<&[u8]> {
        let sought = Sought::of(name);
        match self.may_hold(sought.look) {
            true => self.first(sought),
            false => None,
        }
    }

    /// Whether there is a field of this name.
    #[inline(always)]
    pub fn contains(&self, name: &HeaderName) -> bool {
        self.get(name).is_some()
    }

    /// The only value of a field: `Ok(None)` when it is absent, `Err` when it is repeated.
    ///
    /// # Errors
    /// [`Repeated`].
    #[inline(always)]
    pub fn single(&self, name: &HeaderName) -> Result<Option<&[u8]>, Repeated> {
        let sought = Sought::of(name);
        match self.may_hold(sought.look) {
            true => self.only(sought),
            false => Ok(None),
        }
    }

    /// Whether a list field has a member, which is told in lower case and found in any.
    #[inline(always)]
    pub fn lists(&self, name: &HeaderName, member: &str) -> bool {
        let sought = Sought::of(name);
        self.may_hold(sought.look) && self.has_member(sought, member.as_bytes())
    }

    /// Removes every field of this name; tells whether there was one.
    #[inline(always)]
    pub fn remove(&mut self, name: &HeaderName) -> bool {
        let sought = Sought::of(name);
        self.may_hold(sought.look) && self.take_out(sought)
    }

    /// Removes those fields of this name whose value `is_gone` says so of.
    pub fn remove_if(&mut self, name: &HeaderName, is_gone: impl Fn(&[u8]) -> bool) {
        let sought = Sought::of(name);
        if self.may_hold(sought.look) {
            let block = &self.block;
            let stays = |line: &Line| !line.is_named(sought, block) || !is_gone(line.value(block));
            self.lines.retain(stays);
        }
    }

    /// Keeps the fields for which `keep` says so.
    pub fn retain(&mut self, mut keep: impl FnMut(&[u8], &[u8]) -> bool) {
        let block = &self.block;
        self.lines
            .retain(|line| keep(line.name(block), line.value(block)));
    }

    /// Adds a field beside those of the same name.
    pub fn append(&mut self, name: &HeaderName, value: &HeaderValue) {
        self.append_read(name, value.as_bytes());
    }

    /// The same for a value that stood in a line of a head.
    pub(crate) fn append_read(&mut self, name: &HeaderName, value: &[u8]) {
        self.push(name.as_str().as_bytes(), value);
    }

    /// Sets a field in place of all of the same name.
    pub fn insert(&mut self, name: &HeaderName, value: &HeaderValue) {
        self.remove(name);
        self.append(name, value);
    }

    /// Writes a line for each field.
    pub fn write(&self, head: &mut Vec<u8>) {
        self.write_without(&[], head);
    }

    /// The same without the fields of some names.
    #[inline(always)]
    pub fn write_but<const N: usize>(&self, names: [&HeaderName; N], head: &mut Vec<u8>) {
        self.write_without(&names.map(Sought::of), head);
    }

    /// Lines that lie one after the other are copied at once.
    fn write_without(&self, names: &[Sought<'_>], head: &mut Vec<u8>) {
        let (mut from, mut to) = (0, 0);
        for line in &self.lines {
            if names.iter().any(|name| line.is_named(*name, &self.block)) {
                continue;
            }
            if line.from != to {
                head.extend_from_slice(self.run(from, to));
                from = line.from;
            }
            to = line.to;
        }
        head.extend_from_slice(self.run(from, to));
    }

    fn run(&self, from: u32, to: u32) -> &[u8] {
        let run = self.block.get(from as usize..to as usize);
        run.unwrap_or_default()
    }

    /// Whether there may be a name of this look; most often there is none.
    fn may_hold(&self, look: Look) -> bool {
        self.looks & look.bit() != 0
    }

    fn all<'a, 'n>(
        &'a self,
        sought: Sought<'n>,
    ) -> impl DoubleEndedIterator<Item = &'a [u8]> + use<'a, 'n> {
        let lines = match self.may_hold(sought.look) {
            true => &self.lines[..],
            false => &[],
        };
        lines
            .iter()
            .filter(move |line| line.is_named(sought, &self.block))
            .map(|line| line.value(&self.block))
    }

    fn first(&self, sought: Sought<'_>) -> Option<&[u8]> {
        self.all(sought).next()
    }

    fn only(&self, sought: Sought<'_>) -> Result<Option<&[u8]>, Repeated> {
        let mut all = self.all(sought);
        let first = all.next();
        match all.next() {
            Some(_) => Err(Repeated),
            None => Ok(first),
        }
    }

    fn has_member(&self, sought: Sought<'_>, member: &[u8]) -> bool {
        let has = |line| members(line).any(|one| is_same(one, member));
        self.all(sought).any(has)
    }

    fn take_out(&mut self, sought: Sought<'_>) -> bool {
        let before = self.lines.len();
        let block = &self.block;
        self.lines.retain(|line| !line.is_named(sought, block));
        self.lines.len() < before
    }

    fn push(&mut self, name: &[u8], value: &[u8]) {
        let from = self.block.len();
        write_line(&mut self.block, name, &[value]);
        self.note(from, from + name.len(), self.block.len());
    }

    /// Notes where a line lies that is in the block already.
    fn note(&mut self, from: usize, colon: usize, to: usize) {
        // A head is limited to far less than four gigabytes.
        let place = |place: usize| u32::try_from(place).unwrap_or(u32::MAX);
        let name = self.block.get(from..colon).unwrap_or_default();
        let line = Line {
            look: Look::of(name),
            from: place(from),
            colon: place(colon),
            to: place(to),
        };
        self.looks |= line.look.bit();
        self.lines.push(line);
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
    let mut rest = Some(line);
    std::iter::from_fn(move || {
        let line = rest?;
        let comma = memchr::memchr(b',', line);
        rest = comma.and_then(|comma| line.get(comma + 1..));
        let member = line.get(..comma.unwrap_or(line.len()));
        member.map(<[u8]>::trim_ascii)
    })
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

#[cfg(test)]
mod tests {
    use http::header::{ACCEPT, CONNECTION, HOST, VARY};

    use super::*;

    fn fields() -> Fields {
        let mut fields = Fields::default();
        fields.append(&VARY, &HeaderValue::from_static("a, B"));
        fields.append(&HOST, &HeaderValue::from_static("h"));
        fields.append(&VARY, &HeaderValue::from_static("c"));
        fields
    }

    fn read(head: &str) -> Fields {
        let mut table = [httparse::EMPTY_HEADER; 8];
        let parsed = httparse::parse_headers(head.as_bytes(), &mut table).unwrap();
        Fields::read(head.as_bytes(), parsed.unwrap().1)
    }

    #[test]
    fn lines_that_are_written_otherwise_are_written_anew() {
        for head in [
            "a: b\r\nc: d\r\n\r\n",
            "a:b\r\nc:d\r\n\r\n",
            "a: b \r\nc:\td\r\n\r\n",
            "a:  b\r\nc: d\t\r\n\r\n",
            "a: b\nc: d \n\n",
            "a: b\r\nc: d\r\n\n",
        ] {
            let mut text = Vec::new();
            read(head).write(&mut text);
            assert_eq!(text, b"a: b\r\nc: d\r\n", "{head:?}");
        }
        let fields = read("a:\r\nb: \r\nc: d\r\n\r\n");
        let mut text = Vec::new();
        fields.write(&mut text);
        assert_eq!(text, b"a: \r\nb: \r\nc: d\r\n");
        let values: Vec<_> = fields.iter().map(|(_, value)| value).collect();
        assert_eq!(values, [&b""[..], b"", b"d"]);
    }

    #[test]
    fn lines_of_ours_are_fields() {
        let fields = Fields::of_lines(b"accept: x: y\r\nhost: \r\n".to_vec(), 2);
        assert_eq!(fields.get(&ACCEPT), Some(&b"x: y"[..]));
        assert_eq!(fields.get(&HOST), Some(&b""[..]));
        assert_eq!(Fields::of_lines(Vec::new(), 0).len(), 0);
    }

    #[test]
    fn names_are_found_in_any_case_and_order_is_kept() {
        let mut fields = read("hOST: x\r\nAccept: y\r\n\r\n");
        assert_eq!(fields.get(&HOST), Some(&b"x"[..]));
        fields.append(&VARY, &HeaderValue::from_static("z"));
        let mut text = Vec::new();
        fields.write(&mut text);
        assert_eq!(text, b"hOST: x\r\nAccept: y\r\nvary: z\r\n");
        text.clear();
        fields.write_but([&HOST, &CONNECTION], &mut text);
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
        assert!(fields.lists(&VARY, "b") && fields.lists(&VARY, "c") && !fields.lists(&VARY, "d"));
        fields.insert(&VARY, &HeaderValue::from_static("only"));
        assert_eq!(fields.get_all(&VARY).collect::<Vec<_>>(), [b"only"]);
    }
}
