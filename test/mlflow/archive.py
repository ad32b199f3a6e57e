"""Says what pandas and pyarrow find in an archive: python archive.py FILE.parquet"""

import json
import sys

import pandas
import pyarrow.parquet as parquet

path = sys.argv[1]
frame = pandas.read_parquet(path)
table = parquet.read_table(path)
file = parquet.ParquetFile(path)
print(
    json.dumps(
        {
            "groups": file.metadata.num_row_groups,
            "rows": len(frame),
            "types": {name: str(kind) for name, kind in frame.dtypes.items()},
            "pandas": json.loads(frame.to_json(orient="records", date_format="epoch", double_precision=15)),
            # Each value as text, so that none passes through a number of JavaScript.
            "exact": [
                {
                    name: None
                    if value is None
                    else str(int(value.timestamp() * 1000 + 0.5))
                    if hasattr(value, "timestamp")
                    else repr(value)
                    if isinstance(value, float)
                    else str(value)
                    for name, value in row.items()
                }
                for row in table.to_pylist()
            ],
        }
    )
)
