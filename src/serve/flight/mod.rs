//! Arrow Flight SQL, as the drivers of ADBC and JDBC speak it.

mod about;
mod bound;
mod rows;
mod statements;

use crate::access::{Access, Caller};
use crate::queries::{Asked, Queries, QueryId, Work};
use arrow::datatypes::Schema;
use arrow::ipc::writer::IpcWriteOptions;
use arrow_flight::encode::FlightDataEncoderBuilder;
use arrow_flight::flight_service_server::{FlightService, FlightServiceServer};
use arrow_flight::sql::server::{FlightSqlService, PeekableFlightDataStream};
use arrow_flight::sql::{
    ActionCancelQueryRequest, ActionCancelQueryResult, ActionClosePreparedStatementRequest,
    ActionCreatePreparedStatementRequest, ActionCreatePreparedStatementResult, Any, CommandGetCatalogs,
    CommandGetDbSchemas, CommandGetSqlInfo, CommandGetTableTypes, CommandGetTables, CommandGetXdbcTypeInfo,
    CommandPreparedStatementQuery, CommandPreparedStatementUpdate, CommandStatementQuery, CommandStatementUpdate,
    DoPutPreparedStatementResult, ProstMessageExt, SqlInfo, TicketStatementQuery,
};
use arrow_flight::{
    Action, CancelFlightInfoRequest, CancelFlightInfoResult, CancelStatus, FlightDescriptor, FlightEndpoint,
    FlightInfo, HandshakeRequest, HandshakeResponse, IpcMessage, SchemaAsIpc, Ticket,
};
use axum::Router;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use base64::{Engine as _, alphabet};
use futures::{Stream, TryStreamExt, stream};
use prost::Message;
use prost::bytes::Bytes;
use statements::{Statement, Statements};
use std::pin::Pin;
use std::sync::Arc;
use tallow_common::{Code, Error};
use tallow_engine::dialect::Params;
use tallow_pipeline::encoding::portable;
use tallow_pipeline::query::Query;
use tonic::service::Routes;
use tonic::{Request, Response, Status, Streaming};

/// A request is not longer.
const LONGEST: usize = 16 << 20;

/// The service.
#[derive(Clone)]
struct Door {
    queries: Arc<Queries>,
    access: Arc<Access>,
    statements: Arc<Statements>,
}

/// The routes of the service.
pub(crate) fn routes(queries: Arc<Queries>, access: Arc<Access>) -> Router {
    let door = Door { queries, access, statements: Arc::default() };
    let service = FlightServiceServer::new(door).max_decoding_message_size(LONGEST);
    Routes::new(service).into_axum_router()
}

/// An error as gRPC tells it.
fn status(error: Error) -> Status {
    Status::new(tonic::Code::from_i32(error.code().grpc_status()), error.to_string())
}

fn wrong(error: impl std::fmt::Display) -> Status {
    Status::invalid_argument(error.to_string())
}

type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

impl Door {
    fn caller<T>(&self, request: &Request<T>) -> Result<Caller, Status> {
        let text = request.metadata().get("authorization").and_then(|value| value.to_str().ok());
        self.access.caller(text.and_then(key).as_deref()).map_err(status)
    }

    /// What is told of rows before they are asked for.
    fn info(
        descriptor: FlightDescriptor,
        schema: &Schema,
        ticket: Vec<u8>,
        id: Option<&QueryId>,
    ) -> Result<Response<FlightInfo>, Status> {
        let endpoint = FlightEndpoint::new().with_ticket(Ticket { ticket: ticket.into() });
        let info = FlightInfo::new().try_with_schema(schema).map_err(wrong)?.with_endpoint(endpoint);
        let id = id.map(|id| Bytes::from(id.to_string())).unwrap_or_default();
        Ok(Response::new(info.with_descriptor(descriptor).with_app_metadata(id)))
    }

    /// A table that is there already.
    fn table(rows: arrow_flight::error::Result<arrow::array::RecordBatch>) -> Rows {
        let rows = rows.map_err(wrong)?;
        let encoder = FlightDataEncoderBuilder::new().with_schema(rows.schema());
        Ok(Response::new(Box::pin(encoder.build(stream::iter([Ok(rows)])).map_err(Status::from))))
    }

