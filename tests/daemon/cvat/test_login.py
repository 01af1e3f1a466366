"""Who we are for a server, and the way there: credentials, organizations, TLS, proxies."""

from __future__ import annotations

import asyncio
import socket
import ssl
import traceback
from base64 import b64encode

import pytest
import trustme
from aiohttp import web

from daemon.cvat.server import (
    BadServerConfig,
    BasicLogin,
    LegacyToken,
    PasswordLogin,
    PersonalToken,
    ServerConfig,
)
from daemon.ports.cvat import CvatError, ServerUnreachable, Unauthorized

JOB = "/api/jobs/7"
PASSWORD = "correct-horse"
HIDDEN = (PASSWORD, "session-key", "header-secret", "proxy-secret")


@pytest.mark.parametrize(
    ("credentials", "header"),
    [
        (None, None),
        (BasicLogin("jürgen", "pä:ss"), f"Basic {b64encode('jürgen:pä:ss'.encode()).decode()}"),
        (LegacyToken("abc"), "Token abc"),
        (PersonalToken("abc"), "Bearer abc"),
    ],
)
async def test_each_kind_of_credentials_has_its_header(script, connect, credentials, header):
    """Personal tokens work by Bearer only, keys of a login by Token only (measured on 2.73)."""
    script.on("GET", "/api/users/self", (200, {}))
    client = await connect(script.url, credentials=credentials)

    await client.self_user()

    assert script.seen[0].headers.get("Authorization") == header


async def test_a_password_is_sent_once_for_all_requests(script, connect):
    """Four requests at once make one login."""
    script.on(
        "POST", "/api/auth/login", (200, {"key": "k1"}, {"Set-Cookie": "sessionid=s; Path=/"})
    )
    script.on("GET", JOB, (200, {}))
    client = await connect(script.url, credentials=PasswordLogin("admin", PASSWORD))

    await asyncio.gather(*(client.job(7) for _ in range(4)))

    assert script.paths() == ["POST /api/auth/login"] + [f"GET {JOB}"] * 4
    assert script.seen[0].json() == {"username": "admin", "password": PASSWORD}
    assert "Authorization" not in script.seen[0].headers
    assert {seen.headers["Authorization"] for seen in script.seen[1:]} == {"Token k1"}
    assert not any("Cookie" in seen.headers for seen in script.seen)


async def test_an_expired_session_is_renewed_once_for_all(script, connect):
    """Tokens end when the server is restored or somebody logs out; 401 means nothing was done."""
    script.on("POST", "/api/auth/login", (200, {"key": "k1"}), (200, {"key": "k2"}))

    async def tasks(request: web.Request) -> web.StreamResponse:
        fresh = request.headers["Authorization"] == "Token k2"
        return web.json_response({"id": 1}, status=201 if fresh else 401)

    script.on("POST", "/api/tasks", tasks)
    client = await connect(script.url, credentials=PasswordLogin("admin", PASSWORD))

    made = await asyncio.gather(*(client.create_task({}) for _ in range(3)))

    assert made == [{"id": 1}] * 3
    assert script.paths().count("POST /api/auth/login") == 2


async def test_a_session_that_is_never_accepted_is_not_renewed_for_ever(script, connect):
    """A loop of logins would lock the account."""
    script.on("POST", "/api/auth/login", (200, {"key": "k"}))
    script.on("GET", JOB, (401, {"detail": "Invalid token."}))
    client = await connect(script.url, credentials=PasswordLogin("admin", PASSWORD))

    with pytest.raises(Unauthorized, match="Invalid token"):
        await client.job(7)

    assert script.paths().count("POST /api/auth/login") == 2


async def test_a_wrong_password_is_unauthorized_not_refused(script, connect):
    """CVAT answers 400 to it; callers would take that for a fault in their request."""
    words = {"non_field_errors": ["Unable to log in with provided credentials."]}
    script.on("POST", "/api/auth/login", (400, words))
    client = await connect(script.url, credentials=PasswordLogin("admin", PASSWORD))

    with pytest.raises(Unauthorized, match="Unable to log in") as refusal:
        await client.job(7)

    assert refusal.value.hint is not None
    assert len(script.seen) == 1


