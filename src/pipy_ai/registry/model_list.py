"""The list of models that `get_models` returns."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, SupportsIndex, overload

    from .schema import Model

    _Models = list[Model]
else:
    _Models = list

_COLUMNS = (
    "model", "provider", "id", "name", "family",
    "context", "max_output", "cost_input", "cost_output", "cost_cache_read", "cost_cache_write",
    "reasoning", "tool_call", "structured_output", "attachment", "temperature",
    "input_modalities", "output_modalities",
    "knowledge_cutoff", "release_date", "last_updated", "status", "open_weights",
)  # fmt: skip


class ModelList(_Models):
    """A list of models. `print()` and Jupyter show it as a table.

    Example:
        >>> from pipy_ai import get_models
        >>> models = get_models(provider="anthropic", search="sonnet 4-5")
        >>> models.to_dicts()[0]["cost_input"]
        3
    """

    def to_dicts(self) -> list[dict[str, Any]]:
        """Return one flat dict for each model, with the same keys, as tables need them.

        Prices (`cost_…`) are in $/1M tokens, limits in tokens. Unknown values are None.
        """
        return [dict(zip(_COLUMNS, _row(model), strict=True)) for model in self]

    def to_pandas(self) -> Any:
        """Return a pandas `DataFrame` with the columns of `to_dicts`.

        Raises:
            ImportError: Pandas is not installed.
        """
        from importlib import import_module

        try:
            pandas: Any = import_module("pandas")
        except ImportError:
            raise ImportError("to_pandas() needs pandas: pip install pandas") from None
        return pandas.DataFrame(self.to_dicts(), columns=list(_COLUMNS))

    def table(self, limit: int | None = None) -> str:
        """Return a plain-text table with the names, limits, prices and dates.

        Args:
            limit: The maximum number of rows. None: all.
        """
        from ..reprs import model_rows
        from ..utils.text import format_table

        header, rows = model_rows(self[:limit])
        text = format_table(header, rows, {"context", "$/1M in", "$/1M out"})
        more = len(self) - len(rows)
        return f"{text}\n… {more:,} more" if more else text

    def __str__(self) -> str:
        return self.table(limit=50)

    def __repr__(self) -> str:
        from ..reprs import model_list_repr

        return model_list_repr(self)

    def _repr_markdown_(self) -> str:
        from ..notebook import models_markdown

        return models_markdown(self)

    def _repr_html_(self) -> str:
        from ..notebook import models_html

        return models_html(self)

    if TYPE_CHECKING:

        @overload
        def __getitem__(self, index: SupportsIndex, /) -> Model: ...
        @overload
        def __getitem__(self, index: slice, /) -> ModelList: ...

    def __getitem__(self, index: Any, /) -> Any:
        item = super().__getitem__(index)
        return ModelList(item) if isinstance(index, slice) else item


def _row(model: Model) -> tuple[Any, ...]:
    cost, limits, can = model.cost, model.limits, model.capabilities
    return (
        model.qualified_name, model.provider, model.id, model.name, model.family,
        limits.context or None, limits.output or None,
        cost.input, cost.output, cost.cache_read, cost.cache_write,
        can.reasoning, can.tool_call, can.structured_output, can.attachment, can.temperature,
        ", ".join(model.modalities.input), ", ".join(model.modalities.output),
        model.knowledge_cutoff or None, model.release_date or None, model.last_updated or None,
        model.status or "active", model.open_weights,
    )  # fmt: skip
