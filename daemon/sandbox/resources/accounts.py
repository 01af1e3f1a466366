"""Login, users and organizations."""

from __future__ import annotations

from daemon.sandbox import present
from daemon.sandbox.call import Call, Reply
from daemon.sandbox.errors import bad_request
from daemon.sandbox.fields import Check, Missing, clean, record, text
from daemon.sandbox.model import Organization, Project, Task, User
from daemon.sandbox.query import listing
from daemon.sandbox.rights import need
from daemon.sandbox.routes import route
from daemon.sandbox.state import newest_first

SLUG_LONGEST = 16
LOGIN: Check = record(
    username=(text(blank=True), ""), password=(text(blank=True), Missing), email=(text(), "")
)
ORGANIZATION: Check = record(
    slug=(text(longest=SLUG_LONGEST), Missing),
    name=(text(longest=64, blank=True), ""),
    description=(text(blank=True), ""),
    contact=(lambda value: value, dict),
)
USER_FIELDS = {
    "id": lambda user: user.id,
    "username": lambda user: user.username,
    "first_name": lambda user: user.first_name,
    "last_name": lambda user: user.last_name,
    "is_active": lambda user: True,
}


@route("POST", "/api/auth/login", login=False)
async def login(call: Call) -> Reply:
    """Give a token; also a session, which the SDK insists on."""
    sent = clean(LOGIN, call.json)
    for user in call.state.users.values():
        if (user.username, user.password) == (sent["username"], sent["password"]):
            user.last_login = call.state.now()
            cookies = f"sessionid={user.session}; Path=/; HttpOnly; SameSite=Lax"
            csrf = f"csrftoken={user.key[:32]}; Path=/; SameSite=Lax"
            return Reply(body={"key": user.key}, headers={"Set-Cookie": f"{cookies}\n{csrf}"})
    text = "Unable to log in with provided credentials."
    raise bad_request({"non_field_errors": [text]})


@route("POST", "/api/auth/logout", login=False)
async def logout(call: Call) -> Reply:
    """End a session; the token stays valid."""
    expired = "sessionid=; Path=/; Max-Age=0"
    return Reply(body={"detail": "Successfully logged out."}, headers={"Set-Cookie": expired})


def _shown(call: Call, user: User) -> object:
    full = call.user.is_admin or call.user.id == user.id
    return call.views.full_user(user, call.base) if full else present.basic_user(user, call.base)


@route("GET", "/api/users/self")
async def users_self(call: Call) -> Reply:
    """Show the caller."""
    return Reply(body=call.views.full_user(call.user, call.base))


@route("GET", "/api/users")
async def users_list(call: Call) -> Reply:
    """List users; who is no admin sees himself and his organization's members."""
    named = call.organization
    rows = [
        user
        for user in newest_first(call.state.users.values())
        if call.user.is_admin or user.id == call.user.id or (named and user.id in named.members)
    ]
    search = ("username", "first_name", "last_name")
    return listing(
        call, rows, fields=USER_FIELDS, show=lambda user: _shown(call, user), search=search
    )


@route("GET", "/api/users/{id}")
async def users_get(call: Call) -> Reply:
    """Show one user."""
    user = call.state.must_find(call.state.users, call.id, "User")
    need(call.user.is_admin or user.id == call.user.id)
    return Reply(body=_shown(call, user))


@route("POST", "/api/organizations")
async def organizations_create(call: Call) -> Reply:
    """Found an organization; the caller owns it."""
    sent = clean(ORGANIZATION, call.json)
    if any(row.slug == sent["slug"] for row in call.state.organizations.values()):
        raise bad_request({"slug": ["organization with this slug already exists."]})
    row = Organization(
        id=call.state.next_id("organizations"),
        slug=sent["slug"],
        name=sent["name"] or sent["slug"],
        description=sent["description"],
        contact=sent["contact"],
        owner=call.user.id,
        created=call.state.now(),
        updated=call.state.now(),
        members={call.user.id: "owner"},
    )
    call.state.organizations[row.id] = row
    return Reply(201, present.organization(call.state, row, call.base))


@route("GET", "/api/organizations")
async def organizations_list(call: Call) -> Reply:
    """List the organizations that the caller is in."""
    rows = [
        row
        for row in newest_first(call.state.organizations.values())
        if call.user.is_admin or call.user.id in row.members
    ]
    fields = {
        "id": lambda row: row.id,
        "slug": lambda row: row.slug,
        "name": lambda row: row.name,
        "owner": lambda row: call.state.users[row.owner].username,
    }
    return listing(
        call,
        rows,
        fields=fields,
        show=lambda row: present.organization(call.state, row, call.base),
        search=("name", "owner", "slug"),
    )


@route("GET", "/api/organizations/{id}")
async def organizations_get(call: Call) -> Reply:
    """Show one organization."""
    row = call.state.must_find(call.state.organizations, call.id, "Organization")
    need(call.user.is_admin or call.user.id in row.members)
    return Reply(body=present.organization(call.state, row, call.base))


@route("DELETE", "/api/organizations/{id}")
async def organizations_delete(call: Call) -> Reply:
    """Dissolve an organization; its projects and tasks stay, outside any."""
    row = call.state.must_find(call.state.organizations, call.id, "Organization")
    need(call.user.is_admin or call.user.id == row.owner)
    del call.state.organizations[row.id]
    rows: list[Project | Task] = [*call.state.projects.values(), *call.state.tasks.values()]
    for owned in rows:
        if owned.organization == row.id:
            owned.organization = None
    for hook in [each for each in call.state.webhooks.values() if each.organization == row.id]:
        call.state.deleted_webhooks[hook.id] = call.state.webhooks.pop(hook.id)
    return Reply(204)
