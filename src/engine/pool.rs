//! The memory pool: DataFusion's fair one, with less than the limit, so that what nobody accounts for fits beside it. That of a
//! request takes what it gives from the pool of the session too.

use datafusion::common::{DataFusionError, Result, resources_datafusion_err};
use datafusion::execution::memory_pool::{
    FairSpillPool, MemoryConsumer, MemoryLimit, MemoryPool, MemoryReservation, human_readable_size,
};
use std::fmt::{Display, Formatter};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A session with less has nothing to spare ...
const SPARED: usize = 48 << 20;
/// ... and of what is above it, this share is left for batches on their way, blocks of files, footers, the plan ...
const UNCOUNTED_SHARE: usize = 8;
/// ... up to this.
const UNCOUNTED_BYTES: usize = 64 << 20;
/// Who can spill leaves this share to who cannot: a sort takes all there is before it spills, and what feeds it would get nothing.
const UNSPILLABLE_SHARE: usize = 16;

/// A [`FairSpillPool`] of a part of the limit that it names.
#[derive(Debug)]
pub(super) struct Pool {
    inner: FairSpillPool,
    limit: usize,
    /// What `inner` has.
    size: usize,
    /// What those took that can neither spill nor belong to what can.
    unspillable: AtomicUsize,
    outer: Option<Arc<dyn MemoryPool>>,
}

impl Pool {
    pub fn new(limit: usize) -> Pool {
        let uncounted = (limit.saturating_sub(SPARED) / UNCOUNTED_SHARE).min(UNCOUNTED_BYTES);
        let size = limit - uncounted;
        Pool { inner: FairSpillPool::new(size), limit, size, unspillable: AtomicUsize::new(0), outer: None }
    }

    /// A part of another pool.
    pub fn within(outer: Arc<dyn MemoryPool>, limit: usize) -> Pool {
        Pool { outer: Some(outer), ..Pool::new(limit) }
    }

    fn took(&self, reservation: &MemoryReservation, bytes: usize) {
        if feeds_others(reservation) {
            self.unspillable.fetch_add(bytes, Ordering::Relaxed);
        }
    }

    fn refused(&self, reservation: &MemoryReservation, additional: usize) -> DataFusionError {
        resources_datafusion_err!(
            "{} asks for {} beside the {} that it has, more than the memory limit of {} leaves. Raise the option \
             `memory`, or ask for fewer rows or columns at once",
            reservation.consumer().name(),
            human_readable_size(additional),
            human_readable_size(reservation.size()),
            human_readable_size(self.limit)
        )
    }
}

/// Whether what takes memory can neither spill it nor is the merging part of a sort, which takes its own before it begins.
fn feeds_others(reservation: &MemoryReservation) -> bool {
    let consumer = reservation.consumer();
    !consumer.can_spill() && !consumer.name().starts_with("ExternalSorter")
}

impl MemoryPool for Pool {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn register(&self, consumer: &MemoryConsumer) {
        self.inner.register(consumer);
        self.outer.iter().for_each(|outer| outer.register(consumer));
    }

    fn unregister(&self, consumer: &MemoryConsumer) {
        self.inner.unregister(consumer);
        self.outer.iter().for_each(|outer| outer.unregister(consumer));
    }

    fn grow(&self, reservation: &MemoryReservation, additional: usize) {
        self.inner.grow(reservation, additional);
        self.took(reservation, additional);
        self.outer.iter().for_each(|outer| outer.grow(reservation, additional));
    }

    fn shrink(&self, reservation: &MemoryReservation, shrink: usize) {
        self.inner.shrink(reservation, shrink);
        if feeds_others(reservation) {
            self.unspillable.fetch_sub(shrink, Ordering::Relaxed);
        }
        self.outer.iter().for_each(|outer| outer.shrink(reservation, shrink));
    }

    fn try_grow(&self, reservation: &MemoryReservation, additional: usize) -> Result<()> {
        if reservation.consumer().can_spill() {
            let left = (self.size / UNSPILLABLE_SHARE).saturating_sub(self.unspillable.load(Ordering::Relaxed));
            if self.inner.reserved() + additional + left > self.size {
                return Err(self.refused(reservation, additional));
            }
        }
        self.inner.try_grow(reservation, additional).map_err(|_| self.refused(reservation, additional))?;
        if let Some(outer) = &self.outer {
            outer.try_grow(reservation, additional).inspect_err(|_| self.inner.shrink(reservation, additional))?;
        }
        self.took(reservation, additional);
        Ok(())
    }

    fn reserved(&self) -> usize {
        self.inner.reserved()
    }

    fn memory_limit(&self) -> MemoryLimit {
        MemoryLimit::Finite(self.limit)
    }
}

impl Display for Pool {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} of {}", self.inner, human_readable_size(self.limit))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_small_session_accounts_for_all_it_has_and_a_larger_one_leaves_a_part() {
        for (limit, most) in [(12, 12), (64, 62), (256, 230), (16 << 10, (16 << 10) - 64)] {
            let pool: Arc<dyn MemoryPool> = Arc::new(Pool::new(limit << 20));
            let consumer = MemoryConsumer::new("rows").register(&pool);
            assert!(consumer.try_grow(most << 20).is_ok(), "{limit}");
            assert!(consumer.try_grow(1 << 20).is_err(), "{limit}");
        }
    }

    #[test]
    fn who_can_spill_leaves_something_to_who_cannot() {
        let pool: Arc<dyn MemoryPool> = Arc::new(Pool::new(32 << 20));
        let sort = MemoryConsumer::new("sort").with_can_spill(true).register(&pool);
        let rows = MemoryConsumer::new("rows").register(&pool);
        assert!(sort.try_grow(31 << 20).is_err());
        sort.try_grow(30 << 20).unwrap();
        rows.try_grow(2 << 20).unwrap();
        assert!(rows.try_grow(1).is_err());
        // What they have counts as left to them.
        sort.shrink(1 << 20);
        sort.try_grow(1 << 20).unwrap();
        rows.free();
        sort.shrink(1 << 20);
        assert!(sort.try_grow(2 << 20).is_err());
        sort.try_grow(1 << 20).unwrap();
    }

    #[test]
    fn what_a_request_takes_is_taken_from_the_session() {
        let session: Arc<dyn MemoryPool> = Arc::new(Pool::new(16 << 20));
        let request = || -> Arc<dyn MemoryPool> { Arc::new(Pool::within(Arc::clone(&session), 12 << 20)) };
        let (first, second) = (request(), request());
        let one = MemoryConsumer::new("rows").register(&first);
        assert!(one.try_grow(13 << 20).is_err());
        assert_eq!(session.reserved(), 0);
        one.try_grow(10 << 20).unwrap();
        let other = MemoryConsumer::new("rows").register(&second);
        assert!(other.try_grow(8 << 20).is_err(), "the session has no more");
        assert_eq!((second.reserved(), session.reserved()), (0, 10 << 20));
        drop(one);
        other.try_grow(8 << 20).unwrap();
        drop(other);
        assert_eq!(session.reserved(), 0);
    }
}
