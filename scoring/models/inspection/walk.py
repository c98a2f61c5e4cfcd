"""What a pickle would import and call, found by reading its opcodes: nothing of it is executed.

The stack machine of Python's ``pickle._Unpickler`` is followed with stand-ins for what would be made
(https://docs.python.org/3/library/pickletools.html has the opcodes), joblib's arrays between opcodes
as ``joblib.numpy_pickle.NumpyUnpickler`` reads them.
"""

from __future__ import annotations

import io
import pickletools
import re
from collections.abc import Iterable
from typing import Any

from scoring.models.inspection.arrays import array_size, has_objects
from scoring.models.inspection.found import COMPUTED, BrokenPickleError, Found, Global, Made

NESTED = 8
"""How deep pickles may lie in arrays of objects."""

_BEGINNING = re.compile(rb"\x80[\x02-\x05]")
_WRAPPER = "NumpyArrayWrapper"
_OF_ARRAY = {"subclass", "shape", "order", "dtype"}
"""The state of a wrapper, after which joblib reads an array."""
_MAKERS = {("copyreg", "_reconstructor"), ("copyreg", "__newobj__"), ("builtins", "object.__new__")}
"""Functions that return an instance of their first argument."""


def walk(data: bytes) -> Found:
    """Return what the pickles in ``data``, one after the other, would import and call."""
    found, stream = Found(), io.BytesIO(data)
    while stream.tell() < len(data):
        begin = stream.tell()
        try:
            _Machine(stream, found).run()
        except (
            ValueError,
            IndexError,
            TypeError,
            KeyError,
            AttributeError,
            OverflowError,
        ) as error:
            why = str(error) or type(error).__name__
            what = "the pickle" if not found.pickles else "what follows the first pickle"
            found.broken = f"{what} breaks off near byte {stream.tell():,}: {why}"
            return found
        found.pickles += 1
        if stream.tell() <= begin:
            break
    if not found.pickles:
        found.broken = "the file is empty"
    return found


