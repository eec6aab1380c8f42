"""Reports in a real browser: three widths, the dark, paper; and a bundle rendered again where nothing is installed."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from orchestrator.cli import main
from tests.chromium import PROGRAM, Browser, browser
from tests.drawn import ODD, PLANE, SMALL, run

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with two sweeps, and the reports of both with an index in `pages/`."""
    folder = tmp_path_factory.mktemp("reports")
    run(folder, PLANE)
    run(folder, ODD)
    assert main(["report", "plane", "odd", "--store", str(folder / "runs"), "--output", str(folder / "pages")]) == 0
    return folder


@pytest.fixture(scope="module")
def shown() -> Iterator[Browser]:
    if PROGRAM is None:
        pytest.skip("chromium is not installed: reports are not opened in a browser")
    with browser() as found:
        yield found


CONTRAST = """(() => {
  const light = c => { const f = c.map(v => v / 255).map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
    return 0.2126 * f[0] + 0.7152 * f[1] + 0.0722 * f[2]; };
  const parse = s => (s.match(/[\\d.]+/g) || [0, 0, 0, 0]).map(Number);
  const over = (a, b) => { const k = a.length > 3 ? a[3] : 1; return [0, 1, 2].map(i => a[i] * k + b[i] * (1 - k)); };
  const behind = e => { const chain = []; for (let n = e; n; n = n.parentElement) chain.push(n);
    let c = [255, 255, 255]; for (const n of chain.reverse()) c = over(parse(getComputedStyle(n).backgroundColor), c);
    return c; };
  const bad = [];
  for (const e of document.querySelectorAll('body *')) {
    const own = [...e.childNodes].some(n => n.nodeType === 3 && n.textContent.trim());
    if (!own || !e.getClientRects().length) continue;
    const style = getComputedStyle(e), back = behind(e);
    const ink = over(parse(e.namespaceURI.includes('svg') ? style.fill : style.color), back);
    const [a, b] = [light(ink), light(back)].sort((x, y) => y - x), ratio = (a + 0.05) / (b + 0.05);
    if (ratio < 4.5) bad.push([e.tagName, e.textContent.slice(0, 40), ratio, ink, back]);
  }
  return bad; })()"""
OPEN_ALL = "document.querySelectorAll('details').forEach(item => { item.open = true; })"
TOO_WIDE = "document.documentElement.scrollWidth - window.innerWidth"
PAGES = ("index.html", "plane.html", "odd.html")


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [320, 800, 1400])
def test_pages_fit_and_ask_for_nothing(folder: Path, shown: Browser, width: int, dark: bool) -> None:
    for page in PAGES:
        path = folder / "pages" / page
        shown.open(path, width, dark)
        assert shown.requests == [path.as_uri()]
        assert shown.complaints == []
        assert shown.evaluate(TOO_WIDE) <= 0, page
        shown.evaluate(OPEN_ALL)
        assert shown.evaluate(TOO_WIDE) <= 0, page
        assert shown.evaluate(CONTRAST) == [], page


def test_a_number_shows_its_trials_when_it_is_pressed(folder: Path, shown: Browser) -> None:
    shown.open(folder / "pages" / "plane.html", 900)
    assert shown.evaluate("document.querySelectorAll(':popover-open').length") == 0
    pressed = shown.evaluate(
        "(() => { const b = document.querySelector('button.number'); b.click(); return b.innerText; })()"
    )
    text = shown.evaluate("document.querySelector(':popover-open').innerText")
    values = [float(value) for value in re.findall(r"^\d\t([\d.]+)\tdone", text, re.MULTILINE)]
    assert len(values) == 2
    assert pressed.startswith(f"{100 * sum(values) / 2:.2f}"[:4])
    assert "test_accuracy at width = 5, noise = 0.1: 2 trials" in text
    assert len(re.findall(r"done\t[0-9a-f–]+\t[0-9a-f]{12}$", text, re.MULTILINE)) == 2


