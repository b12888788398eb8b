"""List the defects of the first draft of this library and the tests that would have caught them."""

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


# By id: what went wrong in the draft code, then the tests that would have told.
DEFECTS: dict[str, tuple[str, ...]] = {
    # It did not run at all.
    "S1": (
        "complete, quick and all asynchronous verbs called methods that did not exist.",
        "tests/test_api.py::test_every_verb_answers_and_hands_its_options_on",
    ),
    "S2": (
        "A dataclass with a list for a default failed on import.",
        "tests/registry/test_catalogue.py::test_a_model_is_a_dataclass",
    ),
    "S3": (
        "stream() outside of an event loop failed, for it made a task of the caller's loop.",
        "tests/test_stream.py::test_result_works_before_during_and_after_iteration",
    ),
    "S4": (
        "Blocking verbs failed inside a running loop, and each call left its clients a dead loop.",
        "tests/test_api.py::test_a_blocking_call_works_inside_a_running_loop",
        "tests/test_api.py::test_repeated_asyncio_run",
        "tests/provider/test_litellm_cancellation.py::test_many_threads_and_repeated_loops_share_the_connection_pool",
    ),
    "S5": (
        "The blocking iterator span on an asyncio queue that nobody fed, and never ended.",
        "tests/test_stream.py::test_a_stream_without_a_source_takes_events_from_any_thread",
        "tests/test_api.py::test_32_threads_at_once",
    ),
    "S6": (
        "Without a configuration an empty Router refused every model.",
        "tests/provider/test_litellm.py::test_what_is_sent",
        "tests/provider/test_router.py::test_its_models_go_through_the_router",
    ),
    "S7": (
        "The command line used a qualified_name that models did not have.",
        "tests/registry/test_names.py::test_names",
        "tests/cli/test_catalogue_commands.py::test_info",
    ),
    "S8": (
        "The README and the package named modules, types and calls that did not exist.",
        "tests/test_types.py::test_public_names_are_all_there",
        "tests/test_docs.py::test_every_example_runs",
        "tests/test_docs.py::test_the_examples_in_docstrings_are_right",
    ),
    "S9": (
        "astream was a generator: no result(), no abort(), no request until it was iterated.",
        "tests/test_stream.py::test_an_async_stream_runs_unread_and_can_be_aborted",
        "tests/test_stream.py::test_result_works_before_during_and_after_async_iteration",
        "tests/test_stream_closing.py::test_async_break_closes_the_stream",
    ),
    "S10": (
        "The reader polled ten times a second, ended late, and never when its producer died.",
        "tests/test_stream.py::test_an_event_is_there_at_once",
        "tests/provider/test_engine.py::test_a_provider_that_dies_ends_the_stream",
    ),
    # Wrong events and content.
    "S11": (
        "Thinking was put before a text that had been announced as block 0.",
        "tests/provider/test_assembler.py::test_a_switch_of_type_ends_the_block_and_begins_another",
        "tests/provider/test_assembler_properties.py::test_the_properties_catch_a_broken_assembler",
    ),
    "S12": (
        "A second phase of thinking was glued to the first.",
        "tests/provider/test_assembler.py::test_a_switch_of_type_ends_the_block_and_begins_another",
        "tests/wires/test_scenarios.py::test_the_scenario_table",
    ),
    "S13": (
        "Text after a finished call was written into the call, which ended the turn in an error.",
        "tests/provider/test_litellm.py::test_hard_streams_come_out_right",
        "tests/wires/test_scenarios.py::test_the_scenario_table",
        "tests/wires/test_openai_chat_litellm.py::test_hard_streams_that_litellm_reads_itself",
    ),
    "S14": (
        "Blocks ended only with the stream, in the wrong order, with the index of the last one.",
        "tests/provider/test_assembler.py::test_a_switch_of_type_ends_the_block_and_begins_another",
        "tests/provider/test_assembler_properties.py::test_every_script_comes_out_right",
    ),
    "S15": (
        "A call's start and deltas pointed to a block that was not there yet.",
        "tests/provider/test_assembler.py::test_arguments_can_be_watched_while_they_grow",
        "tests/provider/test_assembler_properties.py::test_every_script_comes_out_right",
    ),
    "S16": (
        "Calls were told apart by name: interleaved ones mixed, a repeated name split one in two.",
        "tests/provider/test_assembler.py::test_interleaved_parallel_calls_land_in_their_own",
        "tests/provider/test_assembler.py::test_without_index_and_id_whole_calls_are_told_apart",
        "tests/wires/test_openai_chat_litellm.py::test_hard_streams_that_litellm_reads_itself",
    ),
    "S17": (
        "A call without arguments was lost when another followed.",
        "tests/provider/test_assembler.py::test_no_arguments_are_the_empty_object",
        "tests/provider/test_litellm.py::test_hard_streams_come_out_right",
    ),
    "S18": (
        "Arguments that were cut off or no object failed the turn, and hid why it had ended.",
        "tests/provider/test_assembler.py::test_arguments_that_are_no_object_are_flagged_and_kept",
        "tests/provider/test_litellm.py::test_hard_streams_come_out_right",
    ),
    "S19": (
        "A call without an id, or whose function was null, failed the turn.",
        "tests/provider/test_litellm.py::test_hard_streams_come_out_right",
        "tests/wires/test_openai_chat_litellm.py::test_a_call_whose_function_is_null_is_read",
    ),
    "S20": (
        "A chunk without choices failed the turn.",
        "tests/provider/test_litellm.py::test_hard_streams_come_out_right",
        "tests/wires/test_openai_chat.py::test_usage_wherever_it_stands",
    ),
    "S21": (
        "The reason was that of the last chunk, so usage hid it; without any chunk it crashed.",
        "tests/wires/test_scenarios.py::test_the_scenario_table",
        "tests/wires/test_openai_chat_litellm.py::test_usage_after_the_finish_does_not_hide_its_reason",
        "tests/wires/test_openai_chat_litellm.py::test_hard_streams_that_litellm_reads_itself",
    ),
    "S22": (
        "Filtered, broken and overlong answers looked like success.",
        "tests/provider/test_assembler.py::test_stop_reasons",
        "tests/wires/test_openai_chat.py::test_arguments_as_an_object_are_read",
        "tests/wires/test_openai_chat_litellm.py::test_a_reason_of_failure_is_no_success",
    ),
    "S23": (
        "start was told before the request was accepted, even when the key was wrong.",
        "tests/provider/test_litellm.py::test_a_missing_key_is_told_with_its_variable",
        "tests/wires/test_openai_chat_litellm.py::test_a_request_that_is_refused_never_starts",
    ),
    "S24": (
        "Being cancelled or interrupted left the stream without an end, and result() hung.",
        "tests/test_stream_closing.py::test_cancelling_the_task_closes_the_stream",
        "tests/provider/test_engine.py::test_a_provider_that_exits_takes_nobody_with_it",
        "tests/provider/test_engine.py::test_a_provider_that_dies_ends_the_stream",
    ),
    "S25": (
        "Every delta joined the whole answer anew.",
        "tests/provider/test_assembler.py::test_a_delta_costs_the_same_in_a_long_answer",
        "tests/provider/test_assembler.py::test_nobody_parses_arguments_that_nobody_looks_at",
    ),
    "S26": (
        "An answer under way claimed to have stopped well.",
        "tests/test_types.py::test_an_answer_under_way_claims_no_success",
    ),
    "S27": (
        "Text in several blocks was joined with line breaks, in the message and on its way back.",
        "tests/test_types.py::test_text_joins_without_a_seam",
        "tests/wires/test_openai_chat_litellm.py::test_text_in_several_blocks_goes_back_without_a_seam",
    ),
    "S28": (
        "Thinking and text of one chunk came in the wrong order.",
        "tests/provider/test_litellm.py::test_hard_streams_come_out_right",
    ),
    "S29": (
        "Thinking by other names, signatures, redacted thinking and refusals were passed over.",
        "tests/wires/test_openai_chat_litellm.py::test_thinking_is_read_by_each_of_its_names",
        "tests/wires/test_scenarios.py::test_signatures_are_kept",
        "tests/wires/test_scenarios.py::test_the_scenario_table",
        "tests/wires/test_errors.py::test_refusals_are_told",
    ),
    "S30": (
        "Events had no literal types, took any attribute, and could be without their message.",
        "tests/test_events.py::test_events_are_a_discriminated_union_and_read_back_from_json",
        "tests/test_events.py::test_events_are_strict_about_their_fields",
    ),
    # Usage, cost, models.
    "S31": (
        "Usage was never asked for, so tokens and cost were always zero.",
        "tests/provider/test_litellm.py::test_what_is_sent",
        "tests/wires/test_scenarios.py::test_usage",
        "tests/accounting/test_cost.py::test_every_answer_has_its_cost",
    ),
    "S32": (
        "Costs knew no tiers, hour-long caches, reasoning prices or service levels.",
        "tests/registry/test_cost.py::test_the_table",
        "tests/registry/test_cost.py::test_rules",
        "tests/accounting/test_cost.py::test_another_service_level_has_its_price",
    ),
    "S33": (
        "Cached tokens without a price were free, and more cached than input cost less than none.",
        "tests/registry/test_cost.py::test_estimates",
        "tests/registry/test_cost.py::test_cached_tokens_are_free_only_where_a_list_says_so",
    ),
    "S34": (
        "A limit of 0 was no limit, and a misspelt capability found nothing without a word.",
        "tests/registry/test_registry.py::test_filters_agree_with_the_feed",
        "tests/registry/test_registry.py::test_unknown_words_are_refused",
    ),
    "S35": (
        "A bare name meant whichever of a hundred resellers came first.",
        "tests/registry/test_names.py::test_names",
        "tests/registry/test_names.py::test_an_ambiguous_name_lists_its_candidates",
        "tests/registry/test_names.py::test_names_do_not_depend_on_order",
    ),
    "S36": (
        "The provider of a bare name was 'unknown', and the model's name kept its prefix.",
        "tests/provider/test_resolve.py::test_a_bare_name_will_do",
        "tests/provider/test_registered.py::test_a_provider_of_ones_own",
    ),
    "S37": (
        "Models lacked tiers, input limits and ways to think, and knew a status that none has.",
        "tests/registry/test_catalogue.py::test_figures_are_the_feeds",
        "tests/registry/test_registry.py::test_unknown_words_are_refused",
    ),
    "S38": (
        "Catalogue names were taken for LiteLLM's, which most of them are not.",
        "tests/registry/test_routing.py::test_the_way_is_the_tables",
        "tests/provider/test_every_model.py::test_a_request_can_be_made_for_every_text_model",
    ),
    "S39": (
        "A changed router file was not noticed, and an empty one crashed.",
        "tests/provider/test_router.py::test_a_changed_file_is_noticed",
        "tests/provider/test_router.py::test_an_empty_router_file_is_told",
    ),
    "S40": (
        "The first use waited for the network, failed offline, and wrote half a file anywhere.",
        "tests/registry/test_auto_sync.py::test_a_missing_catalogue_is_fetched_in_the_background",
        "tests/registry/test_auto_sync.py::test_a_failed_attempt_is_not_repeated_that_day",
        "tests/registry/test_sync.py::test_nothing_new_is_not_sent_again",
        "tests/registry/test_sync.py::test_two_writers_and_two_readers",
        "tests/registry/test_index.py::test_without_files_the_package_answers",
        "tests/registry/test_sync.py::test_the_first_sync_makes_the_directory_it_was_told",
    ),
    # Options and history.
    "S41": (
        "headers, cache_retention, session_id and max_retry_delay_ms did nothing.",
        "tests/provider/test_litellm.py::test_what_is_sent",
        "tests/provider/test_prepare.py::test_marks_on_the_wire",
        "tests/provider/test_prepare.py::test_openai_gets_a_key_and_a_retention",
        "tests/provider/test_engine.py::test_a_long_retry_after_fails_at_once_and_is_told",
    ),
    "S42": (
        "The simple verbs dropped reasoning and half of the other options.",
        "tests/test_api.py::test_every_verb_answers_and_hands_its_options_on",
        "tests/provider/test_reasoning.py::test_own_budgets",
    ),
    "S43": (
        "Levels of thinking were never mapped, or all to the same few.",
        "tests/provider/test_reasoning.py::test_efforts",
        "tests/provider/test_reasoning.py::test_models_that_do_not_reason_are_left_alone",
    ),
    "S44": (
        "The default for max_tokens was smaller than the budget for thinking, which is refused.",
        "tests/provider/test_reasoning.py::test_budgets",
        "tests/provider/test_reasoning.py::test_thinking_on_the_wire",
    ),
    "S45": (
        "A default for cache_retention hid that it was not set, so the environment had no say.",
        "tests/provider/test_prepare.py::test_marks_on_the_wire",
    ),
    "S46": (
        "Timeouts, retries, signals, tool_choice, stop, seed, top_p and api_base were missing.",
        "tests/provider/test_litellm.py::test_what_is_sent",
        "tests/test_stream_closing.py::test_the_clock_stops_a_stalled_stream",
        "tests/provider/test_engine.py::test_retries_end",
        "tests/test_stream_closing.py::test_one_signal_stops_many_and_forgets_them",
    ),
    "S47": (
        "Thinking and signatures were not given back to the model that they came from.",
        "tests/provider/test_conversation.py::test_signatures_go_back_where_they_came_from",
        "tests/provider/test_conversation.py::test_own_thinking_goes_back_and_others_does_not",
    ),
    "S48": (
        "Assistant messages without content were sent, and failed turns were replayed.",
        "tests/provider/test_conversation.py::test_empty_things_are_left_out",
        "tests/provider/test_conversation.py::test_failed_turns_are_left_out_and_aborted_ones_keep_their_text",
    ),
    "S49": (
        "Images of tool results were dropped, and so was the word that a tool had failed.",
        "tests/provider/test_conversation.py::test_images_of_results_follow_the_run_of_results",
        "tests/provider/test_litellm.py::test_what_is_sent",
    ),
    "S50": (
        "Empty user messages were sent, and images to models that take none.",
        "tests/provider/test_conversation.py::test_empty_things_are_left_out",
        "tests/provider/test_conversation.py::test_images_are_named_to_models_that_cannot_see",
    ),
    "S51": (
        "Illegal ids, calls without results and lone surrogates went out as they were.",
        "tests/provider/test_conversation.py::test_ids_become_legal_and_stay_apart",
        "tests/provider/test_conversation.py::test_surrogates_are_cleaned_everywhere",
        "tests/provider/test_conversation.py::test_whatever_the_history_the_request_is_legal",
        "tests/provider/test_conversation.py::test_forty_turns_over_four_providers_are_accepted_by_all",
    ),
    "S52": (
        "Results were not held against the calls that they answer.",
        "tests/provider/test_conversation.py::test_every_call_has_one_result_right_after_it",
    ),
    "S53": (
        "Data without a role became a user message, camelCase keys and misspelt options vanished.",
        "tests/test_types.py::test_messages_are_told_apart_by_role_and_content_by_type",
        "tests/test_types.py::test_pis_camel_case_is_read_and_nothing_is_lost",
        "tests/test_types.py::test_options_refuse_what_they_do_not_know",
    ),
    "S54": (
        "Messages made by hand were of 1970.",
        "tests/test_types.py::test_messages_made_by_hand_are_of_now",
    ),
    "S55": (
        "Details of a tool result that are no JSON broke the saving of the conversation.",
        "tests/test_types.py::test_details_of_any_kind_can_be_written_as_json",
    ),
    "S56": (
        "Every image was called a PNG, whatever it was, and none could be a URL.",
        "tests/test_files.py::test_images_are_known_by_their_bytes",
        "tests/test_files.py::test_what_is_no_image_is_refused_with_its_path",
        "tests/test_files.py::test_user_takes_text_and_images_in_any_order",
    ),
    "S57": (
        "There was no redacted thinking, no off and max, no count of reasoning or hour-long cache.",
        "tests/provider/test_assembler.py::test_thinking_keeps_signatures_and_redacted_blocks",
        "tests/provider/test_reasoning.py::test_efforts",
        "tests/wires/test_scenarios.py::test_usage",
    ),
    "S58": (
        "The README's tool loop sent what no provider takes as soon as there were two calls.",
        "tests/test_docs.py::test_the_readmes_tool_loop_asks_once_for_all_results",
    ),
    "S59": (
        "user() took one string only, and ctx() neither tools nor their results.",
        "tests/test_files.py::test_user_takes_text_and_images_in_any_order",
        "tests/test_context.py::test_contexts_and_results",
        "tests/provider/test_litellm.py::test_what_is_sent",
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
