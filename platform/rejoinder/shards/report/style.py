"""How the page looks, by day and by night, on a desk and on a phone. Nothing is loaded from elsewhere."""

CSS = """
:root {
  color-scheme: light dark; --back: #fbf9f4; --card: #ffffff; --ink: #20242a; --quiet: #59616c; --line: #e4ded1;
  --train: #b5592a; --valid: #2f7f86; --test: #7a6a1f; --out: #9b948a; --deep: #8a3b12; --soft: #f6e3d5;
  --tint: #f6f1e7; --gone: #f9dcd8; --new: #d9efdc;
}
@media (prefers-color-scheme: dark) {
  :root {
    --back: #14161a; --card: #1c1f25; --ink: #ece7dc; --quiet: #a5adb8; --line: #333842; --train: #ec8f5c;
    --valid: #5fb6bc; --test: #cdb84f; --out: #767d88; --deep: #f7ac82; --soft: #45291a; --tint: #262a31;
    --gone: #572a26; --new: #20442a;
  }
}
* { box-sizing: border-box; }
body {
  margin: 0; background: var(--back); color: var(--ink);
  font: 16px/1.55 system-ui, "Segoe UI", Roboto, sans-serif;
}
main, header { max-width: 66rem; margin: 0 auto; padding: 0 1.1rem; }
header { padding-top: 2.2rem; }
h1 {
  font-size: clamp(1.5rem, 5vw, 2.3rem); line-height: 1.2; margin: 0 0 .4rem; letter-spacing: -.015em;
  text-wrap: balance;
}
h1 em { font-style: normal; color: var(--deep); }
h2 { font-size: 1.3rem; margin: 0 0 .6rem; }
h3 { font-size: 1rem; margin: 1.2rem 0 .3rem; }
p { margin: .3rem 0 .8rem; max-width: 44rem; }
.quiet { color: var(--quiet); }
code { font-size: .86em; overflow-wrap: anywhere; }
nav { display: flex; flex-wrap: wrap; gap: .2rem 1.1rem; margin: 1rem 0 0; font-size: .93rem; }
a { color: var(--deep); }
nav a { text-decoration: none; padding: .2rem 0; }
a:hover { text-decoration: underline; }
section {
  background: var(--card); border: 1px solid var(--line); border-radius: 12px; padding: 1.3rem 1.4rem;
  margin: 1.1rem 0;
}
.tiles {
  display: grid; grid-template-columns: repeat(auto-fit, minmax(9.2rem, 1fr)); gap: .8rem; margin: 1.2rem 0 0;
}
.tiles div { background: var(--card); border: 1px solid var(--line); border-radius: 12px; padding: .7rem 1rem; }
section .tiles { margin: .6rem 0 1rem; }
section .tiles div { background: var(--tint); border: 0; }
.tiles b { display: block; font-size: 1.55rem; line-height: 1.25; font-variant-numeric: tabular-nums; }
.tiles span:not([title]) { color: var(--quiet); font-size: .88rem; line-height: 1.3; display: block; }
.side {
  display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 21rem), 1fr)); gap: 1rem 2.4rem;
  align-items: start;
}
.side > * { min-width: 0; }
figure { margin: 0; }
figcaption { font-weight: 600; margin-bottom: .2rem; }
svg { display: block; width: 100%; max-width: 30rem; height: auto; overflow: visible; }
svg text { font-size: 12px; fill: var(--quiet); }
svg .strong { font-weight: 600; fill: var(--ink); font-size: 13px; }
svg .strong .quiet { font-weight: 400; fill: var(--quiet); font-size: 12px; }
svg .tick { text-anchor: middle; }
svg .end { text-anchor: end; }
svg text.limit { fill: var(--deep); font-weight: 600; }
svg .token {
  fill: var(--ink); font-size: 13px; font-weight: 600; paint-order: stroke; stroke: var(--card);
  stroke-width: 4px;
}
svg .axis, svg .grid { stroke: var(--line); }
line.limit { stroke: var(--deep); stroke-width: 1.5; stroke-dasharray: 4 3; }
svg .reference { stroke: var(--quiet); stroke-dasharray: 2 4; }
svg .curve { fill: none; stroke: var(--train); stroke-width: 2; }
.train { fill: var(--train); }
.valid { fill: var(--valid); }
.test { fill: var(--test); }
.out { fill: var(--out); }
.source { fill: var(--ink); opacity: .75; }
.tail { fill: var(--out); }
.band { opacity: .28; }
.band:hover { opacity: .5; }
rect:hover { opacity: .8; }
.fill-train { background: var(--train); }
.fill-valid { background: var(--valid); }
.fill-test { background: var(--test); }
.fill-out { background: var(--out); }
.fill-rest { background: var(--tint); }
.stack { display: flex; height: 1.1rem; gap: 2px; border-radius: 6px; overflow: hidden; margin: .2rem 0 .6rem; }
.stack i { min-width: 3px; }
.key { display: inline-block; width: .8em; height: .8em; border-radius: 3px; margin-right: .45em; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; margin: .2rem 0; }
th, td {
  text-align: right; padding: .34rem 0 .34rem .9rem; border-top: 1px solid var(--line); vertical-align: top;
  font-variant-numeric: tabular-nums; white-space: nowrap; font-weight: 400;
}
th:first-child {
  text-align: left; padding-left: 0; white-space: normal; overflow-wrap: break-word; min-width: 6.5rem;
}
thead th { border-top: 0; color: var(--quiet); font-size: .88rem; }
tbody tr:first-child > * { border-top: 0; }
td.bar { width: 34%; min-width: 4.5rem; vertical-align: middle; }
td.bar i { display: block; height: .8rem; border-radius: 3px; min-width: 2px; }
table.replies th { font-weight: 500; }
td:not(.bar) { width: 1%; }
table.replies th[scope=row] { overflow-wrap: anywhere; }
.tag {
  font-size: .78rem; border: 1px solid var(--out); border-radius: 99px; padding: .05rem .5rem;
  color: var(--quiet); white-space: nowrap;
}
details { border-top: 1px solid var(--line); padding: .45rem 0; }
summary { cursor: pointer; }
.count { color: var(--quiet); }
ul { margin: .3rem 0; padding-left: 1.1rem; }
li { margin: .2rem 0; overflow-wrap: anywhere; }
.said { overflow-wrap: anywhere; white-space: pre-wrap; }
.said i { color: var(--quiet); }
del { background: var(--gone); }
ins { background: var(--new); text-decoration: none; border-bottom: 2px solid var(--valid); }
.talks { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 24rem), 1fr)); gap: 1rem; }
.talk {
  border: 1px solid var(--line); border-radius: 12px; padding: .8rem .9rem; display: flex; flex-direction: column;
  gap: .4rem; min-width: 0;
}
.talk p {
  margin: 0; padding: .35rem .7rem; border-radius: 12px; background: var(--tint); max-width: 92%;
  overflow-wrap: anywhere;
}
.talk .self, .talk .reply { align-self: flex-end; }
.talk .known { background: none; padding: 0 .2rem; max-width: 100%; }
.reply .control { margin: 0 0 0 .3rem; }
.talk .other { align-self: flex-start; }
.talk .reply { background: var(--soft); outline: 1.5px solid var(--train); }
.talk small { color: var(--quiet); overflow-wrap: anywhere; margin-top: auto; }
.control {
  font: 600 .76rem/1 ui-monospace, "Cascadia Mono", Menlo, monospace; background: var(--ink); color: var(--card);
  border-radius: 4px; padding: .12rem .3rem; margin-right: .3rem; white-space: nowrap;
}
.t { white-space: pre-wrap; box-shadow: inset 0 -2px 0 var(--out); margin-right: 1px; }
pre {
  background: var(--tint); border-radius: 8px; padding: 1rem; overflow: auto; font-size: .85rem;
  line-height: 1.45;
}
.corpora { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 22rem), 1fr)); gap: 1.4rem; }
.corpora > div { min-width: 0; }
.corpora h3 { margin: 0; font-size: 1.08rem; }
footer { max-width: 66rem; margin: 0 auto; padding: .2rem 1.1rem 2.5rem; color: var(--quiet); font-size: .9rem; }
@media (max-width: 34rem) {
  table.splits { font-size: .84rem; }
  table.splits th:first-child { min-width: 0; }
  thead th { white-space: normal; }
  section { padding: 1.1rem 1rem; border-radius: 10px; }
  .tiles { grid-template-columns: 1fr 1fr; }
  .tiles div:last-child:nth-child(odd) { grid-column: 1 / -1; }
  th, td { padding-left: .55rem; }
  td.bar { width: 26%; min-width: 2.5rem; }
}
@media print {
  section { break-inside: avoid; }
  body { background: #fff; }
}
"""
