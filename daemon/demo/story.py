"""What happens in the demo, step by step."""

from __future__ import annotations

import json
import os
import socket
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, Final

from daemon.clock import SystemClock
from daemon.control.wire import SOCKET_PATH_BYTES_MAX
from daemon.demo import judge
from daemon.demo.annotators import Annotators
from daemon.demo.dataset import BOXES, NAME, SAMPLES, SCENE, make_dataset
from daemon.demo.following import Following
from daemon.demo.shell import Shell
from daemon.demo.telling import Teller
from daemon.operations.exits import NOT_VERIFIED
from daemon.sandbox import Faults, Sandbox
from events.errors import SyncError

Json = dict[str, Any]

RUN: Final = "first-pass"
PASSWORD: Final = "demo"  # noqa: S105 - of a server in memory
USERS: Final = {"labeltrail": PASSWORD, "ana": PASSWORD, "ben": PASSWORD}
SEGMENT_SIZE: Final = 4
# Longer than the longest pause in a save, so that no half of one is merged.
SETTLE_S: Final = 2.5

SETTINGS: Final = """\
[data]
folder = "data"

[http]
port = {port}

[servers.main]                  # the sandbox
url = "{url}"
user = "labeltrail"
password = "{password}"
poll_s = 1.0                    # short times, so that the demo ends soon
debounce_s = 0.3
settle_s = {settle_s}

[datasets.{name}]
manifest = "{name}"
quiet_s = 0.2
"""


class FolderUnfit(SyncError):
    """The demo cannot work in this folder."""


def check_folder(folder: Path) -> None:
    """Make the folder if there is none. Raises FolderUnfit unless it is empty and not too deep."""
    if len(os.fsencode(folder / "data" / "control.sock")) > SOCKET_PATH_BYTES_MAX:
        raise FolderUnfit(
            "the path is too long for a socket in the folder",
            folder=str(folder),
            hint="name a folder with a shorter path, by --keep or by TMPDIR",
        )
    try:
        folder.mkdir(parents=True, exist_ok=True)
        empty = next(folder.iterdir(), None) is None
    except OSError as exc:
        raise FolderUnfit(
            "the folder cannot be made or read", folder=str(folder), reason=exc.strerror
        ) from exc
    if not empty:
        raise FolderUnfit(
            "the folder is not empty", folder=str(folder), hint="nothing was written; name another"
        )


async def play(folder: Path, teller: Teller) -> Json:
    """Play the demo in an empty folder; return what was proved.

    Raises FolderUnfit, and SyncError where a step failed.
    """
    check_folder(folder)
    async with AsyncExitStack() as stack:
        journal = folder / "cvat-requests.jsonl"
        sandbox = Sandbox(users=USERS, faults=Faults(), journal=journal)
        await stack.enter_async_context(sandbox)
        shell = Shell(folder, teller)
        stack.push_async_callback(shell.clean_up)
        people = await stack.enter_async_context(Annotators(sandbox, USERS, teller))
        story = Story(folder, teller, sandbox, shell, people)
        try:
            return await story.tell()
        except SyncError:
            # What failed may be what follows from that.
            shell.check_daemon()
            raise


