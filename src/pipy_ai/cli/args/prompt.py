"""The prompt and the options of a request, for the commands that send or show one."""

from __future__ import annotations

import argparse
import json
import os
from typing import TYPE_CHECKING, Any

from ..display.terminal import warn
from .common import parse_count, parse_number, split_assignment

if TYPE_CHECKING:
    from collections.abc import Sequence
    from contextlib import ExitStack

    from pydantic import ValidationError

    from ... import Context, ServerTool, UserMessage
    from ..conversations.conversation import Conversation

THINKING_LEVELS = ("off", "minimal", "low", "medium", "high", "xhigh", "max")


class PromptArgs:
    """The arguments of a request. `message` is the new one, the last of `context`.

    `tools` are the functions that pipy runs; `context` has the tools that the provider runs.
    """

    def __init__(
        self,
        models: list[str],  # the model, then the fallbacks
        context: Context,
        options: dict[str, Any],
        message: UserMessage,
        schema: Any = None,
        tools: Sequence[Any] = (),
    ) -> None:
        self.models, self.context, self.options = models, context, options
        self.message, self.schema, self.tools = message, schema, list(tools)

    @property
    def model(self) -> Any:
        """The `model` argument of the library's functions."""
        return self.models if len(self.models) > 1 else self.models[0]


def add_prompt_options(
    parser: argparse.ArgumentParser, *, uploads: bool = False
) -> argparse._ArgumentGroup:
    """Add the prompt, its input, structured output and tools, and the options of the model.

    `uploads` adds `--upload`, for commands that send the prompt.

    Returns:
        The group of structured output and tools, to which a command can add options.
    """
    parser.add_argument("prompt", nargs="*", metavar="PROMPT", help="the prompt")
    model_group = parser.add_argument_group("model")
    add_model_options(model_group)
    model_group.add_argument(
        "--fallback",
        action="append",
        default=[],
        metavar="MODEL",
        help="model to try if the request fails (repeatable)",
    )
    input_group = parser.add_argument_group("input")
    input_group.add_argument(
        "-a",
        "--attach",
        action="append",
        default=[],
        metavar="FILE",
        help="attach an image, audio, video, PDF or text file: a path, a URL, or - for stdin",
    )
    if uploads:
        input_group.add_argument(
            "--upload",
            action="store_true",
            help="upload the files of -a to the provider, once, instead of sending them each time",
        )
    input_group.add_argument(
        "--no-stdin", action="store_true", help="do not read stdin, for example in a shell loop"
    )
    input_group.add_argument(
        "-t", "--template", metavar="TEMPLATE", help="use a template (see pipy templates)"
    )
    input_group.add_argument(
        "-p",
        "--param",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="set the template's variable $NAME (repeatable)",
    )
    input_group.add_argument(
        "--trust-template",
        action="store_true",
        help="let a template from outside your templates directory read files, run code or change"
        " where the prompt is sent, without confirmation",
    )
    output_group = parser.add_argument_group("structured output and tools")
    output_group.add_argument(
        "--schema",
        metavar="SCHEMA",
        help="return JSON of this schema: 'name, age int', JSON Schema or its file, module:Class",
    )
    output_group.add_argument(
        "--schema-multi", metavar="SCHEMA", help="return a list of such objects"
    )
    add_tool_option(output_group)
    return output_group


def add_tool_option(group: argparse._ActionsContainer) -> None:
    """Add `--tool`, `--mcp` and the tools that providers run."""
    group.add_argument(
        "--tool",
        action="append",
        default=[],
        metavar="FUNCTION",
        help="let the model call a function: module:name or file.py:name (repeatable)",
    )
    group.add_argument(
        "--mcp",
        action="append",
        default=[],
        metavar="SERVER",
        help="let the model use an MCP server: a command, a URL or an mcp.json (repeatable)",
    )
    group.add_argument("--search", action="store_true", help="let the provider search the web")
    group.add_argument(
        "--fetch", action="store_true", help="let the provider read pages that the prompt names"
    )
    group.add_argument(
        "--code", action="store_true", help="let the provider run code that the model writes"
    )


def add_model_options(
    parser: argparse._ActionsContainer,
    option_flags: Sequence[str] = ("-o",),
    *,
    many_models: bool = False,
) -> None:
    """Add the model and its options; `option_flags` are short forms of `--option`."""
    if many_models:
        parser.add_argument(
            "-m", "--model", action="append", default=[], help="model to compare (repeatable)"
        )
    else:
        parser.add_argument(
            "-m",
            "--model",
            help="model name or part of it (default: $PIPY_MODEL, else pipy default)",
        )
    parser.add_argument("-s", "--system", help="system prompt")
    parser.add_argument(
        "--thinking",
        metavar="LEVEL",
        choices=THINKING_LEVELS,
        help=f"thinking level: {', '.join(THINKING_LEVELS)}",
    )
    parser.add_argument(
        "--temperature",
        type=parse_number,
        metavar="T",
        help="sampling temperature; 0 is most predictable",
    )
    parser.add_argument(
        "--max-tokens",
        type=parse_count,
        metavar="N",
        help="maximum length of the answer, in tokens",
    )
    parser.add_argument(
        "--api-base", metavar="URL", help="base URL of the API, for example of your own server"
    )
    parser.add_argument(
        *option_flags,
        "--option",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="any other option: seed=7, service_tier=flex, extra.verbosity=low (repeatable)",
    )


