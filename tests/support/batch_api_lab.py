"""A server on loopback with the batch APIs of vendors, accelerated and with faults.

    with BatchLab() as lab:
        lab.shuffle = True
        handle = submit_many("openai/gpt-5-mini", prompts, api_base=lab.openai, api_key="k")

A job ends with the `polls`-th question after it was created. Each request is answered with the last
text of its prompt in upper case.
"""

from __future__ import annotations

import asyncio
import json
import random
import re
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from aiohttp import BodyPartReader, web

LOST = "lost"  # the job is created, and the connection breaks before the answer
ERROR = "error"  # HTTP 500, and no job
ERROR_CREATED = "error, created"  # HTTP 500, and there is a job
REJECTED = "rejected"  # HTTP 400
BUSY = "busy"  # HTTP 429, and no job

Response = web.StreamResponse


@dataclass
class LabJob:
    """A job. `requests` are custom ids and bodies, `answered` how many of them have a result."""

    id: str
    name: str  # our key, where the API has a place for it
    requests: list[tuple[str, dict[str, Any]]]
    document: dict[str, Any]  # the body of the call that created it
    outcome: str = "completed"
    polls_left: int = 2
    cancelled: bool = False
    files: dict[str, str] = field(default_factory=dict)
    lines: list[tuple[str, dict[str, Any]]] | None = None  # of the results, once it has ended

    @property
    def ended(self) -> bool:
        return self.polls_left <= 0


