"""pipy-ai: talk to any language model.

    from pipy_ai import quick, complete, stream, ctx, user

    print(quick("What is 2+2?").text)

    result = complete("anthropic/claude-sonnet-4-5", ctx(user("Hello!"), system="Be brief."))
    print(result.text, result.usage.total_tokens)

    for event in stream("anthropic/claude-sonnet-4-5", "Write a haiku."):
        if event.type == "text_delta":
            print(event.delta, end="", flush=True)

`acomplete` and `astream` are the asynchronous twins. Names load when they are first used, so
importing the package costs next to nothing.
"""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType

__version__ = "0.1.0"

TYPE_CHECKING = False  # what checkers take for true; importing `typing` would double the cost
if TYPE_CHECKING:
    from typing import Any

    from .abort import AbortController as AbortController
    from .abort import AbortSignal as AbortSignal
    from .api import acomplete as acomplete
    from .api import acomplete_simple as acomplete_simple
    from .api import apreview as apreview
    from .api import aquick as aquick
    from .api import astream as astream
    from .api import astream_simple as astream_simple
    from .api import complete as complete
    from .api import complete_simple as complete_simple
    from .api import default_model as default_model
    from .api import preview as preview
    from .api import quick as quick
    from .api import stream_simple as stream_simple
    from .budget import Budget as Budget
    from .context import assistant as assistant
    from .context import ctx as ctx
    from .context import tool_result as tool_result
    from .context import user as user
    from .errors import ErrorInfo as ErrorInfo
    from .errors import ErrorKind as ErrorKind
    from .errors import InvalidOutputError as InvalidOutputError
    from .errors import PipyError as PipyError
    from .files import attachment as attachment
    from .files import document as document
    from .files import image as image
    from .ledger import Ledger as Ledger
    from .ledger import LedgerEntry as LedgerEntry
    from .ledger import Spending as Spending
    from .ledger import read_ledger as read_ledger
    from .many import acomplete_many as acomplete_many
    from .many import astream_many as astream_many
    from .many import complete_many as complete_many
    from .many import stream_many as stream_many
    from .output import OutputValidationError as OutputValidationError
    from .output import ParsedMessage as ParsedMessage
    from .provider import LiteLLMProvider as LiteLLMProvider
    from .provider import faux as faux
    from .provider import register_provider as register_provider
    from .registry import AmbiguousModelError as AmbiguousModelError
    from .registry import Model as Model
    from .registry import ModelCapabilities as ModelCapabilities
    from .registry import ModelCost as ModelCost
    from .registry import ModelLimits as ModelLimits
    from .registry import ModelModalities as ModelModalities
    from .registry import calculate_cost as calculate_cost
    from .registry import estimate_cost as estimate_cost
    from .registry import get_model as get_model
    from .registry import get_models as get_models
    from .registry import get_registry as get_registry
    from .registry import reload_registry as reload_registry
    from .registry import select_model as select_model
    from .registry import sync_models as sync_models
    from .stream import AssistantMessageEvent as AssistantMessageEvent
    from .stream import AssistantMessageEventStream as AssistantMessageEventStream
    from .stream import AsyncAssistantMessageEventStream as AsyncAssistantMessageEventStream
    from .stream import DoneEvent as DoneEvent
    from .stream import ErrorEvent as ErrorEvent
    from .stream import StartEvent as StartEvent
    from .stream import TextDeltaEvent as TextDeltaEvent
    from .stream import TextEndEvent as TextEndEvent
    from .stream import TextStartEvent as TextStartEvent
    from .stream import ThinkingDeltaEvent as ThinkingDeltaEvent
    from .stream import ThinkingEndEvent as ThinkingEndEvent
    from .stream import ThinkingStartEvent as ThinkingStartEvent
    from .stream import ToolCallDeltaEvent as ToolCallDeltaEvent
    from .stream import ToolCallEndEvent as ToolCallEndEvent
    from .stream import ToolCallStartEvent as ToolCallStartEvent
    from .stream import event_from_dict as event_from_dict
    from .tool_loop import AsyncToolRun as AsyncToolRun
    from .tool_loop import ToolEvent as ToolEvent
    from .tool_loop import ToolResultEvent as ToolResultEvent
    from .tool_loop import ToolRun as ToolRun
    from .tool_loop import arun_tools as arun_tools
    from .tool_loop import run_tools as run_tools
    from .tools import ToolValidationError as ToolValidationError
    from .tools import tool as tool
    from .tools import validate_tool_call as validate_tool_call
    from .types import AssistantMessage as AssistantMessage
    from .types import Attempt as Attempt
    from .types import CacheRetention as CacheRetention
    from .types import Context as Context
    from .types import Cost as Cost
    from .types import DocumentContent as DocumentContent
    from .types import ImageContent as ImageContent
    from .types import Message as Message
    from .types import SimpleStreamOptions as SimpleStreamOptions
    from .types import StopReason as StopReason
    from .types import StreamOptions as StreamOptions
    from .types import TextContent as TextContent
    from .types import ThinkingBudgets as ThinkingBudgets
    from .types import ThinkingContent as ThinkingContent
    from .types import ThinkingLevel as ThinkingLevel
    from .types import Tool as Tool
    from .types import ToolCall as ToolCall
    from .types import ToolResultMessage as ToolResultMessage
    from .types import Usage as Usage
    from .types import UserMessage as UserMessage

    # Importing `.stream` and `.budget` binds the modules. Checkers take the last binding, so the
    # functions of the same names come after every import of these modules.
    from .api import stream as stream  # isort: skip
    from .budget import budget as budget  # isort: skip

