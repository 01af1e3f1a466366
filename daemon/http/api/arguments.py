"""An operation's arguments, out of a query or a body."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, TypeVar

import msgspec
from multidict import MultiMapping

from daemon.http.api.problems import BodyTooLarge, BodyTooSlow
from daemon.operations.registry import BadArguments, Json

if TYPE_CHECKING:
    from aiohttp import web

Args = TypeVar("Args", bound=msgspec.Struct)

QUERY_VALUES_MAX: Final = 1_000
# The loop itself decodes no larger body.
INLINE_BYTES_MAX: Final = 256 * 1024
_SEVERAL: Final = (msgspec.inspect.VarTupleType, msgspec.inspect.ListType)


def from_query(query: MultiMapping[str], args: type[msgspec.Struct]) -> Json:
    """Return the arguments that a query gives: a repeated name is a list. Raises BadArguments."""
    if len(query) > QUERY_VALUES_MAX:
        raise BadArguments("too many values in the query", values_max=QUERY_VALUES_MAX)
    several = _names_of_several(args)
    found: Json = {}
    for name, value in query.items():
        if name in several:
            found.setdefault(name, []).append(value)
        elif name in found:
            raise BadArguments("the query gives one argument twice", argument=name[:40])
        else:
            found[name] = value
    return found


async def from_body(request: web.Request, *, bytes_max: int, seconds: float) -> Json:
    """Read a JSON object. Raises BodyTooLarge, BodyTooSlow, BadArguments."""
    if (request.content_length or 0) > bytes_max:
        raise _too_large(bytes_max)
    body = bytearray()
    try:
        async with asyncio.timeout(seconds):
            async for part in request.content.iter_any():
                body += part
                if len(body) > bytes_max:
                    raise _too_large(bytes_max)
    except TimeoutError as exc:
        raise BodyTooSlow("the body did not arrive in time", seconds=seconds) from exc
    try:
        if len(body) > INLINE_BYTES_MAX:
            return await asyncio.to_thread(_decode, bytes(body))
        return _decode(bytes(body) or b"{}")
    except msgspec.MsgspecError as exc:
        raise BadArguments("the arguments are no JSON object", reason=str(exc)) from exc


_decode: Final = msgspec.json.Decoder(Json).decode


def converted(arguments: Json, args: type[Args], of: str) -> Args:
    """Return typed arguments. Raises BadArguments."""
    try:
        return msgspec.convert(arguments, args, strict=False)
    except msgspec.ValidationError as exc:
        raise BadArguments("the arguments do not fit", operation=of, reason=str(exc)) from exc


def _too_large(bytes_max: int) -> BodyTooLarge:
    return BodyTooLarge("the body is too large", bytes_max=bytes_max)


def _names_of_several(args: type[msgspec.Struct]) -> set[str]:
    """Return the names of the arguments that are lists."""
    found = msgspec.inspect.type_info(args)
    assert isinstance(found, msgspec.inspect.StructType)
    return {field.name for field in found.fields if _is_several(field.type)}


def _is_several(kind: msgspec.inspect.Type) -> bool:
    if isinstance(kind, msgspec.inspect.UnionType):
        return any(isinstance(one, _SEVERAL) for one in kind.types)
    return isinstance(kind, _SEVERAL)