def build_prompt_args(
    arguments: argparse.Namespace, conversation: Conversation | None = None
) -> PromptArgs:
    """Build the arguments of a request, which may continue a conversation.

    Raises:
        ValueError, LookupError, OSError: The request cannot be built; the message is for the user.
    """
    from ... import ctx, user

    if arguments.no_stdin and "-" in arguments.attach:
        raise ValueError("-a - reads stdin and --no-stdin does not: use one of them")
    text = _read_prompt_text(arguments)
    if arguments.template:
        text = _render_template(arguments, text)
    elif arguments.param:
        raise ValueError("-p needs a template: -t NAME")
    uploads = getattr(arguments, "upload", False)
    if uploads and not arguments.attach:
        raise ValueError("--upload needs a file: -a FILE")
    attachments: list[Any] = []
    if arguments.attach and not uploads:
        from .attachments import read_attachments

        attachments = read_attachments(arguments.attach)
    if not text.strip() and not arguments.attach:
        raise ValueError('no prompt: pipy ask "What is 2+2?", or pipe text in')
    previous_model = conversation.model if conversation is not None else None
    model_name = arguments.model or previous_model
    models = [
        _full_model_name(model_name) if model_name else default_model(),
        *map(_full_model_name, arguments.fallback),
    ]
    stream_options = model_options(arguments)
    if arguments.template and arguments.without_key:
        from ...provider.credentials import PLACEHOLDER_KEY

        stream_options["api_key"] = PLACEHOLDER_KEY
    if conversation is not None:
        _inherit_settings(stream_options, conversation, models[0])
    tools = server_tools(arguments) or None
    if uploads:
        from .uploads import upload_attachments

        attachments = upload_attachments(arguments.attach, models, stream_options)
    message = user(text)
    if attachments:
        from .attachments import check_supported

        message = user(*([text] if text.strip() else []), *attachments)
        check_supported(attachments, models, stream_options, tools)
    if tools:
        from .provider_tools import check_provider_tools

        check_provider_tools(tools, models, stream_options, bool(arguments.tool or arguments.mcp))
    previous_messages = [] if conversation is None else conversation.messages
    system = arguments.system or (conversation.system if conversation is not None else None)
    context = ctx(*previous_messages, message, system=system, tools=tools)
    return PromptArgs(
        models,
        context,
        stream_options,
        message,
        _output_schema(arguments),
        _load_tools(arguments.tool),
    )


def model_options(arguments: argparse.Namespace) -> dict[str, Any]:
    """Return the options of a request."""
    common_options = {
        "temperature": arguments.temperature,
        "max_tokens": arguments.max_tokens,
        "reasoning": arguments.thinking,
        "api_base": arguments.api_base,
    }
    if not arguments.option:
        return common_options
    from .options import parse_options

    return {**common_options, **parse_options(arguments.option)}


def default_model() -> str:
    """Return the model to use if none is named. Print its name on stderr unless the user set it.

    Raises:
        LookupError: There is none.
        ValueError: The configured name is not a model.
    """
    from ... import default_model
    from ...registry.settings import DEFAULT_MODEL_KEY, get_setting

    name = default_model()
    configured = os.environ.get("PIPY_MODEL", "").strip() or get_setting(DEFAULT_MODEL_KEY)
    if not configured and not name.startswith("local/"):  # which prints its own notice
        warn(f"using {name} because its API key is set; pipy default MODEL sets another")
    try:
        return _full_model_name(name)
    except ValueError as error:
        source = "PIPY_MODEL" if os.environ.get("PIPY_MODEL", "").strip() else "pipy default"
        raise ValueError(f"{source}: {error}") from None


def _inherit_settings(
    stream_options: dict[str, Any], conversation: Conversation, model: str
) -> None:
    """Use the conversation's settings for missing options; the base URL only for its provider."""
    stream_options["reasoning"] = stream_options["reasoning"] or conversation.thinking
    previous_provider = (conversation.model or "").partition("/")[0]
    if model.partition("/")[0] == previous_provider:
        stream_options["api_base"] = stream_options["api_base"] or conversation.complete_api_base


def _full_model_name(name: str) -> str:
    if "/" in name:  # a full name
        return name
    from .model import resolve_model

    return resolve_model(name)