@pytest.mark.parametrize(
    "answer", [500, "cut", (200, {}), (200, ["k"]), (200, {"key": "a\r\nb"})], ids=range(5)
)
async def test_a_write_that_waits_for_a_login_is_not_unknown(script, connect, answer):
    """It was never sent."""
    script.on("POST", "/api/auth/login", answer)
    client = await connect(script.url, credentials=PasswordLogin("admin", PASSWORD))

    with pytest.raises(ServerUnreachable):
        await client.create_task({})

    assert set(script.paths()) == {"POST /api/auth/login"}


async def test_organization_and_own_headers_go_with_each_request(script, connect):
    """Some servers stand behind a gate with a header of its own; ours win over them."""
    script.on("GET", JOB, (200, {}))
    client = await connect(
        script.url,
        organization="lab",
        headers={"X-Gate": "header-secret", "accept": "text/html", "AUTHORIZATION": "x"},
        credentials=LegacyToken("abc"),
    )

    await client.job(7)

    sent = script.seen[0].headers
    assert (sent["X-Organization"], sent["X-Gate"]) == ("lab", "header-secret")
    assert sent["Accept"] == "application/vnd.cvat+json; version=2.0"
    assert sent["Authorization"] == "Token abc"
    assert sorted(map(str.lower, sent)) == sorted({name.lower() for name in sent})


async def test_a_login_names_no_organization(script, connect):
    """Nobody is a member before the login; an unknown one would answer 404 to it."""
    script.on("POST", "/api/auth/login", (200, {"key": "k"}))
    script.on("GET", JOB, (200, {}))
    client = await connect(
        script.url, organization="lab", credentials=PasswordLogin("admin", PASSWORD)
    )

    await client.job(7)

    assert [seen.headers.get("X-Organization") for seen in script.seen] == [None, "lab"]


async def test_a_server_below_a_path_is_asked_below_it(script, connect):
    """Some proxies serve CVAT under a folder."""
    script.on("GET", f"/ärger/cvat{JOB}", (200, {"id": 7}))
    client = await connect(f"{script.url}/ärger/cvat/")

    assert await client.job(7) == {"id": 7}


@pytest.mark.parametrize(
    "answer", [500, 401, 400, 403, 429, (302, {}, {"Location": "/"}), "cut"], ids=range(7)
)
async def test_no_error_shows_a_secret(script, connect, answer):
    """Errors are logged, shown on pages and pasted into issues."""
    script.on("POST", "/api/auth/login", (200, {"key": "session-key"}))
    script.on("GET", JOB, answer)
    config = {
        "credentials": PasswordLogin("admin", PASSWORD),
        "headers": {"X-Gate": "header-secret"},
    }
    client = await connect(script.url, **config)

    with pytest.raises(CvatError) as error:
        await client.job(7)

    shown = [
        str(error.value),
        repr(error.value),
        repr(error.value.facts),
        "".join(traceback.format_exception(error.value)),
        repr(ServerConfig("main", script.url, proxy="http://u:proxy-secret@p", **config)),
    ]
    assert [secret for secret in HIDDEN for text in shown if secret in text] == []


@pytest.mark.parametrize(
    "url",
    [
        "ftp://cvat",
        "cvat.example.com",
        "http://",
        "https://user:pw@cvat.example.com",
        "https://cvat.example.com/?token=x",
        "http://[::1",
        "http://cvat:99999",
    ],
)
def test_an_address_that_cannot_be_one_is_refused_at_once(url):
    """With credentials in it, it would be written into every log line."""
    with pytest.raises(BadServerConfig) as refusal:
        ServerConfig("main", url)

    assert "pw" not in str(refusal.value)


@pytest.mark.parametrize(
    "config",
    [
        {"credentials": LegacyToken("abc\n")},
        {"credentials": PersonalToken("abc\r\nX-Role: admin")},
        {"headers": {"X-Gate": "a\nb"}},
        {"headers": {"X-Gäte": "a"}},
        {"organization": "lab\0"},
        {"proxy": "socks5://proxy"},
    ],
    ids=range(6),
)
def test_a_setting_that_cannot_go_into_a_header_is_refused_at_once(config):
    """A token read from a file with its line break would fail at the first request, in bytes."""
    with pytest.raises(BadServerConfig) as refusal:
        ServerConfig("main", "https://cvat.example.com", **config)

    assert "abc" not in str(refusal.value)


