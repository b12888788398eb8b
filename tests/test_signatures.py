"""Test signatures: they list the options, and a function and its async version agree."""

from __future__ import annotations

import inspect
import pydoc
from collections.abc import Callable
from typing import Any, get_overloads

import pytest

import pipy_ai
from pipy_ai import SimpleStreamOptions
from pipy_ai.options import Options

PAIRS = {
    "complete": "acomplete",
    "stream": "astream",
    "complete_simple": "acomplete_simple",
    "stream_simple": "astream_simple",
    "complete_many": "acomplete_many",
    "stream_many": "astream_many",
    "preview": "apreview",
    "count_tokens": "acount_tokens",
    "compact": "acompact",
    "quick": "aquick",
    "list_live_models": "alist_live_models",
    "run_tools": "arun_tools",
    "submit_many": "asubmit_many",
    "collect": "acollect",
    "upload": "aupload",
    "download": "adownload",
    "delete_file": "adelete_file",
    "submit_background": "asubmit_background",
    "collect_background": "acollect_background",
    "cancel_background": "acancel_background",
    "create_cached_content": "acreate_cached_content",
    "delete_cached_content": "adelete_cached_content",
}
WITHOUT_OPTIONS = {
    "quick", "list_live_models", "upload", "download", "delete_file", "create_cached_content",
    "delete_cached_content",
}  # fmt: skip
WITH_OPTIONS = sorted(
    {*PAIRS, *PAIRS.values()} - WITHOUT_OPTIONS - {PAIRS[name] for name in WITHOUT_OPTIONS}
)


def parameters(function: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    return dict(inspect.signature(function).parameters)


def without_async(annotation: Any) -> str:
    """Return an annotation as the sync function has it."""
    text = str(annotation).replace(" | AsyncIterable[Prompt]", "")
    if text.startswith("AsyncGenerator["):  # it has no return type
        text = text.removesuffix("]") + ", None]"
    return text.removeprefix("Async")


def signature_of(function: Callable[..., Any]) -> inspect.Signature:
    """Return the signature as the sync version has it."""
    signature = inspect.signature(function)
    return signature.replace(
        parameters=[
            one.replace(annotation=without_async(one.annotation))
            for one in signature.parameters.values()
        ],
        return_annotation=without_async(signature.return_annotation),
    )


def overloads_of(function: Callable[..., Any]) -> list[inspect.Signature]:
    return [signature_of(overload) for overload in get_overloads(function)]


@pytest.mark.parametrize("name", PAIRS)
def test_function_and_async_version_have_the_same_signature(name: str) -> None:
    function, version = getattr(pipy_ai, name), getattr(pipy_ai, PAIRS[name])
    assert signature_of(version) == signature_of(function)
    assert overloads_of(version) == overloads_of(function)


def test_every_async_function_is_compared() -> None:
    functions = {name for name in pipy_ai.__all__ if inspect.isroutine(getattr(pipy_ai, name))}
    assert {name for name in functions if name[0] == "a" and name[1:] in functions} == {
        *PAIRS.values()
    }


def test_complete_and_stream_have_the_same_overloads() -> None:
    def shared(signature: inspect.Signature) -> list[inspect.Parameter]:
        return [one for one in signature.parameters.values() if one.name != "output_retries"]

    complete, stream = overloads_of(pipy_ai.complete), overloads_of(pipy_ai.stream)
    assert len(complete) == 4
    assert list(map(shared, complete)) == list(map(shared, stream))


def test_options_are_the_fields_of_simple_stream_options() -> None:
    assert list(Options.__annotations__) == list(SimpleStreamOptions.model_fields)


@pytest.mark.parametrize("name", WITH_OPTIONS)
def test_signature_lists_the_options(name: str) -> None:
    found = parameters(getattr(pipy_ai, name))
    assert inspect.Parameter.VAR_KEYWORD not in {one.kind for one in found.values()}
    for option, field in SimpleStreamOptions.model_fields.items():
        assert found[option].kind is inspect.Parameter.KEYWORD_ONLY
        assert found[option].default == field.default
    assert found["temperature"].annotation == "float | None"
    assert found["max_retries"].default == 2


def test_help_lists_the_options() -> None:
    shown = pydoc.plain(pydoc.render_doc(pipy_ai.complete))
    assert "temperature: float | None = None" in shown
    assert "**keywords" not in shown.partition("\n\n")[2].partition("\n")[0]


def test_unknown_option_is_rejected() -> None:
    with pytest.raises(TypeError, match="did you mean temperature"):
        pipy_ai.complete("faux/echo", "Hi", temprature=0)  # type: ignore[call-overload]


@pytest.mark.parametrize("name", WITH_OPTIONS)
def test_tab_completes_options(name: str) -> None:
    jedi = pytest.importorskip("jedi")  # what IPython completes with
    source = f'{name}("faux/echo", "Hi", temp'
    completions = jedi.Interpreter(source, [{name: getattr(pipy_ai, name)}]).complete()
    assert "temperature=" in [one.name for one in completions]
