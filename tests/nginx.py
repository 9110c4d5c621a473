"""A real nginx with the configuration of deploy/nginx, in front of servers of a test."""

import os
import re
import shutil
import socket
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.processes import ROOT, Server, free_port, wait_for

NGINX = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
CONFIGURATION = ROOT / "deploy" / "nginx" / "mailrail.conf"
MAIN = """
daemon off;
user {user};
pid {folder}/nginx.pid;
error_log stderr notice;
events {{ worker_connections 1024; }}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    include {folder}/mailrail.conf;
}}
"""


@contextmanager
def nginx(folder: Path, servers: Sequence[Server]) -> Iterator[int]:
    """Run nginx with TLS in front of two servers. Yield its port for HTTPS."""
    assert NGINX is not None
    https, http = free_port(), free_port()
    _create_certificate(folder)
    configuration = CONFIGURATION.read_text()
    for number, server in enumerate(servers, start=1):
        configuration = configuration.replace(f"web-{number}:8000", f"{server.address}:{server.port}")
    configuration = configuration.replace("/etc/nginx/certificates", str(folder)).replace("[::]", "[::1]")
    configuration = re.sub(r"listen (\S*?)443 ssl", rf"listen \g<1>{https} ssl", configuration)
    configuration = re.sub(r"listen (\S*?)80;", rf"listen \g<1>{http};", configuration)
    (folder / "mailrail.conf").write_text(configuration)
    (folder / "nginx.conf").write_text(MAIN.format(folder=folder, user="root" if os.geteuid() == 0 else "nobody"))
    command = [NGINX, "-p", str(folder), "-c", str(folder / "nginx.conf")]
    subprocess.run([*command, "-t"], check=True, capture_output=True, timeout=30)
    with (folder / "nginx.log").open("w") as log, subprocess.Popen(command, stdout=log, stderr=log) as process:
        try:
            wait_for(lambda: _listens(https), "nginx listens", (folder / "nginx.log").read_text)
            yield https
        finally:
            process.terminate()


def _create_certificate(folder: Path) -> None:
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", "/CN=mail.example.com"]
    files = ["-keyout", str(folder / "privkey.pem"), "-out", str(folder / "fullchain.pem")]
    subprocess.run([*command, *files], check=True, capture_output=True, timeout=30)


def _listens(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0
