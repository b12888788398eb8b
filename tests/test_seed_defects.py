"""What was wrong with the draft code of this library, and which tests would have caught it.

The first part is the table, checked for being complete and true. The second part tests what no
other file does.
"""

from __future__ import annotations

import ast
import asyncio
import contextlib
import io
import threading
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any, get_args

import pytest

from pipy_ai import (
    AssistantMessage,
    AssistantMessageEvent,
    AssistantMessageEventStream,
    AsyncAssistantMessageEventStream,
    Model,
    ModelCost,
    StartEvent,
    ToolResultMessage,
    UserMessage,
    acomplete,
    acomplete_simple,
    aquick,
    assistant,
    astream,
    astream_simple,
    complete,
    complete_simple,
    ctx,
    estimate_cost,
    faux,
    get_registry,
    quick,
    register_provider,
    stream,
    stream_simple,
    sync_models,
)
from pipy_ai.options import ThinkingLevel
from pipy_ai.provider import Finish, Request, Text
from pipy_ai.provider.assembler import Assembler
from pipy_ai.provider.registered import unregister_provider
from pipy_ai.types import now_ms

from .feeds import raw
from .grammar import check_events
from .test_docs import blocks
from .test_litellm import CASES, shape
from .wire.lab import Lab, Status, call, chat, chunk, finish, text, usage

pytestmark = [  # LiteLLM's own debts
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]

ROOT = Path(__file__).parents[1]
TOOLS = (ROOT / "docs" / "tools.md").read_text(encoding="utf-8")
WAIT = 10.0  # seconds, far above what anything here takes

# --- The table ------------------------------------------------------------------------------

IDS = tuple(f"S{number}" for number in range(1, 60))

