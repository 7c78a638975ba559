//! Paths as runtimes make them, and as nobody should.

use proptest::prelude::*;

use super::*;

const ID: &str = "79fedb3bd23ca77c9d9ccb41909038316f713df22b54b7d942b71d3812e7c74e";
const INNER: &str = "0fa8ac17e4e7a31fb82279503552fe94e64bab4745bf6fd2ff231e7c8ca8bed0";
const UID: &str = "2fc932ce-fdcc-454b-97bd-aadfdeb4c340";
const UID_: &str = "2fc932ce_fdcc_454b_97bd_aadfdeb4c340";
const STATIC: &str = "36b6d6be73b1065af369b3985edafa09";

/// What a path names, as text; `-` for nothing.
fn of(path: &str) -> String {
    let path = path
        .replace("INNER", INNER)
        .replace("UID_", UID_)
        .replace("UID", UID)
        .replace("STATIC", STATIC)
        .replace("ID", ID);
    Workload::of_cgroup(&path).map_or_else(|| "-".to_owned(), |it| it.to_string())
}

/// Path and workload. `ID` and `INNER` are ids of containers, `UID` a pod's (`UID_` as systemd spells
/// it), `STATIC` a static pod's.
const PATHS: &[(&str, &str)] = &[
    // systemd: services, templates, sockets and mounts with processes of their own, delegated cgroups.
    ("/system.slice/nginx.service", "nginx.service"),
    ("/system.slice/system-getty.slice/getty@tty1.service", "getty@tty1.service"),
    (
        "/system.slice/system-postgresql.slice/postgresql@16-main.service",
        "postgresql@16-main.service",
    ),
    ("/system.slice/systemd-udevd.service/udev", "systemd-udevd.service"),
    ("/system.slice/docker.service", "docker.service"),
    ("/system.slice/containerd.service", "containerd.service"),
    ("/system.slice/cups.socket", "cups.socket"),
    ("/system.slice/boot-efi.mount", "boot-efi.mount"),
    ("/system.slice/dev-disk-by\\x2duuid-1.swap", "dev-disk-by\\x2duuid-1.swap"),
    ("/system.slice/run-u42.service", "run-u42.service"),
    ("/system.slice/snap.lxd.daemon.service", "snap.lxd.daemon.service"),
    ("/init.scope", "init.scope"),
    ("/kube.slice/kubelet.service", "kubelet.service"),
    // User slices.
    ("/user.slice/user-1000.slice/session-3.scope", "session-3.scope"),
    ("/user.slice/user-1000.slice/user@1000.service/init.scope", "init.scope"),
    ("/user.slice/user-1000.slice/user@1000.service/app.slice/web.service", "web.service"),
    (
        "/user.slice/user-1000.slice/user@1000.service/app.slice/app-gnome-firefox-4121.scope",
        "app-gnome-firefox-4121.scope",
    ),
    ("/user.slice/user-1000.slice", "user-1000.slice"),
    // Docker: cgroup1 and cgroup2, with cgroupfs and with systemd, rootless, with a parent of its own,
    // with an init below it, in Docker; ECS.
    ("/docker/ID", "docker:79fedb3bd23c"),
    ("/docker/ID/init.scope", "docker:79fedb3bd23c"),
    ("/system.slice/docker-ID.scope", "docker:79fedb3bd23c"),
    ("/system.slice/docker-ID.scope/init", "docker:79fedb3bd23c"),
    (
        "/user.slice/user-1000.slice/user@1000.service/user.slice/docker-ID.scope",
        "docker:79fedb3bd23c",
    ),
    ("/batch/ID", "container:79fedb3bd23c"),
    ("/ID", "container:79fedb3bd23c"),
    ("/system.slice:docker:ID", "docker:79fedb3bd23c"),
    ("/docker/ID/docker/INNER", "docker:0fa8ac17e4e7"),
    ("/docker/ID/system.slice/nginx.service", "docker:79fedb3bd23c"),
    ("/ecs/2b4d747eae5e/ID", "container:79fedb3bd23c"),
    ("/ecstasks.slice/ecstasks-2b4d747eae5e.slice/docker-ID.scope", "docker:79fedb3bd23c"),
    // containerd without a kubelet: ctr, nerdctl, the CRI.
    ("/default/redis", "containerd:redis"),
    ("/default/ID", "containerd:79fedb3bd23c"),
    ("/k8s.io/ID", "containerd:79fedb3bd23c"),
    ("/system.slice/nerdctl-ID.scope", "containerd:79fedb3bd23c"),
    ("/system.slice/cri-containerd-ID.scope", "containerd:79fedb3bd23c"),
    ("/system.slice/containerd-ID.scope", "containerd:79fedb3bd23c"),
    // CRI-O without a kubelet; what watches a container is not in it.
    ("/system.slice/crio-ID.scope", "cri-o:79fedb3bd23c"),
    ("/system.slice/crio-conmon-ID.scope", "crio-conmon-ID.scope"),
    // Podman: root's and users', with systemd and with cgroupfs, its pods, Quadlet.
    ("/machine.slice/libpod-ID.scope", "podman:79fedb3bd23c"),
    ("/machine.slice/libpod-ID.scope/container", "podman:79fedb3bd23c"),
    ("/machine.slice/machine-libpod_pod_INNER.slice/libpod-ID.scope", "podman:79fedb3bd23c"),
    (
        "/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-ID.scope/container",
        "podman:79fedb3bd23c",
    ),
    ("/libpod_parent/libpod-ID", "podman:79fedb3bd23c"),
    ("/libpod_parent/INNER/libpod-ID", "podman:79fedb3bd23c"),
    ("/libpod_parent/ID", "podman:79fedb3bd23c"),
    ("/system.slice/web.service/libpod-payload-ID", "podman:79fedb3bd23c"),
    ("/machine.slice/libpod-conmon-ID.scope", "libpod-conmon-ID.scope"),
    // The kubelet with cgroupfs: guaranteed, burstable, best effort, static; below a root of its own.
    ("/kubepods/podUID/ID", "pod:UID"),
    ("/kubepods/burstable/podUID/ID", "pod:UID"),
    ("/kubepods/besteffort/podUID/crio-ID", "pod:UID"),
    ("/kubepods/besteffort/podUID", "pod:UID"),
    ("/kubepods/burstable/podSTATIC/ID", "pod:STATIC"),
    ("/nodes/kubepods/burstable/podUID/ID", "pod:UID"),
    // The kubelet with systemd: the same, with each runtime.
    ("/kubepods.slice/kubepods-podUID_.slice/cri-containerd-ID.scope", "pod:UID"),
    (
        "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-podUID_.slice/cri-containerd-ID.scope",
        "pod:UID",
    ),
    (
        "/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-podUID_.slice/crio-ID.scope",
        "pod:UID",
    ),
    (
        "/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-podUID_.slice/crio-conmon-ID.scope",
        "pod:UID",
    ),
    (
        "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-podUID_.slice/docker-ID.scope",
        "pod:UID",
    ),
    (
        "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-podSTATIC.slice/crio-ID.scope/container",
        "pod:STATIC",
    ),
    ("/kubepods.slice", "kubepods.slice"),
    // A runtime that takes systemd's names and makes folders of them.
    (
        "/system.slice/containerd.service/kubepods-burstable-podSTATIC.slice:cri-containerd:ID",
        "pod:STATIC",
    ),
    ("/kubepods-besteffort-podUID_.slice:cri-containerd:ID", "pod:UID"),
    // A node that is a container itself (kind, minikube).
    ("/docker/ID/kubelet/kubepods/burstable/podUID/INNER", "pod:UID"),
    (
        "/system.slice/docker-ID.scope/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-besteffort.slice/\
         kubelet-kubepods-besteffort-podUID_.slice/cri-containerd-INNER.scope",
        "pod:UID",
    ),
    ("/docker/ID/kubepods.slice/kubepods-podUID_.slice/crio-INNER.scope", "pod:UID"),
    // LXC, LXD and Proxmox; with a system of its own inside, or Docker.
    ("/lxc/web", "lxc:web"),
    ("/lxc/101/ns/system.slice/nginx.service", "lxc:101"),
    ("/lxc.payload/web", "lxc:web"),
    ("/lxc.payload.web", "lxc:web"),
    ("/lxc.payload.web-1/system.slice/nginx.service", "lxc:web-1"),
    ("/lxc.monitor.web", "lxc:web"),
    ("/user.slice/user-1000.slice/session-3.scope/lxc.payload.web/init.scope", "lxc:web"),
    ("/lxc.payload.web/system.slice/docker-ID.scope", "docker:79fedb3bd23c"),
    // systemd-nspawn: by its unit and by hand; libvirt's machines are none.
    (
        "/machine.slice/systemd-nspawn@debian.service/payload/system.slice/nginx.service",
        "nspawn:debian",
    ),
    ("/machine.slice/systemd-nspawn@debian.service/supervisor", "nspawn:debian"),
    ("/machine.slice/machine-debian.scope/init.scope", "nspawn:debian"),
    (
        "/machine.slice/machine-qemu\\x2d1\\x2dvm.scope/libvirt/emulator",
        "machine-qemu\\x2d1\\x2dvm.scope",
    ),
    // As seen from within a cgroup namespace, and after the cgroup has gone.
    ("/../../kubepods/burstable/podUID/ID", "pod:UID"),
    ("/../docker-ID.scope", "docker:79fedb3bd23c"),
    ("/system.slice/docker-ID.scope (deleted)", "docker:79fedb3bd23c"),
    ("/system.slice/nginx.service (deleted)", "nginx.service"),
    // Nothing.
    ("/", "-"),
    ("", "-"),
    ("//", "-"),
    ("/../..", "-"),
    ("/-.slice", "-"),
    ("/kubepods/burstable", "-"),
    ("/workers", "-"),
    ("/docker", "-"),
    // Odd and hostile.
    ("no slash in front", "-"),
    ("system.slice/nginx.service", "nginx.service"),
    ("/.service/.scope/.slice", "-"),
    ("/docker/79fedb3bd23c", "-"),
    ("/docker/79FEDB3BD23CA77C9D9CCB41909038316F713DF22B54B7D942B71D3812E7C74E", "-"),
    ("/docker/IDa", "-"),
    ("/evil\u{1b}[31m.service", "-"),
    ("/system.slice/evil name.service", "system.slice"),
    ("/подделка.service", "-"),
    ("/podUID/x", "-"),
    ("/kubepods/pod/x", "-"),
    ("/kubepods/podnot-a-uid", "-"),
    ("/kubepods/pod2fc932ce-fdcc-454b-97bd", "-"),
    ("/x-podUID_.slice", "x-podUID_.slice"),
    ("/lxc.payload.", "-"),
    ("/lxc/", "-"),
    ("/machine-.scope", "machine-.scope"),
    ("/systemd-nspawn@.service", "systemd-nspawn@.service"),
    ("/a.slice:b:c:d", "-"),
    (":::", "-"),
];

