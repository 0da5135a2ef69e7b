# SPDX-License-Identifier: Apache-2.0
"""What a network's constructor draws from torch's generator, written down instead of drawn.

While a network is built, every random operation is recorded as a step of a recipe that belongs to
the tensor's storage; deterministic steps that follow on the same values (scaling, clamping, copying
into a parameter) join the recipe. Afterwards `initial.py` carries the recipes out with our own
streams. A random operation that is not known, or a use of drawn values that cannot be followed, is
refused: nothing random escapes `base_seed`.

Source:
    EXACT arithmetic, section 3 (draws are recorded and replayed from the stream of the parameter).
"""

import contextlib
import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch._ops import OpOverload
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode

from tiny_agent_trainer import errors


@dataclasses.dataclass(frozen=True, slots=True)
class Step:
    """One step of a recipe: what is done, with which numbers, to which part of the storage."""

    name: str
    numbers: tuple[float, ...] = ()
    part: tuple[int, tuple[int, ...], tuple[int, ...]] | None = None


Recipe = tuple[Step, ...]

_DRAWS_IN_PLACE = {
    "aten::uniform_": ("uniform", (0.0, 1.0)),
    "aten::normal_": ("normal", (0.0, 1.0)),
    "aten::bernoulli_": ("bernoulli", (0.5,)),
}
_DRAWS_NEW = {
    "aten::rand": "uniform",
    "aten::rand_like": "uniform",
    "aten::randn": "normal",
    "aten::randn_like": "normal",
}
_ARITHMETIC = {"mul": "mul", "div": "div", "add": "add", "sub": "sub", "erfinv": "erfinv",
               "clamp": "clamp", "neg": "neg"}  # fmt: skip
_MOST_NUMBERS = {"clamp": 2, "neg": 0, "erfinv": 0}  # else one; `alpha=` is not known
_OVERWRITES = {"aten::zero_", "aten::fill_"}
_COPIES = {"aten::clone", "aten::_to_copy", "aten::copy_", "aten::detach", "aten::lift_fresh",
           "aten::contiguous", "aten::alias"}  # fmt: skip
_SHAPE_ONLY = {"aten::empty_like", "aten::zeros_like", "aten::ones_like", "aten::new_empty",
               "aten::new_zeros", "aten::new_ones", "aten::full_like", "aten::empty_strided",
               "aten::new_empty_strided"}  # fmt: skip


