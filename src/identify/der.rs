//! Just enough DER to look into public keys, and to write one.

use crate::der::{Reader, SEQUENCE, VERSION};

/// Tags that are met on the way to a key.
const INTEGER: u8 = 0x02;
const BIT_STRING: u8 = 0x03;

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
    let (tag, ..) = signed.value()?;
    // version (optional), serialNumber, signature, issuer, validity, subject
    let before = if tag == VERSION { 5 } else { 4 };
    for _ in 0..before {
        signed.value()?;
    }
    let (tag, _, whole) = signed.value()?;
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
