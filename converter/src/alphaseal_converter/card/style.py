"""The style sheet of card.html: system fonts, light and dark, phone and print.  Colour is never the only sign."""

from __future__ import annotations

STYLE_SHEET = """
:root {
  color-scheme: light dark;
  --paper: #fbfbf9; --panel: #ffffff; --ink: #1c2126; --muted: #5c6670; --line: #dfe2e0; --faint: #f2f3f0;
  --accent: #22577a; --good: #1d6b45; --good-back: #e7f3ec; --bad: #9c2f24; --bad-back: #fbebe8; --warn: #7c5a0c; --warn-back: #fbf3dd;
  --first: #22577a; --second: #b4531a;
}
@media (prefers-color-scheme: dark) {
  :root {
    --paper: #14171a; --panel: #1b1f23; --ink: #e4e7e9; --muted: #9aa4ad; --line: #30363c; --faint: #21262b;
    --accent: #86bfe3; --good: #7fd0a3; --good-back: #16291f; --bad: #f09a8f; --bad-back: #331c19; --warn: #e3c06b; --warn-back: #2e2614;
    --first: #86bfe3; --second: #eda168;
  }
}
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; text-size-adjust: 100%; scroll-padding-top: 1rem; }
body {
  margin: 0; background: var(--paper); color: var(--ink); overflow-wrap: anywhere;
  font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", "Noto Sans CJK SC", "PingFang SC", "Microsoft YaHei", sans-serif;
}
body > * { max-width: 66rem; margin-inline: auto; padding-inline: clamp(1rem, 4vw, 2.5rem); }
h1, h2, h3, h4, p, dl, ul, ol { margin: 0; }
h1 { font-size: clamp(1.5rem, 1.1rem + 2vw, 2.1rem); line-height: 1.2; letter-spacing: -0.015em; font-weight: 650; }
h2 { font-size: 1.25rem; line-height: 1.3; font-weight: 650; letter-spacing: -0.01em; }
h3 { font-size: 1.02rem; line-height: 1.4; font-weight: 650; }
h4 { font-size: 0.78rem; font-weight: 600; color: var(--muted); text-transform: uppercase; letter-spacing: 0.05em; }
a { color: var(--accent); text-underline-offset: 0.15em; }
code, pre, .code { font-family: ui-monospace, SFMono-Regular, "Cascadia Mono", Menlo, Consolas, "DejaVu Sans Mono", monospace; font-size: 0.86em; }
/* Code is shown in the order of its characters, whatever their script. */
code, pre { direction: ltr; unicode-bidi: bidi-override; }
header { padding-top: clamp(1.5rem, 5vw, 3rem); }
.kicker { color: var(--muted); font-size: 0.85rem; letter-spacing: 0.02em; margin-bottom: 0.35rem; }
.lead { color: var(--muted); margin-top: 0.5rem; }
.sequence { color: var(--muted); font-weight: 450; white-space: nowrap; }
.banner { border: 1px solid var(--edge); border-left-width: 6px; border-radius: 8px; background: var(--back); padding: 1rem 1.25rem; margin-top: 1.25rem; }
.banner.good { --edge: var(--good); --back: var(--good-back); }
.banner.bad { --edge: var(--bad); --back: var(--bad-back); }
.banner .word { font-size: 1.35rem; font-weight: 700; line-height: 1.3; color: var(--edge); }
.banner ul { padding-left: 1.1rem; margin-top: 0.6rem; }
.banner li + li { margin-top: 0.35rem; }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(14rem, 1fr)); gap: 0.75rem; margin-top: 0.75rem; }
.tile { border: 1px solid var(--line); border-radius: 8px; background: var(--panel); padding: 0.8rem 1rem; }
.tile .value { font-size: 1.15rem; font-weight: 650; line-height: 1.35; margin: 0.15rem 0; }
.tile .value.good { color: var(--good); } .tile .value.bad { color: var(--bad); } .tile .value.warn { color: var(--warn); }
.tile .note { color: var(--muted); font-size: 0.86rem; line-height: 1.45; }
nav { margin-top: 1.25rem; font-size: 0.9rem; }
nav ul { display: flex; flex-wrap: wrap; gap: 0.2rem 1.1rem; list-style: none; padding: 0.6rem 0; border-block: 1px solid var(--line); }
nav a { text-decoration: none; } nav a:hover { text-decoration: underline; }
section { margin-top: 2.6rem; }
section > h2 { margin-bottom: 0.8rem; }
section > h3 { margin: 1.8rem 0 0.5rem; }
section > dl.facts + .scroll, section > .scroll + dl.facts { margin-top: 1rem; }
.text { white-space: pre-wrap; max-width: 46rem; }
.note { color: var(--muted); font-size: 0.9rem; }
section > .note, article > .note, section > p + p { margin-top: 0.6rem; }
.none { color: var(--muted); }
td .note { font-size: inherit; }
dl.facts { display: grid; margin-top: 0.6rem; grid-template-columns: 10rem minmax(0, 1fr); gap: 0.4rem 1.5rem; }
dl.facts > dt { color: var(--muted); }
dl.facts > dd { margin: 0; min-width: 0; }
dl.facts dl.facts { margin: 0; grid-template-columns: minmax(5rem, max-content) minmax(0, 1fr); gap: 0.1rem 1rem; font-size: 0.93em; }
.scroll { overflow-x: auto; border: 1px solid var(--line); border-radius: 8px; background: var(--panel); margin-top: 0.6rem; }
table { border-collapse: collapse; width: 100%; font-size: 0.88rem; line-height: 1.45; overflow-wrap: normal; }
th, td { text-align: left; vertical-align: top; padding: 0.45rem 0.8rem; border-bottom: 1px solid var(--line); }
tbody tr:last-child > * { border-bottom: 0; }
thead th { color: var(--muted); font-weight: 600; font-size: 0.8rem; background: var(--faint); white-space: nowrap; }
tbody th { font-weight: 600; }
.number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
.short { white-space: nowrap; }
.wide { min-width: 16rem; overflow-wrap: anywhere; }
.badge { display: inline-block; border: 1px solid currentColor; border-radius: 999px; padding: 0 0.6em; font-size: 0.78rem; font-weight: 600; line-height: 1.6; white-space: nowrap; }
.badge.good { color: var(--good); } .badge.bad { color: var(--bad); } .badge.warn { color: var(--warn); } .badge.quiet { color: var(--muted); font-weight: 500; }
article { border: 1px solid var(--line); border-radius: 8px; background: var(--panel); padding: 1rem 1.25rem; margin-top: 0.9rem; }
article > h3 { display: flex; flex-wrap: wrap; gap: 0.3rem 0.7rem; align-items: center; }
details { margin-top: 0.8rem; }
dd > div > details { margin-top: 0.2rem; }
summary { cursor: pointer; color: var(--accent); font-size: 0.9rem; }
summary:focus-visible, a:focus-visible { outline: 2px solid var(--accent); outline-offset: 2px; border-radius: 3px; }
pre { margin: 0.5rem 0 0; padding: 0.8rem 1rem; overflow-x: auto; background: var(--faint); border: 1px solid var(--line); border-radius: 6px; line-height: 1.5; tab-size: 4; }
pre code { font-size: 0.8rem; }
mark.unseen { background: var(--bad-back); color: var(--bad); border: 1px solid; border-radius: 3px; padding: 0 0.15em; font-family: ui-monospace, monospace; font-size: 0.85em; }
.charts { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 24rem), 1fr)); gap: 1rem; margin-top: 0.9rem; }
figure { margin: 0; border: 1px solid var(--line); border-radius: 8px; background: var(--panel); padding: 0.9rem 1rem; min-width: 0; display: flex; flex-direction: column; }
figure > h4 { color: var(--ink); font-size: 0.95rem; text-transform: none; letter-spacing: 0; }
figure > .note { font-size: 0.86rem; line-height: 1.45; margin: 0.2rem 0 0.5rem; }
figure > .plot { margin-top: auto; }
figure .scroll { border: 0; margin: 0; }
figure td, figure thead th { padding: 0.22rem 0.5rem; }
figure td { overflow-wrap: anywhere; border-bottom: 0; vertical-align: middle; }
figure thead th { background: none; }
figure .short { white-space: normal; }
svg.chart { display: block; width: 100%; height: auto; overflow: visible; }
svg.chart text { fill: var(--muted); font-size: 13px; font-variant-numeric: tabular-nums; }
svg .grid { stroke: var(--line); stroke-width: 1; }
svg .zero { stroke: var(--muted); stroke-width: 1; }
svg .line { fill: none; stroke: var(--first); stroke-width: 2; stroke-linejoin: round; stroke-linecap: round; }
svg .line.second { stroke: var(--second); stroke-dasharray: 5 3; stroke-linecap: butt; }
svg .area, svg .fill.first { fill: var(--first); } svg .fill.second { fill: var(--second); }
svg .area { fill-opacity: 0.8; stroke: var(--panel); stroke-width: 0.5; }
svg .bars { fill: none; stroke: var(--first); stroke-opacity: 0.8; stroke-width: 1; }
svg .bars.w2 { stroke-width: 2; } svg .bars.w3 { stroke-width: 3; } svg .bars.w4 { stroke-width: 4; } svg .bars.w5 { stroke-width: 5; }
svg .bars.w6 { stroke-width: 6; } svg .bars.w7 { stroke-width: 7; } svg .bars.w8 { stroke-width: 8; } svg .bars.w9 { stroke-width: 9; }
svg .bars.w10 { stroke-width: 10; } svg .bars.w11 { stroke-width: 11; } svg .bars.w12 { stroke-width: 12; }
svg .dots { fill: none; stroke: var(--first); stroke-width: 5; stroke-linecap: round; }
svg .equal { stroke: var(--second); stroke-width: 1.5; }
svg.swatch { width: 1.5rem; height: 0.75rem; vertical-align: -0.05rem; margin-right: 0.35rem; }
.legend { color: var(--muted); font-size: 0.82rem; margin-top: 0.3rem; }
.legend svg:not(:first-child) { margin-left: 1.1rem; }
td.bars { width: 40%; min-width: 3rem; }
svg.bar { display: block; width: 100%; height: 0.55rem; background: var(--faint); border-radius: 2px; }
svg.bar + svg.bar { margin-top: 2px; }
footer { margin-top: 3rem; padding-block: 1.2rem 2.5rem; color: var(--muted); font-size: 0.86rem; }
footer p { border-top: 1px solid var(--line); padding-top: 1rem; }
@media (max-width: 36rem) {
  body { font-size: 15px; }
  .tiles { grid-template-columns: repeat(2, minmax(0, 1fr)); gap: 0.5rem; }
  .tile { padding: 0.6rem 0.75rem; }
  .tile .value { font-size: 1.02rem; }
  dl.facts { grid-template-columns: minmax(0, 1fr); gap: 0; }
  dl.facts > dd { margin-bottom: 0.65rem; }
  dl.facts dl.facts > dd { margin-bottom: 0; }
  article, .banner { padding-inline: 0.9rem; }
  svg.chart text { font-size: 16px; }
  figure { padding: 0.75rem; }
  figure td, figure thead th { padding-inline: 0.25rem; }
  td.bars { width: 28%; }
}
@media print {
  :root {
    color-scheme: light;
    --paper: #fff; --panel: #fff; --ink: #000; --muted: #444; --line: #bbb; --faint: #f4f4f4; --accent: #000;
    --good: #14532d; --good-back: #fff; --bad: #7f1d1d; --bad-back: #fff; --warn: #5f4406; --warn-back: #fff;
    --first: #22577a; --second: #b4531a;
  }
  svg { print-color-adjust: exact; -webkit-print-color-adjust: exact; }
  .charts { grid-template-columns: repeat(2, minmax(0, 1fr)); gap: 0.6rem; }
  svg.chart text { font-size: 15px; }
  body { font-size: 10pt; }
  body > * { max-width: none; padding-inline: 0; }
  nav { display: none; }
  section { margin-top: 1.6rem; }
  h2, h3, summary { break-after: avoid; }
  tr, .tile, .banner { break-inside: avoid; }
  .scroll { overflow: visible; border-radius: 0; }
  table { font-size: 8pt; overflow-wrap: anywhere; }
  th, td { padding: 0.25rem 0.4rem; }
  .short, .number, thead th { white-space: normal; }
  .wide { min-width: 0; }
  figure { break-inside: avoid; padding: 0.5rem 0.6rem; }
  figure .number, figure thead th { white-space: nowrap; }
  figure td, figure thead th { padding: 0.15rem 0.3rem; }
  td.bars { width: 30%; }
  pre { white-space: pre-wrap; }
  pre code { font-size: 7.5pt; }
  /* What is folded on the screen is printed. */
  details::details-content { content-visibility: visible; block-size: auto; }
}
"""