    /// The rows of a query, once for each set of values of its parameters.
    async fn run(&self, caller: &Caller, id: Option<QueryId>, text: String, params: Vec<Params>) -> Rows {
        let id = id.filter(|id| !self.queries.is_running(id)).unwrap_or_else(|| self.queries.new_id());
        let mut asked = vec![];
        for (at, params) in params.into_iter().enumerate() {
            let work = Work::Query(Query { text: text.clone(), params, ..Query::default() });
            let request = tallow_pipeline::Request { memory: caller.memory, ..Default::default() };
            let id = if at == 0 { id.clone() } else { self.queries.new_id() };
            let (who, most) = (caller.name.clone(), caller.queries);
            asked.push(Asked { id, door: "flight", who, most, request, timeout: None, work });
        }
        let rows = rows::of(&self.queries, asked).await.map_err(status)?;
        Ok(Response::new(Box::pin(rows)))
    }

    fn stop(&self, id: &[u8], caller: &Caller) -> CancelStatus {
        let id = std::str::from_utf8(id).unwrap_or_default();
        match self.queries.stop(id, caller) {
            Ok(()) => CancelStatus::Cancelled,
            Err(_) => CancelStatus::NotCancellable,
        }
    }

    /// Stops the query that an encoded info is of.
    fn stop_of_info(&self, info: &[u8], caller: &Caller) -> Result<CancelStatus, Status> {
        let info = FlightInfo::decode(info).map_err(wrong)?;
        Ok(self.stop(&info.app_metadata, caller))
    }
}

type Rows = Result<Response<<Door as FlightService>::DoGetStream>, Status>;

/// The key of a header: after `Bearer`, or the password after `Basic`.
fn key(value: &str) -> Option<String> {
    let (kind, rest) = value.split_once(' ')?;
    if kind.eq_ignore_ascii_case("bearer") {
        return Some(rest.trim().to_string());
    }
    // Some clients pad, and some do not.
    let lenient = GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
    let decoded = GeneralPurpose::new(&alphabet::STANDARD, lenient).decode(rest.trim()).ok()?;
    let (_, password) = std::str::from_utf8(&decoded).ok()?.split_once(':')?;
    kind.eq_ignore_ascii_case("basic").then(|| password.to_string())
}

fn changes_nothing() -> Error {
    Error::known(Code::Forbidden, "queries may read tables here, and change nothing")
}

/// A schema as a message.
fn message(schema: &Schema) -> Result<Bytes, Status> {
    let message: IpcMessage = SchemaAsIpc::new(schema, &IpcWriteOptions::default()).try_into().map_err(wrong)?;
    Ok(message.0)
}

#[tonic::async_trait]
impl FlightSqlService for Door {
    type FlightService = Door;

    async fn do_handshake(
        &self,
        request: Request<Streaming<HandshakeRequest>>,
    ) -> Result<Response<Answers<HandshakeResponse>>, Status> {
        self.caller(&request)?;
        let text = request.metadata().get("authorization").and_then(|value| value.to_str().ok());
        let token = text.and_then(key).unwrap_or_default();
        let answer = HandshakeResponse { protocol_version: 0, payload: token.clone().into_bytes().into() };
        let mut response: Response<Answers<HandshakeResponse>> = Response::new(Box::pin(stream::iter([Ok(answer)])));
        let bearer = format!("Bearer {token}").parse().map_err(wrong)?;
        response.metadata_mut().insert("authorization", bearer);
        Ok(response)
    }

    async fn get_flight_info_statement(
        &self,
        command: CommandStatementQuery,
        request: Request<FlightDescriptor>,
    ) -> Result<Response<FlightInfo>, Status> {
        self.caller(&request)?;
        let schema = self.queries.schema(&Query::of(command.query.clone())).await.map_err(status)?;
        let id = self.queries.new_id();
        let ticket = TicketStatementQuery { statement_handle: format!("{id}\n{}", command.query).into_bytes().into() };
        Door::info(request.into_inner(), &portable(&schema), ticket.as_any().encode_to_vec(), Some(&id))
    }

    async fn do_get_statement(&self, ticket: TicketStatementQuery, request: Request<Ticket>) -> Rows {
        let caller = self.caller(&request)?;
        let handle = String::from_utf8(ticket.statement_handle.to_vec()).map_err(wrong)?;
        let (id, text) = handle.split_once('\n').ok_or_else(|| wrong("the ticket is none of this server"))?;
        self.run(&caller, id.parse().ok(), text.to_string(), vec![Params::default()]).await
    }

    async fn do_action_create_prepared_statement(
        &self,
        command: ActionCreatePreparedStatementRequest,
        request: Request<Action>,
    ) -> Result<ActionCreatePreparedStatementResult, Status> {
        let caller = self.caller(&request)?;
        let statement = Statement::of(&self.queries, command.query, &caller.name).await.map_err(status)?;
        let (dataset, parameters) = (message(&statement.schema)?, message(&statement.parameters_schema())?);
        let handle = self.statements.add(statement);
        Ok(ActionCreatePreparedStatementResult {
            prepared_statement_handle: handle,
            dataset_schema: dataset,
            parameter_schema: parameters,
        })
    }

