"""How the page looks: one sheet of CSS, and the pictures that the browser needs before anything else."""

from __future__ import annotations

__all__ = ["ALIVE", "CSS", "ICON", "LOADING", "THEME"]

THEME = {
    "theme": {
        "defaultTheme": "page",
        "themes": {
            "page": {
                "dark": True,
                "colors": {
                    "background": "#0b0d10",
                    "surface": "#171b21",
                    "primary": "#3fb6a8",
                    "error": "#ef7d78",
                    "warning": "#e5b45c",
                    "info": "#7fb0ea",
                },
            }
        },
    }
}

ICON = (
    "data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 32 32'%3E"
    "%3Crect width='32' height='32' rx='7' fill='%23171b21'/%3E"
    "%3Cpath d='M16 5c7 0 11 5 11 11s-4 11-11 11S5 22 5 16 9 5 16 5z' fill='none' stroke='%233fb6a8' "
    "stroke-width='2.5'/%3E%3Cpath d='M12 12c4-2 8 0 8 4s-3 6-6 5-6-7-2-9z' fill='%233fb6a8'/%3E%3C/svg%3E"
)

LOADING = (
    "<div style='position:fixed;inset:0;background:#0b0d10;color:#9aa4b1;display:flex;align-items:center;"
    "justify-content:center;font:15px sans-serif'>DeepBio is starting \N{HORIZONTAL ELLIPSIS}</div>"
)

# When the program has ended, the page says so instead of going silent.
ALIVE = """
setInterval(() => fetch('alive').then(
  () => document.body.classList.remove('lost'),
  () => document.body.classList.add('lost')), 3000);
"""

