"""The API's own description (OpenAPI 3.1), made from the types of the arguments."""

from __future__ import annotations

import inspect
import json
from collections.abc import Mapping
from importlib.metadata import version
from typing import Any, Final

import msgspec

from daemon.http.api.answers import LINES
from daemon.http.api.feed import FeedArgs
from daemon.http.api.offered import OFFERED
from daemon.http.api.problems import MEDIA_TYPE
from daemon.operations.registry import Operation, find
from daemon.tokens import Scope

BASE: Final = "/api/v1"
EVENTS: Final = f"{BASE}/events"
DESCRIPTION: Final = f"{BASE}/openapi.json"
_REF: Final = "#/components/schemas/{name}"

Json = dict[str, Any]


def path_of(operation: str) -> str:
    """Return the path that an operation is served at."""
    return f"{BASE}/{operation}"


def methods_of(scope: Scope) -> list[str]:
    """Return the methods that an operation is asked by: GET never changes anything."""
    return ["GET", "POST"] if scope == "read" else ["POST"]


def description(offered: Mapping[str, Scope] = OFFERED) -> Json:
    """Return the whole document."""
    operations = [find(name) for name in sorted(offered)]
    types = [*(operation.args for operation in operations), FeedArgs]
    _, components = msgspec.json.schema_components(types, ref_template=_REF)
    schemas = json.loads(msgspec.json.encode(components)) | _SCHEMAS
    paths = {
        path_of(operation.name): _operation(operation, offered[operation.name], schemas)
        for operation in operations
    }
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Labeltrail",
            "version": version("labeltrail"),
            "description": inspect.cleandoc(_ABOUT),
        },
        "security": [{"token": []}],
        "paths": {
            **paths,
            EVENTS: {"get": _feed(schemas)},
            DESCRIPTION: {"get": _own()},
        },
        "components": {
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
            "schemas": schemas,
        },
    }


def _operation(operation: Operation, scope: Scope, schemas: Json) -> Json:
    about = inspect.cleandoc(operation.run.__doc__ or "")
    common = {
        "summary": about.splitlines()[0],
        "description": f"{about}\n\nNeeds a token of scope `{scope}`.",
        "responses": _responses({"application/json": "Document", LINES: "Line"}),
    }
    body = {"$ref": _REF.format(name=operation.args.__name__)}
    post = {
        **common,
        "operationId": f"post_{operation.name}",
        "requestBody": {"content": {"application/json": {"schema": body}}},
    }
    if "GET" not in methods_of(scope):
        return {"post": post}
    get = {
        **common,
        "operationId": f"get_{operation.name}",
        "parameters": _parameters(operation.args, schemas),
    }
    return {"get": get, "post": post}


def _feed(schemas: Json) -> Json:
    resume = {
        "name": "Last-Event-ID",
        "in": "header",
        "description": "Position of the last event seen; goes before `after`.",
        "schema": {"type": "integer", "minimum": 0},
    }
    return {
        "operationId": "get_events",
        "summary": "Follow the log as server-sent events.",
        "description": inspect.cleandoc(FeedArgs.__doc__ or ""),
        "parameters": [*_parameters(FeedArgs, schemas), resume],
        "responses": _responses({"text/event-stream": None}),
    }


def _own() -> Json:
    return {
        "operationId": "get_openapi",
        "summary": "This document.",
        "responses": _responses({"application/json": None}),
    }


def _parameters(args: type[msgspec.Struct], schemas: Json) -> list[Json]:
    schema = schemas[args.__name__]
    return [
        {
            "name": name,
            "in": "query",
            "required": name in schema.get("required", ()),
            "schema": found,
        }
        for name, found in schema["properties"].items()
    ]


def _responses(content: Mapping[str, str | None]) -> Json:
    fine = {
        kind: {"schema": {"$ref": _REF.format(name=name)} if name else {}}
        for kind, name in content.items()
    }
    refused = {MEDIA_TYPE: {"schema": {"$ref": _REF.format(name="Problem")}}}
    return {
        "200": {"description": "What was asked for.", "content": fine},
        "default": {"description": "What went wrong.", "content": refused},
    }


_ABOUT: Final = """
    Each path is an operation of the command line. GET takes its arguments from the query (a
    repeated name is a list), POST from a JSON object. The answer is one document, or with
    `Accept: application/x-ndjson` a line an object, the last one of kind `exit` or `error`.
    Exit code 3 means: there are differences, or something waits.
"""

_OBJECT: Final[Json] = {
    "type": "object",
    "required": ["kind"],
    "properties": {"kind": {"type": "string"}},
}
_PROBLEM: Final[Json] = {
    "type": "object",
    "description": "RFC 9457, with the members of an error of ours.",
    "required": ["type", "title", "status", "kind", "error", "message", "facts", "exit_code"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string", "description": "What to do."},
        "kind": {"const": "error"},
        "error": {"type": "string", "description": "What happened, as one word."},
        "message": {"type": "string"},
        "hint": {"type": ["string", "null"]},
        "facts": {"type": "object"},
        "exit_code": {"type": "integer"},
    },
}
_SCHEMAS: Final[Json] = {
    "Document": {
        "type": "object",
        "required": ["objects", "exit_code"],
        "properties": {
            "objects": {"type": "array", "items": {"$ref": _REF.format(name="Object")}},
            "exit_code": {"type": "integer"},
        },
    },
    "Line": {"$ref": _REF.format(name="Object")},
    "Object": _OBJECT,
    "Problem": _PROBLEM,
}
