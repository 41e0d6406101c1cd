"""A BLAS of gradlab's own, for CPUs on which torch's stays far below what they can do.

torch's wheels for Linux bring Intel's MKL, which keeps to AVX2 on AMD's CPUs. Those with AVX-512 multiply float32
matrices with OpenBLAS's kernels for it at twice that rate or more (`make bench`: "limit"). The copy that the package
`scipy-openblas32` brings is loaded beside numpy's and scipy's own, for one thread (`threadpoolctl` may change that;
the bits stay). Nobody else's products change. Everywhere else there is none, and torch multiplies.
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
    """name: with version and kernels; gemm: cblas_?gemm_batch_strided by the name of the format"""

    name: str
    gemm: Mapping[str, Callable[..., None]]


def name() -> str:
    """What multiplies matrices of float32 and float64 on the CPU."""
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
    except ValueError:  # something else goes by this name
        return None
    for folder in (spec.submodule_search_locations if spec else None) or ():
        for path in Path(folder, "lib").glob("libscipy_openblas*.so"):
            try:
                with _variables(OPENBLAS_CORETYPE=CORE, OPENBLAS_NUM_THREADS="1"):
                    return _bound(ctypes.CDLL(str(path)))
            except (OSError, AttributeError):  # of another platform; of a version without what is called here
                continue
    return None


def _bound(library: ctypes.CDLL) -> Blas | None:
    """None where somebody has loaded this very file before, for other kernels or threads."""
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
    """By the kernel's word on the first core."""
    about: dict[str, str] = {}
    try:
        with Path("/proc/cpuinfo").open() as lines:
            for line in lines:
                key, _, value = line.partition(":")
                if not key.strip():  # behind the first core's
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


_OWN = _load()  # with the module: Python lets no second thread in meanwhile
