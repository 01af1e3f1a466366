"""The answers that refuse a request, in the words of the real server."""

from __future__ import annotations

from events.errors import SyncError

SERVER_ERROR_HTML = (
    '\n<!doctype html>\n<html lang="en">\n<head>\n  <title>Server Error (500)</title>\n</head>\n'
    "<body>\n  <h1>Server Error (500)</h1><p></p>\n</body>\n</html>\n"
)


class Refused(SyncError):
    """A request that is answered with an error status.

    status  HTTP status
    body    what the answer holds: JSON-able, or HTML text where the real server crashes
    """

    def __init__(self, status: int, body: object) -> None:
        super().__init__("the sandbox refused the request", status=status)
        self.status = status
        self.body = body


class IdTaken(Refused):
    """An id that another row of the table has."""

    def __init__(self, table: str, row_id: int) -> None:
        text = (
            f'duplicate key value violates unique constraint "{table}_pkey"\n'
            f"DETAIL:  Key (id)=({row_id}) already exists.\n"
        )
        super().__init__(400, text)


def bad_request(body: object) -> Refused:
    """Make a 400 from the texts of one or more validation errors."""
    return Refused(400, body)


def invalid(*texts: str) -> Refused:
    """Make a 400 that lists texts, as a ValidationError outside any field does."""
    return Refused(400, list(texts))


def unauthorized(text: str = "Authentication credentials were not provided.") -> Refused:
    """Make the answer to a caller who did not say who he is."""
    return Refused(401, {"detail": text})


def forbidden() -> Refused:
    """Make the answer to a caller who may not do this."""
    return Refused(403, {"detail": "You do not have permission to perform this action."})


def not_found(text: str = "Not found.") -> Refused:
    """Make the answer for a row that is not there."""
    return Refused(404, {"detail": text})


def crashed() -> Refused:
    """Make the HTML page that the real server shows when its own code failed."""
    return Refused(500, SERVER_ERROR_HTML)
