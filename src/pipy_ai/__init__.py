"""pipy-ai: one interface to any language model.

    from pipy_ai import quick, complete, stream, ctx, user

    print(quick("What is 2+2?").text)

    result = complete("anthropic/claude-sonnet-4-5", ctx(user("Hello!"), system="Be brief."))
    print(result.text, result.usage.total_tokens)

    for event in stream("anthropic/claude-sonnet-4-5", "Write a haiku."):
        if event.type == "text_delta":
            print(event.delta, end="", flush=True)

`acomplete` and `astream` are the async versions. Names are loaded on first use, so importing the
package takes almost no time.
"""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType

from ._version import __version__

TYPE_CHECKING = False  # type checkers treat it as true; importing `typing` would double the cost
if TYPE_CHECKING:
    from typing import Any

    from .abort import AbortController as AbortController
    from .abort import AbortSignal as AbortSignal
    from .accounting.budget import Budget as Budget
    from .accounting.budget import budget as budget
    from .accounting.ledger import Ledger as Ledger
    from .accounting.ledger import LedgerEntry as LedgerEntry
    from .accounting.ledger import Spending as Spending
    from .accounting.ledger import read_ledger as read_ledger
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
    from .background import BackgroundResponse as BackgroundResponse
    from .background import acancel_background as acancel_background
    from .background import acollect_background as acollect_background
    from .background import asubmit_background as asubmit_background
    from .background import cancel_background as cancel_background
    from .background import collect_background as collect_background
    from .background import submit_background as submit_background
    from .batch_api.verbs import BatchHandle as BatchHandle
    from .batch_api.verbs import BatchJob as BatchJob
    from .batch_api.verbs import acollect as acollect
    from .batch_api.verbs import asubmit_many as asubmit_many
    from .batch_api.verbs import collect as collect
    from .batch_api.verbs import submit_many as submit_many
    from .cached_contents import CachedContent as CachedContent
    from .cached_contents import acreate_cached_content as acreate_cached_content
    from .cached_contents import adelete_cached_content as adelete_cached_content
    from .cached_contents import create_cached_content as create_cached_content
    from .cached_contents import delete_cached_content as delete_cached_content
    from .compaction import acompact as acompact
    from .compaction import compact as compact
    from .compaction import trim as trim
    from .context import assistant as assistant
    from .context import ctx as ctx
    from .context import tool_result as tool_result
    from .context import user as user
    from .counting import acount_tokens as acount_tokens
    from .counting import count_tokens as count_tokens
    from .errors import ErrorInfo as ErrorInfo
    from .errors import ErrorKind as ErrorKind
    from .errors import InvalidOutputError as InvalidOutputError
    from .errors import PipyError as PipyError
    from .errors import UncheckedErrorWarning as UncheckedErrorWarning
    from .events import AssistantMessageEvent as AssistantMessageEvent
    from .events import AudioDeltaEvent as AudioDeltaEvent
    from .events import AudioEndEvent as AudioEndEvent
    from .events import AudioStartEvent as AudioStartEvent
    from .events import CitationEvent as CitationEvent
    from .events import DoneEvent as DoneEvent
    from .events import ErrorEvent as ErrorEvent
    from .events import ImageEndEvent as ImageEndEvent
    from .events import ImagePartialEvent as ImagePartialEvent
    from .events import ImageStartEvent as ImageStartEvent
    from .events import ServerToolDeltaEvent as ServerToolDeltaEvent
    from .events import ServerToolEndEvent as ServerToolEndEvent
    from .events import ServerToolResultEvent as ServerToolResultEvent
    from .events import ServerToolStartEvent as ServerToolStartEvent
    from .events import StartEvent as StartEvent
    from .events import TextDeltaEvent as TextDeltaEvent
    from .events import TextEndEvent as TextEndEvent
    from .events import TextStartEvent as TextStartEvent
    from .events import ThinkingDeltaEvent as ThinkingDeltaEvent
    from .events import ThinkingEndEvent as ThinkingEndEvent
    from .events import ThinkingStartEvent as ThinkingStartEvent
    from .events import ToolCallDeltaEvent as ToolCallDeltaEvent
    from .events import ToolCallEndEvent as ToolCallEndEvent
    from .events import ToolCallStartEvent as ToolCallStartEvent
    from .events import ToolEvent as ToolEvent
    from .events import ToolResultEvent as ToolResultEvent
    from .events import event_from_dict as event_from_dict
    from .file_storage.verbs import DownloadedFile as DownloadedFile
    from .file_storage.verbs import adelete_file as adelete_file
    from .file_storage.verbs import adownload as adownload
    from .file_storage.verbs import aupload as aupload
    from .file_storage.verbs import delete_file as delete_file
    from .file_storage.verbs import download as download
    from .file_storage.verbs import upload as upload
    from .files import attachment as attachment
    from .files import audio as audio
    from .files import document as document
    from .files import image as image
    from .files import video as video
    from .live_models import LiveModel as LiveModel
    from .live_models import alist_live_models as alist_live_models
    from .live_models import list_live_models as list_live_models
    from .many import acomplete_many as acomplete_many
    from .many import astream_many as astream_many
    from .many import complete_many as complete_many
    from .many import stream_many as stream_many
    from .mcp_client import McpError as McpError
    from .mcp_client import McpTools as McpTools
    from .mcp_client import mcp as mcp
    from .options import CacheRetention as CacheRetention
    from .options import SimpleStreamOptions as SimpleStreamOptions
    from .options import StreamOptions as StreamOptions
    from .options import ThinkingBudgets as ThinkingBudgets
    from .options import ThinkingLevel as ThinkingLevel
    from .output.schema import OutputValidationError as OutputValidationError
    from .output.schema import ParsedMessage as ParsedMessage
    from .provider import LiteLLMProvider as LiteLLMProvider
    from .provider import faux
    from .provider.cassette import Cassette as Cassette
    from .provider.cassette import CassetteError as CassetteError
    from .provider.cassette import cassette as cassette
    from .provider.hooks import Hooks as Hooks
    from .provider.hooks import register_hooks as register_hooks
    from .provider.registered import register_provider as register_provider
    from .registry import AmbiguousModelError as AmbiguousModelError
    from .registry import Model as Model
    from .registry import ModelCapabilities as ModelCapabilities
    from .registry import ModelCost as ModelCost
    from .registry import ModelLimits as ModelLimits
    from .registry import ModelList as ModelList
    from .registry import ModelModalities as ModelModalities
    from .registry import calculate_cost as calculate_cost
    from .registry import estimate_cost as estimate_cost
    from .registry import get_model as get_model
    from .registry import get_models as get_models
    from .registry import get_registry as get_registry
    from .registry import reload_registry as reload_registry
    from .registry import select_model as select_model
    from .registry import sync_models as sync_models
    from .response_cache import ResponseCache as ResponseCache
    from .server_tools import code_execution as code_execution
    from .server_tools import file_search as file_search
    from .server_tools import image_generation as image_generation
    from .server_tools import mcp_server as mcp_server
    from .server_tools import native as native
    from .server_tools import web_fetch as web_fetch
    from .server_tools import web_search as web_search
    from .stream import AssistantMessageEventStream as AssistantMessageEventStream
    from .stream import AsyncAssistantMessageEventStream as AsyncAssistantMessageEventStream
    from .tokens import TokenCount as TokenCount
    from .tool_loop import AsyncToolRun as AsyncToolRun
    from .tool_loop import ToolRun as ToolRun
    from .tool_loop import arun_tools as arun_tools
    from .tool_loop import run_tools as run_tools
    from .tools import ToolValidationError as ToolValidationError
    from .tools import tool as tool
    from .tools import validate_tool_call as validate_tool_call
    from .types import AssistantMessage as AssistantMessage
    from .types import Attempt as Attempt
    from .types import AudioContent as AudioContent
    from .types import CacheHit as CacheHit
    from .types import Citation as Citation
    from .types import Context as Context
    from .types import Cost as Cost
    from .types import DocumentContent as DocumentContent
    from .types import FileContent as FileContent
    from .types import ImageContent as ImageContent
    from .types import Message as Message
    from .types import RateLimit as RateLimit
    from .types import RawResponse as RawResponse
    from .types import ServerTool as ServerTool
    from .types import ServerToolCall as ServerToolCall
    from .types import ServerToolResult as ServerToolResult
    from .types import StopReason as StopReason
    from .types import TextContent as TextContent
    from .types import ThinkingContent as ThinkingContent
    from .types import Tool as Tool
    from .types import ToolCall as ToolCall
    from .types import ToolResultMessage as ToolResultMessage
    from .types import ToolSet as ToolSet
    from .types import Usage as Usage
    from .types import UserMessage as UserMessage
    from .types import VideoContent as VideoContent

    # Importing from `.stream` binds the module. Checkers take the last binding, so the function of
    # the same name comes after every import of that module.
    from .api import stream as stream  # isort: skip

