"""How a report looks: on a phone, on a screen, in the dark, on paper."""

from __future__ import annotations

from orchestrator.figures.files import colours

LIGHT = (
    "--ink: #1a1a1b; --faint: #595959; --page: #ffffff; --shade: rgb(110 120 135 / 9%); --rule: #c9ccd1; "
    "--link: #0b4f9e; --supported: #176437; --refuted: #a3262b; --undecided: #6b5200; "
    "--warn: #fff3cd; --warn-ink: #4d3b00;"
)
DARK = (
    "--ink: #e8e8e8; --faint: #b4b8be; --page: #15181c; --shade: rgb(150 165 185 / 12%); --rule: #4a5058; "
    "--link: #8ab4ff; --supported: #7bd69a; --refuted: #ff9d9d; --undecided: #f0cf6b; "
    "--warn: #3d3414; --warn-ink: #ffe9a8;"
)


def stylesheet() -> str:
    """The CSS; the figures' colours are variables in it."""
    light, dark = f"{LIGHT} {colours(dark=False)}", f"{DARK} {colours(dark=True)}"
    return f""":root {{ color-scheme: light dark; {light} }}
@media screen and (prefers-color-scheme: dark) {{ :root {{ {dark} }} }}
{RULES}"""


RULES = """* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; }
body { margin: 0 auto; max-width: 68rem; padding: 1rem; background: var(--page); color: var(--ink);
  font: 1rem/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Liberation Sans", sans-serif; }
h1 { font-size: 1.6rem; line-height: 1.25; margin: 0.5rem 0; overflow-wrap: anywhere; }
h2 { font-size: 1.25rem; margin: 2.2rem 0 0.6rem; padding-bottom: 0.2rem; border-bottom: 1px solid var(--rule); }
h3 { font-size: 1.05rem; margin: 1.4rem 0 0.4rem; overflow-wrap: anywhere; }
p { margin: 0.5rem 0; max-width: 48rem; overflow-wrap: anywhere; }
a { color: var(--link); }
a, button, summary, .scroll { outline-offset: 2px; }
header p { color: var(--faint); }
nav ul { display: flex; flex-wrap: wrap; gap: 0.1rem 1rem; list-style: none; margin: 0.8rem 0 0; padding: 0; }
nav a { display: inline-block; padding: 0.25rem 0; }
code, pre { font: 0.85rem/1.45 ui-monospace, "DejaVu Sans Mono", "Liberation Mono", monospace; }
code { overflow-wrap: anywhere; }
pre { background: var(--shade); padding: 0.7rem; margin: 0.5rem 0; overflow-x: auto; }
.partial { background: var(--warn); color: var(--warn-ink);
  border-left: 4px solid currentColor; padding: 0.5rem 0.8rem; }
header .partial { color: var(--warn-ink); }
.scroll { overflow-x: auto; max-width: 100%; margin: 0.6rem 0; background-repeat: no-repeat;
  background-image: linear-gradient(to right, var(--page) 40%, transparent),
    linear-gradient(to left, var(--page) 40%, transparent),
    linear-gradient(to right, rgb(128 128 128 / 55%), transparent),
    linear-gradient(to left, rgb(128 128 128 / 55%), transparent);
  background-position: left, right, left, right; background-size: 2.2rem 100%, 2.2rem 100%, 0.8rem 100%, 0.8rem 100%;
  background-attachment: local, local, scroll, scroll; }
table { border-collapse: collapse; font-size: 0.92rem; font-variant-numeric: tabular-nums; }
caption { text-align: left; color: var(--faint); padding-bottom: 0.4rem; min-width: 16rem; position: sticky; left: 0;
  max-width: min(46rem, calc(100vw - 1.5rem)); }
th, td { padding: 0.28rem 0.7rem; text-align: left; vertical-align: top; }
td { text-align: right; white-space: nowrap; }
th { font-weight: 600; }
th code { white-space: nowrap; overflow-wrap: normal; }
thead th { border-bottom: 1px solid var(--faint); }
thead th[scope="colgroup"], .numbers thead th { text-align: center; }
tbody tr:nth-child(even) { background: var(--shade); }
table { border-top: 2px solid var(--ink); border-bottom: 2px solid var(--ink); }
.words td { text-align: left; white-space: normal; min-width: 6rem; }
.words td.long { min-width: 14rem; }
tfoot td { text-align: left; white-space: normal; color: var(--faint); border-top: 1px solid var(--faint); }
button.number { font: inherit; color: inherit; background: none; border: 0; padding: 0.1rem 0; cursor: pointer;
  text-decoration: underline dotted var(--faint); text-underline-offset: 0.2em; }
[popover] { max-width: min(46rem, 94vw); max-height: 80vh; overflow: auto; padding: 0.8rem 1rem; color: var(--ink);
  background: var(--page); border: 1px solid var(--faint); font-size: 0.95rem; text-align: left; white-space: normal; }
[popover]::backdrop { background: rgb(0 0 0 / 40%); }
@supports not selector(:popover-open) { [popover] { display: none; } }
.verdict { font-weight: 600; white-space: nowrap; }
.supported { color: var(--supported); } .refuted { color: var(--refuted); } .undecided { color: var(--undecided); }
.claim { border-left: 4px solid var(--rule); padding-left: 0.9rem; margin: 1rem 0; }
.claim.supported { border-color: var(--supported); } .claim.refuted { border-color: var(--refuted); }
.claim.undecided { border-color: var(--undecided); }
.claim > * { color: var(--ink); } .claim .faint, .faint { color: var(--faint); }
.claim h3 { margin-top: 0; }
figure { margin: 1rem 0 1.8rem; }
figure svg { display: block; width: calc(var(--wide) * 1.55px); max-width: 100%;
  min-width: min(calc(var(--wide) * 1.1px), 60rem); height: auto; }
figcaption { max-width: 48rem; margin-top: 0.4rem; color: var(--faint); font-size: 0.92rem; }
figcaption strong { color: var(--ink); }
details { margin: 0.6rem 0; }
summary { cursor: pointer; color: var(--link); padding: 0.2rem 0; }
dl { display: grid; grid-template-columns: minmax(7rem, max-content) 1fr; gap: 0.2rem 1rem; margin: 0.6rem 0; }
dt { color: var(--faint); } dd { margin: 0; overflow-wrap: anywhere; }
@media (max-width: 480px) {
  body { padding: 0.7rem; } h1 { font-size: 1.3rem; } th, td { padding: 0.28rem 0.45rem; }
  tbody th { max-width: 7rem; overflow-wrap: break-word; }
  tbody th code { white-space: normal; overflow-wrap: break-word; }
  .words td.long { min-width: 11rem; }
  dl { grid-template-columns: 1fr; } dd { margin-bottom: 0.5rem; }
}
@page { margin: 16mm; }
@media print {
  body { max-width: none; padding: 0; font-size: 10pt; }
  nav, [popover], .hint { display: none; }
  a { color: inherit; text-decoration: none; }
  .scroll { background-image: none; } .scroll, pre { overflow: visible; } pre { white-space: pre-wrap; }
  table { font-size: 8.5pt; } th, td { padding: 0.15rem 0.4rem; }
  figure svg { width: calc(var(--wide) * 1pt); max-width: 100%; min-width: 0; }
  h2, h3, caption { break-after: avoid; } figure, table, tr, .claim { break-inside: avoid; }
  button.number { text-decoration: none; }
}
"""
