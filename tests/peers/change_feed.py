"""The change feed of a table as the deltalake package reads it; and changes that it makes.

usage: change_feed.py TABLE read VERSION | write
"""

import sys

import pyarrow as pa
from deltalake import DeltaTable, write_deltalake

path, what = sys.argv[1:3]
table = DeltaTable(path)
if what == "read":
    rows = pa.table(table.load_cdf(starting_version=int(sys.argv[3])).read_all()).to_pylist()
    for row in sorted(rows, key=lambda row: (row["symbol"], str(row["ts"]), row["_change_type"])):
        print(row["symbol"], str(row["ts"])[:10], row["close"], row["_change_type"], row["_commit_version"])
else:
    first = table.to_pyarrow_table().slice(0, 1)
    new = first.set_column(first.schema.get_field_index("symbol"), "symbol", pa.array(["NEW"], first.schema.field("symbol").type))
    write_deltalake(path, new, mode="append")
    DeltaTable(path).update(updates={"close": "close + 1"}, predicate="symbol = 'B'")
    DeltaTable(path).delete("symbol = 'C'")
