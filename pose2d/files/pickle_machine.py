"""A reader of pickles that runs nothing that lies in them.

A pickle is a program for a small stack machine. Python's own imports and calls whatever the program names; this one
knows plain containers, and asks a `Vocabulary` for other names: functions of this project that check their arguments.
Opcodes that no research data needs (extension codes, old-style instances, out-of-band buffers) are refused.
"""

from __future__ import annotations

import codecs
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np

MAX_DEPTH = 100
"""How deep containers may lie inside each other."""
FLOOR_BYTES = 64 << 20
"""What any pickle may unfold to, however small it is."""
RATIO = 32
"""How many times its own size a pickle may unfold to beyond that."""

_MAX_INT_BYTES = 64
_MAX_LINE = 1 << 20
_MAX_TUPLE_KEYS = 10_000
_SIMPLE_KEYS = (str, bytes, int, float, type(None))


class PickleError(ValueError):
    """What is wrong with a pickle, in a few words."""


@dataclass(frozen=True)
class Constructor:
    """Stands for a name that a pickle asks for; called with the arguments that the pickle gives."""

    name: str
    call: Callable[..., Any]


@runtime_checkable
class Vocabulary(Protocol):
    """What the names of a kind of pickle stand for."""

    def find(self, module: str, name: str) -> Any:
        """A :class:`Constructor`, or a plain value. Raises PickleError where the name is not known."""

    def build(self, value: Any, state: Any) -> None:
        """Give a value that a constructor made its state. Raises PickleError where it takes none."""

    def persistent(self, key: Any) -> Any:
        """What a persistent id stands for. Raises PickleError where there are none."""


class Loaded(NamedTuple):
    """A value and the offset of the first byte behind its pickle."""

    value: Any
    end: int


def load(data: bytes, vocabulary: Vocabulary, start: int = 0) -> Loaded:
    """Read one pickle of protocol 0 to 5; Python 2's byte strings become text by latin1.

    Raises:
        PickleError: an opcode, a name or an argument is refused, or the data break off.
    """
    return _Machine(data, vocabulary, start).run()


def require_tree(value: Any, size: int) -> None:
    """Refuse what contains itself, lies too deep, or unfolds to more than a multiple of the pickle's size.

    A few bytes can name one list ten times, that one ten times again, and so on: whoever walks over the value then
    meets billions of leaves.

    Raises:
        PickleError: with the reason.
    """
    limit = FLOOR_BYTES + RATIO * size
    weights: dict[int, tuple[int, int]] = {}  # of finished containers: bytes when unfolded, depth
    open_ids: set[int] = set()
    stack: list[tuple[Any, Iterator[Any], list[int]]] = [(None, iter((value,)), [0, 0])]
    while stack:
        parent, children, total = stack[-1]
        child = next(children, stack)
        if child is not stack:
            inside = _children(child)
            if inside is None:
                total[0] += _leaf_bytes(child)
            elif id(child) in weights:
                unfolded, depth = weights[id(child)]
                total[0] += unfolded
                total[1] = max(total[1], depth + 1)
            elif id(child) in open_ids:
                raise PickleError(f"a {type(child).__name__} contains itself")
            else:
                open_ids.add(id(child))
                stack.append((child, inside, [16, 0]))
        else:
            stack.pop()
            if stack:
                open_ids.discard(id(parent))
                weights[id(parent)] = total[0], total[1]
                above = stack[-1][2]
                above[0] += total[0]
                above[1] = max(above[1], total[1] + 1)
        if total[0] > limit:
            raise PickleError(f"{size} bytes unfold to more than {limit >> 20} MB")
        if total[1] > MAX_DEPTH or len(stack) > MAX_DEPTH + 2:
            raise PickleError(f"containers lie more than {MAX_DEPTH} deep in each other")


def _children(value: Any) -> Iterator[Any] | None:
    if isinstance(value, dict):
        return (part for item in value.items() for part in item)
    if isinstance(value, list | tuple | set | frozenset):
        return iter(value)
    if isinstance(value, np.ndarray) and value.dtype.hasobject:
        return iter(value.ravel().tolist())
    return iter((value.unpickled_state,)) if hasattr(value, "unpickled_state") else None


def _leaf_bytes(value: Any) -> int:
    if isinstance(value, np.ndarray):
        return 16 + value.nbytes
    return 8 + (len(value) if isinstance(value, str | bytes | bytearray) else 0)


