//! Loads the checked-in object and attaches what the kernel accepts.

use std::os::fd::{AsFd, AsRawFd};
use std::path::PathBuf;

use anyhow::{Context, Result, anyhow};
use aya::programs::links::CgroupAttachMode;
use aya::programs::{
    BtfTracePoint, CgroupSock, FEntry, FExit, Iter, KProbe, ProgramError, SockOps,
};
use aya::{Btf as AyaBtf, Ebpf, EbpfLoader, VerifierLogLevel};
use tracer_common::abi::{GROUPS, SERVICE_GROUPS, shard_bits};
use tracer_common::config::{Config, Filter};

use super::assume::{ASSUMPTIONS, Accepted, Assumed};
use super::cgroup2::Cgroup2;
use super::forbidden::{self, Confinement, Step};
use super::known::{Known, ResetReasons};
use super::limits;
use super::maps::Room;
use super::plan::{Only, Plan};
use super::probes::{Hook, PROBES, Rung, Signal};
use super::requirements;
use crate::error::Failure;

/// The programs, as checked in; `cargo xtask bpf check` proves that the source gives these bytes.
static OBJECT: &[u8] = aya::include_bytes_aligned!("../../../tracer-ebpf/prebuilt/sockflow-ebpf.o");

/// What the kernel side is asked to do.
#[derive(Clone, Debug)]
pub struct Options {
    /// Which sockets are let through.
    pub filter: Filter,
    /// Which events are put on the ring: `tracer_common::config::DETAIL_…`.
    pub detail: u32,
    /// The ring's size, bytes; a power of two of at least a page.
    pub ring_bytes: u32,
    /// How many sockets the table holds; those by service have room in proportion.
    pub max_sockets: u32,
    /// How many minisockets the table holds.
    pub max_minisockets: u32,
    /// The kernel's type information.
    pub btf: PathBuf,
    /// Whether the programs' own warnings are wanted.
    pub verbose: bool,
}

impl Options {
    /// How many services the tables by service hold: what is allocated for them, for each CPU, is most
    /// of what a start takes beside the programs.
    fn max_services(&self) -> u32 {
        (self.max_sockets / 8).clamp(128, 2048)
    }
}

/// The programs, loaded and attached; detached when dropped.
#[derive(Debug)]
pub struct Kernel {
    /// Programs and maps.
    pub ebpf: Ebpf,
    /// Which rung each signal got.
    pub plan: Plan,
    /// Whether sockets are known by their cookies (by their address otherwise).
    pub has_cookies: bool,
    /// What the kernel's numbers for why it sends a RST mean; empty where it does not tell.
    pub reset_reasons: ResetReasons,
    /// The rungs that programs give.
    accepted: Accepted,
    /// The programs in use, for their own statistics.
    programs: Vec<&'static str>,
    /// What they were told.
    pub config: Config,
    /// How many groups there may be.
    pub room: Room,
    /// Signals whose programs the kernel refused to this process, rather than as such.
    denied: Vec<Signal>,
    /// Why programs of the root of cgroup2 were not attached, where that is not the kernel's doing.
    pub without_cgroup2: Option<String>,
}

/// For tests: rungs to take instead of the best.
const ONLY: &str = "SOCKFLOW_RUNGS";

fn only() -> Result<Only> {
    let text = std::env::var(ONLY).unwrap_or_default();
    Only::parse(&text).map_err(|error| anyhow!("{ONLY}: {error}"))
}

fn room() -> Result<Room> {
    let text = std::env::var(Room::VARIABLE).unwrap_or_default();
    Room::parse(&text).map_err(|error| anyhow!("{}: {error}", Room::VARIABLE))
}

impl Kernel {
    /// Loads and attaches.
    ///
    /// # Errors
    ///
    /// The host lacks something ([`requirements`]), a field is not where it can be read
    /// ([`super::offsets`]), or a required signal got no rung.
    pub fn load(options: &Options) -> Result<Self> {
        let kernel = Self::best(options)?;
        let Some((signal, reason)) = kernel.plan.missing() else { return Ok(kernel) };
        let failure = kernel.forbidden().unwrap_or_else(|| {
            Failure::environment("this kernel refuses a program that tracing needs")
                .hint("see what it offers: `sockflow probes`")
        });
        Err(anyhow!("{}: {reason}", signal.name()).context(failure))
    }

