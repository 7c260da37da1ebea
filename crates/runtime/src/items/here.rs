//! Items that do not travel: what a function that runs in the caller's process makes, one by one, as
//! encoded as they would arrive.

use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};

use super::producer::{Filled, Finish, Producer};
use super::record::{self, Record};

/// What a producer makes, item by item.
#[derive(Debug)]
pub struct Here {
    producer: Producer,
    buffer: BytesMut,
}

impl Here {
    /// The items of a producer.
    pub fn new(producer: Producer) -> Self {
        Self { producer, buffer: BytesMut::new() }
    }

    /// What has been made already and nobody has taken.
    pub fn made(&mut self) -> Option<Bytes> {
        if self.buffer.is_empty() && self.producer.is_ahead() {
            let mut made = Vec::new();
            self.producer.take_made(&mut made);
            self.buffer = BytesMut::from(Bytes::from(made));
        }
        match record::take(&mut self.buffer) {
            Ok(Some(Record::Item(item))) => Some(item),
            Ok(Some(Record::End) | None) | Err(_) => None,
        }
    }

    /// The next item; an error is how it ended.
    pub fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Result<Bytes, Finish>> {
        loop {
            // The producer puts nothing but whole records, and no end.
            if let Ok(Some(Record::Item(item))) = record::take(&mut self.buffer) {
                return Poll::Ready(Ok(item));
            }
            let mut made = Vec::new();
            // One is enough: the reader is here, and what is made early may never be wanted.
            match ready!(self.producer.poll_fill(context, &mut made, 1)) {
                Filled::More => self.buffer = BytesMut::from(Bytes::from(made)),
                Filled::End(finish) => return Poll::Ready(Err(finish)),
            }
        }
    }
}
