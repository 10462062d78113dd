//! One file, sent: its head, and its content piece by piece.
//!
//! Where the whole file is asked for, its first piece is read where it is opened: each wait for a
//! blocking thread costs as much as all the rest of a small file, and its head goes out with it.

use std::{fs::File, future, io, ops::Range, path::PathBuf, sync::Arc, time::SystemTime};

use actix_web::{
    HttpRequest, HttpResponse,
    body::{self, SizedStream},
    http::{Method, StatusCode, header},
};
use bytes::Bytes;
use futures_util::{Stream, StreamExt as _, stream};
use rustix::{
    buffer::spare_capacity,
    io::{pread, retry_on_intr},
};

use super::{
    by_extension,
    conditions::{Selection, Validators},
};
use crate::http::{self, Ahead, Leave};

/// A file that is open.
pub(super) struct OpenFile {
    file: File,
    name: PathBuf,
    length: u64,
    validators: Validators,
    /// The first piece, where the whole is certain to be sent.
    first: Option<Bytes>,
}

/// How much a request is certain to be answered with.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Reads {
    Whole,
    /// A part, or a head, or nothing: its conditions say. Or the client has to make room first.
    Unclear,
}

/// What is read at once, and held for each client that is slow to take it.
const PIECE: u64 = 64 * 1024;

/// Headers that make an answer anything but the whole file.
const CONDITIONS: [header::HeaderName; 5] = [
    header::RANGE,
    header::IF_MATCH,
    header::IF_NONE_MATCH,
    header::IF_MODIFIED_SINCE,
    header::IF_UNMODIFIED_SINCE,
];

/// What a request for a file reads of it.
pub(super) fn reads(request: &HttpRequest) -> Reads {
    let is_conditional = |name| request.headers().contains_key(name);
    let is_whole = request.method() == Method::GET && !CONDITIONS.iter().any(is_conditional);
    if is_whole && http::may_read_ahead(request, PIECE as usize) {
        Reads::Whole
    } else {
        Reads::Unclear
    }
}

impl OpenFile {
    /// Of an open regular file. Blocks.
    ///
    /// # Errors
    /// It cannot be read; `UnexpectedEof` where it has become shorter meanwhile.
    pub(super) fn new(file: File, name: PathBuf, reads: Reads) -> io::Result<Self> {
        let metadata = file.metadata()?;
        let length = metadata.len();
        let first = match reads {
            Reads::Whole => Some(piece(&file, 0, length)?),
            Reads::Unclear => None,
        };
        Ok(Self {
            validators: Validators::new(length, metadata.modified()?, SystemTime::now()),
            file,
            name,
            length,
            first,
        })
    }

    /// The answer, which keeps `leave` as long as it holds the file open.
    pub(super) fn response(self, request: &HttpRequest, leave: Option<Leave>) -> HttpResponse {
        let asked = self.validators.judge(request, self.length);
        let mut response = HttpResponse::build(match asked {
            Selection::Whole => StatusCode::OK,
            Selection::Part(_) => StatusCode::PARTIAL_CONTENT,
            Selection::NotModified => StatusCode::NOT_MODIFIED,
            Selection::PreconditionFailed => StatusCode::PRECONDITION_FAILED,
            Selection::NotSatisfiable => StatusCode::RANGE_NOT_SATISFIABLE,
        });
        response.insert_header((header::ETAG, self.validators.etag.clone()));
        response.insert_header((header::ACCEPT_RANGES, "bytes"));
        if let Some(modified) = self.validators.modified {
            response.insert_header((header::LAST_MODIFIED, modified));
        }
        let length = self.length;
        let sent = match asked {
            Selection::Whole => 0..length,
            Selection::Part(part) => {
                let range = format!("bytes {}-{}/{length}", part.start, part.end - 1);
                response.insert_header((header::CONTENT_RANGE, range));
                part
            }
            Selection::NotModified => return response.body(body::None::new()),
            Selection::PreconditionFailed => return response.finish(),
            Selection::NotSatisfiable => {
                response.insert_header((header::CONTENT_RANGE, format!("bytes */{length}")));
                return response.finish();
            }
        };
        response.content_type(by_extension(&self.name));
        if request.method() == Method::HEAD {
            // The length without the reading: actix-http would read all of it, and send nothing.
            let nothing = stream::empty::<io::Result<_>>();
            return response.body(SizedStream::new(length, nothing));
        }
        match self.first {
            Some(whole) if whole.len() as u64 == length => response.body(whole),
            first => {
                let size = sent.end - sent.start;
                let ahead = http::ahead(request);
                let pieces = Box::pin(pieces(first, (self.file, leave), sent, ahead));
                response.body(SizedStream::new(size, pieces))
            }
        }
    }
}

/// A range of a file in pieces; ends in an error where the file has become shorter. The first one may
/// be read already.
fn pieces(
    first: Option<Bytes>,
    (file, leave): (File, Option<Leave>),
    range: Range<u64>,
    ahead: Option<Ahead>,
) -> impl Stream<Item = io::Result<Bytes>> {
    let read = first.as_ref().map_or(0, |first| first.len() as u64);
    let (at, end) = (range.start + read, range.end);
    let begin = (Arc::new(file), leave, ahead, at);
    let rest = stream::try_unfold(begin, move |(file, leave, ahead, at)| async move {
        if at == end {
            return Ok(None);
        }
        if let Some(ahead) = &ahead {
            ahead.begins_to_read(PIECE.min(end - at) as usize);
        }
        let shared = file.clone();
        let piece = match http::block(move || piece(&shared, at, end - at)).await {
            Ok(piece) => piece?,
            // Without a thread the worker reads it: an answer that has begun is not broken off.
            Err(_) => piece(&file, at, end - at)?,
        };
        let next = at + piece.len() as u64;
        Ok(Some((piece, (file, leave, ahead, next))))
    });
    let first = first.into_iter().map(|first| future::ready(Ok(first)));
    stream::iter(first).then(|first| first).chain(rest)
}

/// What a file has from an offset on, of this length or of a piece's. Blocks.
fn piece(file: &File, at: u64, length: u64) -> io::Result<Bytes> {
    let length = length.min(PIECE) as usize;
    let mut piece = Vec::with_capacity(length);
    while piece.len() < length {
        let at = at + piece.len() as u64;
        if retry_on_intr(|| pread(file, spare_capacity(&mut piece), at))? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    piece.truncate(length);
    Ok(piece.into())
}
