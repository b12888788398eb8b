"""Ask before a template from elsewhere reads files, runs code or sends data to other places.

Templates in the user's own directory are trusted. Any other one may come from a stranger: it may
set the prompt and how the model answers, but everything else is shown to the user first.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from .attachments import STDIN
from .common import split_assignment
from .options import parse_options
from .templates import templates_dir

if TYPE_CHECKING:
    from .templates import Template

# Options that only change the answer, or how long to wait for it.
HARMLESS_OPTIONS = frozenset(
    {
        "cache_retention", "handoff_thinking", "idle_timeout", "max_retries", "max_retry_delay_ms",
        "max_tokens", "reasoning", "seed", "stop", "temperature", "think_tags", "thinking_budgets",
        "timeout", "tool_choice", "top_k", "top_p",
    }
)  # fmt: skip
# Parameters with which LiteLLM would send a request, with its key, to another address.
ADDRESS_FIELDS = frozenset(
    {
        "api_base", "base_url", "client", "context_window_fallback_dict", "custom_llm_provider",
        "fallbacks", "model_list",
    }
)  # fmt: skip
# Tools that providers run: they cost a fee, and pass words of the prompt on.
_PROVIDER_TOOLS = {
    "search": "let the provider search the web",
    "fetch": "let the provider read web pages that the prompt names",
    "code": "let the provider run code that the model writes",
}
NOT_ALLOWED = "the template was not allowed, so nothing was done"


def is_own(path: str) -> bool:
    """Return whether a template is in the user's directory, and only the user can have written it.

    A symlink that leads out of the directory does not count.
    """
    real_path, own_dir = os.path.realpath(path), os.path.realpath(templates_dir())
    status = os.stat(real_path)
    written_by_user = os.name == "nt" or (
        status.st_uid == os.getuid() and not status.st_mode & 0o002
    )
    return written_by_user and real_path.startswith(os.path.join(own_dir, ""))


def require_trust(template: Template, assignments: list[str], trusted: bool) -> bool:
    """Ask the user to allow what a template from elsewhere would do.

    Return whether the template chooses the address, which must not get an API key then.

    Args:
        template: The template, without what the command line replaces.
        assignments: Its options in the form of `-o`.
        trusted: The user has allowed it with `--trust-template`.

    Raises:
        ValueError: The user did not allow it, or could not be asked.
    """
    if template.is_from_plugin or is_own(template.path):
        return False
    options = parse_options(assignments)
    if refused := sorted(ADDRESS_FIELDS & set(options.get("extra") or ())):
        raise ValueError(
            f"{template.path}: extra.{refused[0]} is not allowed in a template from elsewhere"
        )
    actions = _actions(template, assignments)
    if actions and not trusted:
        _ask_user(template, actions)
    return "api_base" in options


def _ask_user(template: Template, actions: list[str]) -> None:
    from ..display.approval import confirm

    origin = f"{template.path!r} is not one of your templates"
    try:
        allowed = confirm([f"{origin}. It would:", *actions], "Allow this?")
    except OSError:
        allowed = None
    if allowed is None:
        raise ValueError(
            f"{origin}, and it would {'; '.join(actions)}. Read it; then allow it with"
            f" --trust-template, or copy it to {templates_dir()}"
        )
    if not allowed:
        raise ValueError(NOT_ALLOWED)


def _actions(template: Template, assignments: list[str]) -> list[str]:
    """Return what a template would do besides asking the model, one line each."""
    return [
        *map(_describe_tool, template.tools),
        *(text for name, text in _PROVIDER_TOOLS.items() if getattr(template, name)),
        *_schema_actions(template.schema),
        *(line for source in template.attachments for line in _attachment_actions(source)),
        *(line for assignment in assignments for line in _option_actions(assignment)),
        *_model_actions(template.model),
    ]


def _describe_tool(spec: str) -> str:
    source = spec.rpartition(":")[0]
    return f"run the code of {_file(source)} and let the model call {spec!r}"


def _schema_actions(schema: str | dict[str, Any]) -> Iterator[str]:
    from .schema import schema_kind

    match schema_kind(schema.strip()) if isinstance(schema, str) else "inline":
        case "file":
            yield f"read the schema {_file(str(schema).strip())} and send it to the model"
        case "import":
            source = str(schema).strip().rpartition(":")[0]
            yield f"run the code of {_file(source)} for the schema {schema!r}"


def _attachment_actions(source: str) -> Iterator[str]:
    from ...files import is_web_url

    if is_web_url(source):
        yield f"fetch from {_host(source)} ({source!a}) and send it to the model"
    elif source != STDIN and source[:5].lower() != "data:":
        yield f"read {_file(source)} and send it to the model"


def _option_actions(assignment: str) -> Iterator[str]:
    name, value = split_assignment("-o", assignment)
    name = name.strip().replace("-", "_")
    if name == "api_base":
        yield f"send everything to {_host(value)} (api_base={value!a}), without your API key"
    elif name.partition(".")[0] not in HARMLESS_OPTIONS:
        yield f"set the option {name!a} to {value!a}"


def _model_actions(model: str) -> Iterator[str]:
    """Name a model that is not at a provider of the catalogue: its name may hold an address."""
    from ...registry import get_registry

    provider, slash, model_id = model.partition("/")
    known = not slash or provider in ("faux", "local") or get_registry().provider_record(provider)
    if not known or ":/" in model_id:
        yield f"send everything to {model!a}, which is not a provider of the catalogue"


def _file(path: str) -> str:
    """Return a path as it is written, and where it leads if that is elsewhere."""
    real_path = os.path.realpath(os.path.expanduser(path))
    same = os.path.abspath(path) == real_path or not os.path.exists(real_path)
    return repr(path) if same else f"{path!r} (which is {real_path!r})"


def _host(url: str) -> str:
    try:
        return ascii(urlsplit(url).hostname or "")[1:-1] or "?"
    except ValueError:
        return "?"
