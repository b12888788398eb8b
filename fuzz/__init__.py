"""Fuzzers: random hostile input for everything that reads bytes or text from outside.

`python -m fuzz --list` names the targets; CONTRIBUTING.md says how to run and write them.
"""
