"""A BLAS of gradlab's own, for CPUs on which torch's stays far below what they can do.

torch's wheels for Linux bring Intel's MKL, which uses no more than AVX2 on AMD's CPUs. On those with AVX-512,
OpenBLAS's kernels multiply float32 matrices at twice that rate or more (`make bench`: "limit"). The library comes with
the package `scipy-openblas32` (extra `blas`). It is loaded for one thread, beside the copies of numpy and scipy;
`threadpoolctl` may give it more threads, which changes no bit of a result. Only gradlab's products go through it. On
every other machine, and without the package, `own()` returns None and torch does the multiplication.
"""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

PACKAGE = "scipy_openblas32"
CORE = "SkylakeX"  # OpenBLAS's name for its kernels that need the flags below and nothing else
FLAGS = {"avx512f", "avx512cd", "avx512bw", "avx512dq", "avx512vl"}
ROW_MAJOR, NO_TRANSPOSE, TRANSPOSE = 101, 111, 112  # cblas.h
LARGEST_INTEGER = (1 << 31) - 1  # a size or distance that the library can be given


@dataclass(frozen=True)
class Blas:
    """The library. name: with version and kernels; gemm: its cblas_?gemm_batch_strided by the format of the numbers"""

    name: str
    gemm: Mapping[str, Callable[..., None]]


def name() -> str:
    """What multiplies float32 and float64 matrices on the CPU: the library with its version, or `torch`."""
    found = own()
    return found.name if found else "torch"


def own() -> Blas | None:
    """The library; None where torch multiplies."""
    return _OWN


def _load() -> Blas | None:
    if sys.platform != "linux" or not _amd_with_avx512():
        return None
    try:
        spec = find_spec(PACKAGE)
    except ValueError:  # another module of this name is loaded, without a __spec__
        return None
    for folder in (spec.submodule_search_locations if spec else None) or ():
        for path in Path(folder, "lib").glob("libscipy_openblas*.so"):
            try:
                with _variables(OPENBLAS_CORETYPE=CORE, OPENBLAS_NUM_THREADS="1"):
                    return _bound(ctypes.CDLL(str(path)))
            except (OSError, AttributeError):  # for another platform; without one of the functions
                continue
    return None


def _bound(library: ctypes.CDLL) -> Blas | None:
    """The library's functions; None if other code has loaded this file before with other kernels or threads."""
    library.scipy_openblas_get_corename.restype = ctypes.c_char_p
    library.scipy_openblas_get_config.restype = ctypes.c_char_p
    core = library.scipy_openblas_get_corename().decode()
    if core != CORE or library.scipy_openblas_get_num_threads() != 1:
        return None
    version = " ".join(library.scipy_openblas_get_config().decode().split()[:2])
    gemm = {
        "float32": _gemm(library.scipy_cblas_sgemm_batch_strided, ctypes.c_float),
        "float64": _gemm(library.scipy_cblas_dgemm_batch_strided, ctypes.c_double),
    }
    return Blas(f"{version} {core}", gemm)


def _gemm(
    function: ctypes._NamedFuncPointer, number: type[ctypes._SimpleCData[float]]
) -> Callable[..., None]:
    """order, transpose a, transpose b, m, n, k, alpha, a, leading dimension, stride, b, .., beta, c, .., batch size"""
    whole = ctypes.c_int
    operand: list[Any] = [ctypes.c_void_p, whole, whole]
    function.argtypes = [*6 * [whole], number, *operand, *operand, number, *operand, whole]
    function.restype = None
    return function


def _amd_with_avx512() -> bool:
    """Whether the CPU is one of AMD's with AVX-512, by what /proc/cpuinfo says of its first core."""
    about: dict[str, str] = {}
    try:
        with Path("/proc/cpuinfo").open() as lines:
            for line in lines:
                key, _, value = line.partition(":")
                if not key.strip():  # an empty line ends the first core's
                    break
                about[key.strip()] = value.strip()
    except OSError:
        return False
    return about.get("vendor_id") == "AuthenticAMD" and set(about.get("flags", "").split()) >= FLAGS


@contextmanager
def _variables(**values: str) -> Iterator[None]:
    """Environment variables that a library reads while it is being loaded."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


_OWN = _load()  # at import: Python keeps other threads waiting until it is done
