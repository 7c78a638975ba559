//! Events in the words of each format.

use std::net::IpAddr;
use std::sync::Arc;

use serde_json::Value;
use tracer_common::counters::{EndDetail, MiniEnd, OrphanCause, OrphanEnd};
use tracer_common::reset::ResetReason;
use tracer_common::state::TcpState;

use super::csv::{Csv, field};
use super::jsonl::{Jsonl, Lines};
use super::schema::{COLUMNS, message};
use super::{About, Account, Context, Writer};
use crate::event::{Direction, Event, EventKind, Owner};
use crate::time::{ClockAnchor, Monotonic, Wall};

/// What happened to a socket whose owner chose a hostile name.
pub(crate) fn event(kind: EventKind) -> Event {
    Event {
        at: Monotonic(2_000_000),
        kind,
        socket: 77,
        local: ([127, 0, 0, 1].into(), 9981),
        peer: ([127, 0, 0, 1].into(), 40_000),
        owner: Some(Arc::new(Owner { pid: 7, comm: "\x1b]0;evil\x07".into() })),
        netns: 1,
        born: Some(Monotonic(500_000)),
    }
}

fn anchor() -> ClockAnchor {
    ClockAnchor { monotonic: Monotonic(0), wall: Wall(1_795_365_730_000_000_000) }
}

fn json(event: &Event) -> Value {
    serde_json::from_slice(Lines::new(anchor()).event(event).unwrap()).unwrap()
}

#[test]
fn an_event_is_the_contracts_object() {
    let change = EventKind::State { old: TcpState::FinWait1, new: TcpState::FinWait2 };
    let value = json(&event(change));
    assert_eq!(value["schema"], "sockflow.event/1");
    assert_eq!(value["time"], "2026-11-22T16:42:10.002Z");
    assert_eq!(value["kind"], "state");
    assert_eq!(value["socket"], "77");
    assert_eq!(value["family"], 4);
    assert_eq!(value["local"]["port"], 9981);
    assert_eq!((&value["old"], &value["new"]), (&"FIN_WAIT1".into(), &"FIN_WAIT2".into()));
    assert_eq!(value["age_ms"], 1.5);
    assert_eq!(value.get("reason"), None, "fields that don't apply are left out");
    let value = |kind| json(&event(kind));
    let reason = OrphanEnd::Killed;
    let end = value(EventKind::OrphanEnd {
        reason,
        detail: EndDetail::Memory,
        cause: Some(OrphanCause::ClosedWindow),
    });
    assert_eq!((&end["reason"], &end["detail"]), (&"killed".into(), &"memory".into()));
    assert_eq!(end["cause"], "closed_window");
    let reset = value(EventKind::ResetOut { reason: ResetReason::named("TCP_STATE") });
    assert_eq!(reset["reason"], "TCP_STATE");
    let (reason, substate) = (MiniEnd::Reused, TcpState::TimeWait);
    let end = value(EventKind::TimeWaitEnd { substate, reason });
    assert_eq!(end["kind"], "time_wait_end");
    assert_eq!((&end["old"], &end["reason"]), (&"TIME_WAIT".into(), &"reused".into()));
    let begin = value(EventKind::TimeWaitBegin { substate: Some(TcpState::FinWait2) });
    assert_eq!(begin["new"], "FIN_WAIT2");
    let mut lines = Lines::new(anchor());
    let pressure: Value =
        serde_json::from_slice(lines.pressure(Monotonic(1), Some(true)).unwrap()).unwrap();
    let mut began = event(EventKind::Pressure { began: true });
    began.at = Monotonic(1);
    assert_eq!(json(&began), pressure, "it is of no socket");
    assert_eq!((&pressure["kind"], &pressure["reason"]), (&"pressure".into(), &"begins".into()));
}

#[test]
fn ipv4_on_an_ipv6_socket_is_spelt_as_ipv4() {
    let mut mapped = event(EventKind::ResetIn);
    let address: IpAddr = "::ffff:10.4.1.2".parse().unwrap();
    (mapped.local.0, mapped.peer.0) = (address, address);
    let value = json(&mapped);
    assert_eq!(value["peer"]["addr"], "10.4.1.2");
    assert_eq!(value["family"], 6, "the socket's own");
}

