"""What really happened on the server: noted where the requests are made, not where they are read.

It shares no code with what it judges: no codec, no facets, no projection.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

Key = tuple[str, int]
Facets = dict[str, Any]
AGAIN = "-again"


@dataclass(frozen=True)
class Thing:
    """One annotation. `name` is what a person would call the same object, whatever its id."""

    name: str
    facets: Facets


@dataclass(frozen=True)
class Write:
    """One request that moved a job's date, and the job after it.

    authors  (name, facet) → who gave it the value it has; "exists" for who made it. Two where
             somebody brought back what another one had made
    gone     name → who deleted it
    """

    at_us: int
    user: int
    things: Mapping[Key, Thing]
    authors: Mapping[tuple[str, str], frozenset[int]]
    gone: Mapping[str, int]
    touched: frozenset[tuple[Key, str]]


@dataclass
class Truth:
    """The writes of each job, in order."""

    writes: dict[int, list[Write]] = field(default_factory=dict)
    names: dict[Key, str] = field(default_factory=dict)
    known: dict[str, Facets] = field(default_factory=dict)
    owners: dict[str, set[str]] = field(default_factory=dict)
    # Name → objects that it may be taken for: they share a `label_id`, or it stood there twice.
    # Which of them is the label is a matter of taste.
    doubles: dict[str, set[str]] = field(default_factory=dict)
    # Tags of one class on one image at one time: nothing but ids and notes tells them apart.
    twins: set[str] = field(default_factory=set)
    # Objects that a save which is not over yet takes away and puts back.
    saving: Counter[str] = field(default_factory=Counter)
    counts: Counter[str] = field(default_factory=Counter)

    def write(
        self,
        job: int,
        at_us: int,
        user: int,
        after: Mapping[Key, Facets],
        renamed: Mapping[Key, Key],
    ) -> None:
        """Note a request. `renamed`: new key → the key that the same object had before."""
        history = self.writes.setdefault(job, [])
        last = history[-1] if history else Write(0, 0, {}, {}, {}, frozenset())
        authors, gone = dict(last.authors), dict(last.gone)
        here_before = {thing.name for thing in last.things.values()}
        things: dict[Key, Thing] = {}
        touched: set[tuple[Key, str]] = set()
        for key, facets in sorted(after.items(), key=lambda item: item[0] not in last.things):
            thing = Thing(self._name(key, renamed, things), facets)
            things[key] = thing
            gone.pop(thing.name, None)
            is_double = thing.name.endswith(AGAIN) and thing.name not in self.known
            if is_double:
                self._take_up(history, renamed.get(key, key), thing.name, authors)
            before = self.known.get(thing.name)
            is_back = thing.name not in here_before and (is_double or key not in renamed)
            for facet, value in {**facets, "exists": True}.items():
                if before is None or before.get(facet) != value:
                    authors[thing.name, facet] = frozenset({user})
                elif is_back:
                    authors[thing.name, facet] |= {user}
            self.known[thing.name] = {**facets, "exists": True}
            here = last.things.get(key)
            if here is None:
                touched.add((key, "exists"))
            else:
                touched |= {(key, f) for f in facets if here.facets.get(f) != facets[f]}
        for name in here_before - {thing.name for thing in things.values()}:
            gone[name] = user
        self._note_copies(things)
        self._note_twins(things)
        touched |= {(key, "gone") for key in last.things.keys() - things.keys()}
        history.append(Write(at_us, user, things, authors, gone, frozenset(touched)))

    def _name(self, key: Key, renamed: Mapping[Key, Key], taken: Mapping[Key, Thing]) -> str:
        if key in renamed:
            self.names[key] = self.names[renamed[key]]
        name = self.names.setdefault(key, f"{key[0]}-{key[1]}")
        if any(thing.name == name for thing in taken.values()):
            # It came back beside the one that had taken its place.
            again = self.names[key] = f"{key[0]}-{key[1]}{AGAIN}"
            self._doubled({name, again})
            return again
        return name

    def _take_up(
        self,
        history: Iterable[Write],
        key: Key,
        name: str,
        authors: dict[tuple[str, str], frozenset[int]],
    ) -> None:
        """What stands beside its double has its values from whoever gave them to that one."""
        last = [write for write in history if key in write.things][-1]
        was = last.things[key]
        self.known[name] = {**was.facets, "exists": True}
        authors |= {(name, facet): last.authors[was.name, facet] for facet in self.known[name]}

    def _note_copies(self, things: Mapping[Key, Thing]) -> None:
        for thing in things.values():
            if label_id := thing.facets.get("attribute:label_id"):
                owners = self.owners.setdefault(label_id, set())
                owners.add(thing.name)
                if len(owners) > 1:
                    self._doubled(owners)

    def _doubled(self, names: Iterable[str]) -> None:
        for name in names:
            self.doubles.setdefault(name, set()).update(names)

    def _note_twins(self, things: Mapping[Key, Thing]) -> None:
        at: dict[tuple[Any, Any], set[str]] = {}
        for (kind, _), thing in things.items():
            if kind == "tag":
                place = thing.facets["frame"], thing.facets["class"]
                at.setdefault(place, set()).add(thing.name)
        self.twins |= {name for names in at.values() if len(names) > 1 for name in names}

    def is_copied(self, name: str) -> bool:
        """Tell whether an object ever shared its `label_id`, or stood twice on the server."""
        return name in self.doubles

    def has_double(self, name: str) -> bool:
        """Tell whether an object could ever be taken for another one, or another one for it."""
        return name in self.twins or self.is_copied(name)

    def at(self, job: int, date_us: int) -> Write | None:
        """Return the job as it was at a date."""
        found = None
        for write in self.writes.get(job, ()):
            if write.at_us <= date_us:
                found = write
        return found

    def between(self, job: int, since_us: int, until_us: int) -> Iterator[Write]:
        """Yield the writes after one date, up to another."""
        for write in self.writes.get(job, ()):
            if since_us < write.at_us <= until_us:
                yield write

    def last(self, job: int) -> Mapping[Key, Thing]:
        """Return what a job holds."""
        history = self.writes.get(job)
        return history[-1].things if history else {}
