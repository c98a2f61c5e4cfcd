"""Save the model for `mlflow models serve`, with the signature of some rows of its input.

python mlflow_model.py MODEL.joblib ROWS.json FOLDER [TRUSTED TYPE ...]
"""

import json
import sys
from pathlib import Path

import joblib
import mlflow.sklearn
import pandas as pd

model_file, rows_file, folder, *trusted = sys.argv[1:]
model = joblib.load(model_file)
rows = pd.DataFrame(json.loads(Path(rows_file).read_text()))
signature = mlflow.models.infer_signature(rows, model.predict(rows))
mlflow.sklearn.save_model(model, folder, signature=signature, skops_trusted_types=trusted)