fn csv(events: &[Event]) -> String {
    let mut text = Vec::new();
    let about =
        About { anchor: anchor(), host: "web,17".into(), boot_id: "b".into(), ..About::default() };
    let mut writer = Box::new(Csv::new(&mut text, &about).unwrap());
    events.iter().for_each(|event| writer.event(event, Context::default()).unwrap());
    writer.finish(&Account::default()).unwrap();
    String::from_utf8(text).unwrap()
}

#[test]
fn a_line_of_csv_has_all_columns() {
    let reason = OrphanEnd::Other;
    let mut bare = event(EventKind::OrphanEnd { reason, detail: EndDetail::Linger2, cause: None });
    (bare.owner, bare.born) = (None, None);
    let change = event(EventKind::State { old: TcpState::Close, new: TcpState::Listen });
    let text = csv(&[change, bare]);
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines[0].split(',').collect::<Vec<_>>(), COLUMNS.map(|column| column.name));
    let machine = "2026-11-22T16:42:10.002000000Z,2000000,\"web,17\",b";
    let socket = "77,4,127.0.0.1,9981,127.0.0.1,40000";
    assert_eq!(
        lines[1],
        format!(r#"{machine},state,{socket},CLOSE,LISTEN,,7,"\x1b]0;evil\x07",1,1500000,,,,,"#)
    );
    assert_eq!(lines[2], format!("{machine},orphan_end,{socket},,,other,,,1,,linger2,,,,"));
    assert_eq!(lines.len(), 3);
}

#[test]
fn names_that_strangers_chose_are_harmless_in_csv() {
    for (name, shown) in [
        ("nginx", "nginx"),
        ("kworker/0:1", "kworker/0:1"),
        ("a,b", "\"a,b\""),
        ("say \"hi\"", "\"say \"\"hi\"\"\""),
        ("two\nlines", r"two\x0alines"),
        ("\x1b[2J", r"\x1b[2J"),
        ("=1+1|'cmd'!A1", "\"'=1+1|'cmd'!A1\""),
        ("-rm", "\"'-rm\""),
        ("@sum", "\"'@sum\""),
        ("<script>", "<script>"),
        (" =1+1", "\"' =1+1\""),
        ("\t=1+1", r"\x09=1+1"),
        ("＝1+1", "\"'＝1+1\""),
        ("a;=1+1", "\"a;'=1+1\""),
        ("a; @b", "\"a; '@b\""),
        ("a;b-c", "\"a;b-c\""),
        (" x", "\" x\""),
        ("", ""),
    ] {
        assert_eq!(field(name), shown, "{name:?}");
    }
}

/// One spelling of each column, in the same order, in all formats.
#[test]
fn a_json_line_has_the_columns_of_the_table() {
    let about =
        About { anchor: anchor(), host: "web-17".into(), boot_id: "b".into(), ..About::default() };
    let mut text = Vec::new();
    let mut writer = Box::new(Jsonl::new(&mut text, &about));
    let change = EventKind::State { old: TcpState::FinWait1, new: TcpState::FinWait2 };
    let known = Context { side: Some(Direction::In), workload: Some("docker:79fedb3bd23c") };
    writer.event(&event(change), known).unwrap();
    let none = Context::default();
    writer.event(&event(EventKind::Pressure { began: true }), none).unwrap();
    writer.finish(&Account::default()).unwrap();
    let text = String::from_utf8(text).unwrap();
    let names = COLUMNS.map(|column| column.name);
    for line in text.lines() {
        let at =
            |name: &str| line.find(&format!("\"{name}\":")).unwrap_or_else(|| panic!("{name}"));
        assert!(names.map(at).is_sorted(), "{line}");
        let value: Value = serde_json::from_str(line).unwrap();
        assert_eq!(value.as_object().unwrap().len(), names.len() + 1);
        assert_eq!(value["schema"], super::schema::SCHEMA);
    }
    let value: Value = serde_json::from_str(text.lines().next().unwrap()).unwrap();
    assert_eq!(value["time"], "2026-11-22T16:42:10.002000000Z");
    assert_eq!((&value["direction"], &value["service_port"]), (&"in".into(), &9981.into()));
    assert_eq!((&value["host"], &value["age_ns"]), (&"web-17".into(), &1_500_000.into()));
    assert_eq!(value["workload"], "docker:79fedb3bd23c");
}

#[test]
fn the_table_is_one_that_parquet_takes() {
    let schema = ::parquet::schema::parser::parse_message_type(&message()).unwrap();
    let names: Vec<&str> = schema.get_fields().iter().map(|field| field.name()).collect();
    assert_eq!(names, COLUMNS.map(|column| column.name));
}
