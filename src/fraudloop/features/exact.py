"""Exact arithmetic for the kernel: 128-bit running sums and correctly rounded quotients of them.

A mean is S / (n 10^s) and a variance D / (n (n-1) 10^2s) with D = n Q - S^2, each rounded once to the nearest float64,
ties to even: the value that Python's own `int / int` gives. Only integers and IEEE operations; knows no event.
"""

from __future__ import annotations

from math import sqrt
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic, register_jitable

_TWO_32 = 4294967296.0
_TWO_64 = 18446744073709551616.0
_EXACT = 9007199254740992  # 2**53: integers up to here are exact as float64


@intrinsic
def multiply_high(typing_context: Any, a: Any, b: Any) -> Any:
    """High 64 bits of the 128-bit product of two uint64."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        wide = ir.IntType(128)
        product = builder.mul(builder.zext(args[0], wide), builder.zext(args[1], wide))
        return builder.trunc(builder.lshr(product, wide(64)), ir.IntType(64))

    return types.uint64(types.uint64, types.uint64), generate


@register_jitable(inline="never")
def add_wide(lo: int, hi: int, v: int) -> tuple[Any, Any]:
    """(lo, hi) + v for a signed 128-bit (lo, hi) of two int64 words and an int64 v."""
    total = np.uint64(lo) + np.uint64(v)
    carry = np.int64(1) if total < np.uint64(lo) else np.int64(0)
    return np.int64(total), hi + (v >> 63) + carry


@register_jitable
def square(v: int) -> tuple[Any, Any]:
    """v * v as two int64 words, low and high; |v| < 2**63."""
    u = np.uint64(v if v >= 0 else -v)
    return np.int64(u * u), np.int64(multiply_high(u, u))


@register_jitable
def _to_float(hi: int, lo: int) -> Any:
    return float(np.uint64(hi)) * _TWO_64 + float(np.uint64(lo))


@register_jitable
def quotient(hi: int, lo: int, den: int) -> Any:
    """The float64 nearest to (hi 2^64 + lo) / den for unsigned hi, lo (uint64, value < 2^126) and 0 < den < 2^62."""
    if hi == np.uint64(0) and lo <= np.uint64(_EXACT) and den <= np.uint64(_EXACT):
        return float(np.int64(lo)) / float(np.int64(den))
    if hi == np.uint64(0) and lo == np.uint64(0):
        return 0.0
    guess = _to_float(hi, lo) / float(den)
    # guess = m 2^e with 2^52 <= m < 2^53, within a few units of m of the true quotient.
    m, e = _split(guess)
    while True:
        # r = value 2^-e - m den, exactly, as a signed 128-bit number: |r| is a few den at most.
        if e <= 0:
            vhi, vlo = _shift_left(hi, lo, np.uint64(-e))
            phi, plo = multiply_high(m, den), m * den
            step_hi, step_lo = np.uint64(0), den
        else:
            vhi, vlo = hi, lo
            phi, plo = _shift_left(multiply_high(m, den), m * den, np.uint64(e))
            step_hi, step_lo = _shift_left(np.uint64(0), den, np.uint64(e))
        below = vhi < phi or (vhi == phi and vlo < plo)
        if below:
            rhi, rlo = _subtract(phi, plo, vhi, vlo)
        else:
            rhi, rlo = _subtract(vhi, vlo, phi, plo)
        if below and m == np.uint64(1 << 52):
            m, e = m * np.uint64(2), e - 1  # the grid below a power of two is twice as fine
            continue
        dhi, dlo = _shift_left(rhi, rlo, np.uint64(1))
        more = dhi > step_hi or (dhi == step_hi and dlo > step_lo)
        tie = dhi == step_hi and dlo == step_lo
        if more or (tie and (m & np.uint64(1)) == np.uint64(1)):
            m = m - np.uint64(1) if below else m + np.uint64(1)
            if more:
                continue
        return _scale(float(np.int64(m)), e)


@register_jitable
def _split(x: float) -> tuple[Any, Any]:
    """x = m 2^e with m in [2^52, 2^53); x is positive and normal."""
    e = np.int64(0)
    while x >= 9007199254740992.0 * 1024.0:
        x, e = x / 1024.0, e + 10
    while x >= 9007199254740992.0:
        x, e = x / 2.0, e + 1
    while x < 4503599627370496.0 / 4294967296.0:
        x, e = x * 4294967296.0, e - 32
    while x < 4503599627370496.0 / 256.0:
        x, e = x * 256.0, e - 8
    while x < 4503599627370496.0:
        x, e = x * 2.0, e - 1
    return np.uint64(np.int64(x)), e


@register_jitable
def _scale(x: float, e: int) -> Any:
    while e >= 32:
        x, e = x * _TWO_32, e - 32
    while e <= -32:
        x, e = x / _TWO_32, e + 32
    while e > 0:
        x, e = x * 2.0, e - 1
    while e < 0:
        x, e = x / 2.0, e + 1
    return x


@register_jitable
def _shift_left(hi: int, lo: int, by: int) -> tuple[Any, Any]:
    if by == np.uint64(0):
        return hi, lo
    if by >= np.uint64(64):
        return lo << (by - np.uint64(64)), np.uint64(0)
    return (hi << by) | (lo >> (np.uint64(64) - by)), lo << by


@register_jitable
def _subtract(ahi: int, alo: int, bhi: int, blo: int) -> tuple[Any, Any]:
    return ahi - bhi - (np.uint64(1) if alo < blo else np.uint64(0)), alo - blo


@register_jitable
def ratio(lo: int, hi: int, den: int) -> Any:
    """The float64 nearest to the signed 128-bit (lo, hi) / den, |value| < 2^126, 0 < den < 2^62."""
    if hi >= 0:
        return quotient(np.uint64(hi), np.uint64(lo), np.uint64(den))
    nhi, nlo = _subtract(np.uint64(0), np.uint64(0), np.uint64(hi), np.uint64(lo))
    return -quotient(nhi, nlo, np.uint64(den))


@register_jitable
def deviation(n: int, slo: int, shi: int, qlo: int, qhi: int, power: int) -> Any:
    """Sample standard deviation sqrt(D / (n (n-1) power^2)), D = n Q - S^2, of n >= 2 values in units of 1 / power.

    S is the signed 128-bit (slo, shi), Q the unsigned (qlo, qhi). The quotient is rounded once, the root once.
    """
    small = (shi == 0 and slo < 2147483648 and slo >= 0) or (shi == -1 and slo > -2147483648 and slo < 0)
    if small and qhi == 0 and qlo >= 0 and qlo < _EXACT // n and n < 1048576 and power <= 10000:
        d = n * qlo - slo * slo
        if d < _EXACT and d >= 0:
            den = n * (n - 1) * power * power
            if den < _EXACT:
                return sqrt(float(d) / float(den))
    fits = (shi == 0 and slo >= 0) or (shi == -1 and slo < 0)
    if fits and qhi >= 0 and qhi < 1099511627776 and n < 65537 and power <= 10000:
        qh, ql = multiply_high(np.uint64(n), np.uint64(qlo)) + np.uint64(n) * np.uint64(qhi), np.uint64(n) * np.uint64(qlo)
        s = np.uint64(slo if slo >= 0 else -slo)
        dh, dl = _subtract(qh, ql, multiply_high(s, s), s * s)
        return sqrt(quotient(dh, dl, np.uint64(n * (n - 1) * power * power)))
    return _deviation_wide(n, slo, shi, qlo, qhi, power)


@register_jitable(inline="never")
def _deviation_wide(n: int, slo: int, shi: int, qlo: int, qhi: int, power: int) -> Any:
    """The same in 32-bit limbs for any size: 320 bits above, 256 below; long division bit by bit. Rare and slow."""
    s = np.zeros(10, dtype=np.uint64)
    q = np.zeros(10, dtype=np.uint64)
    sh, sl = np.uint64(shi), np.uint64(slo)
    if shi < 0:
        sh, sl = _subtract(np.uint64(0), np.uint64(0), sh, sl)
    _put(s, sl, sh)
    _put(q, np.uint64(qlo), np.uint64(qhi))
    count = np.zeros(10, dtype=np.uint64)
    _put(count, np.uint64(n), np.uint64(0))
    top = _multiply(q, count)
    s2 = _multiply(s, s)
    borrow = np.int64(0)
    for i in range(10):
        v = np.int64(top[i]) - np.int64(s2[i]) - borrow
        borrow = np.int64(1) if v < 0 else np.int64(0)
        top[i] = np.uint64(v + 4294967296 if v < 0 else v)
    bottom = _multiply(count, count)
    _put(count, np.uint64(n), np.uint64(0))
    low = np.zeros(10, dtype=np.uint64)
    _put(low, np.uint64(n - 1), np.uint64(0))
    bottom = _multiply(count, low)
    for _ in range(2):
        _put(low, np.uint64(power), np.uint64(0))
        bottom = _multiply(bottom, low)
    return sqrt(_divide(top, bottom))


@register_jitable
def _put(limbs: Any, lo: int, hi: int) -> None:
    mask = np.uint64(0xFFFFFFFF)
    for i in range(len(limbs)):
        limbs[i] = np.uint64(0)
    limbs[0], limbs[1], limbs[2], limbs[3] = lo & mask, lo >> np.uint64(32), hi & mask, hi >> np.uint64(32)


@register_jitable
def _multiply(a: Any, b: Any) -> Any:
    out = np.zeros(10, dtype=np.uint64)
    for i in range(10):
        carry = np.uint64(0)
        for j in range(10 - i):
            v = out[i + j] + a[i] * b[j] + carry
            out[i + j] = v & np.uint64(0xFFFFFFFF)
            carry = v >> np.uint64(32)
    return out


@register_jitable
def _bits(a: Any) -> Any:
    for i in range(9, -1, -1):
        if a[i] != np.uint64(0):
            n = np.int64(0)
            v = a[i]
            while v != np.uint64(0):
                v >>= np.uint64(1)
                n += 1
            return 32 * i + n
    return np.int64(0)


@register_jitable
def _bit(a: Any, i: int) -> Any:
    return (a[i // 32] >> np.uint64(i % 32)) & np.uint64(1)


@register_jitable
def _divide(top: Any, bottom: Any) -> Any:
    """Nearest float64 of top / bottom in 32-bit limbs, ties to even; 0 for top 0."""
    n = _bits(top)
    if n == 0:
        return 0.0
    # Long division with as many zero bits below the top as give 55 bits of quotient and a remainder to round by.
    extra = 60 + _bits(bottom) - n
    if extra < 0:
        extra = np.int64(0)
    rest = np.zeros(10, dtype=np.uint64)
    m = np.uint64(0)
    e = -extra
    sticky = False
    for i in range(n - 1 + extra, -1, -1):
        carry = _bit(top, i - extra) if i >= extra else np.uint64(0)
        for j in range(10):
            v = (rest[j] << np.uint64(1)) | carry
            rest[j] = v & np.uint64(0xFFFFFFFF)
            carry = v >> np.uint64(32)
        enough = True
        for j in range(9, -1, -1):
            if rest[j] != bottom[j]:
                enough = rest[j] > bottom[j]
                break
        if enough:
            borrow = np.int64(0)
            for j in range(10):
                w = np.int64(rest[j]) - np.int64(bottom[j]) - borrow
                borrow = np.int64(1) if w < 0 else np.int64(0)
                rest[j] = np.uint64(w + 4294967296 if w < 0 else w)
        if m >= np.uint64(1 << 62):
            sticky = sticky or enough
            e += 1
        else:
            m = (m << np.uint64(1)) | (np.uint64(1) if enough else np.uint64(0))
    for j in range(10):
        sticky = sticky or rest[j] != np.uint64(0)
    while m >= np.uint64(1 << 55):
        sticky = sticky or (m & np.uint64(1)) != np.uint64(0)
        m >>= np.uint64(1)
        e += 1
    # m now has 55 bits: two more than fit. Round them off with what was left over.
    low = m & np.uint64(3)
    m >>= np.uint64(2)
    e += 2
    if low == np.uint64(3) or (low == np.uint64(2) and (sticky or (m & np.uint64(1)) == np.uint64(1))):
        m += np.uint64(1)
    return _scale(float(np.int64(m)), e)
