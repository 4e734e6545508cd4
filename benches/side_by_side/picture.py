"""CPU per request as a picture, readable on light and dark pages."""

import html
import statistics

# The rows shown, in this order, with what stands beside the bar.
SHOWN = {
    "nginx, plain proxy": "nginx, no authentication",
    "HAProxy, plain proxy": "HAProxy, no authentication",
    "HAProxy, jwt_verify RS256": "HAProxy, jwt_verify RS256",
    "Envoy, plain proxy": "Envoy, no authentication",
    "Envoy, jwt_authn, cached": "Envoy, jwt_authn, cached",
    "usher, RS256": "usher, RS256",
}
WIDTH, LABEL, STEP, TOP = 720, 230, 34, 44

STYLE = """
  text { font: 14px system-ui, sans-serif; fill: #1f2328 }
  .quiet { font-size: 12px; fill: #59636e }
  .plain { fill: #afb8c1 } .checked { fill: #6e7781 } .usher { fill: #1a7f37 }
  @media (prefers-color-scheme: dark) {
    text { fill: #f0f6fc } .quiet { fill: #9198a1 }
    .plain { fill: #3d444d } .checked { fill: #656c76 } .usher { fill: #3fb950 }
  }
"""


def draw(found: dict) -> str:
    """The picture of the case `main`."""
    rows = {row["name"]: row["figures"] for row in found["tables"]["main"]["rows"]}
    bars = [(label, statistics.median(rows[name]["cpu"]), statistics.median(rows[name]["ratio"]))
            for name, label in SHOWN.items() if name in rows]
    most = max(cpu for _, cpu, _ in bars)
    lines = []
    for place, (label, cpu, ratio) in enumerate(bars):
        top = TOP + place * STEP
        kind = "usher" if label.startswith("usher") else "plain" if "no auth" in label else "checked"
        width = cpu / most * (WIDTH - LABEL - 160)
        lines.append(
            f'<text x="{LABEL - 10}" y="{top + 17}" text-anchor="end">{html.escape(label)}</text>'
            f'<rect class="{kind}" x="{LABEL}" y="{top}" width="{width:.1f}" height="24" rx="3"/>'
            f'<text x="{LABEL + width + 8:.1f}" y="{top + 17}">{cpu:.1f} µs '
            f'<tspan class="quiet">{ratio:.2f} × nginx</tspan></text>')
    height = TOP + len(bars) * STEP + 26
    about = "; ".join(f"{label}: {cpu:.1f} µs" for label, cpu, _ in bars)
    machine = html.escape(f"{found['machine']['processor']}; median of {found['runs']} interleaved runs")
    return "\n".join([
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img" '
        f'aria-label="{html.escape("CPU time per request. " + about)}">',
        f"<style>{STYLE}</style>",
        '<text x="10" y="24" font-weight="600">Processor time for one request; less is better</text>',
        *lines,
        f'<text class="quiet" x="10" y="{height - 8}">{machine}</text>',
        "</svg>",
        "",
    ])
