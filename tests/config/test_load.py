"""Settings: where they come from, which wins, and what is said when they are wrong."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from config import places
from config.load import control_socket, load
from config.places import config_path, data_folder, find_control_socket
from config.problems import SettingsUnusable
from config.settings import Settings


@pytest.fixture(autouse=True)
def _clean(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Nothing of the machine that runs the tests may be read."""
    for variable in ("LABELTRAIL_CONFIG", "CREDENTIALS_DIRECTORY", "STATE_DIRECTORY"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "xdg-config"))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "xdg-state"))
    monkeypatch.setattr(places, "MACHINES", tmp_path / "etc/labeltrail.toml")
    monkeypatch.chdir(tmp_path)


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "labeltrail.toml"
    path.write_text(text)
    return path


def problems_of(path: Path) -> list[str]:
    with pytest.raises(SettingsUnusable) as caught:
        load(path)
    return [str(problem) for problem in caught.value.problems]


SERVER = '[servers.main]\nurl = "https://cvat.example.com"\n'


def test_the_environment_goes_over_the_file_and_a_credential_file_over_both(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """A unit file can override a setting, and no password has to stand in either of the two."""
    path = written(
        tmp_path, '[http]\nport = 1\nhost = "::1"\n' + SERVER + 'token = "in the file"\n'
    )
    (tmp_path / "credentials").mkdir()
    (tmp_path / "credentials/servers.main.token").write_text("in a credential file\n")
    monkeypatch.setenv("LABELTRAIL_HTTP__PORT", "2")
    monkeypatch.setenv("LABELTRAIL_SERVERS__MAIN__TOKEN", "in the environment")

    settings = load(path)

    assert (settings.http.port, settings.http.host) == (2, "::1")
    assert settings.servers["main"].token is not None
    assert settings.servers["main"].token.get_secret_value() == "in a credential file"


def test_systemds_credentials_are_read_and_those_of_others_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """The folder belongs to the unit, and may hold what other programs of it need."""
    path = written(tmp_path, SERVER)
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "servers.main.webhook_secrets").write_text("new\nold\n")
    (folder / "tls.key").write_bytes(b"\xff\xfe")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(folder))

    secrets = load(path).servers["main"].webhook_secrets

    assert [secret.get_secret_value() for secret in secrets] == ["new", "old"]


def test_every_problem_is_told_at_once_with_its_line_and_a_way_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Who mends a file wants to mend it once."""
    path = written(
        tmp_path,
        "[http]\nprot = 1\n\n[servers.main]\npoll_s = 0\n[servers.Bad]\nurl = 'http://x'\n",
    )
    monkeypatch.setenv("LABELTRAIL_HTTP__PORT", "many")

    told = problems_of(path)

    assert told == [
        "environment LABELTRAIL_HTTP__PORT: http.port: input should be a valid integer, unable to "
        "parse string as an integer; see config/example.toml for what may stand here",
        f"{path}:2: http.prot: there is no such setting; did you mean `port`?",
        f"{path}:4: servers.main.url: it is missing; add `url = …` to [servers.main]",
        f"{path}:5: servers.main.poll_s: input should be greater than 0; see config/example.toml "
        "for what may stand here",
        f"{path}:6: servers.Bad: string should match pattern '^[a-z][a-z0-9_-]{{0,62}}$'; see "
        "config/example.toml for what may stand here",
    ]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[http\n", "this is not TOML: Expected ']' at the end of a table declaration (at line 1"),
        (SERVER + 'token = "a"\npersonal_token = "b"', "exclude each other"),
        (SERVER + 'password = "a"', "a password needs the user it belongs to"),
        (SERVER + 'webhook_secrets = [""]', "an empty secret would accept what anybody signs"),
        ('[servers.main]\nurl = "https://me:pw@host"', "without user and password in it"),
        ('[servers.main]\nurl = "file:///etc/passwd"', "this is no http(s) address"),
        ('[datasets."../up"]\nmanifest = "x"', "string should match pattern"),
        ("[deliveries]\nkeep_days = 0", "input should be greater than 0"),
    ],
)
def test_a_bad_file_is_refused_in_plain_words(tmp_path: Path, text: str, said: str):
    """Each of these would else fail later, at night, far from the line that is wrong."""
    (told,) = problems_of(written(tmp_path, text))

    assert said in told


def test_a_file_that_is_not_text_or_not_there_is_a_problem_too(tmp_path: Path):
    """A named file that is missing is a mistake; only a default one may be."""
    binary = tmp_path / "binary.toml"
    binary.write_bytes(b"\xff\xfe\x00")

    assert "the file cannot be read" in problems_of(binary)[0]
    assert "there is no such file" in problems_of(tmp_path / "none.toml")[0]
    assert load() == Settings()


def test_an_unreadable_credential_file_is_named_and_its_content_is_not(tmp_path: Path):
    """A secret in an error message ends up in tickets."""
    path = written(tmp_path, SERVER)
    (tmp_path / "credentials").mkdir()
    (tmp_path / "credentials/servers.main.token").write_bytes(b"hush\xff")

    (told,) = problems_of(path)

    assert "servers.main.token" in told
    assert "hush" not in told


def test_no_secret_shows_in_texts_of_settings_or_of_problems(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Settings are printed while hunting errors, and problems go into log files."""
    monkeypatch.setenv("LABELTRAIL_SERVERS__MAIN__PASSWORD", "hush-1")
    good = written(tmp_path, SERVER + 'user = "me"\nheaders = { X-Key = "hush-2" }\n')

    settings = load(good)
    told = problems_of(written(tmp_path, SERVER + 'token = "hush-3"\n'))

    assert "hush" not in repr(settings) + str(settings) + "".join(told)
    assert set(settings.secrets()) == {"hush-1", "hush-2"}


