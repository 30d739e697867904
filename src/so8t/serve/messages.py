"""What is said over HTTP: the request's JSON, read strictly, and its description (OpenAPI)."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

import so8t
from so8t.errors import UsageError

if TYPE_CHECKING:
    from so8t.serve.limits import RequestLimits

LONGEST_QUERY = 16_000
_CONTENT = {"application/json": {"schema": {"$ref": "#/components/schemas/ThinkResponse"}}}


class ThinkRequest(BaseModel):
    """A question."""

    model_config = ConfigDict(extra="forbid", strict=True)

    query: str = Field(min_length=1, max_length=LONGEST_QUERY, description="What is asked.")
    language: Literal["en", "ja"] | None = Field(
        default=None, description="Language of a refusal's words; by default that of the query."
    )
    max_tokens: int | None = Field(
        default=None, ge=1, description="Most tokens of the whole reply, thinking included."
    )

    @field_validator("query")
    @classmethod
    def _is_text(cls, value: str) -> str:
        try:
            value.encode()
        except UnicodeEncodeError:
            raise ValueError("it holds half of a surrogate pair") from None
        if not value.strip():
            raise ValueError("it is blank")
        return value


class ThinkResponse(BaseModel):
    """What leaves: the answer, or words of refusal. Never any thinking."""

    id: str = Field(description="The request's id, also in the audit log.")
    label: Literal["ALLOW", "ESCALATE", "REFUSE"]
    final: str = Field(description="The answer; words of refusal where outcome is not answered.")
    outcome: Literal["answered", "refused", "failed", "timeout"]
    reason: str | None = Field(description="Why it is not an answer, as a word.")


class HTTPProblem(BaseModel):
    """Why a request was turned away before the model was asked."""

    code: str
    message: str


def read_request(body: bytes) -> ThinkRequest:
    """Read a request's body. Raises UsageError saying what is wrong, never repeating its words."""
    try:
        plain = json.loads(body.decode("utf-8"), object_pairs_hook=_unique, parse_constant=_refuse)
    except UnicodeDecodeError as error:
        raise UsageError(f"the body is not UTF-8 (byte {error.start})") from None
    except RecursionError:
        raise UsageError("the body is nested too deeply") from None
    except json.JSONDecodeError as error:
        raise UsageError(f"the body is not JSON ({error.msg}, character {error.pos})") from None
    except ValueError as error:
        raise UsageError(f"the body is not JSON ({error})") from None
    if not isinstance(plain, dict):
        raise UsageError("the body must be a JSON object")
    try:
        return ThinkRequest.model_validate(plain)
    except ValidationError as error:
        told = "; ".join(
            f"{'.'.join(map(str, one['loc'])) or 'body'}: {one['msg']}"
            for one in error.errors(include_input=False, include_url=False, include_context=False)
            if one["type"] != "extra_forbidden"
        )
        raise UsageError(told or "there are keys besides query, language, max_tokens") from None


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key stands twice")
    return found


def _refuse(_name: str) -> None:
    raise ValueError("NaN and infinity are no JSON")


def openapi(limits: RequestLimits) -> dict[str, Any]:
    """Describe the server (OpenAPI 3.1)."""
    schemas = {model.__name__: model.model_json_schema() for model in (ThinkRequest, ThinkResponse)}
    schemas["ThinkRequest"]["properties"]["query"]["maxLength"] = limits.query
    schemas["Error"] = {
        "type": "object",
        "required": ["error"],
        "properties": {"error": HTTPProblem.model_json_schema()},
    }

    def turned_away(why: str) -> dict[str, Any]:
        schema = {"$ref": "#/components/schemas/Error"}
        return {"description": why, "content": {"application/json": {"schema": schema}}}

    stream = {"schema": {"type": "string"}, "example": 'event: thinking\ndata: {"seconds": 1}\n\n'}
    responses = {
        "200": {
            "description": "The answer, or a refusal. As server-sent events: `thinking` while the "
            "model works, then one `answer` (the same JSON) or `error`.",
            "content": {**_CONTENT, "text/event-stream": stream},
        },
        "502": {"description": "The model did not answer.", "content": _CONTENT},
        "504": {"description": f"No answer in {limits.answer:g} s.", "content": _CONTENT},
        "400": turned_away("Not JSON in UTF-8."),
        "401": turned_away("The bearer token is missing or wrong."),
        "403": turned_away("Another site's page, or a host name that is not this server's."),
        "405": turned_away("Another method than this path takes; Allow names it."),
        "408": turned_away(f"The body took longer than {limits.body_time:g} s."),
        "413": turned_away(f"More than {limits.body} bytes."),
        "415": turned_away("Not application/json."),
        "422": turned_away("A key is missing, unknown, or has a wrong value."),
        "429": turned_away("Too many requests; Retry-After says when to come back."),
        "500": turned_away("The server itself failed at this request."),
        "503": turned_away("The request could not be written to the audit log."),
    }
    body = {"application/json": {"schema": {"$ref": "#/components/schemas/ThinkRequest"}}}
    return {
        "openapi": "3.1.0",
        "info": {"title": "so8t serve", "version": so8t.__version__},
        "paths": {
            "/think": {
                "post": {
                    "summary": "Answer a question without showing the thinking",
                    "requestBody": {"required": True, "content": body},
                    "responses": responses,
                }
            },
            "/healthz": {
                "get": {
                    "responses": {
                        "200": {"description": "Ready."},
                        "503": {"description": "Not ready."},
                    }
                }
            },
            "/metrics": {"get": {"responses": {"200": {"description": "Prometheus text."}}}},
        },
        "components": {
            "schemas": schemas,
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
    }
