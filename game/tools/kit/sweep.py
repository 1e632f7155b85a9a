"""Sweeps: the same change at one place after another, all places of all prompts as rows of few calls."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import product
from typing import Literal, get_args

import torch
from torch import Tensor

from game.api import Intervention, RequestError, Toolbox, TransformerConfig
from game.tools.kit.batches import Changes, call_rows, nothing_changed
from game.tools.kit.result import Axis, Link, numbered
from game.tools.lens import site_names

Site = Literal["resid", "attn", "mlp", "head", "head_position", "neuron", "attn_layer", "mlp_layer"]
Measure = Callable[[Tensor, Tensor], Tensor]  # logits and run numbers to one number, or a few, a run

_AXES: Mapping[Site, tuple[Link, ...]] = {  # over what the cells of a layer run
    "resid": ("pos",),
    "attn": ("pos",),
    "mlp": ("pos",),
    "head": ("head",),
    "head_position": ("pos", "head"),
    "neuron": ("neuron",),
    "attn_layer": (),
    "mlp_layer": (),
}
_HOOKS: Mapping[str, str] = {
    "attn": "hook_attn_out",
    "mlp": "hook_mlp_out",
    "head": "attn.hook_z",
    "neuron": "mlp.hook_post",
}
_OF_MLPS = ("mlp", "neuron")
_PLACE: Mapping[Link, int] = {"pos": 1, "head": 2, "neuron": 2}  # axis of the hook's activation


@dataclass(frozen=True)
class Grid:
    """The places that a sweep visits: a row of cells for each hook.

    Attributes:
        site: Which kind of place.
        hooks: Hook names, one a layer; of `resid` the embedding comes first.
        axes: Over what the cells of a hook run, such as positions.
        sizes: How many cells along each of the axes.
    """

    site: Site
    hooks: tuple[str, ...]
    axes: tuple[Link, ...]
    sizes: tuple[int, ...]

    @classmethod
    def of(cls, config: TransformerConfig, length: int, site: Site) -> "Grid":
        """The grid of a kind of place, for prompts of `length` tokens.

        Raises:
            RequestError: The kind is unknown, or this model has no such place.
        """
        if site not in _AXES:
            raise RequestError(f'site: got "{site}"; allowed: {", ".join(get_args(Site))}')
        sizes = {"pos": length, "head": config.n_heads, "neuron": config.d_mlp}
        axes = _AXES[site]
        return cls(site, _hooks(config, site), axes, tuple(sizes[axis] for axis in axes))

    @property
    def shape(self) -> tuple[int, ...]:
        """Cells: hooks, then the axes."""
        return (len(self.hooks), *self.sizes)

    @property
    def layers(self) -> tuple[str, ...]:
        """What each hook's row of cells is called: its layer's number, or `embed`."""
        return tuple("embed" if name.endswith("resid_pre") else name.split(".")[1] for name in self.hooks)

    @property
    def link(self) -> list[Link | None]:
        """The cursors that `view_axes` follow."""
        return ["layer", *self.axes]

    def view_axes(self) -> list[Axis]:
        """One axis for the hooks, and the others."""
        return [
            Axis(name="layer", labels=self.layers),
            *(numbered(name, size) for name, size in zip(self.axes, self.sizes, strict=True)),
        ]

    def cells(self, runs: int) -> Tensor:
        """All cells for all runs, `[cell, 1 + axes + 1]`: hook, place along each axis, and run."""
        spans = [range(size) for size in (*self.shape, runs)]
        return torch.cartesian_prod(*map(torch.tensor, map(list, spans)))

    def interventions(
        self, cells: Tensor, values: Mapping[str, Tensor], owners: Tensor, window: int = 1
    ) -> list[Intervention]:
        """Each row's values put where its cell is.

        Args:
            cells: Rows of `cells`.
            values: For each hook its activation, `[owner, ...]`.
            owners: Which of the values each row takes.
            window: How many neighbouring hooks a cell covers, its own in the middle.
        """
        found = []
        for index, name in enumerate(self.hooks):
            ahead = cells[:, 0] - index
            rows = ((ahead <= window // 2) & (-ahead < (window + 1) // 2)).nonzero()[:, 0]
            if len(rows):
                mask = self._mask(cells, values[name].ndim)
                value = values[name][owners[rows]]
                found.append(Intervention(name, value, "set", mask=mask, rows=tuple(rows.tolist())))
        return found

    def _mask(self, cells: Tensor, ndim: int) -> Tensor | None:
        """Where each row's cell is in the activation, along the grid's axes."""
        if not self.axes:
            return None
        mask = torch.ones((len(cells), *[1] * (ndim - 1)), dtype=torch.bool)
        for column, (axis, size) in enumerate(zip(self.axes, self.sizes, strict=True), start=1):
            here = torch.arange(size) == cells[:, column, None]  # [row, place]
            place = _PLACE[axis]
            mask = mask & here.view(len(cells), *[1] * (place - 1), size, *[1] * (ndim - place - 1))
        return mask


def _hooks(config: TransformerConfig, site: Site) -> tuple[str, ...]:
    kind = site.split("_")[0]
    if kind == "resid":
        return site_names(config)
    layers = [layer for layer, has_mlp in enumerate(config.mlp) if has_mlp or kind not in _OF_MLPS]
    if not layers:
        raise RequestError(f"site: got {site}, but no layer of this model has an MLP")
    return tuple(f"blocks.{layer}.{_HOOKS[kind]}" for layer in layers)


def cells_of(config: TransformerConfig, length: int, site: Site) -> int:
    """How many cells the grid has."""
    return torch.Size(Grid.of(config, length, site).shape).numel()


def sweep(
    box: Toolbox,
    grid: Grid,
    tokens: Tensor,
    values: Mapping[str, Tensor],
    measure: Measure,
    owners: Tensor | None = None,
    before: Changes = nothing_changed,
    window: int = 1,
) -> Tensor:
    """What is measured when values are put into each cell of each run, `[hook, *axes, run, ...]`.

    Args:
        box: The model.
        grid: Where.
        tokens: Of each run, `[run, pos]`.
        values: For each hook what is put there, `[owner, ...]`.
        measure: Logits and run numbers to what is wanted of each row.
        owners: Which of the values each run takes, `[run]`; by default its own.
        before: Interventions that come first, given the run numbers of the rows.
        window: How many neighbouring hooks a cell covers.
    """
    owners = torch.arange(len(tokens)) if owners is None else owners
    found = []
    for cells in torch.split(grid.cells(len(tokens)), call_rows(box)):
        runs = cells[:, -1]
        changes = [*before(runs), *grid.interventions(cells, values, owners[runs], window)]
        found.append(measure(box.logits(tokens[runs], changes), runs))
    result = torch.cat(found)
    return result.view(*grid.shape, len(tokens), *result.shape[1:])


def labelled_cells(grid: Grid) -> list[str]:
    """A name for each cell, in the order of the sweep's first axes."""
    places = [range(size) for size in grid.sizes]
    return [
        " ".join([f"layer {layer}", *(f"{name} {at}" for name, at in zip(grid.axes, cell, strict=True))])
        for layer in grid.layers
        for cell in product(*places)
    ]
