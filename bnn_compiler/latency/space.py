"""PlanSpace: the plans of a network, their pruned modules, and their kernels without compiling."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from itertools import islice
from math import gcd
from operator import index
from pathlib import Path
from typing import Any

import torch
import tvm
from torch import nn

from bnn_compiler import target as targets
from bnn_compiler.errors import ModelError, PlanError
from bnn_compiler.frontend.onnx import file as onnx_file
from bnn_compiler.frontend.pytorch import importer, simplify, source, trace
from bnn_compiler.latency import crop
from bnn_compiler.latency.cuts import is_certain, is_cut, trials
from bnn_compiler.latency.dims import Layer, Point, size
from bnn_compiler.latency.groups import Groups
from bnn_compiler.latency.kernel import Kernel
from bnn_compiler.latency.retarget import retarget
from bnn_compiler.latency.structure import Key, Structure
from bnn_compiler.latency.table import Table
from bnn_compiler.latency.template import Decoder, Template
from bnn_compiler.network import fused
from bnn_compiler.options import Options
from bnn_compiler.plan import plan as planning

#: Channels by the names of groups. Optional: "NAME.groups", the group count of the convolution
#: NAME, and "batch". What is absent has its full value.
Plan = Mapping[str, int]


class PlanSpace:
    """Every plan of a network.

    ``groups`` are the full channels of what moves together, by the module that makes it, in order;
    ``full`` is the plan of the network itself. ``convolutions`` are the full values of the keys
    "NAME.groups", ``batch`` that of "batch". ``target`` is where its plans are to run.
    """

    def __init__(self, model: nn.Module, found: Groups, batch: int, options: Options) -> None:
        self.model, self.options, self.target = model, options, "native"
        self.groups = dict(found.sizes)
        self.batch = batch
        # The most usual plans have the example's batch.
        at = found.batch
        found = replace(found, full=(*found.full[:at], batch, *found.full[at + 1 :]))
        self._found = found
        self._calls = crop.run(model, found.inputs(found.full)).names
        self._settable = self._convolutions()
        self.convolutions = {f"{n}.groups": c[0].groups for n, c in self._settable.items()}
        self._base = found.full
        places: dict[str, tuple[int, ...]] = {name: (i,) for i, name in enumerate(self.groups)}
        for name, layers in self._settable.items():
            places[f"{name}.groups"] = tuple(layer.position for layer in layers)
        self._places = {**places, "batch": (found.batch,)}
        self._grouped = [c for c in found.layers if c.position >= 0]
        self._structure: Structure | None = None
        self._templates: dict[Key, Template] = {}
        self._full_kernels: tuple[Kernel, ...] = ()

    @staticmethod
    def of(
        model: Any,
        example_inputs: Sequence[Any],
        *,
        checkpoint: str | Path | None = None,
        target: str = "native",
        zero_weight: str = "exact",
        input_dtype: str = "float32",
        mean: Sequence[float] = (0.0,),
        std: Sequence[float] = (1.0,),
        allow_reorder: bool = False,
    ) -> "PlanSpace":
        """The plans of an nn.Module or "package.module:factory"; the rest is as ``compile`` has it.

        Raises ModelError, UnsupportedError, InputError or TargetError.
        """
        options = Options.of(zero_weight, input_dtype, mean, std, allow_reorder)
        options = options.on(targets.load(target).hardware.kind)
        if onnx_file.recognises(model):
            raise ModelError("an ONNX model has its channels written into it; give the nn.Module")
        given = source.load_model(model, checkpoint=checkpoint, example_inputs=example_inputs)
        if not isinstance(given.model, nn.Module):
            raise ModelError(
                "an exported program has its channels written into it; give the nn.Module"
            )
        batch = int(given.example_inputs[0].shape[0])
        space = PlanSpace(given.model, _groups(given.model, given.example_inputs), batch, options)
        space.target = target
        return space

    @property
    def full(self) -> dict[str, int]:
        """The plan of the network itself."""
        return dict(self.groups)

    # ---- plans

    def check(self, plan: Plan) -> None:
        """Raise PlanError for a plan that names no group, or gives a count that cannot be."""
        self._point(plan)

    def group_counts(self, name: str, plan: Plan) -> tuple[int, ...]:
        """The values that ``name`` ("NAME.groups") can have beside the rest of ``plan``.

        Raises PlanError for any other name.
        """
        if name not in self.convolutions:
            raise self._unknown(name)
        point = self._counts(plan)
        layers = self._settable[name.removesuffix(".groups")]
        common = gcd(*(size(d, point) for c in layers for d in (c.inputs, c.outputs)))
        least = max(-(-size(c.inputs, point) // _columns(c)) for c in layers)
        return tuple(count for count in range(least, common + 1) if common % count == 0)

    def crop(self, plan: Plan, *, check: bool = True) -> nn.Module:
        """The pruned network: a copy with the leading channels of every group.

        Raises PlanError for a plan that cannot be, or if the copy does not run with its shapes,
        which takes most of the time: without ``check`` the first run of the copy tells.
        """
        point = self._point(plan)
        cropped = crop.crop(self.model, self._found, point)
        if check:
            crop.check(cropped, self._found, point, self._calls)
        return cropped

    def kernels(self, plan: Plan) -> tuple[Kernel, ...]:
        """The kernel calls that compiling ``crop(plan)`` gives, without tracing or compiling.

        The first plan of a structure costs a few runs of the passes; others are looked up.
        Raises PlanError for a plan that cannot be, or whose kernels depend on its weights.
        """
        point = self._point(plan)
        return self._admitting(point).kernels(point)

    def tables(self, plans: Sequence[Plan]) -> list[Table]:
        """What takes the same time as ``kernels`` of each plan, by plans of one structure.

        Raises what ``kernels`` does.
        """
        parts: dict[int, tuple[Template, list[int], list[Point]]] = {}
        for row, plan in enumerate(plans):
            point = self._point(plan)
            template = self._admitting(point)
            _, rows, points = parts.setdefault(id(template), (template, [], []))
            rows.append(row)
            points.append(point)
        return [Table.of(*part) for part in parts.values()]

    # ---- counts

    def _counts(self, plan: Plan) -> Point:
        counts = list(self._base)
        for name, given in plan.items():
            places = self._places.get(name)
            if places is None:
                raise self._unknown(name)
            count = given if type(given) is int else _integer(name, given)
            if count < 1 or (count > self.groups.get(name, count)):
                full = self.groups.get(name)
                bound = f"from 1 to {full}" if full else "at least 1"
                raise PlanError(f"{name}: {count} cannot be; give an integer {bound}")
            for place in places:
                counts[place] = count
        return tuple(counts)

    def _point(self, plan: Plan) -> Point:
        point = self._counts(plan)
        if point[self._found.batch] != self.batch and not self._found.any_batch:
            raise PlanError(f"batch: this network runs on batches of {self.batch} only")
        for layer in self._grouped:
            count = point[layer.position]
            if count > 1 or layer.groups > 1:
                why = _refused(layer, point, count)
                if why:
                    raise PlanError(why)
        for cut in self._found.cuts.values():
            kept, there = size(cut.target, point), size(cut.source, point)
            if kept > there and not cut.grows:
                raise PlanError(f"{cut.path or 'a shortcut'}: it keeps {kept} of {there} channels")
        return point

    def _unknown(self, name: object) -> PlanError:
        known = [*self.groups, *self.convolutions, "batch"]
        return PlanError(f"no group {name!r}; known: {', '.join(known)}")

    def _convolutions(self) -> dict[str, list[Layer]]:
        """The convolutions whose group count is an attribute of their module."""
        found: dict[str, list[Layer]] = {}
        for layer in self._found.layers:
            if layer.position >= 0 and not layer.locked and layer.path:
                module = self.model.get_submodule(layer.path)
                if getattr(module, "groups", None) == layer.groups:
                    found.setdefault(layer.path, []).append(layer)
        return found

    # ---- templates

    def _admitting(self, point: Point) -> Template:
        """The template of a plan that does not leave it."""
        structure = self._structure or self._structures()
        template = self._templates.get(structure.key(point))
        if template is None:
            template = self._template(structure, point)
        template.admit(point)
        return template

    def _structures(self) -> Structure:
        """The structures of this network's plans, once."""
        module = self._imported(self._found.full, {})
        self._full_kernels = self._planned(module)
        self._structure = Structure(self._found, module, self._full_kernels)
        return self._structure

    def _template(self, structure: Structure, point: Point) -> Template:
        """A template for the plans of the structure of ``point``, checked on several of them."""
        zeros = structure.zeros(point)

        def evaluate(at: Point) -> tuple[Kernel, ...]:
            at_full = at == self._found.full and zeros == structure.zeros(at)
            return self._full_kernels if at_full else self._planned(self._imported(at, zeros))

        same, template, rest = structure.same(point), None, list[Point]()
        for probe in structure.probes(point):
            if template is None:
                decoder = Decoder(self._found, probe, same)
                if not decoder.ambiguous:
                    template = Template(decoder, probe, evaluate)
                    first = probe
                    rest += islice(structure.reversed_probes(point), 1)
            elif structure.counted and probe[0] % 2 != first[0] % 2:
                rest.append(probe)
                break
        if template is None:
            raise PlanError("no template: the counts of this plan cannot be told apart")
        agree = [not template.agree(p) for p in [*rest, *structure.ends(point)]]
        # Every state of every shortcut between untied channels was seen, or none is believed.
        template.believed = all(agree) or not self._found.cuts
        if not all(agree) and structure.counted and not structure.careful:
            structure.careful = True
            self._templates.clear()
            return self._template(structure, point)
        self._templates[structure.key(point)] = template
        return template

    def _imported(self, point: Point, zeros: Mapping[str, bool]) -> tvm.IRModule:
        """The module that importing the crop to ``point`` gives."""
        return importer.to_relax(simplify.simplify(retarget(self._found, point, zeros)))

    def _planned(self, module: tvm.IRModule) -> tuple[Kernel, ...]:
        """The kernels that compiling it gives."""
        return Kernel.of_plan(planning.plan(fused(module, self.options)))