    async fn do_action_close_prepared_statement(
        &self,
        command: ActionClosePreparedStatementRequest,
        request: Request<Action>,
    ) -> Result<(), Status> {
        let caller = self.caller(&request)?;
        self.statements.close(&command.prepared_statement_handle, &caller.name);
        Ok(())
    }

    async fn do_put_prepared_statement_query(
        &self,
        command: CommandPreparedStatementQuery,
        request: Request<PeekableFlightDataStream>,
    ) -> Result<DoPutPreparedStatementResult, Status> {
        let caller = self.caller(&request)?;
        let handle = command.prepared_statement_handle;
        let statement = self.statements.get(&handle, &caller.name).map_err(status)?;
        let sent = arrow_flight::decode::FlightRecordBatchStream::new_from_flight_data(
            request.into_inner().map_err(arrow_flight::error::FlightError::from),
        );
        let batches: Vec<_> = sent.try_collect().await.map_err(wrong)?;
        let params = bound::params(&statement.parameters, &batches).map_err(status)?;
        self.statements.bind(&handle, &self.queries, params).await.map_err(status)?;
        Ok(DoPutPreparedStatementResult { prepared_statement_handle: Some(handle) })
    }

    async fn get_flight_info_prepared_statement(
        &self,
        command: CommandPreparedStatementQuery,
        request: Request<FlightDescriptor>,
    ) -> Result<Response<FlightInfo>, Status> {
        let caller = self.caller(&request)?;
        let statement = self.statements.get(&command.prepared_statement_handle, &caller.name).map_err(status)?;
        let ticket = command.as_any().encode_to_vec();
        Door::info(request.into_inner(), &statement.schema, ticket, Some(&statement.id))
    }

    async fn do_get_prepared_statement(
        &self,
        command: CommandPreparedStatementQuery,
        request: Request<Ticket>,
    ) -> Rows {
        let caller = self.caller(&request)?;
        let statement = self.statements.get(&command.prepared_statement_handle, &caller.name).map_err(status)?;
        let params = statement.bound.clone().unwrap_or_else(|| vec![Params::default()]);
        self.run(&caller, Some(statement.id.clone()), statement.text.clone(), params).await
    }

    async fn get_flight_info_catalogs(
        &self,
        command: CommandGetCatalogs,
        request: Request<FlightDescriptor>,
    ) -> Result<Response<FlightInfo>, Status> {
        self.caller(&request)?;
        let ticket = command.as_any().encode_to_vec();
        Door::info(request.into_inner(), &command.into_builder().schema(), ticket, None)
    }

    async fn do_get_catalogs(&self, command: CommandGetCatalogs, request: Request<Ticket>) -> Rows {
        self.caller(&request)?;
        let mut builder = command.into_builder();
        about::catalogs(self.queries.session()).into_iter().for_each(|name| builder.append(name));
        Door::table(builder.build())
    }

    async fn get_flight_info_schemas(
        &self,
        command: CommandGetDbSchemas,
        request: Request<FlightDescriptor>,
    ) -> Result<Response<FlightInfo>, Status> {
        self.caller(&request)?;
        let ticket = command.as_any().encode_to_vec();
        Door::info(request.into_inner(), &command.into_builder().schema(), ticket, None)
    }

    async fn do_get_schemas(&self, command: CommandGetDbSchemas, request: Request<Ticket>) -> Rows {
        self.caller(&request)?;
        let mut builder = command.into_builder();
        about::schemas(self.queries.session()).iter().for_each(|(catalog, schema)| builder.append(catalog, schema));
        Door::table(builder.build())
    }

    async fn get_flight_info_tables(
        &self,
        command: CommandGetTables,
        request: Request<FlightDescriptor>,
    ) -> Result<Response<FlightInfo>, Status> {
        self.caller(&request)?;
        let ticket = command.as_any().encode_to_vec();
        Door::info(request.into_inner(), &command.into_builder().schema(), ticket, None)
    }

    async fn do_get_tables(&self, command: CommandGetTables, request: Request<Ticket>) -> Rows {
        self.caller(&request)?;
        let with_columns = command.include_schema;
        let mut builder = command.into_builder();
        for table in about::tables(self.queries.session(), with_columns).await.map_err(status)? {
            let about::Table { catalog, schema, name, kind, columns } = table;
            builder.append(catalog, schema, name, kind, &columns).map_err(wrong)?;
        }
        Door::table(builder.build())
    }

