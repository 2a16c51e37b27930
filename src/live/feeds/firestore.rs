//! A collection of Firestore, listened to: `firestore://project/candles?order=ts`.
//!
//! A document is a candle: a field for each of its values, or the whole as JSON in a field `candle`, `data` or `json`. A document that
//! changes is a candle that is corrected; one that is deleted stays in the lake. The server is asked to go on from the point up to which
//! the lake has what came of it, which is kept in the folder of the run; without it, the collection comes again from the beginning, and
//! what is known of it changes nothing.
//!
//! `FIRESTORE_EMULATOR_HOST` names an emulator in the place of the service.

use super::FromFeed;
use super::server::{Acknowledged, Address, Ended, Lines, Server, run};
use crate::core::Feed;
use crate::letters::replace;
use futures::{StreamExt, stream};
use gcp_auth::TokenProvider;
use googleapis_tonic_google_firestore_v1::google::firestore::v1;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tallow_common::time::shown;
use tallow_common::{Code, Error, Result};
use tokio::sync::mpsc::Sender;
use tokio_util::sync::CancellationToken;
use tonic::metadata::MetadataValue;
use tonic::transport::{Channel, ClientTlsConfig, Endpoint};
use tonic::{Request, Status, Streaming};
use v1::firestore_client::FirestoreClient;
use v1::listen_request::TargetChange;
use v1::listen_response::ResponseType;
use v1::structured_query::{CollectionSelector, FieldReference, Order};
use v1::target::query_target::QueryType;
use v1::target::{QueryTarget, ResumeType, TargetType};
use v1::target_change::TargetChangeType;
use v1::value::ValueType;
use v1::{Document, ListenRequest, ListenResponse, StructuredQuery, Target};

/// Where the service is.
const SERVICE: &str = "https://firestore.googleapis.com";
/// What a token is asked for.
const SCOPE: &str = "https://www.googleapis.com/auth/datastore";
/// The variable that names an emulator.
const EMULATOR: &str = "FIRESTORE_EMULATOR_HOST";
/// Fields that hold a whole candle.
const WHOLE: [&str; 3] = ["candle", "data", "json"];
/// The only target that is listened to.
const TARGET: i32 = 1;
/// A message with documents is not longer.
const LONGEST: usize = 64 << 20;

/// A collection of a project.
#[derive(Debug, Clone, PartialEq)]
pub struct FirestoreCollection {
    project: String,
    database: String,
    /// The path of the document that the collection is in, empty at the top.
    within: String,
    collection: String,
    /// The field by which documents come that are there.
    order: Option<String>,
}

impl FirestoreCollection {
    /// Reads `firestore://PROJECT/COLLECTION?database=NAME&order=FIELD`; a collection within a document has the path
    /// `COLLECTION/DOCUMENT/COLLECTION`.
    ///
    /// # Errors
    /// It names no collection, or something else that is not known.
    pub fn parse(text: &str) -> Result<FirestoreCollection> {
        let mut of = Address::of_plain(text, &["database", "order"])?;
        let path: Vec<&str> = of.server.path().split('/').filter(|part| !part.is_empty()).collect();
        let wrong = || {
            Error::invalid(format!("'{text}' names no collection: expected one such as firestore://project/candles"))
        };
        let (Some(project), Some((collection, within))) = (of.server.host_str(), path.split_last()) else {
            return Err(wrong());
        };
        if within.len() % 2 == 1 {
            return Err(wrong());
        }
        let (project, within, collection) = (project.to_string(), within.join("/"), (*collection).to_string());
        let database = of.take("database").unwrap_or_else(|| "(default)".to_string());
        Ok(FirestoreCollection { project, database, within, collection, order: of.take("order") })
    }

    fn database(&self) -> String {
        format!("projects/{}/databases/{}", self.project, self.database)
    }

    fn parent(&self) -> String {
        let root = format!("{}/documents", self.database());
        if self.within.is_empty() { root } else { format!("{root}/{}", self.within) }
    }

