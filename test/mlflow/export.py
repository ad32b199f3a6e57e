"""Holds an export against what pandas makes of the same rows, and puts it behind the training file:
python export.py ROWS.jsonl EXPORT.csv TRAINING.csv BOTH.csv"""

import json
import sys

import pandas

produced, exported, training, both = sys.argv[1:]
with open(produced) as file:
    rows = pandas.DataFrame([json.loads(line) for line in file])
history = pandas.read_csv(training)
columns = list(history.columns[1:])

rows = rows.sort_values(["current_time", "trans_num"])
rows["trans_date_trans_time"] = pandas.to_datetime(rows["current_time"], unit="ms").dt.strftime("%Y-%m-%d %H:%M:%S")
rows["unix_time"] = rows["current_time"] // 1000
rows = rows[columns]
rows.insert(0, "", None)
expected = rows.to_csv(index=False, lineterminator="\n").encode()
with open(exported, "rb") as file:
    found = file.read()

# As the first project reads them: without the first column, one behind the other.
validated = pandas.read_csv(exported).iloc[:, 1:]
whole = pandas.concat([history.iloc[:, 1:], validated], ignore_index=True)
whole.to_csv(both)
different = next((i for i, (a, b) in enumerate(zip(expected, found)) if a != b), None)
print(
    json.dumps(
        {
            "rows": len(validated),
            "equal": expected == found,
            "difference": None if different is None else [str(text[different - 80 : different + 40]) for text in (expected, found)],
            "dtypes": {name: [str(history[name].dtype), str(validated[name].dtype), str(whole[name].dtype)] for name in columns},
            "beyond": int((validated["cc_num"] > 2**53).sum()),
            "empty": int(whole.select_dtypes("number").isna().sum().sum()),
        }
    )
)
