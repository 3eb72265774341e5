"""Golden texts, and a browser that is installed already."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from report.opened_page import OpenPage

GOLDEN = Path(__file__).parent / "golden"

# Nothing but the page itself: no updates, no synchronising, no checks of the network.
BROWSER_OPTIONS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-golden", action="store_true", help="write the golden texts anew instead of comparing")


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> Callable[[str, str], None]:
    """Compares a text with the golden file of that name; with --update-golden it writes the file."""

    def compare(name: str, text: str) -> None:
        path = GOLDEN / name
        if request.config.getoption("--update-golden", default=False):
            path.parent.mkdir(exist_ok=True)
            path.write_text(text + "\n", encoding="utf-8")
            return
        assert path.exists(), f"no golden text {name}; run: pytest tests/report --update-golden"
        assert text + "\n" == path.read_text(encoding="utf-8"), (
            f"{name} differs; if meant: pytest tests/report --update-golden"
        )

    return compare


@pytest.fixture(scope="session")
def browser() -> Iterator[object]:
    """A headless Chromium; skips where there is none, or no playwright."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    names = ("chromium", "chromium-browser", "google-chrome", "chrome")
    found = next((path for path in map(shutil.which, names) if path), None)
    if found is None:
        pytest.skip("no Chromium is installed")
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=found, args=list(BROWSER_OPTIONS))
        yield browser
        browser.close()


@pytest.fixture
def open_page(browser, tmp_path):
    """Opens HTML from disk; at the end nothing but the page was requested, and nothing went wrong."""
    opened = []

    def open_it(html, *, kind=OpenPage, **options):
        path = tmp_path / f"report{len(opened)}.html"
        path.write_text(html, encoding="utf-8")
        opened.append(kind(browser, path, **options))
        return opened[-1]

    yield open_it
    for page in opened:
        assert page.requests == [page.address]
        assert page.troubles == []
        page.context.close()