def test_settings_cannot_be_changed_by_who_holds_them(tmp_path: Path):
    """All parts of the daemon share them."""
    settings = load(written(tmp_path, SERVER))

    with pytest.raises(ValidationError, match="frozen"):
        settings.http.port = 1  # type: ignore[misc]


def test_relative_paths_are_relative_to_the_file(tmp_path: Path):
    """The daemon and a command are started in different folders."""
    text = '[datasets.pets]\nmanifest = "pets"\nmedia_roots = ["a", "/b"]\n'
    pets = load(written(tmp_path, text)).datasets["pets"]

    assert pets.manifest == tmp_path / "pets"
    assert pets.media_roots == (tmp_path / "a", Path("/b"))


def test_the_file_is_looked_for_in_five_places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A given one, $LABELTRAIL_CONFIG, the current folder, XDG's, that of the machine's service."""
    own = tmp_path / "xdg-config/labeltrail/labeltrail.toml"
    assert config_path() == own
    (tmp_path / "etc").mkdir()
    places.MACHINES.touch()
    assert config_path() == places.MACHINES
    own.parent.mkdir(parents=True)
    own.touch()
    assert config_path() == own
    here = written(tmp_path, "")
    assert config_path() == here
    monkeypatch.setenv("LABELTRAIL_CONFIG", "/etc/labeltrail.toml")
    assert config_path() == Path("/etc/labeltrail.toml")
    assert config_path(Path("given.toml")) == tmp_path / "given.toml"


def test_the_data_folder_is_the_set_one_or_systemds_or_xdgs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Commands and the daemon must come to the same folder, and to the same socket in it."""
    assert data_folder(None) == tmp_path / "xdg-state/labeltrail"
    monkeypatch.setenv("STATE_DIRECTORY", "/var/lib/labeltrail:/var/lib/other")
    assert data_folder(None) == Path("/var/lib/labeltrail")
    settings = load(written(tmp_path, '[data]\nfolder = "/data"\n'))
    assert data_folder(settings.data.folder) == Path("/data")
    assert control_socket(settings) == Path("/data/control.sock")


@pytest.mark.parametrize(
    ("text", "variables"),
    [
        ("", {}),
        ("", {"STATE_DIRECTORY": "/var/lib/labeltrail:/var/lib/other"}),
        ('[data]\nfolder = "data"\n', {}),
        ('[data]\nfolder = "~/data"\nsocket = "../s"\n', {}),
        ('[data]\nsocket = "~/s"\n', {"LABELTRAIL_DATA__FOLDER": "elsewhere"}),
        ('[data]\nfolder = "data"\n', {"LABELTRAIL_DATA__SOCKET": "/run/s"}),
        ('[data]\nfolder = ""\n', {"LABELTRAIL_DATA__SOCKET": ""}),
        ("[http]\nport = 1\n", {}),
    ],
)
def test_a_command_finds_the_socket_that_the_daemon_listens_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, variables: dict[str, str]
):
    """A command looks at two settings only, and must come to what the daemon read whole."""
    path = written(tmp_path, text)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)

    assert find_control_socket(path) == control_socket(load(path))


@pytest.mark.parametrize(
    "text", ["data = 1", "[data]\nfolder = 1", '[data]\nsocket = ["s"]', "[data", "[[data]]"]
)
def test_a_socket_is_found_in_no_settings_that_the_daemon_would_refuse(tmp_path: Path, text: str):
    """What is wrong is told by the whole reading, with its line; here it must not pass."""
    path = written(tmp_path, text)

    with pytest.raises(SettingsUnusable):
        load(path)
    with pytest.raises(SettingsUnusable):
        find_control_socket(path)