def test_it_prints_on_paper_in_black_on_white(folder: Path, shown: Browser, tmp_path: Path) -> None:
    shown.open(folder / "pages" / "plane.html", 1000, dark=True)
    shown.pdf(tmp_path / "page.pdf")
    content = (tmp_path / "page.pdf").read_bytes()
    assert content.startswith(b"%PDF-")
    assert 2 <= len(re.findall(rb"/Type\s*/Page\b", content)) <= 12
    shown.call(
        "Emulation.setEmulatedMedia", media="print", features=[{"name": "prefers-color-scheme", "value": "dark"}]
    )
    assert shown.evaluate("getComputedStyle(document.body).color") == "rgb(26, 26, 27)"
    assert shown.evaluate("getComputedStyle(document.querySelector('nav')).display") == "none"


class Outline(HTMLParser):
    """What a reader's software hears of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.levels: list[int] = []
        self.ids: list[str] = []
        self.tags: list[tuple[str, dict[str, Any]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self.tags.append((tag, found))
        if re.fullmatch("h[1-6]", tag):
            self.levels.append(int(tag[1]))
        if found.get("id"):
            self.ids.append(str(found["id"]))


@pytest.mark.parametrize("page", PAGES)
def test_pages_are_accessible(folder: Path, page: str) -> None:
    text = (folder / "pages" / page).read_text()
    outline = Outline(text)
    assert outline.levels[0] == 1
    assert outline.levels.count(1) == 1
    assert all(after <= before + 1 for before, after in zip(outline.levels, outline.levels[1:], strict=False))
    assert len(outline.ids) == len(set(outline.ids))
    for tag, found in outline.tags:
        for name in ("aria-labelledby", "popovertarget"):
            assert set(str(found.get(name, "")).split()) <= set(outline.ids)
        if tag == "svg":
            assert found["role"] == "img"
            assert found["aria-labelledby"]
        if tag == "a" and str(found["href"]).startswith("#"):
            assert str(found["href"])[1:] in outline.ids
        assert tag not in ("script", "img", "iframe", "object", "embed")
    assert not re.findall(r"(?:src|href)=\"(?!#|data:|[\w@-]+\.html)[^\"]*\"", re.sub(r"xlink:href", "href", text))
    assert not re.findall(r"url\((?!#)[^)]*\)|@import|@font-face", text)


def test_what_a_report_says(folder: Path) -> None:
    text = (folder / "pages" / "plane.html").read_text()
    for heading in (
        *("Question", "Claims", "Tables", "Figures", "Set-up", "Trials", "Cost", "Failures", "Provenance"),
        "To reproduce",
    ):
        assert f">{heading}</h2>" in text
    assert "Does a wider classifier find a better boundary?" in text
    assert "After nobody2026, figure 1." in text
    assert text.count("<svg ") == 10
    assert "sweep run sweep.yaml" in text
    odd = (folder / "pages" / "odd.html").read_text()
    assert "<strong>Partial:</strong> 3 failed of 15 trials." in odd
    assert "Walks &amp; &lt;odd&gt; &quot;levels&quot;" in odd
    assert "&lt;b&gt;really&lt;/b&gt;" in odd
    assert "fell at step 2" in odd
    assert "Traceback (most recent call last)" in odd
    assert "3 nodes ended in a loss that is not finite" in odd


def test_a_sweep_that_still_runs_has_a_report_that_says_so(tmp_path: Path) -> None:
    store = ["--store", str(tmp_path / "runs")]
    run(tmp_path, SMALL, limit=1)
    assert main(["report", "small", "--output", str(tmp_path / "small.html"), *store]) == 0
    text = (tmp_path / "small.html").read_text()
    assert "<strong>Partial:</strong> 1 missing of 2 trials." in text
    assert "undecided</span> It sees more than chance." in text


def test_the_index_has_every_claim_and_leads_to_every_report(folder: Path) -> None:
    text = (folder / "pages" / "index.html").read_text()
    assert "2 sweeps, 2 claims" in text
    assert "Wider is better." in text
    assert "wider, &lt;b&gt;really&lt;/b&gt;" in text
    assert "partial: 3 failed of 15 trials" in text
    assert 'href="odd.html#claims">odd</a> (partial)' in text
    assert 'href="plane.html#claims">plane</a> (partial)' not in text
    for name in ("plane", "odd"):
        assert f'href="{name}.html"' in text
        assert f'href="{name}.html#claims"' in text


def test_equal_records_give_equal_pages(folder: Path, tmp_path: Path) -> None:
    assert main(["report", "odd", "--store", str(folder / "runs"), "--output", str(tmp_path / "odd.html")]) == 0
    assert (tmp_path / "odd.html").read_bytes() == (folder / "pages" / "odd.html").read_bytes()


BARE = """
import sys
class Refused:
    def find_spec(self, name, path=None, target=None):
        if name.partition('.')[0] in ('ray', 'mlflow', 'torch', 'torchvision', 'sklearn'):
            raise ModuleNotFoundError(f'no {name} here', name=name)
