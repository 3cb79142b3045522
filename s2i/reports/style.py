"""The look of a report: light and dark, wide and narrow."""

STYLE = """
:root { color-scheme: light dark; --ink: #1c1e21; --soft: #5b6470; --paper: #fbfaf7; --card: #ffffff;
  --rule: #d9d6ce; --speech: #b3261e; --text: #1f5fae; --real: #2e7d46; --chance: #8a8f98; }
@media (prefers-color-scheme: dark) { :root { --ink: #e8e6e1; --soft: #a4abb5; --paper: #17181b; --card:
  #212327;
  --rule: #3a3d43; --speech: #ff8a7a; --text: #82b4ff; --real: #7fd197; --chance: #9aa0a9; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 1180px; padding: 1.2rem; background: var(--paper); color: var(--ink);
  font: 16px/1.5 system-ui, sans-serif; }
h1 { margin: 0 0 .3rem; font-size: 1.6rem; } h2 { margin: 2.4rem 0 .6rem; } h3 { margin: 0; font-size:
  1rem; }
.verdict { font-size: 1.15rem; max-width: 46em; } .soft, .note { color: var(--soft); font-size: .88rem; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; font-size: .92rem; }
th, td { padding: .35rem .6rem; text-align: right; border-bottom: 1px solid var(--rule); white-space:
  nowrap; }
th:first-child, td:first-child { text-align: left; }
td:last-child { white-space: normal; min-width: 11em; } td small { color: var(--soft); display: block; }
.protocol th { text-align: left; padding-top: 1.1rem; white-space: normal; font-weight: normal; }
summary { cursor: pointer; color: var(--soft); } .protocol summary { color: var(--ink); font-weight: 600; }
.protocol p { margin: .3rem 0; max-width: 62em; color: var(--soft); font-size: .88rem; }
.cards { display: grid; grid-template-columns: repeat(auto-fill, minmax(340px, 1fr)); gap: 1rem;
  align-items: start; }
.card { background: var(--card); border: 1px solid var(--rule); border-radius: 10px; padding: .9rem;
  min-width: 0; }
.card audio { width: 100%; height: 36px; margin: .4rem 0; }
.three { display: grid; grid-template-columns: repeat(3, 1fr); gap: .5rem; }
figure { margin: 0; } figcaption { font-size: .82rem; color: var(--soft); }
img { width: 100%; display: block; border-radius: 4px; } .stages { display: flex; gap: .4rem;
  align-items: end;
  margin-bottom: .5rem; } .stages figure { flex: 1; max-width: 104px; }
.tiles { display: grid; grid-template-columns: repeat(auto-fill, minmax(72px, 1fr)); gap: .4rem; margin:
  .3rem 0 .6rem; }
.tile { aspect-ratio: 1; border-radius: 4px; } .tiles figcaption { text-align: center; line-height: 1.2;
  overflow-wrap: anywhere; }
.chips { list-style: none; display: flex; flex-wrap: wrap; gap: .3rem; padding: 0; margin: .25rem 0 .4rem;
  font-size: .82rem; align-items: center; }
.chips li + li { border: 1px solid var(--rule); border-radius: 99px; padding: 0 .55rem; }
.chips .right { color: var(--real); } .chips .wrong { color: var(--speech); }
.charts { display: grid; grid-template-columns: repeat(auto-fill, minmax(300px, 1fr)); gap: 1rem; }
.chart svg { width: 100%; height: auto; } .chart text { fill: var(--soft); font-size: 11px; }
.rule { stroke: var(--rule); } polyline { fill: none; stroke-width: 1.8; }
polyline.speech { stroke: var(--speech); } polyline.text { stroke: var(--text); }
rect.speech, circle.speech { fill: var(--speech); } rect.text, circle.text { fill: var(--text); }
rect.real { fill: var(--real); } rect.chance { fill: var(--chance); }
.legend { list-style: none; display: flex; flex-wrap: wrap; gap: .2rem .9rem; padding: 0; margin: .2rem 0 0;
  font-size: .82rem; color: var(--soft); }
.key { display: inline-block; width: 18px; border-top: 3px solid; margin-right: .35rem; vertical-align:
  middle; }
.key.dashed { border-top-style: dashed; } .key.speech { color: var(--speech); } .key.text { color:
  var(--text); }
.key.real { color: var(--real); } .key.chance { color: var(--chance); }
.frame { fill: none; stroke: var(--rule); } .dot { fill: var(--speech); fill-opacity: .55; }
.two { display: grid; grid-template-columns: repeat(2, 1fr); gap: .6rem; margin: .4rem 0; }
table.compact { width: auto; min-width: 50%; } table.compact td:last-child { min-width: 0; }
.wide { max-width: 760px; margin: .3rem 0; } .how { margin: .4rem 0; }
@media (max-width: 700px) { body { padding: .8rem; } .cards { grid-template-columns: 1fr; }
  table, tbody, tr, td, .protocol th { display: block; } thead { display: none; }
  td { display: flex; justify-content: space-between; border: 0; padding: .1rem 0; text-align: right; }
  td small { display: inline; margin-left: .4rem; } td:first-child { font-weight: 600; padding-top: .6rem;
  flex-wrap: wrap; justify-content: flex-start; white-space: normal; }
  td:empty { display: none; } td::before { content: attr(data-column); color: var(--soft); } }
"""
