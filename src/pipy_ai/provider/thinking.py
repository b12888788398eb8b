"""How much to think, in the words of each kind of model. Pure.

What a model takes is read from its record in the catalogue (`reasoning_options`: a list of
`effort` with its values, `budget_tokens` with its range, `toggle`). Without a record, a careful
default for the provider stands in.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from ..types import SimpleStreamOptions, ThinkingBudgets, ThinkingLevel
from .request import Request

Warn = Callable[[str, str], None]

LEVELS = ["minimal", "low", "medium", "high", "xhigh", "max"]
ANSWER = 1024  # tokens that stay for the answer whatever the budget
ASSUMED_OUTPUT = 32_000  # longest answer of a model without a record
INTERLEAVED = "interleaved-thinking-2025-05-14"

# Claude from 4.6 on, by its name.
_ADAPTIVE = re.compile(r"claude-[a-z]+-(4[.-]([6-9]|\d\d)|[5-9])(?!\d)")

Switch = Callable[[bool], dict[str, Any]]


def _typed(on: bool) -> dict[str, Any]:
    return {"thinking": {"type": "enabled" if on else "disabled"}}


def _named(on: bool) -> dict[str, Any]:
    return {"enable_thinking": on}


# How OpenAI-compatible hosts switch thinking on and off, in the body of the request: by the first
# word of the provider's name, else by LiteLLM's name.
_SWITCHES: dict[str, Switch] = {
    "alibaba": _named,
    "dashscope": _named,
    "deepseek": _typed,
    "moonshot": _typed,
    "moonshotai": _typed,
    "siliconflow": _named,
    "xiaomi": _typed,
    "zai": _typed,
    "zhipuai": _typed,
    "hosted_vllm": lambda on: {"chat_template_kwargs": {"enable_thinking": on}},
    "openrouter": lambda on: {"reasoning": {"enabled": on}},
}


def _switch(request: Request) -> Switch | None:
    return _SWITCHES.get(request.provider.split("-")[0]) or _SWITCHES.get(request.backend)


def plan(request: Request, style: str, has_tools: bool) -> dict[str, Any]:
    """LiteLLM's arguments for `options.reasoning`; a None in them takes an argument away.

    `style` is the family of the wire: `anthropic`, `gemini`, `chat` or `responses`.
    """
    options, record, warn = request.options, request.record, request.warn
    level = options.reasoning
    if level is None:
        return {}
    switch = _switch(request)
    if record is not None and record.get("reasoning") is False:
        if level is not ThinkingLevel.OFF:
            warn("reasoning_ignored", "this model does not reason; reasoning= was left out")
        return {}
    efforts, budget, toggle = _options(style, record, request.model_id)
    if level is ThinkingLevel.OFF:
        return _off(style, switch, efforts, budget, toggle, warn)
    by_budget = budget is not None and (
        not efforts or (style == "anthropic" and "max" not in efforts)
    )
    if by_budget and style in ("anthropic", "gemini"):
        assert budget is not None
        return _budget(options, style, level, budget, record, has_tools, warn)
    if efforts:
        effort = _nearest(level, efforts, warn)
        if style == "anthropic":
            return _adaptive(effort, request) | _anthropic_rules(options, warn)
        return {"reasoning_effort": effort}
    if budget is not None and request.backend == "openrouter":
        tokens = max(_tokens(options.thinking_budgets, level), int(budget.get("min") or 0))
        return {"extra_body": {"reasoning": {"max_tokens": tokens}}}
    if switch is not None and (toggle or budget is not None):
        if level is not ThinkingLevel.HIGH:
            warn("reasoning_changed", f"thinking is only on or off here; reasoning={level} is on")
        return {"extra_body": switch(True)}
    warn("reasoning_ignored", "how much this model thinks cannot be set; reasoning= was left out")
    return {}


def _options(
    style: str, record: Mapping[str, Any] | None, model: str
) -> tuple[list[str], Mapping[str, Any] | None, bool]:
    """Efforts, budget range and toggle of a model."""
    if record is None or "reasoning_options" not in record:
        if style != "anthropic":
            return ["low", "medium", "high"], None, False
        released = str((record or {}).get("release_date") or "")
        if released >= "2026-02" or _ADAPTIVE.match(model):  # from Opus 4.6 on
            return ["low", "medium", "high", "max"], None, False
        return [], {"min": 1024}, False
    efforts: list[str] = []
    budget: Mapping[str, Any] | None = None
    toggle = False
    for option in record.get("reasoning_options") or ():
        kind = option.get("type") if isinstance(option, Mapping) else None
        if kind == "effort":
            efforts = [str(value) for value in option.get("values") or () if value is not None]
        elif kind == "budget_tokens":
            budget = option
        elif kind == "toggle":
            toggle = True
    return efforts, budget, toggle


def _nearest(level: ThinkingLevel, efforts: list[str], warn: Warn) -> str:
    if level.value in efforts:
        return level.value
    wanted = LEVELS.index(level.value)
    known = [effort for effort in efforts if effort in LEVELS]
    if not known:  # a host with words of its own, or a mere switch
        chosen = next((effort for effort in efforts if effort != "none"), efforts[-1])
    else:  # the nearest; of two, the cheaper
        chosen = min(known, key=lambda e: (abs(LEVELS.index(e) - wanted), LEVELS.index(e)))
    warn("reasoning_changed", f"reasoning={level} was sent as {chosen}, the nearest that it takes")
    return chosen


def _off(
    style: str,
    switch: Switch | None,
    efforts: list[str],
    budget: Mapping[str, Any] | None,
    toggle: bool,
    warn: Warn,
) -> dict[str, Any]:
    if "none" in efforts:
        return {"reasoning_effort": "none"}
    if style == "anthropic":
        return {}  # it thinks only when it is asked to
    if style == "gemini" and budget is not None and (toggle or not budget.get("min")):
        return {"thinking": {"type": "enabled", "budget_tokens": 0}}
    if toggle and switch is not None:
        return {"extra_body": switch(False)}
    if known := [effort for effort in LEVELS if effort in efforts]:
        warn("reasoning_changed", f"thinking cannot be turned off here; it was set to {known[0]}")
        return {"reasoning_effort": known[0]}
    warn("reasoning_ignored", "this model's thinking cannot be turned off")
    return {}


def _budget(
    options: SimpleStreamOptions,
    style: str,
    level: ThinkingLevel,
    budget: Mapping[str, Any],
    record: Mapping[str, Any] | None,
    has_tools: bool,
    warn: Warn,
) -> dict[str, Any]:
    least = int(budget.get("min") or 0)
    most = int(budget.get("max") or 1 << 30)
    tokens = min(max(_tokens(options.thinking_budgets, level), least), most)
    limit = int(((record or {}).get("limit") or {}).get("output") or 0) or ASSUMED_OUTPUT
    # The answer gets what was asked for it, and thinking comes on top, as far as the model goes.
    whole = min((options.max_tokens or limit) + tokens, limit)
    if whole - tokens < ANSWER:
        tokens = whole - ANSWER
    if tokens < max(least, 1):
        warn("reasoning_ignored", f"max_tokens leaves no room to think (at least {least} tokens)")
        return {}
    arguments: dict[str, Any] = {
        "thinking": {"type": "enabled", "budget_tokens": tokens},
        "max_tokens": whole,
    }
    if style == "anthropic":
        arguments |= _anthropic_rules(options, warn)
        if has_tools:
            arguments["beta"] = INTERLEAVED
    return arguments


def _adaptive(effort: str, request: Request) -> dict[str, Any]:
    """Anthropic's newer way: the model decides how much, given how hard it shall try."""
    if request.backend != "anthropic":  # another host's shape, which LiteLLM knows
        return {"reasoning_effort": effort}
    return {
        "thinking": {"type": "adaptive", "display": "summarized"},
        "output_config": {"effort": effort},
    }


def _tokens(budgets: ThinkingBudgets | None, level: ThinkingLevel) -> int:
    budgets = budgets or ThinkingBudgets()
    return {
        "minimal": budgets.minimal,
        "low": budgets.low,
        "medium": budgets.medium,
        "high": budgets.high,
        "xhigh": 2 * budgets.high,
        "max": 4 * budgets.high,
    }[level.value]


def _anthropic_rules(options: SimpleStreamOptions, warn: Warn) -> dict[str, Any]:
    """What Anthropic refuses together with thinking."""
    arguments: dict[str, Any] = {}
    if options.temperature is not None and options.temperature != 1:
        warn("temperature_ignored", "Anthropic takes no temperature with thinking")
        arguments["temperature"] = None
    if options.top_p is not None and options.top_p < 0.95:
        warn("top_p_ignored", "Anthropic takes no top_p below 0.95 with thinking")
        arguments["top_p"] = None
    if options.tool_choice not in (None, "auto", "none"):
        warn("tool_choice_changed", 'with thinking Anthropic takes no forced call; sent "auto"')
        arguments["tool_choice"] = "auto"
    return arguments
