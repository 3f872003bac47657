//! A place backups go to, as its owner describes it: where it is, in which form, when, and for how long. Pure.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::path::PathBuf;

use super::retention;
use super::retention::Policy;
use super::schedule;
use super::schedule::Schedule;
use crate::base::sealed::Sealed;
use crate::config::bytes;

/// Longest name of a destination.
const NAME_MAX: usize = 32;

/// A place backups go to.
#[derive(Debug, Clone)]
pub struct Destination {
    /// What its owner calls it.
    pub name: String,
    /// Where it is.
    pub place: Place,
    /// In which form backups are written there.
    pub form: Form,
    /// When.
    pub schedule: Schedule,
    /// Which snapshots stay.
    pub keep: Policy,
    /// How many bytes a second may go there and come from there; as many as the line carries when absent.
    pub bandwidth: Option<u64>,
}

/// Where a destination is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// A folder of this machine.
    Folder(PathBuf),
    /// A bucket of a server that speaks S3.
    Bucket(Bucket),
}

/// A bucket, or a part of one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bucket {
    /// Its name.
    pub name: String,
    /// What every key of ours begins with; empty, or without a slash at either end.
    pub prefix: String,
    /// The server, when it is not AWS: `https://s3.example.org`.
    pub endpoint: Option<String>,
    /// Its region.
    pub region: String,
    /// Who we are there; absent when nothing said so.
    pub credentials: Option<Credentials>,
}

/// Who we are at a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Credentials {
    /// The public half.
    pub id: String,
    /// The other.
    pub secret: Sealed<String>,
    /// For credentials that are lent for a while.
    pub session: Option<Sealed<String>>,
}

/// In which form backups are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// Snapshots in a restic repository.
    Incremental,
    /// One plain object per file.
    Mirror,
}

impl fmt::Display for Form {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Incremental => "incremental",
            Self::Mirror => "mirror",
        })
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Folder(path) => write!(f, "{}", path.display()),
            Self::Bucket(bucket) => {
                write!(f, "s3://{}", bucket.name)?;
                if !bucket.prefix.is_empty() {
                    write!(f, "/{}", bucket.prefix)?;
                }
                match &bucket.endpoint {
                    Some(endpoint) => write!(f, " at {endpoint}"),
                    None => Ok(()),
                }
            }
        }
    }
}

/// What is wrong with the description of a destination.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Wrong {
    /// Its name cannot be used.
    #[error("`{0}` is no name for a destination; use 1 to 32 of `a-z 0-9 -`")]
    Name(String),
    /// It has no place.
    #[error("the destination `{0}` has no `url`")]
    NoUrl(String),
    /// Its place cannot be understood.
    #[error("`{url}` of the destination `{name}` is neither a folder nor `s3://bucket/prefix`")]
    Url {
        /// The destination.
        name: String,
        /// As written.
        url: String,
    },
    /// Its server cannot be understood.
    #[error("`{endpoint}` of the destination `{name}` is no server; write `https://s3.example.org`")]
    Endpoint {
        /// The destination.
        name: String,
        /// As written.
        endpoint: String,
    },
    /// Its form does not exist.
    #[error("`{form}` of the destination `{name}` is no form; write `incremental` or `mirror`")]
    Form {
        /// The destination.
        name: String,
        /// As written.
        form: String,
    },
    /// Its schedule means nothing.
    #[error("the schedule of the destination `{name}` cannot be used")]
    Schedule {
        /// The destination.
        name: String,
        /// Why.
        #[source]
        source: schedule::Wrong,
    },
    /// What it is to keep means nothing.
    #[error("`keep` of the destination `{name}` cannot be used")]
    Keep {
        /// The destination.
        name: String,
        /// Why.
        #[source]
        source: retention::Wrong,
    },
    /// Its bandwidth means nothing.
    #[error(
        "`bandwidth: {text}` of the destination `{name}` is no number of bytes a second; write `2MiB`, at least `1kB`"
    )]
    Bandwidth {
        /// The destination.
        name: String,
        /// As written.
        text: String,
    },
    /// Its file of credentials does not hold any.
    #[error("{} of the destination `{name}` does not hold `access_key_id = ...` and `secret_access_key = ...`", path.display())]
    Credentials {
        /// The destination.
        name: String,
        /// The file.
        path: PathBuf,
    },
    /// Its file of credentials cannot be read.
    #[error("{} of the destination `{name}` cannot be read: {reason}", path.display())]
    CredentialsFile {
        /// The destination.
        name: String,
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
}

/// What a destination is described with, and what holds where it says nothing.
pub struct Description<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its own words.
    pub words: &'a BTreeMap<String, String>,
    /// The folder relative paths lie in.
    pub home: &'a Path,
    /// The schedule of all.
    pub schedule: &'a str,
    /// The time zone of all.
    pub zone: &'a str,
    /// What all keep.
    pub keep: &'a str,
    /// Credentials found for it.
    pub credentials: Option<Credentials>,
}

