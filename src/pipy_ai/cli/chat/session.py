"""The state of an interactive chat."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING, Any

from ..args.prompt import model_options, server_tools
from ..args.tools import load_tool
from ..conversations.conversation import Conversation
from ..conversations.records import SETTINGS
from ..display.approval import ToolApproval
from ..display.notices import (
    ending_notices,
    is_unrecorded,
    show_demo_notice,
    warn_error,
    warning_texts,
)
from ..display.printer import Printer
from ..display.status import hide_status, show_request_status
from ..display.terminal import hint, warn
from ..display.usage import context_window, print_usage
from .interrupt import InterruptHandler

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ... import AssistantMessage, McpTools, ServerTool
    from ...types import UserContent


class Chat:
    """A conversation in progress, with its settings, attachments and tools."""

    def __init__(self, conversation: Conversation, arguments: argparse.Namespace) -> None:
        self.conversation: Conversation = conversation
        self.attachments: list[tuple[str, UserContent]] = []  # of the next message, with sources
        self.interactive: bool = (
            sys.stdin is not None and sys.stdin.isatty() and sys.stdout.isatty()
        )
        self.plain: bool = arguments.plain
        self.tools: list[Any] = [load_tool(spec) for spec in arguments.tool]
        self.server_tools: list[ServerTool] = server_tools(arguments)  # run by the provider
        self.mcp_tools: list[McpTools] = []  # also in `tools`
        self.failed: bool = False  # whether a request or a command failed
        self.save_failed: bool = False  # an earlier conversation, or a line of the ledger
        self._base_options = model_options(arguments)
        self._approval = ToolApproval(arguments.yes, self.tools)
        self._api_base_provider: str | None = None  # the provider that `api_base` belongs to
        if self._base_options["api_base"] is None and conversation.api_base:
            self._base_options["api_base"] = conversation.complete_api_base
            self._api_base_provider = (conversation.model or "").partition("/")[0]
        self._shown_warnings: set[str] = set()

    def start_servers(self, servers: Sequence[str]) -> McpTools:
        """Start MCP servers and add their tools.

        Raises:
            ValueError: One cannot be started.
        """
        from ...tools import as_tools
        from ..args.mcp import start_servers

        try:
            tools = start_servers(servers, [tool.name for tool in as_tools(self.tools)])
        finally:
            hide_status()
        self.mcp_tools.append(tools)
        self.tools.append(tools)
        return tools

    def stop_servers(self) -> None:
        """Stop the MCP servers and remove their tools."""
        while self.mcp_tools:
            tools = self.mcp_tools.pop()
            self.tools.remove(tools)
            tools.__exit__()

    @property
    def is_saved(self) -> bool:
        """Whether the conversation can be continued later."""
        return self.conversation.keep and bool(self.conversation.messages)

    def report_failure(self, text: str) -> None:
        """Print an error; the chat continues."""
        self.failed = True
        warn(text)

    def switch_model(self, model: str) -> None:
        """Use this model from here on.

        Raises:
            ValueError: The name is unknown or ambiguous.
        """
        from ..._requests import build_request
        from ..args.model import resolve_model

        model = resolve_model(model)
        provider = model.partition("/")[0]
        if self._api_base_provider is None:
            self._api_base_provider = provider
        request = build_request(model, "?", None, self._request_options(model))
        if self._base_options["api_base"] and provider != self._api_base_provider:
            previous = self._api_base_provider
            hint(f"--api-base is only for {previous}; {provider} uses its own address")
        for warning in request.warnings:
            self._warn_once(warning.message)
        self.conversation.set(model=model, api_base=self._request_options(model)["api_base"])

    def start_new(self) -> None:
        """Begin a new conversation with the same settings."""
        previous = self.conversation
        previous.close()
        self.save_failed = self.save_failed or previous.save_failed
        settings = {name: getattr(previous, name) for name in SETTINGS}
        keep = previous.keep or previous.save_failed  # there may be space again
        self.conversation = Conversation.new(keep=keep, **settings)

    def send(self, text: str) -> None:
        """Add the user's message and print the answer."""
        from ... import user

        parts = [part for _, part in self.attachments]
        self.conversation.add(user(text, *parts))
        self.attachments = []
        self.request_answer()

    def request_answer(self, **more_options: Any) -> None:
        """Request an answer to the last message and print it as it arrives. Ctrl-C stops it."""
        from ... import run_tools, stream

        conversation = self.conversation
        model = conversation.model or ""
        context, options = conversation.context, self._request_options(model) | more_options
        show_request_status(model)
        events: Any
        if self.tools:
            tools = [*self.server_tools, *self.tools]
            events = run_tools(model, context, tools, approve=self._approval, **options)
        else:
            context.tools = [*self.server_tools] or None
            events = stream(model, context, **options)
        printer = Printer(
            plain=self.plain, show_calls=not (self.tools and self._approval.asks_user)
        )
        interrupt = InterruptHandler(events.abort, self.interactive)
        answers: list[AssistantMessage] = []
        try:
            with events, interrupt, printer:
                for event in events:
                    if event.type == "start":
                        show_demo_notice(f"{event.partial.provider}/{event.partial.model}")
                    conversation.journal(event)  # before it is shown
                    printer.show(event)
                    if event.type == "done" or event.type == "error":
                        answers.append(event.partial)
                    interrupt.on_event(event)
        finally:
            hide_status()
            conversation.finish_partial()
            conversation.sync()
        self._report_answers(answers, interrupt.interrupted, options)

    def _report_answers(
        self, answers: list[AssistantMessage], interrupted: bool, options: dict[str, Any]
    ) -> None:
        """Save images and files; print sources, warnings, the error and the usage of answers."""
        if any(message.citations or message.server_tool_calls for message in answers):
            from ..display.sources import print_sources

            print_sources(answers)
        if any(message.images or message.audio for message in answers):
            from ..display.media_files import save_media

            if not save_media(answers):
                self.save_failed = True
        if any(message.files for message in answers):
            from ..display.created_files import save_created_files

            if not save_created_files(answers, options["api_base"]):
                self.save_failed = True
        for text in warning_texts(answers):
            self._warn_once(text)
        self.save_failed = self.save_failed or any(map(is_unrecorded, answers))
        error = answers[-1].error if answers else None
        if interrupted:
            hint("stopped")
        elif error is not None:
            self.failed = True
            warn_error(answers[-1], options["api_base"])
            hint("/retry tries again")
        else:
            for text in ending_notices(answers[-1]) if answers else ():
                warn(text)
        if sys.stdout.isatty() and any(message.usage.total_tokens for message in answers):
            print_usage(*answers, context_tokens=context_window(self.conversation.model or ""))

    def _warn_once(self, text: str) -> None:
        if text not in self._shown_warnings:
            self._shown_warnings.add(text)
            warn(text)

    def _request_options(self, model: str) -> Any:
        options = {**self._base_options, "reasoning": self.conversation.thinking}
        if model.partition("/")[0] != self._api_base_provider:
            options["api_base"] = None
        return options