    async fn get_flight_info_table_types(
        &self,
        command: CommandGetTableTypes,
        request: Request<FlightDescriptor>,
    ) -> Result<Response<FlightInfo>, Status> {
        self.caller(&request)?;
        let ticket = command.as_any().encode_to_vec();
        Door::info(request.into_inner(), &command.into_builder().schema(), ticket, None)
    }

    async fn do_get_table_types(&self, command: CommandGetTableTypes, request: Request<Ticket>) -> Rows {
        self.caller(&request)?;
        let mut builder = command.into_builder();
        about::TABLE_TYPES.iter().for_each(|name| builder.append(name));
        Door::table(builder.build())
    }

    async fn get_flight_info_sql_info(
        &self,
        command: CommandGetSqlInfo,
        request: Request<FlightDescriptor>,
    ) -> Result<Response<FlightInfo>, Status> {
        self.caller(&request)?;
        let ticket = command.as_any().encode_to_vec();
        let infos = about::sql_info().map_err(wrong)?;
        Door::info(request.into_inner(), &command.into_builder(&infos).schema(), ticket, None)
    }

    async fn do_get_sql_info(&self, command: CommandGetSqlInfo, request: Request<Ticket>) -> Rows {
        self.caller(&request)?;
        let infos = about::sql_info().map_err(wrong)?;
        Door::table(command.into_builder(&infos).build())
    }

    async fn get_flight_info_xdbc_type_info(
        &self,
        command: CommandGetXdbcTypeInfo,
        request: Request<FlightDescriptor>,
    ) -> Result<Response<FlightInfo>, Status> {
        self.caller(&request)?;
        let ticket = command.as_any().encode_to_vec();
        let types = about::types().map_err(wrong)?;
        Door::info(request.into_inner(), &command.into_builder(&types).schema(), ticket, None)
    }

    async fn do_get_xdbc_type_info(&self, command: CommandGetXdbcTypeInfo, request: Request<Ticket>) -> Rows {
        self.caller(&request)?;
        let types = about::types().map_err(wrong)?;
        Door::table(command.into_builder(&types).build())
    }

    async fn do_action_cancel_query(
        &self,
        command: ActionCancelQueryRequest,
        request: Request<Action>,
    ) -> Result<ActionCancelQueryResult, Status> {
        let caller = self.caller(&request)?;
        // The numbers of its results are those of the newer action, but for the first two.
        let result = match self.stop_of_info(&command.info, &caller)? {
            CancelStatus::Cancelled => 1,
            _ => 3,
        };
        Ok(ActionCancelQueryResult { result })
    }

    async fn do_action_fallback(
        &self,
        request: Request<Action>,
    ) -> Result<Response<<Self as FlightService>::DoActionStream>, Status> {
        let caller = self.caller(&request)?;
        let action = request.into_inner();
        let body = match action.r#type.as_str() {
            "CancelFlightInfo" => {
                let asked = CancelFlightInfoRequest::decode(action.body).map_err(wrong)?;
                let info = asked.info.ok_or_else(|| wrong("no info is given of what is to be stopped"))?;
                CancelFlightInfoResult::new(self.stop(&info.app_metadata, &caller)).encode_to_vec()
            }
            // There is nothing to be set or closed: who has a key has no session beside it.
            "GetSessionOptions" | "CloseSession" => vec![],
            other => return Err(Status::unimplemented(format!("there is no action `{other}`"))),
        };
        let result = arrow_flight::Result { body: body.into() };
        Ok(Response::new(Box::pin(stream::iter([Ok(result)]))))
    }

    async fn do_get_fallback(&self, request: Request<Ticket>, message: Any) -> Rows {
        self.caller(&request)?;
        Err(Status::unimplemented(format!("there is no command {}", message.type_url)))
    }

    async fn do_put_statement_ingest(
        &self,
        _: arrow_flight::sql::CommandStatementIngest,
        request: Request<PeekableFlightDataStream>,
    ) -> Result<i64, Status> {
        self.caller(&request)?.may(crate::access::Role::Write).map_err(status)?;
        let said = "candles are not taken by this door";
        Err(status(Error::known(Code::Forbidden, said)))
    }

    async fn do_put_statement_update(
        &self,
        _: CommandStatementUpdate,
        request: Request<PeekableFlightDataStream>,
    ) -> Result<i64, Status> {
        self.caller(&request)?;
        Err(status(changes_nothing()))
    }

    async fn do_put_prepared_statement_update(
        &self,
        _: CommandPreparedStatementUpdate,
        request: Request<PeekableFlightDataStream>,
    ) -> Result<i64, Status> {
        self.caller(&request)?;
        Err(status(changes_nothing()))
    }

    async fn register_sql_info(&self, _: i32, _: &SqlInfo) {}
}
