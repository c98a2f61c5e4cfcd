"""A BentoML service of the model, which puts requests that wait together into one batch.

MODEL=model.joblib bentoml serve bentoml_service:Flights
"""

import os

import bentoml
import joblib
import pandas as pd
from pydantic import BaseModel


class Flight(BaseModel):
    carrier: str
    origin: str
    dest: str
    dep_delay: float
    distance: float
    hour: int


@bentoml.service
class Flights:
    def __init__(self) -> None:
        self.model = joblib.load(os.environ["MODEL"])

    @bentoml.api(batchable=True)
    def predict(self, rows: list[Flight]) -> list[float]:
        table = pd.DataFrame([row.model_dump() for row in rows])
        predictions: list[float] = self.model.predict(table).tolist()
        return predictions
