"""Moments and ranges as click types: what is no moment is a usage error."""

from __future__ import annotations

from typing import Any

import click

Ends = tuple[str | None, str | None]
MOMENTS = "now, an ISO time, @POSITION, @{yesterday 14:00}, @{monday 9:00} or @{2 hours ago}"


class Moment(click.ParamType[str]):
    """A moment; see `daemon.operations.times`."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        from daemon.operations.times import UnknownMoment, spelled

        try:
            return spelled(value, now=_now())
        except UnknownMoment as exc:
            self.fail(f"{value!r} is no moment; say {MOMENTS}", param, ctx)
            raise AssertionError from exc


class MomentRange(click.ParamType[Ends]):
    """`A..B`, either end may be left out; returns both ends, None where one was."""

    name = "range"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Ends:
        from daemon.operations.times import UnknownMoment, spelled_range

        try:
            return spelled_range(value, now=_now())
        except UnknownMoment as exc:
            self.fail(f"{value!r} is no range; say A..B, each {MOMENTS}", param, ctx)
            raise AssertionError from exc


def _now() -> Any:
    from daemon.clock import SystemClock
    from daemon.operations.times import at_us

    return at_us(SystemClock().now_us()).astimezone()
