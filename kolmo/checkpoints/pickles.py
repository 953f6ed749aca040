"""Pickles read as data: opcodes that import nothing and call nothing.

A pickle is a program for a small stack machine
(https://docs.python.org/3/library/pickletools.html), which may name any function and call it.
Here the same program runs over inert values (`kolmo.checkpoints.inert`): a name stays a name, and
what would be called becomes a `Record` of it and its arguments, but for the few functions that
rebuild arrays and containers, which a table gives as code of our own.
"""

from __future__ import annotations

import codecs
import struct
from collections.abc import Callable
from typing import Any

from kolmo.checkpoints.inert import Global, LeftOut, OldText, Record, key_of
from kolmo.checkpoints.machine import Machine, PickleError, full_name
from kolmo.errors import InputError

PROTOCOLS = range(6)

_DIGITS = 4096  # bytes of one number, or digits


class _Stop(Exception):
    pass


def load_pickle(machine: Machine) -> Any:
    """The inert value of one pickle, which begins where the machine's reader is.

    Raises
    ------
    ValueError
        If it is damaged, or no pickle.

    Examples
    --------
    >>> import pickle
    >>> from kolmo.checkpoints.machine import PickleReader
    >>> from kolmo.checkpoints.stored import memory_bytes
    >>> data = memory_bytes(pickle.dumps({"a": [1, print]}), "an example")
    >>> found = load_pickle(Machine(PickleReader(data), {}))
    >>> found["a"][0], str(found["a"][1])
    (1, 'builtins.print')
    """
    reader = machine.reader
    try:
        while action := _ACTIONS.get(letter := reader.take(1)[0]):
            machine.charge(1)
            action(machine)
        raise PickleError(f"unknown opcode {letter:#x}")
    except _Stop:
        if not machine.stack:
            raise PickleError("it stops without a value") from None
        return machine.stack.pop()
    except (InputError, PickleError):
        raise
    except (LookupError, TypeError, ValueError, ArithmeticError, AttributeError) as error:
        raise PickleError(f"{type(error).__name__}: {str(error)[:80]}") from None


def _text(data: bytes) -> str:
    return data.decode("ascii") if data.isascii() else OldText(data)


def _old_string(machine: Machine, size: int) -> None:
    run = machine.reader.run(size)
    machine.stack.append(_text(run) if isinstance(run, bytes) else run)


def _string(machine: Machine) -> None:
    line = machine.reader.line()
    if len(line) < 2 or line[:1] != line[-1:] or line[:1] not in (b"'", b'"'):
        raise PickleError("a text without its quotes")
    decoded: Any = codecs.escape_decode(line[1:-1])
    machine.stack.append(_text(decoded[0]))


def _unicode(machine: Machine, size: int) -> None:
    machine.stack.append(machine.reader.take(size).decode("utf-8", "surrogatepass"))


def _integer_line(machine: Machine) -> None:
    line = machine.reader.line()
    booleans = {b"00": False, b"01": True}
    machine.stack.append(booleans[line] if line in booleans else _parsed(line))


def _parsed(line: bytes) -> int:
    if len(line) > _DIGITS:
        raise PickleError(f"a number of {len(line):,} digits")
    return int(line.rstrip(b"L"))


def _long(machine: Machine, size: int) -> None:
    if size > _DIGITS:
        raise PickleError(f"a number of {size:,} bytes")
    machine.stack.append(int.from_bytes(machine.reader.take(size), "little", signed=True))


def _global(machine: Machine) -> None:
    module, name = machine.reader.line(), machine.reader.line()
    machine.push(Global(full_name(module.decode(), name.decode())))


def _stack_global(machine: Machine) -> None:
    name, module = machine.stack.pop(), machine.stack.pop()
    if not isinstance(name, str) or not isinstance(module, str):
        raise PickleError("a name that is no text")
    machine.charge(0, len(name) + len(module))
    machine.push(Global(full_name(module, name)))


def _extension(machine: Machine, size: int) -> None:
    machine.push(Global(f"copyreg extension {machine.reader.number(size)}"))


