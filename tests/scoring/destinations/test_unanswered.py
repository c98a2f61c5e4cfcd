"""A server that dies after it has swapped the predictions, and before it says so."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from scoring.errors import PublicationError
from scoring.pipeline.publish import publish
from scoring.storage import local as storage
from tests.scoring.factories import Place, extracted, layout, linear, rows, run_steps, scored

RUN = {"by": "airflow", "dag_id": "sample", "run_id": "r"}

VERSIONS = [
    {"version": "v1", "uri": "{models}/v1.skops", "in_force_from": "2013-02"},
    {"version": "v2", "uri": "{models}/v2.skops", "in_force_from": "2013-03"},
]


@pytest.mark.parametrize("swapped", [True, False])
def test_the_manifest_waits_as_long_as_it_may_be_the_true_one(
    empty: Place, monkeypatch: pytest.MonkeyPatch, swapped: bool
) -> None:
    empty.source(rows(10))
    empty.model(linear(2.0))
    empty.model(linear(3.0), "v2.skops")
    run = empty.run(empty.job(model={"versions": VERSIONS}))
    run_steps(run)
    extraction = extracted(run, "v2")
    shards = scored(run, extraction)
    commit = storage._PendingFile.commit

    def without_an_answer(self: storage._PendingFile) -> None:
        if not self._uri.endswith("/predictions.parquet"):
            commit(self)
            return
        if swapped:
            commit(self)
        raise PublicationError("the server does not answer")

    with monkeypatch.context() as dying:
        dying.setattr(storage._PendingFile, "commit", without_an_answer)
        with pytest.raises(PublicationError, match="does not answer"):
            publish(run, shards, RUN)
    message = run.publisher.published(run.partition)
    assert message is not None
    assert message.model.version == ("v2" if swapped else "v1")
    published = Path(layout(run).output(run.partition)).read_bytes()
    assert hashlib.sha256(published).hexdigest() == message.output.sha256

    again = publish(run, shards, RUN)
    assert (again.model.version, run.publisher.published(run.partition)) == ("v2", again)
    assert not [name for name in empty.files() if ".next-" in name or "_staging" in name]
