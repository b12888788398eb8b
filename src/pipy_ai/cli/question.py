"""What the commands that ask have in common: whom to ask, what, and how."""

from __future__ import annotations

import argparse
import json
import os
import stat
import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from .terminal import complain

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pydantic import ValidationError

    from .. import Context, UserMessage
    from .conversations import Conversation

THINKING = ("off", "minimal", "low", "medium", "high", "xhigh", "max")


@dataclass
class Question:
    """Whom to ask, what, and how."""

    models: list[str]  # the first one; then those to ask when it fails
    context: Context
    options: dict[str, Any]
    message: UserMessage  # the last one, which is new
    schema: Any = None
    tools: list[Any] = field(default_factory=list)

    @property
    def model(self) -> Any:
        """What the verbs take for a model."""
        return self.models if len(self.models) > 1 else self.models[0]


def arguments(command: argparse.ArgumentParser) -> None:
    """What is asked, of whom and how."""
    command.add_argument("prompt", nargs="*", metavar="PROMPT", help="what to ask")
    command.add_argument(
        "-a",
        "--attach",
        action="append",
        default=[],
        metavar="FILE",
        help="an image, PDF or text to read, by path or URL; - is what is piped in (repeatable)",
    )
    command.add_argument("-t", "--template", metavar="NAME", help="a template, see pipy templates")
    command.add_argument(
        "-p",
        "--param",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="the value of a template's $NAME (repeatable)",
    )
    command.add_argument(
        "--schema",
        metavar="SCHEMA",
        help="ask for JSON: 'name, age int', a JSON Schema or its file, module:Class",
    )
    command.add_argument("--schema-multi", metavar="SCHEMA", help="as --schema, for a list of them")
    command.add_argument(
        "--tool",
        action="append",
        default=[],
        metavar="FUNCTION",
        help="let the model call module:function or file.py:function (repeatable)",
    )
    command.add_argument(
        "--fallback",
        action="append",
        default=[],
        metavar="MODEL",
        help="whom to ask when that fails (repeatable)",
    )
    how(command)


def how(command: argparse.ArgumentParser, short: Sequence[str] = ("-o",)) -> None:
    """Of whom, and how. `short`: what may be written for `--option`."""
    command.add_argument(
        "-m",
        "--model",
        help="provider/model, or words of its name (default: PIPY_MODEL, else what is set up)",
    )
    command.add_argument("-s", "--system", help="system prompt")
    command.add_argument(
        "--thinking", metavar="LEVEL", choices=THINKING, help=f"one of {', '.join(THINKING)}"
    )
    command.add_argument(
        "--api-base", metavar="URL", help="where the model is, e.g. a server of yours"
    )
    command.add_argument(
        "--temperature", type=float, metavar="T", help="how freely it may choose its words, from 0"
    )
    command.add_argument("--max-tokens", type=int, metavar="N", help="longest answer, in tokens")
    command.add_argument(
        *short,
        "--option",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="any other option: seed=7, timeout=60, extra.top_k=5 (repeatable)",
    )


def question(arguments: argparse.Namespace, earlier: Conversation | None = None) -> Question:
    """What was asked, perhaps in an `earlier` conversation.

    Raises:
        ValueError, LookupError, OSError: it cannot be asked, in words for the user.
    """
    from .. import ctx, user

    text = _input(arguments.prompt, "-" in arguments.attach)
    if arguments.template:
        text = _template(arguments, text)
    elif arguments.param:
        raise ValueError("-p is for templates: -t NAME")
    shown: list[Any] = []
    if arguments.attach:
        from .attached import parts

        shown = parts(arguments.attach)
    if not text.strip() and not shown:
        raise ValueError('nothing to ask: pipy ask "What is 2+2?", or pipe text in')
    message = user(*([text] if text.strip() else []), *shown) if shown else user(text)
    kept = earlier.model if earlier is not None else None
    first = arguments.model or kept
    models = [_model(first) if first else usual(), *map(_model, arguments.fallback)]
    how = options(arguments)
    if earlier is not None:
        _as_before(how, earlier, models[0])
    if shown:
        from .attached import check

        check(shown, models, how)
    before = [] if earlier is None else earlier.messages
    system = arguments.system or (earlier.system if earlier is not None else None)
    context = ctx(*before, message, system=system)
    return Question(models, context, how, message, _schema(arguments), _functions(arguments.tool))


