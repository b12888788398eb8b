"""How much to think, in the words of each kind of model. Pure.

What a model takes is read from its record in the catalogue (`reasoning_options`: a list of
`effort` with its values, `budget_tokens` with its range, `toggle`). Without a record, a careful
default for the provider stands in.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from ..options import SimpleStreamOptions, ThinkingBudgets, ThinkingLevel
from .request import Request

Warn = Callable[[str, str], None]

EFFORT_LEVELS = ["minimal", "low", "medium", "high", "xhigh", "max"]
MIN_ANSWER_TOKENS = 1024  # tokens that stay for the answer whatever the budget
DEFAULT_OUTPUT_LIMIT = 32_000  # longest answer of a model without a record
INTERLEAVED_THINKING_BETA = "interleaved-thinking-2025-05-14"

# Claude from 4.6 on, by its name.
_ADAPTIVE_CLAUDE = re.compile(r"claude-[a-z]+-(4[.-]([6-9]|\d\d)|[5-9])(?!\d)")

ThinkingSwitch = Callable[[bool], dict[str, Any]]


def _thinking_type_field(enabled: bool) -> dict[str, Any]:
    return {"thinking": {"type": "enabled" if enabled else "disabled"}}


def _enable_thinking_field(enabled: bool) -> dict[str, Any]:
    return {"enable_thinking": enabled}


# How OpenAI-compatible hosts switch thinking on and off, in the body of the request: by the first
# word of the provider's name, else by LiteLLM's name.
_SWITCHES: dict[str, ThinkingSwitch] = {
    "alibaba": _enable_thinking_field,
    "dashscope": _enable_thinking_field,
    "deepseek": _thinking_type_field,
    "moonshot": _thinking_type_field,
    "moonshotai": _thinking_type_field,
    "siliconflow": _enable_thinking_field,
    "xiaomi": _thinking_type_field,
    "zai": _thinking_type_field,
    "zhipuai": _thinking_type_field,
    "hosted_vllm": lambda on: {"chat_template_kwargs": {"enable_thinking": on}},
    "openrouter": lambda on: {"reasoning": {"enabled": on}},
}


def _thinking_switch(request: Request) -> ThinkingSwitch | None:
    return _SWITCHES.get(request.provider.split("-")[0]) or _SWITCHES.get(request.backend)


def reasoning_fields(request: Request, style: str, has_tools: bool) -> dict[str, Any]:
    """LiteLLM's arguments for `options.reasoning`; a None in them takes an argument away.

    `style` is the family of the wire: `anthropic`, `gemini`, `chat` or `responses`.
    """
    options, record, warn = request.options, request.record, request.warn
    level = options.reasoning
    if level is None:
        return {}
    switch = _thinking_switch(request)
    if record is not None and record.get("reasoning") is False:
        if level is not ThinkingLevel.OFF:
            warn("reasoning_ignored", "this model does not reason; reasoning= was left out")
        return {}
    efforts, budget, toggle = _reasoning_options(style, record, request.model_id)
    if level is ThinkingLevel.OFF:
        return _disable_fields(style, switch, efforts, budget, toggle, warn)
    use_budget = budget is not None and (
        not efforts or (style == "anthropic" and "max" not in efforts)
    )
    if use_budget and style in ("anthropic", "gemini"):
        assert budget is not None
        return _budget_fields(options, style, level, budget, record, has_tools, warn)
    if efforts:
        effort = _nearest_effort(level, efforts, warn)
        if style == "anthropic":
            return _adaptive_fields(effort, request) | _anthropic_restrictions(options, warn)
        return {"reasoning_effort": effort}
    if budget is not None and request.backend == "openrouter":
        tokens = max(
            _tokens_for_level(options.thinking_budgets, level), int(budget.get("min") or 0)
        )
        return {"extra_body": {"reasoning": {"max_tokens": tokens}}}
    if switch is not None and (toggle or budget is not None):
        if level is not ThinkingLevel.HIGH:
            warn("reasoning_changed", f"thinking is only on or off here; reasoning={level} is on")
        return {"extra_body": switch(True)}
    warn("reasoning_ignored", "how much this model thinks cannot be set; reasoning= was left out")
    return {}


def _reasoning_options(
    style: str, record: Mapping[str, Any] | None, model: str
) -> tuple[list[str], Mapping[str, Any] | None, bool]:
    """Efforts, budget range and toggle of a model."""
    if record is None or "reasoning_options" not in record:
        if style != "anthropic":
            return ["low", "medium", "high"], None, False
        release_date = str((record or {}).get("release_date") or "")
        if release_date >= "2026-02" or _ADAPTIVE_CLAUDE.match(model):  # from Opus 4.6 on
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


def _nearest_effort(level: ThinkingLevel, efforts: list[str], warn: Warn) -> str:
    if level.value in efforts:
        return level.value
    wanted_index = EFFORT_LEVELS.index(level.value)
    standard_efforts = [effort for effort in efforts if effort in EFFORT_LEVELS]
    if not standard_efforts:  # a host with words of its own, or a mere switch
        chosen = next((effort for effort in efforts if effort != "none"), efforts[-1])
    else:  # the nearest; of two, the cheaper
        chosen = min(
            standard_efforts,
            key=lambda e: (abs(EFFORT_LEVELS.index(e) - wanted_index), EFFORT_LEVELS.index(e)),
        )
    warn("reasoning_changed", f"reasoning={level} was sent as {chosen}, the nearest that it takes")
    return chosen


def _disable_fields(
    style: str,
    switch: ThinkingSwitch | None,
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
    if available := [effort for effort in EFFORT_LEVELS if effort in efforts]:
        warn(
            "reasoning_changed", f"thinking cannot be turned off here; it was set to {available[0]}"
        )
        return {"reasoning_effort": available[0]}
    warn("reasoning_ignored", "this model's thinking cannot be turned off")
    return {}


def _budget_fields(
    options: SimpleStreamOptions,
    style: str,
    level: ThinkingLevel,
    budget: Mapping[str, Any],
    record: Mapping[str, Any] | None,
    has_tools: bool,
    warn: Warn,
) -> dict[str, Any]:
    min_budget = int(budget.get("min") or 0)
    max_budget = int(budget.get("max") or 1 << 30)
    budget_tokens = min(
        max(_tokens_for_level(options.thinking_budgets, level), min_budget), max_budget
    )
    output_limit = (
        int(((record or {}).get("limit") or {}).get("output") or 0) or DEFAULT_OUTPUT_LIMIT
    )
    # The answer gets what was asked for it, and thinking comes on top, as far as the model goes.
    total_tokens = min((options.max_tokens or output_limit) + budget_tokens, output_limit)
    if total_tokens - budget_tokens < MIN_ANSWER_TOKENS:
        budget_tokens = total_tokens - MIN_ANSWER_TOKENS
    if budget_tokens < max(min_budget, 1):
        warn(
            "reasoning_ignored",
            f"max_tokens leaves no room to think (at least {min_budget} tokens)",
        )
        return {}
    fields: dict[str, Any] = {
        "thinking": {"type": "enabled", "budget_tokens": budget_tokens},
        "max_tokens": total_tokens,
    }
    if style == "anthropic":
        fields |= _anthropic_restrictions(options, warn)
        if has_tools:
            fields["beta"] = INTERLEAVED_THINKING_BETA
    return fields


def _adaptive_fields(effort: str, request: Request) -> dict[str, Any]:
    """Anthropic's newer way: the model decides how much, given how hard it shall try."""
    if request.backend != "anthropic":  # another host's shape, which LiteLLM knows
        return {"reasoning_effort": effort}
    return {
        "thinking": {"type": "adaptive", "display": "summarized"},
        "output_config": {"effort": effort},
    }


def _tokens_for_level(budgets: ThinkingBudgets | None, level: ThinkingLevel) -> int:
    budgets = budgets or ThinkingBudgets()
    return {
        "minimal": budgets.minimal,
        "low": budgets.low,
        "medium": budgets.medium,
        "high": budgets.high,
        "xhigh": 2 * budgets.high,
        "max": 4 * budgets.high,
    }[level.value]


def _anthropic_restrictions(options: SimpleStreamOptions, warn: Warn) -> dict[str, Any]:
    """What Anthropic refuses together with thinking."""
    fields: dict[str, Any] = {}
    if options.temperature is not None and options.temperature != 1:
        warn("temperature_ignored", "Anthropic takes no temperature with thinking")
        fields["temperature"] = None
    if options.top_p is not None and options.top_p < 0.95:
        warn("top_p_ignored", "Anthropic takes no top_p below 0.95 with thinking")
        fields["top_p"] = None
    if options.tool_choice not in (None, "auto", "none"):
        warn("tool_choice_changed", 'with thinking Anthropic takes no forced call; sent "auto"')
        fields["tool_choice"] = "auto"
    return fields
