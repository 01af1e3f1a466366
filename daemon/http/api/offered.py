"""Which operations are offered over HTTP, with which scope, and which are not, and why.

The one place where that is decided; a test holds that no operation escapes the decision.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from daemon.tokens import Scope

OFFERED: Final[Mapping[str, Scope]] = MappingProxyType(
    {
        "annotate": "write",
        "at": "read",
        "dataset.ls": "read",
        "dataset.scan": "write",
        "diff": "read",
        "hook.backfill": "write",
        "hook.install": "write",
        "hook.status": "read",
        "load": "write",
        "log": "read",
        "pending": "read",
        "resolve": "write",
        "run.delete": "write",
        "run.info": "read",
        "run.ls": "read",
        "run.rename": "write",
        "server.ls": "read",
        "show": "read",
        "status": "read",
        "thaw": "write",
    }
)

_NEEDS_A_PATH: Final = "a client would choose a path on the machine of the daemon"
_SETTINGS: Final = "settings decide whom the daemon trusts, and with which credentials"
_WHOLE_LOG: Final = "it reads the whole log: one such request is a load, a few are an outage"
_FOR_GOOD: Final = "it deletes what nothing brings back"
_TOKENS: Final = "a token must not be able to make another one, or to outlive its revocation"

WITHHELD: Final[Mapping[str, str]] = MappingProxyType(
    {
        "backup.make": _NEEDS_A_PATH,
        "backup.restore": _NEEDS_A_PATH,
        "dataset.add": _NEEDS_A_PATH,
        "dataset.rm": _SETTINGS,
        "doctor": "it tries the machine, the servers and their way back to us",
        "export": _NEEDS_A_PATH,
        "forget": _FOR_GOOD,
        "hook.rotate": _SETTINGS,
        "reload": _SETTINGS,
        "replay": _WHOLE_LOG,
        "run.cleanup": _FOR_GOOD,
        "server.add": _SETTINGS,
        "server.rm": _SETTINGS,
        "server.test": "it makes requests with credentials that are not the client's",
        "service.install": _NEEDS_A_PATH,
        "service.uninstall": _NEEDS_A_PATH,
        "token.ls": _TOKENS,
        "token.make": _TOKENS,
        "token.revoke": _TOKENS,
        "verify": _WHOLE_LOG,
    }
)
