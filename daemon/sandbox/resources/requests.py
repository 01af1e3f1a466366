"""Background requests (2.73): how far the creation of a task's jobs is."""

from __future__ import annotations

from daemon.sandbox.call import Call, Reply
from daemon.sandbox.errors import not_found
from daemon.sandbox.progress import request_id, shown_request
from daemon.sandbox.rights import may_task, need
from daemon.sandbox.routes import route


@route("GET", "/api/requests/{request}", since="2.73")
async def requests_get(call: Call) -> Reply:
    """Show a request."""
    for task in call.state.tasks.values():
        if request_id(task) == call.ids[0] and task.requested:
            need(may_task(call, task))
            return Reply(body=shown_request(call, task))
    raise not_found()
