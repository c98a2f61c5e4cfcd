"""KServe's Open Inference Protocol (V2, JSON) as another form of the same requests and answers.

https://github.com/kserve/open-inference-protocol: a tensor for each column.  The tensors ``status``,
``reason``, ``column`` and ``value`` say what became of each row; a row without a prediction has null
in the others, never a number.
"""

from __future__ import annotations

import json
from typing import Any

import pyarrow as pa
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from scoring import __version__
from scoring.serving.answers import encoded, json_rows
from scoring.serving.bodies import BodyError, Row, Rows, checked_rows, parsed_json
from scoring.serving.columns import RequestColumns
from scoring.serving.jobs import Jobs
from scoring.serving.predict import Asked, Predictor
from scoring.serving.problems import answer_to
from scoring.serving.scorer import Answers, RequestScorer, outputs_of

_OF_CONTRACT = {
    "string": "BYTES", "boolean": "BOOL", "float32": "FP32", "float64": "FP64",
    "int8": "INT8", "int16": "INT16", "int32": "INT32", "int64": "INT64",
    "timestamp": "BYTES", "date": "BYTES",
}  # fmt: skip
_OF_ARROW = {
    pa.bool_(): "BOOL", pa.float32(): "FP32", pa.float64(): "FP64", pa.int8(): "INT8",
    pa.int16(): "INT16", pa.int32(): "INT32", pa.int64(): "INT64",
}  # fmt: skip
_ABOUT_ROWS = ("status", "reason", "column", "value")


def router(jobs: Jobs, predictor: Predictor) -> APIRouter:
    """Return the routes of the protocol."""
    routes = APIRouter(prefix="/v2")

    @routes.get("")
    async def server() -> Response:
        return JSONResponse({"name": "batch-scoring", "version": __version__, "extensions": []})

    @routes.get("/health/live")
    async def live() -> Response:
        return JSONResponse({"live": True})

    @routes.get("/health/ready")
    async def ready() -> Response:
        return JSONResponse({"ready": jobs.ready}, 200 if jobs.ready else 503)

    @routes.get("/models/{name}")
    @routes.get("/models/{name}/versions/{version}")
    async def model(name: str, version: str | None = None) -> Response:
        try:
            return JSONResponse(_metadata(await predictor.scorer(name, version, None)))
        except Exception as error:  # noqa: BLE001 - each has an answer
            return answer_to(error, name)

    @routes.get("/models/{name}/ready")
    @routes.get("/models/{name}/versions/{version}/ready")
    async def model_ready(name: str, version: str | None = None) -> Response:
        jobs[name]
        return JSONResponse({"name": name, "ready": True})

    @routes.post("/models/{name}/infer")
    @routes.post("/models/{name}/versions/{version}/infer")
    async def infer(request: Request, name: str, version: str | None = None) -> Response:
        return await predictor.counted(name, _inferred(predictor, request, name, version))

    return routes


async def _inferred(
    predictor: Predictor, request: Request, name: str, version: str | None
) -> Response:
    scorer = await predictor.scorer(name, version, None)
    body = await predictor.body(request)
    rows, number = _rows(body, scorer.columns)
    answered = await predictor.ask(Asked(scorer, rows, _Encoder(number)))
    return Response(answered.body, media_type="application/json")


def _rows(body: bytes, columns: RequestColumns) -> tuple[list[Row], str | None]:
    """Return the rows of a request, and its id."""
    found = parsed_json(body)
    inputs = found.get("inputs") if isinstance(found, dict) else None
    if not isinstance(inputs, list) or not all(isinstance(tensor, dict) for tensor in inputs):
        raise BodyError("the body has no list of inputs, which are tensors with name and data")
    tensors: dict[str, list[Any]] = {}
    for tensor in inputs:
        name, data, shape = tensor.get("name"), tensor.get("data"), tensor.get("shape")
        if not isinstance(name, str) or not isinstance(data, list):
            raise BodyError("an input has no name, or its data are not a list")
        if not isinstance(shape, list) or shape not in ([len(data)], [len(data), 1]):
            raise BodyError(
                f"the input {name!r} has the shape {json.dumps(shape)} and {len(data)} values; a "
                "column of n rows has the shape [n] or [n, 1]"
            )
        if name in tensors:
            raise BodyError(f"two inputs have the name {name!r}")
        tensors[name] = [value[0] if _is_single(value) else value for value in data]
    lengths = {len(data) for data in tensors.values()}
    if len(lengths) > 1:
        raise BodyError(f"the inputs have different numbers of rows: {sorted(lengths)}")
    count = lengths.pop() if lengths else 0
    rows = [{name: data[n] for name, data in tensors.items()} for n in range(count)]
    number = found.get("id")
    return checked_rows(rows, columns), number if isinstance(number, str) else None


def _is_single(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 1


def _metadata(scorer: RequestScorer) -> dict[str, Any]:
    columns, job = scorer.columns, scorer.job
    inputs = [
        {
            "name": column,
            "datatype": _OF_CONTRACT[columns.types[column].type]
            if column in columns.types
            else "BYTES",
            "shape": [-1],
        }
        for column in columns.names
    ]
    outputs = outputs_of(job)
    return {
        "name": job.name,
        "versions": job.version_names,
        "platform": scorer.file.format,
        "inputs": inputs,
        "outputs": [{"name": column, "datatype": "FP64", "shape": [-1]} for column in outputs]
        + [{"name": column, "datatype": "BYTES", "shape": [-1]} for column in _ABOUT_ROWS],
    }


class _Encoder:
    """Encodes answers as the protocol says, with the request's id."""

    def __init__(self, number: str | None) -> None:
        self._number = number

    def __call__(self, scorer: RequestScorer, rows: Rows, answers: Answers) -> bytes:
        found = json_rows(scorer, rows, answers)
        others = {*scorer.columns.names, *scorer.job.added_columns}
        names = [name for name in answers.scored.column_names if name not in others]
        outputs = [
            _tensor(name, _OF_ARROW.get(answers.scored.schema.field(name).type, "BYTES"), found)
            for name in names
        ]
        outputs += [_tensor(name, "BYTES", found) for name in _ABOUT_ROWS]
        head: dict[str, Any] = {
            "model_name": scorer.job.name,
            "model_version": scorer.file.version,
            "outputs": outputs,
        }
        if self._number is not None:
            head["id"] = self._number
        return encoded(head)


def _tensor(name: str, datatype: str, rows: list[Row]) -> dict[str, Any]:
    data = [row.get(name) for row in rows]
    return {"name": name, "datatype": datatype, "shape": [len(rows)], "data": data}
