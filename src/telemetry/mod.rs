//! Logs: one record per line on standard error, as text or JSON, with every control character escaped.
//!
//! A quiet node is silent. Names and messages in a record come from other people's folders, so a record can neither
//! break its line nor speak to the terminal.

use std::io;
use std::io::Write;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

use crate::base::fault;
use crate::base::printable;

/// What is logged, and how it looks.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Settings {
    /// `info`, or directives such as `warn,nexus::workspace=debug`. Empty means `info`.
    pub filter: String,
    /// JSON instead of text.
    pub json: bool,
}

/// Why logging could not start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The filter is none.
    #[error("`{filter}` is not a log filter")]
    Filter {
        /// As given.
        filter: String,
        /// What is wrong with it.
        #[source]
        source: tracing_subscriber::filter::ParseError,
    },
}

impl fault::Explain for Error {
    fn kind(&self) -> fault::Kind {
        fault::Kind::Invalid
    }

    fn hint(&self) -> Option<String> {
        Some(
            "write a level (`error`, `warn`, `info`, `debug`, `trace`), or `warn,nexus::workspace=debug`"
                .to_owned(),
        )
    }
}

/// Sends every record to standard error from now on. A second call in one process changes nothing.
///
/// # Errors
/// When the filter cannot be read.
pub fn init(settings: &Settings) -> Result<(), Error> {
    let text = if settings.filter.is_empty() { "info" } else { &settings.filter };
    let filter =
        EnvFilter::try_new(text).map_err(|source| Error::Filter { filter: text.to_owned(), source })?;
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(Records);
    // Only a second subscriber is refused; the first one stays, which is what a second call wants.
    let started = if settings.json { builder.json().try_init() } else { builder.try_init() };
    drop(started);
    Ok(())
}

/// Gives each record a writer that escapes it.
struct Records;

impl<'a> MakeWriter<'a> for Records {
    type Writer = Escaping<io::Stderr>;

    fn make_writer(&'a self) -> Self::Writer {
        Escaping(io::stderr())
    }
}

/// Passes one record per `write_all` on, its control characters written out, its own line end kept.
struct Escaping<W>(W);

impl<W: Write> Write for Escaping<W> {
    fn write(&mut self, record: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(record);
        let (body, end) = text.strip_suffix('\n').map_or((text.as_ref(), ""), |body| (body, "\n"));
        self.0.write_all(format!("{}{end}", printable::line(body)).as_bytes())?;
        Ok(record.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_stays_on_its_line() {
        let mut shown = Vec::new();
        Escaping(&mut shown).write_all(b"INFO started name=\"a\x1b[2J\nERROR forged\"\n").unwrap();
        assert_eq!(String::from_utf8(shown).unwrap(), "INFO started name=\"a\\u{1b}[2J\\nERROR forged\"\n");
    }

    #[test]
    fn a_filter_that_is_none_is_said() {
        let settings = Settings { filter: "nexus=loud".to_owned(), json: false };
        assert_eq!(init(&settings).unwrap_err().to_string(), "`nexus=loud` is not a log filter");
    }
}