def _reduce(machine: Machine) -> None:
    args, function = machine.stack.pop(), machine.stack.pop()
    machine.push(machine.make(function, args, called=True))


def _newobj(machine: Machine) -> None:
    args, made = machine.stack.pop(), machine.stack.pop()
    machine.push(machine.make(made, args, called=False))


def _newobj_ex(machine: Machine) -> None:
    keywords, args, made = machine.stack.pop(), machine.stack.pop(), machine.stack.pop()
    if not keywords:
        machine.push(machine.make(made, args, called=False))
        return
    record = Record(str(made) if isinstance(made, Global) else "object", (args,))
    record.state = keywords
    machine.push(record)


def _obj(machine: Machine) -> None:
    items = machine.pop_mark()
    machine.push(machine.make(items[0], tuple(items[1:]), called=False))


def _inst(machine: Machine) -> None:
    module, name = machine.reader.line(), machine.reader.line()
    made = Global(full_name(module.decode(), name.decode()))
    machine.push(machine.make(made, tuple(machine.pop_mark()), called=False))


def _build(machine: Machine) -> None:
    state, made = machine.stack.pop(), machine.stack[-1]
    if hasattr(made, "build"):
        made.build(machine, state)
    elif isinstance(made, Record):
        made.state = state if made.state is None else (made.state, state)
        if made.name in machine.built:
            machine.stack[-1] = machine.built[made.name](machine, made)


def _append(machine: Machine) -> None:
    _extend(machine.stack[-2], [machine.stack.pop()])


def _appends(machine: Machine) -> None:
    items = machine.pop_mark()
    _extend(machine.stack[-1], items)


def _extend(made: Any, items: list[Any]) -> None:
    if isinstance(made, Record):
        made.items = made.items or []
        made.items.extend(items)
    elif isinstance(made, list):
        made.extend(items)
    elif not isinstance(made, LeftOut):
        raise PickleError("it appends to what is no list")


def _setitem(machine: Machine) -> None:
    value, key = machine.stack.pop(), machine.stack.pop()
    _set(machine.stack[-1], [key, value])


def _setitems(machine: Machine) -> None:
    items = machine.pop_mark()
    _set(machine.stack[-1], items)


def _set(made: Any, items: list[Any]) -> None:
    if isinstance(made, Record):
        made.entries = {} if made.entries is None else made.entries
        made = made.entries
    if isinstance(made, dict):
        made.update(_pairs(items))
    elif not isinstance(made, LeftOut):
        raise PickleError("it sets entries of what is no mapping")


def _pairs(items: list[Any]) -> list[tuple[Any, Any]]:
    if len(items) % 2:
        raise PickleError("a key without a value")
    return [(key_of(key), value) for key, value in zip(items[::2], items[1::2], strict=True)]


def _additems(machine: Machine) -> None:
    items = machine.pop_mark()
    made = machine.stack[-1]
    if isinstance(made, set):
        made.update(map(key_of, items))
    else:
        _extend(made, items)


def _pop(machine: Machine) -> None:
    if machine.stack:
        machine.stack.pop()
    else:
        machine.pop_mark()


def _pop_mark(machine: Machine) -> None:
    machine.pop_mark()


def _frame(machine: Machine) -> None:
    machine.reader.take(8)  # how much may be read at once


def _mark(machine: Machine) -> None:
    machine.charge(1)
    machine.marks.append(machine.stack)
    machine.stack = []


def _tuple(machine: Machine, size: int) -> None:
    if len(machine.stack) < size:
        raise PickleError("a tuple of more than there is")
    items = tuple(machine.stack[-size:])
    del machine.stack[-size:]
    machine.push(items)


def _persistent(machine: Machine, saved: Any) -> None:
    answer = machine.persistent
    machine.push(answer(saved) if answer else Record("what lies outside the pickle", (saved,)))


def _protocol(machine: Machine) -> None:
    version = machine.reader.number(1)
    if version not in PROTOCOLS:
        raise PickleError(f"protocol {version} is not known")


def _put(machine: Machine, number: int) -> None:
    machine.memo[number] = machine.stack[-1]


