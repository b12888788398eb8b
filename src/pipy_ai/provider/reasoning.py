"""Decide how much the model should think. Pure.

What a model accepts is read from its `reasoning_options` in the catalogue: effort values, a range
for a budget of tokens, an on/off switch. Without them the defaults of the API apply. A level that
the model lacks moves to the nearest one, with a warning.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ..options import ThinkingBudgets, ThinkingLevel
from .profiles import CLAUDE, PROFILES
from .request import ReasoningPlan, Request
from .wire import ReasoningOptions, Wire

EFFORT_LEVELS = ("minimal", "low", "medium", "high", "xhigh", "max")
MIN_ANSWER_TOKENS = 1024  # remain for the answer regardless of the budget
DEFAULT_OUTPUT_LIMIT = 32_000  # tokens; for models without a record

_NO_PLAN = ReasoningPlan()


def plan_reasoning(request: Request, wire: Wire) -> ReasoningPlan:
    """Convert `options.reasoning` to a setting that the model accepts; warn if it differs."""
    level, record, rules = request.options.reasoning, request.record, wire.thinking
    if level is None:
        return _NO_PLAN
    if record is not None and record.get("reasoning") is False:
        if level is not ThinkingLevel.OFF:
            request.warn("reasoning_ignored", "this model does not reason; reasoning= was left out")
        return _NO_PLAN
    options = _reasoning_options(request, wire)
    if level is ThinkingLevel.OFF:
        return _plan_off(request, wire, options)
    efforts, budget, profile = options.efforts, options.budget, request.profile
    if efforts == ("none",):  # the model thinks unless that is turned off
        text = f"this model can only turn thinking on or off; reasoning={level} is on, the default"
        request.warn("reasoning_changed", text)
        return _NO_PLAN
    prefers_budget = not efforts or (
        rules.adaptive_effort != "" and rules.adaptive_effort not in efforts
    )
    if rules.budget and budget is not None and prefers_budget:
        return _plan_budget(request, budget, level)
    if efforts:
        return ReasoningPlan(effort=_nearest_effort(level, efforts, request.warn))
    if budget is not None and profile.thinking_budget is not None:
        tokens = _tokens_for_level(request.options.thinking_budgets, level)
        return ReasoningPlan(budget_tokens=max(tokens, int(budget.get("min") or 0)))
    if profile.thinking_switch is not None and (options.toggle or budget is not None):
        if level is not ThinkingLevel.HIGH:
            text = f"this model can only turn thinking on or off; reasoning={level} is on"
            request.warn("reasoning_changed", text)
        return ReasoningPlan(enabled=True)
    text = "this model's thinking level cannot be set; reasoning= was left out"
    request.warn("reasoning_ignored", text)
    return _NO_PLAN


def thinks(request: Request, plan: ReasoningPlan) -> bool:
    """Return whether the model thinks while it answers, as far as is known."""
    extra = request.options.extra or {}
    extra = extra | (extra.get("extra_body") or {})
    thinking = extra.get("thinking")
    is_disabled = isinstance(thinking, Mapping) and thinking.get("type") == "disabled"
    if is_disabled or extra.get("enable_thinking") is False:  # the caller set the fields directly
        return False
    if plan.thinks is not None:
        return plan.thinks
    record, profile = request.record or {}, request.profile
    if record.get("reasoning") is False:
        return False
    if profile.default_off_models and profile.default_off_models.match(request.model_id):
        return False
    # On these hosts most models that can think do so by default.
    by_default = profile.thinks_by_default or profile.forced_calls == "without_thinking"
    return request.family.thinks_by_default or (by_default and record.get("reasoning") is True)


def _reasoning_options(request: Request, wire: Wire) -> ReasoningOptions:
    record = request.record
    rules = wire.thinking
    if record is None or "reasoning_options" not in record:
        return rules.defaults(record, request.base_model_id)
    if rules.defaults_if_empty and not record["reasoning_options"]:
        return rules.defaults(record, request.base_model_id)
    efforts: tuple[str, ...] = ()
    budget: Mapping[str, Any] | None = None
    toggle = False
    for option in record.get("reasoning_options") or ():
        match option.get("type") if isinstance(option, Mapping) else None:
            case "effort":
                values = option.get("values") or ()
                efforts = tuple(str(value) for value in values if value is not None)
            case "budget_tokens":
                budget = option
            case "toggle":
                toggle = True
    return ReasoningOptions(efforts, budget, toggle)


def _nearest_effort(
    level: ThinkingLevel, efforts: tuple[str, ...], warn: Callable[[str, str], None]
) -> str:
    if level.value in efforts:
        return level.value
    wanted = EFFORT_LEVELS.index(level.value)
    known = [effort for effort in efforts if effort in EFFORT_LEVELS]
    if not known:  # the host has its own names
        chosen = next(effort for effort in efforts if effort != "none")
    else:  # the nearest; of two, the cheaper
        chosen = min(
            known, key=lambda e: (abs(EFFORT_LEVELS.index(e) - wanted), EFFORT_LEVELS.index(e))
        )
    warn(
        "reasoning_changed",
        f"reasoning={level} was sent as {chosen}, the nearest level that it has",
    )
    return chosen


def _plan_off(request: Request, wire: Wire, options: ReasoningOptions) -> ReasoningPlan:
    """Turn thinking off, or as far down as the model allows."""
    efforts, budget = options.efforts, options.budget
    thinks_by_default = request.family.thinks_by_default or options.toggle
    off_by_default = wire.thinking.off_by_default or bool(CLAUDE.search(request.base_model_id))
    if off_by_default and not thinks_by_default:
        return _NO_PLAN
    if "none" in efforts:
        return ReasoningPlan(effort="none")
    reaches_zero = budget is not None and (options.toggle or not budget.get("min"))
    if wire.thinking.zero_is_off and reaches_zero:
        return ReasoningPlan(budget_tokens=0)
    has_switch = request.profile.thinking_switch is not None
    # The catalogue lists neither self-hosted servers nor new models of known hosts.
    may_switch = options.toggle or (request.record is None and request.provider in PROFILES)
    if may_switch and (has_switch or wire.thinking.switch):
        return ReasoningPlan(enabled=False)
    if known := [effort for effort in EFFORT_LEVELS if effort in efforts]:
        text = f"thinking cannot be turned off for this model; it was set to {known[0]}"
        request.warn("reasoning_changed", text)
        return ReasoningPlan(effort=known[0])
    request.warn("reasoning_ignored", "this model's thinking cannot be turned off")
    return _NO_PLAN


def _plan_budget(
    request: Request, budget: Mapping[str, Any], level: ThinkingLevel
) -> ReasoningPlan:
    """Choose a budget. The answer gets `max_tokens`; thinking comes on top, up to the limit."""
    min_budget = int(budget.get("min") or 0)
    max_budget = int(budget.get("max") or 1 << 30)
    wanted = _tokens_for_level(request.options.thinking_budgets, level)
    budget_tokens = min(max(wanted, min_budget), max_budget)
    limits = (request.record or {}).get("limit") or {}
    output_limit = int(limits.get("output") or 0) or DEFAULT_OUTPUT_LIMIT
    max_tokens = min((request.options.max_tokens or output_limit) + budget_tokens, output_limit)
    if max_tokens - budget_tokens < MIN_ANSWER_TOKENS:
        budget_tokens = max_tokens - MIN_ANSWER_TOKENS
    if budget_tokens < max(min_budget, 1):
        text = f"max_tokens leaves no room to think (at least {min_budget} tokens)"
        request.warn("reasoning_ignored", text)
        return _NO_PLAN
    return ReasoningPlan(budget_tokens=budget_tokens, max_tokens=max_tokens)


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