    /// Attaches what the kernel accepts, tells it, and lets go; with who forbids what tracing needs, if
    /// that is so.
    ///
    /// # Errors
    ///
    /// The host lacks something, or a field is not where it can be read.
    pub fn survey(options: &Options) -> Result<(Plan, Option<Failure>)> {
        let kernel = Self::best(options)?;
        let forbidden = kernel.forbidden();
        Ok((kernel.plan, forbidden))
    }

    /// Who forbids a program that tracing needs, rather than that the kernel has no hook for it.
    fn forbidden(&self) -> Option<Failure> {
        let (missing, _) = self.plan.missing()?;
        let confinement = Confinement::read();
        (self.denied.contains(&missing) || confinement.hides_memory())
            .then(|| confinement.failure(Step::Programs))
    }

    /// On the best assumptions that hold; with nothing accepted, the last attempt tells why.
    pub(super) fn best(options: &Options) -> Result<Self> {
        requirements::check(&options.btf)?;
        raise_memlock_limit();
        let known = Known::read(&options.btf).map_err(|error| {
            error.context(
                Failure::environment("cannot find the kernel's fields")
                    .hint("check that the file is this kernel's: `bpftool btf dump file …`"),
            )
        })?;
        let btf = known.hooks()?;
        let only = only()?;
        let mut last: Option<Self> = None;
        for assumed in ASSUMPTIONS {
            if !assumed.is_worth_trying(&known, last.as_ref().map(|kernel| &kernel.accepted)) {
                continue;
            }
            // Before the next attempt the hooks of the last must be gone.
            drop(last.take());
            let kernel = Self::attempt(options, &btf, &known, assumed, &only)?;
            if assumed.holds(&kernel.accepted, None) {
                return Ok(kernel);
            }
            last = Some(kernel);
        }
        last.ok_or_else(|| anyhow!("nothing was tried"))
    }

    fn attempt(
        options: &Options,
        btf: &AyaBtf,
        known: &Known,
        assumed: Assumed,
        only: &Only,
    ) -> Result<Self> {
        let config = &Config {
            offsets: known.resolved.offsets,
            detail: options.detail,
            waits: u32::from(known.resolved.offsets.has_waits()),
            filter: options.filter,
            close_hook: u32::from(assumed.close_hook),
            cookie_helper: u32::from(assumed.cookie_helper),
            by_address: u32::from(assumed.by_address),
            reset_reason: u32::from(known.reset_reasons.are_told()),
            min_sndbuf: known.min_sndbuf(),
            last_shard: last_shard()?,
        };
        // What the last attempt is told is what people are told.
        let is_last = ASSUMPTIONS.last() == Some(&assumed);
        let mut ebpf = open(options, btf, config, VerifierLogLevel::default())?;
        let room = room()?;
        super::maps::prepare(&mut ebpf, room)?;
        let cgroup2 = root_of_cgroup2();
        let without_cgroup2 = cgroup2.as_ref().err().cloned();
        let cgroup2 = cgroup2.as_ref().map_err(String::as_str);
        let names = config.cookie_helper == 1 || name_sockets(&mut ebpf, cgroup2).is_ok();
        let mut programs = Vec::new();
        let mut accepted = Accepted::new();
        // What a limit of this process refuses says nothing about the kernel.
        let mut exhausted = None;
        let mut denied = Vec::new();
        let mut plan = Plan::resolve(PROBES, |rung| {
            if !is_last && !assumed.holds(&accepted, Some(rung.signal)) {
                return Err("not tried: it takes other assumptions".to_owned());
            }
            if let Some(reason) = only.refuses(rung).or_else(|| known.refuses(rung)) {
                return Err(reason);
            }
            if rung.signal == Signal::OrphanBegin
                && config.close_hook == 0
                && rung.program.is_some()
            {
                let why = "not tried: no hook on close() was accepted";
                let of_cgroup2 = cgroup2.err().filter(|_| rung.hook == Hook::CgroupSockRelease);
                return Err(of_cgroup2.unwrap_or(why).to_owned());
            }
            if let Hook::Argument(of, _) = rung.hook {
                let told = config.reset_reason == 1 && accepted.contains_key(&of);
                return if told { Ok(()) } else { Err("this kernel does not tell".to_owned()) };
            }
            if rung.program.is_none() {
                return Ok(());
            }
            if rung.signal == Signal::TimeWaitEnd && !accepted.contains_key(&Signal::TimeWait) {
                return Err("not tried: no hook on minisockets was accepted".to_owned());
            }
            attach_all(&mut ebpf, btf, rung, cgroup2).map_err(|error| {
                if forbidden::is_denied(&error, Step::Programs) {
                    denied.push(rung.signal);
                }
                let reason = describe(&error);
                exhausted = exhausted.take().or_else(|| limits::exhausted(error));
                reason
            })?;
            programs.extend(rung.all_parts().map(|(_, program)| program));
            accepted.insert(rung.signal, rung);
            Ok(())
        });
        if let Some(error) = exhausted {
            return Err(error);
        }
        for (cost, why) in &known.resolved.costs {
            plan.lower(cost.signal, cost.at_best, cost.blind, why.clone());
        }
        if plan.is_hooked(Signal::TimeWait) {
            super::maps::minisockets_are_hooked(&mut ebpf)?;
        }
        let reset_reasons = known.reset_reasons.clone();
        Ok(Self {
            ebpf,
            plan,
            has_cookies: names,
            reset_reasons,
            accepted,
            programs,
            config: *config,
            room,
            denied,
            without_cgroup2,
        })
    }

