//! The life of a query, the same for every door: it waits for its turn, runs within limits, can be seen and stopped while it runs,
//! and leaves a record.
//!
//! All of it hangs on the stream of rows: whoever drops a [`Running`] query at whatever moment stops it and gives back what it held.

mod admission;
mod ids;
mod records;
mod sessions;
mod tables;
mod work;

use crate::access::{Caller, Role};
use admission::{Admission, Permit};
use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use futures::stream::{self, BoxStream};
use futures::{Stream, StreamExt};
use ids::Ids;
pub use ids::QueryId;
pub(crate) use records::QUERY_BOUNDS;
pub use records::Records;
pub(crate) use records::micros_of_now;
pub use records::{Operation, Record, Summary};
use sessions::{Apart, Sessions};
use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};
use tallow_common::redact::redacted;
use tallow_common::{Code, Error, Result};
use tallow_engine::dialect::Problems;
use tallow_pipeline::control::Control;
use tallow_pipeline::outcome::{Outcome, Statistics};
use tallow_pipeline::query::Query;
use tallow_pipeline::{Request, Session};
use tokio_util::sync::CancellationToken;
use work::Begun;
pub use work::Work;

/// What queries may take.
#[derive(Debug, Clone)]
pub struct Limits {
    /// How many run at the same time.
    pub running: usize,
    /// How many wait for their turn; more are refused at once.
    pub waiting: usize,
    /// How long one may take, waiting included.
    pub timeout: Duration,
    /// Bytes of memory of one, which are a part of the session's.
    pub memory: usize,
}

/// A query, and who asks.
pub struct Asked {
    /// Under which name it is seen and stopped.
    pub id: QueryId,
    /// By which door.
    pub door: &'static str,
    /// Whose key it is.
    pub who: String,
    /// How many queries of theirs may run at the same time.
    pub most: Option<usize>,
    /// What it sees of the lake, and how much memory it may take.
    pub request: Request,
    /// How long it may take; `None`: as long as the server lets any.
    pub timeout: Option<Duration>,
    /// What is asked.
    pub work: Work,
}

/// All queries of a server.
pub struct Queries {
    session: Arc<Session>,
    limits: Limits,
    admission: Admission,
    ids: Ids,
    sessions: Arc<Sessions>,
    running: Mutex<BTreeMap<QueryId, Arc<Entry>>>,
    records: Arc<Records>,
}

/// A query that is there.
struct Entry {
    id: QueryId,
    door: &'static str,
    who: String,
    text: String,
    begun: Instant,
    /// Microseconds since the epoch.
    time: i64,
    cancel: CancellationToken,
    /// When it is stopped, and whether it was for that.
    deadline: Instant,
    is_late: AtomicBool,
    /// Microseconds from the beginning until it had its turn, and until it was planned; 0: not yet.
    waited: AtomicU64,
    planned: AtomicU64,
    rows: AtomicU64,
    bytes: AtomicU64,
}

/// How often it is looked which queries take too long.
const LOOK: Duration = Duration::from_millis(20);

impl Entry {
    /// The error of a query that was stopped, which says why.
    fn reason(&self, error: Error) -> Error {
        match error {
            Error::Cancelled if self.is_late.load(Ordering::Acquire) => Error::TimedOut,
            other => other,
        }
    }

    fn passed(&self) -> u64 {
        u64::try_from(self.begun.elapsed().as_micros()).unwrap_or(u64::MAX).max(1)
    }
}

impl Queries {
    /// None yet. The tables `system.running` and `system.queries` of the session show them.
    ///
    /// # Errors
    /// The session has no schema `system`.
    pub fn new(session: Arc<Session>, limits: Limits) -> Result<Arc<Queries>> {
        let queries = Arc::new(Queries {
            admission: Admission::new(limits.running, limits.waiting),
            ids: Ids::default(),
            sessions: Arc::new(Sessions::new(Arc::clone(&session), limits.memory, limits.running)),
            running: Mutex::default(),
            records: Arc::default(),
            session,
            limits,
        });
        tables::register(&queries)?;
        let (clock, of) = (queries.session.engine().clock()?, Arc::downgrade(&queries));
        clock.spawn(async move {
            while let Some(queries) = of.upgrade() {
                queries.stop_late();
                drop(queries);
                tokio::time::sleep(LOOK).await;
            }
        });
        Ok(queries)
    }

    /// The session that they run in.
    pub fn session(&self) -> &Arc<Session> {
        &self.session
    }

    /// The columns of the result of a query, which is planned when it is its turn.
    ///
    /// # Errors
    /// What is wrong with it, or too many run and wait.
    pub async fn schema(&self, query: &Query) -> Result<SchemaRef> {
        let _turn = self.admission.permit().await?;
        let session = self.sessions.of(&query.options.request)?;
        // Its type is too deep for the compiler to look through.
        let schema: Pin<Box<dyn Future<Output = Result<SchemaRef>> + Send + '_>> =
            Box::pin(query.schema(session.get()));
        schema.await
    }

