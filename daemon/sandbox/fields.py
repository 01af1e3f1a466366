"""Checks of request fields, with the texts of Django REST framework.

Each check takes a value and returns the clean one, or raises `FieldInvalid`
with what the framework would put into the answer's body.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from typing import Any, TypeAlias

from daemon.sandbox.errors import bad_request

Check: TypeAlias = Callable[[Any], Any]

BLANK = "This field may not be blank."
REQUIRED = "This field is required."
NULL = "This field may not be null."
SURROGATE = re.compile("[\ud800-\udfff]")
# Django's URLField wants a host that is an address, `localhost`, or has a dot.
URL = re.compile(
    r"^https?://(localhost|\d{1,3}(\.\d{1,3}){3}|\[[0-9a-f:.]+\]|([\w-]+\.)+[\w-]{2,})(:\d{1,5})?([/?#]\S*)?$",
    re.IGNORECASE,
)


class FieldInvalid(Exception):
    """A value that the framework refuses; `detail` is its text, list or object."""

    def __init__(self, detail: object) -> None:
        super().__init__(detail)
        self.detail = detail


def text(*, longest: int | None = None, blank: bool = False) -> Check:
    """Check a CharField: trimmed, no NUL, no lone surrogate."""

    def check(value: Any) -> str:
        if isinstance(value, bool) or not isinstance(value, str | int | float):
            raise FieldInvalid(["Not a valid string."])
        clean = str(value).strip()
        if not clean and not blank:
            raise FieldInvalid([BLANK])
        if longest is not None and len(clean) > longest:
            raise FieldInvalid([f"Ensure this field has no more than {longest} characters."])
        if "\0" in clean:
            raise FieldInvalid(["Null characters are not allowed."])
        if found := SURROGATE.search(clean):
            raise FieldInvalid([f"Surrogate characters are not allowed: U+{ord(found[0]):X}."])
        return clean

    return check


def integer(*, lowest: int | None = None, highest: int | None = None) -> Check:
    """Check an IntegerField; digits in a string are taken."""

    def check(value: Any) -> int:
        whole = re.fullmatch(r"\s*-?\d+(\.0*)?\s*", str(value))
        if isinstance(value, bool) or whole is None:
            raise FieldInvalid(["A valid integer is required."])
        return int(_within(int(float(value)) if "." in str(value) else int(value), lowest, highest))

    return check


def number(*, lowest: float | None = None, highest: float | None = None) -> Check:
    """Check a FloatField."""

    def check(value: Any) -> float:
        try:
            clean = float(value)
        except (TypeError, ValueError):
            raise FieldInvalid(["A valid number is required."]) from None
        return _within(clean, lowest, highest)

    return check


def _within(value: float, lowest: float | None, highest: float | None) -> float:
    if lowest is not None and value < lowest:
        raise FieldInvalid([f"Ensure this value is greater than or equal to {lowest}."])
    if highest is not None and value > highest:
        raise FieldInvalid([f"Ensure this value is less than or equal to {highest}."])
    return value


def boolean(value: Any) -> bool:
    """Check a BooleanField: true, false and the spellings the framework knows."""
    if str(value).lower() in {"true", "t", "1", "yes", "y", "on"}:
        return True
    if str(value).lower() in {"false", "f", "0", "no", "n", "off"}:
        return False
    raise FieldInvalid(["Must be a valid boolean."])


def choice(options: Collection[str]) -> Check:
    """Check a ChoiceField."""

    def check(value: Any) -> str:
        if not isinstance(value, str) or value not in options:
            raise FieldInvalid([f'"{value}" is not a valid choice.'])
        return value

    return check


def url(value: Any) -> str:
    """Check a URLField: a host of one label is refused."""
    clean: str = text(longest=8192)(value)
    if not URL.match(clean):
        raise FieldInvalid(["Enter a valid URL."])
    return clean


class TakesNull:
    """A check that is asked about null too; all others refuse it."""

    def __init__(self, check: Check) -> None:
        self.check = check

    def __call__(self, value: Any) -> Any:
        return self.check(value)


def optional(check: Check) -> Check:
    """Let null pass as null."""
    return TakesNull(lambda value: None if value is None else check(value))


def listed(check: Check) -> Check:
    """Check a list of serializers: one entry in the error per item."""

    def check_all(value: Any) -> list[Any]:
        if not isinstance(value, list):
            kind = type(value).__name__
            problem = f'Expected a list of items but got type "{kind}".'
            raise FieldInvalid({"non_field_errors": [problem]})
        clean: list[Any] = []
        problems: list[Any] = []
        for item in value:
            try:
                clean.append(check(item))
                problems.append({})
            except FieldInvalid as invalid:
                problems.append(invalid.detail)
        if any(problems):
            raise FieldInvalid(problems)
        return clean

    return check_all


class Missing:
    """Marks a field that must be sent."""


class Absent:
    """Marks a field that stays absent when it was not sent."""


def record(**fields: tuple[Check, object]) -> Check:
    """Check an object field by field; unknown fields are dropped in silence.

    fields  name → (check, default); the default is a value, `Missing` or `Absent`
    """

    def check(value: Any) -> dict[str, Any]:
        if not isinstance(value, dict):
            kind = type(value).__name__
            problem = f"Invalid data. Expected a dictionary, but got {kind}."
            raise FieldInvalid({"non_field_errors": [problem]})
        clean: dict[str, Any] = {}
        problems: dict[str, object] = {}
        for name, (field, default) in fields.items():
            try:
                if name in value:
                    clean[name] = _not_null(field, value[name])
                elif default is Missing:
                    raise FieldInvalid([REQUIRED])
                elif default is not Absent:
                    clean[name] = default() if callable(default) else default
            except FieldInvalid as invalid:
                problems[name] = invalid.detail
        if problems:
            raise FieldInvalid(problems)
        return clean

    return check


def _not_null(field: Check, value: Any) -> Any:
    if value is None and not isinstance(field, TakesNull):
        raise FieldInvalid([NULL])
    return field(value)


def clean(check: Check, value: Any) -> Any:
    """Check a request's body; raises Refused (400) with the framework's texts."""
    try:
        return check(value)
    except FieldInvalid as found:
        raise bad_request(found.detail) from found
