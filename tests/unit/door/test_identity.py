"""The id hash is the published SipHash-2-4-128, for one text and for columns alike."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fraudloop.door import identity
from fraudloop.door.identity import DEFAULT_KEY, hash_column, hash_text
from fraudloop.errors import InputError

#: `vectors_sip128` of the reference implementation (Aumasson and Bernstein, CC0): entry n is the hash of the bytes
#: 0, 1, ... n - 1 under the key 00 01 ... 0f, as its 16 bytes.
VECTORS = """
a3817f04ba25a8e66df67214c7550293 da87c1d86b99af44347659119b22fc45 8177228da4a45dc7fca38bdef60affe4
9c70b60c5267a94e5f33b6b02985ed51 f88164c12d9c8faf7d0f6e7c7bcd5579 1368875980776f8854527a07690e9627
14eeca338b208613485ea0308fd7a15e a1f1ebbed8dbc153c0b84aa61ff08239 3b62a9ba6258f5610f83e264f31497b4
264499060ad9baabc47f8b02bb6d71ed 00110dc378146956c95447d3f3d0fbba 0151c568386b6677a2b4dc6f81e5dc18
d626b266905ef35882634df68532c125 9869e247e9c08b10d029934fc4b952f7 31fcefac66d7de9c7ec7485fe4494902
5493e99933b0a8117e08ec0f97cfc3d9 6ee2a4ca67b054bbfd3315bf85230577 473d06e8738db89854c066c47ae47740
a426e5e423bf4885294da481feaef723 78017731cf65fab074d5208952512eb1 9e25fc833f2290733e9344a5e83839eb
568e495abe525a218a2214cd3e071d12 4a29b54552d16b9a469c10528eff0aae c9d184ddd5a9f5e0cf8ce29a9abf691c
2db479ae78bd50d8882a8a178a6132ad 8ece5f042d5e447b5051b9eacb8d8f6f 9c0b53b4b3c307e87eaee08678141f66
abf248af69a6eae4bfd3eb2f129eeb94 0664da1668574b88b935f3027358aef4 aa4b9dc4bf337de90cd4fd3c467c6ab7
ea5c7f471faf6bde2b1ad7d4686d2287 2939b0183223fafc1723de4f52c43d35 7c3956ca5eeafc3e363e9d556546eb68
77c6077146f01c32b6b69d5f4ea9ffcf 37a6986cb8847edf0925f0f1309b54de a705f0e69da9a8f907241a2e923c8cc8
3dc47d1f29c448461e9e76ed904f6711 0d62bf01e6fc0e1a0d3c4751c5d3692b 8c03468bca7c669ee4fd5e084bbee7b5
528a5bb93baf2c9c4473cce5d0d22bd9 df6a301e95c95dad97ae0cc8c6913bd8 801189902c857f39e73591285e70b6db
e617346ac9c231bb3650ae34ccca0c5b 27d93437efb721aa401821dcec5adf89 89237d9ded9c5e78d8b1c9b166cc7342
4a6d8091bf5e7d651189fa94a250b14c 0e33f96055e7ae893ffc0e3dcf492902 e61c432b720b19d18ec8d84bdc63151b
f7e5aef549f782cf379055a608269b16 438d030fd0b7a54fa837f2ad201a6403 a590d3ee4fbf04e3247e0d27f286423f
5fe2c1a172fe93c4b15cd37caef9f538 2c97325cbd06b36eb2133dd08b3a017c 92c814227a6bca949ff0659f002ad39e
dce850110bd8328cfbd50841d6911d87 67f14984c7da791248e32bb5922583da 1938f2cf72d54ee97e94166fa91d2a36
74481e9646ed49fe0f6224301604698e 57fca5de98a9d6d8006438d0583d8a1d 9fecde1cefdc1cbed4763674d9575359
e3040c00eb28f15366ca73cbd872e740 7697009a6a831dfecca91c5993670f7a 5853542321f567a005d547a4f04759bd
5150d1772f50834a503e069a973fbd7c
""".split()  # noqa: SIM905  (a table is read more easily than 64 quoted lines)
KEY = bytes(range(16))
TEXT = st.text(max_size=40)


def as_bytes(words: tuple[int, int]) -> str:
    return b"".join(word.to_bytes(8, "little") for word in words).hex()


@pytest.mark.parametrize("length", range(64))
def test_published_vectors(length: int) -> None:
    text = "".join(chr(i) for i in range(length))
    assert as_bytes(hash_text(text, KEY)) == VECTORS[length]
    assert as_bytes(tuple(hash_column(pl.Series([text]), KEY)[0].tolist())) == VECTORS[length]


@given(st.lists(st.none() | TEXT))
def test_a_column_hashes_as_its_texts_one_by_one(texts: list[str | None]) -> None:
    column = hash_column(pl.Series("id", texts, pl.String), KEY)
    assert column.dtype == np.uint64
    assert [tuple(row) for row in column.tolist()] == [hash_text(text, KEY) for text in texts]


@given(st.lists(st.none() | TEXT, min_size=4), st.integers(0, 3), st.integers(0, 3))
def test_a_slice_and_a_column_in_pieces_hash_alike(texts: list[str | None], start: int, cut: int) -> None:
    whole = pl.Series("id", texts, pl.String)
    pieces = pl.concat([whole[:cut], whole[cut:]], rechunk=False)
    assert np.array_equal(hash_column(pieces[start:]), hash_column(whole)[start:])


def test_null_is_zero_and_empty_text_is_not() -> None:
    assert hash_column(pl.Series([None, ""], dtype=pl.String)).tolist() == [[0, 0], list(hash_text(""))]
    assert hash_text("") != (0, 0)
    assert hash_column(pl.Series([None, None])).tolist() == [[0, 0], [0, 0]]


def test_empty_column() -> None:
    assert hash_column(pl.Series([], dtype=pl.String)).shape == (0, 2)


@pytest.mark.parametrize("last", [0, 5])
def test_a_hash_of_zero_is_told_from_null(monkeypatch: pytest.MonkeyPatch, last: int) -> None:
    """No text with such a hash is known, so the rounds are replaced by ones that end in it."""
    monkeypatch.setattr(
        identity, "_round", lambda v0, v1, v2, v3: (v0 & np.uint64(0), v0 & np.uint64(0), v0 & np.uint64(0), np.uint64(last))
    )
    plain: Any = identity._hash_bytes
    first, second = plain.py_func(np.frombuffer(b"", np.uint8), 0, 0, np.uint64(0), np.uint64(0))
    assert (int(first), int(second)) == ((0, 1) if last == 0 else (5, 5))


@given(TEXT, TEXT)
def test_different_texts_and_keys_have_different_hashes(a: str, b: str) -> None:
    assert (hash_text(a) == hash_text(b)) == (a == b)
    assert hash_text(a, KEY) != hash_text(a)


def test_truth_values_and_categories_hash_as_their_text() -> None:
    assert [tuple(r) for r in hash_column(pl.Series([True, False, None])).tolist()] == [hash_text("true"), hash_text("false"), (0, 0)]
    assert tuple(hash_column(pl.Series(["web"], dtype=pl.Categorical))[0].tolist()) == hash_text("web")
    assert tuple(hash_column(pl.Series(["web"], dtype=pl.Enum(["web"])))[0].tolist()) == hash_text("web")


def test_numbers_are_refused_because_their_text_is_not_known() -> None:
    with pytest.raises(InputError, match="'customer_id' is Int64, not text"):
        hash_column(pl.Series("customer_id", [1]))


def test_a_key_of_another_length_is_refused() -> None:
    with pytest.raises(InputError, match="has 3 bytes; give 16"):
        hash_text("a", b"abc")


def test_the_default_key_gives_the_same_ids_for_ever() -> None:
    assert len(DEFAULT_KEY) == 16
    assert as_bytes(hash_text("C0042")) == "b3588b530bb4ec52f6bbd80ffa504471"


def test_warming_leaves_nothing_to_compile() -> None:
    identity.warm()
    kernels: tuple[Any, ...] = (identity._hash_one, identity._hash_many)
    before = [len(kernel.signatures) for kernel in kernels]
    hash_text("C0042")
    hash_column(pl.Series(["C0042", None]))
    hash_column(pl.Series([None, None], dtype=pl.String))
    hash_column(pl.Series(["C0042"]))
    assert [len(kernel.signatures) for kernel in kernels] == before
