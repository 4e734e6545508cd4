//! Names of fields, told apart without regard to case.

use http::HeaderName;

/// A name that is looked for, with what it looks like.
#[derive(Clone, Copy)]
pub(super) struct Sought<'n> {
    pub(super) text: &'n [u8],
    pub(super) look: Look,
}

impl<'n> Sought<'n> {
    /// Inlined with whatever asks, so that for a name of `http`'s nothing of it is left to be worked
    /// out while a request waits.
    #[inline(always)]
    pub(super) fn of(name: &'n HeaderName) -> Self {
        let text = name.as_str().as_bytes();
        let look = Look::of(text);
        Self { text, look }
    }
}

/// The length of a name, and its first and last letter without regard to case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Look(u32);

impl Look {
    #[inline(always)]
    pub(super) fn of(name: &[u8]) -> Self {
        // A letter in lower case, or another character as good as any.
        let letter = |byte: Option<&u8>| u32::from(byte.map_or(0, |byte| byte | 0x20));
        // A length whose upper bits are lost makes two names look alike, and no more.
        let length = u32::try_from(name.len() & 0xffff).unwrap_or(0);
        Self(length << 16 | letter(name.first()) << 8 | letter(name.last()))
    }

    /// One of 64 bits; two looks may share one.
    pub(super) fn bit(self) -> u64 {
        1 << (self.0.wrapping_mul(0x9E37_79B1) >> 26)
    }
}

/// Whether a name, or a word, is the one that is looked for, which is in lower case, as the names
/// of `http` are.
pub fn is_same(found: &[u8], sought: &[u8]) -> bool {
    // Eight letters at a time; the last eight overlap those before them.
    let same = |found: &[u8; 8], sought: &[u8; 8]| {
        lower(u64::from_ne_bytes(*found)) == u64::from_ne_bytes(*sought)
    };
    if found.len() != sought.len() {
        return false;
    }
    let (Some(end), Some(sought_end)) = (found.last_chunk(), sought.last_chunk()) else {
        return found.eq_ignore_ascii_case(sought);
    };
    let mut chunks = found.as_chunks().0.iter().zip(sought.as_chunks().0);
    same(end, sought_end) && chunks.all(|(found, sought)| same(found, sought))
}

/// Eight bytes, the letters among them in lower case.
const fn lower(word: u64) -> u64 {
    const ONES: u64 = u64::from_ne_bytes([1; 8]);
    let low = word & (0x7f * ONES);
    // The highest bit of each byte: whether it is `A` or beyond, and whether it is beyond `Z`.
    let from_a = low + (0x80 - b'A' as u64) * ONES;
    let beyond_z = low + (0x7f - b'Z' as u64) * ONES;
    let capitals = from_a & !beyond_z & !word & (0x80 * ONES);
    word | (capitals >> 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_compared_as_ascii() {
        for sought in [
            "te",
            "host",
            "x-user-id",
            "authorization",
            "x-forwarded-proto",
            "x^y~z_0123",
        ] {
            let bytes = sought.as_bytes();
            assert!(is_same(bytes, bytes) && is_same(&bytes.to_ascii_uppercase(), bytes));
            assert!(!is_same(&bytes[1..], bytes));
            for place in 0..bytes.len() {
                for byte in 0..=255 {
                    let mut other = bytes.to_vec();
                    other[place] = byte;
                    let same = other.eq_ignore_ascii_case(bytes);
                    assert_eq!(is_same(&other, bytes), same, "{sought} {place} {byte}");
                }
            }
        }
    }
}
