"""A server on loopback with the file APIs of OpenAI, Anthropic and Gemini.

    with FileLab() as lab:
        upload("film.mp4", provider="google", api_base=lab.gemini, api_key="k")

Requests are checked as the vendors do. Content is hashed while it arrives, and kept if it is small.
"""

from __future__ import annotations

import asyncio
import hashlib
import threading
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from aiohttp import BodyPartReader, web

KEPT_BYTES = 1 << 20


@dataclass
class StoredFile:
    """A file at the provider."""

    id: str
    name: str
    mime_type: str
    size: int = 0
    digest: str = ""
    content: bytes = b""
    fields: dict[str, str] = field(default_factory=dict)
    polls_left: int = 0
    expires_at: datetime | None = None


class FileLab:
    """The server, its files, and its faults, which a test sets before or between calls."""

    def __init__(self) -> None:
        self.files: dict[str, StoredFile] = {}
        self.calls: Counter[str] = Counter()  # by method and path without ids
        self.shapes: list[dict[str, Any]] = []  # what identifies an upload, without ids
        self.messages: list[dict[str, Any]] = []  # bodies of requests to models
        self.answer: dict[str, Any] | None = None
        self.polls = 0
        self.failed_reason = ""
        self.break_at: list[int] = []  # bytes after which the next uploads lose their connection
        self.errors: list[tuple[int, str]] = []  # of the next calls
        self._sessions: dict[str, StoredFile] = {}
        self._count = 0
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, name="file lab", daemon=True)

    @property
    def openai(self) -> str:
        return f"{self.url}/v1"

    @property
    def anthropic(self) -> str:
        return self.url

    @property
    def gemini(self) -> str:
        return f"{self.url}/v1beta"

    def __enter__(self) -> FileLab:
        self._thread.start()
        assert self._ready.wait(10)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(10)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(self._serve())
        self._loop.close()

    async def _serve(self) -> None:
        self._stop = asyncio.Event()
        app = web.Application(client_max_size=1 << 32, middlewares=[self._faults])
        app.router.add_post("/v1/files", self._post_form)
        app.router.add_get("/v1/files/{id}", self._get)
        app.router.add_delete("/v1/files/{id}", self._delete)
        app.router.add_get("/v1/files/{id}/content", self._content)
        app.router.add_get("/v1/containers/{container}/files/{id}", self._get_from_container)
        app.router.add_get("/v1/containers/{container}/files/{id}/content", self._content)
        app.router.add_delete("/v1/containers/{container}/files/{id}", self._delete)
        app.router.add_post("/upload/v1beta/files", self._start)
        app.router.add_post("/upload/{session}", self._receive)
        app.router.add_get("/v1beta/files/{id:[^:/]+}", self._get_gemini)
        app.router.add_get("/v1beta/files/{id:[^:/]+}:download", self._content)
        app.router.add_delete("/v1beta/files/{id}", self._delete)
        app.router.add_post("/{path:.*}", self._answer)
        runner = web.AppRunner(app, handler_cancellation=True)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        self.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        self._ready.set()
        await self._stop.wait()
        await runner.cleanup()

    @web.middleware
    async def _faults(self, request: web.Request, handler: Any) -> web.StreamResponse:
        path = request.path
        for name, value in request.match_info.items():
            path = path.replace(value, f"{{{name}}}")
        self.calls[f"{request.method} {path}"] += 1
        if not (
            request.headers.get("authorization", "").startswith("Bearer ")
            or request.headers.get("x-api-key")
            or request.headers.get("x-goog-api-key")
            or "session" in request.match_info  # whose address is secret
        ):
            return web.json_response({"error": {"message": "no key"}}, status=401)
        if self.errors:
            status, message = self.errors.pop(0)
            return web.json_response(
                {"type": "error", "error": {"type": "error", "message": message}}, status=status
            )
        response: web.StreamResponse = await handler(request)
        return response

    def _new_file(self, prefix: str, name: str, mime_type: str) -> StoredFile:
        self._count += 1
        return StoredFile(f"{prefix}{self._count}", name, mime_type)

    # --- OpenAI and Anthropic ---------------------------------------------------------------

    async def _post_form(self, request: web.Request) -> web.Response:
        is_anthropic = "anthropic-version" in request.headers
        file = self._new_file("file_0" if is_anthropic else "file-", "", "")
        parts: list[tuple[str | None, str | None]] = []
        async for part in await request.multipart():
            assert isinstance(part, BodyPartReader)
            parts.append((part.name, part.filename))
            if part.name == "file":
                file.name = part.filename or ""
                file.mime_type = part.headers.get("content-type", "")
                await self._read(file, part)
            else:
                file.fields[str(part.name)] = await part.text()
        problem = self._form_problem(file, is_anthropic)
        if problem:
            return web.json_response({"error": {"message": problem}}, status=400)
        lifetime = file.fields.get("expires_in_seconds") or file.fields.get(
            "expires_after[seconds]"
        )
        if lifetime:
            file.expires_at = datetime.now(UTC) + timedelta(seconds=int(lifetime))
        self.files[file.id] = file
        self.shapes.append(
            {
                "path": request.path,
                "query": dict(request.query),
                "parts": sorted(parts, key=str),
                "fields": file.fields,
                "type": file.mime_type,
                "digest": file.digest,
            }
        )
        return web.json_response(self._form_file(file))

    def _form_problem(self, file: StoredFile, is_anthropic: bool) -> str:
        if not file.size:
            return "the file is missing or empty"
        names = set(file.fields)
        if is_anthropic:
            return "" if names <= {"expires_in_seconds"} else f"unknown fields {names}"
        if file.fields.get("purpose") not in ("user_data", "vision", "batch", "assistants"):
            return f"purpose {file.fields.get('purpose')!r}"
        if "expires_after[seconds]" in names and (
            file.fields.get("expires_after[anchor]") != "created_at"
        ):
            return "expires_after[anchor] is missing"
        known = {"purpose", "expires_after[anchor]", "expires_after[seconds]"}
        return "" if names <= known else f"unknown fields {names}"

    def _form_file(self, file: StoredFile) -> dict[str, Any]:
        expires = file.expires_at
        if file.id.startswith("file_"):
            return {
                "id": file.id, "type": "file", "filename": file.name, "mime_type": file.mime_type,
                "size_bytes": file.size, "created_at": "2026-11-01T00:00:00Z",
                "downloadable": False,
                "expires_at": expires.isoformat().replace("+00:00", "Z") if expires else None,
            }  # fmt: skip
        return {
            "id": file.id, "object": "file", "bytes": file.size, "created_at": 1,
            "filename": file.name, "purpose": file.fields.get("purpose", "user_data"),
            "status": "processed",
            "expires_at": int(expires.timestamp()) if expires else None,
        }  # fmt: skip

    async def _get(self, request: web.Request) -> web.Response:
        file = self.files.get(request.match_info["id"])
        return self._missing(request) if file is None else web.json_response(self._form_file(file))

    async def _get_from_container(self, request: web.Request) -> web.Response:
        file = self.files.get(request.match_info["id"])
        if file is None:
            return self._missing(request)
        return web.json_response(
            {
                "id": file.id,
                "object": "container.file",
                "bytes": file.size,
                "created_at": 1,
                "container_id": request.match_info["container"],
                "path": f"/mnt/data/{file.name}",
                "source": "assistant",
            }
        )

    async def _delete(self, request: web.Request) -> web.Response:
        file = self.files.pop(request.match_info["id"], None)
        if file is None:
            return self._missing(request)
        return web.json_response({"id": file.id, "type": "file_deleted", "deleted": True})

    async def _content(self, request: web.Request) -> web.Response:
        file = self.files.get(request.match_info["id"])
        return self._missing(request) if file is None else web.Response(body=file.content)

    def _missing(self, request: web.Request) -> web.Response:
        error = {
            "type": "not_found_error",
            "message": f"No such File object: {request.match_info['id']}",
        }
        return web.json_response({"type": "error", "error": error}, status=404)

    async def _read(self, file: StoredFile, part: BodyPartReader) -> None:
        digest = hashlib.sha256()
        while piece := await part.read_chunk(1 << 16):
            self._add(file, piece, digest)
        file.digest = digest.hexdigest()

    def _add(self, file: StoredFile, piece: bytes, digest: Any) -> None:
        digest.update(piece)
        file.size += len(piece)
        if file.size <= KEPT_BYTES:
            file.content += piece

    # --- Gemini -----------------------------------------------------------------------------

    async def _start(self, request: web.Request) -> web.Response:
        headers = request.headers
        assert headers["x-goog-upload-protocol"] == "resumable"
        assert headers["x-goog-upload-command"] == "start"
        described = (await request.json()).get("file") or {}
        mime_type = headers["x-goog-upload-header-content-type"]
        file = self._new_file("f", described.get("displayName") or "", mime_type)
        file.fields["size"] = headers["x-goog-upload-header-content-length"]
        file.polls_left = self.polls
        session = f"session{self._count}"
        self._sessions[session] = file
        self.shapes.append(
            {
                "path": request.path,
                "query": dict(request.query),
                "type": mime_type,
                "size": file.fields["size"],
                "body": {"mimeType": described.get("mimeType") or mime_type},
            }
        )
        url = f"{self.url}/upload/{session}?upload_id={session}&upload_protocol=resumable"
        return web.json_response({}, headers={"x-goog-upload-url": url})

    async def _receive(self, request: web.Request) -> web.Response:
        file = self._sessions[request.match_info["session"]]
        command = request.headers["x-goog-upload-command"]
        if command == "query":
            found = {
                "x-goog-upload-status": "active",
                "x-goog-upload-size-received": str(file.size),
            }
            return web.Response(headers=found)
        assert int(request.headers["x-goog-upload-offset"]) == file.size
        digest = file.fields.setdefault("digest", hashlib.sha256())  # type: ignore[arg-type]
        broken_at = self.break_at.pop(0) if self.break_at else None
        async for piece in request.content.iter_chunked(1 << 16):
            self._add(file, piece, digest)
            if broken_at is not None and file.size >= broken_at:
                assert request.transport is not None
                request.transport.abort()
                return web.Response(status=500)
        if "finalize" not in command:
            return web.Response(headers={"x-goog-upload-status": "active"})
        assert file.size == int(file.fields["size"])
        file.digest = digest.hexdigest()  # type: ignore[attr-defined]
        self.files[file.id] = file
        file.expires_at = datetime.now(UTC) + timedelta(hours=48)
        return web.json_response(
            {"file": self._gemini_file(file)}, headers={"x-goog-upload-status": "final"}
        )

    async def _get_gemini(self, request: web.Request) -> web.Response:
        file = self.files.get(request.match_info["id"])
        if file is None:
            return self._missing(request)
        file.polls_left -= 1
        return web.json_response(self._gemini_file(file))

    def _gemini_file(self, file: StoredFile) -> dict[str, Any]:
        assert file.expires_at is not None
        state = "PROCESSING" if file.polls_left > 0 else "ACTIVE"
        found = {
            "name": f"files/{file.id}", "displayName": file.name, "mimeType": file.mime_type,
            "sizeBytes": str(file.size), "uri": f"{self.url}/v1beta/files/{file.id}",
            "expirationTime": f"{file.expires_at:%Y-%m-%dT%H:%M:%S}.123456789Z", "state": state,
        }  # fmt: skip
        if self.failed_reason and state == "ACTIVE":
            found |= {"state": "FAILED", "error": {"message": self.failed_reason}}  # type: ignore[dict-item]
        return found

    # --- Models -----------------------------------------------------------------------------

    async def _answer(self, request: web.Request) -> web.Response:
        self.messages.append(await request.json())
        if self.answer is None:
            return web.json_response({"error": {"message": "no answer"}}, status=400)
        return web.json_response(self.answer)
