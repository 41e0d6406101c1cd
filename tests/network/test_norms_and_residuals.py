"""Norms against torch.nn's modules replica by replica; residual schemes against straightforward code."""

from collections.abc import Callable

import pytest
import torch
from reference import stacks
from torch import Tensor, nn

from gradlab.activations.modules import build_module
from gradlab.nn.mlp import StackedMLP
from gradlab.nn.norm import Norm
from gradlab.parts import norms
from gradlab.train.loop import build_stack

Z = 3 + 2 * torch.randn(3, 12, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
TORCHS: dict[str, Callable[[], nn.Module]] = {
    "batch": lambda: nn.BatchNorm1d(7),
    "batch:momentum=0.3:eps=0.01": lambda: nn.BatchNorm1d(7, eps=0.01, momentum=0.3),
    "layer": lambda: nn.LayerNorm(7),
    "layer:eps=0.1": lambda: nn.LayerNorm(7, eps=0.1),
    "rms": lambda: nn.RMSNorm(7, eps=1e-5),
    "rms:eps=0.1": lambda: nn.RMSNorm(7, eps=0.1),
}


@pytest.mark.parametrize("text", TORCHS)
def test_norms_are_torchs(text: str) -> None:
    """Outputs and gradients in training mode, three times over, then eval mode with what they learned."""
    ours = Norm(norms.get(text), 3, 7).double()
    theirs = [TORCHS[text]().double() for _ in range(3)]
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for r, module in enumerate(theirs):
            for own, other in zip(ours.parameters(), module.parameters(), strict=True):
                other.copy_(torch.randn(7, dtype=torch.float64, generator=generator))
                own[r, 0] = other
    for repeat in range(3):
        z = (Z + repeat).requires_grad_(True)
        out = ours(z)
        expected = torch.stack([module(z[r]) for r, module in enumerate(theirs)])
        torch.testing.assert_close(out, expected, rtol=1e-12, atol=1e-12)
        wanted = [z, *ours.parameters()]
        gradients = torch.autograd.grad(out.pow(3).sum(), wanted)
        torch.testing.assert_close(
            gradients[0], torch.autograd.grad(expected.pow(3).sum(), z, retain_graph=True)[0]
        )
        for place, gradient in enumerate(gradients[1:]):
            other = torch.autograd.grad(
                expected.pow(3).sum(), [list(m.parameters())[place] for m in theirs], retain_graph=True
            )
            torch.testing.assert_close(gradient.squeeze(1), torch.stack(other))
    ours.eval()
    torch.testing.assert_close(ours(Z), torch.stack([m.eval()(Z[r]) for r, m in enumerate(theirs)]))


def mlp_of(**flags: object) -> tuple[StackedMLP, Tensor]:
    """A small stack with biases, and inputs for its two replicas."""
    stack = stacks.make_stack(**{"init": "gaussian:sigma_w=1.2:sigma_b=0.3", **flags})
    data = stack.cell.dataset()
    x = torch.from_numpy(data.x_train[:20]).reshape(2, 10, -1)
    return build_stack(stack, data), x


def scramble(mlp: StackedMLP) -> None:
    """Give every norm, factor and scalar bias a number of its own, so that none can be mistaken for 1 or 0."""
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in mlp.parameters():
            parameter += 0.3 * torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype)


