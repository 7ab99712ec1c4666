from html.parser import HTMLParser

import pytest

from bnn_compiler.errors import InputError
from bnn_compiler.report import html


class Elements(HTMLParser):
    """The elements of a page; every one but the void is closed in order."""

    def __init__(self, source):
        super().__init__()
        self.open, self.names = [], []
        self.feed(source)
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.names.append(tag)
        assert not {"src", "href"} & {name for name, _ in attrs}
        if tag != "meta":
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_one_page_needs_nothing_else(report):
    page = html.page(report)
    names = Elements(page).names
    assert names.count("svg") == 2 and names.count("tr") == 4
    assert not {"script", "link", "img"} & set(names)
    assert "url(" not in page and "@import" not in page
    assert "&lt;conv &amp; sign&gt;" in page and "<conv" not in page
    assert "prefers-color-scheme: dark" in page


def test_without_peaks_the_page_says_why(without_peaks):
    page = html.page(without_peaks)
    assert Elements(page).names.count("svg") == 1
    assert "no rooflines: no C compiler" in page and "2 threads" in page


def test_write_leaves_the_page_and_nothing_else(report, tmp_path):
    html.write(report, tmp_path / "page.html")
    assert (tmp_path / "page.html").read_text(encoding="utf-8") == html.page(report)
    assert len(list(tmp_path.iterdir())) == 1


def test_a_path_that_cannot_be_written(report, tmp_path):
    with pytest.raises(InputError, match="folder that exists"):
        html.write(report, tmp_path / "absent" / "page.html")
    (tmp_path / "folder").mkdir()
    with pytest.raises(InputError, match="cannot write"):
        html.write(report, tmp_path / "folder")
    assert [p.name for p in tmp_path.iterdir()] == ["folder"]
