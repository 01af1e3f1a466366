"""`example.toml` is the documentation of the settings, so it is held true."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from config.settings import (
    Api,
    Checkpoints,
    Data,
    Dataset,
    Deliveries,
    Http,
    Logging,
    Server,
    Settings,
)

TEXT = (Path(__file__).parents[2] / "config/example.toml").read_text()
# Lines such as `# folder = "/var/lib"` show settings that have no default.
SHOWN = re.sub(r"^# (\w+ = )", r"\1", TEXT, flags=re.MULTILINE)

SECTIONS: list[tuple[str, type[BaseModel]]] = [
    ("data", Data),
    ("http", Http),
    ("api", Api),
    ("servers.main", Server),
    ("datasets.pets", Dataset),
    ("checkpoints", Checkpoints),
    ("deliveries", Deliveries),
    ("logging", Logging),
]


def section(text: str, name: str) -> dict[str, Any]:
    found = tomllib.loads(text)
    for part in name.split("."):
        found = found[part]
    return found


def test_every_section_is_in_the_list_of_this_test():
    """A new section must not escape."""
    assert {name.split(".")[0] for name, _ in SECTIONS} == set(Settings.model_fields)


@pytest.mark.parametrize(("name", "model"), SECTIONS)
def test_the_example_shows_every_setting_and_no_other(name: str, model: type[BaseModel]):
    """Who reads the example knows everything that can be set."""
    assert set(section(SHOWN, name)) == set(model.model_fields)


@pytest.mark.parametrize(("name", "model"), SECTIONS)
def test_the_example_gives_the_true_defaults(name: str, model: type[BaseModel]):
    """Deleting a line of the example changes nothing."""
    given = section(TEXT, name)
    required = {key: given[key] for key, field in model.model_fields.items() if field.is_required()}

    assert model.model_validate(given) == model.model_validate(required)


@pytest.mark.parametrize(("name", "model"), SECTIONS)
def test_only_settings_without_a_default_are_commented_out(name: str, model: type[BaseModel]):
    """A commented line means: this is off unless you set it."""
    shown_only = section(SHOWN, name).keys() - section(TEXT, name).keys()

    assert shown_only == {key for key, field in model.model_fields.items() if field.default is None}
