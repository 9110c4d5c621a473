"""An SVG bar chart of measurements: each bar is the median of its rounds, with a line from the least to the greatest value."""

from collections.abc import Mapping, Sequence
from html import escape
from statistics import median

from bench.comparison import Round

WIDTH, LEFT, RIGHT, ROW, BAR = 1080, 450, 90, 28, 16  # pixels
TITLE = 44  # height of a part's title, in pixels
OURS = "Mailrail"  # prefix of our own figures' names
STYLE = """
  text { font: 13px system-ui, -apple-system, 'Segoe UI', 'DejaVu Sans', sans-serif; fill: #4a5263 }
  .title { font-weight: 600; fill: #161b26 }
  .ours { fill: #417690 }
  .other { fill: #b6bfcd }
  .span { stroke: #161b26; stroke-width: 1.5 }
"""


def draw(parts: Mapping[str, Sequence[Round]]) -> str:
    """Return an SVG with a chart for each part, one chart below the other. Each chart has its own scale.

    Figures in another unit than the part's first figure are left out.
    """
    drawn, y = [], 0
    for title, rounds in parts.items():
        drawn.append(f'<text class="title" x="16" y="{y + 30}">{escape(title)}</text>')
        y += TITLE
        names = [name for name in rounds[0] if _is_rate(name) == _is_rate(next(iter(rounds[0])))]
        scale = (WIDTH - LEFT - RIGHT) / max(done[name] for done in rounds for name in names)
        for name in names:
            drawn.append(_row(name, [done[name] for done in rounds], y, scale))
            y += ROW
    height = y + 16
    body = "\n".join([f"<style>{STYLE}</style>", f'<rect width="{WIDTH}" height="{height}" rx="14" fill="#f6f7fa"/>', *drawn])
    svg = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img" aria-label="Figures, as bars">'
    return f"{svg}\n{body}\n</svg>\n"


def _is_rate(name: str) -> bool:
    return name.endswith("/s)")


def _row(name: str, values: Sequence[float], y: int, scale: float) -> str:
    middle, kind = y + ROW / 2, "ours" if name.startswith(OURS) else "other"
    end = LEFT + max(values) * scale
    figure = f"{median(values):,.0f}" if median(values) >= 100 else f"{median(values):.1f}"
    return (
        f'<text x="{LEFT - 12}" y="{middle + 5}" text-anchor="end">{escape(name)}</text>'
        f'<rect class="{kind}" x="{LEFT}" y="{middle - BAR / 2}" width="{median(values) * scale:.1f}" height="{BAR}" rx="3"/>'
        f'<path class="span" d="M{LEFT + min(values) * scale:.1f} {middle}H{end:.1f}"/>'
        f'<text x="{end + 8:.1f}" y="{middle + 5}">{figure}</text>'
    )
