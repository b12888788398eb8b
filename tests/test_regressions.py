"""Test that each defect of the library's first draft is listed with tests that would have caught
it."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]


ROOT = Path(__file__).parents[1]


IDS = tuple(f"S{number}" for number in range(1, 60))


# By id: the defect of the first draft, then the tests that would have caught it.
DEFECTS: dict[str, tuple[str, ...]] = {
    # It did not run at all.
    "S1": (
        "complete, quick and all asynchronous verbs called methods that did not exist.",
        "tests/test_api.py::test_every_function_answers_and_passes_its_options",
    ),
    "S2": (
        "A dataclass with a list for a default failed on import.",
        "tests/registry/test_catalogue.py::test_model_is_a_dataclass",
    ),
    "S3": (
        "stream() outside of an event loop failed, for it made a task of the caller's loop.",
        "tests/test_stream.py::test_result_works_before_during_and_after_iteration",
    ),
    "S4": (
        "Blocking verbs failed inside a running loop, and each call left its clients a dead loop.",
        "tests/test_api.py::test_blocking_call_inside_a_running_loop",
        "tests/test_api.py::test_repeated_asyncio_run",
        "tests/provider/test_litellm_cancellation.py::test_threads_and_repeated_loops_share_the_connection_pool",
    ),
    "S5": (
        "The blocking iterator span on an asyncio queue that nobody fed, and never ended.",
        "tests/test_stream.py::test_manual_stream_accepts_events_from_any_thread",
        "tests/test_api.py::test_32_concurrent_threads",
    ),
    "S6": (
        "Without a configuration an empty Router refused every model.",
        "tests/provider/test_litellm.py::test_request_body",
        "tests/provider/test_router.py::test_router_models_go_through_the_router",
    ),
    "S7": (
        "The command line used a qualified_name that models did not have.",
        "tests/registry/test_names.py::test_names",
        "tests/cli/test_catalogue_commands.py::test_info",
    ),
    "S8": (
        "The README and the package named modules, types and calls that did not exist.",
        "tests/test_types.py::test_public_names_exist",
        "tests/test_docs.py::test_every_example_runs",
        "tests/test_docs.py::test_docstring_examples",
    ),
    "S9": (
        "astream was a generator: no result(), no abort(), no request until it was iterated.",
        "tests/test_stream.py::test_async_stream_runs_unread_and_can_be_aborted",
        "tests/test_stream.py::test_result_works_before_during_and_after_async_iteration",
        "tests/test_stream_closing.py::test_async_break_closes_the_stream",
    ),
    "S10": (
        "The reader polled ten times a second, ended late, and never when its producer died.",
        "tests/test_stream.py::test_event_is_delivered_at_once",
        "tests/provider/test_engine.py::test_provider_that_dies_ends_the_stream",
    ),
    # Wrong events and content.
    "S11": (
        "Thinking was put before a text that had been announced as block 0.",
        "tests/provider/test_assembler.py::test_new_content_type_ends_the_block",
        "tests/provider/test_assembler_properties.py::test_broken_assemblers_fail_the_properties",
    ),
    "S12": (
        "A second phase of thinking was glued to the first.",
        "tests/provider/test_assembler.py::test_new_content_type_ends_the_block",
        "tests/wires/test_scenarios.py::test_scenarios",
    ),
    "S13": (
        "Text after a finished call was written into the call, which ended the turn in an error.",
        "tests/provider/test_litellm.py::test_scenarios",
        "tests/wires/test_scenarios.py::test_scenarios",
        "tests/wires/test_openai_chat_litellm.py::test_hard_streams",
    ),
    "S14": (
        "Blocks ended only with the stream, in the wrong order, with the index of the last one.",
        "tests/provider/test_assembler.py::test_new_content_type_ends_the_block",
        "tests/provider/test_assembler_properties.py::test_generated_scripts_are_assembled_correctly",
    ),
    "S15": (
        "A call's start and deltas pointed to a block that was not there yet.",
        "tests/provider/test_assembler.py::test_partial_arguments_grow",
        "tests/provider/test_assembler_properties.py::test_generated_scripts_are_assembled_correctly",
    ),
    "S16": (
        "Calls were told apart by name: interleaved ones mixed, a repeated name split one in two.",
        "tests/provider/test_assembler.py::test_interleaved_parallel_calls_are_separated",
        "tests/provider/test_assembler.py::test_whole_calls_without_index_and_id_are_separated",
        "tests/wires/test_openai_chat_litellm.py::test_hard_streams",
    ),
    "S17": (
        "A call without arguments was lost when another followed.",
        "tests/provider/test_assembler.py::test_missing_arguments_are_an_empty_object",
        "tests/provider/test_litellm.py::test_scenarios",
    ),
    "S18": (
        "Arguments that were cut off or no object failed the turn, and hid why it had ended.",
        "tests/provider/test_assembler.py::test_invalid_arguments_are_flagged_and_kept",
        "tests/provider/test_litellm.py::test_scenarios",
    ),
    "S19": (
        "A call without an id, or whose function was null, failed the turn.",
        "tests/provider/test_litellm.py::test_scenarios",
        "tests/wires/test_openai_chat_litellm.py::test_call_with_a_null_function",
    ),
    "S20": (
        "A chunk without choices failed the turn.",
        "tests/provider/test_litellm.py::test_scenarios",
        "tests/wires/test_openai_chat.py::test_usage_in_any_position",
    ),
    "S21": (
        "The reason was that of the last chunk, so usage hid it; without any chunk it crashed.",
        "tests/wires/test_scenarios.py::test_scenarios",
        "tests/wires/test_openai_chat_litellm.py::test_usage_after_the_finish_keeps_the_stop_reason",
        "tests/wires/test_openai_chat_litellm.py::test_hard_streams",
    ),
    "S22": (
        "Filtered, broken and overlong answers looked like success.",
        "tests/provider/test_assembler.py::test_stop_reasons",
        "tests/wires/test_openai_chat.py::test_arguments_as_an_object_are_read",
        "tests/wires/test_openai_chat_litellm.py::test_failure_stop_reason_is_no_success",
    ),
    "S23": (
        "start was told before the request was accepted, even when the key was wrong.",
        "tests/provider/test_litellm.py::test_missing_key_names_its_environment_variable",
        "tests/wires/test_openai_chat_litellm.py::test_rejected_request_never_starts",
    ),
    "S24": (
        "Being cancelled or interrupted left the stream without an end, and result() hung.",
        "tests/test_stream_closing.py::test_cancelling_the_task_closes_the_stream",
        "tests/provider/test_engine.py::test_provider_that_raises_system_exit_ends_only_its_stream",
        "tests/provider/test_engine.py::test_provider_that_dies_ends_the_stream",
    ),
    "S25": (
        "Every delta joined the whole answer anew.",
        "tests/provider/test_assembler.py::test_time_per_delta_is_constant",
        "tests/provider/test_assembler.py::test_partial_arguments_are_parsed_on_access",
    ),
    "S26": (
        "An answer under way claimed to have stopped well.",
        "tests/test_types.py::test_unfinished_message_does_not_claim_success",
    ),
    "S27": (
        "Text in several blocks was joined with line breaks, in the message and on its way back.",
        "tests/test_types.py::test_text_blocks_are_joined_without_a_separator",
        "tests/wires/test_openai_chat_litellm.py::test_text_blocks_are_sent_back_joined",
    ),
    "S28": (
        "Thinking and text of one chunk came in the wrong order.",
        "tests/provider/test_litellm.py::test_scenarios",
    ),
    "S29": (
        "Thinking by other names, signatures, redacted thinking and refusals were passed over.",
        "tests/wires/test_openai_chat_litellm.py::test_thinking_field_names",
        "tests/wires/test_scenarios.py::test_signatures_are_kept",
        "tests/wires/test_scenarios.py::test_scenarios",
        "tests/wires/test_errors.py::test_refusals",
    ),
    "S30": (
        "Events had no literal types, took any attribute, and could be without their message.",
        "tests/test_events.py::test_events_are_a_discriminated_union",
        "tests/test_events.py::test_events_are_strict_about_their_fields",
    ),
    # Usage, cost, models.
    "S31": (
        "Usage was never asked for, so tokens and cost were always zero.",
        "tests/provider/test_litellm.py::test_request_body",
        "tests/wires/test_scenarios.py::test_usage",
        "tests/accounting/test_cost.py::test_every_response_has_a_cost",
    ),
    "S32": (
        "Costs knew no tiers, hour-long caches, reasoning prices or service levels.",
        "tests/registry/test_cost.py::test_price_table",
        "tests/registry/test_cost.py::test_pricing_rules",
        "tests/accounting/test_cost.py::test_service_tier_has_its_own_price",
    ),
    "S33": (
        "Cached tokens without a price were free, and more cached than input cost less than none.",
        "tests/registry/test_cost.py::test_estimates",
        "tests/registry/test_cost.py::test_cached_tokens_are_free_only_where_listed",
    ),
    "S34": (
        "A limit of 0 was no limit, and a misspelt capability found nothing without a message.",
        "tests/registry/test_registry.py::test_filters_agree_with_the_feed",
        "tests/registry/test_registry.py::test_unknown_filter_values_are_rejected",
    ),
    "S35": (
        "A bare name meant whichever of a hundred resellers came first.",
        "tests/registry/test_names.py::test_names",
        "tests/registry/test_names.py::test_ambiguous_name_lists_candidates",
        "tests/registry/test_names.py::test_names_do_not_depend_on_order",
    ),
    "S36": (
        "The provider of a bare name was 'unknown', and the model's name kept its prefix.",
        "tests/provider/test_resolve.py::test_bare_name",
        "tests/provider/test_registered.py::test_custom_provider",
    ),
    "S37": (
        "Models lacked tiers, input limits and ways to think, and knew a status that none has.",
        "tests/registry/test_catalogue.py::test_figures_match_the_feed",
        "tests/registry/test_registry.py::test_unknown_filter_values_are_rejected",
    ),
    "S38": (
        "Catalogue names were taken for LiteLLM's, which most of them are not.",
        "tests/registry/test_routing.py::test_routes_match_the_checked_table",
        "tests/provider/test_every_model.py::test_request_can_be_built_for_every_text_model",
    ),
    "S39": (
        "A changed router file was not noticed, and an empty one crashed.",
        "tests/provider/test_router.py::test_changed_file_is_reloaded",
        "tests/provider/test_router.py::test_empty_router_file_is_reported",
    ),
    "S40": (
        "The first use waited for the network, failed offline, and wrote half a file anywhere.",
        "tests/registry/test_auto_sync.py::test_missing_catalogue_is_fetched_in_the_background",
        "tests/registry/test_auto_sync.py::test_failed_attempt_is_not_repeated_the_same_day",
        "tests/registry/test_sync.py::test_unchanged_feed_is_not_sent_again",
        "tests/registry/test_sync.py::test_concurrent_readers_and_writers_see_whole_catalogues",
        "tests/registry/test_index.py::test_packaged_catalogue_is_used_without_files",
        "tests/registry/test_sync.py::test_first_sync_creates_the_given_directory",
    ),
    # Options and history.
    "S41": (
        "headers, cache_retention, session_id and max_retry_delay_ms did nothing.",
        "tests/provider/test_litellm.py::test_request_body",
        "tests/provider/test_prepare.py::test_cache_markers",
        "tests/provider/test_prepare.py::test_openai_cache_key_and_retention",
        "tests/provider/test_engine.py::test_long_retry_after_fails_at_once",
    ),
    "S42": (
        "The simple verbs dropped reasoning and half of the other options.",
        "tests/test_api.py::test_every_function_answers_and_passes_its_options",
        "tests/provider/test_reasoning.py::test_custom_budgets",
    ),
    "S43": (
        "Levels of thinking were never mapped, or all to the same few.",
        "tests/provider/test_reasoning.py::test_efforts",
        "tests/provider/test_reasoning.py::test_models_without_reasoning_are_unaffected",
    ),
    "S44": (
        "The default for max_tokens was smaller than the budget for thinking, which is refused.",
        "tests/provider/test_reasoning.py::test_budgets",
        "tests/provider/test_reasoning.py::test_thinking_in_requests",
    ),
    "S45": (
        "A default for cache_retention hid that it was not set, so the environment had no say.",
        "tests/provider/test_prepare.py::test_cache_markers",
    ),
    "S46": (
        "Timeouts, retries, signals, tool_choice, stop, seed, top_p and api_base were missing.",
        "tests/provider/test_litellm.py::test_request_body",
        "tests/test_stream_closing.py::test_timeout_stops_a_stalled_stream",
        "tests/provider/test_engine.py::test_retries_are_limited",
        "tests/test_stream_closing.py::test_one_signal_stops_many_streams_and_releases_them",
    ),
    "S47": (
        "Thinking and signatures were not given back to the model that they came from.",
        "tests/provider/test_conversation.py::test_signatures_return_to_their_own_wire",
        "tests/provider/test_conversation.py::test_own_thinking_is_sent_back_and_other_thinking_is_not",
    ),
    "S48": (
        "Assistant messages without content were sent, and failed turns were replayed.",
        "tests/provider/test_conversation.py::test_empty_content_is_dropped",
        "tests/provider/test_conversation.py::test_failed_turns_are_dropped_and_aborted_turns_keep_their_text",
    ),
    "S49": (
        "Images of tool results were dropped, and so was the word that a tool had failed.",
        "tests/provider/test_conversation.py::test_images_of_results_follow_all_results",
        "tests/provider/test_litellm.py::test_request_body",
    ),
    "S50": (
        "Empty user messages were sent, and images to models that take none.",
        "tests/provider/test_conversation.py::test_empty_content_is_dropped",
        "tests/provider/test_conversation.py::test_images_become_text_for_models_without_vision",
    ),
    "S51": (
        "Illegal ids, calls without results and lone surrogates went out as they were.",
        "tests/provider/test_conversation.py::test_ids_become_valid_and_stay_distinct",
        "tests/provider/test_conversation.py::test_surrogates_are_cleaned_everywhere",
        "tests/provider/test_conversation.py::test_adapted_conversation_is_valid_for_any_history",
        "tests/provider/test_conversation.py::test_fifty_turns_across_providers_are_valid_for_all",
    ),
    "S52": (
        "Results were not held against the calls that they answer.",
        "tests/provider/test_conversation.py::test_every_call_is_followed_by_one_result",
    ),
    "S53": (
        "Data without a role became a user message, camelCase keys and misspelt options vanished.",
        "tests/test_types.py::test_messages_are_discriminated_by_role_and_content_by_type",
        "tests/test_types.py::test_camel_case_of_pi_is_read_losslessly",
        "tests/test_types.py::test_options_reject_unknown_fields",
    ),
    "S54": (
        "Messages made by hand were of 1970.",
        "tests/test_types.py::test_new_messages_have_the_current_time",
    ),
    "S55": (
        "Details of a tool result that are no JSON broke the saving of the conversation.",
        "tests/test_types.py::test_error_details_are_json_serializable",
    ),
    "S56": (
        "Every image was called a PNG, whatever it was, and none could be a URL.",
        "tests/test_files.py::test_images_are_detected_from_their_bytes",
        "tests/test_files.py::test_invalid_image_is_rejected_with_its_path",
        "tests/test_files.py::test_user_accepts_text_and_images_in_any_order",
    ),
    "S57": (
        "There was no redacted thinking, no off and max, no count of reasoning or hour-long cache.",
        "tests/provider/test_assembler.py::test_thinking_keeps_signatures_and_redacted_blocks",
        "tests/provider/test_reasoning.py::test_efforts",
        "tests/wires/test_scenarios.py::test_usage",
    ),
    "S58": (
        "The README's tool loop sent what no provider takes as soon as there were two calls.",
        "tests/test_docs.py::test_documented_tool_loop_sends_all_results_in_one_request",
    ),
    "S59": (
        "user() took one string only, and ctx() neither tools nor their results.",
        "tests/test_files.py::test_user_accepts_text_and_images_in_any_order",
        "tests/test_context.py::test_contexts_and_results",
        "tests/provider/test_litellm.py::test_request_body",
    ),
}


def test_every_defect_names_existing_tests() -> None:
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
