"""The environment that the daemon was started in, as far as programs may see it."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence

#: Names and beginnings of names that every program gets. Never `GIT_*`, never what the daemon itself is set by.
_ALLOWED = frozenset(
    {
        "PATH",
        "HOME",
        "USER",
        "LOGNAME",
        "SHELL",
        "LANG",
        "LANGUAGE",
        "TZ",
        "TERM",
        "TMPDIR",
        "SSH_AUTH_SOCK",
        "SSL_CERT_FILE",
        "SSL_CERT_DIR",
        "REQUESTS_CA_BUNDLE",
        "CURL_CA_BUNDLE",
        "NODE_EXTRA_CA_CERTS",
    }
)
_BEGINNINGS = ("LC_", "XDG_")
_PROXIES = frozenset({"http_proxy", "https_proxy", "ftp_proxy", "all_proxy", "no_proxy"})


class ProcessSurroundings:
    """An environment by allow-list.

    Args:
        environ: the daemon's own environment.
        identity: the user's identity as git's variables for author and committer.
    """

    def __init__(self, environ: Mapping[str, str], *, identity: Mapping[str, str]) -> None:
        self._environ = dict(environ)
        self._identity = dict(identity)

    def environment(self, names: Sequence[str], values: Mapping[str, str]) -> dict[str, str]:
        """The whole environment of a program: the allow-list, `names` taken over, `values` set."""
        taken = {name: value for name, value in self._environ.items() if name in names or _is_allowed(name)}
        # `orch-agent` is installed beside the interpreter that runs the daemon
        taken["PATH"] = os.pathsep.join([taken.get("PATH", os.defpath), os.path.dirname(sys.executable)])
        return taken | dict(values)

    def secrets(self, names: Sequence[str]) -> tuple[str, ...]:
        """The values of `names`, to be masked in output."""
        return tuple(self._environ[name] for name in names if self._environ.get(name))

    def identity(self) -> dict[str, str]:
        return dict(self._identity)

    def author(self) -> str:
        return f"{self._identity.get('GIT_AUTHOR_NAME', '')} <{self._identity.get('GIT_AUTHOR_EMAIL', '')}>"


def _is_allowed(name: str) -> bool:
    return name in _ALLOWED or name.startswith(_BEGINNINGS) or name.lower() in _PROXIES
