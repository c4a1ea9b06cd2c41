"""The page's style sheet: light and dark by the reader's choice, and plain on paper."""

from __future__ import annotations

from typing import Final

STYLE: Final = """
:root { color-scheme: light dark; --ink: #1f2328; --quiet: #59636e; --paper: #fff; --card: #f6f8fa; --line: #d1d9e0;
  --good: #1a7f37; --bad: #cf222e; --warn: #9a6700; --accent: #0969da; }
@media (prefers-color-scheme: dark) { :root { --ink: #f0f6fc; --quiet: #9198a1; --paper: #0d1117; --card: #151b23;
  --line: #3d444d; --good: #3fb950; --bad: #f85149; --warn: #d29922; --accent: #4493f8; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 2rem 1.5rem; max-width: 76rem; background: var(--paper); color: var(--ink);
  font: 15px/1.5 system-ui, -apple-system, "Segoe UI", sans-serif; }
h1 { font-size: 1.9rem; margin: 0; } .version { color: var(--quiet); font-weight: 400; }
h2 { font-size: 1.2rem; margin: 2.4rem 0 .8rem; padding-bottom: .3rem; border-bottom: 1px solid var(--line); }
h3 { font-size: 1rem; margin: 1.2rem 0 .3rem; }
code { font: .84em/1.4 ui-monospace, "SFMono-Regular", Menlo, monospace; overflow-wrap: anywhere; }
a { color: var(--accent); } small, .quiet { color: var(--quiet); }
.good { color: var(--good); } .bad { color: var(--bad); } .warn { color: var(--warn); }
.marks { margin: .6rem 0 1rem; }
.mark { display: inline-block; padding: .05rem .6rem; border: 1px solid currentColor; border-radius: 1rem;
  font-size: .85rem; }
.mark.channel { color: var(--accent); }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .25rem 1.2rem; margin: 0; }
dt { color: var(--quiet); } dd { margin: 0; min-width: 0; }
.scroll { overflow-x: auto; } table { border-collapse: collapse; width: 100%; font-size: .93rem; }
th { text-align: left; color: var(--quiet); font-weight: 500; }
th, td { padding: .4rem .8rem .4rem 0; border-bottom: 1px solid var(--line); vertical-align: top; }
tbody tr:last-child td { border-bottom: 0; }
details { margin: .8rem 0; } summary { cursor: pointer; color: var(--accent); }
.sized { display: grid; grid-template-columns: 6.5rem minmax(4rem, 1fr) 5rem; gap: .6rem; align-items: center;
  white-space: nowrap; min-width: 17rem; }
.number { white-space: nowrap; }
.what { color: var(--quiet); font-size: .85rem; }
.bar { height: .55rem; background: var(--card); border-radius: .3rem; overflow: hidden; }
.fill { display: block; height: 100%; background: var(--accent); }
svg.graph { max-width: 100%; height: auto; display: block; }
svg .edge { fill: none; stroke: var(--quiet); stroke-width: 1.5; }
svg .box rect { fill: var(--card); stroke: var(--line); stroke-width: 1.5; }
svg .box.good rect { stroke: var(--good); } svg .box.bad rect { stroke: var(--bad); stroke-dasharray: 5 3; }
svg text { fill: var(--ink); font: 600 13px system-ui, sans-serif; }
svg text.note { fill: var(--quiet); font: 11px ui-monospace, monospace; }
footer { margin-top: 3rem; color: var(--quiet); font-size: .85rem; }
@media print { :root { --ink: #000; --quiet: #444; --paper: #fff; --card: #fff; --line: #bbb; --accent: #000;
  --good: #000; --bad: #000; --warn: #000; }
  body { max-width: none; padding: 0; font-size: 10.5pt; } section { break-inside: auto; }
  h2, h3 { break-after: avoid; }
  tr { break-inside: avoid; } .scroll { overflow: visible; } .fill { background: #777; }
  .bar { border: 1px solid #777; } a { text-decoration: none; } }
"""