#[test]
fn the_paths_of_every_runtime() {
    for (path, expected) in PATHS {
        let expected = expected
            .replace("UID_", UID_)
            .replace("UID", UID)
            .replace("STATIC", STATIC)
            .replace("ID", ID);
        assert_eq!(of(path), expected, "{path}");
    }
}

#[test]
fn a_process_is_in_what_its_most_telling_hierarchy_says() {
    let of = |text: &str| {
        let found = Workload::of_process(&text.replace("UID", UID).replace("ID", ID));
        found.map_or_else(|| "-".to_owned(), |it| it.to_string())
    };
    let only = "0::/system.slice/nginx.service\n";
    assert_eq!(of(only), "nginx.service");
    // cgroup1 alone.
    let first = "11:cpu,cpuacct:/docker/ID\n10:pids:/docker/ID\n1:name=systemd:/docker/ID\n";
    assert_eq!(of(first), "docker:79fedb3bd23c");
    // Both: the runtime's containers are in its own service of cgroup2.
    let both = "4:memory:/kubepods/burstable/podUID/ID\n0::/system.slice/containerd.service\n";
    assert_eq!(of(both), format!("pod:{UID}"));
    let service = "2:cpu:/system.slice/a.service\n1:name=systemd:/system.slice/b.service\n\
                   0::/system.slice/c.service\n";
    assert_eq!(of(service), "c.service", "cgroup2 where they say as much");
    let leaked =
        "1:name=systemd:/system.slice/containerd.service/kubepods-podUID.slice:cri-containerd:ID";
    assert_eq!(of(leaked), format!("pod:{UID}"), "a path may have colons");
    for nothing in ["", "0::/\n", "0:", "x", "::", "12:pids:/\n1:name=systemd:/\n0::/\n"] {
        assert_eq!(of(nothing), "-", "{nothing:?}");
    }
}