    /// Whether programs of the root of cgroup2 would tell more.
    #[must_use]
    pub fn wants_cgroup2(&self) -> bool {
        !self.plan.is_hooked(Signal::OrphanBegin)
    }

    /// Program runs that the kernel skipped so far because the program was already running on
    /// that CPU; those that a twin made up for are among them. A twin's own skipped runs are not:
    /// the first has done that work, or was counted itself; nor are those of a program whose next run
    /// tells the same ([`repeating`](field@Rung::repeating)).
    #[must_use]
    pub fn skipped_runs(&self) -> u64 {
        let can_skip = |name: &str| PROBES.iter().any(|rung| rung.can_skip(name));
        self.programs
            .iter()
            .filter(|name| !can_skip(name))
            .filter_map(|name| self.ebpf.program(name)?.fd().ok())
            .filter_map(|fd| {
                std::fs::read_to_string(format!("/proc/self/fdinfo/{}", fd.as_fd().as_raw_fd()))
                    .ok()
            })
            .filter_map(|info| recursion_misses(&info))
            .sum()
    }
}

/// Creates the maps; no program is loaded yet. Of a program that fails to, the verifier shall say
/// so much.
pub(super) fn open(
    options: &Options,
    btf: &AyaBtf,
    config: &Config,
    verifier: VerifierLogLevel,
) -> Result<Ebpf> {
    let log_level = super::log::level(options.verbose);
    let services = options.max_services();
    EbpfLoader::new()
        .btf(Some(btf))
        .verifier_log_level(verifier)
        .override_global("CONFIG", config, true)
        .override_global(aya_log::LEVEL, &log_level, true)
        .map_max_entries("EVENTS", options.ring_bytes)
        .map_max_entries("TOTALS", (config.last_shard + 1) * GROUPS + SERVICE_GROUPS)
        .map_max_entries("SOCKETS", options.max_sockets)
        .map_max_entries("FIN_WAIT1_TIMES", 4 * services)
        .map_max_entries("RESET_REASONS", 2 * services)
        .map_max_entries("MINI_TOTALS", services)
        .map_max_entries("MINISOCKETS", options.max_minisockets)
        .load(OBJECT)
        .context("cannot create the BPF maps")
        .map_err(|error| forbidden::named(limits::named(error), Step::Maps))
}

