//! Parquet: the columns of [`schema`](super::schema), in row groups of a million.
//!
//! Every column of a group is encoded and compressed a batch at a time, into memory of its own; when
//! the group is full they are written one behind the other. So a group takes what its compressed
//! pages take, some 20 MB, and the file goes out in one direction: it may be a pipe.

mod columns;

use std::io::{self, Write};
use std::sync::Arc;

use ::parquet::basic::{Compression, Encoding, ZstdLevel};
use ::parquet::errors::{ParquetError, Result as ParquetResult};
use ::parquet::file::metadata::KeyValue;
use ::parquet::file::properties::{EnabledStatistics, WriterProperties, WriterPropertiesPtr};
use ::parquet::file::writer::SerializedFileWriter;
use ::parquet::schema::parser::parse_message_type;
use ::parquet::schema::types::ColumnPath;
use serde::Serialize;

use columns::{Columns, Texts};

use super::schema::{Row, SCHEMA, message};
use super::{About, Account, Context, Writer};
use crate::event::Event;

/// Rows a group: what engines read in parallel and skip by their time.
const GROUP: usize = 1 << 20;
/// Rows encoded at once: few enough to stay in the CPU's cache.
const BATCH: usize = 4096;

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
    pub fn new(out: W, about: &About) -> io::Result<Self> {
        let schema = parse_message_type(&message()).map_err(plain)?;
        let properties = Arc::new(properties().map_err(plain)?);
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
    fn event(&mut self, event: &Event, context: Context<'_>) -> io::Result<()> {
        let row = Row::of(event, context, self.about.anchor);
        self.columns.push(&row, &mut self.texts);
        self.batch += 1;
        if self.batch == BATCH {
            self.write_batch().map_err(plain)?;
        }
        Ok(())
    }

    fn finish(mut self: Box<Self>, account: &Account) -> io::Result<()> {
        self.write_batch().and_then(|()| self.write_group()).map_err(plain)?;
        for pair in metadata(&self.about, account) {
            self.file.append_key_value_metadata(pair);
        }
        let mut out = self.file.into_inner().map_err(plain)?;
        out.flush()
    }
}

/// Under an error of Parquet's own there may be one of the disk's, which says more.
fn plain(error: ParquetError) -> io::Error {
    match error {
        ParquetError::External(cause) => match cause.downcast::<io::Error>() {
            Ok(cause) => *cause,
            Err(cause) => io::Error::other(cause),
        },
        error => io::Error::other(error),
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
