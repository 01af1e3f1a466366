"""Recorded requests with our ids, dates and tokens in the place of the recorded ones."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from tests.conformance.compare import HOLDERS, REFERENCES, RESOURCES, Known


@dataclass(frozen=True)
class Translation:
    """What a request of the recording has to say to us."""

    known: Known

    def path(self, path: str) -> str:
        """Put our ids into a path."""
        parts = path.split("/")
        for place, part in enumerate(parts):
            if part.isdigit():
                table = RESOURCES.get(parts[place - 1], "?")
                parts[place] = str(self.known.id(table, int(part)))
            parts[place] = self.known.texts.get(parts[place], parts[place])
            if found := re.fullmatch(r"(action=.*&target_id=)(\d+)", part):
                parts[place] = f"{found[1]}{self.known.id('task', int(found[2]))}"
        return "/".join(parts)

    def query(self, pairs: list[list[str]]) -> str:
        """Put our ids and dates into a query."""
        return urlencode([(name, self._parameter(name, value)) for name, value in pairs])

    def _parameter(self, name: str, value: str) -> str:
        if name == "filter":
            try:
                return json.dumps(self._rule(json.loads(value)))
            except ValueError:
                return value
        if value.isdigit() and name in REFERENCES:
            return str(self.known.id(REFERENCES[name], int(value)))
        return value

    def _rule(self, rule: Any) -> Any:
        if isinstance(rule, list):
            variable = rule[0].get("var") if rule and isinstance(rule[0], dict) else None
            if variable in REFERENCES and isinstance(rule[1], int):
                return [rule[0], self.known.id(REFERENCES[variable], rule[1])]
            return [self._rule(each) for each in rule]
        if isinstance(rule, dict):
            return {name: self._rule(value) for name, value in rule.items()}
        return self.known.dates.get(rule, rule) if isinstance(rule, str) else rule

    def body(self, value: Any, table: str) -> Any:
        """Put our ids into a JSON document; `table` is that of a bare `id`."""
        if isinstance(value, list):
            return [self.body(each, table) for each in value]
        if not isinstance(value, dict):
            return value
        made = {}
        for name, content in value.items():
            if isinstance(content, int) and not isinstance(content, bool):
                kind = table if name == "id" else REFERENCES.get(name)
                made[name] = content if kind is None else self.known.id(kind, content)
                continue
            inner = HOLDERS.get(name, table)
            inner = "inner" if name == "shapes" and table == "track" else inner
            inner = table if name == "elements" else inner
            made[name] = self.body(content, inner)
        return made


def without_ids(value: Any) -> Any:
    """Drop every `id` of a document."""
    if isinstance(value, list):
        return [without_ids(each) for each in value]
    if isinstance(value, dict):
        return {name: without_ids(each) for name, each in value.items() if name != "id"}
    return value
