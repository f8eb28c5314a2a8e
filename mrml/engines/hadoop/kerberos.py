"""A Kerberos ticket that does not end before the run: fetched by kinit from a keytab, again and again.

Into a cache of its own, which KRB5CCNAME names to all that follow: hdfs-native and WebHDFS in this process, the Java
client that submits.  Tasks need none: YARN gives them the delegation tokens that the client fetched.
"""

from __future__ import annotations

import contextlib
import logging
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

from mrml import pin
from mrml.config.sections import EngineConfig
from mrml.errors import ConfigError

#: clusters give tickets of 10 to 24 hours
RENEW_S = 3600.0
LIMIT_S = 60.0

log = logging.getLogger(__name__)


@contextlib.contextmanager
def ticket(config: EngineConfig) -> Iterator[None]:
    """Hold a ticket for ``config.principal``; nothing happens without a keytab.

    ConfigError when one of the two is missing, or the first ticket cannot be had; later ones are tried again.
    """
    keytab, principal = config.keytab, config.principal
    if keytab is None and principal is None:
        yield
        return
    if keytab is None or principal is None:
        raise ConfigError("engine, keytab", "keytab and principal need each other", "give --keytab and --principal")
    over = threading.Event()

    def renew() -> None:
        while not over.wait(RENEW_S):
            try:
                fetch(keytab, principal)
            except ConfigError as error:
                log.warning("the Kerberos ticket was not renewed: %s", error)

    with tempfile.TemporaryDirectory(prefix="mrml-ticket-") as folder, pin.variable("KRB5CCNAME", f"FILE:{folder}/cc"):
        fetch(keytab, principal)
        renewer = threading.Thread(target=renew, daemon=True, name="ticket")
        renewer.start()
        try:
            yield
        finally:
            over.set()
            renewer.join(LIMIT_S)


def fetch(keytab: str, principal: str) -> None:
    """Ask for a ticket; ConfigError in kinit's words."""
    if not Path(keytab).is_file():
        raise ConfigError(f"keytab {keytab}", "there is no such file", "give --keytab the path of a keytab")
    try:
        command = ["kinit", "-kt", keytab, principal]
        done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT_S, env=pin.environment())
    except FileNotFoundError:
        remedy = "install the Kerberos client (krb5-user, krb5-workstation)"
        raise ConfigError("kinit", "the command was not found", remedy) from None
    except subprocess.TimeoutExpired:
        raise ConfigError("kinit", f"did not end within {LIMIT_S:.0f} s", "is the KDC of krb5.conf up?") from None
    if done.returncode:
        said = " ".join((done.stderr or done.stdout).split())[:300]
        raise ConfigError(f"keytab {keytab}, principal {principal}", said, "see `klist -kt` for what the keytab holds")
