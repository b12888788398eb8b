"""Modules that keep former import paths working."""

from __future__ import annotations

from pipy_ai.cli import terminal
from pipy_ai.cli.display.terminal import escape_controls
from pipy_ai.registry import index, index_writer, store


def test_former_names_of_the_catalogue_index_and_the_terminal() -> None:
    assert store.compile_feed is index_writer.encode_catalogue
    assert store.records_of is index.models_in_feed
    assert store.hosts_of is index.providers_in_feed
    assert store.write is index_writer.write_catalogue
    assert terminal.safe is escape_controls
