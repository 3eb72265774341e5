"""The recorder: a dispatch mode that runs a model once and writes down every aten call.

Three ways of running, tried in this order by `trace`:

- "meta": every tensor that depends on the input or on parameters is replaced by a meta tensor (shapes only). Small
  tensors that depend on neither (index tables, masks) are really computed, so that their values are known.
- "fake": the same with fake tensors, which pretend to live on the model's device.
- "real": everything is computed; for models whose control flow looks at the data.

The model's own tensors are never touched: what the model would write into them is written into their stand-ins.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Literal

import torch
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

from perimetry.records import Node, Value, ValueRef
from perimetry.tracing.arguments import (
    CONSTANT_LIMIT,
    argument_named,
    flat_tensors,
    form_key,
    geometry_of,
    makes_little,
    on_cpu,
    referring,
    storage_of,
    swapped_in,
)
from perimetry.tracing.operators import Operator, describe

How = Literal["meta", "fake", "real"]


# Operators that read no more than the form of their first tensor.
CONTENT_FREE = frozenset(
    f"aten.{name}"
    for name in ("zeros_like", "ones_like", "full_like", "empty_like", "new_zeros", "new_ones", "new_full", "new_empty")
)


class Recorder(TorchDispatchMode):
    """Records the aten calls made while it is active as `values` and `nodes`.

    how: see the module's text. known: names and kinds of the model's own tensors, by identity; own_storages: the
    memory they lie in.
    current_call: answers the index of the module call that is running. watch: called with a node's index and its
    output tensors right after it ran; before_write: called with each tensor that is about to be overwritten.
    """

    def __init__(
        self,
        how: How,
        known: dict[int, tuple[str, Literal["parameter", "buffer"]]],
        own_storages: set[int],
        current_call: Callable[[], int],
        *,
        watch: Callable[[int, Any], None] | None = None,
        before_write: Callable[[torch.Tensor], None] | None = None,
    ) -> None:
        super().__init__()
        self.how = how
        self.values: list[Value] = []
        self.nodes: list[Node] = []
        self.image_indices: set[int] = set()
        self.lost_contents = False
        self._known = known
        self._own_storages = own_storages
        self._current_call = current_call
        self._watch = watch
        self._before_write = before_write
        self._fake = FakeTensorMode(allow_non_fake_inputs=True) if how == "fake" else None
        self._index: dict[int, int] = {}  # id of a live tensor -> its value now
        self._alive: dict[int, torch.Tensor] = {}  # keeps ids from being used again
        self._stand_ins: dict[int, torch.Tensor] = {}  # id of a real tensor -> its meta or fake twin
        self._memories: dict[tuple[int, torch.dtype], torch.Tensor] = {}  # stand-ins of whole storages
        self._sharing: dict[int, list[weakref.ref[torch.Tensor]]] = {}  # storage -> tensors known to share it
        self._constant_storages: set[int] = set()  # memory of constants that were made during the run
        self._forms: dict[Any, list[tuple[Any, ...]]] = {}  # outputs' form by operator and inputs' form

    # ---- tensors and their values

    def add_input(self, tensor: torch.Tensor, kind: Literal["image", "input"], name: str) -> torch.Tensor:
        """Register an input; returns the tensor that the model must be called with."""
        # A real run gets a copy: models may write into their input, and the example is the user's.
        stand_in = tensor.detach().clone() if self.how == "real" else self._make_stand_in(tensor)
        index = self._new_value(stand_in, kind, name)
        if kind == "image":
            self.image_indices.add(index)
        return stand_in

    def value_of(self, tensor: torch.Tensor) -> int:
        """The index of the value that a tensor holds now; a tensor never seen is the model's own or a constant."""
        stand_in = self._stand_ins.get(id(tensor))
        found = self._index.get(id(tensor if stand_in is None else stand_in))
        if found is not None:
            return found
        name, kind = self._known.get(id(tensor), ("", "constant"))
        # A constant that was made on the device of a stand-in: its contents were never stored.
        made_here = kind == "constant" and tensor.device.type == "meta"
        self.lost_contents = self.lost_contents or (self.how == "meta" and made_here)
        return self._new_value(tensor, kind, name)

    def _new_value(self, tensor: torch.Tensor, kind: Any, name: str = "", *, producer: int | None = None) -> int:
        index = len(self.values)
        # A model that was built on the meta device has tensors of its own, but no contents that a rule could look at.
        own = tensor if kind in ("parameter", "buffer", "constant") and tensor.device.type != "meta" else None
        self.values.append(Value(index, kind, tuple(tensor.shape), tensor.dtype, name, producer, own))
        self._remember(tensor, index)
        return index

    def _remember(self, tensor: torch.Tensor, index: int) -> None:
        key = id(tensor)
        self._index[key] = index
        self._alive[key] = tensor

    def _make_stand_in(self, tensor: torch.Tensor) -> torch.Tensor:
        """A tensor of the same form without contents; tensors that share memory get stand-ins that share it too."""
        if self._fake is not None and id(tensor) in self._known:
            return self._fake.from_tensor(tensor.detach(), static_shapes=True)
        size, stride = tensor.size(), tensor.stride()
        if id(tensor) in self._known or (self._fake is None and tensor.device.type == "meta"):
            return torch.empty_strided(size, stride, dtype=tensor.dtype, device="meta")
        place = (storage_of(tensor), tensor.dtype)
        base = self._memories.get(place)
        if base is None:
            extent = max(1, tensor.untyped_storage().nbytes() // tensor.dtype.itemsize)
            if self._fake is not None:
                with self._fake:
                    base = torch.empty(extent, dtype=tensor.dtype)
            else:
                base = torch.empty(extent, dtype=tensor.dtype, device="meta")
            self._memories[place] = base
            self._sharing[storage_of(base)] = self._sharing.setdefault(place[0], [])
        if self._fake is not None:
            with self._fake:
                return base.as_strided(size, stride, tensor.storage_offset())
        return base.as_strided(size, stride, tensor.storage_offset())

    def _stands_for_real(self, tensor: torch.Tensor) -> bool:
        return tensor.device.type == "meta" or isinstance(tensor, FakeTensor)

    # ---- running

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        operator = describe(func)
        tensors = list(flat_tensors(args, kwargs))
        refs = {id(tensor): ValueRef(self.value_of(tensor)) for tensor in tensors}
        if self._before_write is not None and operator.written:
            for name in operator.written:
                target = argument_named(operator, args, kwargs, name)
                if isinstance(target, torch.Tensor):
                    self._before_write(target)
        result = self._run(func, operator, args, kwargs, tensors)
        self._record(func, operator, args, kwargs, refs, result)
        return result

    def _run(self, func: Any, operator: Operator, args: Any, kwargs: Any, tensors: list[torch.Tensor]) -> Any:
        if self.how == "real":
            return self._run_real(func, operator, args, kwargs, tensors)
        if self._is_known(operator, args, kwargs, tensors):
            return func(*args, **on_cpu(kwargs))
        if operator.name in CONTENT_FREE and makes_little((*args[1:], list(tensors[0].shape))):
            # zeros_like, new_full ...: the contents follow from the shape, so they can be known.
            form = torch.empty((), dtype=tensors[0].dtype).expand(tensors[0].shape)
            return func(form, *args[1:], **on_cpu(kwargs))
        if operator.name == "aten.index":
            args = (args[0], [part for item in args[1] for part in self._spelt_mask(item)], *args[2:])
            tensors = list(flat_tensors(args, kwargs))
        swapped: dict[int, torch.Tensor] = {}
        for tensor in tensors:
            if not self._stands_for_real(tensor):
                swapped[id(tensor)] = self._stand_in(tensor)
        arguments, keywords = swapped_in(args, swapped), {k: swapped_in(v, swapped) for k, v in kwargs.items()}
        if self._fake is not None:
            with self._fake:
                return func(*arguments, **keywords)
        if "device" in keywords and keywords["device"] is not None:
            keywords["device"] = torch.device("meta")
        return self._run_meta(func, operator, arguments, keywords)

    def _spelt_mask(self, index: Any) -> tuple[Any, ...]:
        """A constant boolean index as the positions where it is true, so that the result's shape is known."""
        if isinstance(index, torch.Tensor) and index.dtype == torch.bool and self._is_constant(index):
            return index.nonzero(as_tuple=True)
        return (index,)

    def _run_meta(self, func: Any, operator: Operator, args: Any, kwargs: Any) -> Any:
        """Run on meta tensors, remembering the outputs' form: repeated blocks ask the same question many times."""
        if not operator.pure:
            return func(*args, **kwargs)
        key = form_key(func, args, kwargs)
        known = self._forms.get(key) if key is not None else None
        if known is None:
            result = func(*args, **kwargs)
            outputs = result if isinstance(result, tuple) else (result,)
            if key is not None and all(isinstance(output, torch.Tensor) for output in outputs):
                self._forms[key] = [(o.size(), o.stride(), o.dtype) for o in outputs]
            return result
        made = tuple(torch.empty_strided(size, stride, dtype=dtype, device="meta") for size, stride, dtype in known)
        return made if len(func._schema.returns) > 1 else made[0]

    def _run_real(self, func: Any, operator: Operator, args: Any, kwargs: Any, tensors: list[torch.Tensor]) -> Any:
        """Compute, but let the model write into copies of its own tensors only."""
        for name in operator.written:
            target = argument_named(operator, args, kwargs, name)
            if isinstance(target, torch.Tensor) and storage_of(target) in self._own_storages:
                place = (storage_of(target), target.dtype)
                if place not in self._memories:
                    whole = target.as_strided((target.untyped_storage().nbytes() // target.itemsize,), (1,), 0)
                    self._memories[place] = whole.clone()
        if not self._memories:
            return func(*args, **kwargs)
        swapped: dict[int, torch.Tensor] = {}
        for tensor in tensors:
            copy = self._memories.get((storage_of(tensor), tensor.dtype))
            if copy is not None:
                swapped[id(tensor)] = copy.as_strided(tensor.size(), tensor.stride(), tensor.storage_offset())
        return func(*swapped_in(args, swapped), **{name: swapped_in(item, swapped) for name, item in kwargs.items()})

    def _is_known(self, operator: Operator, args: Any, kwargs: Any, tensors: list[torch.Tensor]) -> bool:
        """True for a call whose results are small constants: it is really computed, and the model is not touched."""
        if not all(self._is_constant(tensor) for tensor in tensors):
            return False
        for name in operator.written:
            target = argument_named(operator, args, kwargs, name)
            if isinstance(target, torch.Tensor) and storage_of(target) not in self._constant_storages:
                return False
        return bool(tensors) or makes_little(args)

    def _is_constant(self, tensor: torch.Tensor) -> bool:
        """True for a small tensor whose contents are known and depend on neither the input nor parameters."""
        return (
            not self._stands_for_real(tensor)
            and id(tensor) not in self._stand_ins
            and self._known.get(id(tensor), ("", "buffer"))[1] != "parameter"
            and not isinstance(tensor, torch.nn.Parameter)
            and tensor.numel() <= CONSTANT_LIMIT
        )

    def _stand_in(self, tensor: torch.Tensor) -> torch.Tensor:
        twin = self._stand_ins.get(id(tensor))
        if twin is None:
            index = self.value_of(tensor)
            twin = self._make_stand_in(tensor)
            self._stand_ins[id(tensor)] = twin
            self._remember(twin, index)
        return twin

    # ---- writing down

    def _record(
        self, func: Any, operator: Operator, args: Any, kwargs: Any, refs: dict[int, ValueRef], result: Any
    ) -> None:
        node = len(self.nodes)
        outputs: list[int | None] = []
        flat = result if isinstance(result, list | tuple) else () if result is None else (result,)
        for output in flat:
            if isinstance(output, torch.Tensor):
                constant = output if self._has_known_contents(output, operator, refs) else None
                if constant is not None and not operator.view:
                    self._constant_storages.add(storage_of(output))
                index = len(self.values)
                self.values.append(
                    Value(index, "result", tuple(output.shape), output.dtype, "", producer=node, tensor=constant)
                )
                self._remember(output, index)
                outputs.append(index)
            else:
                outputs.append(None)
        self.nodes.append(
            Node(
                index=node,
                op=operator.name,
                func=func,
                args=tuple(referring(a, refs) for a in args),
                kwargs={k: referring(v, refs) for k, v in kwargs.items()},
                outputs=tuple(outputs),
                call=self._current_call(),
                view=operator.view,
                in_place=bool(operator.written) and len(operator.returned) >= len(outputs),
            )
        )
        if operator.view:
            source = next(flat_tensors(args, kwargs), None)
            if source is not None:
                for output in flat:
                    if isinstance(output, torch.Tensor):
                        self._share(source, output)
        elif operator.written:
            for name in operator.written:
                target = argument_named(operator, args, kwargs, name)
                if isinstance(target, torch.Tensor):
                    place = operator.returned.get(name)
                    self._write_through(target, None if place is None else outputs[place])
        if self._watch is not None:
            self._watch(node, result)

    def _has_known_contents(self, output: torch.Tensor, operator: Operator, refs: dict[int, ValueRef]) -> bool:
        """True for a small result that depends on neither the input nor parameters."""
        if self.how != "real":
            return not self._stands_for_real(output)
        if output.numel() > CONSTANT_LIMIT:
            return False
        sources = [self.values[ref.index] for ref in refs.values()]
        return operator.name in CONTENT_FREE or all(
            value.kind != "parameter" and value.tensor is not None for value in sources
        )

    def _share(self, source: torch.Tensor, view: torch.Tensor) -> None:
        """Note that a view and its source share memory, so that a write to one is seen in the other."""
        source = self._stand_ins.get(id(source), source)
        group = self._sharing.setdefault(storage_of(source), [])
        if not group:
            group.append(weakref.ref(source))
        group.append(weakref.ref(view))

    def _write_through(self, target: torch.Tensor, written: int | None) -> None:
        """After an in-place call, give the target and every tensor that shares its memory their new value."""
        if written is None:
            # The call does not hand the target back (running statistics): it got a value of its own.
            written = self._new_value(target, "result", producer=len(self.nodes) - 1)
            self.nodes[-1] = replace(self.nodes[-1], outputs=(*self.nodes[-1].outputs, written))
        self._overwrite(target, written)
        group = self._sharing.get(storage_of(target))
        if group is None:
            return
        over = geometry_of(target)
        for reference in group:
            other = reference()
            if other is None or other is target:
                continue
            under = geometry_of(other)
            if under == over:
                self._overwrite(other, written)
                continue
            node, index = len(self.nodes), len(self.values)
            before = self.value_of(other)
            known = None not in (self.values[before].tensor, self.values[written].tensor)
            contents = other if known else None
            self.values.append(Value(index, "result", tuple(other.shape), other.dtype, "", node, contents))
            geometry = {"under": under, "over": over}
            refs = (ValueRef(before), ValueRef(written))
            call = self._current_call()
            self.nodes.append(
                Node(node, "perimetry.overlay", None, refs, geometry, (index,), call, view=True, in_place=False)
            )
            self._overwrite(other, index)

    def _overwrite(self, tensor: torch.Tensor, index: int) -> None:
        """A tensor holds another value from now on; a constant whose contents are no longer known gets a stand-in."""
        known = self.values[index].tensor is not None
        if self.how != "real" and not known and not self._stands_for_real(tensor):
            tensor = self._stand_in(tensor)
        self._remember(tensor, index)
