"""Kill `pipy` at random moments and check that nothing is lost.

python -m tests.crash.kills [KILLS] [SEED]

The processes share one data directory: chats, `ask -c`, batches, syncs, keys and configurations,
with a ledger. They talk to servers on loopback. After each kill everything that a process has
confirmed must be there: complete answers in their conversation, what was shown of others, keys,
rows of a batch, the last catalogue. At the end each command must succeed.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise
from pathlib import Path
from typing import Any

import yaml

from pipy_ai.accounting.ledger import read_ledger
from pipy_ai.cli.conversations.conversation import Conversation
from pipy_ai.cli.conversations.files import list_conversation_ids
from pipy_ai.registry import ModelRegistry

from .workloads import Home, check_files, check_leftovers, small_mirror

WORDS = [f" word{number}" for number in range(12)]
ROWS, CONCURRENCY = 12, 4
UNKILLED_S = 60.0  # the first process of each kind shows how long it takes


def answer_to(prompt: str) -> str:
    return prompt + "".join(WORDS)


class Server(ThreadingHTTPServer):
    """Answers each prompt in pieces, and counts how often it was asked."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.asked: Counter[str] = Counter()
        self.url = f"http://127.0.0.1:{self.server_port}/v1"
        threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True).start()

    def handle_error(self, *_: Any) -> None:  # the client was killed
        pass