def options(arguments: argparse.Namespace) -> dict[str, Any]:
    """How."""
    named = {
        "temperature": arguments.temperature,
        "max_tokens": arguments.max_tokens,
        "reasoning": arguments.thinking,
        "api_base": arguments.api_base,
    }
    if not arguments.option:
        return named
    from .options import read

    return {**named, **read(arguments.option)}


def usual() -> str:
    """The model when none is named.

    Raises:
        LookupError: nothing says which.
        ValueError: what says so means no model.
    """
    from .. import default_model

    name = default_model()
    try:
        return _model(name)
    except ValueError as error:
        where = "PIPY_MODEL" if os.environ.get("PIPY_MODEL", "").strip() else "pipy default"
        raise ValueError(f"{where}: {error}") from None


def _as_before(how: dict[str, Any], earlier: Conversation, model: str) -> None:
    """What was not said is as it was; where the model is, only for one of the same provider."""
    how["reasoning"] = how["reasoning"] or earlier.thinking
    home = (earlier.model or "").partition("/")[0]
    if model.partition("/")[0] == home:
        how["api_base"] = how["api_base"] or earlier.api_base


def _model(name: str) -> str:
    if "/" in name:  # a full name is nothing to look for
        return name
    from .named import named

    return named(name)


def _template(arguments: argparse.Namespace, text: str) -> str:
    """The prompt that a template makes; what else it says, fills in what was not said."""
    from .templates import load

    template = load(arguments.template)
    values = {}
    for one in arguments.param:
        name, sign, value = one.partition("=")
        if not sign:
            raise ValueError(f"-p {one}: write name=value")
        values[name] = value
    prompt, system = template.filled(values, text)
    arguments.system = arguments.system or system or None
    arguments.model = arguments.model or template.model or None
    if arguments.schema is None and arguments.schema_multi is None:
        arguments.schema = template.schema or None
    arguments.attach = [*template.attachments, *arguments.attach]
    arguments.tool = [*template.tools, *arguments.tool]
    arguments.option = [*_pairs(template.options), *arguments.option]
    if template.extract:
        arguments.extract = True
    return prompt


def _pairs(options: dict[str, Any]) -> list[str]:
    """A template's options as `-o` has them."""
    pairs = []
    for name, value in options.items():
        inner = value if isinstance(value, dict) else {"": value}
        for key, one in inner.items():
            told = one if isinstance(one, str) else json.dumps(one)
            pairs.append(f"{name}{f'.{key}' if key else ''}={told}")
    return pairs


def _schema(arguments: argparse.Namespace) -> Any:
    one, many = arguments.schema, arguments.schema_multi
    if one is None and many is None:
        return None
    if one is not None and many is not None:
        raise ValueError("--schema or --schema-multi, not both")
    if arguments.tool:
        raise ValueError("--schema and --tool do not go together")
    if isinstance(one, dict):  # of a template
        return one
    from .schema import read

    return read(many, many=True) if many is not None else read(str(one), many=False)


def _functions(specs: list[str]) -> list[Any]:
    if not specs:
        return []
    from .tools import function

    return [function(spec) for spec in specs]


def wrong(error: ValidationError) -> int:
    """Say which option has a wrong value."""
    first = error.errors()[0]
    name = str(first["loc"][0])
    flags = {"temperature", "max_tokens", "api_base"}
    flag = f"--{name.replace('_', '-')}" if name in flags else f"-o {name}"
    complain(f"{flag}: {first['msg']}")
    return 2


def _input(words: list[str], piped_elsewhere: bool) -> str:
    """What was piped in, then what was typed."""
    parts = []
    if not piped_elsewhere and _has_input():
        try:
            parts.append(sys.stdin.buffer.read().decode("utf-8").rstrip("\n"))
        except UnicodeDecodeError:
            raise ValueError(
                "what was piped in is not UTF-8 text; attach files with -a -"
            ) from None
    parts.append(" ".join(words))
    return "\n\n".join(part for part in parts if part.strip())


def _has_input() -> bool:
    """Whether stdin is a pipe or a file, rather than a terminal or nothing."""
    try:
        mode = os.fstat(sys.stdin.fileno()).st_mode
    except (AttributeError, OSError, ValueError):  # closed, or not a real file
        return False
    return stat.S_ISFIFO(mode) or stat.S_ISREG(mode) or stat.S_ISSOCK(mode)
