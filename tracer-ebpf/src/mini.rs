//! Reads of a minisocket, the kernel's `struct inet_timewait_sock`, whose head is a
//! `struct sock_common` as a full socket's is.
//!
//! All go through `bpf_probe_read_kernel`: a kprobe's argument has no type, and one handler serves
//! both kinds of programs.

use aya_ebpf::helpers::bpf_probe_read_kernel;
use tracer_common::abi::EventRecord;
use tracer_common::config::sock_common as at;

use crate::config::config;

const AF_INET6: u16 = 10;

/// A minisocket.
#[derive(Clone, Copy)]
pub(crate) struct Mini(*const u8);

impl Mini {
    /// From a tracing program's argument.
    #[inline(always)]
    pub(crate) fn new(tw: *const core::ffi::c_void) -> Self {
        Self(tw.cast())
    }

    #[inline(always)]
    fn probe<T: Copy + Default>(self, offset: usize) -> T {
        // SAFETY: `bpf_probe_read_kernel` checks the address itself and fails softly.
        unsafe { bpf_probe_read_kernel(self.0.add(offset).cast::<T>()).unwrap_or_default() }
    }

    /// Whether there is none.
    #[inline(always)]
    pub(crate) fn is_null(self) -> bool {
        self.0.is_null()
    }

    /// `tw_cookie`: the replaced socket's (`inet_twsk_alloc`); 0 if that had none.
    #[inline(always)]
    pub(crate) fn cookie(self) -> u64 {
        self.probe(at::COOKIE)
    }

    /// Where it is: unique while it lives, and no cookie is as large.
    #[inline(always)]
    pub(crate) fn address(self) -> u64 {
        self.0 as u64
    }

    /// `tw_substate`: TIME_WAIT or FIN_WAIT2.
    #[inline(always)]
    pub(crate) fn substate(self) -> u8 {
        self.probe(config!(offsets.tw_substate) as usize)
    }

    /// Fills in family, addresses and ports of an event on the ring.
    ///
    /// # Safety
    ///
    /// `event` is valid for writes, as far as the verifier can see.
    #[inline(always)]
    pub(crate) unsafe fn describe(self, event: *mut EventRecord) {
        // SAFETY: promised by the caller; each copy has the size of its target.
        unsafe {
            (*event).local_port = self.probe(at::NUM);
            (*event).peer_port = u16::from_be(self.probe(at::DPORT));
            if self.probe::<u16>(at::FAMILY) == AF_INET6 {
                (*event).family = 6;
                (*event).local = self.probe(at::V6_RCV_SADDR);
                (*event).peer = self.probe(at::V6_DADDR);
            } else {
                (*event).family = 4;
                let local = (&raw mut (*event).local).cast::<u32>();
                let peer = (&raw mut (*event).peer).cast::<u32>();
                local.write(self.probe(at::RCV_SADDR));
                peer.write(self.probe(at::DADDR));
                let mut word = 1;
                while word < 4 {
                    local.add(word).write(0);
                    peer.add(word).write(0);
                    word += 1;
                }
            }
        }
    }
}
