"""Taps on any model: hooks on its parametrised modules and a watch on torch's activation functions.

Taps find out which call of which module makes which tensor, and which activation is applied to it; a `Meter` measures.
They are attached for a recorded step or a probe, and leave nothing behind.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from functools import partial
from time import perf_counter
from typing import Any
from weakref import ref

import torch
from torch import Tensor, nn
from torch.autograd import Variable
from torch.multiprocessing.reductions import StorageWeakRef
from torch.overrides import TorchFunctionMode
from torch.utils.hooks import RemovableHandle

from gradlab.activations.modules import StackedPReLU
from gradlab.recorder.attention import Attention
from gradlab.recorder.passes import Call, ForwardPass
from gradlab.recorder.paths import Graph
from gradlab.recorder.reading import Reading
from gradlab.recorder.tap import Meter, Tap
from gradlab.recorder.through_time import ThroughTime, recurrent
from gradlab.recorder.torch_activations import FUNCTIONS, Shape, shape_of
from gradlab.recorder.units import axis_in_view, batch_size, every_module, tensors, unit_axis
from gradlab.recorder.whole_activations import WholeShapes


class Taps:
    """The taps of one model, attached between `attach` and `detach`.

    modules:   the modules to watch, by path, so that every activation finds the one it follows
    chosen:    the paths of those that are measured
    time:      what watches the recurrent ones among these
    attention: what watches attention in a probe's pass
    no_grad:   whether a forward pass without gradients counts (a probe's) or is an evaluation to be left alone
    reading:   whether the graph of a forward pass is read, for theory to say what the gradient does in it
    mapping:   whether the graph of forward passes is copied, so that it says which path each call is on
    `passes` are the forward passes seen; `seconds` is the host time spent in the taps and the meter.
    """

    def __init__(
        self,
        root: nn.Module,
        modules: Mapping[str, nn.Module],
        chosen: Collection[str],
        meter: Meter,
        batch_dim: int,
        time: ThroughTime,
        attention: Attention,
    ) -> None:
        self.root, self.modules, self.chosen, self.meter = root, modules, chosen, meter
        self.time, self.attention = time, attention
        self._recurrent = recurrent({name: modules[name] for name in chosen if name in modules})
        self.batch_dim, self.no_grad = batch_dim, False
        self.reading = self.mapping = False
        self.passes: list[ForwardPass] = []
        self.seconds = 0.0
        self._handles: list[RemovableHandle] = []  # the root's own hooks, in the order in which they must run
        self._inner: list[RemovableHandle] = []  # hooks on the modules inside
        self._local = threading.local()  # data parallelism runs one thread a replica
        self._loose: ForwardPass | None = None  # calls of parts of the model, outside a call of the whole
        self.learning: list[Tensor] = []  # the model's parameters outside of any pass
        self.versions: list[int] = []  # how often each of them was written to before the last backward pass
        self._shapes = WholeShapes()
        self._every = tuple(every_module(root)[0].values())
        self._running: set[int] = set()  # backward passes that bring gradients and go on
        self._going = 0  # forward passes that go on, in all threads

    @property
    def attached(self) -> bool:
        return bool(self._handles)

    def attach(self) -> None:
        """Attach the hooks, where they are not yet."""
        if self._handles:
            self._attach()  # an evaluation that ended in an error did not put them back
            return
        self.learning = [each for each in self.root.parameters() if each.requires_grad]
        try:
            add = self._handles.append
            add(self.root.register_forward_pre_hook(Tap(self._enter), with_kwargs=True))
            self._attach()
            for name, module in self.modules.items():
                if module is self.root:
                    add(module.register_forward_hook(Tap(self._named(name))))
            for name, module in self._recurrent.items():
                if module is self.root:
                    self._attach_in_time(add, name, module)
            add(self.root.register_forward_hook(Tap(self._leave), always_call=True))
        except BaseException:
            self.detach()
            raise

    def _attach(self) -> None:
        if self._inner:
            return
        add = self._inner.append
        for name, module in self.modules.items():
            if module is self.root or isinstance(module, torch.jit.ScriptModule):  # which takes no hooks
                continue
            add(module.register_forward_hook(Tap(self._named(name))))
        for name, module in self._recurrent.items():
            if module is not self.root and not isinstance(module, torch.jit.ScriptModule):
                self._attach_in_time(add, name, module)
        for module in self._every:
            if isinstance(module, StackedPReLU):  # written with torch.where: no function to watch
                add(module.register_forward_pre_hook(Tap(self._before_prelu)))
                add(module.register_forward_hook(Tap(self._after_prelu)))
            elif module is not self.root and (shape := self._shapes.of(module)) is not None:
                add(module.register_forward_pre_hook(Tap(partial(self._before_whole, shape))))
                add(module.register_forward_hook(Tap(self._after_whole)))

    def _attach_in_time(self, add: Callable[[RemovableHandle], None], name: str, module: nn.Module) -> None:
        """Behind the hook that makes the call known."""
        add(module.register_forward_pre_hook(Tap(self._before_recurrent)))
        add(module.register_forward_hook(Tap(partial(self._after_recurrent, name)), with_kwargs=True))

    def _detach(self) -> None:
        for handle in self._inner:
            handle.remove()
        self._inner = []

    def detach(self) -> None:
        self._detach()
        for handle in self._handles:
            handle.remove()
        self._handles = []
        self.forget()

    def forget(self) -> None:
        """Start anew, with the hooks as they are."""
        for mode in self._modes():
            _remove_mode(mode)
        self.passes, self._loose = [], None
        self.versions = []
        self._running, self._going = set(), 0
        self._local = threading.local()

    @property
    def late(self) -> bool:
        """Whether the weights have changed since the last backward pass began."""
        return bool(self.versions) and self.versions != [each._version for each in self.learning]

    @contextmanager
    def probing(self, meter: Meter) -> Iterator[None]:
        """Forward passes inside are a probe's, without gradients, and told to another meter."""
        ours, self.meter, self.no_grad = self.meter, meter, True
        self.forget()
        try:
            yield
        finally:
            self.meter, self.no_grad = ours, False
            self.forget()

    def watching(self) -> AbstractContextManager[Any]:
        """Activations called inside belong to the model, for a part of a step outside the model's own call."""
        return _Watch(self)

    # -- passes ----------------------------------------------------------------------------------------------

    def _stack(self) -> list[ForwardPass | None]:
        """The root calls going on in this thread, outermost first; None for an evaluation."""
        if not hasattr(self._local, "stack"):
            self._local.stack, self._local.modes = [], []
        stack: list[ForwardPass | None] = self._local.stack
        return stack

    def _modes(self) -> list[_Watch]:
        self._stack()
        modes: list[_Watch] = self._local.modes
        return modes

    def _enter(self, module: nn.Module, args: Any, kwargs: Any) -> None:
        if _elsewhere() or _in_backward():
            return
        stack, alone = self._stack(), threading.current_thread() is threading.main_thread()
        if not (self.no_grad or torch.is_grad_enabled()):
            # An evaluation runs without hooks: torch's encoders leave their fast path where there are any. The hooks
            # stay while a pass goes on in another thread.
            if alone and not stack and not self._going:
                self._detach()
            stack.append(None)
            return
        if alone:
            self._running.clear()  # a backward pass that ended in an error did not take itself off
            self._attach()  # an evaluation that Ctrl-C ended did not put the hooks back
        if stack and stack[-1] is not None:  # a model that calls itself
            stack.append(stack[-1])
            return
        self._forget_finished()
        forward = ForwardPass(
            self._begins,
            [each for each in self.root.parameters() if each.requires_grad],
            batch=batch_size((args, kwargs), self.batch_dim),
            replica=getattr(module, "_is_replica", False),
        )
        if self.reading and not (self.no_grad or forward.replica):
            forward.reading = Reading()
        self.passes.append(forward)
        self._going += 1
        stack.append(forward)
        self._modes().append(_Watch(self))
        torch.overrides._push_mode(self._modes()[-1])  # type: ignore[no-untyped-call]

    def _leave(self, module: nn.Module, args: Any, output: Any) -> None:
        if _elsewhere() or _in_backward():
            return
        stack = self._stack()
        if not stack:
            return
        forward = stack.pop()
        if forward is None and not stack and self._handles:
            self._attach()
        elif forward is not None and forward not in stack:
            self._going -= 1
            if self._modes():
                _remove_mode(self._modes().pop())
            if forward.reading is not None:
                started = perf_counter()
                with torch._C.DisableTorchFunction():
                    forward.reading.ends(tensors(output))
                self.seconds += perf_counter() - started
            if forward.graph is not None:
                with torch._C.DisableTorchFunction():
                    forward.graph.ends(tensors(output))

    def _forget_finished(self) -> None:
        """Drop passes whose gradients were thrown away: another model's step through this one, as in a GAN."""
        if not self._running:
            self.passes = [each for each in self.passes if not each.thrown_away(self.learning)]

    def _begins(self, task: int) -> None:
        """A backward pass, by its number, begins to bring gradients."""
        self.versions = [each._version for each in self.learning]
        if task not in self._running:
            self._forget_finished()  # for a loop that calls zero_grad only now
            self._running.add(task)
            Variable._execution_engine.queue_callback(partial(self._running.discard, task))

    def _current(self) -> ForwardPass | None:
        stack = self._stack()
        if stack:
            return stack[-1]
        if not (self.no_grad or torch.is_grad_enabled()):
            return None
        if self._loose is None or self._loose.backward or self._loose not in self.passes:
            self._forget_finished()
            self._loose = ForwardPass(self._begins, self.learning)
            self.passes.append(self._loose)
        return self._loose

    # -- modules ---------------------------------------------------------------------------------------------

    def _named(self, name: str) -> Callable[..., None]:
        def hook(module: nn.Module, args: Any, output: Any) -> None:
            if _elsewhere():  # first of all: while the module is compiled, this hook is traced with it
                return
            started = perf_counter()
            with torch._C.DisableTorchFunction():  # our own reductions are no part of the model
                self._output(name, module, args, output)
            self.seconds += perf_counter() - started

        return hook

    def _output(self, name: str, module: nn.Module, args: Any, output: Any) -> None:
        outputs = tensors(output)
        if not outputs:
            return
        if _in_backward():
            self._recomputed(name, outputs)
            return
        z = outputs[0]
        forward = self._current()
        if forward is None:
            return
        if forward.batch is None:
            forward.batch = batch_size(args, self.batch_dim) or 1
        forward.counts[name] = number = forward.counts.get(name, 0) + 1
        axis = unit_axis(module, z)
        units, stride = (z.shape[axis], z.stride(axis)) if z.dim() else (1, 1)
        watched = name in self.chosen
        call = Call(
            (name, number), axis, z.dim(), units, stride, z.numel(), not watched, forward=ref(forward)
        )
        if self.mapping and not (self.no_grad or forward.replica):
            forward.graph = forward.graph or Graph()
            forward.graph.call(call.key, outputs)
        call.before, forward.latest = forward.latest, call
        forward.formats.add(z.dtype)
        memory = z.untyped_storage()
        forward.made[memory._cdata] = (StorageWeakRef(memory), call)  # type: ignore[no-untyped-call]
        if watched:
            forward.calls[call.key] = call
            if forward.reading is not None:
                forward.reading.call(call.key, z)
            self.meter.output(forward, call, outputs, module, args)

    def _recomputed(self, name: str, outputs: list[Tensor]) -> None:
        """A checkpointed segment runs again in the backward pass. A reentrant one makes the tensors that the gradients
        go through only now."""
        for forward in reversed(self.passes):
            if (name, 1) in forward.calls:
                if forward.counts[name] == 1:  # with several calls nobody can tell which one this is
                    self.meter.recomputed(forward, forward.calls[name, 1], outputs)
                return

    def _before_recurrent(self, module: nn.Module, args: Any) -> None:
        if not (self.no_grad or _elsewhere() or _in_backward()):
            self.time.before(module)

    def _after_recurrent(self, name: str, module: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
        if self.no_grad or _elsewhere() or _in_backward():
            return
        started = perf_counter()
        forward = self._current()
        if forward is not None and name in forward.counts:
            with torch._C.DisableTorchFunction():
                self.time.call(forward, name, module, args, kwargs, output)
        self.seconds += perf_counter() - started

    def look_for_hooks(self) -> None:
        """Before a torch function of a pass whose graph will be read: whether hooks pack what it keeps."""
        if (
            self.reading
            and (stack := self._stack())
            and stack[-1] is not None
            and stack[-1].reading is not None
        ):
            stack[-1].reading.look_for_hooks()

    # -- attention -------------------------------------------------------------------------------------------

    def attention_of(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], out: Any) -> None:
        """In a probe's pass, after a call of a torch function."""
        started = perf_counter()
        forward = self._current()
        self.attention.called(func, args, kwargs, out, None if forward is None else forward.batch)
        self.seconds += perf_counter() - started

    # -- activations -----------------------------------------------------------------------------------------

    def owner(self, z: Tensor) -> Call | None:
        """The call whose activation is about to be applied to z: the one that made z, else the latest one."""
        forward = self._current()
        if forward is None:
            return None
        found = forward.made.get(z.untyped_storage()._cdata) if z.layout == torch.strided else None
        call = forward.latest if found is None else found[1]
        return None if call is None or call.activated else call

    @staticmethod
    def activate(call: Call, z: Tensor, name: str) -> None:
        """The call's activation was found; it is applied to z, where the units may be on another axis."""
        call.activated, call.activation = True, name
        axis = axis_in_view(z, call.units, call.stride)
        if axis is None:
            axis = call.axis if z.dim() == call.axes else z.dim() - 1
        call.axis, call.axes = axis, z.dim()

    def _before_prelu(self, module: StackedPReLU, args: tuple[Tensor]) -> None:
        if _elsewhere() or _in_backward():
            return
        call = self._local.prelu = self.owner(args[0])
        if call is not None:
            self.activate(call, args[0], "prelu")
            alpha = module.alpha.detach()
            self.meter.before(call, args[0], Shape((), alpha.abs().clamp(min=1.0), alpha), module.forward)

    def _after_prelu(self, module: StackedPReLU, args: Any, h: Tensor) -> None:
        call = getattr(self._local, "prelu", None)
        if call is not None and not (_elsewhere() or _in_backward()):
            self.meter.after(call, h)
            self._local.prelu = None

    def _before_whole(self, shape: Shape, module: nn.Module, args: Any) -> None:
        """A module that is an activation as a whole, whatever functions it is written with."""
        if _elsewhere() or _in_backward() or not (args and isinstance(args[0], Tensor)):
            return
        started = perf_counter()
        call = self.owner(args[0])
        self._whole().append(call)
        if call is not None:
            self.activate(call, args[0], shape.name)
            with torch._C.DisableTorchFunction():
                self.meter.before(call, args[0], shape, module.forward)
        self.seconds += perf_counter() - started

    def _after_whole(self, module: nn.Module, args: Any, h: Any) -> None:
        if _elsewhere() or _in_backward() or not (args and isinstance(args[0], Tensor)) or not self._whole():
            return
        started = perf_counter()
        call = self._whole().pop()
        if call is not None and isinstance(h, Tensor):
            with torch._C.DisableTorchFunction():
                self.meter.after(call, h)
        self.seconds += perf_counter() - started

    def _whole(self) -> list[Call | None]:
        """The calls whose activation is being computed by a module in this thread."""
        if not hasattr(self._local, "whole"):
            self._local.whole = []
        found: list[Call | None] = self._local.whole
        return found


class _Watch(TorchFunctionMode):
    """Sees every torch function that the model calls, and stops at the activations."""

    def __init__(self, taps: Taps) -> None:
        super().__init__()
        self.taps = taps

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        self.taps.look_for_hooks()
        kind = FUNCTIONS.get(func)
        h = func(*args, **kwargs) if kind is None else self._called(kind, func, args, kwargs)
        if self.taps.no_grad and not (_elsewhere() or _in_backward()):
            self.taps.attention_of(func, args, kwargs, h)
        return h

    def _called(self, kind: str, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """An activation, called on whatever it is applied to."""
        if _elsewhere() or _in_backward():
            return func(*args, **kwargs)
        started = perf_counter()
        z = args[0] if args else kwargs.get("input")
        call = self.taps.owner(z) if isinstance(z, Tensor) and z.is_floating_point() else None
        shape = shape_of(kind, args, kwargs) if call is not None else None
        if call is None or shape is None or z is None:
            self.taps.seconds += perf_counter() - started
            return func(*args, **kwargs)
        self.taps.activate(call, z, shape.name)

        def phi(x: Tensor) -> Tensor:
            rest = {name: value for name, value in kwargs.items() if name != "input"}
            h: Tensor = func(x, *args[1:], **rest)
            return h

        self.taps.meter.before(call, z, shape, phi)
        self.taps.seconds += perf_counter() - started
        h = func(*args, **kwargs)
        started = perf_counter()
        self.taps.meter.after(call, h)
        self.taps.seconds += perf_counter() - started
        return h


def _elsewhere() -> bool:
    """Whether the code is being compiled or transformed by torch.func: its tensors are not this step's numbers."""
    if torch.compiler.is_compiling():
        return True
    return torch._C._functorch.peek_interpreter_stack() is not None


def _in_backward() -> bool:
    return torch._C._current_graph_task_id() != -1


def _remove_mode(mode: TorchFunctionMode) -> None:
    """Take a mode off this thread's stack, wherever it is there."""
    above = []
    with suppress(IndexError, AssertionError, RuntimeError):
        while torch.overrides._get_current_function_mode() is not None:  # type: ignore[no-untyped-call]
            top = torch.overrides._pop_mode()  # type: ignore[no-untyped-call]
            if top is mode:
                break
            above.append(top)
    for other in reversed(above):
        torch.overrides._push_mode(other)  # type: ignore[no-untyped-call]
