//! The page that `report` writes, as a reader sees it: in headless Chromium, on a desktop and on a
//! phone, light and dark, and printed. Nothing is asked of the network, nothing is complained about,
//! nothing sticks out; names that strangers chose are text. And a disk that is full.
//!
//! Chromium is Debian's, installed by `cargo xtask deps`; without it these tests fail and say so.
//! The pictures stay in `target/tmp/report-pictures`, to be looked at.

use std::fmt::Write as _;
use std::fs;
use std::io::Read as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use sockflow::event::{Direction, Group, Input, Owner, Service, Totals};
use sockflow::recording::{Machine, Options, Run, Why, Writer};
use sockflow::time::{ClockAnchor, Monotonic, Wall};
use tracer_common::counters::{Counter, GroupCounters};

/// How long a browser may take, on a machine that does much else.
const PATIENCE: Duration = Duration::from_secs(120);
const EVIL: &str = "<script>alert(1)</script>]]><b>";

/// A folder that is gone after the test.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("sockflow-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).expect("a folder");
        Self(path)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn sockflow(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_sockflow"))
        .args(arguments)
        .stdin(Stdio::null())
        .env("TZ", "UTC")
        .output()
        .expect("it starts")
}

/// The page of a trace.
fn page(trace: &Path, folder: &Folder) -> PathBuf {
    let path = folder.path("report.html");
    let [trace, shown] = [trace, &path].map(|path| path.to_string_lossy().into_owned());
    let output = sockflow(&["report", &trace, "-o", &shown, "--force"]);
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(0), "{told}");
    path
}

/// What a browser did.
struct Visit {
    /// stdout: the document, where it was asked for.
    document: String,
    /// What the page said on the console.
    console: Vec<String>,
    /// What the page, not the browser itself, asked of the network.
    asked: Vec<String>,
}

/// Ends the browser and all it started.
struct Browser(Child);

impl Drop for Browser {
    fn drop(&mut self) {
        if let Some(pid) = rustix::process::Pid::from_raw(self.0.id().cast_signed()) {
            let _ = rustix::process::kill_process_group(pid, rustix::process::Signal::KILL);
        }
        let _ = self.0.wait();
    }
}

/// Opens a file in a browser that knows nothing yet and reaches nobody.
fn visit(folder: &Folder, file: &Path, arguments: &[&str]) -> Visit {
    let chromium = Path::new("/usr/bin/chromium");
    assert!(chromium.is_file(), "chromium is missing: run `cargo xtask deps` as root");
    let profile = folder.path("profile");
    let _ = fs::remove_dir_all(&profile);
    let log = folder.path("net.json");
    let _ = fs::remove_file(&log);
    let (out, err) = (folder.path("stdout"), folder.path("stderr"));
    let child = Command::new(chromium)
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run"])
        .args(["--disable-background-networking", "--disable-component-update", "--disable-sync"])
        .args(["--disable-dev-shm-usage", "--hide-scrollbars", "--no-pdf-header-footer"])
        // The browser's own wishes reach nobody either.
        .arg("--host-resolver-rules=MAP * ~NOTFOUND")
        .args(["--enable-logging=stderr", "--v=0"])
        .arg(format!("--user-data-dir={}", profile.display()))
        .arg(format!("--log-net-log={}", log.display()))
        .args(arguments)
        .arg(format!("file://{}", file.display()))
        .stdin(Stdio::null())
        .stdout(fs::File::create(&out).expect("a file"))
        .stderr(fs::File::create(&err).expect("a file"))
        .process_group(0)
        .spawn()
        .expect("chromium starts");
    let mut browser = Browser(child);
    let began = Instant::now();
    let status = loop {
        match browser.0.try_wait().expect("its status") {
            Some(status) => break status,
            None if began.elapsed() > PATIENCE => panic!("chromium does not end"),
            None => std::thread::sleep(Duration::from_millis(20)),
        }
    };
    let said = fs::read_to_string(&err).expect("stderr");
    assert!(status.success(), "{status}: {said}");
    Visit {
        document: fs::read_to_string(&out).expect("stdout"),
        console: said.lines().filter(|line| line.contains(":CONSOLE")).map(str::to_owned).collect(),
        asked: asked(&log),
    }
}

