"""What is measured of a model's parameters: their gradients, their size, and how far an update moves them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from gradlab.measure import statistics as st
from gradlab.measure.ledger import Key, Record
from gradlab.measure.units import dense_values, is_bias, own_parameters, real


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

    def place(self, record: Record) -> None:
        """Add the modules that were not called themselves: behind their parent's last row, else at the end."""
        for key in self.weights:
            if key in record.order:
                continue
            parent = key[0].rpartition(".")[0]
            family = [
                i
                for i, (name, _) in enumerate(record.order)
                if parent and f"{name}.".startswith(f"{parent}.")
            ]
            record.order.insert(family[-1] + 1 if family else len(record.order), key)

    def commit(self, record: Record, scale: Tensor | None) -> None:
        """Put the gradients as they are now, divided by `scale` where they still carry the loss scale."""
        if self.metrics == "gradients":
            self._norms(record, "weight_grad_norm", self.weights, scale)
            self._norms(record, "bias_grad_norm", self.biases, scale)
            return
        for key, weights in self.weights.items():
            weight = self._joined_gradient(weights)
            bias = self._joined_gradient(self.biases[key])
            for values, _ in (weight, bias):
                if values is not None:
                    record.put(key, "nonfinite", st.nonfinite(values))
            if bias[0] is not None:
                record.put(key, "bias_grad_norm", _unscaled(st.norm(bias[0]), scale))
            if weights:
                record.put(key, "weight_norm", st.norm(self._joined(weights)))
            values, entries = weight
            if values is None:
                continue
            size = values.abs()
            record.put(key, "weight_grad_norm", _unscaled(st.norm(values), scale))
            record.put(key, "weight_grad_mean_abs", _unscaled(_sum(size) / entries, scale))
            record.put(key, "grad_zero_fraction", 1 - _sum(values != 0) / entries)
            if self.metrics == "full":
                whole = self._joined([w.grad for w in weights if w.grad is not None])
                record.put(key, "weight_grad_p05", _unscaled(st.percentile(whole, 0.05), scale))
                record.put(key, "weight_grad_p95", _unscaled(st.percentile(whole, 0.95), scale))

    def before_update(self, updated: set[int]) -> None:
        """Remember the weights that the optimiser is about to change; `updated`: the ids of its parameters."""
        self._before = {
            key: [weight.detach().clone() for weight in weights]
            for key, weights in self.weights.items()
            if any(id(weight) in updated for weight in weights)
        }

    def after_update(self, record: Record) -> None:
        for key, kept in self._before.items():
            before = self._joined(kept)
            update = self._joined([w.detach() - b for w, b in zip(self.weights[key], kept, strict=True)])
            record.put(key, "update_ratio", st.norm(update) / st.norm(before))
            if self.metrics == "full":
                record.put(key, "update_mean_abs", st.mean_abs(update))
        self._before = {}

    def forget_update(self) -> None:
        self._before = {}

    def _joined(self, tensors: Sequence[Tensor]) -> Tensor:
        """Several tensors as one of [replica, entry]."""
        flat = [self._whole(x.to_dense() if x.is_sparse else x) for x in tensors]
        return flat[0] if len(flat) == 1 else torch.cat(flat, dim=1)

    def _joined_gradient(self, parameters: Sequence[nn.Parameter]) -> tuple[Tensor | None, int]:
        """The stored entries of the gradients, [replica, entry], and how many entries a replica has in all."""
        having = [p for p in parameters if p.grad is not None]
        if not having:
            return None, 0
        flat = [self._whole(dense_values(p.grad)) for p in having if p.grad is not None]
        entries = sum(p.numel() for p in having) // flat[0].shape[0]
        return (flat[0] if len(flat) == 1 else torch.cat(flat, dim=1)), entries

    def _whole(self, x: Tensor) -> Tensor:
        x = real(x.detach())
        return x.flatten(1) if self.stacked else x.reshape(1, -1)

    def _norms(
        self,
        record: Record,
        column: str,
        parameters: Mapping[Key, Sequence[nn.Parameter]],
        scale: Tensor | None,
    ) -> None:
        """The norm of every module's gradients in few calls: recording nothing else should cost next to nothing."""
        ready = {key: [p.grad for p in own if p.grad is not None] for key, own in parameters.items()}
        single = {key: found[0] for key, found in ready.items() if len(found) == 1 and self._plain(found[0])}
        if single:
            norms = torch._foreach_norm([*single.values()], 2, dtype=torch.float64)
            record.put_all([*single], column, _unscaled(torch.stack(norms).unsqueeze(1), scale))
        for key, found in ready.items():
            if found and key not in single:
                parts = torch.stack([st.norm(self._whole(dense_values(g))) for g in found], dim=1)
                record.put(key, column, _unscaled(st.norm(parts), scale))

    def _plain(self, gradient: Tensor) -> bool:
        return (
            not self.stacked
            and gradient.layout == torch.strided
            and gradient.dtype in (torch.float32, torch.bfloat16, torch.float16)
            and gradient.device.type != "mps"
        )


def _sum(x: Tensor) -> Tensor:
    return x.sum(dim=1, dtype=st.wide_dtype(x))


def _unscaled(x: Tensor, scale: Tensor | None) -> Tensor:
    return x if scale is None else x / scale.to(x.device)