#[test]
fn the_kubelets_log_folders_name_pods() {
    let mut names = PodNames::default();
    names.add_folder(&format!("shop_web-0_{UID}"));
    names.add_folder(&format!("kube-system_etcd-master_{STATIC}"));
    names.add_link(&format!("db-7d4b9c-x2x_shop_postgres-main-{INNER}.log"));
    let named = |path: &str| {
        let path = path.replace("UID", UID).replace("STATIC", STATIC).replace("INNER", INNER);
        Workload::of_cgroup(&path.replace("ID", ID)).unwrap().named(&names).to_string()
    };
    assert_eq!(named("/kubepods/podUID/ID"), "pod:shop/web-0");
    assert_eq!(named("/kubepods/burstable/podSTATIC/ID"), "pod:kube-system/etcd-master");
    let other = "/kubepods/burstable/pod11111111-fdcc-454b-97bd-aadfdeb4c340/";
    assert_eq!(named(&format!("{other}INNER")), "pod:shop/db-7d4b9c-x2x", "by its container");
    assert_eq!(named(&format!("{other}ID")), "pod:11111111-fdcc-454b-97bd-aadfdeb4c340");
    assert_eq!(named("/k8s.io/INNER"), "pod:shop/db-7d4b9c-x2x", "a container of a pod");
    assert_eq!(named("/docker/ID"), "docker:79fedb3bd23c");
    assert_eq!(named("/system.slice/nginx.service"), "nginx.service");

    let mut none = PodNames::default();
    let folders = [
        "".to_owned(),
        "_".to_owned(),
        "__".to_owned(),
        format!("shop_{UID}"),
        format!("_web_{UID}"),
        format!("sh\u{1b}op_web_{UID}"),
        format!("../shop_web_{UID}"),
        format!("shop_web_{UID}x"),
        "shop_web_uid".to_owned(),
    ];
    folders.iter().for_each(|folder| none.add_folder(folder));
    for link in
        ["", ".log", "a_b_c.log", "a_b_c-d.log", &format!("a_b_c-{ID}"), &format!("_b_c-{ID}.log")]
    {
        none.add_link(link);
    }
    assert_eq!(none, PodNames::default());
}

