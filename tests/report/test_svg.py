from bnn_compiler.report.svg import tag, text


def test_tag():
    assert tag("line", x1=1.23456789, stroke_width=2, class_="a") == (
        '<line x1="1.23457" stroke-width="2" class="a"></line>'
    )
    assert tag("g", tag("title", text("a < b"))) == "<g><title>a &lt; b</title></g>"


def test_values_are_escaped():
    assert tag("i", title='"<') == '<i title="&quot;&lt;"></i>'