class BatchLab:
    """The server and its faults, which a test sets before or between calls."""

    def __init__(self) -> None:
        self.jobs: dict[str, LabJob] = {}
        self.files: dict[str, bytes] = {}
        self.calls: Counter[str] = Counter()  # by method and path without ids
        self.headers: list[dict[str, str]] = []
        self.direct_requests = 0  # answered at once, at full price
        self.polls = 2
        self.creation: list[str] = []  # faults of the next calls that create a job
        self.failing_calls: list[int] = []  # HTTP statuses of the next other calls
        self.retry_after = ""  # the header of these
        self.hidden_lists = 0  # how many lists do not show new jobs yet
        self.outcome = "completed"  # or expired, cancelled, failed
        self.answered: int | None = None  # rows of a job that does not complete; None: all
        self.shuffle = False
        self.missing: set[int] = set()  # positions without a result
        self.duplicated: set[int] = set()
        self.failed_rows: dict[int, tuple[int, str]] = {}  # status and message by position
        self.unknown_ids: list[str] = []
        self.validation_errors: list[dict[str, Any]] = []
        self.deleted_results = False
        self.count_tokens: Callable[[str], int] = lambda prompt: 10  # of a prompt
        self.answer_to: Callable[[str], str] = str.upper
        self.usage: dict[str, Any] = {}  # replaces fields of the usage of answers
        self._count = 0
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, name="batch lab", daemon=True)

    @property
    def openai(self) -> str:
        return f"{self.url}/v1"

    def __enter__(self) -> BatchLab:
        self._thread.start()
        assert self._ready.wait(10)
        return self

    def __exit__(self, *exc: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(10)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(self._serve())
        self._loop.close()

    async def _serve(self) -> None:
        self._stop = asyncio.Event()
        app = web.Application(client_max_size=1 << 30, middlewares=[self._observe])
        self._add_routes(app.router)
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        port = site._server.sockets[0].getsockname()[1]  # type: ignore[union-attr]
        self.url = f"http://127.0.0.1:{port}"
        self._ready.set()
        await self._stop.wait()
        await runner.cleanup()

    @web.middleware
    async def _observe(self, request: web.Request, handler: Any) -> Response:
        path = re.sub(r"(?<=/batches/)\w+|(?<=/files/)\w+|(?<=/jobs/)\w+", "*", request.path)
        self.calls[f"{request.method} {path}"] += 1
        self.headers.append({name.lower(): value for name, value in request.headers.items()})
        is_creation = request.method == "POST" and path.endswith(
            ("/batches", "/batch/jobs", ":batchGenerateContent")
        )
        status = 0
        if is_creation and self.creation[:1] == [BUSY]:
            self.creation.pop(0)
            status = 429
        elif self.failing_calls and not is_creation:
            status = self.failing_calls.pop(0)
        if status:
            fault = {"error": {"message": "a fault"}}
            headers = {"Retry-After": self.retry_after} if self.retry_after else {}
            return web.json_response(fault, status=status, headers=headers)
        response: Response = await handler(request)
        return response

    def _add_routes(self, router: web.UrlDispatcher) -> None:
        openai = OpenAIRoutes(self)
        for prefix in ("/v1", "/openai/v1"):
            router.add_post(f"{prefix}/files", openai.upload)
            router.add_get(f"{prefix}/files/{{id}}", openai.file)
            router.add_delete(f"{prefix}/files/{{id}}", openai.delete_file)
            router.add_get(f"{prefix}/files/{{id}}/content", openai.content)
            router.add_post(f"{prefix}/batches", openai.create)
            router.add_get(f"{prefix}/batches", openai.list)
            router.add_get(f"{prefix}/batches/{{id}}", openai.get)
            router.add_post(f"{prefix}/batches/{{id}}/cancel", openai.cancel)
            router.add_post(f"{prefix}/chat/completions", openai.chat)
            router.add_post(f"{prefix}/responses/input_tokens", openai.count)
        anthropic = AnthropicRoutes(self)
        router.add_post("/v1/messages/batches", anthropic.create)
        router.add_get("/v1/messages/batches", anthropic.list)
        router.add_get("/v1/messages/batches/{id}", anthropic.get)
        router.add_get("/v1/messages/batches/{id}/results", anthropic.results)
        router.add_post("/v1/messages/batches/{id}/cancel", anthropic.cancel)
        mistral = MistralRoutes(self)
        router.add_post("/v1/batch/jobs", mistral.create)
        router.add_get("/v1/batch/jobs", mistral.list)
        router.add_get("/v1/batch/jobs/{id}", mistral.get)
        router.add_post("/v1/batch/jobs/{id}/cancel", mistral.cancel)
        gemini = GeminiRoutes(self)
        router.add_post("/upload/v1beta/files", gemini.start_upload)
        router.add_post("/uploaded/{id}", gemini.finish_upload)
        router.add_delete("/v1beta/files/{id}", gemini.delete_file)
        for prefix in ("/download/v1beta", "/v1beta"):  # of the documentation, and of the SDK
            router.add_get(f"{prefix}/files/{{id}}:download", gemini.download)
        router.add_post("/v1beta/models/{model}:batchGenerateContent", gemini.create)
        router.add_get("/v1beta/batches", gemini.list)
        router.add_get("/v1beta/batches/{id}", gemini.get)
        router.add_post("/v1beta/batches/{id}:cancel", gemini.cancel)

    # --- What all vendors share ---------------------------------------------------------------

    def new_id(self, prefix: str) -> str:
        self._count += 1
        return f"{prefix}_{self._count:06d}"

    def next_fault(self) -> str:
        return self.creation.pop(0) if self.creation else ""

    def add_job(
        self, id: str, name: str, requests: list[tuple[str, dict[str, Any]]], document: Any
    ) -> LabJob:
        job = LabJob(id, name, requests, document, self.outcome, self.polls)
        if self.validation_errors:
            job.outcome = "failed"
        self.jobs[id] = job
        return job

    def listed(self) -> list[LabJob]:
        """Return the jobs, newest first."""
        jobs = list(self.jobs.values())[::-1]
        if self.hidden_lists:
            self.hidden_lists -= 1
            return jobs[1:]
        return jobs

    def poll(self, job: LabJob) -> LabJob:
        job.polls_left -= 1
        return job

    def cancel(self, job: LabJob) -> None:
        if not job.ended:
            job.outcome, job.cancelled = "cancelled", True

    def results(self, job: LabJob) -> Iterator[tuple[str, int, dict[str, Any] | str]]:
        """Yield custom id, status (0: not run) and body or message of each result."""
        order = list(range(len(job.requests)))
        if self.shuffle:
            random.Random(job.id).shuffle(order)
        done = len(order) if job.outcome == "completed" else self.answered
        done = len(order) if done is None else done
        for number, position in enumerate(order):
            if position in self.missing:
                continue
            custom_id, body = job.requests[position]
            if number >= done:
                continue
            for _ in range(1 + (position in self.duplicated)):
                if position in self.failed_rows:
                    yield custom_id, *self.failed_rows[position]
                else:
                    yield custom_id, 200, body
        for custom_id in self.unknown_ids:
            yield custom_id, 200, {"model": "m", "messages": []}


def prompt_of(body: Any) -> str:
    """Return the last text of a request, of whichever API."""
    texts = re.findall(r'"(?:content|text)": "((?:[^"\\]|\\.)*)"', json.dumps(body))
    return str(json.loads(f'"{texts[-1]}"')) if texts else ""


def parse_lines(content: bytes) -> list[dict[str, Any]]:
    return [json.loads(line) for line in content.splitlines() if line.strip()]


def broken_connection(request: web.Request) -> Response:
    assert request.transport is not None
    request.transport.abort()
    return web.Response()


class OpenAIRoutes:
    """OpenAI's files and batches."""

    def __init__(self, lab: BatchLab) -> None:
        self.lab = lab

    async def upload(self, request: web.Request) -> Response:
        fields: dict[str, Any] = {}
        async for part in await request.multipart():
            assert isinstance(part, BodyPartReader)
            content = await part.read()
            fields[part.name or ""] = bytes(content)
            if part.name == "file":
                fields["filename"] = part.filename or ""
        assert fields["purpose"] == b"batch", fields
        assert str(fields["filename"]).endswith(".jsonl")
        id = self.lab.new_id("file")
        self.lab.files[id] = fields["file"]
        return web.json_response(self._file(id))

    def _file(self, id: str) -> dict[str, Any]:
        size = len(self.lab.files[id])
        return {
            "id": id, "object": "file", "bytes": size, "created_at": 1, "purpose": "batch",
            "filename": "requests.jsonl", "status": "processed",
        }  # fmt: skip

    async def file(self, request: web.Request) -> Response:
        id = request.match_info["id"]
        return web.json_response(self._file(id)) if id in self.lab.files else not_found(id)

    async def delete_file(self, request: web.Request) -> Response:
        id = request.match_info["id"]
        self.lab.files.pop(id, None)
        return web.json_response({"id": id, "object": "file", "deleted": True})

    async def content(self, request: web.Request) -> Response:
        id = request.match_info["id"]
        content = self.lab.files.get(id)
        if content is None:
            return not_found(id)
        return web.Response(body=content, content_type="application/octet-stream")

    async def create(self, request: web.Request) -> Response:
        document = await request.json()
        fault = self.lab.next_fault()
        content = self.lab.files.get(document["input_file_id"])
        if fault == REJECTED or content is None:
            error = {"message": "a rejected batch", "type": "invalid_request_error"}
            return web.json_response({"error": error}, status=400)
        if fault == ERROR:
            return web.json_response({"error": {"message": "a fault"}}, status=500)
        assert document["completion_window"] == "24h"
        lines = parse_lines(content)
        assert all(line["url"] == document["endpoint"] for line in lines)
        assert not any("stream" in line["body"] for line in lines)
        requests = [(line["custom_id"], line["body"]) for line in lines]
        assert len(dict(requests)) == len(requests), "custom ids must be unique"
        name = (document.get("metadata") or {}).get("pipy_job", "")
        job = self.lab.add_job(self.lab.new_id("batch"), name, requests, document)
        if fault == LOST:
            return broken_connection(request)
        if fault == ERROR_CREATED:
            return web.json_response({"error": {"message": "a fault"}}, status=500)
        return web.json_response(self._batch(job))

    async def list(self, request: web.Request) -> Response:
        limit, after = int(request.query.get("limit", 20)), request.query.get("after")
        jobs = self.lab.listed()
        if after:
            ids = [job.id for job in jobs]
            jobs = jobs[ids.index(after) + 1 :]
        page = [self._batch(job) for job in jobs[:limit]]
        return web.json_response({"object": "list", "data": page, "has_more": len(jobs) > limit})

    async def get(self, request: web.Request) -> Response:
        job = self.lab.jobs.get(request.match_info["id"])
        if job is None:
            return not_found(request.match_info["id"])
        return web.json_response(self._batch(self.lab.poll(job)))

    async def cancel(self, request: web.Request) -> Response:
        job = self.lab.jobs[request.match_info["id"]]
        self.lab.cancel(job)
        return web.json_response(self._batch(job))

    def _batch(self, job: LabJob) -> dict[str, Any]:
        lab, total = self.lab, len(job.requests)
        status = "cancelling" if job.cancelled else "in_progress"
        counts = {"total": total, "completed": 0, "failed": 0}
        if job.ended:
            status = job.outcome
            if not job.files and not lab.validation_errors:
                counts["completed"], counts["failed"] = self._write_results(job)
        errors = None
        if status == "failed":
            data = [{"code": "invalid", "param": None, **error} for error in lab.validation_errors]
            errors = {"object": "list", "data": data}
        return {
            "id": job.id, "object": "batch", "endpoint": job.document.get("endpoint"),
            "input_file_id": job.document.get("input_file_id"), "completion_window": "24h",
            "status": status, "errors": errors, "request_counts": counts, "created_at": 1,
            "metadata": job.document.get("metadata"),
            "output_file_id": job.files.get("output"), "error_file_id": job.files.get("error"),
        }  # fmt: skip

    def _write_results(self, job: LabJob) -> tuple[int, int]:
        output, errors = [], []
        done = set()
        for custom_id, status, body in self.lab.results(job):
            done.add(custom_id)
            line = {"id": "r", "custom_id": custom_id, "response": None, "error": None}
            content = self.answer(body) if status == 200 else {"error": {"message": body}}
            line["response"] = {"status_code": status, "request_id": "q", "body": content}
            (output if status == 200 else errors).append(line)
        if job.outcome in ("expired", "cancelled"):
            for custom_id, _ in job.requests:
                if custom_id not in done:
                    code = f"batch_{job.outcome}"
                    error = {"code": code, "message": f"This request {job.outcome}."}
                    errors.append({"custom_id": custom_id, "response": None, "error": error})
        for name, lines in (("output", output), ("error", errors)):
            if lines:
                id = job.files[name] = self.lab.new_id("file")
                content_bytes = b"".join(json.dumps(line).encode() + b"\n" for line in lines)
                if not self.lab.deleted_results:
                    self.lab.files[id] = content_bytes
        return len(output), len(errors)

    async def chat(self, request: web.Request) -> Response:
        self.lab.direct_requests += 1
        return web.json_response(self.answer(await request.json()))

    async def count(self, request: web.Request) -> Response:
        prompt = prompt_of(await request.json())
        return web.json_response({"input_tokens": self.lab.count_tokens(prompt)})

    def answer(self, body: Any) -> dict[str, Any]:
        """Return the answer of Chat Completions or Responses to a request."""
        prompt = prompt_of(body)
        result = answer(body, self.lab.answer_to(prompt), self.lab.count_tokens(prompt))
        result["usage"] |= self.lab.usage
        return result


NOW = "2026-11-30T12:00:00Z"


class AnthropicRoutes:
    """Anthropic's message batches, whose jobs have no names."""

    def __init__(self, lab: BatchLab) -> None:
        self.lab = lab

    async def create(self, request: web.Request) -> Response:
        document = await request.json()
        assert request.headers["anthropic-version"]
        fault = self.lab.next_fault()
        if fault == REJECTED:
            return self._error(400, "a rejected batch")
        if fault == ERROR:
            return self._error(500, "a fault")
        requests = [(one["custom_id"], one["params"]) for one in document["requests"]]
        for custom_id, params in requests:
            assert re.fullmatch("[a-zA-Z0-9_-]{1,64}", custom_id)
            assert "stream" not in params
            assert params["max_tokens"] > 0
        job = self.lab.add_job(self.lab.new_id("msgbatch"), "", requests, {})
        if fault == LOST:
            return broken_connection(request)
        if fault == ERROR_CREATED:
            return self._error(500, "a fault")
        return web.json_response(self._batch(job))

    def _error(self, status: int, message: str) -> Response:
        types = {400: "invalid_request_error", 404: "not_found_error", 500: "api_error"}
        error = {"type": types[status], "message": message}
        return web.json_response({"type": "error", "error": error}, status=status)

    async def list(self, request: web.Request) -> Response:
        limit, after = int(request.query.get("limit", 20)), request.query.get("after_id")
        jobs = self.lab.listed()
        if after:
            jobs = jobs[[job.id for job in jobs].index(after) + 1 :]
        page = [self._batch(job) for job in jobs[:limit]]
        return web.json_response(
            {
                "data": page, "has_more": len(jobs) > limit,
                "first_id": page[0]["id"] if page else None,
                "last_id": page[-1]["id"] if page else None,
            }
        )  # fmt: skip

    async def get(self, request: web.Request) -> Response:
        job = self.lab.jobs.get(request.match_info["id"])
        if job is None:
            return self._error(404, "no such batch")
        return web.json_response(self._batch(self.lab.poll(job)))

    async def cancel(self, request: web.Request) -> Response:
        job = self.lab.jobs[request.match_info["id"]]
        self.lab.cancel(job)
        return web.json_response(self._batch(job))

    def _batch(self, job: LabJob) -> dict[str, Any]:
        total = len(job.requests)
        counts = dict.fromkeys(("processing", "succeeded", "errored", "canceled", "expired"), 0)
        status = "canceling" if job.cancelled else "in_progress"
        if job.ended:
            status = "ended"
            for _, line in self._ended_lines(job):
                counts[line["type"]] += 1
        else:
            counts["processing"] = total
        url = f"{self.lab.url}/v1/messages/batches/{job.id}/results"
        return {
            "id": job.id, "type": "message_batch", "processing_status": status,
            "request_counts": counts, "created_at": NOW, "expires_at": NOW, "archived_at": None,
            "ended_at": NOW if job.ended else None, "results_url": url if job.ended else None,
            "cancel_initiated_at": NOW if job.cancelled else None,
        }  # fmt: skip

    def _ended_lines(self, job: LabJob) -> list[tuple[str, dict[str, Any]]]:
        if job.lines is None:
            job.lines = list(self._lines(job))
        return job.lines

    def _lines(self, job: LabJob) -> Iterator[tuple[str, dict[str, Any]]]:
        done = set()
        for custom_id, status, body in self.lab.results(job):
            done.add(custom_id)
            if status == 200:
                yield custom_id, {"type": "succeeded", "message": self._message(body)}
            else:
                error = {"type": "invalid_request_error", "message": body}
                yield custom_id, {"type": "errored", "error": {"type": "error", "error": error}}
        if job.outcome in ("expired", "cancelled"):
            kind = "expired" if job.outcome == "expired" else "canceled"
            for custom_id, _ in job.requests:
                if custom_id not in done:
                    yield custom_id, {"type": kind}

    def _message(self, body: Any) -> dict[str, Any]:
        text = prompt_of(body).upper()
        content = [{"type": "text", "text": text}]
        usage = {"input_tokens": 10, "output_tokens": len(text.split()), "service_tier": "batch"}
        usage |= self.lab.usage
        return {
            "id": "msg_1", "type": "message", "role": "assistant", "model": body["model"],
            "content": content, "stop_reason": "end_turn", "stop_sequence": None, "usage": usage,
        }  # fmt: skip

    async def results(self, request: web.Request) -> Response:
        job = self.lab.jobs.get(request.match_info["id"])
        if job is None or self.lab.deleted_results:
            return self._error(404, "no such results")
        lines = [
            {"custom_id": custom_id, "result": result}
            for custom_id, result in self._ended_lines(job)
        ]
        return web.Response(body=b"".join(json.dumps(line).encode() + b"\n" for line in lines))


class MistralRoutes(OpenAIRoutes):
    """Mistral's jobs. Its files are like those of OpenAI."""

    async def create(self, request: web.Request) -> Response:
        document = await request.json()
        fault = self.lab.next_fault()
        if fault == REJECTED:
            return web.json_response({"message": "a rejected batch"}, status=400)
        if fault == ERROR:
            return web.json_response({"message": "a fault"}, status=500)
        [input_file] = document["input_files"]
        lines = parse_lines(self.lab.files[input_file])
        assert document["endpoint"] == "/v1/chat/completions"
        assert not any("stream" in line["body"] for line in lines)
        requests = [
            (line["custom_id"], {"model": document["model"], **line["body"]}) for line in lines
        ]
        name = (document.get("metadata") or {}).get("pipy_job", "")
        job = self.lab.add_job(self.lab.new_id("batch"), name, requests, document)
        if fault == LOST:
            return broken_connection(request)
        if fault == ERROR_CREATED:
            return web.json_response({"message": "a fault"}, status=500)
        return web.json_response(self._job(job))

    async def list(self, request: web.Request) -> Response:
        page, size = int(request.query.get("page", 0)), int(request.query.get("page_size", 100))
        jobs = self.lab.listed()[page * size : (page + 1) * size]
        data = [self._job(job) for job in jobs]
        return web.json_response({"object": "list", "data": data, "total": len(self.lab.jobs)})

    async def get(self, request: web.Request) -> Response:
        job = self.lab.jobs.get(request.match_info["id"])
        if job is None:
            return not_found(request.match_info["id"])
        return web.json_response(self._job(self.lab.poll(job)))

    async def cancel(self, request: web.Request) -> Response:
        job = self.lab.jobs[request.match_info["id"]]
        self.lab.cancel(job)
        return web.json_response(self._job(job))

    def _job(self, job: LabJob) -> dict[str, Any]:
        batch = self._batch(job)
        statuses = {
            "in_progress": "RUNNING", "cancelling": "CANCELLATION_REQUESTED",
            "completed": "SUCCESS", "failed": "FAILED", "expired": "TIMEOUT_EXCEEDED",
            "cancelled": "CANCELLED",
        }  # fmt: skip
        counts = batch["request_counts"]
        return {
            "id": job.id, "object": "batch", "input_files": job.document["input_files"],
            "endpoint": job.document["endpoint"], "model": job.document["model"],
            "metadata": job.document.get("metadata"), "status": statuses[batch["status"]],
            "output_file": batch["output_file_id"], "error_file": batch["error_file_id"],
            "errors": [
                {"message": error["message"], "count": 1} for error in self.lab.validation_errors
            ],
            "outputs": None, "created_at": 1, "total_requests": counts["total"],
            "completed_requests": counts["completed"] + counts["failed"],
            "succeeded_requests": counts["completed"], "failed_requests": counts["failed"],
        }  # fmt: skip


class GeminiRoutes:
    """Gemini's files and batches."""

    def __init__(self, lab: BatchLab) -> None:
        self.lab = lab

    async def start_upload(self, request: web.Request) -> Response:
        assert request.headers["x-goog-upload-command"] == "start"
        id = self.lab.new_id("up").replace("_", "")
        headers = {"x-goog-upload-url": f"{self.lab.url}/uploaded/{id}"}
        headers["x-goog-upload-status"] = "active"
        return web.json_response({}, headers=headers)

    async def finish_upload(self, request: web.Request) -> Response:
        assert request.headers["x-goog-upload-command"] == "upload, finalize"
        id = request.match_info["id"]
        self.lab.files[id] = await request.read()
        file = {
            "name": f"files/{id}", "mimeType": "application/jsonl", "state": "ACTIVE",
            "sizeBytes": str(len(self.lab.files[id])), "uri": f"{self.lab.url}/v1beta/files/{id}",
        }  # fmt: skip
        return web.json_response({"file": file}, headers={"x-goog-upload-status": "final"})

    async def delete_file(self, request: web.Request) -> Response:
        self.lab.files.pop(request.match_info["id"], None)
        return web.json_response({})

    async def create(self, request: web.Request) -> Response:
        batch = (await request.json())["batch"]
        fault = self.lab.next_fault()
        if fault == REJECTED:
            return self._error(400, "a rejected batch", "INVALID_ARGUMENT")
        if fault == ERROR:
            return self._error(500, "a fault", "INTERNAL")
        source = batch["inputConfig"]
        requests: list[tuple[str, dict[str, Any]]]
        if "fileName" in source:
            lines = parse_lines(self.lab.files[source["fileName"].removeprefix("files/")])
            requests = [(line["key"], line["request"]) for line in lines]
        else:
            inline = source["requests"]["requests"]
            requests = [
                (str((one.get("metadata") or {}).get("key")), one["request"]) for one in inline
            ]
        model = request.match_info["model"]
        id = self.lab.new_id("b").replace("_", "")
        job = self.lab.add_job(
            f"batches/{id}", batch.get("displayName", ""), requests, {"model": model}
        )
        job.document["inline"] = "fileName" not in source
        if fault == LOST:
            return broken_connection(request)
        if fault == ERROR_CREATED:
            return self._error(500, "a fault", "INTERNAL")
        return web.json_response(self._operation(job))

    def _error(self, code: int, message: str, status: str) -> Response:
        error = {"code": code, "message": message, "status": status}
        return web.json_response({"error": error}, status=code)

    async def list(self, request: web.Request) -> Response:
        size, start = (
            int(request.query.get("pageSize", 50)),
            int(request.query.get("pageToken") or 0),
        )
        jobs = self.lab.listed()
        page: dict[str, Any] = {
            "operations": [self._operation(job) for job in jobs[start : start + size]]
        }
        if len(jobs) > start + size:
            page["nextPageToken"] = str(start + size)
        return web.json_response(page)

    async def get(self, request: web.Request) -> Response:
        job = self.lab.jobs.get(f"batches/{request.match_info['id']}")
        if job is None:
            return self._error(404, "no such batch", "NOT_FOUND")
        return web.json_response(self._operation(self.lab.poll(job)))

    async def cancel(self, request: web.Request) -> Response:
        self.lab.cancel(self.lab.jobs[f"batches/{request.match_info['id']}"])
        return web.json_response({})

    def _operation(self, job: LabJob) -> dict[str, Any]:
        states = {"completed": "SUCCEEDED"}
        state = states.get(job.outcome, job.outcome.upper()) if job.ended else "RUNNING"
        metadata: dict[str, Any] = {
            "@type": "type.googleapis.com/google.ai.generativelanguage.v1main.GenerateContentBatch",
            "model": f"models/{job.document['model']}", "displayName": job.name,
            "state": f"BATCH_STATE_{state}", "createTime": NOW, "updateTime": NOW,
            "batchStats": {"requestCount": str(len(job.requests))}, "name": job.id,
        }  # fmt: skip
        operation: dict[str, Any] = {"name": job.id, "metadata": metadata, "done": job.ended}
        if not job.ended:
            return operation
        if job.outcome == "failed":
            messages = [str(error["message"]) for error in self.lab.validation_errors]
            operation["error"] = {"code": 3, "message": "; ".join(messages)}
            return operation
        is_new = job.lines is None
        lines = job.lines = list(self._lines(job)) if job.lines is None else job.lines
        metadata["batchStats"]["successfulRequestCount"] = str(len(lines))
        if job.document["inline"]:
            inline = [{"metadata": {"key": key}, **fields} for key, fields in lines]
            metadata["output"] = {"inlinedResponses": {"inlinedResponses": inline}}
        else:
            id = job.id.replace("batches/", "batch")
            if is_new and not self.lab.deleted_results:
                content = [json.dumps({"key": key, **fields}).encode() for key, fields in lines]
                self.lab.files[id] = b"\n".join(content)
            metadata["output"] = {"responsesFile": f"files/{id}"}
        operation["response"] = metadata["output"]
        return operation

    def _lines(self, job: LabJob) -> Iterator[tuple[str, dict[str, Any]]]:
        for key, status, body in self.lab.results(job):
            if status == 200:
                text = prompt_of(body).upper()
                content = {"parts": [{"text": text}], "role": "model"}
                tokens = len(text.split())
                usage = {"promptTokenCount": 10, "candidatesTokenCount": tokens}
                usage["totalTokenCount"] = 10 + tokens
                usage |= self.lab.usage
                candidate = {"content": content, "finishReason": "STOP", "index": 0}
                response = {"candidates": [candidate], "usageMetadata": usage}
                yield key, {"response": {**response, "modelVersion": job.document["model"]}}
            else:
                codes = {400: 3, 429: 8, 500: 13}
                yield key, {"error": {"code": codes[status], "message": body}}

    async def download(self, request: web.Request) -> Response:
        content = self.lab.files.get(request.match_info["id"])
        assert request.query["alt"] == "media"
        if content is None:
            return self._error(404, "no such file", "NOT_FOUND")
        return web.Response(body=content)


def not_found(id: str) -> Response:
    error = {"message": f"No such object: {id}", "type": "invalid_request_error"}
    return web.json_response({"error": error}, status=404)


def answer(body: Any, text: str, input_tokens: int) -> dict[str, Any]:
    """Return an answer of Chat Completions or Responses."""
    tokens = len(text.split())
    if "input" in body:
        part = {"type": "output_text", "text": text, "annotations": []}
        item = {"type": "message", "id": "m", "role": "assistant", "content": [part]}
        usage = {"input_tokens": input_tokens, "output_tokens": tokens}
        return {
            "id": "resp_1", "object": "response", "status": "completed", "model": body["model"],
            "output": [item], "usage": usage,
        }  # fmt: skip
    message: dict[str, Any] = {"role": "assistant", "content": text}
    reason = "stop"
    if body.get("tools"):
        function = {"name": body["tools"][0]["function"]["name"], "arguments": '{"city": "Lima"}'}
        message["tool_calls"] = [{"id": "call_1", "type": "function", "function": function}]
        reason = "tool_calls"
    elif body.get("response_format"):
        message["content"] = json.dumps({"name": text, "age": 7})
    usage = {"prompt_tokens": input_tokens, "completion_tokens": tokens}
    usage["total_tokens"] = input_tokens + tokens
    return {
        "id": "chatcmpl-1", "object": "chat.completion", "model": body["model"], "created": 1,
        "choices": [{"index": 0, "message": message, "finish_reason": reason}], "usage": usage,
        "service_tier": "default",
    }  # fmt: skip
