"""Pickles from strangers. A pickle is a program: this reader runs only what builds numbers, texts, plain containers and NumPy arrays."""

import collections
import io
import pickle
from pathlib import Path
from typing import Any

import numpy as np

from invgraphics.datasets.files import read_bytes
from invgraphics.errors import InputError


def _encode_latin1(text: str, encoding: str) -> bytes:
    """How pickles before protocol 3 write bytes."""
    if encoding not in ("latin1", "latin-1"):
        raise pickle.UnpicklingError(f"bytes are encoded as {encoding!r}")
    return text.encode("latin1")


_ALLOWED = {
    ("numpy", "dtype"): np.dtype,
    ("numpy", "ndarray"): np.ndarray,
    ("numpy._core.multiarray", "_reconstruct"): np._core.multiarray._reconstruct,
    ("numpy._core.multiarray", "scalar"): np._core.multiarray.scalar,
    ("numpy._core.numeric", "_frombuffer"): np._core.numeric._frombuffer,
    ("collections", "OrderedDict"): collections.OrderedDict,
    ("builtins", "complex"): complex,
    ("builtins", "set"): set,
    ("builtins", "frozenset"): frozenset,
    ("builtins", "bytearray"): bytearray,
    ("_codecs", "encode"): _encode_latin1,
}
"""All that may be called, by the name in the file: none of it runs code, opens files or imports. Lists, tuples and dicts need no call."""
_DAMAGED = (
    pickle.UnpicklingError,
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    EOFError,
    OverflowError,
    MemoryError,
    RecursionError,
    ImportError,
)


class _NotPlainError(pickle.UnpicklingError):
    """The pickle names something that is not plain data."""


class _PlainUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        # NumPy 1 wrote numpy.core where NumPy 2 writes numpy._core; Python 2 wrote __builtin__.
        module = {"__builtin__": "builtins"}.get(module, module.replace("numpy.core.", "numpy._core.", 1))
        if (module, name) not in _ALLOWED:
            raise _NotPlainError(f"{module}.{name}")
        return _ALLOWED[module, name]

    def persistent_load(self, pid: Any) -> Any:
        raise _NotPlainError("persistent references")


def load_plain_pickle(path: Path) -> Any:
    """The content of a pickle file that holds numbers, texts, lists, tuples, dicts, sets and NumPy arrays of numbers, and nothing else.

    Raises:
        InputError: there is no such file, it is damaged, or it asks for anything else; nothing of that has been run.
    """
    try:
        content = _PlainUnpickler(io.BytesIO(read_bytes(path))).load()
    except _NotPlainError as error:
        raise InputError(
            f"{path} asks for {error}, which plain data has no need of; it must hold numbers, texts and arrays only"
        ) from error
    except _DAMAGED as error:
        raise InputError(f"{path} is not a pickle that can be read: {type(error).__name__}: {error}") from error
    _require_plain(content, path)
    return content


def _require_plain(content: Any, path: Path) -> None:
    """`InputError` where an array holds Python objects, or where what may be called was handed over uncalled."""
    stack, seen = [content], set()
    while stack:
        value = stack.pop()
        if id(value) in seen:
            continue
        seen.add(id(value))
        if isinstance(value, np.ndarray) and value.dtype.hasobject:
            raise InputError(f"{path} holds an array of Python objects; its arrays must hold numbers")
        if isinstance(value, type) or callable(value):
            raise InputError(f"{path} holds a {type(value).__name__}, which is not data; it must hold numbers, texts and arrays only")
        if isinstance(value, dict):
            stack += [*value.keys(), *value.values()]
        elif isinstance(value, list | tuple | set | frozenset):
            stack += list(value)
