"""Products of stacks, whoever multiplies: right to the bound of rounding; and the library of gradlab's own."""

import subprocess
import sys
from itertools import product as every
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import Mock

import pytest
import torch
from reference import stacks
from torch import Tensor

from gradlab.base import blas
from gradlab.nn import products
from gradlab.nn.products import affine, linear, product
from gradlab.train.loop import build_stack

SHAPES = [
    (1, 1, 1, 1), (3, 64, 64, 64), (2, 5, 7, 3), (2, 1, 9, 4), (2, 9, 1, 4), (3, 6, 5, 1), (1, 130, 257, 66),
    (8, 33, 65, 17), (2, 512, 64, 10), (4, 100, 31, 128),
]  # fmt: skip
LIBRARIES = ["torch", *(["own"] if blas.own() else [])]


@pytest.fixture(params=LIBRARIES)
def library(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "torch":
        monkeypatch.setattr(blas, "own", lambda: None)
    return str(request.param)


def drawn(*shape: int, seed: int, dtype: torch.dtype, transposed: bool = False) -> Tensor:
    draw = torch.Generator().manual_seed(seed)
    if transposed:
        shape = (shape[0], shape[2], shape[1])
    x = torch.randn(*shape, generator=draw, dtype=torch.float64).to(dtype)
    return x.transpose(1, 2) if transposed else x


def bound(a: Tensor, b: Tensor, more: Tensor | float = 0.0) -> Tensor:
    """Of the error of k products added up in any order, and of what is added to them (Higham 2002, section 3.5)."""
    k = a.shape[2] + 1
    unit = torch.finfo(a.dtype).eps / 2
    return (a.double().abs() @ b.double().abs() + more) * (k * unit / (1 - k * unit))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(("left", "right"), list(every((False, True), repeat=2)))
def test_a_product_is_right_and_forgets_what_was_there(
    library: str, shape: tuple[int, ...], left: bool, right: bool, dtype: torch.dtype
) -> None:
    replicas, m, k, n = shape
    a = drawn(replicas, m, k, seed=1, dtype=dtype, transposed=left)
    b = drawn(replicas, k, n, seed=2, dtype=dtype, transposed=right)
    out = torch.full((replicas, m, n), torch.nan, dtype=dtype)
    product(a, b, out)()
    assert bool(((out.double() - a.double() @ b.double()).abs() <= bound(a, b)).all())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("shape", SHAPES)
def test_an_affine_map_adds_the_bias(library: str, shape: tuple[int, ...], dtype: torch.dtype) -> None:
    replicas, m, k, n = shape
    a, b = drawn(replicas, m, k, seed=1, dtype=dtype), drawn(replicas, k, n, seed=2, dtype=dtype)
    bias = drawn(replicas, 1, n, seed=3, dtype=dtype)
    out = torch.full((replicas, m, n), torch.nan, dtype=dtype)
    affine(bias, a, b, out)()
    wanted = a.double() @ b.double() + bias.double()
    assert bool(((out.double() - wanted).abs() <= bound(a, b, bias.double().abs())).all())


@pytest.mark.parametrize("shape", SHAPES)
def test_a_replica_of_a_stack_has_the_bits_of_the_replica_alone(library: str, shape: tuple[int, ...]) -> None:
    replicas, m, k, n = shape
    a = drawn(replicas, m, k, seed=1, dtype=torch.float32)
    b = drawn(replicas, k, n, seed=2, dtype=torch.float32, transposed=True)
    together = torch.empty(replicas, m, n)
    product(a, b, together)()
    for replica in range(replicas):
        alone = torch.empty(1, m, n)
        product(a[replica : replica + 1].clone(), b[replica : replica + 1], alone)()
        assert torch.equal(alone[0], together[replica])


def test_a_prepared_product_sees_what_its_operands_hold_later(library: str) -> None:
    a, b, out = torch.zeros(2, 4, 4), torch.eye(4).repeat(2, 1, 1), torch.empty(2, 4, 4)
    run = product(a, b, out)
    a.add_(3.0)
    run()
    assert torch.equal(out, a)


def test_operands_that_are_parts_of_others(library: str) -> None:
    whole = drawn(3, 20, 30, seed=1, dtype=torch.float64)
    b = drawn(3, 6, 5, seed=2, dtype=torch.float64)
    shared = drawn(1, 4, 6, seed=3, dtype=torch.float64).expand(3, -1, -1)
    rows_apart, columns_apart, every_second = whole[:, 2:6, 4:10], whole[:, :8:2, 3:9], whole[:, :4, :12:2]
    for a in (rows_apart, columns_apart, every_second, shared):
        out = torch.empty(3, 4, 5, dtype=torch.float64)
        product(a, b, out)()
        assert bool(((out - a @ b).abs() <= 2 * bound(a, b)).all())
    wide = torch.zeros(3, 4, 9, dtype=torch.float64)
    product(rows_apart, b, wide[:, :, 2:7])()
    assert bool(((wide[:, :, 2:7] - rows_apart @ b).abs() <= 2 * bound(rows_apart, b)).all())
    assert not wide[:, :, :2].any() and not wide[:, :, 7:].any()


def test_what_is_not_finite_stays_in_its_row_and_replica(library: str) -> None:
    a, b = (drawn(2, 37, 37, seed=seed, dtype=torch.float32) for seed in (1, 2))
    clean, out = torch.empty(2, 37, 37), torch.empty(2, 37, 37)
    product(a, b, clean)()
    a[1, 5, 3], a[0, 36, 36] = torch.nan, torch.inf
    product(a, b, out)()
    spoiled = ~out.isfinite()
    assert spoiled.any(dim=2).nonzero().tolist() == [[0, 36], [1, 5]]
    assert bool(spoiled[1, 5].all())
    assert torch.equal(out[~spoiled.any(dim=2)], clean[~spoiled.any(dim=2)])


def test_gradients(library: str) -> None:
    parts = [drawn(*shape, seed=seed, dtype=torch.float64).requires_grad_()
             for seed, shape in enumerate([(2, 1, 3), (2, 4, 5), (2, 5, 3)])]  # fmt: skip
    assert torch.autograd.gradcheck(linear, parts)
    assert torch.autograd.gradgradcheck(linear, parts)
    wanted = torch.autograd.grad(torch.baddbmm(*parts).square().sum(), parts)
    for missing in range(3):
        some = [part.detach() if place == missing else part for place, part in enumerate(parts)]
        asked = [part for place, part in enumerate(parts) if place != missing]
        got = torch.autograd.grad(linear(*some).square().sum(), asked)
        for one, other in zip(got, [g for place, g in enumerate(wanted) if place != missing], strict=True):
            torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    ("a", "b"),
    [((2, 4, 5), (2, 6, 3)), ((1, 4, 5), (2, 5, 3)), ((2, 3, 5), (2, 5, 3)), ((2, 4, 5), (2, 5, 4))],
)
def test_what_does_not_fit_together_is_refused(library: str, a: tuple[int, ...], b: tuple[int, ...]) -> None:
    with pytest.raises(RuntimeError, match=r"torch.float32 \[2, 4, 3\]"):
        product(torch.ones(a), torch.ones(b), torch.ones(2, 4, 3))
    with pytest.raises(RuntimeError, match=r"torch.float64 \[2, 5, 3\]"):
        product(torch.ones(2, 4, 5), torch.ones(2, 5, 3, dtype=torch.float64), torch.ones(2, 4, 3))