def _render_template(arguments: argparse.Namespace, text: str) -> str:
    """Return the prompt of the template, and use its other fields for missing arguments.

    Raises:
        ValueError: It is from elsewhere, and the user does not allow what it would do.
    """
    from .template_trust import require_trust
    from .templates import load_template

    template = load_template(arguments.template)
    if arguments.model:
        template.model = ""
    if arguments.schema is not None or arguments.schema_multi is not None:
        template.schema = ""
    assignments = _template_options(template.options, arguments)
    arguments.without_key = require_trust(template, assignments, arguments.trust_template)
    values = dict(split_assignment("-p", assignment) for assignment in arguments.param)
    prompt, system = template.render(values, text)
    arguments.system = arguments.system or system or None
    arguments.model = arguments.model or template.model or None
    if template.schema:
        arguments.schema = template.schema
    arguments.attach = [*template.attachments, *arguments.attach]
    arguments.tool = [*template.tools, *arguments.tool]
    arguments.option = [*assignments, *arguments.option]
    for name in ("extract", "search", "fetch", "code"):
        if getattr(template, name):
            setattr(arguments, name, True)
    return prompt


def _template_options(options: dict[str, Any], arguments: argparse.Namespace) -> list[str]:
    """Return a template's options in the form of `-o`, without those of the command line."""

    flags = {"reasoning": arguments.thinking}
    flags |= {name: getattr(arguments, name) for name in ("temperature", "max_tokens", "api_base")}
    given = {name for name, value in flags.items() if value is not None}
    given |= {_option_of(split_assignment("-o", text)[0]) for text in arguments.option}
    assignments = _option_assignments(options)
    return [text for text in assignments if _option_of(text.partition("=")[0]) not in given]


def _option_of(name: str) -> str:
    return name.strip().replace("-", "_")


def _option_assignments(options: dict[str, Any]) -> list[str]:
    """Return options in the form of `-o`."""
    assignments = []
    for name, value in options.items():
        members = value if isinstance(value, dict) else {"": value}
        for key, item in members.items():
            text = item if isinstance(item, str) else json.dumps(item)
            assignments.append(f"{name}{f'.{key}' if key else ''}={text}")
    return assignments


def _output_schema(arguments: argparse.Namespace) -> Any:
    single, multiple = arguments.schema, arguments.schema_multi
    if single is None and multiple is None:
        return None
    if single is not None and multiple is not None:
        raise ValueError("use either --schema or --schema-multi")
    if arguments.tool or arguments.mcp:
        flag = "--tool" if arguments.tool else "--mcp"
        raise ValueError(f"--schema and {flag} cannot be combined")
    if isinstance(single, dict):  # from a template
        return single
    from .schema import parse_schema

    return (
        parse_schema(multiple, multiple=True)
        if multiple is not None
        else parse_schema(str(single), multiple=False)
    )


def start_mcp_servers(
    prompt_args: PromptArgs, arguments: argparse.Namespace, stack: ExitStack
) -> None:
    """Add the tools of the MCP servers, which run until the stack is left.

    Raises:
        ValueError: One cannot be started; the message is for the user.
    """
    if arguments.mcp:
        from ...tools import as_tools
        from .mcp import start_servers

        names = [tool.name for tool in as_tools(prompt_args.tools)]
        tools = start_servers(arguments.mcp, names)
        stack.push(tools.__exit__)
        prompt_args.tools.append(tools)


def server_tools(arguments: argparse.Namespace) -> list[ServerTool]:
    """Return the tools that the provider runs: those of `--search`, `--fetch` and `--code`."""
    if not (arguments.search or arguments.fetch or arguments.code):
        return []
    from ... import code_execution, web_fetch, web_search

    tools = [web_search()] if arguments.search else []
    tools += [web_fetch()] if arguments.fetch else []
    tools += [code_execution()] if arguments.code else []
    return tools


def _load_tools(specs: list[str]) -> list[Any]:
    if not specs:
        return []
    from .tools import load_tool

    return [load_tool(spec) for spec in specs]


def report_invalid_option(error: ValidationError) -> int:
    """Print which option has an invalid value, and return the exit code."""
    first_error = error.errors()[0]
    name = str(first_error["loc"][0])
    flags = {"temperature", "max_tokens", "api_base"}
    flag = f"--{name.replace('_', '-')}" if name in flags else f"-o {name}"
    problem = first_error["msg"].removeprefix("Input should ").partition(",")[0]
    if problem.startswith("be "):
        warn(f"{flag} must {problem}, not {first_error['input']!r}")
    else:
        warn(f"{flag}: {first_error['msg']}")
    return 2


def _read_prompt_text(arguments: argparse.Namespace) -> str:
    """Return the piped text and the words of the command line."""
    words = " ".join(arguments.prompt)
    if arguments.no_stdin or "-" in arguments.attach:
        return words
    from ...utils.encoding import decode_text
    from .stdin import read_stdin

    has_prompt = bool(words.strip() or arguments.attach or arguments.template)
    try:
        piped = decode_text(read_stdin(has_prompt)).replace("\r\n", "\n").rstrip("\n")
    except UnicodeDecodeError:
        raise ValueError("piped input is not UTF-8 text; use -a - to attach it as a file") from None
    return "\n\n".join(part for part in (piped, words) if part.strip())