    /// Those that ended, the last ones.
    pub fn records(&self) -> &Records {
        &self.records
    }

    /// The same, for those who add to them.
    pub(crate) fn shared_records(&self) -> &Arc<Records> {
        &self.records
    }

    /// Those that run or wait.
    pub fn running(&self) -> Vec<Record> {
        self.entries().values().map(|entry| entry.record(None, None)).collect()
    }

    /// A name for a query to which nobody gives one.
    pub fn new_id(&self) -> QueryId {
        self.ids.next()
    }

    /// How many run, and how many wait for their turn.
    pub fn load(&self) -> (usize, usize) {
        self.admission.load()
    }

    /// Lets no further one begin.
    pub fn close(&self) {
        self.admission.close();
    }

    /// Whether there is one of a name.
    pub fn is_running(&self, id: &QueryId) -> bool {
        self.entries().contains_key(id)
    }

    /// Stops one: of the caller's own, or with the role write any.
    ///
    /// # Errors
    /// There is none of that name, or it is another's.
    pub fn stop(&self, id: &str, caller: &Caller) -> Result<()> {
        let entry = self.entries().get(id).cloned();
        let missing = || Error::not_found(format!("no query `{}` is running", tallow_common::short(id)));
        let entry = entry.ok_or_else(missing)?;
        if entry.who != caller.name && caller.may(Role::Write).is_err() {
            return Err(Error::known(Code::Forbidden, format!("the query `{id}` is one of `{}`", entry.who)));
        }
        entry.cancel.cancel();
        Ok(())
    }

    /// Runs a query up to its first rows.
    ///
    /// # Errors
    /// What is wrong with it, too many run and wait, it was stopped, or it failed before its first rows.
    pub async fn begin(self: &Arc<Self>, asked: Asked) -> Result<Running> {
        let Asked { id, door, who, most, request, timeout, work } = asked;
        // One timer for all: one for each would wake another thread several times a query.
        let timeout = timeout.map_or(self.limits.timeout, |asked| asked.min(self.limits.timeout));
        let entry = self.enter((id, door, who), most, &work, timeout)?;
        let mut guard = Guard {
            queries: Arc::clone(self),
            entry: Arc::clone(&entry),
            permit: None,
            session: None,
            statistics: Statistics::default(),
            error: None,
            is_whole: false,
        };
        let clock = self.session.engine().clock()?;
        let control = Control { cancel: entry.cancel.clone(), ..Control::default() };
        let first = self.first_rows(work, &request, &entry, &control);
        let begun = control.limit(&clock, first).await.map_err(|error| entry.reason(error));
        let First { permit, session, mut outcome, first } = begun.inspect_err(|error| guard.failed(error))?;
        (guard.permit, guard.session) = (Some(permit), Some(session));
        guard.statistics = outcome.statistics;
        let rest = std::mem::replace(&mut outcome.stream, stream::empty().boxed());
        let rows = stream::iter(first).chain(rest).boxed();
        Ok(Running { schema: outcome.schema, warnings: outcome.warnings, rows, control, guard })
    }

    async fn first_rows(&self, work: Work, request: &Request, entry: &Entry, control: &Control) -> Result<First> {
        let permit = self.admission.permit().await?;
        entry.waited.store(entry.passed(), Ordering::Relaxed);
        let mut session = self.sessions.of(request)?;
        // What failed may have set something before.
        let is_kept = std::mem::take(&mut session.is_kept);
        let Begun { mut outcome, leaves_session } = work.begin(session.get(), control).await?;
        session.is_kept = is_kept && leaves_session;
        entry.planned.store(entry.passed(), Ordering::Relaxed);
        let first = outcome.stream.next().await.transpose()?;
        Ok(First { permit, session, outcome, first: first.map(Ok) })
    }