@pytest.mark.parametrize("shape", [(4, 5), (3, 4, 5), (2, 4, 6), (2, 1, 4, 5)])
def test_a_linear_map_of_what_does_not_fit_is_refused(library: str, shape: tuple[int, ...]) -> None:
    with pytest.raises((RuntimeError, ValueError)):
        linear(torch.ones(2, 1, 3), torch.ones(shape), torch.ones(2, 5, 3))


@pytest.mark.parametrize("activation", ["linear", "tanh", "sigmoid", "softplus"])
def test_second_derivatives_of_a_stack(library: str, activation: str) -> None:
    """A loss that holds a gradient, against finite differences: a part left out would go unnoticed."""
    mlp = build_stack(stacks.make_stack(activation=activation), stacks.small_data())
    x = drawn(2, 5, 6, seed=1, dtype=torch.float64).requires_grad_()
    weight = mlp.layers[1].linear.weight

    def penalty() -> Tensor:
        (slope,) = torch.autograd.grad(mlp(x).square().sum(), x, create_graph=True)
        return slope.square().sum()

    (got,) = torch.autograd.grad(penalty(), weight)
    for place in ((0, 0, 0), (1, 2, 3)):
        values = []
        for step in (1e-6, -1e-6):
            with torch.no_grad():
                weight[place] += step
            values.append(penalty().item())
            with torch.no_grad():
                weight[place] -= step
        # central differences: an error of some step^2, and the rounding of a value over the step
        wanted = (values[0] - values[1]) / 2e-6
        assert got[place].item() == pytest.approx(wanted, rel=1e-6, abs=1e-9 * abs(values[0]))


