//! Server-sent events (WHATWG HTML, section 9.2) as an iterator.

use std::io::{BufRead, BufReader, Read};
use std::time::Duration;

use serde::de::DeserializeOwned;
use ureq::BodyReader;

use super::{Client, Error, refused};
use crate::{Event, Topic};

/// A node says something at least every 15 s; a connection that is silent for longer is dead.
const SILENCE: Duration = Duration::from_secs(45);

/// Longest event that is read: the figures of a node have some KiB.
const MAX_EVENT: usize = 1 << 20;

/// What a node tells of, as it comes. It ends after [`Event::End`] and after an error; [`Events::last_id`] is what to go
/// on from.
pub struct Events {
    url: String,
    lines: BufReader<BodyReader<'static>>,
    last_id: Option<String>,
    over: bool,
}

impl Client {
    /// `GET /v1/events`: listens to these topics. With `after`, the id of the last event that was seen, main blocks
    /// since then come first, as far as the node tells of them.
    pub fn events(&self, topics: &[Topic], after: Option<&str>) -> Result<Events, Error> {
        let names: Vec<_> = topics.iter().map(|topic| topic.name()).collect();
        let url = format!("{}/v1/events?topics={}", self.base, names.join(","));
        let mut request = self.agent.get(&url).header("accept", "text/event-stream");
        if let Some(after) = after {
            request = request.header("last-event-id", after);
        }
        let request = self.send(request, self.timeout);
        let request = request
            .config()
            .timeout_global(None)
            .timeout_connect(Some(self.timeout))
            .timeout_recv_response(Some(self.timeout))
            .timeout_recv_body(None)
            .timeout_per_read(Some(SILENCE))
            .build();
        let unreachable = |source| Error::Unreachable { url: url.clone(), source: Box::new(source) };
        let mut response = request.call().map_err(unreachable)?;
        if !response.status().is_success() {
            let body = response.body_mut().with_config().limit(MAX_EVENT as u64).read_to_vec();
            return Err(refused(&url, response.status(), &body.map_err(unreachable)?));
        }
        let body = response.into_body().into_with_config().limit(u64::MAX).reader();
        Ok(Events { url, lines: BufReader::new(body), last_id: after.map(str::to_owned), over: false })
    }
}

impl Events {
    /// The id of the last event that came: for [`Client::events`] after the connection was lost.
    pub fn last_id(&self) -> Option<&str> {
        self.last_id.as_deref()
    }

    fn read(&mut self) -> Result<Option<Event>, Error> {
        let (mut name, mut data, mut length) = (String::new(), String::new(), 0);
        loop {
            let Some(line) = self.line(MAX_EVENT - length)? else { return Ok(None) };
            length += line.len();
            let (field, value) = line.split_once(':').unwrap_or((&line, ""));
            let value = value.strip_prefix(' ').unwrap_or(value);
            match field {
                "event" => value.clone_into(&mut name),
                "id" => self.last_id = Some(value.to_owned()),
                "data" => {
                    if !data.is_empty() {
                        data.push('\n');
                    }
                    data.push_str(value);
                }
                "" if line.is_empty() => {
                    let known = if data.is_empty() { None } else { self.event(&name, &data)? };
                    if known.is_some() {
                        return Ok(known);
                    }
                    name.clear();
                    data.clear();
                    length = 0;
                }
                // Comments keep the connection alive; `retry` is for browsers.
                _ => {}
            }
        }
    }

    /// A line without its end; `None` when the stream is over.
    fn line(&mut self, most: usize) -> Result<Option<String>, Error> {
        let mut line = Vec::new();
        let read = (&mut self.lines).take(most as u64 + 1).read_until(b'\n', &mut line);
        let read = read.map_err(|error| Error::Unreachable {
            url: self.url.clone(),
            source: Box::new(ureq::Error::from(error)),
        })?;
        if read > most {
            return Err(self.unexpected(format_args!("an event of more than {MAX_EVENT} bytes")));
        }
        if line.pop_if(|last| *last == b'\n').is_none() {
            // Half an event is none.
            return Ok(None);
        }
        line.pop_if(|last| *last == b'\r');
        String::from_utf8(line).map(Some).map_err(|error| self.unexpected(error))
    }

    /// An event by its name; `None` if this version does not know it.
    fn event(&mut self, name: &str, data: &str) -> Result<Option<Event>, Error> {
        Ok(Some(match name {
            "head" => Event::Head(self.parse(data)?),
            "chain" => Event::Chain(Box::new(self.parse(data)?)),
            "stats" => Event::Stats(Box::new(self.parse(data)?)),
            "end" => {
                self.over = true;
                Event::End(data.to_owned())
            }
            _ => return Ok(None),
        }))
    }

    fn parse<T: DeserializeOwned>(&self, data: &str) -> Result<T, Error> {
        serde_json::from_str(data).map_err(|error| self.unexpected(error))
    }

    fn unexpected(&self, why: impl std::fmt::Display) -> Error {
        Error::unexpected(&self.url, why)
    }
}

impl Iterator for Events {
    type Item = Result<Event, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.over {
            return None;
        }
        let next = self.read().transpose();
        self.over |= !matches!(next, Some(Ok(_)));
        next
    }
}

impl std::fmt::Debug for Events {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Events").field("url", &self.url).finish_non_exhaustive()
    }
}
