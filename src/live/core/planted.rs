//! Faults that are planted for the simulation to find: it is known to look where it should.

/// A fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Planted {
    AcceptsBeforeSync,
    AcknowledgesBeforeCommit,
    TruncatesBeforeCommit,
    PositionIgnoresOpen,
    ComputesSymbolTwice,
    RetriesBehind,
    LateIsDone,
    HysteresisInverted,
    ForgetsWhatIsRetried,
    StopsAtOnce,
    CorrectionIsDuplicate,
    OffsetsIgnoreOpen,
}

#[cfg(test)]
impl Planted {
    /// All of them.
    pub const ALL: [Planted; 12] = [
        Planted::AcceptsBeforeSync,
        Planted::AcknowledgesBeforeCommit,
        Planted::TruncatesBeforeCommit,
        Planted::PositionIgnoresOpen,
        Planted::ComputesSymbolTwice,
        Planted::RetriesBehind,
        Planted::LateIsDone,
        Planted::HysteresisInverted,
        Planted::ForgetsWhatIsRetried,
        Planted::StopsAtOnce,
        Planted::CorrectionIsDuplicate,
        Planted::OffsetsIgnoreOpen,
    ];
}

/// The fault of a run, which only tests have.
#[derive(Debug, Clone, Copy, Default)]
pub struct PlantedFault {
    #[cfg(test)]
    pub fault: Option<Planted>,
}

impl PlantedFault {
    #[cfg(test)]
    pub(super) fn has(self, fault: Planted) -> bool {
        self.fault == Some(fault)
    }

    #[cfg(not(test))]
    pub(super) fn has(self, _: Planted) -> bool {
        false
    }
}