def test_formats_that_only_torch_multiplies() -> None:
    a = torch.ones(1, 2, 2, dtype=torch.bfloat16)
    out = torch.empty_like(a)
    product(a, a, out)()
    assert bool((out == 2).all())


def test_memory_stays_while_a_product_needs_it(library: str) -> None:
    """A prepared product knows addresses; what lies there must not be given to others."""
    out = torch.empty(1, 300, 300)
    run = product(torch.ones(1, 300, 300), torch.ones(1, 300, 300), out)
    others = [torch.zeros(1, 300, 300) for _ in range(20)]
    run()
    assert bool((out == 300).all()) and len(others) == 20


OF_OWN = pytest.mark.skipif(blas.own() is None, reason="torch multiplies on this machine")


@OF_OWN
def test_the_library_is_used_where_there_is_one() -> None:
    x = torch.ones(1, 2, 2)
    assert isinstance(product(x, x, torch.empty(1, 2, 2)), products._Product)


@OF_OWN
def test_loading_leaves_the_environment_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    code = """
import os
before = dict(os.environ)
from gradlab.base import blas
print(blas.own() is not None, dict(os.environ) == before)
"""
    for name in ("OPENBLAS_CORETYPE", "OPENBLAS_NUM_THREADS"):
        monkeypatch.delenv(name, raising=False)
        assert subprocess.check_output([sys.executable, "-c", code], text=True).split() == ["True", "True"]
        monkeypatch.setenv(name, "Haswell" if name.endswith("TYPE") else "2")
        assert subprocess.check_output([sys.executable, "-c", code], text=True).split() == ["True", "True"]


@OF_OWN
def test_a_copy_that_somebody_loaded_for_other_kernels_is_left_alone() -> None:
    code = """
import ctypes, os
from importlib.util import find_spec
from pathlib import Path
os.environ["OPENBLAS_CORETYPE"] = "Haswell"
folder = find_spec("scipy_openblas32").submodule_search_locations[0]
theirs = ctypes.CDLL(str(next(Path(folder, "lib").glob("libscipy_openblas*.so"))))
from gradlab.base import blas
print(blas.name())
"""
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "torch"


def test_no_library_without_the_package_or_the_cpu(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(blas, "_amd_with_avx512", lambda: True)
    empty = SimpleNamespace(submodule_search_locations=[str(tmp_path)])
    for found in (None, empty, ValueError("no __spec__")):
        monkeypatch.setattr(blas, "find_spec", Mock(side_effect=[found]))
        assert blas._load() is None
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib" / "libscipy_openblas.so").write_bytes(b"of another platform")
    two = SimpleNamespace(submodule_search_locations=[str(tmp_path / "elsewhere"), str(tmp_path)])
    monkeypatch.setattr(blas, "find_spec", lambda name: two)
    assert blas._load() is None
    monkeypatch.undo()
    monkeypatch.setattr(blas, "_amd_with_avx512", lambda: False)
    assert blas._load() is None


@pytest.mark.parametrize(
    ("vendor", "flags", "wide"),
    [
        ("AuthenticAMD", "fpu avx2 avx512f avx512cd avx512bw avx512dq avx512vl sse", True),
        ("AuthenticAMD", "fpu avx2 sse", False),
        ("AuthenticAMD", "fpu avx2 avx512f sse", False),
        ("GenuineIntel", "fpu avx2 avx512f avx512cd avx512bw avx512dq avx512vl sse", False),
    ],
)
def test_which_cpus(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, vendor: str, flags: str, wide: bool
) -> None:
    about = tmp_path / "cpuinfo"
    about.write_text(
        f"processor\t: 0\nvendor_id\t: {vendor}\nflags\t\t: {flags}\n\nprocessor\t: 1\nvendor_id\t: x\n"
    )
    monkeypatch.setattr(blas, "Path", lambda path: about)
    assert blas._amd_with_avx512() is wide
    monkeypatch.setattr(blas, "Path", lambda path: tmp_path / "missing")
    assert blas._amd_with_avx512() is False