/// Requests in a log of the browser's network that a page made: they have an origin.
fn asked(log: &Path) -> Vec<String> {
    let text = fs::read_to_string(log).expect("a log of the network");
    // A browser that ends early leaves it open.
    let text = text.trim_end().trim_end_matches(',');
    let closed = if text.ends_with('}') && text.contains("\"polledData\"") {
        text.to_owned()
    } else {
        format!("{text}]}}")
    };
    let log: Value = serde_json::from_str(&closed)
        .or_else(|_| serde_json::from_str(text))
        .expect("a log in JSON");
    let events = log["events"].as_array().expect("events");
    let made = events.iter().filter_map(|event| {
        let initiator = event["params"]["initiator"].as_str()?;
        let url = event["params"]["url"].as_str()?;
        (initiator != "not an origin").then(|| format!("{url} (for {initiator})"))
    });
    made.collect()
}

impl Visit {
    /// Nothing was complained about or asked for.
    fn is_quiet(&self, what: &str) {
        assert!(self.console.is_empty(), "{what}: {:#?}", self.console);
        assert!(self.asked.is_empty(), "{what}: {:#?}", self.asked);
    }
}

/// The story's page.
fn story(folder: &Folder) -> PathBuf {
    let trace = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/recordings/v1.0-story.sockflow");
    page(&trace, folder)
}

/// Where pictures are left.
fn picture(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("report-pictures");
    fs::create_dir_all(&folder).expect("a folder");
    let path = folder.join(name);
    let _ = fs::remove_file(&path);
    path
}

/// A page around the report that is as wide as asked, for windows narrower than a browser makes, and
/// measures it: whether it is wider than its window, and what sticks out.
fn framed(folder: &Folder, report: &Path, width: u32) -> PathBuf {
    let report = fs::read_to_string(report).expect("a page");
    let escaped = report.replace('&', "&amp;").replace('"', "&quot;");
    let path = folder.path(&format!("framed-{width}.html"));
    let script = "
        const frame = document.querySelector('iframe');
        frame.onload = () => {
            const page = frame.contentDocument, root = page.documentElement;
            const out = [];
            for (const it of page.body.querySelectorAll('*')) {
                const box = it.getBoundingClientRect();
                const scrolls = it.closest('.scroll, svg, details:not([open])');
                if (!scrolls && box.width > 0 && box.right > root.clientWidth + 1) out.push(it.tagName + '.' + it.className);
            }
            const background = page.defaultView.getComputedStyle(page.body).backgroundColor;
            const told = { width: root.clientWidth, scrolls: root.scrollWidth, out, background,
                scripts: page.scripts.length, charts: page.querySelectorAll('svg.canvas').length,
                drawn: [...page.querySelectorAll('path.line, rect.fill')].filter(it => it.getBoundingClientRect().width > 0).length,
                small: [...page.querySelectorAll('svg text')].filter(it => parseFloat(page.defaultView.getComputedStyle(it).fontSize) < 10).length,
                height: root.scrollHeight };
            frame.height = root.scrollHeight;
            const pre = document.createElement('pre');
            pre.id = 'told'; pre.textContent = JSON.stringify(told);
            document.body.append(pre);
        };
    ";
    let page = format!(
        "<!DOCTYPE html><meta charset=utf-8><body style='margin:0'>\
         <iframe style='border:0;display:block' width={width} height=800 srcdoc=\"{escaped}\"></iframe>\
         <script>{script}</script>"
    );
    fs::write(&path, page).expect("a file");
    path
}

fn told(visit: &Visit) -> Value {
    let (_, rest) = visit.document.split_once("<pre id=\"told\">").expect("what was measured");
    let (object, _) = rest.split_once("</pre>").expect("its end");
    serde_json::from_str(object).expect("an object")
}

/// The number blink has for a scheme that is preferred.
const SCHEMES: [(&str, &str); 2] = [
    ("light", "--blink-settings=preferredColorScheme=1"),
    ("dark", "--blink-settings=preferredColorScheme=0"),
];