    fn enter(
        &self,
        (id, door, who): (QueryId, &'static str, String),
        most: Option<usize>,
        work: &Work,
        timeout: Duration,
    ) -> Result<Arc<Entry>> {
        let mut running = self.entries();
        if let Some(most) = most
            && running.values().filter(|entry| entry.who == who).count() >= most
        {
            let said = format!("{most} queries of `{who}` are running, and no more may at the same time");
            return Err(Error::known(Code::RateLimited, said));
        }
        if running.contains_key(&id) {
            return Err(Error::conflict(format!("a query `{id}` is running already")));
        }
        let begun = Instant::now();
        let entry = Arc::new(Entry {
            id: id.clone(),
            door,
            who,
            text: redacted(&work.text()).into_owned(),
            begun,
            deadline: begun.checked_add(timeout).unwrap_or(begun),
            is_late: AtomicBool::new(false),
            time: micros_of_now(),
            cancel: CancellationToken::new(),
            waited: AtomicU64::new(0),
            planned: AtomicU64::new(0),
            rows: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
        });
        running.insert(id, Arc::clone(&entry));
        Ok(entry)
    }

    /// Stops those that take too long.
    fn stop_late(&self) {
        let now = Instant::now();
        for entry in self.entries().values().filter(|entry| entry.deadline <= now) {
            entry.is_late.store(true, Ordering::Release);
            entry.cancel.cancel();
        }
    }

    fn entries(&self) -> std::sync::MutexGuard<'_, BTreeMap<QueryId, Arc<Entry>>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A query whose first rows are there.
struct First {
    permit: Permit,
    session: Apart,
    outcome: Outcome,
    first: Option<Result<RecordBatch>>,
}

impl Entry {
    /// What is known of it; `ended`: with which error, if with one.
    fn record(&self, statistics: Option<&Statistics>, ended: Option<&Result<(), (Code, String)>>) -> Record {
        let all = self.passed();
        let until = |time: &AtomicU64| match time.load(Ordering::Relaxed) {
            0 => all,
            passed => passed,
        };
        let (waited, planned) = (until(&self.waited), until(&self.planned));
        let has_turn = self.waited.load(Ordering::Relaxed) > 0;
        let state = match ended {
            None if has_turn => "running",
            None => "waiting",
            Some(Ok(())) => "done",
            Some(Err((code, _))) => code.name(),
        };
        Record {
            id: self.id.to_string(),
            door: self.door,
            who: self.who.clone(),
            text: self.text.clone(),
            time: self.time,
            state,
            wait_us: waited,
            plan_us: planned.saturating_sub(waited),
            run_us: all.saturating_sub(planned),
            rows: self.rows.load(Ordering::Relaxed),
            bytes: self.bytes.load(Ordering::Relaxed),
            scanned_bytes: statistics.map_or(0, Statistics::bytes_scanned),
            spilled_bytes: statistics.map_or(0, Statistics::spilled_bytes),
            error: ended.and_then(|ended| ended.as_ref().err()).map(|(_, message)| message.clone()),
        }
    }
}

/// Gives back what a query holds, and makes its record, whenever it is dropped.
struct Guard {
    queries: Arc<Queries>,
    entry: Arc<Entry>,
    permit: Option<Permit>,
    session: Option<Apart>,
    statistics: Statistics,
    error: Option<(Code, String)>,
    is_whole: bool,
}

impl Guard {
    fn failed(&mut self, error: &Error) {
        self.error = Some((error.code(), error.to_string()));
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        let left = || (Code::Cancelled, "whoever asked has left".to_string());
        let ended = match self.error.take() {
            Some(error) => Err(error),
            None if self.is_whole => Ok(()),
            None => Err(left()),
        };
        let record = self.entry.record(Some(&self.statistics), Some(&ended));
        self.queries.records.add(record);
        self.queries.entries().remove(&self.entry.id);
        self.session = None;
        self.permit = None;
    }
}

/// A query whose first rows are there.
pub struct Running {
    /// Its columns.
    pub schema: SchemaRef,
    /// What is allowed in the text and probably not meant.
    pub warnings: Problems,
    rows: BoxStream<'static, Result<RecordBatch>>,
    control: Control,
    // After the rows, so that nothing computes when another takes its turn.
    guard: Guard,
}

impl Running {
    /// Its name.
    pub fn id(&self) -> &QueryId {
        &self.guard.entry.id
    }

    /// What stops it: whoever hands rows on must not wait longer either.
    pub fn control(&self) -> &Control {
        &self.control
    }

    /// What it did so far.
    pub fn record(&self) -> Record {
        let ended = self.guard.is_whole.then_some(Ok(()));
        self.guard.entry.record(Some(&self.guard.statistics), ended.as_ref())
    }

    /// So many bytes were handed on.
    pub fn sent(&self, bytes: usize) {
        self.guard.entry.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// Its rows could not be handed on; the error as it is told.
    pub fn failed(&mut self, error: Error) -> Error {
        let error = self.guard.entry.reason(error);
        self.guard.failed(&error);
        error
    }
}

impl Stream for Running {
    type Item = Result<RecordBatch>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let next = std::task::ready!(self.rows.poll_next_unpin(cx));
        let next = next.map(|rows| rows.map_err(|error| self.guard.entry.reason(error)));
        match &next {
            Some(Ok(rows)) => {
                self.guard.entry.rows.fetch_add(rows.num_rows() as u64, Ordering::Relaxed);
            }
            Some(Err(error)) => self.guard.failed(error),
            // A scan that is stopped ends with what it has found by then.
            None if self.guard.error.is_none() && self.guard.entry.cancel.is_cancelled() => {
                let stopped = self.guard.entry.reason(Error::Cancelled);
                self.guard.failed(&stopped);
                return Poll::Ready(Some(Err(stopped)));
            }
            None => self.guard.is_whole = self.guard.error.is_none(),
        }
        Poll::Ready(next)
    }
}