#[test]
fn a_workload_is_named_in_full_or_as_people_know_it() {
    for (text, wanted) in [
        ("nginx.service", "nginx.service"),
        ("nginx.service", "nginx"),
        ("session-3.scope", "session-3.scope"),
        ("docker:79fedb3bd23c", "docker:79fedb3bd23c"),
        ("docker:79fedb3bd23c", "79fedb3bd23c"),
        ("docker:79fedb3bd23c", ID),
        ("docker:79fedb3bd23c", &format!("docker:{ID}")),
        ("lxc:web", "web"),
        ("pod:shop/web-0", "shop/web-0"),
        ("pod:shop/web-0", "web-0"),
        ("pod:shop/web-0", "pod:shop/web-0"),
        ("pod:shop/web-0", "pod:web-0"),
        ("docker:x.service", "docker:x.service"),
    ] {
        assert!(is_meant(text, wanted), "{text} {wanted}");
    }
    for (text, wanted) in [
        ("nginx.service", "nginx.scope"),
        ("nginx.service", "ngin"),
        ("nginx.service", ""),
        ("session-3.scope", "session-3"),
        ("docker:79fedb3bd23c", "podman:79fedb3bd23c"),
        ("docker:79fedb3bd23c", "79fe"),
        ("docker:79fedb3bd23c", INNER),
        ("pod:shop/web-0", "shop"),
        ("pod:shop/web-0", "other/web-0"),
        ("lxc:web", "nspawn:web"),
    ] {
        assert!(!is_meant(text, wanted), "{text} {wanted}");
    }
}

proptest! {
    #[test]
    fn any_path_is_survived(path in ".{0,200}") {
        let _ = Workload::of_cgroup(&path);
        let _ = Workload::of_process(&path);
        let mut names = PodNames::default();
        names.add_folder(&path);
        names.add_link(&path);
    }

    #[test]
    fn a_workload_is_short_and_means_itself(
        path in "(/[a-z0-9:._-]{1,12}(kubepods|pod|docker|lxc)?(\\.slice|\\.scope|\\.service)?){1,6}"
    ) {
        if let Some(found) = Workload::of_cgroup(&path) {
            let text = found.to_string();
            prop_assert!(!text.is_empty() && text.len() <= 300);
            prop_assert!(is_meant(&text, &text));
        }
    }
}
