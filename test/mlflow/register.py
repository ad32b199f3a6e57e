"""Versions 1 and 2 of the model `fraud`, which want other columns: python register.py TRACKING_URL HISTORY.csv"""

import sys

import mlflow
import pandas
from mlflow.models import infer_signature
from sklearn.ensemble import RandomForestClassifier

NINE = ["cc_num", "amt", "zip", "lat", "long", "city_pop", "unix_time", "merch_lat", "merch_long"]
THREE = ["unix_time", "amt", "city_pop"]

mlflow.set_tracking_uri(sys.argv[1])
history = pandas.read_csv(sys.argv[2], index_col=0)
# The second one is none to be wanted: it calls every dear payment a fraud, so that the two can be told apart.
for columns, truth in (NINE, history["is_fraud"]), (THREE, (history["amt"] > 60).astype(int)):
    model = RandomForestClassifier(n_estimators=20, random_state=42).fit(history[columns], truth)
    with mlflow.start_run():
        mlflow.sklearn.log_model(
            model,
            "model",
            signature=infer_signature(history[columns], model.predict(history[columns])),
            serialization_format="cloudpickle",
            registered_model_name="fraud",
        )
