"""Trains the first project's pipeline once and saves it in four shapes: python train.py HISTORY.csv OUT_DIR"""

import json
import sys
from pathlib import Path

import mlflow.sklearn
import pandas
from imblearn.over_sampling import SMOTE
from imblearn.pipeline import Pipeline
from mlflow.models import infer_signature
from sklearn.ensemble import RandomForestClassifier
from sklearn.metrics import precision_score, recall_score
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import StandardScaler

NINE = ["cc_num", "amt", "zip", "lat", "long", "city_pop", "unix_time", "merch_lat", "merch_long"]

history, out = sys.argv[1], Path(sys.argv[2])
rows = pandas.read_csv(history, index_col=0)
features, truth = rows.drop(columns="is_fraud"), rows["is_fraud"]
x_train, x_test, y_train, y_test = train_test_split(features[NINE], truth, test_size=0.2, random_state=42, stratify=truth)

pipeline = Pipeline(
    [
        ("scale", StandardScaler()),
        ("balance", SMOTE(random_state=42)),
        ("classify", RandomForestClassifier(n_estimators=150, class_weight="balanced", random_state=42)),
    ]
)
pipeline.fit(x_train, y_train)
guess = pipeline.predict(x_test)



class Probability(Pipeline):
    """MLflow 2.14 hands its `params` to every method that has such an argument, and Pipeline's then refuses them."""

    def predict_proba(self, X):
        return super().predict_proba(X)


def save(name, columns=None, model=pipeline, method="predict"):
    signature = columns and infer_signature(features[columns], getattr(model, method)(features[NINE].head()))
    # The newest releases prefer skops, which refuses this pipeline; the first project wrote cloudpickle.
    mlflow.sklearn.save_model(
        model, str(out / name), signature=signature, pyfunc_predict_fn=method, serialization_format="cloudpickle"
    )


save("nine", NINE)
save("none")
save("proba", NINE, Probability(pipeline.steps), "predict_proba")
save("mismatch", list(features.columns))

print(
    json.dumps(
        {
            "mlflow": mlflow.__version__,
            "rows": len(rows),
            "frauds": int(truth.sum()),
            "precision": round(float(precision_score(y_test, guess, zero_division=0)), 3),
            "recall": round(float(recall_score(y_test, guess)), 3),
        }
    )
)