# By id: what went wrong in the draft code, then the tests that would have told.
DEFECTS: dict[str, tuple[str, ...]] = {
    # It did not run at all.
    "S1": (
        "complete, quick and all asynchronous verbs called methods that did not exist.",
        "tests/test_seed_defects.py::test_every_verb_answers_and_hands_its_options_on",
    ),
    "S2": (
        "A dataclass with a list for a default failed on import.",
        "tests/test_registry.py::test_a_model_is_a_dataclass",
    ),
    "S3": (
        "stream() outside of an event loop failed, for it made a task of the caller's loop.",
        "tests/test_stream.py::test_result_works_before_during_and_after_iteration",
    ),
    "S4": (
        "Blocking verbs failed inside a running loop, and each call left its clients a dead loop.",
        "tests/test_stream.py::test_a_blocking_call_works_inside_a_running_loop",
        "tests/test_stream.py::test_repeated_asyncio_run",
        "tests/test_litellm.py::test_many_threads_and_repeated_loops_share_the_connection_pool",
    ),
    "S5": (
        "The blocking iterator span on an asyncio queue that nobody fed, and never ended.",
        "tests/test_stream.py::test_a_stream_without_a_source_takes_events_from_any_thread",
        "tests/test_stream.py::test_32_threads_at_once",
    ),
    "S6": (
        "Without a configuration an empty Router refused every model.",
        "tests/test_litellm.py::test_what_is_sent",
        "tests/test_router.py::test_its_models_go_through_the_router",
    ),
    "S7": (
        "The command line used a qualified_name that models did not have.",
        "tests/test_registry.py::test_names",
        "tests/test_catalogue_cli.py::test_info",
    ),
    "S8": (
        "The README and the package named modules, types and calls that did not exist.",
        "tests/test_types.py::test_public_names_are_all_there",
        "tests/test_docs.py::test_every_example_runs",
        "tests/test_docs.py::test_the_examples_in_docstrings_are_right",
    ),
    "S9": (
        "astream was a generator: no result(), no abort(), no request until it was iterated.",
        "tests/test_seed_defects.py::test_an_async_stream_runs_unread_and_can_be_aborted",
        "tests/test_stream.py::test_result_works_before_during_and_after_async_iteration",
        "tests/test_stream.py::test_async_break_closes_the_stream",
    ),
    "S10": (
        "The reader polled ten times a second, ended late, and never when its producer died.",
        "tests/test_seed_defects.py::test_an_event_is_there_at_once",
        "tests/test_seed_defects.py::test_a_provider_that_dies_ends_the_stream",
    ),
    # Wrong events and content.
    "S11": (
        "Thinking was put before a text that had been announced as block 0.",
        "tests/test_assembler.py::test_a_switch_of_type_ends_the_block_and_begins_another",
        "tests/test_assembler.py::test_the_properties_catch_a_broken_assembler",
    ),
    "S12": (
        "A second phase of thinking was glued to the first.",
        "tests/test_assembler.py::test_a_switch_of_type_ends_the_block_and_begins_another",
        "tests/test_wires.py::test_the_scenario_table",
    ),
    "S13": (
        "Text after a finished call was written into the call, which ended the turn in an error.",
        "tests/test_litellm.py::test_hard_streams_come_out_right",
        "tests/test_wires.py::test_the_scenario_table",
        "tests/test_seed_defects.py::test_hard_streams_that_litellm_reads_itself",
    ),
    "S14": (
        "Blocks ended only with the stream, in the wrong order, with the index of the last one.",
        "tests/test_assembler.py::test_a_switch_of_type_ends_the_block_and_begins_another",
        "tests/test_assembler.py::test_every_script_comes_out_right",
    ),
    "S15": (
        "A call's start and deltas pointed to a block that was not there yet.",
        "tests/test_assembler.py::test_arguments_can_be_watched_while_they_grow",
        "tests/test_assembler.py::test_every_script_comes_out_right",
    ),
    "S16": (
        "Calls were told apart by name: interleaved ones mixed, a repeated name split one in two.",
        "tests/test_assembler.py::test_interleaved_parallel_calls_land_in_their_own",
        "tests/test_assembler.py::test_without_index_and_id_whole_calls_are_told_apart",
        "tests/test_seed_defects.py::test_hard_streams_that_litellm_reads_itself",
    ),
    "S17": (
        "A call without arguments was lost when another followed.",
        "tests/test_assembler.py::test_no_arguments_are_the_empty_object",
        "tests/test_litellm.py::test_hard_streams_come_out_right",
    ),
    "S18": (
        "Arguments that were cut off or no object failed the turn, and hid why it had ended.",
        "tests/test_assembler.py::test_arguments_that_are_no_object_are_flagged_and_kept",
        "tests/test_litellm.py::test_hard_streams_come_out_right",
    ),
    "S19": (
        "A call without an id, or whose function was null, failed the turn.",
        "tests/test_litellm.py::test_hard_streams_come_out_right",
        "tests/test_seed_defects.py::test_a_call_whose_function_is_null_is_read",
    ),
    "S20": (
        "A chunk without choices failed the turn.",
        "tests/test_litellm.py::test_hard_streams_come_out_right",
        "tests/test_wires.py::test_usage_wherever_it_stands",
    ),
    "S21": (
        "The reason was that of the last chunk, so usage hid it; without any chunk it crashed.",
        "tests/test_wires.py::test_the_scenario_table",
        "tests/test_seed_defects.py::test_usage_after_the_finish_does_not_hide_its_reason",
        "tests/test_seed_defects.py::test_hard_streams_that_litellm_reads_itself",
    ),
    "S22": (
        "Filtered, broken and overlong answers looked like success.",
        "tests/test_assembler.py::test_stop_reasons",
        "tests/test_wires.py::test_arguments_as_an_object_are_read",
        "tests/test_seed_defects.py::test_a_reason_of_failure_is_no_success",
    ),
    "S23": (
        "start was told before the request was accepted, even when the key was wrong.",
        "tests/test_litellm.py::test_a_missing_key_is_told_with_its_variable",
        "tests/test_seed_defects.py::test_a_request_that_is_refused_never_starts",
    ),
    "S24": (
        "Being cancelled or interrupted left the stream without an end, and result() hung.",
        "tests/test_stream.py::test_cancelling_the_task_closes_the_stream",
        "tests/test_stream.py::test_a_provider_that_exits_takes_nobody_with_it",
        "tests/test_seed_defects.py::test_a_provider_that_dies_ends_the_stream",
    ),
    "S25": (
        "Every delta joined the whole answer anew.",
        "tests/test_seed_defects.py::test_a_delta_costs_the_same_in_a_long_answer",
        "tests/test_assembler.py::test_nobody_parses_arguments_that_nobody_looks_at",
    ),
    "S26": (
        "An answer under way claimed to have stopped well.",
        "tests/test_types.py::test_an_answer_under_way_claims_no_success",
    ),
    "S27": (
        "Text in several blocks was joined with line breaks, in the message and on its way back.",
        "tests/test_types.py::test_text_joins_without_a_seam",
        "tests/test_seed_defects.py::test_text_in_several_blocks_goes_back_without_a_seam",
    ),
    "S28": (
        "Thinking and text of one chunk came in the wrong order.",
        "tests/test_litellm.py::test_hard_streams_come_out_right",
    ),
    "S29": (
        "Thinking by other names, signatures, redacted thinking and refusals were passed over.",
        "tests/test_seed_defects.py::test_thinking_is_read_by_each_of_its_names",
        "tests/test_wires.py::test_signatures_are_kept",
        "tests/test_wires.py::test_the_scenario_table",
        "tests/test_wires.py::test_refusals_are_told",
    ),
    "S30": (
        "Events had no literal types, took any attribute, and could be without their message.",
        "tests/test_types.py::test_events_are_a_discriminated_union_and_read_back_from_json",
        "tests/test_seed_defects.py::test_events_are_strict_about_their_fields",
    ),
    # Usage, cost, models.
    "S31": (
        "Usage was never asked for, so tokens and cost were always zero.",
        "tests/test_litellm.py::test_what_is_sent",
        "tests/test_wires.py::test_usage",
        "tests/test_cost.py::test_every_answer_has_its_cost",
    ),
    "S32": (
        "Costs knew no tiers, hour-long caches, reasoning prices or service levels.",
        "tests/test_cost.py::test_the_table",
        "tests/test_cost.py::test_rules",
        "tests/test_cost.py::test_another_service_level_has_its_price",
    ),
    "S33": (
        "Cached tokens without a price were free, and more cached than input cost less than none.",
        "tests/test_cost.py::test_estimates",
        "tests/test_seed_defects.py::test_cached_tokens_are_free_only_where_a_list_says_so",
    ),
    "S34": (
        "A limit of 0 was no limit, and a misspelt capability found nothing without a word.",
        "tests/test_registry.py::test_filters_agree_with_the_feed",
        "tests/test_registry.py::test_unknown_words_are_refused",
    ),
    "S35": (
        "A bare name meant whichever of a hundred resellers came first.",
        "tests/test_registry.py::test_names",
        "tests/test_registry.py::test_an_ambiguous_name_lists_its_candidates",
        "tests/test_registry.py::test_names_do_not_depend_on_order",
    ),
    "S36": (
        "The provider of a bare name was 'unknown', and the model's name kept its prefix.",
        "tests/test_routing.py::test_a_bare_name_will_do",
        "tests/test_stream.py::test_a_provider_of_ones_own",
    ),
    "S37": (
        "Models lacked tiers, input limits and ways to think, and knew a status that none has.",
        "tests/test_registry.py::test_figures_are_the_feeds",
        "tests/test_registry.py::test_unknown_words_are_refused",
    ),
    "S38": (
        "Catalogue names were taken for LiteLLM's, which most of them are not.",
        "tests/test_routing.py::test_the_way_is_the_tables",
        "tests/test_routing.py::test_a_request_can_be_made_for_every_text_model",
    ),
    "S39": (
        "A changed router file was not noticed, and an empty one crashed.",
        "tests/test_router.py::test_a_changed_file_is_noticed",
        "tests/test_seed_defects.py::test_an_empty_router_file_is_told",
    ),
    "S40": (
        "The first use waited for the network, failed offline, and wrote half a file anywhere.",
        "tests/test_sync.py::test_a_missing_catalogue_is_fetched_in_the_background",
        "tests/test_sync.py::test_a_failed_attempt_is_not_repeated_that_day",
        "tests/test_sync.py::test_nothing_new_is_not_sent_again",
        "tests/test_sync.py::test_two_writers_and_two_readers",
        "tests/test_registry.py::test_without_files_the_package_answers",
        "tests/test_seed_defects.py::test_the_first_sync_makes_the_directory_it_was_told",
    ),
    # Options and history.
    "S41": (
        "headers, cache_retention, session_id and max_retry_delay_ms did nothing.",
        "tests/test_litellm.py::test_what_is_sent",
        "tests/test_requests.py::test_marks_on_the_wire",
        "tests/test_requests.py::test_openai_gets_a_key_and_a_retention",
        "tests/test_stream.py::test_a_long_retry_after_fails_at_once_and_is_told",
    ),
    "S42": (
        "The simple verbs dropped reasoning and half of the other options.",
        "tests/test_seed_defects.py::test_every_verb_answers_and_hands_its_options_on",
        "tests/test_requests.py::test_own_budgets",
    ),
    "S43": (
        "Levels of thinking were never mapped, or all to the same few.",
        "tests/test_requests.py::test_efforts",
        "tests/test_requests.py::test_models_that_do_not_reason_are_left_alone",
    ),
    "S44": (
        "The default for max_tokens was smaller than the budget for thinking, which is refused.",
        "tests/test_requests.py::test_budgets",
        "tests/test_requests.py::test_thinking_on_the_wire",
    ),
    "S45": (
        "A default for cache_retention hid that it was not set, so the environment had no say.",
        "tests/test_requests.py::test_marks_on_the_wire",
    ),
    "S46": (
        "Timeouts, retries, signals, tool_choice, stop, seed, top_p and api_base were missing.",
        "tests/test_litellm.py::test_what_is_sent",
        "tests/test_stream.py::test_the_clock_stops_a_stalled_stream",
        "tests/test_stream.py::test_retries_end",
        "tests/test_stream.py::test_one_signal_stops_many_and_forgets_them",
    ),
    "S47": (
        "Thinking and signatures were not given back to the model that they came from.",
        "tests/test_history.py::test_signatures_go_back_where_they_came_from",
        "tests/test_history.py::test_own_thinking_goes_back_and_others_does_not",
    ),
    "S48": (
        "Assistant messages without content were sent, and failed turns were replayed.",
        "tests/test_history.py::test_empty_things_are_left_out",
        "tests/test_history.py::test_failed_turns_are_left_out_and_aborted_ones_keep_their_text",
    ),
    "S49": (
        "Images of tool results were dropped, and so was the word that a tool had failed.",
        "tests/test_history.py::test_images_of_results_follow_the_run_of_results",
        "tests/test_litellm.py::test_what_is_sent",
    ),
    "S50": (
        "Empty user messages were sent, and images to models that take none.",
        "tests/test_history.py::test_empty_things_are_left_out",
        "tests/test_history.py::test_images_are_named_to_models_that_cannot_see",
    ),
    "S51": (
        "Illegal ids, calls without results and lone surrogates went out as they were.",
        "tests/test_history.py::test_ids_become_legal_and_stay_apart",
        "tests/test_history.py::test_surrogates_are_cleaned_everywhere",
        "tests/test_history.py::test_whatever_the_history_the_request_is_legal",
        "tests/test_history.py::test_forty_turns_over_four_providers_are_accepted_by_all",
    ),
    "S52": (
        "Results were not held against the calls that they answer.",
        "tests/test_history.py::test_every_call_has_one_result_right_after_it",
    ),
    "S53": (
        "Data without a role became a user message, camelCase keys and misspelt options vanished.",
        "tests/test_types.py::test_messages_are_told_apart_by_role_and_content_by_type",
        "tests/test_types.py::test_pis_camel_case_is_read_and_nothing_is_lost",
        "tests/test_types.py::test_options_refuse_what_they_do_not_know",
    ),
    "S54": (
        "Messages made by hand were of 1970.",
        "tests/test_seed_defects.py::test_messages_made_by_hand_are_of_now",
    ),
    "S55": (
        "Details of a tool result that are no JSON broke the saving of the conversation.",
        "tests/test_types.py::test_details_of_any_kind_can_be_written_as_json",
    ),
    "S56": (
        "Every image was called a PNG, whatever it was, and none could be a URL.",
        "tests/test_types.py::test_images_are_known_by_their_bytes",
        "tests/test_types.py::test_what_is_no_image_is_refused_with_its_path",
        "tests/test_types.py::test_user_takes_text_and_images_in_any_order",
    ),
    "S57": (
        "There was no redacted thinking, no off and max, no count of reasoning or hour-long cache.",
        "tests/test_assembler.py::test_thinking_keeps_signatures_and_redacted_blocks",
        "tests/test_requests.py::test_efforts",
        "tests/test_wires.py::test_usage",
    ),
    "S58": (
        "The README's tool loop sent what no provider takes as soon as there were two calls.",
        "tests/test_seed_defects.py::test_the_readmes_tool_loop_asks_once_for_all_results",
    ),
    "S59": (
        "user() took one string only, and ctx() neither tools nor their results.",
        "tests/test_types.py::test_user_takes_text_and_images_in_any_order",
        "tests/test_types.py::test_contexts_and_results",
        "tests/test_litellm.py::test_what_is_sent",
    ),
}