    fn request(&self, token: Option<Vec<u8>>) -> ListenRequest {
        let by = |field: &String| Order { field: Some(FieldReference { field_path: field.clone() }), direction: 1 };
        let query = StructuredQuery {
            from: vec![CollectionSelector { collection_id: self.collection.clone(), all_descendants: false }],
            order_by: self.order.iter().map(by).collect(),
            ..StructuredQuery::default()
        };
        let query = QueryTarget { parent: self.parent(), query_type: Some(QueryType::StructuredQuery(query)) };
        let target = Target {
            target_id: TARGET,
            target_type: Some(TargetType::Query(query)),
            resume_type: token.map(ResumeType::ResumeToken),
            ..Target::default()
        };
        let target_change = Some(TargetChange::AddTarget(target));
        ListenRequest { database: self.database(), target_change, ..ListenRequest::default() }
    }

    /// Runs the feed of the run of a folder.
    pub(super) async fn run(self, folder: PathBuf, feed: Feed, into: Sender<FromFeed>, stop: CancellationToken) {
        let path = folder.join("firestore.json");
        let reached = Reached::read(&path, &self).unwrap_or_else(|error| {
            tracing::warn!("the collection comes again from the beginning: {error}");
            None
        });
        let points = Arc::new(Mutex::new(Points { reached, ..Points::default() }));
        run(Listener { of: self, path, points, tokens: None }, feed, into, stop).await;
    }
}

/// How far the lake has what came, as it is kept in the folder of the run.
#[derive(Serialize, Deserialize)]
struct Reached {
    parent: String,
    collection: String,
    order: Option<String>,
    token: Vec<u8>,
}

impl Reached {
    fn read(path: &Path, of: &FirestoreCollection) -> Result<Option<Vec<u8>>> {
        let named = |error| Error::File(path.display().to_string(), error);
        let text = match std::fs::read(path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            text => text.map_err(named)?,
        };
        let reached: Reached = serde_json::from_slice(&text).map_err(|error| named(error.into()))?;
        // A point is one of a query.
        let is_same = reached.parent == of.parent() && reached.collection == of.collection && reached.order == of.order;
        Ok(is_same.then_some(reached.token))
    }
}

/// Points from which the server can be asked to go on.
#[derive(Default)]
struct Points {
    /// The last whose documents are all in the lake.
    reached: Option<Vec<u8>>,
    /// Later ones, each with the documents that had come by then.
    later: VecDeque<(u64, Vec<u8>)>,
    /// Documents that have come, and those of them that are in the lake.
    came: u64,
    through: u64,
}

impl Points {
    /// The server says that what came by now is all up to a point.
    fn at(&mut self, token: Vec<u8>) {
        self.later.push_back((self.came, token));
    }

    /// The last point whose documents are all in the lake, if it is a new one.
    fn next(&mut self) -> Option<Vec<u8>> {
        let count = self.later.partition_point(|(came, _)| *came <= self.through);
        let (_, token) = self.later.drain(..count).next_back()?;
        self.reached = Some(token.clone());
        Some(token)
    }
}

struct Listener {
    of: FirestoreCollection,
    path: PathBuf,
    points: Arc<Mutex<Points>>,
    /// Who gives tokens for the service.
    tokens: Option<Arc<dyn TokenProvider>>,
}

impl Server for Listener {
    /// The number of a document, in the order in which they came.
    type Receipt = u64;

    fn name(&self) -> String {
        format!("firestore://{}/{}", self.of.project, self.of.collection)
    }

    async fn connected(&mut self, lines: &mut Lines<u64>, acknowledged: &mut Acknowledged<u64>) -> Ended {
        {
            // What was not in the lake when the connection broke comes again.
            let mut points = self.points();
            points.later.clear();
            points.came = lines.count();
            points.through = points.came;
        }
        match self.listen().await {
            Ok(mut changes) => {
                let hears = self.hears(&mut changes, lines);
                let tells = self.tells(acknowledged);
                tokio::select! {
                    ended = hears => ended,
                    ended = tells => ended,
                }
            }
            Err(error) => Ended::broken(error),
        }
    }
}

