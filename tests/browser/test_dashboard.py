"""The dashboard: live events, stats, the chart, search, reconnects and bulk retries."""

import re

import pytest

from tests.browser.admin_pages import accessibility_violations, log_in, post, send
from tests.browser.chromium import Browser, Page, expect
from tests.browser.page_errors import PageErrors
from tests.conftest import PASSWORD, StartServer
from tests.processes import WAIT_TIMEOUT_SECONDS, Server, wait_for
from tests.smtp import Sink, accept_all

EMAIL_ID = "01930c5e-7e0a-7b3c-8f00-3f1c2a9b4d5e"
# Console errors that are expected while a server restarts.
CONNECTION_ERRORS = re.compile("net::ERR_CONNECTION_REFUSED|Connection closed before receiving a handshake response")
DISABLE_LONG_TIMERS = """
const setTimer = setTimeout;
window.setTimeout = (callback, delay) => (delay < 10000 ? setTimer(callback, delay) : 0);
"""


@pytest.fixture
def no_periodic_refresh(page: Page) -> None:
    """Disable the refresh that runs every ten seconds, so that only events trigger a refresh."""
    page.add_init_script(DISABLE_LONG_TIMERS)


@pytest.fixture
def dashboard(page: Page) -> Page:
    """Open the dashboard as the administrator, and wait until it is connected. Return the page."""
    log_in(page, PASSWORD)
    expect(page.locator("#live")).to_have_text("Live")
    page.evaluate("window.notReloaded = true")
    return page


def total(page: Page, name: str) -> int:
    """Return a total from the chart's legend."""
    return int(page.locator(f"[data-total={name}]").inner_text())


def test_shows_that_the_numbers_are_loading(page: Page, page_errors: PageErrors) -> None:
    page_errors.expect(503, "/admin/dashboard/stats")
    page.route("**/dashboard/stats*", lambda route: route.fulfill(status=503))

    log_in(page, PASSWORD)

    expect(page.locator("#dashboard")).to_have_attribute("aria-busy", "true")
    expect(page.get_by_text("Loading…").first).to_be_visible()
    expect(page.get_by_text("No events yet.")).to_be_hidden()
    expect(page.get_by_text("No recent failures.")).to_be_hidden()


@pytest.mark.usefixtures("no_periodic_refresh")
def test_shows_a_new_email_without_a_reload(dashboard: Page, server: Server) -> None:
    before = total(dashboard, "sent")

    send(dashboard, server.url, subject="Live email")

    statuses = dashboard.locator("#events li").filter(has=dashboard.get_by_role("link", name="Live email")).locator(".status")
    expect(statuses).to_have_text(["sent", "sending", "queued"])
    expect(dashboard.locator("[data-total=sent]")).to_have_text(str(before + 1))
    assert dashboard.evaluate("window.notReloaded")


@pytest.mark.usefixtures("no_periodic_refresh")
def test_shows_each_result_with_its_recipients(dashboard: Page, server: Server) -> None:
    send(dashboard, server.url, subject="Partly", to=["ada@example.com", "bounce@simulator.test", "defer@simulator.test"])

    results = dashboard.locator("#events li").filter(has=dashboard.get_by_role("link", name="Partly"))
    expected = {"sent": "ada@example.com", "bounced": "bounce@simulator.test", "delayed": "defer@simulator.test"}
    for status, address in expected.items():
        expect(results.filter(has=dashboard.locator(f".status-{status}")).locator(".quiet")).to_have_text(address)


def test_shows_an_email_sent_with_a_new_key(dashboard: Page, server: Server) -> None:
    dashboard.goto("/admin/api_keys/apikey/add/")
    dashboard.get_by_label("Name:").fill("shop")
    dashboard.get_by_label("emails:send").check()
    dashboard.get_by_role("button", name="Save").click()
    key = dashboard.locator("#key").inner_text()
    dashboard.goto("/admin/")
    expect(dashboard.locator("#live")).to_have_text("Live")

    email = {"from": "shop@example.com", "to": "ada@example.com", "subject": "With a key", "text": "Hi"}
    server.post("/api/emails", json=email, headers={"Authorization": f"Bearer {key}"}).raise_for_status()

    expect(dashboard.locator("#events li").filter(has_text="With a key")).to_have_count(3)


def test_shows_the_most_frequent_rejections(dashboard: Page, server: Server) -> None:
    send(dashboard, server.url, to="bounce@simulator.test")

    expect(dashboard.locator("#failures")).to_contain_text("550 5.1.1 No such mailbox")
    expect(dashboard.locator("[data-total=bounced]")).not_to_have_text("0")
    dashboard.get_by_role("link", name="550 5.1.1 No such mailbox").click()
    expect(dashboard.locator("#result_list tbody tr").filter(has_text="bounced")).to_have_count(
        int(dashboard.locator(".paginator").inner_text().split()[0])
    )


def test_a_paused_relay_can_be_tried_now(dashboard: Page) -> None:
    stats = dashboard.evaluate("fetch('/admin/dashboard/stats').then((response) => response.json())")
    outage = {"relay": "smtp1:25", "failures": 3, "error": "Connection refused"}
    outage |= {"started_at": stats["now"], "next_probe_at": stats["now"]}
    stats["transport"] |= {"is_paused": True, "outages": [outage]}
    dashboard.route("**/dashboard/stats*", lambda route: route.fulfill(json=stats))
    dashboard.reload()
    expect(dashboard.locator("[data-stat=transport]")).to_have_text("Paused")

    with dashboard.expect_response("**/dashboard/probe-relay") as response:
        dashboard.get_by_role("button", name="Try now").click()

    assert response.value.status == 200
    assert accessibility_violations(dashboard) == []


