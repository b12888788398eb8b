"""A collector on loopback that takes traces, metrics and logs over OTLP/HTTP.

with Receiver() as receiver:
    exporter = OTLPSpanExporter(endpoint=f"{receiver.url}/v1/traces")
    ...
    assert [span.name for span in receiver.spans] == ["chat gpt-5"]
"""

from __future__ import annotations

import gzip
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest


@dataclass
class Span:
    """A span as the collector got it."""

    name: str
    id: bytes
    parent: bytes
    trace: bytes
    kind: int
    status: int
    description: str
    start: int
    end: int
    attributes: dict[str, Any]
    events: list[tuple[str, dict[str, Any]]] = field(default_factory=list)


class Receiver:
    """The collector. Give it to a test after the exporters were flushed."""

    def __init__(self) -> None:
        self.spans: list[Span] = []
        self.points: dict[str, list[tuple[dict[str, Any], Any]]] = {}  # of metrics, by their name
        self.logs: list[tuple[str, dict[str, Any], bytes]] = []  # name, attributes, span
        self.bodies: list[bytes] = []
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                if self.headers.get("content-encoding") == "gzip":
                    body = gzip.decompress(body)
                receiver.receive(self.path, body)
                self.send_response(200)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *args: Any) -> None: ...

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    def __enter__(self) -> Receiver:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(10)

    def receive(self, path: str, body: bytes) -> None:
        self.bodies.append(body)
        if path == "/v1/traces":
            self.spans += _spans(ExportTraceServiceRequest.FromString(body))
        elif path == "/v1/metrics":
            for metric in _metrics(ExportMetricsServiceRequest.FromString(body)):
                for point in metric.histogram.data_points:
                    item = (_attributes(point.attributes), point)
                    self.points.setdefault(metric.name, []).append(item)
        elif path == "/v1/logs":
            for resource in ExportLogsServiceRequest.FromString(body).resource_logs:
                for scope in resource.scope_logs:
                    for record in scope.log_records:
                        attributes = _attributes(record.attributes)
                        self.logs.append((record.event_name, attributes, record.span_id))

    def span(self, name: str) -> Span:
        [found] = [span for span in self.spans if span.name == name]
        return found


def _spans(request: Any) -> Iterator[Span]:
    for resource in request.resource_spans:
        for scope in resource.scope_spans:
            assert scope.scope.name == "pipy_ai"
            for span in scope.spans:
                yield Span(
                    span.name,
                    span.span_id,
                    span.parent_span_id,
                    span.trace_id,
                    span.kind,
                    span.status.code,
                    span.status.message,
                    span.start_time_unix_nano,
                    span.end_time_unix_nano,
                    _attributes(span.attributes),
                    [(event.name, _attributes(event.attributes)) for event in span.events],
                )


def _metrics(request: Any) -> Iterator[Any]:
    for resource in request.resource_metrics:
        for scope in resource.scope_metrics:
            yield from scope.metrics


def _attributes(items: Any) -> dict[str, Any]:
    return {item.key: _value(item.value) for item in items}


def _value(value: Any) -> Any:
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return [_value(item) for item in value.array_value.values]
    return getattr(value, kind)
