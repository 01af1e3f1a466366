"""Lists: filters, order, search and pages of CVAT's list endpoints."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, TypeAlias, TypeVar
from urllib.parse import urlencode

from daemon.sandbox.call import Call, Reply
from daemon.sandbox.errors import invalid, not_found
from daemon.sandbox.model import Json
from daemon.sandbox.state import EPOCH

T = TypeVar("T")

PAGE_SIZE = 10
WHOLE = re.compile(r"-?[0-9]{1,18}")
# These may be named in `filter` and `sort` alone; as plain parameters CVAT ignores them.
NO_PLAIN_FILTER = {"id", "updated_date", "description"}
Fields: TypeAlias = Mapping[str, Callable[[T], Any]]
COMPARE: dict[str, Callable[[Any, Any], bool]] = {
    "==": lambda a, b: a == b,
    "<": lambda a, b: a is not None and a < b,
    ">": lambda a, b: a is not None and a > b,
    "<=": lambda a, b: a is not None and a <= b,
    ">=": lambda a, b: a is not None and a >= b,
}


def listing(
    call: Call,
    rows: Sequence[T],
    *,
    fields: Fields[T],
    show: Callable[[T], Json],
    search: Sequence[str] = (),
) -> Reply:
    """Answer a list request.

    rows    in the default order, already cut down to what the caller may see
    fields  what `filter`, `sort` and plain query parameters may name; dates
            are microseconds
    search  the fields that `search` looks into
    """
    found = [row for row in rows if _matches(call, row, fields)]
    if terms := (call.param("search") or "").replace(",", " ").split():
        found = [row for row in found if _mentions(row, terms, fields, search)]
    if rule := call.param("filter"):
        keep = _rule(_parsed(rule, is_new=call.is_new), fields)
        found = [row for row in found if keep(row)]
    for name in reversed((call.param("sort") or "").split(",")):
        if get := fields.get(name.strip().lstrip("-")):
            found.sort(key=_sortable(get), reverse=name.strip().startswith("-"))
    return _page(call, found, show)


def _matches(call: Call, row: T, fields: Fields[T]) -> bool:
    return all(
        name not in fields
        or name in NO_PLAIN_FILTER
        or fields[name](row) == _like(fields[name](row), value)
        for name, value in call.query
    )


def _mentions(row: T, terms: list[str], fields: Fields[T], search: Sequence[str]) -> bool:
    texts = [str(fields[name](row) or "").lower() for name in search]
    return all(any(term.lower() in text for text in texts) for term in terms)


def _sortable(get: Callable[[T], Any]) -> Callable[[T], Any]:
    def key(row: T) -> Any:
        value = get(row)
        return (value is None, value if value is not None else 0)

    return key


def _like(known: Any, value: Any) -> Any:
    """Read a value of a rule as the kind of the field it is compared with."""
    if isinstance(known, bool):
        return str(value).lower() == "true"
    if isinstance(known, int) and isinstance(value, str):
        return int(value) if WHOLE.fullmatch(value) else _as_us(value)
    return value


def _as_us(value: str) -> int:
    try:
        moment = datetime.fromisoformat(value.replace("Z", "+00:00"))
    except ValueError as exc:
        raise invalid(f"“{value}” value has an invalid format.") from exc
    since = (moment if moment.tzinfo else moment.replace(tzinfo=EPOCH.tzinfo)) - EPOCH
    return since // (EPOCH.resolution)


def _parsed(rule: str, *, is_new: bool) -> Any:
    try:
        return json.loads(rule)
    except (ValueError, RecursionError) as exc:
        if is_new:
            raise invalid(f"filter: can't parse filter expression: {exc}") from exc
        raise invalid("filter: Json syntax should be used") from exc


def _rule(rule: Any, fields: Fields[T]) -> Callable[[T], bool]:
    """Compile a JsonLogic rule (engine/filters.py, JsonLogicFilter)."""
    if not isinstance(rule, dict) or len(rule) != 1:
        raise invalid("filter: Json syntax should be used")
    [(operator, operands)] = rule.items()
    if operator in {"and", "or"} and isinstance(operands, list):
        parts = [_rule(part, fields) for part in operands]
        join = all if operator == "and" else any
        return lambda row: join(part(row) for part in parts)
    if operator in {"!", "!!"}:
        part = _rule(operands, fields)
        return lambda row: part(row) == (operator == "!!")
    if operator == "var":
        get = _field(rule, fields)
        return lambda row: get(row) is not None
    if operator == "in" and isinstance(operands, list) and len(operands) == 2:
        return _membership(operands, fields)
    if operator in COMPARE and isinstance(operands, list) and len(operands) == 2:
        return _comparison(operator, _field(operands[0], fields), operands[1])
    if operator == "<=" and isinstance(operands, list) and len(operands) == 3:
        get = _field(operands[1], fields)
        lowest, highest = (
            _comparison(">=", get, operands[0]),
            _comparison("<=", get, operands[2]),
        )
        return lambda row: lowest(row) and highest(row)
    raise invalid(f"filter: {operator} operation with {operands} arguments is not implemented")


def _comparison(operator: str, get: Callable[[T], Any], value: Any) -> Callable[[T], bool]:
    compare = COMPARE[operator]

    def keep(row: T) -> bool:
        known = get(row)
        try:
            return compare(known, _like(known, value))
        except TypeError as exc:
            raise invalid(f"filter: {value!r} cannot be compared") from exc

    return keep


def _membership(operands: list[Any], fields: Fields[T]) -> Callable[[T], bool]:
    if isinstance(operands[0], dict):
        get, values = _field(operands[0], fields), operands[1]
        return lambda row: any(get(row) == _like(get(row), value) for value in values)
    part, whole = operands[0], _field(operands[1], fields)
    return lambda row: str(part).lower() in str(whole(row) or "").lower()


def _field(operand: Any, fields: Fields[T]) -> Callable[[T], Any]:
    name = operand.get("var") if isinstance(operand, dict) else None
    if not isinstance(name, str) or name not in fields:
        raise invalid(f"filter: {name!r} term is not supported")
    return fields[name]


def _page(call: Call, rows: list[T], show: Callable[[T], Json]) -> Reply:
    size = _page_size(call, len(rows))
    asked = call.param("page") or "1"
    last = max(1, -(-len(rows) // size))
    number = last if asked == "last" else int(asked) if WHOLE.fullmatch(asked) else 0
    if not 1 <= number <= last:
        raise not_found("Invalid page.")
    shown = [show(row) for row in rows[(number - 1) * size : number * size]]
    return Reply(
        body={
            "count": len(rows),
            "next": _link(call, number + 1) if number < last else None,
            "previous": _link(call, number - 1) if number > 1 else None,
            "results": shown,
        }
    )


def _page_size(call: Call, found: int) -> int:
    asked = call.param("page_size") or ""
    if asked == "all":
        return max(1, found)
    return int(asked) if WHOLE.fullmatch(asked) and int(asked) > 0 else PAGE_SIZE


def _link(call: Call, number: int) -> str:
    query = {name: value for name, value in call.query if name != "page"}
    if number > 1:
        query["page"] = str(number)
    written = urlencode(sorted(query.items()))
    return f"{call.base}{call.path}" + (f"?{written}" if written else "")
