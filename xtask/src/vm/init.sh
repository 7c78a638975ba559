#!/bin/busybox sh
# The guest's first and only program: makes a small system, runs /steps, powers off.
#
# ttyS0 is the kernel's console; what xtask reads goes to ttyS1, so that neither cuts the other's
# lines in two. Lines that begin with "@@ " are for xtask (guest.rs), the rest is the tests'.
/bin/busybox --install -s /bin
export PATH=/bin HOME=/root TMPDIR=/tmp
mkdir -p /dev /proc /sys /tmp /run
mount -t devtmpfs dev /dev
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t tracefs tracefs /sys/kernel/tracing
mount -t bpf bpf /sys/fs/bpf
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mount -t tmpfs run /run
exec </dev/null >/dev/ttyS1 2>&1
chmod 1777 /tmp
ip link set lo up
for module in /modules/inet_diag.ko /modules/tcp_diag.ko /modules/udp_diag.ko; do
    insmod $module || echo "cannot load $module"
done

# run NAME SECONDS COMMAND…
#
# A preemptible kernel skips runs of a program that another task was in the middle of, more so under
# emulation. sockflow says so (lost.missed), a test that sees it prints it, and one that wants exact
# numbers fails by it: such a test is tried again, up to three times, and the end of the step says how
# often. On this machine's own kernel test/live.rs does the same.
run() {
    name=$1 seconds=$2 tries=1
    shift 2
    echo "@@ begin $name"
    began=$(cut -d' ' -f1 /proc/uptime)
    while :; do
        timeout "$seconds" "$@" >/tmp/output 2>&1
        code=$?
        if [ $code != 101 ] || [ $tries -gt 3 ] || ! grep -q '^the kernel skipped runs: ' /tmp/output; then
            break
        fi
        tries=$((tries + 1))
    done
    cat /tmp/output
    # A line of its own, whatever was printed last.
    echo
    echo "@@ end $name $code $began $(cut -d' ' -f1 /proc/uptime) $tries"
}

echo "@@ ready $(uname -r)"
. /steps
echo "@@ done"
poweroff -f