def test_every_defect_names_tests_that_exist() -> None:
    assert tuple(DEFECTS) == IDS
    functions: dict[str, set[str]] = {}
    for identity, (sentence, *nodes) in DEFECTS.items():
        assert sentence.endswith("."), identity
        assert nodes, f"{identity} has no test"
        for node in nodes:
            file, _, name = node.partition("::")
            if file not in functions:
                tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
                kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
                functions[file] = {item.name for item in tree.body if isinstance(item, kinds)}
            assert name.startswith("test_"), node
            assert name in functions[file], f"{identity}: there is no {node}"


# --- Running --------------------------------------------------------------------------------


async def test_every_verb_answers_and_hands_its_options_on() -> None:
    high: Any = {"reasoning": ThinkingLevel.HIGH}
    more: Any = {**high, "headers": {"X-Mine": "yes"}, "max_retry_delay_ms": 7}
    with faux.script(*["fine"] * 10) as provider:
        answers = [  # the blocking ones, too, inside of a running loop
            complete("faux/m", "q", **more),
            complete_simple("faux/m", "q", **more),
            stream("faux/m", "q", **more).result(),
            stream_simple("faux/m", "q", **more).result(),
            await acomplete("faux/m", "q", **more),
            await acomplete_simple("faux/m", "q", **more),
            await astream("faux/m", "q", **more).result(),
            await astream_simple("faux/m", "q", **more).result(),
            quick("q", "faux/m", **high),
            await aquick("q", "faux/m", **high),
        ]
    assert [message.text for message in answers] == ["fine"] * 10
    assert [request.reasoning for request in provider.requests] == ["high"] * 10
    for request in provider.requests[:8]:
        assert request.options.headers == {"X-Mine": "yes"}
        assert request.options.max_retry_delay_ms == 7