# The way there.


@pytest.mark.parametrize("content", [None, "no certificate"])
async def test_a_file_of_authorities_that_cannot_be_used_is_named(connect, tmp_path, content):
    """Else nobody would know which of the settings is meant."""
    if content is not None:
        (tmp_path / "ca.pem").write_text(content)

    with pytest.raises(BadServerConfig, match=r"ca\.pem"):
        await connect("https://cvat.example.com", ca_file=tmp_path / "ca.pem")


@pytest.fixture
def authority() -> trustme.CA:
    return trustme.CA()


async def secure_server(serve, authority) -> str:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(context)

    async def answer(request: web.Request) -> web.StreamResponse:
        return web.json_response({"id": 7})

    return await serve(answer, ssl=context)


async def test_a_certificate_of_an_unknown_authority_is_refused(serve, connect, authority):
    """There is no switch for that: who needs his own authority names its file."""
    client = await connect(await secure_server(serve, authority))

    with pytest.raises(ServerUnreachable, match="certificate"):
        await client.job(7)


async def test_an_authority_of_ones_own_is_named_by_its_file(serve, connect, authority, tmp_path):
    """Most CVAT servers in a lab have one."""
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    client = await connect(await secure_server(serve, authority), ca_file=tmp_path / "ca.pem")

    assert await client.job(7) == {"id": 7}


class Proxy:
    """A forward proxy for plain HTTP that answers in the server's place."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str | None]] = []

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.asked.append((request.raw_path, request.headers.get("Proxy-Authorization")))
        return web.json_response({"by": "proxy"})


async def test_a_configured_proxy_is_used_with_its_credentials(serve, script, connect):
    """Labs often have no other way out."""
    proxy = Proxy()
    url = (await serve(proxy.handle)).replace("http://", "http://user:proxy-secret@")
    client = await connect(script.url, proxy=url)

    assert await client.job(7) == {"by": "proxy"}

    login = f"Basic {b64encode(b'user:proxy-secret').decode()}"
    assert proxy.asked == [(f"{script.url}{JOB}", login)]


async def test_a_proxy_of_another_kind_in_the_environment_is_not_used(script, connect, monkeypatch):
    """aiohttp speaks no SOCKS; the desktop's setting must not stop the daemon."""
    monkeypatch.setenv("http_proxy", "socks5://127.0.0.1:9")
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    script.on("GET", JOB, (200, {"id": 7}))
    client = await connect(script.url, trust_env=True)

    assert await client.job(7) == {"id": 7}


async def test_a_server_that_accepts_and_says_nothing_is_unreachable(connect):
    """No TLS, no request: also a write is known not to have happened."""
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        url = f"https://127.0.0.1:{silent.getsockname()[1]}"
        client = await connect(url, limits={"connect_s": 0.05, "attempts": 1})

        with pytest.raises(ServerUnreachable):
            await client.create_task({})


@pytest.mark.parametrize(
    ("trusted", "bypassed", "by_proxy"),
    [(True, "", True), (True, "127.0.0.1", False), (False, "", False)],
)
async def test_the_environments_proxy_is_used_only_when_trusted(
    serve, script, connect, monkeypatch, tmp_path, trusted, bypassed, by_proxy
):
    """And never with it the passwords of ~/.netrc, which would take the place of ours."""
    proxy = Proxy()
    for name in ("http_proxy", "HTTP_PROXY", "no_proxy", "NO_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("http_proxy", await serve(proxy.handle))
    monkeypatch.setenv("no_proxy", bypassed)
    netrc = tmp_path / "netrc"
    netrc.write_text("default login somebody password else\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    script.on("GET", JOB, (200, {"by": "server"}))
    client = await connect(script.url, trust_env=trusted, credentials=LegacyToken("abc"))

    found = await client.job(7)

    assert found == {"by": "proxy" if by_proxy else "server"}
    assert all(seen.headers["Authorization"] == "Token abc" for seen in script.seen)
