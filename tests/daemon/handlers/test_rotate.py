"""Another secret for all webhooks: cut off anywhere, no delivery is refused, and it can go on."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from daemon import keys, wiring
from daemon.app import App, open_app
from daemon.cvat.client import CvatClient
from daemon.handlers.projects import install_hook
from daemon.handlers.rotate import HooksKeepComing, Rotate
from daemon.operations.hook import HookStatus, RotateHooks, rotate, status
from daemon.ports.cvat import CvatApi, Forbidden
from daemon.sandbox import Sandbox

PROJECTS = 3
# The new secret is made, three webhooks get it, the old one goes: cut before and after each.
CUTS = 2 * (1 + PROJECTS + 1)


class CutOff(BaseException):
    """The process ends here: nothing catches it, as nothing catches SIGKILL."""


@dataclass
class World:
    """A CVAT server with a hook in each project, and an app that knows it."""

    sandbox: Sandbox
    app: App
    cvat: CvatApi

    def held(self) -> set[str]:
        """Return the secrets that the server signs with."""
        return {hook.secret for hook in self.sandbox.state.webhooks.values()}

    def accepted(self) -> list[str]:
        return self.app.webhook_secrets("main")

    async def rotate(self, **how: Any) -> list[dict[str, Any]]:
        return [found async for found in rotate(self.app, RotateHooks(**how))]


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with Sandbox() as sandbox:
        config = tmp_path / "labeltrail.toml"
        config.write_text(
            f'[data]\nfolder = "data"\n[http]\nport = 9\n[servers.main]\nurl = "{sandbox.url}"\n'
            'user = "admin"\npassword = "admin"\n'
        )
        async with open_app(config, actor="test") as app:
            cvat, hook = await app.cvat("main"), await wiring.hook(app, "main")
            for number in range(PROJECTS):
                project = await cvat.create_project({"name": f"project {number}"})
                await install_hook(cvat, project["id"], hook)
            yield World(sandbox, app, cvat)


def cutting(monkeypatch: pytest.MonkeyPatch, cut: int) -> None:
    """Let the process end at the given boundary of a step."""
    left = cut

    def boundary() -> None:
        nonlocal left
        if left == 0:
            raise CutOff
        left -= 1

    def wrapped(step: Callable[..., Any]) -> Callable[..., Any]:
        def run(*arguments: Any) -> Any:
            boundary()
            done = step(*arguments)
            boundary()
            return done

        return run

    real_patch = CvatClient.patch_webhook

    async def patch(client: CvatClient, webhook: int, changes: Any) -> Any:
        boundary()
        done = await real_patch(client, webhook, changes)
        boundary()
        return done

    for name in ("make_next_webhook_secret", "retire_webhook_secret"):
        monkeypatch.setattr(keys, name, wrapped(getattr(keys, name)))
    monkeypatch.setattr(CvatClient, "patch_webhook", patch)


async def test_all_webhooks_get_a_new_secret_and_the_old_one_goes(world: World):
    """A secret that leaked is worth nothing after one command."""
    (old,) = world.held()

    told = await world.rotate()

    assert len(world.held()) == 1
    assert world.accepted() == list(world.held())
    assert old not in world.accepted()
    assert told[-1] == {"kind": "rotated", "server": "main", "hooks": 3, "by_settings": False}


@pytest.mark.parametrize("cut", range(CUTS))
async def test_cut_off_anywhere_every_webhook_is_still_accepted_and_it_can_be_repeated(
    world: World, monkeypatch: pytest.MonkeyPatch, cut: int
):
    """Between two steps the power goes; CVAT 2.15 sends a delivery once."""
    (old,) = world.held()
    with monkeypatch.context() as cutter:
        cutting(cutter, cut)
        with pytest.raises(CutOff):
            await world.rotate()
    between = world.held(), world.accepted()

    await world.rotate()

    held, accepted = between
    assert held <= set(accepted)
    assert world.accepted() == list(world.held())
    assert old not in world.accepted()


async def test_a_webhook_that_may_not_be_changed_keeps_the_old_secret_in_force(
    world: World, monkeypatch: pytest.MonkeyPatch
):
    """Retired all the same, every delivery of that webhook would be refused."""
    real = CvatClient.patch_webhook
    refused = max(world.sandbox.state.webhooks)

    async def patch(client: CvatClient, webhook: int, changes: Any) -> Any:
        if webhook == refused:
            raise Forbidden("not yours", webhook=webhook)
        return await real(client, webhook, changes)

    with monkeypatch.context() as patched:
        patched.setattr(CvatClient, "patch_webhook", patch)
        with pytest.raises(Forbidden):
            await world.rotate()

    assert len(world.held()) == 2
    assert world.held() == set(world.accepted())


async def test_a_webhook_that_is_made_meanwhile_is_found(world: World):
    """Somebody starts a run while the secrets change: its webhook may have the old one."""
    looks = [[1], [1, 2], [1, 2]]
    given: list[int] = []

    class Server:
        name = "main"

        async def patch_webhook(self, webhook: int, changes: Any) -> None:
            given.append(webhook)

    async def hooks() -> list[int]:
        return looks.pop(0)

    done = [hook async for hook in Rotate(Server(), hooks).to("new")]  # type: ignore[arg-type]

    assert done == given == [1, 2]


async def test_webhooks_without_end_are_an_error(world: World):
    """The old secret must not go while there may be one more webhook that has it."""
    seen: list[int] = []

    async def hooks() -> list[int]:
        seen.append(len(seen))
        return list(seen)

    class Server:
        name = "main"

        async def patch_webhook(self, webhook: int, changes: Any) -> None: ...

    with pytest.raises(HooksKeepComing):
        [hook async for hook in Rotate(Server(), hooks).to("new")]  # type: ignore[arg-type]


async def test_a_dry_run_changes_no_secret(world: World):
    """It lists the webhooks that would be changed."""
    before = world.held(), world.accepted()

    told = await world.rotate(dry_run=True)

    assert [found["webhook"] for found in told] == sorted(world.sandbox.state.webhooks)
    assert (world.held(), world.accepted()) == before


async def test_the_state_of_a_webhook_tells_what_never_came(world: World):
    """Nobody listens at the address of this test, so every delivery is missed."""
    first = min(world.sandbox.state.webhooks.values(), key=lambda hook: hook.id)
    await world.cvat.patch_project(first.project, {"name": "renamed"})
    await world.sandbox.deliveries_idle()

    told = {found["webhook"]: found async for found in status(world.app, HookStatus())}

    assert told[first.id]["missed"] == 1
    assert told[first.id]["active"] is True
    assert {found["missed"] for hook, found in told.items() if hook != first.id} == {0}
