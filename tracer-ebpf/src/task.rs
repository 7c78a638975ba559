//! The current task, read only where it is known to be the socket's owner.

use aya_ebpf::helpers::bpf_get_current_pid_tgid;
use aya_ebpf::helpers::bpf_probe_read_kernel;
use aya_ebpf::helpers::generated::{
    bpf_get_current_cgroup_id, bpf_get_current_task,
    bpf_probe_read_kernel as bpf_probe_read_kernel_raw,
};

use tracer_common::config::MISSING;

use crate::config::config;

/// `PF_KTHREAD`: a kernel thread (`include/linux/sched.h`): it may run a deferred `close()` but
/// owns nothing.
const PF_KTHREAD: u32 = 0x0020_0000;
/// `PF_EXITING`: it is being torn down; what it closes now does not linger.
const PF_EXITING: u32 = 0x0000_0004;
/// Nanoseconds in a clock tick as /proc shows it (`USER_HZ` 100 on every architecture but alpha).
const NS_PER_TICK: u64 = 10_000_000;

/// A process, by thread group.
#[derive(Clone, Copy)]
pub(crate) struct Process {
    /// Thread group id.
    pub(crate) tgid: u32,
    leader: *const u8,
}

/// The current thread group id; 0 in the idle task.
#[inline(always)]
pub(crate) fn current_tgid() -> u32 {
    (bpf_get_current_pid_tgid() >> 32) as u32
}

/// Whether the current task is on its way out.
#[inline(always)]
pub(crate) fn current_is_exiting() -> bool {
    // SAFETY: no arguments; returns the address of the current task.
    let task = unsafe { bpf_get_current_task() } as *const u8;
    config!(offsets.task_flags) != MISSING
        && read::<u32>(task, config!(offsets.task_flags)) & PF_EXITING != 0
}

/// Whether this kernel has every field that an owner is known by.
#[inline(always)]
fn can_be_known() -> bool {
    config!(offsets.task_flags) != MISSING
        && config!(offsets.task_group_leader) != MISSING
        && config!(offsets.task_start_boottime) != MISSING
        && config!(offsets.task_comm) != MISSING
}

#[inline(always)]
fn read<T: Copy + Default>(base: *const u8, offset: u32) -> T {
    // SAFETY: `bpf_probe_read_kernel` checks the address itself and fails softly.
    unsafe { bpf_probe_read_kernel(base.add(offset as usize).cast::<T>()).unwrap_or_default() }
}

impl Process {
    /// The current process; `None` in a kernel thread or the idle task, and where this kernel
    /// lacks what it is known by.
    #[inline(always)]
    pub(crate) fn current() -> Option<Self> {
        if !can_be_known() {
            return None;
        }
        let tgid = current_tgid();
        // SAFETY: no arguments; returns the address of the current task.
        let task = unsafe { bpf_get_current_task() } as *const u8;
        if tgid == 0 || read::<u32>(task, config!(offsets.task_flags)) & PF_KTHREAD != 0 {
            return None;
        }
        let leader = read::<u64>(task, config!(offsets.task_group_leader)) as *const u8;
        Some(Self { tgid, leader })
    }

    /// When it started, clock ticks since boot, as in `/proc/PID/stat`.
    #[inline(always)]
    pub(crate) fn start_ticks(self) -> u32 {
        (read::<u64>(self.leader, config!(offsets.task_start_boottime)) / NS_PER_TICK) as u32
    }

    /// Its name: the thread group leader's, not the thread's; zeros if it cannot be read.
    #[inline(always)]
    pub(crate) fn read_comm(self, to: &mut [u8; 16]) {
        // SAFETY: the helper checks the source itself and writes the 16 bytes of the target.
        unsafe {
            let from = self.leader.add(config!(offsets.task_comm) as usize);
            bpf_probe_read_kernel_raw(to.as_mut_ptr().cast(), 16, from.cast());
        }
    }

    /// Its cgroup2 id.
    #[inline(always)]
    pub(crate) fn cgroup(self) -> u64 {
        // SAFETY: no arguments.
        unsafe { bpf_get_current_cgroup_id() }
    }
}