_NAMES_BY_MODULE = {
    "abort": "AbortController AbortSignal",
    "api": "acomplete acomplete_simple apreview aquick astream astream_simple complete"
    " complete_simple default_model preview quick stream stream_simple",
    "accounting.budget": "Budget budget",
    "accounting.ledger": "Ledger LedgerEntry Spending read_ledger",
    "background": "BackgroundResponse acancel_background acollect_background asubmit_background"
    " cancel_background collect_background submit_background",
    "batch_api.verbs": "BatchHandle BatchJob acollect asubmit_many collect submit_many",
    "cached_contents": "CachedContent acreate_cached_content adelete_cached_content"
    " create_cached_content delete_cached_content",
    "compaction": "acompact compact trim",
    "counting": "acount_tokens count_tokens",
    "context": "assistant ctx tool_result user",
    "errors": "ErrorInfo ErrorKind InvalidOutputError PipyError UncheckedErrorWarning",
    "events": "AssistantMessageEvent AudioDeltaEvent AudioEndEvent AudioStartEvent CitationEvent"
    " DoneEvent ErrorEvent ImageEndEvent ImagePartialEvent ImageStartEvent ServerToolDeltaEvent"
    " ServerToolEndEvent ServerToolResultEvent ServerToolStartEvent StartEvent TextDeltaEvent"
    " TextEndEvent TextStartEvent ThinkingDeltaEvent ThinkingEndEvent ThinkingStartEvent"
    " ToolCallDeltaEvent ToolCallEndEvent ToolCallStartEvent ToolEvent ToolResultEvent"
    " event_from_dict",
    "file_storage.verbs": "DownloadedFile adelete_file adownload aupload delete_file download"
    " upload",
    "files": "attachment audio document image video",
    "live_models": "LiveModel alist_live_models list_live_models",
    "many": "acomplete_many astream_many complete_many stream_many",
    "mcp_client": "McpError McpTools mcp",
    "options": "CacheRetention SimpleStreamOptions StreamOptions ThinkingBudgets ThinkingLevel",
    "output": "OutputValidationError ParsedMessage",
    "provider": "LiteLLMProvider register_provider",
    "provider.cassette": "Cassette CassetteError cassette",
    "provider.hooks": "Hooks register_hooks",
    "response_cache": "ResponseCache",
    "registry": "AmbiguousModelError Model ModelCapabilities ModelCost ModelLimits ModelList"
    " ModelModalities calculate_cost estimate_cost get_model get_models get_registry"
    " reload_registry select_model sync_models",
    "server_tools": "code_execution file_search image_generation mcp_server native web_fetch"
    " web_search",
    "stream": "AssistantMessageEventStream AsyncAssistantMessageEventStream",
    "tokens": "TokenCount",
    "tool_loop": "AsyncToolRun ToolRun arun_tools run_tools",
    "tools": "ToolValidationError tool validate_tool_call",
    "types": "AssistantMessage Attempt AudioContent CacheHit Citation Context Cost DocumentContent"
    " FileContent ImageContent Message RateLimit RawResponse ServerTool ServerToolCall"
    " ServerToolResult StopReason TextContent ThinkingContent Tool ToolCall ToolResultMessage"
    " ToolSet Usage UserMessage VideoContent",
}
_MODULE_BY_NAME = {
    name: module for module, names in _NAMES_BY_MODULE.items() for name in names.split()
}

__all__ = ["__version__", "faux", *_MODULE_BY_NAME]  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str) -> Any:
    if name == "faux":
        value: Any = import_module(".provider.faux", __name__)
    elif name in _MODULE_BY_NAME:
        value = getattr(import_module(f".{_MODULE_BY_NAME[name]}", __name__), name)
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


class _PackageModule(ModuleType):
    def __setattr__(self, name: str, value: object) -> None:
        # Importing the submodule `pipy_ai.stream` must not replace the function of that name.
        if not (name == "stream" and isinstance(value, ModuleType)):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _PackageModule
