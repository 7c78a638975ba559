//! Parquet: the columns of [`schema`](super::schema), in row groups of a million.
//!
//! Every column of a group is encoded and compressed a batch at a time, into memory of its own; when
//! the group is full they are written one behind the other. So a group takes what its compressed
//! pages take, some 20 MB, and the file goes out in one direction: it may be a pipe.

use std::collections::HashMap;
use std::io::{self, Write};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ::parquet::basic::{Compression, Encoding, ZstdLevel};
use ::parquet::column::page::{CompressedPage, PageWriteSpec, PageWriter};
use ::parquet::column::writer::{
    ColumnCloseResult, ColumnWriterImpl, get_column_writer, get_typed_column_writer,
};
use ::parquet::data_type::{ByteArray, ByteArrayType, DataType, Int32Type, Int64Type};
use ::parquet::errors::{ParquetError, Result as ParquetResult};
use ::parquet::file::metadata::KeyValue;
use ::parquet::file::properties::{EnabledStatistics, WriterProperties, WriterPropertiesPtr};
use ::parquet::file::writer::{SerializedFileWriter, SerializedPageWriter, TrackedWrite};
use ::parquet::schema::parser::parse_message_type;
use ::parquet::schema::types::{ColumnDescPtr, ColumnPath};
use anyhow::{Context as _, Result};
use bytes::Bytes;
use serde::Serialize;

use super::schema::{Row, SCHEMA, WIDTH, message};
use super::{About, Account, Writer};
use crate::event::Event;

/// Rows a group: what engines read in parallel and skip by their time.
const GROUP: usize = 1 << 20;
/// Rows encoded at once: few enough to stay in the CPU's cache.
const BATCH: usize = 4096;
/// Addresses and names whose text is kept.
const MOST_TEXTS: usize = 1 << 16;

/// Writes Parquet.
pub struct Parquet<W: Write + Send> {
    file: SerializedFileWriter<W>,
    properties: WriterPropertiesPtr,
    about: About,
    columns: Columns,
    texts: Texts,
    /// Rows in the batch.
    batch: usize,
    /// Rows of the group that are in the columns' pages.
    group: usize,
}

impl<W: Write + Send> Parquet<W> {
    /// A file that goes to `out`; it is buffered here.
    ///
    /// # Errors
    ///
    /// It cannot be written.
    pub fn new(out: W, about: &About) -> Result<Self> {
        let schema = parse_message_type(&message()).context("the table of columns is wrong")?;
        let properties = Arc::new(properties().context("the settings of Parquet are wrong")?);
        let file = SerializedFileWriter::new(out, Arc::new(schema), Arc::clone(&properties))
            .map_err(plain)?;
        Ok(Self {
            file,
            properties,
            columns: Columns::default(),
            texts: Texts::new(about),
            about: about.clone(),
            batch: 0,
            group: 0,
        })
    }

    /// Encodes the rows that wait.
    fn write_batch(&mut self) -> ParquetResult<()> {
        if self.batch == 0 {
            return Ok(());
        }
        if self.group == 0 {
            let schema = self.file.schema_descr();
            for (index, column) in self.columns.all().into_iter().enumerate() {
                column.begin(schema.column(index), Arc::clone(&self.properties));
            }
        }
        for column in self.columns.all() {
            column.write()?;
        }
        self.group += self.batch;
        self.batch = 0;
        if self.group >= GROUP { self.write_group() } else { Ok(()) }
    }

    /// Writes the columns' pages into the file.
    fn write_group(&mut self) -> ParquetResult<()> {
        if self.group == 0 {
            return Ok(());
        }
        let mut group = self.file.next_row_group()?;
        for column in self.columns.all() {
            if let Some((pages, closed)) = column.end()? {
                group.append_column(&pages, closed)?;
            }
        }
        group.close()?;
        self.group = 0;
        Ok(())
    }
}

impl<W: Write + Send> Writer for Parquet<W> {
    fn event(&mut self, event: &Event) -> Result<()> {
        let row = Row::of(event, self.about.anchor);
        self.columns.push(&row, &mut self.texts);
        self.batch += 1;
        if self.batch == BATCH {
            self.write_batch().map_err(plain)?;
        }
        Ok(())
    }

    fn finish(mut self: Box<Self>, account: &Account) -> Result<()> {
        self.write_batch().and_then(|()| self.write_group()).map_err(plain)?;
        for pair in metadata(&self.about, account) {
            self.file.append_key_value_metadata(pair);
        }
        let mut out = self.file.into_inner().map_err(plain)?;
        Ok(out.flush()?)
    }
}

/// Under an error of Parquet's own there may be one of the disk's, which says more.
fn plain(error: ParquetError) -> anyhow::Error {
    match error {
        ParquetError::External(cause) => match cause.downcast::<io::Error>() {
            Ok(cause) => (*cause).into(),
            Err(cause) => anyhow::anyhow!("{cause}"),
        },
        error => error.into(),
    }
}

