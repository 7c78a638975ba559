//! The columns of a row group while it grows: values that wait, and pages in memory.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ::parquet::column::page::{CompressedPage, PageWriteSpec, PageWriter};
use ::parquet::column::writer::{
    ColumnCloseResult, ColumnWriterImpl, get_column_writer, get_typed_column_writer,
};
use ::parquet::data_type::{ByteArray, ByteArrayType, DataType, Int32Type, Int64Type};
use ::parquet::errors::Result as ParquetResult;
use ::parquet::file::properties::WriterPropertiesPtr;
use ::parquet::file::writer::{SerializedPageWriter, TrackedWrite};
use ::parquet::schema::types::ColumnDescPtr;
use bytes::Bytes;

use super::super::About;
use super::super::schema::{Row, WIDTH};
use super::BATCH;

/// Addresses and names whose text is kept.
const MOST_TEXTS: usize = 1 << 16;

/// The columns, in the order of the table.
#[derive(Default)]
pub(super) struct Columns {
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
    detail: Column<ByteArrayType>,
    direction: Column<ByteArrayType>,
    service_port: Column<Int32Type>,
    workload: Column<ByteArrayType>,
    cause: Column<ByteArrayType>,
}

impl Columns {
    pub(super) fn push(&mut self, row: &Row<'_>, texts: &mut Texts) {
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
        self.detail.maybe(row.detail.map(fixed));
        self.direction.maybe(row.direction.map(fixed));
        self.service_port.maybe(row.service_port.map(i32::from));
        self.workload.maybe(row.workload.map(|name| texts.name(name)));
        self.cause.maybe(row.cause.map(fixed));
    }

    pub(super) fn all(&mut self) -> [&mut dyn Part; WIDTH] {
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
            &mut self.detail,
            &mut self.direction,
            &mut self.service_port,
            &mut self.workload,
            &mut self.cause,
        ]
    }
}

fn fixed(word: &'static str) -> ByteArray {
    Bytes::from_static(word.as_bytes()).into()
}

/// Texts that come again and again, each made once. Strangers choose them: a keyed hash.
pub(super) struct Texts {
    host: ByteArray,
    boot_id: ByteArray,
    addresses: HashMap<IpAddr, ByteArray>,
    names: HashMap<String, ByteArray>,
}

impl Texts {
    pub(super) fn new(about: &About) -> Self {
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
pub(super) trait Part {
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
