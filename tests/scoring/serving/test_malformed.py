"""Requests that a program makes up from the OpenAPI document: none brings the service down."""

from __future__ import annotations

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis import GenerationMode
from schemathesis.config import GenerationConfig, ProjectConfig, ProjectsConfig, SchemathesisConfig

from tests.scoring.factories import Place
from tests.scoring.serving.conftest import Service, Start

EXAMPLES = 200


@pytest.fixture
def service(place: Place, start: Start) -> Service:
    place.job(
        inputs={
            "x": {"type": "float64", "min": 0},
            "n": {"type": "int8", "nullable": True},
            "t": {"type": "timestamp", "nullable": True},
            "s": {"type": "string", "allowed": ["a", "b"]},
            "b": {"type": "boolean", "nullable": True},
        },
        model=None,
        scorer=place.scorer("def run(df):\n    return df[['x']].rename(columns={'x': 'y'})\n"),
    )
    return start(place)


def test_no_request_that_follows_or_breaks_the_document_is_a_fault_of_the_service(
    service: Service,
):
    generation = GenerationConfig(modes=[GenerationMode.POSITIVE, GenerationMode.NEGATIVE])
    config = SchemathesisConfig(
        projects=ProjectsConfig(default=ProjectConfig(generation=generation))
    )
    schema = schemathesis.openapi.from_url(f"{service.url}/openapi.json", config=config)
    statuses: list[int] = []

    for result in schema.get_all_operations():
        operation = result.ok()

        @settings(
            max_examples=EXAMPLES if operation.method == "post" else 10,
            deadline=None,
            derandomize=True,
            suppress_health_check=list(HealthCheck),
            database=None,
        )
        @given(case=operation.as_strategy())
        def ask(case: schemathesis.Case) -> None:
            answer = case.call(base_url=service.url, timeout=60)
            statuses.append(answer.status_code)
            assert answer.status_code < 500, (answer.status_code, answer.text, case.body)
            if answer.status_code not in (200, 422):
                assert answer.headers["content-type"] == ["application/problem+json"]

        ask()
    assert len(statuses) >= EXAMPLES
    assert {200, 400, 422} <= set(statuses)
    assert "Traceback" not in service.log.read_text()