impl Listener {
    fn points(&self) -> std::sync::MutexGuard<'_, Points> {
        self.points.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn listen(&mut self) -> Result<Streaming<ListenResponse>> {
        let unavailable = |error: &dyn std::fmt::Display| Error::known(Code::Unavailable, error.to_string());
        let (channel, token) = match std::env::var(EMULATOR) {
            Ok(host) => (connected(&format!("http://{host}"), false).await?, "owner".to_string()),
            Err(_) => (connected(SERVICE, true).await?, self.token().await?),
        };
        let mut client = FirestoreClient::new(channel).max_decoding_message_size(LONGEST);
        // The connection stays open for as long as the request is not at its end.
        let ask = stream::once(std::future::ready(self.of.request(self.points().reached.clone())));
        let mut request = Request::new(ask.chain(stream::pending()));
        let text = |text: String| MetadataValue::try_from(text).map_err(|error| unavailable(&error));
        request.metadata_mut().insert("authorization", text(format!("Bearer {token}"))?);
        request.metadata_mut().insert("google-cloud-resource-prefix", text(self.of.database())?);
        Ok(client.listen(request).await.map_err(|status| unavailable(&said(&status)))?.into_inner())
    }

    /// A token of the service, as the environment gives it.
    async fn token(&mut self) -> Result<String> {
        let failed = |error: gcp_auth::Error| {
            Error::known(Code::Unavailable, format!("there are no credentials: {error}"))
                .with_hint(format!("`gcloud auth application-default login`, or {EMULATOR} for an emulator"))
        };
        let tokens = match &self.tokens {
            Some(tokens) => tokens,
            None => self.tokens.insert(gcp_auth::provider().await.map_err(failed)?),
        };
        Ok(tokens.token(&[SCOPE]).await.map_err(failed)?.as_str().to_string())
    }

    async fn hears(&self, changes: &mut Streaming<ListenResponse>, lines: &mut Lines<u64>) -> Ended {
        loop {
            let change = match changes.message().await {
                Ok(Some(change)) => change,
                Ok(None) => return Ended::broken("the server closed the connection"),
                Err(status) => return Ended::broken(said(&status)),
            };
            match change.response_type {
                Some(ResponseType::DocumentChange(change)) => {
                    let is_there = change.target_ids.contains(&TARGET);
                    let Some(document) = change.document.filter(|_| is_there) else { continue };
                    let came = {
                        let mut points = self.points();
                        points.came += 1;
                        points.came
                    };
                    if !lines.put(vec![(came, line(document))]).await {
                        return Ended::Unwanted;
                    }
                }
                Some(ResponseType::TargetChange(change)) => {
                    if change.target_change_type == TargetChangeType::Remove as i32 {
                        // The point may be too old to go on from.
                        self.points().reached = None;
                        let cause = change.cause.map(|cause| cause.message).unwrap_or_default();
                        return Ended::broken(format!("the server does not go on: {cause}"));
                    }
                    if !change.resume_token.is_empty() {
                        self.points().at(change.resume_token);
                        if let Err(error) = self.keep() {
                            return Ended::broken(error);
                        }
                    }
                }
                // What is deleted there was a candle all the same.
                _ => {}
            }
        }
    }

    async fn tells(&self, acknowledged: &mut Acknowledged<u64>) -> Ended {
        while let Some(documents) = acknowledged.next().await {
            if let Some(last) = documents.last() {
                self.points().through = *last;
            }
            if let Err(error) = self.keep() {
                return Ended::broken(error);
            }
        }
        Ended::Unwanted
    }

    /// Keeps the last point whose documents are all in the lake.
    fn keep(&self) -> Result<()> {
        let Some(token) = self.points().next() else { return Ok(()) };
        let (collection, order) = (self.of.collection.clone(), self.of.order.clone());
        let reached = Reached { parent: self.of.parent(), collection, order, token };
        let named = |error: serde_json::Error| Error::File(self.path.display().to_string(), error.into());
        replace(&self.path, &serde_json::to_vec(&reached).map_err(named)?)
    }
}

