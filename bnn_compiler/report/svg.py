"""SVG and HTML elements as text."""

from html import escape


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


def _value(value: object) -> str:
    return f"{value:.6g}" if isinstance(value, float) else escape(str(value))