class Story:
    """The steps, in order."""

    def __init__(
        self, folder: Path, teller: Teller, sandbox: Sandbox, shell: Shell, people: Annotators
    ) -> None:
        self.folder = folder
        self.teller = teller
        self.sandbox = sandbox
        self.shell = shell
        self.people = people
        self.url = ""
        self.meanwhile = ""
        self.began_s = SystemClock().monotonic_s()

    async def tell(self) -> Json:
        """Do everything; return what was proved."""
        await self.begin()
        await self.annotate()
        await self.work()
        await self.die()
        await self.read()
        await self.bring_home()
        replayed = await self.replay()
        return await self.count(**replayed)

    async def begin(self) -> None:
        """Make a dataset, a CVAT, and the settings that name both."""
        self.teller.step("A dataset, a CVAT server, and a settings file that names both")
        make_dataset(self.folder / NAME)
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        text = SETTINGS.format(
            port=port,
            url=self.sandbox.url,
            password=PASSWORD,
            name=NAME,
            settle_s=SETTLE_S,
        )
        (self.folder / "labeltrail.toml").write_text(text, encoding="utf-8")
        self.teller.says(f"{NAME}/ is a FiftyOneDataset export of {SAMPLES} images, with boxes.")
        self.teller.says(f"The CVAT server at {self.sandbox.url} is `labeltrail sandbox`.")
        self.teller.shown("cat labeltrail.toml", text)

    async def annotate(self) -> None:
        """Read the dataset, start the daemon, send the dataset to CVAT."""
        self.teller.step("The dataset is read, the daemon watches, an annotation run goes to CVAT")
        await self.shell.run("dataset", "scan", NAME)
        await self.shell.serve(self.url)
        fields = ("--field", BOXES, "--field", SCENE)
        size = ("--segment-size", str(SEGMENT_SIZE))
        await self.shell.run("annotate", NAME, RUN, *fields, *size)
        await self.people.begin()

    async def work(self) -> None:
        """Let two people annotate."""
        self.teller.step("Ana and Ben annotate; one webhook gets lost, another comes twice")
        async with Following(self.shell, "AnnotationsObserved") as follower:
            saved = [await self.people.save_in_three_requests()]
            saved.append(await self.people.save_side_by_side())
            before = await self.shell.head(self.url)
            await follower.until(await self.people.lose_a_webhook())
            self.meanwhile = f"@{before}..@{await self.shell.head(self.url)}"
            saved.append(await self.people.repeat_a_webhook())
            for seen in saved:
                await follower.until(seen)

    async def die(self) -> None:
        """Kill the daemon while people go on, and start it again."""
        self.teller.step("The daemon is killed inside a save, people go on, it starts again")
        await self.people.begin_a_save()
        await self.shell.kill()
        await self.people.go_on()
        await self.shell.serve(self.url)
        self.teller.says("(it reads every job, and asks CVAT for the webhooks that it missed)")
        async with Following(self.shell, "AnnotationsObserved") as follower:
            await follower.until(await self.people.renumber())
        await self.people.go_on_after_that()
        self.teller.says(f"… until every job was quiet for {SETTLE_S} s")
        async with Following(self.shell, "JobSettled") as follower:
            for seen in self.people.last():
                await follower.until(seen)

    async def read(self) -> None:
        """Look at what was recorded."""
        self.teller.step("What the log knows, before anything reaches the dataset")
        await self.shell.run("status")
        _, second, third = (f"job/main/{job}" for job in self.people.jobs)
        self.teller.says(
            f"Each look at {second}: the upload, Ana's three requests, new ids, a move"
        )
        await self.shell.run("log", "--stream", second, "--type", "AnnotationsObserved")
        self.teller.says("What happened while that webhook got lost?")
        await self.shell.run("diff", self.meanwhile, third, codes=(3,))
        self.teller.says(f"Who touched box {self.people.moved_box} of {second}?")
        box = f"main/{self.people.jobs[1]}/shape/{self.people.moved_box}"
        await self.shell.run("show", box)

    async def bring_home(self) -> None:
        """Load the run into the dataset, and hand it on."""
        self.teller.step("The labels come home")
        before = await self.shell.head(self.url)
        await self.shell.run("load", NAME, RUN)
        await self.shell.run("diff", f"@{before}..now", NAME, codes=(3,))
        self.teller.says("The label of that box, whose ids in CVAT changed meanwhile:")
        await self.shell.run("show", self.people.moved_label)
        await self.shell.run("export", NAME, "export")

    async def replay(self) -> Json:
        """Throw away all that follows from the log, and let it follow again."""
        self.teller.step("All state is deleted and follows from the log again; is the log whole?")
        await self.shell.stop()
        before = await self._state()
        codes = [await self.shell.run("replay", codes=(0, NOT_VERIFIED))]
        self.teller.typed("rm data/projections.db*")
        for path in (self.folder / "data").glob("projections.db*"):
            path.unlink()
        same = await self._state() == before
        codes.append(await self.shell.run("replay", codes=(0, NOT_VERIFIED)))
        self.teller.says(f"labels, run and what waits are as before: {'yes' if same else 'NO'}")
        whole = await self.shell.run("verify", codes=(0, NOT_VERIFIED))
        return {"replay_identical": same and not any(codes), "log_ok": whole == 0}

    async def _state(self) -> list[Json]:
        """Return what commands answer about the state."""
        questions = (("at", "now", NAME), ("run", "info", NAME, RUN))
        return [one for asked in questions for one in await self.shell.ask(*asked)]

    async def count(self, **proved: bool) -> Json:
        """Let the judge count, which knows nothing of ours."""
        self.teller.step("Counted by a script that imports nothing of Labeltrail")
        await self.sandbox.deliveries_idle()
        files = ("cvat-requests.jsonl", "data/log.db")
        found: Json = json.loads(await self.shell.python(Path(judge.__file__), *files))
        found |= proved
        found["ok"] = found["ok"] and all(proved.values())
        found["seconds"] = round(SystemClock().monotonic_s() - self.began_s, 1)
        return found


def free_port() -> int:
    """Return a port that is free now: webhooks must find the daemon there after a restart."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
