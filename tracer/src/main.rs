//! The `sockflow` binary.
use sockflow::bpf::load::*;
fn main() {
    let o = Options {
        filter: Default::default(),
        detail: 2,
        ring_bytes: 1 << 22,
        max_sockets: 262144,
        btf: sockflow::bpf::btf::VMLINUX.into(),
    };
    let t = std::time::Instant::now();
    match Kernel::load(&o) {
        Ok(k) => {
            println!("{:#?} {:?}", k.plan.report(), t.elapsed());
            for (n, p) in k.ebpf.programs() {
                if let Ok(i) = p.info() {
                    println!("{n} {:?} {:?}", i.verified_instruction_count(), i.size_translated());
                }
            }
        }
        Err(e) => println!("{}", sockflow::error::report(&e).0),
    }
}