CSS = """
html, body { overflow: hidden; height: 100%; background: #0b0d10; }
.page { display: grid; grid-template-columns: 348px minmax(0, 1fr); height: 100vh; color: #e6eaef; }
.panel { background: #171b21; border-right: 1px solid #262c35; display: flex; flex-direction: column;
  min-height: 0; font-size: 14px; line-height: 1.45; }
.panel-head { padding: 16px 18px 12px; border-bottom: 1px solid #262c35; }
.panel-body { padding: 14px 18px 18px; overflow-y: auto; flex: 1; min-height: 0; }
.brand { font-size: 13px; font-weight: 600; letter-spacing: .06em; color: #3fb6a8; }
.image-name { font-size: 16px; font-weight: 500; overflow-wrap: anywhere; }
.quiet { color: #9aa4b1; font-size: 13px; }
.section { font-size: 12px; font-weight: 600; letter-spacing: .05em; color: #9aa4b1; margin: 20px 0 6px;
  text-transform: uppercase; }
.panel-body > .section:first-child, .panel-body > :first-child > .section:first-child { margin-top: 0; }
.channel + .channel { margin-top: 10px; }
.facts { display: grid; grid-template-columns: auto 1fr; gap: 1px 12px; margin-top: 8px; font-size: 13px; }
.facts dt { color: #9aa4b1; } .facts dd { margin: 0; overflow-wrap: anywhere; }
.model-text { margin-top: 8px; font-size: 13px; color: #c6cdd6; }
.doubt { margin-top: 6px; font-size: 13px; color: #e5b45c; }
.message { user-select: text; overflow-wrap: anywhere; }
.message .hint { margin-top: 4px; color: #c6cdd6; }
.legend { list-style: none; padding: 0; margin: 0; }
.legend li { display: grid; grid-template-columns: 14px minmax(0, 1fr) auto 28px; gap: 10px; align-items: center;
  padding: 3px 0; border-bottom: 1px solid #222831; }
.legend .name { overflow-wrap: anywhere; } .legend .hidden { opacity: .45; }
.legend .size { color: #9aa4b1; font-variant-numeric: tabular-nums; font-size: 13px; white-space: nowrap; }
.answers { list-style: none; padding: 0; margin: 0; }
.answers li { display: grid; grid-template-columns: minmax(0, 1fr) auto; gap: 0 10px; padding: 3px 0; }
.answers li:first-child { font-size: 16px; font-weight: 500; }
.answers .name { overflow-wrap: anywhere; } .answers .size { color: #9aa4b1; font-variant-numeric: tabular-nums; }
.answers .bar { grid-column: 1 / 3; height: 3px; min-width: 1px; border-radius: 2px; background: #3fb6a8; }
.swatch { width: 14px; height: 14px; border-radius: 3px; }
.page .v-btn, .v-list-item-title { text-transform: none; letter-spacing: normal; }
.page .v-switch .v-label { font-size: 13px; color: #9aa4b1; opacity: 1; }
.page .v-expansion-panel-title { padding: 8px 0; min-height: 0; font-size: 12px; font-weight: 600; color: #9aa4b1;
  letter-spacing: .05em; text-transform: uppercase; }
.page .v-expansion-panel-text__wrapper { padding: 8px 0 0; }
.page .v-expansion-panel-title__overlay { display: none; }
.curve { margin-top: 8px; font-size: 12px; color: #9aa4b1; }
.curve svg { width: 100%; height: 96px; background: #10141a; border-radius: 4px; display: block; }
.links { display: flex; flex-wrap: wrap; gap: 8px; margin-top: 6px; }
.range { display: grid; grid-template-columns: 74px minmax(0, 1fr); align-items: center; font-size: 13px;
  color: #9aa4b1; }
.stage { display: flex; flex-direction: column; min-width: 0; min-height: 0; }
.views { flex: 1; min-height: 0; display: grid; gap: 1px; background: #262c35; }
.views.four { grid-template-columns: minmax(0, 1fr) minmax(0, 1fr); grid-template-rows: minmax(0, 1fr) minmax(0, 1fr); }
.views.one { grid-template-columns: minmax(0, 1fr); grid-template-rows: minmax(0, 1fr); }
.cell { position: relative; min-width: 0; min-height: 0; background: #0b0d10; overflow: hidden; }
.view-head { position: absolute; top: 6px; left: 10px; display: flex; gap: 2px; align-items: center; }
.view-title { font-size: 13px; font-weight: 600; color: #e6eaef; text-shadow: 0 0 3px #000, 0 0 3px #000;
  margin-right: 4px; user-select: none; }
.view-button { color: #c6cdd6 !important; opacity: 0; transition: opacity .15s; }
.cell:hover .view-button, .view-button:focus-visible { opacity: 1; }
.letter { position: absolute; font-size: 13px; font-weight: 600; color: #c6cdd6; pointer-events: none;
  text-shadow: 0 0 3px #000, 0 0 3px #000; user-select: none; }
.letter.left { left: 10px; top: calc(50% - 10px); } .letter.right { right: 10px; top: calc(50% - 10px); }
.letter.top, .letter.bottom { left: 50%; transform: translateX(-50%); }
.letter.top { top: 6px; } .letter.bottom { bottom: 34px; }
.slice-bar { position: absolute; left: 0; right: 0; bottom: 0; padding: 10px 12px 0 4px; display: grid;
  grid-template-columns: minmax(0, 1fr) auto; gap: 10px; align-items: center;
  background: linear-gradient(transparent, #0b0d10d9 70%); }
.offset { font-size: 12px; color: #c6cdd6; font-variant-numeric: tabular-nums; min-width: 58px; text-align: right;
}
.space-hint { position: absolute; inset: 0; display: flex; align-items: flex-end; justify-content: center;
  padding-bottom: 12px; color: #9aa4b1; font-size: 13px; pointer-events: none; text-align: center; }
.frame-bar { display: grid; grid-template-columns: auto auto minmax(0, 1fr) auto; gap: 10px; align-items: center;
  padding: 4px 16px; background: #171b21; border-top: 1px solid #262c35; font-size: 13px; }
.table-sheet { background: #171b21; border-top: 1px solid #262c35; max-height: 38%; display: flex;
  flex-direction: column; min-height: 0; }
.table-head { display: flex; align-items: center; gap: 8px; padding: 6px 16px; font-size: 13px; }
.table-scroll { overflow: auto; min-height: 0; }
.table-scroll table { border-collapse: collapse; font-size: 13px; font-variant-numeric: tabular-nums; width: 100%; }
.table-scroll th { position: sticky; top: 0; background: #1f252d; text-align: left; font-weight: 500; color: #9aa4b1; }
.table-scroll th, .table-scroll td { padding: 4px 16px; border-bottom: 1px solid #222831; white-space: nowrap; }
@media (max-width: 760px) {
  .page { grid-template-columns: minmax(0, 1fr); grid-template-rows: minmax(0, 46vh) minmax(0, 1fr); }
  .stage { order: -1; } .panel { border-right: none; border-top: 1px solid #262c35; }
  .panel-head { padding: 8px 18px 6px; } .table-sheet { max-height: 62%; }
  .view-button { opacity: 1; }
}
body.lost::after { content: "The page has ended. Start 'deepbio view' again to go on."; position: fixed; inset: 0;
  background: #0b0d10e6; display: flex; align-items: center; justify-content: center; color: #e6eaef; z-index: 3000;
  font: 16px Roboto, sans-serif; }
"""
