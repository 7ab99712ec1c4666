"""SVG and HTML elements as text."""

from html import escape

#: Units of a chart's width; the page scales them.
WIDTH = 960


def tag(element: str, *children: str, **attributes: object) -> str:
    """One element around ``children``, which are markup already.

    In the names of ``attributes``, ``_`` stands for ``-``, and one at the end is dropped; numbers
    are rounded to what a screen can show.
    """
    pairs = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{_value(value)}"'
        for key, value in attributes.items()
    )
    return f"<{element}{pairs}>{''.join(children)}</{element}>"


def text(content: object) -> str:
    """``content`` as markup that shows it."""
    return escape(str(content))


def line(x1: float, y1: float, x2: float, y2: float, kind: str) -> str:
    """A line of a class."""
    return tag("line", x1=x1, y1=y1, x2=x2, y2=y2, class_=kind)


def label(x: float, y: float, content: str, anchor: str = "start", **more: object) -> str:
    """Text at a point."""
    return tag("text", text(content), x=x, y=y, text_anchor=anchor, **more)


def figure(content: str, height: float, title: str) -> str:
    """A chart of ``WIDTH`` and ``height`` around markup."""
    box = f"0 0 {WIDTH} {height:g}"
    return tag("svg", content, viewBox=box, role="img", aria_label=title)


def shortened(name: str, limit: int = 32) -> str:
    """A name with its middle left out where it is long."""
    return name if len(name) <= limit else f"{name[: limit // 2 - 1]}…{name[-limit // 2 :]}"


def _value(value: object) -> str:
    return f"{value:.6g}" if isinstance(value, float) else escape(str(value))