_MODULES = {
    "abort": "AbortController AbortSignal",
    "api": "acomplete acomplete_simple apreview aquick astream astream_simple complete"
    " complete_simple default_model preview quick stream stream_simple",
    "budget": "Budget budget",
    "context": "assistant ctx tool_result user",
    "errors": "ErrorInfo ErrorKind InvalidOutputError PipyError",
    "files": "attachment document image",
    "ledger": "Ledger LedgerEntry Spending read_ledger",
    "many": "acomplete_many astream_many complete_many stream_many",
    "output": "OutputValidationError ParsedMessage",
    "provider": "LiteLLMProvider register_provider",
    "registry": "AmbiguousModelError Model ModelCapabilities ModelCost ModelLimits ModelModalities"
    " calculate_cost estimate_cost get_model get_models get_registry reload_registry"
    " select_model sync_models",
    "stream": "AssistantMessageEvent AssistantMessageEventStream AsyncAssistantMessageEventStream"
    " DoneEvent ErrorEvent StartEvent TextDeltaEvent TextEndEvent TextStartEvent"
    " ThinkingDeltaEvent ThinkingEndEvent ThinkingStartEvent ToolCallDeltaEvent"
    " ToolCallEndEvent ToolCallStartEvent event_from_dict",
    "tool_loop": "AsyncToolRun ToolEvent ToolResultEvent ToolRun arun_tools run_tools",
    "tools": "ToolValidationError tool validate_tool_call",
    "types": "AssistantMessage Attempt CacheRetention Context Cost DocumentContent ImageContent"
    " Message SimpleStreamOptions StopReason StreamOptions TextContent ThinkingBudgets"
    " ThinkingContent ThinkingLevel Tool ToolCall ToolResultMessage Usage UserMessage",
}
_HOME = {name: module for module, names in _MODULES.items() for name in names.split()}

__all__ = ["__version__", "faux", *_HOME]  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str) -> Any:
    if name == "faux":
        value: Any = import_module(".provider.faux", __name__)
    elif name in _HOME:
        value = getattr(import_module(f".{_HOME[name]}", __name__), name)
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


class _Package(ModuleType):
    def __setattr__(self, name: str, value: object) -> None:
        # Importing the submodule `pipy_ai.stream` binds it here; the verb of that name stays, and
        # `budget` likewise.
        if not (name in ("budget", "stream") and isinstance(value, ModuleType)):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package
