"""A server that answers as one was recorded, and stubs for what no recording has."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class StubServer:
    """Answers `(method, path, body, headers)` by a function: (status, headers, body)."""

    def __init__(self, answer):
        self.asked = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            # Headers and body go out in one piece: Nagle's algorithm would hold the second back.
            wbufsize = -1

            def _any(self):
                length = int(self.headers.get("Content-Length") or 0)
                raw = self.rfile.read(length)
                body = json.loads(raw) if raw else None
                outer.asked.append((self.command, self.path, body, dict(self.headers)))
                status, headers, answered = answer(self.command, self.path, body, self.headers)
                if status is None:
                    self.close_connection = True
                    return
                text = isinstance(answered, str)
                data = answered.encode() if text else json.dumps(answered).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(data)))
                for name, value in headers.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(data)

            do_GET = do_POST = _any  # noqa: N815 - http.server's names

            def log_message(self, *_):
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *exc_info):
        self._server.shutdown()
        self._server.server_close()


def recorded(directory, server):
    """Return an answering function from the recordings of one server, by path and kind of body."""
    exchanges = []
    for path in sorted(directory.glob(f"{server}-*.json")):
        try:
            one = json.loads(path.read_text())
        except ValueError:
            continue  # two recordings of long prompts were cut off
        if one.get("request") and "status" in one.get("response", {}):
            exchanges.append((one["request"], one["response"]))

    def answer(method, path, body, headers):
        if "Authorization" not in headers:
            return 401, {}, {"error": "Unauthorized"}
        same = [
            (request, response)
            for request, response in exchanges
            if (request["method"], request["path"]) == (method, path)
            and "nokey" not in str(request)
            and response["status"] != 401
        ]
        if not same:
            return 404, {}, {"detail": "Not Found"}
        _, response = max(same, key=lambda one: _likeness(one[0].get("body"), body))
        return response["status"], {"Content-Type": "application/json"}, response["body"]

    return answer


#: What makes a request another kind of request.
_TELLING = ("response_format", "structured_outputs", "echo", "prompt_logprobs", "logprobs", "n")


def _likeness(recorded, asked):
    if not isinstance(recorded, dict) or not isinstance(asked, dict):
        return 0
    same = sum((key in recorded) == (key in asked) for key in _TELLING)
    same += ("'enum'" in str(recorded)) == ("'enum'" in str(asked))
    return 10 * same + sum(recorded.get(key) == value for key, value in asked.items())


def chat_stub(**changes):
    """Answer like a small server of one model each for `a` and `b`: the last word, and no more."""

    def answer(_method, path, body, headers):
        if path.endswith("/v1/models"):
            data = [{"id": name, "object": "model", "owned_by": "stub"} for name in ("a", "b")]
            return 200, {}, {"object": "list", "data": data}
        if path.endswith("/v1/chat/completions"):
            changed = changes.get("chat", lambda *_: None)(body, headers)
            if changed is not None:
                return changed
            words = body["messages"][-1]["content"].split()
            message = {"role": "assistant", "content": f"{body['model']} {words[-1]}"}
            usage = {"prompt_tokens": len(words), "completion_tokens": 2}
            choices = [{"index": 0, "message": message, "finish_reason": "stop"}]
            return 200, {}, {"choices": choices, "usage": usage}
        return 404, {}, {"detail": "Not Found"}

    return answer
