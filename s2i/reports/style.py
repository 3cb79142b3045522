"""The look and behaviour of a report: light and dark, wide and narrow."""

SCRIPT = """
document.addEventListener("play", event => {
  for (const other of document.querySelectorAll("audio")) if (other !== event.target) other.pause();
}, true);
const sections = [...document.querySelectorAll("details.section")];
const follow = () => {
  const part = document.getElementById(location.hash.slice(1));
  if (!part) return;
  for (let each = part; each; each = each.parentElement) if (each.tagName === "DETAILS") each.open = true;
  part.scrollIntoView();
};
addEventListener("hashchange", follow);
document.querySelector("nav")?.addEventListener("click", event => {
  if (event.target.hash && event.target.hash === location.hash) follow();
});
document.getElementById("unfold")?.addEventListener("click", event => {
  const open = sections.some(each => !each.open);
  for (const each of sections) each.open = open;
  event.target.textContent = open ? "Close all" : "Open all";
});
addEventListener("beforeprint", () => sections.forEach(each => { each.open = true; }));
if (location.hash) follow();
"""

STYLE = """
:root { color-scheme: light dark; --ink: #1c1e21; --soft: #59616c; --paper: #fbfaf7; --card: #ffffff;
  --rule: #dcd9d1; --speech: #b3261e; --text: #1f5fae; --real: #2e7d46; --chance: #858a93;
  --notice: #fff3d6; }
@media (prefers-color-scheme: dark) { :root { --ink: #e8e6e1; --soft: #a8afb9; --paper: #17181b;
  --card: #212327; --rule: #3a3d43; --speech: #ff8a7a; --text: #82b4ff; --real: #7fd197; --chance: #9aa0a9;
  --notice: #3a3117; } }
* { box-sizing: border-box; }
html { scroll-padding-top: 3.6rem; scrollbar-gutter: stable; }
body { margin: 0 auto; max-width: 1180px; padding: 0 1.25rem 4rem; background: var(--paper);
  color: var(--ink);
  font: 16px/1.5 system-ui, sans-serif; }
body > :not(:has(~ *)) { visibility: hidden; } /* the last part while it comes: nothing moves as it grows */
header { padding: 1.6rem 0 .4rem; }
.kind { margin: 0 0 .3rem; color: var(--soft); font-size: .9rem; }
h1 { margin: 0; font-size: 1.75rem; line-height: 1.22; letter-spacing: -.01em; max-width: 41em;
  text-wrap: balance; }
h2 { margin: 2rem 0 .3rem; font-size: 1.25rem; } h3 { margin: 0; font-size: 1rem; }
section > .soft { margin: .1rem 0 .8rem; }
.verdict { margin: .45rem 0 .3rem; font-size: 1.05rem; }
.soft, .note { color: var(--soft); font-size: .88rem; }
.notice { margin: .7rem 0; padding: .55rem .8rem; background: var(--notice); border-radius: 8px;
  max-width: 56rem; font-size: .95rem; }
nav { position: sticky; top: 0; z-index: 2; display: flex; gap: 1rem; align-items: center;
  background: var(--paper); border-bottom: 1px solid var(--rule); font-size: .86rem; }
nav ul { display: flex; flex: 1; gap: .95rem; margin: 0; padding: .55rem 0; list-style: none;
  overflow-x: auto;
  white-space: nowrap; scrollbar-width: none; }
nav a { color: var(--soft); text-decoration: none; } nav a:hover { color: var(--ink);
  text-decoration: underline; }
nav button { flex: none; font: inherit; color: var(--ink); background: var(--card);
  border: 1px solid var(--rule); border-radius: 99px; padding: .15rem .75rem; cursor: pointer; }
:focus-visible { outline: 3px solid var(--text); outline-offset: 2px; border-radius: 4px; }
section > h2 { margin-top: 1.3rem; }
details.section { border-top: 1px solid var(--rule); }
  details.section:last-of-type { border-bottom: 1px solid
  var(--rule); } section + details.section { margin-top: 2.4rem; }
details.section > summary { display: flex; flex-wrap: wrap; align-items: baseline; gap: .1rem .9rem;
  padding: .8rem 0; }
details.section > summary::before { content: "\\25B8"; width: .7em; color: var(--soft); }
details.section[open] > summary::before { content: "\\25BE"; }
details.section > summary h2 { margin: 0; font-size: 1.05rem; color: var(--ink); }
details.section > div { padding: .2rem 0 1.6rem; } .finding { font-size: .92rem; }
summary { cursor: pointer; color: var(--soft); } .protocol summary { color: var(--ink); font-weight: 600; }
.protocol p { margin: .3rem 0; max-width: 62em; color: var(--soft); font-size: .88rem; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; font-size: .92rem; }
th, td { padding: .35rem .6rem; text-align: right; border-bottom: 1px solid var(--rule);
  white-space: nowrap; }
th:first-child, td:first-child { text-align: left; padding-left: 0; }
.scrolled { overflow-x: auto; } .scrolled th { white-space: normal; vertical-align: bottom; }
td:last-child { white-space: normal; min-width: 11em; } td small { color: var(--soft); display: block; }
.protocol th { text-align: left; padding-top: 1.1rem; white-space: normal; font-weight: normal; }
table.compact { width: auto; min-width: 50%; }
table.compact td:last-child, table.main-table td:last-child { min-width: 0; }
table.main-table td:first-child { white-space: normal; font-weight: 600; min-width: 11.5em; }
table.main-table :is(th, td) + :is(th, td) { padding-left: .4rem; padding-right: .4rem; }
table.main-table td:first-child small { font-weight: 400; line-height: 1.3; }
table.both th:nth-child(2) { color: var(--speech); }
  table.both th:nth-child(3) { color: var(--text); }
.main { display: grid; grid-template-columns: minmax(0, 1.75fr) minmax(0, 1fr); gap: 2.2rem;
  align-items: start; }
.main .chart { margin-top: .3rem; }
.columns { display: grid; grid-template-columns: repeat(6, minmax(0, 1fr)); grid-auto-rows: auto;
  gap: 0 .9rem; }
.column { display: grid; grid-row: span var(--rows); grid-template-rows: subgrid; gap: .45rem;
  align-content: start; }
.column h3 { font-size: .88rem; line-height: 1.35; font-weight: 600; align-self: end; }
.column audio { width: 100%; height: 34px; }
.columns img, .three img { image-rendering: auto; }
.cards { display: grid; grid-template-columns: repeat(auto-fill, minmax(420px, 1fr)); gap: 1rem;
  align-items: start; }
.card { background: var(--card); border: 1px solid var(--rule); border-radius: 10px; padding: .9rem;
  min-width: 0; }
.card audio { width: 100%; height: 36px; margin: .4rem 0; }
.three { display: grid; grid-template-columns: repeat(3, 1fr); gap: .5rem; }
figure { margin: 0; min-width: 0; } figcaption { font-size: .82rem; color: var(--soft); }
img { width: 100%; height: auto; display: block; border-radius: 4px; background: var(--rule); }
.stages { display: flex; gap: .4rem; align-items: end; margin-bottom: .5rem; }
.stages figure { flex: 1; max-width: 150px; }
.tiles { display: grid; grid-template-columns: repeat(auto-fill, minmax(72px, 1fr)); gap: .4rem;
  margin: .3rem 0 .6rem; }
.tile { aspect-ratio: 1; border-radius: 4px; }
.tiles figcaption { text-align: center; line-height: 1.2; overflow-wrap: anywhere; }
.chips { list-style: none; display: flex; flex-wrap: wrap; gap: .3rem; padding: 0; margin: .25rem 0 .4rem;
  font-size: .82rem; align-items: center; }
.chips li + li { border: 1px solid var(--rule); border-radius: 99px; padding: 0 .55rem; }
.chips .right { color: var(--real); } .chips .wrong { color: var(--speech); }
.charts { display: grid; grid-template-columns: repeat(auto-fill, minmax(310px, 1fr)); gap: 1.6rem; }
.charts.pairs { grid-template-columns: repeat(auto-fit, minmax(310px, 1fr)); }
.chart svg { overflow: visible; } .chart > svg { width: 100%; height: auto; display: block; }
.chart.full > svg { margin-left: 34px; width: calc(100% - 34px); }
.chart figcaption { color: var(--ink); font-weight: 600; font-size: .86rem; margin-bottom: .35rem; }
.chart text { fill: var(--soft); font-size: 11px; } .chart .label { fill: var(--ink); font-weight: 600; }
.chart .label tspan { fill: var(--soft); font-weight: 400; font-size: 11px; }
.chart .note { margin: .2rem 0 0; line-height: 1.35; }
.rule { stroke: var(--rule); } polyline { fill: none; stroke-width: 1.8; }
.track { fill: var(--rule); fill-opacity: .45; }
polyline.speech, line.speech { stroke: var(--speech); } polyline.text, line.text { stroke: var(--text); }
line.speech, line.text { stroke-width: 2; } .full line.speech, .full line.text { stroke-opacity: .4; }
rect.speech, circle.speech { fill: var(--speech); } rect.text, circle.text { fill: var(--text); }
rect.real { fill: var(--real); } rect.chance { fill: var(--chance); }
.legend { list-style: none; display: flex; flex-wrap: wrap; gap: .2rem .9rem; padding: 0;
  margin: .35rem 0 0;
  font-size: .82rem; color: var(--soft); }
.key { display: inline-block; width: 18px; border-top: 3px solid; margin-right: .35rem;
  vertical-align: middle; }
.key.dashed { border-top-style: dashed; } .key.speech { color: var(--speech); }
.key.text { color: var(--text); } .key.real { color: var(--real); } .key.chance { color: var(--chance); }
.two { display: grid; grid-template-columns: repeat(2, 1fr); gap: .6rem; margin: .4rem 0; }
.wide { max-width: 900px; margin: .3rem 0; } .how { margin: .4rem 0; }
@media (max-width: 900px) { .main { grid-template-columns: minmax(0, 1fr); } .main .chart { order: -1; }
  .columns { grid-template-columns: minmax(0, 1fr); gap: 1.3rem; }
  .column { grid-template-columns: repeat(auto-fit, minmax(0, 1fr)); grid-template-rows: none;
  grid-row: auto;
    grid-auto-flow: row; grid-template-columns: repeat(6, 1fr); }
  .column h3, .column audio, .column > span { grid-column: 1 / -1; } .column > span { display: none; }
  .column figure { grid-column: span 2; } }
@media (max-width: 700px) { body { padding: 0 .8rem 3rem; } header { padding-top: .8rem; }
  h1 { font-size: 1.2rem; } .verdict { font-size: .95rem; } .kind { font-size: .82rem; line-height: 1.35; }
  .notice { margin: .45rem 0; padding: .4rem .7rem; font-size: .88rem; line-height: 1.4; }
  .cards { grid-template-columns: minmax(0, 1fr); }
  .main .chart text, .main .chart .label tspan { font-size: 12.5px; }
  table.main-table td + td { padding-left: 0; padding-right: 0; }
  table, tbody, tr, td, .protocol th { display: block; } thead { display: none; }
  td { display: flex; justify-content: space-between; border: 0; padding: .1rem 0; text-align: right; }
  td small { display: inline; margin-left: .4rem; } td:first-child { font-weight: 600; padding-top: .6rem;
  flex-wrap: wrap; justify-content: flex-start; white-space: normal; }
  td:first-child small { display: block; margin: 0; } td:empty { display: none; }
  td::before { content: attr(data-column); color: var(--soft); } }
"""
