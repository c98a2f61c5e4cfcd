"""What an ONNX file says of itself, read without a library: its fields, tensors and class labels.

An ONNX file is a ``ModelProto`` in the wire format of Protocol Buffers; the numbers of the fields are
those of onnx.proto3 (https://github.com/onnx/onnx/blob/main/onnx/onnx.proto3).
"""

from __future__ import annotations

from collections.abc import Iterator

Field = tuple[int, int | bytes]
"""The number of a field and its value: bytes for texts, packed numbers and messages."""

MODEL_FIELDS = frozenset({1, 2, 3, 4, 5, 6, 7, 8, 14, 20, 25, 26})
GRAPH, FUNCTION, TRAINING = 7, 25, 20  # of a model
NODE, INITIALIZER, SPARSE = 1, 5, 15  # of a graph
FUNCTION_NODE = 7
INPUT, OUTPUT, OP, ATTRIBUTE = 1, 2, 4, 5  # of a node
EXTERNAL_DATA, DATA_LOCATION = 13, 14  # of a tensor
DEPTH = 32
"""How deep graphs may lie in nodes of graphs."""


def fields(data: bytes) -> Iterator[Field]:
    """Yield the fields of a message; ValueError where ``data`` is not one."""
    at = 0
    while at < len(data):
        key, at = _varint(data, at)
        number, wire = key >> 3, key & 7
        if wire == 0:
            value, at = _varint(data, at)
            yield number, value
            continue
        if wire == 2:
            size, at = _varint(data, at)
        elif wire in (1, 5):
            size = 8 if wire == 1 else 4
        else:
            raise ValueError(f"wire type {wire}")
        if number == 0 or at + size > len(data):
            raise ValueError("a field that is longer than the file")
        yield number, data[at : at + size]
        at += size


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(data):
            raise ValueError("a number that is cut off")
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise ValueError("a number that does not end")


def is_onnx(data: bytes) -> bool:
    """Return whether ``data`` is a whole message with the fields of an ONNX model, and a graph."""
    found = set()
    try:
        for number, _ in fields(data):
            if number not in MODEL_FIELDS:
                return False
            found.add(number)
    except ValueError:
        return False
    return {1, GRAPH} <= found


def messages(data: bytes, number: int) -> Iterator[bytes]:
    """Yield the messages, or texts, in the field ``number`` of a message."""
    for found, value in fields(data):
        if found == number and isinstance(value, bytes):
            yield value


def producer(model: bytes) -> tuple[str, str]:
    """Return the name and the release of what wrote a model, each empty where it does not say."""
    name, release = (next(messages(model, number), b"") for number in (2, 3))
    return name.decode(errors="replace"), release.decode(errors="replace")


def has_external_data(model: bytes) -> bool:
    """Return whether a tensor of ``model`` lies in another file; ValueError where it is malformed."""
    return any(_is_external(tensor) for tensor in _tensors_of_model(model))


def _is_external(tensor: bytes) -> bool:
    return any(
        number == EXTERNAL_DATA or (number == DATA_LOCATION and value != 0)
        for number, value in fields(tensor)
    )


def _tensors_of_model(model: bytes) -> Iterator[bytes]:
    for graph in messages(model, GRAPH):
        yield from _tensors(graph, NODE)
    for function in messages(model, FUNCTION):
        yield from _tensors(function, FUNCTION_NODE)
    for training in messages(model, TRAINING):
        for number in (1, 2):
            for graph in messages(training, number):
                yield from _tensors(graph, NODE)


def _tensors(graph: bytes, node_field: int, depth: int = 0) -> Iterator[bytes]:
    """Yield the tensors of a graph or function, also of those within it."""
    if depth > DEPTH:
        raise ValueError(f"graphs within graphs, more than {DEPTH} deep")
    if node_field == NODE:
        yield from messages(graph, INITIALIZER)
        for sparse in messages(graph, SPARSE):
            yield from messages(sparse, 1)
            yield from messages(sparse, 2)
    for node in messages(graph, node_field):
        for attribute in messages(node, ATTRIBUTE):
            for number in (5, 10):  # t, tensors
                yield from messages(attribute, number)
            for number in (22, 23):  # sparse_tensor, sparse_tensors
                for sparse in messages(attribute, number):
                    yield from messages(sparse, 1)
                    yield from messages(sparse, 2)
            for number in (6, 11):  # g, graphs
                for inner in messages(attribute, number):
                    yield from _tensors(inner, NODE, depth + 1)


def class_labels(model: bytes, output: str) -> list[str] | list[int] | None:
    """Return the labels between which the output ``output`` of a classifier chooses; None where the
    nodes that compute it do not say.
    """
    graph = next(messages(model, GRAPH))
    makers = {
        name.decode(): node for node in messages(graph, NODE) for name in messages(node, OUTPUT)
    }
    tensors = {next(messages(t, 8), b"").decode(): t for t in messages(graph, INITIALIZER)}
    name = output
    while (node := makers.pop(name, None)) is not None:
        for attribute in messages(node, ATTRIBUTE):
            label = next(messages(attribute, 1), b"")
            if label in (b"classlabels_strings", b"classlabels_int64s", b"classlabels_ints"):
                return _labels_of(attribute, 9, 8)
        name = next(messages(node, INPUT), b"").decode()
    return _labels_of(tensors[name], 6, 7) if name in tensors else None


def _labels_of(message: bytes, texts: int, numbers: int) -> list[str] | list[int] | None:
    """Return the texts, else the numbers, of an attribute or a tensor."""
    found = [text.decode() for text in messages(message, texts)]
    return found or _integers(message, numbers) or None


def _integers(message: bytes, number: int) -> list[int]:
    values: list[int] = []
    for found, value in fields(message):
        if found == number and isinstance(value, int):
            values.append(_signed(value))
        elif found == number and isinstance(value, bytes):
            at = 0
            while at < len(value):
                one, at = _varint(value, at)
                values.append(_signed(one))
    return values


def _signed(value: int) -> int:
    return value - (1 << 64) if value >= 1 << 63 else value