class _Machine:
    """One pickle on its way: the stack, and the memo."""

    def __init__(self, stream: io.BytesIO, found: Found, outer: _Machine | None = None) -> None:
        self.depth: int = 0 if outer is None else outer.depth + 1
        if self.depth > NESTED:
            raise BrokenPickleError(f"pickles within pickles, more than {NESTED} deep")
        self.stream, self.found, self.outer = stream, found, outer
        self.stack: list[Any] = []
        self.marks: list[list[Any]] = []
        self.memo: dict[int, Any] = {}
        self.own_protocol = self.frame_end = 0

    @property
    def protocol(self) -> int:
        """The protocol by which names are read: in an array of objects, that of the outer pickle."""
        return self.own_protocol if self.outer is None else self.outer.protocol

    def run(self) -> Any:
        """Follow the opcodes up to STOP; returns the stand-in of the object."""
        for opcode, argument, position in pickletools.genops(self.stream):
            if opcode.name == "STOP":
                self._check_frame()
                return self.stack.pop()
            step = getattr(self, f"_{opcode.name.lower()}", None)
            if step is not None:
                step(argument, position)
            elif argument is not None or opcode.name in _CONSTANTS:
                self._push(_CONSTANTS.get(opcode.name, argument))
            else:
                raise BrokenPickleError(f"the opcode {opcode.name} is not known")
        raise BrokenPickleError("there is no STOP")

    def _check_frame(self) -> None:
        """Raise BrokenPickleError within a frame, whose rest Python has read ahead by then: what comes
        next in the file is not what Python reads next.
        """
        if self.stream.tell() < self.frame_end:
            raise BrokenPickleError("an array or the end of the pickle in the middle of a frame")

    def _frame(self, argument: Any, position: int) -> None:
        self._check_frame()
        self.frame_end = self.stream.tell() + argument

    def _readonly_buffer(self, argument: Any, position: int) -> None:
        """Follow an opcode that changes nothing here."""

    def _push(self, value: Any) -> None:
        if isinstance(value, bytes | bytearray) and _BEGINNING.match(value):
            self.found.inside += 1
        self.stack.append(value)

    def _to_mark(self) -> list[Any]:
        items = self.stack
        self.stack = self.marks.pop()
        return items

    # What is imported.

    def _import(self, module: Any, name: Any) -> None:
        if not isinstance(module, str) or not isinstance(name, str):
            found = COMPUTED
        elif self.protocol < 3:
            found = Global(*_python3(module, name))
        else:
            found = Global(module, name)
        self.found.imported[found] += 1
        self.stack.append(found)

    def _global(self, argument: Any, position: int) -> None:
        self._import(*self._two_lines(position))

    def _stack_global(self, argument: Any, position: int) -> None:
        name, module = self.stack.pop(), self.stack.pop()
        self._import(module, name)

    def _inst(self, argument: Any, position: int) -> None:
        args = self._to_mark()
        self._import(*self._two_lines(position))
        self._call(self.stack.pop(), tuple(args))

    def _two_lines(self, position: int) -> tuple[str, str]:
        """Return the lines after the opcode at ``position``: pickletools joins them by a space."""
        end = self.stream.tell()
        self.stream.seek(position + 1)
        module, name = (self.stream.readline()[:-1].decode() for _ in range(2))
        self.stream.seek(end)
        return module, name

    def _extension(self, code: Any, position: int) -> None:
        import copyreg

        registered = getattr(copyreg, "_inverted_registry", {}).get(code)
        self._import(*(registered or ("(copyreg extension)", str(code))))

    _ext1 = _ext2 = _ext4 = _extension

    def _persid(self, argument: Any, position: int) -> None:
        self.found.persistent += 1
        self.stack.append(Made(COMPUTED, (argument,)))

    def _binpersid(self, argument: Any, position: int) -> None:
        self._persid(self.stack.pop(), position)

    # What is called.

    def _call(self, maker: Any, args: Any) -> None:
        called = maker if isinstance(maker, Global) else COMPUTED
        self.found.called[called] += 1
        if called is COMPUTED and maker is not COMPUTED:
            self.found.imported[COMPUTED] += 1
        self.stack.append(Made(maker, args))

    def _reduce(self, argument: Any, position: int) -> None:
        args, maker = self.stack.pop(), self.stack.pop()
        self._call(maker, args)

    _newobj = _reduce

    def _newobj_ex(self, argument: Any, position: int) -> None:
        keywords, args, maker = self.stack.pop(), self.stack.pop(), self.stack.pop()
        self._call(maker, (args, keywords))

    def _obj(self, argument: Any, position: int) -> None:
        maker, *args = self._to_mark()
        self._call(maker, tuple(args))

    def _build(self, argument: Any, position: int) -> None:
        state, target = self.stack.pop(), self.stack[-1]
        kind = _class_of(target)
        self.found.built[kind if kind is not None else COMPUTED] += 1
        if isinstance(target, Global):
            raise BrokenPickleError(
                f"it changes {target}, so that names mean something else from here"
            )
        if isinstance(target, Made):
            target.state = state
        if kind == Global("joblib.numpy_pickle", _WRAPPER):
            self._check_frame()
            self.stack[-1] = self._array(state)
        elif isinstance(state, dict) and state.keys() >= _OF_ARRAY:
            raise BrokenPickleError(f"what joblib would read as an array is a {kind or COMPUTED}")

    # joblib's arrays.

    def _array(self, state: Any) -> Made:
        """Skip the bytes of an array, as ``NumpyArrayWrapper.read_array`` reads them."""
        if has_objects(state["dtype"]):
            return Made(Global("numpy", "ndarray"), _Machine(self.stream, self.found, self).run())
        size = array_size(state["shape"], state["dtype"])
        if state.get("numpy_array_alignment_bytes") is not None:
            size += self.stream.read(1)[0]
        end = self.stream.tell() + size
        if size < 0 or end > len(self.stream.getbuffer()):
            raise BrokenPickleError(f"an array of {size:,} bytes, which are not there")
        self.stream.seek(end)
        return Made(Global("numpy", "ndarray"), ())

    # Containers, the stack and the memo.

    def _proto(self, argument: Any, position: int) -> None:
        self.own_protocol = argument

    def _mark(self, argument: Any, position: int) -> None:
        self.marks.append(self.stack)
        self.stack = []

    def _pop(self, argument: Any, position: int) -> None:
        if self.stack:
            self.stack.pop()
        else:
            self._to_mark()

    def _pop_mark(self, argument: Any, position: int) -> None:
        self._to_mark()

    def _dup(self, argument: Any, position: int) -> None:
        self.stack.append(self.stack[-1])

    def _tuple(self, argument: Any, position: int) -> None:
        items = self._to_mark()
        self.stack.append(tuple(items))

    def _list(self, argument: Any, position: int) -> None:
        items = self._to_mark()
        self.stack.append(items)

    _frozenset = _list

    def _dict(self, argument: Any, position: int) -> None:
        items = self._to_mark()
        self.stack.append({})
        self._set(self.stack[-1], items)

    def _empty_dict(self, argument: Any, position: int) -> None:
        self.stack.append({})

    def _empty_list(self, argument: Any, position: int) -> None:
        self.stack.append([])

    _empty_set = _empty_list

    def _empty_tuple(self, argument: Any, position: int) -> None:
        self.stack.append(())

    def _next_buffer(self, argument: Any, position: int) -> None:
        raise BrokenPickleError("it refers to a buffer outside of the file")

    def _tuple1(self, argument: Any, position: int) -> None:
        self.stack[-1:] = [(self.stack[-1],)]

    def _tuple2(self, argument: Any, position: int) -> None:
        self.stack[-2:] = [(self.stack[-2], self.stack[-1])]

    def _tuple3(self, argument: Any, position: int) -> None:
        self.stack[-3:] = [(self.stack[-3], self.stack[-2], self.stack[-1])]

    def _append(self, argument: Any, position: int) -> None:
        self.stack.pop()

    def _appends(self, argument: Any, position: int) -> None:
        self._to_mark()

    _additems = _appends

    def _setitem(self, argument: Any, position: int) -> None:
        value, key = self.stack.pop(), self.stack.pop()
        self._set(self.stack[-1], [key, value])

    def _setitems(self, argument: Any, position: int) -> None:
        items = self._to_mark()
        self._set(self.stack[-1], items)

    def _set(self, target: Any, items: Iterable[Any]) -> None:
        pairs = iter(items)
        for key, value in zip(pairs, pairs, strict=True):
            if isinstance(key, str) and isinstance(value, str) and key.endswith("_version"):
                self.found.texts[key] = value
            if isinstance(target, dict) and isinstance(key, str | int):
                target[key] = value

    def _memoize(self, argument: Any, position: int) -> None:
        self.memo[len(self.memo)] = self.stack[-1]

    def _put(self, argument: Any, position: int) -> None:
        self.memo[int(argument)] = self.stack[-1]

    _binput = _long_binput = _put

    def _get(self, argument: Any, position: int) -> None:
        self.stack.append(self.memo[int(argument)])

    _binget = _long_binget = _get


_CONSTANTS: dict[str, Any] = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}


def _python3(module: str, name: str) -> tuple[str, str]:
    """Return the name of Python 3 for that of Python 2, as protocols 0 to 2 have it."""
    import _compat_pickle

    if (module, name) in _compat_pickle.NAME_MAPPING:
        module, name = _compat_pickle.NAME_MAPPING[(module, name)]
    elif module in _compat_pickle.IMPORT_MAPPING:
        module = _compat_pickle.IMPORT_MAPPING[module]
    return module, name


def _class_of(target: Any) -> Global | None:
    """Return the class of what was made, where that is clear."""
    if isinstance(target, Global):
        return target
    if not isinstance(target, Made) or not isinstance(target.maker, Global):
        return None
    maker, args = target.maker, target.args
    if (maker.module, maker.name) in _MAKERS and isinstance(args, tuple) and args:
        return args[0] if isinstance(args[0], Global) else None
    return maker