/// As measured on simulated traffic (`cargo bench -p tracer --bench export`): a dictionary pays for
/// texts, but its indices have no whole bytes, so that zstd does not see that the events of a socket
/// stand together; numbers that only they share are left to it as they are.
fn properties() -> ParquetResult<WriterProperties> {
    let column = |name: &str| ColumnPath::from(name);
    let mut properties = WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::try_new(1)?))
        .set_statistics_enabled(EnabledStatistics::None)
        .set_max_row_group_row_count(None);
    for name in ["socket", "local_port", "peer_port", "age_ns"] {
        properties = properties.set_column_dictionary_enabled(column(name), false);
    }
    // Each moment is near the one before.
    for name in ["time", "ts_ns"] {
        properties = properties
            .set_column_dictionary_enabled(column(name), false)
            .set_column_encoding(column(name), Encoding::DELTA_BINARY_PACKED);
    }
    // What a query may leave out whole files and row groups by.
    for name in ["time", "ts_ns", "host", "boot_id", "local_port"] {
        properties =
            properties.set_column_statistics_enabled(column(name), EnabledStatistics::Chunk);
    }
    Ok(properties.build())
}

/// What does not fit into rows, by name, for `parquet_kv_metadata` and its like.
fn metadata(about: &About, account: &Account) -> Vec<KeyValue> {
    #[derive(Serialize)]
    struct Gap<'a> {
        after: Option<String>,
        before: Option<String>,
        events: Option<u64>,
        why: &'a str,
    }
    let gaps: Vec<Gap<'_>> = account
        .gaps
        .iter()
        .map(|gap| Gap {
            after: gap.after.map(crate::time::Wall::rfc3339),
            before: gap.before.map(crate::time::Wall::rfc3339),
            events: gap.events,
            why: gap.why,
        })
        .collect();
    let (missing, all_known) = account.missing();
    let missing = if all_known { missing.to_string() } else { format!("at least {missing}") };
    [
        ("schema", SCHEMA.to_owned()),
        ("version", env!("CARGO_PKG_VERSION").to_owned()),
        ("recorded_by", about.recorded_by.clone()),
        ("host", about.host.clone()),
        ("kernel", about.kernel.clone()),
        ("boot_id", about.boot_id.clone()),
        ("trace", format!("{:016x}", about.trace)),
        ("filter", about.filter.clone()),
        ("detail", about.detail.clone()),
        ("selected", account.selected.clone()),
        ("ended", account.ended.clone()),
        ("rows", account.rows.to_string()),
        ("missing", missing),
        ("lost", account.lost.to_string()),
        ("gaps", serde_json::to_string(&gaps).unwrap_or_default()),
    ]
    .into_iter()
    .map(|(name, value)| KeyValue::new(format!("sockflow.{name}"), value))
    .collect()
}

/// The columns, in the order of the table.
#[derive(Default)]
struct Columns {
    time: Column<Int64Type>,
    ts_ns: Column<Int64Type>,
    host: Column<ByteArrayType>,
    boot_id: Column<ByteArrayType>,
    kind: Column<ByteArrayType>,
    socket: Column<Int64Type>,
    family: Column<Int32Type>,
    local_addr: Column<ByteArrayType>,
    local_port: Column<Int32Type>,
    peer_addr: Column<ByteArrayType>,
    peer_port: Column<Int32Type>,
    old: Column<ByteArrayType>,
    new: Column<ByteArrayType>,
    reason: Column<ByteArrayType>,
    owner_pid: Column<Int32Type>,
    owner_comm: Column<ByteArrayType>,
    netns: Column<Int64Type>,
    age_ns: Column<Int64Type>,
}

impl Columns {
    fn push(&mut self, row: &Row<'_>, texts: &mut Texts) {
        let event = row.event;
        self.time.always(row.time.0);
        self.ts_ns.always(event.at.0.cast_signed());
        self.host.always(texts.host.clone());
        self.boot_id.always(texts.boot_id.clone());
        self.kind.always(fixed(row.kind));
        self.socket.always(event.socket.cast_signed());
        self.family.always(i32::from(row.family));
        self.local_addr.always(texts.address(row.local));
        self.local_port.always(i32::from(event.local.1));
        self.peer_addr.always(texts.address(row.peer));
        self.peer_port.always(i32::from(event.peer.1));
        self.old.maybe(row.old.map(fixed));
        self.new.maybe(row.new.map(fixed));
        self.reason.maybe(row.reason.map(fixed));
        let owner = event.owner.as_deref();
        self.owner_pid.maybe(owner.map(|owner| owner.pid.cast_signed()));
        self.owner_comm.maybe(owner.map(|owner| texts.name(&owner.comm)));
        self.netns.always(i64::from(event.netns));
        self.age_ns.maybe(row.age_ns.map(u64::cast_signed));
    }