class DrawRecorder(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Records recipes while it is active.

    Attributes:
        recipes: Recipe of each storage, by the storage's address.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.recipes: dict[int, Recipe] = {}
        self._alive: list[torch.Tensor] = []  # keeps addresses from being used again

    def recipe_of(self, tensor: torch.Tensor) -> Recipe | None:
        """The recipe of a tensor's values; None if they were not drawn."""
        return self.recipes.get(_address(tensor))

    def record_truncated_normal(
        self, tensor: torch.Tensor, mean: float, std: float, a: float, b: float, **_: object
    ) -> torch.Tensor:
        """Stand in for torch's rejection sampler, whose steps depend on what is drawn."""
        if not _is_whole(tensor):
            raise _refusal("a random part of a larger tensor (trunc_normal_ on a view)")
        self._set(tensor, (Step("truncated_normal", (mean, std, a, b)),))
        return tensor

    def __torch_dispatch__(
        self,
        func: Any,  # noqa: ANN401 (torch's own signature)
        types: Any,  # noqa: ANN401
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:  # noqa: ANN401
        kwargs = dict(kwargs or {})
        name = func._schema.name
        if name in _DRAWS_IN_PLACE:
            return self._draw_in_place(name, args, kwargs)
        if name in _DRAWS_NEW:
            return self._draw_new(name, args, kwargs)
        if torch.Tag.nondeterministic_seeded in func.tags:
            raise _refusal(f"the random operation {name}")
        given = pytree.tree_leaves((args, kwargs))  # lists of tensors have to be looked into
        is_drawn = any(isinstance(a, torch.Tensor) and self.recipe_of(a) for a in given)
        result = func(*args, **kwargs)
        if is_drawn:
            self._follow(name, func, args, kwargs, result)
        return result

    def _draw_in_place(
        self, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> torch.Tensor:
        kind, defaults = _DRAWS_IN_PLACE[name]
        given = [*args[1:], *defaults[len(args) - 1 :]]
        for position, keyword in enumerate(
            ("from", "to") if kind == "uniform" else ("mean", "std")
        ):
            if keyword in kwargs:
                given[position] = kwargs[keyword]
        tensor: torch.Tensor = args[0]
        if not _is_whole(tensor):
            raise _refusal(f"a random part of a larger tensor ({name} on a view)")
        if any(isinstance(number, torch.Tensor) for number in given):
            raise _refusal(f"a distribution for each value ({name} with a tensor)")
        self._set(tensor, (Step(kind, tuple(float(number) for number in given)),))
        return tensor

    def _draw_new(
        self,
        name: str,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> torch.Tensor:
        if name.endswith("_like"):
            tensor = torch.zeros_like(args[0], **kwargs)
        else:
            kwargs.pop("generator", None)
            tensor = torch.ops.aten.zeros.default(args[0], **kwargs)
        self._set(tensor, (Step(_DRAWS_NEW[name], (0.0, 1.0)),))
        return tensor

    def _set(self, tensor: torch.Tensor, recipe: Recipe) -> None:
        tensor.detach().zero_()
        self._alive.append(tensor)
        self.recipes[_address(tensor)] = recipe

    def _follow(
        self,
        name: str,
        func: OpOverload,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        result: object,
    ) -> None:
        """Carry recipes on through an operation that was given drawn values."""
        if name in _SHAPE_ONLY or func.is_view or not isinstance(result, torch.Tensor):
            self._require_no_values(name, func, result)
        elif name in _OVERWRITES:
            self._overwrite(name, args, result)
        elif name in _COPIES:
            self._copy(args, result, is_copy_into=name == "aten::copy_")
        else:
            self._calculate(name, args, kwargs, result)

    def _require_no_values(self, name: str, func: OpOverload, result: object) -> None:
        if not (name in _SHAPE_ONLY or func.is_view):
            raise _refusal(f"drawn values used by {name}")
        self._alive.extend(t for t in (result if isinstance(result, list | tuple) else [result])
                           if isinstance(t, torch.Tensor))  # fmt: skip

    def _overwrite(self, name: str, args: tuple[Any, ...], result: torch.Tensor) -> None:
        if _is_whole(result):
            del self.recipes[_address(result)]
            return
        value = 0.0 if name == "aten::zero_" else float(args[1])
        part = (int(result.storage_offset()), tuple(result.shape), tuple(result.stride()))
        self.recipes[_address(result)] += (Step("fill", (value,), part),)

    def _copy(self, args: tuple[Any, ...], result: torch.Tensor, *, is_copy_into: bool) -> None:
        source = args[1] if is_copy_into else args[0]
        recipe = self.recipe_of(source)
        if not (_is_whole(source) and _is_whole(result)):
            raise _refusal("drawn values copied in part")
        self._alive.append(result)
        if recipe:
            self.recipes[_address(result)] = recipe
        else:
            self.recipes.pop(_address(result), None)

    def _calculate(
        self, name: str, args: tuple[Any, ...], kwargs: dict[str, Any], result: torch.Tensor
    ) -> None:
        step = _ARITHMETIC.get(name.removeprefix("aten::").rstrip("_"))
        rest = [*args[1:], *kwargs.values()]
        is_known = len(rest) <= _MOST_NUMBERS.get(step or "", 1) and all(
            number is None or isinstance(number, int | float) for number in rest
        )
        if step is None or not is_known or not _is_whole(args[0]):
            raise _refusal(f"drawn values used by {name}")
        low_high = [float("nan") if number is None else float(number) for number in rest]
        recipe = self.recipes[_address(args[0])] + (Step(step, tuple(low_high)),)
        self._alive.append(result)
        self.recipes[_address(result)] = recipe


@contextlib.contextmanager
def recording() -> Iterator[DrawRecorder]:
    """Build a network inside this block; nothing is drawn, everything is written down.

    Raises:
        ModelError: On leaving, if torch's generator was used behind the recorder's back.
    """
    before = torch.get_rng_state()
    recorder = DrawRecorder()
    sampler = torch.nn.init._no_grad_trunc_normal_
    torch.nn.init._no_grad_trunc_normal_ = recorder.record_truncated_normal  # type: ignore[assignment]
    try:
        with recorder:
            yield recorder
    finally:
        torch.nn.init._no_grad_trunc_normal_ = sampler
    if not torch.equal(before, torch.get_rng_state()):
        raise _refusal("numbers drawn from torch's generator in a way that was not seen")


def _address(tensor: torch.Tensor) -> int:
    return int(tensor.untyped_storage()._cdata)


def _is_whole(tensor: torch.Tensor) -> bool:
    values = tensor.untyped_storage().nbytes() // tensor.element_size()
    return tensor.is_contiguous() and tensor.numel() == values


def _refusal(found: str) -> errors.ModelError:
    return errors.ModelError(
        where="the network's constructor",
        expected="initial weights that can be replayed from base_seed "
        "(uniform, normal, truncated normal, scaled or clamped)",
        found=found,
        remedy="initialise these weights with torch.nn.init functions on whole parameters, "
        "or load them with [model.weights]",
    )
