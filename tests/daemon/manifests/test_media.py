"""Media: only files below the allowed folders are opened, whatever the links say."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from PIL import Image

from daemon.manifests import media
from daemon.manifests.media import MediaPlaces, MediaRefused, image_size, open_media
from tests.daemon.manifests.exports import image


@pytest.fixture
def birds(tmp_path: Path) -> Path:
    image(tmp_path / "birds" / "data" / "1.jpg")
    image(tmp_path / "pool" / "sub" / "2.jpg")
    image(tmp_path / "secret" / "3.jpg")
    return tmp_path / "birds"


def test_all_forms_of_export_lead_to_the_file(birds: Path, tmp_path: Path) -> None:
    """Media copied, linked, by absolute path, and relative to a `rel_dir`."""
    pool = tmp_path / "pool"
    (birds / "data" / "link.jpg").symlink_to(pool / "sub" / "2.jpg")
    places = MediaPlaces(birds, [pool])

    found = [
        places.resolve(path)
        for path in ("data/1.jpg", "data/link.jpg", str(pool / "sub" / "2.jpg"), "sub/2.jpg")
    ]

    assert found == [birds / "data" / "1.jpg", *[pool / "sub" / "2.jpg"] * 3]


@pytest.mark.parametrize(
    "filepath",
    ["../secret/3.jpg", "data/out.jpg", "outside/3.jpg", "ABSOLUTE", "data/../../secret/3.jpg"],
)
def test_a_way_out_of_the_folder_is_refused_and_the_setting_named(
    birds: Path, tmp_path: Path, filepath: str
) -> None:
    """A manifest is input from outside; what it names would be sent to a server."""
    secret = tmp_path / "secret"
    (birds / "data" / "out.jpg").symlink_to(secret / "3.jpg")
    (birds / "outside").symlink_to(secret)
    filepath = filepath.replace("ABSOLUTE", str(secret / "3.jpg"))

    with pytest.raises(MediaRefused, match="media_roots"):
        MediaPlaces(birds, []).resolve(filepath)

    assert MediaPlaces(birds, [secret]).resolve(filepath) == secret / "3.jpg"


@pytest.mark.parametrize(
    "filepath", ["data/none.jpg", "data", "", "data/1.jpg/x", "a\0b", None, 7, "x" * 5_000]
)
def test_what_is_no_file_is_refused(birds: Path, filepath: object) -> None:
    """One bad sample is named; it holds up no other."""
    with pytest.raises(MediaRefused):
        MediaPlaces(birds, []).resolve(filepath)


def test_a_named_pipe_is_refused(birds: Path) -> None:
    """Opening it would wait for ever."""
    os.mkfifo(birds / "pipe.jpg")

    with pytest.raises(MediaRefused, match="regular"):
        MediaPlaces(birds, []).resolve("pipe.jpg")
    with pytest.raises(MediaRefused, match="regular"):
        open_media(birds / "pipe.jpg", [birds])


@pytest.mark.parametrize("swapped", ["file", "folder"])
def test_a_link_put_in_the_way_after_the_check_is_not_followed(
    birds: Path, tmp_path: Path, swapped: str
) -> None:
    """Between looking and opening, whoever may write there can swap a name for a link."""
    image(tmp_path / "secret" / "1.jpg")
    path = MediaPlaces(birds, []).resolve("data/1.jpg")
    with open_media(path, [birds]) as file:
        assert image_size(file) == (4, 3)

    if swapped == "file":
        path.unlink()
        path.symlink_to(tmp_path / "secret" / "1.jpg")
    else:
        (birds / "data").rename(birds / "old")
        (birds / "data").symlink_to(tmp_path / "secret")

    with pytest.raises(MediaRefused):
        open_media(path, [birds])


def test_sizes_come_from_the_header(birds: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An image of a few bytes may claim to be larger than memory."""
    picture = birds / "data" / "1.jpg"
    with picture.open("rb") as file:
        size = image_size(file)

    monkeypatch.setattr(media, "IMAGE_PIXELS_MAX", 11)
    with picture.open("rb") as file, pytest.raises(MediaRefused, match="too large"):
        image_size(file)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 4)
    with picture.open("rb") as file, pytest.raises(MediaRefused, match="too large"):
        image_size(file)
    (birds / "no.jpg").write_bytes(b"no image")
    with (birds / "no.jpg").open("rb") as file, pytest.raises(MediaRefused, match="no image"):
        image_size(file)

    assert size == (4, 3)
