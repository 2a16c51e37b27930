//! A server as programs see it that speak Arrow Flight SQL: the driver of ADBC.

use crate::serving::{Server, sent};
use std::process::Command;

const PEERS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/peers");

fn python() -> Command {
    Command::new(std::env::var("TALLOW_TEST_PYTHON").unwrap_or_else(|_| "python3".to_string()))
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a Python with adbc-driver-flightsql and pyarrow"]
async fn a_driver_of_adbc_gets_what_it_asks() {
    let server = Server::begin(&["--flight", "127.0.0.1:0"]);
    let ports = [server.flight_port().to_string(), server.port.to_string()];
    let output = python().arg(format!("{PEERS}/flight.py")).args(ports).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let health = sent(server.get("/health/detailed")).await.json();
    assert_eq!(health["memory"]["reserved"].as_u64(), Some(0), "{health}");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a Python with adbc-driver-flightsql and pyarrow"]
async fn who_has_no_key_is_refused_by_flight_too() {
    let folder = tempfile::tempdir().unwrap();
    let keys = folder.path().join("keys.json");
    let key = crate::serving::keys_with(&keys, "reader", "read").1;
    let server = Server::begin(&["--flight", "127.0.0.1:0", "--keys", &keys.display().to_string()]);
    let script = "
import sys, adbc_driver_flightsql.dbapi as flight, adbc_driver_flightsql as driver
port, key = sys.argv[1:3]
header = driver.DatabaseOptions.AUTHORIZATION_HEADER.value
def asked(**options):
    with flight.connect(f'grpc://127.0.0.1:{port}', db_kwargs=options, autocommit=True) as connection:
        cursor = connection.cursor()
        cursor.execute('select 1 x')
        return cursor.fetchall()
assert asked(**{header: f'Bearer {key}'}) == [(1,)]
assert asked(username='anybody', password=key) == [(1,)]
for options in [{}, {header: 'Bearer tallow_0'}, {'username': 'anybody', 'password': 'no'}]:
    try:
        asked(**options)
    except Exception as error:
        assert 'nauthenticated' in str(error) or 'UNAUTHENTICATED' in str(error), str(error)
    else:
        raise AssertionError(options)
";
    let port = server.flight_port().to_string();
    let output = python().args(["-c", script, &port, &key]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