async fn connected(address: &str, is_secure: bool) -> Result<Channel> {
    let failed = |error: tonic::transport::Error| {
        let cause = std::error::Error::source(&error).map(|cause| format!(": {cause}")).unwrap_or_default();
        Error::known(Code::Unavailable, format!("{address}: {error}{cause}"))
    };
    let mut endpoint = Endpoint::from_shared(address.to_string())
        .map_err(failed)?
        .connect_timeout(Duration::from_secs(15))
        .http2_keep_alive_interval(Duration::from_secs(30))
        .keep_alive_timeout(Duration::from_secs(15))
        .keep_alive_while_idle(true);
    if is_secure {
        endpoint = endpoint.tls_config(ClientTlsConfig::new().with_native_roots()).map_err(failed)?;
    }
    endpoint.connect().await.map_err(failed)
}

/// What a server says, in a line.
fn said(status: &Status) -> String {
    format!("{}: {}", status.code().description(), status.message())
}

/// A document as a line of JSON.
fn line(document: Document) -> Vec<u8> {
    let whole = WHOLE.iter().find_map(|name| match document.fields.get(*name)?.value_type.as_ref()? {
        ValueType::StringValue(text) => Some(text.clone().into_bytes()),
        _ => None,
    });
    whole.unwrap_or_else(|| {
        let fields = document.fields.into_iter().filter_map(|(name, value)| Some((name, plain(value.value_type?)?)));
        serde_json::to_vec(&fields.collect::<Map<String, Value>>()).unwrap_or_default()
    })
}

/// A value that a candle may have.
fn plain(value: ValueType) -> Option<Value> {
    Some(match value {
        ValueType::NullValue(_) => Value::Null,
        ValueType::BooleanValue(is) => is.into(),
        ValueType::IntegerValue(number) => number.into(),
        ValueType::DoubleValue(number) => json!(number),
        ValueType::StringValue(text) => text.into(),
        ValueType::TimestampValue(at) => shown(at.seconds * 1_000_000 + i64::from(at.nanos) / 1_000).into(),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_collection_has_a_project_and_a_path() {
        let of = FirestoreCollection::parse("firestore://my-Project/days/nyse/candles?order=ts").unwrap();
        assert_eq!(of.parent(), "projects/my-Project/databases/(default)/documents/days/nyse");
        assert_eq!((of.collection.as_str(), of.order.as_deref()), ("candles", Some("ts")));
        for wrong in ["firestore://project", "firestore://project/days/nyse", "firestore://project/days?after=3"] {
            assert!(FirestoreCollection::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_document_is_a_candle_by_its_fields_or_as_a_whole() {
        let document = |fields: Vec<(&str, ValueType)>| Document {
            fields: fields
                .into_iter()
                .map(|(name, value)| (name.to_string(), v1::Value { value_type: Some(value) }))
                .collect(),
            ..Document::default()
        };
        let fields = vec![("close", ValueType::DoubleValue(1.5)), ("symbol", ValueType::StringValue("A".to_string()))];
        let text = String::from_utf8(line(document(fields))).unwrap();
        assert_eq!(text, r#"{"close":1.5,"symbol":"A"}"#);
        let whole = vec![("candle", ValueType::StringValue("{}".to_string()))];
        assert_eq!(line(document(whole)), b"{}");
    }

    #[test]
    fn a_point_is_kept_once_what_came_before_is_in_the_lake() {
        let mut points = Points { came: 2, ..Points::default() };
        points.at(vec![1]);
        points.came = 3;
        points.at(vec![2]);
        assert_eq!(points.next(), None);
        points.through = 2;
        assert_eq!((points.next(), points.next()), (Some(vec![1]), None));
        points.through = 3;
        assert_eq!(points.next(), Some(vec![2]));
        // Nothing came since.
        points.at(vec![3]);
        assert_eq!(points.next(), Some(vec![3]));
    }
}
