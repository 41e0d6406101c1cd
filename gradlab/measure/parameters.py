"""What is measured of a model's parameters: their gradients, their size, and how far an update moves them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import isfinite

import torch
from torch import Tensor, nn

from gradlab.measure import statistics as st
from gradlab.measure.ledger import Key, Record, rest_of, share_of
from gradlab.measure.units import dense_values, is_bias, own_parameters, real

Grouped = Mapping[Key, Sequence[Tensor]]
Blocks = list[tuple[list[Key], Tensor]]
"""Keys with their numbers, [key, replica]."""


class ParameterMeter:
    """The parameters of each watched module, its biases apart from the rest.

    stacked: every parameter carries the replica axis; metrics: "gradients", "standard" or "full"
    """

    def __init__(self, modules: Mapping[str, nn.Module], *, stacked: bool, metrics: str) -> None:
        self.stacked, self.metrics = stacked, metrics
        self.weights: dict[Key, list[nn.Parameter]] = {}
        self.biases: dict[Key, list[nn.Parameter]] = {}
        for name, module in modules.items():
            own = own_parameters(module)
            self.weights[name, 1] = [p for each, p in own.items() if not is_bias(each)]
            self.biases[name, 1] = [p for each, p in own.items() if is_bias(each)]
        self._before: dict[Key, list[Tensor]] = {}
        self._sizes: Blocks = []

    def place(self, record: Record) -> None:
        """Add the modules that were not called themselves: behind their parent's last row, else at the end."""
        for key in self.weights:
            if key in record.order:
                continue
            parent = key[0].rpartition(".")[0]
            family = [
                place
                for place, (name, _) in enumerate(record.order)
                if parent and f"{name}.".startswith(f"{parent}.")
            ]
            record.order.insert(family[-1] + 1 if family else len(record.order), key)

    def commit(self, record: Record, scale: Tensor | None) -> None:
        """Put the gradients as they are now, divided by `scale` where they still carry the loss scale."""
        weights, biases = _gradients(self.weights), _gradients(self.biases)
        weight_norms, bias_norms = self._norms(weights), self._norms(biases)
        self._put(record, "weight_grad_norm", weight_norms, scale)
        self._put(record, "bias_grad_norm", bias_norms, scale)
        if self.metrics == "gradients":
            return
        self._sizes = self._norms(self.weights)
        self._put(record, "weight_norm", self._sizes, None)
        for key, found in weights.items():
            if not found:
                continue
            values = self._joined([dense_values(gradient) for gradient in found])
            entries = sum(gradient.numel() for gradient in found) // len(values)
            size = values.abs().sum(dim=1, dtype=st.wide_dtype(values))
            record.put(key, "weight_grad_mean_abs", _unscaled(size, scale), share_of(entries))
            record.put(key, "grad_zero_fraction", _count_nonzero(values), rest_of(entries))
            if self.metrics == "full":
                whole = self._joined([g.to_dense() if g.is_sparse else g for g in found])
                record.put(key, "weight_grad_p05", _unscaled(st.percentile(whole, 0.05), scale))
                record.put(key, "weight_grad_p95", _unscaled(st.percentile(whole, 0.95), scale))
        self._count_nonfinite(
            record, {key: [*found, *biases[key]] for key, found in weights.items()}, weight_norms + bias_norms
        )

    def _count_nonfinite(self, record: Record, gradients: Grouped, norms: Blocks) -> None:
        finite = all(isfinite(float(block.sum())) for _, block in norms if block.device.type == "cpu")
        for key, found in gradients.items():
            if found:
                record.known.append((key, "nonfinite", 0.0))
            for gradient in found:
                if gradient.device.type != "cpu" or not finite:  # elsewhere asking would wait for the device
                    record.put(key, "nonfinite", st.nonfinite(self._whole(dense_values(gradient))))

    def before_update(self, updated: set[int]) -> None:
        """Remember the weights that optimisers are about to change; `updated`: the ids of their parameters."""
        self._before = {
            key: [weight.detach().clone() for weight in weights]
            for key, weights in self.weights.items()
            if any(id(weight) in updated for weight in weights)
        }

    def after_update(self, record: Record, updated: set[int]) -> None:
        """Put how far one optimiser moved the weights that it updates."""
        before = {
            key: kept
            for key, kept in self._before.items()
            if any(id(weight) in updated for weight in self.weights[key])
        }
        updates = {
            key: torch._foreach_sub([weight.detach() for weight in self.weights[key]], kept)
            for key, kept in before.items()
        }
        whole = len(before) == sum(map(bool, self.weights.values()))
        sizes = self._sizes if whole else self._norms(before)
        for (keys, new), (_, old) in zip(self._norms(updates), sizes, strict=True):
            record.put_all(keys, "update_ratio", new / old)
        if self.metrics == "full":
            for key, update in updates.items():
                record.put(key, "update_mean_abs", st.mean_abs(self._joined(update)))
        self._before = {key: kept for key, kept in self._before.items() if key not in before}

    def forget_update(self) -> None:
        self._before = {}

    # -- reductions ------------------------------------------------------------------------------------------

    def _norms(self, grouped: Grouped) -> Blocks:
        """L2 norm of everything under a key, as blocks of keys with their numbers [key, replica].

        Single tensors in a narrow format are taken in one call: recording norms alone should cost next to nothing.
        """
        single: dict[torch.device, list[Key]] = {}
        blocks: Blocks = []
        for key, found in grouped.items():
            if len(found) == 1 and self._narrow(found[0]):
                single.setdefault(found[0].device, []).append(key)
            elif found:
                parts = torch.stack([st.norm(self._whole(dense_values(x))) for x in found], dim=1)
                blocks.append(([key], st.norm(parts).unsqueeze(0)))
        for keys in single.values():
            norms = torch._foreach_norm([grouped[key][0].detach() for key in keys], 2, dtype=torch.float64)
            blocks.append((keys, torch.stack(norms).unsqueeze(1)))
        return blocks

    def _narrow(self, x: Tensor) -> bool:
        return (
            not self.stacked
            and x.layout == torch.strided
            and x.dtype in (torch.float32, torch.bfloat16, torch.float16)
            and x.device.type != "mps"
        )

    def _put(self, record: Record, column: str, blocks: Blocks, scale: Tensor | None) -> None:
        for keys, numbers in blocks:
            record.put_all(keys, column, _unscaled(numbers, scale))

    def _joined(self, tensors: Sequence[Tensor]) -> Tensor:
        """Several tensors as one of [replica, entry]."""
        flat = [self._whole(x) for x in tensors]
        return flat[0] if len(flat) == 1 else torch.cat(flat, dim=1)

    def _whole(self, x: Tensor) -> Tensor:
        x = real(x.detach())
        return x.flatten(1) if self.stacked else x.reshape(1, -1)


def _gradients(parameters: Mapping[Key, Sequence[nn.Parameter]]) -> dict[Key, list[Tensor]]:
    return {key: [p.grad for p in own if p.grad is not None] for key, own in parameters.items()}


def _count_nonzero(x: Tensor) -> Tensor:
    """[replica, entry] -> [replica], wide."""
    count = torch.count_nonzero(x).unsqueeze(0) if len(x) == 1 else torch.count_nonzero(x, dim=1)
    return count.to(st.wide_dtype(x))


def _unscaled(x: Tensor, scale: Tensor | None) -> Tensor:
    return x if scale is None else x / scale.to(x.device)
