"""The bytes of a model file, wherever it lies: read, and read again to be loaded.

Between the two, nothing may have changed them.
"""

from __future__ import annotations

import hashlib

from scoring.errors import ModelError, raise_if_resource_error
from scoring.models.base import ModelFile
from scoring.models.folders import Folder, LocalCopy, StoredFolder
from scoring.models.mlflow.registry import registered_folder
from scoring.storage.connections import Connections


def bytes_of(uri: str, what: str, connections: Connections, hint: str = "") -> bytes:
    """Return the bytes of the file ``uri``; ModelError, with ``hint``, where there are none."""
    try:
        data = connections.storage(uri).read(uri)
    except OSError as error:
        raise_if_resource_error(error)
        is_folder = isinstance(error, IsADirectoryError)
        hint = "; the uri of an MLflow model, which is a folder, ends with /" if is_folder else ""
        raise ModelError(
            f"{uri}, the model file of {what}, cannot be read: {error.strerror}{hint}"
        ) from None
    if data is None:
        raise ModelError(
            f"the model file of {what} is not there: {uri}. Check its uri in model.versions{hint}"
        )
    return data


def folder_of(file: ModelFile, connections: Connections) -> Folder:
    """Return the folder that ``file`` is, in a storage or in a registry."""
    if file.registered is not None:
        return registered_folder(file.registered, connections)
    return StoredFolder(file.uri, connections.storage(file.uri))


def same_bytes(file: ModelFile, connections: Connections) -> bytes:
    """Return the bytes of ``file``; ModelError if they are no longer those that were verified."""
    data = bytes_of(file.uri, f"{file.name} {file.version}".strip(), connections)
    if hashlib.sha256(data).hexdigest() != file.sha256:
        raise _replaced(file)
    return data


def _replaced(file: ModelFile) -> ModelError:
    return ModelError(
        f"{file.uri} was replaced while {file.name} was being scored with it; it was not "
        "loaded. Run the partition again"
    )


def same_folder(file: ModelFile, connections: Connections) -> LocalCopy:
    """Return a copy of ``file``'s folder; ModelError if its bytes are no longer those verified."""
    copy = LocalCopy(folder_of(file, connections), file.uri)
    if copy.sha256 != file.sha256:
        copy.close()
        raise _replaced(file)
    return copy