#[test]
fn the_storys_page_is_right_wide_and_narrow_light_and_dark() {
    let folder = Folder::new("report-page");
    let page = story(&folder);
    let mut backgrounds = Vec::new();
    for (scheme, setting) in SCHEMES {
        for width in [1280, 390] {
            let what = format!("{width} {scheme}");
            let framed = framed(&folder, &page, width);
            let visit =
                visit(&folder, &framed, &["--dump-dom", "--window-size=1400,1000", setting]);
            visit.is_quiet(&what);
            let told = told(&visit);
            assert_eq!(told["width"], width, "{what}: {told}");
            assert_eq!(told["scrolls"], width, "{what}: it scrolls sideways: {told}");
            assert_eq!(told["out"], serde_json::json!([]), "{what}: {told}");
            assert_eq!(
                (&told["scripts"], &told["small"]),
                (&0.into(), &0.into()),
                "{what}: {told}"
            );
            assert_eq!(told["charts"], 5, "{what}: {told}");
            assert!(told["drawn"].as_u64() > Some(15), "{what}: {told}");
            backgrounds.push(told["background"].clone());
            let height = told["height"].as_u64().expect("a height");
            let picture = picture(&format!("story-{width}-{scheme}.png"));
            let arguments = [
                &format!("--screenshot={}", picture.display()),
                &format!("--window-size={},{height}", width.max(500)),
                setting,
            ];
            let visit = self::visit(&folder, &framed, &arguments.map(AsRef::as_ref));
            visit.is_quiet(&what);
            let bytes = fs::metadata(&picture).expect("a picture").len();
            assert!(bytes > 50_000, "{what}: {bytes} bytes: an empty page?");
        }
    }
    assert_eq!(backgrounds[0], backgrounds[1]);
    assert_eq!(backgrounds[2], backgrounds[3]);
    assert_ne!(backgrounds[0], backgrounds[2], "dark is dark");
}

#[test]
fn the_storys_page_prints() {
    let folder = Folder::new("report-print");
    let page = story(&folder);
    for (scheme, setting) in SCHEMES {
        let pdf = picture(&format!("story-{scheme}.pdf"));
        let visit = visit(&folder, &page, &[&format!("--print-to-pdf={}", pdf.display()), setting]);
        visit.is_quiet(scheme);
        let mut bytes = Vec::new();
        fs::File::open(&pdf).expect("a PDF").read_to_end(&mut bytes).expect("a PDF");
        assert!(bytes.starts_with(b"%PDF-") && bytes.len() > 50_000, "{} bytes", bytes.len());
    }
}

#[test]
fn a_page_that_asked_or_complained_would_be_noticed() {
    let folder = Folder::new("report-control");
    let page = fs::read_to_string(story(&folder)).expect("a page");
    let bad = "<img src=\"http://one.invalid/x.png\"><script>console.error('two')</script>";
    // The policy stops it, and says so.
    let path = folder.path("bad.html");
    fs::write(&path, page.replace("<main>", &format!("<main>{bad}"))).expect("a file");
    let stopped = visit(&folder, &path, &["--dump-dom"]);
    assert!(stopped.asked.is_empty(), "{:?}", stopped.asked);
    let complaints = stopped.console.iter().filter(|line| line.contains("Content Security Policy"));
    assert!(complaints.count() >= 2, "{:?}", stopped.console);
    // Without it, it is seen that a page asks and speaks.
    let (before, rest) = page.split_once("<meta http-equiv").expect("a policy");
    let (_, after) = rest.split_once('>').expect("its end");
    let free = format!("{before}{after}").replace("<main>", &format!("<main>{bad}"));
    fs::write(&path, free).expect("a file");
    let seen = visit(&folder, &path, &["--dump-dom"]);
    assert!(seen.asked.iter().any(|url| url.contains("one.invalid")), "{:?}", seen.asked);
    assert!(seen.console.iter().any(|line| line.contains("two")), "{:?}", seen.console);
}

