//! One file, sent. What is said of it (ETag, ranges, conditions, type) is actix-files' own.
//!
//! Where the whole file is asked for, its first piece is read where it is opened: each wait for a
//! blocking thread costs as much as all the rest of a small file, and its head goes out with it.

use std::{fs::File, future, io, path::PathBuf, sync::Arc};

use actix_files::NamedFile;
use actix_web::{
    HttpRequest, HttpResponse,
    body::SizedStream,
    http::{Method, StatusCode, header},
};
use bytes::Bytes;
use futures_util::{Stream, StreamExt as _, stream};
use rustix::{
    buffer::spare_capacity,
    io::{pread, retry_on_intr},
};

use crate::server;

/// A file that is open.
pub(super) struct OpenFile {
    file: NamedFile,
    begun: Option<Begun>,
}

/// The whole of a file, of which the first piece is read.
struct Begun {
    first: Bytes,
    /// Where there is more.
    rest: Option<File>,
}

/// How much a request is certain to be answered with.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Reads {
    Whole,
    /// A part, or a head, or nothing: its conditions say.
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
    if request.method() == Method::GET && !CONDITIONS.iter().any(is_conditional) {
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
        let file = NamedFile::from_file(file, name)?;
        let begun = match reads {
            Reads::Whole => Some(Begun::new(&file)?),
            Reads::Unclear => None,
        };
        Ok(Self { file, begun })
    }

    pub(super) fn response(self, request: &HttpRequest) -> HttpResponse {
        let length = self.file.metadata().len();
        // Its name is the address's: it is shown or saved as the client pleases.
        let file = self.file.disable_content_disposition().prefer_utf8(true);
        let response = file.into_response(request);
        if response.status() != StatusCode::OK {
            return response;
        }
        if request.method() == Method::HEAD {
            // The length without the reading: actix-http would read all of it, and send nothing.
            let nothing = SizedStream::new(length, stream::empty::<io::Result<_>>());
            return response.map_body(|_, _| nothing).map_into_boxed_body();
        }
        match self.begun {
            None => response,
            Some(Begun { first, rest: None }) => {
                response.map_body(|_, _| first).map_into_boxed_body()
            }
            Some(Begun {
                first,
                rest: Some(rest),
            }) => {
                let body = SizedStream::new(length, Box::pin(pieces(first, rest, length)));
                response.map_body(|_, _| body).map_into_boxed_body()
            }
        }
    }
}

impl Begun {
    fn new(file: &NamedFile) -> io::Result<Self> {
        let length = file.metadata().len();
        Ok(Self {
            first: piece(file.file(), 0, length)?,
            rest: (length > PIECE)
                .then(|| file.file().try_clone())
                .transpose()?,
        })
    }
}

/// A file's pieces from its first to its last; ends in an error where it has become shorter.
fn pieces(first: Bytes, file: File, length: u64) -> impl Stream<Item = io::Result<Bytes>> {
    let read = first.len() as u64;
    let rest = stream::try_unfold((Arc::new(file), read), move |(file, at)| async move {
        if at == length {
            return Ok(None);
        }
        let shared = file.clone();
        let piece = match server::block(move || piece(&shared, at, length - at)).await {
            Ok(piece) => piece?,
            // Without a thread the worker reads it: an answer that has begun is not broken off.
            Err(_) => piece(&file, at, length - at)?,
        };
        let next = at + piece.len() as u64;
        Ok(Some((piece, (file, next))))
    });
    stream::once(future::ready(Ok(first))).chain(rest)
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
