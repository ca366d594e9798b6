"""Results as tables: frames of pandas, which writes CSV, LaTeX and Markdown, and HTML for notebooks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from tabulate import tabulate


def frame(columns: Mapping[str, Sequence[Any]], *, index: Sequence[Any], index_name: str) -> Any:
    """A `pandas.DataFrame` with these columns.

    ``frame.to_csv("a.csv")`` writes CSV, ``frame.to_latex()`` LaTeX with the rules of booktabs (it needs jinja2),
    ``frame.to_markdown()`` Markdown.
    """
    try:
        import pandas
    except ImportError as error:
        raise ImportError(
            "Expected pandas to make a table; it is not installed. Run pip install pandas jinja2, or read the same "
            "numbers from the attributes of the result."
        ) from error
    return pandas.DataFrame(dict(columns), index=pandas.Index(list(index), name=index_name))


def html(title: str, rows: Sequence[Sequence[str]], *, headers: Sequence[str] = ()) -> str:
    """A titled table for a notebook; all texts are escaped.

    Example:
        >>> "<td>-1.2 &lt; 0</td>" in html("result", [["log p(x)", "-1.2 < 0"]])
        True
    """
    align = ["left"] * (len(rows[0]) if rows else 0)
    table = tabulate(rows, headers, tablefmt="html", disable_numparse=True, colalign=align)
    return f"<div><strong>{escape(title)}</strong>{table}</div>"
