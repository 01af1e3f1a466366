"""Answers against CVAT's own OpenAPI schema (2.15)."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from openapi_schema_validator import OAS30Validator

# Not part of the tree; who has it has it here.
SCHEMA = Path(__file__).parents[3] / "shared" / "reference" / "cvat-schema-2.15.yml"
JSON = "application/vnd.cvat+json"
UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


@cache
def schema() -> dict[str, Any]:
    """Read the schema, corrected."""
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    loaded: dict[str, Any] = yaml.load(SCHEMA.read_text(), Loader=loader)
    return dict(_corrected(loaded))


def _corrected(node: Any) -> Any:
    """Say what the schema means where the real server's own answers break its letter.

    A nullable reference is written as `allOf` beside `nullable`, which no
    validator takes for nullable; a delivery's `response` is text.
    """
    if isinstance(node, list):
        return [_corrected(each) for each in node]
    if not isinstance(node, dict):
        return node
    node = {name: _corrected(each) for name, each in node.items()}
    if node.get("nullable") and "allOf" in node:
        return {"anyOf": [{"enum": [None], "nullable": True}, {"allOf": node["allOf"]}]}
    if "changed_fields" in node and "response" in node:
        node["response"] = {"type": "string"}
    return node


def template(path: str) -> str:
    """Return a path with `{id}` for each number and `{uuid}` for each id of an upload."""
    parts = path.rstrip("/").split("/")
    return "/".join(
        "{id}"
        if part.isdigit() or re.fullmatch(r"\{(?!file_id|uuid)\w+\}", part)
        else "{uuid}"
        if UUID.fullmatch(part) or part in {"{file_id}", "{uuid}"}
        else part
        for part in parts
    )


@cache
def operations() -> dict[tuple[str, str], dict[str, Any]]:
    """Return the responses of each method and path of the schema, by status."""
    return {
        (method.upper(), template(path)): operation["responses"]
        for path, described in schema()["paths"].items()
        for method, operation in described.items()
        if "responses" in operation
    }


@cache
def _validator(method: str, path: str, status: int) -> OAS30Validator | None:
    told = operations().get((method, path), {}).get(str(status), {})
    wanted = told.get("content", {}).get(JSON, {}).get("schema")
    return None if wanted is None else OAS30Validator({**wanted, **schema()})


def violation(method: str, path: str, status: int, answer: Any) -> str | None:
    """Return how an answer breaks the schema; None where it does not, or nothing is said of it."""
    validator = _validator(method, template(path), status)
    errors = [] if validator is None else sorted(validator.iter_errors(answer), key=str)
    return f"schema: {errors[0].json_path}: {errors[0].message[:300]}" if errors else None


def is_described(method: str, path: str, status: int) -> bool:
    """Tell whether the schema has a JSON document for an answer."""
    return _validator(method, template(path), status) is not None
