"""What programs do by ADBC: `flight.py PORT HTTP_PORT`. Fails where an answer is not what it is to be."""

import datetime
import json
import sys
import threading
import time
import urllib.request

import adbc_driver_flightsql.dbapi as flight
import adbc_driver_manager
import pyarrow as pa

PORT, HTTP = sys.argv[1:3]
HEAVY = "select sum(a.value * b.value % 7) from generate_series(1, 1000000) a, generate_series(1, 10000000) b"


def running():
    with urllib.request.urlopen(f"http://127.0.0.1:{HTTP}/v1/running") as answer:
        return json.load(answer)


def until(condition):
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end, running()
        time.sleep(0.002)


def failure(cursor, text):
    try:
        cursor.execute(text)
        cursor.fetchall()
    except adbc_driver_manager.Error as error:
        return str(error)
    raise AssertionError(text)


with flight.connect(f"grpc://127.0.0.1:{PORT}", autocommit=True) as connection:
    assert connection.adbc_get_info()["vendor_name"] == "tallow"
    cursor = connection.cursor()
    # Types, nulls, lists and structs.
    cursor.execute(
        "select symbol, ts, close, null n, array[open, null] l, macd(12, 26, 9) m, true b, 1 i from candles "
        "where symbol = 'ACN' order by ts limit 3"
    )
    table = cursor.fetch_arrow_table()
    assert table.num_rows == 3 and table.column("m")[0].as_py()["macd"] is None, table
    assert table.schema.field("ts").type == pa.timestamp("us", "UTC"), table.schema
    assert table.column("l")[0].as_py()[1] is None and table.column("n").null_count == 3
    # Without rows the columns are the same.
    cursor.execute("select symbol, ts, close, array[open, null] l from candles where symbol = 'ACN' and close < 0")
    empty = cursor.fetch_arrow_table()
    assert empty.num_rows == 0 and empty.schema.names == ["symbol", "ts", "close", "l"], empty.schema
    # Parameters, by place.
    counted = "select count(*) from candles where symbol = ? and ts >= ? and close > ?"
    cursor.execute(counted, ("ACN", datetime.datetime(2017, 1, 1), 0.5))
    (since,) = cursor.fetchone()
    cursor.execute("select count(*) from candles where symbol = 'ACN' and ts >= '2017-01-01'")
    assert cursor.fetchone() == (since,) and since > 200
    cursor.execute("select $1 x, $2 is null y", pa.record_batch({"x": ["1", "b"], "y": pa.array([None, 1])}))
    assert cursor.fetchall() == [("1", True), ("b", False)]
    # A statement is asked for its columns, and again and again.
    assert connection.cursor().adbc_execute_schema("select close * 2 x from candles").names == ["x"]
    assert len(connection.cursor().adbc_prepare("select * from candles where close > ?")) == 1
    # What there is.
    objects = connection.adbc_get_objects(depth="columns").read_all().to_pylist()
    (catalog,) = [of for of in objects if of["catalog_name"] == "tallow"]
    schemas = {of["db_schema_name"]: of["db_schema_tables"] for of in catalog["catalog_db_schemas"]}
    (days,) = [of for of in schemas["public"] if of["table_name"] == "candles_1d"]
    assert [of["column_name"] for of in days["table_columns"]][:3] == ["symbol", "ts", "open"], days
    assert "queries" in [of["table_name"] for of in schemas["system"]]
    assert connection.adbc_get_table_types() == ["TABLE", "VIEW"]
    assert connection.adbc_get_table_schema("candles_1d").names[0] == "symbol"
    # What is wrong, and what is not permitted.
    assert "did you mean `close`?" in failure(cursor, "select clse from candles")
    for text in ["create table t as select 1", "set datafusion.runtime.memory_limit = '100g'", "insert into candles select 1"]:
        assert "PermissionDenied" in failure(cursor, text) or "InvalidArgument" in failure(cursor, text), text
    assert "PermissionDenied" in failure(cursor, "copy (select 1) to '/tmp/x.csv'")
    assert "not in the lake" in failure(cursor, "select * from '/etc/passwd'")
    # A query that fails after its first rows is an error.
    late = "select value, cast(case when value = 500000 then 'no' else '1' end as int) x from generate_series(1, 1000000)"
    assert "'no'" in failure(cursor, late)
    # Stopped by the client, and by a client that leaves.
    for _ in range(3):
        stopped = connection.cursor()
        said = []
        asking = threading.Thread(target=lambda: said.append(failure(stopped, HEAVY)))
        asking.start()
        until(lambda: [query["state"] for query in running()] == ["running"])
        stopped.adbc_cancel()
        asking.join()
        until(lambda: running() == [])
        assert "ancel" in said[0], said
    half = connection.cursor()
    half.execute("select value from generate_series(1, 1000000000)")
    assert half.fetchmany(10)[9] == (10,)
    until(lambda: len(running()) == 1)
    half.close()
    until(lambda: running() == [])
print("done")