def _get(machine: Machine, number: int) -> None:
    if number not in machine.memo:
        raise PickleError(f"it recalls entry {number:,}, which it never kept")
    machine.stack.append(machine.memo[number])


def _stop(machine: Machine) -> None:
    raise _Stop


def _outside(machine: Machine) -> None:
    machine.push(LeftOut("its values were kept outside the pickle (a buffer of protocol 5)"))


_Action = Callable[[Machine], None]


def _sized(action: Callable[[Machine, int], None], width: int) -> _Action:
    return lambda machine: action(machine, machine.reader.number(width))


def _run(machine: Machine, size: int) -> None:
    machine.stack.append(machine.reader.run(size))


_BY_LETTER: dict[str, _Action] = {
    "I": _integer_line,
    "J": lambda m: m.stack.append(int.from_bytes(m.reader.take(4), "little", signed=True)),
    "K": lambda m: m.stack.append(m.reader.number(1)),
    "M": lambda m: m.stack.append(m.reader.number(2)),
    "L": lambda m: m.stack.append(_parsed(m.reader.line())),
    "\x8a": _sized(_long, 1),
    "\x8b": _sized(_long, 4),
    "S": _string,
    "T": _sized(_old_string, 4),
    "U": _sized(_old_string, 1),
    "B": _sized(_run, 4),
    "C": _sized(_run, 1),
    "\x8e": _sized(_run, 8),
    "\x96": _sized(_run, 8),
    "\x97": _outside,
    "\x98": lambda m: None,
    "N": lambda m: m.stack.append(None),
    "\x88": lambda m: m.stack.append(True),
    "\x89": lambda m: m.stack.append(False),
    "V": lambda m: m.stack.append(m.reader.line().decode("raw-unicode-escape")),
    "\x8c": _sized(_unicode, 1),
    "X": _sized(_unicode, 4),
    "\x8d": _sized(_unicode, 8),
    "F": lambda m: m.stack.append(float(m.reader.line())),
    "G": lambda m: m.stack.append(struct.unpack(">d", m.reader.take(8))[0]),
    "]": lambda m: m.push([]),
    "a": _append,
    "e": _appends,
    "l": lambda m: m.push(m.pop_mark()),
    ")": lambda m: m.stack.append(()),
    "t": lambda m: m.push(tuple(m.pop_mark())),
    "\x85": lambda m: _tuple(m, 1),
    "\x86": lambda m: _tuple(m, 2),
    "\x87": lambda m: _tuple(m, 3),
    "}": lambda m: m.push({}),
    "d": lambda m: m.push(dict(_pairs(m.pop_mark()))),
    "s": _setitem,
    "u": _setitems,
    "\x8f": lambda m: m.push(set()),
    "\x90": _additems,
    "\x91": lambda m: m.push(frozenset(map(key_of, m.pop_mark()))),
    "0": _pop,
    "2": lambda m: m.stack.append(m.stack[-1]),
    "(": _mark,
    "1": _pop_mark,
    "g": lambda m: _get(m, _parsed(m.reader.line())),
    "h": _sized(_get, 1),
    "j": _sized(_get, 4),
    "p": lambda m: _put(m, _parsed(m.reader.line())),
    "q": _sized(_put, 1),
    "r": _sized(_put, 4),
    "\x94": lambda m: _put(m, len(m.memo)),
    "\x82": lambda m: _extension(m, 1),
    "\x83": lambda m: _extension(m, 2),
    "\x84": lambda m: _extension(m, 4),
    "c": _global,
    "\x93": _stack_global,
    "R": _reduce,
    "b": _build,
    "i": _inst,
    "o": _obj,
    "\x81": _newobj,
    "\x92": _newobj_ex,
    "\x80": _protocol,
    ".": _stop,
    "\x95": _frame,
    "P": lambda m: _persistent(m, m.reader.line().decode()),
    "Q": lambda m: _persistent(m, m.stack.pop()),
}

_ACTIONS = {ord(letter): action for letter, action in _BY_LETTER.items()}