class _Machine:
    def __init__(self, data: bytes, vocabulary: Vocabulary, start: int) -> None:
        self._data, self._words, self._at = data, vocabulary, start
        self._stack: list[Any] = []
        self._below: list[list[Any]] = []
        self._memo: dict[int, Any] = {}
        self._tuple_keys = 0

    def run(self) -> Loaded:
        data, actions, end = self._data, _ACTIONS, len(self._data)
        try:
            while self._at < end:
                code = data[self._at]
                self._at += 1
                if code == 0x2E:  # STOP
                    return Loaded(self._stack.pop(), self._at)
                action = actions.get(code)
                if action is None:
                    raise PickleError(f"opcode {bytes((code,))!r} at byte {self._at - 1} is not expected in plain data")
                action(self)
        except (IndexError, struct.error, KeyError):
            raise PickleError(f"it is damaged or cut short near byte {self._at}") from None
        raise PickleError("it is cut short")

    # Reading arguments.

    def _take(self, count: int) -> bytes:
        if count < 0 or count > len(self._data) - self._at:
            raise PickleError(f"it is cut short: {count} bytes are announced at byte {self._at}")
        taken = self._data[self._at : self._at + count]
        self._at += count
        return taken

    def _number(self, form: struct.Struct) -> Any:
        (value,) = form.unpack_from(self._data, self._at)
        self._at += form.size
        return value

    def _line(self) -> bytes:
        end = self._data.find(b"\n", self._at, self._at + _MAX_LINE)
        if end < 0:
            raise PickleError(f"it is cut short: the line at byte {self._at} has no end")
        line = self._data[self._at : end]
        self._at = end + 1
        return line

    # Values.

    def _push_line_number(self) -> None:
        line = self._line()
        if line in (b"00", b"01"):
            self._stack.append(line == b"01")
        else:
            self._stack.append(_integer(line))

    def _push_string(self) -> None:
        line = self._line().strip()
        if len(line) < 2 or line[:1] != line[-1:] or line[:1] not in (b"'", b'"'):
            raise PickleError("a text has no quotes")
        self._stack.append(codecs.escape_decode(line[1:-1])[0].decode("latin1"))

    def _push_long(self, size: int) -> None:
        if not 0 <= size <= _MAX_INT_BYTES:
            raise PickleError(f"an integer of {size} bytes is not expected in plain data")
        self._stack.append(int.from_bytes(self._take(size), "little", signed=True))

    # Containers.

    def _marked(self) -> list[Any]:
        items, self._stack = self._stack, self._below.pop()
        return items

    def _mark(self) -> None:
        self._below.append(self._stack)
        self._stack = []

    def _collect(self, kind: Callable[[list[Any]], Any]) -> None:
        items = self._marked()
        self._stack.append(kind(items))

    def _pop(self) -> None:
        if self._stack:
            self._stack.pop()
        else:
            self._stack = self._below.pop()

    def _tuple(self, count: int) -> None:
        if len(self._stack) < count:
            raise PickleError("a tuple lacks its items")
        items = tuple(self._stack[-count:])
        del self._stack[-count:]
        self._stack.append(items)

    def _append(self, items: list[Any]) -> None:
        target = self._stack[-1]
        if isinstance(target, list):
            target.extend(items)
        elif not getattr(target, "is_inert", False):
            raise PickleError(f"a {type(target).__name__} takes no items")

    def _set_items(self, target: Any, items: list[Any]) -> None:
        if not isinstance(target, dict) or len(items) % 2:
            raise PickleError(f"a {type(target).__name__} takes no {len(items)} keys and values")
        for key, value in zip(items[::2], items[1::2], strict=True):
            target[self._key(key)] = value

    def _add_items(self, items: list[Any]) -> None:
        target = self._stack[-1]
        if isinstance(target, set):
            target.update(map(self._key, items))
        elif not getattr(target, "is_inert", False):
            raise PickleError(f"a {type(target).__name__} takes no items")

    def _key(self, key: Any) -> Any:
        """What may be a key: keys of the same hash make a dictionary slow, and these have few."""
        if isinstance(key, _SIMPLE_KEYS) or getattr(key, "is_inert", False):
            return key
        if isinstance(key, tuple) and self._tuple_keys < _MAX_TUPLE_KEYS:
            self._tuple_keys += 1
            return tuple(self._key(part) for part in key)
        if isinstance(key, np.generic):
            return key.item()
        raise PickleError(f"a {type(key).__name__} is not expected as a key")

    # Memory.

    def _put(self, place: int) -> None:
        self._memo[place] = self._stack[-1]

    def _get(self, place: int) -> None:
        if place not in self._memo:
            raise PickleError(f"it refers to entry {place}, which it has not made")
        self._stack.append(self._memo[place])

    # Objects.

    def _global(self, module: Any, name: Any) -> None:
        if not isinstance(module, str) or not isinstance(name, str):
            raise PickleError("a name that it asks for is no text")
        self._stack.append(self._words.find(module, name))

    def _stack_global(self) -> None:
        name, module = self._stack.pop(), self._stack.pop()
        self._global(module, name)

    def _reduce(self) -> None:
        arguments, function = self._stack.pop(), self._stack.pop()
        self._call(function, arguments)

    def _new_with_names(self) -> None:
        names = self._stack.pop()
        if names != {}:
            raise PickleError("arguments by name are not expected in plain data")
        self._reduce()

    def _call(self, function: Any, arguments: Any) -> None:
        if not isinstance(function, Constructor):
            raise PickleError(f"it calls a {type(function).__name__}")
        if not isinstance(arguments, tuple):
            raise PickleError(f"the arguments of {function.name} are a {type(arguments).__name__}")
        self._stack.append(function.call(*arguments))

    def _build(self) -> None:
        state = self._stack.pop()
        self._words.build(self._stack[-1], state)


