"""The style sheet of the page: light and dark, wide, narrow and printed."""

CSS = """
:root { color-scheme: light dark;
  --paper: #f5f6f8; --card: #ffffff; --ink: #1b1f24; --muted: #59626e; --line: #d5dae1;
  --accent: #0a66b8; --accent-soft: #a9cdec; --second: #a8500a; --reference: #8a939e;
  --good: #14713a; --good-back: #dcf3e3; --bad: #9c2a10; --bad-back: #fde5dc;
  --guess: #7d4f00; --guess-back: #ffeccb;
  --kind-1: #0072b2; --kind-2: #d55e00; --kind-3: #009e73; --kind-4: #cc79a7;
  --kind-5: #b58900; --kind-6: #56b4e9; --kind-7: #8a939e; }
@media (prefers-color-scheme: dark) { :root {
  --paper: #14171b; --card: #1d2127; --ink: #e8ebef; --muted: #a3adb9; --line: #3a424c;
  --accent: #5cb0f5; --accent-soft: #2c5478; --second: #f0a35c; --reference: #7c8692;
  --good: #7edb9f; --good-back: #173a25; --bad: #ffab90; --bad-back: #4a2014;
  --guess: #ffd185; --guess-back: #463206;
  --kind-1: #4aa3df; --kind-2: #f0803c; --kind-3: #2fc59a; --kind-4: #e29cc2;
  --kind-5: #e3bd3b; --kind-6: #8fd0f5; --kind-7: #7c8692; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink);
  font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", sans-serif; }
main, header, footer { max-width: 1240px; margin: 0 auto; padding: 0 20px; }
header { padding-top: 28px; }
h1 { font-size: 1.9rem; line-height: 1.2; margin: 0 0 .4rem; }
h2 { font-size: 1.35rem; margin: 2.4rem 0 .8rem; }
h3 { font-size: 1rem; margin: 0 0 .6rem; overflow-wrap: anywhere; }
p { max-width: 75ch; margin: .7rem 0; overflow-wrap: anywhere; }
a { color: var(--accent); }
nav ul { display: flex; flex-wrap: wrap; gap: .2rem 1.1rem; padding: 0; margin: 1rem 0 0;
  list-style: none; }
li { overflow-wrap: anywhere; }
.verdict { font-size: 1.1rem; }
small { display: block; color: var(--muted); font-size: .78rem; line-height: 1.35; }
.note { border-left: 4px solid var(--guess); background: var(--guess-back); padding: .6rem .9rem;
  border-radius: 0 6px 6px 0; }
.wide, .plot, .session { background: var(--card); border: 1px solid var(--line);
  border-radius: 8px; }
.wide { overflow-x: auto; margin: 0 0 1rem; }
table { border-collapse: collapse; width: 100%; font-size: .88rem; }
caption { text-align: left; font-weight: 600; padding: .7rem .8rem .3rem; }
th, td { text-align: left; vertical-align: top; padding: .45rem .8rem;
  border-top: 1px solid var(--line); overflow-wrap: anywhere; min-width: 2.2rem; }
th { border-top: 0; color: var(--muted); font-weight: 600; overflow-wrap: normal; }
.number { text-align: right; font-variant-numeric: tabular-nums; overflow-wrap: normal; }
td.number { white-space: nowrap; }
.number small { white-space: normal; overflow-wrap: anywhere; }
td:not(.number) { min-width: 6rem; }
td.key { white-space: nowrap; }
td.key:not(.number) { min-width: 2.4rem; width: 2.4rem; }
.badge { display: inline-block; border-radius: 4px; padding: 0 .4em; margin: 0 .3em;
  font-size: .78rem; font-weight: 600; background: var(--line); }
td > .badge { margin-left: 0; margin-right: 0; }
.badge { white-space: nowrap; }
.good { color: var(--good); background: var(--good-back); }
.bad { color: var(--bad); background: var(--bad-back); }
.guess { color: var(--guess); background: var(--guess-back); }
.gallery, .tables { display: grid; gap: 16px; margin: 0 0 1rem; align-items: start;
  grid-template-columns: repeat(auto-fill, minmax(min(100%, 360px), 1fr)); }
.tables { grid-template-columns: repeat(auto-fill, minmax(min(100%, 540px), 1fr)); }
.plot { padding: 16px; break-inside: avoid; min-width: 0; }
figure { margin: 0; }
figure + figure { margin-top: 1.2rem; }
.gallery .wide, .tables .wide { margin: 0; min-width: 0; }
.gallery .wide { grid-column: 1 / -1; }
@media screen and (min-width: 1180px) { .gallery .wide { grid-column: span 2; } }
figure svg { display: block; width: 100%; height: auto; overflow: visible;
  stroke-linejoin: round; }
figcaption { color: var(--muted); font-size: .85rem; margin-top: .5rem; }
.session { padding: 16px; margin: 0 0 1rem; }
.session .wide { border: 0; margin: 0; }
pre { background: var(--paper); border: 1px solid var(--line); border-radius: 6px;
  padding: .6rem .8rem; margin: 0 0 .8rem; white-space: pre-wrap; overflow-wrap: anywhere;
  font-size: .85rem; }
footer { color: var(--muted); font-size: .85rem; padding-top: 1rem; padding-bottom: 2rem; }
.matrix { width: auto; font-variant-numeric: tabular-nums; margin: 0 .6rem .8rem; }
.matrix th, .matrix td:not(.number) { border: 1px solid var(--line); padding: .2rem .35rem;
  text-align: right; white-space: nowrap; min-width: 2.2rem; }
.matrix thead td:not(.number) { border: 0; }
.matrix th[scope="col"] { vertical-align: bottom; height: 7.5em; padding: .3rem .1rem; }
.matrix th[scope="col"] span { writing-mode: vertical-rl; transform: rotate(180deg); }
@media screen and (max-width: 720px) {
  .matrix { margin: 0 0 .6rem; }
  .matrix th, .matrix td:not(.number) { min-width: 1.5rem; padding: .15rem .2rem; }
  main, header, footer { padding-left: 14px; padding-right: 14px; }
  .plot, .session { padding: 12px; }
  table { font-size: .78rem; }
  th, td { padding: .35rem .2rem; }
  th:first-child, td:first-child, caption { padding-left: .6rem; }
  th:last-child, td:last-child { padding-right: .6rem; }
  td:not(.number) { min-width: 5.7rem; }
  td.key + td:not(.number) { min-width: 6.2rem; width: 40%; }
  td.key:not(.number) { min-width: 0; width: 1.3rem; }
  small, .badge { font-size: .7rem; }
  td > .badge { padding: 0 .25em; } }
@media print {
  :root { --paper: #ffffff; }
  html { font-size: 10px; }
  body { font-size: 1rem; }
  nav { display: none; }
  main, header, footer { max-width: none; padding: 0; }
  .gallery { grid-template-columns: 1fr 1fr; }
  .wide { overflow: visible; }
  table { font-size: .85rem; }
  th, td { padding: 3px 4px; min-width: 0; }
  tr { break-inside: avoid; }
  h2, h3, caption { break-after: avoid; } }
"""