@pytest.mark.parametrize("position", ["pre", "post"])
@pytest.mark.parametrize("norm", ["none", "batch", "layer", "rms"])
@pytest.mark.parametrize(
    "residual",
    ["none", "post", "pre", "scaled", "rezero", "skipinit", "fixup", "post:block=2", "pre:block=2",
     "scaled:block=4", "rezero:block=2", "skipinit:block=2", "fixup:block=4"],
)  # fmt: skip
def test_schemes_as_their_papers_write_them(residual: str, norm: str, position: str) -> None:
    """Block by block, from the formulas: layer 1 is the stem, every block has `block` layers."""
    text = norm if norm == "none" or position == "pre" else f"{norm}:position=post"
    mlp, x = mlp_of(activation="tanh", depth=5, residual=residual, norm=text)
    scramble(mlp)
    name, _, block_text = residual.partition(":block=")
    block = int(block_text or (2 if name == "fixup" else 1))
    blocks = 4 // block

    def phi(layer: int, z: Tensor) -> Tensor:
        """norm before or after tanh, in training mode"""
        module = mlp.layers[layer]
        if position == "post":
            return module.norm_after(torch.tanh(z))
        return torch.tanh(module.norm_before(z))

    def linear(layer: int, h: Tensor) -> Tensor:
        skip = mlp.layers[layer].skip
        if name == "fixup" and layer > 0:
            h = h + skip.offset
        weight, bias = mlp.linears[layer].weight, mlp.linears[layer].bias
        return torch.einsum("rbi,rio->rbo", h, weight) + bias

    if name in ("none", "post", "rezero"):
        h = phi(0, linear(0, x))
        for first in range(1, 5, block):
            stream = h
            for layer in range(first, first + block - 1):
                h = phi(layer, linear(layer, h))
            last = first + block - 1
            z = linear(last, h)
            if name == "rezero":
                h = stream + mlp.layers[last].skip.scale * phi(last, z)
            elif name == "none":
                h = phi(last, z)
            elif position == "pre":  # phi(x + norm(F(x)))
                h = torch.tanh(stream + mlp.layers[last].norm_before(z))
            else:
                h = phi(last, stream + z)
    else:
        stream = linear(0, x)
        for first in range(1, 5, block):
            branch = stream
            for layer in range(first, first + block):
                branch = linear(layer, phi(layer - 1, branch))
            skip = mlp.layers[first + block - 1].skip
            factor = blocks**-0.5 if name == "scaled" else 1.0 if name == "pre" else skip.scale
            stream = stream + factor * branch
        h = phi(4, stream)
    expected = torch.einsum("rbi,rio->rbo", h, mlp.readout.weight) + mlp.readout.bias
    torch.testing.assert_close(mlp(x), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("residual", ["rezero", "skipinit", "fixup:block=2"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_blocks_are_the_identity_at_init(residual: str, dtype: str) -> None:
    """Output equals input bit for bit, and so does the gradient (Bachlechner 2020, De & Smith 2020, Zhang 2019)."""
    mlp, x = mlp_of(activation="relu", depth=9, residual=residual, dtype=dtype, init="he")
    x = x.to(mlp.readout.weight.dtype)
    streams: list[Tensor] = []
    for layer in mlp.layers:
        layer.register_forward_hook(lambda _, args, out: streams.append(out[1]))
    out = mlp(x)
    ends = [stream for place, stream in enumerate(streams) if place == 0 or mlp.layers[place].skip.ends]
    assert len(ends) == (9 if residual != "fixup:block=2" else 5)
    for stream in ends[1:]:
        assert torch.equal(stream, ends[0])
    gradients = torch.autograd.grad(out.square().sum(), ends)
    for gradient in gradients[:-1]:
        assert torch.equal(gradient, gradients[-1])
    assert gradients[-1].abs().max() > 0


def test_fixup_scales_the_other_layers_of_a_branch() -> None:
    """blocks^(-1 / (2 m - 2)) for branches of m layers (Zhang, Dauphin & Ma 2019, section 3)."""
    plain, _ = mlp_of(depth=13, init="he")
    fixup, _ = mlp_of(depth=13, init="he", residual="fixup:block=3")
    for layer in range(1, 13):
        factor = 0.0 if layer % 3 == 0 else 4 ** (-1 / 4)
        torch.testing.assert_close(fixup.linears[layer].weight, plain.linears[layer].weight * factor)
    assert torch.equal(fixup.linears[0].weight, plain.linears[0].weight)
    assert torch.equal(fixup.readout.weight, plain.readout.weight)


def test_delta_with_norms_and_skips_is_the_derivative_by_the_linear_output() -> None:
    """delta_rms of a normed residual net, against finite differences of the loss by each z."""
    flags = {
        "activation": "tanh",
        "depth": 4,
        "norm": "batch",
        "residual": "pre",
        "steps": 0,
        "batch_size": 6,
    }
    stack = stacks.make_stack(**flags)
    data = stack.cell.dataset()
    mlp = build_stack(stack, data).train()
    rows = torch.as_tensor(stacks.batches_of(stack, data, 0)[0])
    x, y = torch.from_numpy(data.x_train)[rows], torch.as_tensor(data.y_train)[rows]
    result = stacks.train(**flags)
    for layer, linear in enumerate(mlp.linears):
        squares = []
        for sample in range(6):
            for unit in range(linear.weight.shape[2]):
                pair = []
                for sign in (1, -1):
                    bump = torch.zeros(2, 6, linear.weight.shape[2], dtype=torch.float64)
                    bump[:, sample, unit] = sign * 1e-5
                    handle = linear.register_forward_hook(lambda _, args, z, bump=bump: z + bump)
                    with torch.no_grad():
                        pair.append(
                            nn.functional.cross_entropy(mlp(x.expand(2, -1, -1))[0], y, reduction="sum")
                        )
                    handle.remove()
                squares.append(((pair[0] - pair[1]) / 2e-5).item() ** 2)
        expected = (sum(squares) / len(squares)) ** 0.5
        assert stacks.column(result, "delta_rms")[0, layer, 0] == pytest.approx(expected, rel=1e-6)


def test_prelu_starts_at_its_own_number_in_float64() -> None:
    from gradlab import activations

    module = build_module(activations.get("prelu:init=0.1"), 2, 3, (0, 1)).to(torch.float64)
    assert {p.item() for p in module.parameters() for p in p.flatten()} == {0.1}
    result = stacks.train(activation="prelu:init=0.1", steps=0)
    assert (stacks.column(result, "alpha")[0, :-1] == 0.1).all()
