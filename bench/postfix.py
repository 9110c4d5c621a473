"""A Postfix of its own, which accepts emails durably and discards them. It needs root, and is apart from the system's Postfix.

An email is in Postfix's queue, on the disk (fsync), before the reply to its DATA. Its delivery is the transport `discard`.
"""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from bench.processes import listening

DAEMONS = Path("/usr/lib/postfix/sbin")  # of Debian
MAIN = """
compatibility_level = 3.6
queue_directory = {folder}/queue
data_directory = {folder}/data
command_directory = /usr/sbin
daemon_directory = {daemons}
mail_owner = postfix
setgid_group = postdrop
myhostname = bench.example.com
mydestination =
mynetworks = 127.0.0.0/8
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
local_recipient_maps =
alias_maps =
default_transport = discard
relay_transport = discard
smtpd_recipient_restrictions = permit_mynetworks, reject
smtpd_peername_lookup = no
smtpd_tls_security_level = none
maillog_file = /dev/stdout
"""
# service, type, private, unprivileged, chroot, wake-up time, maximum number of processes, command
MASTER = """
127.0.0.1:PORT inet n - n - - smtpd
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
error unix - - n - - error
retry unix - - n - - error
discard unix - - n - - discard
anvil unix - - n - 1 anvil
proxymap unix - - n - - proxymap
postlog unix-dgram n - n - 1 postlogd
"""
START = 'cd "$0" && sed "s/PORT/$1/" services > master.cf && postfix -c "$0" check && exec postfix -c "$0" start-fg'


@contextmanager
def postfix() -> Iterator[int]:
    """Run Postfix until the end of the block. Yield its port."""
    with TemporaryDirectory(prefix="mailrail-postfix-") as name:
        folder = Path(name)
        folder.chmod(0o755)  # Postfix's processes run as the user postfix
        for directory in ("queue", "data", "config"):
            (folder / directory).mkdir(mode=0o755)
        shutil.chown(folder / "data", "postfix")
        (folder / "config" / "main.cf").write_text(MAIN.format(folder=folder, daemons=DAEMONS))
        (folder / "config" / "services").write_text(MASTER)
        command = ["sh", "-c", START, str(folder / "config"), "{port}"]
        with listening(command, log=folder / "log", env={"PATH": f"{os.environ['PATH']}:/usr/sbin:/sbin"}) as port:
            yield port


def missing() -> list[str]:
    """Return what is missing to run Postfix."""
    return [*([] if (DAEMONS / "smtpd").exists() else ["postfix"]), *([] if os.geteuid() == 0 else ["root"])]
