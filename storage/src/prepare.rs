//! [`Ahead`]: makes the next segment before it is needed, and warms it while there is time.
//!
//! # Memory of the page cache
//! A log that grows takes new pages for all that is written, and finding them costs several times what copying into them
//! does, most of all where a host has to provide them first. So with each new segment the records of one old segment leave the
//! page cache: their pages are the next ones to be written. They are on the disk, and are read from there when somebody
//! asks; indexes stay.
//!
//! # Warming
//! Space that is only reserved is slow to write: the first sync after each write waits for the file system's journal,
//! which notes that those bytes are in use now, and the kernel has to find memory for each page. So zeros are written
//! over the new segment, which is what is in it anyway, until it is asked for. It is done in small parts with long pauses
//! between them: the records that are written meanwhile wait for the same journal. A segment of 256 MiB is warm after some
//! 20 s; a log that fills one sooner gets it warm in part.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

use crate::error::{Error, Part};
use crate::files::Context;
use crate::format::{FIRST_RECORD, Flaw};
use crate::medium::{Medium, MediumFile};
use crate::segment::{self, Segment};

/// A thread that makes a segment, if there is one.
#[derive(Default)]
pub(crate) struct Ahead(Option<Preparing>);

struct Preparing {
    thread: JoinHandle<Result<Box<dyn MediumFile>, Error>>,
    /// The segment is needed: it is warm enough.
    enough: Arc<AtomicBool>,
}

impl Ahead {
    /// Starts to make the segment `number`. The records of `old` leave the page cache.
    pub(crate) fn start(
        context: Arc<Context>,
        medium: Arc<dyn Medium>,
        number: u64,
        old: Option<Arc<Segment>>,
    ) -> Self {
        let enough = Arc::new(AtomicBool::new(false));
        let stop = Arc::clone(&enough);
        let thread = Builder::new().name("log-prepare".into()).spawn(move || {
            if let Some(old) = old {
                old.leave_cache();
            }
            let Next { file, is_new } = next_segment(&context, &*medium, number)?;
            if is_new {
                let warmed = warm(&context, &*file, &stop);
                warmed.map_err(Error::io("write zeros to", &context.segment_path(number)))?;
            }
            Ok(file)
        });
        match thread {
            Ok(thread) => Self(Some(Preparing { thread, enough })),
            Err(error) => {
                tracing::warn!(%error, "no thread to prepare the next segment: made when it is needed");
                Self(None)
            }
        }
    }

    /// The segment, as soon as it is made; `None` if nobody makes it or that failed.
    pub(crate) fn take(&mut self) -> Option<Box<dyn MediumFile>> {
        let Preparing { thread, enough } = self.0.take()?;
        // Relaxed: it only ends the work sooner, and joining the thread orders all else.
        enough.store(true, Ordering::Relaxed);
        match thread.join() {
            Ok(made) => {
                made.inspect_err(|error| tracing::warn!(%error, "the next segment was not prepared")).ok()
            }
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }
}

/// A segment that holds nothing.
pub(crate) struct Next {
    pub(crate) file: Box<dyn MediumFile>,
    /// Whether all of it is zeros that were never written.
    is_new: bool,
}

/// Opens the segment `number` when it is there and sound, else makes it. It must be one that holds nothing.
pub(crate) fn next_segment(context: &Context, medium: &dyn Medium, number: u64) -> Result<Next, Error> {
    if context.segment_path(number).exists() {
        if context.holds_records(number)? {
            let path = context.segment_path(number);
            let flaw = Flaw::Field { field: "first byte", found: 1, expected: 0 };
            return Err(Error::damaged(&path, FIRST_RECORD.into(), Part::File, flaw));
        }
        if segment::open_file(context, number).is_ok() {
            // Whoever made it may have failed to make its name durable.
            context.sync_dir(medium)?;
            return Ok(Next { file: context.open_segment(medium, number)?, is_new: false });
        }
    }
    let (file, recycled) = context.create_segment(medium, number)?;
    Ok(Next { file, is_new: !recycled })
}

/// Writes zeros where records and the index will be, until all is written or `enough` is set. The file is synced in
/// between, so that no sync of a record has to write the zeros too.
fn warm(context: &Context, file: &dyn MediumFile, enough: &AtomicBool) -> std::io::Result<()> {
    const PART: usize = 1 << 20;
    /// Of the time that the work takes, how much is spent waiting before it goes on.
    const PAUSE: u32 = 40;
    const STEP: Duration = Duration::from_millis(5);
    let zeros = vec![0; PART];
    let mut offset = u64::from(FIRST_RECORD);
    while offset < context.segment_bytes && !enough.load(Ordering::Relaxed) {
        let begun = Instant::now();
        let part = (PART as u64).min(context.segment_bytes - offset) as usize;
        file.write_at(&zeros[..part], offset)?;
        file.sync()?;
        offset += part as u64;
        let until = Instant::now() + begun.elapsed() * PAUSE;
        while Instant::now() < until && !enough.load(Ordering::Relaxed) {
            std::thread::sleep(STEP.min(until.saturating_duration_since(Instant::now())));
        }
    }
    Ok(())
}
