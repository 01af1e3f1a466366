"""The sandbox over real sockets."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

from daemon.sandbox import Faults, RequestFault, Sandbox, edge
from tests.daemon.sandbox.client import BOUNDARY, form, jpeg


async def test_a_session_over_http_with_a_real_receiver(tmp_path: Path) -> None:
    """Links name the host that the client used; deliveries arrive over TCP; all is journaled."""
    heard: list[str] = []

    async def receive(request: web.BaseRequest) -> web.Response:
        heard.append((await request.json())["event"])
        return web.Response(status=204)

    runner = web.ServerRunner(web.Server(receive))  # type: ignore[arg-type]
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    target = f"http://127.0.0.1:{runner.addresses[0][1]}/hook"
    journal = tmp_path / "journal.jsonl"

    async with Sandbox(journal=journal) as server, aiohttp.ClientSession(server.url) as http:

        async def ask(method: str, path: str, **options: object) -> dict[str, object]:
            async with http.request(method, path, **options) as answer:  # type: ignore[arg-type]
                answer.raise_for_status()
                return dict(await answer.json()) if answer.content_length else {}

        login = {"username": "admin", "password": "admin"}
        key = (await ask("POST", "/api/auth/login", json=login))["key"]
        http.headers["Authorization"] = f"Token {key}"
        labels = [{"name": "car"}]
        project = await ask("POST", "/api/projects", json={"name": "p", "labels": labels})
        hook = {"target_url": target, "type": "project", "project_id": project["id"]}
        await ask("POST", "/api/webhooks", json=hook | {"events": ["update:job"]})
        wanted = {"name": "t", "project_id": project["id"]}
        task = await ask("POST", "/api/tasks", json=wanted)
        body = form({"image_quality": "70"}, {"a.jpg": jpeg(8, 8)})
        kind = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}
        await ask("POST", f"/api/tasks/{task['id']}/data", data=body, headers=kind)
        await server.created()
        shape = {"type": "rectangle", "frame": 0, "label_id": 1, "points": [1, 2, 3, 4]}
        path = "/api/jobs/1/annotations?action=create"
        await ask("PATCH", path, json={"shapes": [shape]})
        await server.deliveries_idle()
    await runner.cleanup()

    lines = [json.loads(line) for line in journal.read_text().splitlines()]
    write = next(line for line in lines if line.get("path") == "/api/jobs/1/annotations")
    sent = [line for line in lines if "delivery" in line]
    assert str(project["url"]).startswith(server.url)
    assert heard == ["update:job"]
    assert (write["user"], write["status"], write["query"]) == (
        "admin",
        200,
        [["action", "create"]],
    )
    assert write["request"] == {"shapes": [shape]}
    assert write["response"]["shapes"][0]["id"] == 1
    assert write["before"]["1"]["shapes"] == []
    assert [(line["event"], line["status"], line["fault"]) for line in sent] == [
        ("update:job", 204, None)
    ]
    assert "admin" not in [line.get("request") for line in lines]
    assert [line["seq"] for line in lines] == list(range(1, len(lines) + 1))


async def test_a_reset_ends_the_connection() -> None:
    """The client sees what it would see when a server dies."""
    faults = Faults(requests=[RequestFault("reset")])

    async with Sandbox(faults=faults) as server, aiohttp.ClientSession() as http:
        with pytest.raises(aiohttp.ClientConnectionError):
            # A GET would be repeated by aiohttp itself.
            await http.post(f"{server.url}/api/auth/login")
        answer = await http.get(f"{server.url}/api/server/about")

    assert answer.status == 200


async def test_a_receiver_that_is_too_slow_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """The log of deliveries makes a 504 of it; CVAT waits for 10 s."""
    assert edge.RECEIVER_TIMEOUT_S == 10
    monkeypatch.setattr(edge, "RECEIVER_TIMEOUT_S", 0.05)
    never = asyncio.Event()

    async def hold(request: web.BaseRequest) -> web.Response:
        await never.wait()
        return web.Response()

    receiver = web.ServerRunner(web.Server(hold))
    await receiver.setup()
    await web.TCPSite(receiver, "127.0.0.1", 0).start()
    host, port = receiver.addresses[0]
    sender = edge.Sender()

    with pytest.raises(TimeoutError):
        await sender.send(f"http://{host}:{port}/x", {}, b"{}")

    never.set()
    await sender.close()
    await receiver.cleanup()


async def test_a_receiver_that_is_not_there_is_no_answer() -> None:
    """The log of deliveries makes a 502 of it, as CVAT does."""
    sender = edge.Sender()

    with pytest.raises(OSError, match="Cannot connect"):
        await sender.send("http://127.0.0.1:9/x", {}, b"{}")

    await sender.close()
