"""Which version of a registered model a URI means, and where its files lie.

A number means the same version as long as the registry keeps it. An alias and a tag may mean
another one tomorrow: they are resolved once, when a run begins.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

from scoring.errors import ModelError, PartitionError, quoted
from scoring.job.mlflow_uris import RegisteredUri
from scoring.job.partitions import Partition
from scoring.job.schema import Job
from scoring.models.base import RegisteredModel
from scoring.models.folders import MOST_FILES, Folder, StoredFolder
from scoring.models.mlflow.server import AnswerError, MlflowServer, server_of_environment
from scoring.storage.connections import Connections

TAG = "in_force_from"
PAGE = "1000"


def registered_model(
    uri: RegisteredUri, job: Job, partition: Partition, connections: Connections
) -> RegisteredModel:
    """Return the registered version that ``uri`` means for ``partition``.

    Raises ModelError where there is none; RegistryUnavailableError where the server fails.
    """
    server = _server(connections)
    if uri.number:
        number = uri.number
    elif uri.alias:
        number = _number_of_alias(server, uri.name, uri.alias)
    else:
        number = _number_in_force(server, uri.name, job, partition)
    try:
        answer = server.get("model-versions/get", name=uri.name, version=number)
        found = _field(answer, "model_version")
        source = server.get("model-versions/get-download-uri", name=uri.name, version=number)
    except AnswerError as error:
        if error.code != "RESOURCE_DOES_NOT_EXIST":
            raise
        numbers = [str(v.get("version")) for v in _versions(server, uri.name)]
        raise ModelError(
            f"{server.uri} has no version {number} of the model {uri.name}; it has "
            f"{', '.join(sorted(numbers, key=len)[:20]) or 'none'}"
        ) from None
    status = found.get("status", "READY")
    if status != "READY":
        raise ModelError(
            f"version {number} of the model {uri.name} is not ready: {server.uri} says {status!r}"
        )
    return RegisteredModel(
        name=uri.name,
        number=number,
        alias=uri.alias,
        run_id=found.get("run_id") or None,
        source=str(_field(source, "artifact_uri")),
    )


def registered_folder(model: RegisteredModel, connections: Connections) -> Folder:
    """Return the folder of a registered model: at its server, in S3, or on a disk of this machine."""
    parts = urlsplit(model.source)
    if parts.scheme == "mlflow-artifacts":
        server = _server(connections)
        if parts.netloc in ("", server.netloc):
            return ServedFolder(server, parts.path.strip("/"))
    if parts.scheme in ("", "file") and parts.path.startswith("/"):
        return StoredFolder(parts.path, connections.storage(parts.path))
    if parts.scheme == "s3":
        return StoredFolder(model.source, connections.storage(model.source))
    raise ModelError(
        f"version {model.number} of the model {model.name} lies at "
        f"{quoted(model.source, 200)}, and only artifacts that the tracking server itself "
        "serves (mlflow-artifacts:/), in S3 and on disk are read"
    )


class ServedFolder:
    """A folder of artifacts that the tracking server itself serves."""

    def __init__(self, server: MlflowServer, path: str) -> None:
        self._server, self._path = server, path

    def paths(self) -> list[str]:
        found: list[str] = []
        waiting = [""]
        while waiting and len(found) + len(waiting) <= MOST_FILES:
            folder = waiting.pop()
            for name, is_folder in self._server.list_folder(f"{self._path}/{folder}".rstrip("/")):
                if "/" in name:
                    raise ModelError(f"{self._server.uri} lists a path: {quoted(name, 200)}")
                (waiting if is_folder else found).append(
                    f"{folder}{name}{'/' if is_folder else ''}"
                )
        return [*found, *waiting]

    def chunks(self, path: str) -> Iterator[bytes]:
        return self._server.artifact(f"{self._path}/{path}")


def _server(connections: Connections) -> MlflowServer:
    server: MlflowServer = (connections.mlflow or server_of_environment)()
    return server


def _number_of_alias(server: MlflowServer, name: str, alias: str) -> str:
    model = _registered(server, name)
    numbers = {str(a.get("alias")): str(a.get("version")) for a in model.get("aliases", [])}
    if alias not in numbers:
        raise ModelError(
            f"the model {name} of {server.uri} has no alias {alias!r}; it has "
            f"{', '.join(f'{a} (version {n})' for a, n in sorted(numbers.items())) or 'none'}"
        )
    return numbers[alias]


def _number_in_force(server: MlflowServer, name: str, job: Job, partition: Partition) -> str:
    """Return the version with the latest tag that is not after ``partition``, as the job's own
    versions are chosen.
    """
    tagged: dict[str, str] = {}
    for version in _versions(server, name):
        number, key = str(version.get("version")), _tag(version)
        if key is None:
            continue
        try:
            job.parse(key)
        except PartitionError as error:
            raise ModelError(
                f"the tag {TAG} of version {number} of the model {name} is not valid: {error}"
            ) from None
        if key in tagged:
            raise ModelError(
                f"versions {tagged[key]} and {number} of the model {name} both have the tag "
                f"{TAG}: {key}; change one of them"
            )
        tagged[key] = number
    if not tagged:
        _registered(server, name)
        raise ModelError(
            f"no version of the model {name} of {server.uri} has a tag {TAG}, such as "
            f"{partition.key}; set one, or write mlflow:models:/{name}/VERSION in the job"
        )
    in_order = sorted(tagged, key=job.parse)
    assert job.model is not None
    in_force = [
        k for k in in_order if job.model.policy == "current" or not partition < job.parse(k)
    ]
    if not in_force:
        raise ModelError(
            f"no version of the model {name} was in force in {partition.key}: the first, version "
            f"{tagged[in_order[0]]}, has the tag {TAG}: {in_order[0]}; nothing was scored"
        )
    return tagged[in_force[-1]]


def _registered(server: MlflowServer, name: str) -> dict[str, Any]:
    try:
        answer = server.get("registered-models/get", name=name)
    except AnswerError as error:
        if error.code != "RESOURCE_DOES_NOT_EXIST":
            raise
        raise ModelError(f"{server.uri} has no registered model {name!r}") from None
    found: dict[str, Any] = _field(answer, "registered_model")
    return found


def _versions(server: MlflowServer, name: str) -> Iterator[dict[str, Any]]:
    token = ""
    while True:
        more = {"page_token": token} if token else {}
        answer = server.get(
            "model-versions/search", filter=f"name='{name}'", max_results=PAGE, **more
        )
        yield from answer.get("model_versions", [])
        token = answer.get("next_page_token", "")
        if not token:
            return


def _tag(version: dict[str, Any]) -> str | None:
    tags = {tag.get("key"): tag.get("value") for tag in version.get("tags", [])}
    return tags.get(TAG) or None


def _field(answer: dict[str, Any], name: str) -> Any:
    if name not in answer:
        raise ModelError(f"the MLflow server answers without {name}; it may be of another release")
    return answer[name]
