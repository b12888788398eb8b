"""Run llama.cpp's own HTTP server on a free port of loopback, and print its address."""

import sys
import threading
from pathlib import Path

import xllamacpp

import pipy_ai.provider.local as local

params = xllamacpp.CommonParams()
params.model.path = sys.argv[1]
params.model_alias = {"smollm2"}
params.n_ctx, params.n_parallel = 4096, 1
params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 1
params.hostnames, params.port = ["127.0.0.1"], 0
params.use_jinja, params.verbosity = True, 0
params.endpoint_metrics = params.endpoint_slots = True
params.chat_template = Path(local.__file__).with_name("smollm2.jinja").read_text()
params.default_template_kwargs = {"enable_thinking": "false"}  # thinking is off by default
server = xllamacpp.Server(params)
print(server.listening_address, flush=True)  # noqa: T201
threading.Event().wait()
