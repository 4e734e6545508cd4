//! Where the frames of a WebSocket end (RFC 6455 §5.2), without a look at what they hold.

use crate::identify::End;

/// Follows frames as they pass.
#[derive(Debug, Default)]
pub(super) struct Frames {
    /// The head of the next frame, as far as it came.
    head: Vec<u8>,
    /// What is to come of the payload.
    payload: u64,
}

/// Tells the client that its token is good no more: a Close frame with 1008, "policy violation",
/// and why (§5.5.1 and §7.4.1).
pub(super) const fn close(end: End) -> &'static [u8] {
    match end {
        End::Expired => b"\x88\x0f\x03\xf0token expired",
        End::Revoked => b"\x88\x0f\x03\xf0token revoked",
    }
}

impl Frames {
    /// Whether a frame has just ended, or none has begun.
    pub(super) fn is_between(&self) -> bool {
        self.head.is_empty() && self.payload == 0
    }

    /// How many bytes may pass before the end of the frame under way is known to be reached; at
    /// least one.
    pub(super) fn room(&self) -> usize {
        match self.payload {
            0 => head_length(&self.head)
                .saturating_sub(self.head.len())
                .max(1),
            left => usize::try_from(left).unwrap_or(usize::MAX),
        }
    }

    /// These bytes passed.
    pub(super) fn pass(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            if self.payload > 0 {
                let passed = bytes
                    .len()
                    .min(usize::try_from(self.payload).unwrap_or(usize::MAX));
                self.payload -= passed as u64;
                bytes = &bytes[passed..];
                continue;
            }
            let missing = head_length(&self.head).saturating_sub(self.head.len());
            let (head, rest) = bytes.split_at(missing.min(bytes.len()));
            self.head.extend_from_slice(head);
            bytes = rest;
            if self.head.len() == head_length(&self.head) {
                self.payload = payload_length(&self.head);
                self.head.clear();
            }
        }
    }
}

/// How long the head of a frame is, as far as what came of it tells.
fn head_length(head: &[u8]) -> usize {
    let Some(second) = head.get(1) else {
        return 2;
    };
    let extended = match second & 0x7f {
        126 => 2,
        127 => 8,
        _ => 0,
    };
    let mask = if second & 0x80 == 0 { 0 } else { 4 };
    2 + extended + mask
}

/// How long the payload is that follows a whole head.
fn payload_length(head: &[u8]) -> u64 {
    match head {
        [_, second, a, b, ..] if second & 0x7f == 126 => u64::from(u16::from_be_bytes([*a, *b])),
        [_, second, rest @ ..] if second & 0x7f == 127 => rest
            .first_chunk()
            .map_or(0, |bytes| u64::from_be_bytes(*bytes)),
        [_, second, ..] => u64::from(second & 0x7f),
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(length: u64, masked: bool) -> Vec<u8> {
        let mask = if masked { 0x80 } else { 0 };
        let mut frame = vec![0x82];
        match length {
            0..=125 => frame.push(mask | u8::try_from(length).unwrap()),
            126..=0xffff => {
                frame.push(mask | 126);
                frame.extend(u16::try_from(length).unwrap().to_be_bytes());
            }
            _ => {
                frame.push(mask | 127);
                frame.extend(length.to_be_bytes());
            }
        }
        frame.extend(vec![1; if masked { 4 } else { 0 }]);
        frame.extend(vec![0x81; usize::try_from(length).unwrap()]);
        frame
    }

    #[test]
    fn the_end_of_each_frame_is_found_wherever_bytes_break() {
        for length in [0, 1, 125, 126, 127, 65_535, 65_536] {
            for masked in [false, true] {
                for cut in [1, 2, 3, 5, 1000, 1 << 20] {
                    let two = [frame(length, masked), frame(7, false)].concat();
                    let mut frames = Frames::default();
                    let mut passed = 0;
                    for piece in two.chunks(cut) {
                        frames.pass(piece);
                        passed += piece.len();
                        let ends = [two.len(), two.len() - frame(7, false).len()];
                        assert_eq!(
                            frames.is_between(),
                            ends.contains(&passed),
                            "{length} {cut}"
                        );
                    }
                }
            }
        }
    }

    #[test]
    fn whoever_keeps_to_the_room_stops_between_frames() {
        let two = [frame(300, false), frame(0, false)].concat();
        let mut frames = Frames::default();
        frames.pass(&two[..1]);
        let mut passed = 1;
        while !frames.is_between() {
            let room = frames.room();
            frames.pass(&two[passed..passed + room]);
            passed += room;
        }
        assert_eq!(passed, frame(300, false).len());
        for end in [End::Expired, End::Revoked] {
            assert_eq!(usize::from(close(end)[1]), close(end).len() - 2);
        }
    }
}