def test_shows_the_type_of_an_event_and_what_the_queue_does(dashboard: Page) -> None:
    """A relay has accepted an email for one recipient. The email itself is delayed, because another attempt follows."""
    stats = dashboard.evaluate("fetch('/admin/dashboard/stats').then((response) => response.json())")
    data = {"email_id": EMAIL_ID, "status": "delayed", "to": ["ada@example.com"], "subject": "Partly sent"}
    stats["events"] = [{"id": 1, "type": "email.sent", "created_at": stats["now"], "data": data}]
    stats["queue"] = {"depths": {"queued": 0, "sending": 2, "delayed": 0, "scheduled": 0}, "oldest_queued_at": None}
    dashboard.route("**/dashboard/stats*", lambda route: route.fulfill(json=stats))

    dashboard.reload()

    expect(dashboard.locator("#events li").filter(has_text="Partly sent").locator(".status")).to_have_text("sent")
    expect(dashboard.locator("[data-stat=oldest]")).to_have_text("being sent")


def test_the_chart_has_a_table_and_keyboard_controls(dashboard: Page, server: Server) -> None:
    dashboard.get_by_text("Show as table").click()
    rows = dashboard.get_by_role("region", name="Table of emails").locator("tbody tr")
    expect(rows).to_have_count(60)

    dashboard.get_by_role("radio", name="Minute").focus()
    dashboard.keyboard.press("ArrowRight")

    expect(rows).to_have_count(24)
    expect(rows.first.get_by_role("rowheader")).to_have_text(dashboard.evaluate("new Date().toISOString().slice(11, 14) + '00'"))


def test_a_slash_focuses_the_search(dashboard: Page, server: Server) -> None:
    email_id = send(dashboard, server.url, subject="Search result")

    dashboard.keyboard.press("/")
    dashboard.keyboard.type(email_id)
    dashboard.keyboard.press("Enter")

    expect(dashboard.locator("#result_list tbody tr")).to_have_count(1)
    expect(dashboard.get_by_role("link", name="Search result")).to_be_visible()


def test_a_slash_focuses_the_search_of_a_list(dashboard: Page) -> None:
    dashboard.goto("/admin/suppressions/suppression/")
    dashboard.locator("h1").click()  # moves the focus out of the field that Django focuses

    dashboard.keyboard.press("/")

    expect(dashboard.locator("#searchbar")).to_be_focused()
    expect(dashboard.locator("#searchbar")).to_have_value("")


def test_reconnects_after_the_server_was_killed(browser: Browser, start: StartServer, monkeypatch: pytest.MonkeyPatch) -> None:
    first = start()
    context = browser.new_context(base_url=first.url)
    page_errors, page = PageErrors(context), context.new_page()
    log_in(page, PASSWORD)
    send(page, first.url, subject="Before")
    expect(page.locator("#events .status-sent")).to_have_count(1)

    first.kill()
    expect(page.locator("#live")).to_have_text("Reconnecting")
    monkeypatch.setattr("tests.processes.free_port", lambda: first.port)
    second = start()
    send(page, second.url, subject="After")

    expect(page.locator("#live")).to_have_text("Live")
    statuses = page.locator("#events li .status")
    expect(statuses).to_have_text(["sent", "sending", "queued"] * 2)
    assert [error for error in page_errors.unexpected() if not CONNECTION_ERRORS.search(error)] == []
    context.close()


def test_shows_that_the_user_logged_out(dashboard: Page) -> None:
    with dashboard.context.new_page() as other:
        other.goto("/admin/")
        other.get_by_role("button", name="Log out").click()
        expect(other.get_by_role("heading", name="Logged out")).to_be_visible()

    expect(dashboard.locator("#live")).to_have_text("Logged out: reload the page to log in")


def test_shows_the_progress_of_a_bulk_retry(browser: Browser, start: StartServer, sink: Sink) -> None:
    sink.at_data = lambda _address, _attempt: "550 5.7.1 This looks like spam"
    server = start(EMAIL_URL=sink.url)
    with browser.new_context(base_url=server.url) as context:
        page = context.new_page()
        log_in(page, PASSWORD)
        email = {"from": "shop@example.com", "to": "ada@example.com", "text": "Hi"}
        post(page, server.url, "/api/emails/batch", {"emails": [email | {"subject": f"Email {n}"} for n in range(100)]})
        expect(page.locator("[data-total=failed]")).to_have_text("100")
        sink.at_data = accept_all

        page.goto("/admin/emails/email/?status=failed")
        page.get_by_label("Select all objects on this page").check()
        page.get_by_label("Action:").select_option(label="Retry now")
        page.get_by_title("Run the selected action").click()

        expect(page.locator(".messagelist")).to_have_text("100 emails: Queued again.")
        expect(page.locator(".summary")).to_have_text("100 of 100 done: 100 sent.", timeout=2 * WAIT_TIMEOUT_SECONDS * 1000)
        expect(page.locator(".progress-emails .status-sent")).to_have_count(100)
        assert accessibility_violations(page) == []


def test_the_chart_follows_the_theme(dashboard: Page) -> None:
    tick_color = "Chart.getChart(document.querySelector('canvas')).options.scales.x.ticks.color"
    light = dashboard.evaluate(tick_color)

    dashboard.emulate_media(color_scheme="dark")

    wait_for(lambda: dashboard.evaluate(tick_color) != light, "the chart uses the colors of the dark theme")