async def test_an_async_stream_runs_unread_and_can_be_aborted() -> None:
    began = asyncio.Event()

    async def stall(request: Request) -> AsyncIterator[str]:
        began.set()
        yield "so far"
        await asyncio.Event().wait()

    register_provider("unread", stall)
    try:
        s = astream("unread/m", "q")
        await asyncio.wait_for(began.wait(), WAIT)
        s.abort()
        message = await asyncio.wait_for(s.result(), WAIT)
    finally:
        unregister_provider("unread")
    assert message.stop_reason == "aborted"


@pytest.mark.parametrize("verb", ["iterate", "aiterate"])
def test_an_event_is_there_at_once(verb: str) -> None:
    """Two hundred events, each pushed when the one before was read: with a look at the clock now
    and then, each tenth of a second, that would take twenty seconds."""
    partial = assistant()
    taken = threading.Semaphore(0)
    s = AssistantMessageEventStream() if verb == "iterate" else AsyncAssistantMessageEventStream()

    def produce() -> None:
        for _ in range(200):
            s.push(StartEvent(partial=partial))
            taken.acquire(timeout=WAIT)
        s.end(assistant("done"))

    async def read(twin: AsyncAssistantMessageEventStream) -> None:
        async for _ in twin:
            taken.release()

    thread = threading.Thread(target=produce)
    began = time.perf_counter()
    thread.start()
    if isinstance(s, AsyncAssistantMessageEventStream):
        asyncio.run(read(s))
    else:
        for _ in s:
            taken.release()
    assert time.perf_counter() - began < 3
    thread.join(WAIT)


