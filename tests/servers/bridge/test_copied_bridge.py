"""The copied bridge: the tests build the example project that docs/copying-the-bridge.md describes, and serve it."""

import json
import os
import re
import shlex
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from pathlib import Path

import httpx
import pytest
from django.conf import settings
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from tests.processes import ROOT, Server, running

PAGE = (ROOT / "docs" / "copying-the-bridge.md").read_text()
BRIDGE = ROOT / "project" / "bridge"
FILES = re.findall(r"^`([\w./]+)`([^\n]*):\n\n```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
COMMANDS = re.search(r"```bash\n(.*?)```", PAGE, re.DOTALL)[1].splitlines()  # type: ignore[index]  # the page has commands
POLICY_VIOLATION = 1008
PASSWORD = "correct horse battery staple"
ENV = {
    "DJANGO_SETTINGS_MODULE": "shop.settings",
    "DJANGO_SUPERUSER_PASSWORD": PASSWORD,
    "PYTHONPATH": "",  # otherwise the copied bridge could import the original
}

every_server = pytest.mark.parametrize("start", ["serve", "daphne"])


def command(name: str) -> list[str]:
    """Return the arguments to `python` for the only command on the page that contains the word `name`.

    The port in the arguments is the placeholder `{port}`.
    """
    [line] = [line for line in COMMANDS if name in shlex.split(line, comments=True)]
    program, *words = shlex.split(line.replace("8000", "{port}"), comments=True)
    return words if program == "python" else ["-m", program.replace("django-admin", "django"), *words]


def run(folder: Path, *words: str) -> "subprocess.CompletedProcess[str]":
    """Run Python with these arguments in the folder. If Python fails, raise AssertionError with its output."""
    env = {**os.environ, **ENV}
    del env["DJANGO_SETTINGS_MODULE"]  # manage.py sets this variable
    python = [sys.executable, *words]
    result = subprocess.run(python, cwd=folder, env=env, capture_output=True, text=True, check=False, timeout=60)
    assert result.returncode == 0, f"{words} exited with code {result.returncode}:\n{result.stdout}{result.stderr}"
    return result


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the example project of the page, with an administrator `ada`. Return its folder."""
    folder = tmp_path_factory.mktemp("copied")
    run(folder, *command("startproject"))
    shutil.copytree(BRIDGE, folder / "shop" / "bridge", ignore=shutil.ignore_patterns("__pycache__"))
    for name, note, code in FILES:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text((path.read_text() if "at the end" in note else "") + code)
    run(folder, *command("migrate"))
    run(folder, *command("createsuperuser"), "--noinput", "--username", "ada", "--email", "ada@example.com")
    return folder


def serving(shop: Path, start: str) -> AbstractContextManager[Server]:
    """Serve the example project with `serve` or plain `daphne`."""
    return running(command(start), log=shop / f"log.{start}", env=ENV, cwd=shop)


@pytest.fixture(scope="module")
def server(shop: Path) -> Iterator[Server]:
    """Serve the example project with `serve`, for tests that do not change data. At the end its log must contain no traceback."""
    with serving(shop, "serve") as server:
        yield server
        assert "Traceback" not in server.log


@pytest.fixture
def browser(server: Server) -> Iterator[httpx.Client]:
    """A browser that is logged in to the admin as `ada`."""
    with logged_in(server) as browser:
        yield browser


@contextmanager
def logged_in(server: Server) -> Iterator[httpx.Client]:
    """Yield a browser that is logged in to the admin as `ada`."""
    with server.client() as browser:
        browser.get("/admin/login/")
        form = {"username": "ada", "password": PASSWORD, "csrfmiddlewaretoken": browser.cookies["csrftoken"]}
        assert browser.post("/admin/login/?next=/admin/", data=form).status_code == httpx.codes.FOUND
        yield browser


def create_group(browser: httpx.Client, name: str) -> httpx.Response:
    """Create a group through FastAPI, as a web page of the project would."""
    return browser.post("/api/groups", params={"name": name}, headers={"X-CSRFToken": browser.cookies["csrftoken"]})


def groups(shop: Path) -> set[str]:
    """Return the names of the committed groups."""
    with closing(sqlite3.connect(shop / "db.sqlite3")) as connection:
        return {name for (name,) in connection.execute("SELECT name FROM auth_group")}


@every_server
def test_django_and_fastapi_respond(shop: Path, start: str) -> None:
    with serving(shop, start) as server:
        page, style, me = (server.get(path) for path in ("/admin/login/", "/static/admin/css/base.css", "/api/me"))

        assert "Django administration" in page.text
        assert style.headers["content-type"].startswith("text/css")
        assert me.json()["user"] is None
        assert me.json()["started_at"]  # from the lifespan state
        assert page.headers["content-security-policy"] == me.headers["content-security-policy"]
        assert server.terminate() == 0
        assert "Traceback" not in server.log


@every_server
def test_a_row_is_committed_before_the_response_and_its_task_finishes_before_the_end(shop: Path, start: str) -> None:
    with serving(shop, start) as server, logged_in(server) as browser:
        response = create_group(browser, start)
        committed = groups(shop)
        code = server.terminate()

    assert (response.status_code, code) == (201, 0), response.text + server.log
    assert committed & {start, f"{start}, welcomed"}
    assert f"{start}, welcomed" in groups(shop)
    assert "Traceback" not in server.log


def test_a_user_logged_in_to_django_is_logged_in_to_fastapi(browser: httpx.Client) -> None:
    assert browser.get("/api/me").json()["user"] == "ada"


def test_rejects_an_anonymous_write(server: Server, shop: Path) -> None:
    assert server.post("/api/groups", params={"name": "anonymous"}).status_code == httpx.codes.FORBIDDEN
    assert "anonymous" not in groups(shop)


def test_rejects_a_forged_form(browser: httpx.Client, shop: Path) -> None:
    response = browser.post("/api/groups", params={"name": "forged"})

    assert response.status_code == httpx.codes.FORBIDDEN
    assert "CSRF" in response.json()["detail"]
    assert "forged" not in groups(shop)


@pytest.mark.anyio
async def test_rejects_a_websocket_from_a_foreign_origin(server: Server) -> None:
    with pytest.raises(InvalidStatus) as rejected:
        await connect(f"{server.ws_url}/api/me", additional_headers={"Origin": "http://evil.example"})

    assert rejected.value.response.status_code == httpx.codes.FORBIDDEN


@pytest.mark.anyio
async def test_a_websocket_from_our_origin_knows_the_logged_in_user(server: Server, browser: httpx.Client) -> None:
    headers = {"Origin": server.url, "Cookie": f"sessionid={browser.cookies['sessionid']}"}
    async with connect(f"{server.ws_url}/api/me", additional_headers=headers) as socket:
        assert await socket.recv() == "ada"


@pytest.mark.anyio
async def test_an_anonymous_websocket_closes_with_the_applications_code(server: Server) -> None:
    async with connect(f"{server.ws_url}/api/me", additional_headers={"Origin": server.url}) as socket:
        with pytest.raises(ConnectionClosed):
            await socket.recv()

    assert socket.close_code == POLICY_VIOLATION


def test_rejects_a_foreign_host(server: Server) -> None:
    assert server.get("/api/me", headers={"Host": "evil.example"}).status_code == httpx.codes.BAD_REQUEST


def test_runserver_serves_django_and_fastapi(shop: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(shop, tmp_path / "shop"))
    app, application = re.findall(r'`("daphne")`|`(ASGI_APPLICATION = .*?)`', PAGE)
    with (copy / "shop" / "settings.py").open("a") as settings_file:
        settings_file.write(f"INSTALLED_APPS.insert(0, {app[0]})\n{application[1]}\n")

    runserver = ["manage.py", "runserver", "--noreload", "127.0.0.1:{port}"]
    with running(runserver, log=tmp_path / "log", env=ENV, cwd=copy) as server:
        assert server.get("/api/me").json()["started_at"]
        assert "Django administration" in server.get("/admin/login/").text


@pytest.mark.sqlite_only("the page shows the settings of SQLite")
def test_the_pages_database_settings_match_mailrails(shop: Path) -> None:
    code = "import json, shop.asgi, django.conf as c; print(json.dumps(c.settings.DATABASES, default=str))"

    theirs, ours = json.loads(run(shop, "-c", code).stdout)["default"], settings.DATABASES["default"]
    assert [theirs[name] for name in ("CONN_MAX_AGE", "OPTIONS")] == [ours[name] for name in ("CONN_MAX_AGE", "OPTIONS")]


def test_the_projects_own_test_passes(shop: Path) -> None:
    result = run(shop, *command("pytest"), "-W", "error", "-p", "no:cacheprovider")

    assert re.search(r"\b1 passed\b", result.stdout)