class _Handler(BaseHTTPRequestHandler):
    server: Server

    def do_POST(self) -> None:
        request = json.loads(self.rfile.read(int(self.headers["content-length"])))
        prompt = request["messages"][-1]["content"]
        self.server.asked[prompt] += 1
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.end_headers()
        for piece in (prompt, *WORDS):
            self._send({"choices": [{"index": 0, "delta": {"content": piece}}]})
            time.sleep(0.01)
        self._send({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
        usage = {"prompt_tokens": 9, "completion_tokens": 5, "total_tokens": 14}
        self._send({"choices": [], "usage": usage})
        self.wfile.write(b"data: [DONE]\n\n")

    def _send(self, fields: dict[str, Any]) -> None:
        head = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m"}
        self.wfile.write(b"data: %s\n\n" % json.dumps(head | fields).encode())
        self.wfile.flush()

    def log_message(self, *_: Any) -> None:
        pass


class Crashes:
    """The killed processes, and what they have confirmed."""

    def __init__(self, path: Path, seed: int) -> None:
        self.home = Home(path / "home")
        self.home.data.mkdir(parents=True)
        self.dice = random.Random(seed)
        self.server, self.mirror = Server(), small_mirror()
        self.number = 0
        self.killed: Counter[str] = Counter()
        self.finished: Counter[str] = Counter()
        self.durations: dict[str, float] = {}
        self.turns: set[str] = set()  # prompts whose whole answer was printed
        self.shown: dict[str, str] = {}  # what was printed of other answers
        self.keys: dict[str, str] = {}
        self.batches: list[Path] = []
        self.batch_kills: Counter[str] = Counter()
        self.configs = 0

    # --- Processes --------------------------------------------------------------------------

    def run(self, name: str, arguments: Sequence[str], stdin: str = "") -> tuple[bool, str]:
        """Run `pipy`, perhaps until it is killed; return whether it finished, and its output."""
        env = {
            "PIPY_DATA_DIR": str(self.home.data), "PIPY_OFFLINE": "1", "PIPY_LEDGER": "1",
            "PIPY_MODELS_URL": self.mirror.url,
        }  # fmt: skip
        kept = {n: v for n, v in os.environ.items() if not n.endswith("_API_KEY")}
        usual = self.durations.get(name)
        # The first part of a process is imports. Some finish, which updates the durations.
        delay = self.dice.uniform(0.5, 1.4) * usual if usual else UNKILLED_S
        began = time.monotonic()
        process = subprocess.Popen(
            [sys.executable, "-m", "pipy_ai", *arguments],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            cwd=self.home.path, env={**kept, **env},
        )  # fmt: skip
        timer = threading.Timer(delay, process.kill)
        timer.start()
        output, errors = process.communicate(stdin, timeout=60)
        timer.cancel()
        if process.returncode == -9:
            self.killed[name] += 1
            return False, output
        assert process.returncode == 0, (arguments, process.returncode, errors)
        self.finished[name] += 1
        known, seconds = self.durations.get(name, 0), time.monotonic() - began
        self.durations[name] = seconds if not known else (known + seconds) / 2
        return True, output

    def new_prompt(self) -> str:
        self.number += 1
        return f"question {self.number}."

    def ask(self) -> None:
        prompt = self.new_prompt()
        continues = ["-c"] if list_conversation_ids() and self.dice.random() < 0.8 else []
        model = ["-m", "hosted_vllm/m", "--api-base", self.server.url]
        self._note("ask -c", ["ask", *continues, *model, prompt], [prompt])

    def chat(self) -> None:
        prompts = [self.new_prompt() for _ in range(3)]
        arguments = ["chat", "-m", "hosted_vllm/m", "--api-base", self.server.url]
        self._note("chat", arguments, prompts, "\n".join(prompts) + "\n")

    def _note(self, name: str, arguments: list[str], prompts: list[str], stdin: str = "") -> None:
        _, output = self.run(name, arguments, stdin)
        for prompt in prompts:
            if f"{answer_to(prompt)}\n" in output:
                self.turns.add(prompt)
            elif (start := output.find(prompt)) >= 0:
                self.shown[prompt] = output[start:].removesuffix("\n")

    def batch(self) -> None:
        unfinished = [path for path in self.batches if not self._is_complete(path)]
        if unfinished:
            path = unfinished[0]
        else:
            path = self.home.path / f"batch{len(self.batches)}.jsonl"
            rows = [{"id": n, "prompt": f"{path.stem} row {n}"} for n in range(ROWS)]
            path.write_text("".join(json.dumps(row) + "\n" for row in rows))
            self.batches.append(path)
        done, _ = self.run("batch", self._batch_arguments(path))
        self.batch_kills[path.stem] += not done

    def _batch_arguments(self, path: Path) -> list[str]:
        target = path.with_suffix(".out.jsonl")
        model = ["-m", "hosted_vllm/m", "--api-base", self.server.url, "-j", str(CONCURRENCY)]
        return ["batch", path.name, "-o", target.name, *model]

    def _is_complete(self, path: Path) -> bool:
        target = path.with_suffix(".out.jsonl")
        return target.exists() and target.read_bytes().count(b"\n") >= ROWS

    def sync(self) -> None:
        self.run("sync", ["sync", "--force"])

    def set_key(self) -> None:
        self.number += 1
        name, key = f"CRASH_{self.number}_API_KEY", f"sk-{self.number:020}"
        done, _ = self.run("keys", ["keys", "set", "--file", "--force", name], key)
        if done:
            self.keys[name] = key

    def config(self) -> None:
        provider = self.dice.choice(["anthropic", "openai", "groq"])
        done, _ = self.run("config", ["config", "--providers", provider, "-o", "router.yaml"])
        self.configs += done

    # --- Checks -----------------------------------------------------------------------------

    def check(self) -> None:
        """Check everything that processes have confirmed."""
        check_files(self.home, killed=True)
        answers = self._saved_answers()
        for prompt in self.turns:
            assert answers.get(prompt) == answer_to(prompt), (prompt, answers.get(prompt))
        for prompt, shown in self.shown.items():
            assert answers.get(prompt, "").startswith(shown), (prompt, shown, answers.get(prompt))
        if self.keys:
            stored = json.loads((self.home.data / "keys.json").read_bytes())
            assert self.keys.items() <= stored.items(), self.keys.items() - stored.items()
        for name in ("router.yaml", "router.yaml.bak"):
            if (self.home.path / name).exists():
                assert yaml.safe_load((self.home.path / name).read_text())["model_list"]
        if self.finished["sync"]:
            assert len(ModelRegistry(self.home.data).rows()) > 50
        rows = sum(map(len, map(self._check_batch, self.batches)))
        self._check_ledger(rows)

    def _saved_answers(self) -> dict[str, str]:
        """Return the answer to each prompt of all conversations, whole or in part."""
        answers = {}
        for name in list_conversation_ids():
            messages = Conversation.read(name).messages
            for question, answer in pairwise(messages):
                if question.role == "user" and answer.role == "assistant":
                    answers[str(question.content)] = answer.text
        return answers

    def _check_batch(self, path: Path) -> list[int]:
        """Check the rows of a batch. Those in flight at a kill may be asked again."""
        target = path.with_suffix(".out.jsonl")
        lines = target.read_bytes().split(b"\n")[:-1] if target.exists() else []
        rows = [json.loads(line) for line in lines]
        ids = [row["id"] for row in rows]
        assert len(set(ids)) == len(ids), ids
        for row in rows:
            assert row["text"] == answer_to(f"{path.stem} row {row['id']}"), row
        asked = sum(self.server.asked[f"{path.stem} row {n}"] for n in range(ROWS))
        assert asked <= ROWS + self.batch_kills[path.stem] * CONCURRENCY, (path, asked)
        return ids

    def _check_ledger(self, rows: int) -> None:
        """Check that the ledger has each answer that was confirmed, and no more than were asked."""
        path = self.home.data / "ledger.jsonl"
        confirmed = len(self.turns) + rows
        recorded = sum(1 for _ in read_ledger(path)) if path.exists() else 0
        assert confirmed <= recorded <= self.server.asked.total(), (
            confirmed, recorded, self.server.asked.total(),
        )  # fmt: skip

    def finish(self) -> None:
        """Check that each command succeeds, and that `pipy doctor` reports what was left."""
        check_leftovers(self.home)
        env = {"PIPY_LEDGER": "1", "PIPY_MODELS_URL": self.mirror.url}
        for path in self.batches:
            self.home.output(*self._batch_arguments(path), env=env)
            assert self._check_batch(path) == list(range(ROWS)), path
            assert not list(self.home.path.glob(f".{path.stem}.out.jsonl.*.tmp"))
        for arguments in (
            ("sync", "--force"), ("history", "list"),
            ("ask", "-m", "hosted_vllm/m", "--api-base", self.server.url, "the last"),
            ("keys", "list"), ("spend",), ("default", "faux/echo"),
            ("config", "--providers", "anthropic", "-o", "router.yaml"),
        ):  # fmt: skip
            self.home.output(*arguments, env=env)
        assert "the last" in self._saved_answers()
        self.check()

    def close(self) -> None:
        self.mirror.close()
        self.server.shutdown()
        self.server.server_close()


def run(kills: int, seed: int, directory: Path) -> Crashes:
    """Run processes until `kills` were killed, and check after each."""
    crashes = Crashes(directory, seed)
    os.environ["PIPY_DATA_DIR"] = str(crashes.home.data)
    actions: list[Callable[[], None]] = [
        crashes.ask, crashes.ask, crashes.chat, crashes.batch, crashes.batch, crashes.sync,
        crashes.set_key, crashes.config,
    ]  # fmt: skip
    try:
        crashes.run("models", ["models", "--limit", "1"])
        while crashes.killed.total() < kills:
            crashes.dice.choice(actions)()
            crashes.check()
        crashes.finish()
    finally:
        crashes.close()
    return crashes


def main() -> int:
    kills, seed = [*map(int, sys.argv[1:]), *(200, 1)[len(sys.argv) - 1 :]]
    with tempfile.TemporaryDirectory(prefix="pipy-crash-") as directory:
        crashes = run(kills, seed, Path(directory))
        print(f"killed: {dict(crashes.killed)}, finished: {dict(crashes.finished)}")  # noqa: T201
        print(  # noqa: T201
            f"whole answers: {len(crashes.turns)}, answers cut by a kill: {len(crashes.shown)},"
            f" keys: {len(crashes.keys)}, batches of {ROWS} rows: {len(crashes.batches)},"
            f" requests: {crashes.server.asked.total()}; nothing is lost"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