@pytest.mark.parametrize("death", [asyncio.CancelledError, KeyboardInterrupt, GeneratorExit])
def test_a_provider_that_dies_ends_the_stream(death: type[BaseException]) -> None:
    async def die(request: Request) -> AsyncIterator[str]:
        yield "so far"
        raise death

    register_provider("mortal", die)
    try:
        s = stream("mortal/m", "q")
        message = check_events(list(s))
    finally:
        unregister_provider("mortal")
    assert s.result() is message
    assert message.text == "so far"
    assert message.error is not None
    assert complete("faux/echo", "still there?").text == "still there?"


def test_a_delta_costs_the_same_in_a_long_answer() -> None:
    """Eight times the deltas take about eight times as long, not sixty-four."""

    def took(count: int) -> float:
        best = float("inf")
        for _ in range(3):
            assembler = Assembler()
            events: list[AssistantMessageEvent] = [assembler.start()]
            began = time.thread_time()
            for _ in range(count):
                assembler.feed([Text("word ")], events)
            assembler.feed([Finish("stop")], events)
            events += assembler.finish()
            best = min(best, time.thread_time() - began)
            assert events[-1].partial.text == "word " * count
        return best

    assert took(32_000) < 24 * took(4_000)


# --- On the wire, read here and by LiteLLM itself -------------------------------------------


