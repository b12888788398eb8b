"""Crash tests: a full disk at every write, and `kill -9` at every write and at random moments.

python -m tests.crash.disk          # every write of every command fails, then every write kills
python -m tests.crash.kills 200     # kills at random moments

On Linux; `disk` needs a C compiler. `test_crash.py` runs a short part.
"""
