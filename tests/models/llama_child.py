"""Runs llama.cpp on a GGUF file in a process of its own: python llama_child.py JOB.json OUT.json.

A job is {"model": path, "context": n, "requests": [completion requests]}; the output is the list
of llama.cpp's replies. A native crash ends this process, not the tests.
"""

import http.client
import json
import sys
from pathlib import Path


def tokenized(server, text: str) -> list[int]:
    body = {"content": text, "add_special": True, "parse_special": True}
    connection = http.client.HTTPConnection(server.listening_address.removeprefix("http://"))
    connection.request("POST", "/tokenize", json.dumps(body), {"Content-Type": "application/json"})
    return json.loads(connection.getresponse().read())["tokens"]


def main() -> None:
    import xllamacpp as xlc  # noqa: PLC0415 - only the child loads native code

    job = json.loads(Path(sys.argv[1]).read_text("utf-8"))
    params = xlc.CommonParams()
    params.model.path = job["model"]
    params.n_ctx = job["context"]
    params.n_parallel = 1
    params.n_batch = params.n_ubatch = 512
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 1
    params.n_gpu_layers = 0
    params.warmup = False
    params.fit_params = False
    params.verbosity = job.get("verbosity", 0)
    if job.get("flash_attention") is False:
        params.flash_attn_type = xlc.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_DISABLED
    if "cache_type" in job:
        params.cache_type_k = params.cache_type_v = getattr(xlc.ggml_type, job["cache_type"])
    server = xlc.Server(params)
    if "texts" in job:
        found = [tokenized(server, text) for text in job["texts"]]
        Path(sys.argv[2]).write_text(json.dumps(found), "utf-8")
        return
    replies = [server.handle_completions(request) for request in job["requests"]]
    Path(sys.argv[2]).write_text(json.dumps(replies), "utf-8")


if __name__ == "__main__":
    main()