@pytest.fixture(params=["hosted_vllm/m", "azure/m"])
def model(request: pytest.FixtureRequest) -> str:
    """One model whose wire is read here, and one whose wire is left to LiteLLM."""
    return str(request.param)


def asked(lab: Lab, model: str, prompt: Any = "q") -> tuple[list[str], AssistantMessage]:
    base = lab.url.removesuffix("/v1") if model.startswith("azure/") else lab.url
    events = list(stream(model, prompt, api_base=base, api_key="k", max_retries=0))
    return [event.type for event in events], check_events(events)


LEFT_TO_LITELLM = [
    "one call in fragments", "interleaved calls", "think text think text",
    "thinking and text in one chunk", "calls without arguments", "a cut stream",
    "calls with the reason stop", "a call without an id", "content filter", "zero chunks",
    "truncated arguments", "null for arguments", "text, two calls, text", "an empty first chunk",
]  # fmt: skip


@pytest.mark.parametrize("name", LEFT_TO_LITELLM)
def test_hard_streams_that_litellm_reads_itself(lab: Lab, name: str) -> None:
    case = CASES[name]
    lab.play(case.scene)
    _, message = asked(lab, "azure/m")
    assert message.api == "litellm"
    assert shape(message) == case.content
    assert message.stop_reason == case.stop
    assert (message.error.kind if message.error else None) == case.kind


def test_a_call_whose_function_is_null_is_read(lab: Lab, model: str) -> None:
    null = chunk({"tool_calls": [{"index": 0, "id": "a", "type": "function", "function": None}]})
    lab.play(chat(null, call(0, None, "f", '{"x": 1}'), finish("tool_calls")))
    _, message = asked(lab, model)
    assert shape(message) == [("f", {"x": 1})]
    assert message.stop_reason == "toolUse"


def test_usage_after_the_finish_does_not_hide_its_reason(lab: Lab, model: str) -> None:
    lab.play(chat(text("a"), finish("length"), usage(3, 2)))
    _, message = asked(lab, model)
    assert message.stop_reason == "length"
    assert (message.usage.input, message.usage.output) == (3, 2)


@pytest.mark.parametrize(
    ("reason", "stop"),
    [("content_filter", "error"), ("error", "error"), ("model_length", "length")],
)
def test_a_reason_of_failure_is_no_success(lab: Lab, model: str, reason: str, stop: str) -> None:
    lab.play(chat(text("half"), finish(reason)))
    _, message = asked(lab, model)
    assert (message.text, message.stop_reason) == ("half", stop)


@pytest.mark.parametrize("status", [400, 401, 404, 500])
def test_a_request_that_is_refused_never_starts(lab: Lab, model: str, status: int) -> None:
    lab.play(Status(status, {"error": {"message": "no"}}))
    kinds, message = asked(lab, model)
    assert kinds == ["error"]
    assert message.content == []