/// A trace in which a host and a process chose their names.
fn hostile_trace(path: &Path) {
    let options = Options {
        path: path.to_owned(),
        force: true,
        max_bytes: None,
        sync: Duration::from_secs(60),
    };
    let run = Run {
        host: Machine { name: EVIL.to_owned(), kernel: EVIL.to_owned(), boot_id: String::new() },
        anchor: ClockAnchor { monotonic: Monotonic(0), wall: Wall(1_795_365_730_000_000_000) },
        notes: vec![EVIL.to_owned()],
        interval_s: 1.0,
        ..Run::default()
    };
    let mut writer = Writer::create(options, run).expect("a trace");
    for second in 1..30_u64 {
        let mut counters = GroupCounters::default();
        counters.words[Counter::Opened as usize] = 10 * second;
        counters.words[Counter::Orphans as usize] = second;
        let group = Group {
            service: Service { port: 9981, direction: Direction::In },
            owner: Some(Owner { pid: 7, comm: EVIL.to_owned() }),
            owner_start_ticks: 1,
            cgroup: Some(format!("/{EVIL}")),
            workload: Some(EVIL.to_owned()),
            alive: true,
            unchecked: 0,
            counters,
        };
        let totals = Totals { groups: vec![group], ..Totals::default() };
        let tick = Input::Tick(Monotonic(second * 1_000_000_000));
        writer.sample(&[Input::Totals(totals), tick]).expect("a sample");
    }
    writer.finish(Why::Finished).expect("its end");
}

#[test]
fn names_that_strangers_chose_are_text() {
    let folder = Folder::new("report-names");
    let trace = folder.path("evil<script>.sockflow");
    hostile_trace(&trace);
    let page = page(&trace, &folder);
    let framed = framed(&folder, &page, 390);
    let visit = visit(&folder, &framed, &["--dump-dom", "--window-size=1400,1000"]);
    visit.is_quiet("hostile names");
    let told = told(&visit);
    assert_eq!((&told["scripts"], &told["scrolls"]), (&0.into(), &390.into()), "{told}");
    let page = fs::read_to_string(&page).expect("a page");
    assert!(page.matches("&lt;script&gt;alert(1)&lt;/script&gt;]]&gt;&lt;b&gt;").count() > 5);
    assert!(
        !page.contains("<script") && !page.contains("<b>&lt;") | page.contains("<b>&lt;script")
    );
    let trace = trace.to_string_lossy().into_owned();
    let output = sockflow(&["report", &trace]);
    let text = String::from_utf8_lossy(&output.stdout);
    let mut outside = String::new();
    for line in text.lines() {
        let _ = writeln!(outside, "{}", line.split('`').step_by(2).collect::<String>());
    }
    assert!(outside.contains("&lt;script&gt;") && !outside.contains("<script"), "{outside}");
}

#[test]
fn a_full_disk_leaves_no_report_behind() {
    let folder = Folder::new("report-full");
    let disk = folder.path("disk");
    fs::create_dir(&disk).expect("a folder");
    // A namespace of its own: the disk is gone with the shell.
    let script = "mount -t tmpfs -o size=32k none \"$DISK\" && \
        echo kept >\"$DISK/old.html\" && \
        \"$SOCKFLOW\" report \"$STORY\" -o \"$DISK/new.html\"; echo $?; \
        \"$SOCKFLOW\" report \"$STORY\" --force -o \"$DISK/old.html\"; echo $?; \
        ls -A \"$DISK\"; cat \"$DISK/old.html\"";
    let story = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/recordings/v1.0-story.sockflow");
    let output = Command::new("unshare")
        .args(["--mount", "sh", "-c", script])
        .env("DISK", &disk)
        .env("STORY", story)
        .env("SOCKFLOW", env!("CARGO_BIN_EXE_sockflow"))
        .output()
        .expect("unshare");
    let told = String::from_utf8_lossy(&output.stderr).replace(&*disk.to_string_lossy(), "DISK");
    assert_eq!(String::from_utf8_lossy(&output.stdout), "1\n1\nold.html\nkept\n", "{told}");
    assert_eq!(
        told,
        "sockflow: error: cannot write DISK/new.html; nothing of it is left\n  \
         caused by: No space left on device (os error 28)\n  hint: df -h DISK\n\
         sockflow: error: cannot write DISK/old.html; nothing of it is left\n  \
         caused by: No space left on device (os error 28)\n  hint: df -h DISK\n"
    );
}
