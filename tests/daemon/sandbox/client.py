"""A caller of a sandbox without sockets, for tests."""

from __future__ import annotations

import io
import json
from typing import Any
from urllib.parse import urlencode

from PIL import Image

from daemon.sandbox import Faults, Sandbox

BOUNDARY = "part-of-a-form"


class Heard:
    """A receiver of webhooks that keeps what it got and answers 204."""

    def __init__(self) -> None:
        self.requests: list[tuple[str, dict[str, str], bytes]] = []
        self.status = 204

    async def __call__(self, url: str, headers: dict[str, str], body: bytes) -> int:
        self.requests.append((url, headers, body))
        return self.status

    @property
    def bodies(self) -> list[dict[str, Any]]:
        return [json.loads(body) for _, _, body in self.requests]

    @property
    def events(self) -> list[str]:
        return [body["event"] for body in self.bodies]


def jpeg(width: int, height: int) -> bytes:
    """Make an image of a size."""
    written = io.BytesIO()
    Image.new("RGB", (width, height)).save(written, "JPEG")
    return written.getvalue()


def form(fields: dict[str, str], files: dict[str, bytes]) -> bytes:
    """Write a multipart form with `client_files[n]`."""
    parts = [
        f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode()
        for name, value in fields.items()
    ]
    for place, (name, content) in enumerate(files.items()):
        head = f'name="client_files[{place}]"; filename="{name}"'
        parts.append(f"--{BOUNDARY}\r\nContent-Disposition: form-data; {head}\r\n\r\n".encode())
        parts.append(content + b"\r\n")
    return b"".join(parts) + f"--{BOUNDARY}--\r\n".encode()


class Client:
    """One user's calls; `status`, `headers` and `content` are of the last answer."""

    def __init__(self, sandbox: Sandbox, username: str = "admin", password: str = "admin") -> None:
        self.sandbox = sandbox
        self.username, self.password = username, password
        self.extra: dict[str, str] = {}
        self.status = 0
        self.headers: dict[str, str] = {}
        self.content = b""

    async def login(self) -> Client:
        body = {"username": self.username, "password": self.password}
        key = (await self.post("/api/auth/login", body))["key"]
        self.extra["Authorization"] = f"Token {key}"
        return self

    async def send(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        raw: bytes | None = None,
        headers: dict[str, str] | None = None,
        **query: object,
    ) -> Any:
        if raw is None:
            raw = b"" if body is None else json.dumps(body).encode()
        asked = urlencode(query)
        sent = self.extra | (headers or {})
        answer = await self.sandbox.dispatch(method, path, asked, sent, raw)
        self.status, self.headers, self.content = answer
        try:
            return json.loads(self.content)
        except ValueError:
            return self.content

    async def get(self, path: str, **query: object) -> Any:
        return await self.send("GET", path, **query)

    async def post(self, path: str, body: Any = None, **query: object) -> Any:
        return await self.send("POST", path, body, **query)

    async def put(self, path: str, body: Any) -> Any:
        return await self.send("PUT", path, body)

    async def patch(self, path: str, body: Any, **query: object) -> Any:
        return await self.send("PATCH", path, body, **query)

    async def delete(self, path: str) -> Any:
        return await self.send("DELETE", path)

    async def upload(self, task_id: int, files: dict[str, bytes], **fields: str) -> Any:
        return await self.send(
            "POST",
            f"/api/tasks/{task_id}/data",
            raw=form({"image_quality": "75"} | fields, files),
            headers={"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"},
        )


def sandbox(heard: Heard | None = None, **options: Any) -> Sandbox:
    """Make a sandbox without sockets that creates tasks at once."""
    options = {"faults": Faults(task_creation_s=0)} | options
    return Sandbox(port=None, on_delivery=heard or Heard(), **options)
