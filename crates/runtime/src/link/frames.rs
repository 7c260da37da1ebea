//! What was read of a lane, cut into frames. Both halves of a lane use it.

use bytes::{Buf, Bytes, BytesMut};

use super::frame::{FRAME_MOST, Reply, Request};
use super::wire::WireError;
use crate::payload::Block;

/// How much is read at once at most.
const READ: usize = 64 * 1024;

/// Contents up to this size are copied out of what was read, so that a small one that is kept for long
/// does not keep all of it.
const COPIED: usize = 4 * 1024;

/// Cuts what was read into frames.
#[derive(Debug, Default)]
pub struct Frames {
    read: BytesMut,
    block: Block,
}

impl Frames {
    /// Where the next bytes are read to.
    pub fn room(&mut self) -> &mut BytesMut {
        self.read.reserve(READ.min(self.read.len().max(READ / 16).saturating_mul(4)));
        &mut self.read
    }

    /// The next request, if all of it is there.
    ///
    /// # Errors
    /// When the client broke the protocol.
    pub fn request(&mut self) -> Result<Option<Request>, WireError> {
        self.next(|frame, own| Request::read(frame, own))
    }

    /// The next reply, if all of it is there.
    ///
    /// # Errors
    /// When the worker broke the protocol.
    pub fn reply(&mut self) -> Result<Option<Reply>, WireError> {
        self.next(|frame, own| Reply::read(frame, own))
    }

    /// Whether something was read that is no whole frame yet.
    pub fn is_amid(&self) -> bool {
        !self.read.is_empty()
    }

    /// Reads the next frame, which `read` is given with a way to keep a part of it.
    fn next<T>(
        &mut self,
        read: impl FnOnce(&[u8], &mut dyn FnMut(&[u8]) -> Bytes) -> Result<T, WireError>,
    ) -> Result<Option<T>, WireError> {
        let Some(length) = self.read.first_chunk::<4>() else { return Ok(None) };
        let length = u32::from_be_bytes(*length);
        let Some(length) = usize::try_from(length).ok().filter(|it| *it <= FRAME_MOST) else {
            return Err(WireError::Frame { length: length.into() });
        };
        let Some(frame) = self.read.get(4..4 + length) else { return Ok(None) };
        if length <= COPIED {
            let block = &mut self.block;
            let taken = read(frame, &mut |part| block.copy(part))?;
            self.read.advance(4 + length);
            return Ok(Some(taken));
        }
        self.read.advance(4);
        let frame = self.read.split_to(length).freeze();
        read(&frame, &mut |part| frame.slice_ref(part)).map(Some)
    }
}