/// The last of the shards that the groups' counters have here.
fn last_shard() -> Result<u32> {
    let cpus = aya::util::nr_cpus()
        .map_err(|(what, error)| anyhow::Error::new(error).context(what))
        .context("cannot tell how many CPUs there may be")?;
    Ok((1 << shard_bits(u32::try_from(cpus).unwrap_or(u32::MAX))) - 1)
}

/// `recursion_misses` in the text of a program's fdinfo; `None` before 5.12.
fn recursion_misses(fdinfo: &str) -> Option<u64> {
    fdinfo.lines().find_map(|line| line.strip_prefix("recursion_misses:"))?.trim().parse().ok()
}

/// Before 5.11 maps count against RLIMIT_MEMLOCK. Where it cannot be raised the kernel may still
/// not need it, so a failure is none.
fn raise_memlock_limit() {
    let unlimited = rustix::process::Rlimit { current: None, maximum: None };
    let _ = rustix::process::setrlimit(rustix::process::Resource::Memlock, unlimited);
}

/// Attaches all of a rung's programs, or none.
fn attach_all(ebpf: &mut Ebpf, btf: &AyaBtf, rung: &Rung, cgroup2: Root<'_>) -> Result<()> {
    for (index, (hook, program)) in rung.all_parts().enumerate() {
        if let Err(error) = attach(ebpf, btf, hook, program, cgroup2) {
            for (_, attached) in rung.all_parts().take(index + 1) {
                detach(ebpf, attached);
            }
            // The hook that the table shows is the last.
            let name = hook.to_string();
            return Err(if hook == rung.hook { error } else { error.context(name) });
        }
    }
    Ok(())
}

/// Lets go of a program; one that did not load has nothing to let go of.
fn detach(ebpf: &mut Ebpf, name: &str) {
    use aya::programs::Program;
    let _ = match ebpf.program_mut(name) {
        Some(Program::FEntry(program)) => program.unload(),
        Some(Program::FExit(program)) => program.unload(),
        Some(Program::KProbe(program)) => program.unload(),
        Some(Program::BtfTracePoint(program)) => program.unload(),
        Some(Program::Iter(program)) => program.unload(),
        _ => Ok(()),
    };
}

/// Loads a program, then attaches it.
pub(super) fn attach(
    ebpf: &mut Ebpf,
    btf: &AyaBtf,
    hook: Hook,
    name: &str,
    cgroup2: Root<'_>,
) -> Result<()> {
    let program = ebpf.program_mut(name).ok_or_else(|| anyhow!("not in the object"))?;
    match hook {
        Hook::TpBtf(tracepoint) => {
            let program: &mut BtfTracePoint = program.try_into()?;
            program.load(tracepoint, btf)?;
            program.attach()?;
        }
        Hook::Fentry(function) => {
            let program: &mut FEntry = program.try_into()?;
            program.load(function, btf)?;
            program.attach()?;
        }
        Hook::Fexit(function) => {
            let program: &mut FExit = program.try_into()?;
            program.load(function, btf)?;
            program.attach()?;
        }
        // Which of the two it is the program says itself.
        Hook::Kprobe(function) | Hook::Kretprobe(function) => {
            let program: &mut KProbe = program.try_into()?;
            program.load()?;
            program.attach(function, 0)?;
        }
        Hook::CgroupSockRelease => {
            let program: &mut CgroupSock = program.try_into()?;
            program.load()?;
            program.attach(root(cgroup2)?, ON_CGROUP)?;
        }
        Hook::Iter(kind) => {
            let program: &mut Iter = program.try_into()?;
            program.load(kind, btf)?;
            // Each walk makes a link of its own: this one shows that it can.
            let link = program.attach()?;
            program.detach(link)?;
        }
        Hook::Argument(..) | Hook::From(_) | Hook::Sampler(_) => {}
    }
    Ok(())
}

/// Has each new socket get a cookie as it is made or accepted, where tracing programs cannot ask
/// for one themselves (before 5.12). So sockets are known by what sock_diag calls them, there too.
fn name_sockets(ebpf: &mut Ebpf, cgroup2: Root<'_>) -> Result<()> {
    NAMING.iter().try_for_each(|name| attach_naming(ebpf, name, cgroup2))
}