impl Description<'_> {
    /// Reads it, or says everything that is wrong with it.
    ///
    /// # Errors
    /// All that is wrong.
    pub fn read(self) -> Result<Destination, Vec<Wrong>> {
        let mut wrong = Vec::new();
        let name = self.name.to_owned();
        let word = |key: &str| self.words.get(key).map(String::as_str).filter(|text| !text.is_empty());
        if !is_name(&name) {
            wrong.push(Wrong::Name(name.clone()));
        }
        let form = match word("form").unwrap_or("incremental") {
            "incremental" => Form::Incremental,
            "mirror" => Form::Mirror,
            other => {
                wrong.push(Wrong::Form { name: name.clone(), form: other.to_owned() });
                Form::Incremental
            }
        };
        let schedule = Schedule::parse(word("schedule").unwrap_or(self.schedule), self.zone)
            .map_err(|source| wrong.push(Wrong::Schedule { name: name.clone(), source }));
        let keep = Policy::parse(word("keep").unwrap_or(self.keep))
            .map_err(|source| wrong.push(Wrong::Keep { name: name.clone(), source }));
        let bandwidth = bandwidth(word("bandwidth"))
            .map_err(|text| wrong.push(Wrong::Bandwidth { name: name.clone(), text }));
        let place = self.place(word("url"), &word).map_err(|error| wrong.push(error));
        match (schedule, keep, place, bandwidth) {
            (Ok(schedule), Ok(keep), Ok(place), Ok(bandwidth)) if wrong.is_empty() => {
                Ok(Destination { name, place, form, schedule, keep, bandwidth })
            }
            _ => Err(wrong),
        }
    }

    fn place<'w>(&self, url: Option<&str>, word: &impl Fn(&str) -> Option<&'w str>) -> Result<Place, Wrong> {
        let name = self.name.to_owned();
        let url = url.ok_or_else(|| Wrong::NoUrl(name.clone()))?;
        let Some(rest) = url.strip_prefix("s3://") else {
            if url.contains("://") {
                return Err(Wrong::Url { name, url: url.to_owned() });
            }
            return Ok(Place::Folder(self.home.join(url)));
        };
        let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        let prefix = prefix.trim_matches('/');
        let plain = |part: &str| !part.is_empty() && part != "." && part != "..";
        if !is_bucket(bucket) || !(prefix.is_empty() || prefix.split('/').all(plain)) {
            return Err(Wrong::Url { name, url: url.to_owned() });
        }
        let endpoint = word("endpoint").map(|text| text.trim_end_matches('/'));
        if let Some(endpoint) = endpoint
            && !is_server(endpoint)
        {
            return Err(Wrong::Endpoint { name, endpoint: endpoint.to_owned() });
        }
        Ok(Place::Bucket(Bucket {
            name: bucket.to_owned(),
            prefix: prefix.to_owned(),
            endpoint: endpoint.map(str::to_owned),
            region: word("region").unwrap_or("us-east-1").to_owned(),
            credentials: self.credentials.clone(),
        }))
    }
}

/// A line that carries less gets no backup done.
const BANDWIDTH_MIN: u64 = 1000;

fn bandwidth(text: Option<&str>) -> Result<Option<u64>, String> {
    let Some(text) = text else { return Ok(None) };
    // `2MiB/s` says the same.
    let size = bytes(text.trim_end_matches("/s").trim()).ok().filter(|size| *size >= BANDWIDTH_MIN);
    size.map(Some).ok_or_else(|| text.to_owned())
}

fn is_name(name: &str) -> bool {
    (1..=NAME_MAX).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
}

fn is_bucket(name: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
    (3..=63).contains(&name.len()) && name.bytes().all(allowed)
}

/// With a scheme and a name and nothing behind it: no path, no user, no password.
fn is_server(endpoint: &str) -> bool {
    let name = endpoint.strip_prefix("https://").or_else(|| endpoint.strip_prefix("http://"));
    name.is_some_and(|name| !name.is_empty() && !name.contains(['/', '@', '?', '#', ' ']))
}

/// Reads a file of credentials: lines `key = value`, with or without the `aws_` of AWS's own files.
pub fn parse_credentials(text: &str) -> Option<Credentials> {
    let value = |key: &str| {
        text.lines().find_map(|line| {
            let (name, value) = line.split_once('=')?;
            let name = name.trim().to_ascii_lowercase();
            (name.strip_prefix("aws_").unwrap_or(&name) == key).then(|| value.trim().to_owned())
        })
    };
    credentials(value("access_key_id"), value("secret_access_key"), value("session_token"))
}

/// Finds the credentials of a destination among variables.
pub fn credentials_of_environment(name: &str, environment: &[(String, String)]) -> Option<Credentials> {
    let find = |prefix: &str, key: &str| {
        let wanted = format!("{prefix}{key}");
        environment.iter().find(|(name, _)| *name == wanted).map(|(_, value)| value.clone())
    };
    let own = format!("NEXUS_BACKUP_{}_", name.replace('-', "_").to_uppercase());
    [own.as_str(), "AWS_"].into_iter().find_map(|prefix| {
        let value = |key| find(prefix, key);
        credentials(value("ACCESS_KEY_ID"), value("SECRET_ACCESS_KEY"), value("SESSION_TOKEN"))
    })
}

