"""Test that unchecked construction equals checked construction."""

from __future__ import annotations

import pickle
from typing import Any

import pytest

from pipy_ai import (
    AssistantMessage,
    Context,
    Cost,
    ErrorInfo,
    ErrorKind,
    TextContent,
    ThinkingContent,
    ToolCall,
    Usage,
    UserMessage,
)
from pipy_ai.utils.construct import construct_unchecked, shrink

MODELS = pytest.mark.parametrize(
    ("kind", "fields"),
    [
        (AssistantMessage, {"content": [TextContent(text="a")], "model": "m", "timestamp": 1}),
        (Usage, {"input": 1}), (Cost, {}), (TextContent, {"text": "a"}),
        (ThinkingContent, {"thinking": "a"}), (ErrorInfo, {"kind": ErrorKind.AUTH}),
        (ToolCall, {"id": "1", "name": "f", "arguments": {"a": 1}}),
        (UserMessage, {"content": "a", "timestamp": 1}), (Context, {"system_prompt": "a"}),
    ],
)  # fmt: skip


@MODELS
def test_unchecked_model_equals_the_checked_one(kind: Any, fields: Any) -> None:
    fast, slow = construct_unchecked(kind, **fields), kind(**fields)
    assert fast == slow
    assert repr(fast) == repr(slow)
    assert fast.model_dump_json() == slow.model_dump_json()
    assert fast.model_fields_set == slow.model_fields_set
    assert pickle.loads(pickle.dumps(fast)) == slow
    assert fast.model_copy(deep=True) == slow
    fast.more = 1  # fields of other versions are kept
    assert fast.model_dump()["more"] == 1
    other = construct_unchecked(kind, **fields)
    for name in set(kind.model_fields) - set(fields):  # no default is shared
        mine = getattr(other, name)
        assert not isinstance(mine, list | dict | Usage | Cost) or mine is not getattr(fast, name)


@MODELS
def test_shrunk_model_equals_the_usual_one(kind: Any, fields: Any) -> None:
    model, usual = construct_unchecked(kind, **fields), kind(**fields)
    shrink(model)
    assert model == usual
    assert repr(model) == repr(usual)
    assert model.model_dump_json() == usual.model_dump_json()
    assert model.model_fields_set == usual.model_fields_set
    assert pickle.loads(pickle.dumps(model)) == usual
    assert model.model_copy(deep=True) == model.model_copy() == usual
    model.more = 1
    assert model.model_dump()["more"] == 1
    first_field = next(iter(kind.model_fields))
    setattr(model, first_field, "changed")  # of this instance only
    assert getattr(model, first_field) == "changed"
    assert getattr(construct_unchecked(kind, **fields), first_field) == getattr(usual, first_field)
