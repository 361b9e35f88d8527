"""Ids and categories as 128-bit keyed hashes: what the fold knows of a customer is a key, never a name.

SipHash-2-4 with 128 bits of output (Aumasson and Bernstein, 2012; the reference implementation's `siphash.c`) over
the UTF-8 bytes of the text. It is keyed, so that nobody outside can choose ids that collide. It knows no entity:
keeping customers apart from merchants of the same name is the matter of whoever keeps the state.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from fraudloop.compiled import njit
from fraudloop.errors import InputError
from fraudloop.settings import DEFAULT_HASH_KEY

if TYPE_CHECKING:
    import polars as pl

#: The key used where none is given. It is public: it makes results repeatable, and a service that hashes ids of
#: strangers sets its own.
DEFAULT_KEY: Final = DEFAULT_HASH_KEY

#: The hash of null. A text whose hash would be this gets (0, 1).
NULL: Final = (0, 0)

_0: Final = np.uint64(0)
_1: Final = np.uint64(1)
_8: Final = np.uint64(8)
_13: Final = np.uint64(13)
_16: Final = np.uint64(16)
_17: Final = np.uint64(17)
_21: Final = np.uint64(21)
_24: Final = np.uint64(24)
_32: Final = np.uint64(32)
_40: Final = np.uint64(40)
_43: Final = np.uint64(43)
_47: Final = np.uint64(47)
_48: Final = np.uint64(48)
_51: Final = np.uint64(51)
_56: Final = np.uint64(56)
_DD: Final = np.uint64(0xDD)
_EE: Final = np.uint64(0xEE)
_INIT0: Final = np.uint64(0x736F6D6570736575)
_INIT1: Final = np.uint64(0x646F72616E646F6D)
_INIT2: Final = np.uint64(0x6C7967656E657261)
_INIT3: Final = np.uint64(0x7465646279746573)


@njit
def _round(v0: Any, v1: Any, v2: Any, v3: Any) -> Any:
    v0 = v0 + v1
    v1 = ((v1 << _13) | (v1 >> _51)) ^ v0
    v0 = (v0 << _32) | (v0 >> _32)
    v2 = v2 + v3
    v3 = ((v3 << _16) | (v3 >> _48)) ^ v2
    v0 = v0 + v3
    v3 = ((v3 << _21) | (v3 >> _43)) ^ v0
    v2 = v2 + v1
    v1 = ((v1 << _17) | (v1 >> _47)) ^ v2
    v2 = (v2 << _32) | (v2 >> _32)
    return v0, v1, v2, v3


@njit
def _hash_bytes(data: Any, start: Any, end: Any, k0: Any, k1: Any) -> Any:
    v0 = k0 ^ _INIT0
    v1 = k1 ^ _INIT1 ^ _EE
    v2 = k0 ^ _INIT2
    v3 = k1 ^ _INIT3
    length = end - start
    at = start
    for _ in range(length // 8):
        m = (
            np.uint64(data[at])
            | (np.uint64(data[at + 1]) << _8)
            | (np.uint64(data[at + 2]) << _16)
            | (np.uint64(data[at + 3]) << _24)
            | (np.uint64(data[at + 4]) << _32)
            | (np.uint64(data[at + 5]) << _40)
            | (np.uint64(data[at + 6]) << _48)
            | (np.uint64(data[at + 7]) << _56)
        )
        v3 = v3 ^ m
        v0, v1, v2, v3 = _round(v0, v1, v2, v3)
        v0, v1, v2, v3 = _round(v0, v1, v2, v3)
        v0 = v0 ^ m
        at += 8
    m = np.uint64(length) << _56
    shift = _0
    while at < end:
        m = m | (np.uint64(data[at]) << shift)
        shift = shift + _8
        at += 1
    v3 = v3 ^ m
    v0, v1, v2, v3 = _round(v0, v1, v2, v3)
    v0, v1, v2, v3 = _round(v0, v1, v2, v3)
    v0 = v0 ^ m
    v2 = v2 ^ _EE
    for _ in range(4):
        v0, v1, v2, v3 = _round(v0, v1, v2, v3)
    first = v0 ^ v1 ^ v2 ^ v3
    v1 = v1 ^ _DD
    for _ in range(4):
        v0, v1, v2, v3 = _round(v0, v1, v2, v3)
    second = v0 ^ v1 ^ v2 ^ v3
    if first == _0 and second == _0:
        second = _1
    return first, second


@njit
def _hash_one(data: Any, k0: Any, k1: Any) -> Any:
    return _hash_bytes(data, 0, len(data), k0, k1)


@njit
def _hash_many(data: Any, offsets: Any, null: Any, k0: Any, k1: Any, out: Any) -> None:
    """Hash text i, which is data[offsets[i]:offsets[i + 1]], into out[i]; an empty `null` means that none is."""
    nulls = len(null) > 0
    for i in range(len(offsets) - 1):
        if nulls and null[i]:
            out[i, 0] = _0
            out[i, 1] = _0
        else:
            first, second = _hash_bytes(data, offsets[i], offsets[i + 1], k0, k1)
            out[i, 0] = first
            out[i, 1] = second


@njit
def _hash_columns(data: Any, lengths: Any, columns: Any, k0: Any, k1: Any, out: Any) -> None:
    """Hash texts that follow one another in `data`, column by column, into `out[:, column]`; a length of -1 is null."""
    n = len(out)
    start = 0
    for c in range(len(columns)):
        for i in range(n):
            length = lengths[c * n + i]
            if length >= 0:
                first, second = _hash_bytes(data, start, start + length, k0, k1)
                out[i, columns[c], 0] = first
                out[i, columns[c], 1] = second
                start += length


def hash_text(text: str | None, key: bytes = DEFAULT_KEY) -> tuple[int, int]:
    """The two 64-bit words of the hash of one text; (0, 0) for None. `key` is 16 bytes.

    >>> hash_text("C0042") == hash_text("C0042"), hash_text("C0042") == hash_text("c0042"), hash_text(None)
    (True, False, (0, 0))
    """
    if text is None:
        return NULL
    first, second = _hash_one(np.frombuffer(text.encode("utf-8", "surrogatepass"), np.uint8), *_halves(key))
    return int(first), int(second)


def hash_texts(texts: Sequence[str | None], key: bytes = DEFAULT_KEY) -> NDArray[np.uint64]:
    """The hashes of some texts: uint64 [n, 2], (0, 0) for None. Equal to `hash_text` of each.

    >>> hash_texts(["C0042", None])[0].tolist() == list(hash_text("C0042"))
    True
    """
    return hash_columns([texts], key).reshape(len(texts), 2)


def hash_columns(columns: Sequence[Sequence[str | None]], key: bytes = DEFAULT_KEY) -> NDArray[np.uint64]:
    """The hashes of columns of n texts each: uint64 [n, columns, 2], (0, 0) for None. TypeError for what is no text.

    >>> hash_columns([["C0042", None], ["M1", "M2"]]).shape
    (2, 2, 2)
    """
    n = len(columns[0])
    out = np.zeros((n, len(columns), 2), np.uint64)
    texts: list[Any] = []
    lengths: list[int] = []
    given = array("q")
    for at, column in enumerate(columns):
        if not any(column) and column.count(None) == n:
            continue
        given.append(at)
        try:
            lengths += [*map(len, column)]  # type: ignore[arg-type]
            texts += column
        except TypeError:
            lengths += [-1 if text is None else len(text) for text in column]
            texts += [text for text in column if text is not None]
    if not texts:
        return out
    joined = "".join(texts)
    if joined.isascii():
        # One byte a character: the lengths of the texts are those of their bytes.
        data = joined.encode()
    else:
        data = joined.encode("utf-8", "surrogatepass")
        of_texts = iter(texts)
        lengths = [length if length < 0 else len(next(of_texts).encode("utf-8", "surrogatepass")) for length in lengths]
    _hash_columns(
        np.frombuffer(data or b"\0", np.uint8),
        np.frombuffer(array("q", lengths), np.int64),
        np.frombuffer(given, np.int64),
        *_halves(key),
        out,
    )
    return out


def hash_column(column: pl.Series, key: bytes = DEFAULT_KEY) -> NDArray[np.uint64]:
    """The hashes of a text column of polars: uint64 [n, 2], (0, 0) where null. Equal to `hash_text` of each value.

    Truth values hash as the texts `true` and `false`, categories as their text. Numbers are refused (InputError):
    how an id is written (1 or 01 or 1.0) is for the column map to say.

    >>> import polars as pl
    >>> bool((hash_column(pl.Series(["C0042"]))[0] == hash_text("C0042")).all())
    True
    """
    import polars as pl

    if column.dtype == pl.Null or column.dtype == pl.Boolean or column.dtype in (pl.Categorical, pl.Enum):
        column = column.cast(pl.String)
    if column.dtype != pl.String:
        raise InputError(f"column {column.name!r} is {column.dtype}, not text; map it as an id or category, so that it is read as text")
    out = np.empty((len(column), 2), np.uint64)
    if len(column) == 0:
        return out
    arrow = column.rechunk().to_arrow()
    _, offsets, data = arrow.buffers()
    every = np.frombuffer(offsets, np.int64)[arrow.offset : arrow.offset + len(column) + 1]
    text = np.frombuffer(data if data is not None and data.size else b"\0", np.uint8)
    null = column.is_null().to_numpy() if column.null_count() else np.zeros(0, np.bool_)
    _hash_many(text, every, _frozen(null), *_halves(key), out)
    return out


def _frozen(array: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """A view that cannot be written, so that the kernel is compiled for one kind of array only."""
    view = array.view()
    view.flags.writeable = False
    return view


@lru_cache(maxsize=16)
def _halves(key: bytes) -> tuple[np.uint64, np.uint64]:
    if len(key) != 16:
        raise InputError(f"the key of the id hash has {len(key)} bytes; give 16")
    return np.uint64(int.from_bytes(key[:8], "little")), np.uint64(int.from_bytes(key[8:], "little"))


def warm() -> None:
    """Run every kernel once, in the shapes that are used."""
    hash_text("")
    hash_texts(["warm", None])
    offsets = np.frombuffer(np.array([0, 4], np.int64).tobytes(), np.int64)
    _hash_many(
        np.frombuffer(b"warm", np.uint8), offsets, _frozen(np.zeros(0, np.bool_)), *_halves(DEFAULT_KEY), np.empty((1, 2), np.uint64)
    )