fn credentials(id: Option<String>, secret: Option<String>, session: Option<String>) -> Option<Credentials> {
    let some = |value: Option<String>| value.filter(|value| !value.is_empty());
    Some(Credentials {
        id: some(id)?,
        secret: Sealed::new(some(secret)?),
        session: some(session).map(Sealed::new),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(name: &str, words: &[(&str, &str)]) -> Result<Destination, String> {
        let words = words.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        let description = Description {
            name,
            words: &words,
            home: Path::new("/home"),
            schedule: "0 * * * *",
            zone: "UTC",
            keep: "last=3",
            credentials: None,
        };
        let text = |wrong: Vec<Wrong>| {
            let chain = |wrong: &Wrong| crate::base::fault::chain(wrong).to_string();
            wrong.iter().map(chain).collect::<Vec<_>>().join("\n")
        };
        description.read().map_err(text)
    }

    #[test]
    fn a_place_is_a_folder_or_a_bucket() {
        let place = |url: &str| read("x", &[("url", url)]).map(|read| read.place);
        assert_eq!(place("backups").unwrap(), Place::Folder("/home/backups".into()));
        assert_eq!(place("/mnt/disk").unwrap(), Place::Folder("/mnt/disk".into()));
        let there =
            [("url", "s3://my-bucket/a/b/"), ("endpoint", "http://127.0.0.1:3900"), ("region", "garage")];
        let Place::Bucket(bucket) = read("x", &there).unwrap().place else { panic!("a bucket") };
        assert_eq!((bucket.name.as_str(), bucket.prefix.as_str()), ("my-bucket", "a/b"));
        assert_eq!(
            (bucket.endpoint.as_deref(), bucket.region.as_str()),
            (Some("http://127.0.0.1:3900"), "garage")
        );
        for bad in ["", "s3://", "s3://b", "s3://bucket/../x", "s3://bucket/a//b", "https://x/y", "ftp://x"] {
            assert!(place(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn all_that_is_wrong_is_said_at_once() {
        let words =
            [("endpoint", "s3.example.org/x"), ("url", "s3://bucket"), ("form", "tape"), ("keep", "last=0")];
        insta::assert_snapshot!(read("My Disk", &words).unwrap_err(), @r"
        `My Disk` is no name for a destination; use 1 to 32 of `a-z 0-9 -`
        `tape` of the destination `My Disk` is no form; write `incremental` or `mirror`
        `keep` of the destination `My Disk` cannot be used: it would keep nothing; give at least one of `last`, `hourly`, `daily`, `weekly`, `monthly`, `yearly`
        `s3.example.org/x` of the destination `My Disk` is no server; write `https://s3.example.org`
        ");
        insta::assert_snapshot!(read("x", &[("url", "x"), ("schedule", "often")]).unwrap_err(), @"the schedule of the destination `x` cannot be used: `often` is no schedule: Pattern must have 5 fields when seconds are disallowed; write five fields such as `0 * * * *` (hourly), or `never`");
    }

    #[test]
    fn a_bandwidth_is_a_size_a_second() {
        let of = |text: &str| read("x", &[("url", "x"), ("bandwidth", text)]).map(|read| read.bandwidth);
        assert_eq!(read("x", &[("url", "x")]).unwrap().bandwidth, None);
        for (text, rate) in [("2MiB", 2 << 20), ("500kB/s", 500_000), ("1.5 MB", 1_500_000)] {
            assert_eq!(of(text).unwrap(), Some(rate), "{text}");
        }
        for bad in ["0", "5", "0B", "10B", "fast", "-1MiB"] {
            assert!(of(bad).unwrap_err().contains("bytes a second; write `2MiB`"), "{bad}");
        }
    }

    #[test]
    fn credentials_come_from_a_file_or_the_environment_and_are_never_shown() {
        let file = "[default]\naws_access_key_id = AKIA1\naws_secret_access_key=s3cr3t/x=\n";
        let found = parse_credentials(file).unwrap();
        assert_eq!((found.id.as_str(), found.secret.reveal().as_str()), ("AKIA1", "s3cr3t/x="));
        assert!(!format!("{found:?}").contains("s3cr3t"));
        assert_eq!(parse_credentials("access_key_id = x\n"), None);
        let set = |pairs: &[(&str, &str)]| {
            pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect::<Vec<_>>()
        };
        let all = set(&[
            ("AWS_ACCESS_KEY_ID", "general"),
            ("AWS_SECRET_ACCESS_KEY", "g"),
            ("NEXUS_BACKUP_OFF_SITE_ACCESS_KEY_ID", "own"),
            ("NEXUS_BACKUP_OFF_SITE_SECRET_ACCESS_KEY", "o"),
        ]);
        assert_eq!(credentials_of_environment("off-site", &all).unwrap().id, "own");
        assert_eq!(credentials_of_environment("other", &all).unwrap().id, "general");
        assert_eq!(credentials_of_environment("other", &set(&[("AWS_ACCESS_KEY_ID", "x")])), None);
    }
}
