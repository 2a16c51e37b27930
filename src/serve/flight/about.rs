//! What a server says of itself: its tables, and what it can do.

use arrow::datatypes::Schema;
use arrow_flight::sql::metadata::{
    SqlInfoData, SqlInfoDataBuilder, XdbcTypeInfo, XdbcTypeInfoData, XdbcTypeInfoDataBuilder,
};
use arrow_flight::sql::{
    Nullable, Searchable, SqlInfo, SqlSupportedCaseSensitivity, SqlSupportedTransaction, XdbcDataType,
};
use datafusion::datasource::TableType;
use tallow_common::Result;
use tallow_pipeline::Session;

/// What tables are.
pub(super) const TABLE_TYPES: [&str; 2] = ["TABLE", "VIEW"];

/// A table of the server.
pub(super) struct Table {
    pub catalog: String,
    pub schema: String,
    pub name: String,
    pub kind: &'static str,
    pub columns: Schema,
}

/// The names of all catalogs.
pub(super) fn catalogs(session: &Session) -> Vec<String> {
    let mut names = session.context().catalog_names();
    names.sort();
    names
}

/// Catalogs and the names of their schemas.
pub(super) fn schemas(session: &Session) -> Vec<(String, String)> {
    let of = |name: String| {
        let schemas = session.context().catalog(&name).map(|catalog| catalog.schema_names()).unwrap_or_default();
        schemas.into_iter().map(move |schema| (name.clone(), schema))
    };
    let mut all: Vec<_> = catalogs(session).into_iter().flat_map(of).collect();
    all.sort();
    all
}

/// All tables; only if they are asked for, the columns of each, for which it is opened.
pub(super) async fn tables(session: &Session, with_columns: bool) -> Result<Vec<Table>> {
    let mut all = vec![];
    for (catalog, schema) in schemas(session) {
        let Some(provider) = session.context().catalog(&catalog).and_then(|of| of.schema(&schema)) else { continue };
        let mut names = provider.table_names();
        names.sort();
        for name in names {
            let table = match with_columns {
                // One that cannot be read is there without columns.
                true => provider.table(&name).await.ok().flatten(),
                false => None,
            };
            let is_view = schema == "system" || table.as_ref().is_some_and(|of| of.table_type() == TableType::View);
            let kind = TABLE_TYPES[usize::from(is_view)];
            let columns = table.map_or_else(Schema::empty, |table| table.schema().as_ref().clone());
            let columns = tallow_pipeline::encoding::portable(&columns).as_ref().clone();
            all.push(Table { catalog: catalog.clone(), schema: schema.clone(), name, kind, columns });
        }
    }
    Ok(all)
}

/// What it can do.
pub(super) fn sql_info() -> arrow_flight::error::Result<SqlInfoData> {
    let mut infos = SqlInfoDataBuilder::new();
    infos.append(SqlInfo::FlightSqlServerName, "tallow");
    infos.append(SqlInfo::FlightSqlServerVersion, env!("CARGO_PKG_VERSION"));
    infos.append(SqlInfo::FlightSqlServerArrowVersion, arrow::ARROW_VERSION);
    infos.append(SqlInfo::FlightSqlServerReadOnly, true);
    infos.append(SqlInfo::FlightSqlServerSql, true);
    infos.append(SqlInfo::FlightSqlServerSubstrait, false);
    infos.append(SqlInfo::FlightSqlServerCancel, true);
    infos.append(SqlInfo::FlightSqlServerTransaction, SqlSupportedTransaction::None as i32);
    infos.append(SqlInfo::SqlIdentifierCase, SqlSupportedCaseSensitivity::SqlCaseSensitivityLowercase as i32);
    infos.append(SqlInfo::SqlIdentifierQuoteChar, "\"");
    infos.append(SqlInfo::SqlAllTablesAreSelectable, true);
    infos.append(SqlInfo::SqlTransactionsSupported, false);
    infos.build()
}

/// The types of its columns.
pub(super) fn types() -> arrow_flight::error::Result<XdbcTypeInfoData> {
    let mut all = XdbcTypeInfoDataBuilder::new();
    for (name, kind, size) in [
        ("BOOLEAN", XdbcDataType::XdbcBit, 1),
        ("BIGINT", XdbcDataType::XdbcBigint, 64),
        ("INTEGER", XdbcDataType::XdbcInteger, 32),
        ("DOUBLE", XdbcDataType::XdbcDouble, 53),
        ("VARCHAR", XdbcDataType::XdbcVarchar, i32::MAX),
        ("TIMESTAMP", XdbcDataType::XdbcTimestamp, 26),
        ("DATE", XdbcDataType::XdbcDate, 10),
    ] {
        all.append(XdbcTypeInfo {
            type_name: name.to_string(),
            data_type: kind,
            column_size: Some(size),
            nullable: Nullable::NullabilityNullable,
            searchable: Searchable::Full,
            sql_data_type: kind,
            ..XdbcTypeInfo::default()
        });
    }
    all.build()
}