@pytest.mark.parametrize("name", ["reasoning_content", "reasoning", "reasoning_text"])
def test_thinking_is_read_by_each_of_its_names(lab: Lab, name: str) -> None:
    lab.play(chat(chunk({name: "h"}), chunk({name: "m"}), text("ok"), finish("stop")))
    _, message = asked(lab, "hosted_vllm/m")
    assert shape(message) == [{"think": "hm"}, "ok"]


def test_text_in_several_blocks_goes_back_without_a_seam(lab: Lab, model: str) -> None:
    asked(lab, model, ctx("q", assistant("Hel", "lo"), "and?"))
    assert lab.seen[0].json["messages"][1] == {"role": "assistant", "content": "Hello"}


# --- Types, costs, files --------------------------------------------------------------------


def test_events_are_strict_about_their_fields() -> None:
    for kind in get_args(AssistantMessageEvent):
        fields = {name: None for name in kind.__dataclass_fields__ if name != "type"}
        event = kind(**fields)
        assert event.type == kind.__dataclass_fields__["type"].default
        with pytest.raises(AttributeError):
            event.misspelt = 1
        for name in fields:  # nothing has a default, least of all the message
            with pytest.raises(TypeError):
                kind(**{other: None for other in fields if other != name})


def test_messages_made_by_hand_are_of_now() -> None:
    before = now_ms()
    made: list[Any] = [
        UserMessage(content="q"),
        AssistantMessage(),
        ToolResultMessage(tool_call_id="c"),
    ]
    stamps = [*(message.timestamp for message in made), complete("faux/echo", "q").timestamp]
    assert before > 1_700_000_000_000
    assert all(before <= stamp <= now_ms() for stamp in stamps)


def test_cached_tokens_are_free_only_where_a_list_says_so() -> None:
    def cost(**rates: Any) -> float | None:
        model = Model(id="m", provider="acme", cost=ModelCost(input=2.0, output=4.0, **rates))
        return estimate_cost(model, input_tokens=1_000_000, cached_tokens=1_000_000)

    assert cost() == 2.0
    assert cost(cache_read=0.0) == 0.0
    assert cost(cache_read=0.5) == 0.5


@pytest.mark.parametrize("content", ["", "# nothing yet\n", "model_list:\n"])
def test_an_empty_router_file_is_told(july: Path, content: str) -> None:
    (july / "router.yaml").write_text(content)
    message = complete("openai/gpt-5", "q")
    assert message.error is not None
    assert message.error.kind == "bad_request"
    assert "router.yaml: it has no model_list" in message.error.message


def test_the_first_sync_makes_the_directory_it_was_told(
    lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deep = tmp_path / "not" / "there" / "yet"
    monkeypatch.setenv("PIPY_DATA_DIR", str(deep))
    lab.play(Status(200, raw().decode()))
    url = f"{lab.url}/api.json"
    result = sync_models(url=url)
    assert result.updated
    assert Path(result.path).parent == deep
    assert get_registry().metadata["source"] == url


# --- The README -----------------------------------------------------------------------------


@pytest.fixture
def weatherman(monkeypatch: pytest.MonkeyPatch) -> Iterator[faux.FauxProvider]:
    """A provider in place of the README's that calls a tool twice at once, then answers."""
    monkeypatch.setenv("ANTHROPIC_API_KEY", "k")
    calls = [faux.tool("get_weather", location=city) for city in ("Tokyo", "Kyoto")]
    provider = faux.FauxProvider(faux.reply(*calls), "It is sunny.")
    register_provider("anthropic", provider)
    yield provider
    unregister_provider("anthropic")


def test_the_readmes_tool_loop_asks_once_for_all_results(weatherman: faux.FauxProvider) -> None:
    [code] = [block for block in blocks("python", TOOLS) if "weather_tool" in block]
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        exec(compile(code, "tools.md, the tool loop", "exec"), {"__name__": "readme"})
    assert printed.getvalue().endswith("It is sunny.\n")
    first, second = weatherman.requests
    assert [message.role for message in first.context.messages] == ["user"]
    _, turn, *results = second.context.messages
    assert isinstance(turn, AssistantMessage)
    assert turn.stop_reason == "toolUse"
    answered = [result.tool_call_id for result in results if result.role == "toolResult"]
    assert answered == [one.id for one in turn.tool_calls]
    assert len(answered) == len(results) == 2
