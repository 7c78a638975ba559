//! The flows that spoke last. A few CPUs take turns, so the next event is mostly one of theirs.

/// How many are remembered.
pub(super) const RANKS: usize = 4;

/// The flows of the last events, the newest first, each once.
pub(super) struct Recent([u32; RANKS]);

impl Recent {
    /// What stands where no flow spoke yet: no payload has so many.
    const NOBODY: u32 = u32::MAX;

    pub(super) fn new() -> Self {
        Self([Self::NOBODY; RANKS])
    }

    /// The flow of this rank; from [`RANKS`] on there is none.
    #[inline]
    pub(super) fn flow(&self, rank: u8) -> u32 {
        self.0.get(usize::from(rank)).copied().unwrap_or(Self::NOBODY)
    }

    pub(super) fn rank(&self, flow: u32) -> Option<u8> {
        (0..RANKS as u8).find(|&rank| self.flow(rank) == flow)
    }

    /// `flow` spoke.
    #[inline]
    pub(super) fn touch(&mut self, flow: u32) {
        let mut displaced = flow;
        for recent in &mut self.0 {
            std::mem::swap(recent, &mut displaced);
            if displaced == flow {
                break;
            }
        }
    }
}