/// The programs that do that.
pub(super) const NAMING: [&str; 2] = ["sf_name_created", "sf_name_accepted"];

/// Loads one of [`NAMING`], then attaches it.
pub(super) fn attach_naming(ebpf: &mut Ebpf, name: &str, cgroup2: Root<'_>) -> Result<()> {
    let program = ebpf.program_mut(name).ok_or_else(|| anyhow!("not in the object"))?;
    if let Ok(program) = <&mut CgroupSock>::try_from(&mut *program) {
        program.load()?;
        program.attach(root(cgroup2)?, ON_CGROUP)?;
    } else {
        let program: &mut SockOps = program.try_into()?;
        program.load()?;
        program.attach(root(cgroup2)?, ON_CGROUP)?;
    }
    Ok(())
}

/// A link allows several programs on one cgroup by itself; asking for it is refused.
const ON_CGROUP: CgroupAttachMode = CgroupAttachMode::Single;

/// The root of cgroup2, or why there is none.
pub(super) type Root<'a> = Result<&'a Cgroup2, &'a str>;

fn root(cgroup2: Root<'_>) -> Result<&Cgroup2> {
    cgroup2.map_err(|reason| anyhow!("{reason}"))
}

/// The root of cgroup2. Programs of another cgroup would see only what is in it, and say nothing of the
/// rest.
pub(super) fn root_of_cgroup2() -> Result<Cgroup2, String> {
    match Cgroup2::find() {
        Some(found) if found.is_root() => Ok(found),
        Some(found) => Err(format!(
            "cgroup2 at {} is not the root of the hierarchy: sockets of processes outside of it would \
             not be seen; run it in the host's cgroup and PID namespaces: `nsenter -t 1 -C sockflow …`",
            found.path().display()
        )),
        None => {
            Err("no cgroup2 is mounted, and it cannot be: `mount -t cgroup2 none /mnt`".to_owned())
        }
    }
}

/// The verifier's verdict: it stands at the end, before the statistics.
fn verdict(log: &str) -> &str {
    const STATISTICS: [&str; 3] = ["processed ", "stack depth ", "verification time "];
    let is_said =
        |line: &&str| !line.is_empty() && !STATISTICS.iter().any(|word| line.starts_with(word));
    log.lines().rev().find(is_said).unwrap_or("")
}

/// The kernel's answer in one line.
fn describe(error: &anyhow::Error) -> String {
    if let Some(ProgramError::LoadError { io_error, verifier_log }) = error.downcast_ref() {
        // Of one of several programs: which one stands around the error.
        let part = match error.to_string() {
            text if text.starts_with("the BPF_PROG_LOAD") => String::new(),
            part => format!("{part}: "),
        };
        let log = verifier_log.to_string();
        let verdict = verdict(&log);
        return if std::env::var_os("SOCKFLOW_VERIFIER_LOG").is_some() {
            format!("{part}load: {io_error}\n{log}")
        } else if verdict.is_empty() {
            format!("{part}load: {io_error}")
        } else {
            format!("{part}load: {io_error}: {verdict}")
        };
    }
    let chain: Vec<String> = error.chain().map(ToString::to_string).collect();
    chain.join(": ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn misses_are_read_where_the_kernel_tells_them() {
        let info = "pos:\t0\nprog_type:\t26\nrecursion_misses:\t42\nverified_insns:\t7\n";
        assert_eq!(recursion_misses(info), Some(42));
        assert_eq!(recursion_misses("pos:\t0\n"), None);
    }

    #[test]
    fn the_verdict_stands_before_the_statistics() {
        let log = "0: (bf) r6 = r1\ncombined stack size of 3 calls is 544. Too large\n\
                   verification time 1234 usec\nstack depth 0+360+0+0+72\n\
                   processed 9000 insns (limit 1000000)\n";
        assert_eq!(verdict(log), "combined stack size of 3 calls is 544. Too large");
        assert_eq!(verdict(""), "");
    }
}
