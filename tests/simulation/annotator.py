"""A person in CVAT's editor: opens a job, draws for a while, saves, as the editor saves.

A save is an update, a delete and a create, with pauses between them. What the editor holds was
read when the job was opened: by then somebody else may have saved.
"""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any

from tests.simulation.truth import Key
from tests.simulation.world import CLASSES, HEIGHT_PX, KINDS, WEATHER, WIDTH_PX, World

PAUSE_MAX_S = 5.0
# Part of a box's width and height: what is left in common is 0.68 of both and more.
SHIFT_MAX = 0.1
EMPTY: Mapping[str, list[Any]] = {"tags": [], "shapes": [], "tracks": []}


@dataclass
class Draft:
    """What the editor will send. `renamed`: position in `created` → the key it had before."""

    updated: dict[Key, Any] = field(default_factory=dict)
    deleted: dict[Key, Any] = field(default_factory=dict)
    created: list[tuple[str, Any, Key | None]] = field(default_factory=list)


class Annotator:
    """One person. All that is decided is decided by the world's dice."""

    def __init__(self, world: World, name: str) -> None:
        self.world = world
        self.name = name
        self.trash: list[tuple[int, Key, Any]] = []

    async def work(self, saves: int) -> None:
        """Save some times, with longer and shorter breaks."""
        rng = self.world.rng
        for _ in range(saves):
            await self.world.clock.sleep(rng.choice((0.0, 0.3, 2.0, 8.0, 15.0, 40.0)))
            job = rng.choice(self.world.jobs())
            match rng.random():
                case dice if dice < 0.12:
                    await self._renumber(job)
                case dice if dice < 0.17:
                    await self._undo(job)
                case dice if dice < 0.20:
                    await self._set_state(job)
                case dice if dice < 0.30 and self.world.careless:
                    await self._renumber(job, careless=True)
                case _:
                    await self._save(job)

    async def _open(self, job: int) -> dict[Key, Any]:
        shown = await self.world.ask(self.name, "GET", f"/api/jobs/{job}/annotations")
        return {(kind, item["id"]): item for many, kind in KINDS.items() for item in shown[many]}

    async def _save(self, job: int) -> None:
        held = await self._open(job)
        await self.world.clock.sleep(self.world.rng.uniform(0, 6))
        draft = Draft()
        for _ in range(self.world.rng.randint(1, 4)):
            self._edit(job, held, draft)
        names = [self.world.truth.names[was] for _, _, was in draft.created if was is not None]
        self.world.truth.saving.update(names)
        await self._send(job, "update", [(k[0], i, None) for k, i in draft.updated.items()])
        await self._pause()
        await self._send(job, "delete", [(k[0], i, None) for k, i in draft.deleted.items()])
        self.trash += [(job, key, item) for key, item in draft.deleted.items()]
        await self._pause()
        await self._send(job, "create", draft.created)
        self.world.truth.saving.subtract(names)
        self.world.truth.saving = +self.world.truth.saving

    async def _pause(self) -> None:
        await self.world.clock.sleep(self.world.rng.uniform(0, PAUSE_MAX_S))

    async def _send(self, job: int, action: str, items: list[tuple[str, Any, Key | None]]) -> None:
        if not items:
            return
        body = deepcopy({**EMPTY})
        order: list[Key | None] = []
        for plural, kind in KINDS.items():
            mine = [(item, was) for k, item, was in items if k == kind]
            body[plural] = [item for item, _ in mine]
            order += [was for _, was in mine]

        def renamed(answer: Any) -> dict[Key, Key]:
            keys = [(KINDS[p], item["id"]) for p in KINDS for item in answer[p]]
            return {key: was for key, was in zip(keys, order, strict=True) if was is not None}

        await self.world.annotate(
            self.name, job, "PATCH", action, body, renamed if action == "create" else _nothing
        )

    # Edits

    def _edit(self, job: int, held: dict[Key, Any], draft: Draft) -> None:
        rng = self.world.rng
        free = [key for key in held if key not in draft.deleted]
        edit = rng.choice(
            ("move", "move", "move", "turn", "relabel", "attribute", "attribute", "draw", "draw",
             "tag", "copy", "delete", "delete", "replace", "unidentify", "hide")
        )  # fmt: skip
        self.world.counts[f"edit: {edit}"] += 1
        if edit == "draw":
            draft.created.append(("shape", self._box(job), None))
        elif edit == "tag":
            draft.created.append(("tag", self._tag(job), None))
        elif free:
            key = rng.choice(sorted(free))
            getattr(self, f"_{edit}")(job, key, held[key], draft)

    def _move(self, job: int, key: Key, item: Any, draft: Draft) -> None:
        if key[0] == "shape":
            item["points"] = self._points()
            draft.updated[key] = item

    def _turn(self, job: int, key: Key, item: Any, draft: Draft) -> None:
        if key[0] == "shape":
            item["rotation"] = self.world.rng.choice((0.0, 12.5, 359.0))
            draft.updated[key] = item

    def _hide(self, job: int, key: Key, item: Any, draft: Draft) -> None:
        if key[0] == "shape":
            item["occluded"] = not item["occluded"]
            draft.updated[key] = item

    def _relabel(self, job: int, key: Key, item: Any, draft: Draft) -> None:
        """Give another class. Values survive when they are sent again under its spec ids."""
        names = CLASSES[:2] if key[0] == "shape" else WEATHER
        name = self.world.rng.choice(names)
        old = self.world.specs_of(job, self._class_of(job, item))[1]
        label, specs = self.world.specs_of(job, name)
        by_id = {number: attribute for attribute, number in old.items()}
        item["label_id"] = label
        item["attributes"] = [
            {"spec_id": specs[by_id[value["spec_id"]]], "value": value["value"]}
            for value in item["attributes"]
            if by_id[value["spec_id"]] in specs
        ]
        draft.updated[key] = item

    def _attribute(self, job: int, key: Key, item: Any, draft: Draft) -> None:
        specs = self.world.specs_of(job, self._class_of(job, item))[1]
        text = {"score": ("0.5", "1", "", "abc"), "crowd": ("true", "false", "maybe")}
        for name, values in text.items():
            for value in item["attributes"]:
                if value["spec_id"] == specs.get(name) and self.world.rng.random() < 0.5:
                    value["value"] = self.world.rng.choice(values)
                    draft.updated[key] = item

    def _unidentify(self, job: int, key: Key, item: Any, draft: Draft) -> None:
        """Clear the `label_id`, as somebody does who takes it for clutter."""
        specs = self.world.specs_of(job, self._class_of(job, item))[1]
        for value in item["attributes"]:
            if value["spec_id"] == specs.get("label_id"):
                value["value"] = ""
                draft.updated[key] = item

    def _copy(self, job: int, key: Key, item: Any, draft: Draft) -> None:
        """Paste a box, somewhere else or on another frame; its `label_id` comes along."""
        if key[0] == "shape":
            row = self.world.sandbox.state.jobs[job]
            twin = deepcopy(item)
            twin.pop("id")
            twin["points"] = self._points()
            twin["frame"] = self.world.rng.randint(row.start_frame, row.stop_frame)
            draft.created.append(("shape", twin, None))

    def _delete(self, job: int, key: Key, item: Any, draft: Draft) -> None:
        draft.deleted[key] = item
        draft.updated.pop(key, None)

    def _replace(self, job: int, key: Key, item: Any, draft: Draft) -> None:
        """Delete and draw the same again, as a redo does: another id, the same object."""
        self._delete(job, key, item, draft)
        twin = deepcopy(item)
        twin.pop("id")
        draft.created.append((key[0], twin, key))

    # Whole jobs

    async def _renumber(self, job: int, *, careless: bool = False) -> None:
        """Save the job whole, without ids: all get new ones.

        careless  with a tool that knows nothing of `label_id`, and places boxes anew
        """
        self.world.counts["edit: redraw" if careless else "edit: renumber"] += 1
        held = await self._open(job)
        if careless:
            for key, item in held.items():
                self._lose_sight(job, key, item)
        order = [[key for key in held if key[0] == kind] for kind in KINDS.values()]
        body = {
            plural: [{k: v for k, v in held[key].items() if k != "id"} for key in keys]
            for plural, keys in zip(KINDS, order, strict=True)
        }

        def renamed(answer: Any) -> dict[Key, Key]:
            new = [(KINDS[p], item["id"]) for p in KINDS for item in answer[p]]
            return dict(zip(new, [key for keys in order for key in keys], strict=True))

        await self.world.annotate(self.name, job, "PUT", "", body, renamed)

    def _lose_sight(self, job: int, key: Key, item: Any) -> None:
        self._unidentify(job, key, item, Draft())
        if key[0] == "shape" and self.world.rng.random() < 0.7:
            left, top, right, bottom = item["points"]
            x = (right - left) * self.world.rng.uniform(0, SHIFT_MAX)
            y = (bottom - top) * self.world.rng.uniform(0, SHIFT_MAX)
            item["points"] = [left + x, top + y, right + x, bottom + y]

    async def _undo(self, job: int) -> None:
        """Bring back what was deleted, under the id that it had."""
        mine = [(key, item) for place, key, item in self.trash if place == job]
        here = self.world.shown(job)
        for key, item in mine:
            if key not in here:
                self.world.counts["edit: undo"] += 1
                await self._send(job, "update", [(key[0], item, None)])
                return

    async def _set_state(self, job: int) -> None:
        state = self.world.rng.choice(("in progress", "completed", "new"))
        await self.world.ask("admin", "PATCH", f"/api/jobs/{job}", "", {"state": state})

    # Material

    def _points(self) -> list[float]:
        rng = self.world.rng
        left, top = rng.uniform(0, WIDTH_PX * 0.7), rng.uniform(0, HEIGHT_PX * 0.7)
        return [left, top, left + rng.uniform(5, 90), top + rng.uniform(5, 70)]

    def _box(self, job: int) -> dict[str, Any]:
        rng = self.world.rng
        row = self.world.sandbox.state.jobs[job]
        return {
            "type": "rectangle",
            "frame": rng.randint(row.start_frame, row.stop_frame),
            "label_id": self.world.specs_of(job, rng.choice(CLASSES[:2]))[0],
            "points": self._points(),
            "rotation": 0.0,
            "occluded": False,
            "outside": False,
            "z_order": 0,
            "group": 0,
            "source": "manual",
            "attributes": [],
        }

    def _tag(self, job: int) -> dict[str, Any]:
        row = self.world.sandbox.state.jobs[job]
        return {
            "frame": self.world.rng.randint(row.start_frame, row.stop_frame),
            "label_id": self.world.specs_of(job, self.world.rng.choice(WEATHER))[0],
            "group": 0,
            "source": "manual",
            "attributes": [],
        }

    def _class_of(self, job: int, item: Any) -> str:
        return self.world.sandbox.state.labels[item["label_id"]].name


def _nothing(_: Any) -> dict[Key, Key]:
    return {}