    fn all(&mut self) -> [&mut dyn Part; WIDTH] {
        [
            &mut self.time,
            &mut self.ts_ns,
            &mut self.host,
            &mut self.boot_id,
            &mut self.kind,
            &mut self.socket,
            &mut self.family,
            &mut self.local_addr,
            &mut self.local_port,
            &mut self.peer_addr,
            &mut self.peer_port,
            &mut self.old,
            &mut self.new,
            &mut self.reason,
            &mut self.owner_pid,
            &mut self.owner_comm,
            &mut self.netns,
            &mut self.age_ns,
        ]
    }
}

fn fixed(word: &'static str) -> ByteArray {
    Bytes::from_static(word.as_bytes()).into()
}

/// Texts that come again and again, each made once. Strangers choose them: a keyed hash.
struct Texts {
    host: ByteArray,
    boot_id: ByteArray,
    addresses: HashMap<IpAddr, ByteArray>,
    names: HashMap<String, ByteArray>,
}

impl Texts {
    fn new(about: &About) -> Self {
        Self {
            host: text(&about.host),
            boot_id: text(&about.boot_id),
            addresses: HashMap::new(),
            names: HashMap::new(),
        }
    }

    fn address(&mut self, address: IpAddr) -> ByteArray {
        if let Some(known) = self.addresses.get(&address) {
            return known.clone();
        }
        if self.addresses.len() >= MOST_TEXTS {
            self.addresses.clear();
        }
        let new = text(&address.to_string());
        self.addresses.insert(address, new.clone());
        new
    }

    fn name(&mut self, name: &str) -> ByteArray {
        if let Some(known) = self.names.get(name) {
            return known.clone();
        }
        if self.names.len() >= MOST_TEXTS {
            self.names.clear();
        }
        let new = text(name);
        self.names.insert(name.to_owned(), new.clone());
        new
    }
}

fn text(text: &str) -> ByteArray {
    Bytes::copy_from_slice(text.as_bytes()).into()
}

/// A column of any type.
trait Part {
    /// Begins a row group.
    fn begin(&mut self, description: ColumnDescPtr, properties: WriterPropertiesPtr);
    /// Encodes the values that wait.
    fn write(&mut self) -> ParquetResult<()>;
    /// Ends the row group: its pages, and what is to be said of them.
    fn end(&mut self) -> ParquetResult<Option<(Bytes, ColumnCloseResult)>>;
}

struct Column<T: DataType> {
    values: Vec<T::T>,
    /// Where a value can be null: 1 where there is one.
    levels: Vec<i16>,
    group: Option<(ColumnWriterImpl<'static, T>, Pages)>,
}

impl<T: DataType> Default for Column<T> {
    fn default() -> Self {
        Self { values: Vec::with_capacity(BATCH), levels: Vec::new(), group: None }
    }
}

impl<T: DataType> Column<T> {
    fn always(&mut self, value: T::T) {
        self.values.push(value);
    }

    fn maybe(&mut self, value: Option<T::T>) {
        self.levels.push(i16::from(value.is_some()));
        self.values.extend(value);
    }
}

impl<T: DataType> Part for Column<T> {
    fn begin(&mut self, description: ColumnDescPtr, properties: WriterPropertiesPtr) {
        let pages = Pages::default();
        let writer = get_column_writer(description, properties, Box::new(pages.clone()));
        self.group = Some((get_typed_column_writer(writer), pages));
    }

    fn write(&mut self) -> ParquetResult<()> {
        let levels = (!self.levels.is_empty()).then_some(&self.levels[..]);
        if let Some((writer, _)) = &mut self.group {
            writer.write_batch(&self.values, levels, None)?;
        }
        self.values.clear();
        self.levels.clear();
        Ok(())
    }

    fn end(&mut self) -> ParquetResult<Option<(Bytes, ColumnCloseResult)>> {
        let Some((writer, pages)) = self.group.take() else { return Ok(None) };
        let closed = writer.close()?;
        Ok(Some((pages.take()?, closed)))
    }
}

/// The pages of a column, in memory: shared by who writes them and who takes them.
#[derive(Clone)]
struct Pages(Arc<Mutex<TrackedWrite<Vec<u8>>>>);

impl Default for Pages {
    fn default() -> Self {
        Self(Arc::new(Mutex::new(TrackedWrite::new(Vec::new()))))
    }
}

impl Pages {
    fn lock(&self) -> MutexGuard<'_, TrackedWrite<Vec<u8>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self) -> ParquetResult<Bytes> {
        let empty = TrackedWrite::new(Vec::new());
        Ok(std::mem::replace(&mut *self.lock(), empty).into_inner()?.into())
    }
}

impl PageWriter for Pages {
    fn write_page(&mut self, page: CompressedPage) -> ParquetResult<PageWriteSpec> {
        SerializedPageWriter::new(&mut *self.lock()).write_page(page)
    }

    fn close(&mut self) -> ParquetResult<()> {
        Ok(())
    }
}
