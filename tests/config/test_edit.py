"""`add` and `rm` edit the settings file as a careful person would."""

from __future__ import annotations

import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from config import edit
from config.load import load
from config.problems import SettingsUnusable

TEXT = """\
# our settings
[http]
port = 9000  # the proxy knows this one

[datasets.pets]  # Anna's
manifest = "/data/pets"
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "labeltrail.toml"
    path.write_text(TEXT)
    path.chmod(0o600)
    return path


def test_what_is_added_leaves_every_comment_where_it_was(path: Path):
    """People keep their reasons in comments."""
    edit.add(path, "datasets", "cars", {"manifest": "/data/cars"})

    text = path.read_text()
    assert text.startswith(TEXT)
    assert load(path).datasets["cars"].manifest == Path("/data/cars")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_what_was_added_can_be_removed_without_a_trace(path: Path):
    """The file after `add` and `rm` is the file before, byte by byte."""
    edit.add(path, "servers", "main", {"url": "https://cvat.example.com"})
    edit.remove(path, "servers", "main")

    assert path.read_text() == TEXT


def test_a_result_that_would_be_no_valid_file_is_never_written(path: Path):
    """A daemon that starts again must find a file that it can read."""
    with pytest.raises(SettingsUnusable, match="no http"):
        edit.add(path, "servers", "main", {"url": "nonsense"})
    with pytest.raises(SettingsUnusable, match="there already"):
        edit.add(path, "datasets", "pets", {"manifest": "/other"})
    with pytest.raises(SettingsUnusable, match="known: pets"):
        edit.remove(path, "datasets", "dogs")

    assert path.read_text() == TEXT
    assert list(path.parent.iterdir()) == [path]


def test_secrets_go_into_files_of_their_own_that_only_their_owner_reads(path: Path):
    """The settings file is copied, committed and shown; a credential file is not."""
    edit.add(
        path,
        "servers",
        "main",
        {"url": "https://cvat.example.com", "user": "me"},
        secrets={"password": "hush"},
    )

    secret = path.parent / "credentials/servers.main.password"
    assert "hush" not in path.read_text()
    assert secret.read_text() == "hush\n"
    assert stat.S_IMODE(secret.stat().st_mode) == 0o600
    password = load(path).servers["main"].password
    assert password is not None
    assert password.get_secret_value() == "hush"


def test_a_dry_run_finds_the_problem_and_writes_nothing(path: Path):
    """It must fail where the real run would, and leave no trace."""
    edit.add(path, "datasets", "cars", {"manifest": "/c"}, dry_run=True)
    with pytest.raises(SettingsUnusable):
        edit.add(path, "datasets", "cars", {"manifest": 1}, dry_run=True)
    edit.remove(path, "datasets", "pets", dry_run=True)

    assert path.read_text() == TEXT
    assert list(path.parent.iterdir()) == [path]


def test_a_link_to_the_settings_file_stays_a_link(path: Path, tmp_path: Path):
    """Settings under version control are linked into place."""
    link = tmp_path / "link.toml"
    link.symlink_to(path)

    edit.add(link, "datasets", "cars", {"manifest": "/c"})

    assert link.is_symlink()
    assert "cars" in path.read_text()


def test_the_first_dataset_makes_the_file(tmp_path: Path):
    """A first user has no settings file, and should not have to write one."""
    path = tmp_path / "new/labeltrail.toml"

    edit.add(path, "datasets", "cars", {"manifest": "/c"})

    assert "cars" in load(path).datasets


def test_a_disk_that_fails_in_the_middle_leaves_the_old_file(
    path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Never half written: the new text takes the old one's place in one step, or not at all."""

    def fails(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", fails)
    with pytest.raises(OSError, match="No space left"):
        edit.add(path, "datasets", "cars", {"manifest": "/c"})

    assert path.read_text() == TEXT
    assert list(path.parent.iterdir()) == [path]


def test_two_edits_at_once_both_arrive(path: Path):
    """Two terminals, or a script that does not wait."""
    with ThreadPoolExecutor() as pool:
        for number in range(20):
            pool.submit(edit.add, path, "datasets", f"d{number}", {"manifest": "/d"})

    assert len(load(path).datasets) == 21
