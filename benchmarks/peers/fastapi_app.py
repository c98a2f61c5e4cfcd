"""What is written by hand: FastAPI, a Pydantic model of a row, joblib, and a DataFrame.

MODEL=model.joblib uvicorn benchmarks.peers.fastapi_app:app
"""

import os

import joblib
import pandas as pd
from fastapi import FastAPI
from pydantic import BaseModel


class Flight(BaseModel):
    carrier: str
    origin: str
    dest: str
    dep_delay: float
    distance: float
    hour: int


app = FastAPI()
model = joblib.load(os.environ["MODEL"])


@app.get("/health")
def health() -> dict[str, str]:
    return {"status": "ok"}


# Both ways that people write it: in the event loop, or in its threads.
@app.post("/predict")
async def predict(rows: list[Flight]) -> list[float]:
    return _predictions(rows)


@app.post("/predict-in-threads")
def predict_in_threads(rows: list[Flight]) -> list[float]:
    return _predictions(rows)


def _predictions(rows: list[Flight]) -> list[float]:
    table = pd.DataFrame([row.model_dump() for row in rows])
    predictions: list[float] = model.predict(table).tolist()
    return predictions
