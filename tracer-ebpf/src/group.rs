//! Which group a socket belongs to: service, direction and owner.

use aya_log_ebpf::warn;
use tracer_common::abi::{
    DIRECTION_IN, GROUP_OTHER, GROUP_OUTSIDE, GROUPS, GroupInfo, GroupKey, Handover, ServiceInfo,
    ServiceKey,
};

use crate::filter::owner_passes;
use crate::maps::{FREE_GROUPS, FREE_SERVICE_GROUPS, GROUP_INDEX, SERVICES};
use crate::task::Process;
use crate::totals::NOEXIST;

/// The group of a service and an owner (`None`: unknown; else the current process), made if it is
/// new. With none left for the owner, that of the service alone; with none left for that,
/// [`GROUP_OTHER`].
#[inline(always)]
pub(crate) fn find_or_make(port: u16, direction: u8, process: Option<Process>) -> u32 {
    let (port, direction) = (u32::from(port), u32::from(direction));
    match process {
        Some(process) => sf_group(port, direction, process.tgid, process.start_ticks(), 1),
        None => sf_group(port, direction, 0, 0, 0),
    }
}

// The verifier walks a global function once and by itself, however many paths lead to it. For that
// it may take numbers only (`btf_prepare_func_args`, `kernel/bpf/btf.c`).

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn sf_group(
    port: u32,
    direction: u32,
    tgid: u32,
    start_ticks: u32,
    is_current: u32,
) -> u32 {
    let mut key =
        GroupKey { port: port as u16, direction: direction as u8, pad: 0, tgid, start_ticks };
    // Before it is looked for: the group of a service alone also has sockets of owners that pass.
    if tgid == 0 && !owner_passes(0, None) {
        return GROUP_OUTSIDE;
    }
    if let Some(info) = GROUP_INDEX.get_ptr(key) {
        // SAFETY: an aligned value from the map, written once before it became visible.
        return unsafe { (*info).index };
    }
    let process = if is_current != 0 { Process::current() } else { None };
    if tgid != 0 && !owner_passes(tgid, process) {
        return GROUP_OUTSIDE;
    }
    let mut info = GroupInfo::default();
    if let Ok(Some(index)) = FREE_GROUPS.pop() {
        info.index = index;
        if let Some(process) = process {
            info.cgroup = process.cgroup();
            process.read_comm(&mut info.comm);
        }
    } else {
        warn!((), "no group free for port {} of process {}", key.port, key.tgid);
        key.tgid = 0;
        key.start_ticks = 0;
        if let Some(info) = GROUP_INDEX.get_ptr(key) {
            // SAFETY: as above.
            return unsafe { (*info).index };
        }
        let Ok(Some(index)) = FREE_SERVICE_GROUPS.pop() else {
            return GROUP_OTHER;
        };
        info.index = index;
    }
    if GROUP_INDEX.insert(key, info, NOEXIST).is_ok() {
        return info.index;
    }
    // Another CPU was faster.
    let _ = if info.index < GROUPS {
        FREE_GROUPS.push(info.index, 0)
    } else {
        FREE_SERVICE_GROUPS.push(info.index, 0)
    };
    match GROUP_INDEX.get_ptr(key) {
        // SAFETY: as above.
        Some(info) => unsafe { (*info).index },
        None => GROUP_OTHER,
    }
}

/// The group that a socket accepted on `port` joins, and the listener's process id (0: unknown).
#[inline(always)]
pub(crate) fn of_accepted(netns: u32, port: u16) -> (u32, u32) {
    let packed = sf_group_of_accepted(netns, u32::from(port));
    ((packed >> 32) as u32, packed as u32)
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn sf_group_of_accepted(netns: u32, port: u32) -> u64 {
    let port = port as u16;
    let key = ServiceKey { netns, port, direction: DIRECTION_IN, pad: 0 };
    if let Some(info) = SERVICES.get_ptr(key) {
        // SAFETY: an aligned value from the map; a torn read can only mix two listeners of one
        // service, and `close()` sets the owner right.
        let (group, tgid) = unsafe { ((*info).group, (*info).tgid) };
        if group != GROUP_OTHER {
            return u64::from(group) << 32 | u64::from(tgid);
        }
    }
    let group = find_or_make(port, DIRECTION_IN, None);
    if group != GROUP_OTHER {
        let _ = SERVICES.insert(key, ServiceInfo { group, tgid: 0, listeners: 0 }, NOEXIST);
    }
    u64::from(group) << 32
}

/// Whether `port` is a listening port of this namespace, as far as is known.
#[inline(always)]
pub(crate) fn is_service(netns: u32, port: u16) -> bool {
    SERVICES.get_ptr(ServiceKey { netns, port, direction: DIRECTION_IN, pad: 0 }).is_some()
}

/// A socket begins to listen: sockets accepted from now on are its process's, unless another
/// process listens on the same port too (then the owner is unknown until `close()`).
#[inline(always)]
pub(crate) fn listen_begins(netns: u32, port: u16, group: u32, tgid: u32) {
    sf_listen_begins(netns, u32::from(port), group, tgid);
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn sf_listen_begins(netns: u32, port: u32, group: u32, tgid: u32) -> u32 {
    let port = port as u16;
    let key = ServiceKey { netns, port, direction: DIRECTION_IN, pad: 0 };
    let Some(info) = SERVICES.get_ptr_mut(key) else {
        let _ = SERVICES.insert(key, ServiceInfo { group, tgid, listeners: 1 }, NOEXIST);
        return 0;
    };
    // SAFETY: an aligned value from the map; `listen()` on one port of one namespace is rare and
    // serialised by the bind bucket's lock.
    unsafe {
        if (*info).listeners == 0 || (*info).tgid == tgid {
            (*info).group = group;
            (*info).tgid = tgid;
        } else {
            (*info).group = find_or_make(port, DIRECTION_IN, None);
            (*info).tgid = 0;
        }
        (*info).listeners += 1;
    }
    0
}

/// Another process has the listener now: sockets accepted from now on are its process's. Where several
/// processes listen, they are nobody's as before.
#[inline(always)]
pub(crate) fn listener_changes_hands(key: ServiceKey, before: u32, to: Handover) {
    if let Some(info) = SERVICES.get_ptr_mut(key) {
        // SAFETY: as in `listen_begins`.
        unsafe {
            if (*info).tgid == before {
                (*info).group = to.to;
                (*info).tgid = to.tgid;
            }
        }
    }
}

/// A socket stops listening.
#[inline(always)]
pub(crate) fn listen_ends(netns: u32, port: u16) {
    sf_listen_ends(netns, u32::from(port));
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn sf_listen_ends(netns: u32, port: u32) -> u32 {
    let port = port as u16;
    let key = ServiceKey { netns, port, direction: DIRECTION_IN, pad: 0 };
    if let Some(info) = SERVICES.get_ptr_mut(key) {
        // SAFETY: as in `listen_begins`.
        unsafe {
            if (*info).listeners > 0 {
                (*info).listeners -= 1;
            }
        }
    }
    0
}
