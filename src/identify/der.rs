//! Just enough DER (X.690) to look into public keys and certificates.

/// Tags that are met on the way to a key.
const INTEGER: u8 = 0x02;
const BIT_STRING: u8 = 0x03;
const SEQUENCE: u8 = 0x30;
const VERSION: u8 = 0xa0;

/// Reads one value after the other.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    /// The next value's tag, content, and all of its bytes.
    fn next(&mut self) -> Option<(u8, &'a [u8], &'a [u8])> {
        let (&tag, rest) = self.0.split_first()?;
        let (&first, rest) = rest.split_first()?;
        let (length, rest) = match first {
            0..=0x7f => (usize::from(first), rest),
            0x81..=0x83 => {
                let (digits, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
                let length = digits
                    .iter()
                    .fold(0, |sum, digit| sum << 8 | usize::from(*digit));
                (length, rest)
            }
            _ => return None,
        };
        let (content, after) = rest.split_at_checked(length)?;
        let whole = self.0.get(..self.0.len() - after.len())?;
        self.0 = after;
        Some((tag, content, whole))
    }

    /// The content of the next value, which must have this tag.
    fn expect(&mut self, tag: u8) -> Option<&'a [u8]> {
        let (found, content, _) = self.next()?;
        (found == tag).then_some(content)
    }
}

/// The modulus and the exponent of an RSA key in an RFC 5280 `SubjectPublicKeyInfo`,
/// big-endian and without leading zeros.
pub(super) fn rsa_numbers(spki: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut info = Reader(Reader(spki).expect(SEQUENCE)?);
    info.expect(SEQUENCE)?;
    let (_unused_bits, key) = info.expect(BIT_STRING)?.split_first()?;
    let mut numbers = Reader(Reader(key).expect(SEQUENCE)?);
    Some((
        without_zeros(numbers.expect(INTEGER)?),
        without_zeros(numbers.expect(INTEGER)?),
    ))
}

/// The `SubjectPublicKeyInfo` inside an X.509 certificate (RFC 5280 §4.1), which is not
/// checked in any other way: an operator chose the file.
pub(super) fn certificate_key(certificate: &[u8]) -> Option<&[u8]> {
    let mut signed = Reader(Reader(Reader(certificate).expect(SEQUENCE)?).expect(SEQUENCE)?);
    let (tag, ..) = signed.next()?;
    // version (optional), serialNumber, signature, issuer, validity, subject
    let before = if tag == VERSION { 5 } else { 4 };
    for _ in 0..before {
        signed.next()?;
    }
    let (tag, _, whole) = signed.next()?;
    (tag == SEQUENCE).then_some(whole)
}

/// A PKCS#1 `RSAPublicKey` (RFC 8017 A.1.1) of these numbers.
pub(super) fn rsa_key(n: &[u8], e: &[u8]) -> Vec<u8> {
    let mut numbers = integer(n);
    numbers.extend(integer(e));
    value(SEQUENCE, &numbers)
}

/// A positive integer.
fn integer(digits: &[u8]) -> Vec<u8> {
    let digits = without_zeros(digits);
    let mut content = Vec::with_capacity(digits.len() + 1);
    if digits.first().is_none_or(|first| *first >= 0x80) {
        content.push(0);
    }
    content.extend(digits);
    value(INTEGER, &content)
}

fn value(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = content.len().to_be_bytes();
    let length = without_zeros(&length);
    let mut whole = vec![tag];
    match *length {
        [] => whole.push(0),
        [short] if short < 0x80 => whole.push(short),
        _ => {
            // A `usize` has at most eight digits.
            whole.push(0x80 | u8::try_from(length.len()).unwrap_or(8));
            whole.extend(length);
        }
    }
    whole.extend(content);
    whole
}

/// Big-endian digits without leading zeros.
pub(super) fn without_zeros(digits: &[u8]) -> &[u8] {
    let start = digits.iter().position(|digit| *digit != 0);
    start
        .and_then(|start| digits.get(start..))
        .unwrap_or_default()
}