def _groups(model: nn.Module, inputs: Sequence[torch.Tensor]) -> Groups:
    """Traced with two images, so that a batch is told from a broadcast; with one if it must be.

    Cuts that a crop of the model does not make in the same way are none.
    """
    traced = None
    if all(x.dim() > 1 and x.shape[0] == 1 for x in inputs):
        with suppress(ModelError):
            traced = trace.trace(model, [x.repeat(2, *[1] * (x.dim() - 1)) for x in inputs])
        # What cannot be one image again is traced as it is.
        if traced is not None and not Groups.of(traced).any_batch:
            traced = None
    traced = traced or trace.trace(model, inputs)
    for cuts in (is_cut, is_certain):
        found = Groups.of(traced, cuts)
        if not found.cuts or _crops(model, found):
            return found
    return Groups.of(traced, lambda _: False)


def _crops(model: nn.Module, found: Groups) -> bool:
    """Whether the model cuts by the counts of its tensors, tried where they differ."""
    calls = crop.run(model, found.inputs(found.full)).names
    try:
        for point in trials(found.cuts.values(), found.layers, found.full):
            crop.check(crop.crop(model, found, point), found, point, calls)
    except PlanError:
        return False
    return True


def _integer(name: str, given: Any) -> int:
    try:
        if not isinstance(given, bool):
            return index(given)
    except TypeError:
        pass
    raise PlanError(f"{name}: {given!r} is no integer")


def _columns(layer: Layer) -> int:
    """The input channels that an output has weights for."""
    return layer.inputs.size // layer.groups


def _refused(layer: Layer, point: Point, count: int) -> str:
    """Why a convolution cannot have ``count`` groups; "" if it can."""
    inputs, outputs = size(layer.inputs, point), size(layer.outputs, point)
    if inputs % count or outputs % count:
        return f"{layer.path}: {count} groups do not divide {inputs} and {outputs} channels"
    most = _columns(layer)
    if inputs // count > most:
        least = -(-inputs // most)
        return (
            f"{layer.path}: {count} groups of {inputs // count} channels, the network has weights"
            f" for {most}; give {layer.path}.groups at least {least}"
        )
    return ""