def _integer(text: bytes) -> int:
    text = text.strip().removesuffix(b"L")
    if len(text) > 2 * _MAX_INT_BYTES:
        raise PickleError(f"an integer of {len(text)} digits is not expected in plain data")
    return int(text)


_U1, _U2, _I4, _U4, _U8, _F8 = (struct.Struct(form) for form in ("B", "<H", "<i", "<I", "<Q", ">d"))


def _text(machine: _Machine, size: int) -> None:
    machine._stack.append(machine._take(size).decode("utf-8", "surrogatepass"))


def _protocol(machine: _Machine) -> None:
    version = machine._number(_U1)
    if version > 5:
        raise PickleError(f"protocol {version} is not known")


_ACTIONS: dict[int, Callable[[_Machine], None]] = {
    code[0]: action
    for code, action in {
        b"\x80": _protocol,
        b"\x95": lambda m: m._number(_U8),  # a frame's length; this machine has all bytes at hand
        b"(": lambda m: m._mark(),
        b"0": lambda m: m._pop(),
        b"1": lambda m: m._marked(),
        b"2": lambda m: m._stack.append(m._stack[-1]),
        b"N": lambda m: m._stack.append(None),
        b"\x88": lambda m: m._stack.append(True),
        b"\x89": lambda m: m._stack.append(False),
        b"I": lambda m: m._push_line_number(),
        b"L": lambda m: m._stack.append(_integer(m._line())),
        b"J": lambda m: m._stack.append(m._number(_I4)),
        b"K": lambda m: m._stack.append(m._number(_U1)),
        b"M": lambda m: m._stack.append(m._number(_U2)),
        b"\x8a": lambda m: m._push_long(m._number(_U1)),
        b"\x8b": lambda m: m._push_long(m._number(_I4)),
        b"F": lambda m: m._stack.append(float(m._line())),
        b"G": lambda m: m._stack.append(m._number(_F8)),
        b"S": lambda m: m._push_string(),
        b"T": lambda m: m._stack.append(m._take(m._number(_I4)).decode("latin1")),
        b"U": lambda m: m._stack.append(m._take(m._number(_U1)).decode("latin1")),
        b"V": lambda m: m._stack.append(m._line().decode("raw-unicode-escape")),
        b"X": lambda m: _text(m, m._number(_U4)),
        b"\x8c": lambda m: _text(m, m._number(_U1)),
        b"\x8d": lambda m: _text(m, m._number(_U8)),
        b"B": lambda m: m._stack.append(m._take(m._number(_U4))),
        b"C": lambda m: m._stack.append(m._take(m._number(_U1))),
        b"\x8e": lambda m: m._stack.append(m._take(m._number(_U8))),
        b"\x96": lambda m: m._stack.append(bytearray(m._take(m._number(_U8)))),
        b"]": lambda m: m._stack.append([]),
        b"a": lambda m: m._append([m._stack.pop()]),
        b"e": lambda m: m._append(m._marked()),
        b"l": lambda m: m._collect(list),
        b")": lambda m: m._stack.append(()),
        b"t": lambda m: m._collect(tuple),
        b"\x85": lambda m: m._tuple(1),
        b"\x86": lambda m: m._tuple(2),
        b"\x87": lambda m: m._tuple(3),
        b"}": lambda m: m._stack.append({}),
        b"d": lambda m: _new_dict(m),
        b"s": lambda m: _set_item(m),
        b"u": lambda m: _set_marked(m),
        b"\x8f": lambda m: m._stack.append(set()),
        b"\x90": lambda m: m._add_items(m._marked()),
        b"\x91": lambda m: m._collect(lambda items: frozenset(map(m._key, items))),
        b"p": lambda m: m._put(_integer(m._line())),
        b"q": lambda m: m._put(m._number(_U1)),
        b"r": lambda m: m._put(m._number(_U4)),
        b"\x94": lambda m: m._put(len(m._memo)),
        b"g": lambda m: m._get(_integer(m._line())),
        b"h": lambda m: m._get(m._number(_U1)),
        b"j": lambda m: m._get(m._number(_U4)),
        b"c": lambda m: m._global(m._line().decode(), m._line().decode()),
        b"\x93": lambda m: m._stack_global(),
        b"R": lambda m: m._reduce(),
        b"\x81": lambda m: m._reduce(),
        b"\x92": lambda m: m._new_with_names(),
        b"b": lambda m: m._build(),
        b"P": lambda m: m._stack.append(m._words.persistent(m._line().decode())),
        b"Q": lambda m: m._stack.append(m._words.persistent(m._stack.pop())),
    }.items()
}


def _new_dict(machine: _Machine) -> None:
    items = machine._marked()
    made: dict[Any, Any] = {}
    machine._set_items(made, items)
    machine._stack.append(made)


def _set_item(machine: _Machine) -> None:
    value, key = machine._stack.pop(), machine._stack.pop()
    machine._set_items(machine._stack[-1], [key, value])


def _set_marked(machine: _Machine) -> None:
    items = machine._marked()
    machine._set_items(machine._stack[-1], items)