sys.meta_path.insert(0, Refused())
from orchestrator.cli import main
sys.exit(main(sys.argv[1:]))
"""


def bare(*arguments: str | Path, folder: Path) -> subprocess.CompletedProcess[str]:
    """`sweep ...` in a folder of its own, on a machine without Ray, MLflow and torch."""
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", BARE, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, env=environment, cwd=folder)


def test_a_bundle_renders_again_without_ray_mlflow_and_torch(tmp_path: Path) -> None:
    store = ["--store", str(tmp_path / "runs")]
    run(tmp_path, SMALL)
    page, packed, plain = tmp_path / "small.html", tmp_path / "small.tar.gz", tmp_path / "small.csv"
    assert main(["report", "small", "--output", str(page), *store]) == 0
    assert main(["report", "small", "--bundle", str(packed), *store]) == 0
    assert main(["table", "small", "--format", "csv", "--output", str(plain), *store]) == 0
    shutil.rmtree(tmp_path / "runs")
    done = bare("report", packed, "--output", "again.html", folder=tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, "again.html\n", "")
    assert (tmp_path / "again.html").read_bytes() == page.read_bytes()
    done = bare("figures", packed, "--figure", "triangle", "--output", "drawn", folder=tmp_path)
    assert (done.returncode, done.stdout) == (0, "drawn/triangle.svg\n")
    assert bare("table", packed, "--format", "csv", folder=tmp_path).stdout == plain.read_text()
    assert "It sees more than chance." in bare("claims", packed, folder=tmp_path).stdout


def test_refusals_of_reports(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = ["--store", str(folder / "runs")]
    for arguments, message in (
        (["report", "plain", *store], "holds no sweep 'plain'; allowed: odd, plane; did you mean 'plane'?"),
        (["report", "plane", "odd", "--bundle", "b.zip", *store], "--bundle packs one sweep; got 2"),
        (["report", "plane", "plane", "--output", str(tmp_path), *store], "two of these are named plane"),
        (["report", "no.zip"], "no.zip: no such file; `sweep report NAME --bundle no.zip` makes it"),
        (
            ["report", "plane", "--bundle", "b.rar", *store],
            "--bundle b.rar: its name must end with .zip, .tar.gz",
        ),
        (["figures", "plane", "--figure", "los", *store], "plane has no figure 'los'; allowed: over_width,"),
        (["report", "plane", "--output", "/proc/no/page.html", *store], "--output /proc/no/page.html: "),
    ):
        assert main(arguments) == 2, arguments
        assert message in capsys.readouterr().err


def test_figures_go_into_the_store(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = str(folder / "runs")
    assert main(["figures", "odd", "--format", "png", "--store", store]) == 0
    paths = [Path(line) for line in capsys.readouterr().out.splitlines()]
    assert [path.name for path in paths] == ["bars.png", "paths.png", "nothing.png"]
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in paths)
